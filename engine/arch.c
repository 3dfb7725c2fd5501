/* See arch.h. */
#include "engine/arch.h"

#include <stdio.h>

static const struct hn_arch *const families[] = {&hn_arch_llama};

const struct hn_arch *hn_arch_find(struct hn_view gguf_arch) {
    for (size_t i = 0; i < sizeof families / sizeof families[0]; i++)
        if (hn_view_is(gguf_arch, families[i]->gguf_arch))
            return families[i];
    return NULL;
}

const char *hn_arch_list(void) {
    return "llama";
}

struct size_key {
    const char *suffix;
    size_t *value;
    int64_t fallback; /* -1: must be there */
    size_t ceiling;
};

int hn_arch_read_sizes(struct hn_model *model, struct hn_error *err) {
    struct hn_config *c = &model->config;
    const char *arch = model->arch->gguf_arch;
    const struct size_key keys[] = {
        {"block_count", &c->layers, -1, HN_MAX_LAYERS},
        {"embedding_length", &c->hidden, -1, 65536},
        {"feed_forward_length", &c->ffn, -1, 1 << 20},
        {"attention.head_count", &c->heads, -1, 1024},
        {"attention.head_count_kv", &c->kv_heads, 0, 1024},
        {"attention.key_length", &c->head_dim, 0, 1024},
        {"context_length", &c->context, 2048, 1 << 24},
    };
    char key[128];
    for (size_t i = 0; i < sizeof keys / sizeof keys[0]; i++) {
        snprintf(key, sizeof key, "%s.%s", arch, keys[i].suffix);
        int64_t v = hn_gguf_int(&model->gguf, key, keys[i].fallback);
        if (v < 0 || (size_t)v > keys[i].ceiling)
            return hn_fail(err, HN_E_MODEL_INVALID, "the model's %s is missing or out of range (at most %zu)", key,
                keys[i].ceiling);
        *keys[i].value = (size_t)v;
    }
    if (!c->layers || !c->hidden || !c->ffn || !c->heads || !c->context)
        return hn_fail(err, HN_E_MODEL_INVALID, "a size in the model's configuration is zero");
    if (!c->kv_heads)
        c->kv_heads = c->heads;
    if (!c->head_dim)
        c->head_dim = c->hidden / c->heads;
    if (c->heads % c->kv_heads || !c->head_dim || c->head_dim % 2)
        return hn_fail(err, HN_E_MODEL_INVALID,
            "%zu heads, %zu key-value heads and %zu values a head do not go together", c->heads, c->kv_heads,
            c->head_dim);
    snprintf(key, sizeof key, "%s.attention.layer_norm_rms_epsilon", arch);
    c->norm_eps = hn_gguf_float(&model->gguf, key, 1e-5);
    snprintf(key, sizeof key, "%s.rope.freq_base", arch);
    c->rope_base = hn_gguf_float(&model->gguf, key, 10000);
    if (!(c->norm_eps >= 0 && c->norm_eps < 1) || !(c->rope_base >= 1 && c->rope_base < 1e12))
        return hn_fail(err, HN_E_MODEL_INVALID, "the norm's epsilon or the RoPE base is out of range");
    snprintf(key, sizeof key, "%s.rope.dimension_count", arch);
    if (hn_gguf_int(&model->gguf, key, (int64_t)c->head_dim) != (int64_t)c->head_dim)
        return hn_fail(err, HN_E_UNSUPPORTED, "rotary embeddings over a part of each head are not supported");
    return 0;
}
