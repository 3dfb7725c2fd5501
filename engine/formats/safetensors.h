/*
 * Safetensors files: u64 little-endian header length, JSON header, data
 * (https://github.com/huggingface/safetensors).
 *
 * Reading validates everything at open: ranges inside the file, sizes that follow from type and
 * shape, no overlap, a header of at most 100 MB. Writing puts tensors in the order given and
 * `"format":"pt"` into the metadata, without which Transformers refuses the file.
 */
#ifndef HN_ENGINE_FORMATS_SAFETENSORS_H
#define HN_ENGINE_FORMATS_SAFETENSORS_H

#include "engine/formats/dtype.h"
#include "engine/base/error.h"
#include "engine/base/file.h"

#include <jansson.h>

struct hn_safetensor {
    const char *name;       /* owned by the header, or by who changed it */
    enum hn_dtype type;     /* F32, F16, BF16 */
    size_t n_dims, dims[4]; /* as in the file: outermost first */
    const uint8_t *data;
    size_t bytes;
};

struct hn_safetensors {
    struct hn_map map;
    json_t *header;
    struct hn_safetensor *tensors; /* [n], sorted by name; without those of whole numbers */
    size_t n;
};

int hn_safetensors_open(struct hn_safetensors *st, const char *path, struct hn_error *err);
void hn_safetensors_close(struct hn_safetensors *st);
/* After names were changed: in order again. HN_E_MODEL_INVALID when two are the same now. */
int hn_safetensors_sort(struct hn_safetensors *st, struct hn_error *err);
const struct hn_safetensor *hn_safetensors_find(const struct hn_safetensors *st, const char *name);

/* One tensor to write: f32 values, stored as `type`. */
struct hn_safetensor_out {
    const char *name;
    size_t n_dims, dims[4];
    enum hn_dtype type;
    const float *values; /* or NULL: row by row from `rows`, so that no whole matrix need exist */
    const void *source;
};
/* the product of its dimensions */
size_t hn_safetensor_values(const struct hn_safetensor_out *tensor);
/* Fills out[last dimension] with row `row` (all dimensions but the last taken together) of a tensor
 * without values.
 */
typedef void hn_safetensor_rows(
    void *context, const struct hn_safetensor_out *tensor, size_t row, float *out);
/* `metadata`: string values, or NULL. Not durable by itself: the caller publishes the folder. */
int hn_safetensors_write(const char *path, const struct hn_safetensor_out *tensors, size_t n,
    const json_t *metadata, hn_safetensor_rows *rows, void *context, struct hn_error *err);

#endif
