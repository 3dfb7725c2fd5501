/*
 * submit: a job from a file here, which comes along in the same request (a refused job leaves no
 * data set behind), or from a data set that the server has.
 */
#include "server/client/client.h"
#include "server/base/id.h"

#include <libgen.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#define PARTS 64 /* of a form: the fields of a job are fewer */

/* Not an id that a server told, even where a file of that name is here: what is sent is said by
 * this machine alone. */
static bool is_sent(const char *text) {
    struct stat st;
    return !hn_id_valid("ds", text) && stat(text, &st) == 0 && S_ISREG(st.st_mode);
}

static bool is_file(const char *path) {
    struct stat st;
    return stat(path, &st) == 0 && S_ISREG(st.st_mode);
}

/* Splits "name=value"; the value is borrowed from `pair`. */
static int split(struct hn_client *c, const char *option, const char *pair, char **ret_name,
    const char **ret_value) {
    const char *equals = strchr(pair, '=');
    if (!equals || equals == pair)
        return hn_client_usage(c, "--%s %s is not NAME=VALUE", option, pair);
    *ret_name = hn_client_keep(c, strndup(pair, (size_t)(equals - pair)));
    *ret_value = equals + 1;
    return HN_CLIENT_WELL;
}

/* A number, list, object, true, false or null as JSON, anything else as a text. */
static json_t *value_of(const char *text) {
    json_t *value = NULL;
    return hn_json_parse(text, strlen(text), &value, NULL) ? json_string(text) : value;
}

static json_t *member_object(json_t *body, const char *name) {
    json_t *object = json_object_get(body, name);
    if (!json_is_object(object)) {
        object = json_object();
        json_object_set_new(body, name, object);
    }
    return object;
}

/* Puts one option into the body of POST /jobs. */
static int take_option(struct hn_client *c, json_t *body, const struct hn_given_option *option) {
    static const char *const columns[] = {"text", "label", "prompt", "completion"};
    static const char *const fields[] = {"model", "name", "method", "validation"};
    const char *value = option->value;
    char *name = NULL;
    if (value && hn_utf8_valid(value, strlen(value)) != strlen(value))
        return hn_client_usage(c, "the value of --%s is not UTF-8", option->name);
    for (size_t i = 0; i < sizeof columns / sizeof columns[0]; i++)
        if (strcmp(option->name, columns[i]) == 0)
            json_object_set_new(member_object(body, "columns"), columns[i], json_string(value));
    for (size_t i = 0; i < sizeof fields / sizeof fields[0]; i++)
        if (strcmp(option->name, fields[i]) == 0)
            json_object_set_new(body, fields[i], hn_job_request_form(fields[i], value));
    if (strcmp(option->name, "column") == 0 || strcmp(option->name, "set") == 0 ||
        strcmp(option->name, "field") == 0) {
        int status = split(c, option->name, value, &name, &value);
        if (status)
            return status;
        if (option->name[0] == 'c')
            json_object_set_new(member_object(body, "columns"), name, json_string(value));
        else if (option->name[0] == 's')
            json_object_set_new(member_object(body, "hyperparameters"), name, value_of(value));
        else
            json_object_set_new(body, name, hn_job_request_form(name, value));
    }
    return HN_CLIENT_WELL;
}

/* The body as parts of a form, and what of it are files. */
static size_t make_parts(
    struct hn_client *c, const json_t *body, struct hn_part_to_send parts[PARTS]) {
    const char *name;
    json_t *value;
    size_t n = 0;
    json_object_foreach((json_t *)(uintptr_t)body, name, value) {
        const char *text = json_string_value(value);
        if (n == PARTS)
            break;
        if (text && hn_job_request_takes_file(name) && is_sent(text))
            parts[n++] = (struct hn_part_to_send){.name = name,
                .path = text,
                .filename = hn_client_keep(c, strdup(basename(hn_client_keep(c, strdup(text)))))};
        else
            parts[n++] = (struct hn_part_to_send){.name = name,
                .text = text
                    ? text
                    : hn_client_keep(c, json_dumps(value, JSON_COMPACT | JSON_ENCODE_ANY))};
    }
    return n;
}

static int post(struct hn_client *c, const json_t *body, json_t **ret) {
    struct hn_part_to_send parts[PARTS];
    struct hn_answer answer;
    struct hn_bar bar;
    size_t n = make_parts(c, body, parts), files = 0;
    for (size_t i = 0; i < n; i++)
        files += parts[i].path != NULL;
    struct hn_ask ask = {
        .method = "POST", .path = hn_client_option(c, "dry-run") ? "/jobs?dry_run=1" : "/jobs"};
    hn_bar_init(&bar);
    if (files) {
        ask.parts = parts;
        ask.n_parts = n;
        ask.progress = hn_client_on_upload;
        ask.ud = &bar;
    } else {
        ask.body = body;
    }
    enum hn_outcome outcome = hn_client_try(c, &ask, &answer);
    hn_bar_clear(&bar);
    int status = outcome ? hn_client_complain(c, &answer) : HN_CLIENT_WELL;
    if (!status)
        *ret = json_incref(answer.json);
    hn_answer_finish(&answer);
    return status;
}

static void print_settings(struct hn_client *c, const json_t *plan) {
    struct hn_table table = {.columns = 3};
    const char *name;
    json_t *value;
    json_object_foreach(json_object_get(plan, "hyperparameters"), name, value) {
        const json_t *why = json_object_get(json_object_get(plan, "auto"), name);
        if (!why)
            continue;
        hn_table_add(&table, name);
        hn_table_add(&table, hn_client_text(c, json_object_get(plan, "hyperparameters"), name));
        hn_table_add(&table, hn_client_text(c, json_object_get(plan, "auto"), name));
    }
    if (table.n)
        puts("\nchosen:");
    hn_table_print(&table, stdout);
    hn_table_finish(&table);
}

static void print_plan(struct hn_client *c, const json_t *plan) {
    char need[HN_FIGURE], have[HN_FIGURE], time[HN_FIGURE], disk[HN_FIGURE];
    const json_t *warning;
    size_t i;
    printf("steps    %s on %s rows, %s tokens a pass\n", hn_client_text(c, plan, "steps"),
        hn_client_text(c, plan, "rows"), hn_client_text(c, plan, "tokens"));
    printf("left out %s dropped, %s truncated\n", hn_client_text(c, plan, "dropped"),
        hn_client_text(c, plan, "truncated"));
    printf("memory   %s%s%s\n", hn_figure_bytes(need, hn_member_number(plan, "peak_bytes")),
        json_is_false(json_object_get(plan, "fits")) ? ", which does not fit into " : " of ",
        hn_figure_bytes(have, hn_member_number(plan, "available_bytes")));
    printf("disk     %s\n", hn_figure_bytes(disk, hn_member_number(plan, "disk_bytes")));
    printf(
        "time     about %s\n", hn_figure_seconds(time, hn_member_number(plan, "seconds_estimate")));
    json_array_foreach(json_object_get(plan, "warnings"), i, warning)
        printf("warning  %s\n", hn_client_text(c, warning, "message"));
    print_settings(c, plan);
}

static int finish(struct hn_client *c, const json_t *answer) {
    const char *id = hn_client_text(c, answer, "id");
    bool plan = hn_client_option(c, "dry-run"), watch = hn_client_option(c, "watch");
    if (c->json && (plan || !watch))
        hn_client_print_json(answer);
    else if (plan)
        print_plan(c, answer);
    else if (!c->json)
        printf("%s: %s\n", id, hn_client_text(c, answer, "status"));
    if (plan)
        return HN_CLIENT_WELL;
    if (watch) {
        fflush(stdout);
        return hn_client_follow(c, id);
    }
    if (!c->json)
        fprintf(stderr, "`honed watch %s` follows it\n", id);
    return HN_CLIENT_WELL;
}

static int take_id(struct hn_client *c, json_t *body, const char *id) {
    if (!id || !hn_id_valid("ds", id))
        return hn_client_fail(c, NULL, "the server names a data set by what is no id");
    json_object_set_new(body, "dataset", json_string(id));
    return HN_CLIENT_WELL;
}

int hn_client_submit(struct hn_client *c) {
    const char *data = c->words[0];
    json_t *body = json_object(), *set = NULL, *answer = NULL;
    int status = HN_CLIENT_WELL;
    if (!hn_client_option(c, "model"))
        status = hn_client_usage(c, "submit needs --model; `honed models` lists them");
    if (!status && hn_utf8_valid(data, strlen(data)) != strlen(data))
        status = hn_client_usage(c, "the name of the data is not UTF-8");
    else if (!status && is_file(data))
        json_object_set_new(body, "dataset", json_string(data));
    else if (!status && (strchr(data, '/') || strchr(data, '.')))
        status = hn_client_fail(c, "`honed datasets` lists what the server has already",
            "there is no file %.300s here", data);
    else if (!status && !(status = hn_client_find(c, HN_NAMED_DATASET, data, &set)))
        status = take_id(c, body, json_string_value(json_object_get(set, "id")));
    for (size_t i = 0; !status && i < c->n_options; i++)
        status = take_option(c, body, &c->options[i]);
    if (!status)
        status = post(c, body, &answer);
    if (!status)
        status = finish(c, answer);
    json_decref(answer);
    json_decref(set);
    json_decref(body);
    return status;
}
