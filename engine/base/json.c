/* See json.h. */
#include "engine/base/json.h"
#include "engine/base/buf.h"
#include "engine/base/file.h"

#include <math.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <utf8proc.h>

#define INSIST_BYTES ((size_t)64 << 20) /* what is larger is a document, whose reader looks */

static void *insist(size_t size) {
    void *found;
    while (!(found = malloc(size ? size : 1)) && size <= INSIST_BYTES)
        poll(NULL, 0, 10);
    return found;
}

void hn_json_setup(void) {
    json_set_alloc_funcs(insist, free);
}

int hn_json_parse(const char *text, size_t size, json_t **ret, struct hn_error *err) {
    json_error_t je;
    json_t *value =
        json_loadb(text, size, JSON_REJECT_DUPLICATES | JSON_DECODE_ANY | JSON_ALLOW_NUL, &je);
    if (!value)
        return hn_fail(err, HN_E_INVALID_JSON, "not valid JSON at line %d, column %d: %s", je.line,
            je.column, je.text);
    *ret = value;
    return 0;
}

int hn_json_load(const char *path, size_t ceiling, json_t **ret, struct hn_error *err) {
    char *text;
    size_t size;
    int rc = hn_file_read(path, ceiling, &text, &size, err);
    if (rc)
        return rc;
    rc = hn_json_parse(text, size, ret, err);
    free(text);
    if (rc && err) {
        char inner[sizeof err->message];
        memcpy(inner, err->message, sizeof inner);
        hn_fail(err, rc, "%.300s: %.600s", path, inner);
    }
    return rc;
}

/* Levenshtein distance of two short names, cut off at 64 characters. */
static size_t distance(const char *a, const char *b) {
    size_t n = strlen(a), m = strlen(b), row[65];
    if (n > 64 || m > 64)
        return 65;
    for (size_t j = 0; j <= m; j++)
        row[j] = j;
    for (size_t i = 1; i <= n; i++) {
        size_t diagonal = row[0];
        row[0] = i;
        for (size_t j = 1; j <= m; j++) {
            size_t keep = row[j], best = diagonal + (a[i - 1] != b[j - 1]);
            if (row[j] + 1 < best)
                best = row[j] + 1;
            if (row[j - 1] + 1 < best)
                best = row[j - 1] + 1;
            row[j] = best;
            diagonal = keep;
        }
    }
    return row[m];
}

/* Whether `key` shortens `name`: its letters in their order, the first one first ("lr" and
 * learning_rate). */
static bool shortens(const char *key, const char *name) {
    if (key[0] != name[0])
        return false;
    for (; *key && *name; name++)
        key += *key == *name;
    return !*key;
}

static bool part_of(const char *word, const char *name) {
    return strlen(word) > 2 && strcasestr(name, word);
}

const char *hn_word_nearest(const char *word, const char *const *list) {
    const char *nearest = NULL;
    size_t best = 65;
    for (const char *const *name = list; *name; name++) {
        size_t d = distance(word, *name);
        d = d > 2 && (shortens(word, *name) || part_of(word, *name)) ? 2 : d;
        if (d < best) {
            best = d;
            nearest = *name;
        }
    }
    return nearest;
}

json_t *hn_json_fault(const struct hn_error *err) {
    return HN_JSON_OBJECT({"field", hn_json_text(err->field, strlen(err->field))},
        {"message", hn_json_text(err->message, strlen(err->message))},
        {"hint", hn_json_text(err->hint, strlen(err->hint))});
}

int hn_json_known(
    const json_t *object, const char *const *names, const char *prefix, struct hn_error *err) {
    const char *key;
    json_t *value;
    json_object_foreach((json_t *)(uintptr_t)object, key, value) {
        bool known = false;
        for (const char *const *name = names; *name && !known; name++)
            known = strcmp(key, *name) == 0;
        if (known)
            continue;
        const char *nearest = hn_word_nearest(key, names);
        hn_fail(err, HN_E_UNKNOWN_FIELD, "there is no field \"%s%.64s\"", prefix, key);
        hn_error_field(err, "%s%.64s", prefix, key);
        if (nearest)
            hn_error_hint(err, "did you mean \"%s%s\"?", prefix, nearest);
        return HN_E_UNKNOWN_FIELD;
    }
    return 0;
}

static int wrong_type(struct hn_error *err, const char *name, const char *what) {
    hn_fail(err, HN_E_INVALID_FIELD, "%s must be %s", name, what);
    hn_error_field(err, "%s", name);
    return HN_E_INVALID_FIELD;
}

int hn_json_string(const json_t *object, const char *name, const char **ret, struct hn_error *err) {
    const json_t *value = json_object_get(object, name);
    if (!value || json_is_null(value))
        return 0;
    if (!json_is_string(value))
        return wrong_type(err, name, "a string");
    if (strlen(json_string_value(value)) != json_string_length(value))
        return wrong_type(err, name, "a string without NUL characters");
    *ret = json_string_value(value);
    return 0;
}

int hn_json_int(const json_t *object, const char *name, int64_t min, int64_t max, int64_t *ret,
    struct hn_error *err) {
    const json_t *value = json_object_get(object, name);
    if (!value || json_is_null(value))
        return 0;
    int64_t v = (int64_t)json_integer_value(value);
    if (!json_is_integer(value) || v < min || v > max) {
        char what[96];
        snprintf(
            what, sizeof what, "a whole number from %lld to %lld", (long long)min, (long long)max);
        return wrong_type(err, name, what);
    }
    *ret = v;
    return 0;
}

int hn_json_number(const json_t *object, const char *name, double min, double max, double *ret,
    struct hn_error *err) {
    const json_t *value = json_object_get(object, name);
    if (!value || json_is_null(value))
        return 0;
    double v = json_number_value(value);
    if (!json_is_number(value) || !(v >= min && v <= max)) {
        char what[96];
        snprintf(what, sizeof what, "a number from %g to %g", min, max);
        return wrong_type(err, name, what);
    }
    *ret = v;
    return 0;
}

int hn_json_bool(const json_t *object, const char *name, bool *ret, struct hn_error *err) {
    const json_t *value = json_object_get(object, name);
    if (!value || json_is_null(value))
        return 0;
    if (!json_is_boolean(value))
        return wrong_type(err, name, "true or false");
    *ret = json_is_true(value);
    return 0;
}

char *hn_json_canonical(const json_t *value) {
    return json_dumps(
        value, JSON_SORT_KEYS | JSON_COMPACT | JSON_ENCODE_ANY | JSON_REAL_PRECISION(17));
}

json_t *hn_json_float(float value) {
    if (!isfinite(value))
        return json_null();
    /* jansson prints 17 digits of the double; the double nearest to the shortest decimal keeps that
     * text short. */
    char text[32];
    for (int digits = 6; digits <= 9; digits++) {
        snprintf(text, sizeof text, "%.*g", digits, (double)value);
        if (strtof(text, NULL) == value)
            break;
    }
    return json_real(strtod(text, NULL));
}

json_t *hn_json_text(const char *text, size_t size) {
    json_t *whole = size ? json_stringn(text, size) : json_string("");
    if (whole)
        return whole;
    struct hn_buf clean = {0};
    for (size_t at = 0; at < size;) {
        utf8proc_int32_t point;
        utf8proc_ssize_t n = utf8proc_iterate(
            (const utf8proc_uint8_t *)text + at, (utf8proc_ssize_t)(size - at), &point);
        hn_buf_append(&clean, n > 0 ? text + at : "\xEF\xBF\xBD", n > 0 ? (size_t)n : 3);
        at += n > 0 ? (size_t)n : 1;
    }
    whole = clean.failed ? NULL : json_stringn(clean.data, clean.size);
    hn_buf_free(&clean);
    return whole;
}

json_t *hn_json_object(const struct hn_json_member *members, size_t n) {
    json_t *object = json_object();
    bool whole = object != NULL;
    for (size_t i = 0; i < n; i++)
        whole = json_object_set_new(object, members[i].name, members[i].value) == 0 && whole;
    if (whole)
        return object;
    json_decref(object);
    return NULL;
}

json_t *hn_json_share(const json_t *value) {
    return json_incref((json_t *)(uintptr_t)value);
}

json_t *hn_json_share_or_null(const json_t *value) {
    return value ? hn_json_share(value) : json_null();
}

json_t *hn_json_string_or_null(const char *text) {
    return text ? json_string(text) : json_null();
}
