/*
 * The dispatcher. See http.h.
 *
 * Life of a request: headers (route, keys, limits) → body → handler → reply. It is suspended while
 * the pool works for it; microhttpd never completes a suspended request, so the pool's pointer to
 * it is always good. An error found early is answered after the body was read when that is short;
 * else at once, and its connection ends (hn_reply_early).
 */
#include "server/http/access.h"
#include "server/http/audit.h"
#include "server/http/http.h"
#include "server/http/http_internal.h"
#include "server/base/log.h"

#include <microhttpd.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define DRAIN_BYTES \
    ((uint64_t)1    \
        << 20) /* of a refused body that are read before the answer, to keep the connection */
#define TLS_VERSIONS "NORMAL:-VERS-ALL:+VERS-TLS1.3:+VERS-TLS1.2"
#define STOP_MS 5000

static void kick(struct hn_http *http) {
    hn_timer_start(http->timer, 0, 0);
}

void hn_http_suspend(struct hn_exchange *x) {
    x->suspended = true;
    MHD_suspend_connection(x->connection);
}

void hn_http_resume(struct hn_exchange *x) {
    x->suspended = false;
    MHD_resume_connection(x->connection);
    kick(x->http);
}

void hn_http_run(void *arg) {
    struct hn_http *http = arg;
    bool timed = false;
    MHD_UNSIGNED_LONG_LONG soonest = 0, wait;
    for (int i = 0; i < HN_LISTENERS; i++)
        if (http->listeners[i].daemon)
            MHD_run(http->listeners[i].daemon);
    for (int i = 0; i < HN_LISTENERS; i++) {
        if (!http->listeners[i].daemon ||
            MHD_get_timeout(http->listeners[i].daemon, &wait) != MHD_YES)
            continue;
        soonest = timed && soonest < wait ? soonest : wait;
        timed = true;
    }
    if (timed)
        hn_timer_start(http->timer, soonest, 0);
    else
        hn_timer_stop(http->timer);
}

static void free_exchange(struct hn_exchange *x) {
    hn_guard_end(x);
    *x->link = x->next;
    if (x->next)
        x->next->link = x->link;
    hn_reply_free(x);
    hn_body_free(x);
    hn_request_db_release(&x->req);
    json_decref(x->req.details);
    hn_memory_free(x);
    free(x);
}

struct collect {
    struct hn_exchange *x;
    struct hn_header *list;
    size_t n, room;
};

static enum MHD_Result collect_one(
    void *cls, enum MHD_ValueKind kind, const char *name, const char *value) {
    (void)kind;
    struct collect *c = cls;
    if (c->n == c->room)
        return MHD_NO;
    char *n = hn_request_copy(&c->x->req, name),
         *v = hn_request_copy(&c->x->req, value ? value : "");
    if (n && v)
        c->list[c->n++] = (struct hn_header){n, v};
    return MHD_YES;
}

static bool collect_all(
    struct hn_exchange *x, enum MHD_ValueKind kind, struct hn_header **list, size_t *n) {
    /* its memory for a connection bounds them */
    int there = MHD_get_connection_values(x->connection, kind, NULL, NULL);
    struct collect c = {.x = x, .room = there > 0 ? (size_t)there : 0};
    c.list = hn_request_alloc(&x->req, c.room * sizeof *c.list);
    if (!c.list)
        return false;
    MHD_get_connection_values(x->connection, kind, collect_one, &c);
    *list = c.list;
    *n = c.n;
    return true;
}

static int no_route(struct hn_exchange *x, const char *allowed, struct hn_error *err) {
    if (*allowed) {
        hn_fail(err, HN_E_METHOD_NOT_ALLOWED, "%s does not know the method %s", x->req.path,
            x->req.method);
        hn_error_hint(err, "it knows %s", allowed);
        hn_reply_header(&x->req, "Allow", allowed);
        return HN_E_METHOD_NOT_ALLOWED;
    }
    hn_fail(err, HN_E_NOT_FOUND, "there is nothing at %.200s", x->req.path);
    hn_error_hint(err, "GET /openapi.json describes all paths, and /manual/api is a tour of them");
    return HN_E_NOT_FOUND;
}

/* The route of the path, with its parameters; `allowed` collects the methods of the others that the
 * path has. */
static bool take_route(struct hn_exchange *x, const char *path, char *allowed, size_t size) {
    const struct hn_api *api = x->http->api;
    char *scratch = hn_request_alloc(&x->req, strlen(path) + 8);
    const char *method = strcmp(x->req.method, "HEAD") == 0 ? "GET" : x->req.method,
               *params[HN_PATH_PARAMS];
    for (size_t i = 0; scratch && i < api->n_routes; i++) {
        const struct hn_route *route = &api->routes[i];
        if (!hn_path_match(route->pattern, path, scratch, params))
            continue;
        if (strcmp(route->method, method) == 0) {
            x->req.route = route;
            memcpy(x->req.params, params, sizeof params);
            return true;
        }
        size_t used = strlen(allowed);
        snprintf(allowed + used, size - used, "%s%s", used ? ", " : "", route->method);
    }
    return false;
}

/* A path that no route has may end with a slash too many. */
static int find_route(struct hn_exchange *x, struct hn_error *err) {
    char allowed[128] = "";
    size_t n = strlen(x->req.path);
    if (take_route(x, x->req.path, allowed, sizeof allowed))
        return 0;
    char *shorter =
        n > 1 && x->req.path[n - 1] == '/' && !*allowed ? hn_request_alloc(&x->req, n) : NULL;
    if (shorter) {
        memcpy(shorter, x->req.path, n - 1);
        shorter[n - 1] = 0;
        if (take_route(x, shorter, allowed, sizeof allowed))
            return 0;
    }
    return no_route(x, allowed, err);
}

/* "a,b,metadata[]" knows a, b and metadata[anything]. */
static bool query_known(const char *known, const char *name) {
    size_t len = strlen(name);
    for (const char *s = known ? known : ""; *s;) {
        size_t n = strcspn(s, ",");
        if (n > 2 && s[n - 1] == ']') {
            if (len > n && strncmp(s, name, n - 1) == 0 && name[len - 1] == ']')
                return true;
        } else if (n == len && strncmp(s, name, n) == 0) {
            return true;
        }
        s += n + (s[n] == ',');
    }
    return false;
}

/* What names and values are made of goes into answers, records and the store: no bytes that are not
 * text. */
static int check_query(struct hn_exchange *x, struct hn_error *err) {
    const char *known = x->req.route->query;
    for (size_t i = 0; i < x->req.n_query; i++) {
        const char *name = x->req.query[i].name, *value = x->req.query[i].value;
        int rc = hn_http_check_text(name, name, err);
        if (!rc && value)
            rc = hn_http_check_text(name, value, err);
        if (rc)
            return rc;
        if (query_known(known, name))
            continue;
        hn_fail(err, HN_E_UNKNOWN_FIELD, "there is no query parameter \"%.64s\" here", name);
        hn_error_field(err, "%.64s", name);
        hn_error_hint(
            err, known && *known ? "known here: %s" : "this path takes none%s", known ? known : "");
        return HN_E_UNKNOWN_FIELD;
    }
    return 0;
}

/* A client's own name for the request, when it is short and plain, stands in the log and the answer
 * in place of ours. */
static void take_request_id(struct hn_request *req) {
    const char *id = hn_request_header(req, "X-Request-Id");
    size_t n = id ? strlen(id) : 0;
    if (n && n < sizeof req->id &&
        strspn(id, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-") == n)
        memcpy(req->id, id, n + 1);
}

static struct hn_exchange *begin(
    struct hn_http *http, struct MHD_Connection *connection, const char *url, const char *method) {
    struct hn_exchange *x = hn_calloc(1, sizeof *x);
    if (!x)
        return NULL;
    x->http = http;
    x->connection = connection;
    x->fd = -1;
    x->began = hn_time_micros();
    x->req.server = http->server;
    hn_guard_begin(x);
    x->next = http->first;
    x->link = &http->first;
    if (x->next)
        x->next->link = &x->next;
    http->first = x;
    hn_id_make("req", x->req.id);
    x->req.method = hn_request_copy(&x->req, method);
    x->req.path = hn_request_copy(&x->req, url);
    if (!x->req.method || !x->req.path ||
        !collect_all(x, MHD_HEADER_KIND, &x->req.headers, &x->req.n_headers) ||
        !collect_all(x, MHD_GET_ARGUMENT_KIND, &x->req.query, &x->req.n_query)) {
        free_exchange(x);
        return NULL;
    }
    take_request_id(&x->req);
    return x;
}

static int check(struct hn_exchange *x, const char *version, struct hn_error *err) {
    int rc = hn_frame_check(x, version, err);
    if (rc) {
        x->broken_frame = true;
        return rc;
    }
    int found = find_route(x, err);
    struct hn_error why = {0};
    /* A stranger learns nothing of the paths: host and key come before 404. */
    rc = hn_guard_check(x, &why);
    if (!rc)
        rc = hn_auth_check(&x->req, &why);
    if (rc) {
        *err = why;
        return rc;
    }
    if (found)
        return found;
    rc = check_query(x, err);
    return rc ? rc : hn_body_begin(x, err);
}

/* Any thread; the phase is the loop's. */
static void answer_error(struct hn_exchange *x, const struct hn_error *err) {
    x->http->api->fail(&x->req, err, x->req.details);
}

/* Once, when the answer is known. Refusals of an address that only tries keys would fill the file;
 * the daemon's log has them. */
static void audit(struct hn_exchange *x) {
    const struct hn_request *req = &x->req;
    if (x->audited || x->barred || strcmp(req->method, "GET") == 0 ||
        strcmp(req->method, "HEAD") == 0)
        return;
    x->audited = true;
    struct hn_audit_line line = {.key = req->key.id,
        .name = req->key.name,
        .address = x->guard ? x->guard->address : NULL,
        .method = req->method,
        .route = req->route ? req->route->pattern : NULL,
        .object = req->object[0] || !req->route ? req->object : req->params[0],
        .status = x->status,
        .error = x->err.code ? hn_error_name(x->err.code) : NULL};
    hn_audit_write(x->http->audit, &line);
}

static void count(struct hn_exchange *x) {
    audit(x);
    const struct hn_api *api = x->http->api;
    struct hn_route_metrics *row =
        &x->http->figures[x->req.route ? (size_t)(x->req.route - api->routes) : api->n_routes];
    if (x->status >= 100 && x->status < 600)
        row->counts[x->status / 100]++;
    hn_histogram_add(&row->delays, hn_bounds_quick, hn_time_micros() - x->began);
}

static enum MHD_Result send_reply(struct hn_exchange *x) {
    struct MHD_Response *response = hn_reply_build(x);
    if (!response)
        return MHD_NO;
    enum MHD_Result rc = MHD_queue_response(x->connection, (unsigned)x->status, response);
    MHD_destroy_response(response);
    count(x);
    x->phase = HN_PHASE_SENT;
    return rc;
}

static void run_flush(void *arg) {
    struct hn_exchange *x = arg;
    if (hn_body_flush(x, &x->err))
        x->failed = true;
}

static void end_flush(void *arg) {
    struct hn_exchange *x = arg;
    x->phase = HN_PHASE_BODY;
    hn_http_resume(x);
}

static void handle(struct hn_exchange *x) {
    struct hn_error *err = &x->err;
    int rc = hn_access_path(&x->req, err);
    if (!rc)
        rc = x->req.route->handle(&x->req, err);
    if (!rc && x->reply == HN_REPLY_NONE)
        rc = hn_fail(err, HN_E_INTERNAL, "the handler gave no answer");
    if (rc)
        answer_error(x, err);
    /* The reader goes back before the reply is sent, which may take a slow client hours. */
    hn_request_db_release(&x->req);
}

static void run_handler(void *arg) {
    struct hn_exchange *x = arg;
    if (hn_body_end(x, &x->err))
        answer_error(x, &x->err);
    else
        handle(x);
}

static void end_handler(void *arg) {
    struct hn_exchange *x = arg;
    x->phase = HN_PHASE_REPLY;
    hn_http_resume(x);
}

/* Of the body, as far as its length is told. */
static uint64_t bytes_left(const struct hn_exchange *x) {
    const char *length = hn_request_header(&x->req, "Content-Length");
    uint64_t all = length ? strtoull(length, NULL, 10) : 0, got = x->received + x->drained;
    return all > got ? all - got : 0;
}

/* Answers a request that has failed before its end, where the rest is too long to wait for. */
static enum MHD_Result give_up(struct hn_exchange *x) {
    answer_error(x, &x->err);
    hn_reply_early(x);
    count(x);
    x->phase = HN_PHASE_SENT;
    return MHD_NO;
}

static enum MHD_Result on_failed_body(struct hn_exchange *x) {
    hn_body_forget(x);
    return bytes_left(x) > DRAIN_BYTES || x->drained > DRAIN_BYTES ? give_up(x) : MHD_YES;
}

static enum MHD_Result on_body(struct hn_exchange *x, const char *data, size_t *size) {
    size_t n = *size;
    /* microhttpd goes on with the chunks that it has read although the connection is suspended:
     * they are left to it until then, since what is pending belongs to the worker now */
    if (x->phase == HN_PHASE_FLUSH)
        return MHD_YES;
    *size = 0;
    if (x->phase == HN_PHASE_SENT)
        return MHD_NO;
    if (x->failed)
        x->drained += n;
    else if (hn_body_take(x, data, n, &x->err))
        x->failed = true;
    if (x->failed)
        return on_failed_body(x);
    if (hn_body_wants_flush(x)) {
        x->phase = HN_PHASE_FLUSH;
        hn_http_suspend(x);
        hn_loop_work(x->req.server->loop, run_flush, end_flush, x);
    }
    return MHD_YES;
}

/* On whose account it is when helpers take turns: a key's, or, where none are used, an
 * address's. */
static void name_client(struct hn_exchange *x) {
    const char *name = x->req.key.id[0] ? x->req.key.id : x->guard ? x->guard->address : "-";
    snprintf(x->req.asker.client, sizeof x->req.asker.client, "%s", name);
}

static enum MHD_Result on_complete(struct hn_exchange *x) {
    if (x->phase == HN_PHASE_BODY && x->failed) {
        answer_error(x, &x->err);
        x->phase = HN_PHASE_REPLY;
    } else if (x->phase == HN_PHASE_BODY && x->req.route->where == HN_ON_LOOP) {
        handle(x);
        x->phase = HN_PHASE_REPLY;
    } else if (x->phase == HN_PHASE_BODY) {
        x->phase = HN_PHASE_HANDLER;
        hn_http_suspend(x);
        name_client(x);
        (x->req.route->where == HN_ON_WAITING ? hn_loop_work_waiting : hn_loop_work)(
            x->req.server->loop, run_handler, end_handler, x);
        hn_guard_listen(x->http);
        return MHD_YES;
    }
    return x->phase == HN_PHASE_REPLY ? send_reply(x) : MHD_YES;
}

static enum MHD_Result on_request(void *cls, struct MHD_Connection *connection, const char *url,
    const char *method, const char *version, const char *data, size_t *size, void **state) {
    struct hn_http *http = cls;
    struct hn_exchange *x = *state;
    if (x)
        return *size ? on_body(x, data, size) : on_complete(x);
    x = begin(http, connection, url, method);
    if (!x)
        return MHD_NO;
    *state = x;
    if (!check(x, version, &x->err))
        return MHD_YES;
    x->failed = true;
    bool waits = hn_request_header(&x->req, "Expect") != NULL; /* to hear whether it shall send */
    return x->broken_frame || waits || bytes_left(x) > DRAIN_BYTES ? give_up(x) : MHD_YES;
}

static void on_completed(void *cls, struct MHD_Connection *connection, void **state,
    enum MHD_RequestTerminationCode code) {
    (void)cls;
    (void)connection;
    struct hn_exchange *x = *state;
    if (!x)
        return;
    *state = NULL;
    audit(x);
    bool quiet = x->status < 400 &&
        (strcmp(x->req.method, "GET") == 0 || strcmp(x->req.method, "HEAD") == 0);
    hn_log(quiet ? HN_LOG_DEBUG : HN_LOG_INFO, "request", "req", x->req.id, "method", x->req.method,
        "path", x->req.path, "route", x->req.route ? x->req.route->pattern : "-", "status",
        HN_N(x->status), "ms", HN_N((hn_time_micros() - x->began) / 1000), "key",
        x->req.key.id[0] ? x->req.key.id : "-", "client", x->guard ? x->guard->address : "-", "end",
        code == MHD_REQUEST_TERMINATED_COMPLETED_OK || x->answered ? "ok" : "broken", "error",
        x->err.code ? x->err.message : NULL, NULL);
    free_exchange(x);
}

static void on_connection(void *cls, struct MHD_Connection *connection, void **context,
    enum MHD_ConnectionNotificationCode code) {
    if (code == MHD_CONNECTION_NOTIFY_STARTED)
        hn_guard_open(cls, connection, context);
    else
        hn_guard_close(cls, context);
}

static void on_log(void *cls, const char *format, va_list ap) {
    (void)cls;
    char text[512];
    vsnprintf(text, sizeof text, format, ap);
    text[strcspn(text, "\n")] = 0;
    hn_log(HN_LOG_DEBUG, "http", "text", text, NULL);
}

static void *on_target(void *cls, const char *target, struct MHD_Connection *connection) {
    (void)cls;
    const union MHD_ConnectionInfo *info =
        MHD_get_connection_info(connection, MHD_CONNECTION_INFO_SOCKET_CONTEXT);
    if (info && info->socket_context)
        hn_frame_target(info->socket_context, target);
    return NULL;
}

/* Beyond the machine's own address, strangers can knock: keys and TLS, or a decision in writing. */
static int check_exposure(struct hn_http *http, struct hn_error *err) {
    const struct hn_config *config = http->server->config;
    http->server->keys_required = strcmp(config->require_keys, "yes") == 0 ||
        (strcmp(config->require_keys, "auto") == 0 && !http->loopback && !config->insecure);
    if (http->loopback || config->insecure)
        return 0;
    if (http->server->keys_required && *config->tls_cert)
        return 0;
    hn_fail(err, HN_E_INVALID_FIELD,
        "listening on %s without %s would let anybody on the network %s", http->address,
        http->server->keys_required ? "TLS" : "keys",
        http->server->keys_required ? "read the keys" : "use this server");
    hn_error_hint(err,
        "set tls_cert and tls_key and require_keys = yes, put a TLS proxy before 127.0.0.1, or say "
        "insecure = yes");
    return HN_E_INVALID_FIELD;
}

static int start(
    struct hn_http *http, struct hn_listener *listener, struct hn_tls *with, struct hn_error *err) {
    const struct hn_config *config = http->server->config;
    unsigned flags = MHD_USE_EPOLL | MHD_ALLOW_SUSPEND_RESUME | MHD_USE_ITC | MHD_USE_ERROR_LOG |
        MHD_USE_NO_LISTEN_SOCKET;
    struct MHD_OptionItem tls[] = {
        {MHD_OPTION_HTTPS_MEM_CERT, 0, NULL},
        {MHD_OPTION_HTTPS_MEM_KEY, 0, NULL},
        {MHD_OPTION_HTTPS_PRIORITIES, 0, (void *)(uintptr_t)TLS_VERSIONS},
        {MHD_OPTION_END, 0, NULL},
    };
    if (!with) {
        tls[0] = tls[3];
    } else {
        tls[0].ptr_value = (void *)(uintptr_t)hn_tls_cert(with);
        tls[1].ptr_value = (void *)(uintptr_t)hn_tls_key(with);
        flags |= MHD_USE_TLS;
    }
    listener->daemon = MHD_start_daemon(flags, 0, NULL, NULL, on_request, http,
        MHD_OPTION_EXTERNAL_LOGGER, on_log, NULL, MHD_OPTION_NOTIFY_COMPLETED, on_completed, http,
        MHD_OPTION_URI_LOG_CALLBACK, on_target, http, MHD_OPTION_NOTIFY_CONNECTION, on_connection,
        http, MHD_OPTION_CONNECTION_LIMIT, (unsigned)config->max_connections * 2 + 64,
        MHD_OPTION_CONNECTION_TIMEOUT, (unsigned)config->idle_seconds,
        MHD_OPTION_CONNECTION_MEMORY_LIMIT, (size_t)96 << 10, MHD_OPTION_ARRAY, tls,
        MHD_OPTION_END);
    if (!listener->daemon)
        return hn_fail(err, HN_E_INTERNAL, "cannot start the HTTP server");
    const union MHD_DaemonInfo *info =
        MHD_get_daemon_info(listener->daemon, MHD_DAEMON_INFO_EPOLL_FD);
    return info ? hn_loop_watch(
                      http->server->loop, info->epoll_fd, hn_http_run, http, &listener->watch, err)
                : hn_fail(err, HN_E_INTERNAL, "this libmicrohttpd was built without epoll");
}

int hn_http_create(struct hn_server *server, const struct hn_api *api, struct hn_http **ret,
    struct hn_error *err) {
    struct hn_http *http = hn_calloc(1, sizeof *http);
    if (!http)
        return hn_fail(err, HN_E_INTERNAL, "out of memory");
    http->server = server;
    http->api = api;
    for (int i = 0; i < HN_LISTENERS; i++)
        http->listeners[i] = (struct hn_listener){.http = http, .fd = -1};
    for (int i = 0; i < HN_RESERVE; i++)
        http->reserve[i] = -1;
    http->keeps_layout = strncmp(MHD_get_version(), "0.9.7", 5) == 0 && MHD_get_version()[5] < '7';
    http->timer = hn_timer_create(server->loop, hn_http_run, http);
    http->guard_timer = hn_timer_create(server->loop, hn_guard_sweep, http);
    http->gone_timer = hn_timer_create(server->loop, hn_guard_look, http);
    http->figures = hn_calloc(api->n_routes + 1, sizeof *http->figures);
    http->failures = hn_failures_create();
    int rc = http->figures && http->failures ? hn_listen_open(http, err)
                                             : hn_fail(err, HN_E_INTERNAL, "out of memory");
    for (size_t i = 0; !rc && i < api->n_routes; i++)
        http->figures[i].route = &api->routes[i];
    if (!rc)
        rc = check_exposure(http, err);
    if (!rc)
        rc = hn_listen_local(http, err);
    if (!rc && server->config->audit)
        rc = hn_audit_create(server->config->state, &http->audit, err);
    if (!rc && *server->config->tls_cert)
        rc = hn_tls_load(server->config->tls_cert, server->config->tls_key, &http->tls, err);
    if (!rc)
        rc = start(http, &http->listeners[HN_NETWORK], http->tls, err);
    if (!rc && http->listeners[HN_LOCAL].fd >= 0)
        rc = start(http, &http->listeners[HN_LOCAL], NULL, err);
    if (!rc)
        rc = hn_listen_begin(http, err);
    if (rc) {
        hn_http_destroy(http);
        return rc;
    }
    kick(http);
    *ret = http;
    return 0;
}

static void look_whether_stopped(void *arg) {
    struct hn_http *http = arg;
    /* A suspended request must come back from the pool before microhttpd may end; the others may be
     * cut off. */
    bool suspended = false;
    for (struct hn_exchange *x = http->first; x; x = x->next) {
        if (x->stream && x->stream->asleep)
            hn_stream_wake(x->stream);
        suspended = suspended || x->suspended;
    }
    if (http->first && (suspended || hn_time_tick() < http->stop_deadline))
        return;
    hn_timer_stop(http->stop_timer);
    /* From here on nothing runs microhttpd: a request that it took up now would be suspended at its
     * end, and abort it. */
    hn_timer_stop(http->timer);
    for (int i = 0; i < HN_LISTENERS; i++) {
        hn_loop_unwatch(http->listeners[i].watch);
        http->listeners[i].watch = NULL;
    }
    http->stop_done(http->stop_arg);
}

void hn_http_stop(struct hn_http *http, hn_loop_fn done, void *arg) {
    http->stopping = true;
    http->stop_done = done;
    http->stop_arg = arg;
    http->stop_deadline = hn_time_tick() + STOP_MS;
    hn_listen_end(http);
    http->stop_timer = hn_timer_create(http->server->loop, look_whether_stopped, http);
    hn_timer_start(http->stop_timer, 0, 20);
}

void hn_http_destroy(struct hn_http *http) {
    if (!http)
        return;
    hn_timer_destroy(http->timer);
    hn_timer_destroy(http->guard_timer);
    hn_timer_destroy(http->gone_timer);
    hn_timer_destroy(http->stop_timer);
    for (int i = 0; i < HN_LISTENERS; i++) {
        hn_loop_unwatch(http->listeners[i].watch); /* before its descriptor is closed */
        if (http->listeners[i].daemon)
            MHD_stop_daemon(http->listeners[i].daemon);
    }
    hn_listen_end(http);
    hn_tls_free(http->tls);
    hn_audit_destroy(http->audit);
    hn_peers_destroy(http->peers);
    hn_failures_destroy(http->failures);
    free(http->figures);
    free(http);
}

const char *hn_http_address(const struct hn_http *http) {
    return http->address;
}

const struct hn_route_metrics *hn_http_metrics(const struct hn_http *http, size_t *ret_n) {
    *ret_n = http->api->n_routes + 1;
    return http->figures;
}

int64_t hn_http_memory(const struct hn_http *http) {
    return http->memory;
}

int64_t hn_http_connections(const struct hn_http *http) {
    return http->n_links;
}
