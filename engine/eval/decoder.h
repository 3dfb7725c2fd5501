/*
 * Decoder: texts that are written at the same time, which may begin and end at any step
 * (continuous batching).
 *
 * Each step is one pass of the model over the next token of every text that is being written and
 * over pieces of the prompts of those that have just begun, which so hold nobody up. Sequences have
 * contiguous rows of one key-value cache. Where a prompt begins as another one does that is, or was
 * lately, in the cache, these rows are copied instead of computed; rows of written tokens are not,
 * since a token's values differ in their last bits by how it came in.
 *
 * A row's bits depend on nothing beside it: an answer does not depend on what else is written, nor
 * on what the cache had.
 */
#ifndef HN_ENGINE_EVAL_DECODER_H
#define HN_ENGINE_EVAL_DECODER_H

#include "engine/base/buf.h"
#include "engine/data/examples.h"
#include "engine/eval/sample.h"
#include "engine/run/compute.h"

struct hn_decoder;

struct hn_generated {
    struct hn_buf text;
    size_t prompt_tokens, tokens;
    /* "stop" or "length"; "error": its grammar cannot be followed; NULL: not begun, as a pause was
     * asked for */
    const char *finish_reason;
    size_t shared;        /* prompt tokens that were in the cache already */
    struct hn_said *said; /* [n_said] with options->tell; hn_generated_finish frees it */
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

/* A text to be written. What it points to belongs to the caller and must stay until it has ended or
 * is cancelled. */
struct hn_writing {
    const struct hn_ids *prompt; /* 1 to context - 1 ids */
    struct hn_view again;        /* text at the prompt's end that the ids leave out */
    const struct hn_generate_options *options;
    size_t input; /* keys random numbers */
    struct hn_generated *result;
    void (*piece)(struct hn_writing *, const char *text, size_t size); /* new text; may be NULL */
    void (*end)(struct hn_writing *); /* result->finish_reason is set; may be NULL */
    void *user;
};

/* `g` stays the caller's and must outlive it. */
int hn_decoder_create(const struct hn_generator *g, struct hn_decoder **ret, struct hn_error *err);
void hn_decoder_destroy(struct hn_decoder *decoder);
/* False while there is no room, or another prompt is about to compute what this one shares with it:
 * to be tried again after the next step. */
bool hn_decoder_add(struct hn_decoder *decoder, struct hn_writing *writing);
/* Forgets it; no function of it is called any more. Nothing where it is not there. */
void hn_decoder_cancel(struct hn_decoder *decoder, const struct hn_writing *writing);
/* Texts that are being written. */
size_t hn_decoder_count(const struct hn_decoder *decoder);
/* One pass; calls `piece` and `end` of those that got on. HN_E_INTERNAL out of memory. */
int hn_decoder_step(struct hn_decoder *decoder, struct hn_error *err);

#endif
