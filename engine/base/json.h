/*
 * JSON access on top of jansson: strict reading of untrusted objects, canonical writing.
 */
#ifndef HN_ENGINE_BASE_JSON_H
#define HN_ENGINE_BASE_JSON_H

#include "engine/base/error.h"

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

/* Makes jansson wait for memory instead of going without: a member that is left out unnoticed would
 * make another job of the one that was asked for. Called once, before any other thread. */
void hn_json_setup(void);

/* Parses text of `size` bytes that must be one JSON value (duplicates refused, depth limited by
 * jansson). The error names line and column. New reference in *ret. */
int hn_json_parse(const char *text, size_t size, json_t **ret, struct hn_error *err);
/* Reads a whole file of at most `ceiling` bytes. */
int hn_json_load(const char *path, size_t ceiling, json_t **ret, struct hn_error *err);

/* The one of the NULL-ended list that is most like `word`: by changed letters, because `word` is a
 * part of it, or has some of its letters in their order ("lr"). NULL when all are far. */
const char *hn_word_nearest(const char *word, const char *const *list);
/* What is at fault, of several faults: {"field","message","hint"}. */
json_t *hn_json_fault(const struct hn_error *err);

/* Refuses names that are not in the NULL-ended list, with the nearest known one as hint. */
int hn_json_known(
    const json_t *object, const char *const *names, const char *prefix, struct hn_error *err);

/* Typed members. Missing or null leaves *ret untouched and returns 0 (check with a default before);
 * a wrong type is HN_E_INVALID_FIELD naming the field. Strings are borrowed from `object`. */
int hn_json_string(const json_t *object, const char *name, const char **ret, struct hn_error *err);
int hn_json_int(const json_t *object, const char *name, int64_t min, int64_t max, int64_t *ret,
    struct hn_error *err);
int hn_json_number(const json_t *object, const char *name, double min, double max, double *ret,
    struct hn_error *err);
int hn_json_bool(const json_t *object, const char *name, bool *ret, struct hn_error *err);

/* A new object of these members, in their order; takes over the values. NULL, with all values given
 * up, when one of them is NULL. For long objects, where json_pack's arguments could not be told
 * apart. */
struct hn_json_member {
    const char *name;
    json_t *value;
};
json_t *hn_json_object(const struct hn_json_member *members, size_t n);
#define HN_JSON_OBJECT(...)                                      \
    hn_json_object((const struct hn_json_member[]){__VA_ARGS__}, \
        sizeof(struct hn_json_member[]){__VA_ARGS__} / sizeof(struct hn_json_member))
/* A new reference to the value; the other two give null for NULL. */
json_t *hn_json_share(const json_t *value);
json_t *hn_json_share_or_null(const json_t *value);
json_t *hn_json_string_or_null(const char *text);

/* Sorted keys, no spaces, floats with 17 significant digits: the text that hashes are made of.
 * Caller frees. */
char *hn_json_canonical(const json_t *value);
/* A real that prints as the shortest text that reads back as the same float32. NaN and infinities
 * become null. */
json_t *hn_json_float(float value);
/* A string of any bytes: what is not UTF-8 becomes U+FFFD, so that it can always be said in
 * JSON. */
json_t *hn_json_text(const char *text, size_t size);

#endif
