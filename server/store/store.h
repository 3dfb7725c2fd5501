/*
 * Room server/store. SQLite: one writer thread, many readers; and the copies of its records beside
 * the folders.
 *
 * Nouns: store, record, migration, identity, queue (which job is next).
 * Ownership: A reader is given back with hn_store_release.
 * May include: engine server/base.
 */

/*
 * The store: SQLite, one writer thread, many readers.
 *
 * One thread owns the writing connection. Callers hand it a function; it runs all that wait inside
 * one transaction, each in a savepoint of its own, and commits once (WAL, synchronous=FULL): a
 * hundred submissions cost one fsync, and a caller that returned from hn_store_call has its change
 * on disk. Reads take a read-only connection from a pool and see the last commit.
 *
 * A function that runs in the store must not block on anything but the store.
 * sqlite3.h is included by store*.c only; everyone else sees the typed functions of store_*.h.
 */
#ifndef HN_SERVER_STORE_STORE_H
#define HN_SERVER_STORE_STORE_H

#include "engine/engine.h"
#include "server/base/prometheus.h"
#include "server/base/id.h"

struct hn_db;
struct hn_store;

/* What a commit brought about a job, or-ed. */
enum hn_commit {
    HN_COMMIT_QUEUED = 1,     /* it came into the queue: new, resumed or requeued */
    HN_COMMIT_STATE = 2,      /* its status, or what is asked of it, changed */
    HN_COMMIT_ENDED = 4,      /* it ended */
    HN_COMMIT_CHECKPOINT = 8, /* it has a new checkpoint */
    HN_COMMIT_METRICS = 16,   /* it has new rows of metrics */
    HN_COMMIT_EVENTS = 32,    /* it has other new events */
    HN_COMMIT_SWEEP = 64      /* it is no job but a sweep, whose state changed */
};
/* Called on the store thread after a commit, before those return who asked for it, once per call of
 * the store and job that it changed. It must not block, nor call the store. */
typedef void (*hn_store_commit_fn)(void *ud, const char *job, unsigned what);
/* The subscriber's own, until it is taken back or the store is destroyed. */
struct hn_subscription {
    hn_store_commit_fn fn;
    void *ud;
    struct hn_subscription *next;
};
/* Runs on the store thread inside a transaction; a failure undoes what it did and nothing else. */
typedef int (*hn_store_fn)(struct hn_db *db, void *arg, struct hn_error *err);

/* Opens (creating and migrating) STATE/hone.db and starts the thread. HN_E_CONFLICT when hone.db
 * cannot be the store of the folders beside it; see store_identity.h. */
int hn_store_create(const char *state, struct hn_store **ret, struct hn_error *err);
/* The same whatever the folders say: for `honed rebuild`, which makes the store from them. */
int hn_store_create_anew(const char *state, struct hn_store **ret, struct hn_error *err);
void hn_store_destroy(struct hn_store *store);
/* Any thread. Once unsubscribed it is called no more; harmless when it never was subscribed. */
void hn_store_subscribe(struct hn_store *store, struct hn_subscription *subscription);
void hn_store_unsubscribe(struct hn_store *store, struct hn_subscription *subscription);
/* Blocks until fn's work is committed or refused. Any thread but the loop's. */
int hn_store_call(struct hn_store *store, hn_store_fn fn, void *arg, struct hn_error *err);
/* A read-only connection for one thread; NULL with *err filled when none can be opened. Give it
 * back. */
struct hn_db *hn_store_read(struct hn_store *store, struct hn_error *err);
void hn_store_release(struct hn_store *store, struct hn_db *db);
/* Counts the commits: what was read at the same version is the same. */
int64_t hn_store_version(struct hn_store *store);
/* How long the transactions took, each with all the calls in it, until they were on disk. */
const struct hn_histogram *hn_store_commits(const struct hn_store *store);

#endif
