/* Records by kind ("datasets" by id, "models" by name, "runs" by job id) as server/store/records.h
 * keeps them beside the folders, and the way back into a store; see server/cli/rebuild.c. The
 * restoring ones run inside hn_store_call. */
#ifndef HN_SERVER_STORE_STORE_RESTORE_H
#define HN_SERVER_STORE_STORE_RESTORE_H

#include "server/store/store_jobs.h"

/* array of strings */
int hn_db_record_names(struct hn_db *db, const char *kind, json_t **ret, struct hn_error *err);
/* The record's number in its table; HN_E_NOT_FOUND. */
int hn_db_number_of(
    struct hn_db *db, const char *kind, const char *name, int64_t *ret, struct hn_error *err);

/* The first data set or model whose file has that hash: a new string, untouched when there is
 * none. */
int hn_db_name_of_hash(
    struct hn_db *db, const char *kind, const char *sha256, json_t **ret, struct hn_error *err);

struct hn_restore {
    const char *kind;
    int64_t n;            /* its number, kept where it is free */
    const json_t *record; /* as hn_record_read gives it */
};
/* A data set or a model as it was; a job as `running`, with its events still to be read from the
 * beginning. */
int hn_db_restore(struct hn_db *db, void *restore, struct hn_error *err);
/* Gives a restored job the end that its record tells. */
int hn_db_job_restore_end(
    struct hn_db *db, void *job /* struct hn_job, as recorded */, struct hn_error *err);

#endif
