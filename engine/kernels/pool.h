/*
 * The engine's compute threads: a fixed set that runs numbered tasks.
 *
 * Tasks are handed out by an atomic counter, in any order to any thread; results stay the same
 * because each task owns its outputs and its size depends on shapes only. The calling thread is
 * thread 0 and works too. All threads compute with flush-to-zero set: moments of rarely touched
 * rows decay into denormals, which x86 computes a hundred times slower.
 */
#ifndef HN_ENGINE_KERNELS_POOL_H
#define HN_ENGINE_KERNELS_POOL_H

#include "engine/base/error.h"

#include <stddef.h>

struct hn_pool;
typedef void hn_task_fn(void *context, size_t task, unsigned thread);

int hn_pool_create(unsigned threads, struct hn_pool **ret, struct hn_error *err);
void hn_pool_destroy(struct hn_pool *pool);
unsigned hn_pool_threads(const struct hn_pool *pool);
/* Runs task 0 … n-1 and returns when all are done. Not reentrant. */
void hn_pool_run(struct hn_pool *pool, size_t n, hn_task_fn *fn, void *context);

#endif
