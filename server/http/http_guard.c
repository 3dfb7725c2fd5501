/*
 * Connections, so that slow or greedy clients cannot take the server from the others.
 *
 * microhttpd's time-out counts silence, and a byte a minute is none. Here each connection has
 * idle_seconds from its opening, or its last answer, until the headers of a request are whole, and
 * a body must keep a small pace. A cut is a shutdown of the socket, after which microhttpd ends the
 * connection in its own way.
 *
 * When there are as many connections as there may be, room is made for new ones: those that have
 * waited longest for the headers of a request are cut first, then bodies that come too slowly. A
 * request that is worked on or answered is never cut. Where nothing can be cut, the new client is
 * told so: a few more than allowed are accepted for that.
 */
#include "server/http/http_internal.h"
#include "server/base/log.h"

#include <arpa/inet.h>
#include <linux/tcp.h>
#include <microhttpd.h>
#include <netinet/in.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>

#define PACE_BYTES 256 /* of a body, a second, over idle_seconds */
#define CUT_MOST 32    /* connections at a time to make room for new ones */
#define BODY_MS 2000   /* a body is not looked at before it had so long */

/* A local user's connections count together, whatever key they bring. */
static void read_peer(struct hn_http *http, struct hn_link *link) {
    uid_t uid = 0;
    link->peer = hn_calloc(1, sizeof *link->peer);
    snprintf(link->address, sizeof link->address, "local");
    if (!link->peer || !http->peers || !hn_peers_identify(http->peers, link->fd, &uid, link->peer))
        return;
    memcpy(link->client, &uid, sizeof uid);
    link->client[15] = 1; /* no IPv4 address has bytes there */
    link->from.kind = 1;
    memcpy(link->from.bytes, &uid, sizeof uid);
    snprintf(link->address, sizeof link->address, "uid:%u", (unsigned)uid);
}

/* IPv6 hands out 64 bits to each, so the rest says nothing about who it is. */
static struct hn_address address_of(const struct hn_link *link, bool four) {
    static const unsigned char mapped[12] = {[10] = 0xFF, [11] = 0xFF};
    struct hn_address from = {.kind = 6};
    bool mapped4 = !four && memcmp(link->client, mapped, sizeof mapped) == 0;
    if (four || mapped4)
        from.kind = 4;
    memcpy(from.bytes, link->client + (mapped4 ? 12 : 0), from.kind == 4 ? 4 : 8);
    return from;
}

static void read_client(
    struct hn_http *http, struct MHD_Connection *connection, struct hn_link *link) {
    const union MHD_ConnectionInfo *info =
        MHD_get_connection_info(connection, MHD_CONNECTION_INFO_CLIENT_ADDRESS);
    const struct sockaddr *at = info ? info->client_addr : NULL;
    bool four = at && at->sa_family == AF_INET;
    const void *from = !at ? NULL
        : four             ? (const void *)&((const struct sockaddr_in *)(const void *)at)->sin_addr
        : at->sa_family == AF_INET6
        ? (const void *)&((const struct sockaddr_in6 *)(const void *)at)->sin6_addr
        : NULL;
    if (!from) {
        read_peer(http, link);
        return;
    }
    memcpy(link->client, from, four ? 4 : 16);
    link->from = address_of(link, four);
    inet_ntop(at->sa_family, from, link->address, sizeof link->address);
}

static int weigh(const struct hn_http *http, const struct hn_link *link) {
    const struct hn_config *config = http->server->config;
    int64_t same = 0;
    for (const struct hn_link *l = http->links; l && config->max_per_client; l = l->next)
        same += memcmp(l->client, link->client, sizeof l->client) == 0;
    if (http->n_links - http->n_cut >= http->room)
        return HN_E_BUSY;
    return config->max_per_client && same >= config->max_per_client ? HN_E_RATE_LIMITED : 0;
}

static void begin_waiting(struct hn_http *http, struct hn_link *link) {
    link->since = hn_time_tick();
    link->waiting = true;
    link->older = http->newest;
    link->newer = NULL;
    *(link->older ? &link->older->newer : &http->oldest) = link;
    http->newest = link;
    http->n_waiting++;
}

static void end_waiting(struct hn_http *http, struct hn_link *link) {
    if (!link->waiting)
        return;
    link->waiting = false;
    *(link->older ? &link->older->newer : &http->oldest) = link->newer;
    *(link->newer ? &link->newer->older : &http->newest) = link->older;
    http->n_waiting--;
}

void hn_guard_open(struct hn_http *http, struct MHD_Connection *connection, void **context) {
    struct hn_link *link = hn_calloc(1, sizeof *link);
    const union MHD_ConnectionInfo *fd =
        MHD_get_connection_info(connection, MHD_CONNECTION_INFO_CONNECTION_FD);
    *context = link;
    if (!link)
        return;
    link->fd = fd ? fd->connect_fd : -1;
    read_client(http, connection, link);
    link->refused = weigh(http, link);
    link->next = http->links;
    link->link = &http->links;
    if (link->next)
        link->next->link = &link->next;
    http->links = link;
    begin_waiting(http, link);
    hn_tls_use(http, link, connection);
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
    end_waiting(http, link);
    http->n_cut -= link->cut;
    if (--http->n_links == 0 && !http->n_lingering)
        hn_timer_stop(http->guard_timer); /* a server that nobody talks to sleeps */
    hn_tls_free(link->tls);
    free(link->peer);
    free(link);
    *context = NULL;
}

void hn_guard_begin(struct hn_exchange *x) {
    const union MHD_ConnectionInfo *info =
        MHD_get_connection_info(x->connection, MHD_CONNECTION_INFO_SOCKET_CONTEXT);
    struct hn_link *link = x->guard = info ? info->socket_context : NULL;
    if (!link)
        return;
    end_waiting(x->http, link);
    link->x = x;
    link->seen = 0;
    link->since = hn_time_tick();
}

void hn_guard_end(struct hn_exchange *x) {
    struct hn_link *link = x->guard;
    if (!link)
        return;
    link->x = NULL;
    link->served = true;
    if (!link->cut)
        begin_waiting(x->http, link);
}

static void cut(struct hn_http *http, struct hn_link *link, const char *why) {
    hn_log(HN_LOG_DEBUG, "connection cut", "why", why, "client", link->address, "req",
        link->x ? link->x->req.id : "-", NULL);
    end_waiting(http, link);
    http->n_cut += !link->cut;
    link->cut = true;
    shutdown(link->fd, SHUT_RDWR);
}

/* Whether bytes have come that microhttpd has not read yet, perhaps a whole request. */
static bool has_more(const struct hn_link *link) {
    int n = 0;
    return ioctl(link->fd, FIONREAD, &n) == 0 && n > 0;
}

/* Who has begun a request and not ended it shall know why it is cut. TLS has no place for that; and
 * between two requests a client takes what comes for the answer to its next one, while it asks
 * again after a mere end. */
static void tell(const struct hn_http *http, const struct hn_link *link) {
    static const char text[] = "HTTP/1.1 503 Service Unavailable\r\nRetry-After: 5\r\nConnection: "
                               "close\r\nContent-Length: 0\r\n\r\n";
    struct tcp_info tcp;
    socklen_t size = sizeof tcp;
    if ((http->tls && !link->peer) || (link->served && !link->x) ||
        getsockopt(link->fd, IPPROTO_TCP, TCP_INFO, &tcp, &size) || !tcp.tcpi_bytes_received)
        return;
    if (send(link->fd, text, sizeof text - 1, MSG_DONTWAIT | MSG_NOSIGNAL) < 0) {
        /* It is being cut anyway. */
    }
}

static int64_t cut_waiting(struct hn_http *http, bool refused) {
    int64_t most = http->n_waiting / 8 + 1, n = 0;
    if (most > CUT_MOST)
        most = CUT_MOST;
    for (struct hn_link *link = http->oldest, *newer; link && n < most; link = newer) {
        newer = link->newer;
        if (has_more(link) || (link->refused && !refused))
            continue;
        tell(http, link);
        cut(http, link, "room");
        n++;
    }
    return n;
}

static int64_t cut_slow_body(struct hn_http *http) {
    struct hn_link *slowest = NULL;
    for (struct hn_link *link = http->links; link; link = link->next) {
        const struct hn_exchange *x = link->x;
        int64_t ms = x ? hn_time_micros() / 1000 - x->began / 1000 : 0;
        bool slow = x && !link->cut && x->phase == HN_PHASE_BODY && ms > BODY_MS &&
            (x->received + x->drained) * 1000 < (uint64_t)ms * PACE_BYTES;
        if (slow && (!slowest || x->began < slowest->x->began))
            slowest = link;
    }
    if (!slowest)
        return 0;
    tell(http, slowest);
    cut(http, slowest, "room");
    return 1;
}

bool hn_guard_make_room(struct hn_http *http, bool refused) {
    hn_http_run(http); /* what has come is read first: a request that is there is served */
    return cut_waiting(http, refused) || cut_slow_body(http);
}

int hn_guard_check(struct hn_exchange *x, struct hn_error *err) {
    const struct hn_link *link = x->guard;
    if (!link || !link->refused)
        return 0;
    if (link->refused == HN_E_BUSY)
        hn_fail(err, HN_E_BUSY, "all connections of this server are in use");
    else
        hn_fail(err, HN_E_RATE_LIMITED, "this address has as many connections as it may");
    hn_error_hint(err,
        "try again in a few seconds; the server's settings max_connections and max_per_client "
        "decide");
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
        if (is_late(link, now, limit))
            cut(http, link, "slow");
    hn_linger_sweep(http, now);
    hn_auth_sweep(http);
}

/* Whether anything is done for the client that it would have to wait for. */
static bool is_worked_for(const struct hn_exchange *x) {
    return x && x->suspended &&
        (x->phase == HN_PHASE_HANDLER || (x->stream && x->stream->costly && x->stream->asleep));
}

/* One that has only closed its sending half looks the same: whoever wants an answer keeps the
 * connection open. */
static bool has_hung_up(int fd) {
    struct pollfd p = {.fd = fd, .events = POLLRDHUP};
    return fd >= 0 && poll(&p, 1, 0) > 0 && p.revents & (POLLRDHUP | POLLHUP | POLLERR);
}

void hn_guard_listen(struct hn_http *http) {
    if (http->listening)
        return;
    http->listening = true;
    hn_timer_start(http->gone_timer, HN_GONE_MS, HN_GONE_MS);
}

void hn_guard_look(void *arg) {
    struct hn_http *http = arg;
    bool any = false;
    for (struct hn_link *link = http->links; link; link = link->next) {
        struct hn_exchange *x = link->x;
        if (!is_worked_for(x))
            continue;
        any = true;
        if (atomic_load(&x->req.asker.gone) || !has_hung_up(link->fd))
            continue;
        atomic_store(&x->req.asker.gone, true);
        hn_log(HN_LOG_DEBUG, "client hung up", "req", x->req.id, "client", link->address, NULL);
        if (x->phase != HN_PHASE_HANDLER)
            hn_stream_wake(x->stream);
    }
    if (any)
        return;
    http->listening = false;
    hn_timer_stop(http->gone_timer);
}
