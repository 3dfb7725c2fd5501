/* jobs, show, cancel, pause, resume, delete. */
#include "server/client/client.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* Characters of a word that no shell reads as anything else. */
#define PLAIN "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-"

/* "40/100", or "" before the number of steps is known. */
static void steps_of(char ret[HN_FIGURE], const json_t *job) {
    double step = hn_member_number(job, "progress.step"),
           total = hn_member_number(job, "progress.total_steps");
    ret[0] = 0;
    if (total > 0 && total < 1e15 && step >= 0 && step < 1e15)
        snprintf(ret, HN_FIGURE, "%.0f/%.0f", step, total);
}

static void add_job(struct hn_client *c, struct hn_table *table, const json_t *job) {
    char steps[HN_FIGURE], loss[HN_FIGURE], best[HN_FIGURE], age[HN_FIGURE], *told = NULL;
    double value = hn_member_number(job, "metrics.best.value");
    steps_of(steps, job);
    if (isnan(value) ||
        asprintf(&told, "%s %s", hn_client_text(c, job, "metrics.best.metric"),
            hn_figure_number(best, value)) < 0)
        told = strdup("-");
    hn_table_add(table, hn_client_text(c, job, "id"));
    hn_table_add(table, hn_client_text(c, job, "name"));
    hn_table_add(table, hn_client_text(c, job, "status"));
    hn_table_add(table, hn_client_text(c, job, "model"));
    hn_table_add(table, steps);
    hn_table_add(table, hn_figure_number(loss, hn_member_number(job, "metrics.loss")));
    hn_table_add(table, hn_client_keep(c, told));
    hn_table_add(table, hn_client_text(c, job, "fit.health"));
    hn_table_add(table, hn_figure_age(age, json_string_value(json_object_get(job, "created_at"))));
}

static int read_limit(struct hn_client *c, size_t standard, size_t *ret) {
    const char *text = hn_client_option(c, "limit");
    char *end;
    *ret = standard;
    if (!text)
        return HN_CLIENT_WELL;
    long n = strtol(text, &end, 10);
    if (*end || end == text || n < 1 || n > 100000)
        return hn_client_usage(c, "--limit %s is not a number from 1 to 100000", text);
    *ret = (size_t)n;
    return HN_CLIENT_WELL;
}

/* Prints a list as a table: `names` of its columns, and what adds a row. */
static int print_list(struct hn_client *c, const char *path, size_t standard,
    const char *const *names, void (*add)(struct hn_client *, struct hn_table *, const json_t *),
    const char *none) {
    size_t most, i;
    json_t *rows = NULL, *row;
    struct hn_table table = {0};
    int status = read_limit(c, standard, &most);
    if (!status)
        status = hn_client_rows(c, path, most, &rows);
    if (!status && c->json)
        hn_client_print_json(rows);
    if (!status && !c->json && !json_array_size(rows))
        fprintf(stderr, "%s\n", none);
    if (!status && !c->json && json_array_size(rows)) {
        for (; names[table.columns]; table.columns++)
            hn_table_add(&table, names[table.columns]);
        json_array_foreach(rows, i, row)
            add(c, &table, row);
        hn_table_print(&table, stdout);
    }
    hn_table_finish(&table);
    json_decref(rows);
    return status;
}

/* What a shell offers where a job is meant: its id, and its name where that is one plain word. */
static int print_names(struct hn_client *c, const char *path) {
    size_t most, i;
    json_t *rows = NULL, *row;
    int status = read_limit(c, 100, &most);
    if (!status)
        status = hn_client_rows(c, path, most, &rows);
    json_array_foreach(rows, i, row) {
        const char *name = json_string_value(json_object_get(row, "name"));
        printf("%s\n", hn_client_text(c, row, "id"));
        if (name && *name && name[0] != '-' && strspn(name, PLAIN) == strlen(name))
            printf("%s\n", name);
    }
    json_decref(rows);
    return status;
}

int hn_client_jobs(struct hn_client *c) {
    static const char *const names[] = {
        "ID", "NAME", "STATUS", "MODEL", ">STEP", ">LOSS", "BEST", "FIT", "CREATED", NULL};
    const char *status = hn_client_option(c, "status"), *model = hn_client_option(c, "model"),
               *path = "/jobs";
    if (status)
        path = hn_client_path(c, "/jobs?status=%s", status);
    if (model) {
        struct hn_buf longer = {0};
        hn_buf_printf(
            &longer, "%s%cmodel=%s", path, status ? '&' : '?', hn_client_path(c, "%s", model));
        path = hn_client_keep(c, longer.data);
    }
    if (hn_client_option(c, "names"))
        return print_names(c, path);
    return print_list(
        c, path, 20, names, add_job, "no jobs; `honed submit FILE --model MODEL` makes one");
}

static void add_dataset(struct hn_client *c, struct hn_table *table, const json_t *set) {
    char bytes[HN_FIGURE], age[HN_FIGURE];
    hn_table_add(table, hn_client_text(c, set, "id"));
    hn_table_add(table, hn_client_text(c, set, "name"));
    hn_table_add(table, hn_client_text(c, set, "format"));
    hn_table_add(table, hn_client_text(c, set, "rows"));
    hn_table_add(table, hn_figure_bytes(bytes, hn_member_number(set, "bytes")));
    hn_table_add(table, hn_figure_age(age, json_string_value(json_object_get(set, "created_at"))));
}

int hn_client_datasets(struct hn_client *c) {
    static const char *const names[] = {"ID", "NAME", "FORMAT", ">ROWS", ">SIZE", "CREATED", NULL};
    return print_list(c, "/datasets", 20, names, add_dataset, "no data sets");
}

static void add_model(struct hn_client *c, struct hn_table *table, const json_t *model) {
    char parameters[HN_FIGURE], bytes[HN_FIGURE], age[HN_FIGURE];
    double n = hn_member_number(model, "parameters");
    snprintf(
        parameters, sizeof parameters, n >= 1e9 ? "%.1fB" : "%.0fM", n / (n >= 1e9 ? 1e9 : 1e6));
    hn_table_add(table, hn_client_text(c, model, "name"));
    hn_table_add(table, hn_client_text(c, model, "family"));
    hn_table_add(table, parameters);
    hn_table_add(table, hn_client_text(c, model, "quantisation"));
    hn_table_add(table, hn_figure_bytes(bytes, hn_member_number(model, "bytes")));
    hn_table_add(
        table, hn_figure_age(age, json_string_value(json_object_get(model, "created_at"))));
}

int hn_client_models_list(struct hn_client *c) {
    static const char *const names[] = {
        "NAME", "FAMILY", ">PARAMETERS", "QUANTISATION", ">SIZE", "IMPORTED", NULL};
    return print_list(c, "/models", 1000, names, add_model,
        "no models; `honed models import NAME PATH` takes one in");
}

static void line(const char *name, const char *value) {
    if (*value && strcmp(value, "-") != 0)
        printf("%-9s %s\n", name, value);
}

static void show_progress(struct hn_client *c, const json_t *job) {
    char steps[HN_FIGURE], eta[HN_FIGURE], loss[HN_FIGURE], val[HN_FIGURE];
    double seconds = hn_member_number(job, "progress.eta_seconds");
    struct hn_buf out = {0};
    steps_of(steps, job);
    hn_buf_text(&out, steps);
    if (!isnan(seconds))
        hn_buf_printf(&out, ", %s left", hn_figure_seconds(eta, seconds));
    line("step", out.data ? out.data : "");
    hn_buf_clear(&out);
    hn_buf_printf(&out, "%s", hn_figure_number(loss, hn_member_number(job, "metrics.loss")));
    if (!isnan(hn_member_number(job, "metrics.val_loss")))
        hn_buf_printf(&out, ", validation %s",
            hn_figure_number(val, hn_member_number(job, "metrics.val_loss")));
    line("loss", out.data ? out.data : "");
    hn_buf_clear(&out);
    if (!isnan(hn_member_number(job, "metrics.best.value")))
        hn_buf_printf(&out, "%s %s at step %s", hn_client_text(c, job, "metrics.best.metric"),
            hn_figure_number(val, hn_member_number(job, "metrics.best.value")),
            hn_client_text(c, job, "metrics.best.step"));
    line("best", out.data ? out.data : "");
    hn_buf_free(&out);
}

static void show_job(struct hn_client *c, const json_t *job) {
    const json_t *warning;
    size_t i;
    line("job", hn_client_text(c, job, "id"));
    line("name", hn_client_text(c, job, "name"));
    line("status", hn_client_text(c, job, "status"));
    line("reason", hn_client_text(c, job, "status_reason.message"));
    line("model", hn_client_text(c, job, "model"));
    line("task", hn_client_text(c, job, "task"));
    line("method", hn_client_text(c, job, "method"));
    line("data", hn_client_text(c, job, "dataset"));
    show_progress(c, job);
    line("fit", hn_client_text(c, job, "fit.verdict"));
    line("", hn_client_text(c, job, "fit.summary"));
    line("created", hn_client_text(c, job, "created_at"));
    line("finished", hn_client_text(c, job, "finished_at"));
    json_array_foreach(json_object_get(job, "warnings"), i, warning)
        line("warning", hn_client_text(c, warning, "message"));
}

int hn_client_show(struct hn_client *c) {
    json_t *job = NULL;
    int status = hn_client_find(c, HN_NAMED_JOB, c->words[0], &job);
    if (!status && c->json)
        hn_client_print_json(job);
    else if (!status)
        show_job(c, job);
    json_decref(job);
    return status;
}

/* Asks the same of every job that is named; the first that is refused does not keep it from the
 * others. */
static int ask_each(struct hn_client *c, const char *verb) {
    int status = HN_CLIENT_WELL;
    for (int i = 0; i < c->n_words; i++) {
        json_t *job = NULL, *after = NULL;
        int rc = hn_client_find(c, HN_NAMED_JOB, c->words[i], &job);
        const char *id = hn_client_text(c, job, "id");
        if (!rc)
            rc =
                hn_client_call(c, "POST", hn_client_path(c, "/jobs/%s/%s", id, verb), NULL, &after);
        if (!rc && c->json)
            hn_client_print_json(after);
        else if (!rc)
            printf("%s: %s%s%s\n", id, hn_client_text(c, after, "status"),
                json_is_string(json_object_get(after, "requested")) ? ", asked to " : "",
                json_is_string(json_object_get(after, "requested")) ? verb : "");
        status = rc ? rc : status;
        json_decref(job);
        json_decref(after);
    }
    return status;
}

int hn_client_cancel(struct hn_client *c) {
    return ask_each(c, "cancel");
}

int hn_client_pause(struct hn_client *c) {
    return ask_each(c, "pause");
}

int hn_client_resume(struct hn_client *c) {
    return ask_each(c, "resume");
}

int hn_client_confirm(struct hn_client *c, const char *what) {
    char answer[16] = "";
    if (hn_client_option(c, "yes"))
        return HN_CLIENT_WELL;
    if (!isatty(STDIN_FILENO) || !isatty(STDERR_FILENO))
        return hn_client_usage(
            c, "%s asks first, and here is nobody to ask: give --yes", c->command);
    fprintf(stderr, "%s? [y/N] ", what);
    if (fgets(answer, sizeof answer, stdin) && (answer[0] == 'y' || answer[0] == 'Y'))
        return HN_CLIENT_WELL;
    fputs("nothing was done\n", stderr);
    return HN_CLIENT_FAILED;
}

static int delete_one(struct hn_client *c, const char *word) {
    json_t *found = NULL;
    bool set = strncmp(word, "ds_", 3) == 0;
    char question[200];
    int status = hn_client_find(c, set ? HN_NAMED_DATASET : HN_NAMED_JOB, word, &found);
    const char *id = hn_client_text(c, found, "id");
    snprintf(question, sizeof question, "delete %s %.40s (%.80s) and its files",
        set ? "data set" : "job", id, hn_client_text(c, found, "name"));
    if (!status)
        status = hn_client_confirm(c, question);
    if (!status)
        status = hn_client_call(
            c, "DELETE", hn_client_path(c, set ? "/datasets/%s" : "/jobs/%s", id), NULL, NULL);
    if (!status && c->json)
        printf("{\"deleted\":\"%s\"}\n", id);
    else if (!status)
        printf("%s: deleted\n", id);
    json_decref(found);
    return status;
}

int hn_client_delete(struct hn_client *c) {
    int status = HN_CLIENT_WELL;
    for (int i = 0; i < c->n_words && status != HN_CLIENT_USAGE; i++) {
        int rc = delete_one(c, c->words[i]);
        status = rc ? rc : status;
    }
    return status;
}
