/* A small random model of any family in a GGUF file, for tests that need no real weights. */
#ifndef TESTS_TINY_H
#define TESTS_TINY_H

#include "engine/families/load.h"
#include "engine/families/arch.h"
#include "engine/formats/gguf.h"
#include "engine/model/model.h"
#include "engine/base/rng.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum {
    TINY_LAYERS = 2,
    TINY_HIDDEN = 64,
    TINY_HEADS = 4,
    TINY_KV = 2,
    TINY_FFN = 96,
    TINY_VOCAB = 101,
    TINY_CONTEXT = 1200
};

/* Families without groups of query heads. */
static inline size_t tiny_kv_heads(const struct hn_arch *arch) {
    return arch == &hn_arch_gpt2 || arch->encoder ? TINY_HEADS : TINY_KV;
}

static float tiny_random(size_t seed, size_t i) {
    return (float)(hn_random_unit(seed, HN_PURPOSE_INIT, 77, i) * 2 - 1);
}

/* Values as blocks of the type; only what the tests use. */
static void tiny_encode(enum hn_dtype type, const float *values, size_t n, struct hn_buf *out) {
    for (size_t i = 0; i < n; i += type == HN_F32 ? 1 : 32) {
        if (type == HN_F32) {
            hn_buf_append(out, &values[i], 4);
            continue;
        }
        float top = 0;
        for (size_t k = 0; k < 32; k++)
            top = fmaxf(top, fabsf(values[i + k]));
        uint16_t d = hn_f32_to_f16(top / (type == HN_Q8_0 ? 127 : 7)), m = hn_f32_to_f16(-top);
        float scale = hn_f16_to_f32(d);
        hn_buf_append(out, &d, 2);
        if (type == HN_Q8_0) {
            for (size_t k = 0; k < 32; k++) {
                int8_t q = (int8_t)lrintf(scale > 0 ? values[i + k] / scale : 0);
                hn_buf_append(out, &q, 1);
            }
            continue;
        }
        hn_buf_append(out, &m, 2); /* Q4_1 */
        for (size_t k = 0; k < 16; k++) {
            uint8_t q[2];
            for (size_t h = 0; h < 2; h++) {
                long v = lrintf(scale > 0 ? (values[i + k + 16 * h] + top) / scale : 0);
                q[h] = (uint8_t)(v < 0 ? 0 : v > 15 ? 15 : v);
            }
            uint8_t byte = (uint8_t)(q[0] | q[1] << 4);
            hn_buf_append(out, &byte, 1);
        }
    }
}

struct tiny {
    char path[64];
    struct hn_model model;
};

static void tiny_put(struct hn_gguf_writer *w, struct hn_buf *data, const char *name,
    enum hn_dtype type, size_t rows, size_t cols) {
    static const char zeros[64];
    float *values = malloc(rows * cols * sizeof *values);
    size_t begin = data->size, ne[2] = {cols, rows};
    for (size_t i = 0; i < rows * cols; i++)
        values[i] = rows == 1 ? 1 + 0.1f * tiny_random(w->n_tensors, i)
                              : 0.3f * tiny_random(w->n_tensors, i);
    tiny_encode(type, values, rows * cols, data);
    hn_gguf_put_tensor(w, name, type, rows == 1 ? 1 : 2, ne, data->size - begin);
    hn_buf_append(data, zeros, hn_gguf_padding(data->size - begin));
    free(values);
}

static void tiny_put_u32(
    struct hn_gguf_writer *w, const struct hn_arch *arch, const char *suffix, uint32_t value) {
    char key[96];
    snprintf(key, sizeof key, "%s.%s", arch->gguf_arch, suffix);
    hn_gguf_put_u32(w, key, value);
}

static void tiny_put_sizes(struct hn_gguf_writer *w, const struct hn_arch *arch) {
    hn_gguf_put_string(w, "general.architecture", arch->gguf_arch);
    tiny_put_u32(w, arch, "block_count", TINY_LAYERS);
    tiny_put_u32(w, arch, "embedding_length", TINY_HIDDEN);
    tiny_put_u32(w, arch, "feed_forward_length", TINY_FFN);
    tiny_put_u32(w, arch, "attention.head_count", TINY_HEADS);
    tiny_put_u32(w, arch, "attention.head_count_kv", (uint32_t)tiny_kv_heads(arch));
    tiny_put_u32(w, arch, "context_length", TINY_CONTEXT);
    /* gemma3 only: one layer slides, one does not */
    tiny_put_u32(w, arch, "attention.sliding_window", 70);
    tiny_put_u32(w, arch, "attention.sliding_window_pattern", 2);
}

/* Writes the file and opens it; exits on failure. Optional weights are written, too, unless the
 * family is Llama. */
static void tiny_open_family(struct tiny *t, const struct hn_arch *arch, enum hn_dtype type) {
    struct hn_gguf_writer w = {0};
    struct hn_buf header = {0}, data = {0};
    struct hn_error err = {0};
    char name[64];
    size_t d = TINY_HIDDEN / TINY_HEADS;
    struct hn_model_config c = {.hidden = TINY_HIDDEN,
        .heads = TINY_HEADS,
        .kv_heads = tiny_kv_heads(arch),
        .token_types = 2,
        .head_dim = d,
        .ffn = TINY_FFN,
        .vocab = TINY_VOCAB,
        .context = TINY_CONTEXT};
    tiny_put_sizes(&w, arch);
    for (int role = 0; role < HN_ROLES; role++)
        for (int l = 0; arch->names[role].gguf && l < TINY_LAYERS; l++) {
            size_t rows, cols;
            if ((l > 0 && !hn_role_in_layers(&arch->names[role])) || role == HN_ROLE_HEAD ||
                (arch->names[role].optional && arch == &hn_arch_llama))
                continue;
            hn_role_shape(&c, (enum hn_role)role, &rows, &cols);
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wformat-nonliteral"
            snprintf(name, sizeof name, arch->names[role].gguf, l);
#pragma GCC diagnostic pop
            tiny_put(&w, &data, name, rows == 1 ? HN_F32 : type, rows, cols);
        }
    hn_gguf_finish_header(&w, &header);
    strcpy(t->path, "/tmp/hone-tiny-XXXXXX");
    int fd = mkstemp(t->path);
    if (fd < 0 || hn_write_all(fd, header.data, header.size, &err) ||
        hn_write_all(fd, data.data, data.size, &err) || close(fd) ||
        hn_model_open(&t->model, t->path, &err)) {
        fprintf(stderr, "tiny model: %s\n", err.message);
        exit(1);
    }
    hn_buf_free(&header);
    hn_buf_free(&data);
}

static inline void tiny_open(struct tiny *t, enum hn_dtype type) {
    tiny_open_family(t, &hn_arch_llama, type);
}

static void tiny_close(struct tiny *t) {
    hn_model_close(&t->model);
    unlink(t->path);
}

#endif
