/*
 * The rows of a data set as packed tokens; see examples.h. How a row
 * becomes tokens and targets stands in encode.c; here rows that do not fit are cut, dropped or
 * refused, and all is counted.
 */
#include "engine/data/examples.h"
#include "engine/model/objective.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define PIECE_TOKENS ((size_t)1 << 20) /* that are held before they are handed on */

struct hn_examples_array hn_examples_array(struct hn_examples *ex, size_t i) {
#define ARRAY(name, n) \
    { (void **)&ex->name, &ex->name##_capacity, sizeof *ex->name, n }
    const struct hn_examples_array arrays[HN_EXAMPLES_ARRAYS] = {ARRAY(tokens, ex->n_tokens),
        ARRAY(weights, ex->n_tokens), ARRAY(starts, ex->n_rows + 1), ARRAY(lines, ex->n_rows),
        ARRAY(rows, ex->n_rows), ARRAY(targets, ex->n_tokens), ARRAY(types, ex->n_tokens),
        ARRAY(values, ex->n_rows * ex->outputs)};
#undef ARRAY
    return arrays[i];
}

size_t hn_examples_bytes(const struct hn_examples *ex) {
    struct hn_examples copy = *ex;
    size_t bytes = 0;
    for (size_t i = 0; i < HN_EXAMPLES_ARRAYS; i++) {
        struct hn_examples_array array = hn_examples_array(&copy, i);
        bytes += *array.data ? array.item * array.n : 0;
    }
    return bytes;
}

void hn_examples_release(const struct hn_examples *ex) {
    if (ex->map)
        hn_map_release(ex->map);
}

void hn_examples_finish(struct hn_examples *ex) {
    for (size_t i = 0; i < HN_EXAMPLES_ARRAYS && !ex->map; i++)
        free(*hn_examples_array(ex, i).data);
    *ex = (struct hn_examples){0};
}

void hn_examples_begin(struct hn_examples *ex, const struct hn_labels *labels) {
    enum hn_objective objective = labels ? labels->objective : HN_OBJECTIVE_TOKENS;
    *ex = (struct hn_examples){.aligned = objective != HN_OBJECTIVE_TOKENS,
        .spans = objective == HN_OBJECTIVE_SPAN,
        .outputs = hn_objectives[objective].has_values ? hn_labels_outputs(labels) : 0};
}

static bool keep_targets(struct hn_examples *ex, const struct hn_encoded *e, size_t n) {
    size_t total = ex->n_tokens + n, outputs = ex->outputs;
    if (!hn_grow(&ex->targets, &ex->targets_capacity, total, sizeof *ex->targets) ||
        !hn_grow(&ex->types, &ex->types_capacity, total, sizeof *ex->types) ||
        !hn_grow(&ex->values, &ex->values_capacity, (ex->n_rows + 1) * outputs, sizeof *ex->values))
        return false;
    memcpy(ex->types + ex->n_tokens, e->types, n * sizeof *ex->types);
    for (size_t i = 0; i < n; i++)
        ex->targets[ex->n_tokens + i] = outputs ? (int32_t)ex->n_rows : e->targets[i];
    if (outputs)
        memcpy(ex->values + ex->n_rows * outputs, e->values, outputs * sizeof *ex->values);
    return true;
}

int hn_examples_add(struct hn_examples *ex, const struct hn_encoded *e, size_t n, size_t row,
    uint32_t line, struct hn_error *err) {
    size_t total = ex->n_tokens + n;
    if (!hn_grow(&ex->tokens, &ex->tokens_capacity, total, sizeof *ex->tokens) ||
        !hn_grow(&ex->weights, &ex->weights_capacity, total, sizeof *ex->weights) ||
        !hn_grow(&ex->starts, &ex->starts_capacity, ex->n_rows + 2, sizeof *ex->starts) ||
        !hn_grow(&ex->lines, &ex->lines_capacity, ex->n_rows + 1, sizeof *ex->lines) ||
        !hn_grow(&ex->rows, &ex->rows_capacity, ex->n_rows + 1, sizeof *ex->rows))
        return hn_fail(err, HN_E_INTERNAL, "out of memory for the tokens");
    memcpy(ex->tokens + ex->n_tokens, e->ids.ids, n * sizeof *ex->tokens);
    memcpy(ex->weights + ex->n_tokens, e->weights, n * sizeof *ex->weights);
    if (ex->aligned && !keep_targets(ex, e, n))
        return hn_fail(err, HN_E_INTERNAL, "out of memory for the tokens");
    ex->lines[ex->n_rows] = line;
    ex->rows[ex->n_rows] = row;
    ex->n_tokens = total;
    ex->starts[0] = 0;
    ex->starts[++ex->n_rows] = total;
    return 0;
}

/* Row `row` of `from` behind those of `ex`, whose arrays have room for it. */
static void copy_example(struct hn_examples *ex, const struct hn_examples *from, size_t row) {
    size_t begin = from->starts[row], n = from->starts[row + 1] - begin, at = ex->n_tokens;
    memcpy(ex->tokens + at, from->tokens + begin, n * sizeof *ex->tokens);
    memcpy(ex->weights + at, from->weights + begin, n * sizeof *ex->weights);
    for (size_t i = 0; ex->targets && i < n; i++)
        ex->targets[at + i] = ex->outputs ? (int32_t)ex->n_rows : from->targets[begin + i];
    if (ex->types)
        memcpy(ex->types + at, from->types + begin, n * sizeof *ex->types);
    if (ex->values && ex->outputs)
        memcpy(ex->values + ex->n_rows * ex->outputs, from->values + row * ex->outputs,
            ex->outputs * sizeof *ex->values);
    ex->lines[ex->n_rows] = from->lines[row];
    ex->rows[ex->n_rows] = from->rows[row];
    ex->n_tokens += n;
    ex->starts[++ex->n_rows] = ex->n_tokens;
}

int hn_examples_pick(const struct hn_examples *ex, const size_t *rows, size_t n,
    struct hn_examples *ret, struct hn_error *err) {
    struct hn_examples out = {
        .n_rows = n, .aligned = ex->aligned, .spans = ex->spans, .outputs = ex->outputs};
    for (size_t i = 0; i < n; i++)
        out.n_tokens += ex->starts[rows[i] + 1] - ex->starts[rows[i]];
    struct hn_examples from = *ex;
    for (size_t i = 0; i < HN_EXAMPLES_ARRAYS; i++) {
        struct hn_examples_array to = hn_examples_array(&out, i);
        if (*hn_examples_array(&from, i).data && !(*to.data = hn_calloc(to.n, to.item))) {
            hn_examples_finish(&out);
            return hn_fail(err, HN_E_INTERNAL, "out of memory for %zu rows", n);
        }
    }
    out.n_rows = out.n_tokens = 0;
    for (size_t i = 0; i < n; i++)
        copy_example(&out, ex, rows[i]);
    out.rows_total = n;
    *ret = out;
    return 0;
}

/* Applies the overflow rule and keeps the row, or counts it as dropped. */
static int settle(struct hn_examples *ex, const struct hn_encoded *e,
    const struct hn_encode_options *o, size_t row, uint32_t line, struct hn_error *err) {
    size_t n = hn_encoded_kept(e, o);
    bool over = e->length > o->max_length;
    ex->longest = e->length > ex->longest ? e->length : ex->longest;
    ex->windows |= e->again;
    for (size_t i = 0; i < e->notices.n; i++)
        hn_notices_add(&ex->notices, e->notices.list[i].kind, e->notices.list[i].about, line);
    for (size_t i = 0; i < n; i++)
        if ((size_t)e->ids.ids[i] >= o->vocab)
            return hn_fail(err, HN_E_MODEL_INVALID,
                "the tokenizer gives token %d, but the model has only %zu", e->ids.ids[i],
                o->vocab);
    if (over && o->overflow == HN_OVERFLOW_ERROR) {
        hn_fail(err, HN_E_DATASET_INVALID, "the row has %zu tokens; max_length is %zu", e->length,
            o->max_length);
        hn_error_hint(
            err, "shorten the row, raise max_length, or set overflow to \"truncate\" or \"drop\"");
        return HN_E_DATASET_INVALID;
    }
    size_t targets = over && o->overflow == HN_OVERFLOW_DROP ? 0 : hn_encoded_targets(e, n);
    if (!targets) {
        ex->dropped++;
        return 0;
    }
    ex->truncated += over;
    ex->target_tokens += targets;
    return hn_examples_add(ex, e, n, row, line, err);
}

/* Errors of a row say which row; the trainer's own errors stay as they are. */
static void name_row(struct hn_error *err, const struct hn_dataset *data, size_t row) {
    char where[48];
    if (!err || err->code == HN_E_INTERNAL || row >= data->n_rows)
        return;
    snprintf(where, sizeof where, "line %u", data->lines[row]);
    hn_error_prefix(err, where);
    snprintf(where, sizeof where, "data set %zu", hn_dataset_part(data, row) + 1);
    if (data->n_more)
        hn_error_prefix(err, where);
}

int hn_examples_stream(const struct hn_codec *codec, const struct hn_dataset *data,
    const size_t *rows, size_t n_rows, const struct hn_encode_options *options,
    hn_examples_flush *flush, void *user, struct hn_examples *ret, struct hn_error *err) {
    struct hn_examples ex;
    hn_examples_begin(&ex, options->labels);
    ex.rows_total = n_rows;
    struct hn_encoded encoded = {0};
    int rc = 0;
    for (size_t i = 0; i < n_rows && !rc; i++) {
        size_t row = rows ? rows[i] : i;
        json_t *object = NULL;
        rc = hn_dataset_row(data, row, &object, err);
        encoded.window = 0;
        do {
            if (!rc)
                rc = hn_row_encode(codec, data->columns, object, options, &encoded, err);
            if (!rc)
                rc = settle(&ex, &encoded, options, row, data->lines[row], err);
        } while (!rc && encoded.again);
        if (rc)
            name_row(err, data, row);
        if (!rc && flush && ex.n_tokens >= PIECE_TOKENS)
            rc = flush(user, &ex, err);
        json_decref(object);
    }
    hn_encoded_finish(&encoded);
    if (!rc && !hn_grow(&ex.starts, &ex.starts_capacity, 1, sizeof *ex.starts))
        rc = hn_fail(err, HN_E_INTERNAL, "out of memory for the tokens");
    if (rc) {
        hn_examples_finish(&ex);
        return rc;
    }
    if (!ex.n_rows)
        ex.starts[0] = 0;
    *ret = ex;
    return 0;
}

int hn_examples_encode(const struct hn_codec *codec, const struct hn_dataset *data,
    const size_t *rows, size_t n_rows, const struct hn_encode_options *options,
    struct hn_examples *ret, struct hn_error *err) {
    return hn_examples_stream(codec, data, rows, n_rows, options, NULL, NULL, ret, err);
}
