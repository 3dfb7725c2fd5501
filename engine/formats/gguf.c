/* GGUF reading and writing; see gguf.h. The reader is one cursor that never moves past the end of
 * the map. */
#include "engine/formats/gguf.h"
#include "engine/formats/found.h"

#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#define ALIGNMENT 32
#define MAX_KV 65536
#define MAX_TENSORS 65536
#define MAX_NAME 256
#define MAX_ARRAY ((size_t)1 << 26)

struct cursor {
    const uint8_t *begin, *at, *end;
    bool failed; /* the file ended, or a count was absurd */
};

static const size_t type_bytes[HN_GGUF_TYPES] = {1, 1, 2, 2, 4, 4, 4, 1, 0, 0, 8, 8, 8};

static const uint8_t *take(struct cursor *c, size_t bytes) {
    if (c->failed || bytes > (size_t)(c->end - c->at)) {
        c->failed = true;
        return NULL;
    }
    const uint8_t *p = c->at;
    c->at += bytes;
    return p;
}

static uint64_t take_uint(struct cursor *c, size_t bytes) {
    uint64_t v = 0;
    const uint8_t *p = take(c, bytes);
    if (p)
        memcpy(&v, p, bytes);
    return v;
}

static struct hn_view take_string(struct cursor *c) {
    uint64_t size = take_uint(c, 8);
    const uint8_t *p = take(c, size);
    return (struct hn_view){(const char *)p, p ? size : 0};
}

static int invalid(
    struct hn_error *err, const struct cursor *c, const char *what, struct hn_view name) {
    hn_fail(err, HN_E_MODEL_INVALID, "the GGUF file is damaged at byte %zu: %s%s%.*s",
        (size_t)(c->at - c->begin), what, name.size ? " of " : "",
        (int)(name.size < 100 ? name.size : 100), name.data ? name.data : "");
    hn_error_hint(
        err, "download or copy the file again and compare its checksum with the source's");
    return HN_E_MODEL_INVALID;
}

static int read_kv(struct cursor *c, struct hn_gguf_kv *kv, struct hn_error *err) {
    kv->key = take_string(c);
    if (c->failed || kv->key.size == 0 || kv->key.size > 65535)
        return invalid(err, c, "the name of a metadata field", (struct hn_view){0});
    uint64_t type = take_uint(c, 4), element = type, count = 1;
    if (type == HN_GGUF_ARRAY) {
        element = take_uint(c, 4);
        count = take_uint(c, 8);
    }
    if (c->failed || type >= HN_GGUF_TYPES || element >= HN_GGUF_TYPES ||
        element == HN_GGUF_ARRAY || count > MAX_ARRAY)
        return invalid(err, c, "the type", kv->key);
    kv->type = (enum hn_gguf_type)type;
    kv->element = (enum hn_gguf_type)element;
    kv->count = count;
    kv->data = c->at;
    if (element != HN_GGUF_STRING) {
        take(c, count * type_bytes[element]); /* count <= 2^26: cannot overflow */
        return c->failed ? invalid(err, c, "the value", kv->key) : 0;
    }
    if (count > (size_t)(c->end - c->at) /
            8) /* every string has 8 bytes of length: refuse before allocating */
        return invalid(err, c, "the value", kv->key);
    if (!(kv->strings = hn_calloc(count, sizeof *kv->strings)))
        return hn_fail(err, HN_E_INTERNAL, "out of memory");
    for (size_t i = 0; i < count; i++)
        kv->strings[i] = take_string(c);
    return c->failed ? invalid(err, c, "a string", kv->key) : 0;
}

/* Dimensions, type and offset; *ret_offset is relative to the data section. */
static int read_info(
    struct cursor *c, struct hn_gguf_tensor *t, uint64_t *ret_offset, struct hn_error *err) {
    t->name = take_string(c);
    if (c->failed || t->name.size == 0 || t->name.size > MAX_NAME)
        return invalid(err, c, "the name of a tensor", (struct hn_view){0});
    uint64_t dims = take_uint(c, 4);
    if (dims < 1 || dims > 4)
        return invalid(err, c, "the number of dimensions", t->name);
    t->n_dims = (uint32_t)dims;
    size_t values = 1;
    for (uint32_t i = 0; i < 4; i++) {
        t->ne[i] = i < dims ? take_uint(c, 8) : 1;
        if (c->failed || t->ne[i] == 0 || t->ne[i] > (size_t)1 << 40 ||
            !hn_mul(values, t->ne[i], &values))
            return invalid(err, c, "the dimensions", t->name);
    }
    uint64_t type = take_uint(c, 4);
    *ret_offset = take_uint(c, 8);
    if (c->failed)
        return invalid(err, c, "the description", t->name);
    const struct hn_dtype_info *info = type < HN_DTYPES ? hn_dtype_info((int)type) : NULL;
    if (!info) {
        hn_fail(err, HN_E_UNSUPPORTED, "tensor %.*s has the GGUF type %llu, which is not supported",
            (int)t->name.size, t->name.data, (unsigned long long)type);
        hn_error_hint(err, "use the model in F16, Q8_0, Q4_0, Q4_1, a K-quant or an i-quant");
        return HN_E_UNSUPPORTED;
    }
    t->type = (enum hn_dtype)type;
    if (t->ne[0] % info->block) {
        hn_fail(err, HN_E_MODEL_INVALID,
            "tensor %.*s has rows of %zu values, which are no whole blocks of %zu as its type %s "
            "needs",
            (int)(t->name.size < 100 ? t->name.size : 100), t->name.data, t->ne[0], info->block,
            info->name);
        hn_error_hint(err, "quantise the model again, with this tensor in Q8_0 or F16");
        return HN_E_MODEL_INVALID;
    }
    if (!hn_mul(values / info->block, info->bytes, &t->bytes))
        return invalid(err, c, "the row length", t->name);
    return 0;
}

static int compare_tensors(const void *a, const void *b) {
    const struct hn_view *x = &((const struct hn_gguf_tensor *)a)->name,
                         *y = &((const struct hn_gguf_tensor *)b)->name;
    int order = memcmp(x->data, y->data, x->size < y->size ? x->size : y->size);
    return order ? order : (x->size > y->size) - (x->size < y->size);
}

/* Twin names would make every later look-up ambiguous. */
static int refuse_twins(const struct hn_gguf *gguf, const struct cursor *c, struct hn_error *err) {
    struct hn_gguf_tensor *sorted = hn_calloc(gguf->n_tensors, sizeof *sorted);
    if (!sorted)
        return hn_fail(err, HN_E_INTERNAL, "out of memory");
    if (gguf->n_tensors)
        memcpy(sorted, gguf->tensors, gguf->n_tensors * sizeof *sorted);
    qsort(sorted, gguf->n_tensors, sizeof *sorted, compare_tensors);
    int rc = 0;
    for (size_t i = 1; i < gguf->n_tensors && !rc; i++)
        if (compare_tensors(&sorted[i - 1], &sorted[i]) == 0)
            rc = invalid(err, c, "a second tensor with the name", sorted[i].name);
    free(sorted);
    return rc;
}

static int parse(struct hn_gguf *gguf, struct hn_error *err) {
    struct cursor c = {gguf->map.data, gguf->map.data, gguf->map.data + gguf->map.size, false};
    const uint8_t *magic = take(&c, 4);
    uint64_t version = take_uint(&c, 4), n_tensors = take_uint(&c, 8), n_kv = take_uint(&c, 8);
    if (!magic || memcmp(magic, "GGUF", 4) != 0)
        return hn_found_bytes(gguf->map.data, gguf->map.size, "the file", err)
            ? HN_E_MODEL_INVALID
            : hn_fail(err, HN_E_MODEL_INVALID,
                  "not a GGUF file: it does not begin with the letters GGUF");
    if (version != 2 && version != 3)
        return hn_fail(err, HN_E_UNSUPPORTED,
            "GGUF version %llu is not supported (2 and 3 are; big-endian files are not)",
            (unsigned long long)version);
    if (c.failed || n_tensors > MAX_TENSORS || n_kv > MAX_KV)
        return invalid(err, &c, "the header", (struct hn_view){0});
    gguf->kv = hn_calloc(n_kv, sizeof *gguf->kv);
    gguf->tensors = hn_calloc(n_tensors, sizeof *gguf->tensors);
    uint64_t *offsets = hn_calloc(n_tensors, sizeof *offsets);
    int rc =
        gguf->kv && gguf->tensors && offsets ? 0 : hn_fail(err, HN_E_INTERNAL, "out of memory");
    while (!rc && gguf->n_kv < n_kv)
        rc = read_kv(&c, &gguf->kv[gguf->n_kv++], err);
    for (size_t i = 0; !rc && i < n_tensors; i++, gguf->n_tensors = i)
        rc = read_info(&c, &gguf->tensors[i], &offsets[i], err);
    if (!rc) {
        int64_t alignment = hn_gguf_int(gguf, "general.alignment", ALIGNMENT);
        if (alignment < 8 || alignment > 65536 || (alignment & (alignment - 1)))
            rc = invalid(err, &c, "general.alignment", (struct hn_view){0});
        size_t mask = (size_t)alignment - 1, data = ((size_t)(c.at - c.begin) + mask) & ~mask;
        for (size_t i = 0; !rc && i < n_tensors; i++) {
            struct hn_gguf_tensor *t = &gguf->tensors[i];
            size_t begin, end;
            if (offsets[i] & mask || !hn_add(data, offsets[i], &begin) ||
                !hn_add(begin, t->bytes, &end) || end > gguf->map.size) {
                rc = hn_fail(err, HN_E_MODEL_INVALID,
                    "the GGUF file is cut short: tensor %.*s does not lie inside its %zu bytes",
                    (int)t->name.size, t->name.data, gguf->map.size);
                hn_error_hint(
                    err, "download or copy the file again and compare its size with the source's");
            } else {
                t->data = gguf->map.data + begin;
            }
        }
    }
    free(offsets);
    return rc ? rc : refuse_twins(gguf, &c, err);
}

int hn_gguf_open(struct hn_gguf *gguf, const char *path, struct hn_error *err) {
    *gguf = (struct hn_gguf){0};
    int rc = hn_map_open(&gguf->map, path, err);
    if (rc == HN_E_INVALID_FIELD) /* its path is nobody's business */
        rc = hn_fail(err, HN_E_MODEL_INVALID, "the GGUF file is empty");
    if (!rc)
        rc = parse(gguf, err);
    if (rc)
        hn_gguf_close(gguf);
    return rc;
}

int hn_gguf_from_memory(struct hn_gguf *gguf, const void *data, size_t size, struct hn_error *err) {
    *gguf = (struct hn_gguf){0};
    void *copy = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (copy == MAP_FAILED)
        return hn_fail(err, HN_E_INTERNAL, "out of memory");
    gguf->map = (struct hn_map){memcpy(copy, data, size), size};
    int rc = parse(gguf, err);
    if (rc)
        hn_gguf_close(gguf);
    return rc;
}

void hn_gguf_close(struct hn_gguf *gguf) {
    for (size_t i = 0; gguf->kv && i < gguf->n_kv; i++)
        free(gguf->kv[i].strings);
    free(gguf->kv);
    free(gguf->tensors);
    hn_map_close(&gguf->map);
    *gguf = (struct hn_gguf){0};
}

bool hn_view_is(struct hn_view view, const char *text) {
    return view.size == strlen(text) && memcmp(view.data, text, view.size) == 0;
}

const struct hn_gguf_kv *hn_gguf_find(const struct hn_gguf *gguf, const char *key) {
    for (size_t i = 0; i < gguf->n_kv; i++)
        if (hn_view_is(gguf->kv[i].key, key))
            return &gguf->kv[i];
    return NULL;
}

const struct hn_gguf_tensor *hn_gguf_tensor(const struct hn_gguf *gguf, const char *name) {
    for (size_t i = 0; i < gguf->n_tensors; i++)
        if (hn_view_is(gguf->tensors[i].name, name))
            return &gguf->tensors[i];
    return NULL;
}

#define READ(ctype, p)             \
    ({                             \
        ctype v_;                  \
        memcpy(&v_, p, sizeof v_); \
        v_;                        \
    })

int64_t hn_gguf_array_int(const struct hn_gguf_kv *kv, size_t i) {
    if (!type_bytes[kv->element])
        return 0;
    const uint8_t *p = kv->data + i * type_bytes[kv->element];
    switch (kv->element) {
    case HN_GGUF_U8:
    case HN_GGUF_BOOL:
        return *p;
    case HN_GGUF_I8:
        return (int8_t)*p;
    case HN_GGUF_U16:
        return READ(uint16_t, p);
    case HN_GGUF_I16:
        return READ(int16_t, p);
    case HN_GGUF_U32:
        return READ(uint32_t, p);
    case HN_GGUF_I32:
        return READ(int32_t, p);
    case HN_GGUF_U64:
    case HN_GGUF_I64:
        return READ(int64_t, p);
    default:
        return 0;
    }
}

double hn_gguf_array_float(const struct hn_gguf_kv *kv, size_t i) {
    if (kv->element == HN_GGUF_F32)
        return (double)READ(float, kv->data + 4 * i);
    if (kv->element == HN_GGUF_F64)
        return READ(double, kv->data + 8 * i);
    return (double)hn_gguf_array_int(kv, i);
}

/* A scalar number, or NULL. */
static const struct hn_gguf_kv *find_number(const struct hn_gguf *gguf, const char *key) {
    const struct hn_gguf_kv *kv = hn_gguf_find(gguf, key);
    return kv && kv->type != HN_GGUF_ARRAY && kv->type != HN_GGUF_STRING ? kv : NULL;
}

int64_t hn_gguf_int(const struct hn_gguf *gguf, const char *key, int64_t fallback) {
    const struct hn_gguf_kv *kv = find_number(gguf, key);
    return kv && kv->type != HN_GGUF_F32 && kv->type != HN_GGUF_F64 ? hn_gguf_array_int(kv, 0)
                                                                    : fallback;
}

double hn_gguf_float(const struct hn_gguf *gguf, const char *key, double fallback) {
    const struct hn_gguf_kv *kv = find_number(gguf, key);
    return kv ? hn_gguf_array_float(kv, 0) : fallback;
}

bool hn_gguf_bool(const struct hn_gguf *gguf, const char *key, bool fallback) {
    const struct hn_gguf_kv *kv = hn_gguf_find(gguf, key);
    return kv && kv->type == HN_GGUF_BOOL ? *kv->data != 0 : fallback;
}

struct hn_view hn_gguf_string(const struct hn_gguf *gguf, const char *key) {
    const struct hn_gguf_kv *kv = hn_gguf_find(gguf, key);
    return kv && kv->type == HN_GGUF_STRING ? kv->strings[0] : (struct hn_view){0};
}

static void put_uint(struct hn_buf *buf, uint64_t value, size_t bytes) {
    hn_buf_append(buf, &value, bytes);
}

static void put_name(struct hn_buf *buf, const char *text, size_t size) {
    put_uint(buf, size, 8);
    hn_buf_append(buf, text, size);
}

static void put_key(struct hn_gguf_writer *w, const char *key, enum hn_gguf_type type) {
    put_name(&w->kv, key, strlen(key));
    put_uint(&w->kv, type, 4);
    w->n_kv++;
}

void hn_gguf_put_string(struct hn_gguf_writer *w, const char *key, const char *value) {
    put_key(w, key, HN_GGUF_STRING);
    put_name(&w->kv, value, strlen(value));
}

void hn_gguf_put_u32(struct hn_gguf_writer *w, const char *key, uint32_t value) {
    put_key(w, key, HN_GGUF_U32);
    put_uint(&w->kv, value, 4);
}

void hn_gguf_put_f32(struct hn_gguf_writer *w, const char *key, float value) {
    put_key(w, key, HN_GGUF_F32);
    hn_buf_append(&w->kv, &value, 4);
}

void hn_gguf_put_bool(struct hn_gguf_writer *w, const char *key, bool value) {
    put_key(w, key, HN_GGUF_BOOL);
    put_uint(&w->kv, value, 1);
}

void hn_gguf_put_copy(struct hn_gguf_writer *w, const struct hn_gguf_kv *kv) {
    put_name(&w->kv, kv->key.data, kv->key.size);
    put_uint(&w->kv, kv->type, 4);
    if (kv->type == HN_GGUF_ARRAY) {
        put_uint(&w->kv, kv->element, 4);
        put_uint(&w->kv, kv->count, 8);
    }
    if (kv->element == HN_GGUF_STRING)
        for (size_t i = 0; i < kv->count; i++)
            put_name(&w->kv, kv->strings[i].data, kv->strings[i].size);
    else
        hn_buf_append(&w->kv, kv->data, kv->count * type_bytes[kv->element]);
    w->n_kv++;
}

size_t hn_gguf_padding(size_t bytes) {
    return (ALIGNMENT - bytes % ALIGNMENT) % ALIGNMENT;
}

void hn_gguf_put_tensor(struct hn_gguf_writer *w, const char *name, enum hn_dtype type,
    uint32_t n_dims, const size_t *ne, size_t bytes) {
    put_name(&w->infos, name, strlen(name));
    put_uint(&w->infos, n_dims, 4);
    for (uint32_t i = 0; i < n_dims; i++)
        put_uint(&w->infos, ne[i], 8);
    put_uint(&w->infos, type, 4);
    put_uint(&w->infos, w->data_size, 8);
    w->data_size += bytes + hn_gguf_padding(bytes);
    w->n_tensors++;
}

void hn_gguf_finish_header(struct hn_gguf_writer *w, struct hn_buf *out) {
    hn_buf_append(out, "GGUF", 4);
    put_uint(out, 3, 4);
    put_uint(out, w->n_tensors, 8);
    put_uint(out, w->n_kv, 8);
    hn_buf_append(out, w->kv.data, w->kv.size);
    hn_buf_append(out, w->infos.data, w->infos.size);
    static const char zeros[ALIGNMENT];
    hn_buf_append(out, zeros, hn_gguf_padding(out->size));
    out->failed |= w->kv.failed || w->infos.failed;
    hn_buf_free(&w->kv);
    hn_buf_free(&w->infos);
}
