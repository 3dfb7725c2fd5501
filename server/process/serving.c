/* See serving.h. A thread a child reads what it sends. */
#include "server/process/serving.h"
#include "server/process/helper_child.h"
#include "server/base/id.h"
#include "server/base/log.h"

#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define REST_MS 60000
#define PATIENCE_MS 4000 /* how long others wait before a child takes no more for its model */
#define SEND_SECONDS 10
#define TICK_MS 100
#define LINE_BYTES ((size_t)60 << 20) /* of a request: a helper reads little more */
#define BEATS 4 /* signs of life that are asked for in the time after which it hangs */

struct open {
    struct open *next;
    int64_t id;
    hn_served_fn *fn;
    void *ud;
};

/* On the stack of a thread that waits for a child. */
struct waiter {
    struct waiter *next;
    const char *key;
    int64_t since;
};

struct place {
    struct hn_serving *serving;
    struct hn_helper_child child; /* its socket is written under `sending`; closed under both */
    pthread_mutex_t sending;
    char *key; /* the model that it has, or gets with the next request */
    struct open *open;
    size_t n_open;
    int64_t alive;
    pthread_t thread;
    bool started, leaving;                /* leaving: its child is idle and about to be ended */
    int64_t cancels[2 * HN_SERVING_OPEN]; /* that the child has not been told of */
    size_t n_cancels;
};

struct hn_serving {
    pthread_mutex_t lock; /* guards what follows and the places, but for what is read */
    pthread_cond_t changed;
    struct waiter *waiting;
    size_t n_waiting, n_places;
    struct place *places;
    int64_t tickets;
    atomic_int deaths;
    atomic_bool stop;
};

int hn_serving_create(int64_t children, int64_t seconds, const struct hn_confinement *to,
    struct hn_serving **ret, struct hn_error *err) {
    struct hn_serving *s = hn_calloc(1, sizeof *s);
    if (s && !(s->places = hn_calloc((size_t)children, sizeof *s->places))) {
        free(s);
        s = NULL;
    }
    if (!s)
        return hn_fail(err, HN_E_INTERNAL, "out of memory");
    s->n_places = (size_t)children;
    pthread_mutex_init(&s->lock, NULL);
    pthread_cond_init(&s->changed, NULL);
    for (size_t i = 0; i < s->n_places; i++) {
        struct place *p = &s->places[i];
        p->serving = s;
        p->child = (struct hn_helper_child){.name = "serving",
            .to = to,
            .silence_ms = seconds * 1000,
            .stop = &s->stop,
            .deaths = &s->deaths};
        hn_helper_child_init(&p->child);
        pthread_mutex_init(&p->sending, NULL);
    }
    *ret = s;
    return 0;
}

int hn_serving_deaths(const struct hn_serving *s) {
    return atomic_load(&s->deaths);
}

int64_t hn_serving_load(struct hn_serving *s) {
    pthread_mutex_lock(&s->lock);
    size_t n = s->n_waiting;
    for (size_t i = 0; i < s->n_places; i++)
        n += s->places[i].n_open;
    pthread_mutex_unlock(&s->lock);
    return (int64_t)n;
}

/* --- what comes back ------------------------------------------------------------------------ */

static struct open **find(struct place *p, int64_t id) {
    struct open **link = &p->open;
    while (*link && (*link)->id != id)
        link = &(*link)->next;
    return link;
}

static void tell(const struct open *o, const struct hn_served *served) {
    o->fn(o->ud, served);
}

/* The last that is told of a request. Under the lock. */
static void end(struct place *p, struct open **link, const struct hn_served *served) {
    struct open *o = *link;
    *link = o->next;
    p->n_open--;
    p->child.last_used = hn_time_tick();
    tell(o, served);
    free(o);
    pthread_cond_broadcast(&p->serving->changed);
}

static void end_all(struct place *p, const struct hn_error *err) {
    while (p->open)
        end(p, &p->open, &(struct hn_served){.error = err, .last = true});
}

static void take(struct place *p, const json_t *line) {
    struct open **link = find(p, (int64_t)json_integer_value(json_object_get(line, "id")));
    const json_t *chunk = json_object_get(line, "chunk"), *error = json_object_get(line, "error"),
                 *result = json_object_get(line, "result");
    if (!*link) /* of one that was cancelled, or a beat */
        return;
    if (chunk)
        tell(*link, &(struct hn_served){.chunk = chunk});
    if (result)
        end(p, link, &(struct hn_served){.result = result, .last = true});
    if (!error)
        return;
    struct hn_error err = {0};
    json_t *details = NULL;
    hn_helper_child_error(error, &details, &err);
    end(p, link, &(struct hn_served){.error = &err, .details = details, .last = true});
    json_decref(details);
}

/* Ends the process and what it had. Under the lock. */
static void lose(struct place *p, const struct hn_error *err) {
    if (p->n_open)
        hn_log(HN_LOG_WARNING, "helper ended", "helper", "serving", "error", err->message, NULL);
    atomic_fetch_add(&p->serving->deaths, p->n_open > 0);
    shutdown(p->child.fd, SHUT_RDWR); /* whoever sends just now gives up */
    pthread_mutex_lock(&p->sending);
    hn_helper_child_end(&p->child);
    pthread_mutex_unlock(&p->sending);
    free(p->key);
    p->key = NULL;
    p->leaving = false;
    p->n_cancels = 0;
    end_all(p, err);
}

/* Whether the child has shown no sign of life for too long. Under the lock. */
static bool is_silent(const struct place *p) {
    return p->n_open && hn_time_tick() - p->alive > p->child.silence_ms;
}

/* True when it was lost. */
static bool check_silence(struct place *p) {
    struct hn_error err = {0};
    pthread_mutex_lock(&p->serving->lock);
    bool silent = is_silent(p);
    if (silent) {
        hn_fail(&err, HN_E_BUSY,
            "the helper process showed no sign of life for %lld seconds, and was replaced",
            (long long)p->child.silence_ms / 1000);
        lose(p, &err);
    }
    pthread_mutex_unlock(&p->serving->lock);
    return silent;
}

/* Reads what there is. Only this thread touches child.in, and closes its socket while it reads. */
static void receive(struct place *p, int fd, size_t *seen) {
    char chunk[65536];
    struct hn_error err = {0};
    ssize_t n = recv(fd, chunk, sizeof chunk, MSG_DONTWAIT);
    if (n < 0 && (errno == EAGAIN || errno == EINTR))
        return;
    pthread_mutex_lock(&p->serving->lock);
    p->alive = hn_time_tick();
    bool good = n > 0;
    if (good)
        hn_buf_append(&p->child.in, chunk, (size_t)n);
    good = good && !p->child.in.failed;
    for (json_t *line = NULL; good && hn_helper_child_next(&p->child, seen, &line);
         json_decref(line), line = NULL) {
        good = json_is_object(line);
        if (good)
            take(p, line);
    }
    if (!good) {
        hn_helper_child_broken(&err);
        lose(p, &err);
        *seen = 0;
    }
    pthread_mutex_unlock(&p->serving->lock);
}

static void send_line(struct place *p, int pid, const char *text, size_t size);

/* Tells the child what nobody wants any more. The loop's thread, which cancels, may not wait for a
 * child that does not read. */
static void send_cancels(struct place *p) {
    int64_t cancels[2 * HN_SERVING_OPEN];
    pthread_mutex_lock(&p->serving->lock);
    size_t n = p->n_cancels;
    memcpy(cancels, p->cancels, n * sizeof *cancels);
    int pid = p->child.pid;
    pthread_mutex_unlock(&p->serving->lock);
    for (size_t i = 0; i < n; i++) {
        char line[64];
        int size = snprintf(line, sizeof line, "{\"cancel\":%lld}\n", (long long)cancels[i]);
        send_line(p, pid, line, (size_t)size);
    }
    if (!n)
        return;
    pthread_mutex_lock(&p->serving->lock);
    p->n_cancels -= n < p->n_cancels ? n : p->n_cancels;
    memmove(p->cancels, p->cancels + n, p->n_cancels * sizeof *p->cancels);
    pthread_cond_broadcast(&p->serving->changed);
    pthread_mutex_unlock(&p->serving->lock);
}

/* Waits until the place has a child; its socket, or -1 when all ends. */
static int await_child(struct place *p) {
    struct hn_serving *s = p->serving;
    pthread_mutex_lock(&s->lock);
    while (p->child.fd < 0 && !atomic_load(&s->stop)) {
        struct timespec until = hn_time_later(1000);
        pthread_cond_clockwait(&s->changed, &s->lock, CLOCK_MONOTONIC, &until);
    }
    int fd = atomic_load(&s->stop) ? -1 : p->child.fd;
    pthread_mutex_unlock(&s->lock);
    return fd;
}

static void *read_child(void *arg) {
    struct place *p = arg;
    size_t seen = 0;
    for (int fd; (fd = await_child(p)) >= 0;) {
        struct pollfd event = {.fd = fd, .events = POLLIN};
        if (poll(&event, 1, TICK_MS) > 0)
            receive(p, fd, &seen);
        send_cancels(p);
        if (check_silence(p))
            seen = 0;
    }
    return NULL;
}

/* --- asking --------------------------------------------------------------------------------- */

/* Whether others than those of this model have waited for long, and before `since`. */
static bool others_first(const struct hn_serving *s, const struct waiter *w) {
    for (const struct waiter *o = s->waiting; o; o = o->next)
        if (strcmp(o->key, w->key) != 0 && o->since < w->since &&
            hn_time_tick() - o->since > PATIENCE_MS)
            return true;
    return false;
}

static struct place *choose(struct hn_serving *s, const struct waiter *w) {
    struct place *idle = NULL;
    for (size_t i = 0; i < s->n_places; i++) {
        struct place *p = &s->places[i];
        if (p->leaving)
            continue;
        if (p->key && strcmp(p->key, w->key) == 0 && p->n_open < HN_SERVING_OPEN &&
            (!p->n_open || !others_first(s, w)))
            return p;
        if (!p->n_open && !p->n_cancels &&
            (!idle || (idle->key && (!p->key || p->child.last_used < idle->child.last_used))))
            idle = p;
    }
    return idle;
}

static int check_wanted(
    const struct hn_serving *s, const struct hn_asker *asker, struct hn_error *err) {
    const struct hn_question question = {.asker = asker};
    return hn_helper_wanted(&question, &s->stop, err);
}

/* A place for the request, with the lock held throughout but while it waits. */
static int take_place(struct hn_serving *s, const char *key, const struct hn_asker *asker,
    struct place **ret, struct hn_error *err) {
    struct waiter w = {.key = key, .since = hn_time_tick()}, **link = &s->waiting;
    int rc = 0;
    if (s->n_waiting >= HN_SERVING_WAITING) {
        hn_fail(err, HN_E_BUSY, "%d requests wait to be answered: the queue is full",
            HN_SERVING_WAITING);
        hn_error_hint(err, "try again in a few seconds");
        return HN_E_BUSY;
    }
    while (*link)
        link = &(*link)->next;
    *link = &w;
    s->n_waiting++;
    while (!(rc = check_wanted(s, asker, err)) && !(*ret = choose(s, &w))) {
        struct timespec until = hn_time_later(TICK_MS);
        pthread_cond_clockwait(&s->changed, &s->lock, CLOCK_MONOTONIC, &until);
    }
    for (link = &s->waiting; *link != &w;)
        link = &(*link)->next;
    *link = w.next;
    s->n_waiting--;
    return rc;
}

/* The place's process and thread, started where they are not yet. Under the lock. */
static int prepare(struct place *p, const char *key, struct hn_error *err) {
    char *copy = strdup(key);
    const struct timeval patience = {.tv_sec = SEND_SECONDS};
    int rc = copy ? 0 : hn_fail(err, HN_E_INTERNAL, "out of memory");
    if (!rc && p->child.fd < 0)
        rc = hn_helper_child_start(&p->child, err);
    if (!rc)
        setsockopt(p->child.fd, SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof patience);
    if (!rc && !p->started && pthread_create(&p->thread, NULL, read_child, p))
        rc = hn_fail(err, HN_E_INTERNAL, "cannot start a thread");
    p->started = p->started || !rc;
    if (rc) {
        free(copy);
        return rc;
    }
    free(p->key);
    p->key = copy;
    return 0;
}

static bool write_all(int fd, const char *text, size_t size) {
    while (size) {
        ssize_t n = send(fd, text, size, MSG_NOSIGNAL);
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            return false;
        text += n;
        size -= (size_t)n;
    }
    return true;
}

/* Sends a line, where the child is still the one that it is for. Not under the lock, which what the
 * child sends needs. A child that takes nothing is ended by the reader. */
static void send_line(struct place *p, int pid, const char *text, size_t size) {
    pthread_mutex_lock(&p->sending);
    if (p->child.pid == pid && p->child.fd >= 0 && !write_all(p->child.fd, text, size))
        shutdown(p->child.fd, SHUT_RDWR);
    pthread_mutex_unlock(&p->sending);
}

/* The request as a line. Caller frees. */
static char *write_request(
    int64_t id, const json_t *params, int64_t beat, size_t *ret_size, struct hn_error *err) {
    json_t *line = json_pack("{s:I, s:s, s:O, s:I}", "id", (json_int_t)id, "op", "chat", "params",
        params, "beat", (json_int_t)beat);
    char *text = line ? json_dumps(line, JSON_COMPACT) : NULL;
    json_decref(line);
    *ret_size = text ? strlen(text) + 1 : 0;
    if (!text)
        hn_fail(err, HN_E_INTERNAL, "out of memory");
    else if (*ret_size > LINE_BYTES)
        hn_fail(err, HN_E_TOO_LARGE, "the request is too large");
    if (text && *ret_size <= LINE_BYTES) {
        text[*ret_size - 1] = '\n'; /* in place of the NUL */
        return text;
    }
    free(text);
    return NULL;
}

int hn_serving_ask(struct hn_serving *s, const char *key, const json_t *params,
    const struct hn_asker *asker, hn_served_fn *fn, void *ud, int64_t *ret_ticket,
    struct hn_error *err) {
    struct open *o = hn_calloc(1, sizeof *o);
    struct place *p = NULL;
    size_t size;
    pthread_mutex_lock(&s->lock);
    int64_t id = ++s->tickets;
    pthread_mutex_unlock(&s->lock);
    char *line =
        o ? write_request(id, params, s->places[0].child.silence_ms / BEATS, &size, err) : NULL;
    if (!line) {
        free(o);
        return err->code ? err->code : hn_fail(err, HN_E_INTERNAL, "out of memory");
    }
    pthread_mutex_lock(&s->lock);
    int rc = take_place(s, key, asker, &p, err);
    if (!rc)
        rc = prepare(p, key, err);
    if (rc) {
        pthread_mutex_unlock(&s->lock);
        free(o);
        free(line);
        return rc;
    }
    *o = (struct open){.next = p->open, .id = id, .fn = fn, .ud = ud};
    *ret_ticket = id;
    p->alive = p->n_open ? p->alive : hn_time_tick();
    p->open = o;
    p->n_open++;
    int pid = p->child.pid;
    pthread_cond_broadcast(&s->changed);
    pthread_mutex_unlock(&s->lock);
    send_line(p, pid, line, size);
    free(line);
    return 0;
}

void hn_serving_cancel(struct hn_serving *s, int64_t ticket) {
    struct hn_error err = {0};
    hn_fail(&err, HN_E_BUSY, "the client went away");
    pthread_mutex_lock(&s->lock);
    for (size_t i = 0; i < s->n_places; i++) {
        struct place *p = &s->places[i];
        struct open **link = find(p, ticket);
        if (!*link)
            continue;
        /* a child that has been told of so few of them is about to be ended as one that hangs */
        if (p->n_cancels < sizeof p->cancels / sizeof p->cancels[0])
            p->cancels[p->n_cancels++] = ticket;
        end(p, link, &(struct hn_served){.error = &err, .last = true});
    }
    pthread_mutex_unlock(&s->lock);
}

/* --- ending --------------------------------------------------------------------------------- */

void hn_serving_rest(struct hn_serving *s) {
    pthread_mutex_lock(&s->lock);
    for (size_t i = 0; i < s->n_places; i++) {
        struct place *p = &s->places[i];
        if (p->child.fd < 0 || p->n_open || hn_time_tick() - p->child.last_used <= REST_MS)
            continue;
        p->leaving = true;
        shutdown(p->child.fd, SHUT_RDWR); /* its reader ends it */
    }
    pthread_mutex_unlock(&s->lock);
}

void hn_serving_stop(struct hn_serving *s) {
    struct hn_error err = {0};
    hn_fail(&err, HN_E_BUSY, "the server is shutting down");
    pthread_mutex_lock(&s->lock);
    atomic_store(&s->stop, true);
    for (size_t i = 0; i < s->n_places; i++)
        end_all(&s->places[i], &err);
    pthread_cond_broadcast(&s->changed);
    pthread_mutex_unlock(&s->lock);
}

void hn_serving_destroy(struct hn_serving *s) {
    if (!s)
        return;
    hn_serving_stop(s);
    for (size_t i = 0; i < s->n_places; i++) {
        struct place *p = &s->places[i];
        if (p->started)
            pthread_join(p->thread, NULL);
        hn_helper_child_end(&p->child);
        pthread_mutex_destroy(&p->sending);
        free(p->key);
    }
    pthread_cond_destroy(&s->changed);
    pthread_mutex_destroy(&s->lock);
    free(s->places);
    free(s);
}
