/*
 * Phase: one graph with its plan, ready to run in a shared arena (train, evaluate, generate,
 * verify).
 */
#ifndef HN_ENGINE_GRAPH_PHASE_H
#define HN_ENGINE_GRAPH_PHASE_H

#include "engine/graph/ops.h"

struct hn_phase {
    struct hn_graph graph;
    struct hn_plan plan;
};

int hn_phase_make(struct hn_phase *phase, const struct hn_model *model,
    const struct hn_graph_options *graph, const struct hn_plan_options *plan, struct hn_error *err);
void hn_phase_finish(struct hn_phase *phase);

/* Anonymous memory for the largest plan, asking for huge pages; touched when first used. NULL when
 * there is none. */
void *hn_arena_create(size_t bytes);
void hn_arena_destroy(void *arena, size_t bytes);

#endif
