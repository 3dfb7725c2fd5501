/*
 * A folder that Transformers loads as a model of its own: all weights under Hugging Face's names,
 * those of the base with the adapter added where only an adapter was trained.
 *
 * Of a tied model there is one matrix, the embedding: lm_head is left out and tie_word_embeddings
 * says why. Rows of query and key matrices go into Hugging Face's order. Values are rounded to the
 * run's export_dtype, to nearest even. The folder is read back as any other base model is
 * (publish.c), so that the comparison measures what the rounding costs.
 */
#include "engine/families/load.h"
#include "engine/base/buf.h"
#include "engine/data/encode.h"
#include "engine/export/export.h"
#include "engine/export/export_tokenizer.h"
#include "engine/base/file.h"
#include "engine/formats/folder.h"
#include "engine/run/merge.h"
#include "engine/formats/safetensors.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* What the rows of a folder's tensors are made from. */
struct source {
    const struct hn_loaded *loaded;
    const struct hn_params *params;
    const struct hn_weight *whole; /* the transposed weight that `values` holds, or NULL */
    float *values;                 /* [the largest transposed weight] */
};

static bool is_transposed(const struct hn_loaded *loaded, const struct hn_weight *w) {
    return loaded->model.arch->names[w->role].transposed;
}

/* Hugging Face stores GPT-2's matrices as [in, out] (Conv1D): such a one is made as a whole
 * first. */
static void transpose(struct source *s, const struct hn_weight *w) {
    float *row = s->values + w->rows * w->cols;
    for (size_t r = 0; r < w->rows; r++) {
        hn_merged_row(s->loaded, s->params, w, r, row);
        for (size_t c = 0; c < w->cols; c++)
            s->values[c * w->rows + r] = row[c];
    }
    s->whole = w;
}

/* The engine's row that Hugging Face's row is. */
static size_t row_from_hf(
    const struct hn_model_config *config, const struct hn_weight *w, size_t row) {
    size_t d = config->head_dim, first = row / d * d;
    if (!config->rope_interleaved || (w->role != HN_ROLE_Q && w->role != HN_ROLE_K))
        return row;
    for (size_t r = first; r < first + d; r++)
        if (hn_row_to_hf(config, w, r) == row)
            return r;
    return row;
}

static void fill_row(void *context, const struct hn_safetensor_out *t, size_t row, float *out) {
    struct source *s = context;
    const struct hn_weight *w = t->source;
    float offset = s->loaded->model.arch->names[w->role].offset;
    if (is_transposed(s->loaded, w)) {
        if (s->whole != w)
            transpose(s, w);
        memcpy(out, s->values + row * w->rows, w->rows * sizeof *out);
        return;
    }
    hn_merged_row(s->loaded, s->params, w, row_from_hf(&s->loaded->model.config, w, row), out);
    for (size_t c = 0; offset > 0 && c < w->cols; c++)
        out[c] -= offset;
}

/* The folder's tensors in the model's order, n <= model->n_weights of them. Caller frees; NULL when
 * out of memory. */
static struct hn_safetensor_out *list_tensors(const struct hn_loaded *loaded, size_t *ret_n) {
    const struct hn_model *model = &loaded->model;
    struct hn_safetensor_out *out = hn_calloc(model->n_weights, sizeof *out);
    size_t n = 0;
    for (size_t i = 0; out && i < model->n_weights; i++) {
        const struct hn_weight *w = &model->weights[i];
        bool turned = is_transposed(loaded, w);
        if (w->unused)
            continue;
        out[n++] = (struct hn_safetensor_out){.name = w->hf_name,
            .n_dims = w->vector ? 1 : 2,
            .dims = {w->vector || turned ? w->cols : w->rows,
                w->vector    ? 0
                    : turned ? w->rows
                             : w->cols},
            .type = loaded->spec->export_dtype,
            .source = w};
    }
    *ret_n = n;
    return out;
}

static size_t bytes_of(const struct hn_safetensor_out *t) {
    return hn_safetensor_values(t) * hn_dtype_info((int)t->type)->bytes;
}

/* How many tensors the next file takes: as many as fit, and one however large. */
static size_t next_shard(const struct hn_safetensor_out *tensors, size_t n, int64_t limit) {
    size_t count = 0, room = (size_t)limit;
    for (; count < n && (count == 0 || bytes_of(&tensors[count]) <= room); count++)
        room -= bytes_of(&tensors[count]) < room ? bytes_of(&tensors[count]) : room;
    return count;
}

static size_t count_shards(const struct hn_safetensor_out *tensors, size_t n, int64_t limit) {
    size_t shards = 0;
    for (size_t i = 0; i < n; shards++)
        i += next_shard(tensors + i, n - i, limit);
    return shards;
}

/* config.json has to say what a GGUF file's model does. */
static int check_rope(const struct hn_model *model, struct hn_error *err) {
    json_t *rope =
        model->is_folder || model->config.layer_norm ? json_null() : hn_rope_describe(model);
    bool known = rope != NULL;
    json_decref(rope);
    if (known)
        return 0;
    hn_fail(err, HN_E_UNSUPPORTED,
        "merged: config.json has no settings for the rotary frequencies of this GGUF file");
    hn_error_field(err, "exports");
    hn_error_hint(err, "export merged_gguf instead, or train on the model's original folder");
    return HN_E_UNSUPPORTED;
}

int hn_merged_check(const struct hn_loaded *loaded, struct hn_error *err) {
    size_t n, shards;
    int rc = check_rope(&loaded->model, err);
    if (rc)
        return rc;
    struct hn_safetensor_out *tensors = list_tensors(loaded, &n);
    if (!tensors)
        return hn_fail(err, HN_E_INTERNAL, "out of memory");
    shards = count_shards(tensors, n, loaded->spec->max_shard_bytes);
    free(tensors);
    if (shards <= HN_FOLDER_SHARDS)
        return 0;
    hn_fail(err, HN_E_INVALID_FIELD,
        "files of %lld bytes would be %zu for this model, more than the %d a folder may have",
        (long long)loaded->spec->max_shard_bytes, shards, HN_FOLDER_SHARDS);
    hn_error_field(err, "max_shard_bytes");
    hn_error_hint(err, "raise it, or leave it out for %lld", HN_SHARD_BYTES);
    return HN_E_INVALID_FIELD;
}

/* One file without a number where everything fits, else files with an index of which tensor is
 * where, both as save_pretrained names them. */
static int write_shards(const struct hn_loaded *loaded, const char *dir,
    const struct hn_safetensor_out *tensors, size_t n, struct source *source,
    struct hn_error *err) {
    size_t shards = count_shards(tensors, n, loaded->spec->max_shard_bytes), values = 0, bytes = 0,
           count;
    json_t *metadata = hn_export_provenance(loaded), *map = json_object();
    char path[4200], name[64] = "model.safetensors";
    int rc = 0;
    for (size_t i = 0, shard = 1; !rc && i < n; i += count, shard++) {
        count = next_shard(tensors + i, n - i, loaded->spec->max_shard_bytes);
        if (shards > 1)
            snprintf(name, sizeof name, "model-%05zu-of-%05zu.safetensors", shard, shards);
        snprintf(path, sizeof path, "%.4096s/%s", dir, name);
        rc = hn_safetensors_write(path, tensors + i, count, metadata, fill_row, source, err);
        for (size_t k = i; k < i + count; k++) {
            values += hn_safetensor_values(&tensors[k]);
            bytes += bytes_of(&tensors[k]);
            json_object_set_new(map, tensors[k].name, json_string(name));
        }
    }
    snprintf(path, sizeof path, "%.4096s/" HN_FOLDER_INDEX, dir);
    if (!rc && shards > 1)
        rc = hn_export_json(path,
            json_pack("{s:{s:I, s:I}, s:O}", "metadata", "total_parameters", (json_int_t)values,
                "total_size", (json_int_t)bytes, "weight_map", map),
            err);
    json_decref(metadata);
    json_decref(map);
    return rc;
}

static int write_tensors(const struct hn_loaded *loaded, const struct hn_params *params,
    const char *dir, struct hn_error *err) {
    struct source source = {.loaded = loaded, .params = params};
    size_t n = 0, largest = 0;
    struct hn_safetensor_out *tensors = list_tensors(loaded, &n);
    for (size_t i = 0; tensors && i < n; i++) {
        const struct hn_weight *w = tensors[i].source;
        if (is_transposed(loaded, w) && (w->rows + 1) * w->cols > largest)
            largest = (w->rows + 1) * w->cols;
    }
    int rc = tensors && (source.values = hn_calloc(largest, sizeof *source.values))
        ? write_shards(loaded, dir, tensors, n, &source, err)
        : hn_fail(err, HN_E_INTERNAL, "out of memory");
    free(tensors);
    free(source.values);
    return rc;
}

static const char *dtype_name(enum hn_dtype type) {
    return type == HN_F16 ? "float16" : type == HN_BF16 ? "bfloat16" : "float32";
}

static void set_missing(json_t *to, const char *name, int64_t id) {
    if (id >= 0 && !json_object_get(to, name))
        json_object_set_new(to, name, json_integer((json_int_t)id));
}

/* The tokens named by id, where the base's own file does not name them; a missing one is left
 * out. */
static void add_ids(const struct hn_loaded *loaded, json_t *to) {
    int64_t pad = hn_gguf_int(&loaded->model.gguf, "tokenizer.ggml.padding_token_id", -1);
    set_missing(to, "bos_token_id", hn_tokenizer_bos(loaded->codec.tokenizer));
    set_missing(to, "eos_token_id", hn_tokenizer_eos(loaded->codec.tokenizer));
    set_missing(to, "pad_token_id", (size_t)pad < loaded->model.config.vocab ? pad : -1);
}

/* What describes the base's file or another task, and not what is written here. */
static void forget_base(json_t *config) {
    static const char *const stale[] = {"quantization_config", "quantization", "compression_config",
        "auto_map", "_name_or_path", "num_labels", "_num_labels", "id2label", "label2id",
        "problem_type", "finetuning_task"};
    for (size_t i = 0; i < sizeof stale / sizeof stale[0]; i++)
        json_object_del(config, stale[i]);
}

/* Version 4 of Transformers reads torch_dtype, version 5 dtype. */
static json_t *make_config(const struct hn_loaded *loaded) {
    const struct hn_model *model = &loaded->model;
    const char *type = dtype_name(loaded->spec->export_dtype);
    json_t *config = hn_model_describe(model);
    forget_base(config);
    add_ids(loaded, config);
    json_object_set_new(config, "architectures", json_pack("[s]", model->arch->hf_class));
    hn_export_head(loaded, config);
    if (!model->arch->encoder)
        json_object_set_new(config, "tie_word_embeddings", json_boolean(model->config.tied));
    json_object_set_new(config, "vocab_size", json_integer((json_int_t)model->config.vocab));
    json_object_set_new(config, "torch_dtype", json_string(type));
    json_object_set_new(config, "dtype", json_string(type));
    return config;
}

/* How the base's authors have it sampled is kept. Generation stops at every token that ends a turn
 * or a text, as it does here. */
static int make_generation_config(
    const struct hn_loaded *loaded, json_t **ret, struct hn_error *err) {
    json_t *ends = json_array();
    int rc = loaded->model.is_folder
        ? hn_folder_json(loaded->model.folder.dir, "generation_config.json", 0, ret, err)
        : 0;
    if (!rc && !json_is_object(*ret)) {
        json_decref(*ret);
        *ret = json_object();
    }
    for (size_t id = 0; id < hn_tokenizer_vocab(loaded->codec.tokenizer); id++)
        if (hn_tokenizer_is_end(loaded->codec.tokenizer, (int32_t)id))
            json_array_append_new(ends, json_integer((json_int_t)id));
    add_ids(loaded, *ret);
    if (json_array_size(ends))
        json_object_set(*ret, "eos_token_id", ends);
    json_decref(ends);
    return rc;
}

static int write_readme(const struct hn_loaded *loaded, const char *path, struct hn_error *err) {
    char base[256];
    struct hn_buf text = {0};
    hn_base_name(&loaded->model, base, sizeof base);
    hn_buf_printf(&text,
        "---\nlibrary_name: transformers\n---\n# %s, fine-tuned\n\n"
        "%s, beginning from the base model as it is stored: %s, sha256 `%s`. Values are kept here "
        "as %s.\n\n"
        "- With Transformers: `%s.from_pretrained(THIS_FOLDER)` and "
        "`AutoTokenizer.from_pretrained(THIS_FOLDER)`.\n\n"
        "Run `%s`, training data sha256 `%s`.\n",
        base,
        loaded->spec->method == HN_METHOD_FULL ? "All weights were trained"
            : loaded->spec->method == HN_METHOD_LORA
            ? "An adapter was trained and added to the base's weights"
            : "The head was trained on top of the base's weights",
        loaded->model.quantisation, loaded->spec->model_sha256,
        dtype_name(loaded->spec->export_dtype), hn_export_class(loaded), loaded->spec->run_sha256,
        loaded->spec->train.sha256 ? loaded->spec->train.sha256 : "");
    return hn_export_text(path, &text, err);
}

int hn_merged_write(const struct hn_loaded *loaded, const struct hn_params *params, const char *dir,
    struct hn_error *err) {
    char path[4096];
    int rc = write_tensors(loaded, params, dir, err);
    snprintf(path, sizeof path, "%s/config.json", dir);
    if (!rc)
        rc = hn_export_json(path, make_config(loaded), err);
    snprintf(path, sizeof path, "%s/generation_config.json", dir);
    json_t *generation = NULL;
    if (!rc && !loaded->model.head.names)
        rc = make_generation_config(loaded, &generation, err);
    if (!rc && generation)
        rc = hn_export_json(path, json_incref(generation), err);
    json_decref(generation);
    snprintf(path, sizeof path, "%s/README.md", dir);
    if (!rc)
        rc = write_readme(loaded, path, err);
    return rc ? rc : hn_tokenizer_files_write(loaded, dir, err);
}
