/*
 * Compute: the resources that all phases of a process share: threads, arena, one batch; and running
 * a phase on it.
 */
#ifndef HN_ENGINE_RUN_COMPUTE_H
#define HN_ENGINE_RUN_COMPUTE_H

#include "engine/run/batch.h"
#include "engine/graph/phase.h"
#include "engine/kernels/pool.h"

struct hn_compute {
    struct hn_pool *pool;
    uint8_t *arena;
    size_t arena_bytes;
    struct hn_batch_store batch;
    /* told by an evaluation how many rows are done; NULL: nobody */
    void (*progress)(void *ud, size_t rows);
    void *ud;
};

/* Opens BLAS; room for plans of up to `arena_bytes` and batches of up to `tokens`. Owner calls
 * hn_compute_finish. */
int hn_compute_init(struct hn_compute *compute, unsigned threads, size_t arena_bytes, size_t tokens,
    struct hn_error *err);
void hn_compute_finish(struct hn_compute *compute);
/* Empties compute->batch for this phase. */
void hn_compute_clear(struct hn_compute *compute, const struct hn_phase *phase);
/* Runs the phase on compute->batch with the fast ops. `x` carries params, grads, sums, dropout; the
 * rest is filled in. */
void hn_compute_run(struct hn_compute *compute, const struct hn_phase *phase, struct hn_exec *x);
/* Copies `n` rows of the phase's key-value cache, in all layers; the two places do not overlap. */
void hn_cache_copy(
    struct hn_compute *compute, const struct hn_phase *phase, size_t from, size_t to, size_t n);
/* "OpenBLAS 0.3.21 SkylakeX, avx512": what bits depend on besides the build. */
void hn_compute_name(char *out, size_t size);

#endif
