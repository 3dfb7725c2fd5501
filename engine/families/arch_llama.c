/*
 * Llama-like decoders: pre-norm blocks of RMSNorm, rotary grouped-query attention and a gated
 * feed-forward layer (Touvron et al. 2023), and the families that differ from it in details only:
 * Mistral (windows), Qwen2 (biases of query, key and value), Qwen3 (norms of query and key heads),
 * Gemma 3 (both norms around each part, GELU, windows on five layers of six with a rotary base of
 * their own, embeddings times √hidden).
 *
 * In GGUF files of architecture llama the rows of the query and key matrices are permuted so that
 * rotary pairs lie next to each other; training goes on in that order, and only the Hugging Face
 * exports undo it (export.h).
 */
#include "engine/families/arch.h"
#include "engine/families/load.h"
#include "engine/graph/graph.h"
#include "engine/base/json.h"

#include <math.h>
#include <string.h>

static int configure_common(struct hn_model *model, struct hn_error *err) {
    bool gemma = model->arch == &hn_arch_gemma3;
    int rc = hn_arch_read_sizes(model, err);
    if (!rc)
        rc = hn_rope_configure(model, err);
    return rc ? rc
              : hn_arch_read_activation(model, gemma ? "hidden_activation" : "hidden_act",
                    gemma ? HN_GELU_TANH : HN_SILU, err);
}

static int configure_llama(struct hn_model *model, struct hn_error *err) {
    model->config.rope_interleaved = !model->is_folder;
    return configure_common(model, err);
}

static int configure_windowed(struct hn_model *model, struct hn_error *err) {
    int rc = configure_common(model, err);
    return rc || !model->is_folder ? rc : hn_arch_read_windows(model, 0, err);
}

/* llama.cpp's, which knows the model of 27B by its layers. */
double hn_arch_gguf_scale(const struct hn_model *model) {
    const struct hn_model_config *c = &model->config;
    bool large = model->arch == &hn_arch_gemma3 && c->layers == 62;
    return 1 / sqrt(large ? (double)c->hidden / (double)c->heads : (double)c->head_dim);
}

static int configure_gemma3(struct hn_model *model, struct hn_error *err) {
    struct hn_model_config *c = &model->config;
    int rc = configure_common(model, err);
    if (!rc)
        rc = hn_arch_read_windows(model, 6, err);
    if (rc)
        return rc;
    if (hn_arch_number(model,
            (struct hn_arch_key){"attn_logit_softcapping", "attn_logit_softcapping"}, 0) > 0 ||
        hn_arch_number(model,
            (struct hn_arch_key){"final_logit_softcapping", "final_logit_softcapping"}, 0) > 0)
        return hn_fail(err, HN_E_UNSUPPORTED, "soft caps of logits are not supported");
    c->has_local_rope = true;
    c->embed_scale = sqrt((double)c->hidden);
    c->attention_scale = model->is_folder
        ? 1 / sqrt(hn_arch_number(model, (struct hn_arch_key){NULL, "query_pre_attn_scalar"}, 256))
        : hn_arch_gguf_scale(model);
    return 0;
}

static int attention(struct hn_graph *g, int l, int h) {
    int x = hn_graph_norm(g, l, h, -1, HN_ROLE_ATTN_NORM);
    x = hn_graph_linear(g, l, x, -1, 3, (enum hn_role[]){HN_ROLE_Q, HN_ROLE_K, HN_ROLE_V});
    x = hn_graph_head_norm(g, l, x);
    x = hn_graph_rope(g, l, x);
    x = hn_graph_attention(g, l, x, true);
    hn_graph_narrow(g, l, &x, &h);
    bool post = hn_model_weight(g->model, l, HN_ROLE_POST_ATTN_NORM);
    x = hn_graph_linear(g, l, x, post ? -1 : h, 1, (enum hn_role[]){HN_ROLE_O});
    return post ? hn_graph_norm(g, l, x, h, HN_ROLE_POST_ATTN_NORM) : x;
}

static int feed_forward(struct hn_graph *g, int l, int h) {
    int x = hn_graph_norm(g, l, h, -1, HN_ROLE_FFN_NORM);
    x = hn_graph_linear(g, l, x, -1, 2, (enum hn_role[]){HN_ROLE_GATE, HN_ROLE_UP});
    x = hn_graph_glu(g, l, x);
    bool post = hn_model_weight(g->model, l, HN_ROLE_POST_FFN_NORM);
    x = hn_graph_linear(g, l, x, post ? -1 : h, 1, (enum hn_role[]){HN_ROLE_DOWN});
    return post ? hn_graph_norm(g, l, x, h, HN_ROLE_POST_FFN_NORM) : x;
}

static void build(struct hn_graph *g) {
    int h = hn_graph_embed(g);
    for (int l = 0; l < (int)g->model->config.layers; l++)
        h = feed_forward(g, l, attention(g, l, h));
    hn_graph_finish_head(g, h);
}

/* What all of them say. The rotary base stands twice: version 5 reads rope_parameters, version 4
 * rope_theta. */
static json_t *describe(const struct hn_model *model) {
    const struct hn_model_config *c = &model->config;
    json_t *out = HN_JSON_OBJECT(
        {"architectures", json_pack("[o]", json_string(model->arch->hf_class))},
        {"model_type", json_string(model->arch->hf_type)}, {"vocab_size", json_integer(c->vocab)},
        {"hidden_size", json_integer(c->hidden)}, {"intermediate_size", json_integer(c->ffn)},
        {"num_hidden_layers", json_integer(c->layers)},
        {"num_attention_heads", json_integer(c->heads)},
        {"num_key_value_heads", json_integer(c->kv_heads)}, {"head_dim", json_integer(c->head_dim)},
        {"max_position_embeddings", json_integer(c->context)},
        {"rms_norm_eps", hn_json_float((float)c->norm_eps)},
        {"rope_theta", hn_json_float((float)c->rope.base)},
        {"rope_parameters", hn_rope_describe(model)}, {"initializer_range", json_real(0.02)},
        {"attention_dropout", json_real(0.0)}, {"tie_word_embeddings", json_boolean(c->tied)},
        {"use_cache", json_boolean(1)});
    json_t *rope = json_object_get(out, "rope_parameters");
    const char *type = json_string_value(json_object_get(rope, "rope_type"));
    if (type && strcmp(type, "default") != 0) /* version 4 */
        json_object_set(out, "rope_scaling", rope);
    if (out && strcmp(model->arch->hf_type, "gemma3_text") != 0)
        json_object_set_new(out, "hidden_act", json_string("silu"));
    return out;
}

static json_t *describe_llama(const struct hn_model *model) {
    json_t *out = describe(model);
    if (out) {
        json_object_set_new(
            out, "attention_bias", json_boolean(hn_model_weight(model, 0, HN_ROLE_Q_BIAS)));
        json_object_set_new(
            out, "mlp_bias", json_boolean(hn_model_weight(model, 0, HN_ROLE_UP_BIAS)));
    }
    return out;
}

static json_t *describe_gemma3(const struct hn_model *model) {
    const struct hn_model_config *c = &model->config;
    json_t *out = describe(model), *types = json_array();
    size_t window = 0;
    for (size_t l = 0; l < c->layers; l++) {
        window = c->window[l] ? c->window[l] : window;
        json_array_append_new(
            types, json_string(c->window[l] ? "sliding_attention" : "full_attention"));
    }
    json_object_set_new(out, "layer_types", types);
    json_object_set_new(out, "sliding_window", json_integer((json_int_t)window));
    json_object_set_new(out, "hidden_activation", json_string("gelu_pytorch_tanh"));
    json_object_set_new(out, "query_pre_attn_scalar",
        json_integer((json_int_t)lround(1 / (c->attention_scale * c->attention_scale))));
    json_object_set_new(out, "rope_local_base_freq", hn_json_float((float)c->local_rope.base));
    json_object_set_new(out, "rope_parameters",
        json_pack("{s:o, s:{s:s, s:o}}", "full_attention", hn_rope_describe(model),
            "sliding_attention", "rope_type", "default", "rope_theta",
            hn_json_float((float)c->local_rope.base)));
    return out;
}

#define LAYER "model.layers.%d."
#define BASE_NAMES                                                                          \
    [HN_ROLE_EMBED] = {"token_embd.weight", "model.embed_tokens.weight"},                   \
    [HN_ROLE_Q] = {"blk.%d.attn_q.weight", LAYER "self_attn.q_proj.weight", "q_proj"},      \
    [HN_ROLE_K] = {"blk.%d.attn_k.weight", LAYER "self_attn.k_proj.weight", "k_proj"},      \
    [HN_ROLE_V] = {"blk.%d.attn_v.weight", LAYER "self_attn.v_proj.weight", "v_proj"},      \
    [HN_ROLE_O] = {"blk.%d.attn_output.weight", LAYER "self_attn.o_proj.weight", "o_proj"}, \
    [HN_ROLE_GATE] = {"blk.%d.ffn_gate.weight", LAYER "mlp.gate_proj.weight", "gate_proj"}, \
    [HN_ROLE_UP] = {"blk.%d.ffn_up.weight", LAYER "mlp.up_proj.weight", "up_proj"},         \
    [HN_ROLE_DOWN] = {"blk.%d.ffn_down.weight", LAYER "mlp.down_proj.weight", "down_proj"}, \
    [HN_ROLE_HEAD] = {"output.weight", "lm_head.weight"}
#define NORM_NAMES                                                                            \
    [HN_ROLE_ATTN_NORM] = {"blk.%d.attn_norm.weight", LAYER "input_layernorm.weight"},        \
    [HN_ROLE_FFN_NORM] = {"blk.%d.ffn_norm.weight", LAYER "post_attention_layernorm.weight"}, \
    [HN_ROLE_OUT_NORM] = {"output_norm.weight", "model.norm.weight"}
#define QKV_BIASES(may_lack)                                                 \
    [HN_ROLE_Q_BIAS] = {"blk.%d.attn_q.bias", LAYER "self_attn.q_proj.bias", \
        .optional = may_lack},                                               \
    [HN_ROLE_K_BIAS] = {"blk.%d.attn_k.bias", LAYER "self_attn.k_proj.bias", \
        .optional = may_lack},                                               \
    [HN_ROLE_V_BIAS] = {"blk.%d.attn_v.bias", LAYER "self_attn.v_proj.bias", .optional = may_lack}

/* Transformers scores a row at its last token. */
#define HEADS(name)                                                                            \
    .heads = {[HN_HEAD_SEQUENCE] = {name "ForSequenceClassification", NULL, "score", "score"}, \
        [HN_HEAD_TOKENS] = {                                                                   \
            name "ForTokenClassification", NULL, "score", "score", .drops = true, .bias = true}}

const struct hn_arch hn_arch_llama = {
    .family = "llama",
    .gguf_arch = "llama",
    .hf_type = "llama",
    .hf_class = "LlamaForCausalLM",
    HEADS("Llama"),
    .hf_prefix = "model.",
    .configure = configure_llama,
    .build = build,
    .describe = describe_llama,
    .names = {BASE_NAMES, NORM_NAMES, QKV_BIASES(true),
        [HN_ROLE_O_BIAS] = {"blk.%d.attn_output.bias", LAYER "self_attn.o_proj.bias",
            .optional = true},
        [HN_ROLE_GATE_BIAS] = {"blk.%d.ffn_gate.bias", LAYER "mlp.gate_proj.bias",
            .optional = true},
        [HN_ROLE_UP_BIAS] = {"blk.%d.ffn_up.bias", LAYER "mlp.up_proj.bias", .optional = true},
        [HN_ROLE_DOWN_BIAS] = {"blk.%d.ffn_down.bias", LAYER "mlp.down_proj.bias",
            .optional = true}},
};

/* GGUF files of Mistral models say architecture llama. */
const struct hn_arch hn_arch_mistral = {
    .family = "mistral",
    .gguf_arch = "llama",
    .hf_type = "mistral",
    .hf_class = "MistralForCausalLM",
    HEADS("Mistral"),
    .hf_prefix = "model.",
    .absent = {.context = 131072, .kv_heads = 8, .window = 4096},
    .configure = configure_windowed,
    .build = build,
    .describe = describe,
    .names = {BASE_NAMES, NORM_NAMES},
};

const struct hn_arch hn_arch_qwen2 = {
    .family = "qwen2",
    .gguf_arch = "qwen2",
    .hf_type = "qwen2",
    .hf_class = "Qwen2ForCausalLM",
    HEADS("Qwen2"),
    .hf_prefix = "model.",
    .absent = {.context = 32768,
        .kv_heads = 32,
        .window = 4096,
        .window_begin = 28,
        .window_asked = true},
    .configure = configure_windowed,
    .build = build,
    .describe = describe,
    .names = {BASE_NAMES, NORM_NAMES, QKV_BIASES(false)},
};

const struct hn_arch hn_arch_qwen3 = {
    .family = "qwen3",
    .gguf_arch = "qwen3",
    .hf_type = "qwen3",
    .hf_class = "Qwen3ForCausalLM",
    HEADS("Qwen3"),
    .hf_prefix = "model.",
    .absent = {.context = 32768,
        .kv_heads = 32,
        .head_dim = 128,
        .window = 4096,
        .window_begin = 28,
        .window_asked = true},
    .configure = configure_windowed,
    .build = build,
    .describe = describe,
    .names = {BASE_NAMES, NORM_NAMES, QKV_BIASES(true),
        [HN_ROLE_O_BIAS] = {"blk.%d.attn_output.bias", LAYER "self_attn.o_proj.bias",
            .optional = true},
        [HN_ROLE_Q_NORM] = {"blk.%d.attn_q_norm.weight", LAYER "self_attn.q_norm.weight"},
        [HN_ROLE_K_NORM] = {"blk.%d.attn_k_norm.weight", LAYER "self_attn.k_norm.weight"}},
};

/* Gemma's files store norms less one; GGUF files have it added. */
const struct hn_arch hn_arch_gemma3 = {
    .family = "gemma3",
    .gguf_arch = "gemma3",
    .hf_type = "gemma3_text",
    .hf_class = "Gemma3ForCausalLM",
    .heads = {[HN_HEAD_SEQUENCE] = {"Gemma3TextForSequenceClassification", NULL, "score", "score"}},
    .hf_prefix = "model.",
    .absent = {.context = 131072,
        .kv_heads = 4,
        .head_dim = 256,
        .window = 4096,
        .rope_base = 1e6,
        .ties = true},
    .configure = configure_gemma3,
    .build = build,
    .describe = describe_gemma3,
    .names = {BASE_NAMES,
        [HN_ROLE_ATTN_NORM] = {"blk.%d.attn_norm.weight", LAYER "input_layernorm.weight",
            .offset = 1},
        [HN_ROLE_Q_NORM] = {"blk.%d.attn_q_norm.weight", LAYER "self_attn.q_norm.weight",
            .offset = 1},
        [HN_ROLE_K_NORM] = {"blk.%d.attn_k_norm.weight", LAYER "self_attn.k_norm.weight",
            .offset = 1},
        [HN_ROLE_POST_ATTN_NORM] = {"blk.%d.post_attention_norm.weight",
            LAYER "post_attention_layernorm.weight", .offset = 1},
        [HN_ROLE_FFN_NORM] = {"blk.%d.ffn_norm.weight", LAYER "pre_feedforward_layernorm.weight",
            .offset = 1},
        [HN_ROLE_POST_FFN_NORM] = {"blk.%d.post_ffw_norm.weight",
            LAYER "post_feedforward_layernorm.weight", .offset = 1},
        [HN_ROLE_OUT_NORM] = {"output_norm.weight", "model.norm.weight", .offset = 1}},
};
