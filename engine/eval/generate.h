/*
 * Generation: prompts to texts, with a key-value cache, several sequences at once (decoder.h).
 *
 * How a token is chosen: sample.h. Random numbers are keyed by (seed, input, position), so an
 * answer does not depend on what else is generated. Ends at an end-of-turn token, a stop string,
 * max_tokens or the end of the context.
 */
#ifndef HN_ENGINE_EVAL_GENERATE_H
#define HN_ENGINE_EVAL_GENERATE_H

#include "engine/eval/decoder.h"

/* Called with each new piece of text (whole UTF-8 characters); may be NULL. */
typedef void hn_piece_fn(void *user, size_t input, const char *text, size_t size);

/* Fills results[n] (caller frees them with hn_generated_finish, in every case). A prompt longer
 * than the context is HN_E_TOO_LARGE. After a pause the answers are those of the first prompts, as
 * many as the slots at least. */
int hn_generate(const struct hn_generator *g, const struct hn_ids *prompts, size_t n,
    const struct hn_generate_options *options, struct hn_generated *results, hn_piece_fn *piece,
    void *user, struct hn_error *err);

#endif
