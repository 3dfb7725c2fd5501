/*
 * Room server/http. HTTP on libmicrohttpd: connections, bodies, replies, who asks and who may.
 *
 * Nouns: request, part (of a form), reply, stream, guard (of a connection), reach (whose objects a
 *   key sees).
 * Ownership: What a handler allocates with hn_request_… lives until the request is completed.
 * May include: engine server/base server/jobs server/library server/process server/server.h
 *   server/store.
 */

/*
 * HTTP: a route table on libmicrohttpd in its external epoll mode, inside the event loop.
 *
 * microhttpd.h is included by http*.c only. The dispatcher does what is the same for all routes:
 * unknown paths and methods, keys and scopes, body limits and types, uploads to disk with their
 * sha256, clean-up. What a handler sees is in request.h.
 */
#ifndef HN_SERVER_HTTP_HTTP_H
#define HN_SERVER_HTTP_HTTP_H

#include "server/base/loop.h"
#include "server/base/prometheus.h"
#include "server/http/request.h"

#include <sys/socket.h>

struct hn_config;
struct hn_http;

struct hn_api {
    const struct hn_route *routes;
    size_t n_routes;
    /* Makes the reply of an error; the only place that knows statuses. `details` may be NULL. */
    void (*fail)(struct hn_request *req, const struct hn_error *err, const json_t *details);
};

/* Whether `listen`, `socket` and `socket_users` can be used, as far as is known without opening
 * them. */
int hn_http_check(const struct hn_config *config, struct hn_error *err);
int hn_http_create(
    struct hn_server *server, const struct hn_api *api, struct hn_http **ret, struct hn_error *err);
/* Ends all streams and, when the last request is through (or after a few seconds), calls `done`. */
void hn_http_stop(struct hn_http *http, hn_loop_fn done, void *arg);
void hn_http_destroy(struct hn_http *http);
/* The certificate of connections that come from now on; on an error the one before stays. Loop
 * thread. */
int hn_http_renew(struct hn_http *http, const char *cert, const char *key, struct hn_error *err);
/* "127.0.0.1:4663": where it really listens. */
const char *hn_http_address(const struct hn_http *http);
/* The same as the socket has it; its size, 0 when it does not listen. */
socklen_t hn_http_socket(const struct hn_http *http, struct sockaddr_storage *ret);
/* What was answered so far, a row a route and one more. For the metrics page; loop thread. */
struct hn_route_metrics {
    const struct hn_route *route; /* NULL: paths and methods that are none */
    uint64_t counts[6];           /* by class of status: index 1..5 */
    /* from the request's headers to the answer's, not to the end of a long answer */
    struct hn_histogram delays;
};
int64_t hn_http_connections(const struct hn_http *http); /* open ones */
int64_t hn_http_memory(const struct hn_http *http);      /* bytes that requests hold */
const struct hn_route_metrics *hn_http_metrics(const struct hn_http *http, size_t *ret_n);

#endif
