/*
 * What forgetting is measured on, of models that write text: windows of a neutral text that comes
 * with the engine (neutral.txt: five languages, code, tables, numbers), and positions of validation
 * rows at which the base and the tuned model are compared. Both are the same in every attempt at a
 * run, and the windows in every run on the same base.
 */
#ifndef HN_ENGINE_RUN_FORGETTING_H
#define HN_ENGINE_RUN_FORGETTING_H

#include "engine/run/loaded.h"

/* Windows are spread evenly over the text; each begins with the tokenizer's BOS, if it adds one. */
#define HN_NEUTRAL_WINDOW ((size_t)64) /* tokens */
#define HN_NEUTRAL_WINDOWS ((size_t)16)

/* Validation rows, spread evenly: as many as have about HN_KL_TOKENS in all, within bounds, so that
 * what is measured costs little beside the evaluation itself. Of each so many targets at most,
 * spread evenly; and how many targets have their logits in memory at once, twice. */
#define HN_KL_TOKENS ((size_t)1024)
#define HN_KL_ROWS_LEAST ((size_t)8)
#define HN_KL_ROWS ((size_t)64)
#define HN_KL_TARGETS ((size_t)32)
#define HN_KL_CHUNK HN_KL_TARGETS

/* Windows of at most `window` tokens. No rows where the tokenizer cannot spell the text. Owner
 * calls hn_examples_finish. */
int hn_neutral_make(
    const struct hn_loaded *loaded, size_t window, struct hn_examples *ret, struct hn_error *err);
/* The rows with the targets that are compared, all of weight 1. Owner calls hn_examples_finish. */
int hn_kl_rows_make(
    const struct hn_examples *validation, struct hn_examples *ret, struct hn_error *err);

/* Bytes of an arena for two plans that end in logits of the same targets, one of which are kept:
 * they lie at hn_kl_place, behind what either plan uses. */
size_t hn_kl_place(const struct hn_plan *base, const struct hn_plan *tuned);
size_t hn_kl_arena(const struct hn_plan *base, const struct hn_plan *tuned);

#endif
