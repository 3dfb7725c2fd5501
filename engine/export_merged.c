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

static bool is_moved(const struct hn_config *config, const struct hn_param *param) {
    return config->rope_interleaved && (param->weight->role == HN_ROLE_Q || param->weight->role == HN_ROLE_K);
}

/* Values of the parameter with rows in Hugging Face's order: in place where that is the engine's, else copied to *at.
 */
static const float *in_hf_order(
    const struct hn_config *config, const struct hn_param *param, const float *values, float **at) {
    const float *from = values + param->offset;
    float *to = *at;
    if (!is_moved(config, param))
        return from;
    for (size_t r = 0; r < param->rows; r++)
        memcpy(to + hn_row_to_hf(config, param->weight, r) * param->cols, from + r * param->cols,
            param->cols * sizeof *to);
    *at += param->rows * param->cols;
    return to;
}

static int write_tensors(
    const struct hn_run *run, const struct hn_params *params, const char *path, struct hn_error *err) {
    const struct hn_config *config = &run->model.config;
    size_t moved = 0;
    for (size_t i = 0; i < params->n; i++)
        moved += is_moved(config, &params->table[i]) ? params->table[i].rows * params->table[i].cols : 0;
    struct hn_safetensor_out *out = hn_calloc(params->n, sizeof *out);
    float *copies = hn_calloc(moved, sizeof *copies), *at = copies;
    int rc = out && copies ? 0 : hn_fail(err, HN_E_INTERNAL, "out of memory");
    for (size_t i = 0; !rc && i < params->n; i++) {
        const struct hn_param *p = &params->table[i];
        bool vector = p->weight->rows == 1;
        out[i] = (struct hn_safetensor_out){.name = p->name,
            .n_dims = vector ? 1 : 2,
            .dims = {vector ? p->cols : p->rows, vector ? 0 : p->cols},
            .type = run->spec->export_dtype,
            .values = in_hf_order(config, p, params->values, &at)};
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
        "- With Transformers: `AutoModelForCausalLM.from_pretrained(THIS_FOLDER)` and "
        "`AutoTokenizer.from_pretrained(THIS_FOLDER)`.\n\n"
        "Run `%s`, training data sha256 `%s`.\n",
        base, run->model.quantisation, run->spec->model_sha256, dtype_name(run->spec->export_dtype),
        run->spec->run_sha256, run->spec->train.sha256 ? run->spec->train.sha256 : "");
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
    if (!rc)
        rc = hn_export_json(path, make_generation_config(run), err);
    snprintf(path, sizeof path, "%s/README.md", dir);
    if (!rc)
        rc = write_readme(run, path, err);
    return rc ? rc : hn_tokenizer_files_write(run, dir, err);
}

static bool has_shape(const struct hn_safetensor *t, const struct hn_param *param) {
    if (param->weight->rows == 1)
        return t->n_dims == 1 && t->dims[0] == param->cols;
    return t->n_dims == 2 && t->dims[0] == param->rows && t->dims[1] == param->cols;
}

int hn_merged_read(
    const struct hn_run *run, const struct hn_params *params, const char *dir, float *values, struct hn_error *err) {
    char path[4096];
    struct hn_safetensors st;
    snprintf(path, sizeof path, "%s/model.safetensors", dir);
    int rc = hn_safetensors_open(&st, path, err);
    const struct hn_dtype_info *info = hn_dtype_info((int)run->spec->export_dtype);
    for (size_t i = 0; !rc && i < params->n; i++) {
        const struct hn_param *p = &params->table[i];
        const struct hn_safetensor *t = hn_safetensors_find(&st, p->name);
        if (!t || t->type != run->spec->export_dtype || !has_shape(t, p)) {
            rc = hn_fail(
                err, HN_E_EXPORT_MISMATCH, "%s: tensor %s is missing or has another type or shape", path, p->name);
            break;
        }
        for (size_t r = 0; r < p->rows; r++)
            info->dequantise(values + p->offset + r * p->cols,
                t->data + hn_row_to_hf(&run->model.config, p->weight, r) * hn_dtype_bytes(info, p->cols), p->cols);
    }
    hn_safetensors_close(&st);
    return rc;
}
