/*
 * An arena: many small allocations with one ceiling, freed together.
 */
#ifndef HN_ENGINE_BASE_ARENA_H
#define HN_ENGINE_BASE_ARENA_H

#include <stdbool.h>
#include <stddef.h>

struct hn_arena_chunk;
struct hn_arena {
    struct hn_arena_chunk *chunks; /* newest first */
    size_t used;                   /* bytes of all chunks */
    size_t ceiling;
    bool out_of_memory; /* the machine had none, below the ceiling */
};

/* 16-byte aligned and zeroed; NULL when out of memory or past the ceiling. */
void *hn_arena_alloc(struct hn_arena *arena, size_t count, size_t size);
void hn_arena_finish(struct hn_arena *arena);

#endif
