/* libuv, behind the few calls the daemon needs. See loop.h. */
#include "server/base/loop.h"

#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <stdlib.h>
#include <uv.h>

#define SPARE_THREADS 4 /* that others start: the store, a worker, a helper */

struct work;

struct post {
    hn_loop_fn fn;
    void *arg;
    struct post *next;
};

/* Every handle is one of these; they are freed when the loop closes them. */
struct handle {
    union {
        uv_handle_t any;
        uv_timer_t timer;
        uv_poll_t poll;
        uv_signal_t signal;
    } uv;
    hn_loop_fn fn;
    void *arg;
};

struct hn_timer {
    struct handle base;
};

struct hn_fd_watch {
    struct handle base;
};

struct hn_loop {
    uv_loop_t uv;
    uv_async_t async;
    size_t works;    /* handed to the pool and not back yet */
    uv_mutex_t lock; /* guards the posts */
    struct post *first, **last;
    size_t n_waiting; /* threads for work that may wait; guarded by the lock, as is their queue */
    struct work *waiting, **last_waiting;
};

/* Retries the allocation until it succeeds: the callers, wake-ups of requests, have no error path.
 * Losing one would hang its request for ever; ending the process would end everybody's. */
static void *insist(size_t size) {
    void *found;
    while (!(found = hn_calloc(1, size)))
        poll(NULL, 0, 10);
    return found;
}

static void run_posts(uv_async_t *async) {
    struct hn_loop *loop = async->data;
    uv_mutex_lock(&loop->lock);
    struct post *post = loop->first;
    loop->first = NULL;
    loop->last = &loop->first;
    uv_mutex_unlock(&loop->lock);
    while (post) {
        struct post *next = post->next;
        post->fn(post->arg);
        free(post);
        post = next;
    }
}

int hn_loop_create(struct hn_loop **ret, struct hn_error *err) {
    struct hn_loop *loop = hn_calloc(1, sizeof *loop);
    if (!loop)
        return hn_fail(err, HN_E_INTERNAL, "out of memory");
    loop->last = &loop->first;
    loop->last_waiting = &loop->waiting;
    loop->async.data = loop;
    int rc = uv_loop_init(&loop->uv);
    if (!rc && (rc = uv_mutex_init(&loop->lock)) == 0)
        rc = uv_async_init(&loop->uv, &loop->async, run_posts);
    if (rc) {
        free(loop);
        return hn_fail(err, HN_E_INTERNAL, "cannot create the event loop: %s", uv_strerror(rc));
    }
    *ret = loop;
    return 0;
}

static void free_handle(uv_handle_t *handle) {
    if (handle->type != UV_ASYNC)
        free(handle->data);
}

static void close_handle(uv_handle_t *handle, void *arg) {
    (void)arg;
    if (!uv_is_closing(handle))
        uv_close(handle, free_handle);
}

void hn_loop_destroy(struct hn_loop *loop) {
    if (!loop)
        return;
    while (loop->works)
        uv_run(&loop->uv, UV_RUN_ONCE);
    run_posts(&loop->async);
    uv_walk(&loop->uv, close_handle, NULL);
    uv_run(&loop->uv, UV_RUN_DEFAULT);
    uv_loop_close(&loop->uv);
    uv_mutex_destroy(&loop->lock);
    free(loop);
}

void hn_loop_run(struct hn_loop *loop) {
    uv_run(&loop->uv, UV_RUN_DEFAULT);
}

void hn_loop_stop(struct hn_loop *loop) {
    uv_stop(&loop->uv);
}

void hn_loop_post(struct hn_loop *loop, hn_loop_fn fn, void *arg) {
    struct post *post = insist(sizeof *post);
    *post = (struct post){fn, arg, NULL};
    uv_mutex_lock(&loop->lock);
    *loop->last = post;
    loop->last = &post->next;
    uv_async_send(&loop->async); /* under the lock: once the post has run, the loop may be gone */
    uv_mutex_unlock(&loop->lock);
}

struct work {
    uv_work_t uv;
    struct hn_loop *loop;
    hn_loop_fn work, after;
    void *arg;
    struct work *next; /* of those that wait for a thread */
};

static struct work *make_work(struct hn_loop *loop, hn_loop_fn fn, hn_loop_fn after, void *arg) {
    struct work *work = insist(sizeof *work);
    *work = (struct work){.loop = loop, .work = fn, .after = after, .arg = arg};
    work->uv.data = work;
    loop->works++;
    return work;
}

static void finish_work(void *arg) {
    struct work *work = arg;
    work->loop->works--;
    if (work->after)
        work->after(work->arg);
    free(work);
}

static void run_work(uv_work_t *uv) {
    struct work *work = uv->data;
    work->work(work->arg);
}

static void end_work(uv_work_t *uv, int status) {
    (void)status;
    finish_work(uv->data);
}

void hn_loop_work(struct hn_loop *loop, hn_loop_fn fn, hn_loop_fn after, void *arg) {
    struct work *work = make_work(loop, fn, after, arg);
    uv_queue_work(&loop->uv, &work->uv, run_work, end_work);
}

static struct work *next_waiting(struct hn_loop *loop) {
    uv_mutex_lock(&loop->lock);
    struct work *work = loop->waiting;
    if (!work)
        loop->n_waiting--; /* this thread ends */
    else if (!(loop->waiting = work->next))
        loop->last_waiting = &loop->waiting;
    uv_mutex_unlock(&loop->lock);
    return work;
}

static void end_thread(void *arg) {
    struct hn_loop *loop = arg;
    loop->works--;
}

static void *run_waiting(void *arg) {
    struct work *work = arg;
    struct hn_loop *loop = work->loop;
    do {
        work->work(work->arg);
        hn_loop_post(loop, finish_work, work);
    } while ((work = next_waiting(loop)));
    hn_loop_post(loop, end_thread, loop);
    return NULL;
}

static bool start_waiting(struct hn_loop *loop, struct work *work) {
    pthread_t thread;
    if (pthread_create(&thread, NULL, run_waiting, work))
        return false;
    pthread_detach(thread);
    loop->works++; /* until the thread has let go of the loop */
    return true;
}

/* Where no thread can be had, one that is there takes it over later; without any, the pool does. */
void hn_loop_work_waiting(struct hn_loop *loop, hn_loop_fn fn, hn_loop_fn after, void *arg) {
    struct work *work = make_work(loop, fn, after, arg);
    uv_mutex_lock(&loop->lock);
    bool started = loop->n_waiting < HN_WAITING_THREADS && start_waiting(loop, work);
    bool queued = !started && loop->n_waiting;
    loop->n_waiting += started;
    if (queued) {
        *loop->last_waiting = work;
        loop->last_waiting = &work->next;
    }
    uv_mutex_unlock(&loop->lock);
    if (!started && !queued)
        uv_queue_work(&loop->uv, &work->uv, run_work, end_work);
}

static void do_nothing(void *arg) {
    (void)arg;
}

static void *wait_for_end(void *arg) {
    uv_mutex_t *held = arg;
    uv_mutex_lock(held);
    uv_mutex_unlock(held);
    return NULL;
}

/* Whether so many threads can be there at the same time, as large as the pool's: it is tried. */
static int try_threads(size_t n) {
    pthread_t *threads = hn_calloc(n, sizeof *threads);
    pthread_attr_t attr;
    uv_mutex_t held;
    size_t made = 0;
    int failed = threads && uv_mutex_init(&held) == 0 ? 0 : ENOMEM;
    if (failed) {
        free(threads);
        return failed;
    }
    pthread_attr_init(&attr);
    pthread_attr_setstacksize(&attr, (size_t)8 << 20);
    uv_mutex_lock(&held);
    while (!failed && made < n &&
        (failed = pthread_create(&threads[made], &attr, wait_for_end, &held)) == 0)
        made++;
    uv_mutex_unlock(&held);
    while (made)
        pthread_join(threads[--made], NULL);
    uv_mutex_destroy(&held);
    pthread_attr_destroy(&attr);
    free(threads);
    return failed;
}

int hn_loop_start_pool(struct hn_loop *loop, struct hn_error *err) {
    const char *text = getenv("UV_THREADPOOL_SIZE");
    long n = text ? strtol(text, NULL, 10) : 4;
    n = n < 1 ? 1 : n > 1024 ? 1024 : n;
    int failed = try_threads((size_t)n + SPARE_THREADS);
    if (failed) {
        hn_fail_errno(err, failed, "cannot start %ld threads", n + SPARE_THREADS);
        hn_error_hint(err,
            "raise the limit: pids.max (TasksMax of the service), ulimit -u, or ulimit -v, of "
            "which each thread takes 8 MB");
        return err ? err->code : HN_E_INTERNAL;
    }
    hn_loop_work(loop, do_nothing, NULL, NULL);
    return 0;
}

static struct handle *make_handle(hn_loop_fn fn, void *arg) {
    struct handle *handle = insist(sizeof(struct hn_timer));
    handle->fn = fn;
    handle->arg = arg;
    return handle;
}

static void on_poll(uv_poll_t *uv, int status, int events) {
    (void)status;
    (void)events;
    struct handle *handle = uv->data;
    handle->fn(handle->arg);
}

int hn_loop_watch(struct hn_loop *loop, int fd, hn_loop_fn fn, void *arg, struct hn_fd_watch **ret,
    struct hn_error *err) {
    struct handle *handle = make_handle(fn, arg);
    int rc = uv_poll_init(&loop->uv, &handle->uv.poll, fd);
    if (rc) {
        free(handle);
        return hn_fail(err, HN_E_INTERNAL, "cannot watch a descriptor: %s", uv_strerror(rc));
    }
    handle->uv.any.data = handle;
    uv_poll_start(&handle->uv.poll, UV_READABLE, on_poll);
    *ret = (struct hn_fd_watch *)handle;
    return 0;
}

void hn_loop_unwatch(struct hn_fd_watch *watch) {
    if (watch && !uv_is_closing(&watch->base.uv.any))
        uv_close(&watch->base.uv.any, free_handle);
}

static void on_signal(uv_signal_t *uv, int number) {
    (void)number;
    struct handle *handle = uv->data;
    handle->fn(handle->arg);
}

int hn_loop_signal(
    struct hn_loop *loop, int signal, hn_loop_fn fn, void *arg, struct hn_error *err) {
    struct handle *handle = make_handle(fn, arg);
    uv_signal_init(&loop->uv, &handle->uv.signal);
    handle->uv.any.data = handle;
    int rc = uv_signal_start(&handle->uv.signal, on_signal, signal);
    return rc ? hn_fail(err, HN_E_INTERNAL, "cannot catch a signal: %s", uv_strerror(rc)) : 0;
}

static void on_timer(uv_timer_t *uv) {
    struct handle *handle = uv->data;
    handle->fn(handle->arg);
}

struct hn_timer *hn_timer_create(struct hn_loop *loop, hn_loop_fn fn, void *arg) {
    struct handle *handle = make_handle(fn, arg);
    uv_timer_init(&loop->uv, &handle->uv.timer);
    handle->uv.any.data = handle;
    return (struct hn_timer *)handle;
}

void hn_timer_start(struct hn_timer *timer, uint64_t milliseconds, uint64_t repeat) {
    uv_timer_start(&timer->base.uv.timer, on_timer, milliseconds, repeat);
}

void hn_timer_stop(struct hn_timer *timer) {
    uv_timer_stop(&timer->base.uv.timer);
}

void hn_timer_destroy(struct hn_timer *timer) {
    if (timer && !uv_is_closing(&timer->base.uv.any))
        uv_close(&timer->base.uv.any, free_handle);
}
