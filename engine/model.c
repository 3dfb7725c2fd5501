/* See model.h. */
#include "engine/model.h"
#include "engine/arch.h"
#include "engine/buf.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Expected shape of a role; rows 1 for vectors. */
static void role_shape(const struct hn_config *c, enum hn_role role, size_t *rows, size_t *cols) {
    size_t q = c->heads * c->head_dim, kv = c->kv_heads * c->head_dim;
    const size_t shapes[HN_ROLES][2] = {
        [HN_ROLE_EMBED] = {c->vocab, c->hidden},
        [HN_ROLE_HEAD] = {c->vocab, c->hidden},
        [HN_ROLE_ATTN_NORM] = {1, c->hidden},
        [HN_ROLE_FFN_NORM] = {1, c->hidden},
        [HN_ROLE_OUT_NORM] = {1, c->hidden},
        [HN_ROLE_Q] = {q, c->hidden},
        [HN_ROLE_K] = {kv, c->hidden},
        [HN_ROLE_V] = {kv, c->hidden},
        [HN_ROLE_O] = {c->hidden, q},
        [HN_ROLE_GATE] = {c->ffn, c->hidden},
        [HN_ROLE_UP] = {c->ffn, c->hidden},
        [HN_ROLE_DOWN] = {c->hidden, c->ffn},
    };
    *rows = shapes[role][0];
    *cols = shapes[role][1];
}

static bool in_layers(const struct hn_role_names *names) {
    return names->gguf && strstr(names->gguf, "%d");
}

#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wformat-nonliteral"
static void name_weight(struct hn_weight *w, const struct hn_role_names *names, int layer) {
    snprintf(w->gguf_name, sizeof w->gguf_name, names->gguf, layer);
    snprintf(w->hf_name, sizeof w->hf_name, names->hf, layer);
}
#pragma GCC diagnostic pop

static int add_weight(struct hn_model *model, enum hn_role role, int layer, struct hn_error *err) {
    struct hn_weight *w = &model->weights[model->n_weights];
    *w = (struct hn_weight){.role = role, .layer = layer, .param = SIZE_MAX};
    name_weight(w, &model->arch->names[role], layer);
    const struct hn_gguf_tensor *t = hn_gguf_tensor(&model->gguf, w->gguf_name);
    if (!t)
        return hn_fail(err, HN_E_MODEL_INVALID, "the model has no tensor %s", w->gguf_name);
    role_shape(&model->config, role, &w->rows, &w->cols);
    if (t->ne[0] != w->cols || t->ne[1] != w->rows || t->ne[2] != 1 || t->ne[3] != 1)
        return hn_fail(err, HN_E_MODEL_INVALID,
            "tensor %s has the shape [%zu, %zu] where [%zu, %zu] follows from the configuration", w->gguf_name,
            t->ne[1], t->ne[0], w->rows, w->cols);
    if (w->rows == 1 && t->type != HN_F32)
        return hn_fail(err, HN_E_UNSUPPORTED, "tensor %s is %s; vectors must be F32", w->gguf_name,
            hn_dtype_info((int)t->type)->name);
    w->type = t->type;
    w->data = t->data;
    model->parameters += w->rows * w->cols;
    model->mapped_bytes += t->bytes;
    if (layer >= 0)
        model->layers[role][layer] = w;
    else
        model->by_role[role] = w;
    model->n_weights++;
    return 0;
}

static int add_weights(struct hn_model *model, struct hn_error *err) {
    const struct hn_config *c = &model->config;
    model->weights = hn_calloc((c->layers + 1) * HN_ROLES, sizeof *model->weights);
    int rc = model->weights ? 0 : hn_fail(err, HN_E_INTERNAL, "out of memory");
    for (int role = 0; !rc && role < HN_ROLES; role++) {
        const struct hn_role_names *names = &model->arch->names[role];
        if (!names->gguf)
            continue;
        if (in_layers(names)) {
            if (!(model->layers[role] = hn_calloc(c->layers, sizeof *model->layers[role])))
                return hn_fail(err, HN_E_INTERNAL, "out of memory");
            for (int l = 0; !rc && l < (int)c->layers; l++)
                rc = add_weight(model, (enum hn_role)role, l, err);
        } else if (role == HN_ROLE_HEAD && c->tied) {
            model->by_role[role] = model->by_role[HN_ROLE_EMBED];
        } else {
            rc = add_weight(model, (enum hn_role)role, -1, err);
        }
    }
    return rc;
}

/* Tensors that are in the file but in none of our names would be silently left out of the computation: refuse. */
static int refuse_strangers(const struct hn_model *model, struct hn_error *err) {
    for (size_t i = 0; i < model->gguf.n_tensors; i++) {
        bool known = false;
        for (size_t w = 0; w < model->n_weights && !known; w++)
            known = hn_view_is(model->gguf.tensors[i].name, model->weights[w].gguf_name);
        if (!known) {
            hn_fail(err, HN_E_UNSUPPORTED, "the model has a tensor %.*s, which the %s family here does not know",
                (int)model->gguf.tensors[i].name.size, model->gguf.tensors[i].name.data, model->arch->family);
            hn_error_hint(err, "this is a variant of the architecture that is not supported");
            return HN_E_UNSUPPORTED;
        }
    }
    return 0;
}

static void name_quantisation(struct hn_model *model) {
    size_t per_type[HN_DTYPES] = {0}, best = 0;
    for (size_t i = 0; i < model->n_weights; i++)
        if (model->weights[i].layer >= 0)
            per_type[model->weights[i].type] += model->weights[i].rows * model->weights[i].cols;
    for (size_t t = 1; t < HN_DTYPES; t++)
        if (per_type[t] > per_type[best])
            best = t;
    snprintf(model->quantisation, sizeof model->quantisation, "%s", hn_dtype_info((int)best)->name);
}

int hn_model_open(struct hn_model *model, const char *path, struct hn_error *err) {
    *model = (struct hn_model){0};
    int rc = hn_gguf_open(&model->gguf, path, err);
    if (rc)
        return rc;
    struct hn_view arch = hn_gguf_string(&model->gguf, "general.architecture");
    if (!(model->arch = hn_arch_find(arch))) {
        hn_fail(err, HN_E_UNSUPPORTED, "models of architecture \"%.*s\" are not supported",
            (int)(arch.size < 64 ? arch.size : 64), arch.data ? arch.data : "");
        hn_error_hint(err, "supported: %s", hn_arch_list());
        return HN_E_UNSUPPORTED;
    }
    snprintf(model->config.family, sizeof model->config.family, "%s", model->arch->family);
    const struct hn_gguf_tensor *embed = hn_gguf_tensor(&model->gguf, model->arch->names[HN_ROLE_EMBED].gguf);
    if (!embed || embed->ne[1] > (size_t)1 << 24)
        return hn_fail(err, HN_E_MODEL_INVALID, "the model has no token embedding of a sensible size");
    model->config.vocab = embed->ne[1];
    const char *head = model->arch->names[HN_ROLE_HEAD].gguf;
    model->config.tied = !head || !hn_gguf_tensor(&model->gguf, head);
    if ((rc = model->arch->configure(model, err)) || (rc = add_weights(model, err)) ||
        (rc = refuse_strangers(model, err)))
        return rc;
    name_quantisation(model);
    return 0;
}

void hn_model_close(struct hn_model *model) {
    for (int role = 0; role < HN_ROLES; role++)
        free(model->layers[role]);
    free(model->weights);
    hn_gguf_close(&model->gguf);
    *model = (struct hn_model){0};
}

const struct hn_weight *hn_model_weight(const struct hn_model *model, int layer, enum hn_role role) {
    return layer < 0 ? model->by_role[role] : model->layers[role] ? model->layers[role][layer] : NULL;
}

void hn_weight_row(const struct hn_weight *weight, size_t row, float *out) {
    const struct hn_dtype_info *info = hn_dtype_info(weight->type);
    info->dequantise(out, (const uint8_t *)weight->data + row * hn_dtype_bytes(info, weight->cols), weight->cols);
}
