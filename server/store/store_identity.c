/* See store_identity.h. */
#include "server/store/store_identity.h"
#include "server/base/state.h"
#include "server/store/store_backup.h"
#include "server/store/store_db.h"

#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static const char *const folders[] = {"runs", "models", "datasets"};
static const char *const records[] = {"records/runs", "records/models", "records/datasets"};

/* The first of three folders that holds something; NULL when all are empty. Names with a dot in
 * front are half-made things. */
static const char *populated(const char *state, const char *const list[3]) {
    const char *found = NULL;
    for (size_t i = 0; i < 3 && !found; i++) {
        char path[HN_PATH_SIZE];
        DIR *dir = hn_state_path(path, state, list[i], NULL, NULL) ? opendir(path) : NULL;
        for (struct dirent *entry; dir && !found && (entry = readdir(dir));)
            if (entry->d_name[0] != '.')
                found = list[i];
        if (dir)
            closedir(dir);
    }
    return found;
}

static int refuse(struct hn_error *err, const char *state, const char *what) {
    hn_fail(err, HN_E_CONFLICT, "%.300s: %s; nothing was changed", state, what);
    hn_error_hint(err,
        "put the right hone.db (and hone.db-wal) back, restore a backup, or make a store from the "
        "folders with `honed rebuild --state %.200s`",
        state);
    return HN_E_CONFLICT;
}

int hn_identity_rebuilding(const char *state, bool begins, struct hn_error *err) {
    char path[HN_PATH_SIZE];
    if (!hn_state_path(path, state, "rebuilding", NULL, NULL))
        return hn_fail(err, HN_E_INTERNAL, "path too long");
    if (begins)
        return hn_file_write_durable(path, "", 0, err);
    return unlink(path) && errno != ENOENT ? hn_fail_errno(err, errno, "cannot remove %s", path)
                                           : hn_file_sync(state, err);
}

int hn_identity_expect(const char *state, struct hn_error *err) {
    char path[HN_PATH_SIZE], text[160];
    struct stat st;
    if (hn_state_path(path, state, "rebuilding", NULL, NULL) && access(path, F_OK) == 0) {
        hn_fail(err, HN_E_CONFLICT,
            "%.300s: a rebuild of the store was broken off; nothing was changed", state);
        hn_error_hint(err, "run `honed rebuild --state %.200s` again, to its end", state);
        return HN_E_CONFLICT;
    }
    if (!hn_state_path(path, state, "hone.db", NULL, NULL))
        return hn_fail(err, HN_E_INTERNAL, "path too long");
    bool missing = stat(path, &st) != 0;
    if (missing && errno != ENOENT)
        return hn_fail_errno(err, errno, "cannot read %s", path);
    const char *folder = missing || st.st_size == 0 ? populated(state, folders) : NULL;
    if (!folder)
        return 0;
    snprintf(text, sizeof text, "hone.db is %s although %s/ is not empty",
        missing ? "missing" : "empty", folder);
    return refuse(err, state, text);
}

int hn_identity_file(const char *state, char ret[HN_ID_SIZE], struct hn_error *err) {
    char path[HN_PATH_SIZE];
    json_t *json = NULL;
    struct hn_error why = {0};
    ret[0] = 0;
    if (!hn_state_path(path, state, "store.json", NULL, NULL))
        return hn_fail(err, HN_E_INTERNAL, "path too long");
    int rc = hn_json_load(path, 4096, &json, &why);
    const char *id = json_string_value(json_object_get(json, "id"));
    if (!rc && (!id || !hn_id_valid("sto", id))) {
        rc = hn_fail(err, HN_E_CONFLICT, "%s names no store", path);
        hn_error_hint(err, "remove that file if hone.db is the right one");
    } else if (rc && rc != HN_E_NOT_FOUND && err) {
        *err = why;
        hn_error_hint(err, "make %s readable, or remove it if hone.db is the right one", path);
    }
    if (!rc)
        snprintf(ret, HN_ID_SIZE, "%s", id);
    json_decref(json);
    return rc == HN_E_NOT_FOUND ? 0 : rc;
}

static int write_file(const char *state, const char *id, struct hn_error *err) {
    char path[HN_PATH_SIZE], text[64];
    if (!hn_state_path(path, state, "store.json", NULL, NULL))
        return hn_fail(err, HN_E_INTERNAL, "path too long");
    int n = snprintf(text, sizeof text, "{\"id\":\"%s\"}\n", id);
    return hn_file_write_durable(path, text, (size_t)n, err);
}

int hn_db_identity(struct hn_db *db, char ret[HN_ID_SIZE], struct hn_error *err) {
    struct hn_rows rows;
    ret[0] = 0;
    int rc = hn_rows_open(&rows, db, err, "SELECT id FROM identity", "");
    if (!rc && (rc = hn_rows_next(&rows, err)) == 1) {
        snprintf(ret, HN_ID_SIZE, "%s", hn_rows_text(&rows, 0));
        rc = 0;
    }
    hn_rows_close(&rows);
    return rc;
}

static int set_id(struct hn_db *db, const char *id, struct hn_error *err) {
    int rc = hn_db_run(db, err, "DELETE FROM identity", "");
    return rc ? rc : hn_db_run(db, err, "INSERT INTO identity (id) VALUES (?1)", "s", id);
}

int hn_db_last_number(struct hn_db *db, const char *kind, int64_t *ret, struct hn_error *err) {
    return hn_db_number(db, 0, ret, err, "SELECT seq FROM sqlite_sequence WHERE name=?1", "s",
        strcmp(kind, "runs") == 0 ? "jobs" : kind);
}

static int knows_nothing(struct hn_db *db, bool *ret, struct hn_error *err) {
    int64_t numbers;
    int rc = hn_db_number(db, 0, &numbers, err,
        "SELECT sum(seq) FROM sqlite_sequence WHERE name IN ('datasets','models','jobs')", "");
    *ret = numbers == 0;
    return rc;
}

int hn_identity_matches(struct hn_db *db, const char *state, struct hn_error *err) {
    char own[HN_ID_SIZE], known[HN_ID_SIZE];
    bool nothing = false;
    int rc = hn_identity_file(state, known, err);
    if (!rc)
        rc = hn_db_identity(db, own, err);
    if (!rc)
        rc = knows_nothing(db, &nothing, err);
    if (rc || !populated(state, folders))
        return rc;
    bool same = own[0] && strcmp(own, known) == 0;
    /* A death between the very first file and its record leaves a folder, but no record's file:
     * that is no lost store. */
    if (nothing && !(same && !populated(state, records)))
        return refuse(err, state, "hone.db has no records although the folders are not empty");
    if (own[0] && known[0] && !same)
        return refuse(err, state,
            "hone.db is the store of another state folder (store.json names another one)");
    if (!own[0] && known[0])
        return refuse(
            err, state, "hone.db is older than the folders (it has no id, and store.json has one)");
    return 0;
}

int hn_identity_adopt(struct hn_db *db, const char *state, struct hn_error *err) {
    char own[HN_ID_SIZE], known[HN_ID_SIZE];
    int rc = hn_identity_file(state, known, err);
    if (!rc)
        rc = hn_db_identity(db, own, err);
    if (!rc && !own[0]) {
        if (known[0])
            memcpy(own, known, sizeof own);
        else
            hn_id_make("sto", own);
        rc = set_id(db, own, err);
    }
    return rc || strcmp(own, known) == 0 ? rc : write_file(state, own, err);
}

int hn_identity_check(struct hn_db *db, const char *state, struct hn_error *err) {
    int rc = hn_identity_matches(db, state, err);
    return rc ? rc : hn_identity_adopt(db, state, err);
}

int hn_store_probe(const char *state, struct hn_error *err) {
    char path[HN_PATH_SIZE];
    struct stat st;
    struct hn_db *db = NULL;
    if (!hn_state_path(path, state, "hone.db", NULL, NULL) || stat(path, &st) || st.st_size == 0)
        return hn_fail(err, HN_E_NOT_FOUND, "there is no hone.db");
    int rc = hn_db_open(path, true, &db, err);
    if (!rc)
        rc = hn_db_quick_check(db, err);
    if (!rc)
        rc = hn_db_migrate(db, err);
    if (!rc)
        rc = hn_identity_matches(db, state, err);
    hn_db_close(db);
    return rc;
}
