/*
 * Memory of requests: an arena for each, and one budget for all.
 *
 * What a request holds because of what a client sent or is slow to take (its body, the fields of a
 * form, buffers of uploads and streams, JSON while it is worked on, answers) is counted where it is
 * allocated and given back when the request ends. Beyond the setting request_memory such an
 * allocation is refused, and the client told to come again.
 */
#include "server/http/http_internal.h"

#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

void hn_memory_add(struct hn_exchange *x, size_t size) {
    x->held += (int64_t)size;
    atomic_fetch_add_explicit(&x->http->memory, (int64_t)size, memory_order_relaxed);
}

void hn_memory_give(struct hn_exchange *x, size_t size) {
    x->held -= (int64_t)size;
    atomic_fetch_sub_explicit(&x->http->memory, (int64_t)size, memory_order_relaxed);
}

int hn_memory_take(struct hn_exchange *x, size_t size, struct hn_error *err) {
    int64_t limit = x->req.server->config->request_memory;
    hn_memory_add(x, size);
    if (atomic_load_explicit(&x->http->memory, memory_order_relaxed) <= limit)
        return 0;
    hn_memory_give(x, size);
    hn_fail(err, HN_E_BUSY,
        "the requests that are being worked on hold all memory that they may, %lld bytes",
        (long long)limit);
    hn_error_hint(err, "try again in a few seconds; the server's setting request_memory decides");
    return HN_E_BUSY;
}

void *hn_request_alloc(struct hn_request *req, size_t size) {
    struct hn_exchange *x = (struct hn_exchange *)req;
    size_t total;
    struct hn_chunk *chunk = hn_add(sizeof *chunk + 8, size, &total) ? hn_calloc(1, total) : NULL;
    if (!chunk)
        return NULL;
    hn_memory_add(x, total);
    chunk->next = x->chunks;
    x->chunks = chunk;
    return (char *)chunk + 16; /* malloc's own alignment */
}

char *hn_request_copy(struct hn_request *req, const char *text) {
    size_t size = strlen(text) + 1;
    char *copy = hn_request_alloc(req, size);
    if (copy)
        memcpy(copy, text, size);
    return copy;
}

void hn_memory_free(struct hn_exchange *x) {
    for (struct hn_chunk *chunk = x->chunks, *next; chunk; chunk = next) {
        next = chunk->next;
        free(chunk);
    }
    x->chunks = NULL;
    hn_memory_give(x, (size_t)x->held);
}

/* jansson's smallest values and their places in a list or table, with malloc's own share. */
#define OBJECT_BYTES 256
#define ARRAY_BYTES 144
#define VALUE_BYTES 96

size_t hn_memory_of_json(const char *text, size_t size) {
    size_t total = size + VALUE_BYTES;
    for (size_t i = 0; i < size; i++) {
        char c = text[i];
        total += c == '{'          ? OBJECT_BYTES
            : c == '['             ? ARRAY_BYTES
            : c == ',' || c == ':' ? VALUE_BYTES
                                   : 0;
    }
    return total;
}
