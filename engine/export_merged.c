/*
 * A folder that Transformers loads as a model of its own: all weights of a full run under Hugging Face's names.
 *
 * Of a tied model there is one matrix, the embedding: lm_head is left out and tie_word_embeddings says why. Rows of
 * query and key matrices go into Hugging Face's order. Values are rounded to the run's export_dtype, to nearest even;
 * reading back undoes the order and not the rounding, so that the comparison of logits measures what the rounding
 * costs.
 */
#include "engine/buf.h"
#include "engine/encode.h"
#include "engine/export.h"
#include "engine/export_tokenizer.h"
#include "engine/file.h"
#include "engine/safetensors.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* How Hugging Face's files hold the weight: rows in another order, transposed (GPT-2's Conv1D), less an offset
 * (Gemma's norms). */
struct layout {
    size_t rows, cols; /* as stored */
    bool moved, transposed;
    float offset;
};

static struct layout layout_of(const struct hn_run *run, const struct hn_param *p) {
    const struct hn_role_names *names = &run->model.arch->names[p->weight->role];
    bool moved = run->model.config.rope_interleaved && (p->weight->role == HN_ROLE_Q || p->weight->role == HN_ROLE_K);
    return (struct layout){names->transposed ? p->cols : p->rows, names->transposed ? p->rows : p->cols, moved,
        names->transposed, names->offset};
}

static bool is_as_stored(const struct layout *l) {
    return !l->moved && !l->transposed && !(l->offset > 0);
}

/* Where value (r, c) of the parameter stands in the stored matrix. */
static size_t place_of(
    const struct hn_run *run, const struct layout *l, const struct hn_param *p, size_t r, size_t c) {
    size_t row = hn_row_to_hf(&run->model.config, p->weight, r);
    return l->transposed ? c * p->rows + row : row * p->cols + c;
}

/* Values of the parameter as they are stored: in place where nothing differs, else copied to *at. */
static const float *as_stored(const struct hn_run *run, const struct hn_param *p, const float *values, float **at) {
    struct layout l = layout_of(run, p);
    const float *from = values + p->offset;
    float *to = *at;
    if (is_as_stored(&l))
        return from;
    for (size_t r = 0; r < p->rows; r++)
        for (size_t c = 0; c < p->cols; c++)
            to[place_of(run, &l, p, r, c)] = from[r * p->cols + c] - l.offset;
    *at += p->rows * p->cols;
    return to;
}

static int write_tensors(
    const struct hn_run *run, const struct hn_params *params, const char *path, struct hn_error *err) {
    size_t copied = 0;
    for (size_t i = 0; i < params->n; i++) {
        struct layout l = layout_of(run, &params->table[i]);
        copied += is_as_stored(&l) ? 0 : l.rows * l.cols;
    }
    struct hn_safetensor_out *out = hn_calloc(params->n, sizeof *out);
    float *copies = hn_calloc(copied, sizeof *copies), *at = copies;
    int rc = out && copies ? 0 : hn_fail(err, HN_E_INTERNAL, "out of memory");
    for (size_t i = 0; !rc && i < params->n; i++) {
        const struct hn_param *p = &params->table[i];
        struct layout l = layout_of(run, p);
        bool vector = p->weight->vector;
        out[i] = (struct hn_safetensor_out){.name = p->name,
            .n_dims = vector ? 1 : 2,
            .dims = {vector ? l.cols : l.rows, vector ? 0 : l.cols},
            .type = run->spec->export_dtype,
            .values = as_stored(run, p, params->values, &at)};
    }
    json_t *metadata = hn_export_provenance(run);
    if (!rc)
        rc = hn_safetensors_write(path, out, params->n, metadata, err);
    json_decref(metadata);
    free(out);
    free(copies);
    return rc;
}

static const char *dtype_name(enum hn_dtype type) {
    return type == HN_F16 ? "float16" : type == HN_BF16 ? "bfloat16" : "float32";
}

/* The tokens named by id in the configuration; a missing one is left out. */
static void add_ids(const struct hn_run *run, json_t *to) {
    int64_t pad = hn_gguf_int(&run->model.gguf, "tokenizer.ggml.padding_token_id", -1);
    int32_t bos = hn_tokenizer_bos(run->codec.tokenizer), eos = hn_tokenizer_eos(run->codec.tokenizer);
    if (bos >= 0)
        json_object_set_new(to, "bos_token_id", json_integer(bos));
    if (eos >= 0)
        json_object_set_new(to, "eos_token_id", json_integer(eos));
    if (pad >= 0 && (size_t)pad < run->model.config.vocab)
        json_object_set_new(to, "pad_token_id", json_integer((json_int_t)pad));
}

/* Version 4 of Transformers reads torch_dtype, version 5 dtype. */
static json_t *make_config(const struct hn_run *run) {
    json_t *config = hn_model_describe(&run->model);
    add_ids(run, config);
    hn_export_head(run, config);
    json_object_set_new(config, "torch_dtype", json_string(dtype_name(run->spec->export_dtype)));
    json_object_set_new(config, "dtype", json_string(dtype_name(run->spec->export_dtype)));
    return config;
}

/* Generation stops at every token that ends a turn or a text, as it does here. */
static json_t *make_generation_config(const struct hn_run *run) {
    json_t *config = json_object(), *ends = json_array();
    for (size_t id = 0; id < hn_tokenizer_vocab(run->codec.tokenizer); id++)
        if (hn_tokenizer_is_end(run->codec.tokenizer, (int32_t)id))
            json_array_append_new(ends, json_integer((json_int_t)id));
    add_ids(run, config);
    if (json_array_size(ends))
        json_object_set(config, "eos_token_id", ends);
    json_decref(ends);
    return config;
}

static int write_readme(const struct hn_run *run, const char *path, struct hn_error *err) {
    char base[256];
    struct hn_buf text = {0};
    hn_base_name(&run->model, base, sizeof base);
    hn_buf_printf(&text,
        "---\nlibrary_name: transformers\n---\n# %s, fine-tuned\n\n"
        "All weights were trained, beginning from the base model as it is stored: %s, sha256 `%s`. They are kept "
        "here as %s.\n\n"
        "- With Transformers: `%s.from_pretrained(THIS_FOLDER)` and "
        "`AutoTokenizer.from_pretrained(THIS_FOLDER)`.\n\n"
        "Run `%s`, training data sha256 `%s`.\n",
        base, run->model.quantisation, run->spec->model_sha256, dtype_name(run->spec->export_dtype),
        hn_export_class(run), run->spec->run_sha256, run->spec->train.sha256 ? run->spec->train.sha256 : "");
    return hn_export_text(path, &text, err);
}

int hn_merged_write(const struct hn_run *run, const struct hn_params *params, const char *dir, struct hn_error *err) {
    char path[4096];
    snprintf(path, sizeof path, "%s/model.safetensors", dir);
    int rc = write_tensors(run, params, path, err);
    snprintf(path, sizeof path, "%s/config.json", dir);
    if (!rc)
        rc = hn_export_json(path, make_config(run), err);
    snprintf(path, sizeof path, "%s/generation_config.json", dir);
    if (!rc && !run->model.head.names)
        rc = hn_export_json(path, make_generation_config(run), err);
    snprintf(path, sizeof path, "%s/README.md", dir);
    if (!rc)
        rc = write_readme(run, path, err);
    return rc ? rc : hn_tokenizer_files_write(run, dir, err);
}

static bool has_shape(const struct hn_safetensor *t, const struct layout *l, const struct hn_param *param) {
    if (param->weight->vector)
        return t->n_dims == 1 && t->dims[0] == l->cols;
    return t->n_dims == 2 && t->dims[0] == l->rows && t->dims[1] == l->cols;
}

/* Back into the engine's order. */
static int read_tensor(const struct hn_run *run, const struct hn_safetensor *t, const struct layout *l,
    const struct hn_param *p, float *values, struct hn_error *err) {
    const struct hn_dtype_info *info = hn_dtype_info((int)t->type);
    float *stored = hn_calloc(l->rows * l->cols, sizeof *stored);
    if (!stored)
        return hn_fail(err, HN_E_INTERNAL, "out of memory");
    info->dequantise(stored, t->data, l->rows * l->cols);
    for (size_t r = 0; r < p->rows; r++)
        for (size_t c = 0; c < p->cols; c++)
            values[r * p->cols + c] = stored[place_of(run, l, p, r, c)] + l->offset;
    free(stored);
    return 0;
}

int hn_merged_read(
    const struct hn_run *run, const struct hn_params *params, const char *dir, float *values, struct hn_error *err) {
    char path[4096];
    struct hn_safetensors st;
    snprintf(path, sizeof path, "%s/model.safetensors", dir);
    int rc = hn_safetensors_open(&st, path, err);
    for (size_t i = 0; !rc && i < params->n; i++) {
        const struct hn_param *p = &params->table[i];
        const struct hn_safetensor *t = hn_safetensors_find(&st, p->name);
        struct layout l = layout_of(run, p);
        if (!t || t->type != run->spec->export_dtype || !has_shape(t, &l, p))
            rc = hn_fail(
                err, HN_E_EXPORT_MISMATCH, "%s: tensor %s is missing or has another type or shape", path, p->name);
        else
            rc = read_tensor(run, t, &l, p, values + p->offset, err);
    }
    hn_safetensors_close(&st);
    return rc;
}
