/*
 * Submission: a request becomes a planned, queued job, or nothing at all.
 *
 * Fields are checked by the engine's table (job_request.def), names by the library within the
 * submitter's reach, and everything that depends on the model or the data by the helper's plan.
 * Only then is the job written, in one transaction with its key. Files that came with the request
 * are taken in first, as provisional data sets, and removed again when the job is refused. Whoever
 * wants to know that a job came into the queue subscribes to the store (store.h).
 *
 * These functions know nothing of how a request came and how it is answered. They wait for the
 * helper, the disk and the store: any thread may call them but the loop's and the store's; what
 * plans belongs on the threads for what may wait long (hn_loop_work_waiting).
 */
#ifndef HN_SERVER_JOBS_SUBMIT_H
#define HN_SERVER_JOBS_SUBMIT_H

#include "server/library/upload.h"
#include "server/process/question.h"
#include "server/store/store_jobs.h"

struct hn_server;
struct hn_trial_insert;

/* On whose behalf. */
struct hn_submitter {
    const char *owner;            /* of what is made */
    const char *scope;            /* of the key, for messages */
    bool admin;                   /* may set priorities above 0 */
    struct hn_reach reach;        /* whose data sets and jobs may be named */
    const struct hn_asker *asker; /* for the helper's queue; NULL: the daemon itself */
};

struct hn_submission {
    /* Fields by their names; an uploaded one is "sha256:…" until it is named by its id. */
    json_t *request;
    const struct hn_upload *uploads;
    size_t n_uploads;
    const char *key; /* the same key from the same owner makes one job in 24 hours; or NULL */
    bool dry_run;    /* only tell what it would take */
    /* of a sweep, that it is to be the job of, or NULL; the steps at which it pauses are set here
     * from `rungs`, shares of the run, ascending */
    struct hn_trial_insert *trial;
    const double *rungs;
    size_t n_rungs;

    char id[HN_ID_SIZE]; /* out: of the job */
    bool existing;       /* out: the key had it already */
    json_t *estimate;    /* out: of a dry run, as the contract has it; owned by the caller */
    json_t *details;     /* out: {"details","total"} of an error, or NULL; owned by the caller */
};

#define HN_UPLOADS_MAX 2 /* of one submission: fields that may be files */

/* HN_E_UNKNOWN_FIELD, HN_E_INVALID_FIELD, …, with field and hint, when it is refused. */
int hn_submit(struct hn_server *server, const struct hn_submitter *who,
    struct hn_submission *submission, struct hn_error *err);

/*
 * Queues the run of the ended job `job` again, as a job that verifies it, at the lowest priority:
 * from its beginning, or with last_steps > 0 from the newest kept checkpoint of at least so many
 * steps before its end. `job` becomes the record of the new one.
 */
int hn_submit_again(struct hn_server *server, const struct hn_submitter *who, struct hn_job *job,
    int64_t last_steps, char ret_id[HN_ID_SIZE], struct hn_error *err);

/* The step that a verification began from. */
int64_t hn_submit_began(const struct hn_job *verification);

/* A job's priority: above 0 it goes before the others' jobs, which only admins may decide. */
int hn_submitter_priority(const struct hn_submitter *who, int64_t priority, struct hn_error *err);

#endif
