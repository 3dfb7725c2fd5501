/*
 * Metrics as CSV. Rows of one step become one line, because that is what a spreadsheet wants: empty
 * cells where nothing was measured. The file is made while it is sent, a page of rows at a time, so
 * a series of any length costs the same memory.
 */
#include "api/handlers.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define PAGE 2000
#define CELLS 6 /* of a training row, behind step */

struct csv {
    struct hn_stream stream;
    struct hn_server *server;
    struct hn_metric_range range; /* first: the next row to read */
    int64_t left;                 /* rows still to read */
    json_t *columns;              /* [names of the val_ columns] */
    struct hn_buf out;
    size_t at;
    bool ended;
    /* the line being put together */
    bool open;
    int64_t step;
    double cells[CELLS];
    json_t *val;
    char time[HN_TIME_SIZE + 16];
};

static void put_number(struct csv *csv, double value) {
    if (!isnan(value))
        hn_buf_printf(&csv->out, "%.15g", value);
    hn_buf_char(&csv->out, ',');
}

static void put_line(struct csv *csv) {
    size_t i;
    json_t *name;
    if (!csv->open)
        return;
    csv->open = false;
    hn_buf_printf(&csv->out, "%lld,", (long long)csv->step);
    for (size_t k = 0; k < CELLS; k++)
        put_number(csv, csv->cells[k]);
    json_array_foreach(csv->columns, i, name) {
        const json_t *value = json_object_get(csv->val, json_string_value(name));
        put_number(csv, json_is_number(value) ? json_number_value(value) : (double)NAN);
    }
    hn_buf_printf(&csv->out, "%s\r\n", csv->time);
}

static void take_row(void *ud, const struct hn_metric *m) {
    struct csv *csv = ud;
    csv->range.first = m->seq + 1;
    csv->left--;
    if (!csv->open || m->step != csv->step) {
        put_line(csv);
        csv->open = true;
        csv->step = m->step;
        for (size_t k = 0; k < CELLS; k++)
            csv->cells[k] = (double)NAN;
        json_object_clear(csv->val);
    }
    const double cells[CELLS] = {m->epoch, m->tokens < 0 ? (double)NAN : (double)m->tokens, m->loss,
        m->learning_rate, m->grad_norm, m->tokens_per_second};
    for (size_t k = 0; k < CELLS; k++)
        if (!isnan(cells[k]))
            csv->cells[k] = cells[k];
    json_t *val = NULL;
    if (m->val && hn_json_parse(m->val, strlen(m->val), &val, NULL) == 0)
        json_object_update(csv->val, val);
    json_decref(val);
    snprintf(csv->time, sizeof csv->time, "%s", m->time);
}

static void put_head(struct csv *csv) {
    size_t i;
    json_t *name;
    hn_buf_text(&csv->out, "step,epoch,tokens,loss,learning_rate,grad_norm,tokens_per_second,");
    json_array_foreach(csv->columns, i, name)
        hn_buf_printf(&csv->out, "%s,", json_string_value(name));
    hn_buf_text(&csv->out, "time\r\n");
}

/* Pool thread. The reader is taken for a page only: a slow client must not keep an old snapshot
 * alive. */
static int read_page(struct csv *csv) {
    int64_t before = csv->range.first, wanted = csv->left < PAGE ? csv->left : PAGE;
    hn_buf_clear(&csv->out);
    csv->at = 0;
    struct hn_db *db = hn_store_read(csv->server->store, NULL);
    int rc = db ? hn_db_metrics(db, &csv->range, wanted, take_row, csv, NULL) : HN_E_INTERNAL;
    hn_store_release(csv->server->store, db);
    if (!rc && (csv->range.first == before || csv->left <= 0)) {
        put_line(csv);
        csv->ended = true;
    }
    return rc || csv->out.failed ? HN_E_INTERNAL : 0;
}

static ssize_t read_csv(void *ud, char *buf, size_t max) {
    struct csv *csv = ud;
    while (csv->at == csv->out.size) {
        if (csv->ended)
            return HN_STREAM_END;
        if (read_page(csv))
            return HN_STREAM_ERROR;
    }
    size_t n = csv->out.size - csv->at < max ? csv->out.size - csv->at : max;
    memcpy(buf, csv->out.data + csv->at, n);
    csv->at += n;
    return (ssize_t)n;
}

static void close_csv(void *ud) {
    struct csv *csv = ud;
    json_decref(csv->columns);
    json_decref(csv->val);
    hn_buf_free(&csv->out);
    free(csv);
}

int hn_metrics_csv(struct hn_request *req, const struct hn_metric_range *range, int64_t limit,
    int64_t points, struct hn_error *err) {
    struct csv *csv = hn_calloc(1, sizeof *csv);
    struct hn_db *db = hn_request_db(req, err);
    if (!csv || !db) {
        free(csv);
        return hn_fail(err, HN_E_INTERNAL, "out of memory");
    }
    csv->stream =
        (struct hn_stream){.read = read_csv, .close = close_csv, .ud = csv, .blocking = true};
    csv->server = req->server;
    csv->range = *range;
    csv->left = limit;
    csv->val = json_object();
    int rc = hn_db_metric_names(db, range->job, &csv->columns, err);
    if (!rc)
        put_head(csv);
    if (!rc && points) {
        rc = hn_db_metrics_thin(db, range, points, take_row, csv, err);
        put_line(csv);
        csv->ended = true;
    }
    if (rc) {
        close_csv(csv);
        return rc;
    }
    hn_reply_stream(req, 200, "text/csv; charset=utf-8", &csv->stream);
    return 0;
}
