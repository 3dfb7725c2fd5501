/* See reply.h. */
#include "api/reply.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const int statuses[] = {
    [HN_KIND_INVALID] = 400,
    [HN_KIND_UNAUTHORIZED] = 401,
    [HN_KIND_FORBIDDEN] = 403,
    [HN_KIND_MISSING] = 404,
    [HN_KIND_METHOD] = 405,
    [HN_KIND_CONFLICT] = 409,
    [HN_KIND_TOO_LARGE] = 413,
    [HN_KIND_MEDIA] = 415,
    [HN_KIND_RANGE] = 416,
    [HN_KIND_UNPROCESSABLE] = 422,
    [HN_KIND_RATE] = 429,
    [HN_KIND_BUSY] = 503,
    [HN_KIND_DISK] = 507,
    [HN_KIND_INTERNAL] = 500,
};

int hn_error_status(int code) {
    return statuses[hn_error_kind(code)];
}

/* A sentence may quote bytes from outside; what is not UTF-8 becomes the table's own sentence. */
static json_t *safe_text(const char *text, const char *fallback) {
    json_t *value = json_string(text);
    return value ? value : json_string(fallback);
}

json_t *hn_error_json(const struct hn_error *err, const json_t *details) {
    const char *text = hn_error_text(err->code);
    json_t *body = json_object(), *list = json_object_get(details, "details"),
           *total = json_object_get(details, "total");
    json_object_set_new(body, "code", json_string(hn_error_name(err->code)));
    json_object_set_new(body, "message", safe_text(err->message[0] ? err->message : text, text));
    json_object_set_new(body, "field", err->field[0] ? safe_text(err->field, "") : json_null());
    json_object_set_new(body, "hint", err->hint[0] ? safe_text(err->hint, "") : json_null());
    if (list)
        json_object_set(body, "details", list);
    if (list && total)
        json_object_set(body, "total", total);
    return json_pack("{s:o}", "error", body);
}

char *hn_reply_text(json_t *value) {
    /* 15 digits: floats written from 32 bits come out as short as they came in. */
    char *text =
        value ? json_dumps(value, JSON_COMPACT | JSON_ENCODE_ANY | JSON_REAL_PRECISION(15)) : NULL;
    json_decref(value);
    return text;
}

int hn_reply_json(struct hn_request *req, int status, json_t *value, struct hn_error *err) {
    char *text = hn_reply_text(value);
    if (!text)
        return hn_fail(err, HN_E_INTERNAL, "out of memory");
    hn_reply_bytes(req, status, "application/json", text, strlen(text));
    return 0;
}

int hn_reply_list(struct hn_request *req, json_t *data, const char *next, struct hn_error *err) {
    return hn_reply_json(req, 200, json_pack("{s:o,s:s?}", "data", data, "next", next), err);
}

void hn_reply_error(struct hn_request *req, const struct hn_error *err, const json_t *details) {
    int status = hn_error_status(err->code);
    struct hn_error again;
    if (status == 401)
        hn_reply_header(req, "WWW-Authenticate", "Bearer");
    if (status == 503 || status == 429)
        hn_reply_header(req, "Retry-After", "5");
    if (hn_reply_json(req, status, hn_error_json(err, details), &again))
        hn_reply_empty(req, 500);
}

static int bad_query(
    struct hn_error *err, const char *name, const char *value, const char *wanted) {
    hn_fail(err, HN_E_INVALID_FIELD, "%s=%.64s is not %s", name, value, wanted);
    hn_error_field(err, "%s", name);
    return HN_E_INVALID_FIELD;
}

int hn_query_int(const struct hn_request *req, const char *name, int64_t min, int64_t max,
    int64_t *ret, struct hn_error *err) {
    const char *text = hn_request_query(req, name);
    if (!text)
        return 0;
    char *end, wanted[80];
    errno = 0;
    long long value = strtoll(text, &end, 10);
    if (errno || end == text || *end || value < min || value > max) {
        snprintf(wanted, sizeof wanted, "a whole number from %lld to %lld", (long long)min,
            (long long)max);
        bad_query(err, name, text, wanted);
        hn_error_hint(err, "give such a number, or leave %s out", name);
        return HN_E_INVALID_FIELD;
    }
    *ret = value;
    return 0;
}

int hn_query_flag(const struct hn_request *req, const char *name, bool *ret, struct hn_error *err) {
    static const char *const words[] = {"0", "1", "false", "true", "no", "yes"};
    const char *text = hn_request_query(req, name);
    for (size_t i = 0; text && i < sizeof words / sizeof words[0]; i++)
        if (strcmp(text, words[i]) == 0) {
            *ret = i % 2;
            return 0;
        }
    return text ? bad_query(err, name, text, "1 (or true) or 0 (or false)") : 0;
}

int hn_query_page(const struct hn_request *req, int64_t standard, int64_t most, int64_t *ret_limit,
    const char **ret_after, struct hn_error *err) {
    *ret_limit = standard;
    *ret_after = hn_request_query(req, "after");
    if (*ret_after && !**ret_after)
        *ret_after = NULL;
    return hn_query_int(req, "limit", 1, most, ret_limit, err);
}

int hn_query_word(const struct hn_request *req, const char *name, const char *const *words,
    const char **ret, struct hn_error *err) {
    const char *text = hn_request_query(req, name);
    if (!text)
        return 0;
    struct hn_buf known = {0};
    for (const char *const *word = words; *word; word++) {
        if (strcmp(*word, text) == 0) {
            *ret = *word;
            hn_buf_free(&known);
            return 0;
        }
        hn_buf_printf(&known, "%s%s", word == words ? "" : ", ", *word);
    }
    int rc = bad_query(err, name, text, "known here");
    hn_error_hint(err, "one of %s", known.data ? known.data : "");
    hn_buf_free(&known);
    return rc;
}

int hn_body_object(struct hn_request *req, json_t **ret, struct hn_error *err) {
    json_t *body = NULL;
    if (!req->body.size) {
        *ret = json_object();
        return 0;
    }
    int rc = hn_json_parse(req->body.data, req->body.size, &body, err);
    if (rc)
        return rc;
    if (!json_is_object(body)) {
        json_decref(body);
        return hn_fail(err, HN_E_INVALID_JSON, "the body must be a JSON object, {…}");
    }
    *ret = body;
    return 0;
}
