/*
 * /jobs/{id}/metrics. Pages by seq; `points` gives a thinned whole for plots; CSV merges the rows of a step, because that
 * is what a spreadsheet wants: one line a step, empty cells where nothing was measured.
 */
#include "api/handlers.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static json_t *real(double value) {
    return isnan(value) ? json_null() : json_real(value);
}

static json_t *metric_json(const struct hn_metric *m) {
    json_t *row = json_pack("{s:I,s:I,s:o,s:o,s:o,s:o,s:o,s:o,s:n}", "seq", (json_int_t)m->seq, "step", (json_int_t)m->step,
        "epoch", real(m->epoch), "tokens", m->tokens < 0 ? json_null() : json_integer(m->tokens), "loss", real(m->loss),
        "learning_rate", real(m->learning_rate), "grad_norm", real(m->grad_norm), "tokens_per_second",
        real(m->tokens_per_second), "val_loss");
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

/* Names of the val_ columns, in order of appearance, then the rows by step. */
static void csv_columns(const json_t *rows, json_t *columns) {
    size_t i;
    json_t *row, *value;
    const char *name;
    json_array_foreach(rows, i, row)
        json_object_foreach(row, name, value)
            if (strncmp(name, "val_", 4) == 0 && !json_object_get(columns, name))
                json_object_set_new(columns, name, json_true());
}

static void csv_cell(struct hn_buf *out, const json_t *value) {
    if (json_is_integer(value))
        hn_buf_printf(out, "%lld", (long long)json_integer_value(value));
    else if (json_is_real(value))
        hn_buf_printf(out, "%.15g", json_real_value(value));
    else if (json_is_string(value))
        hn_buf_text(out, json_string_value(value));
}

static json_t *merge_by_step(const json_t *rows) {
    json_t *merged = json_array(), *row, *last = NULL, *value;
    size_t i;
    const char *name;
    json_array_foreach(rows, i, row) {
        if (last && json_integer_value(json_object_get(last, "step")) == json_integer_value(json_object_get(row, "step"))) {
            json_object_foreach(row, name, value)
                if (!json_is_null(value) && strcmp(name, "time") != 0 && strcmp(name, "seq") != 0)
                    json_object_set(last, name, value);
        } else {
            last = json_copy(row);
            json_array_append_new(merged, last);
        }
    }
    return merged;
}

static int reply_csv(struct hn_request *req, const json_t *rows, struct hn_error *err) {
    static const char *const fixed[] = {"step", "epoch", "tokens", "loss", "learning_rate", "grad_norm",
        "tokens_per_second"};
    struct hn_buf out = {.ceiling = (size_t)1 << 30};
    json_t *columns = json_object(), *merged = merge_by_step(rows), *row, *value;
    const char *name;
    size_t i;
    json_object_set_new(columns, "val_loss", json_true());
    csv_columns(rows, columns);
    for (size_t k = 0; k < sizeof fixed / sizeof fixed[0]; k++)
        hn_buf_printf(&out, "%s,", fixed[k]);
    json_object_foreach(columns, name, value)
        hn_buf_printf(&out, "%s,", name);
    hn_buf_text(&out, "time\r\n");
    json_array_foreach(merged, i, row) {
        for (size_t k = 0; k < sizeof fixed / sizeof fixed[0]; k++) {
            csv_cell(&out, json_object_get(row, fixed[k]));
            hn_buf_char(&out, ',');
        }
        json_object_foreach(columns, name, value) {
            csv_cell(&out, json_object_get(row, name));
            hn_buf_char(&out, ',');
        }
        csv_cell(&out, json_object_get(row, "time"));
        hn_buf_text(&out, "\r\n");
    }
    json_decref(columns);
    json_decref(merged);
    if (out.failed) {
        hn_buf_free(&out);
        return hn_fail(err, HN_E_INTERNAL, "the series is too long for one answer");
    }
    hn_reply_bytes(req, 200, "text/csv; charset=utf-8", out.data, out.size);
    return 0;
}

int hn_jobs_metrics(struct hn_request *req, struct hn_error *err) {
    static const char *const formats[] = {"json", "csv", NULL};
    const char *format = "json";
    int64_t after = 0, limit = 1000, points = 0;
    struct hn_job job;
    int rc = hn_job_load(req, &job, err);
    if (!rc)
        rc = hn_query_word(req, "format", formats, &format, err);
    bool csv = format[0] == 'c';
    if (csv)
        limit = 1000000; /* a file is wanted whole */
    if (!rc)
        rc = hn_query_int(req, "after", 0, INT64_MAX, &after, err);
    if (!rc)
        rc = hn_query_int(req, "limit", 1, csv ? 1000000 : 10000, &limit, err);
    if (!rc)
        rc = hn_query_int(req, "points", 4, 100000, &points, err);
    json_t *rows = json_array();
    struct hn_db *db = rc ? NULL : hn_request_db(req, err);
    if (!rc)
        rc = points ? hn_db_metrics_thin(db, job.n, points, add_row, rows, err)
                    : hn_db_metrics(db, job.n, after, limit + 1, add_row, rows, err);
    bool more = !points && (int64_t)json_array_size(rows) > limit;
    if (more)
        json_array_remove(rows, (size_t)limit);
    const json_t *last = json_array_get(rows, json_array_size(rows) ? json_array_size(rows) - 1 : 0);
    hn_job_finish(&job);
    if (!rc && csv) {
        rc = reply_csv(req, rows, err);
        json_decref(rows);
        return rc;
    }
    if (rc) {
        json_decref(rows);
        return rc;
    }
    json_t *next = more ? json_incref(json_object_get(last, "seq")) : json_null();
    return hn_reply_json(req, 200, json_pack("{s:o,s:o}", "data", rows, "next", next), err);
}
