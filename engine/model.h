/*
 * A base model: its configuration and its weights, mapped read-only from a GGUF file (or a Hugging Face folder).
 *
 * A family (arch_*.c) contributes one `struct hn_arch`: how to read the configuration, which weights there are under
 * which names, and how a forward pass is put together (graph.h). Nothing else in the engine knows family names.
 */
#ifndef HN_MODEL_H
#define HN_MODEL_H

#include "engine/dtype.h"
#include "engine/error.h"
#include "engine/gguf.h"

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>

#define HN_MAX_LAYERS 256
#define HN_NAME 128

struct hn_graph;
struct hn_graph_options;

/* What a weight is for. The order is the order in the trainable parameter vector. */
enum hn_role {
    HN_ROLE_EMBED,     /* [vocab, hidden] */
    HN_ROLE_ATTN_NORM, /* [hidden] */
    HN_ROLE_Q,         /* [heads·head_dim, hidden] */
    HN_ROLE_K,         /* [kv_heads·head_dim, hidden] */
    HN_ROLE_V,
    HN_ROLE_O,        /* [hidden, heads·head_dim] */
    HN_ROLE_FFN_NORM, /* [hidden] */
    HN_ROLE_GATE,     /* [ffn, hidden] */
    HN_ROLE_UP,       /* [ffn, hidden] */
    HN_ROLE_DOWN,     /* [hidden, ffn] */
    HN_ROLE_OUT_NORM, /* [hidden] */
    HN_ROLE_HEAD,     /* [vocab, hidden]; the embedding itself when tied */
    HN_ROLES,
};
static inline bool hn_role_is_norm(enum hn_role role) {
    return role == HN_ROLE_ATTN_NORM || role == HN_ROLE_FFN_NORM || role == HN_ROLE_OUT_NORM;
}

/* A matrix [rows, cols] (row-major, cols fastest) or a vector [1, cols]. */
struct hn_weight {
    char hf_name[HN_NAME];   /* "model.layers.0.self_attn.q_proj.weight" */
    char gguf_name[HN_NAME]; /* "blk.0.attn_q.weight" */
    enum hn_role role;
    int layer; /* -1 outside the layers */
    enum hn_dtype type;
    size_t rows, cols;
    const void *data; /* blocks of `type`, into the map */
    size_t param;     /* offset in the parameter vector when it is trained itself, else SIZE_MAX */
};

struct hn_config {
    char family[32]; /* "llama" */
    size_t layers, hidden, heads, kv_heads, head_dim, ffn, vocab, context;
    double norm_eps, rope_base;
    bool rope_interleaved; /* pairs (2i, 2i+1), as GGUF stores arch llama; else (i, i + d/2) */
    bool tied;             /* the head is the embedding */
};

struct hn_model;
struct hn_arch {
    const char *family;    /* our name */
    const char *gguf_arch; /* general.architecture */
    int (*configure)(struct hn_model *model, struct hn_error *err);
    int (*build)(const struct hn_model *model, const struct hn_graph_options *options, struct hn_graph *graph,
        struct hn_error *err);
    /* config.json of Transformers for the model, as versions 4 and 5 both read it. New reference, NULL when out of
     * memory. */
    json_t *(*describe)(const struct hn_model *model);
    /* Names of roles, with %d for the layer; NULL where the family has no such weight. */
    struct hn_role_names {
        const char *gguf, *hf;
        const char *module; /* PEFT's short module name for linear layers ("q_proj"), else NULL */
    } names[HN_ROLES];
};

struct hn_model {
    const struct hn_arch *arch;
    struct hn_config config;
    struct hn_gguf gguf;
    struct hn_weight *weights; /* [n_weights], ordered by layer and role */
    size_t n_weights;
    struct hn_weight *by_role[HN_ROLES]; /* outside the layers */
    struct hn_weight **layers[HN_ROLES]; /* [config.layers] each, NULL where the role has none */
    size_t parameters, mapped_bytes;
    char quantisation[32]; /* the type that holds most parameters of the layers */
};

/* `path` is a GGUF file. Owner calls hn_model_close in every case. */
int hn_model_open(struct hn_model *model, const char *path, struct hn_error *err);
void hn_model_close(struct hn_model *model);
const struct hn_weight *hn_model_weight(const struct hn_model *model, int layer, enum hn_role role);

/* out[cols] or out[rows, cols]: the weight's values as f32. */
void hn_weight_row(const struct hn_weight *weight, size_t row, float *out);

#endif
