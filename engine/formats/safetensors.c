/* See safetensors.h. */
#include "engine/formats/safetensors.h"
#include "engine/base/buf.h"
#include "engine/base/json.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define MAX_HEADER ((size_t)100 << 20)
#define MAX_TENSORS 100000

static const struct {
    const char *name;
    enum hn_dtype type;
} types[] = {{"F32", HN_F32}, {"F16", HN_F16}, {"BF16", HN_BF16}};

/* Whole numbers are no weights: older checkpoints carry positions and masks, which nothing here
 * reads. */
static bool is_buffer(const json_t *value) {
    static const char *const whole[] = {
        "I64", "I32", "I16", "I8", "U64", "U32", "U16", "U8", "BOOL"};
    const char *type = json_string_value(json_object_get(value, "dtype"));
    for (size_t i = 0; type && i < sizeof whole / sizeof whole[0]; i++)
        if (strcmp(type, whole[i]) == 0)
            return true;
    return false;
}

static int invalid(struct hn_error *err, const char *what, const char *name) {
    hn_fail(err, HN_E_MODEL_INVALID, "the safetensors file is damaged: %s%s%.200s", what,
        name ? " of tensor " : "", name ? name : "");
    hn_error_hint(
        err, "download or copy the file again and compare its checksum with the source's");
    return HN_E_MODEL_INVALID;
}

static int empty(struct hn_error *err, const char *name) {
    hn_fail(err, HN_E_MODEL_INVALID, "the tensor %.200s is stored without values", name);
    hn_error_hint(err,
        "so do trainings with DeepSpeed ZeRO-3 that do not gather the weights when they save: run "
        "zero_to_fp32.py on the checkpoint, or set stage3_gather_16bit_weights_on_model_save");
    return HN_E_MODEL_INVALID;
}

static int read_tensor(const struct hn_safetensors *st, size_t data, const char *name,
    const json_t *value, struct hn_safetensor *t, struct hn_error *err) {
    const char *type = json_string_value(json_object_get(value, "dtype"));
    const json_t *shape = json_object_get(value, "shape"),
                 *offsets = json_object_get(value, "data_offsets");
    *t = (struct hn_safetensor){.name = name, .n_dims = json_array_size(shape)};
    size_t k = 0, values = 1, begin, end;
    while (type && k < 3 && strcmp(types[k].name, type) != 0)
        k++;
    if (!type || k == 3)
        return hn_fail(err, HN_E_UNSUPPORTED,
            "tensor %.200s has the type %.32s; F32, F16 and BF16 are supported", name,
            type ? type : "?");
    t->type = types[k].type;
    if (!json_is_array(shape) || t->n_dims > 4 || json_array_size(offsets) != 2)
        return invalid(err, "the description", name);
    for (size_t i = 0; i < t->n_dims; i++) {
        json_int_t dim = json_integer_value(json_array_get(shape, i));
        if (dim == 0)
            return empty(err, name);
        if (dim < 1 || dim > (json_int_t)1 << 40 || !hn_mul(values, (size_t)dim, &values))
            return invalid(err, "the shape", name);
        t->dims[i] = (size_t)dim;
    }
    json_int_t first = json_integer_value(json_array_get(offsets, 0)),
               last = json_integer_value(json_array_get(offsets, 1));
    if (first < 0 || last < first ||
        !hn_mul(values, hn_dtype_info((int)t->type)->bytes, &t->bytes) ||
        (size_t)(last - first) != t->bytes || !hn_add(data, (size_t)first, &begin) ||
        !hn_add(data, (size_t)last, &end) || end > st->map.size)
        return invalid(err, "the place", name);
    t->data = st->map.data + begin;
    return 0;
}

static int compare_names(const void *a, const void *b) {
    return strcmp(((const struct hn_safetensor *)a)->name, ((const struct hn_safetensor *)b)->name);
}

static int parse(struct hn_safetensors *st, struct hn_error *err) {
    uint64_t size = 0;
    if (st->map.size < 8)
        return invalid(err, "the header's length", NULL);
    memcpy(&size, st->map.data, 8);
    if (size > MAX_HEADER || size > st->map.size - 8)
        return invalid(err, "the header's length", NULL);
    struct hn_error inner;
    if (hn_json_parse((const char *)st->map.data + 8, size, &st->header, &inner) ||
        !json_is_object(st->header))
        return invalid(err, "the header", NULL);
    size_t count = json_object_size(st->header);
    if (count > MAX_TENSORS || !(st->tensors = hn_calloc(count, sizeof *st->tensors)))
        return invalid(err, "the number of tensors", NULL);
    const char *name;
    json_t *value;
    json_object_foreach(st->header, name, value) {
        if (strcmp(name, "__metadata__") == 0 || is_buffer(value))
            continue;
        int rc = read_tensor(st, 8 + size, name, value, &st->tensors[st->n], err);
        if (rc)
            return rc;
        st->n++;
    }
    qsort(st->tensors, st->n, sizeof *st->tensors, compare_names);
    return 0;
}

int hn_safetensors_sort(struct hn_safetensors *st, struct hn_error *err) {
    if (st->n)
        qsort(st->tensors, st->n, sizeof *st->tensors, compare_names);
    for (size_t i = 1; i < st->n; i++)
        if (strcmp(st->tensors[i - 1].name, st->tensors[i].name) == 0)
            return hn_fail(err, HN_E_MODEL_INVALID,
                "the tensor %.200s is stored twice, once by a name with the prefix of a wrapper",
                st->tensors[i].name);
    return 0;
}

int hn_safetensors_open(struct hn_safetensors *st, const char *path, struct hn_error *err) {
    *st = (struct hn_safetensors){0};
    int rc = hn_map_open(&st->map, path, err);
    if (rc == HN_E_INVALID_FIELD)
        rc = hn_fail(err, HN_E_MODEL_INVALID, "the safetensors file is empty");
    if (!rc)
        rc = parse(st, err);
    if (rc)
        hn_safetensors_close(st);
    return rc;
}

void hn_safetensors_close(struct hn_safetensors *st) {
    json_decref(st->header);
    free(st->tensors);
    hn_map_close(&st->map);
    *st = (struct hn_safetensors){0};
}

const struct hn_safetensor *hn_safetensors_find(const struct hn_safetensors *st, const char *name) {
    struct hn_safetensor key = {.name = name};
    return st->n ? bsearch(&key, st->tensors, st->n, sizeof key, compare_names) : NULL;
}

size_t hn_safetensor_values(const struct hn_safetensor_out *t) {
    size_t n = 1;
    for (size_t i = 0; i < t->n_dims; i++)
        n *= t->dims[i];
    return n;
}

static json_t *make_header(
    const struct hn_safetensor_out *tensors, size_t n, const json_t *metadata) {
    json_t *header = json_object(),
           *meta = metadata ? json_copy((json_t *)(uintptr_t)metadata) : json_object();
    json_object_set_new(meta, "format", json_string("pt"));
    json_object_set_new(header, "__metadata__", meta);
    size_t offset = 0;
    for (size_t i = 0; i < n; i++) {
        json_t *shape = json_array();
        for (size_t k = 0; k < tensors[i].n_dims; k++)
            json_array_append_new(shape, json_integer((json_int_t)tensors[i].dims[k]));
        size_t bytes =
            hn_safetensor_values(&tensors[i]) * hn_dtype_info((int)tensors[i].type)->bytes;
        json_object_set_new(header, tensors[i].name,
            json_pack("{s:s, s:o, s:[I,I]}", "dtype", hn_dtype_info((int)tensors[i].type)->name,
                "shape", shape, "data_offsets", (json_int_t)offset, (json_int_t)(offset + bytes)));
        offset += bytes;
    }
    return header;
}

static int write_chunk(
    int fd, enum hn_dtype type, const float *values, size_t n, struct hn_error *err) {
    if (type == HN_F32)
        return hn_write_all(fd, values, n * sizeof(float), err);
    uint16_t chunk[4096];
    int rc = 0;
    for (size_t i = 0; i < n && !rc; i += 4096) {
        size_t count = n - i < 4096 ? n - i : 4096;
        for (size_t k = 0; k < count; k++)
            chunk[k] =
                type == HN_F16 ? hn_f32_to_f16(values[i + k]) : hn_f32_to_bf16(values[i + k]);
        rc = hn_write_all(fd, chunk, count * 2, err);
    }
    return rc;
}

/* Rows are gathered into blocks: one call of write for many of them. */
static int write_rows(int fd, const struct hn_safetensor_out *t, hn_safetensor_rows *rows,
    void *context, struct hn_error *err) {
    size_t cols = t->dims[t->n_dims - 1], n = cols ? hn_safetensor_values(t) / cols : 0,
           block = cols ? 65536 / cols + 1 : 1;
    float *room = hn_calloc(block * cols, sizeof *room);
    int rc = room ? 0 : hn_fail(err, HN_E_INTERNAL, "out of memory");
    for (size_t row = 0; !rc && row < n; row += block) {
        size_t count = n - row < block ? n - row : block;
        for (size_t i = 0; i < count; i++)
            rows(context, t, row + i, room + i * cols);
        rc = write_chunk(fd, t->type, room, count * cols, err);
    }
    free(room);
    return rc;
}

int hn_safetensors_write(const char *path, const struct hn_safetensor_out *tensors, size_t n,
    const json_t *metadata, hn_safetensor_rows *rows, void *context, struct hn_error *err) {
    json_t *header = make_header(tensors, n, metadata);
    char *text = json_dumps(header, JSON_COMPACT);
    json_decref(header);
    if (!text)
        return hn_fail(err, HN_E_INTERNAL, "out of memory");
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600), rc = 0;
    if (fd < 0)
        rc = hn_fail_errno(err, errno, "cannot create %s", path);
    else {
        /* padded with spaces so that the data is aligned */
        uint64_t size = (strlen(text) + 7) / 8 * 8;
        if (!(rc = hn_write_all(fd, &size, 8, err)) &&
            !(rc = hn_write_all(fd, text, strlen(text), err)))
            rc = hn_write_all(fd, "       ", size - strlen(text), err);
        for (size_t i = 0; i < n && !rc; i++)
            rc = tensors[i].values ? write_chunk(fd, tensors[i].type, tensors[i].values,
                                         hn_safetensor_values(&tensors[i]), err)
                                   : write_rows(fd, &tensors[i], rows, context, err);
        if (close(fd) && !rc)
            rc = hn_fail_errno(err, errno, "cannot close %s", path);
    }
    free(text);
    return rc;
}
