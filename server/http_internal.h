/* What the http*.c files share. */
#ifndef HN_HTTP_INTERNAL_H
#define HN_HTTP_INTERNAL_H

#include "server/http.h"

struct MHD_Connection;
struct MHD_Daemon;
struct MHD_PostProcessor;
struct MHD_Response;

enum hn_phase {
    HN_PHASE_BODY,    /* the body is arriving */
    HN_PHASE_FLUSH,   /* suspended while a piece of it is written */
    HN_PHASE_HANDLER, /* suspended while the handler runs */
    HN_PHASE_REPLY,   /* the reply is set */
    HN_PHASE_SENT,    /* handed to microhttpd */
};

enum hn_reply_kind { HN_REPLY_NONE, HN_REPLY_BYTES, HN_REPLY_STATIC, HN_REPLY_FILE, HN_REPLY_STREAM };

struct hn_link; /* a connection; http_guard.c */

struct hn_chunk {
    struct hn_chunk *next;
};

/* A request with what the handler need not see. `req` is the first member: one is cast to the other. */
struct hn_exchange {
    struct hn_request req;
    struct hn_http *http;
    struct MHD_Connection *connection;
    enum hn_phase phase;
    bool suspended;
    int64_t began; /* hn_time_micros */
    struct hn_chunk *chunks; /* the arena */
    struct hn_db *db;
    struct hn_exchange *next, **link; /* all living ones */
    struct hn_link *guard;

    /* body */
    enum hn_body body_kind;
    bool failed; /* err is set; the rest of the body is read and thrown away */
    struct hn_error err;
    uint64_t received, drained;
    struct MHD_PostProcessor *form;
    struct hn_part *current;
    struct hn_buf pending; /* bytes of the current file that wait to be written */

    /* reply */
    enum hn_reply_kind reply;
    int status;
    const char *type;
    char *data;
    const char *fixed;
    size_t size;
    int fd;
    uint64_t from, count;
    struct hn_stream *stream;
    bool stream_closed;
    char *ahead; /* a blocking stream's bytes, read on the pool */
    size_t ahead_size, ahead_at;
    ssize_t ahead_end; /* END or ERROR seen behind them, 1: neither */
    struct hn_header reply_headers[8];
    size_t n_reply_headers;
};

struct hn_http {
    struct hn_server *server;
    const struct hn_api *api;
    struct MHD_Daemon *daemon;
    int listen_fd;
    bool loopback, stopping;
    char address[128];
    char *cert, *key;
    struct hn_timer *timer, *stop_timer, *guard_timer;
    struct hn_link *links;
    int64_t n_links;
    struct hn_fd_watch *watch;
    struct hn_exchange *first;
    int64_t stop_deadline;
    hn_loop_fn stop_done;
    void *stop_arg;
    struct hn_route_figures *figures; /* a row a route, and one of what has none */
};

/* http.c */
void hn_http_suspend(struct hn_exchange *x);
void hn_http_resume(struct hn_exchange *x);
/* http_body.c: refuses a name or value that is not valid UTF-8; `field` is the name of either. */
int hn_http_check_text(const char *field, const char *text, struct hn_error *err);
/* http_body.c: chooses how the body is read and refuses what the route does not take; reads; finishes on the pool. */
int hn_body_begin(struct hn_exchange *x, struct hn_error *err);
int hn_body_take(struct hn_exchange *x, const char *data, size_t size, struct hn_error *err);
bool hn_body_wants_flush(const struct hn_exchange *x);
int hn_body_flush(struct hn_exchange *x, struct hn_error *err); /* pool */
int hn_body_end(struct hn_exchange *x, struct hn_error *err);   /* pool */
void hn_body_free(struct hn_exchange *x);
/* http_reply.c */
struct MHD_Response *hn_reply_build(struct hn_exchange *x);
void hn_reply_free(struct hn_exchange *x);
/* http_guard.c: connections that come and go, their requests; every so often a look for those that are too slow. */
#define HN_GUARD_MS 1000
void hn_guard_open(struct hn_http *http, struct MHD_Connection *connection, void **context);
void hn_guard_close(struct hn_http *http, void **context);
void hn_guard_begin(struct hn_exchange *x);
void hn_guard_end(struct hn_exchange *x);
int hn_guard_check(struct hn_exchange *x, struct hn_error *err); /* HN_E_BUSY, HN_E_RATE_LIMITED: one too many */
void hn_guard_sweep(void *http);
/* auth.c: who may do that; fills req->key. Loop thread. */
int hn_auth_check(struct hn_request *req, struct hn_error *err);

#endif
