/*
 * The finished model as one GGUF file that llama.cpp and Ollama run: all weights, those of the base
 * with the adapter added, in the type that was asked for; vectors stay F32, and so do matrices
 * whose rows are no whole number of blocks F16. Of a GGUF base all fields are kept; of a folder
 * they are made from its configuration and tokenizer, for the shapes whose fields say all that the
 * model does (hn_merged_gguf_check).
 */
#include "engine/base/buf.h"
#include "engine/export/export.h"
#include "engine/families/arch.h"
#include "engine/base/file.h"
#include "engine/run/merge.h"
#include "engine/tokenizer/vocab.h"

#include <errno.h>
#include <fcntl.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* llama.cpp's enum llama_ftype for a file that is mostly of one type. */
static uint32_t file_type(enum hn_dtype type) {
    return type == HN_F32 ? 0 : type == HN_F16 ? 1 : type == HN_Q4_0 ? 2 : 7;
}

static int unsayable(struct hn_error *err, const char *what) {
    hn_fail(
        err, HN_E_UNSUPPORTED, "merged_gguf: GGUF files have no way to say %s of this model", what);
    hn_error_field(err, "exports");
    hn_error_hint(err, "export merged instead; llama.cpp's convert_hf_to_gguf.py may know more");
    return HN_E_UNSUPPORTED;
}

/* By what a frequency is divided. */
static double rope_factor(const struct hn_rope *rope, size_t head_dim, size_t i) {
    return pow(rope->base, -2.0 * (double)i / (double)head_dim) / rope->inverse[i];
}

/* The one factor by which all frequencies are divided, 1 without a scaling; 0 when it is not one.
 */
static double linear_factor(const struct hn_rope *rope, size_t head_dim) {
    double first = rope_factor(rope, head_dim, 0);
    for (size_t i = 1; i < head_dim / 2; i++)
        if (fabs(rope_factor(rope, head_dim, i) / first - 1) > 1e-6)
            return 0;
    return first;
}

/* Factors of their own for each frequency are read by llama.cpp's architecture llama alone. */
static bool has_factors(const struct hn_model *model) {
    const struct hn_model_config *c = &model->config;
    return model->is_folder && !c->layer_norm && linear_factor(&c->rope, c->head_dim) <= 0;
}

static bool is_sayable(const struct hn_model *model) {
    const struct hn_rope *rope = &model->config.rope;
    return rope->scale >= 1 && rope->scale <= 1 &&
        (!has_factors(model) || strcmp(model->arch->gguf_arch, "llama") == 0);
}

int hn_merged_gguf_check(const struct hn_model *model, struct hn_error *err) {
    const struct hn_model_config *c = &model->config;
    bool gemma = model->arch->gguf_arch && strcmp(model->arch->gguf_arch, "gemma3") == 0;
    if (!model->is_folder)
        return 0;
    if (!model->arch->gguf_arch || model->arch->encoder)
        return unsayable(err, "the architecture");
    if (!hn_gguf_find(&model->gguf, "tokenizer.ggml.tokens"))
        return unsayable(err, "the tokenizer");
    if (!c->layer_norm &&
        (!is_sayable(model) || (gemma && (c->local_rope.base < 1e4 || c->local_rope.base > 1e4))))
        return unsayable(err, "the scaling of rotary embeddings");
    if (fabs(c->attention_scale / hn_arch_gguf_scale(model) - 1) > 1e-6)
        return unsayable(err, "the scale of attention (query_pre_attn_scalar)");
    if (c->activation != (gemma || c->layer_norm ? HN_GELU_TANH : HN_SILU))
        return unsayable(err, "the activation");
    for (size_t l = 0; l < c->layers; l++)
        if ((c->window[l] > 0) != (gemma && (l + 1) % 6 != 0))
            return unsayable(err, "the sliding windows");
    return 0;
}

static void put_key(
    struct hn_gguf_writer *w, const struct hn_model *model, const char *name, size_t value) {
    char key[96];
    snprintf(key, sizeof key, "%s.%s", model->arch->gguf_arch, name);
    hn_gguf_put_u32(w, key, (uint32_t)value);
}

static void put_real(
    struct hn_gguf_writer *w, const struct hn_model *model, const char *name, double value) {
    char key[96];
    snprintf(key, sizeof key, "%s.%s", model->arch->gguf_arch, name);
    hn_gguf_put_f32(w, key, (float)value);
}

static void put_config(struct hn_gguf_writer *w, const struct hn_model *model) {
    const struct hn_model_config *c = &model->config;
    char name[256];
    hn_base_name(model, name, sizeof name);
    hn_gguf_put_string(w, "general.architecture", model->arch->gguf_arch);
    hn_gguf_put_string(w, "general.type", "model");
    hn_gguf_put_string(w, "general.name", name);
    put_key(w, model, "block_count", c->layers);
    put_key(w, model, "context_length", c->context);
    put_key(w, model, "embedding_length", c->hidden);
    put_key(w, model, "feed_forward_length", c->ffn);
    put_key(w, model, "attention.head_count", c->heads);
    put_key(w, model, "attention.head_count_kv", c->kv_heads);
    if (c->layer_norm) {
        put_real(w, model, "attention.layer_norm_epsilon", c->norm_eps);
        return;
    }
    put_key(w, model, "attention.key_length", c->head_dim);
    put_key(w, model, "attention.value_length", c->head_dim);
    put_key(w, model, "rope.dimension_count", c->head_dim);
    put_key(w, model, "vocab_size", c->vocab);
    put_real(w, model, "attention.layer_norm_rms_epsilon", c->norm_eps);
    put_real(w, model, "rope.freq_base", c->rope.base);
    double factor = linear_factor(&c->rope, c->head_dim);
    if (factor > 1 + 1e-6) {
        char key[96];
        snprintf(key, sizeof key, "%s.rope.scaling.type", model->arch->gguf_arch);
        hn_gguf_put_string(w, key, "linear");
        put_real(w, model, "rope.scaling.factor", factor);
    }
    for (size_t l = 0; l < c->layers; l++)
        if (c->window[l]) {
            put_key(w, model, "attention.sliding_window", c->window[l]);
            break;
        }
}

/* The tokens, with names for rows of the embedding that no token has: readers count tokens to know
 * the rows. */
static int put_tokens(
    struct hn_gguf_writer *w, const struct hn_model *model, struct hn_error *err) {
    const struct hn_gguf_kv *tokens = hn_gguf_find(&model->gguf, "tokenizer.ggml.tokens"),
                            *types = hn_gguf_find(&model->gguf, "tokenizer.ggml.token_type"),
                            *scores = hn_gguf_find(&model->gguf, "tokenizer.ggml.scores");
    size_t n = model->config.vocab, known = tokens->count < n ? tokens->count : n;
    struct hn_view *texts = hn_calloc(n, sizeof *texts);
    int32_t *kinds = hn_calloc(n, sizeof *kinds);
    float *points = hn_calloc(n, sizeof *points);
    char(*names)[32] = hn_calloc(n - known, sizeof *names);
    bool ok = texts && kinds && points && names;
    for (size_t i = 0; ok && i < n; i++) {
        if (i >= known)
            snprintf(names[i - known], sizeof names[0], "[PAD%zu]", i);
        texts[i] = i < known ? tokens->strings[i]
                             : (struct hn_view){names[i - known], strlen(names[i - known])};
        kinds[i] = i < known && types && i < types->count ? (int32_t)hn_gguf_array_int(types, i)
                                                          : HN_TOKEN_UNUSED;
        points[i] = i < known && scores && i < scores->count ? (float)hn_gguf_array_float(scores, i)
                                                             : -1000;
    }
    struct hn_gguf_kv kv[] = {{tokens->key, HN_GGUF_ARRAY, HN_GGUF_STRING, n, NULL, texts},
        {{"tokenizer.ggml.token_type", 25}, HN_GGUF_ARRAY, HN_GGUF_I32, n, (const uint8_t *)kinds,
            NULL},
        {{"tokenizer.ggml.scores", 21}, HN_GGUF_ARRAY, HN_GGUF_F32, n, (const uint8_t *)points,
            NULL}};
    for (size_t i = 0; ok && i < (scores ? 3 : 2); i++)
        hn_gguf_put_copy(w, &kv[i]);
    free(texts);
    free(kinds);
    free(points);
    free(names);
    return ok ? 0 : hn_fail(err, HN_E_INTERNAL, "out of memory");
}

static bool is_replaced(const struct hn_model *model, struct hn_view key) {
    static const char *const lists[] = {
        "tokenizer.ggml.tokens", "tokenizer.ggml.token_type", "tokenizer.ggml.scores"};
    for (size_t i = 0; model->is_folder && i < 3; i++)
        if (hn_view_is(key, lists[i]))
            return true;
    /* Of the base's file as it lay there: its type, its layout, how it was quantised, and what an
     * earlier run wrote. */
    static const char *const begins[] = {"general.file_type", "general.quantization_version",
        "general.alignment", "split.", "quantize.imatrix.", "hone."};
    for (size_t i = 0; i < sizeof begins / sizeof begins[0]; i++)
        if (key.size >= strlen(begins[i]) && memcmp(key.data, begins[i], strlen(begins[i])) == 0)
            return true;
    return false;
}

/* Further tokens that end a text, of a folder: llama.cpp has a field each for two of them, and
 * knows by their names those of a turn. */
static void put_ends(struct hn_gguf_writer *w, const struct hn_loaded *loaded) {
    static const char *const keys[] = {
        "tokenizer.ggml.eot_token_id", "tokenizer.ggml.eom_token_id"};
    const struct hn_tokenizer *tokenizer = loaded->codec.tokenizer;
    size_t n = hn_tokenizer_vocab(tokenizer), used = 0;
    for (size_t id = 0; id < n && id < loaded->model.config.vocab && used < 2; id++)
        if (hn_tokenizer_is_end(tokenizer, (int32_t)id) &&
            (int32_t)id != hn_tokenizer_eos(tokenizer))
            hn_gguf_put_u32(w, keys[used++], (uint32_t)id);
}

static int put_metadata(
    struct hn_gguf_writer *w, const struct hn_loaded *loaded, struct hn_error *err) {
    const struct hn_model *model = &loaded->model;
    int rc = 0;
    if (model->is_folder) {
        put_config(w, model);
        rc = put_tokens(w, model, err);
        put_ends(w, loaded);
    }
    for (size_t i = 0; i < model->gguf.n_kv; i++)
        if (!is_replaced(model, model->gguf.kv[i].key))
            hn_gguf_put_copy(w, &model->gguf.kv[i]);
    hn_gguf_put_u32(w, "general.file_type", file_type(loaded->spec->gguf_dtype));
    hn_gguf_put_u32(w, "general.quantization_version", 2);
    json_t *provenance = hn_export_provenance(loaded);
    const char *key;
    json_t *value;
    json_object_foreach(provenance, key, value)
        hn_gguf_put_string(w, key, json_string_value(value));
    json_decref(provenance);
    return rc;
}

enum hn_dtype hn_merged_gguf_type(const struct hn_loaded *loaded, const struct hn_weight *w) {
    enum hn_dtype type = loaded->spec->gguf_dtype;
    if (w->vector || w->role == HN_ROLE_POSITION)
        return HN_F32;
    return w->cols % hn_dtype_info((int)type)->block ? HN_F16 : type;
}

/* The engine's row that the file's row is. */
static size_t row_from_gguf(const struct hn_model *model, const struct hn_weight *w, size_t row) {
    size_t d = model->config.head_dim, first = row / d * d;
    if (hn_row_to_gguf(model, w, first + 1) == first + 1 || w->rows % d) /* nothing is permuted */
        return row;
    for (size_t r = first; r < first + d; r++)
        if (hn_row_to_gguf(model, w, r) == row)
            return r;
    return row;
}

static int write_tensor(int fd, const struct hn_loaded *loaded, const struct hn_params *params,
    const struct hn_weight *w, struct hn_error *err) {
    static const char zeros[64];
    const struct hn_dtype_info *type = hn_dtype_info((int)hn_merged_gguf_type(loaded, w));
    size_t bytes = hn_dtype_bytes(type, w->cols), block = 65536 / bytes + 1;
    float *row = hn_calloc(w->cols, sizeof *row);
    uint8_t *out = hn_calloc(block, bytes);
    int rc = row && out ? 0 : hn_fail(err, HN_E_INTERNAL, "out of memory");
    for (size_t r = 0; !rc && r < w->rows; r += block) {
        size_t n = w->rows - r < block ? w->rows - r : block;
        for (size_t i = 0; i < n; i++) {
            hn_merged_row(loaded, params, w, row_from_gguf(&loaded->model, w, r + i), row);
            type->quantise(out + i * bytes, row, w->cols);
        }
        rc = hn_write_all(fd, out, n * bytes, err);
    }
    free(row);
    free(out);
    return rc ? rc : hn_write_all(fd, zeros, hn_gguf_padding(w->rows * bytes), err);
}

/* The bytes of rope_freqs.weight: the base's own, or made of a folder's scaling, as llama.cpp's
 * converter does for Llama 3.1 and later; none without. rope.c has seen that the base's fit. */
static struct hn_view rope_factors(const struct hn_model *model, float made[HN_MAX_HEAD_DIM / 2]) {
    const struct hn_gguf_tensor *own = hn_gguf_tensor(&model->gguf, "rope_freqs.weight");
    size_t n = model->config.head_dim / 2;
    if (own)
        return (struct hn_view){(const char *)own->data, own->bytes};
    if (!has_factors(model))
        return (struct hn_view){0};
    for (size_t i = 0; i < n; i++)
        made[i] = (float)rope_factor(&model->config.rope, model->config.head_dim, i);
    return (struct hn_view){(const char *)made, n * sizeof *made};
}

static int write_file(const struct hn_loaded *loaded, const struct hn_params *params,
    const char *path, struct hn_error *err) {
    const struct hn_model *model = &loaded->model;
    struct hn_gguf_writer w = {0};
    struct hn_buf header = {0};
    int rc = put_metadata(&w, loaded, err);
    for (size_t i = 0; i < model->n_weights; i++) {
        const struct hn_weight *v = &model->weights[i];
        const struct hn_dtype_info *type = hn_dtype_info((int)hn_merged_gguf_type(loaded, v));
        hn_gguf_put_tensor(&w, v->gguf_name, hn_merged_gguf_type(loaded, v), v->vector ? 1 : 2,
            (size_t[]){v->cols, v->rows}, v->rows * hn_dtype_bytes(type, v->cols));
    }
    float made[HN_MAX_HEAD_DIM / 2];
    struct hn_view factors = rope_factors(model, made);
    size_t n_factors = factors.size / sizeof(float);
    if (n_factors)
        hn_gguf_put_tensor(&w, "rope_freqs.weight", HN_F32, 1, &n_factors, factors.size);
    hn_gguf_finish_header(&w, &header);
    if (!rc && header.failed)
        rc = hn_fail(err, HN_E_INTERNAL, "out of memory");
    int fd = rc ? -1 : open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    if (!rc && fd < 0)
        rc = hn_fail_errno(err, errno, "cannot create %s", path);
    if (!rc)
        rc = hn_write_all(fd, header.data, header.size, err);
    for (size_t i = 0; !rc && i < model->n_weights; i++)
        rc = write_tensor(fd, loaded, params, &model->weights[i], err);
    static const char zeros[64];
    if (!rc && n_factors)
        rc = hn_write_all(fd, factors.data, factors.size, err);
    if (!rc && n_factors)
        rc = hn_write_all(fd, zeros, hn_gguf_padding(factors.size), err);
    if (fd >= 0 && close(fd) && !rc)
        rc = hn_fail_errno(err, errno, "cannot close %s", path);
    hn_buf_free(&header);
    return rc;
}

static int write_modelfile(const char *path, struct hn_error *err) {
    struct hn_buf text = {0};
    hn_buf_text(&text, "# ollama create NAME -f Modelfile\nFROM ./model.gguf\n");
    return hn_export_text(path, &text, err);
}

int hn_merged_gguf_write(const struct hn_loaded *loaded, const struct hn_params *params,
    const char *dir, struct hn_error *err) {
    char path[4096];
    snprintf(path, sizeof path, "%s/model.gguf", dir);
    int rc = write_file(loaded, params, path, err);
    snprintf(path, sizeof path, "%s/Modelfile", dir);
    return rc ? rc : write_modelfile(path, err);
}
