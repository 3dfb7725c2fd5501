/* The helper's loop: one JSON request a line in, one reply a line out; see engine.h for the
 * wire. */
#include "engine/helper/call.h"
#include "engine/eval/predictor.h"
#include "engine/engine.h"
#include "engine/base/pulse.h"

#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define MAX_REQUEST ((size_t)64 << 20)
#define CHUNK_BYTES 65536
#define FIRST_BEAT_MS 500  /* until the request is read that says how many it wants */
#define IDLE_BEAT_MS 60000 /* without a request: none is sent */

static const struct request_kind {
    const char *name;
    hn_helper_fn *run;
} kinds[] = {
    {"dataset.inspect", hn_helper_dataset_inspect},
    {"dataset.look", hn_helper_dataset_look},
    {"dataset.unpack", hn_helper_dataset_unpack},
    {"dataset.correct", hn_helper_dataset_correct},
    {"dataset.rows", hn_helper_dataset_rows},
    {"dataset.preview", hn_helper_dataset_preview},
    {"dataset.report", hn_helper_dataset_report},
    {"model.inspect", hn_helper_model_inspect},
    {"job.plan", hn_helper_job_plan},
    {"predict", hn_helper_predict},
    {"chat", hn_helper_chat},
    {"embed", hn_helper_embed},
    {"evaluate", hn_helper_evaluate},
    {"export", hn_helper_export},
    {"compare", hn_helper_compare},
    {"examples", hn_helper_examples},
    {"fit", hn_helper_fit},
    {"machine.rate", hn_helper_machine_rate},
};

struct line {
    struct line *next;
    size_t size;
    char text[];
};

/*
 * The socket. A thread of its own reads it, so that a pause or the caller's end is heard while an
 * op runs, and sends the signs of life. Requests wait for the main thread, which takes one at a
 * time; an op that answers several at once takes more of them (hn_helper_more).
 */
struct hn_wire {
    int fd;
    pthread_mutex_t lock; /* guards what follows, and is held while a line is written */
    pthread_cond_t changed;
    struct line *first, **last; /* requests that wait; the caller bounds them */
    bool ended;                 /* nothing comes after them */
    bool busy;                  /* with a request that was taken, `id` once it is known */
    json_int_t id, beat_ms;     /* beat_ms 0: none is wanted */
    atomic_bool pause;
};

static int send_line(struct hn_wire *wire, const json_t *reply, struct hn_error *err) {
    char *text = reply ? json_dumps(reply, JSON_COMPACT) : NULL;
    if (!text)
        return hn_fail(err, HN_E_INTERNAL, "a reply cannot be written as JSON");
    size_t size = strlen(text);
    text[size] = '\n'; /* in place of the NUL: one write, one line */
    int rc = hn_write_all(wire->fd, text, size + 1, err);
    free(text);
    return rc;
}

int hn_helper_chunk(struct hn_helper_call *call, json_t *chunk, struct hn_error *err) {
    json_t *line = chunk ? json_pack("{s:I, s:o}", "id", call->id, "chunk", chunk) : NULL;
    pthread_mutex_lock(&call->wire->lock);
    int rc = send_line(call->wire, line, err);
    pthread_mutex_unlock(&call->wire->lock);
    json_decref(line);
    return rc;
}

static json_t *error_reply(const struct hn_helper_call *call, const struct hn_error *err) {
    json_t *body = json_pack("{s:s, s:s, s:s, s:s}", "code", hn_error_name(err->code), "message",
        err->message, "field", err->field, "hint", err->hint);
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
    for (size_t i = 0; name && i < sizeof kinds / sizeof kinds[0]; i++)
        if (strcmp(kinds[i].name, name) == 0) {
            err = (struct hn_error){0};
            rc = kinds[i].run(call, params, &result, &err);
        }
    if (rc && !err.code)
        hn_fail(&err, rc, "%s", hn_error_text(rc));
    if (!rc && !result)
        return NULL; /* it has answered */
    return rc ? error_reply(call, &err) : json_pack("{s:I, s:o}", "id", call->id, "result", result);
}

int hn_helper_answer(struct hn_helper_call *call, int rc, json_t *result, struct hn_error *err) {
    if (rc && !err->code)
        hn_fail(err, rc, "%s", hn_error_text(rc));
    json_t *reply =
        rc ? error_reply(call, err) : json_pack("{s:I, s:o}", "id", call->id, "result", result);
    pthread_mutex_lock(&call->wire->lock);
    rc = send_line(call->wire, reply, err);
    pthread_mutex_unlock(&call->wire->lock);
    json_decref(reply);
    return rc;
}

/* From here on, beats and pauses are for this request. */
static void begin_request(struct hn_wire *wire, const json_t *request) {
    pthread_mutex_lock(&wire->lock);
    wire->id = json_integer_value(json_object_get(request, "id"));
    wire->beat_ms = json_integer_value(json_object_get(request, "beat"));
    atomic_store(&wire->pause, false);
    pthread_mutex_unlock(&wire->lock);
}

/* No beat comes behind the reply. */
static int end_request(struct hn_wire *wire, const json_t *reply, struct hn_error *err) {
    pthread_mutex_lock(&wire->lock);
    wire->busy = false;
    int rc = reply ? send_line(wire, reply, err) : 0;
    pthread_mutex_unlock(&wire->lock);
    return rc;
}

static int serve_line(
    struct hn_wire *wire, struct hn_predictor **predictor, const char *line, size_t size) {
    struct hn_helper_call call = {.wire = wire, .pause = &wire->pause, .predictor = predictor};
    json_t *request = NULL, *reply;
    struct hn_error err = {0};
    int rc = hn_json_parse(line, size, &request, &err);
    begin_request(wire, request);
    reply = rc ? error_reply(&call, &err) : dispatch(&call, request);
    rc = end_request(wire, reply, &err);
    json_decref(reply);
    json_decref(request);
    json_decref(call.details);
    return rc;
}

/* Sends a sign of life when the work went on since the last one; gives how long to wait for the
 * next. */
static int beat(struct hn_wire *wire, uint64_t *seen, int64_t *last) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    int64_t ms = (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
    pthread_mutex_lock(&wire->lock);
    bool works = wire->busy || wire->first;
    json_int_t every = !works ? IDLE_BEAT_MS : wire->beat_ms > 0 ? wire->beat_ms : FIRST_BEAT_MS;
    if (ms - *last >= every) {
        uint64_t count = hn_pulse_count();
        if (wire->busy && wire->beat_ms > 0 && count != *seen) {
            json_t *line =
                json_pack("{s:I, s:I}", "id", wire->id, "beat", (json_int_t)(count & INT64_MAX));
            send_line(wire, line, NULL);
            json_decref(line);
        }
        *seen = hn_pulse_count(); /* writing counts, too */
        *last = ms;
    }
    pthread_mutex_unlock(&wire->lock);
    return (int)every;
}

/* A pause is heard at once; everything else waits in its order. */
static void take_line(struct hn_wire *wire, const char *line, size_t size) {
    static const char pause[] = "{\"pause\":";
    bool is_pause = size > sizeof pause && memcmp(line, pause, sizeof pause - 1) == 0;
    struct line *copy = is_pause ? NULL : malloc(sizeof *copy + size);
    pthread_mutex_lock(&wire->lock);
    if (is_pause) {
        if (wire->busy && strtoll(line + sizeof pause - 1, NULL, 10) == wire->id)
            atomic_store(&wire->pause, true);
    } else if (!copy) {
        _exit(1); /* out of memory before anything was done: the caller starts another helper */
    } else {
        copy->next = NULL;
        copy->size = size;
        memcpy(copy->text, line, size);
        *wire->last = copy;
        wire->last = &copy->next;
        pthread_cond_broadcast(&wire->changed);
    }
    pthread_mutex_unlock(&wire->lock);
}

static void take_lines(struct hn_wire *wire, struct hn_buf *in) {
    size_t at = 0;
    for (char *newline; (newline = memchr(in->data + at, '\n', in->size - at));
         at = (size_t)(newline - in->data) + 1)
        take_line(wire, in->data + at, (size_t)(newline - in->data) - at);
    memmove(in->data, in->data + at, in->size - at);
    in->size -= at;
}

/* Whoever asked is gone: nobody will ever hear the answer that may still take an hour. */
static void leave_with_caller(int fd) {
    struct pollfd p = {.fd = fd};
    while (!(p.revents & (POLLHUP | POLLERR | POLLNVAL)))
        poll(&p, 1, -1);
    _exit(0);
}

static void *listen_to_caller(void *arg) {
    struct hn_wire *wire = arg;
    struct hn_buf in = {.ceiling = MAX_REQUEST};
    char *chunk = malloc(CHUNK_BYTES);
    uint64_t seen = 0;
    int64_t last = 0;
    while (chunk && !in.failed) {
        struct pollfd p = {.fd = wire->fd, .events = POLLIN};
        if (poll(&p, 1, beat(wire, &seen, &last)) <= 0)
            continue;
        ssize_t n = read(wire->fd, chunk, CHUNK_BYTES);
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            break;
        hn_buf_append(&in, chunk, (size_t)n);
        if (!in.failed)
            take_lines(wire, &in);
    }
    free(chunk);
    hn_buf_free(&in);
    pthread_mutex_lock(&wire->lock);
    wire->ended = true;
    pthread_cond_broadcast(&wire->changed);
    pthread_mutex_unlock(&wire->lock);
    leave_with_caller(wire->fd);
    return NULL;
}

/* The next request; NULL when there is none any more, or, where `wait` is false, none yet. */
static struct line *next_line(struct hn_wire *wire, bool wait) {
    pthread_mutex_lock(&wire->lock);
    while (wait && !wire->first && !wire->ended)
        pthread_cond_wait(&wire->changed, &wire->lock);
    struct line *line = wire->first;
    if (line && !(wire->first = line->next))
        wire->last = &wire->first;
    wire->busy = line || !wait;
    pthread_mutex_unlock(&wire->lock);
    return line;
}

json_t *hn_helper_more(struct hn_helper_call *call) {
    struct line *line = next_line(call->wire, false);
    json_t *request = NULL;
    if (line && hn_json_parse(line->text, line->size, &request, NULL))
        _exit(1); /* whose request it is cannot be told: the caller ends all of them */
    free(line);
    return request;
}

int hn_helper_serve(int fd) {
    static struct hn_wire wire = {
        .lock = PTHREAD_MUTEX_INITIALIZER, .changed = PTHREAD_COND_INITIALIZER};
    struct hn_predictor *predictor = NULL;
    pthread_t thread;
    struct line *line;
    int failed = 0;
    wire.fd = fd; /* static: the thread outlives this function */
    wire.last = &wire.first;
    if (pthread_create(&thread, NULL, listen_to_caller, &wire))
        return 1;
    pthread_detach(thread);
    for (; !failed && (line = next_line(&wire, true)); free(line))
        failed = serve_line(&wire, &predictor, line->text, line->size) != 0;
    hn_predictor_destroy(predictor);
    return failed;
}
