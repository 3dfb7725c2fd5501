/*
 * The next token of a text, from the logits behind its last one.
 *
 * Greedy at temperature 0, else a draw from softmax(logits / temperature), of the top_k most likely
 * tokens, of the fewest of those that have top_p together. Presence and frequency penalties are
 * subtracted from the logits of tokens that were written already, once and once for each time; a
 * bias is added. The draw is keyed by (seed, input, position): it depends on nothing else.
 */
#ifndef HN_ENGINE_EVAL_SAMPLE_H
#define HN_ENGINE_EVAL_SAMPLE_H

#include "engine/base/error.h"

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { HN_TOP_LOGPROBS = 20 };

struct hn_grammar;

struct hn_bias {
    int32_t id; /* below the vocabulary's size */
    float value;
};

struct hn_generate_options {
    size_t max_tokens;
    double temperature, top_p; /* top_p 1: off */
    size_t top_k;              /* 0: off */
    uint64_t seed;
    const char *const *stop; /* [n_stop] */
    size_t n_stop;
    double presence_penalty, frequency_penalty;
    const struct hn_bias *bias; /* [n_bias] added to logits; each id once */
    size_t n_bias;
    const struct hn_grammar *grammar; /* that the text must be of; NULL: any text */
    bool tell;                        /* each token with its log probability */
    size_t n_top;                     /* and those of the likeliest ones: at most HN_TOP_LOGPROBS */
    /* what random numbers and messages count inputs from: prompts are a part of a longer list */
    size_t first;
    const atomic_bool *pause; /* once true, no further inputs are begun; NULL: never */
};

/* What is needed for one draw; a decoder has one for all of its texts. */
struct hn_sampler {
    size_t vocab;
    struct hn_candidate *heap; /* [vocab] */
    float *logits;             /* [vocab] a changed copy */
};

/* A token that was written, with its log probability (natural, before temperature, penalties and
 * bias) and those of the likeliest ones. */
struct hn_said {
    int32_t id;
    float logprob;
    size_t end; /* bytes of the answer up to and with it */
    size_t n_top;
    struct {
        int32_t id;
        float logprob;
    } top[HN_TOP_LOGPROBS];
};

/* Tokens that a text has so far, each once, with how often. */
struct hn_written {
    int32_t *ids;
    uint32_t *counts;
    size_t n, ids_capacity, counts_capacity;
};
bool hn_written_add(struct hn_written *written, int32_t id);
void hn_written_free(struct hn_written *written);

int hn_sampler_init(struct hn_sampler *sampler, size_t vocab, struct hn_error *err);
void hn_sampler_finish(struct hn_sampler *sampler);
/* `allowed`: [vocab] of tokens that may come, or NULL for all; one of them at least must. */
int32_t hn_sample(struct hn_sampler *sampler, const float *logits, const bool *allowed,
    const struct hn_generate_options *options, const struct hn_written *written, size_t input,
    size_t position);
/* What `said` tells of token `id`; options->logprobs of the likeliest ones. */
void hn_sample_tell(
    const float *logits, size_t vocab, int32_t id, size_t n_top, struct hn_said *said);

#endif
