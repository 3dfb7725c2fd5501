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

int hn_client_metrics(struct hn_client *c) {
    json_t *job = NULL, *answer = NULL;
    char path[200];
    bool as_plot = hn_client_option(c, "plot"), csv = hn_client_option(c, "csv");
    int status = hn_client_find(c, HN_NAMED_JOB, c->words[0], &job);
    const char *id = hn_client_text(c, job, "id");
    if (!status && csv)
        status = print_csv(c, id);
    if (!status && !csv) {
        snprintf(path, sizeof path, "%.150s%s", hn_client_path(c, "/jobs/%s/metrics", id),
            c->json       ? "?limit=10000"
                : as_plot ? "?points=1000"
                          : "?points=40");
        status = hn_client_get(c, path, &answer);
    }
    const json_t *rows = json_object_get(answer, "data");
    if (!status && c->json)
        hn_client_print_json(rows);
    else if (!status && as_plot)
        status = plot(c, job, rows);
    else if (!status && !csv)
        print_rows(c, rows, hn_client_text(c, job, "metrics.best.metric"));
    json_decref(answer);
    json_decref(job);
    return status;
}

/* The log from `*from` on, which moves to its end. */
static int print_log(struct hn_client *c, const char *id, size_t *from) {
    const struct hn_ask ask = {
        .method = "GET", .path = hn_client_path(c, "/jobs/%s/log", id), .accept = "text/plain"};
    struct hn_answer answer;
    int status = hn_client_try(c, &ask, &answer) ? hn_client_complain(c, &answer) : HN_CLIENT_WELL;
    if (!status && answer.body.size > *from) {
        hn_screen_write(stdout, answer.body.data + *from, answer.body.size - *from);
        fflush(stdout);
        *from = answer.body.size;
    }
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
        status = print_log(c, id, &from);
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
