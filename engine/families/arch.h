/*
 * Room engine/families. The model families, a page each, and opening a model of any of them.
 *
 * Nouns: architecture (how a family is configured, built, named and described).
 * Ownership: An open model is closed with hn_model_close.
 * May include: engine/base engine/graph engine/model.
 */

/*
 * The list of model families, and what their descriptions share: reading a configuration that
 * stands either in a GGUF file's fields or in a folder's config.json.
 */
#ifndef HN_ENGINE_FAMILIES_ARCH_H
#define HN_ENGINE_FAMILIES_ARCH_H

#include "engine/model/model.h"

extern const struct hn_arch hn_arch_llama, hn_arch_mistral, hn_arch_qwen2, hn_arch_qwen3,
    hn_arch_gemma3, hn_arch_gpt2, hn_arch_bert, hn_arch_roberta, hn_arch_distilbert;

/* The family of an open file or folder. HN_E_UNSUPPORTED lists what there is. */
int hn_arch_find(const struct hn_model *model, const struct hn_arch **ret, struct hn_error *err);

/* A field of the configuration: "<arch>.<gguf>" of a GGUF file, or `hf` of config.json; NULL where
 * there is none. Alternatives in `hf` are separated by '|'. */
struct hn_arch_key {
    const char *gguf, *hf;
};
#define HN_CONTEXT_KEY \
    ((struct hn_arch_key){"context_length", "max_position_embeddings|n_positions"})
#define HN_MAX_CONTEXT ((size_t)1 << 24)
double hn_arch_number(const struct hn_model *model, struct hn_arch_key key, double fallback);
bool hn_arch_flag(const struct hn_model *model, struct hn_arch_key key, bool fallback);
/* A member of config.json, NULL for GGUF files. Borrowed. */
const json_t *hn_arch_json(const struct hn_model *model, const char *hf);

/* Tokens of a row that the model was made for, unchecked. */
double hn_arch_context(const struct hn_model *model);
/* What attention is scaled by when a GGUF file is read, which has no field for it. */
double hn_arch_gguf_scale(const struct hn_model *model);
/* Sizes, norms' epsilon and context, with ceilings. */
int hn_arch_read_sizes(struct hn_model *model, struct hn_error *err);
/* Rotary frequencies with their scaling (linear, llama3, yarn, or the file's own factors); others
 * are refused. */
int hn_rope_configure(struct hn_model *model, struct hn_error *err);
/* Which layers see a window only: layer_types, sliding_window and their kin. `pattern`: every so
 * many-th layer sees all, where the configuration says nothing else; 0: all layers see the
 * window. */
int hn_arch_read_windows(struct hn_model *model, size_t pattern, struct hn_error *err);
/* config.json's "hidden_act"; refuses what is not known. */
int hn_arch_read_activation(
    struct hn_model *model, const char *hf, enum hn_activation fallback, struct hn_error *err);

#endif
