/* Reading what runs told: events, metrics (whole or thinned), checkpoints, artifacts. See
 * store_events.h. */
#include "server/store/store_events.h"
#include "server/store/store_db.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int hn_db_events_by(struct hn_db *db, const char *sql, int64_t of, int64_t after, int64_t limit,
    const char *type, hn_event_fn each, void *ud, struct hn_error *err) {
    struct hn_rows rows;
    int rc = hn_rows_open(&rows, db, err, sql, "iiis", of, after, limit, type);
    if (rc)
        return rc;
    while ((rc = hn_rows_next(&rows, err)) == 1)
        each(ud, hn_rows_int(&rows, 0), hn_rows_text(&rows, 1), hn_rows_text(&rows, 2),
            hn_rows_text(&rows, 3));
    hn_rows_close(&rows);
    return rc;
}

int hn_db_events(struct hn_db *db, int64_t job, int64_t after, int64_t limit, const char *type,
    hn_event_fn each, void *ud, struct hn_error *err) {
    return hn_db_events_by(db,
        "SELECT seq,time,type,data FROM events WHERE job=?1 AND seq>?2 AND (?4 IS NULL OR type=?4) "
        "ORDER BY seq LIMIT ?3",
        job, after, limit, type, each, ud, err);
}

int hn_db_events_before(struct hn_db *db, int64_t job, int64_t seq, int64_t limit, hn_event_fn each,
    void *ud, struct hn_error *err) {
    return hn_db_events_by(db,
        "SELECT seq,time,type,data FROM events WHERE job=?1 AND seq<=?2 AND ?4 IS NULL "
        "ORDER BY seq DESC LIMIT ?3",
        job, seq, limit, NULL, each, ud, err);
}

int hn_db_step_loss(
    struct hn_db *db, int64_t job, int64_t step, double *ret, struct hn_error *err) {
    struct hn_rows rows;
    int rc = hn_rows_open(&rows, db, err,
        "SELECT loss FROM metrics WHERE job=?1 AND step=?2 AND loss IS NOT NULL LIMIT 1", "ii", job,
        step);
    if (rc)
        return rc;
    int found = hn_rows_next(&rows, err);
    if (found == 1)
        *ret = hn_rows_real(&rows, 0);
    hn_rows_close(&rows);
    return found == 1 ? 0 : found < 0 ? found : HN_E_NOT_FOUND;
}

#define METRIC_COLUMNS \
    "seq,step,epoch,tokens,loss,learning_rate,grad_norm,tokens_per_second,val,time"

static int each_metric(struct hn_rows *rows, hn_metric_fn each, void *ud, struct hn_error *err) {
    int rc;
    while ((rc = hn_rows_next(rows, err)) == 1) {
        struct hn_metric m = {
            .seq = hn_rows_int(rows, 0),
            .step = hn_rows_int(rows, 1),
            .epoch = hn_rows_real(rows, 2),
            .tokens = hn_rows_null(rows, 3) ? -1 : hn_rows_int(rows, 3),
            .loss = hn_rows_real(rows, 4),
            .learning_rate = hn_rows_real(rows, 5),
            .grad_norm = hn_rows_real(rows, 6),
            .tokens_per_second = hn_rows_real(rows, 7),
            .val = hn_rows_text(rows, 8),
            .time = hn_rows_text(rows, 9),
        };
        each(ud, &m);
    }
    hn_rows_close(rows);
    return rc;
}

int hn_db_metrics(struct hn_db *db, const struct hn_metric_range *range, int64_t limit,
    hn_metric_fn each, void *ud, struct hn_error *err) {
    struct hn_rows rows;
    int rc = hn_rows_open(&rows, db, err,
        "SELECT " METRIC_COLUMNS
        " FROM metrics WHERE job=?1 AND seq>=?2 AND seq<=?3 ORDER BY seq LIMIT ?4",
        "iiii", range->job, range->first, range->last, limit);
    return rc ? rc : each_metric(&rows, each, ud, err);
}

/* The first row in `range` whose step is `step` or later; behind the last one if there is none.
 * Steps never fall from row to row. */
static int first_of_step(struct hn_db *db, const struct hn_metric_range *range, int64_t step,
    int64_t *ret, struct hn_error *err) {
    int64_t low = range->first, high = range->last + 1;
    while (low < high) {
        int64_t middle = low + (high - low) / 2, at;
        int rc = hn_db_number(db, INT64_MAX, &at, err,
            "SELECT step FROM metrics WHERE job=?1 AND seq=?2", "ii", range->job, middle);
        if (rc)
            return rc;
        if (at < step)
            low = middle + 1;
        else
            high = middle;
    }
    *ret = low;
    return 0;
}

int hn_db_metric_range(struct hn_db *db, int64_t job, int64_t from, int64_t to,
    struct hn_metric_range *ret, struct hn_error *err) {
    struct hn_metric_range all = {job, 1, 0};
    int rc =
        hn_db_number(db, 0, &all.last, err, "SELECT max(seq) FROM metrics WHERE job=?1", "i", job);
    *ret = all;
    if (!rc && from > 0)
        rc = first_of_step(db, &all, from, &ret->first, err);
    if (!rc && to < INT64_MAX)
        rc = first_of_step(db, &all, to + 1, &ret->last, err);
    if (!rc && to < INT64_MAX)
        ret->last--;
    return rc;
}

/*
 * The range falls into buckets of equal width. Candidates of a bucket are the runs of 8^level rows
 * that begin in it, with their least and greatest loss as the store keeps them, and at both ends of
 * the range, where a run would reach over it, single rows. Without a level all are single rows.
 */
static const char thin_sql[] =
    "WITH c AS ("
    "SELECT (bucket*?5+1-?3)/?2 AS k,min_seq,min_loss,max_seq,max_loss,(bucket+1)*?5 AS until FROM "
    "metric_levels WHERE job=?1 AND level=?6 AND bucket>=?7 AND bucket<?8 UNION ALL "
    "SELECT (seq-?3)/?2,seq,loss,seq,loss,seq FROM metrics WHERE job=?1 AND seq>=?3 AND "
    "seq<=min(?5*?7,?4) AND loss IS NOT NULL UNION ALL "
    "SELECT (seq-?3)/?2,seq,loss,seq,loss,seq FROM metrics WHERE job=?1 AND "
    "seq>=max(?5*?8+1,?3) AND seq<=?4 AND loss IS NOT NULL), "
    "r AS (SELECT *,row_number() OVER (PARTITION BY k ORDER BY min_loss,min_seq) AS lo,"
    "row_number() OVER (PARTITION BY k ORDER BY max_loss DESC,max_seq) AS hi,"
    "row_number() OVER (PARTITION BY k ORDER BY until DESC) AS end FROM c), "
    "s AS (SELECT min_seq AS seq FROM r WHERE lo=1 UNION SELECT max_seq FROM r WHERE hi=1 UNION "
    "SELECT (SELECT m.seq FROM metrics m WHERE m.job=?1 AND m.seq<=r.until AND m.loss IS NOT NULL "
    "ORDER BY m.seq DESC LIMIT 1) FROM r WHERE end=1 UNION SELECT seq FROM metrics INDEXED BY "
    "metrics_evaluated WHERE job=?1 AND val IS NOT NULL AND seq>=?3 AND seq<=?4) "
    /* CROSS: the few rows are looked up, whatever SQLite guesses about their number */
    "SELECT " METRIC_COLUMNS " FROM (SELECT seq AS at FROM s ORDER BY seq) CROSS JOIN "
    "metrics ON job=?1 AND seq=at ORDER BY seq";

#define THIN_LEVELS 7
#define THIN_ROWS 3 /* least, greatest, last */

int hn_db_metrics_thin(struct hn_db *db, const struct hn_metric_range *range, int64_t points,
    hn_metric_fn each, void *ud, struct hn_error *err) {
    int64_t total = range->last - range->first + 1, level = 0, width = 1;
    if (total <= points)
        return hn_db_metrics(db, range, INT64_MAX, each, ud, err);
    int64_t buckets = points > THIN_ROWS ? points / THIN_ROWS : 1;
    int64_t bucket = (total + buckets - 1) / buckets;
    /* A level further only as long as it saves more candidates than it adds single rows. */
    while (level < THIN_LEVELS && width * 8 <= bucket / 2 && 2 * width * 8 < total / width) {
        width *= 8;
        level++;
    }
    int64_t begin = (range->first - 1 + width - 1) / width, end = range->last / width;
    if (level == 0 || end < begin) /* all of them single */
        end = begin = (range->last + width - 1) / width;
    struct hn_rows rows;
    int rc = hn_rows_open(&rows, db, err, thin_sql, "iiiiiiii", range->job, bucket, range->first,
        range->last, width, level, begin, end);
    return rc ? rc : each_metric(&rows, each, ud, err);
}

int hn_db_metric_names(struct hn_db *db, int64_t job, json_t **ret, struct hn_error *err) {
    struct hn_rows rows;
    int rc = hn_rows_open(&rows, db, err,
        "SELECT DISTINCT v.key FROM metrics m,json_each(m.val) v WHERE m.job=?1 AND m.val IS NOT "
        "NULL AND v.key<>'val_loss'",
        "i", job);
    if (rc)
        return rc;
    json_t *names = json_pack("[s]", "val_loss");
    while ((rc = hn_rows_next(&rows, err)) == 1)
        json_array_append_new(names, json_string(hn_rows_text(&rows, 0)));
    hn_rows_close(&rows);
    if (rc)
        json_decref(names);
    else
        *ret = names;
    return rc;
}

static json_t *real_or_null(double value) {
    return isnan(value) ? json_null() : json_real(value);
}

int hn_db_checkpoints(struct hn_db *db, int64_t job, json_t **ret, struct hn_error *err) {
    struct hn_rows rows;
    int rc = hn_rows_open(&rows, db, err,
        "SELECT step,epoch,metrics,best,bytes,created_at FROM checkpoints WHERE job=?1 ORDER BY "
        "step",
        "i", job);
    if (rc)
        return rc;
    json_t *list = json_array();
    while ((rc = hn_rows_next(&rows, err)) == 1) {
        const char *metrics = hn_rows_text(&rows, 2);
        json_t *parsed = NULL;
        if (hn_json_parse(metrics, strlen(metrics), &parsed, NULL))
            parsed = json_object();
        json_array_append_new(list,
            json_pack("{s:I,s:o,s:o,s:b,s:I,s:s}", "step", (json_int_t)hn_rows_int(&rows, 0),
                "epoch", real_or_null(hn_rows_real(&rows, 1)), "metrics", parsed, "best",
                (int)hn_rows_int(&rows, 3), "bytes", (json_int_t)hn_rows_int(&rows, 4),
                "created_at", hn_rows_text(&rows, 5)));
    }
    hn_rows_close(&rows);
    if (rc)
        json_decref(list);
    else
        *ret = list;
    return rc;
}

int hn_db_artifacts(struct hn_db *db, int64_t job, const char *after, int64_t limit, json_t **ret,
    struct hn_error *err) {
    struct hn_rows rows;
    int rc = hn_rows_open(&rows, db, err,
        "SELECT path,size,sha256,verified FROM artifacts WHERE job=?1 AND path>?2 ORDER BY path "
        "LIMIT ?3",
        "isi", job, after ? after : "", limit);
    if (rc)
        return rc;
    json_t *list = json_array();
    while ((rc = hn_rows_next(&rows, err)) == 1) {
        const char *path = hn_rows_text(&rows, 0);
        /* The first folder is the kind of export; files beside the folders are about all of
         * them. */
        size_t n = strcspn(path, "/");
        json_array_append_new(list,
            json_pack("{s:s,s:o,s:I,s:s,s:o}", "path", path, "kind",
                path[n] ? json_stringn(path, n) : json_string("manifest"), "size",
                (json_int_t)hn_rows_int(&rows, 1), "sha256", hn_rows_text(&rows, 2), "verified",
                hn_rows_null(&rows, 3) ? json_null() : json_boolean(hn_rows_int(&rows, 3))));
    }
    hn_rows_close(&rows);
    if (rc)
        json_decref(list);
    else
        *ret = list;
    return rc;
}

int hn_db_artifact(struct hn_db *db, int64_t job, const char *path, int64_t *ret_size,
    char ret_sha256[HN_SHA256_HEX], struct hn_error *err) {
    struct hn_rows rows;
    int rc = hn_rows_open(&rows, db, err,
        "SELECT size,sha256 FROM artifacts WHERE job=?1 AND path=?2", "is", job, path);
    if (rc)
        return rc;
    rc = hn_rows_next(&rows, err);
    if (rc == 1) {
        *ret_size = hn_rows_int(&rows, 0);
        snprintf(ret_sha256, HN_SHA256_HEX, "%s", hn_rows_text(&rows, 1));
    } else if (rc == 0) {
        rc = hn_fail(err, HN_E_NOT_FOUND, "this job has no artifact \"%.200s\"", path);
        hn_error_hint(err, "GET /jobs/{id}/artifacts lists them");
    }
    hn_rows_close(&rows);
    return rc == 1 ? 0 : rc;
}
