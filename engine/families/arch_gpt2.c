/*
 * GPT-2 (Radford et al. 2019): learned positions, LayerNorm before each part, one matrix for query,
 * key and value, GELU, biases everywhere. Hugging Face files store the matrices transposed
 * (Conv1D).
 */
#include "engine/families/arch.h"
#include "engine/graph/graph.h"
#include "engine/base/json.h"

static int configure(struct hn_model *model, struct hn_error *err) {
    model->config.layer_norm = true;
    int rc = hn_arch_read_sizes(model, err);
    if (!rc)
        rc = hn_arch_read_activation(model, "activation_function", HN_GELU_TANH, err);
    if (!rc &&
        (hn_arch_flag(
             model, (struct hn_arch_key){NULL, "scale_attn_by_inverse_layer_idx"}, false) ||
            hn_arch_flag(model, (struct hn_arch_key){NULL, "add_cross_attention"}, false) ||
            !hn_arch_flag(model, (struct hn_arch_key){NULL, "scale_attn_weights"}, true)))
        rc = hn_fail(err, HN_E_UNSUPPORTED, "this variant of GPT-2's attention is not supported");
    return rc;
}

static void build(struct hn_graph *g) {
    int h = hn_graph_embed(g);
    for (int l = 0; l < (int)g->model->config.layers; l++) {
        int x = hn_graph_norm(g, l, h, -1, HN_ROLE_ATTN_NORM);
        x = hn_graph_linear(g, l, x, -1, 1, (enum hn_role[]){HN_ROLE_QKV});
        x = hn_graph_attention(g, l, x, true);
        hn_graph_narrow(g, l, &x, &h);
        h = hn_graph_linear(g, l, x, h, 1, (enum hn_role[]){HN_ROLE_O});
        x = hn_graph_norm(g, l, h, -1, HN_ROLE_FFN_NORM);
        x = hn_graph_linear(g, l, x, -1, 1, (enum hn_role[]){HN_ROLE_UP});
        x = hn_graph_activate(g, l, x, g->model->config.activation);
        h = hn_graph_linear(g, l, x, h, 1, (enum hn_role[]){HN_ROLE_DOWN});
    }
    hn_graph_finish_head(g, h);
}

static json_t *describe(const struct hn_model *model) {
    const struct hn_model_config *c = &model->config;
    return HN_JSON_OBJECT({"architectures", json_pack("[o]", json_string(model->arch->hf_class))},
        {"model_type", json_string(model->arch->hf_type)}, {"vocab_size", json_integer(c->vocab)},
        {"n_embd", json_integer(c->hidden)}, {"n_inner", json_integer(c->ffn)},
        {"n_layer", json_integer(c->layers)}, {"n_head", json_integer(c->heads)},
        {"n_positions", json_integer(c->context)}, {"activation_function", json_string("gelu_new")},
        {"layer_norm_epsilon", hn_json_float((float)c->norm_eps)},
        {"initializer_range", json_real(0.02)}, {"tie_word_embeddings", json_boolean(c->tied)},
        {"use_cache", json_boolean(1)});
}

#define LAYER "transformer.h.%d."
const struct hn_arch hn_arch_gpt2 = {
    .family = "gpt2",
    .gguf_arch = "gpt2",
    .hf_type = "gpt2",
    .hf_class = "GPT2LMHeadModel",
    .heads = {[HN_HEAD_SEQUENCE] = {"GPT2ForSequenceClassification", NULL, "score", "score"},
        [HN_HEAD_TOKENS] = {"GPT2ForTokenClassification", NULL, "classifier", "classifier",
            .drops = true, .bias = true}},
    .hf_prefix = "transformer.",
    .absent = {.context = 1024, .ties = true},
    .configure = configure,
    .build = build,
    .describe = describe,
    .names =
        {
            [HN_ROLE_EMBED] = {"token_embd.weight", "transformer.wte.weight"},
            [HN_ROLE_POSITION] = {"position_embd.weight", "transformer.wpe.weight"},
            [HN_ROLE_ATTN_NORM] = {"blk.%d.attn_norm.weight", LAYER "ln_1.weight"},
            [HN_ROLE_ATTN_NORM_BIAS] = {"blk.%d.attn_norm.bias", LAYER "ln_1.bias"},
            [HN_ROLE_QKV] = {"blk.%d.attn_qkv.weight", LAYER "attn.c_attn.weight", "c_attn",
                .transposed = true},
            [HN_ROLE_QKV_BIAS] = {"blk.%d.attn_qkv.bias", LAYER "attn.c_attn.bias"},
            [HN_ROLE_O] = {"blk.%d.attn_output.weight", LAYER "attn.c_proj.weight", "c_proj",
                .transposed = true},
            [HN_ROLE_O_BIAS] = {"blk.%d.attn_output.bias", LAYER "attn.c_proj.bias"},
            [HN_ROLE_FFN_NORM] = {"blk.%d.ffn_norm.weight", LAYER "ln_2.weight"},
            [HN_ROLE_FFN_NORM_BIAS] = {"blk.%d.ffn_norm.bias", LAYER "ln_2.bias"},
            [HN_ROLE_UP] = {"blk.%d.ffn_up.weight", LAYER "mlp.c_fc.weight", "c_fc",
                .transposed = true},
            [HN_ROLE_UP_BIAS] = {"blk.%d.ffn_up.bias", LAYER "mlp.c_fc.bias"},
            [HN_ROLE_DOWN] = {"blk.%d.ffn_down.weight", LAYER "mlp.c_proj.weight", "c_proj",
                .transposed = true},
            [HN_ROLE_DOWN_BIAS] = {"blk.%d.ffn_down.bias", LAYER "mlp.c_proj.bias"},
            [HN_ROLE_OUT_NORM] = {"output_norm.weight", "transformer.ln_f.weight"},
            [HN_ROLE_OUT_NORM_BIAS] = {"output_norm.bias", "transformer.ln_f.bias"},
            [HN_ROLE_HEAD] = {"output.weight", "lm_head.weight"},
        },
};
