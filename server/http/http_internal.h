/* What the http*.c files share. */
#ifndef HN_SERVER_HTTP_HTTP_INTERNAL_H
#define HN_SERVER_HTTP_HTTP_INTERNAL_H

#include "server/http/failures.h"
#include "server/http/http.h"
#include "server/http/peers.h"
#include "server/server.h"

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

enum hn_reply_kind {
    HN_REPLY_NONE,
    HN_REPLY_BYTES,
    HN_REPLY_STATIC,
    HN_REPLY_FILE,
    HN_REPLY_STREAM
};

#define HN_RESERVE 8 /* descriptors */

struct hn_tls;    /* a certificate and its key; http_tls.c */
struct hn_linger; /* an answered client that is still sending; http_listen.c */

/* A connection; http_guard.c. */
struct hn_link {
    struct hn_link *next, **link; /* all of them */
    /* those that wait for a request, in the order in which they began to */
    struct hn_link *newer, *older;
    int fd;
    unsigned char client[16]; /* IPv6, or IPv4 in its first bytes */
    struct hn_address from;   /* the same, as wrong keys are counted */
    char address[48];         /* the same, for the log */
    struct hn_key *peer;      /* of the Unix socket: the local user; NULL: of the network */
    int refused;              /* HN_E_BUSY, HN_E_RATE_LIMITED: beyond a limit when it came */
    bool waiting;             /* for the headers of a request */
    bool served;              /* it has had an answer */
    bool cut;                 /* it was told to end */
    struct hn_exchange *x;    /* its request, once the headers are there */
    int64_t since;            /* tick: headers are waited for; or of `seen` */
    uint64_t seen;            /* bytes of the body at that time */
    struct hn_tls *tls;       /* what its session was begun with */
    const char *target_end;   /* of the request line's target as it came, in microhttpd's memory */
    size_t n_arguments;       /* of its query */
    /* the target has an encoded NUL byte, at which microhttpd ends its text */
    bool nul;
};

struct hn_chunk {
    struct hn_chunk *next;
};

/* A request with what the handler need not see. `req` is the first member: one is cast to the
 * other. */
struct hn_exchange {
    struct hn_request req;
    struct hn_http *http;
    struct MHD_Connection *connection;
    enum hn_phase phase;
    bool suspended;
    int64_t began;                    /* hn_time_micros */
    struct hn_chunk *chunks;          /* the arena */
    int64_t held;                     /* bytes counted in the server's budget */
    struct hn_exchange *next, **link; /* all living ones */
    struct hn_link *guard;

    /* body */
    enum hn_body body_kind;
    bool broken_frame; /* where it ends is not certain: its connection must */
    bool failed;       /* err is set; the rest of the body is read and thrown away */
    struct hn_error err;
    uint64_t received, drained;
    size_t field_bytes; /* of all fields of a form together */
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
    bool unseen; /* its key is no longer good for it: it is ended */
    bool audited;
    bool barred;   /* its address has sent too many wrong keys */
    bool answered; /* early */
    char *ahead;   /* a blocking stream's bytes, read on the pool */
    size_t ahead_size, ahead_at;
    ssize_t ahead_end; /* END or ERROR seen behind them, 1: neither */
    struct hn_header reply_headers[8];
    size_t n_reply_headers;
};

/* A socket that clients come to, and the microhttpd that talks with them. */
struct hn_listener {
    struct hn_http *http;
    struct MHD_Daemon *daemon;
    int fd;
    struct hn_fd_watch *accept_watch, *watch; /* of the socket; of microhttpd */
};
enum { HN_NETWORK, HN_LOCAL, HN_LISTENERS };

struct hn_http {
    /* HN_LOCAL: the Unix socket, never with TLS; fd -1 where there is none */
    struct hn_listener listeners[HN_LISTENERS];
    struct hn_peers *peers;
    struct hn_failures *failures;
    struct hn_audit *audit; /* NULL: none */
    struct hn_server *server;
    const struct hn_api *api;
    bool loopback, stopping, keeps_layout; /* http_frame.c */
    bool listening;                        /* gone_timer runs */
    char address[128];
    struct hn_tls *tls; /* for new connections; NULL: plain HTTP */
    struct hn_timer *timer, *stop_timer, *guard_timer, *gone_timer, *nap_timer;
    /* descriptors kept for clients that come when there are no others; -1: lent */
    int reserve[HN_RESERVE];
    struct hn_linger *lingering;
    int64_t n_lingering;
    struct hn_link *links, *oldest, *newest; /* oldest: has waited longest for a request */
    int64_t n_links, n_cut, n_waiting;
    int64_t room; /* connections that are served: max_connections, or what the descriptors allow */
    _Atomic int64_t memory; /* what all requests hold */
    struct hn_exchange *first;
    int64_t stop_deadline;
    hn_loop_fn stop_done;
    void *stop_arg;
    struct hn_route_metrics *figures; /* a row a route, and one of what has none */
};

/* http.c */
void hn_http_run(void *http); /* lets microhttpd do what there is to do */
void hn_http_suspend(struct hn_exchange *x);
void hn_http_resume(struct hn_exchange *x);
/* http_memory.c: the budget of all requests together. Any thread, one at a time for a request. */
/* HN_E_BUSY: it is used up */
int hn_memory_take(struct hn_exchange *x, size_t size, struct hn_error *err);
/* what is small or there already: counted, never refused */
void hn_memory_add(struct hn_exchange *x, size_t size);
void hn_memory_give(struct hn_exchange *x, size_t size);
void hn_memory_free(struct hn_exchange *x); /* the arena, and all that is still counted */
/* The most that the values of a JSON text can take in memory. */
size_t hn_memory_of_json(const char *text, size_t size);
/* http_frame.c: looks at a target before it is taken apart; refuses requests whose end or host can
 * be read in two ways. */
void hn_frame_target(struct hn_link *link, const char *target);
int hn_frame_check(struct hn_exchange *x, const char *version, struct hn_error *err);
/* http_body.c: refuses a name or value that is not valid UTF-8; `field` is the name of either. */
int hn_http_check_text(const char *field, const char *text, struct hn_error *err);
/* http_body.c: chooses how the body is read and refuses what the route does not take; reads;
 * finishes on the pool. */
int hn_body_begin(struct hn_exchange *x, struct hn_error *err);
int hn_body_take(struct hn_exchange *x, const char *data, size_t size, struct hn_error *err);
bool hn_body_wants_flush(const struct hn_exchange *x);
int hn_body_flush(struct hn_exchange *x, struct hn_error *err); /* pool */
int hn_body_end(struct hn_exchange *x, struct hn_error *err);   /* pool */
/* The request has failed: what is kept of its body goes, what still comes is not looked at. */
void hn_body_forget(struct hn_exchange *x);
void hn_body_free(struct hn_exchange *x);
/* http_reply.c */
struct MHD_Response *hn_reply_build(struct hn_exchange *x);
/* Answers a client that is still sending its body, past microhttpd, which cannot; its connection
 * must then be ended. What it still sends is read and thrown away for a while, as it would not hear
 * the answer otherwise. */
void hn_reply_early(struct hn_exchange *x);
void hn_reply_free(struct hn_exchange *x);
/* http_listen.c */
int hn_listen_open(struct hn_http *http, struct hn_error *err);
/* the Unix socket, if one is set */
int hn_listen_local(struct hn_http *http, struct hn_error *err);
int hn_listen_begin(struct hn_http *http, struct hn_error *err);
void hn_listen_end(struct hn_http *http); /* no more clients; harmless a second time */
/* Reads and throws away until the client hangs up, or has had time enough; `fd` is taken over. */
void hn_linger_begin(struct hn_http *http, int fd);
void hn_linger_sweep(struct hn_http *http, int64_t now);
/* auth.c: ends the streams of keys that were revoked, have expired, or no longer see what they
 * watch. */
void hn_auth_sweep(struct hn_http *http);
/* http_tls.c */
int hn_tls_load(const char *cert, const char *key, struct hn_tls **ret, struct hn_error *err);
/* when the last connection that uses it is gone; NULL is fine */
void hn_tls_free(struct hn_tls *tls);
const char *hn_tls_cert(const struct hn_tls *tls);
const char *hn_tls_key(const struct hn_tls *tls);
void hn_tls_use(struct hn_http *http, struct hn_link *link, struct MHD_Connection *connection);
/* Sends on a connection, through TLS where there is one; false when not all of it went out at
 * once. */
bool hn_tls_send(struct MHD_Connection *connection, int fd, const char *data, size_t size);
/* http_guard.c: connections that come and go, their requests; every so often a look for those that
 * are too slow. */
#define HN_GUARD_MS 1000
void hn_guard_open(struct hn_http *http, struct MHD_Connection *connection, void **context);
void hn_guard_close(struct hn_http *http, void **context);
void hn_guard_begin(struct hn_exchange *x);
void hn_guard_end(struct hn_exchange *x);
/* HN_E_BUSY, HN_E_RATE_LIMITED: one too many */
int hn_guard_check(struct hn_exchange *x, struct hn_error *err);
/* Cuts some of those that have sent no whole request for longest; true when there was one. They are
 * gone after hn_http_run. Those that are there to be told that they are too many have a place of
 * their own, and are cut only where `refused` says so. */
bool hn_guard_make_room(struct hn_http *http, bool refused);
void hn_guard_sweep(void *http);
/* A suspended connection is not read, so nobody hears that its client hangs up: while somebody
 * works for one, it is asked for. */
#define HN_GONE_MS 100
void hn_guard_listen(struct hn_http *http);
void hn_guard_look(void *http);
/* auth.c: who may do that; fills req->key. Loop thread. */
int hn_auth_check(struct hn_request *req, struct hn_error *err);

#endif
