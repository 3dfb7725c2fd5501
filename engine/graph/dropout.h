/*
 * Dropout masks: kept or not is a function of (seed, step, layer, module, the row's number in the
 * epoch, token position, channel), never of the place in the packed batch, so that packing,
 * micro-batches and threads change nothing. Three kinds: of an adapter's input, of hidden states,
 * and of attention's probabilities, where the head is the lane and the key the channel.
 */
#ifndef HN_ENGINE_GRAPH_DROPOUT_H
#define HN_ENGINE_GRAPH_DROPOUT_H

#include "engine/graph/ops.h"
#include "engine/base/rng.h"

/* Number of the module that a linear op's part is: unique within the model. */
static inline uint64_t hn_dropout_module(const struct hn_op *op, size_t part) {
    const struct hn_weight *w = op->attr.linear.weights[part];
    return (uint64_t)(w->layer + 1) * HN_ROLES + (uint64_t)w->role;
}

/* Sequence that packed row `row` belongs to. */
static inline size_t hn_sequence_of(const struct hn_batch *batch, size_t row) {
    size_t low = 0, high = batch->n_sequences;
    while (high - low > 1) {
        size_t mid = (low + high) / 2;
        if (batch->starts[mid] <= row)
            low = mid;
        else
            high = mid;
    }
    return low;
}

/* Key of one token at one module; channels are the last counter. */
static inline uint64_t hn_dropout_key(
    const struct hn_exec *x, const struct hn_op *op, size_t part, size_t row) {
    uint64_t ordinal = x->batch->ordinals[hn_sequence_of(x->batch, row)];
    uint64_t place = ordinal << 32 | x->batch->positions[row];
    return hn_random_u64(
        x->seed, HN_PURPOSE_DROPOUT, x->dropout_step << 16 | hn_dropout_module(op, part), place);
}

static inline bool hn_dropout_lane(uint64_t key, size_t lane, size_t channel, double p) {
    uint32_t words[4], counter[4] = {(uint32_t)(channel / 4), (uint32_t)lane, 0, 0},
                       k[2] = {(uint32_t)key, (uint32_t)(key >> 32)};
    hn_philox(counter, k, words);
    return (double)words[channel % 4] >= p * 0x1p32;
}

static inline bool hn_dropout_channel(uint64_t key, size_t channel, double p) {
    return hn_dropout_lane(key, 0, channel, p);
}

/* values[i] *= 0 or 1 / (1 − p), for the channels first … first + n; first is a multiple of 4. */
static inline void hn_dropout_apply(
    uint64_t key, size_t lane, size_t first, double p, float *values, size_t n) {
    const uint32_t k[2] = {(uint32_t)key, (uint32_t)(key >> 32)};
    const double bound = p * 0x1p32;
    const float factor = (float)(1 / (1 - p));
    for (size_t i = 0; i < n; i += 4) {
        uint32_t words[4], counter[4] = {(uint32_t)((first + i) / 4), (uint32_t)lane, 0, 0};
        hn_philox(counter, k, words);
        for (size_t j = 0; j < 4 && i + j < n; j++)
            values[i + j] = (double)words[j] >= bound ? values[i + j] * factor : 0;
    }
}

/* Key of a token behind the weight of role `place`, and of a query in a layer's attention. */
static inline uint64_t hn_hidden_key(const struct hn_exec *x, const struct hn_op *op, size_t row) {
    uint64_t ordinal = x->batch->ordinals[hn_sequence_of(x->batch, row)];
    uint64_t module = (uint64_t)(op->layer + 1) * HN_ROLES + (uint64_t)op->attr.dropout.place;
    return hn_random_u64(x->seed, HN_PURPOSE_HIDDEN, x->dropout_step << 16 | module,
        ordinal << 32 | x->batch->positions[row]);
}

static inline uint64_t hn_attention_key(
    const struct hn_exec *x, const struct hn_op *op, size_t sequence, size_t query) {
    return hn_random_u64(x->seed, HN_PURPOSE_ATTENTION,
        x->dropout_step << 16 | (uint64_t)(op->layer + 1),
        (uint64_t)x->batch->ordinals[sequence] << 32 | query);
}

/* Packed row whose token a row of a [targets] tensor was gathered from. */
static inline size_t hn_token_row(const struct hn_exec *x, enum hn_dim dim, size_t row) {
    return dim == HN_DIM_TARGETS ? x->batch->target_rows[row] : row;
}

static inline bool hn_dropout_keep(const struct hn_exec *x, const struct hn_op *op, size_t part,
    size_t row, size_t channel, double p) {
    return hn_dropout_channel(hn_dropout_key(x, op, part, row), channel, p);
}

#endif
