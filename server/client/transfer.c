/* See transfer.h. The only file that knows libcurl. */
#include "server/client/transfer.h"

#include <curl/curl.h>
#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define ANSWER_BYTES ((size_t)64 << 20)
#define ERROR_BYTES ((size_t)1 << 20) /* of an answer that is none of use */

/* What is used of the library: (member, function). */
#define FUNCTIONS(X)                 \
    X(init, curl_easy_init)          \
    X(cleanup, curl_easy_cleanup)    \
    X(reset, curl_easy_reset)        \
    X(perform, curl_easy_perform)    \
    X(text, curl_easy_strerror)      \
    X(mime, curl_mime_init)          \
    X(mime_free, curl_mime_free)     \
    X(part, curl_mime_addpart)       \
    X(part_name, curl_mime_name)     \
    X(part_data, curl_mime_data)     \
    X(part_file, curl_mime_filedata) \
    X(part_as, curl_mime_filename)   \
    X(header, curl_slist_append)     \
    X(headers_free, curl_slist_free_all)

struct library {
    void *handle;
#define MEMBER(member, function) __typeof__(function) *member;
    FUNCTIONS(MEMBER)
#undef MEMBER
    CURLcode (*set)(CURL *, CURLoption, ...);
    CURLcode (*info)(CURL *, CURLINFO, ...);
};

struct hn_transfer {
    struct library lib;
    CURL *curl;
    const struct hn_endpoint *at;
    /* of the request under way */
    const struct hn_ask *ask;
    struct hn_answer *answer;
    bool stopped, too_large;
    char why[CURL_ERROR_SIZE];
};

static int open_library(struct library *lib, struct hn_error *err) {
    static const char *const names[] = {"libcurl-gnutls.so.4", "libcurl.so.4"};
    for (size_t i = 0; !lib->handle && i < sizeof names / sizeof names[0]; i++)
        lib->handle = dlopen(names[i], RTLD_NOW | RTLD_LOCAL);
    bool whole = lib->handle;
#define LOAD(member, function)                                  \
    if (whole) {                                                \
        *(void **)&lib->member = dlsym(lib->handle, #function); \
        whole = lib->member != NULL;                            \
    }
    FUNCTIONS(LOAD)
    LOAD(set, curl_easy_setopt)
    LOAD(info, curl_easy_getinfo)
#undef LOAD
    if (whole)
        return 0;
    hn_fail(err, HN_E_INTERNAL, "cannot load libcurl, by which a server is asked");
    hn_error_hint(err, "install it: apt-get install libcurl3-gnutls");
    return HN_E_INTERNAL;
}

int hn_transfer_create(
    const struct hn_endpoint *at, struct hn_transfer **ret, struct hn_error *err) {
    struct hn_transfer *t = hn_calloc(1, sizeof *t);
    if (!t)
        return hn_fail(err, HN_E_INTERNAL, "out of memory");
    t->at = at;
    int rc = open_library(&t->lib, err);
    if (!rc && !(t->curl = t->lib.init()))
        rc = hn_fail(err, HN_E_INTERNAL, "out of memory");
    if (rc)
        hn_transfer_destroy(t);
    else
        *ret = t;
    return rc;
}

void hn_transfer_destroy(struct hn_transfer *t) {
    if (!t)
        return;
    if (t->curl)
        t->lib.cleanup(t->curl);
    free(t); /* the library stays: its own threads and handlers may be in it */
}

void hn_answer_finish(struct hn_answer *answer) {
    hn_buf_free(&answer->body);
    json_decref(answer->json);
    *answer = (struct hn_answer){0};
}

char *hn_percent(const char *text) {
    struct hn_buf out = {0};
    hn_buf_text(&out, "");
    for (const unsigned char *p = (const unsigned char *)text; *p; p++)
        if ((*p >= '0' && *p <= '9') || ((*p | 32) >= 'a' && (*p | 32) <= 'z') ||
            strchr("-._~", *p))
            hn_buf_char(&out, (char)*p);
        else
            hn_buf_printf(&out, "%%%02X", *p);
    if (!out.failed)
        return out.data;
    hn_buf_free(&out);
    return NULL;
}

static size_t on_data(char *data, size_t size, size_t n, void *ud) {
    struct hn_transfer *t = ud;
    size_t bytes = size * n;
    t->lib.info(t->curl, CURLINFO_RESPONSE_CODE, &t->answer->status);
    bool good = t->answer->status >= 200 && t->answer->status < 300;
    if (good && t->ask->sink) {
        t->stopped = !t->ask->sink(t->ask->ud, t->answer->status, data, bytes);
        return t->stopped ? 0 : bytes;
    }
    t->answer->body.ceiling = !good ? ERROR_BYTES
        : t->ask->ceiling           ? t->ask->ceiling
                                    : ANSWER_BYTES;
    hn_buf_append(&t->answer->body, data, bytes);
    t->too_large = t->answer->body.failed;
    return t->too_large ? 0 : bytes;
}

static int on_progress(
    void *ud, curl_off_t to_get, curl_off_t got, curl_off_t to_send, curl_off_t sent) {
    struct hn_transfer *t = ud;
    (void)to_get;
    (void)got;
    t->stopped = t->stopped || !t->ask->progress(t->ask->ud, (int64_t)sent, (int64_t)to_send);
    return t->stopped;
}

bool hn_endpoint_is_here(const struct hn_endpoint *at) {
    const char *host = strstr(at->url, "://");
    host = host ? host + 3 : at->url;
    size_t n = *host == '[' ? strcspn(host, "]") + 1 : strcspn(host, ":/?#");
    return (strncmp(host, "127.", 4) == 0 && strspn(host, "0123456789.") == n) ||
        (n == 5 && strncmp(host, "[::1]", n) == 0) ||
        (n == 9 && strncmp(host, "localhost", n) == 0);
}

static void set_endpoint(struct hn_transfer *t, const char *url) {
    CURLcode (*set)(CURL *, CURLoption, ...) = t->lib.set;
    set(t->curl, CURLOPT_URL, url);
    set(t->curl, CURLOPT_PROTOCOLS_STR, "http,https");
    set(t->curl, CURLOPT_USERAGENT, "honed/" HN_VERSION);
    set(t->curl, CURLOPT_ERRORBUFFER, t->why);
    set(t->curl, CURLOPT_NOSIGNAL, 1L);
    set(t->curl, CURLOPT_CONNECTTIMEOUT, 10L);
    set(t->curl, CURLOPT_TCP_KEEPALIVE, 1L);
    if (t->at->socket)
        set(t->curl, CURLOPT_UNIX_SOCKET_PATH, t->at->socket);
    if (t->at->socket || t->at->direct || hn_endpoint_is_here(t->at))
        set(t->curl, CURLOPT_PROXY, ""); /* a proxy cannot reach this machine's own addresses */
    if (t->at->ca)
        set(t->curl, CURLOPT_CAINFO, t->at->ca);
}

static void set_ask(struct hn_transfer *t, const struct hn_ask *ask) {
    CURLcode (*set)(CURL *, CURLoption, ...) = t->lib.set;
    set(t->curl, CURLOPT_WRITEFUNCTION, on_data);
    set(t->curl, CURLOPT_WRITEDATA, t);
    if (ask->progress) {
        set(t->curl, CURLOPT_NOPROGRESS, 0L);
        set(t->curl, CURLOPT_XFERINFOFUNCTION, on_progress);
        set(t->curl, CURLOPT_XFERINFODATA, t);
    }
    if (ask->seconds > 0)
        set(t->curl, CURLOPT_TIMEOUT, ask->seconds);
    if (strcmp(ask->method, "GET") != 0)
        set(t->curl, CURLOPT_CUSTOMREQUEST, ask->method);
    if (ask->sink) { /* a transfer of any length may not stand still */
        set(t->curl, CURLOPT_LOW_SPEED_LIMIT, 1L);
        set(t->curl, CURLOPT_LOW_SPEED_TIME, 120L);
    }
}

static bool add_line(struct hn_transfer *t, struct curl_slist **list, const char *line) {
    struct curl_slist *longer = t->lib.header(*list, line);
    if (longer)
        *list = longer;
    return longer != NULL;
}

static bool add_header(
    struct hn_transfer *t, struct curl_slist **list, const char *name, const char *value) {
    struct hn_buf line = {0};
    hn_buf_printf(&line, "%s: %s", name, value);
    bool good = !line.failed && add_line(t, list, line.data);
    hn_buf_free(&line);
    return good;
}

static bool add_headers(struct hn_transfer *t, const struct hn_ask *ask, struct curl_slist **list) {
    char range[48], tag[HN_SHA256_HEX + 2], bearer[600];
    bool good = add_header(t, list, "Accept", ask->accept ? ask->accept : "application/json") &&
        add_header(t, list, "Expect", "");
    if (good && t->at->key) {
        snprintf(bearer, sizeof bearer, "Bearer %.560s", t->at->key);
        good = add_header(t, list, "Authorization", bearer);
    }
    for (size_t i = 0; good && ask->headers && ask->headers[i]; i++)
        good = add_line(t, list, ask->headers[i]);
    if (good && (ask->body || ask->text))
        good = add_header(t, list, "Content-Type", "application/json");
    if (good && ask->from > 0) {
        snprintf(range, sizeof range, "bytes=%lld-", (long long)ask->from);
        good = add_header(t, list, "Range", range);
    }
    if (good && ask->from > 0 && ask->tag) {
        snprintf(tag, sizeof tag, "\"%.64s\"", ask->tag);
        good = add_header(t, list, "If-Range", tag);
    }
    return good;
}

static curl_mime *make_form(struct hn_transfer *t, const struct hn_ask *ask, struct hn_error *err) {
    curl_mime *form = t->lib.mime(t->curl);
    for (size_t i = 0; form && i < ask->n_parts; i++) {
        const struct hn_part_to_send *p = &ask->parts[i];
        curl_mimepart *part = t->lib.part(form);
        bool good = part && !t->lib.part_name(part, p->name);
        if (good && p->text)
            good = !t->lib.part_data(part, p->text, CURL_ZERO_TERMINATED);
        if (good && p->path && t->lib.part_file(part, p->path)) {
            hn_fail(err, HN_E_NOT_FOUND, "cannot read the file %s", p->path);
            t->lib.mime_free(form);
            return NULL;
        }
        if (good && p->path && p->filename)
            good = !t->lib.part_as(part, p->filename);
        if (!good) {
            t->lib.mime_free(form);
            form = NULL;
        }
    }
    if (!form)
        hn_fail(err, HN_E_INTERNAL, "out of memory");
    return form;
}

static enum hn_outcome unreachable(
    struct hn_transfer *t, struct hn_answer *answer, CURLcode code, struct hn_error *err) {
    const char *where = t->at->socket ? t->at->socket : t->at->url;
    snprintf(answer->why, sizeof answer->why, "%s", t->why[0] ? t->why : t->lib.text(code));
    hn_fail(err, HN_E_INTERNAL, "cannot reach the server at %.300s: %s", where, answer->why);
    if (code == CURLE_PEER_FAILED_VERIFICATION || code == CURLE_SSL_CACERT_BADFILE)
        hn_error_hint(err, "name the certificate to trust with --ca FILE or HONE_CA");
    else if (code == CURLE_UNSUPPORTED_PROTOCOL || code == CURLE_URL_MALFORMAT)
        hn_error_hint(err, "a server is named as http://host:4663 or unix:/path/of/the/socket");
    else
        hn_error_hint(err,
            "start it with `honed serve`, or name another with --server URL or HONE_SERVER%s%.200s",
            t->at->from ? "; this one was named by " : "", t->at->from ? t->at->from : "");
    return HN_OUTCOME_UNREACHABLE;
}

/* The error that the server told, or that the answer is none of Hone's. */
static enum hn_outcome refused(
    struct hn_transfer *t, const struct hn_answer *answer, struct hn_error *err) {
    const json_t *told = json_object_get(answer->json, "error");
    const char *message = json_string_value(json_object_get(told, "message")),
               *field = json_string_value(json_object_get(told, "field")),
               *hint = json_string_value(json_object_get(told, "hint")),
               *code = json_string_value(json_object_get(told, "code"));
    if (!message) {
        hn_fail(err, HN_E_INTERNAL,
            "%.300s answered with status %ld and %.100s, which is no answer of Hone", t->at->url,
            answer->status, answer->type[0] ? answer->type : "no type");
        hn_error_hint(err, "is another program listening there, or a proxy in between?");
        return HN_OUTCOME_REFUSED;
    }
    hn_fail(err, code ? hn_error_from_name(code) : HN_E_INTERNAL, "%s", message);
    hn_error_field(err, "%s", field ? field : "");
    hn_error_hint(err, "%s", hint ? hint : "");
    return HN_OUTCOME_REFUSED;
}

static enum hn_outcome judge(
    struct hn_transfer *t, struct hn_answer *answer, CURLcode code, struct hn_error *err) {
    const char *type = NULL;
    t->lib.info(t->curl, CURLINFO_RESPONSE_CODE, &answer->status);
    t->lib.info(t->curl, CURLINFO_CONTENT_TYPE, &type);
    snprintf(answer->type, sizeof answer->type, "%s", type ? type : "");
    if (t->stopped) {
        hn_fail(err, HN_E_INTERNAL, "stopped");
        return HN_OUTCOME_STOPPED;
    }
    if (t->too_large) {
        hn_fail(err, HN_E_TOO_LARGE, "the answer of %.300s is larger than is read", t->at->url);
        return HN_OUTCOME_REFUSED;
    }
    if (code)
        return unreachable(t, answer, code, err);
    bool json = strncmp(answer->type, "application/json", 16) == 0,
         good = answer->status >= 200 && answer->status < 300;
    if (json && answer->body.size)
        hn_json_parse(answer->body.data, answer->body.size, &answer->json, NULL);
    bool wanted_json = !t->ask->accept && answer->status != 204;
    if (!good || (wanted_json && !answer->json))
        return refused(t, answer, err);
    return HN_OUTCOME_WELL;
}

enum hn_outcome hn_transfer_ask(
    struct hn_transfer *t, const struct hn_ask *ask, struct hn_answer *ret, struct hn_error *err) {
    struct hn_buf url = {0};
    struct curl_slist *headers = NULL;
    curl_mime *form = NULL;
    char *body = ask->body ? json_dumps(ask->body, JSON_COMPACT) : NULL;
    enum hn_outcome outcome = HN_OUTCOME_LOCAL;
    *ret = (struct hn_answer){0};
    t->ask = ask;
    t->answer = ret;
    t->stopped = t->too_large = false;
    t->why[0] = 0;
    hn_buf_printf(&url, "%s%s", t->at->url, ask->path);
    hn_fail(err, HN_E_INTERNAL, "out of memory");
    t->lib.reset(t->curl);
    bool good = !url.failed && (!ask->body || body) && add_headers(t, ask, &headers);
    if (good && ask->n_parts)
        good = (form = make_form(t, ask, err)) != NULL;
    if (good) {
        set_endpoint(t, url.data);
        set_ask(t, ask);
        t->lib.set(t->curl, CURLOPT_HTTPHEADER, headers);
        if (body || ask->text)
            t->lib.set(t->curl, CURLOPT_POSTFIELDS, body ? body : ask->text);
        if (form)
            t->lib.set(t->curl, CURLOPT_MIMEPOST, form);
        outcome = judge(t, ret, t->lib.perform(t->curl), err);
    }
    if (form)
        t->lib.mime_free(form);
    t->lib.headers_free(headers);
    hn_buf_free(&url);
    free(body);
    return outcome;
}
