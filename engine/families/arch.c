/* See arch.h. */
#include "engine/families/arch.h"
#include "engine/base/json.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

static const struct hn_arch *const families[] = {&hn_arch_llama, &hn_arch_mistral, &hn_arch_qwen2,
    &hn_arch_qwen3, &hn_arch_gemma3, &hn_arch_gpt2, &hn_arch_bert, &hn_arch_roberta,
    &hn_arch_distilbert};
#define FAMILIES (sizeof families / sizeof families[0])

static bool named(const struct hn_model *model, const struct hn_arch *arch) {
    if (model->is_folder)
        return arch->hf_type &&
            strcmp(arch->hf_type,
                json_string_value(json_object_get(model->folder.config, "model_type"))) == 0;
    return arch->gguf_arch &&
        hn_view_is(hn_gguf_string(&model->gguf, "general.architecture"), arch->gguf_arch);
}

int hn_arch_find(const struct hn_model *model, const struct hn_arch **ret, struct hn_error *err) {
    char list[256] = "", name[64] = "";
    const char *type = json_string_value(json_object_get(model->folder.config, "model_type"));
    if (model->is_folder && !type)
        return hn_fail(err, HN_E_MODEL_INVALID, "config.json has no \"model_type\"");
    for (size_t i = 0; i < FAMILIES; i++) {
        const char *one = model->is_folder ? families[i]->hf_type : families[i]->gguf_arch;
        if (named(model, families[i])) {
            *ret = families[i];
            return 0;
        }
        if (one)
            snprintf(
                list + strlen(list), sizeof list - strlen(list), "%s%s", list[0] ? ", " : "", one);
    }
    struct hn_view arch = hn_gguf_string(&model->gguf, "general.architecture");
    if (type)
        snprintf(name, sizeof name, "%s", type);
    else if (arch.data)
        snprintf(name, sizeof name, "%.*s", (int)(arch.size < 63 ? arch.size : 63), arch.data);
    hn_fail(err, HN_E_UNSUPPORTED, "models of architecture \"%s\" are not supported", name);
    hn_error_hint(err, "supported: %s; see /manual/exports#base-models", list);
    return HN_E_UNSUPPORTED;
}

const json_t *hn_arch_json(const struct hn_model *model, const char *hf) {
    const json_t *value = NULL;
    for (const char *at = hf; model->is_folder && at && *at && (!value || json_is_null(value));) {
        char name[64];
        size_t n = strcspn(at, "|");
        snprintf(name, sizeof name, "%.*s", (int)n, at);
        value = json_object_get(model->folder.config, name);
        at += n + (at[n] == '|');
    }
    return json_is_null(value) ? NULL : value;
}

static void gguf_key(const struct hn_model *model, const char *suffix, char *out, size_t size) {
    snprintf(out, size, "%s.%s", model->arch->gguf_arch, suffix);
}

double hn_arch_number(const struct hn_model *model, struct hn_arch_key key, double fallback) {
    char name[128];
    if (model->is_folder) {
        const json_t *value = hn_arch_json(model, key.hf);
        return json_is_number(value) ? json_number_value(value) : fallback;
    }
    if (!key.gguf)
        return fallback;
    gguf_key(model, key.gguf, name, sizeof name);
    const struct hn_gguf_kv *kv = hn_gguf_find(&model->gguf, name);
    bool real = kv && (kv->type == HN_GGUF_F32 || kv->type == HN_GGUF_F64);
    if (real)
        return hn_gguf_float(&model->gguf, name, fallback);
    return kv ? (double)hn_gguf_int(&model->gguf, name, fallback > 0 ? (int64_t)fallback : -1)
              : fallback;
}

bool hn_arch_flag(const struct hn_model *model, struct hn_arch_key key, bool fallback) {
    char name[128];
    if (model->is_folder) {
        const json_t *value = hn_arch_json(model, key.hf);
        return json_is_boolean(value) ? json_is_true(value) : fallback;
    }
    if (!key.gguf)
        return fallback;
    gguf_key(model, key.gguf, name, sizeof name);
    return hn_gguf_bool(&model->gguf, name, fallback);
}

struct size_key {
    struct hn_arch_key key;
    size_t *value;
    double fallback; /* -1: must be there */
    size_t ceiling;
};

/* A size that the family has where config.json leaves the field out altogether; null is none. */
static double absent(const struct hn_model *model, const char *hf, size_t value, double otherwise) {
    return model->is_folder && value && !json_object_get(model->folder.config, hf) ? (double)value
                                                                                   : otherwise;
}

double hn_arch_context(const struct hn_model *model) {
    size_t family = model->is_folder ? model->arch->absent.context : 0;
    return hn_arch_number(model, HN_CONTEXT_KEY, family ? (double)family : 2048);
}

int hn_arch_read_sizes(struct hn_model *model, struct hn_error *err) {
    struct hn_model_config *c = &model->config;
    double kv = absent(model, "num_key_value_heads", model->arch->absent.kv_heads, 0),
           head = absent(model, "head_dim", model->arch->absent.head_dim, 0);
    const struct size_key keys[] = {
        {{"block_count", "num_hidden_layers|n_layers|n_layer"}, &c->layers, -1, HN_MAX_LAYERS},
        {{"embedding_length", "hidden_size|n_embd|dim"}, &c->hidden, -1, 65536},
        {{"feed_forward_length", "intermediate_size|n_inner|hidden_dim"}, &c->ffn, 0, 1 << 20},
        {{"attention.head_count", "num_attention_heads|n_heads|n_head"}, &c->heads, -1, 1024},
        {{"attention.head_count_kv", "num_key_value_heads"}, &c->kv_heads, kv, 1024},
        {{"attention.key_length", "head_dim"}, &c->head_dim, head, HN_MAX_HEAD_DIM},
        {HN_CONTEXT_KEY, &c->context, hn_arch_context(model), HN_MAX_CONTEXT},
    };
    for (size_t i = 0; i < sizeof keys / sizeof keys[0]; i++) {
        double v = hn_arch_number(model, keys[i].key, keys[i].fallback);
        if (!(v >= 0 && v <= (double)keys[i].ceiling && floor(v) == v))
            return hn_fail(err, HN_E_MODEL_INVALID,
                "the model's %s is missing or out of range (at most %zu)",
                model->is_folder ? keys[i].key.hf : keys[i].key.gguf, keys[i].ceiling);
        *keys[i].value = (size_t)v;
    }
    if (!c->ffn)
        c->ffn = 4 * c->hidden; /* GPT-2's n_inner may be null */
    if (!c->layers || !c->hidden || !c->heads || !c->context)
        return hn_fail(err, HN_E_MODEL_INVALID, "a size in the model's configuration is zero");
    if (!c->kv_heads)
        c->kv_heads = c->heads;
    if (!c->head_dim)
        c->head_dim = c->hidden / c->heads;
    if (c->heads % c->kv_heads || !c->head_dim || c->head_dim % 2 || c->head_dim > HN_MAX_HEAD_DIM)
        return hn_fail(err, HN_E_MODEL_INVALID,
            "%zu heads, %zu key-value heads and %zu values a head do not go together", c->heads,
            c->kv_heads, c->head_dim);
    c->norm_eps = c->layer_norm
        ? hn_arch_number(model,
              (struct hn_arch_key){
                  "attention.layer_norm_epsilon", "layer_norm_epsilon|layer_norm_eps"},
              1e-5)
        : hn_arch_number(model,
              (struct hn_arch_key){"attention.layer_norm_rms_epsilon", "rms_norm_eps"},
              model->is_folder ? 1e-6 : 1e-5);
    if (!(c->norm_eps >= 0 && c->norm_eps < 1))
        return hn_fail(err, HN_E_MODEL_INVALID, "the norm's epsilon is out of range");
    if (hn_arch_number(model, (struct hn_arch_key){"rope.dimension_count", NULL},
            (double)c->head_dim) != (double)c->head_dim ||
        hn_arch_number(model, (struct hn_arch_key){NULL, "partial_rotary_factor"}, 1) != 1)
        return hn_fail(
            err, HN_E_UNSUPPORTED, "rotary embeddings over a part of each head are not supported");
    if (hn_arch_number(model, (struct hn_arch_key){"attention.value_length", NULL},
            (double)c->head_dim) != (double)c->head_dim)
        return hn_fail(
            err, HN_E_UNSUPPORTED, "values of another width than keys are not supported");
    if (hn_arch_number(
            model, (struct hn_arch_key){"expert_count", "num_experts|num_local_experts"}, 0) > 0)
        return hn_fail(err, HN_E_UNSUPPORTED, "mixtures of experts are not supported");
    if (hn_arch_flag(model, (struct hn_arch_key){NULL, "use_bidirectional_attention"}, false))
        return hn_fail(
            err, HN_E_UNSUPPORTED, "bidirectional attention in a decoder is not supported");
    c->attention_scale = 1 / sqrt((double)c->head_dim);
    c->embed_scale = 1;
    c->init_range = hn_arch_number(model, (struct hn_arch_key){NULL, "initializer_range"}, 0.02);
    return 0;
}

/* layer_types says it for each layer; older files by a pattern, by max_window_layers or for all at
 * once. */
int hn_arch_read_windows(struct hn_model *model, size_t pattern, struct hn_error *err) {
    struct hn_model_config *c = &model->config;
    double window =
        hn_arch_number(model, (struct hn_arch_key){"attention.sliding_window", "sliding_window"},
            absent(model, "sliding_window", model->arch->absent.window, 0));
    const json_t *types = hn_arch_json(model, "layer_types");
    if (!(window >= 0 && window < 1e9))
        return hn_fail(err, HN_E_MODEL_INVALID, "the model's sliding window is out of range");
    if (window < 1 ||
        !hn_arch_flag(model, (struct hn_arch_key){NULL, "use_sliding_window"},
            !model->is_folder || !model->arch->absent.window_asked))
        return 0;
    pattern = (size_t)hn_arch_number(model,
        (struct hn_arch_key){"attention.sliding_window_pattern", "sliding_window_pattern"},
        (double)pattern);
    double first = hn_arch_number(model, (struct hn_arch_key){NULL, "max_window_layers"},
        model->is_folder ? (double)model->arch->absent.window_begin : 0);
    for (size_t l = 0; l < c->layers; l++) {
        const char *type = json_string_value(json_array_get(types, l));
        bool slides = pattern == 0 || (l + 1) % pattern != 0;
        if (types &&
            (!type ||
                (strcmp(type, "sliding_attention") != 0 && strcmp(type, "full_attention") != 0)))
            return hn_fail(err, HN_E_UNSUPPORTED,
                "layer %zu has the attention type \"%.40s\", which is not supported", l,
                type ? type : "?");
        if (types)
            slides = strcmp(type, "sliding_attention") == 0;
        else if ((double)l < first)
            slides = false;
        c->window[l] = slides ? (size_t)window : 0;
    }
    return 0;
}

int hn_arch_read_activation(
    struct hn_model *model, const char *hf, enum hn_activation fallback, struct hn_error *err) {
    static const struct {
        const char *name;
        enum hn_activation kind;
    } names[] = {{"silu", HN_SILU}, {"swish", HN_SILU}, {"gelu_new", HN_GELU_TANH},
        {"gelu_pytorch_tanh", HN_GELU_TANH}, {"gelu_fast", HN_GELU_TANH}, {"gelu", HN_GELU},
        {"relu", HN_RELU}};
    const char *name = json_string_value(hn_arch_json(model, hf));
    model->config.activation = fallback;
    for (size_t i = 0; name && i < sizeof names / sizeof names[0]; i++)
        if (strcmp(names[i].name, name) == 0) {
            model->config.activation = names[i].kind;
            return 0;
        }
    return name ? hn_fail(err, HN_E_UNSUPPORTED, "the activation \"%.40s\" is not supported", name)
                : 0;
}
