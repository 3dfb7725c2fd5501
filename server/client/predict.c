/* predict and chat: answers of a job's result or of a base model. */
#include "server/client/client.h"
#include "server/client/csv.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define BATCH 256

struct questions {
    struct hn_client *client;
    const char *path; /* of the predictions */
    json_t *settings; /* all of the body but its inputs */
    json_t *inputs, *all;
    /* gets each batch */
    int (*print)(struct questions *q, const json_t *inputs, const json_t *answers);
    /* of a file */
    struct hn_csv csv;
    size_t column;
    json_t *rows; /* the fields of the batch's rows */
};

json_t *hn_client_step(const char *text) {
    char *end;
    long long n = strtoll(text, &end, 10);
    return *end || end == text ? json_string(text) : json_integer(n);
}

static int read_settings(struct hn_client *c, json_t **ret) {
    static const char *const numbers[][2] = {
        {"max-tokens", "max_tokens"}, {"temperature", "temperature"}, {"seed", "seed"}};
    const char *step = hn_client_option(c, "step");
    json_t *settings = *ret = json_object();
    if (step)
        json_object_set_new(settings, "step", hn_client_step(step));
    for (size_t i = 0; i < sizeof numbers / sizeof numbers[0]; i++) {
        const char *text = hn_client_option(c, numbers[i][0]);
        json_t *value = NULL;
        if (!text)
            continue;
        if (hn_json_parse(text, strlen(text), &value, NULL) || !json_is_number(value)) {
            json_decref(value);
            return hn_client_usage(c, "--%s %s is not a number", numbers[i][0], text);
        }
        json_object_set_new(settings, numbers[i][1], value);
    }
    return HN_CLIENT_WELL;
}

static int begin(struct hn_client *c, struct questions *q) {
    enum hn_named kind = HN_NAMED_JOB;
    json_t *of = NULL;
    *q = (struct questions){.client = c, .inputs = json_array(), .all = json_array()};
    int status = read_settings(c, &q->settings);
    if (!status)
        status = hn_client_find_asked(c, c->words[0], &kind, &of);
    if (!status)
        q->path =
            hn_client_path(c, kind == HN_NAMED_JOB ? "/jobs/%s/predict" : "/models/%s/predict",
                json_string_value(json_object_get(of, kind == HN_NAMED_JOB ? "id" : "name")));
    json_decref(of);
    return status;
}

static void end(struct questions *q) {
    json_decref(q->settings);
    json_decref(q->inputs);
    json_decref(q->all);
    json_decref(q->rows);
    hn_csv_finish(&q->csv);
}

/* An answer in a few words, whatever the task is; *ret_score is NaN where there is none. */
static void answer_text(const json_t *answer, struct hn_buf *out, double *ret_score) {
    static const char *const members[] = {"label", "answer", "text"};
    const json_t *list = json_object_get(answer, "entities"), *one;
    size_t i;
    *ret_score = hn_member_number(answer, "score");
    hn_buf_text(out, "");
    for (i = 0; i < 3; i++) {
        const json_t *text = json_object_get(answer, members[i]);
        if (!json_is_string(text))
            continue;
        hn_buf_append(out, json_string_value(text), json_string_length(text));
        if (i == 0)
            *ret_score = json_number_value(
                json_object_get(json_object_get(answer, "probabilities"), json_string_value(text)));
        return;
    }
    if (json_is_number(json_object_get(answer, "value")))
        hn_buf_printf(out, "%.6g", hn_member_number(answer, "value"));
    json_array_foreach((json_t *)(uintptr_t)list, i, one) {
        const char *text = json_string_value(json_object_get(one, "text")),
                   *label = json_string_value(json_object_get(one, "label"));
        hn_buf_printf(out, "%s%s/%s", i ? ", " : "", text ? text : "", label ? label : "");
    }
    if (!list)
        json_array_foreach(json_object_get(answer, "labels"), i, one)
            hn_buf_printf(
                out, "%s%s", i ? "," : "", json_string_value(one) ? json_string_value(one) : "");
}

static int print_lines(struct questions *q, const json_t *inputs, const json_t *answers) {
    const json_t *answer;
    size_t i;
    (void)inputs;
    json_array_foreach((json_t *)(uintptr_t)answers, i, answer) {
        struct hn_buf text = {0};
        double score;
        answer_text(answer, &text, &score);
        if (json_is_string(json_object_get(answer, "label")) && score > 0 && score <= 1)
            hn_buf_printf(&text, "  (%.3f)", score);
        hn_buf_char(&text, '\n');
        if (!q->client->json)
            hn_screen_write(stdout, text.data ? text.data : "", text.size);
        hn_buf_free(&text);
    }
    fflush(stdout);
    return HN_CLIENT_WELL;
}

static void write_out(struct hn_buf *out) {
    hn_screen_write(stdout, out->data ? out->data : "", out->size);
    hn_buf_free(out);
}

static int print_csv(struct questions *q, const json_t *inputs, const json_t *answers) {
    const json_t *answer, *field;
    struct hn_buf out = {0};
    size_t i, j;
    (void)inputs;
    json_array_foreach((json_t *)(uintptr_t)answers, i, answer) {
        struct hn_buf text = {0};
        double score;
        answer_text(answer, &text, &score);
        json_array_foreach(json_array_get(q->rows, i), j, field) {
            hn_csv_write(&out, q->csv.separator, json_string_value(field));
            hn_buf_char(&out, q->csv.separator);
        }
        hn_csv_write(&out, q->csv.separator, text.data ? text.data : "");
        hn_buf_char(&out, q->csv.separator);
        if (!isnan(score))
            hn_buf_printf(&out, "%.6g", score);
        hn_buf_char(&out, '\n');
        hn_buf_free(&text);
    }
    write_out(&out);
    json_array_clear(q->rows);
    return HN_CLIENT_WELL;
}

/* Asks what has gathered. */
static int flush(struct questions *q) {
    json_t *body, *answer = NULL;
    if (!json_array_size(q->inputs))
        return HN_CLIENT_WELL;
    body = json_copy(q->settings);
    json_object_set(body, "inputs", q->inputs);
    int status = hn_client_call(q->client, "POST", q->path, body, &answer);
    const json_t *data = json_object_get(answer, "data");
    if (!status && json_array_size(data) != json_array_size(q->inputs))
        status = hn_client_fail(q->client, NULL, "the server answered %zu of %zu inputs",
            json_array_size(data), json_array_size(q->inputs));
    if (!status && q->client->json)
        json_array_extend(q->all, (json_t *)(uintptr_t)data);
    else if (!status)
        status = q->print(q, q->inputs, data);
    json_array_clear(q->inputs);
    json_decref(body);
    json_decref(answer);
    return status;
}

static int add(struct questions *q, const char *text) {
    json_t *value = json_string(text);
    if (!value)
        return hn_client_fail(q->client, NULL, "an input is not UTF-8: %.100s", text);
    json_array_append_new(q->inputs, value);
    return json_array_size(q->inputs) < BATCH ? HN_CLIENT_WELL : flush(q);
}

static int ask_lines(struct questions *q, FILE *file) {
    char *line = NULL;
    size_t room = 0;
    ssize_t n;
    int status = HN_CLIENT_WELL;
    while (!status && (n = getline(&line, &room, file)) > 0) {
        while (n && (line[n - 1] == '\n' || line[n - 1] == '\r'))
            line[--n] = 0;
        if (n)
            status = add(q, line);
    }
    free(line);
    return status;
}

static int find_column(struct questions *q) {
    const char *wanted = hn_client_option(q->client, "text");
    if (!wanted && q->csv.n == 1)
        return HN_CLIENT_WELL;
    for (size_t i = 0; i < q->csv.n; i++)
        if (strcmp(q->csv.fields[i], wanted ? wanted : "text") == 0) {
            q->column = i;
            return HN_CLIENT_WELL;
        }
    struct hn_buf names = {0};
    for (size_t i = 0; i < q->csv.n && i < 20; i++)
        hn_buf_printf(&names, "%s%.60s", i ? ", " : "", q->csv.fields[i]);
    int status = hn_client_fail(q->client, "name the column of the inputs with --text",
        "the file has no column \"%.100s\", but %.500s", wanted ? wanted : "text",
        names.data ? names.data : "none");
    hn_buf_free(&names);
    return status;
}

static int ask_csv(struct questions *q, const char *path) {
    struct hn_client *c = q->client;
    struct hn_error err = {0};
    struct hn_buf head = {0};
    int status = HN_CLIENT_WELL, rc = hn_csv_open(&q->csv, path, &err);
    q->rows = json_array();
    q->print = print_csv;
    if (!rc)
        rc = hn_csv_next(&q->csv, &err);
    if (rc)
        return hn_client_fail(c, err.hint, "%s", rc > 0 ? "the file is empty" : err.message);
    size_t columns = q->csv.n;
    status = find_column(q);
    for (size_t i = 0; !status && !c->json && i < columns; i++) {
        hn_csv_write(&head, q->csv.separator, q->csv.fields[i]);
        hn_buf_char(&head, q->csv.separator);
    }
    if (!status && !c->json)
        hn_buf_printf(&head, "prediction%cscore\n", q->csv.separator);
    write_out(&head);
    while (!status && !(rc = hn_csv_next(&q->csv, &err))) {
        json_t *row = json_array();
        for (size_t i = 0; i < columns; i++)
            json_array_append_new(row, json_string(i < q->csv.n ? q->csv.fields[i] : ""));
        json_array_append_new(q->rows, row);
        status = add(q, q->column < q->csv.n ? q->csv.fields[q->column] : "");
    }
    return !status && rc < 0 ? hn_client_fail(c, err.hint, "%s", err.message) : status;
}

int hn_client_predict(struct hn_client *c) {
    struct questions q;
    const char *file = hn_client_option(c, "csv");
    bool lines = c->n_words == 2 && strcmp(c->words[1], "-") == 0;
    int status = begin(c, &q);
    q.print = print_lines;
    if (!status && file)
        status = ask_csv(&q, file);
    else if (!status && c->n_words == 1 && isatty(STDIN_FILENO))
        status =
            hn_client_usage(c, "predict needs texts, - for the lines of its input, or --csv FILE");
    else if (!status && (lines || c->n_words == 1))
        status = ask_lines(&q, stdin);
    for (int i = 1; !status && !file && !lines && i < c->n_words; i++)
        status = add(&q, c->words[i]);
    if (!status)
        status = flush(&q);
    if (!status && c->json)
        hn_client_print_json(q.all);
    end(&q);
    return status;
}

/* A chat's answer as it comes: server-sent events, cut into lines. */
struct stream {
    struct hn_client *client;
    struct hn_buf line, answer;
    char event[16];
    bool failed;
};

static void on_event(struct stream *s, const char *data, size_t size) {
    json_t *value = NULL;
    if (hn_json_parse(data, size, &value, NULL))
        return;
    const json_t *text = json_object_get(value, "text"), *error = json_object_get(value, "error");
    if (strcmp(s->event, "chunk") == 0 && json_is_string(text)) {
        hn_screen_write(stdout, json_string_value(text), json_string_length(text));
        fflush(stdout);
        hn_buf_append(&s->answer, json_string_value(text), json_string_length(text));
    } else if (error) {
        const char *message = json_string_value(json_object_get(error, "message"));
        s->failed = true;
        hn_client_fail(s->client, json_string_value(json_object_get(error, "hint")), "%s",
            message ? message : "the server could not answer");
    }
    json_decref(value);
}

static bool on_stream(void *ud, long status, const char *data, size_t size) {
    struct stream *s = ud;
    (void)status;
    s->line.ceiling = s->answer.ceiling = 16 << 20;
    for (size_t i = 0; i < size; i++) {
        if (data[i] != '\n') {
            hn_buf_char(&s->line, data[i]);
            continue;
        }
        const char *line = s->line.data ? s->line.data : "";
        if (strncmp(line, "event: ", 7) == 0)
            snprintf(s->event, sizeof s->event, "%s", line + 7);
        else if (strncmp(line, "data: ", 6) == 0)
            on_event(s, line + 6, s->line.size - 6);
        hn_buf_clear(&s->line);
    }
    return !s->line.failed && !s->answer.failed;
}

static int answer_turn(struct questions *q, json_t *messages) {
    struct stream s = {.client = q->client};
    struct hn_answer answer;
    json_t *body = json_copy(q->settings);
    json_object_set_new(body, "inputs", json_pack("[O]", messages));
    json_object_set_new(body, "stream", json_true());
    const struct hn_ask ask = {.method = "POST",
        .path = q->path,
        .body = body,
        .accept = "text/event-stream",
        .sink = on_stream,
        .ud = &s};
    int status = hn_client_try(q->client, &ask, &answer) ? hn_client_complain(q->client, &answer)
        : s.failed                                       ? HN_CLIENT_FAILED
                                                         : HN_CLIENT_WELL;
    if (!status) {
        putchar('\n');
        fflush(stdout);
        json_array_append_new(messages,
            json_pack("{s:s,s:o}", "role", "assistant", "content",
                hn_json_text(s.answer.data ? s.answer.data : "", s.answer.size)));
    }
    hn_buf_free(&s.line);
    hn_buf_free(&s.answer);
    hn_answer_finish(&answer);
    json_decref(body);
    return status;
}

int hn_client_chat(struct hn_client *c) {
    struct questions q;
    json_t *messages = json_array();
    char *line = NULL;
    size_t room = 0;
    ssize_t n;
    bool terminal = isatty(STDIN_FILENO);
    const char *system = hn_client_option(c, "system");
    int status = begin(c, &q);
    if (system)
        json_array_append_new(
            messages, json_pack("{s:s,s:s}", "role", "system", "content", system));
    if (terminal && !status)
        fputs("Ctrl-D ends the chat, an empty line begins a new one\n", stderr);
    while (!status) {
        if (terminal)
            fputs(">>> ", stderr);
        if ((n = getline(&line, &room, stdin)) <= 0)
            break;
        while (n && (line[n - 1] == '\n' || line[n - 1] == '\r'))
            line[--n] = 0;
        if (!n) {
            while (json_array_size(messages) > (system != NULL))
                json_array_remove(messages, json_array_size(messages) - 1);
            continue;
        }
        json_array_append_new(messages,
            json_pack("{s:s,s:o}", "role", "user", "content", hn_json_text(line, (size_t)n)));
        status = answer_turn(&q, messages);
    }
    free(line);
    json_decref(messages);
    end(&q);
    return status;
}
