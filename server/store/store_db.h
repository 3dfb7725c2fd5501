/*
 * What the store_*.c files share: prepared statements with bound arguments in one call.
 *
 * `types` has one letter an argument: s text (NULL gives SQL NULL), i int64_t, d double (NaN gives
 * NULL). Statements are prepared once per connection and kept.
 */
#ifndef HN_SERVER_STORE_STORE_DB_H
#define HN_SERVER_STORE_STORE_DB_H

#include "engine/engine.h"
#include "server/base/id.h"

#include <pthread.h>
#include <stdatomic.h>

struct sqlite3;
struct sqlite3_stmt;

struct hn_statement {
    char *sql;
    struct sqlite3_stmt *stmt;
    bool busy;
};

/* The queue as it was at one version of the store, for all readers to look places up in; see
 * hn_db_job_position. */
struct hn_places {
    atomic_int_fast64_t commits; /* of the store so far: its version */
    pthread_mutex_t lock;        /* guards all below */
    int64_t version;             /* that was last looked at; -1: none */
    int64_t at;                  /* tick when it was read */
    bool filled;                 /* `jobs` is the queue of some version */
    struct {
        int64_t priority, n;
    } * jobs; /* in their order */
    size_t n_jobs, capacity;
};

/* A job that a function changed, and what of it (enum hn_commit). */
#define HN_TOUCHED_MAX 8
struct hn_touched {
    char job[HN_ID_SIZE];
    unsigned what;
};

struct hn_db {
    struct sqlite3 *handle;
    struct hn_places *places; /* the store's; NULL: of a connection that no store made */
    struct hn_statement cache[160];
    size_t n_cache;
    struct hn_touched touched[HN_TOUCHED_MAX]; /* by the running function; hn_db_touch */
    size_t n_touched;
    struct hn_db *next; /* in the pool of readers */
};

struct hn_rows {
    struct hn_db *db;
    struct sqlite3_stmt *stmt;
    struct hn_statement *cached; /* NULL: finalized at close */
};

bool hn_db_in_transaction(const struct hn_db *db);
int hn_db_open(const char *path, bool writer, struct hn_db **ret, struct hn_error *err);
void hn_db_close(struct hn_db *db);
int hn_db_migrate(struct hn_db *db, struct hn_error *err);
int hn_db_script(struct hn_db *db, const char *sql, struct hn_error *err);

int hn_db_run(struct hn_db *db, struct hn_error *err, const char *sql, const char *types, ...);
int64_t hn_db_changes(struct hn_db *db);
int64_t hn_db_last_id(struct hn_db *db);
bool hn_db_is_duplicate(struct hn_db *db); /* the last failure was a broken UNIQUE */
/* One number of one row; `missing` when there is no row or it is NULL. */
int hn_db_number(struct hn_db *db, int64_t missing, int64_t *ret, struct hn_error *err,
    const char *sql, const char *types, ...);
/* The first column of all rows, as a new array of strings. */
int hn_db_texts(struct hn_db *db, json_t **ret, struct hn_error *err, const char *sql);
/* Notes for the subscribers that the running function changed the job. */
void hn_db_touch(struct hn_db *db, const char *job, unsigned what);

int hn_rows_open(struct hn_rows *rows, struct hn_db *db, struct hn_error *err, const char *sql,
    const char *types, ...);
/* 1 a row, 0 the end, negative an error */
int hn_rows_next(struct hn_rows *rows, struct hn_error *err);
/* borrowed until the next step; NULL for NULL */
const char *hn_rows_text(struct hn_rows *rows, int column);
int64_t hn_rows_int(struct hn_rows *rows, int column);
double hn_rows_real(struct hn_rows *rows, int column); /* NaN for NULL */
bool hn_rows_null(struct hn_rows *rows, int column);
void hn_rows_close(struct hn_rows *rows);

#endif
