/*
 * Llama-like decoders: pre-norm blocks of RMSNorm, rotary grouped-query attention and SwiGLU (Touvron et al. 2023).
 *
 * In GGUF files of this architecture the rows of the query and key matrices are permuted so that rotary pairs lie
 * next to each other; training goes on in that order, and only the Hugging Face exports undo it (export.h).
 */
#include "engine/arch.h"
#include "engine/graph.h"
#include "engine/json.h"

#include <stdio.h>

static int configure(struct hn_model *model, struct hn_error *err) {
    struct hn_config *c = &model->config;
    int rc = hn_arch_read_sizes(model, err);
    if (rc)
        return rc;
    c->rope_interleaved = true;
    struct hn_view scaling = hn_gguf_string(&model->gguf, "llama.rope.scaling.type");
    if (scaling.size && !hn_view_is(scaling, "none"))
        return hn_fail(
            err, HN_E_UNSUPPORTED, "RoPE scaling of type \"%.*s\" is not supported", (int)scaling.size, scaling.data);
    if (hn_gguf_tensor(&model->gguf, "rope_freqs.weight"))
        return hn_fail(
            err, HN_E_UNSUPPORTED, "the model's own RoPE frequencies (rope_freqs.weight) are not supported");
    if (hn_gguf_int(&model->gguf, "llama.expert_count", 0) > 0)
        return hn_fail(err, HN_E_UNSUPPORTED, "mixtures of experts are not supported");
    return 0;
}

static int build(
    const struct hn_model *model, const struct hn_graph_options *options, struct hn_graph *g, struct hn_error *err) {
    (void)err;
    const struct hn_config *c = &model->config;
    int h = hn_graph_embed(g, model->by_role[HN_ROLE_EMBED], 1);
    for (int l = 0; l < (int)c->layers; l++) {
        const struct hn_weight *qkv[] = {hn_model_weight(model, l, HN_ROLE_Q), hn_model_weight(model, l, HN_ROLE_K),
            hn_model_weight(model, l, HN_ROLE_V)};
        const struct hn_weight *o = hn_model_weight(model, l, HN_ROLE_O),
                               *down = hn_model_weight(model, l, HN_ROLE_DOWN);
        const struct hn_weight *gate_up[] = {
            hn_model_weight(model, l, HN_ROLE_GATE), hn_model_weight(model, l, HN_ROLE_UP)};
        int x = hn_graph_rmsnorm(g, l, h, hn_model_weight(model, l, HN_ROLE_ATTN_NORM), c->norm_eps);
        x = hn_graph_linear(g, l, x, -1, options->adapter, 3, qkv);
        x = hn_graph_rope(g, l, x, c);
        x = hn_graph_attention(g, l, x, c, true, options->cached);
        h = hn_graph_linear(g, l, x, h, options->adapter, 1, &o);
        x = hn_graph_rmsnorm(g, l, h, hn_model_weight(model, l, HN_ROLE_FFN_NORM), c->norm_eps);
        x = hn_graph_linear(g, l, x, -1, options->adapter, 2, gate_up);
        x = hn_graph_swiglu(g, l, x);
        h = hn_graph_linear(g, l, x, h, options->adapter, 1, &down);
    }
    h = hn_graph_gather(g, h);
    h = hn_graph_rmsnorm(g, -1, h, model->by_role[HN_ROLE_OUT_NORM], c->norm_eps);
    hn_graph_head(g, h, model->by_role[HN_ROLE_HEAD], options);
    return 0;
}

/* The rotary base stands twice: version 5 reads rope_parameters, version 4 rope_theta. */
static json_t *describe(const struct hn_model *model) {
    const struct hn_config *c = &model->config;
    return json_pack("{s:[s], s:s, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:s, s:o, s:o, s:{s:s, s:o}, s:f, s:b, "
                     "s:f, s:b, s:b, s:b}",
        "architectures", "LlamaForCausalLM", "model_type", "llama", "vocab_size", (json_int_t)c->vocab, "hidden_size",
        (json_int_t)c->hidden, "intermediate_size", (json_int_t)c->ffn, "num_hidden_layers", (json_int_t)c->layers,
        "num_attention_heads", (json_int_t)c->heads, "num_key_value_heads", (json_int_t)c->kv_heads, "head_dim",
        (json_int_t)c->head_dim, "max_position_embeddings", (json_int_t)c->context, "hidden_act", "silu",
        "rms_norm_eps", hn_json_float((float)c->norm_eps), "rope_theta", hn_json_float((float)c->rope_base),
        "rope_parameters", "rope_type", "default", "rope_theta", hn_json_float((float)c->rope_base),
        "initializer_range", 0.02, "attention_bias", 0, "attention_dropout", 0.0, "mlp_bias", 0,
        "tie_word_embeddings", c->tied, "use_cache", 1);
}

const struct hn_arch hn_arch_llama = {
    .family = "llama",
    .gguf_arch = "llama",
    .configure = configure,
    .build = build,
    .describe = describe,
    .names =
        {
            [HN_ROLE_EMBED] = {"token_embd.weight", "model.embed_tokens.weight", NULL},
            [HN_ROLE_ATTN_NORM] = {"blk.%d.attn_norm.weight", "model.layers.%d.input_layernorm.weight", NULL},
            [HN_ROLE_Q] = {"blk.%d.attn_q.weight", "model.layers.%d.self_attn.q_proj.weight", "q_proj"},
            [HN_ROLE_K] = {"blk.%d.attn_k.weight", "model.layers.%d.self_attn.k_proj.weight", "k_proj"},
            [HN_ROLE_V] = {"blk.%d.attn_v.weight", "model.layers.%d.self_attn.v_proj.weight", "v_proj"},
            [HN_ROLE_O] = {"blk.%d.attn_output.weight", "model.layers.%d.self_attn.o_proj.weight", "o_proj"},
            [HN_ROLE_FFN_NORM] = {"blk.%d.ffn_norm.weight", "model.layers.%d.post_attention_layernorm.weight", NULL},
            [HN_ROLE_GATE] = {"blk.%d.ffn_gate.weight", "model.layers.%d.mlp.gate_proj.weight", "gate_proj"},
            [HN_ROLE_UP] = {"blk.%d.ffn_up.weight", "model.layers.%d.mlp.up_proj.weight", "up_proj"},
            [HN_ROLE_DOWN] = {"blk.%d.ffn_down.weight", "model.layers.%d.mlp.down_proj.weight", "down_proj"},
            [HN_ROLE_OUT_NORM] = {"output_norm.weight", "model.norm.weight", NULL},
            [HN_ROLE_HEAD] = {"output.weight", "lm_head.weight", NULL},
        },
};
