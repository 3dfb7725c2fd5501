/*
 * Who asks: host and origin checks, then the key. What it may do is decided in access.c.
 *
 * Beyond keys there is one danger: a web page in the browser of somebody who can reach the server.
 * Its own requests carry its origin, and one that rebinds its DNS name to the server's address
 * still sends that name as Host; both are refused. Where keys are needed any Host will do: such a
 * page has none, and a proxy may pass on whatever name it is known by.
 */
#include "server/http/access.h"
#include "server/http/http_internal.h"

#include <stdio.h>
#include <string.h>

/* A name that no foreign name server can have made up: none, or one that the configuration
 * knows. */
static bool host_known(const struct hn_config *config, const char *host) {
    char name[256], own[256], port[8];
    if (!host || !hn_host_split(host, name, sizeof name, port, sizeof port))
        return false;
    return hn_host_is_loopback(name) || hn_host_is_address(name) ||
        hn_host_listed(config->allowed_hosts, name) ||
        (hn_host_split(config->listen, own, sizeof own, port, sizeof port) &&
            strcasecmp(own, name) == 0);
}

static int check_host(const struct hn_request *req, struct hn_error *err) {
    const struct hn_config *config = req->server->config;
    const char *host = hn_request_header(req, "Host"), *origin = hn_request_header(req, "Origin");
    if (!req->server->keys_required && !host_known(config, host)) {
        hn_fail(err, HN_E_FORBIDDEN,
            "this server is not known by the Host \"%.100s\", which may be a trick of a web page",
            host ? host : "");
        hn_error_hint(err,
            "use localhost or the server's IP address, or add the name to its setting "
            "allowed_hosts");
        return HN_E_FORBIDDEN;
    }
    if (!hn_origin_allowed(origin, host, config->allowed_hosts)) {
        hn_fail(err, HN_E_FORBIDDEN, "requests from the web page %.200s are not allowed", origin);
        hn_error_hint(err,
            "only the server's own dashboard may call it from a browser; behind a proxy, add the "
            "proxy's name to the server's setting allowed_hosts");
        return HN_E_FORBIDDEN;
    }
    return 0;
}

static int read_key(struct hn_request *req, const char *header, struct hn_error *err) {
    const char *secret = header + 7;
    char hash[HN_SHA256_HEX];
    if (strlen(secret) > 256)
        return hn_fail(err, HN_E_UNAUTHORIZED, "this key is not known, was revoked or has expired");
    hn_sha256(secret, strlen(secret), hash);
    return hn_db_key_find(req->server->loop_db, hash, &req->key, err);
}

/* Whether a wrong key is answered at all, or its address has sent too many. */
static int check_address(struct hn_exchange *x, int rc, struct hn_error *err) {
    char seconds[24];
    int64_t now = hn_time_tick();
    if (!x->guard || (rc && rc != HN_E_UNAUTHORIZED))
        return rc;
    if (!rc)
        hn_failures_good(x->http->failures, &x->guard->from, now);
    int64_t wait = rc ? hn_failures_add(x->http->failures, &x->guard->from, now) : 0;
    if (!wait)
        return rc;
    x->barred = true;
    hn_fail(err, HN_E_RATE_LIMITED, "this address has sent too many wrong keys");
    hn_error_hint(err, "try again with a good key, which is served at any time, or in %lld seconds",
        (long long)(wait + 999) / 1000);
    snprintf(seconds, sizeof seconds, "%lld", (long long)(wait + 999) / 1000);
    hn_reply_header(&x->req, "Retry-After", seconds);
    return HN_E_RATE_LIMITED;
}

/* By a key, or on the Unix socket by the account of who is at its other end. */
static int identify(struct hn_exchange *x, struct hn_error *err) {
    struct hn_request *req = &x->req;
    const char *header = hn_request_header(req, "Authorization");
    const struct hn_key *peer = x->guard ? x->guard->peer : NULL;
    if (header && strncmp(header, "Bearer ", 7) == 0)
        return check_address(x, read_key(req, header, err), err);
    if (!peer) {
        hn_fail(err, HN_E_UNAUTHORIZED, "this server asks for a key");
        hn_error_hint(err,
            "send the header Authorization: Bearer KEY; `honed key create` makes one, see "
            "/manual/security");
        return HN_E_UNAUTHORIZED;
    }
    req->key = *peer;
    if (peer->id[0])
        return 0;
    hn_fail(
        err, HN_E_FORBIDDEN, "the local user %s has no scope on this socket", x->guard->address);
    hn_error_hint(err,
        "the server's setting socket_users gives one to users and @groups; or send the header "
        "Authorization: Bearer KEY");
    return HN_E_FORBIDDEN;
}

int hn_auth_check(struct hn_request *req, struct hn_error *err) {
    int rc = check_host(req, err);
    enum hn_scope needed = req->route ? req->route->scope : HN_SCOPE_READ;
    if (rc || needed == HN_SCOPE_OPEN || !req->server->keys_required)
        return rc;
    rc = identify((struct hn_exchange *)req, err);
    return rc ? rc : hn_access_scope(req, needed, err);
}

/* Keys as they were found in this sweep: thousands of streams are mostly of a few. */
#define FOUND 64
struct found {
    struct hn_key key; /* id "": free */
    bool lives;
};

/* NULL when it cannot be told now. */
static const struct found *look_up(struct hn_http *http, const char *id, struct found *all) {
    struct hn_error err;
    size_t slot = 0;
    for (const char *s = id; *s; s++)
        slot = slot * 31 + (unsigned char)*s;
    struct found *f = &all[slot % FOUND];
    if (strcmp(f->key.id, id) == 0)
        return f;
    int rc = hn_db_key_get(http->server->loop_db, id, &f->key, &err);
    f->lives = rc == 0;
    snprintf(f->key.id, sizeof f->key.id, "%s", rc && rc != HN_E_UNAUTHORIZED ? "" : id);
    return f->key.id[0] ? f : NULL;
}

static bool same_reach(const struct hn_key *a, const struct hn_key *b) {
    return a->sees_all == b->sees_all && strcmp(a->team, b->team) == 0 &&
        strcmp(a->scope, b->scope) == 0;
}

/* Whether the key would not be given this stream any more. */
static bool has_lost(struct hn_exchange *x, const struct found *f) {
    struct hn_error err;
    if (!f->lives || same_reach(&f->key, &x->req.key))
        return !f->lives;
    x->req.key = f->key;
    bool lost = hn_access_scope(&x->req, x->req.route->scope, &err) ||
        hn_access_path(&x->req, &err) == HN_E_NOT_FOUND;
    hn_request_db_release(&x->req);
    return lost;
}

void hn_auth_sweep(struct hn_http *http) {
    struct found all[FOUND] = {{.lives = false}};
    for (struct hn_exchange *x = http->first; x; x = x->next) {
        if (!x->stream || x->phase != HN_PHASE_SENT || x->unseen ||
            strncmp(x->req.key.id, "key_", 4) != 0)
            continue;
        const struct found *f = look_up(http, x->req.key.id, all);
        x->unseen = f && has_lost(x, f);
        if (x->unseen)
            hn_stream_wake(x->stream);
    }
}
