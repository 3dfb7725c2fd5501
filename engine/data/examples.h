/*
 * Examples: the rows of a data set as token ids with the weight of every target, ready to train on.
 */
#ifndef HN_ENGINE_DATA_EXAMPLES_H
#define HN_ENGINE_DATA_EXAMPLES_H

#include "engine/data/choice.h"
#include "engine/data/dataset.h"
#include "engine/data/encode.h"

/* Packed rows: row i is tokens[starts[i] .. starts[i+1]). */
struct hn_examples {
    size_t n_rows, n_tokens;
    int32_t *tokens; /* [n_tokens] */
    /* [n_tokens] weight of predicting this token from those before it; 0 = no target */
    float *weights;
    size_t *starts;  /* [n_rows + 1] */
    uint32_t *lines; /* [n_rows] line in the source file */
    size_t *rows;    /* [n_rows] row (0-based, among the data set's kept rows) */
    /* Of heads of tasks, else NULL. Weights then belong to the token itself, not to its
     * prediction. */
    /* spans: `values` holds the first and the last token of each row's answer */
    bool aligned, spans;
    int32_t *targets; /* [n_tokens] label of a token that has a weight, or the row of `values` */
    uint8_t *types;   /* [n_tokens] token types */
    float *values;    /* [n_rows, outputs] of MULTI and VALUE heads */
    size_t outputs;
    /* counts of the whole set they were made from */
    size_t rows_total, dropped, truncated, target_tokens;
    struct hn_left_out left_out; /* not among rows_total */
    size_t longest;              /* tokens of the longest row before it was cut */
    bool windows;                /* some row was cut into windows */
    struct hn_notices notices;
    char sha256[HN_SHA256_HEX]; /* of the rows' contents in their order (row_set.h), or "" */
    size_t tokens_capacity, weights_capacity, starts_capacity, lines_capacity, rows_capacity,
        targets_capacity, types_capacity, values_capacity;
    /* the file that the arrays lie in (token_file.h), or NULL: they are ours */
    const struct hn_map *map;
};
enum { HN_EXAMPLES_ARRAYS = 8 };
struct hn_examples_array {
    void **data;
    size_t *capacity, item, n; /* bytes an element, elements */
};
/* Array number `i` of them. */
struct hn_examples_array hn_examples_array(struct hn_examples *ex, size_t i);
size_t hn_examples_bytes(const struct hn_examples *ex); /* of all arrays */
/* Lets go of the memory that rows of a file were read into; they are read again when needed. */
void hn_examples_release(const struct hn_examples *ex);
/* No rows yet, for this kind of target. */
void hn_examples_begin(struct hn_examples *ex, const struct hn_labels *labels);
/* Appends the first n tokens of an encoded row; `row` and `line` are kept with it. */
int hn_examples_add(struct hn_examples *ex, const struct hn_encoded *e, size_t n, size_t row,
    uint32_t line, struct hn_error *err);
void hn_examples_finish(struct hn_examples *ex);
/* A copy of some of them, in the order of `rows`. Owner calls hn_examples_finish. */
int hn_examples_pick(const struct hn_examples *ex, const size_t *rows, size_t n,
    struct hn_examples *ret, struct hn_error *err);

/* Encodes the kept rows named by `rows` (NULL: all `n_rows` = data->n_rows of them), in that
 * order. */
int hn_examples_encode(const struct hn_codec *codec, const struct hn_dataset *data,
    const size_t *rows, size_t n_rows, const struct hn_encode_options *options,
    struct hn_examples *ret, struct hn_error *err);

/* The same in pieces of bounded size: `flush` takes the rows that there are and empties `ret`. The
 * last ones stay. */
typedef int hn_examples_flush(void *user, struct hn_examples *ex, struct hn_error *err);
int hn_examples_stream(const struct hn_codec *codec, const struct hn_dataset *data,
    const size_t *rows, size_t n_rows, const struct hn_encode_options *options,
    hn_examples_flush *flush, void *user, struct hn_examples *ret, struct hn_error *err);

#endif
