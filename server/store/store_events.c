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

int hn_db_metrics(struct hn_db *db, int64_t job, int64_t after, int64_t limit, hn_metric_fn each,
    void *ud, struct hn_error *err) {
    struct hn_rows rows;
    int rc = hn_rows_open(&rows, db, err,
        "SELECT " METRIC_COLUMNS " FROM metrics WHERE job=?1 AND seq>?2 ORDER BY seq LIMIT ?3",
        "iii", job, after, limit);
    return rc ? rc : each_metric(&rows, each, ud, err);
}

/* Buckets of equal width hold two rows each; the level below gives the candidates so that few rows
 * are read. */
int hn_db_metrics_thin(struct hn_db *db, int64_t job, int64_t points, hn_metric_fn each, void *ud,
    struct hn_error *err) {
    int64_t total, level = 0, width = 1;
    int rc =
        hn_db_number(db, 0, &total, err, "SELECT max(seq) FROM metrics WHERE job=?1", "i", job);
    if (rc)
        return rc;
    if (points < 4)
        points = 4;
    if (total <= points)
        return hn_db_metrics(db, job, 0, INT64_MAX, each, ud, err);
    int64_t bucket = (2 * total + points - 1) / points; /* rows that share a pair of points */
    while (level < 7 && width * 8 <= bucket) {
        width *= 8;
        level++;
    }
    struct hn_rows rows;
    if (level == 0)
        rc = hn_rows_open(&rows, db, err,
            "WITH b AS (SELECT seq,loss,(seq-1)/?2 AS k FROM metrics WHERE job=?1 AND loss IS NOT "
            "NULL), r AS (SELECT seq,row_number() OVER (PARTITION BY k ORDER BY loss,seq) AS "
            "lo,row_number() OVER (PARTITION BY k ORDER BY loss DESC,seq) AS hi FROM b) "
            "SELECT " METRIC_COLUMNS " FROM metrics WHERE job=?1 AND (val IS NOT NULL OR seq=?3 OR "
            "seq IN (SELECT seq FROM r WHERE lo=1 OR hi=1)) ORDER BY seq",
            "iii", job, bucket, total);
    else
        rc = hn_rows_open(&rows, db, err,
            "WITH b AS (SELECT min_seq,max_seq,min_loss,max_loss,bucket*?4/?2 AS k FROM "
            "metric_levels WHERE job=?1 AND level=?5), r AS (SELECT min_seq,max_seq,row_number() "
            "OVER (PARTITION BY k ORDER BY min_loss,min_seq) AS lo,row_number() OVER (PARTITION BY "
            "k ORDER BY max_loss DESC,max_seq) AS hi FROM b), s AS (SELECT min_seq AS seq FROM r "
            "WHERE lo=1 UNION SELECT max_seq FROM r WHERE hi=1 UNION SELECT ?3 UNION SELECT seq "
            "FROM metrics INDEXED BY metrics_evaluated WHERE job=?1 AND val IS NOT NULL) "
            /* CROSS: the few rows are looked up, whatever SQLite guesses about their number */
            "SELECT " METRIC_COLUMNS " FROM (SELECT seq AS at FROM s ORDER BY seq) CROSS JOIN "
            "metrics ON job=?1 AND seq=at ORDER BY seq",
            "iiiii", job, bucket, total, width, level);
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
