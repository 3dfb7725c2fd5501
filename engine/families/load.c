/* See load.h. */
#include "engine/model/objective.h"
#include "engine/families/load.h"
#include "engine/families/arch.h"
#include "engine/base/buf.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wformat-nonliteral"
static void name_weight(struct hn_weight *w, const struct hn_role_names *names, int layer) {
    if (names->gguf)
        snprintf(w->gguf_name, sizeof w->gguf_name, names->gguf, layer);
    if (names->hf)
        snprintf(w->hf_name, sizeof w->hf_name, names->hf, layer);
}
#pragma GCC diagnostic pop

/* A tensor of either kind of file. dims: outermost first. */
struct stored {
    const char *name;
    enum hn_dtype type;
    size_t n_dims, dims[4], bytes;
    const void *data;
};

/* A tensor's name as files of another origin spell it: bit 0 of `spelling`: without the prefix,
 * which files of the bare model leave out; bit 1: norms named gamma and beta, as the first BERT
 * files have them. False: no such spelling. */
enum { SPELLINGS = 4 };
static bool respell(
    const struct hn_model *model, const char *name, unsigned spelling, char out[HN_NAME]) {
    static const char *const old[][2] = {
        {"LayerNorm.weight", "LayerNorm.gamma"}, {"LayerNorm.bias", "LayerNorm.beta"}};
    const char *prefix = model->arch->hf_prefix;
    if (spelling & 1) {
        if (!prefix || strncmp(name, prefix, strlen(prefix)) != 0)
            return false;
        name += strlen(prefix);
    }
    snprintf(out, HN_NAME, "%s", name);
    for (size_t i = 0; spelling & 2 && i < 2; i++) {
        size_t n = strlen(name), tail = strlen(old[i][0]);
        if (n >= tail && strcmp(name + n - tail, old[i][0]) == 0) {
            snprintf(out + n - tail, HN_NAME - (n - tail), "%s", old[i][1]);
            return true;
        }
    }
    return !(spelling & 2);
}

static const struct hn_safetensor *find_in_folder(const struct hn_model *model, const char *name) {
    const struct hn_safetensor *t = NULL;
    char spelled[HN_NAME];
    for (unsigned s = 0; s < SPELLINGS && !t; s++)
        if (respell(model, name, s, spelled))
            t = hn_folder_find(&model->folder, spelled);
    return t;
}

static bool find_stored(
    const struct hn_model *model, const struct hn_weight *w, struct stored *ret) {
    if (model->is_folder) {
        const struct hn_safetensor *t = w->hf_name[0] ? find_in_folder(model, w->hf_name) : NULL;
        if (!t && w->role == HN_ROLE_EMBED &&
            model->config.tied) /* the one matrix, by its other name */
            t = find_in_folder(model, model->arch->names[HN_ROLE_HEAD].hf);
        *ret = (struct stored){.name = w->hf_name};
        if (t) {
            *ret = (struct stored){w->hf_name, t->type, t->n_dims, {0}, t->bytes, t->data};
            memcpy(ret->dims, t->dims, sizeof ret->dims);
        }
        return t != NULL;
    }
    const struct hn_gguf_tensor *t =
        w->gguf_name[0] ? hn_gguf_tensor(&model->gguf, w->gguf_name) : NULL;
    *ret = (struct stored){.name = w->gguf_name};
    if (!t)
        return false;
    *ret = (struct stored){w->gguf_name, t->type, t->n_dims, {0}, t->bytes, t->data};
    for (size_t i = 0; i < t->n_dims && i < 4; i++)
        ret->dims[i] = t->ne[t->n_dims - 1 - i];
    return true;
}

static int check_shape(const struct hn_weight *w, const struct stored *t, struct hn_error *err) {
    size_t rows = w->transposed ? w->cols : w->rows, cols = w->transposed ? w->rows : w->cols;
    bool vector = w->vector && t->n_dims == 1 && t->dims[0] == w->cols;
    if (!vector && !(t->n_dims == 2 && t->dims[0] == rows && t->dims[1] == cols))
        return hn_fail(err, HN_E_MODEL_INVALID,
            "tensor %s has the shape [%zu, %zu] where [%zu, %zu] follows from the configuration",
            t->name, t->n_dims > 1 ? t->dims[0] : 1, t->n_dims > 1 ? t->dims[1] : t->dims[0], rows,
            cols);
    if (w->transposed && hn_dtype_info((int)t->type)->block > 1)
        return hn_fail(err, HN_E_UNSUPPORTED, "tensor %s is quantised across its rows", t->name);
    return 0;
}

/* Vectors as f32 of their own: they are small, and may be stored as F16 or less an offset. */
static int own_vector(struct hn_weight *w, const void *data, float offset, struct hn_error *err) {
    if (!(w->owned = hn_calloc(w->cols, sizeof *w->owned)))
        return hn_fail(err, HN_E_INTERNAL, "out of memory");
    hn_dtype_info((int)w->type)->dequantise(w->owned, data, w->cols);
    for (size_t i = 0; i < w->cols; i++)
        w->owned[i] += offset;
    w->type = HN_F32;
    w->data = w->owned;
    return 0;
}

static int add_weight(struct hn_model *model, enum hn_role role, int layer, struct hn_error *err) {
    struct hn_weight *w = &model->weights[model->n_weights];
    const struct hn_role_names *names = &model->arch->names[role];
    struct stored t;
    *w = (struct hn_weight){.role = role,
        .layer = layer,
        .param = SIZE_MAX,
        .vector = hn_role_is_vector(role),
        .transposed = model->is_folder && names->transposed};
    name_weight(w, names, layer);
    hn_role_shape(&model->config, role, &w->rows, &w->cols);
    if (!find_stored(model, w, &t))
        return names->optional
            ? 0
            : hn_fail(err, HN_E_MODEL_INVALID, "the model has no tensor %s", t.name);
    int rc = check_shape(w, &t, err);
    w->type = t.type;
    w->data = t.data;
    if (!rc && w->vector)
        rc = own_vector(w, t.data, model->is_folder ? names->offset : 0, err);
    model->n_weights += rc == 0 || w->owned;
    if (rc)
        return rc;
    model->parameters += w->rows * w->cols;
    model->mapped_bytes += t.bytes;
    if (layer >= 0)
        model->layers[role][layer] = w;
    else
        model->by_role[role] = w;
    return 0;
}

static bool is_stored(const struct hn_model *model, enum hn_role role) {
    struct hn_weight w = {.role = role};
    struct stored t;
    name_weight(&w, &model->arch->names[role], 0);
    return find_stored(model, &w, &t);
}

static int add_weights(struct hn_model *model, struct hn_error *err) {
    const struct hn_model_config *c = &model->config;
    model->weights = hn_calloc((c->layers + 1) * HN_ROLES, sizeof *model->weights);
    int rc = model->weights ? 0 : hn_fail(err, HN_E_INTERNAL, "out of memory");
    for (int role = 0; !rc && role < HN_ROLES; role++) {
        const struct hn_role_names *names = &model->arch->names[role];
        if (!hn_role_exists(names))
            continue;
        if (hn_role_in_layers(names)) {
            if (!(model->layers[role] = hn_calloc(c->layers, sizeof *model->layers[role])))
                return hn_fail(err, HN_E_INTERNAL, "out of memory");
            for (int l = 0; !rc && l < (int)c->layers; l++)
                rc = add_weight(model, (enum hn_role)role, l, err);
        } else if (role == HN_ROLE_HEAD && c->tied) {
            model->by_role[role] = model->by_role[HN_ROLE_EMBED];
        } else if (role == HN_ROLE_HEAD && !is_stored(model, HN_ROLE_HEAD)) {
            continue; /* of another task: lacks_head() */
        } else {
            rc = add_weight(model, (enum hn_role)role, -1, err);
        }
    }
    return rc;
}

static bool begins_with_module(struct hn_view name, const char *module) {
    size_t n = module ? strlen(module) : 0;
    return n && name.size > n && memcmp(name.data, module, n) == 0 && name.data[n] == '.';
}

/* Buffers that older checkpoints carry and nobody reads: causal masks and rotary frequencies
 * computed anew. */
static bool is_leftover(const struct hn_model *model, struct hn_view name) {
    static const char *const endings[] = {
        ".attn.bias", ".attn.masked_bias", ".rotary_emb.inv_freq", ".position_ids"};
    if (!model->is_folder)
        return hn_view_is(name, "rope_freqs.weight"); /* rope.c has read it */
    if (model->config.tied && model->arch->names[HN_ROLE_HEAD].hf &&
        hn_view_is(name, model->arch->names[HN_ROLE_HEAD].hf))
        return true;
    for (size_t i = 0; i < sizeof endings / sizeof endings[0]; i++) {
        size_t n = strlen(endings[i]);
        if (name.size > n && memcmp(name.data + name.size - n, endings[i], n) == 0)
            return true;
    }
    for (size_t k = 0; k < HN_HEADS; k++) /* read by hn_model_set_head, when the task is this one */
        if (begins_with_module(name, model->arch->heads[k].score) ||
            begins_with_module(name, model->arch->heads[k].dense))
            return true;
    if (begins_with_module(name, "v_head")) /* TRL's value head: of a training, not of the model */
        return true;
    for (const char *const *module = model->arch->leftovers; module && *module; module++)
        if (begins_with_module(name, *module))
            return true;
    return hn_view_is(name, "embeddings.position_ids");
}

static bool is_weight(const struct hn_model *model, struct hn_view name) {
    char spelled[HN_NAME];
    for (size_t w = 0; w < model->n_weights; w++) {
        if (!model->is_folder && hn_view_is(name, model->weights[w].gguf_name))
            return true;
        for (unsigned s = 0; model->is_folder && s < SPELLINGS; s++)
            if (respell(model, model->weights[w].hf_name, s, spelled) && hn_view_is(name, spelled))
                return true;
    }
    return false;
}

/* What names of tensors tell of a folder whose weights are not those of a plain model. */
static const struct {
    const char *part, *what, *hint;
} variants[] = {
    {".lora_A.", "a LoRA adapter that is not merged",
        "merge it and save again: model.merge_and_unload().save_pretrained(folder)"},
    {".base_layer.", "a model wrapped by PEFT",
        "merge it and save again: model.merge_and_unload().save_pretrained(folder)"},
    {"vision_tower.", "a model that sees pictures, too", "take the version for text alone"},
    {"visual.", "a model that sees pictures, too", "take the version for text alone"},
    {".experts.", "a mixture of experts", "take a dense model"},
};

/* Tensors are missing, of another shape or strange: why, where their names tell. Returns rc. */
static int explain(const struct hn_model *model, int rc, struct hn_error *err) {
    if (!model->is_folder || hn_folder_refuse_quantised(&model->folder, err))
        return rc;
    for (size_t k = 0; k < sizeof variants / sizeof variants[0]; k++)
        for (size_t s = 0; s < model->folder.n_shards; s++)
            for (size_t i = 0; i < model->folder.shards[s].n; i++) {
                const char *name = model->folder.shards[s].tensors[i].name;
                if (!strstr(name, variants[k].part))
                    continue;
                hn_fail(err, rc, "the folder holds %s: the tensor %.200s is one of its",
                    variants[k].what, name);
                hn_error_hint(err, "%s", variants[k].hint);
                return rc;
            }
    return rc;
}

/* Tensors that are in the file but in none of our names would be silently left out of the
 * computation: refuse. */
static int refuse_stranger(
    const struct hn_model *model, struct hn_view name, struct hn_error *err) {
    if (is_weight(model, name) || is_leftover(model, name))
        return 0;
    hn_fail(err, HN_E_UNSUPPORTED,
        "the model has a tensor %.*s, which the %s family here does not know",
        (int)(name.size < 200 ? name.size : 200), name.data, model->arch->family);
    hn_error_hint(err, "this is a variant of the architecture that is not supported");
    return HN_E_UNSUPPORTED;
}

static int refuse_strangers(const struct hn_model *model, struct hn_error *err) {
    int rc = 0;
    for (size_t i = 0; i < model->gguf.n_tensors && !rc; i++)
        rc = refuse_stranger(model, model->gguf.tensors[i].name, err);
    for (size_t s = 0; s < model->folder.n_shards; s++)
        for (size_t i = 0; i < model->folder.shards[s].n && !rc; i++) {
            const char *name = model->folder.shards[s].tensors[i].name;
            rc = refuse_stranger(model, (struct hn_view){name, strlen(name)}, err);
        }
    return rc;
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

/* A decoder's folder without a matrix for the head, and not tied either. That of another task (or
 * the bare model) has none and needs none; one that is to write text is incomplete. */
static int lacks_head(const struct hn_model *model, struct hn_error *err) {
    const char *class = json_string_value(
        json_array_get(json_object_get(model->folder.config, "architectures"), 0));
    if (class && strcmp(class, model->arch->hf_class) != 0)
        return 0;
    hn_fail(err, HN_E_MODEL_INVALID,
        "the weight files have no %s, and config.json does not tie the head to the embedding "
        "(\"tie_word_embeddings\": %s)",
        model->arch->names[HN_ROLE_HEAD].hf,
        hn_arch_json(model, "tie_word_embeddings") ? "false" : "left out, which means false");
    hn_error_hint(err,
        "copy all weight files of the model; if it was trained with a tied head, write "
        "\"tie_word_embeddings\": true into config.json");
    return HN_E_MODEL_INVALID;
}

/* Whether the head is the embedding. A GGUF file says it by having no head. Of a folder, flag and
 * tensors may disagree: two matrices are one only where the flag says so and their bytes are the
 * same, as in Transformers since version 5. */
static int decide_tied(struct hn_model *model, const struct stored *embed, struct hn_error *err) {
    struct hn_weight w = {.role = HN_ROLE_HEAD};
    struct stored head;
    name_weight(&w, &model->arch->names[HN_ROLE_HEAD], 0);
    bool stored = find_stored(model, &w, &head);
    if (!model->is_folder || !hn_role_exists(&model->arch->names[HN_ROLE_HEAD]))
        model->config.tied = !stored;
    else if (stored)
        model->config.tied = model->config.tied && head.type == embed->type &&
            head.bytes == embed->bytes && memcmp(head.data, embed->data, head.bytes) == 0;
    else if (!model->config.tied)
        return lacks_head(model, err);
    return 0;
}

static int find_vocab(struct hn_model *model, struct hn_error *err) {
    struct hn_weight embed = {.role = HN_ROLE_EMBED};
    struct stored t;
    name_weight(&embed, &model->arch->names[HN_ROLE_EMBED], 0);
    model->config.tied = model->is_folder && hn_role_exists(&model->arch->names[HN_ROLE_HEAD]) &&
        hn_arch_flag(
            model, (struct hn_arch_key){NULL, "tie_word_embeddings"}, model->arch->absent.ties);
    if (!find_stored(model, &embed, &t) || t.n_dims != 2 || t.dims[0] > (size_t)1 << 24)
        return hn_fail(err, HN_E_MODEL_INVALID,
            "the model has no token embedding %s of a sensible size", t.name);
    model->config.vocab = t.dims[0];
    return decide_tied(model, &t, err);
}

/* GGUF files that are something else than a whole model. */
static int refuse_other_gguf(const struct hn_gguf *gguf, struct hn_error *err) {
    static const struct {
        const char *key, *value, *what, *hint;
    } kinds[] = {
        {"general.type", "adapter", "a LoRA adapter", "import the base that it was trained on"},
        {"general.type", "mmproj", "the part of a model that sees pictures (mmproj)",
            "import the file of the language model beside it"},
        {"general.architecture", "clip", "the part of a model that sees pictures (mmproj)",
            "import the file of the language model beside it"},
        {"general.type", "imatrix", "an importance matrix", "import the model itself"},
        {"general.type", "vocab", "a vocabulary alone", "import the file with the weights"},
    };
    for (size_t i = 0; i < sizeof kinds / sizeof kinds[0]; i++)
        if (hn_view_is(hn_gguf_string(gguf, kinds[i].key), kinds[i].value)) {
            struct hn_view name = hn_gguf_string(gguf, "general.base_model.0.name");
            hn_fail(err, HN_E_MODEL_INVALID, "the GGUF file is %s, not a model%s%.*s%s",
                kinds[i].what, name.size ? "; its base is \"" : "",
                (int)(name.size < 100 ? name.size : 100), name.data ? name.data : "",
                name.size ? "\"" : "");
            hn_error_hint(err, "%s", kinds[i].hint);
            return HN_E_MODEL_INVALID;
        }
    int64_t parts = hn_gguf_int(gguf, "split.count", 1);
    if (parts > 1) {
        hn_fail(err, HN_E_MODEL_INVALID, "the GGUF file is part %lld of %lld of a model",
            (long long)hn_gguf_int(gguf, "split.no", 0) + 1, (long long)parts);
        hn_error_hint(err, "join them: llama-gguf-split --merge FIRST_PART WHOLE.gguf");
        return HN_E_MODEL_INVALID;
    }
    return 0;
}

int hn_model_peek(struct hn_model *model, const char *path, struct hn_error *err) {
    *model = (struct hn_model){.is_folder = hn_is_folder(path)};
    int rc = model->is_folder ? hn_folder_open(&model->folder, path, err)
                              : hn_gguf_open(&model->gguf, path, err);
    if (!rc && !model->is_folder)
        rc = refuse_other_gguf(&model->gguf, err);
    if (!rc)
        rc = hn_arch_find(model, &model->arch, err);
    if (rc)
        return rc;
    snprintf(model->config.family, sizeof model->config.family, "%s", model->arch->family);
    if (model->is_folder && (rc = hn_folder_text(&model->folder, &model->gguf, err)))
        return rc;
    double context = hn_arch_context(model);
    model->config.context =
        context >= 1 && context <= HN_MAX_CONTEXT ? (size_t)context : HN_MAX_CONTEXT;
    return 0;
}

static int read_tensors(struct hn_model *model, struct hn_error *err) {
    int rc = 0, configured = 0;
    if (!model->is_folder && !model->gguf.n_tensors) {
        rc = hn_fail(
            err, HN_E_MODEL_INVALID, "the GGUF file holds a vocabulary alone, without weights");
        hn_error_hint(err, "import the file with the weights");
        return rc;
    }
    rc = find_vocab(model, err);
    if (!rc)
        rc = configured = model->arch->configure(model, err);
    if (!rc)
        rc = add_weights(model, err);
    if (!rc)
        rc = refuse_strangers(model, err);
    return rc && !configured && rc != HN_E_INTERNAL ? explain(model, rc, err) : rc;
}

int hn_model_open(struct hn_model *model, const char *path, struct hn_error *err) {
    int rc = hn_model_peek(model, path, err);
    if (!rc)
        rc = read_tensors(model, err);
    if (!rc)
        name_quantisation(model);
    model->head.outputs = model->config.vocab;
    return rc;
}

static void set_unused(struct hn_model *model, enum hn_role role) {
    struct hn_weight *w = model->by_role[role];
    if (!w || w->unused || w == model->by_role[HN_ROLE_EMBED])
        return;
    w->unused = true;
    model->parameters -= w->rows * w->cols;
}

/* A part of a head: from the file, if it has this shape there. */
static int add_head_weight(struct hn_model *model, enum hn_role role, const char *module,
    size_t rows, struct hn_error *err) {
    struct hn_weight *w = &model->weights[model->n_weights];
    struct stored t;
    *w = (struct hn_weight){.role = role,
        .layer = -1,
        .param = SIZE_MAX,
        .rows = rows,
        .cols = model->config.hidden,
        .vector = hn_role_is_vector(role)};
    if (w->vector) {
        w->cols = rows;
        w->rows = 1;
    }
    snprintf(w->hf_name, sizeof w->hf_name, "%s.%s", module, w->vector ? "bias" : "weight");
    bool stored = find_stored(model, w, &t), fits = stored && !check_shape(w, &t, NULL);
    model->head.reshaped |= stored && !fits;
    if (fits) {
        w->type = t.type;
        w->data = t.data;
        int rc = w->vector ? own_vector(w, t.data, 0, err) : 0;
        if (rc)
            return rc;
    } else {
        model->head.is_new = true;
    }
    model->n_weights++;
    model->parameters += w->rows * w->cols;
    model->by_role[role] = w;
    return 0;
}

static int read_head_dropout(
    struct hn_model *model, const struct hn_head_names *names, struct hn_error *err) {
    struct hn_model_config *c = &model->config;
    c->head_dropout = c->dropout;
    if (names->dropout && model->is_folder)
        c->head_dropout = hn_arch_number(model, (struct hn_arch_key){NULL, names->dropout},
            names->dropout_absent > 0 ? names->dropout_absent : c->dropout);
    if (c->head_dropout >= 0 && c->head_dropout < 1)
        return 0;
    return hn_fail(
        err, HN_E_MODEL_INVALID, "%s in config.json must lie between 0 and 1", names->dropout);
}

int hn_model_set_head(
    struct hn_model *model, enum hn_objective objective, size_t outputs, struct hn_error *err) {
    if (objective == HN_OBJECTIVE_TOKENS && model->arch->encoder) {
        hn_fail(err, HN_E_UNSUPPORTED, "%s models are encoders, which write no text",
            model->config.family);
        hn_error_hint(err,
            "use a decoder (llama, qwen2, gpt2 …), or a data set with labels, answers or tags");
        return HN_E_UNSUPPORTED;
    }
    if (objective == HN_OBJECTIVE_TOKENS && !model->by_role[HN_ROLE_HEAD]) {
        hn_fail(err, HN_E_UNSUPPORTED,
            "the model writes no text: its weight files have no %s, and config.json does not tie "
            "the head to the embedding",
            model->arch->names[HN_ROLE_HEAD].hf);
        hn_error_hint(err, "use a base with a language model head, or a data set with labels");
        return HN_E_UNSUPPORTED;
    }
    if (objective == HN_OBJECTIVE_TOKENS)
        return 0;
    const struct hn_head_names *names = &model->arch->heads[hn_objectives[objective].head];
    if (!names->score)
        return hn_fail(err, HN_E_UNSUPPORTED, "there is no head for %s on %s models",
            hn_objectives[objective].head_task, model->config.family);
    model->head = (struct hn_head){.objective = objective, .names = names, .outputs = outputs};
    set_unused(model, HN_ROLE_HEAD);
    if (!names->pooled) {
        set_unused(model, HN_ROLE_POOLER);
        set_unused(model, HN_ROLE_POOLER_BIAS);
    }
    int rc = read_head_dropout(model, names, err);
    if (!rc && names->pooled && !model->by_role[HN_ROLE_POOLER]) {
        /* the file is of a task that does without */
        rc = add_head_weight(model, HN_ROLE_POOLER, "bert.pooler.dense", model->config.hidden, err);
        if (!rc)
            rc = add_head_weight(
                model, HN_ROLE_POOLER_BIAS, "bert.pooler.dense", model->config.hidden, err);
    }
    if (!rc && names->dense)
        rc = add_head_weight(model, HN_ROLE_DENSE, names->dense, model->config.hidden, err);
    if (!rc && names->dense)
        rc = add_head_weight(model, HN_ROLE_DENSE_BIAS, names->dense, model->config.hidden, err);
    if (!rc)
        rc = add_head_weight(model, HN_ROLE_SCORE, names->score, outputs, err);
    if (!rc && names->bias)
        rc = add_head_weight(model, HN_ROLE_SCORE_BIAS, names->score, outputs, err);
    return rc;
}

void hn_model_close(struct hn_model *model) {
    for (int role = 0; role < HN_ROLES; role++)
        free(model->layers[role]);
    for (size_t i = 0; i < model->n_weights; i++)
        free(model->weights[i].owned);
    free(model->weights);
    hn_gguf_close(&model->gguf);
    hn_folder_close(&model->folder);
    *model = (struct hn_model){0};
}

void hn_model_release(const struct hn_model *model) {
    if (!model->is_folder)
        hn_map_release(&model->gguf.map);
    for (size_t i = 0; i < model->folder.n_shards; i++)
        hn_map_release(&model->folder.shards[i].map);
}

json_t *hn_model_describe(const struct hn_model *model) {
    return model->is_folder ? json_deep_copy(model->folder.config) : model->arch->describe(model);
}
