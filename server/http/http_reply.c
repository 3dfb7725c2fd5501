/* Replies: how each kind becomes a response of microhttpd, and streams that sleep. */
#include "server/http/http_internal.h"

#include <fcntl.h>
#include <microhttpd.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define AHEAD_BYTES ((size_t)256 << 10)
#define SMALL_BYTES ((size_t)64 << 10) /* an answer up to here is never refused */

static struct hn_exchange *of(struct hn_request *req) {
    return (struct hn_exchange *)req;
}

static struct hn_exchange *set(
    struct hn_request *req, enum hn_reply_kind kind, int status, const char *type) {
    struct hn_exchange *x = of(req);
    x->reply = kind;
    x->status = status;
    x->type = type;
    return x;
}

void hn_reply_bytes(struct hn_request *req, int status, const char *type, char *data, size_t size) {
    struct hn_exchange *x = set(req, HN_REPLY_BYTES, status, type);
    struct hn_error busy;
    free(x->data);
    x->data = data;
    x->size = size;
    if (size <= SMALL_BYTES) {
        hn_memory_add(x, size);
    } else if (hn_memory_take(x, size, &busy)) {
        x->err = busy;
        x->http->api->fail(req, &busy, NULL);
    }
}

void hn_reply_static(
    struct hn_request *req, int status, const char *type, const char *data, size_t size) {
    struct hn_exchange *x = set(req, HN_REPLY_STATIC, status, type);
    x->fixed = data;
    x->size = size;
}

void hn_reply_empty(struct hn_request *req, int status) {
    hn_reply_static(req, status, NULL, "", 0);
}

void hn_reply_file(
    struct hn_request *req, int status, const char *type, int fd, uint64_t from, uint64_t count) {
    struct hn_exchange *x = set(req, HN_REPLY_FILE, status, type);
    x->fd = fd;
    x->from = from;
    x->count = count;
}

void hn_reply_stream(
    struct hn_request *req, int status, const char *type, struct hn_stream *stream) {
    struct hn_exchange *x = set(req, HN_REPLY_STREAM, status, type);
    struct hn_error busy;
    x->stream = stream;
    x->ahead_end = 1;
    if (stream->blocking && hn_memory_take(x, AHEAD_BYTES, &busy)) {
        x->err = busy;
        x->http->api->fail(req, &busy, NULL); /* the stream is closed with the request */
    }
}

void hn_reply_header(struct hn_request *req, const char *name, const char *value) {
    struct hn_exchange *x = of(req);
    for (size_t i = 0; i < x->n_reply_headers; i++)
        if (strcmp(x->reply_headers[i].name, name) == 0)
            return; /* the first knew better */
    char *copy = hn_request_copy(req, value);
    if (copy && x->n_reply_headers < sizeof x->reply_headers / sizeof x->reply_headers[0])
        x->reply_headers[x->n_reply_headers++] = (struct hn_header){name, copy};
}

bool hn_reply_is_set(const struct hn_request *req) {
    return ((const struct hn_exchange *)req)->reply != HN_REPLY_NONE;
}

void hn_stream_wake(struct hn_stream *stream) {
    if (!stream->asleep)
        return;
    stream->asleep = false;
    hn_http_resume(of(stream->request));
}

static void fill_ahead(void *arg) {
    struct hn_exchange *x = arg;
    ssize_t n = x->stream->read(x->stream->ud, x->ahead, AHEAD_BYTES);
    x->ahead_at = 0;
    x->ahead_size = n > 0 ? (size_t)n : 0;
    if (n <= 0)
        x->ahead_end = n;
}

static void filled_ahead(void *arg) {
    hn_http_resume(arg);
}

static ssize_t read_blocking(struct hn_exchange *x, char *buf, size_t max) {
    if (x->ahead_at == x->ahead_size && x->ahead_end != 1)
        return x->ahead_end == HN_STREAM_END ? MHD_CONTENT_READER_END_OF_STREAM
                                             : MHD_CONTENT_READER_END_WITH_ERROR;
    if (x->ahead_at == x->ahead_size) {
        if (!x->ahead && !(x->ahead = malloc(AHEAD_BYTES)))
            return MHD_CONTENT_READER_END_WITH_ERROR;
        hn_http_suspend(x);
        hn_loop_work(x->req.server->loop, fill_ahead, filled_ahead, x);
        return 0;
    }
    size_t n = x->ahead_size - x->ahead_at;
    if (n > max)
        n = max;
    memcpy(buf, x->ahead + x->ahead_at, n);
    x->ahead_at += n;
    return (ssize_t)n;
}

static ssize_t read_stream(void *cls, uint64_t pos, char *buf, size_t max) {
    (void)pos;
    struct hn_exchange *x = cls;
    if (x->unseen)
        return x->stream->blocking ? MHD_CONTENT_READER_END_WITH_ERROR
                                   : MHD_CONTENT_READER_END_OF_STREAM;
    if (x->stream->blocking)
        return read_blocking(x, buf, max);
    if (x->http->stopping)
        return MHD_CONTENT_READER_END_OF_STREAM;
    if (atomic_load(&x->req.asker.gone))
        return MHD_CONTENT_READER_END_WITH_ERROR;
    ssize_t n = x->stream->read(x->stream->ud, buf, max);
    if (n == HN_STREAM_WAIT) {
        x->stream->asleep = true;
        hn_http_suspend(x);
        if (x->stream->costly)
            hn_guard_listen(x->http);
        return 0;
    }
    return n > 0             ? n
        : n == HN_STREAM_END ? MHD_CONTENT_READER_END_OF_STREAM
                             : MHD_CONTENT_READER_END_WITH_ERROR;
}

typedef void (*header_fn)(void *ud, const char *name, const char *value);

static void each_header(struct hn_exchange *x, header_fn add, void *ud) {
    if (x->type)
        add(ud, "Content-Type", x->type);
    add(ud, "X-Request-Id", x->req.id);
    add(ud, "X-Content-Type-Options", "nosniff");
    add(ud, "Referrer-Policy", "no-referrer");
    add(ud, "Cross-Origin-Resource-Policy", "same-origin");
    bool policy = false, cache = false;
    for (size_t i = 0; i < x->n_reply_headers; i++) {
        const struct hn_header *h = &x->reply_headers[i];
        add(ud, h->name, h->value);
        policy = policy || strcmp(h->name, "Content-Security-Policy") == 0;
        cache = cache || strcmp(h->name, "Cache-Control") == 0;
    }
    /* What the API answers is data: nothing in it may ever run, wherever it is shown. */
    if (!policy)
        add(ud, "Content-Security-Policy", "default-src 'none'; frame-ancestors 'none'");
    if (!cache)
        add(ud, "Cache-Control", "no-store");
}

static void add_header(void *ud, const char *name, const char *value) {
    MHD_add_response_header(ud, name, value);
}

static void write_header(void *ud, const char *name, const char *value) {
    if (strcasecmp(name, "Connection") != 0)
        hn_buf_printf(ud, "%s: %s\r\n", name, value);
}

struct MHD_Response *hn_reply_build(struct hn_exchange *x) {
    struct MHD_Response *response = NULL;
    switch (x->reply) {
    case HN_REPLY_BYTES:
        response = MHD_create_response_from_buffer(x->size, x->data, MHD_RESPMEM_MUST_FREE);
        if (response)
            x->data = NULL;
        break;
    case HN_REPLY_STATIC:
        response = MHD_create_response_from_buffer(
            x->size, (void *)(uintptr_t)x->fixed, MHD_RESPMEM_PERSISTENT);
        break;
    case HN_REPLY_FILE:
        response = MHD_create_response_from_fd_at_offset64(x->count, x->fd, x->from);
        if (response)
            x->fd = -1;
        break;
    case HN_REPLY_STREAM:
        /* The exchange outlives the response: it is freed when the request is completed, after its
         * last read. */
        x->stream->request = &x->req;
        if (strcmp(x->req.method, "HEAD") == 0) {
            /* microhttpd would send the end of a chunked body */
            response =
                MHD_create_response_from_buffer(0, (void *)(uintptr_t) "", MHD_RESPMEM_PERSISTENT);
            break;
        }
        response = MHD_create_response_from_callback(MHD_SIZE_UNKNOWN, 32768, read_stream, x, NULL);
        break;
    case HN_REPLY_NONE:
        break;
    }
    if (response)
        each_header(x, add_header, response);
    return response;
}

void hn_reply_early(struct hn_exchange *x) {
    const union MHD_ConnectionInfo *info =
        MHD_get_connection_info(x->connection, MHD_CONNECTION_INFO_CONNECTION_FD);
    struct hn_buf out = {.ceiling = 65536};
    hn_buf_printf(
        &out, "HTTP/1.1 %d %s\r\n", x->status, MHD_get_reason_phrase_for((unsigned)x->status));
    each_header(x, write_header, &out);
    hn_buf_printf(&out, "Connection: close\r\nContent-Length: %zu\r\n\r\n", x->size);
    if (strcmp(x->req.method, "HEAD") != 0)
        hn_buf_append(&out, x->reply == HN_REPLY_BYTES ? x->data : x->fixed, x->size);
    int copy = info && !out.failed ? fcntl(info->connect_fd, F_DUPFD_CLOEXEC, 3) : -1;
    if (info && !out.failed)
        x->answered = hn_tls_send(x->connection, info->connect_fd, out.data, out.size);
    if (copy >= 0)
        hn_linger_begin(x->http, copy);
    hn_buf_free(&out);
}

void hn_reply_free(struct hn_exchange *x) {
    if (x->stream && !x->stream_closed) {
        x->stream_closed = true;
        x->stream->close(x->stream->ud);
    }
    if (x->fd >= 0)
        close(x->fd);
    free(x->data);
    free(x->ahead);
}
