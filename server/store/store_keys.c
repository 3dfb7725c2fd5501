/* API keys: only the sha256 of a secret is kept. A secret has 160 bits of randomness, so a plain
 * hash is enough. */
#include "server/store/store_db.h"
#include "server/store/store_files.h"

#include <stdio.h>
#include <string.h>

/* SQL: whether a key may be used at the time ?1. */
#define LIVES "revoked_at IS NULL AND (expires_at IS NULL OR expires_at>?1)"

/* `honed key revoke NAME` must mean one key. */
static int check_name(struct hn_db *db, const char *name, struct hn_error *err) {
    struct hn_rows rows;
    int rc = hn_rows_open(
        &rows, db, err, "SELECT id FROM keys WHERE name=?1 AND revoked_at IS NULL", "s", name);
    if (rc)
        return rc;
    rc = hn_rows_next(&rows, err);
    if (rc == 1) {
        rc = hn_fail(
            err, HN_E_CONFLICT, "there is a key \"%s\" already (%s)", name, hn_rows_text(&rows, 0));
        hn_error_field(err, "--name");
        hn_error_hint(err, "use another name, or revoke that one first: honed key revoke %s",
            hn_rows_text(&rows, 0));
    }
    hn_rows_close(&rows);
    return rc;
}

int hn_db_key_insert(struct hn_db *db, void *arg, struct hn_error *err) {
    const struct hn_key_insert *key = arg;
    char now[HN_TIME_SIZE];
    hn_time_now(now);
    int rc = check_name(db, key->name, err);
    return rc
        ? rc
        : hn_db_run(db, err,
              "INSERT INTO keys "
              "(id,name,scope,hash,created_at,see,team,expires_at,max_bytes,max_queued,max_running)"
              " VALUES (?1,?2,?3,?4,?5,?6,?7,?8,nullif(?9,0),nullif(?10,0),nullif(?11,0))",
              "ssssssssiii", key->id, key->name, key->scope, key->hash, now,
              key->see ? key->see : "all", key->team ? key->team : "", key->expires_at,
              key->max_bytes, key->max_queued, key->max_running);
}

static json_t *limit(struct hn_rows *rows, int column) {
    return hn_rows_null(rows, column) ? json_null() : json_integer(hn_rows_int(rows, column));
}

int hn_db_key_list(struct hn_db *db, json_t **ret, struct hn_error *err) {
    struct hn_rows rows;
    int rc = hn_rows_open(&rows, db, err,
        "SELECT "
        "id,name,scope,created_at,revoked_at,see,team,expires_at,max_bytes,max_queued,max_running "
        "FROM keys ORDER BY created_at",
        "");
    if (rc)
        return rc;
    json_t *list = json_array();
    while ((rc = hn_rows_next(&rows, err)) == 1)
        json_array_append_new(list,
            HN_JSON_OBJECT({"id", json_string(hn_rows_text(&rows, 0))},
                {"name", json_string(hn_rows_text(&rows, 1))},
                {"scope", json_string(hn_rows_text(&rows, 2))},
                {"created_at", json_string(hn_rows_text(&rows, 3))},
                {"revoked_at", hn_json_string_or_null(hn_rows_text(&rows, 4))},
                {"see", json_string(hn_rows_text(&rows, 5))},
                {"team", json_string(hn_rows_text(&rows, 6))},
                {"expires_at", hn_json_string_or_null(hn_rows_text(&rows, 7))},
                {"max_bytes", limit(&rows, 8)}, {"max_queued", limit(&rows, 9)},
                {"max_running", limit(&rows, 10)}));
    hn_rows_close(&rows);
    if (rc)
        json_decref(list);
    else
        *ret = list;
    return rc;
}

int hn_db_key_revoke(struct hn_db *db, void *arg, struct hn_error *err) {
    const char *which = arg;
    char now[HN_TIME_SIZE];
    hn_time_now(now);
    int rc = hn_db_run(db, err,
        "UPDATE keys SET revoked_at=?2 WHERE (id=?1 OR name=?1) AND revoked_at IS NULL", "ss",
        which, now);
    if (rc || hn_db_changes(db))
        return rc;
    hn_fail(err, HN_E_NOT_FOUND, "there is no living key \"%.64s\"", which);
    hn_error_hint(err, "`honed key list` shows them");
    return HN_E_NOT_FOUND;
}

static int not_known(struct hn_error *err) {
    hn_fail(err, HN_E_UNAUTHORIZED, "this key is not known, was revoked or has expired");
    hn_error_hint(err, "`honed key create --name NAME --scope submit` makes a new one");
    return HN_E_UNAUTHORIZED;
}

/* Columns from 1 on: id, scope, see, team, name. */
static void read_key(struct hn_rows *rows, struct hn_key *ret) {
    snprintf(ret->id, sizeof ret->id, "%s", hn_rows_text(rows, 1));
    snprintf(ret->scope, sizeof ret->scope, "%s", hn_rows_text(rows, 2));
    ret->sees_all = strcmp(hn_rows_text(rows, 3), "all") == 0;
    snprintf(ret->team, sizeof ret->team, "%s", hn_rows_text(rows, 4));
    snprintf(ret->name, sizeof ret->name, "%s", hn_rows_text(rows, 5));
}

/* All hashes are looked at to the last byte, so that time tells nothing about how near a guess
 * came. */
int hn_db_key_find(struct hn_db *db, const char *hash, struct hn_key *ret, struct hn_error *err) {
    struct hn_rows rows;
    char now[HN_TIME_SIZE];
    hn_time_now(now);
    int rc = hn_rows_open(
        &rows, db, err, "SELECT hash,id,scope,see,team,name FROM keys WHERE " LIVES, "s", now);
    if (rc)
        return rc;
    bool found = false;
    while ((rc = hn_rows_next(&rows, err)) == 1) {
        const char *stored = hn_rows_text(&rows, 0);
        unsigned char difference = strlen(stored) != 64 || strlen(hash) != 64;
        for (size_t i = 0; i < 64 && !(strlen(stored) != 64 || strlen(hash) != 64); i++)
            difference = (unsigned char)(difference | (stored[i] ^ hash[i]));
        if (difference)
            continue;
        found = true;
        read_key(&rows, ret);
    }
    hn_rows_close(&rows);
    return rc || found ? rc : not_known(err);
}

int hn_db_key_get(struct hn_db *db, const char *id, struct hn_key *ret, struct hn_error *err) {
    struct hn_rows rows;
    char now[HN_TIME_SIZE];
    hn_time_now(now);
    int rc = hn_rows_open(&rows, db, err,
        "SELECT 0,id,scope,see,team,name FROM keys WHERE id=?2 AND " LIVES, "ss", now, id);
    if (!rc && (rc = hn_rows_next(&rows, err)) == 1)
        read_key(&rows, ret);
    hn_rows_close(&rows);
    return rc == 1 ? 0 : rc ? rc : not_known(err);
}
