/* See worker.h. All that a worker knows about its run it can learn again: the store and the run
 * directory are the state. */
#include "server/jobs/worker.h"
#include "server/process/child.h"
#include "server/process/executor.h"
#include "server/base/log.h"
#include "server/base/machine.h"
#include "server/store/records.h"
#include "server/process/rundir.h"
#include "server/store/store_events.h"
#include "server/store/store_jobs.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#define TICK_MS 200        /* how often events are read: a few times a second */
#define IDLE_MS 2000       /* how often an idle slot looks at the queue unasked */
#define READ_MAX (4 << 20) /* bytes of events.jsonl in one transaction */
#define BUSY_FACTOR 24     /* a silent trainer that computes gets that many times hang_seconds */
#define USAGE_MS 300       /* how often a trainer's CPU time and memory are looked at */
#define MEMORY_SLACK \
    ((int64_t)512 << 20) /* what a process may need beyond its plan, and as much again as planned */
#define GRACE_BYTES_A_SECOND (20 << 20) /* the grace grows by what a slow disk writes in it */

struct worker {
    struct hn_workers *all;
    pthread_t thread;
    bool started;
    int number;
    int wake;             /* eventfd */
    char job[HN_ID_SIZE]; /* to begin with, from before the start; "" if none */
    bool once;            /* beyond the slots: ends after that job */
};

struct hn_workers {
    const struct hn_config *config;
    struct hn_store *store;
    struct hn_seen *seen;
    const struct hn_executor *executor;
    struct hn_confinement confinement;
    struct hn_subscription subscription;
    struct worker *list;
    size_t n;
    atomic_bool draining, abandoned;
    atomic_int living, busy;
    struct hn_worker_figures figures;
    pthread_mutex_t lock; /* guards done, arg */
    void (*done)(void *arg);
    void *arg;
};

/* One run as its worker sees it. */
struct run {
    struct worker *worker;
    const char *id;
    char dir[HN_PATH_SIZE];
    struct hn_process process;
    int fd;              /* events.jsonl, -1 until it exists */
    int64_t offset;      /* ingested so far */
    int64_t last_growth; /* tick */
    /* tick at which it was last seen to have computed; its CPU time then */
    int64_t last_work, cpu_ms;
    int64_t looked;     /* tick of the last look at its usage */
    int64_t peak_bytes; /* planned */
    char requested[16];
    int64_t checkpoint_bytes;
    int64_t term_at, kill_at; /* ticks; 0: not asked yet */
    bool nudged, hung, greedy;
    bool had_trainer;            /* this daemon has started one, or met it alive */
    char code[32], message[512]; /* the worker's own verdict */
};

static void clear_wake(int fd) {
    uint64_t count;
    if (read(fd, &count, sizeof count) < 0) {
        /* Nothing was posted. */
    }
}

static void poke(int fd) {
    uint64_t one = 1;
    if (write(fd, &one, sizeof one) < 0) {
        /* Full means that it is awake already. */
    }
}

static void wake_all(struct hn_workers *all) {
    for (size_t i = 0; i < all->n; i++)
        poke(all->list[i].wake);
}

/* There is work, or memory is free again, or something is asked of a job that runs. An
 * hn_store_commit_fn. */
static void on_commit(void *arg, const char *job, unsigned what) {
    (void)job;
    if (what & (HN_COMMIT_QUEUED | HN_COMMIT_STATE | HN_COMMIT_ENDED))
        wake_all(arg);
}

/* Whole lines from the offset on; what is behind the last newline is torn and stays for the next
 * time. */
static int read_lines(struct run *run, struct hn_buf *text, struct hn_error *err) {
    int rc = run->fd < 0 ? hn_rundir_open(run->dir, "events.jsonl", O_RDONLY, &run->fd, err) : 0;
    if (rc)
        return rc == HN_E_NOT_FOUND ? 0 : rc;
    for (off_t at = (off_t)run->offset; text->size < READ_MAX;) {
        char chunk[65536];
        ssize_t n = pread(run->fd, chunk, sizeof chunk, at);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return hn_fail_errno(err, errno, "cannot read the events in %s", run->dir);
        if (n == 0)
            break;
        hn_buf_append(text, chunk, (size_t)n);
        at += n;
    }
    if (text->failed)
        return hn_fail(err, HN_E_INTERNAL, "out of memory");
    const char *last = text->size ? memrchr(text->data, '\n', text->size) : NULL;
    size_t whole = last ? (size_t)(last - text->data) + 1 : 0;
    if (!whole && text->size >= READ_MAX) { /* a line without end is no event: step over it */
        memset(text->data, ' ', text->size);
        whole = text->size;
    }
    text->size = whole;
    /* What was read is on disk before the store says so: it is never ahead of the file. */
    if (whole && fdatasync(run->fd))
        return hn_fail_errno(err, errno, "cannot sync the events in %s", run->dir);
    return 0;
}

/* Moves new events into the store; also learns what is asked of the job. */
static int ingest(struct run *run, bool *more, struct hn_error *err) {
    struct hn_buf text = {0};
    int rc = read_lines(run, &text, err);
    struct hn_ingest batch = {
        .id = run->id, .text = text.data ? text.data : "", .size = text.size, .from = run->offset};
    if (!rc)
        rc = hn_store_call(run->worker->all->store, hn_db_ingest, &batch, err);
    if (!rc) {
        memcpy(run->requested, batch.requested, sizeof run->requested);
        run->checkpoint_bytes = batch.checkpoint_bytes;
        atomic_fetch_add(&run->worker->all->figures.steps, batch.steps > 0 ? batch.steps : 0);
        atomic_fetch_add(&run->worker->all->figures.tokens, batch.tokens > 0 ? batch.tokens : 0);
        run->offset += (int64_t)text.size;
        if (text.size)
            run->last_growth = run->last_work = hn_time_tick();
        if (batch.skipped)
            hn_log(HN_LOG_WARNING, "lines of events.jsonl skipped", "job", run->id, "lines",
                HN_N(batch.skipped), NULL);
    }
    *more = !rc && text.size > 0;
    if (rc == HN_E_CONFLICT && batch.from != run->offset) {
        /* written after all by a commit that seemed to fail */
        run->offset = batch.from;
        *more = true;
        rc = 0;
    }
    hn_buf_free(&text);
    return rc;
}

static void ingest_all(struct run *run) {
    bool more = true;
    while (more) {
        struct hn_error err = {0};
        if (ingest(run, &more, &err)) {
            hn_log(
                HN_LOG_ERROR, "cannot ingest events", "job", run->id, "error", err.message, NULL);
            return;
        }
    }
}

/* SIGTERM first; a cancelled run gets a second one (leave at once) after half the grace; SIGKILL at
 * its end. */
static void press(struct run *run, const char *why) {
    const struct hn_workers *all = run->worker->all;
    const struct hn_executor *executor = all->executor;
    int64_t now = hn_time_tick();
    if (run->process.pidfd < 0)
        executor->attach(run->dir, &run->process);
    if (!run->term_at) {
        int64_t grace =
            all->config->grace_seconds * 1000 + run->checkpoint_bytes * 1000 / GRACE_BYTES_A_SECOND;
        hn_log(HN_LOG_INFO, "trainer asked to stop", "job", run->id, "why", why, NULL);
        executor->signal(&run->process, SIGTERM);
        run->term_at = now;
        run->kill_at = now + grace;
    } else if (now >= run->kill_at) {
        hn_log(HN_LOG_WARNING, "trainer killed: the grace is over", "job", run->id, NULL);
        executor->signal(&run->process, SIGKILL);
        run->kill_at = now + 5000;
    } else if (!run->nudged && strcmp(why, "cancel") == 0 &&
        now > run->term_at + (run->kill_at - run->term_at) / 2) {
        executor->signal(&run->process, SIGTERM);
        run->nudged = true;
    }
}

/* A living trainer computes, however slow its steps are; one that was stopped, or waits for ever,
 * does not. */
static void look_at_usage(struct run *run) {
    const struct hn_executor *executor = run->worker->all->executor;
    int64_t now = hn_time_tick(), cpu_ms, bytes;
    if (now - run->looked < USAGE_MS)
        return;
    run->looked = now;
    if (run->process.pidfd < 0)
        executor->attach(run->dir, &run->process);
    if (!executor->usage(&run->process, &cpu_ms, &bytes))
        return;
    if (cpu_ms - run->cpu_ms >= 10) { /* the kernel counts in such steps */
        run->last_work = now;
        run->cpu_ms = cpu_ms;
    }
    if (!run->greedy && run->peak_bytes < INT64_MAX / 4 &&
        bytes > 2 * run->peak_bytes + MEMORY_SLACK) {
        run->greedy = true;
        snprintf(run->code, sizeof run->code, "memory_exceeded");
        snprintf(run->message, sizeof run->message,
            "the trainer used %lld MB of memory where %lld MB were planned, and was stopped before "
            "it took what others need",
            (long long)(bytes >> 20), (long long)(run->peak_bytes >> 20));
        executor->signal(&run->process, SIGKILL);
    }
}

static bool is_hung(const struct run *run, int64_t *ret_silent) {
    int64_t now = hn_time_tick(), limit = run->worker->all->config->hang_seconds * 1000;
    *ret_silent = now - run->last_growth;
    return now - run->last_work > limit || *ret_silent > limit * BUSY_FACTOR;
}

static void control(struct run *run) {
    const struct hn_workers *all = run->worker->all;
    int64_t silent;
    look_at_usage(run);
    if (run->requested[0]) {
        press(run, run->requested);
    } else if (atomic_load(&all->draining)) {
        press(run, "shutdown");
    } else if (run->term_at && !run->hung) {
        press(run, "resume"); /* asked to stop, then not any more: it is on its way out */
    } else if (run->hung || is_hung(run, &silent)) {
        if (!run->hung)
            snprintf(run->message, sizeof run->message,
                "the trainer told nothing for %lld seconds and was stopped; hang_seconds is how "
                "long one may do nothing",
                (long long)(silent / 1000));
        run->hung = true;
        snprintf(run->code, sizeof run->code, "hung");
        press(run, "hung");
    }
}

static void wait_a_little(struct run *run) {
    struct pollfd p[2] = {
        {.fd = run->worker->wake, .events = POLLIN}, {.fd = run->process.pidfd, .events = POLLIN}};
    poll(p, 2, TICK_MS); /* a negative pidfd is ignored */
    clear_wake(run->worker->wake);
}

/* Follows a living trainer to its end. False when the daemon leaves before. */
static bool follow(struct run *run) {
    const struct hn_workers *all = run->worker->all;
    run->last_growth = run->last_work = hn_time_tick();
    while (all->executor->alive(run->dir)) {
        if (atomic_load(&all->abandoned))
            return false;
        ingest_all(run);
        control(run);
        wait_a_little(run);
    }
    int status = all->executor->release(&run->process);
    ingest_all(run);
    /* Where not even its last event could be written. */
    if (status == HN_EXIT_RESOURCES && !run->code[0])
        snprintf(run->code, sizeof run->code, "%s", hn_error_name(HN_E_DISK_FULL));
    return true;
}

static int begin(struct run *run, struct hn_error *err) {
    struct hn_workers *all = run->worker->all;
    struct hn_job job;
    hn_job_init(&job);
    struct hn_db *db = hn_store_read(all->store, err);
    int rc = db ? hn_db_job_get(db, run->id, &job, err) : HN_E_INTERNAL;
    if (!rc)
        run->offset = job.ingested_bytes;
    run->peak_bytes = rc ? INT64_MAX : job.peak_bytes;
    if (!rc && all->executor->alive(run->dir)) {
        all->executor->attach(run->dir, &run->process);
        run->had_trainer = true;
        hn_log(HN_LOG_INFO, "attached to a running trainer", "job", run->id, "pid",
            HN_N(run->process.pid), NULL);
    } else if (!rc && run->worker->job[0] == 0) {
        int64_t threads = all->config->threads / all->config->slots;
        rc = hn_rundir_prepare(
            all->seen, all->config->state, &job, db, threads > 0 ? threads : 1, err);
        if (!rc)
            rc = hn_record_note(all->config->state, db, "runs", run->id, err);
        if (!rc)
            rc = all->executor->spawn(
                run->dir, all->config->confine ? &all->confinement : NULL, &run->process, err);
        run->had_trainer = !rc;
        if (!rc)
            hn_log(HN_LOG_INFO, "trainer started", "job", run->id, "pid", HN_N(run->process.pid),
                "attempt", HN_N(job.attempts), NULL);
    }
    hn_store_release(all->store, db);
    hn_job_finish(&job);
    return rc;
}

static bool has_finished(const struct run *run) {
    struct hn_store *store = run->worker->all->store;
    struct hn_job job;
    hn_job_init(&job);
    struct hn_db *db = hn_store_read(store, NULL);
    bool finished = db && hn_db_job_get(db, run->id, &job, NULL) == 0 && job.verdict &&
        strcmp(job.verdict, "finished") == 0;
    hn_store_release(store, db);
    hn_job_finish(&job);
    return finished;
}

static void settle(struct run *run) {
    struct hn_workers *all = run->worker->all;
    hn_rundir_tidy(run->dir);
    if (has_finished(run))
        hn_rundir_forget_tokens(run->dir);
    struct hn_job_settle settle = {.id = run->id,
        .draining = atomic_load(&all->draining),
        .had_trainer = run->had_trainer,
        .code = run->code[0] ? run->code : NULL,
        .message = run->message};
    struct hn_error err = {0};
    /* The job's end must not be lost to a full disk: try until it is written or the daemon
     * leaves. */
    while (hn_store_call(all->store, hn_db_job_settle, &settle, &err) &&
        !atomic_load(&all->draining)) {
        hn_log(HN_LOG_ERROR, "cannot settle a job", "job", run->id, "error", err.message, NULL);
        poll(NULL, 0, IDLE_MS);
    }
    hn_record_update(all->config->state, all->store, "runs", run->id);
    hn_log(HN_LOG_INFO, "run ended", "job", run->id, NULL);
}

/* The job's run from here to its settled end. The worker's `job` is set when it was running before
 * this daemon. */
static void run_job(struct worker *worker, const char *id) {
    struct hn_workers *all = worker->all;
    struct run *run = hn_calloc(1, sizeof *run);
    struct hn_error err = {0};
    if (!run)
        return;
    run->worker = worker;
    run->id = id;
    run->fd = -1;
    run->process.pidfd = -1;
    hn_state_path(run->dir, all->config->state, "runs", id, NULL);
    atomic_fetch_add(&all->busy, 1);
    int rc = begin(run, &err);
    if (rc) {
        hn_log(HN_LOG_ERROR, "cannot start a run", "job", id, "error", err.message, NULL);
        snprintf(run->code, sizeof run->code, "%s", hn_error_name(rc));
        snprintf(run->message, sizeof run->message, "%.500s", err.message);
    }
    bool ended = follow(run);
    if (ended)
        settle(run);
    if (run->fd >= 0)
        close(run->fd);
    if (!ended && run->process.pidfd >= 0)
        close(run->process.pidfd);
    free(run);
    atomic_fetch_sub(&all->busy, 1);
}

static bool leaving(const struct hn_workers *all) {
    return atomic_load(&all->draining) || atomic_load(&all->abandoned);
}

static void claim_and_run(struct worker *worker) {
    struct hn_workers *all = worker->all;
    struct hn_job_claim claim = {
        .limits = {.memory = all->config->memory,
            .now = hn_time_ms(),
            .disk_free = hn_machine_disk_free(all->config->state) - all->config->disk_reserve}};
    struct hn_error err = {0};
    int rc = hn_store_call(all->store, hn_db_job_claim, &claim, &err);
    if (!rc && claim.id[0]) {
        hn_log(HN_LOG_INFO, "job claimed", "job", claim.id, "slot", HN_N(worker->number), NULL);
        hn_histogram_add(&all->figures.waits, hn_bounds_slow, claim.waited_ms * 1000);
        run_job(worker, claim.id);
        return;
    }
    if (rc)
        hn_log(HN_LOG_ERROR, "cannot claim a job", "error", err.message, NULL);
    struct pollfd p = {.fd = worker->wake, .events = POLLIN};
    /* delays end and disks get room by themselves; an empty queue does not fill */
    poll(&p, 1, rc || claim.waiting ? IDLE_MS : -1);
    clear_wake(worker->wake);
}

static void *run_worker(void *arg) {
    struct worker *worker = arg;
    struct hn_workers *all = worker->all;
    if (worker->job[0])
        run_job(worker, worker->job);
    worker->job[0] = 0;
    while (!worker->once && !leaving(all))
        claim_and_run(worker);
    if (atomic_fetch_sub(&all->living, 1) == 1) {
        pthread_mutex_lock(&all->lock);
        void (*done)(void *) = all->done;
        all->done = NULL;
        pthread_mutex_unlock(&all->lock);
        if (done)
            done(all->arg);
    }
    return NULL;
}

static int start_all(struct hn_workers *all, struct hn_error *err) {
    sigset_t set, old;
    sigfillset(&set);
    pthread_sigmask(SIG_SETMASK, &set, &old); /* signals belong to the loop */
    int rc = 0;
    for (size_t i = 0; i < all->n && !rc; i++) {
        struct worker *worker = &all->list[i];
        atomic_fetch_add(&all->living, 1);
        worker->started = pthread_create(&worker->thread, NULL, run_worker, worker) == 0;
        if (!worker->started) {
            atomic_fetch_sub(&all->living, 1);
            rc = hn_fail(err, HN_E_INTERNAL, "cannot start a worker thread");
        }
    }
    pthread_sigmask(SIG_SETMASK, &old, NULL);
    return rc;
}

int hn_workers_create(const struct hn_config *config, struct hn_store *store, struct hn_seen *seen,
    struct hn_workers **ret, struct hn_error *err) {
    struct hn_workers *all = hn_calloc(1, sizeof *all);
    char(*running)[HN_ID_SIZE] = NULL;
    size_t n_running = 0, slots = (size_t)config->slots;
    if (!all)
        return hn_fail(err, HN_E_INTERNAL, "out of memory");
    all->config = config;
    all->store = store;
    all->seen = seen;
    all->executor = &hn_executor_local;
    all->confinement = (struct hn_confinement){config->state, config->model_dirs};
    pthread_mutex_init(&all->lock, NULL);
    struct hn_db *db = hn_store_read(store, err);
    int rc = db ? hn_db_jobs_running(db, &running, &n_running, err) : HN_E_INTERNAL;
    hn_store_release(store, db);
    all->n = n_running > slots ? n_running : slots;
    if (!rc && !(all->list = hn_calloc(all->n, sizeof *all->list)))
        rc = hn_fail(err, HN_E_INTERNAL, "out of memory");
    if (!all->list)
        all->n = 0;
    for (size_t i = 0; i < all->n; i++) {
        struct worker *worker = &all->list[i];
        *worker = (struct worker){.all = all, .number = (int)i, .once = i >= slots, .wake = -1};
        if (i < n_running)
            memcpy(worker->job, running[i], HN_ID_SIZE);
        worker->wake = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
        if (worker->wake < 0 && !rc)
            rc = hn_fail_errno(err, errno, "cannot make an eventfd");
    }
    free(running);
    all->subscription = (struct hn_subscription){.fn = on_commit, .ud = all};
    hn_store_subscribe(store, &all->subscription);
    if (!rc)
        rc = start_all(all, err);
    if (rc) {
        hn_workers_abandon(all);
        hn_workers_destroy(all);
        return rc;
    }
    *ret = all;
    return 0;
}

void hn_workers_drain(struct hn_workers *workers, void (*done)(void *arg), void *arg) {
    pthread_mutex_lock(&workers->lock);
    workers->arg = arg;
    bool gone = atomic_load(&workers->living) == 0;
    if (!gone)
        workers->done = done;
    pthread_mutex_unlock(&workers->lock);
    atomic_store(&workers->draining, true);
    wake_all(workers);
    if (gone)
        done(arg);
}

void hn_workers_abandon(struct hn_workers *workers) {
    atomic_store(&workers->abandoned, true);
    wake_all(workers);
}

void hn_workers_destroy(struct hn_workers *workers) {
    if (!workers)
        return;
    hn_store_unsubscribe(workers->store, &workers->subscription);
    for (size_t i = 0; i < workers->n; i++) {
        if (workers->list[i].started)
            pthread_join(workers->list[i].thread, NULL);
        if (workers->list[i].wake >= 0)
            close(workers->list[i].wake);
    }
    pthread_mutex_destroy(&workers->lock);
    free(workers->list);
    free(workers);
}

int hn_workers_busy(struct hn_workers *workers) {
    return atomic_load(&workers->busy);
}

const struct hn_worker_figures *hn_workers_figures(const struct hn_workers *workers) {
    return &workers->figures;
}
