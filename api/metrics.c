/* /jobs/{id}/metrics: pages by seq, `points` for a thinned whole; CSV is made in metrics_csv.c. */
#include "api/handlers.h"

#include <math.h>
#include <string.h>

static json_t *real(double value) {
    return isnan(value) ? json_null() : json_real(value);
}

static json_t *metric_json(const struct hn_metric *m) {
    json_t *row = HN_JSON_OBJECT({"seq", json_integer(m->seq)}, {"step", json_integer(m->step)},
        {"epoch", real(m->epoch)},
        {"tokens", m->tokens < 0 ? json_null() : json_integer(m->tokens)}, {"loss", real(m->loss)},
        {"learning_rate", real(m->learning_rate)}, {"grad_norm", real(m->grad_norm)},
        {"tokens_per_second", real(m->tokens_per_second)}, {"val_loss", json_null()});
    json_t *val = NULL;
    if (m->val && hn_json_parse(m->val, strlen(m->val), &val, NULL) == 0)
        json_object_update(row, val);
    json_decref(val);
    json_object_set_new(row, "time", json_string(m->time));
    return row;
}

static void add_row(void *ud, const struct hn_metric *m) {
    json_array_append_new(ud, metric_json(m));
}

int hn_jobs_metrics(struct hn_request *req, struct hn_error *err) {
    static const char *const formats[] = {"json", "csv", NULL};
    const char *format = "json";
    int64_t after = 0, limit = 1000, points = 0;
    struct hn_job job;
    int rc = hn_job_load(req, &job, err);
    int64_t number = job.n;
    hn_job_finish(&job);
    if (!rc)
        rc = hn_query_word(req, "format", formats, &format, err);
    if (!rc)
        rc = hn_query_int(req, "after", 0, INT64_MAX, &after, err);
    if (!rc)
        rc = hn_query_int(req, "limit", 1, 10000, &limit, err);
    if (!rc)
        rc = hn_query_int(req, "points", 4, 100000, &points, err);
    if (rc)
        return rc;
    if (format[0] == 'c')
        return hn_metrics_csv(
            req, number, after, hn_request_query(req, "limit") ? limit : INT64_MAX, points, err);
    json_t *rows = json_array(), *next = json_null();
    struct hn_db *db = hn_request_db(req, err);
    rc = !db     ? HN_E_INTERNAL
        : points ? hn_db_metrics_thin(db, number, points, add_row, rows, err)
                 : hn_db_metrics(db, number, after, limit + 1, add_row, rows, err);
    if (rc) {
        json_decref(rows);
        return rc;
    }
    if (!points && (int64_t)json_array_size(rows) > limit) {
        json_array_remove(rows, (size_t)limit);
        next = json_incref(json_object_get(json_array_get(rows, (size_t)limit - 1), "seq"));
    }
    return hn_reply_json(req, 200, json_pack("{s:o,s:o}", "data", rows, "next", next), err);
}
