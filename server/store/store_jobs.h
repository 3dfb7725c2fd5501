/*
 * Jobs in the store: their life from queued to ended, in functions that are transactions.
 *
 * Those that change anything are called inside hn_store_call; the reading ones work on any
 * connection. The status diagram is enforced here and nowhere else:
 *   queued → running | paused | cancelled;  running → succeeded | failed | cancelled | paused |
 *   queued; paused → queued | cancelled
 */
#ifndef HN_SERVER_STORE_STORE_JOBS_H
#define HN_SERVER_STORE_STORE_JOBS_H

#include "server/store/queue.h"
#include "server/store/store_owners.h"

#define HN_JOB_CTYPE_TEXT char *
#define HN_JOB_CTYPE_INT int64_t
#define HN_JOB_CTYPE_REAL double

struct hn_job {
#define HN_JOB(TYPE, name) HN_JOB_CTYPE_##TYPE name;
#include "server/store/job.def"
#undef HN_JOB
};

void hn_job_init(struct hn_job *job); /* NULL, -1, NaN everywhere */
void hn_job_finish(struct hn_job *job);
bool hn_job_ended(const char *status);

/* SQL: whether the job `j` uses the data set ?N as training, validation or test rows. */
#define HN_JOB_USES(N)                                                          \
    "(j.dataset=?" #N " OR j.validation_dataset=?" #N " OR j.test_dataset=?" #N \
    " OR EXISTS (SELECT 1 FROM "                                                \
    "json_each(j.datasets) WHERE json_extract(value,'$.dataset')=?" #N "))"

int hn_db_job_get(struct hn_db *db, const char *id, struct hn_job *ret, struct hn_error *err);

/* 0, HN_E_NOT_FOUND, or another error when it cannot be told. */
int hn_db_job_exists(struct hn_db *db, const char *id);

struct hn_job_filter {
    struct hn_reach reach;                                          /* whose */
    const char *status, *model, *task, *dataset, *verifies, *sweep; /* NULL: any */
    const char *words; /* JSON array of texts that must all occur in name, id, model or the data
                          set's name, whatever the case of ASCII letters; NULL: any */
    enum hn_job_order { HN_BY_CREATED, HN_BY_FINISHED, HN_BY_METRIC, HN_BY_DURATION } order;
    const char *metadata_keys[16], *metadata_values[16];
    size_t n_metadata;
    const char *after; /* id of the last one seen, or NULL */
    bool ascending;
    int64_t limit;
};
/* Calls `each` for every job in order, those without the value that orders them last; stops at the
 * limit and tells in *ret_more whether there are others. */
int hn_db_job_list(struct hn_db *db, const struct hn_job_filter *filter,
    void (*each)(void *ud, const struct hn_job *), void *ud, bool *ret_more, struct hn_error *err);
/* How many queued jobs come before this one, from 1; 0 when it is not queued. */
int hn_db_job_position(
    struct hn_db *db, const struct hn_job *job, int64_t *ret, struct hn_error *err);

struct hn_trial_insert;

struct hn_job_insert {
    struct hn_job *job;    /* complete but for n */
    struct hn_reach reach; /* whose data sets it may use */
    /* [{"code","message"}]: written as the first events; may be NULL */
    json_t *warnings;
    const struct hn_trial_insert *trial; /* of a sweep, that it is the job of; or NULL */
    const char *key, *key_body;          /* Idempotency-Key and body hash, or NULL */
    /* out: id of the job that has the key, or is the trial's, already; else "" */
    char existing[HN_ID_SIZE];
};
int hn_db_job_insert(struct hn_db *db, void *insert, struct hn_error *err);
/* The job made under this Idempotency-Key in the last 24 h: its id into `ret` ("" if none);
 * HN_E_CONFLICT when it was made from another body. */
int hn_db_idempotent(struct hn_db *db, const char *owner, const char *key, const char *body,
    char ret[HN_ID_SIZE], struct hn_error *err);

struct hn_job_ask {
    const char *id;
    const char *verb; /* "cancel", "pause", "resume" */
};
int hn_db_job_ask(struct hn_db *db, void *ask, struct hn_error *err);

struct hn_job_patch {
    const char *id;
    bool set_name, set_metadata, set_priority;
    const char *name, *metadata;
    int64_t priority;
};
int hn_db_job_patch(struct hn_db *db, void *patch, struct hn_error *err);
int hn_db_job_delete(struct hn_db *db, void *id, struct hn_error *err);

struct hn_job_claim {
    struct hn_queue_limits limits;
    char id[HN_ID_SIZE]; /* out: "" when nothing may run now */
    int64_t waited_ms;   /* out: since it was queued, the last time */
    bool waiting;        /* out: jobs are queued, whether they may run now or not */
};
int hn_db_job_claim(struct hn_db *db, void *claim, struct hn_error *err);

/* The trainer is gone (its lock is free): reads the verdict and moves the job on. */
struct hn_job_settle {
    const char *id;
    bool draining; /* the daemon asked it to stop */
    /* this daemon has seen one; else the last one may have died between claim and start */
    bool had_trainer;
    const char *code, *message; /* the worker's own verdict (input missing, hung …), or NULL */
};
int hn_db_job_settle(struct hn_db *db, void *settle, struct hn_error *err);

/* Ids of the jobs in `running`, oldest first, into a list the caller frees. */
int hn_db_jobs_running(
    struct hn_db *db, char (**ret)[HN_ID_SIZE], size_t *ret_n, struct hn_error *err);
/* Ids of those that have not ended, as an array of strings. */
int hn_db_jobs_unended(struct hn_db *db, json_t **ret, struct hn_error *err);
/* Adds an event of the daemon's own to the job's stream. */
int hn_db_event_add(struct hn_db *db, int64_t job, const char *id, const char *type,
    json_t *data /* stolen */, struct hn_error *err);
/* Ended jobs that finished before `time`, at most 100. */
int hn_db_jobs_older(struct hn_db *db, const char *time, char (**ret)[HN_ID_SIZE], size_t *ret_n,
    struct hn_error *err);
/* {"status": count} for the metrics page. New reference. */
int hn_db_jobs_count(struct hn_db *db, json_t **ret, struct hn_error *err);
/* planned bytes of those that run */
int hn_db_jobs_memory(struct hn_db *db, int64_t *ret, struct hn_error *err);

#endif
