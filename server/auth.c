/*
 * Who may ask: host and origin checks, then keys and scopes.
 *
 * Beyond keys there is one danger on a loopback address: a web page in the same machine's browser. A page's own requests
 * carry its origin, and one that rebinds its DNS name to 127.0.0.1 still sends that name as Host; both are refused.
 */
#include "server/http_internal.h"
#include "server/log.h"

#include <string.h>

static int check_host(const struct hn_request *req, bool loopback, struct hn_error *err) {
    const char *host = hn_request_header(req, "Host"), *origin = hn_request_header(req, "Origin");
    char name[256], port[8];
    if (loopback && (!host || !hn_host_split(host, name, sizeof name, port, sizeof port) || !hn_host_is_loopback(name))) {
        hn_fail(err, HN_E_FORBIDDEN, "this server listens on the machine's own address only; the Host \"%.100s\" is not it",
            host ? host : "");
        hn_error_hint(err, "use http://127.0.0.1 or http://localhost, or make the server listen elsewhere with keys");
        return HN_E_FORBIDDEN;
    }
    if (!hn_origin_allowed(origin, host)) {
        hn_fail(err, HN_E_FORBIDDEN, "requests from the web page %.200s are not allowed", origin);
        hn_error_hint(err, "only the server's own dashboard may call it from a browser");
        return HN_E_FORBIDDEN;
    }
    return 0;
}

static enum hn_scope scope_of(const char *name) {
    return strcmp(name, "admin") == 0 ? HN_SCOPE_ADMIN : strcmp(name, "submit") == 0 ? HN_SCOPE_SUBMIT : HN_SCOPE_READ;
}

static int check_key(struct hn_request *req, enum hn_scope needed, struct hn_error *err) {
    const char *header = hn_request_header(req, "Authorization");
    if (!header || strncmp(header, "Bearer ", 7) != 0) {
        hn_fail(err, HN_E_UNAUTHORIZED, "this server asks for a key");
        hn_error_hint(err, "send the header Authorization: Bearer KEY; `honed key create` makes one");
        return HN_E_UNAUTHORIZED;
    }
    const char *secret = header + 7;
    if (strlen(secret) > 256)
        return hn_fail(err, HN_E_UNAUTHORIZED, "this key is not known or was revoked");
    char hash[HN_SHA256_HEX];
    hn_sha256(secret, strlen(secret), hash);
    int rc = hn_db_key_find(req->server->loop_db, hash, &req->key, err);
    if (rc)
        return rc;
    if (scope_of(req->key.scope) >= needed)
        return 0;
    static const char *const names[] = {"open", "read", "submit", "admin"};
    req->key.id[0] = 0;
    hn_fail(err, HN_E_FORBIDDEN, "this key has the scope \"%s\"; that needs \"%s\"", req->key.scope, names[needed]);
    hn_error_hint(err, "use a key made with --scope %s", names[needed]);
    return HN_E_FORBIDDEN;
}

int hn_auth_check(struct hn_request *req, bool loopback, struct hn_error *err) {
    int rc = check_host(req, loopback, err);
    enum hn_scope needed = req->route ? req->route->scope : HN_SCOPE_READ;
    if (rc || needed == HN_SCOPE_OPEN || !req->server->keys_required)
        return rc;
    return check_key(req, needed, err);
}
