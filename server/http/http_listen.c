/*
 * The listening sockets, of the network and of the machine, and clients that were answered before
 * they had finished sending.
 *
 * Connections are accepted here and handed to microhttpd, which stops accepting for good where
 * descriptors end. The event loop says again and again that somebody waits, so nothing needs to be
 * armed anew. When there is no room, or no descriptor, those that have sent no whole request for
 * longest make room (http_guard.c). Where nobody can, a client is accepted with a descriptor that
 * was kept for that, and told to come later; with TLS, where no word can be said without a
 * handshake, its connection is closed. When those are lent as well, accepting pauses for a moment.
 *
 * Who is answered while it is still sending loses the answer when the socket is closed with bytes
 * unread: the kernel resets the connection. So a second descriptor of the socket outlives
 * microhttpd's, and reads to the end.
 */
#include "server/http/http_internal.h"
#include "server/base/log.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <microhttpd.h>
#include <netdb.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#define ACCEPTS 64 /* in a turn of the loop, for the others' sake */
#define REFUSED 64 /* connections beyond the limit, to be told so */
#define OTHERS \
    160 /* descriptors that are not for connections: the store's readers, files, children */
#define NAP_MS 100
#define LINGER_MS 60000 /* in all */
#define SILENT_MS 5000  /* without a byte */
#define LINGERING_MOST 64

struct hn_linger {
    struct hn_linger *next, **link;
    struct hn_http *http;
    struct hn_fd_watch *watch;
    int fd, slot; /* slot: whose descriptor of the reserve it has; -1: none's */
    int64_t until, heard;
};

static void end_linger(struct hn_linger *linger) {
    struct hn_http *http = linger->http;
    *linger->link = linger->next;
    if (linger->next)
        linger->next->link = linger->link;
    hn_loop_unwatch(linger->watch);
    close(linger->fd);
    if (linger->slot >= 0)
        http->reserve[linger->slot] = open("/dev/null", O_RDONLY | O_CLOEXEC);
    if (--http->n_lingering == 0 && !http->n_links)
        hn_timer_stop(http->guard_timer);
    free(linger);
}

static void read_away(void *arg) {
    struct hn_linger *linger = arg;
    for (int i = 0; i < 64; i++) {
        /* thrown away in the kernel */
        ssize_t n = recv(linger->fd, NULL, (size_t)1 << 20, MSG_DONTWAIT | MSG_TRUNC);
        if (n < 0 && (errno == EAGAIN || errno == EINTR))
            return;
        if (n <= 0) {
            end_linger(linger);
            return;
        }
        linger->heard = hn_time_tick();
    }
}

static void linger(struct hn_http *http, int fd, int slot) {
    struct hn_linger *l = hn_calloc(1, sizeof *l), *last = http->lingering;
    shutdown(fd, SHUT_WR);
    if (!l || hn_loop_watch(http->server->loop, fd, read_away, l, &l->watch, NULL)) {
        free(l);
        close(fd);
        if (slot >= 0)
            http->reserve[slot] = open("/dev/null", O_RDONLY | O_CLOEXEC);
        return;
    }
    while (last && last->next)
        last = last->next;
    if (http->n_lingering >= LINGERING_MOST)
        end_linger(last);
    l->http = http;
    l->fd = fd;
    l->slot = slot;
    l->heard = hn_time_tick();
    l->until = l->heard + (slot < 0 ? LINGER_MS : HN_GUARD_MS);
    l->next = http->lingering;
    l->link = &http->lingering;
    if (l->next)
        l->next->link = &l->next;
    http->lingering = l;
    if (http->n_lingering++ == 0 && !http->n_links)
        hn_timer_start(http->guard_timer, HN_GUARD_MS, HN_GUARD_MS);
}

void hn_linger_begin(struct hn_http *http, int fd) {
    linger(http, fd, -1);
}

void hn_linger_sweep(struct hn_http *http, int64_t now) {
    for (struct hn_linger *l = http->lingering, *next; l; l = next) {
        next = l->next;
        if (now >= l->until || now - l->heard >= SILENT_MS)
            end_linger(l);
    }
}

/* The oldest that has a descriptor of its own, not of the reserve. */
static bool end_oldest_linger(struct hn_http *http) {
    struct hn_linger *oldest = NULL;
    for (struct hn_linger *l = http->lingering; l; l = l->next)
        oldest = l->slot < 0 ? l : oldest;
    if (oldest)
        end_linger(oldest);
    return oldest != NULL;
}

static int accept_one(
    const struct hn_listener *listener, struct sockaddr_storage *from, socklen_t *size) {
    *size = sizeof *from;
    return accept4(listener->fd, (struct sockaddr *)from, size, SOCK_NONBLOCK | SOCK_CLOEXEC);
}

static void on_accept(void *arg);

static void watch(void *arg) {
    struct hn_http *http = arg;
    struct hn_error err;
    for (int i = 0; i < HN_LISTENERS; i++) {
        struct hn_listener *l = &http->listeners[i];
        if (!l->accept_watch && l->fd >= 0 &&
            hn_loop_watch(http->server->loop, l->fd, on_accept, l, &l->accept_watch, &err))
            hn_timer_start(http->nap_timer, NAP_MS, 0);
    }
}

/* Who waits goes on waiting in the kernel's queue. */
static void nap(struct hn_http *http) {
    for (int i = 0; i < HN_LISTENERS; i++) {
        hn_loop_unwatch(http->listeners[i].accept_watch);
        http->listeners[i].accept_watch = NULL;
    }
    hn_timer_start(http->nap_timer, NAP_MS, 0);
}

static int free_slot(struct hn_http *http) {
    int found = -1;
    for (int i = 0; i < HN_RESERVE; i++) {
        bool lent = false;
        for (const struct hn_linger *l = http->lingering; l; l = l->next)
            lent = lent || l->slot == i;
        if (http->reserve[i] < 0 && !lent)
            /* it could not be had back then */
            http->reserve[i] = open("/dev/null", O_RDONLY | O_CLOEXEC);
        if (http->reserve[i] >= 0)
            found = i;
    }
    return found;
}

/* Answers a client that there is no descriptor for; false when there is none of the reserve
 * either. */
static bool refuse_one(const struct hn_listener *listener) {
    struct hn_http *http = listener->http;
    static const char text[] =
        "HTTP/1.1 503 Service Unavailable\r\nContent-Type: application/json\r\nRetry-After: "
        "5\r\nConnection: close\r\n"
        "Content-Length: 128\r\n\r\n"
        "{\"error\":{\"code\":\"busy\",\"message\":\"all connections of this server are in "
        "use\",\"field\":null,\"hint\":\"try again in a few seconds\"}}";
    struct sockaddr_storage from;
    socklen_t size;
    int slot = free_slot(http);
    if (slot < 0)
        return false;
    close(http->reserve[slot]);
    http->reserve[slot] = -1;
    int fd = accept_one(listener, &from, &size);
    if (fd < 0) {
        http->reserve[slot] = open("/dev/null", O_RDONLY | O_CLOEXEC);
        return false;
    }
    if ((!http->tls || listener == &http->listeners[HN_LOCAL]) &&
        send(fd, text, sizeof text - 1, MSG_DONTWAIT | MSG_NOSIGNAL) < 0) {
        /* It has left already. */
    }
    linger(http, fd, slot);
    return true;
}

static bool is_shortage(int error) {
    return error == EMFILE || error == ENFILE || error == ENOMEM || error == ENOBUFS;
}

static void take_in(const struct hn_listener *listener, int fd, const struct sockaddr_storage *from,
    socklen_t size) {
    struct hn_http *http = listener->http;
    int64_t open = http->n_links - http->n_cut;
    if (open >= http->room && hn_guard_make_room(http, open >= http->room + REFUSED))
        hn_http_run(http);
    /* closes it when it cannot */
    MHD_add_connection(listener->daemon, fd, (const struct sockaddr *)from, size);
}

/* There is no descriptor for the next client; false when nothing can be done about that now. */
static bool relieve(const struct hn_listener *listener) {
    struct hn_http *http = listener->http;
    if (!hn_guard_make_room(http, true))
        return end_oldest_linger(http) || refuse_one(listener);
    hn_http_run(http);
    return true;
}

static void on_accept(void *arg) {
    struct hn_listener *listener = arg;
    struct hn_http *http = listener->http;
    for (int i = 0; i < ACCEPTS; i++) {
        struct sockaddr_storage from;
        socklen_t size;
        int fd = accept_one(listener, &from, &size);
        if (fd >= 0)
            take_in(listener, fd, &from, size);
        else if (errno == EAGAIN)
            break;
        else if (is_shortage(errno) && !relieve(listener)) {
            nap(http);
            break;
        }
    }
    hn_http_run(http); /* most have sent their request already */
}

static int open_socket(struct hn_http *http, const struct addrinfo *at, struct hn_error *err) {
    int one = 1, *fd = &http->listeners[HN_NETWORK].fd;
    *fd = socket(at->ai_family, at->ai_socktype | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (*fd < 0)
        return hn_fail_errno(err, errno, "cannot make a socket");
    setsockopt(*fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
    if (bind(*fd, at->ai_addr, at->ai_addrlen) || listen(*fd, 4096)) {
        int rc = hn_fail_errno(err, errno, "cannot listen on %s", http->server->config->listen);
        hn_error_hint(err, "is another program using the port? choose one with --listen");
        return rc;
    }
    struct sockaddr_storage got;
    socklen_t size = sizeof got;
    char host[64] = "", port[8] = "";
    if (getsockname(*fd, (struct sockaddr *)&got, &size) == 0)
        getnameinfo((struct sockaddr *)&got, size, host, sizeof host, port, sizeof port,
            NI_NUMERICHOST | NI_NUMERICSERV);
    snprintf(
        http->address, sizeof http->address, strchr(host, ':') ? "[%s]:%s" : "%s:%s", host, port);
    http->loopback = hn_host_is_loopback(host);
    return 0;
}

static int split_listen(const char *listen, char host[256], char port[8], struct hn_error *err) {
    if (!hn_host_split(listen, host, 256, port, 8) || !*port)
        hn_fail(err, HN_E_INVALID_FIELD, "listen: \"%.100s\" is not address:port", listen);
    else if (strtol(port, NULL, 10) > UINT16_MAX) /* getaddrinfo would cut it to 16 bits */
        hn_fail(err, HN_E_INVALID_FIELD, "listen: port %s is above %d", port, UINT16_MAX);
    else
        return 0;
    hn_error_field(err, "listen");
    hn_error_hint(err, "for example 127.0.0.1:4663 or [::1]:4663");
    return HN_E_INVALID_FIELD;
}

static int check_local(const struct hn_config *config, bool keys, struct hn_error *err) {
    const char *path = config->socket;
    if (*config->socket_users && !(*path && keys)) {
        hn_fail(err, HN_E_INVALID_FIELD,
            "socket_users says who may what on the Unix socket, but %s",
            *path ? "without required keys everybody may everything" : "there is none");
        hn_error_field(err, "socket_users");
        hn_error_hint(err,
            "set socket = /run/honed/honed.sock and require_keys = yes, or leave socket_users out");
        return HN_E_INVALID_FIELD;
    }
    if (!*path || (path[0] == '/' && strlen(path) < sizeof((struct sockaddr_un *)0)->sun_path))
        return 0;
    hn_fail(err, HN_E_INVALID_FIELD,
        "socket: \"%.200s\" is not an absolute path of less than 108 bytes", path);
    hn_error_field(err, "socket");
    return HN_E_INVALID_FIELD;
}

int hn_http_check(const struct hn_config *config, struct hn_error *err) {
    char host[256], port[8];
    struct hn_peers *peers = NULL;
    int rc = split_listen(config->listen, host, port, err);
    if (!rc)
        rc = check_local(config, strcmp(config->require_keys, "no") != 0, err);
    if (!rc)
        rc = hn_peers_create(config->socket_users, &peers, err);
    hn_peers_destroy(peers);
    return rc;
}

int hn_listen_open(struct hn_http *http, struct hn_error *err) {
    char host[256], port[8];
    int wrong = split_listen(http->server->config->listen, host, port, err);
    if (wrong)
        return wrong;
    struct addrinfo hints = {.ai_socktype = SOCK_STREAM, .ai_flags = AI_PASSIVE}, *list = NULL;
    int failed = getaddrinfo(host, port, &hints, &list);
    if (failed)
        return hn_fail(err, HN_E_INVALID_FIELD, "listen: %s: %s", host, gai_strerror(failed));
    int rc = open_socket(http, list, err);
    freeaddrinfo(list);
    return rc;
}

/* A socket's file that nobody listens at any more was left by a daemon that was killed. */
static int clear_path(const struct sockaddr_un *at, struct hn_error *err) {
    struct stat st;
    if (lstat(at->sun_path, &st))
        return 0;
    if (!S_ISSOCK(st.st_mode)) {
        hn_fail(err, HN_E_CONFLICT, "socket: %.108s is there and is no socket", at->sun_path);
        hn_error_hint(err, "choose another path");
        return HN_E_CONFLICT;
    }
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    bool used = fd >= 0 &&
        (connect(fd, (const struct sockaddr *)at, sizeof *at) == 0 || errno != ECONNREFUSED);
    if (fd >= 0)
        close(fd);
    if (!used)
        return unlink(at->sun_path)
            ? hn_fail_errno(err, errno, "cannot remove the old socket %s", at->sun_path)
            : 0;
    hn_fail(err, HN_E_CONFLICT, "socket: another program listens at %.108s", at->sun_path);
    hn_error_hint(err, "stop it, or choose another path");
    return HN_E_CONFLICT;
}

static int bind_local(int fd, const struct sockaddr_un *at, bool everybody, struct hn_error *err) {
    int rc = clear_path(at, err);
    if (!rc && (bind(fd, (const struct sockaddr *)at, sizeof *at) || listen(fd, 4096))) {
        rc = hn_fail_errno(err, errno, "cannot listen on %s", at->sun_path);
        hn_error_hint(err,
            "its folder must be there and belong to the daemon's user; the service has /run/honed");
    }
    /* Where keys are needed anybody may knock, as the kernel tells who it is; else nobody is asked,
     * and only its own user may. */
    if (!rc && chmod(at->sun_path, everybody ? 0666 : 0600))
        rc = hn_fail_errno(err, errno, "cannot set the mode of %s", at->sun_path);
    return rc;
}

int hn_listen_local(struct hn_http *http, struct hn_error *err) {
    const struct hn_config *config = http->server->config;
    struct hn_listener *local = &http->listeners[HN_LOCAL];
    struct sockaddr_un at = {.sun_family = AF_UNIX};
    int rc = check_local(config, http->server->keys_required, err);
    if (rc || !*config->socket)
        return rc;
    rc = hn_peers_create(config->socket_users, &http->peers, err);
    if (rc)
        return rc;
    memcpy(at.sun_path, config->socket, strlen(config->socket));
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0)
        return hn_fail_errno(err, errno, "cannot make a socket");
    rc = bind_local(fd, &at, http->server->keys_required, err);
    if (rc)
        close(fd);
    else
        local->fd = fd;
    return rc;
}

/* Of few descriptors half are for connections, of many all but what the rest needs. */
static int64_t room_for(int64_t wanted) {
    struct rlimit limit;
    if (getrlimit(RLIMIT_NOFILE, &limit) || limit.rlim_cur == RLIM_INFINITY)
        return wanted;
    int64_t all = (int64_t)limit.rlim_cur,
            others = all / 2 < OTHERS + REFUSED ? all / 2 : OTHERS + REFUSED;
    if (wanted <= all - others)
        return wanted;
    hn_log(HN_LOG_WARNING,
        "fewer connections than max_connections: a process may open so many files only", "files",
        HN_N(all), "connections", HN_N(all - others), "hint",
        "raise LimitNOFILE of the service, or ulimit -n", NULL);
    return all - others;
}

int hn_listen_begin(struct hn_http *http, struct hn_error *err) {
    http->room = room_for(http->server->config->max_connections);
    for (int i = 0; i < HN_RESERVE; i++)
        if ((http->reserve[i] = open("/dev/null", O_RDONLY | O_CLOEXEC)) < 0)
            return hn_fail_errno(err, errno, "cannot keep descriptors in reserve");
    http->nap_timer = hn_timer_create(http->server->loop, watch, http);
    int rc = 0;
    for (int i = 0; i < HN_LISTENERS && !rc; i++) {
        struct hn_listener *l = &http->listeners[i];
        rc = l->fd >= 0
            ? hn_loop_watch(http->server->loop, l->fd, on_accept, l, &l->accept_watch, err)
            : 0;
    }
    return rc;
}

void hn_listen_end(struct hn_http *http) {
    while (http->lingering)
        end_linger(http->lingering);
    if (http->listeners[HN_LOCAL].fd >= 0)
        unlink(http->server->config->socket);
    for (int i = 0; i < HN_LISTENERS; i++) {
        struct hn_listener *l = &http->listeners[i];
        hn_loop_unwatch(l->accept_watch);
        l->accept_watch = NULL;
        if (l->fd >= 0)
            close(l->fd);
        l->fd = -1;
    }
    hn_timer_destroy(http->nap_timer);
    http->nap_timer = NULL;
    for (int i = 0; i < HN_RESERVE; i++) {
        if (http->reserve[i] >= 0)
            close(http->reserve[i]);
        http->reserve[i] = -1;
    }
}

socklen_t hn_http_socket(const struct hn_http *http, struct sockaddr_storage *ret) {
    socklen_t size = sizeof *ret;
    int fd = http->listeners[HN_NETWORK].fd;
    return fd >= 0 && getsockname(fd, (struct sockaddr *)ret, &size) == 0 ? size : 0;
}
