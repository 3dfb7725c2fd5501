/*
 * Batches: rows of examples laid behind each other, with their targets.
 *
 * Only what counts is laid down: a row's tokens up to the one before its last target (nothing later
 * can influence a loss in a causal model, and the last target itself is never an input). Of rows
 * for a task's head (`aligned`), all.
 */
#ifndef HN_ENGINE_RUN_BATCH_H
#define HN_ENGINE_RUN_BATCH_H

#include "engine/data/examples.h"
#include "engine/graph/ops.h"

struct hn_batch_store {
    struct hn_batch batch; /* points into the arrays below */
    int32_t *tokens, *target_ids;
    uint32_t *positions, *types, *starts, *target_rows, *ordinals;
    float *target_weights;
    size_t max_tokens, limit; /* allocated; and what the phase that runs next has room for */
};

/* Room for `tokens` packed tokens (and as many targets and sequences). */
int hn_batch_init(struct hn_batch_store *store, size_t tokens, struct hn_error *err);
void hn_batch_finish(struct hn_batch_store *store);
size_t hn_batch_bytes(size_t tokens); /* what init allocates */

/* Tokens that row `row` takes in a batch: up to before its last target. 0 when it has none. */
size_t hn_row_length(const struct hn_examples *ex, size_t row);
double hn_row_weight(const struct hn_examples *ex, size_t row); /* sum of its target weights */
/* Empties the batch and admits at most `tokens` to it: the capacity of the plan that will run on
 * it. */
void hn_batch_clear(struct hn_batch_store *store, size_t tokens);
/* Appends a row; false when it does not fit (nothing is changed then). `ordinal` keys its dropout;
 * target weights are divided by `total`. */
bool hn_batch_add(struct hn_batch_store *store, const struct hn_examples *ex, size_t row,
    uint32_t ordinal, double total);
/* Appends plain tokens without targets, all of whose last `targets` rows get logits (generation,
 * verification). */
bool hn_batch_add_tokens(
    struct hn_batch_store *store, const int32_t *ids, size_t n, size_t past, size_t targets);

/* Appends the next token of a text whose first `past` ones are in the cache; before anything that
 * is not one. */
bool hn_batch_add_next(struct hn_batch_store *store, int32_t id, size_t past);

#endif
