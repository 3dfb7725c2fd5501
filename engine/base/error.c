/* The error table and its fillers; see error.h. */
#include "engine/base/error.h"
#include "engine/base/utf8.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

struct row {
    const char *name;
    const char *text;
    enum hn_error_kind kind;
};

static const struct row rows[HN_ORDINAL_COUNT] = {
    [HN_ORDINAL_OK] = {"ok", "ok", HN_KIND_INTERNAL},
#define HN_ERROR(NAME, code, KIND, text) [HN_ORDINAL_##NAME] = {#code, text, HN_KIND_##KIND},
#include "engine/errors.def"
#undef HN_ERROR
};

static const struct row *find(int code) {
    if (code > 0 || code <= -HN_ORDINAL_COUNT)
        code = HN_E_INTERNAL;
    return &rows[-code];
}

void hn_error_prefix(struct hn_error *err, const char *where) {
    char inner[sizeof err->message];
    size_t n = strlen(where);
    if (!err ||
        (strncmp(err->message, where, n) == 0 &&
            (err->message[n] == ':' || err->message[n] == ',')))
        return;
    memcpy(inner, err->message, sizeof inner);
    snprintf(err->message, sizeof err->message, "%.40s: %.980s", where, inner);
}

const char *hn_error_name(int code) {
    return find(code)->name;
}

const char *hn_error_text(int code) {
    return find(code)->text;
}

enum hn_error_kind hn_error_kind(int code) {
    return find(code)->kind;
}

int hn_error_from_name(const char *name) {
    for (int i = 0; i < HN_ORDINAL_COUNT; i++)
        if (strcmp(rows[i].name, name) == 0)
            return -i;
    return HN_E_INTERNAL;
}

/* Formats cut names of strangers at a length in bytes; what is left of a character goes, so that
 * messages stay UTF-8.
 */
static void drop_broken(char *text) {
    size_t size = strlen(text), good;
    for (char *p = text; (good = hn_utf8_valid(p, size)) < size;) {
        size_t bad = hn_utf8_bad_length(p + good, size - good);
        memmove(p + good, p + good + bad, size - good - bad + 1);
        p += good;
        size -= good + bad;
    }
}

int hn_fail(struct hn_error *err, int code, const char *format, ...) {
    if (err) {
        va_list ap;
        *err = (struct hn_error){.code = code};
        va_start(ap, format);
        vsnprintf(err->message, sizeof err->message, format, ap);
        drop_broken(err->message);
        va_end(ap);
    }
    return code;
}

int hn_fail_errno(struct hn_error *err, int saved_errno, const char *format, ...) {
    int code = saved_errno == ENOSPC || saved_errno == EDQUOT ? HN_E_DISK_FULL
        : saved_errno == EMFILE || saved_errno == ENFILE      ? HN_E_BUSY
                                                              : HN_E_INTERNAL;
    if (err) {
        va_list ap;
        *err = (struct hn_error){.code = code};
        va_start(ap, format);
        vsnprintf(err->message, sizeof err->message, format, ap);
        drop_broken(err->message);
        va_end(ap);
        size_t used = strlen(err->message);
        snprintf(err->message + used, sizeof err->message - used, ": %s", strerror(saved_errno));
    }
    return code;
}

void hn_error_hint(struct hn_error *err, const char *format, ...) {
    if (!err)
        return;
    va_list ap;
    va_start(ap, format);
    vsnprintf(err->hint, sizeof err->hint, format, ap);
    drop_broken(err->hint);
    va_end(ap);
}

void hn_error_field(struct hn_error *err, const char *format, ...) {
    if (!err)
        return;
    va_list ap;
    va_start(ap, format);
    vsnprintf(err->field, sizeof err->field, format, ap);
    drop_broken(err->field);
    va_end(ap);
}

void hn_error_inside(struct hn_error *err, const char *object) {
    char field[sizeof err->field];
    if (!err || strncmp(err->field, object, strlen(object)) == 0)
        return;
    memcpy(field, err->field, sizeof field);
    hn_error_field(err, "%s%s%.100s", object, field[0] ? "." : "", field);
}
