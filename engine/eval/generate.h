/*
 * Generation: prompts to texts, with a key-value cache, several sequences at once (decoder.h).
 *
 * How a token is chosen: sample.h. Random numbers are keyed by (seed, input, position), so an
 * answer does not depend on what else is generated. Ends at an end-of-turn token, a stop string,
 * max_tokens or the end of the context.
 */
#ifndef HN_ENGINE_EVAL_GENERATE_H
#define HN_ENGINE_EVAL_GENERATE_H

#include "engine/run/compute.h"
#include "engine/data/examples.h"
#include "engine/run/params.h"

#include <stdatomic.h>

struct hn_said;

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
    bool tell;    /* each token with its log probability */
    size_t n_top; /* and those of the likeliest ones: at most HN_TOP_LOGPROBS */
    /* what random numbers and messages count inputs from: prompts are a part of a longer list */
    size_t first;
    const atomic_bool *pause; /* once true, no further inputs are begun; NULL: never */
};

struct hn_generated {
    struct hn_buf text;
    size_t prompt_tokens, tokens;
    const char *finish_reason; /* "stop" or "length"; NULL: not begun, as a pause was asked for */
    size_t shared;             /* prompt tokens that were in the cache already */
    struct hn_said *said;      /* [n_said] with options->tell; hn_generated_finish frees it */
    size_t n_said, said_capacity;
};
void hn_generated_finish(struct hn_generated *generated);

struct hn_generator {
    struct hn_compute *compute;
    const struct hn_phase *phase; /* made by hn_sample_phase */
    const struct hn_model *model;
    const struct hn_codec *codec;
    const float *params;
    /* sequences at the same time; tokens of one at most; tokens of all, rows of the cache */
    size_t slots, context, rows;
    /* [n] text at a prompt's end that its ids leave out: answers that begin with it lose it; NULL:
     * none */
    const struct hn_view *again;
};

/* Called with each new piece of text (whole UTF-8 characters); may be NULL. */
typedef void hn_piece_fn(void *user, size_t input, const char *text, size_t size);

/* Fills results[n] (caller frees them with hn_generated_finish, in every case). A prompt longer than the context is HN_E_TOO_LARGE.
 * After a pause the answers are those of the first prompts, as many as the slots at least. */
int hn_generate(const struct hn_generator *g, const struct hn_ids *prompts, size_t n,
    const struct hn_generate_options *options, struct hn_generated *results, hn_piece_fn *piece,
    void *user, struct hn_error *err);

#endif
