/*
 * Errors: a code for programs, a sentence and a hint for people.
 *
 * Fallible functions return 0 or one of the negative HN_E_* codes and fill the nullable `struct
 * hn_error *` that is their last parameter. Outputs (`ret_…`) are untouched on failure. The table
 * is errors.def.
 */
#ifndef HN_ENGINE_BASE_ERROR_H
#define HN_ENGINE_BASE_ERROR_H

#include <stddef.h>

enum hn_error_kind {
    HN_KIND_INVALID,
    HN_KIND_UNAUTHORIZED,
    HN_KIND_FORBIDDEN,
    HN_KIND_MISSING,
    HN_KIND_METHOD,
    HN_KIND_CONFLICT,
    HN_KIND_TOO_LARGE,
    HN_KIND_MEDIA,
    HN_KIND_RANGE,
    HN_KIND_UNPROCESSABLE,
    HN_KIND_RATE,
    HN_KIND_BUSY,
    HN_KIND_DISK,
    HN_KIND_INTERNAL,
};

enum hn_error_ordinal {
    HN_ORDINAL_OK,
#define HN_ERROR(NAME, code, KIND, text) HN_ORDINAL_##NAME,
#include "engine/errors.def"
#undef HN_ERROR
    HN_ORDINAL_COUNT
};

enum hn_error_code {
    HN_OK = 0,
#define HN_ERROR(NAME, code, KIND, text) HN_E_##NAME = -HN_ORDINAL_##NAME,
#include "engine/errors.def"
#undef HN_ERROR
};

struct hn_error {
    int code;           /* HN_OK or HN_E_* */
    char field[128];    /* the request's or file's field at fault, "" if none */
    char message[1024]; /* what is wrong and where, for a person; UTF-8 */
    char hint[512];     /* what to do about it, "" if nothing helps */
};

/* Fills *err (may be NULL) and returns code, so that a caller can write `return hn_fail(...)`. */
int hn_fail(struct hn_error *err, int code, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
/* The same for a failed system call: adds strerror(saved_errno); ENOSPC and EDQUOT become
 * HN_E_DISK_FULL. */
int hn_fail_errno(struct hn_error *err, int saved_errno, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
/* Adds to an error that was already filled; returns err->code (or HN_E_INTERNAL when err is
 * NULL). */
void hn_error_hint(struct hn_error *err, const char *format, ...)
    __attribute__((format(printf, 2, 3)));
void hn_error_field(struct hn_error *err, const char *format, ...)
    __attribute__((format(printf, 2, 3)));
/* The field belongs to an object of this name: "rows" becomes "samples.rows"; no field, the object
 * itself. */
void hn_error_inside(struct hn_error *err, const char *object);

/* Puts where it happened before the message ("line 7: …"), unless it stands there already. */
void hn_error_prefix(struct hn_error *err, const char *where);

const char *hn_error_name(int code); /* "invalid_json" …; "ok" for 0; never NULL */
const char *hn_error_text(int code); /* the table's sentence */
enum hn_error_kind hn_error_kind(int code);
int hn_error_from_name(const char *name); /* HN_E_INTERNAL when unknown */

#endif
