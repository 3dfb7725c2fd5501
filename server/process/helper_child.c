/* See helper_child.h. */
#include "server/process/helper_child.h"
#include "server/process/child.h"
#include "server/base/id.h"
#include "server/base/log.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#define LINE_MAX_BYTES ((size_t)256 << 20)
#define BEATS 4 /* signs of life that are asked for in the time after which it hangs */

/* A question that is being answered. */
struct talk {
    struct hn_helper_child *child;
    const struct hn_question *question;
    int64_t id;
    int64_t deadline; /* of the whole answer; INT64_MAX without one */
    int64_t alive;    /* when the last sign of life came */
    bool pausing;     /* it was asked to pause */
    bool whole;       /* the child is in step with us */
    bool unwanted;    /* ended for no fault of its own */
};

void hn_helper_child_init(struct hn_helper_child *child) {
    child->fd = -1;
    child->in.ceiling = LINE_MAX_BYTES;
}

void hn_helper_child_end(struct hn_helper_child *child) {
    if (child->fd >= 0)
        close(child->fd);
    child->fd = -1;
    hn_buf_free(&child->in);
    child->in.ceiling = LINE_MAX_BYTES;
    if (!child->pid)
        return;
    kill(child->pid, SIGKILL);
    while (waitpid(child->pid, NULL, 0) < 0 && errno == EINTR)
        continue;
    child->pid = 0;
}

/* It died or is out of step with us. */
static void lose(struct hn_helper_child *child) {
    atomic_fetch_add(child->deaths, child->pid != 0);
    hn_helper_child_end(child);
}

int hn_helper_child_start(struct hn_helper_child *child, struct hn_error *err) {
    int pair[2];
    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair))
        return hn_fail_errno(err, errno, "cannot make a socket for the helper");
    char number[16];
    snprintf(number, sizeof number, "%d", HN_CHILD_FD);
    const char *const args[] = {"helper", number, NULL};
    int rc = hn_child_spawn(args, pair[1], -1, child->to, &child->pid, err);
    close(pair[1]);
    if (rc) {
        child->pid = 0;
        close(pair[0]);
        return rc;
    }
    child->fd = pair[0];
    hn_log(HN_LOG_DEBUG, "helper started", "helper", child->name, "pid", HN_N(child->pid), NULL);
    return 0;
}

int hn_helper_child_broken(struct hn_error *err) {
    hn_fail(err, HN_E_INTERNAL, "the helper process died while it worked on this request");
    hn_error_hint(err, "the file or model may be damaged; other requests are not affected");
    return HN_E_INTERNAL;
}

int hn_helper_wanted(
    const struct hn_question *question, const atomic_bool *stop, struct hn_error *err) {
    if (atomic_load(stop))
        return hn_fail(err, HN_E_BUSY, "the server is shutting down");
    bool unwanted = question->unwanted ? question->unwanted(question->ud)
                                       : question->asker && atomic_load(&question->asker->gone);
    return unwanted ? hn_fail(err, HN_E_BUSY, "the client went away") : 0;
}

/* Whether it takes too long; `silent` where nothing has come to be read. */
static int is_late(const struct talk *t, bool silent, struct hn_error *err) {
    int64_t now = hn_time_tick();
    if (now >= t->deadline) {
        hn_fail(err, HN_E_BUSY, "the helper did not answer in %d seconds",
            t->question->timeout_seconds);
        hn_error_hint(err, "try again, or with less data");
        return HN_E_BUSY;
    }
    if (!silent || now - t->alive < t->child->silence_ms)
        return 0;
    hn_fail(err, HN_E_BUSY,
        "the helper process showed no sign of life for %lld seconds over this request, and was "
        "replaced",
        (long long)t->child->silence_ms / 1000);
    hn_error_hint(
        err, "try again; the server's setting helper_seconds says how long it may be silent");
    return HN_E_BUSY;
}

/* A few bytes: where they do not fit the socket, the child does not read and will not pause. */
static void ask_for_pause(struct talk *t) {
    char line[64];
    int n = snprintf(line, sizeof line, "{\"pause\":%lld}\n", (long long)t->id);
    t->pausing = true;
    bool sent = send(t->child->fd, line, (size_t)n, MSG_NOSIGNAL | MSG_DONTWAIT) == n;
    hn_log(HN_LOG_DEBUG, "helper asked to pause", "helper", t->child->name, "op", t->question->op,
        "sent", sent ? "yes" : "no", NULL);
}

/* Waits until the socket is ready, for as long as the answer is wanted and may still come. */
static int await(struct talk *t, short events, struct hn_error *err) {
    for (int n = 0; n == 0;) {
        struct pollfd p = {.fd = t->child->fd, .events = events};
        if (events == POLLIN && !t->pausing && atomic_load(&t->child->pause))
            ask_for_pause(t);
        n = poll(&p, 1, HN_HELPER_TICK_MS);
        if (n < 0 && errno != EINTR)
            return hn_helper_child_broken(err);
        n = n > 0;
        int rc = hn_helper_wanted(t->question, t->child->stop, err);
        t->unwanted = rc != 0;
        if (!rc)
            rc = is_late(t, !n, err);
        if (rc)
            return rc;
    }
    return 0;
}

static int send_line(struct talk *t, const struct hn_buf *line, struct hn_error *err) {
    for (size_t sent = 0; sent < line->size;) {
        ssize_t n =
            send(t->child->fd, line->data + sent, line->size - sent, MSG_NOSIGNAL | MSG_DONTWAIT);
        if (n > 0) {
            sent += (size_t)n;
            t->alive = hn_time_tick();
        } else if (n < 0 && (errno == EAGAIN || errno == EINTR)) {
            int rc = await(t, POLLOUT, err);
            if (rc)
                return rc;
        } else {
            return hn_helper_child_broken(err);
        }
    }
    return 0;
}

bool hn_helper_child_next(struct hn_helper_child *child, size_t *seen, json_t **ret) {
    struct hn_buf *in = &child->in;
    char *newline = in->size > *seen ? memchr(in->data + *seen, '\n', in->size - *seen) : NULL;
    *seen = newline ? 0 : in->size;
    if (!newline)
        return false;
    size_t size = (size_t)(newline - in->data);
    if (hn_json_parse(in->data, size, ret, NULL))
        *ret = NULL;
    in->size -= size + 1;
    memmove(in->data, newline + 1, in->size);
    return true;
}

/* The next line as JSON. */
static int receive(struct talk *t, json_t **ret, struct hn_error *err) {
    struct hn_buf *in = &t->child->in;
    for (size_t seen = 0;;) {
        if (hn_helper_child_next(t->child, &seen, ret))
            return json_is_object(*ret) ? 0 : hn_helper_child_broken(err);
        int rc = await(t, POLLIN, err);
        if (rc)
            return rc;
        char chunk[65536];
        ssize_t n = recv(t->child->fd, chunk, sizeof chunk, MSG_DONTWAIT);
        if (n < 0 && (errno == EAGAIN || errno == EINTR))
            continue;
        if (n <= 0)
            return hn_helper_child_broken(err);
        t->alive = hn_time_tick();
        hn_buf_append(in, chunk, (size_t)n);
        if (in->failed)
            return hn_fail(err, HN_E_TOO_LARGE, "the helper's answer is too large");
    }
}

int hn_helper_child_error(const json_t *error, json_t **ret_details, struct hn_error *err) {
    const char *code = "internal", *message = "the helper failed", *field = "", *hint = "";
    hn_json_string(error, "code", &code, NULL);
    hn_json_string(error, "message", &message, NULL);
    hn_json_string(error, "field", &field, NULL);
    hn_json_string(error, "hint", &hint, NULL);
    int rc = hn_error_from_name(code);
    if (rc == HN_OK)
        rc = HN_E_INTERNAL;
    hn_fail(err, rc, "%s", message);
    hn_error_field(err, "%s", field);
    hn_error_hint(err, "%s", hint);
    json_t *details = json_object_get(error, "details"), *total = json_object_get(error, "total");
    if (ret_details && json_is_array(details))
        *ret_details = json_pack("{s:O,s:O?}", "details", details, "total", total);
    return rc;
}

/* Takes a line that came; *more while it was not the last one. */
static int take(struct talk *t, const json_t *line, bool *more, json_t **ret, json_t **ret_details,
    struct hn_error *err) {
    const struct hn_question *q = t->question;
    json_t *chunk = json_object_get(line, "chunk"), *error = json_object_get(line, "error");
    json_t *result = json_object_get(line, "result");
    *more = false;
    if (json_integer_value(json_object_get(line, "id")) != t->id)
        return hn_helper_child_broken(err);
    if (chunk || json_object_get(line, "beat")) {
        *more = true;
        t->unwanted = chunk && q->chunk && q->chunk(q->ud, chunk);
        return t->unwanted ? hn_fail(err, HN_E_BUSY, "the client went away") : 0;
    }
    t->whole = true;
    if (error)
        return hn_helper_child_error(error, ret_details, err);
    *ret = result ? json_incref(result) : json_null();
    return 0;
}

static int converse(struct talk *t, json_t **ret, json_t **ret_details, struct hn_error *err) {
    bool more = true;
    int rc = 0;
    while (!rc && more) {
        json_t *line = NULL;
        rc = receive(t, &line, err);
        if (!rc)
            rc = take(t, line, &more, ret, ret_details, err);
        json_decref(line);
    }
    return rc;
}

static int write_request(const struct talk *t, struct hn_buf *line, struct hn_error *err) {
    json_t *request = json_pack("{s:I,s:s,s:O,s:I}", "id", (json_int_t)t->id, "op", t->question->op,
        "params", t->question->params, "beat", (json_int_t)(t->child->silence_ms / BEATS));
    char *text = request ? json_dumps(request, JSON_COMPACT) : NULL;
    json_decref(request);
    if (!text)
        return hn_fail(err, HN_E_INTERNAL, "out of memory");
    hn_buf_text(line, text);
    hn_buf_char(line, '\n');
    free(text);
    return line->failed ? hn_fail(err, HN_E_TOO_LARGE, "the request is too large") : 0;
}

int hn_helper_child_ask(struct hn_helper_child *child, const struct hn_question *question,
    json_t **ret, json_t **ret_details, struct hn_error *err) {
    int64_t now = hn_time_tick(), timeout = (int64_t)question->timeout_seconds * 1000;
    struct talk t = {.child = child,
        .question = question,
        .id = ++child->next_id,
        .alive = now,
        .deadline = timeout ? now + timeout : INT64_MAX};
    struct hn_buf line = {.ceiling = LINE_MAX_BYTES};
    int rc = write_request(&t, &line, err);
    /* A child that died while it rested is noticed by its closed socket and replaced before it
     * costs a request. */
    char probe;
    if (child->fd >= 0 && recv(child->fd, &probe, 1, MSG_PEEK | MSG_DONTWAIT) >= 0)
        lose(child);
    if (!rc && child->fd < 0)
        rc = hn_helper_child_start(child, err);
    if (!rc)
        rc = send_line(&t, &line, err);
    if (!rc)
        rc = converse(&t, ret, ret_details, err);
    hn_buf_free(&line);
    if (rc && !t.whole) {
        hn_log(t.unwanted ? HN_LOG_DEBUG : HN_LOG_WARNING, "helper ended", "helper", child->name,
            "op", question->op, "error", err->message, NULL);
        (t.unwanted ? hn_helper_child_end : lose)(child);
    }
    child->last_used = hn_time_tick();
    return rc;
}
