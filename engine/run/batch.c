/* See batch.h. */
#include "engine/run/batch.h"
#include "engine/base/buf.h"

#include <stdlib.h>
#include <string.h>

int hn_batch_init(struct hn_batch_store *store, size_t tokens, struct hn_error *err) {
    *store = (struct hn_batch_store){.max_tokens = tokens};
    store->tokens = hn_calloc(tokens, sizeof *store->tokens);
    store->target_ids = hn_calloc(tokens, sizeof *store->target_ids);
    store->positions = hn_calloc(tokens, sizeof *store->positions);
    store->types = hn_calloc(tokens, sizeof *store->types);
    store->starts = hn_calloc(tokens + 1, sizeof *store->starts);
    store->target_rows = hn_calloc(tokens, sizeof *store->target_rows);
    store->ordinals = hn_calloc(tokens, sizeof *store->ordinals);
    store->target_weights = hn_calloc(tokens, sizeof *store->target_weights);
    if (!store->tokens || !store->target_ids || !store->positions || !store->types ||
        !store->starts || !store->target_rows || !store->ordinals || !store->target_weights) {
        hn_batch_finish(store);
        return hn_fail(err, HN_E_INTERNAL, "out of memory");
    }
    hn_batch_clear(store, tokens);
    return 0;
}

size_t hn_batch_bytes(size_t tokens) {
    return tokens * 8 * sizeof(uint32_t) + sizeof(uint32_t);
}

void hn_batch_finish(struct hn_batch_store *store) {
    free(store->tokens);
    free(store->target_ids);
    free(store->positions);
    free(store->types);
    free(store->starts);
    free(store->target_rows);
    free(store->ordinals);
    free(store->target_weights);
    *store = (struct hn_batch_store){0};
}

size_t hn_row_length(const struct hn_examples *ex, size_t row) {
    size_t end = ex->starts[row + 1];
    if (ex->aligned)
        return end - ex->starts[row];
    while (end > ex->starts[row] + 1 && ex->weights[end - 1] <= 0)
        end--;
    return end > ex->starts[row] + 1 ? end - 1 - ex->starts[row] : 0;
}

double hn_row_weight(const struct hn_examples *ex, size_t row) {
    double sum = 0;
    for (size_t i = ex->starts[row] + !ex->aligned; i < ex->starts[row + 1]; i++)
        sum += (double)ex->weights[i];
    return sum;
}

void hn_batch_clear(struct hn_batch_store *store, size_t tokens) {
    store->limit = tokens < store->max_tokens ? tokens : store->max_tokens;
    store->starts[0] = 0;
    store->batch = (struct hn_batch){.tokens = store->tokens,
        .positions = store->positions,
        .types = store->types,
        .starts = store->starts,
        .target_rows = store->target_rows,
        .target_ids = store->target_ids,
        .target_weights = store->target_weights,
        .ordinals = store->ordinals};
}

static bool begin_sequence(
    struct hn_batch_store *store, const int32_t *ids, size_t n, size_t past, uint32_t ordinal) {
    struct hn_batch *b = &store->batch;
    if (n == 0 || n > store->limit - b->n_tokens)
        return false;
    memcpy(store->tokens + b->n_tokens, ids, n * sizeof *ids);
    for (size_t i = 0; i < n; i++) {
        store->positions[b->n_tokens + i] = (uint32_t)(past + i);
        store->types[b->n_tokens + i] = 0;
    }
    store->ordinals[b->n_sequences++] = ordinal;
    b->n_tokens += n;
    store->starts[b->n_sequences] = (uint32_t)b->n_tokens;
    return true;
}

/* Rows of a task's head: a target is its token's own. */
static void add_aligned(struct hn_batch_store *store, const struct hn_examples *ex, size_t row,
    size_t n, size_t first, double total) {
    struct hn_batch *b = &store->batch;
    size_t begin = ex->starts[row];
    b->values = ex->values;
    for (size_t k = 0; ex->spans && k < 2; k++) {
        store->target_rows[b->n_targets] = (uint32_t)(first + (size_t)ex->values[2 * row + k]);
        store->target_ids[b->n_targets] = 0;
        store->target_weights[b->n_targets++] = (float)(0.5 * (double)ex->weights[begin] / total);
    }
    for (size_t i = 0; i < n; i++) {
        if (ex->types)
            store->types[first + i] = ex->types[begin + i];
        if (ex->spans || ex->weights[begin + i] <= 0)
            continue;
        store->target_rows[b->n_targets] = (uint32_t)(first + i);
        store->target_ids[b->n_targets] = ex->targets[begin + i];
        store->target_weights[b->n_targets++] = (float)((double)ex->weights[begin + i] / total);
    }
}

bool hn_batch_add(struct hn_batch_store *store, const struct hn_examples *ex, size_t row,
    uint32_t ordinal, double total) {
    struct hn_batch *b = &store->batch;
    size_t first = b->n_tokens, n = hn_row_length(ex, row), begin = ex->starts[row];
    if (!begin_sequence(store, ex->tokens + begin, n, 0, ordinal))
        return false;
    if (ex->aligned)
        add_aligned(store, ex, row, n, first, total);
    for (size_t i = 0; i < n && !ex->aligned; i++) {
        float weight = ex->weights[begin + i + 1];
        if (weight <= 0)
            continue;
        store->target_rows[b->n_targets] = (uint32_t)(first + i);
        store->target_ids[b->n_targets] = ex->tokens[begin + i + 1];
        store->target_weights[b->n_targets++] = (float)((double)weight / total);
    }
    return true;
}

bool hn_batch_add_tokens(
    struct hn_batch_store *store, const int32_t *ids, size_t n, size_t past, size_t targets) {
    struct hn_batch *b = &store->batch;
    size_t first = b->n_tokens;
    if (!begin_sequence(store, ids, n, past, 0))
        return false;
    for (size_t i = n - targets; i < n; i++) {
        store->target_rows[b->n_targets] = (uint32_t)(first + i);
        store->target_ids[b->n_targets] = 0;
        store->target_weights[b->n_targets++] = 0;
    }
    return true;
}

bool hn_batch_add_next(struct hn_batch_store *store, int32_t id, size_t past) {
    if (!hn_batch_add_tokens(store, &id, 1, past, 1))
        return false;
    store->batch.n_decode++;
    return true;
}
