/* The store thread and the pool of readers; see store.h. */
#include "server/store/store.h"
#include "server/base/log.h"
#include "server/base/state.h"
#include "server/store/store_backup.h"
#include "server/store/store_db.h"
#include "server/store/store_identity.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define LOG_IDLE_SECONDS 1
#define LOG_BUSY_MS 5000

/* One waiting call; lives on the caller's stack. */
struct call {
    hn_store_fn fn;
    void *arg;
    struct hn_error err;
    int rc;
    bool done;
    struct call *next;
    struct hn_touched touched[HN_TOUCHED_MAX];
    size_t n_touched;
};

struct hn_store {
    char path[HN_PATH_SIZE];
    struct hn_db *writer; /* the store thread's own */
    pthread_t thread;
    bool started;
    pthread_mutex_t subscribers_lock; /* held while they are called */
    struct hn_subscription *subscribers;
    struct hn_histogram commits;
    struct hn_places places;
    bool log_grew; /* since it was last moved; the store thread's own */
    int64_t moved; /* tick of that */

    pthread_mutex_t lock; /* guards all below and every call's rc and done */
    pthread_cond_t arrived, finished;
    struct call *first, **last;
    bool stop;
    struct hn_db *readers; /* idle ones */
};

static void run_one(struct hn_db *db, struct call *call) {
    struct hn_error *err = &call->err;
    db->n_touched = 0;
    call->rc = hn_db_run(db, err, "SAVEPOINT one", "");
    if (call->rc)
        return;
    call->rc = call->fn(db, call->arg, err);
    if (call->rc)
        hn_db_run(db, NULL, "ROLLBACK TO one", "");
    int rc = hn_db_run(db, call->rc ? NULL : err, "RELEASE one", "");
    if (!call->rc)
        call->rc = rc;
    if (!call->rc) {
        memcpy(call->touched, db->touched, sizeof call->touched);
        call->n_touched = db->n_touched;
    }
}

/* Everything that waits becomes one transaction, so one fsync. */
static void run_group(struct hn_db *db, struct call *group) {
    struct hn_error err = {0};
    int rc = hn_db_script(db, "BEGIN IMMEDIATE", &err);
    for (struct call *call = group; call && !rc; call = call->next) {
        run_one(db, call);
        /* Some failures (no memory, no disk) undo the whole transaction: the next savepoint would
         * be one of its own. */
        if (!hn_db_in_transaction(db))
            rc = hn_fail(&err, HN_E_INTERNAL, "the store gave up the transaction: %.200s",
                call->err.message);
    }
    if (!rc && (rc = hn_db_script(db, "COMMIT", &err)))
        hn_db_script(db, "ROLLBACK", NULL);
    for (struct call *call = group; call && rc; call = call->next) {
        if (call->rc) /* it knows better why: its failure may have ended the transaction */
            continue;
        call->rc = rc;
        call->err = err;
    }
    if (rc)
        hn_log(HN_LOG_ERROR, "the store could not commit", "error", err.message, NULL);
}

/*
 * What was committed lies in the log (hone.db-wal) until it is moved into hone.db; whoever copies
 * or loses the one file of the two has the other as it was. So the log is moved soon: after a
 * second without commits, and every few seconds among them. Readers are not waited for; what they
 * hold back is moved the next time.
 */
static void move_log(struct hn_store *store) {
    if (hn_db_script(store->writer, "PRAGMA wal_checkpoint(PASSIVE)", NULL) == 0)
        store->moved = hn_time_tick();
    store->log_grew = false;
}

/* While nothing is asked. What was given back is in the log, which is moved the next time. */
static void rest(struct hn_store *store) {
    bool shrunk = hn_db_shrink(store->writer);
    move_log(store);
    store->log_grew = shrunk;
}

/* With the lock held: until there is work, or nothing but the log to be moved. */
static void wait_for_work(struct hn_store *store) {
    struct timespec until;
    clock_gettime(CLOCK_MONOTONIC, &until);
    until.tv_sec += LOG_IDLE_SECONDS;
    while (!store->first && !store->stop) {
        if (!store->log_grew) {
            pthread_cond_wait(&store->arrived, &store->lock);
        } else if (pthread_cond_clockwait(&store->arrived, &store->lock, CLOCK_MONOTONIC, &until) ==
            ETIMEDOUT) {
            pthread_mutex_unlock(&store->lock);
            rest(store);
            pthread_mutex_lock(&store->lock);
            clock_gettime(CLOCK_MONOTONIC, &until);
            until.tv_sec += LOG_IDLE_SECONDS;
        }
    }
}

static void tell_subscribers(struct hn_store *store, const struct call *group) {
    pthread_mutex_lock(&store->subscribers_lock);
    for (const struct call *call = group; call; call = call->next)
        for (size_t i = 0; !call->rc && i < call->n_touched; i++)
            for (const struct hn_subscription *s = store->subscribers; s; s = s->next)
                s->fn(s->ud, call->touched[i].job, call->touched[i].what);
    pthread_mutex_unlock(&store->subscribers_lock);
}

static void *run_thread(void *arg) {
    struct hn_store *store = arg;
    pthread_mutex_lock(&store->lock);
    for (;;) {
        wait_for_work(store);
        if (!store->first)
            break;
        struct call *group = store->first;
        store->first = NULL;
        store->last = &store->first;
        pthread_mutex_unlock(&store->lock);
        int64_t began = hn_time_micros();
        run_group(store->writer, group);
        hn_histogram_add(&store->commits, hn_bounds_quick, hn_time_micros() - began);
        atomic_fetch_add(&store->places.commits, 1);
        tell_subscribers(store, group);
        pthread_mutex_lock(&store->lock);
        for (struct call *call = group, *next; call; call = next) {
            next = call->next; /* the caller's stack may be gone once done is seen */
            call->done = true;
        }
        pthread_cond_broadcast(&store->finished);
        store->log_grew = true;
        if (hn_time_tick() - store->moved > LOG_BUSY_MS) {
            pthread_mutex_unlock(&store->lock);
            move_log(store);
            pthread_mutex_lock(&store->lock);
        }
    }
    pthread_mutex_unlock(&store->lock);
    return NULL;
}

/* In one transaction: two processes that open a new folder agree on one id. */
static int identify(struct hn_db *db, const char *state, bool anew, struct hn_error *err) {
    int rc = hn_db_script(db, "BEGIN IMMEDIATE", err);
    if (rc)
        return rc;
    rc = anew ? hn_identity_adopt(db, state, err) : hn_identity_check(db, state, err);
    if (!rc)
        rc = hn_db_script(db, "COMMIT", err);
    if (rc)
        hn_db_script(db, "ROLLBACK", NULL);
    return rc;
}

static int create(const char *state, bool anew, struct hn_store **ret, struct hn_error *err) {
    struct hn_store *store = hn_calloc(1, sizeof *store);
    if (!store)
        return hn_fail(err, HN_E_INTERNAL, "out of memory");
    pthread_mutex_init(&store->lock, NULL);
    pthread_mutex_init(&store->subscribers_lock, NULL);
    pthread_mutex_init(&store->places.lock, NULL);
    store->places.version = -1;
    pthread_cond_init(&store->arrived, NULL);
    pthread_cond_init(&store->finished, NULL);
    store->last = &store->first;
    int rc = hn_state_path(store->path, state, "hone.db", NULL, NULL)
        ? 0
        : hn_fail(err, HN_E_INTERNAL, "path too long");
    if (!rc && !anew)
        rc = hn_identity_expect(state, err);
    if (!rc)
        rc = hn_db_open(store->path, true, &store->writer, err);
    if (!rc)
        rc = hn_db_migrate(store->writer, err);
    if (!rc && hn_db_make_shrinkable(store->writer, NULL)) {
        /* Another process has the store open, or the disk is full: the next start tries again. */
    }
    if (!rc)
        rc = identify(store->writer, state, anew, err);
    sigset_t all, old;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &old); /* signals belong to the loop */
    if (!rc && pthread_create(&store->thread, NULL, run_thread, store))
        rc = hn_fail(err, HN_E_INTERNAL, "cannot start the store thread");
    pthread_sigmask(SIG_SETMASK, &old, NULL);
    store->started = !rc;
    if (rc) {
        hn_store_destroy(store);
        return rc;
    }
    *ret = store;
    return 0;
}

int hn_store_create(const char *state, struct hn_store **ret, struct hn_error *err) {
    return create(state, false, ret, err);
}

int hn_store_create_anew(const char *state, struct hn_store **ret, struct hn_error *err) {
    return create(state, true, ret, err);
}

void hn_store_destroy(struct hn_store *store) {
    if (!store)
        return;
    if (store->started) {
        pthread_mutex_lock(&store->lock);
        store->stop = true;
        pthread_cond_signal(&store->arrived);
        pthread_mutex_unlock(&store->lock);
        pthread_join(store->thread, NULL);
    }
    for (struct hn_db *db = store->readers, *next; db; db = next) {
        next = db->next;
        hn_db_close(db);
    }
    hn_db_close(store->writer); /* last: it moves the log into the file and removes it */
    pthread_cond_destroy(&store->finished);
    pthread_cond_destroy(&store->arrived);
    pthread_mutex_destroy(&store->lock);
    pthread_mutex_destroy(&store->subscribers_lock);
    pthread_mutex_destroy(&store->places.lock);
    free(store->places.jobs);
    free(store);
}

void hn_store_subscribe(struct hn_store *store, struct hn_subscription *subscription) {
    pthread_mutex_lock(&store->subscribers_lock);
    subscription->next = store->subscribers;
    store->subscribers = subscription;
    pthread_mutex_unlock(&store->subscribers_lock);
}

void hn_store_unsubscribe(struct hn_store *store, struct hn_subscription *subscription) {
    pthread_mutex_lock(&store->subscribers_lock);
    struct hn_subscription **link = &store->subscribers;
    while (*link && *link != subscription)
        link = &(*link)->next;
    if (*link)
        *link = subscription->next;
    pthread_mutex_unlock(&store->subscribers_lock);
}

int hn_store_call(struct hn_store *store, hn_store_fn fn, void *arg, struct hn_error *err) {
    struct call call = {.fn = fn, .arg = arg};
    pthread_mutex_lock(&store->lock);
    *store->last = &call;
    store->last = &call.next;
    pthread_cond_signal(&store->arrived);
    while (!call.done)
        pthread_cond_wait(&store->finished, &store->lock);
    pthread_mutex_unlock(&store->lock);
    if (call.rc && err)
        *err = call.err;
    return call.rc;
}

struct hn_db *hn_store_read(struct hn_store *store, struct hn_error *err) {
    pthread_mutex_lock(&store->lock);
    struct hn_db *db = store->readers;
    if (db)
        store->readers = db->next;
    pthread_mutex_unlock(&store->lock);
    if (!db && hn_db_open(store->path, false, &db, err))
        return NULL;
    db->next = NULL;
    db->places = &store->places;
    return db;
}

void hn_store_release(struct hn_store *store, struct hn_db *db) {
    if (!db)
        return;
    pthread_mutex_lock(&store->lock);
    db->next = store->readers;
    store->readers = db;
    pthread_mutex_unlock(&store->lock);
}

const struct hn_histogram *hn_store_commits(const struct hn_store *store) {
    return &store->commits;
}

int64_t hn_store_version(struct hn_store *store) {
    return atomic_load(&store->places.commits);
}
