/* See helper.h. The calling pool thread does the talking itself, under the helper's lock. */
#include "server/helper.h"
#include "server/child.h"
#include "server/id.h"
#include "server/log.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#define LINE_MAX_BYTES ((size_t)256 << 20)
#define REST_MS 60000

struct hn_helper {
    const char *name;
    pthread_mutex_t turn; /* held for a whole call; guards all but the atomics */
    atomic_int waiting;   /* callers that have or want the turn */
    atomic_int pid;       /* of the living child, 0 without one */
    atomic_int deaths;    /* of children that were not at rest */
    atomic_bool stop;
    int fd;
    int64_t next_id, last_used;
    struct hn_buf in; /* what was read and not yet taken */
};

int hn_helper_create(const char *name, struct hn_helper **ret, struct hn_error *err) {
    struct hn_helper *helper = hn_calloc(1, sizeof *helper);
    if (!helper)
        return hn_fail(err, HN_E_INTERNAL, "out of memory");
    helper->name = name;
    helper->fd = -1;
    helper->in.ceiling = LINE_MAX_BYTES;
    pthread_mutex_init(&helper->turn, NULL);
    *ret = helper;
    return 0;
}

/* Ends the child whatever it does; the next call starts a new one. */
static void end_child(struct hn_helper *helper) {
    int pid = atomic_load(&helper->pid);
    if (helper->fd >= 0)
        close(helper->fd);
    helper->fd = -1;
    hn_buf_clear(&helper->in);
    if (!pid)
        return;
    kill(pid, SIGKILL);
    atomic_store(&helper->pid, 0);
    while (waitpid(pid, NULL, 0) < 0 && errno == EINTR)
        continue;
}

/* It died or is out of step with us: the next call starts another. */
static void lose_child(struct hn_helper *helper) {
    atomic_fetch_add(&helper->deaths, atomic_load(&helper->pid) != 0);
    end_child(helper);
}

int hn_helper_deaths(const struct hn_helper *helper) {
    return atomic_load(&helper->deaths);
}

void hn_helper_destroy(struct hn_helper *helper) {
    if (!helper)
        return;
    end_child(helper);
    hn_buf_free(&helper->in);
    pthread_mutex_destroy(&helper->turn);
    free(helper);
}

void hn_helper_stop(struct hn_helper *helper) {
    atomic_store(&helper->stop, true);
    int pid = atomic_load(&helper->pid);
    if (pid)
        kill(pid, SIGKILL); /* not yet reaped: only the caller that has the turn reaps it */
}

void hn_helper_rest(struct hn_helper *helper) {
    if (pthread_mutex_trylock(&helper->turn))
        return;
    if (helper->fd >= 0 && hn_time_tick() - helper->last_used > REST_MS) {
        hn_log(HN_LOG_DEBUG, "helper ended: idle", "helper", helper->name, NULL);
        end_child(helper);
    }
    pthread_mutex_unlock(&helper->turn);
}

static int start_child(struct hn_helper *helper, struct hn_error *err) {
    int pair[2];
    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair))
        return hn_fail_errno(err, errno, "cannot make a socket for the helper");
    char number[16];
    int pid;
    snprintf(number, sizeof number, "%d", HN_CHILD_FD);
    const char *const args[] = {"helper", number, NULL};
    int rc = hn_child_spawn(args, pair[1], -1, &pid, err);
    close(pair[1]);
    if (rc) {
        close(pair[0]);
        return rc;
    }
    helper->fd = pair[0];
    atomic_store(&helper->pid, pid);
    hn_buf_clear(&helper->in);
    hn_log(HN_LOG_DEBUG, "helper started", "helper", helper->name, "pid", HN_N(pid), NULL);
    return 0;
}

static int broken(struct hn_error *err) {
    hn_fail(err, HN_E_INTERNAL, "the helper process died while it worked on this request");
    hn_error_hint(err, "the file or model may be damaged; other requests are not affected");
    return HN_E_INTERNAL;
}

/* Waits until the socket is ready or the deadline has passed. */
static int await(struct hn_helper *helper, short events, int64_t deadline, struct hn_error *err) {
    for (;;) {
        int64_t left = deadline - hn_time_tick();
        if (left <= 0) {
            hn_fail(err, HN_E_BUSY, "the helper did not answer in time");
            hn_error_hint(err, "try again, or with less data");
            return HN_E_BUSY;
        }
        struct pollfd p = {.fd = helper->fd, .events = events};
        int n = poll(&p, 1, left > 1000 ? 1000 : (int)left);
        if (atomic_load(&helper->stop))
            return hn_fail(err, HN_E_BUSY, "the server is shutting down");
        if (n > 0)
            return 0;
        if (n < 0 && errno != EINTR)
            return broken(err);
    }
}

static int send_line(struct hn_helper *helper, const struct hn_buf *line, int64_t deadline, struct hn_error *err) {
    for (size_t sent = 0; sent < line->size;) {
        ssize_t n = send(helper->fd, line->data + sent, line->size - sent, MSG_NOSIGNAL | MSG_DONTWAIT);
        if (n > 0) {
            sent += (size_t)n;
        } else if (n < 0 && (errno == EAGAIN || errno == EINTR)) {
            int rc = await(helper, POLLOUT, deadline, err);
            if (rc)
                return rc;
        } else {
            return broken(err);
        }
    }
    return 0;
}

/* The next line as JSON. */
static int receive(struct hn_helper *helper, int64_t deadline, json_t **ret, struct hn_error *err) {
    for (size_t seen = 0;;) {
        char *newline = helper->in.size > seen ? memchr(helper->in.data + seen, '\n', helper->in.size - seen) : NULL;
        if (newline) {
            size_t size = (size_t)(newline - helper->in.data);
            int rc = hn_json_parse(helper->in.data, size, ret, NULL);
            helper->in.size -= size + 1;
            memmove(helper->in.data, newline + 1, helper->in.size);
            return rc || !json_is_object(*ret) ? broken(err) : 0;
        }
        seen = helper->in.size;
        int rc = await(helper, POLLIN, deadline, err);
        if (rc)
            return rc;
        char chunk[65536];
        ssize_t n = recv(helper->fd, chunk, sizeof chunk, MSG_DONTWAIT);
        if (n < 0 && (errno == EAGAIN || errno == EINTR))
            continue;
        if (n <= 0)
            return broken(err);
        hn_buf_append(&helper->in, chunk, (size_t)n);
        if (helper->in.failed)
            return hn_fail(err, HN_E_TOO_LARGE, "the helper's answer is too large");
    }
}

static int take_error(const json_t *error, json_t **ret_details, struct hn_error *err) {
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

/* Reads lines until the one that ends this request. *whole tells whether the child is still in step with us. */
static int converse(struct hn_helper *helper, int64_t id, int64_t timeout_ms, hn_helper_chunk_fn chunk, void *ud,
    json_t **ret, json_t **ret_details, bool *whole, struct hn_error *err) {
    int64_t deadline = hn_time_tick() + timeout_ms;
    for (;;) {
        json_t *line = NULL;
        int rc = receive(helper, deadline, &line, err);
        if (rc) {
            json_decref(line);
            return rc;
        }
        json_t *piece = json_object_get(line, "chunk"), *error = json_object_get(line, "error");
        json_t *result = json_object_get(line, "result");
        if (json_integer_value(json_object_get(line, "id")) != id) {
            rc = broken(err);
        } else if (piece) {
            deadline = hn_time_tick() + timeout_ms;
            if (!chunk || chunk(ud, piece) == 0) {
                json_decref(line);
                continue;
            }
            rc = hn_fail(err, HN_E_BUSY, "the client went away");
        } else if (error) {
            *whole = true;
            rc = take_error(error, ret_details, err);
        } else {
            *whole = true;
            *ret = result ? json_incref(result) : json_null();
        }
        json_decref(line);
        return rc;
    }
}

static int call(struct hn_helper *helper, const char *op, const json_t *params, int timeout_seconds,
    hn_helper_chunk_fn chunk, void *ud, json_t **ret, json_t **ret_details, struct hn_error *err) {
    if (atomic_load(&helper->stop))
        return hn_fail(err, HN_E_BUSY, "the server is shutting down");
    int64_t id = ++helper->next_id, timeout = (int64_t)timeout_seconds * 1000;
    json_t *request = json_pack("{s:I,s:s,s:O}", "id", (json_int_t)id, "op", op, "params", params);
    char *text = request ? json_dumps(request, JSON_COMPACT) : NULL;
    json_decref(request);
    if (!text)
        return hn_fail(err, HN_E_INTERNAL, "out of memory");
    struct hn_buf line = {.ceiling = LINE_MAX_BYTES};
    hn_buf_text(&line, text);
    hn_buf_char(&line, '\n');
    free(text);
    /* A child that died while it rested is noticed by its closed socket and replaced before it costs a request. */
    char probe;
    if (helper->fd >= 0 && recv(helper->fd, &probe, 1, MSG_PEEK | MSG_DONTWAIT) >= 0)
        lose_child(helper);
    int rc = line.failed ? hn_fail(err, HN_E_TOO_LARGE, "the request is too large") : 0;
    if (!rc && helper->fd < 0)
        rc = start_child(helper, err);
    bool whole = false;
    if (!rc)
        rc = send_line(helper, &line, hn_time_tick() + timeout, err);
    if (!rc)
        rc = converse(helper, id, timeout, chunk, ud, ret, ret_details, &whole, err);
    hn_buf_free(&line);
    if (rc && !whole) {
        hn_log(HN_LOG_WARNING, "helper ended", "helper", helper->name, "op", op, "error", err ? err->message : "", NULL);
        lose_child(helper);
    }
    helper->last_used = hn_time_tick();
    return rc;
}

int hn_helper_call(struct hn_helper *helper, const char *op, const json_t *params, int timeout_seconds,
    hn_helper_chunk_fn chunk, void *ud, json_t **ret, json_t **ret_details, struct hn_error *err) {
    struct hn_error local = {0};
    if (!err)
        err = &local;
    if (atomic_fetch_add(&helper->waiting, 1) >= HN_HELPER_QUEUE) {
        atomic_fetch_sub(&helper->waiting, 1);
        hn_fail(err, HN_E_BUSY, "too many requests wait for the helper process");
        hn_error_hint(err, "try again in a few seconds");
        return HN_E_BUSY;
    }
    pthread_mutex_lock(&helper->turn);
    int rc = call(helper, op, params, timeout_seconds, chunk, ud, ret, ret_details, err);
    pthread_mutex_unlock(&helper->turn);
    atomic_fetch_sub(&helper->waiting, 1);
    return rc;
}
