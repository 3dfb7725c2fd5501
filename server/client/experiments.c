/* evaluate, compare, sweep, report. */
#include "server/client/client.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

static void print_numbers(struct hn_client *c, const json_t *object) {
    struct hn_table table = {.columns = 2};
    const char *name;
    json_t *value;
    json_object_foreach((json_t *)(uintptr_t)object, name, value) {
        char figure[HN_FIGURE];
        struct hn_buf clean = {0};
        hn_screen_clean(&clean, name, strlen(name), false);
        hn_table_add(&table, clean.data ? clean.data : "");
        hn_table_add(&table,
            json_is_number(value) ? hn_figure_number(figure, json_number_value(value))
                                  : hn_client_text(c, object, name));
        hn_buf_free(&clean);
    }
    hn_table_print(&table, stdout);
    hn_table_finish(&table);
}

int hn_client_evaluate(struct hn_client *c) {
    const char *step = hn_client_option(c, "step");
    json_t *of = NULL, *set = NULL, *answer = NULL, *body = NULL;
    enum hn_named kind = HN_NAMED_JOB;
    int status = hn_client_find_asked(c, c->words[0], &kind, &of);
    if (!status)
        status = hn_client_find(c, HN_NAMED_DATASET, c->words[1], &set);
    if (!status) {
        body = json_pack("{s:O}", "dataset", json_object_get(set, "id"));
        if (step)
            json_object_set_new(body, "step", hn_client_step(step));
        status = hn_client_call(c, "POST",
            hn_client_path(c, kind == HN_NAMED_JOB ? "/jobs/%s/evaluate" : "/models/%s/evaluate",
                json_string_value(json_object_get(of, kind == HN_NAMED_JOB ? "id" : "name"))),
            body, &answer);
    }
    if (!status && c->json) {
        hn_client_print_json(answer);
    } else if (!status) {
        printf("%s: %s rows, %s dropped\n", hn_client_text(c, answer, "id"),
            hn_client_text(c, answer, "rows"), hn_client_text(c, answer, "dropped"));
        print_numbers(c, json_object_get(answer, "metrics"));
    }
    json_decref(body);
    json_decref(answer);
    json_decref(set);
    json_decref(of);
    return status;
}

static void print_comparison(struct hn_client *c, const json_t *answer) {
    struct hn_table table = {.columns = 3};
    const json_t *row;
    size_t i;
    printf(
        "%s on %s rows\n", hn_client_text(c, answer, "metric"), hn_client_text(c, answer, "rows"));
    hn_table_add(&table, "RUN");
    hn_table_add(&table, ">VALUE");
    hn_table_add(&table, "INTERVAL");
    json_array_foreach(json_object_get(answer, "results"), i, row) {
        char value[HN_FIGURE];
        hn_table_add(&table, hn_client_text(c, row, "name"));
        hn_table_add(&table, hn_figure_number(value, hn_member_number(row, "value")));
        hn_table_add(&table, hn_client_text(c, row, "interval"));
    }
    hn_table_print(&table, stdout);
    hn_table_finish(&table);
    json_array_foreach(json_object_get(answer, "pairs"), i, row)
        printf("%s - %s: %s, p %s: %s\n", hn_client_text(c, row, "a"), hn_client_text(c, row, "b"),
            hn_client_text(c, row, "difference"), hn_client_text(c, row, "p_adjusted"),
            hn_client_text(c, row, "verdict"));
    if (json_is_string(json_object_get(answer, "summary")))
        printf("%s\n", hn_client_text(c, answer, "summary"));
}

/* Adds one that is compared to the list of its kind. */
static int add_compared(struct hn_client *c, const char *word, struct hn_buf lists[2]) {
    json_t *of = NULL;
    enum hn_named kind = HN_NAMED_JOB;
    int status = hn_client_find_asked(c, word, &kind, &of);
    struct hn_buf *list = &lists[kind != HN_NAMED_JOB];
    const char *name = json_string_value(json_object_get(of, kind == HN_NAMED_JOB ? "id" : "name"));
    if (!status && name)
        hn_buf_printf(list, "%s%s", list->size ? "," : "", hn_client_path(c, "%s", name));
    json_decref(of);
    return status;
}

int hn_client_compare(struct hn_client *c) {
    struct hn_buf lists[2] = {{0}}, path = {0};
    const char *set = hn_client_option(c, "dataset"), *metric = hn_client_option(c, "metric");
    json_t *found = NULL, *answer = NULL;
    int status = HN_CLIENT_WELL;
    for (int i = 0; i < c->n_words && !status; i++)
        status = add_compared(c, c->words[i], lists);
    if (!status && set)
        status = hn_client_find(c, HN_NAMED_DATASET, set, &found);
    hn_buf_printf(&path, "/compare?jobs=%s", lists[0].data ? lists[0].data : "");
    if (lists[1].size)
        hn_buf_printf(&path, "&models=%s", lists[1].data);
    if (found)
        hn_buf_printf(&path, "&dataset=%s",
            hn_client_path(c, "%s", json_string_value(json_object_get(found, "id"))));
    if (metric)
        hn_buf_printf(&path, "&metric=%s", hn_client_path(c, "%s", metric));
    if (!status)
        status = hn_client_get(c, path.data ? path.data : "/compare", &answer);
    if (!status && c->json)
        hn_client_print_json(answer);
    else if (!status)
        print_comparison(c, answer);
    hn_buf_free(&lists[0]);
    hn_buf_free(&lists[1]);
    hn_buf_free(&path);
    json_decref(found);
    json_decref(answer);
    return status;
}

static void print_trials(struct hn_client *c, const json_t *trials) {
    static const char *const names[] = {">N", "JOB", "STATUS", ">STEP", ">VALUE", "SETTINGS"};
    static const char *const members[] = {"number", "job", "status", "step", "value", "settings"};
    struct hn_table table = {.columns = 6};
    const json_t *trial;
    size_t i;
    for (size_t j = 0; j < 6; j++)
        hn_table_add(&table, names[j]);
    json_array_foreach((json_t *)(uintptr_t)trials, i, trial)
        for (size_t j = 0; j < 6; j++)
            hn_table_add(&table, hn_client_text(c, trial, members[j]));
    hn_table_print(&table, stdout);
    hn_table_finish(&table);
}

static int show_sweep(struct hn_client *c, const json_t *sweep) {
    json_t *trials = NULL;
    const char *id = hn_client_text(c, sweep, "id");
    printf("%s: %s %s, %s of %s trials ended\n", id, hn_client_text(c, sweep, "kind"),
        hn_client_text(c, sweep, "status"), hn_client_text(c, sweep, "progress.finished"),
        hn_client_text(c, sweep, "progress.trials"));
    if (json_is_object(json_object_get(sweep, "best")))
        printf("best: trial %s, %s %s\n", hn_client_text(c, sweep, "best.number"),
            hn_client_text(c, sweep, "best.metric"), hn_client_text(c, sweep, "best.value"));
    if (json_is_string(json_object_get(sweep, "summary")))
        printf("%s\n", hn_client_text(c, sweep, "summary"));
    int status = hn_client_get(c, hn_client_path(c, "/sweeps/%s/trials", id), &trials);
    if (!status)
        print_trials(c, json_object_get(trials, "data"));
    json_decref(trials);
    return status;
}

static int submit_sweep(struct hn_client *c, const char *file) {
    json_t *body = NULL, *answer = NULL;
    struct hn_error err = {0};
    bool plan = hn_client_option(c, "dry-run");
    if (hn_json_load(strcmp(file, "-") == 0 ? "/dev/stdin" : file, 4 << 20, &body, &err))
        return hn_client_fail(c,
            "a file with the body of POST /sweeps; the manual's page "
            "\"sweeps\" has examples",
            "%s", err.message);
    int status = hn_client_call(c, "POST", plan ? "/sweeps?dry_run=1" : "/sweeps", body, &answer);
    if (!status && (c->json || plan))
        hn_client_print_json(answer);
    else if (!status)
        printf("%s: %s\n", hn_client_text(c, answer, "id"), hn_client_text(c, answer, "status"));
    json_decref(body);
    json_decref(answer);
    return status;
}

static int list_sweeps(struct hn_client *c) {
    static const char *const members[] = {
        "id", "name", "kind", "status", "progress.finished", "progress.trials"};
    struct hn_table table = {.columns = 6};
    json_t *rows = NULL, *row;
    size_t i;
    int status = hn_client_rows(c, "/sweeps", 100, &rows);
    if (!status && c->json)
        hn_client_print_json(rows);
    static const char *const names[] = {"ID", "NAME", "KIND", "STATUS", ">ENDED", ">TRIALS"};
    for (size_t j = 0; j < 6; j++)
        hn_table_add(&table, names[j]);
    json_array_foreach(rows, i, row)
        for (size_t j = 0; j < 6; j++)
            hn_table_add(&table, hn_client_text(c, row, members[j]));
    if (!status && !c->json)
        hn_table_print(&table, stdout);
    hn_table_finish(&table);
    json_decref(rows);
    return status;
}

int hn_client_sweep(struct hn_client *c) {
    const char *verb = c->n_words ? c->words[0] : "list";
    bool show = strcmp(verb, "show") == 0;
    json_t *sweep = NULL, *after = NULL;
    if (strcmp(verb, "list") == 0)
        return list_sweeps(c);
    if (c->n_words < 2)
        return hn_client_usage(c, "sweep %s needs another word", verb);
    if (strcmp(verb, "submit") == 0)
        return submit_sweep(c, c->words[1]);
    if (!show && strcmp(verb, "cancel") != 0 && strcmp(verb, "pause") != 0 &&
        strcmp(verb, "resume") != 0)
        return hn_client_usage(
            c, "sweep has list, submit, show, cancel, pause and resume, and no \"%s\"", verb);
    int status = hn_client_find(c, HN_NAMED_SWEEP, c->words[1], &sweep);
    const char *id = hn_client_text(c, sweep, "id");
    if (!status && !show)
        status =
            hn_client_call(c, "POST", hn_client_path(c, "/sweeps/%s/%s", id, verb), NULL, &after);
    if (!status && c->json)
        hn_client_print_json(show ? sweep : after);
    else if (!status && show)
        status = show_sweep(c, sweep);
    else if (!status)
        printf("%s: %s\n", id, hn_client_text(c, after, "status"));
    json_decref(after);
    json_decref(sweep);
    return status;
}

static void print_report(struct hn_client *c, const json_t *report) {
    const json_t *finding;
    size_t i;
    printf("%s: %s rows, %zu findings\n", hn_client_text(c, report, "dataset"),
        hn_client_text(c, report, "rows"), json_array_size(json_object_get(report, "findings")));
    json_array_foreach(json_object_get(report, "findings"), i, finding) {
        printf("%-8s %s: %s\n", hn_client_text(c, finding, "severity"),
            hn_client_text(c, finding, "code"), hn_client_text(c, finding, "message"));
        if (json_is_string(json_object_get(finding, "fix")))
            printf("         %s\n", hn_client_text(c, finding, "fix"));
    }
}

int hn_client_report(struct hn_client *c) {
    const char *model = hn_client_option(c, "model"), *against = hn_client_option(c, "against");
    json_t *set = NULL, *other = NULL, *report = NULL;
    struct hn_buf path = {0};
    struct hn_bar bar;
    hn_bar_init(&bar);
    int status = hn_client_find(c, HN_NAMED_DATASET, c->words[0], &set);
    if (!status && against)
        status = hn_client_find(c, HN_NAMED_DATASET, against, &other);
    hn_buf_printf(&path, "%s?wait=5",
        hn_client_path(
            c, "/datasets/%s/report", set ? json_string_value(json_object_get(set, "id")) : ""));
    if (other)
        hn_buf_printf(&path, "&against=%s",
            hn_client_path(c, "%s", json_string_value(json_object_get(other, "id"))));
    if (model)
        hn_buf_printf(&path, "&model=%s", hn_client_path(c, "%s", model));
    while (!status && path.data) {
        json_decref(report);
        report = NULL;
        status = hn_client_get(c, path.data, &report);
        if (status || !json_object_get(report, "progress"))
            break;
        hn_bar_show(&bar, "reading", hn_member_number(report, "progress"), "", false);
    }
    hn_bar_clear(&bar);
    if (!status && c->json)
        hn_client_print_json(report);
    else if (!status)
        print_report(c, report);
    hn_buf_free(&path);
    json_decref(report);
    json_decref(other);
    json_decref(set);
    return status;
}
