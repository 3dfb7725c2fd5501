/* See model.h. */
#include "engine/model/model.h"

#include <string.h>

void hn_role_shape(const struct hn_model_config *c, enum hn_role role, size_t *rows, size_t *cols) {
    size_t q = c->heads * c->head_dim, kv = c->kv_heads * c->head_dim, h = c->hidden;
    const size_t shapes[HN_ROLES][2] = {
        [HN_ROLE_EMBED] = {c->vocab, h},
        [HN_ROLE_POSITION] = {c->context + c->position_offset, h},
        [HN_ROLE_TOKEN_TYPE] = {c->token_types, h},
        [HN_ROLE_EMBED_NORM] = {1, h},
        [HN_ROLE_EMBED_NORM_BIAS] = {1, h},
        [HN_ROLE_POOLER] = {h, h},
        [HN_ROLE_POOLER_BIAS] = {1, h},
        [HN_ROLE_HEAD] = {c->vocab, h},
        [HN_ROLE_ATTN_NORM] = {1, h},
        [HN_ROLE_ATTN_NORM_BIAS] = {1, h},
        [HN_ROLE_POST_ATTN_NORM] = {1, h},
        [HN_ROLE_FFN_NORM] = {1, h},
        [HN_ROLE_FFN_NORM_BIAS] = {1, h},
        [HN_ROLE_POST_FFN_NORM] = {1, h},
        [HN_ROLE_OUT_NORM] = {1, h},
        [HN_ROLE_OUT_NORM_BIAS] = {1, h},
        [HN_ROLE_QKV] = {q + 2 * kv, h},
        [HN_ROLE_QKV_BIAS] = {1, q + 2 * kv},
        [HN_ROLE_Q] = {q, h},
        [HN_ROLE_Q_BIAS] = {1, q},
        [HN_ROLE_K] = {kv, h},
        [HN_ROLE_K_BIAS] = {1, kv},
        [HN_ROLE_V] = {kv, h},
        [HN_ROLE_V_BIAS] = {1, kv},
        [HN_ROLE_Q_NORM] = {1, c->head_dim},
        [HN_ROLE_K_NORM] = {1, c->head_dim},
        [HN_ROLE_O] = {h, q},
        [HN_ROLE_O_BIAS] = {1, h},
        [HN_ROLE_GATE] = {c->ffn, h},
        [HN_ROLE_GATE_BIAS] = {1, c->ffn},
        [HN_ROLE_UP] = {c->ffn, h},
        [HN_ROLE_UP_BIAS] = {1, c->ffn},
        [HN_ROLE_DOWN] = {h, c->ffn},
        [HN_ROLE_DOWN_BIAS] = {1, h},
    };
    *rows = shapes[role][0];
    *cols = shapes[role][1];
}

bool hn_role_is_vector(enum hn_role role) {
    static const bool matrices[HN_ROLES] = {[HN_ROLE_EMBED] = true,
        [HN_ROLE_POSITION] = true,
        [HN_ROLE_TOKEN_TYPE] = true,
        [HN_ROLE_QKV] = true,
        [HN_ROLE_Q] = true,
        [HN_ROLE_K] = true,
        [HN_ROLE_V] = true,
        [HN_ROLE_O] = true,
        [HN_ROLE_GATE] = true,
        [HN_ROLE_UP] = true,
        [HN_ROLE_DOWN] = true,
        [HN_ROLE_POOLER] = true,
        [HN_ROLE_DENSE] = true,
        [HN_ROLE_SCORE] = true,
        [HN_ROLE_HEAD] = true};
    return !matrices[role];
}

bool hn_role_exists(const struct hn_role_names *names) {
    return names->gguf || names->hf;
}

bool hn_role_in_layers(const struct hn_role_names *names) {
    return hn_role_exists(names) && strstr(names->gguf ? names->gguf : names->hf, "%d");
}

const struct hn_weight *hn_model_weight(
    const struct hn_model *model, int layer, enum hn_role role) {
    return layer < 0          ? model->by_role[role]
        : model->layers[role] ? model->layers[role][layer]
                              : NULL;
}

void hn_weight_row(const struct hn_weight *weight, size_t row, float *out) {
    const struct hn_dtype_info *info = hn_dtype_info(weight->type);
    const uint8_t *data = weight->data;
    if (!weight->transposed) {
        info->dequantise(out, data + row * hn_dtype_bytes(info, weight->cols), weight->cols);
        return;
    }
    for (size_t c = 0; c < weight->cols; c++) /* one value a block: see check_shape */
        info->dequantise(out + c, data + (c * weight->rows + row) * info->bytes, 1);
}
