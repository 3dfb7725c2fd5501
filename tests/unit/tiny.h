/* A small random Llama in a GGUF file, for tests that need no real weights. */
#ifndef TESTS_TINY_H
#define TESTS_TINY_H

#include "engine/gguf.h"
#include "engine/model.h"
#include "engine/rng.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { TINY_LAYERS = 2, TINY_HIDDEN = 64, TINY_HEADS = 4, TINY_KV = 2, TINY_FFN = 96, TINY_VOCAB = 101 };

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

static void tiny_put(
    struct hn_gguf_writer *w, struct hn_buf *data, const char *name, enum hn_dtype type, size_t rows, size_t cols) {
    static const char zeros[64];
    float *values = malloc(rows * cols * sizeof *values);
    size_t begin = data->size, ne[2] = {cols, rows};
    for (size_t i = 0; i < rows * cols; i++)
        values[i] = rows == 1 ? 1 + 0.1f * tiny_random(w->n_tensors, i) : 0.3f * tiny_random(w->n_tensors, i);
    tiny_encode(type, values, rows * cols, data);
    hn_gguf_put_tensor(w, name, type, rows == 1 ? 1 : 2, ne, data->size - begin);
    hn_buf_append(data, zeros, hn_gguf_padding(data->size - begin));
    free(values);
}

/* Writes the file and opens it; exits on failure. */
static void tiny_open(struct tiny *t, enum hn_dtype type) {
    struct hn_gguf_writer w = {0};
    struct hn_buf header = {0}, data = {0};
    struct hn_error err = {0};
    char name[64];
    size_t q = TINY_HIDDEN, kv = TINY_HIDDEN / TINY_HEADS * TINY_KV;
    hn_gguf_put_string(&w, "general.architecture", "llama");
    hn_gguf_put_u32(&w, "llama.block_count", TINY_LAYERS);
    hn_gguf_put_u32(&w, "llama.embedding_length", TINY_HIDDEN);
    hn_gguf_put_u32(&w, "llama.feed_forward_length", TINY_FFN);
    hn_gguf_put_u32(&w, "llama.attention.head_count", TINY_HEADS);
    hn_gguf_put_u32(&w, "llama.attention.head_count_kv", TINY_KV);
    hn_gguf_put_u32(&w, "llama.context_length", 2048);
    hn_gguf_put_f32(&w, "llama.attention.layer_norm_rms_epsilon", 1e-5f);
    tiny_put(&w, &data, "token_embd.weight", type, TINY_VOCAB, TINY_HIDDEN);
    tiny_put(&w, &data, "output_norm.weight", HN_F32, 1, TINY_HIDDEN);
    for (int l = 0; l < TINY_LAYERS; l++) {
        const struct {
            const char *name;
            size_t rows, cols;
        } list[] = {{"attn_norm", 1, TINY_HIDDEN}, {"attn_q", q, TINY_HIDDEN}, {"attn_k", kv, TINY_HIDDEN},
            {"attn_v", kv, TINY_HIDDEN}, {"attn_output", TINY_HIDDEN, q}, {"ffn_norm", 1, TINY_HIDDEN},
            {"ffn_gate", TINY_FFN, TINY_HIDDEN}, {"ffn_up", TINY_FFN, TINY_HIDDEN},
            {"ffn_down", TINY_HIDDEN, TINY_FFN}};
        for (size_t i = 0; i < sizeof list / sizeof list[0]; i++) {
            snprintf(name, sizeof name, "blk.%d.%s.weight", l, list[i].name);
            tiny_put(&w, &data, name, list[i].rows == 1 ? HN_F32 : type, list[i].rows, list[i].cols);
        }
    }
    hn_gguf_finish_header(&w, &header);
    strcpy(t->path, "/tmp/hone-tiny-XXXXXX");
    int fd = mkstemp(t->path);
    if (fd < 0 || hn_write_all(fd, header.data, header.size, &err) || hn_write_all(fd, data.data, data.size, &err) ||
        close(fd) || hn_model_open(&t->model, t->path, &err)) {
        fprintf(stderr, "tiny model: %s\n", err.message);
        exit(1);
    }
    hn_buf_free(&header);
    hn_buf_free(&data);
}

static void tiny_close(struct tiny *t) {
    hn_model_close(&t->model);
    unlink(t->path);
}

#endif
