/*
 * STATE/records/<kind>/<name>.json: what the store says of each data set ("datasets", by id), model
 * ("models", by name) and job that has a run directory ("runs", by id), once more beside the files.
 * From these and the folders `honed rebuild` makes a store when hone.db is lost. Only the daemon
 * and the command line can write there, no trainer.
 *
 *   {"format":1,"store":"sto_…","n":17,"record":{…}}
 *
 * A file is written after the commit that made its record and removed after the one that deleted
 * it, so one whose number is greater than any the store has given proves that the store is older
 * than the folders.
 */
#ifndef HN_SERVER_STORE_RECORDS_H
#define HN_SERVER_STORE_RECORDS_H

#include "server/base/state.h"
#include "server/store/store_jobs.h"

/* Writes the file anew from the store. HN_E_NOT_FOUND when the store has no such record. */
int hn_record_note(
    const char *state, struct hn_db *db, const char *kind, const char *name, struct hn_error *err);
/* The same with a connection of the store's own, and a log line instead of an error: the record
 * itself is safe. */
void hn_record_update(
    const char *state, struct hn_store *store, const char *kind, const char *name);
void hn_record_forget(const char *state, const char *kind, const char *name);

struct hn_record {
    char store[HN_ID_SIZE]; /* whose it is */
    int64_t n;
    json_t *record; /* new reference */
};
int hn_record_read(const char *state, const char *kind, const char *name, struct hn_record *ret,
    struct hn_error *err);
/* Names of the records of a kind that have a file: a new array of strings. */
int hn_record_names(const char *state, const char *kind, json_t **ret, struct hn_error *err);
/* Writes the files that are missing of what the store has: after an upgrade, or a death between a
 * commit and its file. */
int hn_records_complete(const char *state, struct hn_db *db, struct hn_error *err);

/* A job as its record has it, and back. */
json_t *hn_job_to_record(const struct hn_job *job);
int hn_job_from_record(const json_t *record, struct hn_job *ret, struct hn_error *err);

#endif
