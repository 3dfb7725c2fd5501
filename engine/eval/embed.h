/* Texts as vectors: the mean of a model's last hidden states over their tokens, of length 1. */
#ifndef HN_ENGINE_EVAL_EMBED_H
#define HN_ENGINE_EVAL_EMBED_H

#include "engine/data/codec.h"
#include "engine/run/compute.h"

#define HN_EMBED_TOKENS ((size_t)256) /* of a text, at most; what is behind them is not read */

struct hn_embedder { /* starts with zeros */
    const struct hn_model *model;
    const struct hn_codec *codec;
    struct hn_phase phase;
    struct hn_compute compute;
    size_t longest, width; /* tokens of a text; values of a vector */
};

/* Borrows the open model and its codec. Owner calls hn_embedder_close in every case. */
int hn_embedder_open(struct hn_embedder *ret, const struct hn_model *model,
    const struct hn_codec *codec, struct hn_error *err);
/* ret[n, width]; zeros for a text without tokens. */
int hn_embedder_run(
    struct hn_embedder *e, const char *const *texts, size_t n, float *ret, struct hn_error *err);
void hn_embedder_close(struct hn_embedder *e);

#endif
