/* The helper's loop: one JSON request a line in, one reply a line out; see engine.h for the wire. */
#include "engine/helper.h"
#include "engine/predictor.h"
#include "engine/engine.h"

#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define MAX_REQUEST ((size_t)64 << 20)

static const struct op {
    const char *name;
    hn_helper_fn *run;
} ops[] = {
    {"dataset.inspect", hn_op_dataset_inspect}, {"dataset.unpack", hn_op_dataset_unpack},
    {"dataset.preview", hn_op_dataset_preview},
    {"model.inspect", hn_op_model_inspect},
    {"job.plan", hn_op_job_plan},
    {"predict", hn_op_predict}, {"evaluate", hn_op_evaluate}, {"export", hn_op_export},
    {"machine.rate", hn_op_machine_rate},
};

int hn_helper_path(const json_t *object, const char **path, struct hn_error *err) {
    *path = NULL;
    int rc = hn_json_string(object, "path", path, err);
    return rc || *path ? rc : hn_fail(err, HN_E_MISSING_FIELD, "path is missing");
}

int hn_helper_data(
    const json_t *object, const char **path, struct hn_dataset_options *options, struct hn_error *err) {
    const char *on_error = "refuse";
    *options = (struct hn_dataset_options){0};
    int rc = hn_helper_path(object, path, err);
    if (!rc)
        rc = hn_json_string(object, "format", &options->format, err);
    if (!rc)
        rc = hn_json_string(object, "on_error", &on_error, err);
    options->columns = json_object_get(object, "columns");
    if (json_is_null(options->columns))
        options->columns = NULL;
    options->drop = strcmp(on_error, "drop") == 0;
    return rc;
}

void hn_helper_issues(struct hn_helper_call *call, const struct hn_dataset *data) {
    size_t listed = sizeof data->issues / sizeof data->issues[0];
    if (!data->n_issues)
        return;
    json_decref(call->details);
    call->details = json_array();
    call->total = data->n_issues;
    for (size_t i = 0; i < data->n_issues && i < listed; i++) {
        const struct hn_issue *issue = &data->issues[i];
        json_t *row = json_pack("{s:I, s:s, s:s, s:s}", "line", (json_int_t)issue->line, "field", issue->field,
            "message", issue->message, "hint", issue->hint);
        if (row && issue->column)
            json_object_set_new(row, "column", json_integer((json_int_t)issue->column));
        if (row)
            json_array_append_new(call->details, row);
    }
}

static int send_line(int fd, const json_t *reply, struct hn_error *err) {
    char *text = reply ? json_dumps(reply, JSON_COMPACT) : NULL;
    if (!text)
        return hn_fail(err, HN_E_INTERNAL, "a reply cannot be written as JSON");
    size_t size = strlen(text);
    text[size] = '\n'; /* in place of the NUL: one write, one line */
    int rc = hn_write_all(fd, text, size + 1, err);
    free(text);
    return rc;
}

int hn_helper_chunk(struct hn_helper_call *call, json_t *chunk, struct hn_error *err) {
    json_t *line = chunk ? json_pack("{s:I, s:o}", "id", call->id, "chunk", chunk) : NULL;
    int rc = send_line(call->fd, line, err);
    json_decref(line);
    return rc;
}

static json_t *error_reply(const struct hn_helper_call *call, const struct hn_error *err) {
    json_t *body = json_pack("{s:s, s:s, s:s, s:s}", "code", hn_error_name(err->code), "message", err->message,
        "field", err->field, "hint", err->hint);
    if (!body) /* a name from a file that is not UTF-8 got into the sentence */
        body = json_pack("{s:s, s:s, s:s, s:s}", "code", hn_error_name(err->code), "message",
            hn_error_text(err->code), "field", "", "hint", "");
    if (call->details) {
        json_object_set(body, "details", call->details);
        json_object_set_new(body, "total", json_integer((json_int_t)call->total));
    }
    return json_pack("{s:I, s:o}", "id", call->id, "error", body);
}

static json_t *dispatch(struct hn_helper_call *call, const json_t *request) {
    struct hn_error err = {0};
    const char *name = json_string_value(json_object_get(request, "op"));
    const json_t *params = json_object_get(request, "params");
    json_t *result = NULL;
    call->id = json_integer_value(json_object_get(request, "id"));
    int rc = hn_fail(&err, HN_E_INTERNAL, "the helper has no such op");
    for (size_t i = 0; name && i < sizeof ops / sizeof ops[0]; i++)
        if (strcmp(ops[i].name, name) == 0) {
            err = (struct hn_error){0};
            rc = ops[i].run(call, params, &result, &err);
        }
    if (rc && !err.code)
        hn_fail(&err, rc, "%s", hn_error_text(rc));
    return rc ? error_reply(call, &err) : json_pack("{s:I, s:o}", "id", call->id, "result", result);
}

static int serve_line(int fd, struct hn_predictor **predictor, const char *line, size_t size) {
    struct hn_helper_call call = {.fd = fd, .predictor = predictor};
    json_t *request = NULL, *reply;
    struct hn_error err = {0};
    if (hn_json_parse(line, size, &request, &err))
        reply = error_reply(&call, &err);
    else
        reply = dispatch(&call, request);
    int rc = send_line(fd, reply, &err);
    json_decref(reply);
    json_decref(request);
    json_decref(call.details);
    return rc;
}

/* Whoever asked is gone: nobody will ever hear the answer that may still take an hour. */
static void *leave_with_caller(void *arg) {
    struct pollfd p = {.fd = *(int *)arg};
    while (!(p.revents & (POLLHUP | POLLERR | POLLNVAL)))
        poll(&p, 1, -1);
    _exit(0);
}

int hn_helper_serve(int fd) {
    static int watched;
    pthread_t thread;
    watched = fd;
    if (pthread_create(&thread, NULL, leave_with_caller, &watched) == 0)
        pthread_detach(thread);
    struct hn_buf in = {.ceiling = MAX_REQUEST};
    struct hn_predictor *predictor = NULL;
    char chunk[65536];
    for (;;) {
        ssize_t n = read(fd, chunk, sizeof chunk);
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            break;
        hn_buf_append(&in, chunk, (size_t)n);
        size_t at = 0;
        for (char *newline; !in.failed && (newline = memchr(in.data + at, '\n', in.size - at));
             at = (size_t)(newline - in.data) + 1)
            if (serve_line(fd, &predictor, in.data + at, (size_t)(newline - in.data) - at))
                in.failed = true;
        if (in.failed)
            break;
        memmove(in.data, in.data + at, in.size - at);
        in.size -= at;
    }
    int status = in.failed;
    hn_predictor_destroy(predictor);
    hn_buf_free(&in);
    return status;
}
