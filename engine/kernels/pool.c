/* See pool.h. Workers spin briefly for the next run (ops follow each other within microseconds),
 * then sleep on a futex-backed condition, so that an idle trainer costs nothing. */
#include "engine/kernels/pool.h"
#include "engine/base/buf.h"

#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>
#if defined(__x86_64__)
#include <immintrin.h>
#endif

#define SPINS 4000

struct worker {
    struct hn_pool *pool;
    pthread_t thread;
    unsigned index;
};

struct hn_pool {
    unsigned n_threads, n_started;
    struct worker *workers; /* [n_threads - 1] */
    hn_task_fn *fn;
    void *context;
    size_t n_tasks;
    atomic_size_t next;
    atomic_uint running;    /* workers that have not finished the present run */
    atomic_uint generation; /* counts runs; changing it starts one */
    atomic_bool stop;
    pthread_mutex_t lock; /* with wake: for workers that gave up spinning */
    pthread_cond_t wake;
};

static void flush_denormals(void) {
#if defined(__x86_64__)
    _mm_setcsr(_mm_getcsr() | 0x8040);
#elif defined(__aarch64__)
    uint64_t fpcr;
    __asm__ volatile("mrs %0, fpcr" : "=r"(fpcr));
    __asm__ volatile("msr fpcr, %0" ::"r"(fpcr | 1u << 24));
#endif
}

static void relax(void) {
#if defined(__x86_64__)
    _mm_pause();
#endif
}

static void work(struct hn_pool *pool, unsigned thread) {
    for (size_t task; (task = atomic_fetch_add(&pool->next, 1)) < pool->n_tasks;)
        pool->fn(pool->context, task, thread);
}

static void await_generation(struct hn_pool *pool, unsigned seen) {
    for (int i = 0; i < SPINS; i++) {
        if (atomic_load_explicit(&pool->generation, memory_order_acquire) != seen)
            return;
        relax();
    }
    pthread_mutex_lock(&pool->lock);
    while (atomic_load(&pool->generation) == seen)
        pthread_cond_wait(&pool->wake, &pool->lock);
    pthread_mutex_unlock(&pool->lock);
}

static void *worker_main(void *argument) {
    struct worker *worker = argument;
    struct hn_pool *pool = worker->pool;
    flush_denormals();
    for (unsigned seen = 0;; seen++) {
        await_generation(pool, seen);
        if (atomic_load(&pool->stop))
            return NULL;
        work(pool, worker->index);
        atomic_fetch_sub_explicit(&pool->running, 1, memory_order_release);
    }
}

static void start_generation(struct hn_pool *pool) {
    pthread_mutex_lock(&pool->lock);
    atomic_fetch_add_explicit(&pool->generation, 1, memory_order_release);
    pthread_cond_broadcast(&pool->wake);
    pthread_mutex_unlock(&pool->lock);
}

int hn_pool_create(unsigned threads, struct hn_pool **ret, struct hn_error *err) {
    struct hn_pool *pool = hn_calloc(1, sizeof *pool);
    if (!pool)
        return hn_fail(err, HN_E_INTERNAL, "out of memory");
    pool->n_threads = threads ? threads : 1;
    pthread_mutex_init(&pool->lock, NULL);
    pthread_cond_init(&pool->wake, NULL);
    pool->workers = hn_calloc(pool->n_threads, sizeof *pool->workers);
    int rc = pool->workers ? 0 : hn_fail(err, HN_E_INTERNAL, "out of memory");
    /* Signals are the main thread's: a stop request must interrupt its waits, not a kernel. */
    sigset_t all, old;
    sigfillset(&all);
    sigdelset(&all, SIGSYS); /* of a confined process: confine.c tells which call was refused */
    pthread_sigmask(SIG_SETMASK, &all, &old);
    for (unsigned i = 0; !rc && i + 1 < pool->n_threads; i++) {
        pool->workers[i] = (struct worker){.pool = pool, .index = i + 1};
        if (pthread_create(&pool->workers[i].thread, NULL, worker_main, &pool->workers[i]))
            rc = hn_fail(
                err, HN_E_INTERNAL, "cannot start compute thread %u of %u", i + 1, pool->n_threads);
        else
            pool->n_started++;
    }
    pthread_sigmask(SIG_SETMASK, &old, NULL);
    if (rc) {
        hn_pool_destroy(pool);
        return rc;
    }
    flush_denormals();
    *ret = pool;
    return 0;
}

void hn_pool_destroy(struct hn_pool *pool) {
    if (!pool)
        return;
    atomic_store(&pool->stop, true);
    start_generation(pool);
    for (unsigned i = 0; i < pool->n_started; i++)
        pthread_join(pool->workers[i].thread, NULL);
    pthread_cond_destroy(&pool->wake);
    pthread_mutex_destroy(&pool->lock);
    free(pool->workers);
    free(pool);
}

unsigned hn_pool_threads(const struct hn_pool *pool) {
    return pool->n_threads;
}

void hn_pool_run(struct hn_pool *pool, size_t n, hn_task_fn *fn, void *context) {
    if (n <= 1 || pool->n_threads == 1) {
        for (size_t i = 0; i < n; i++)
            fn(context, i, 0);
        return;
    }
    pool->fn = fn;
    pool->context = context;
    pool->n_tasks = n;
    atomic_store(&pool->next, 0);
    atomic_store(&pool->running, pool->n_started);
    start_generation(pool);
    work(pool, 0);
    for (unsigned spins = 0; atomic_load_explicit(&pool->running, memory_order_acquire); spins++) {
        if (spins < SPINS)
            relax();
        else
            sched_yield(); /* another trainer's threads may be waiting for this core */
    }
}
