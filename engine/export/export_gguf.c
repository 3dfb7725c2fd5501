/* llama.cpp's LoRA adapter in GGUF, and a Modelfile; see export.h. Over a GGUF base nothing is
 * permuted: training goes on in the file's own row order. */
#include "engine/base/buf.h"
#include "engine/export/export.h"
#include "engine/base/file.h"

#include <errno.h>
#include <fcntl.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static void tensor_name(const struct hn_param *p, char *out, size_t size) {
    snprintf(out, size, "%s.%s", p->weight->gguf_name,
        strstr(p->name, ".lora_A.") ? "lora_a" : "lora_b");
}

/* Copies a matrix between the engine's row order and the GGUF file's: rows of B are the adapted
 * matrix's own. */
static void reorder(const struct hn_loaded *loaded, const struct hn_param *p, const float *from,
    float *to, bool to_gguf) {
    bool is_b = strstr(p->name, ".lora_B.");
    for (size_t r = 0; r < p->rows; r++) {
        size_t row = is_b ? hn_row_to_gguf(&loaded->model, p->weight, r) : r;
        memcpy(to + (to_gguf ? row : r) * p->cols, from + (to_gguf ? r : row) * p->cols,
            p->cols * sizeof *to);
    }
}

/* llama.cpp scales by alpha / rank and knows no rank-stabilised scale: alpha carries the factor. */
static float stored_alpha(const struct hn_hyperparams *hp) {
    return (float)(hp->rslora ? hp->lora_alpha * sqrt((double)hp->lora_rank) : hp->lora_alpha);
}

static void put_metadata(struct hn_gguf_writer *w, const struct hn_loaded *loaded) {
    char name[256];
    hn_base_name(&loaded->model, name, sizeof name);
    hn_gguf_put_string(w, "general.type", "adapter");
    hn_gguf_put_string(w, "general.architecture", loaded->model.arch->gguf_arch);
    hn_gguf_put_string(w, "general.name", name);
    hn_gguf_put_string(w, "adapter.type", "lora");
    hn_gguf_put_f32(w, "adapter.lora.alpha", stored_alpha(&loaded->spec->hp));
    json_t *provenance = hn_export_provenance(loaded);
    const char *key;
    json_t *value;
    json_object_foreach(provenance, key, value)
        hn_gguf_put_string(w, key, json_string_value(value));
    json_decref(provenance);
}

static int write_adapter(const struct hn_loaded *loaded, const struct hn_params *params,
    const char *path, struct hn_error *err) {
    struct hn_gguf_writer w = {0};
    struct hn_buf header = {0};
    static const char zeros[64];
    char name[HN_NAME + 16];
    put_metadata(&w, loaded);
    for (size_t i = 0; i < params->n; i++) {
        const struct hn_param *p = &params->table[i];
        tensor_name(p, name, sizeof name);
        hn_gguf_put_tensor(
            &w, name, HN_F32, 2, (size_t[]){p->cols, p->rows}, p->rows * p->cols * sizeof(float));
    }
    hn_gguf_finish_header(&w, &header);
    if (header.failed) {
        hn_buf_free(&header);
        return hn_fail(err, HN_E_INTERNAL, "out of memory");
    }
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    int rc = fd < 0 ? hn_fail_errno(err, errno, "cannot create %s", path)
                    : hn_write_all(fd, header.data, header.size, err);
    for (size_t i = 0; !rc && i < params->n; i++) {
        const struct hn_param *p = &params->table[i];
        size_t bytes = p->rows * p->cols * sizeof(float);
        float *values = hn_calloc(p->rows * p->cols, sizeof *values);
        if (!values) {
            rc = hn_fail(err, HN_E_INTERNAL, "out of memory");
            break;
        }
        reorder(loaded, p, params->values + p->offset, values, true);
        if (!(rc = hn_write_all(fd, values, bytes, err)))
            rc = hn_write_all(fd, zeros, hn_gguf_padding(bytes), err);
        free(values);
    }
    if (fd >= 0 && close(fd) && !rc)
        rc = hn_fail_errno(err, errno, "cannot close %s", path);
    hn_buf_free(&header);
    return rc;
}

/* The chat template comes from the base file itself, which Ollama reads; what ends a turn is said
 * here. */
static int write_modelfile(const struct hn_loaded *loaded, const char *path, struct hn_error *err) {
    struct hn_buf text = {0};
    hn_buf_printf(&text,
        "# Put the base model's file (sha256 %s) beside this one as base.gguf, then: ollama create "
        "NAME -f Modelfile\n"
        "FROM ./base.gguf\nADAPTER ./adapter.gguf\n",
        loaded->spec->model_sha256);
    for (size_t id = 0; id < hn_tokenizer_vocab(loaded->codec.tokenizer); id++) {
        struct hn_buf token = {0};
        if (!hn_tokenizer_is_end(loaded->codec.tokenizer, (int32_t)id))
            continue;
        hn_tokenizer_decode(loaded->codec.tokenizer, (int32_t)id, true, &token);
        if (token.size && !strpbrk(token.data, "\"\n\\"))
            hn_buf_printf(&text, "PARAMETER stop \"%s\"\n", token.data);
        hn_buf_free(&token);
    }
    return hn_export_text(path, &text, err);
}

int hn_gguf_adapter_write(const struct hn_loaded *loaded, const struct hn_params *params,
    const char *dir, struct hn_error *err) {
    char path[4096];
    snprintf(path, sizeof path, "%s/adapter.gguf", dir);
    int rc = write_adapter(loaded, params, path, err);
    snprintf(path, sizeof path, "%s/Modelfile", dir);
    return rc ? rc : write_modelfile(loaded, path, err);
}

int hn_gguf_adapter_read(const struct hn_loaded *loaded, const struct hn_params *params,
    const char *dir, float *values, struct hn_error *err) {
    char path[4096], name[HN_NAME + 16];
    struct hn_gguf gguf;
    snprintf(path, sizeof path, "%s/adapter.gguf", dir);
    int rc = hn_gguf_open(&gguf, path, err);
    double scale =
        rc ? 0 : hn_gguf_float(&gguf, "adapter.lora.alpha", 0) / (double)loaded->spec->hp.lora_rank;
    if (!rc && fabs(scale - loaded->adapter.scale) > 1e-6 * loaded->adapter.scale)
        rc = hn_fail(err, HN_E_EXPORT_MISMATCH, "%s: the stored scale %g is not the trained one %g",
            path, scale, loaded->adapter.scale);
    for (size_t i = 0; !rc && i < params->n; i++) {
        const struct hn_param *p = &params->table[i];
        tensor_name(p, name, sizeof name);
        const struct hn_gguf_tensor *t = hn_gguf_tensor(&gguf, name);
        if (!t || t->type != HN_F32 || t->ne[0] != p->cols || t->ne[1] != p->rows)
            rc = hn_fail(err, HN_E_EXPORT_MISMATCH, "%s: tensor %s is missing or has another shape",
                path, name);
        else
            reorder(loaded, p, (const float *)(const void *)t->data, values + p->offset, false);
    }
    hn_gguf_close(&gguf);
    return rc;
}
