/*
 * Memory helpers: a growing byte buffer with a ceiling, checked sizes, checked allocation.
 */
#ifndef HN_ENGINE_BASE_BUF_H
#define HN_ENGINE_BASE_BUF_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* `data` is always NUL-terminated once anything was appended. Growth past `ceiling` (0 = 1 GiB)
 * sets `failed` and further appends do nothing: callers check `failed` once at the end. Owner calls
 * hn_buf_free. */
struct hn_buf {
    char *data;
    size_t size;     /* bytes used, without the NUL */
    size_t capacity; /* bytes allocated */
    size_t ceiling;  /* largest size */
    bool failed;
};

void hn_buf_append(struct hn_buf *buf, const void *data, size_t size);
void hn_buf_text(struct hn_buf *buf, const char *text);
void hn_buf_char(struct hn_buf *buf, char c);
void hn_buf_printf(struct hn_buf *buf, const char *format, ...)
    __attribute__((format(printf, 2, 3)));
void hn_buf_clear(struct hn_buf *buf); /* keeps the memory */
void hn_buf_free(struct hn_buf *buf);

/* *ret = a * b, or a + b; false on overflow. */
static inline bool hn_mul(size_t a, size_t b, size_t *ret) {
    return !__builtin_mul_overflow(a, b, ret);
}
static inline bool hn_add(size_t a, size_t b, size_t *ret) {
    return !__builtin_add_overflow(a, b, ret);
}
/* Zeroed array; NULL when out of memory or when count * size overflows; a valid pointer when count
 * is 0. */
void *hn_calloc(size_t count, size_t size);
/* The same for arrays of megabytes that will be touched all over: in huge pages where the system
 * has them. */
void *hn_calloc_huge(size_t count, size_t size);
/* Makes room for `need` elements of `size` bytes in *array (capacity doubles); false when out of
 * memory. */
bool hn_grow(void *array, size_t *capacity, size_t need, size_t size);

#endif
