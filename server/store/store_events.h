/*
 * What a run tells: events, metrics, checkpoints, artifacts. Ingested in one transaction with the
 * offset they were read up to, so that each line of events.jsonl counts exactly once whenever the
 * daemon dies.
 */
#ifndef HN_SERVER_STORE_STORE_EVENTS_H
#define HN_SERVER_STORE_STORE_EVENTS_H

#include "server/store/store.h"

struct hn_ingest {
    const char *id;
    const char *text; /* whole lines of events.jsonl from `from` on */
    size_t size;
    /* the offset the store must have; otherwise HN_E_CONFLICT, and it is set to what the store
     * has */
    int64_t from;
    /* out */
    int64_t lines, skipped;
    int64_t steps, tokens; /* trained since the last time */
    char requested[16];    /* what is asked of the job now, "" if nothing */
    int64_t checkpoint_bytes;
};
int hn_db_ingest(struct hn_db *db, void *ingest, struct hn_error *err);
/* Leaves of text and size what the store has not read yet, and sets `from` to where that begins.
 * For a file from its beginning. */
int hn_db_ingest_from(struct hn_db *db, struct hn_ingest *ingest, struct hn_error *err);

/* Adds {"code","message","lines"} to the job's warnings, unless it stands there. */
int hn_db_warning_add(struct hn_db *db, int64_t job, const json_t *warning, struct hn_error *err);

/* {"seq","time","type","data"} of up to `limit` events after `seq`, as JSON texts handed to
 * `each`. */
typedef void (*hn_event_fn)(
    void *ud, int64_t seq, const char *time, const char *type, const char *data);
int hn_db_events(struct hn_db *db, int64_t job, int64_t after, int64_t limit,
    const char *type /* NULL: all */, hn_event_fn each, void *ud, struct hn_error *err);

/* The same of those before or at `seq`, the newest first. */
int hn_db_events_before(struct hn_db *db, int64_t job, int64_t seq, int64_t limit, hn_event_fn each,
    void *ud, struct hn_error *err);
/* The same of any table of events: `sql` selects seq, time, type and data, with ?1 whose, ?2 after,
 * ?3 limit and ?4 type. */
int hn_db_events_by(struct hn_db *db, const char *sql, int64_t of, int64_t after, int64_t limit,
    const char *type, hn_event_fn each, void *ud, struct hn_error *err);

struct hn_metric {
    int64_t seq, step, tokens;                                       /* tokens -1: null */
    double epoch, loss, learning_rate, grad_norm, tokens_per_second; /* NaN: null */
    const char *val; /* JSON object, or NULL in a training row */
    const char *time;
};
typedef void (*hn_metric_fn)(void *ud, const struct hn_metric *metric);
/* Rows of one job, by seq. Both ends belong to it; none if last < first. */
struct hn_metric_range {
    int64_t job, first, last;
};
/* The rows from step `from` (0: the first) to step `to` (INT64_MAX: the last one there is now). */
int hn_db_metric_range(struct hn_db *db, int64_t job, int64_t from, int64_t to,
    struct hn_metric_range *ret, struct hn_error *err);
/* At most `limit` rows of the range, in order. */
int hn_db_metrics(struct hn_db *db, const struct hn_metric_range *range, int64_t limit,
    hn_metric_fn each, void *ud, struct hn_error *err);
/* About `points` training rows of the range at most (of buckets of equal width the least, the
 * greatest and the last loss), and all evaluations in it. */
int hn_db_metrics_thin(struct hn_db *db, const struct hn_metric_range *range, int64_t points,
    hn_metric_fn each, void *ud, struct hn_error *err);
/* The loss of training step `step`; HN_E_NOT_FOUND where it was not logged. */
int hn_db_step_loss(struct hn_db *db, int64_t job, int64_t step, double *ret, struct hn_error *err);
/* Names of the val_ columns, val_loss first: a new array of strings. */
int hn_db_metric_names(struct hn_db *db, int64_t job, json_t **ret, struct hn_error *err);

/* New references to arrays in the API's shape. */
int hn_db_checkpoints(struct hn_db *db, int64_t job, json_t **ret, struct hn_error *err);
int hn_db_artifacts(struct hn_db *db, int64_t job, const char *after, int64_t limit, json_t **ret,
    struct hn_error *err);
/* One file's size and hash; HN_E_NOT_FOUND. */
int hn_db_artifact(struct hn_db *db, int64_t job, const char *path, int64_t *ret_size,
    char ret_sha256[HN_SHA256_HEX], struct hn_error *err);

#endif
