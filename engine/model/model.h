/*
 * Room engine/model. The types that describe a model. Opening one is in families/.
 *
 * Nouns: role (what a weight is for), weight, configuration, head (of a task), architecture,
 *   adapter (LoRA).
 * Ownership: A model owns its weights' list; the values lie in the file's map.
 * May include: engine/base engine/formats engine/hyperparams engine/tables.
 */

/*
 * A base model: its configuration and its weights, mapped read-only from a GGUF file (or a Hugging
 * Face folder).
 *
 * A family (arch_*.c) contributes one `struct hn_arch`: how to read the configuration, which
 * weights there are under which names, and how a forward pass is put together (graph.h). Nothing
 * else in the engine knows family names.
 */
#ifndef HN_ENGINE_MODEL_MODEL_H
#define HN_ENGINE_MODEL_MODEL_H

#include "engine/formats/dtype.h"
#include "engine/base/error.h"
#include "engine/formats/folder.h"
#include "engine/formats/gguf.h"

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>

#define HN_MAX_LAYERS 256
#define HN_NAME 128
#define HN_MAX_HEAD_DIM 1024

struct hn_graph;

/* What a weight is for. The order is the order in the trainable parameter vector. A bias follows
 * its matrix or norm.
 */
enum hn_role {
    HN_ROLE_EMBED,      /* [vocab, hidden] */
    HN_ROLE_POSITION,   /* [context + position_offset, hidden]: learned positions */
    HN_ROLE_TOKEN_TYPE, /* [token_types, hidden]: which of a pair of texts a token is of */
    HN_ROLE_EMBED_NORM, /* [hidden]: of the sum of embeddings */
    HN_ROLE_EMBED_NORM_BIAS,
    HN_ROLE_ATTN_NORM,      /* [hidden] */
    HN_ROLE_ATTN_NORM_BIAS, /* [hidden] */
    /* [(heads + 2·kv_heads)·head_dim, hidden]: the three of them as one matrix */
    HN_ROLE_QKV,
    HN_ROLE_QKV_BIAS,
    HN_ROLE_Q, /* [heads·head_dim, hidden] */
    HN_ROLE_Q_BIAS,
    HN_ROLE_K, /* [kv_heads·head_dim, hidden] */
    HN_ROLE_K_BIAS,
    HN_ROLE_V,
    HN_ROLE_V_BIAS,
    HN_ROLE_Q_NORM, /* [head_dim]: of every query head */
    HN_ROLE_K_NORM,
    HN_ROLE_O, /* [hidden, heads·head_dim] */
    HN_ROLE_O_BIAS,
    HN_ROLE_POST_ATTN_NORM, /* [hidden]: of attention's output, before it is added */
    HN_ROLE_FFN_NORM,       /* [hidden] */
    HN_ROLE_FFN_NORM_BIAS,
    HN_ROLE_GATE, /* [ffn, hidden] */
    HN_ROLE_GATE_BIAS,
    HN_ROLE_UP, /* [ffn, hidden] */
    HN_ROLE_UP_BIAS,
    HN_ROLE_DOWN, /* [hidden, ffn] */
    HN_ROLE_DOWN_BIAS,
    HN_ROLE_POST_FFN_NORM, /* [hidden] */
    HN_ROLE_OUT_NORM,      /* [hidden] */
    HN_ROLE_OUT_NORM_BIAS,
    HN_ROLE_POOLER, /* [hidden, hidden]: of an encoder's first token */
    HN_ROLE_POOLER_BIAS,
    HN_ROLE_DENSE, /* [hidden, hidden]: of a task's head (hn_model_set_head) */
    HN_ROLE_DENSE_BIAS,
    HN_ROLE_SCORE, /* [outputs, hidden]: of a task's head */
    HN_ROLE_SCORE_BIAS,
    HN_ROLE_HEAD, /* [vocab, hidden]; the embedding itself when tied */
    HN_ROLES,
};

/* A matrix [rows, cols] (row-major, cols fastest) or a vector [1, cols]. */
struct hn_weight {
    char hf_name[HN_NAME];   /* "model.layers.0.self_attn.q_proj.weight" */
    char gguf_name[HN_NAME]; /* "blk.0.attn_q.weight" */
    enum hn_role role;
    int layer; /* -1 outside the layers */
    enum hn_dtype type;
    size_t rows, cols;
    /* blocks of `type`, into the map; or `owned`; NULL: new, a head that the file does not have */
    const void *data;
    float *owned; /* vectors are converted to f32 when the model is opened */
    /* one-dimensional in files; norms and biases, which weight decay leaves alone */
    bool vector;
    bool transposed; /* stored as [cols, rows] (GPT-2's Conv1D) */
    bool unused;     /* the task does without it: not computed, not trained, not exported */
    size_t param;    /* offset in the parameter vector when it is trained itself, else SIZE_MAX */
};

enum hn_activation { HN_SILU, HN_GELU_TANH, HN_GELU, HN_RELU, HN_TANH, HN_ACTIVATIONS };

/* Rotary embeddings: angle = position · inverse[i] for pair i; cos and sin are multiplied by scale
 * (YaRN). */
struct hn_rope {
    double inverse[HN_MAX_HEAD_DIM / 2], scale, base;
};

struct hn_model_config {
    char family[32]; /* "llama" */
    size_t layers, hidden, heads, kv_heads, head_dim, ffn, vocab, context;
    /* position_offset: row of the first token's position (RoBERTa: 2) */
    size_t token_types, position_offset;
    double norm_eps;
    double attention_scale; /* of q·k */
    double embed_scale;
    enum hn_activation activation;
    bool layer_norm; /* LayerNorm; else RMSNorm */
    /* pairs (2i, 2i+1), as GGUF stores arch llama; else (i, i + d/2) */
    bool rope_interleaved;
    bool tied;                       /* the head is the embedding */
    struct hn_rope rope, local_rope; /* local_rope: of layers with a window, where has_local_rope */
    bool has_local_rope;
    /* keys a query sees, itself included; 0: all */
    size_t window[HN_MAX_LAYERS];
    /* with which the model was made to be trained on */
    double dropout, attention_dropout, head_dropout;
    double init_range; /* standard deviation of new matrices */
};

/* What a row's target is, and so the loss. */
enum hn_objective {
    HN_OBJECTIVE_TOKENS,  /* the next token, by the vocabulary's head */
    HN_OBJECTIVE_CLASSES, /* one of the labels: cross entropy */
    HN_OBJECTIVE_MULTI,   /* any of the labels: binary cross entropy, the labels' mean */
    HN_OBJECTIVE_VALUE,   /* a number: squared error */
    HN_OBJECTIVE_TAGS,    /* one of the labels for each word */
    /* first and last token of the answer: cross entropy over the sequence, mean of the two */
    HN_OBJECTIVE_SPAN,
    HN_OBJECTIVES,
};

/* A head as Transformers has it for a family: input → [pooler, tanh] → [dropout] → [dense,
 * activation] → [dropout] → score. */
struct hn_head_names {
    const char *hf_class;
    const char *dense, *score; /* modules; dense NULL: without */
    const char *saved;         /* PEFT's modules_to_save, joined by commas */
    bool pooled, drops_input, drops, bias;
    /* config.json's name of its dropout; NULL or absent: that of hidden states */
    const char *dropout;
    double dropout_absent;         /* where config.json leaves `dropout` out; 0: as without it */
    enum hn_activation activation; /* behind dense */
};
enum hn_head_kind { HN_HEAD_SEQUENCE, HN_HEAD_TOKENS, HN_HEAD_SPAN, HN_HEADS };

struct hn_head {
    enum hn_objective objective;
    const struct hn_head_names *names; /* NULL for HN_OBJECTIVE_TOKENS */
    size_t outputs;                    /* columns of the logits */
    bool is_new;                       /* a part of it is not in the file and begins at random */
    bool reshaped;                     /* the file's head has another number of outputs */
};

struct hn_model;
struct hn_arch {
    const char *family;    /* our name */
    const char *gguf_arch; /* general.architecture */
    const char *hf_type;   /* config.json's model_type */
    const char *hf_class;  /* config.json's architectures */
    /* of tensor names, which some files leave out ("transformer."); or NULL */
    const char *hf_prefix;
    bool encoder; /* sees both ways and writes no text */
    /* What a config.json means that leaves a field out: Transformers' class of the family. 0: as
     * hn_arch_read_sizes() has it. */
    struct {
        size_t context, kv_heads, head_dim, window;
        /* with windows: layers in front without one; whether use_sliding_window must be there */
        size_t window_begin;
        bool window_asked, ties; /* ties: tie_word_embeddings */
        double rope_base;
    } absent;
    int (*configure)(struct hn_model *model, struct hn_error *err);
    /* adds the ops; graph->model and graph->options are set */
    void (*build)(struct hn_graph *graph);
    /* config.json of Transformers for the model, as versions 4 and 5 both read it. New reference,
     * NULL when out of memory. */
    json_t *(*describe)(const struct hn_model *model);
    /* Names of roles, with %d for the layer; NULL where the family has no such weight. */
    struct hn_role_names {
        const char *gguf, *hf;
        const char *module; /* PEFT's short module name for linear layers ("q_proj"), else NULL */
        bool optional;      /* used where the file has it */
        bool transposed;    /* Hugging Face files store [in, out] */
        /* the value is what Hugging Face files store plus this (Gemma's norms) */
        float offset;
    } names[HN_ROLES];
    /* score NULL: Transformers has no such head for the family */
    struct hn_head_names heads[HN_HEADS];
    /* beginnings of tensor names that nothing here reads; or NULL */
    const char *const *leftovers;
};

struct hn_model {
    const struct hn_arch *arch;
    struct hn_model_config config;
    struct hn_head head;
    /* a Hugging Face folder: `folder` is open, and `gguf` has its tokenizer's fields only */
    bool is_folder;
    struct hn_gguf gguf;
    struct hn_folder folder;
    struct hn_weight *weights; /* [n_weights], ordered by layer and role */
    size_t n_weights;
    struct hn_weight *by_role[HN_ROLES]; /* outside the layers */
    struct hn_weight **layers[HN_ROLES]; /* [config.layers] each, NULL where the role has none */
    size_t parameters, mapped_bytes;
    char quantisation[32]; /* the type that holds most parameters of the layers */
};

const struct hn_weight *hn_model_weight(const struct hn_model *model, int layer, enum hn_role role);

/* The shape that a configuration gives to a role; 1 row for vectors. And whether every layer has
 * it. Heads of tasks have their shape from hn_model_set_head. */
void hn_role_shape(
    const struct hn_model_config *config, enum hn_role role, size_t *rows, size_t *cols);
bool hn_role_in_layers(const struct hn_role_names *names);
bool hn_role_is_vector(enum hn_role role);
bool hn_role_exists(const struct hn_role_names *names); /* whether the family has it */

/* out[cols] or out[rows, cols]: the weight's values as f32. */
void hn_weight_row(const struct hn_weight *weight, size_t row, float *out);

#endif
