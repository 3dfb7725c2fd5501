/*
 * The event loop: the one thread that serves HTTP, and the pool that does what may block.
 *
 * uv.h is included by loop.c alone. Everything here belongs to the loop thread except hn_loop_post,
 * which any thread may call. Work handed to the pool runs in parallel; its `after` runs on the
 * loop.
 */
#ifndef HN_SERVER_BASE_LOOP_H
#define HN_SERVER_BASE_LOOP_H

#include "engine/engine.h"

#include <stdint.h>

struct hn_loop;
struct hn_timer;
typedef void (*hn_loop_fn)(void *arg);

int hn_loop_create(struct hn_loop **ret, struct hn_error *err);
/* After hn_loop_run returned; waits for the pool's work, whose `after` still runs. */
void hn_loop_destroy(struct hn_loop *loop);
/* Starts the pool's threads ($UV_THREADPOOL_SIZE), which libuv would do with the first work and
 * abort where it cannot. */
int hn_loop_start_pool(struct hn_loop *loop, struct hn_error *err);
void hn_loop_run(struct hn_loop *loop);
void hn_loop_stop(struct hn_loop *loop);

void hn_loop_post(struct hn_loop *loop, hn_loop_fn fn, void *arg); /* any thread */
void hn_loop_work(struct hn_loop *loop, hn_loop_fn work, hn_loop_fn after, void *arg);
/* For work that may wait long for others, such as helpers: it has threads of its own, so that what
 * only computes, reads or writes always finds one in the pool. Beyond HN_WAITING_THREADS, more than
 * the queues of all helpers let wait, it queues. */
#define HN_WAITING_THREADS 320
void hn_loop_work_waiting(struct hn_loop *loop, hn_loop_fn work, hn_loop_fn after, void *arg);
/* Calls fn whenever fd can be read, until unwatched (NULL is fine) or the loop is destroyed. */
struct hn_fd_watch;
int hn_loop_watch(struct hn_loop *loop, int fd, hn_loop_fn fn, void *arg, struct hn_fd_watch **ret,
    struct hn_error *err);
void hn_loop_unwatch(struct hn_fd_watch *watch);
int hn_loop_signal(
    struct hn_loop *loop, int signal, hn_loop_fn fn, void *arg, struct hn_error *err);

/* A timer that is not running yet. It lives until it or the loop is destroyed. */
struct hn_timer *hn_timer_create(struct hn_loop *loop, hn_loop_fn fn, void *arg);
void hn_timer_start(struct hn_timer *timer, uint64_t milliseconds, uint64_t repeat);
void hn_timer_stop(struct hn_timer *timer);
void hn_timer_destroy(struct hn_timer *timer); /* NULL is fine */

#endif
