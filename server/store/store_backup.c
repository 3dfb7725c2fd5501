/* The store as a whole: a copy of it while it is written to, what it says should be on the disk,
 * whether it is sound. */
#include "server/store/store_backup.h"
#include "server/store/store_db.h"

#include <sqlite3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* What the folders below STATE are called, and the records that name what is in them. */
static const struct {
    const char *folder, *names, *forget;
} kinds[] = {
    {"datasets", "SELECT DISTINCT sha256 FROM datasets", "DELETE FROM datasets WHERE sha256=?1"},
    {"models", "SELECT name FROM models", "DELETE FROM models WHERE name=?1"},
    {"runs", "SELECT id FROM jobs", "DELETE FROM jobs WHERE id=?1"},
};

static size_t kind_of(const char *folder) {
    size_t i = 0;
    while (strcmp(kinds[i].folder, folder) != 0)
        i++;
    return i;
}

int hn_db_copy(struct hn_db *db, const char *path, struct hn_error *err) {
    struct hn_db *to = NULL;
    int rc = hn_db_open(path, true, &to, err);
    if (rc)
        return rc;
    /* All pages in one step: a reader of its own sees one commit, whatever is written meanwhile. */
    sqlite3_backup *backup = sqlite3_backup_init(to->handle, "main", db->handle, "main");
    if (backup)
        sqlite3_backup_step(backup, -1);
    int code = backup ? sqlite3_backup_finish(backup) : sqlite3_errcode(to->handle);
    if (code == SQLITE_FULL)
        rc = hn_fail(err, HN_E_DISK_FULL, "there is no space for a copy of the store");
    else if (code != SQLITE_OK)
        rc = hn_fail(err, HN_E_INTERNAL, "cannot copy the store: %s", sqlite3_errstr(code));
    hn_db_close(to);
    return rc;
}

static int each_text(struct hn_db *db, const char *sql, void (*each)(void *ud, const char *text),
    void *ud, struct hn_error *err) {
    struct hn_rows rows;
    int rc = hn_rows_open(&rows, db, err, sql, "");
    while (!rc && (rc = hn_rows_next(&rows, err)) == 1) {
        const char *text = hn_rows_text(&rows, 0);
        each(ud, text ? text : "");
        rc = 0;
    }
    hn_rows_close(&rows);
    return rc;
}

static void add_text(void *ud, const char *text) {
    json_array_append_new(ud, json_string(text));
}

int hn_db_names(struct hn_db *db, const char *folder, json_t **ret, struct hn_error *err) {
    json_t *names = json_array();
    int rc = each_text(db, kinds[kind_of(folder)].names, add_text, names, err);
    if (rc)
        json_decref(names);
    else
        *ret = names;
    return rc;
}

int hn_db_forget(struct hn_db *db, void *arg, struct hn_error *err) {
    const struct hn_forget *forget = arg;
    return hn_db_run(db, err, kinds[kind_of(forget->folder)].forget, "s", forget->name);
}

#define SMALL_PAGES 65536 /* 256 MB: written anew in a moment */
#define SPARE_PAGES 128   /* that stay free for what comes next */
#define SHRINK_PAGES 4096 /* in one transaction */

int hn_db_make_shrinkable(struct hn_db *db, struct hn_error *err) {
    int64_t mode = 0, pages = 0, unused = 0;
    int rc = hn_db_number(db, 0, &mode, err, "PRAGMA auto_vacuum", "");
    if (!rc)
        rc = hn_db_number(db, 0, &pages, err, "PRAGMA page_count", "");
    if (!rc)
        rc = hn_db_number(db, 0, &unused, err, "PRAGMA freelist_count", "");
    if (rc || mode || (pages > SMALL_PAGES && unused < pages / 4))
        return rc;
    return hn_db_script(db, "PRAGMA auto_vacuum=INCREMENTAL; VACUUM", err);
}

bool hn_db_shrink(struct hn_db *db) {
    int64_t unused = 0;
    char sql[64];
    if (hn_db_number(db, 0, &unused, NULL, "PRAGMA freelist_count", "") || unused <= SPARE_PAGES)
        return false;
    int64_t some = unused - SPARE_PAGES < SHRINK_PAGES ? unused - SPARE_PAGES : SHRINK_PAGES;
    snprintf(sql, sizeof sql, "PRAGMA incremental_vacuum(%lld)", (long long)some);
    return hn_db_script(db, sql, NULL) == 0 && some == SHRINK_PAGES;
}

int hn_db_quick_check(struct hn_db *db, struct hn_error *err) {
    struct hn_rows rows;
    int rc = hn_rows_open(&rows, db, err, "PRAGMA quick_check(1)", "");
    if (!rc && (rc = hn_rows_next(&rows, err)) == 1) {
        const char *text = hn_rows_text(&rows, 0);
        rc = text && strcmp(text, "ok") == 0
            ? 0
            : hn_fail(err, HN_E_INTERNAL, "hone.db is damaged: %.300s", text ? text : "");
        if (rc)
            hn_error_hint(err,
                "restore the latest backup that `honed check` finds whole, or make a store from "
                "the folders with `honed rebuild`");
    }
    hn_rows_close(&rows);
    return rc;
}

int hn_db_check(
    struct hn_db *db, void (*each)(void *ud, const char *text), void *ud, struct hn_error *err) {
    int rc = each_text(
        db, "SELECT * FROM pragma_integrity_check WHERE integrity_check<>'ok'", each, ud, err);
    return rc ? rc
              : each_text(db,
                    "SELECT 'a row of '||\"table\"||' belongs to no '||parent FROM "
                    "pragma_foreign_key_check",
                    each, ud, err);
}
