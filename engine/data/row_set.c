/* See row_set.h. */
#include "engine/data/row_set.h"
#include "engine/base/buf.h"
#include "engine/base/file.h"
#include "engine/base/json.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define FIRST_CAPACITY ((size_t)1024)

static int key_of(
    const struct hn_dataset *data, size_t row, uint64_t key[2], struct hn_error *err) {
    char hex[HN_SHA256_HEX], half[17] = "";
    json_t *object = NULL;
    int rc = hn_dataset_row(data, row, &object, err);
    char *text = rc ? NULL : hn_json_canonical(object);
    json_decref(object);
    if (!text)
        return rc ? rc : hn_fail(err, HN_E_INTERNAL, "out of memory");
    hn_sha256(text, strlen(text), hex);
    free(text);
    for (size_t i = 0; i < 2; i++) {
        memcpy(half, hex + 16 * i, 16);
        key[i] = strtoull(half, NULL, 16);
    }
    key[1] |= 1; /* so that no key is a free place */
    return 0;
}

/* The key's place, or the free one where it would go. */
static size_t place_of(const struct hn_row_set *set, const uint64_t key[2]) {
    size_t at = (size_t)key[0] & (set->capacity - 1);
    while (set->keys[at][1] && memcmp(set->keys[at], key, sizeof set->keys[at]) != 0)
        at = (at + 1) & (set->capacity - 1);
    return at;
}

static bool grow(struct hn_row_set *set) {
    struct hn_row_set next = {
        .n = set->n, .capacity = set->capacity ? 2 * set->capacity : FIRST_CAPACITY};
    if (!(next.keys = hn_calloc(next.capacity, sizeof *next.keys)))
        return false;
    for (size_t i = 0; i < set->capacity; i++)
        if (set->keys[i][1])
            memcpy(next.keys[place_of(&next, set->keys[i])], set->keys[i], sizeof set->keys[i]);
    free(set->keys);
    *set = next;
    return true;
}

/* Whether the row is there, and puts it there if `add`. */
static int find(struct hn_row_set *set, const struct hn_dataset *data, size_t row, bool add,
    bool *ret_there, struct hn_error *err) {
    uint64_t key[2];
    int rc = key_of(data, row, key, err);
    if (!rc && 2 * set->n >= set->capacity && !grow(set))
        rc = hn_fail(err, HN_E_INTERNAL, "out of memory");
    if (rc)
        return rc;
    size_t at = place_of(set, key);
    *ret_there = set->keys[at][1] != 0;
    if (add && !*ret_there) {
        memcpy(set->keys[at], key, sizeof key);
        set->n++;
    }
    return 0;
}

int hn_row_set_add(struct hn_row_set *set, const struct hn_dataset *data, const size_t *rows,
    size_t n, struct hn_error *err) {
    bool there;
    int rc = 0;
    for (size_t i = 0; !rc && i < n; i++)
        rc = find(set, data, rows ? rows[i] : i, true, &there, err);
    return rc;
}

int hn_row_set_sift(struct hn_row_set *set, const struct hn_dataset *data, size_t *rows, size_t *n,
    bool once, struct hn_error *err) {
    size_t kept = 0;
    int rc = 0;
    for (size_t i = 0; !rc && i < *n; i++) {
        bool there = false;
        rc = find(set, data, rows[i], once, &there, err);
        if (!there)
            rows[kept++] = rows[i];
    }
    *n = kept;
    return rc;
}

void hn_row_set_finish(struct hn_row_set *set) {
    free(set->keys);
    *set = (struct hn_row_set){0};
}
