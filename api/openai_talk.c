/*
 * See openai_talk.h. The talk is shared by the request's thread, the serving's and, while it
 * streams, the loop's; the last of them frees it.
 */
#include "api/openai_talk.h"
#include "api/openai.h"
#include "server/base/id.h"
#include "server/server.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define PENDING_BYTES ((size_t)64 << 20)
#define TICK_MS 100

struct hn_talk {
    struct hn_stream stream;
    struct hn_server *server;
    const struct hn_talk_form *form;
    json_t *form_data;
    bool streams;
    int64_t ticket;
    pthread_mutex_t lock; /* guards what follows */
    pthread_cond_t changed;
    struct hn_buf out; /* events that were not sent yet */
    json_t *result, *details;
    struct hn_error err;
    bool begun, ended, gone;
    int owners;
};

static void release(struct hn_talk *t) {
    pthread_mutex_lock(&t->lock);
    bool last = --t->owners == 0;
    pthread_mutex_unlock(&t->lock);
    if (!last)
        return;
    pthread_cond_destroy(&t->changed);
    pthread_mutex_destroy(&t->lock);
    hn_buf_free(&t->out);
    json_decref(t->result);
    json_decref(t->details);
    json_decref(t->form_data);
    free(t);
}

static void wake(void *arg) {
    struct hn_talk *t = arg;
    if (!t->gone && t->stream.request)
        hn_stream_wake(&t->stream);
    release(t);
}

static void write_event(struct hn_talk *t, json_t *value) {
    char *text = value ? hn_reply_text(value) : NULL;
    if (text)
        hn_buf_printf(&t->out, "data: %s\n\n", text);
    free(text);
}

static void write_events(struct hn_talk *t, json_t *list) {
    json_t *chunk;
    size_t i;
    json_array_foreach(list, i, chunk)
        write_event(t, json_incref(chunk));
    json_decref(list);
}

static void write_beginning(struct hn_talk *t) {
    write_events(t, t->form->beginning ? t->form->beginning(t->form_data) : NULL);
}

static void write_end(struct hn_talk *t, const struct hn_served *served) {
    char *failure = served->error ? hn_openai_error_text(served->error) : NULL;
    if (served->result)
        write_events(t, t->form->ending(t->form_data, served->result));
    if (failure)
        hn_buf_printf(&t->out, "data: %s\n\n", failure);
    else
        hn_buf_text(&t->out, "data: [DONE]\n\n");
    free(failure);
}

/* An hn_served_fn. */
static void on_served(void *ud, const struct hn_served *served) {
    struct hn_talk *t = ud;
    pthread_mutex_lock(&t->lock);
    bool first = !t->begun && !t->ended;
    if (t->streams && first && (served->chunk || served->result))
        write_beginning(t);
    t->begun = t->begun || served->chunk;
    if (served->last) {
        t->ended = true;
        t->result = json_incref((json_t *)(uintptr_t)served->result);
        t->details = json_incref((json_t *)(uintptr_t)served->details);
        if (served->error)
            t->err = *served->error;
    }
    if (t->streams && served->chunk && !json_object_get(served->chunk, "begun"))
        write_event(t, t->form->chunk(t->form_data, served->chunk));
    if (t->streams && served->last && (t->begun || served->result))
        write_end(t, served);
    if (first || served->last)
        pthread_cond_broadcast(&t->changed);
    t->owners += t->streams;
    pthread_mutex_unlock(&t->lock);
    if (t->streams)
        hn_loop_post(t->server->loop, wake, t);
    if (served->last)
        release(t);
}

static ssize_t read_events(void *ud, char *buf, size_t max) {
    struct hn_talk *t = ud;
    pthread_mutex_lock(&t->lock);
    size_t n = t->out.size < max ? t->out.size : max;
    if (n) {
        memcpy(buf, t->out.data, n);
        t->out.size -= n;
        memmove(t->out.data, t->out.data + n, t->out.size);
    }
    ssize_t rc = n ? (ssize_t)n : t->ended ? HN_STREAM_END : HN_STREAM_WAIT;
    if (!n && t->out.failed)
        rc = HN_STREAM_ERROR;
    pthread_mutex_unlock(&t->lock);
    return rc;
}

static void close_events(void *ud) {
    struct hn_talk *t = ud;
    pthread_mutex_lock(&t->lock);
    t->gone = true;
    pthread_mutex_unlock(&t->lock);
    hn_serving_cancel(t->server->serving, t->ticket);
    release(t);
}

/* Waits for the first sign (of a stream) or the end, for as long as the client does. */
static int await(struct hn_talk *t, const struct hn_asker *asker, struct hn_error *err) {
    int rc = 0;
    pthread_mutex_lock(&t->lock);
    while (!t->ended && !(t->streams && t->begun) && !atomic_load(&asker->gone)) {
        struct timespec until = hn_time_later(TICK_MS);
        pthread_cond_clockwait(&t->changed, &t->lock, CLOCK_MONOTONIC, &until);
    }
    bool waits = t->ended || (t->streams && t->begun);
    if (t->ended && t->err.code) {
        *err = t->err;
        rc = t->err.code;
    }
    pthread_mutex_unlock(&t->lock);
    if (waits)
        return rc;
    hn_serving_cancel(t->server->serving, t->ticket);
    return hn_fail(err, HN_E_BUSY, "the client went away");
}

static struct hn_talk *make(
    struct hn_request *req, bool stream, const struct hn_talk_form *form, json_t *form_data) {
    struct hn_talk *t = hn_calloc(1, sizeof *t);
    if (!t)
        return NULL;
    *t = (struct hn_talk){.server = req->server,
        .form = form,
        .form_data = form_data,
        .streams = stream,
        .owners = 2, /* this thread, and the serving */
        .out.ceiling = PENDING_BYTES};
    t->stream =
        (struct hn_stream){.read = read_events, .close = close_events, .ud = t, .costly = true};
    pthread_mutex_init(&t->lock, NULL);
    pthread_cond_init(&t->changed, NULL);
    return t;
}

static int reply(struct hn_request *req, struct hn_talk *t, struct hn_error *err) {
    if (!t->streams)
        return hn_reply_json(req, 200, t->form->whole(t->form_data, t->result), err);
    pthread_mutex_lock(&t->lock);
    t->owners++; /* the stream's */
    pthread_mutex_unlock(&t->lock);
    hn_reply_header(req, "X-Accel-Buffering", "no");
    hn_reply_header(req, "Cache-Control", "no-cache");
    hn_reply_stream(req, 200, "text/event-stream", &t->stream);
    return 0;
}

int hn_talk(struct hn_request *req, const char *key, json_t *params, bool stream,
    const struct hn_talk_form *form, json_t *form_data, struct hn_error *err) {
    struct hn_talk *t = params && form_data ? make(req, stream, form, form_data) : NULL;
    if (!t) {
        json_decref(params);
        json_decref(form_data);
        return hn_fail(err, HN_E_INTERNAL, "out of memory");
    }
    int rc = hn_serving_ask(
        req->server->serving, key, params, &req->asker, on_served, t, &t->ticket, err);
    json_decref(params);
    if (rc) {
        t->owners = 1;
        release(t);
        return rc;
    }
    rc = await(t, &req->asker, err);
    if (rc)
        req->details = json_incref(t->details);
    if (!rc)
        rc = reply(req, t, err);
    release(t);
    return rc;
}
