/*
 * Whose objects a client may see and change, as the store finds them, and the quotas of keys.
 *
 * An owner is the id of a key, "uid:NAME" of a local user, or '' of what was made where no keys
 * were needed. Objects of '' are reached by those alone who see everything.
 */
#ifndef HN_SERVER_STORE_STORE_OWNERS_H
#define HN_SERVER_STORE_STORE_OWNERS_H

#include "server/store/store.h"

#define HN_OWNER_SIZE 48 /* "uid:" + 32 + NUL, with room */
#define HN_TEAM_SIZE 65

struct hn_reach {
    bool all;
    const char *owner, *team; /* team "": none */
};

/* SQL: whether the reach bound as ?A (all), ?O (owner), ?T (team) has the owner in `column`. */
#define HN_REACHES(column, A, O, T)                                                   \
    "(?" #A " OR (" column "<>'' AND (" column "=?" #O " OR (?" #T "<>'' AND " column \
    " IN (SELECT id FROM keys WHERE "                                                 \
    "team=?" #T ")))))"

/* HN_E_NOT_FOUND. */
int hn_db_job_missing(struct hn_error *err, const char *id);
int hn_db_dataset_missing(struct hn_error *err, const char *id);
/* 0, or HN_E_NOT_FOUND in the same words for what is not there and what is out of reach. */
int hn_db_job_reached(
    struct hn_db *db, const struct hn_reach *reach, const char *id, struct hn_error *err);
int hn_db_dataset_reached(
    struct hn_db *db, const struct hn_reach *reach, const char *id, struct hn_error *err);
int hn_db_owner_reached(struct hn_db *db, const struct hn_reach *reach, const char *owner,
    bool *ret, struct hn_error *err);

/* Inside the transaction that adds: HN_E_QUOTA_EXCEEDED when the owner's key may not have that much
 * more. */
int hn_db_quota_bytes(struct hn_db *db, const char *owner, int64_t more, struct hn_error *err);
int hn_db_quota_queued(struct hn_db *db, const char *owner, struct hn_error *err);

#endif
