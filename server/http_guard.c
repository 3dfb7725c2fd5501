/*
 * Connections, so that slow or greedy clients cannot take the server from the others.
 *
 * microhttpd's time-out counts silence, and a byte a minute is none. Here each connection has idle_seconds from its
 * opening, or its last answer, until the headers of a request are whole, and a body must keep a small pace. A cut is a
 * shutdown of the socket, after which microhttpd ends the connection in its own way. Those beyond the limits are told
 * so, and not just left waiting: a few more than allowed are accepted for that.
 */
#include "server/http_internal.h"
#include "server/log.h"

#include <microhttpd.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#define PACE_BYTES 256 /* of a body, a second, over idle_seconds */

struct hn_link {
    struct hn_link *next, **link;
    int fd;
    unsigned char client[16]; /* IPv6, or IPv4 in its first bytes */
    int refused;              /* HN_E_BUSY, HN_E_RATE_LIMITED: beyond a limit when it came */
    struct hn_exchange *x;    /* its request, once the headers are there */
    int64_t since;            /* tick: headers are waited for; or of `seen` */
    uint64_t seen;            /* bytes of the body at that time */
};

static void read_client(struct MHD_Connection *connection, unsigned char ret[16]) {
    const union MHD_ConnectionInfo *info = MHD_get_connection_info(connection, MHD_CONNECTION_INFO_CLIENT_ADDRESS);
    memset(ret, 0, 16);
    if (info && info->client_addr && info->client_addr->sa_family == AF_INET)
        memcpy(ret, &((const struct sockaddr_in *)(const void *)info->client_addr)->sin_addr, 4);
    else if (info && info->client_addr && info->client_addr->sa_family == AF_INET6)
        memcpy(ret, &((const struct sockaddr_in6 *)(const void *)info->client_addr)->sin6_addr, 16);
}

static int weigh(const struct hn_http *http, const struct hn_link *link) {
    const struct hn_config *config = http->server->config;
    int64_t same = 0;
    for (const struct hn_link *l = http->links; l && config->max_per_client; l = l->next)
        same += memcmp(l->client, link->client, sizeof l->client) == 0;
    if (http->n_links >= config->max_connections)
        return HN_E_BUSY;
    return config->max_per_client && same >= config->max_per_client ? HN_E_RATE_LIMITED : 0;
}

void hn_guard_open(struct hn_http *http, struct MHD_Connection *connection, void **context) {
    struct hn_link *link = hn_calloc(1, sizeof *link);
    const union MHD_ConnectionInfo *fd = MHD_get_connection_info(connection, MHD_CONNECTION_INFO_CONNECTION_FD);
    *context = link;
    if (!link)
        return;
    link->fd = fd ? fd->connect_fd : -1;
    link->since = hn_time_tick();
    read_client(connection, link->client);
    link->refused = weigh(http, link);
    link->next = http->links;
    link->link = &http->links;
    if (link->next)
        link->next->link = &link->next;
    http->links = link;
    if (http->n_links++ == 0)
        hn_timer_start(http->guard_timer, HN_GUARD_MS, HN_GUARD_MS);
}

void hn_guard_close(struct hn_http *http, void **context) {
    struct hn_link *link = *context;
    if (!link)
        return;
    *link->link = link->next;
    if (link->next)
        link->next->link = link->link;
    if (--http->n_links == 0)
        hn_timer_stop(http->guard_timer); /* a server that nobody talks to sleeps */
    free(link);
    *context = NULL;
}

void hn_guard_begin(struct hn_exchange *x) {
    const union MHD_ConnectionInfo *info = MHD_get_connection_info(x->connection, MHD_CONNECTION_INFO_SOCKET_CONTEXT);
    struct hn_link *link = x->guard = info ? info->socket_context : NULL;
    if (!link)
        return;
    link->x = x;
    link->seen = 0;
    link->since = hn_time_tick();
}

void hn_guard_end(struct hn_exchange *x) {
    struct hn_link *link = x->guard;
    if (!link)
        return;
    link->x = NULL;
    link->since = hn_time_tick();
}

int hn_guard_check(struct hn_exchange *x, struct hn_error *err) {
    const struct hn_link *link = x->guard;
    if (!link || !link->refused)
        return 0;
    if (link->refused == HN_E_BUSY)
        hn_fail(err, HN_E_BUSY, "all connections of this server are in use");
    else
        hn_fail(err, HN_E_RATE_LIMITED, "this address has as many connections as it may");
    hn_error_hint(err, "try again in a few seconds; the server's settings max_connections and max_per_client decide");
    hn_reply_header(&x->req, "Connection", "close");
    return link->refused;
}

/* Whether the time of this connection is over; a body that keeps its pace gets new time. */
static bool is_late(struct hn_link *link, int64_t now, int64_t limit_ms) {
    const struct hn_exchange *x = link->x;
    if (x && x->phase != HN_PHASE_BODY)
        link->since = now; /* it waits for us */
    if (now - link->since < limit_ms)
        return false;
    uint64_t got = x ? x->received + x->drained : 0;
    bool late = !x || got - link->seen < (uint64_t)limit_ms / 1000 * PACE_BYTES;
    link->since = now;
    link->seen = got;
    return late;
}

void hn_guard_sweep(void *arg) {
    struct hn_http *http = arg;
    int64_t now = hn_time_tick(), limit = http->server->config->idle_seconds * 1000;
    for (struct hn_link *link = http->links; link; link = link->next)
        if (is_late(link, now, limit)) {
            hn_log(HN_LOG_DEBUG, "slow connection cut", "req", link->x ? link->x->req.id : "-", NULL);
            shutdown(link->fd, SHUT_RDWR);
        }
}
