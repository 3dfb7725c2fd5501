/*
 * GGUF files (versions 2 and 3, little-endian): validated reading through a map, and writing.
 *
 * Everything in the file is hostile until checked: counts have ceilings, every offset and product
 * is verified against the file's size at open. After hn_gguf_open succeeds, every tensor's data
 * lies inside the map, aligned, and of the size that its type and dimensions imply. Strings are not
 * NUL-terminated in the file; views carry lengths. Format:
 * https://github.com/ggml-org/ggml/blob/master/docs/gguf.md
 */
#ifndef HN_ENGINE_FORMATS_GGUF_H
#define HN_ENGINE_FORMATS_GGUF_H

#include "engine/base/buf.h"
#include "engine/formats/dtype.h"
#include "engine/base/error.h"
#include "engine/base/file.h"

#include <stdbool.h>
#include <stdint.h>

enum hn_gguf_type {
    HN_GGUF_U8,
    HN_GGUF_I8,
    HN_GGUF_U16,
    HN_GGUF_I16,
    HN_GGUF_U32,
    HN_GGUF_I32,
    HN_GGUF_F32,
    HN_GGUF_BOOL,
    HN_GGUF_STRING,
    HN_GGUF_ARRAY,
    HN_GGUF_U64,
    HN_GGUF_I64,
    HN_GGUF_F64,
    HN_GGUF_TYPES
};

struct hn_view {
    const char *data; /* not NUL-terminated */
    size_t size;
};

struct hn_gguf_kv {
    struct hn_view key;
    enum hn_gguf_type type;    /* of the value */
    enum hn_gguf_type element; /* of an array's elements (never ARRAY) */
    size_t count;              /* elements; 1 unless ARRAY */
    const uint8_t *data;       /* first byte of the (first) value */
    /* [count] when the value is a string or an array of strings, else NULL */
    struct hn_view *strings;
};

struct hn_gguf_tensor {
    struct hn_view name;
    enum hn_dtype type;
    uint32_t n_dims;
    /* ne[0] is the fastest dimension: a matrix [rows, cols] has ne = {cols, rows} */
    size_t ne[4];
    const uint8_t *data; /* into the map */
    size_t bytes;
};

struct hn_gguf {
    struct hn_map map;
    size_t n_kv, n_tensors;
    struct hn_gguf_kv *kv;          /* [n_kv] in file order */
    struct hn_gguf_tensor *tensors; /* [n_tensors] in file order */
};

/* Owner calls hn_gguf_close (also safe on a zeroed struct). HN_E_MODEL_INVALID names what is wrong
 * and where. */
int hn_gguf_open(struct hn_gguf *gguf, const char *path, struct hn_error *err);
/* The same of bytes that are copied. */
int hn_gguf_from_memory(struct hn_gguf *gguf, const void *data, size_t size, struct hn_error *err);
void hn_gguf_close(struct hn_gguf *gguf);

const struct hn_gguf_kv *hn_gguf_find(const struct hn_gguf *gguf, const char *key);
const struct hn_gguf_tensor *hn_gguf_tensor(const struct hn_gguf *gguf, const char *name);
/* Scalars with a default for a missing key or another type; integers of any width convert. */
int64_t hn_gguf_int(const struct hn_gguf *gguf, const char *key, int64_t fallback);
double hn_gguf_float(const struct hn_gguf *gguf, const char *key, double fallback);
bool hn_gguf_bool(const struct hn_gguf *gguf, const char *key, bool fallback);
/* {NULL, 0} when missing */
struct hn_view hn_gguf_string(const struct hn_gguf *gguf, const char *key);
/* i-th element of an array of integers or floats (i < kv->count checked by the caller). */
int64_t hn_gguf_array_int(const struct hn_gguf_kv *kv, size_t i);
double hn_gguf_array_float(const struct hn_gguf_kv *kv, size_t i);
bool hn_view_is(struct hn_view view, const char *text);

/* Writing: header fields and tensors are collected, then put out in one go. Check out->failed once
 * at the end. */
struct hn_gguf_writer {
    struct hn_buf kv;    /* encoded key-value pairs */
    struct hn_buf infos; /* encoded tensor infos */
    uint64_t n_kv, n_tensors, data_size;
};
void hn_gguf_put_string(struct hn_gguf_writer *w, const char *key, const char *value);
void hn_gguf_put_u32(struct hn_gguf_writer *w, const char *key, uint32_t value);
void hn_gguf_put_f32(struct hn_gguf_writer *w, const char *key, float value);
void hn_gguf_put_bool(struct hn_gguf_writer *w, const char *key, bool value);
/* a pair of an open file, unchanged */
void hn_gguf_put_copy(struct hn_gguf_writer *w, const struct hn_gguf_kv *kv);
/* Announces a tensor; data of all tensors follows in the same order, each padded by
 * hn_gguf_padding. */
void hn_gguf_put_tensor(struct hn_gguf_writer *w, const char *name, enum hn_dtype type,
    uint32_t n_dims, const size_t *ne, size_t bytes);
/* Magic, counts, pairs, infos and padding up to the data section. Frees the writer's buffers. */
void hn_gguf_finish_header(struct hn_gguf_writer *w, struct hn_buf *out);
size_t hn_gguf_padding(size_t bytes); /* zero bytes to write behind a tensor of so many bytes */

#endif
