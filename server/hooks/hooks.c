/* See hooks.h. */
#include "server/hooks/hooks.h"
#include "server/base/hook_address.h"
#include "server/base/log.h"
#include "server/hooks/deliver.h"
#include "server/process/child.h"
#include "server/store/store_notices.h"
#include "server/server.h"

#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#define FLIGHTS 4                                    /* attempts under way at a time */
#define ATTEMPT_MS ((HN_DELIVER_SECONDS + 5) * 1000) /* a child is ended after so long */
#define FIRST_WAIT_MS 5000
#define LONGEST_WAIT_MS ((int64_t)3600 * 1000)
#define GIVE_UP_MS HN_DAY_MS
#define RETRY_MS 5000 /* when the store or a child could not be had */
#define GONE 410

/* One attempt under way. */
struct flight {
    int64_t n; /* of the notice; 0: this place is free */
    int64_t attempts, created_ms, deadline;
    char host[256];
    int fd, pid; /* of the child; -1 and 0: there is none, as it could not be started */
    struct hn_buf in;
    char why[300]; /* that there is no answer to wait for, or "" */
    bool forbidden;
};

struct hn_hooks {
    struct hn_server *server;
    struct hn_hook_secret secret;
    struct hn_subscription subscription;
    struct flight flights[FLIGHTS];
    pthread_t thread;
    int wake; /* an eventfd */
    atomic_bool stop;
    bool started;
};

static void wake(struct hn_hooks *h) {
    uint64_t one = 1;
    if (write(h->wake, &one, sizeof one) < 0) {
        /* It is full, so the thread wakes anyway. */
    }
}

static void on_commit(void *ud, const char *job, unsigned what) {
    (void)job;
    if (what & HN_COMMIT_ENDED)
        wake(ud);
}

static json_t *busy_hosts(const struct hn_hooks *h) {
    json_t *names = json_array();
    for (size_t i = 0; i < FLIGHTS; i++)
        if (h->flights[i].n)
            json_array_append_new(names, json_string(h->flights[i].host));
    return names;
}

static void end_child(struct flight *f) {
    if (f->fd >= 0)
        close(f->fd);
    if (f->pid) {
        kill(f->pid, SIGKILL);
        while (waitpid(f->pid, NULL, 0) < 0 && errno == EINTR)
            continue;
    }
    hn_buf_free(&f->in);
    *f = (struct flight){.fd = -1};
}

/* What the child is to send, a line. */
static char *write_request(
    const struct hn_hooks *h, const struct hn_notice_due *notice, struct hn_error *err) {
    char signature[HN_HOOK_SIGNATURE];
    int64_t now = hn_time_ms() / 1000;
    if (hn_hook_sign(&h->secret, notice->id, now, notice->body, signature, err))
        return NULL;
    json_t *wanted = json_pack("{s:s,s:s,s:[o,o,o]}", "url", notice->url, "body", notice->body,
        "headers", json_sprintf("webhook-id: %s", notice->id),
        json_sprintf("webhook-timestamp: %lld", (long long)now),
        json_sprintf("webhook-signature: %s", signature));
    char *text = wanted ? json_dumps(wanted, JSON_COMPACT) : NULL;
    json_decref(wanted);
    if (!text)
        hn_fail(err, HN_E_INTERNAL, "out of memory");
    return text;
}

static int send_all(int fd, const char *text, struct hn_error *err) {
    size_t size = strlen(text);
    bool sent = size < HN_DELIVER_LINE &&
        send(fd, text, size, MSG_NOSIGNAL | MSG_DONTWAIT) == (ssize_t)size &&
        send(fd, "\n", 1, MSG_NOSIGNAL | MSG_DONTWAIT) == 1;
    return sent ? 0 : hn_fail(err, HN_E_INTERNAL, "the notice does not fit the child's socket");
}

static int start_child(struct hn_hooks *h, struct flight *f, const struct hn_notice_due *notice,
    struct hn_error *err) {
    const struct hn_server *s = h->server;
    char number[16];
    int pair[2];
    char *text = write_request(h, notice, err);
    if (!text)
        return HN_E_INTERNAL;
    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair)) {
        free(text);
        return hn_fail_errno(err, errno, "cannot make a socket");
    }
    snprintf(number, sizeof number, "%d", HN_CHILD_FD);
    const char *const args[] = {"deliver", number, NULL};
    int rc = send_all(pair[0], text, err);
    if (!rc)
        rc = hn_child_spawn(
            args, pair[1], -1, s->config->confine ? &s->confinement : NULL, &f->pid, err);
    close(pair[1]);
    free(text);
    if (rc) {
        close(pair[0]);
        f->pid = 0;
    } else {
        f->fd = pair[0];
    }
    return rc;
}

/* Takes a free place; called for at most as many notices as there are. */
static void take_off(void *ud, const struct hn_notice_due *notice) {
    struct hn_hooks *h = ud;
    struct flight *f = h->flights;
    struct hn_error err = {0};
    while (f < h->flights + FLIGHTS && f->n)
        f++;
    if (f == h->flights + FLIGHTS)
        return;
    *f = (struct flight){.n = notice->n,
        .attempts = notice->attempts,
        .created_ms = notice->created_ms,
        .deadline = hn_time_tick() + ATTEMPT_MS,
        .fd = -1,
        .in = {.ceiling = 4096}};
    snprintf(f->host, sizeof f->host, "%s", notice->host);
    f->forbidden = hn_hook_address_allowed(notice->url, h->server->config->notify_hosts, &err) != 0;
    if (f->forbidden || start_child(h, f, notice, &err))
        snprintf(f->why, sizeof f->why, "%.299s", err.message);
}

static int64_t wait_after(int64_t attempts) {
    int64_t wait = FIRST_WAIT_MS;
    for (int64_t i = 0; i < attempts && wait < LONGEST_WAIT_MS; i++)
        wait *= 4;
    return wait < LONGEST_WAIT_MS ? wait : LONGEST_WAIT_MS;
}

/* What the child told: {"status","message"}; NULL when it told nothing. */
static json_t *answer_of(const struct flight *f) {
    json_t *told = NULL;
    if (f->in.size && !f->in.failed)
        hn_json_parse(f->in.data, f->in.size, &told, NULL);
    return told;
}

static void judge(const struct flight *f, const json_t *told, struct hn_notice_attempt *ret) {
    int64_t now = hn_time_ms();
    const char *message = json_string_value(json_object_get(told, "message"));
    ret->n = f->n;
    ret->status = json_integer_value(json_object_get(told, "status"));
    ret->message = message ? message : *f->why ? f->why : NULL;
    ret->due_ms = now + wait_after(f->attempts);
    bool delivered = ret->status >= 200 && ret->status < 300;
    bool last = ret->status == GONE || f->forbidden || ret->due_ms > f->created_ms + GIVE_UP_MS;
    ret->state = delivered ? "delivered" : last ? "given_up" : "waiting";
    if (delivered)
        ret->message = NULL;
    else if (!ret->message)
        ret->message = "the attempt was ended without an answer";
}

/* False when the store could not take it: the attempt will be made again. */
static bool land(struct hn_hooks *h, struct flight *f) {
    struct hn_notice_attempt attempt = {0};
    struct hn_error err = {0};
    json_t *told = answer_of(f);
    judge(f, told, &attempt);
    int rc = hn_store_call(h->server->store, hn_db_notice_attempted, &attempt, &err);
    if (rc)
        hn_log(HN_LOG_ERROR, "cannot note what became of a notice", "error", err.message, NULL);
    else
        hn_log(strcmp(attempt.state, "given_up") == 0 ? HN_LOG_WARNING : HN_LOG_INFO,
            "notice of a job's end", "host", f->host, "state", attempt.state, "attempt",
            HN_N(f->attempts + 1), "status", HN_N(attempt.status), "problem",
            attempt.message ? attempt.message : "-", NULL);
    json_decref(told);
    end_child(f);
    return rc == 0;
}

/* Reads what has come; whether the attempt is over. */
static bool is_over(struct flight *f) {
    char part[1024];
    if (f->fd < 0 || hn_time_tick() >= f->deadline)
        return true;
    ssize_t n = recv(f->fd, part, sizeof part, MSG_DONTWAIT);
    if (n < 0)
        return errno != EAGAIN && errno != EINTR;
    hn_buf_append(&f->in, part, (size_t)n);
    return n == 0 || f->in.failed || memchr(part, '\n', (size_t)n);
}

/* Starts what is due; *ret_ms: when something may be due again. */
static int look(struct hn_hooks *h, int64_t *ret_ms, struct hn_error *err) {
    int64_t now = hn_time_ms(), next = INT64_MAX, places = 0;
    struct hn_db *db = hn_store_read(h->server->store, err);
    if (!db)
        return HN_E_INTERNAL;
    for (size_t i = 0; i < FLIGHTS; i++)
        places += !h->flights[i].n;
    json_t *busy = busy_hosts(h);
    int rc = places ? hn_db_notices_due(db, now, busy, places, take_off, h, err) : 0;
    json_decref(busy);
    busy = busy_hosts(h);
    if (!rc)
        rc = hn_db_notices_next(db, busy, &next, err);
    json_decref(busy);
    hn_store_release(h->server->store, db);
    *ret_ms = next == INT64_MAX ? INT64_MAX : next > now ? next - now : RETRY_MS;
    return rc;
}

/* Waits for a child, a deadline, a commit or the next notice. */
static void wait_for_something(struct hn_hooks *h, int64_t limit_ms) {
    struct pollfd fds[FLIGHTS + 1] = {{.fd = h->wake, .events = POLLIN}};
    int64_t now = hn_time_tick();
    uint64_t count;
    for (size_t i = 0; i < FLIGHTS; i++) {
        struct flight *f = &h->flights[i];
        fds[i + 1] = (struct pollfd){.fd = f->n ? f->fd : -1, .events = POLLIN};
        int64_t left = f->n ? (f->fd < 0 ? 0 : f->deadline - now) : INT64_MAX;
        limit_ms = left < limit_ms ? left : limit_ms;
    }
    limit_ms = limit_ms < 0 ? 0 : limit_ms > LONGEST_WAIT_MS ? LONGEST_WAIT_MS : limit_ms;
    poll(fds, FLIGHTS + 1, (int)limit_ms);
    if ((fds[0].revents & POLLIN) && read(h->wake, &count, sizeof count) < 0) {
        /* Nothing was in it. */
    }
}

static void *run(void *arg) {
    struct hn_hooks *h = arg;
    while (!atomic_load(&h->stop)) {
        struct hn_error err = {0};
        int64_t next = RETRY_MS;
        bool noted = true;
        int rc = look(h, &next, &err);
        if (rc)
            hn_log(HN_LOG_ERROR, "cannot look for notices", "error", err.message, NULL);
        wait_for_something(h, rc ? RETRY_MS : next);
        for (size_t i = 0; i < FLIGHTS; i++)
            if (h->flights[i].n && !atomic_load(&h->stop) && is_over(&h->flights[i]))
                noted &= land(h, &h->flights[i]);
        if (!noted) /* the store is out of order: not again at once */
            poll(NULL, 0, RETRY_MS);
    }
    return NULL;
}

static int start_thread(struct hn_hooks *h, struct hn_error *err) {
    sigset_t set, old;
    sigfillset(&set);
    pthread_sigmask(SIG_SETMASK, &set, &old); /* signals belong to the loop */
    h->started = pthread_create(&h->thread, NULL, run, h) == 0;
    pthread_sigmask(SIG_SETMASK, &old, NULL);
    return h->started ? 0 : hn_fail(err, HN_E_INTERNAL, "cannot start the thread of notices");
}

int hn_hooks_start(struct hn_server *server, struct hn_hooks **ret, struct hn_error *err) {
    if (!*server->config->notify_hosts)
        return 0;
    struct hn_hooks *h = hn_calloc(1, sizeof *h);
    if (!h)
        return hn_fail(err, HN_E_INTERNAL, "out of memory");
    *ret = h;
    h->server = server;
    for (size_t i = 0; i < FLIGHTS; i++)
        h->flights[i].fd = -1;
    h->wake = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    int rc = h->wake < 0 ? hn_fail_errno(err, errno, "cannot make an eventfd")
                         : hn_hook_secret_open(server->config, true, &h->secret, err);
    if (rc)
        return rc;
    h->subscription = (struct hn_subscription){.fn = on_commit, .ud = h};
    hn_store_subscribe(server->store, &h->subscription);
    return start_thread(h, err);
}

void hn_hooks_stop(struct hn_hooks *h) {
    if (!h)
        return;
    hn_store_unsubscribe(h->server->store, &h->subscription);
    atomic_store(&h->stop, true);
    if (h->wake >= 0)
        wake(h);
    if (h->started)
        pthread_join(h->thread, NULL);
    for (size_t i = 0; i < FLIGHTS; i++)
        end_child(&h->flights[i]);
    if (h->wake >= 0)
        close(h->wake);
    free(h);
}
