/* See phase.h. */
#include "engine/graph/phase.h"

#include <sys/mman.h>

int hn_phase_make(struct hn_phase *phase, const struct hn_model *model,
    const struct hn_graph_options *graph, const struct hn_plan_options *plan,
    struct hn_error *err) {
    *phase = (struct hn_phase){0};
    int rc = hn_graph_build(&phase->graph, model, graph, err);
    if (!rc)
        rc = hn_plan_make(&phase->plan, &phase->graph, plan, err);
    if (rc)
        hn_phase_finish(phase);
    return rc;
}

void hn_phase_finish(struct hn_phase *phase) {
    hn_plan_finish(&phase->plan);
    hn_graph_finish(&phase->graph);
}

void *hn_arena_create(size_t bytes) {
    void *arena = mmap(NULL, bytes ? bytes : 1, PROT_READ | PROT_WRITE,
        MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (arena == MAP_FAILED)
        return NULL;
    madvise(arena, bytes, MADV_HUGEPAGE);
    return arena;
}

void hn_arena_destroy(void *arena, size_t bytes) {
    if (arena)
        munmap(arena, bytes ? bytes : 1);
}
