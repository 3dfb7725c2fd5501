/* See compute.h. */
#include "engine/run/compute.h"
#include "engine/kernels/blas.h"
#include "engine/kernels/kernels.h"

#include <stdio.h>
#include <string.h>

int hn_compute_init(struct hn_compute *compute, unsigned threads, size_t arena_bytes, size_t tokens,
    struct hn_error *err) {
    *compute = (struct hn_compute){.arena_bytes = arena_bytes};
    int rc = hn_blas_open(err);
    if (!rc)
        rc = hn_pool_create(threads, &compute->pool, err);
    if (!rc && !(compute->arena = hn_arena_create(arena_bytes))) {
        rc = hn_fail(err, HN_E_DOES_NOT_FIT,
            "the machine does not give %zu MB of memory for this run", arena_bytes >> 20);
        hn_error_hint(err, "lower micro_batch_tokens or max_length, or free memory");
    }
    return rc ? rc : hn_batch_init(&compute->batch, tokens, err);
}

void hn_compute_finish(struct hn_compute *compute) {
    hn_batch_finish(&compute->batch);
    hn_arena_destroy(compute->arena, compute->arena_bytes);
    hn_pool_destroy(compute->pool);
    *compute = (struct hn_compute){0};
}

void hn_compute_clear(struct hn_compute *compute, const struct hn_phase *phase) {
    hn_batch_clear(&compute->batch, phase->plan.caps.dims[HN_DIM_TOKENS]);
}

void hn_compute_run(struct hn_compute *compute, const struct hn_phase *phase, struct hn_exec *x) {
    x->plan = &phase->plan;
    x->pool = compute->pool;
    x->batch = &compute->batch.batch;
    x->arena = compute->arena;
    hn_exec_run(x, &hn_ops_fast);
}

void hn_cache_copy(
    struct hn_compute *compute, const struct hn_phase *phase, size_t from, size_t to, size_t n) {
    const struct hn_plan *plan = &phase->plan;
    float *cache = (float *)(compute->arena + plan->buffers[plan->cache].offset);
    for (size_t i = 0; i < plan->n_steps; i++) {
        const struct hn_op *op = plan->steps[i].op;
        if (op->kind != HN_OP_ATTENTION || !op->attr.attention.cached)
            continue;
        size_t cols = 2 * op->attr.attention.kv_heads * op->attr.attention.head_dim;
        float *layer = cache + op->attr.attention.cache_layer * cols * plan->caps.cache_rows;
        memcpy(layer + to * cols, layer + from * cols, n * cols * sizeof *layer);
    }
}

void hn_compute_name(char *out, size_t size) {
    snprintf(out, size, "%s, %s", hn_blas_name(), hn_kernels()->name);
}
