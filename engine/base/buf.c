/* See buf.h. */
#include "engine/base/buf.h"

#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

static bool reserve(struct hn_buf *buf, size_t extra) {
    size_t ceiling = buf->ceiling ? buf->ceiling : (size_t)1 << 30, need;
    if (buf->failed || !hn_add(buf->size, extra, &need) || need > ceiling) {
        buf->failed = true;
        return false;
    }
    if (need < buf->capacity)
        return true;
    size_t capacity = buf->capacity ? buf->capacity : 128;
    while (capacity <= need)
        capacity *= 2;
    char *data = realloc(buf->data, capacity);
    if (!data) {
        buf->failed = true;
        return false;
    }
    buf->data = data;
    buf->capacity = capacity;
    return true;
}

void hn_buf_append(struct hn_buf *buf, const void *data, size_t size) {
    if (!reserve(buf, size))
        return;
    if (size)
        memcpy(buf->data + buf->size, data, size);
    buf->size += size;
    buf->data[buf->size] = 0;
}

void hn_buf_text(struct hn_buf *buf, const char *text) {
    hn_buf_append(buf, text, strlen(text));
}

void hn_buf_char(struct hn_buf *buf, char c) {
    hn_buf_append(buf, &c, 1);
}

void hn_buf_printf(struct hn_buf *buf, const char *format, ...) {
    va_list ap;
    va_start(ap, format);
    int n = vsnprintf(NULL, 0, format, ap);
    va_end(ap);
    if (n < 0 || !reserve(buf, (size_t)n)) {
        buf->failed = true;
        return;
    }
    va_start(ap, format);
    vsnprintf(buf->data + buf->size, (size_t)n + 1, format, ap);
    va_end(ap);
    buf->size += (size_t)n;
}

void hn_buf_clear(struct hn_buf *buf) {
    buf->size = 0;
    buf->failed = false;
    if (buf->data)
        buf->data[0] = 0;
}

void hn_buf_free(struct hn_buf *buf) {
    free(buf->data);
    *buf = (struct hn_buf){.ceiling = buf->ceiling};
}

void *hn_calloc(size_t count, size_t size) {
    return calloc(count ? count : 1, size ? size : 1);
}

void *hn_calloc_huge(size_t count, size_t size) {
    char *p = hn_calloc(count, size);
    size_t page = (size_t)sysconf(_SC_PAGESIZE), skip = p ? (page - (uintptr_t)p % page) % page : 0;
    if (p && count * size > skip) /* calloc has checked the product */
        madvise(p + skip, (count * size - skip) / page * page, MADV_HUGEPAGE);
    return p;
}

bool hn_grow(void *array, size_t *capacity, size_t need, size_t size) {
    if (need <= *capacity)
        return true;
    size_t count = *capacity ? *capacity : 16, bytes;
    while (count < need)
        if (!hn_mul(count, 2, &count))
            return false;
    if (!hn_mul(count, size, &bytes))
        return false;
    void *old, *grown;
    memcpy(&old, array, sizeof old);
    if (!(grown = realloc(old, bytes)))
        return false;
    memcpy(array, &grown, sizeof grown);
    *capacity = count;
    return true;
}
