/*
 * Encoders: BERT (Devlin et al. 2018) and its relatives RoBERTa and DistilBERT. Embeddings of
 * token, position and token type, summed and normalised; attention that sees both ways; LayerNorm
 * behind each sum; GELU; biases everywhere. What a task reads of the result is its head (model.h):
 * an encoder has none of its own here, since it writes no text.
 *
 * They differ in names, in RoBERTa's positions (they begin behind the padding id) and in
 * DistilBERT's lack of token types and pooler.
 */
#include "engine/families/arch.h"
#include "engine/graph/graph.h"
#include "engine/base/json.h"

#include <string.h>

struct number_key {
    struct hn_arch_key key;
    double *value, fallback;
};

static int read_dropouts(struct hn_model *model, struct hn_error *err) {
    struct hn_model_config *c = &model->config;
    struct number_key keys[] = {
        {{NULL, "hidden_dropout_prob|dropout"}, &c->dropout, 0.1},
        {{NULL, "attention_probs_dropout_prob|attention_dropout"}, &c->attention_dropout, 0.1},
        {{NULL, "initializer_range"}, &c->init_range, 0.02},
    };
    for (size_t i = 0; i < sizeof keys / sizeof keys[0]; i++) {
        *keys[i].value = hn_arch_number(model, keys[i].key, keys[i].fallback);
        if (!(*keys[i].value >= 0 && *keys[i].value < 1))
            return hn_fail(err, HN_E_MODEL_INVALID, "%s in config.json must lie between 0 and 1",
                keys[i].key.hf);
    }
    return 0;
}

static int configure(struct hn_model *model, struct hn_error *err) {
    struct hn_model_config *c = &model->config;
    const char *positions = json_string_value(hn_arch_json(model, "position_embedding_type"));
    c->layer_norm = true;
    int rc = hn_arch_read_sizes(model, err);
    if (!rc)
        rc = hn_arch_read_activation(model, "hidden_act|activation", HN_GELU, err);
    if (!rc)
        rc = read_dropouts(model, err);
    if (rc)
        return rc;
    if (positions && strcmp(positions, "absolute") != 0)
        return hn_fail(err, HN_E_UNSUPPORTED,
            "position embeddings of type \"%.40s\" are not supported", positions);
    if (hn_arch_flag(model, (struct hn_arch_key){NULL, "is_decoder"}, false))
        return hn_fail(
            err, HN_E_UNSUPPORTED, "an encoder used as a decoder (is_decoder) is not supported");
    double types = hn_arch_number(model, (struct hn_arch_key){NULL, "type_vocab_size"}, 2);
    if (!(types >= 1 && types <= 1024))
        return hn_fail(err, HN_E_MODEL_INVALID, "type_vocab_size in config.json is out of range");
    c->token_types = (size_t)types;
    c->norm_eps = hn_arch_number(
        model, (struct hn_arch_key){"attention.layer_norm_epsilon", "layer_norm_eps"}, 1e-12);
    return 0;
}

/* Positions are counted from behind the padding id, and the first rows of their table are never
 * used. */
static int configure_roberta(struct hn_model *model, struct hn_error *err) {
    struct hn_model_config *c = &model->config;
    int rc = configure(model, err);
    double pad = hn_arch_number(model, (struct hn_arch_key){NULL, "pad_token_id"}, 1);
    if (!rc && !(pad >= 0 && pad + 1 < (double)c->context))
        rc = hn_fail(err, HN_E_MODEL_INVALID, "pad_token_id in config.json is out of range");
    if (rc)
        return rc;
    c->position_offset = (size_t)pad + 1;
    c->context -= c->position_offset;
    return 0;
}

/* residual + dropout(linear(x)): without dropout the matmul adds the residual itself. */
static int linear_onto(struct hn_graph *g, int l, int x, int residual, enum hn_role role) {
    double p = g->options->dropout;
    x = hn_graph_linear(g, l, x, p > 0 ? -1 : residual, 1, &role);
    return p > 0 ? hn_graph_dropout(g, l, x, residual, p, role) : x;
}

static void build(struct hn_graph *g) {
    int h = hn_graph_norm(g, -1, hn_graph_embed(g), -1, HN_ROLE_EMBED_NORM);
    h = hn_graph_dropout(g, -1, h, -1, g->options->dropout, HN_ROLE_EMBED_NORM);
    for (int l = 0; l < (int)g->model->config.layers; l++) {
        int x = hn_graph_linear(g, l, h, -1, 3, (enum hn_role[]){HN_ROLE_Q, HN_ROLE_K, HN_ROLE_V});
        x = hn_graph_attention(g, l, x, false);
        hn_graph_narrow(g, l, &x, &h);
        x = linear_onto(g, l, x, h, HN_ROLE_O);
        h = hn_graph_norm(g, l, x, -1, HN_ROLE_ATTN_NORM);
        x = hn_graph_linear(g, l, h, -1, 1, (enum hn_role[]){HN_ROLE_UP});
        x = hn_graph_activate(g, l, x, g->model->config.activation);
        h = hn_graph_norm(g, l, linear_onto(g, l, x, h, HN_ROLE_DOWN), -1, HN_ROLE_FFN_NORM);
    }
    hn_graph_finish_head(g, h);
}

/* Of GGUF files; folders have a config.json of their own. */
static json_t *describe(const struct hn_model *model) {
    const struct hn_model_config *c = &model->config;
    return HN_JSON_OBJECT({"architectures", json_pack("[o]", json_string(model->arch->hf_class))},
        {"model_type", json_string(model->arch->hf_type)}, {"vocab_size", json_integer(c->vocab)},
        {"hidden_size", json_integer(c->hidden)}, {"intermediate_size", json_integer(c->ffn)},
        {"num_hidden_layers", json_integer(c->layers)},
        {"num_attention_heads", json_integer(c->heads)},
        {"max_position_embeddings", json_integer((c->context + c->position_offset))},
        {"type_vocab_size", json_integer(c->token_types)}, {"hidden_act", json_string("gelu")},
        {"layer_norm_eps", hn_json_float((float)c->norm_eps)});
}

#define BERT_NAMES(prefix)                                                                         \
    [HN_ROLE_EMBED] = {"token_embd.weight", prefix "embeddings.word_embeddings.weight"},           \
    [HN_ROLE_POSITION] = {"position_embd.weight", prefix "embeddings.position_embeddings.weight"}, \
    [HN_ROLE_TOKEN_TYPE] = {"token_types.weight",                                                  \
        prefix "embeddings.token_type_embeddings.weight"},                                         \
    [HN_ROLE_EMBED_NORM] = {"token_embd_norm.weight", prefix "embeddings.LayerNorm.weight"},       \
    [HN_ROLE_EMBED_NORM_BIAS] = {"token_embd_norm.bias", prefix "embeddings.LayerNorm.bias"},      \
    [HN_ROLE_Q] = {"blk.%d.attn_q.weight", LAYER(prefix) "attention.self.query.weight", "query"},  \
    [HN_ROLE_Q_BIAS] = {"blk.%d.attn_q.bias", LAYER(prefix) "attention.self.query.bias"},          \
    [HN_ROLE_K] = {"blk.%d.attn_k.weight", LAYER(prefix) "attention.self.key.weight", "key"},      \
    [HN_ROLE_K_BIAS] = {"blk.%d.attn_k.bias", LAYER(prefix) "attention.self.key.bias"},            \
    [HN_ROLE_V] = {"blk.%d.attn_v.weight", LAYER(prefix) "attention.self.value.weight", "value"},  \
    [HN_ROLE_V_BIAS] = {"blk.%d.attn_v.bias", LAYER(prefix) "attention.self.value.bias"},          \
    [HN_ROLE_O_BIAS] = {"blk.%d.attn_output.bias", LAYER(prefix) "attention.output.dense.bias"},   \
    [HN_ROLE_ATTN_NORM] = {"blk.%d.attn_output_norm.weight",                                       \
        LAYER(prefix) "attention.output.LayerNorm.weight"},                                        \
    [HN_ROLE_ATTN_NORM_BIAS] = {"blk.%d.attn_output_norm.bias",                                    \
        LAYER(prefix) "attention.output.LayerNorm.bias"},                                          \
    [HN_ROLE_UP_BIAS] = {"blk.%d.ffn_up.bias", LAYER(prefix) "intermediate.dense.bias"},           \
    [HN_ROLE_DOWN_BIAS] = {"blk.%d.ffn_down.bias", LAYER(prefix) "output.dense.bias"},             \
    [HN_ROLE_FFN_NORM] = {"blk.%d.layer_output_norm.weight",                                       \
        LAYER(prefix) "output.LayerNorm.weight"},                                                  \
    [HN_ROLE_FFN_NORM_BIAS] = {                                                                    \
        "blk.%d.layer_output_norm.bias", LAYER(prefix) "output.LayerNorm.bias"}
#define DENSE_NAMES(prefix, o, up, down)                                                           \
    [HN_ROLE_O] = {"blk.%d.attn_output.weight", LAYER(prefix) "attention.output.dense.weight", o}, \
    [HN_ROLE_UP] = {"blk.%d.ffn_up.weight", LAYER(prefix) "intermediate.dense.weight", up},        \
    [HN_ROLE_DOWN] = {"blk.%d.ffn_down.weight", LAYER(prefix) "output.dense.weight", down}
#define LAYER(prefix) prefix "encoder.layer.%d."

static const char *const bert_leftovers[] = {"cls", "classifier", "qa_outputs", NULL};
static const char *const roberta_leftovers[] = {
    "lm_head", "classifier", "qa_outputs", "roberta.pooler", "pooler", "score", NULL};
static const char *const distilbert_leftovers[] = {"vocab_transform", "vocab_layer_norm",
    "vocab_projector", "classifier", "pre_classifier", "qa_outputs", NULL};

const struct hn_arch hn_arch_bert = {
    .family = "bert",
    .gguf_arch = "bert",
    .hf_type = "bert",
    .hf_class = "BertModel",
    .hf_prefix = "bert.",
    .encoder = true,
    .absent = {.context = 512},
    .configure = configure,
    .build = build,
    .describe = describe,
    .leftovers = bert_leftovers,
    .names = {BERT_NAMES("bert."), DENSE_NAMES("bert.", "dense", "dense", "dense"),
        [HN_ROLE_POOLER] = {NULL, "bert.pooler.dense.weight", "dense", .optional = true},
        [HN_ROLE_POOLER_BIAS] = {NULL, "bert.pooler.dense.bias", .optional = true}},
    .heads =
        {
            [HN_HEAD_SEQUENCE] = {"BertForSequenceClassification", NULL, "classifier", "classifier",
                .pooled = true, .drops = true, .dropout = "classifier_dropout", .bias = true},
            [HN_HEAD_TOKENS] = {"BertForTokenClassification", NULL, "classifier", "classifier",
                .drops = true, .dropout = "classifier_dropout", .bias = true},
            [HN_HEAD_SPAN] = {"BertForQuestionAnswering", NULL, "qa_outputs", "qa_outputs",
                .bias = true},
        },
};

/* Names of two words, since "dense" alone is also a module of the classifier. */
const struct hn_arch hn_arch_roberta = {
    .family = "roberta",
    .hf_type = "roberta",
    .hf_class = "RobertaModel",
    .hf_prefix = "roberta.",
    .encoder = true,
    .absent = {.context = 512},
    .configure = configure_roberta,
    .build = build,
    .describe = describe,
    .leftovers = roberta_leftovers,
    .names = {BERT_NAMES("roberta."),
        DENSE_NAMES("roberta.", "output.dense", "intermediate.dense", "output.dense")},
    .heads =
        {
            [HN_HEAD_SEQUENCE] = {"RobertaForSequenceClassification", "classifier.dense",
                "classifier.out_proj", "classifier", .drops_input = true, .drops = true,
                .dropout = "classifier_dropout", .bias = true, .activation = HN_TANH},
            [HN_HEAD_TOKENS] = {"RobertaForTokenClassification", NULL, "classifier", "classifier",
                .drops = true, .dropout = "classifier_dropout", .bias = true},
            [HN_HEAD_SPAN] = {"RobertaForQuestionAnswering", NULL, "qa_outputs", "qa_outputs",
                .bias = true},
        },
};

#undef LAYER
#define LAYER "distilbert.transformer.layer.%d."
const struct hn_arch hn_arch_distilbert = {
    .family = "distilbert",
    .hf_type = "distilbert",
    .hf_class = "DistilBertModel",
    .hf_prefix = "distilbert.",
    .encoder = true,
    .absent = {.context = 512},
    .configure = configure,
    .build = build,
    .describe = describe,
    .leftovers = distilbert_leftovers,
    .names =
        {
            [HN_ROLE_EMBED] = {NULL, "distilbert.embeddings.word_embeddings.weight"},
            [HN_ROLE_POSITION] = {NULL, "distilbert.embeddings.position_embeddings.weight"},
            [HN_ROLE_EMBED_NORM] = {NULL, "distilbert.embeddings.LayerNorm.weight"},
            [HN_ROLE_EMBED_NORM_BIAS] = {NULL, "distilbert.embeddings.LayerNorm.bias"},
            [HN_ROLE_Q] = {NULL, LAYER "attention.q_lin.weight", "q_lin"},
            [HN_ROLE_Q_BIAS] = {NULL, LAYER "attention.q_lin.bias"},
            [HN_ROLE_K] = {NULL, LAYER "attention.k_lin.weight", "k_lin"},
            [HN_ROLE_K_BIAS] = {NULL, LAYER "attention.k_lin.bias"},
            [HN_ROLE_V] = {NULL, LAYER "attention.v_lin.weight", "v_lin"},
            [HN_ROLE_V_BIAS] = {NULL, LAYER "attention.v_lin.bias"},
            [HN_ROLE_O] = {NULL, LAYER "attention.out_lin.weight", "out_lin"},
            [HN_ROLE_O_BIAS] = {NULL, LAYER "attention.out_lin.bias"},
            [HN_ROLE_ATTN_NORM] = {NULL, LAYER "sa_layer_norm.weight"},
            [HN_ROLE_ATTN_NORM_BIAS] = {NULL, LAYER "sa_layer_norm.bias"},
            [HN_ROLE_UP] = {NULL, LAYER "ffn.lin1.weight", "lin1"},
            [HN_ROLE_UP_BIAS] = {NULL, LAYER "ffn.lin1.bias"},
            [HN_ROLE_DOWN] = {NULL, LAYER "ffn.lin2.weight", "lin2"},
            [HN_ROLE_DOWN_BIAS] = {NULL, LAYER "ffn.lin2.bias"},
            [HN_ROLE_FFN_NORM] = {NULL, LAYER "output_layer_norm.weight"},
            [HN_ROLE_FFN_NORM_BIAS] = {NULL, LAYER "output_layer_norm.bias"},
        },
    .heads =
        {
            [HN_HEAD_SEQUENCE] = {"DistilBertForSequenceClassification", "pre_classifier",
                "classifier", "pre_classifier,classifier", .drops = true,
                .dropout = "seq_classif_dropout", .dropout_absent = 0.2, .bias = true,
                .activation = HN_RELU},
            [HN_HEAD_TOKENS] = {"DistilBertForTokenClassification", NULL, "classifier",
                "classifier", .drops = true, .bias = true},
            [HN_HEAD_SPAN] = {"DistilBertForQuestionAnswering", NULL, "qa_outputs", "qa_outputs",
                .drops = true, .dropout = "qa_dropout", .bias = true},
        },
};
