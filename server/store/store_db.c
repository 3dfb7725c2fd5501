/* Connections, migrations and prepared statements; see store_db.h. */
#include "server/store/store_db.h"
#include "server/base/embedded.h"

#include <math.h>
#include <sqlite3.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static int fail(struct hn_db *db, struct hn_error *err, const char *what) {
    int code = sqlite3_errcode(db->handle);
    const char *text = sqlite3_errmsg(db->handle);
    if (code == SQLITE_FULL) {
        hn_fail(err, HN_E_DISK_FULL, "the store cannot grow: %s", text);
        hn_error_hint(err, "free some space on the disk of the state folder");
        return HN_E_DISK_FULL;
    }
    if (code == SQLITE_BUSY)
        return hn_fail(err, HN_E_BUSY, "the store is locked by another process");
    if (code == SQLITE_CORRUPT || code == SQLITE_NOTADB) {
        hn_fail(err, HN_E_INTERNAL, "hone.db is damaged: %s", text);
        hn_error_hint(err,
            "stop the server; restore the latest backup that `honed check` finds whole, or make a "
            "store from the folders with `honed rebuild`");
        return HN_E_INTERNAL;
    }
    return hn_fail(err, HN_E_INTERNAL, "the store: %.80s: %s", what, text);
}

bool hn_db_in_transaction(const struct hn_db *db) {
    return !sqlite3_get_autocommit(db->handle);
}

int hn_db_script(struct hn_db *db, const char *sql, struct hn_error *err) {
    return sqlite3_exec(db->handle, sql, NULL, NULL, NULL) == SQLITE_OK ? 0 : fail(db, err, sql);
}

int hn_db_open(const char *path, bool writer, struct hn_db **ret, struct hn_error *err) {
    struct hn_db *db = hn_calloc(1, sizeof *db);
    if (!db)
        return hn_fail(err, HN_E_INTERNAL, "out of memory");
    int flags = writer ? SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE : SQLITE_OPEN_READONLY, rc;
    if (sqlite3_open_v2(path, &db->handle, flags | SQLITE_OPEN_NOMUTEX, NULL) != SQLITE_OK) {
        rc = hn_fail(err, HN_E_INTERNAL, "cannot open %.300s: %s", path,
            db->handle ? sqlite3_errmsg(db->handle) : "out of memory");
        hn_db_close(db);
        return rc;
    }
    if (writer && sqlite3_db_readonly(db->handle, "main") == 1) {
        /* SQLite falls back to that by itself */
        hn_fail(err, HN_E_INTERNAL, "the store %.300s cannot be written", path);
        hn_error_hint(err,
            "it must belong to the user that the server runs as, on a disk that may be written");
        hn_db_close(db);
        return HN_E_INTERNAL;
    }
    sqlite3_busy_timeout(db->handle, 15000);
    /* A queue of 100,000 does not fit the usual cache of 2 MB, and a log of 4 MB was moved into the
     * file twenty times a second. */
    rc = hn_db_script(db,
        writer ? "PRAGMA auto_vacuum=INCREMENTAL; PRAGMA journal_mode=WAL; PRAGMA "
                 "synchronous=FULL; PRAGMA foreign_keys=ON; PRAGMA temp_store=MEMORY; PRAGMA "
                 "cache_size=-8000; PRAGMA wal_autocheckpoint=4000"
               : "PRAGMA query_only=ON; PRAGMA temp_store=MEMORY",
        err);
    if (rc) {
        hn_db_close(db);
        return rc;
    }
    *ret = db;
    return 0;
}

void hn_db_close(struct hn_db *db) {
    if (!db)
        return;
    for (size_t i = 0; i < db->n_cache; i++) {
        sqlite3_finalize(db->cache[i].stmt);
        free(db->cache[i].sql);
    }
    sqlite3_close(db->handle);
    free(db);
}

/* Each file is one transaction; PRAGMA user_version says which is the last that was applied. */
int hn_db_migrate(struct hn_db *db, struct hn_error *err) {
    int rc = hn_db_script(db, "BEGIN IMMEDIATE", err);
    if (rc)
        return rc;
    int64_t have = 0;
    rc = hn_db_number(db, 0, &have, err, "PRAGMA user_version", "");
    size_t known = 0;
    for (const struct hn_embedded *file = hn_embedded_migrations; !rc && file->name; file++) {
        known++;
        if ((int64_t)known <= have)
            continue;
        rc = hn_db_script(db, file->data, err);
        char pragma[64];
        snprintf(pragma, sizeof pragma, "PRAGMA user_version=%zu", known);
        if (!rc)
            rc = hn_db_script(db, pragma, err);
    }
    if (!rc && have > (int64_t)known) {
        rc = hn_fail(err, HN_E_CONFLICT,
            "the state folder was written by a newer version (schema %lld, this one knows %zu)",
            (long long)have, known);
        hn_error_hint(err, "run the newer version of honed, or choose another folder with --state");
    }
    if (rc) {
        hn_db_script(db, "ROLLBACK", NULL);
        return rc;
    }
    return hn_db_script(db, "COMMIT", err);
}

static int prepare(struct hn_db *db, const char *sql, struct hn_rows *rows, struct hn_error *err) {
    struct hn_statement *slot = NULL;
    *rows = (struct hn_rows){.db = db};
    for (size_t i = 0; i < db->n_cache && !slot; i++)
        if (!db->cache[i].busy && strcmp(db->cache[i].sql, sql) == 0)
            slot = &db->cache[i];
    if (slot) {
        slot->busy = true;
        rows->cached = slot;
        rows->stmt = slot->stmt;
        return 0;
    }
    if (sqlite3_prepare_v3(db->handle, sql, -1, SQLITE_PREPARE_PERSISTENT, &rows->stmt, NULL) !=
        SQLITE_OK)
        return fail(db, err, sql);
    char *copy;
    if (db->n_cache < sizeof db->cache / sizeof db->cache[0] && (copy = strdup(sql))) {
        slot = &db->cache[db->n_cache++];
        *slot = (struct hn_statement){copy, rows->stmt, true};
        rows->cached = slot;
    }
    return 0;
}

static int bind(
    struct hn_rows *rows, struct hn_error *err, const char *sql, const char *types, va_list ap) {
    int rc = SQLITE_OK;
    for (int i = 1; *types && rc == SQLITE_OK; i++, types++) {
        if (*types == 's') {
            const char *text = va_arg(ap, const char *);
            rc = text ? sqlite3_bind_text(rows->stmt, i, text, -1, SQLITE_TRANSIENT)
                      : sqlite3_bind_null(rows->stmt, i);
        } else if (*types == 'i') {
            rc = sqlite3_bind_int64(rows->stmt, i, va_arg(ap, int64_t));
        } else {
            double value = va_arg(ap, double);
            rc = isnan(value) ? sqlite3_bind_null(rows->stmt, i)
                              : sqlite3_bind_double(rows->stmt, i, value);
        }
    }
    return rc == SQLITE_OK ? 0 : fail(rows->db, err, sql);
}

int hn_rows_open(struct hn_rows *rows, struct hn_db *db, struct hn_error *err, const char *sql,
    const char *types, ...) {
    int rc = prepare(db, sql, rows, err);
    if (rc)
        return rc;
    va_list ap;
    va_start(ap, types);
    rc = bind(rows, err, sql, types, ap);
    va_end(ap);
    if (rc)
        hn_rows_close(rows);
    return rc;
}

int hn_rows_next(struct hn_rows *rows, struct hn_error *err) {
    int rc = sqlite3_step(rows->stmt);
    if (rc == SQLITE_ROW)
        return 1;
    return rc == SQLITE_DONE ? 0 : fail(rows->db, err, sqlite3_sql(rows->stmt));
}

const char *hn_rows_text(struct hn_rows *rows, int column) {
    return (const char *)sqlite3_column_text(rows->stmt, column);
}

int64_t hn_rows_int(struct hn_rows *rows, int column) {
    return sqlite3_column_int64(rows->stmt, column);
}

double hn_rows_real(struct hn_rows *rows, int column) {
    return hn_rows_null(rows, column) ? (double)NAN : sqlite3_column_double(rows->stmt, column);
}

bool hn_rows_null(struct hn_rows *rows, int column) {
    return sqlite3_column_type(rows->stmt, column) == SQLITE_NULL;
}

void hn_rows_close(struct hn_rows *rows) {
    if (!rows->stmt)
        return;
    if (rows->cached) {
        sqlite3_reset(rows->stmt);
        sqlite3_clear_bindings(rows->stmt);
        rows->cached->busy = false;
    } else {
        sqlite3_finalize(rows->stmt);
    }
    *rows = (struct hn_rows){0};
}

/* Runs a statement up to its first row: 1 a row, 0 none, negative an error. The caller closes
 * `rows` in every case. */
static int first_row(struct hn_rows *rows, struct hn_db *db, struct hn_error *err, const char *sql,
    const char *types, va_list ap) {
    int rc = prepare(db, sql, rows, err);
    if (!rc)
        rc = bind(rows, err, sql, types, ap);
    return rc ? rc : hn_rows_next(rows, err);
}

int hn_db_run(struct hn_db *db, struct hn_error *err, const char *sql, const char *types, ...) {
    struct hn_rows rows;
    va_list ap;
    va_start(ap, types);
    int rc = first_row(&rows, db, err, sql, types, ap);
    va_end(ap);
    hn_rows_close(&rows);
    return rc < 0 ? rc : 0;
}

int hn_db_number(struct hn_db *db, int64_t missing, int64_t *ret, struct hn_error *err,
    const char *sql, const char *types, ...) {
    struct hn_rows rows;
    va_list ap;
    va_start(ap, types);
    int rc = first_row(&rows, db, err, sql, types, ap);
    va_end(ap);
    if (rc >= 0)
        *ret = rc == 1 && !hn_rows_null(&rows, 0) ? hn_rows_int(&rows, 0) : missing;
    hn_rows_close(&rows);
    return rc < 0 ? rc : 0;
}

int hn_db_texts(struct hn_db *db, json_t **ret, struct hn_error *err, const char *sql) {
    struct hn_rows rows;
    json_t *texts = json_array();
    int rc = hn_rows_open(&rows, db, err, sql, "");
    while (!rc && (rc = hn_rows_next(&rows, err)) == 1) {
        json_array_append_new(texts, json_string(hn_rows_text(&rows, 0)));
        rc = 0;
    }
    hn_rows_close(&rows);
    if (rc)
        json_decref(texts);
    else
        *ret = texts;
    return rc;
}

int64_t hn_db_changes(struct hn_db *db) {
    return sqlite3_changes(db->handle);
}

int64_t hn_db_last_id(struct hn_db *db) {
    return sqlite3_last_insert_rowid(db->handle);
}

bool hn_db_is_duplicate(struct hn_db *db) {
    int code = sqlite3_extended_errcode(db->handle);
    return code == SQLITE_CONSTRAINT_UNIQUE || code == SQLITE_CONSTRAINT_PRIMARYKEY;
}

void hn_db_touch(struct hn_db *db, const char *job, unsigned what) {
    size_t i = 0;
    while (i < db->n_touched && strcmp(db->touched[i].job, job) != 0)
        i++;
    if (i == HN_TOUCHED_MAX)
        return;
    if (i == db->n_touched) {
        snprintf(db->touched[i].job, HN_ID_SIZE, "%s", job);
        db->touched[i].what = 0;
        db->n_touched++;
    }
    db->touched[i].what |= what;
}
