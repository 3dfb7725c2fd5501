/*
 * /jobs/{id}/events and /sweeps/{id}/events: a page of JSON, or a stream of server-sent events.
 *
 * A stream holds no queue: it remembers the last seq it sent and reads on from the store whenever
 * the feed says that something was committed. So a slow client costs nothing, and one that comes
 * back with Last-Event-ID misses nothing. The stream ends when the job has ended and its last event
 * is sent; who asks again after that gets 204, which tells an EventSource to stop.
 */
#include "api/handlers.h"
#include "server/jobs/feed.h"
#include "server/store/store_sweeps.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define BATCH 200
#define HEARTBEAT_MS 15000

/* What has events: how far they go, and whether others will come. */
struct source {
    int (*look)(struct hn_db *db, const char *id, struct source *ret, struct hn_error *err);
    int (*read)(struct hn_db *db, int64_t n, int64_t after, int64_t limit, const char *type,
        hn_event_fn each, void *ud, struct hn_error *err);
    int64_t n, last;
    bool ended;
};

static int look_at_job(struct hn_db *db, const char *id, struct source *ret, struct hn_error *err) {
    struct hn_job job;
    hn_job_init(&job);
    int rc = hn_db_job_get(db, id, &job, err);
    if (!rc) {
        ret->n = job.n;
        ret->last = job.next_seq - 1;
        ret->ended = hn_job_ended(job.status);
    }
    hn_job_finish(&job);
    return rc;
}

static int look_at_sweep(
    struct hn_db *db, const char *id, struct source *ret, struct hn_error *err) {
    struct hn_sweep sweep;
    int rc = hn_db_sweep_get(db, id, &sweep, err);
    if (!rc) {
        ret->n = sweep.n;
        ret->last = sweep.next_seq - 1;
        ret->ended = hn_job_ended(sweep.status);
    }
    hn_sweep_finish(&sweep);
    return rc;
}

struct event_stream {
    struct source source;
    struct hn_stream stream;
    struct hn_watch watch;
    struct hn_server *server;
    struct hn_timer *timer;
    int64_t seq, last_sent; /* last_sent: tick, for the heartbeat */
    struct hn_buf out;
    size_t at;
    bool ended;
};

static void add_json(void *ud, int64_t seq, const char *time, const char *type, const char *data) {
    json_t *parsed = NULL;
    if (hn_json_parse(data, strlen(data), &parsed, NULL))
        parsed = json_object();
    json_array_append_new(ud,
        json_pack("{s:I,s:s,s:s,s:o}", "seq", (json_int_t)seq, "time", time, "type", type, "data",
            parsed));
}

static int reply_page(
    struct hn_request *req, const struct source *of, int64_t after, struct hn_error *err) {
    int64_t limit = 1000;
    int rc = hn_query_int(req, "limit", 1, 10000, &limit, err);
    struct hn_db *db = rc ? NULL : hn_request_db(req, err);
    if (!db)
        return rc ? rc : HN_E_INTERNAL;
    json_t *data = json_array();
    rc = of->read(db, of->n, after, limit + 1, hn_request_query(req, "type"), add_json, data, err);
    if (rc) {
        json_decref(data);
        return rc;
    }
    json_t *next = json_null();
    if ((int64_t)json_array_size(data) > limit) {
        json_array_remove(data, (size_t)limit);
        next = json_incref(json_object_get(json_array_get(data, (size_t)limit - 1), "seq"));
    }
    return hn_reply_json(req, 200, json_pack("{s:o,s:o}", "data", data, "next", next), err);
}

/* `data` holds no line break: it was written by the store in compact form. */
static void add_sse(void *ud, int64_t seq, const char *time, const char *type, const char *data) {
    struct event_stream *s = ud;
    hn_buf_printf(&s->out,
        "id: %lld\nevent: %s\ndata: {\"seq\":%lld,\"time\":\"%s\",\"type\":\"%s\",\"data\":%s}\n\n",
        (long long)seq, type, (long long)seq, time, type, data);
    s->seq = seq;
}

/* The status is read before the events: an end seen here has its last event in what is read
 * next. */
static int refill(struct event_stream *s) {
    struct hn_db *db = s->server->loop_db;
    hn_buf_clear(&s->out);
    s->at = 0;
    int rc = s->source.look(db, s->watch.job, &s->source, NULL);
    if (!rc)
        rc = s->source.read(db, s->source.n, s->seq, BATCH, NULL, add_sse, s, NULL);
    if (!rc && s->source.ended && s->seq >= s->source.last)
        s->ended = true;
    return rc == HN_E_NOT_FOUND ? 0 : rc;
}

static ssize_t read_events(void *ud, char *buf, size_t max) {
    struct event_stream *s = ud;
    if (s->at == s->out.size) {
        if (s->ended)
            return HN_STREAM_END;
        if (refill(s) || s->out.failed)
            return HN_STREAM_ERROR;
        if (!s->out.size && s->ended)
            return HN_STREAM_END;
        if (!s->out.size && hn_time_tick() - s->last_sent >= HEARTBEAT_MS)
            hn_buf_text(&s->out, ": still here\n\n");
        if (!s->out.size) {
            hn_buf_free(&s->out); /* streams sleep most of their time, by the thousand */
            hn_feed_watch(s->server->feed, &s->watch);
            hn_timer_start(s->timer, HEARTBEAT_MS, 0);
            return HN_STREAM_WAIT;
        }
    }
    size_t n = s->out.size - s->at < max ? s->out.size - s->at : max;
    memcpy(buf, s->out.data + s->at, n);
    s->at += n;
    s->last_sent = hn_time_tick();
    return (ssize_t)n;
}

static void wake(void *arg) {
    struct event_stream *s = arg;
    hn_stream_wake(&s->stream);
}

static void close_events(void *ud) {
    struct event_stream *s = ud;
    s->server->event_streams--;
    hn_feed_unwatch(&s->watch);
    hn_timer_destroy(s->timer);
    hn_buf_free(&s->out);
    free(s);
}

static int reply_stream(
    struct hn_request *req, const struct source *of, int64_t after, struct hn_error *err) {
    if (of->ended && after >= of->last) {
        hn_reply_empty(req, 204);
        return 0;
    }
    struct event_stream *s = hn_calloc(1, sizeof *s);
    if (!s)
        return hn_fail(err, HN_E_INTERNAL, "out of memory");
    s->stream = (struct hn_stream){.read = read_events, .close = close_events, .ud = s};
    snprintf(s->watch.job, sizeof s->watch.job, "%s", req->params[0]);
    s->watch.fn = wake;
    s->watch.arg = s;
    s->server = req->server;
    s->server->event_streams++;
    s->source = *of;
    s->seq = after;
    s->last_sent = hn_time_tick();
    s->timer = hn_timer_create(req->server->loop, wake, s);
    hn_buf_text(&s->out, "retry: 2000\n\n");
    hn_reply_header(req, "X-Accel-Buffering", "no"); /* proxies must not hold events back */
    hn_reply_stream(req, 200, "text/event-stream", &s->stream);
    return 0;
}

static int reply(struct hn_request *req, struct source *of, struct hn_error *err) {
    int64_t after = 0;
    struct hn_db *db = hn_request_db(req, err);
    int rc = db ? of->look(db, req->params[0], of, err) : HN_E_INTERNAL;
    if (!rc)
        rc = hn_query_int(req, "after", 0, INT64_MAX, &after, err);
    bool stream = hn_accepts(hn_request_header(req, "Accept"), "text/event-stream");
    const char *last = hn_request_header(req, "Last-Event-ID");
    if (!rc && stream && last && *last) {
        char *end;
        long long seen = strtoll(last, &end, 10);
        after = *end == 0 && seen > 0 ? seen : 0;
    }
    if (!rc)
        rc = stream ? reply_stream(req, of, after, err) : reply_page(req, of, after, err);
    return rc;
}

int hn_jobs_events(struct hn_request *req, struct hn_error *err) {
    struct source of = {.look = look_at_job, .read = hn_db_events};
    return reply(req, &of, err);
}

int hn_sweeps_events(struct hn_request *req, struct hn_error *err) {
    struct source of = {.look = look_at_sweep, .read = hn_db_sweep_events};
    return reply(req, &of, err);
}
