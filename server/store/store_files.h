/* Data sets, models and keys in the store. Records go in and out in the API's JSON shape, plus what
 * only the daemon needs (`entry`, `files` of a model; `on_error` of a data set). */
#ifndef HN_SERVER_STORE_STORE_FILES_H
#define HN_SERVER_STORE_STORE_FILES_H

#include "server/store/store_owners.h"

struct hn_dataset_insert {
    json_t *record;    /* the API's fields and "on_error"; id, owner and created_at are set here */
    const char *owner; /* NULL: nobody */
    bool provisional;  /* of a submission that may still be refused */
    /* out: the owner had the same file with the same reading; `record` has its id now */
    bool existing;
};
int hn_db_dataset_insert(struct hn_db *db, void *insert, struct hn_error *err);
int hn_db_dataset_get(struct hn_db *db, const char *id, json_t **ret, struct hn_error *err);
int hn_db_dataset_list(struct hn_db *db, const struct hn_reach *reach, const char *after,
    int64_t limit, json_t **ret, bool *ret_more, struct hn_error *err);
struct hn_dataset_delete {
    const char *id;
    bool deleted;
    char sha256[HN_SHA256_HEX]; /* out: the file nobody uses any more, or "" */
};
int hn_db_dataset_delete(struct hn_db *db, void *delete, struct hn_error *err);
/* The same for one that is still provisional; another one stays (`deleted` false). A data set stops
 * being provisional when a second upload of the same bytes, or a job, is given its id; lists do not
 * show it before. */
int hn_db_dataset_take_back(struct hn_db *db, void *delete, struct hn_error *err);
int hn_db_datasets_provisional(struct hn_db *db, json_t **ret_ids, struct hn_error *err);
/* [{"id","bytes"}], oldest first, of those from before `time` that no job names, ended ones
 * included; at most 100. */
int hn_db_datasets_unused(struct hn_db *db, const char *time, json_t **ret, struct hn_error *err);
int hn_db_dataset_file_used(struct hn_db *db, const char *sha256, bool *ret, struct hn_error *err);

int hn_db_model_insert(struct hn_db *db, void *record /* json_t */, struct hn_error *err);
int hn_db_model_get(struct hn_db *db, const char *name, json_t **ret, struct hn_error *err);
int hn_db_model_list(struct hn_db *db, const char *after, int64_t limit, json_t **ret,
    bool *ret_more, struct hn_error *err);
int hn_db_model_delete(struct hn_db *db, void *name, struct hn_error *err);
/* What the files of all of them take; a file that two data sets share counts once. */
int hn_db_library_bytes(
    struct hn_db *db, int64_t *ret_datasets, int64_t *ret_models, struct hn_error *err);

/* Who asks: a key, or a local user that the setting socket_users gives a scope. */
struct hn_key {
    char id[HN_OWNER_SIZE], name[65], scope[16], team[HN_TEAM_SIZE];
    bool sees_all;
};
struct hn_key_insert {
    const char *id, *name, *scope, *hash;
    const char *see, *team, *expires_at;        /* NULL: all; none; never */
    int64_t max_bytes, max_queued, max_running; /* 0: no limit */
};
int hn_db_key_insert(struct hn_db *db, void *insert, struct hn_error *err);
int hn_db_key_list(struct hn_db *db, json_t **ret, struct hn_error *err);
int hn_db_key_revoke(struct hn_db *db, void *id_or_name, struct hn_error *err);
/* The living key with this hash; HN_E_UNAUTHORIZED. Compares every stored hash in constant time. */
int hn_db_key_find(struct hn_db *db, const char *hash, struct hn_key *ret, struct hn_error *err);
/* The key with this id; HN_E_UNAUTHORIZED when it was revoked or has expired. */
int hn_db_key_get(struct hn_db *db, const char *id, struct hn_key *ret, struct hn_error *err);

#endif
