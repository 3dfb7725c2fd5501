/* API keys: only the sha256 of a secret is kept. A secret has 160 bits of randomness, so a plain hash is enough. */
#include "server/store_db.h"
#include "server/store_files.h"

#include <stdio.h>
#include <string.h>

int hn_db_key_insert(struct hn_db *db, void *arg, struct hn_error *err) {
    const struct hn_key_insert *key = arg;
    char now[HN_TIME_SIZE];
    hn_time_now(now);
    return hn_db_run(db, err, "INSERT INTO keys (id,name,scope,hash,created_at) VALUES (?1,?2,?3,?4,?5)", "sssss", key->id,
        key->name, key->scope, key->hash, now);
}

int hn_db_key_list(struct hn_db *db, json_t **ret, struct hn_error *err) {
    struct hn_rows rows;
    int rc = hn_rows_open(&rows, db, err, "SELECT id,name,scope,created_at,revoked_at FROM keys ORDER BY created_at", "");
    if (rc)
        return rc;
    json_t *list = json_array();
    while ((rc = hn_rows_next(&rows, err)) == 1)
        json_array_append_new(list, json_pack("{s:s,s:s,s:s,s:s,s:s?}", "id", hn_rows_text(&rows, 0), "name",
            hn_rows_text(&rows, 1), "scope", hn_rows_text(&rows, 2), "created_at", hn_rows_text(&rows, 3), "revoked_at",
            hn_rows_text(&rows, 4)));
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
    int rc = hn_db_run(db, err, "UPDATE keys SET revoked_at=?2 WHERE (id=?1 OR name=?1) AND revoked_at IS NULL", "ss", which,
        now);
    if (rc || hn_db_changes(db))
        return rc;
    hn_fail(err, HN_E_NOT_FOUND, "there is no living key \"%.64s\"", which);
    hn_error_hint(err, "`honed key list` shows them");
    return HN_E_NOT_FOUND;
}

/* All hashes are looked at to the last byte, so that time tells nothing about how near a guess came. */
int hn_db_key_find(struct hn_db *db, const char *hash, struct hn_key *ret, struct hn_error *err) {
    struct hn_rows rows;
    int rc = hn_rows_open(&rows, db, err, "SELECT hash,id,scope FROM keys WHERE revoked_at IS NULL", "");
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
        snprintf(ret->id, sizeof ret->id, "%s", hn_rows_text(&rows, 1));
        snprintf(ret->scope, sizeof ret->scope, "%s", hn_rows_text(&rows, 2));
    }
    hn_rows_close(&rows);
    if (rc)
        return rc;
    if (found)
        return 0;
    hn_fail(err, HN_E_UNAUTHORIZED, "this key is not known or was revoked");
    hn_error_hint(err, "`honed key create --name NAME --scope submit` makes a new one");
    return HN_E_UNAUTHORIZED;
}
