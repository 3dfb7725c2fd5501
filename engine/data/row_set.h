/*
 * Rows by their content, to find those that stand there twice. A row is what its columns mean: the
 * order of its keys, columns that are not used and how the file spells it make no difference. Known
 * by 128 bits of their SHA-256.
 *
 * Or by their input alone: what is asked, without its answer or label, and without case, spaces and
 * punctuation. Rows of one input must not lie on both sides of a split.
 */
#ifndef HN_ENGINE_DATA_ROW_SET_H
#define HN_ENGINE_DATA_ROW_SET_H

#include "engine/data/dataset.h"

struct hn_row_set {      /* starts with zeros */
    uint64_t (*keys)[2]; /* [capacity], open addressing; both 0: free */
    size_t n, capacity;  /* capacity: a power of two, at most half full */
    bool inputs;         /* rows are known by their input */
};

/* The row's key, or its input's; never two zeros. */
int hn_row_key(
    const struct hn_dataset *data, size_t row, bool input, uint64_t key[2], struct hn_error *err);

/* The same of a row that is at hand: its content (a label becomes its text), the texts of its input
 * without case, spaces and punctuation, each with a line feed behind it; the key of a text. */
int hn_row_content_key(json_t *row, uint64_t key[2], struct hn_error *err);
void hn_row_input(struct hn_buf *out, enum hn_columns columns, const json_t *row);
int hn_text_key(const char *text, size_t size, uint64_t key[2], struct hn_error *err);
/* All texts in a value, written as those of an input. */
void hn_text_plain(struct hn_buf *out, const json_t *value);

/* sha256 of the contents of rows in their order, in pieces: what makes evaluations comparable. */
struct hn_row_sum { /* starts with zeros */
    void *sha;
    size_t last; /* the row that was added last */
};
/* Adds rows[n]; one that stands several times behind another, as windows of a row do, counts once.
 */
int hn_row_sum_add(struct hn_row_sum *sum, const struct hn_dataset *data, const size_t *rows,
    size_t n, struct hn_error *err);
/* In every case, with ret NULL to only free; "" where there was no row. */
void hn_row_sum_end(struct hn_row_sum *sum, char ret[HN_SHA256_HEX]);

/* Adds rows[n] of the data set, or its first n where `rows` is NULL. */
int hn_row_set_add(struct hn_row_set *set, const struct hn_dataset *data, const size_t *rows,
    size_t n, struct hn_error *err);
/* Takes out of rows[*n] those that are in the set. `once`: a row that stays goes into the set, so
 * that the next one like it does not. */
int hn_row_set_sift(struct hn_row_set *set, const struct hn_dataset *data, size_t *rows, size_t *n,
    bool once, struct hn_error *err);
/* How many of rows[n] (its first n where `rows` is NULL) are in the set. */
int hn_row_set_count(struct hn_row_set *set, const struct hn_dataset *data, const size_t *rows,
    size_t n, size_t *ret, struct hn_error *err);
/* Of keys at hand. */
int hn_row_set_put(struct hn_row_set *set, const uint64_t key[2], struct hn_error *err);
bool hn_row_set_has(const struct hn_row_set *set, const uint64_t key[2]);
void hn_row_set_finish(struct hn_row_set *set);

#endif
