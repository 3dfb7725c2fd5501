/* /jobs/{id}/metrics: pages by seq, steps by `from` and `to`, thinned by `points`. */
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

/* What is asked for: the steps `from` to `to`, and of these what comes after the row `after`. */
static int read_range(struct hn_request *req, struct hn_db *db, int64_t job,
    struct hn_metric_range *ret, struct hn_error *err) {
    int64_t after = 0, from = 0, to = INT64_MAX;
    int rc = hn_query_int(req, "after", 0, INT64_MAX - 1, &after, err);
    if (!rc)
        rc = hn_query_int(req, "from", 0, INT64_MAX - 1, &from, err);
    if (!rc)
        rc = hn_query_int(req, "to", 0, INT64_MAX - 1, &to, err);
    if (rc)
        return rc;
    if (from > to) {
        hn_fail(
            err, HN_E_INVALID_FIELD, "from=%lld is behind to=%lld", (long long)from, (long long)to);
        hn_error_field(err, "from");
        hn_error_hint(err, "both are steps; the first of the range comes in from");
        return HN_E_INVALID_FIELD;
    }
    rc = hn_db_metric_range(db, job, from, to, ret, err);
    if (!rc && after >= ret->first)
        ret->first = after + 1;
    return rc;
}

int hn_jobs_metrics(struct hn_request *req, struct hn_error *err) {
    static const char *const formats[] = {"json", "csv", NULL};
    const char *format = "json";
    int64_t limit = 1000, points = 0;
    struct hn_metric_range range;
    struct hn_job job;
    int rc = hn_job_load(req, &job, err);
    int64_t number = job.n;
    hn_job_finish(&job);
    if (!rc)
        rc = hn_query_word(req, "format", formats, &format, err);
    if (!rc)
        rc = hn_query_int(req, "limit", 1, 10000, &limit, err);
    if (!rc)
        rc = hn_query_int(req, "points", 4, 100000, &points, err);
    struct hn_db *db = rc ? NULL : hn_request_db(req, err);
    if (!rc)
        rc = db ? read_range(req, db, number, &range, err) : HN_E_INTERNAL;
    if (rc)
        return rc;
    if (format[0] == 'c')
        return hn_metrics_csv(
            req, &range, hn_request_query(req, "limit") ? limit : INT64_MAX, points, err);
    json_t *rows = json_array(), *next = json_null();
    rc = points ? hn_db_metrics_thin(db, &range, points, add_row, rows, err)
                : hn_db_metrics(db, &range, limit + 1, add_row, rows, err);
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
