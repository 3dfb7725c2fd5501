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

/* Called on the store thread after a commit, once per job whose record or events changed. */
typedef void (*hn_store_commit_fn)(void *ud, const char *job);
/* Runs on the store thread inside a transaction; a failure undoes what it did and nothing else. */
typedef int (*hn_store_fn)(struct hn_db *db, void *arg, struct hn_error *err);

/* Opens (creating and migrating) STATE/hone.db and starts the thread. HN_E_CONFLICT when hone.db
 * cannot be the store of the folders beside it; see store_identity.h. */
int hn_store_create(const char *state, hn_store_commit_fn on_commit, void *ud,
    struct hn_store **ret, struct hn_error *err);
/* The same whatever the folders say: for `honed rebuild`, which makes the store from them. */
int hn_store_create_anew(const char *state, struct hn_store **ret, struct hn_error *err);
void hn_store_destroy(struct hn_store *store);
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
