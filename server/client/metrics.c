/* metrics and logs. */
#include "server/client/client.h"
#include "server/client/plot.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define SERIES 8 /* plots of one command */

static int print_csv(struct hn_client *c, const char *id) {
    const struct hn_ask ask = {.method = "GET",
        .path = hn_client_path(c, "/jobs/%s/metrics?format=csv", id),
        .accept = "text/csv",
        .sink = hn_client_to_stdout};
    struct hn_answer answer;
    int status = hn_client_try(c, &ask, &answer) ? hn_client_complain(c, &answer) : HN_CLIENT_WELL;
    hn_answer_finish(&answer);
    return status;
}

static bool has_number(const json_t *rows, const char *name) {
    const json_t *row;
    size_t i;
    json_array_foreach((json_t *)(uintptr_t)rows, i, row)
        if (json_is_number(json_object_get(row, name)))
            return true;
    return false;
}

static int plot_one(struct hn_client *c, const json_t *rows, const char *name) {
    size_t n = json_array_size(rows), used = 0, i;
    double *x = hn_calloc(n + 1, sizeof *x), *y = hn_calloc(n + 1, sizeof *y);
    const json_t *row;
    struct hn_buf out = {0}, title = {0};
    json_array_foreach((json_t *)(uintptr_t)rows, i, row) {
        double value = hn_member_number(row, name);
        if (!x || !y || isnan(value))
            continue;
        x[used] = hn_member_number(row, "step");
        y[used++] = value;
    }
    hn_screen_clean(&title, name, strlen(name), false);
    if (x && y && title.data)
        hn_plot_draw(&out,
            &(struct hn_plot){.title = title.data,
                .x = x,
                .y = y,
                .n = used,
                .width = hn_screen_width(STDOUT_FILENO),
                .height = 14,
                .braille = hn_screen_utf8()});
    fputs(out.data ? out.data : "", stdout);
    bool failed = out.failed || !out.data;
    hn_buf_free(&out);
    hn_buf_free(&title);
    free(x);
    free(y);
    return failed ? hn_client_fail(c, NULL, "out of memory") : HN_CLIENT_WELL;
}

/* The metrics that are asked for, or the two losses and what the best step is chosen by. */
static int plot(struct hn_client *c, const json_t *job, const json_t *rows) {
    const char *names[SERIES], *best = json_string_value(hn_member(job, "metrics.best.metric"));
    size_t n = 0;
    int status = HN_CLIENT_WELL;
    for (size_t i = 0; i < c->n_options && n < SERIES; i++)
        if (strcmp(c->options[i].name, "metric") == 0)
            names[n++] = c->options[i].value;
    if (!n) {
        names[n++] = "loss";
        if (has_number(rows, "val_loss"))
            names[n++] = "val_loss";
        if (best && strcmp(best, "val_loss") != 0 && has_number(rows, best))
            names[n++] = best;
    }
    for (size_t i = 0; i < n && !status; i++)
        status = plot_one(c, rows, names[i]);
    return status;
}

static void print_rows(struct hn_client *c, const json_t *rows, const char *best) {
    const char *names[] = {"step", "epoch", "loss", "val_loss", best, "learning_rate"};
    struct hn_table table = {0};
    const json_t *row;
    size_t i;
    bool again = !best || strcmp(best, "val_loss") == 0 || strcmp(best, "loss") == 0;
    table.columns = again ? 5 : 6;
    for (size_t j = 0; j < 6; j++)
        if (j != 4 || !again) {
            char head[80];
            snprintf(head, sizeof head, ">%.70s", names[j]);
            hn_table_add(&table, head);
        }
    json_array_foreach((json_t *)(uintptr_t)rows, i, row)
        for (size_t j = 0; j < 6; j++)
            if (j != 4 || !again) {
                char cell[HN_FIGURE];
                hn_table_add(&table,
                    j == 0 ? hn_client_text(c, row, "step")
                           : hn_figure_number(cell, hn_member_number(row, names[j])));
            }
    hn_table_print(&table, stdout);
    hn_table_finish(&table);
}

/* All rows, page by page. */
static int print_all(struct hn_client *c, const char *id) {
    json_t *all = json_array();
    json_int_t after = 0;
    int status = HN_CLIENT_WELL;
    for (bool more = true; !status && more;) {
        char path[200];
        json_t *page = NULL;
        snprintf(path, sizeof path, "%.150s?limit=10000&after=%lld",
            hn_client_path(c, "/jobs/%s/metrics", id), (long long)after);
        status = hn_client_get(c, path, &page);
        const json_t *rows = json_object_get(page, "data"), *next = json_object_get(page, "next");
        more = json_is_integer(next) && json_integer_value(next) > after && json_array_size(rows);
        after = json_integer_value(next);
        if (!status)
            json_array_extend(all, (json_t *)(uintptr_t)rows);
        json_decref(page);
    }
    if (!status)
        hn_client_print_json(all);
    json_decref(all);
    return status;
}

int hn_client_metrics(struct hn_client *c) {
    json_t *job = NULL, *answer = NULL;
    char path[200];
    bool as_plot = hn_client_option(c, "plot"), csv = hn_client_option(c, "csv");
    int status = hn_client_find(c, HN_NAMED_JOB, c->words[0], &job);
    const char *id = hn_client_text(c, job, "id");
    if (!status && csv)
        status = print_csv(c, id);
    else if (!status && c->json)
        status = print_all(c, id);
    else if (!status) {
        snprintf(path, sizeof path, "%.150s%s", hn_client_path(c, "/jobs/%s/metrics", id),
            as_plot ? "?points=1000" : "?points=40");
        status = hn_client_get(c, path, &answer);
    }
    const json_t *rows = json_object_get(answer, "data");
    if (!status && rows && as_plot)
        status = plot(c, job, rows);
    else if (!status && rows)
        print_rows(c, rows, json_string_value(hn_member(job, "metrics.best.metric")));
    json_decref(answer);
    json_decref(job);
    return status;
}

/* A log as it comes, of which the beginning was shown before. */
struct log {
    size_t shown, seen;
    struct hn_buf line; /* the beginning of a line whose end has not come */
};

static bool on_log(void *ud, long status, const char *data, size_t size) {
    struct log *log = ud;
    size_t known = log->shown > log->seen ? log->shown - log->seen : 0;
    log->seen += size;
    if (status != 200 || known >= size)
        return true;
    hn_buf_append(&log->line, data + known, size - known);
    const char *end = log->line.data ? memrchr(log->line.data, '\n', log->line.size) : NULL;
    size_t n = end ? (size_t)(end - log->line.data) + 1 : 0;
    hn_screen_write(stdout, log->line.data, n);
    memmove(log->line.data, log->line.data + n, log->line.size - n);
    log->line.size -= n;
    log->shown += n;
    return !log->line.failed;
}

/* The log from `*from` on, which moves to the end of its last whole line; with `last` all of it. */
static int print_log(struct hn_client *c, const char *id, bool last, size_t *from) {
    struct log log = {.shown = *from};
    const struct hn_ask ask = {.method = "GET",
        .path = hn_client_path(c, "/jobs/%s/log", id),
        .accept = "text/plain",
        .sink = on_log,
        .ud = &log};
    struct hn_answer answer;
    int status = hn_client_try(c, &ask, &answer) ? hn_client_complain(c, &answer) : HN_CLIENT_WELL;
    if (!status && last && log.line.size)
        hn_screen_write(stdout, log.line.data, log.line.size);
    fflush(stdout);
    *from = log.shown;
    hn_buf_free(&log.line);
    hn_answer_finish(&answer);
    return status;
}

int hn_client_logs(struct hn_client *c) {
    json_t *job = NULL;
    size_t from = 0;
    bool follow = hn_client_option(c, "follow"), ended = false;
    int status = hn_client_find(c, HN_NAMED_JOB, c->words[0], &job);
    const char *id = hn_client_text(c, job, "id");
    size_t mark = c->n_kept;
    while (!status) {
        ended = !follow || hn_client_ended(job);
        status = print_log(c, id, ended, &from);
        if (ended || status)
            break;
        sleep(1);
        json_decref(job);
        job = NULL;
        status = hn_client_get(c, hn_client_path(c, "/jobs/%s", id), &job);
        hn_client_forget(c, mark);
    }
    json_decref(job);
    return status;
}
