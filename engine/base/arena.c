/* See arena.h. */
#include "engine/base/arena.h"
#include "engine/base/buf.h"

#include <stdlib.h>
#include <string.h>

#define CHUNK ((size_t)1 << 15)

struct hn_arena_chunk {
    struct hn_arena_chunk *next;
    size_t used, capacity;
    _Alignas(16) char data[];
};

void *hn_arena_alloc(struct hn_arena *arena, size_t count, size_t size) {
    size_t bytes, total;
    if (!hn_mul(count, size, &bytes) || !hn_add(bytes, 15, &bytes))
        return NULL;
    bytes &= ~(size_t)15;
    struct hn_arena_chunk *chunk = arena->chunks;
    if (!chunk || bytes > chunk->capacity - chunk->used) {
        size_t capacity = bytes > CHUNK / 4 ? bytes : CHUNK;
        if (!hn_add(arena->used, capacity, &total) || total > arena->ceiling)
            return NULL;
        struct hn_arena_chunk *fresh = malloc(sizeof *fresh + capacity);
        if (!fresh) {
            arena->out_of_memory = true;
            return NULL;
        }
        *fresh = (struct hn_arena_chunk){.capacity = capacity};
        arena->used = total;
        if (capacity != CHUNK && chunk) {
            /* a chunk of its own must not hide the room left in the current one */
            fresh->next = chunk->next;
            chunk->next = fresh;
        } else {
            fresh->next = chunk;
            arena->chunks = fresh;
        }
        chunk = fresh;
    }
    void *p = chunk->data + chunk->used;
    chunk->used += bytes;
    return memset(p, 0, bytes);
}

void hn_arena_finish(struct hn_arena *arena) {
    while (arena->chunks) {
        struct hn_arena_chunk *next = arena->chunks->next;
        free(arena->chunks);
        arena->chunks = next;
    }
    arena->used = 0;
}
