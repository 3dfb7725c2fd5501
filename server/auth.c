/*
 * Who asks: host and origin checks, then the key. What it may do is decided in access.c.
 *
 * Beyond keys there is one danger: a web page in the browser of somebody who can reach the server. Its own requests carry
 * its origin, and one that rebinds its DNS name to the server's address still sends that name as Host; both are refused.
 * Where keys are needed any Host will do: such a page has none, and a proxy may pass on whatever name it is known by.
 */
#include "server/access.h"
#include "server/http_internal.h"
#include "server/log.h"

#include <string.h>

/* A name that no foreign name server can have made up: none, or one that the configuration knows. */
static bool host_known(const struct hn_config *config, const char *host) {
    char name[256], own[256], port[8];
    if (!host || !hn_host_split(host, name, sizeof name, port, sizeof port))
        return false;
    return hn_host_is_loopback(name) || hn_host_is_address(name) || hn_host_listed(config->allowed_hosts, name) ||
        (hn_host_split(config->listen, own, sizeof own, port, sizeof port) && strcasecmp(own, name) == 0);
}

static int check_host(const struct hn_request *req, struct hn_error *err) {
    const struct hn_config *config = req->server->config;
    const char *host = hn_request_header(req, "Host"), *origin = hn_request_header(req, "Origin");
    if (!req->server->keys_required && !host_known(config, host)) {
        hn_fail(err, HN_E_FORBIDDEN, "this server is not known by the Host \"%.100s\", which may be a trick of a web page",
            host ? host : "");
        hn_error_hint(err, "use localhost or the server's IP address, or add the name to its setting allowed_hosts");
        return HN_E_FORBIDDEN;
    }
    if (!hn_origin_allowed(origin, host, config->allowed_hosts)) {
        hn_fail(err, HN_E_FORBIDDEN, "requests from the web page %.200s are not allowed", origin);
        hn_error_hint(err, "only the server's own dashboard may call it from a browser; behind a proxy, add the proxy's name "
                           "to the server's setting allowed_hosts");
        return HN_E_FORBIDDEN;
    }
    return 0;
}

static int find_key(struct hn_request *req, struct hn_error *err) {
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
    return hn_db_key_find(req->server->loop_db, hash, &req->key, err);
}

int hn_auth_check(struct hn_request *req, struct hn_error *err) {
    int rc = check_host(req, err);
    enum hn_scope needed = req->route ? req->route->scope : HN_SCOPE_READ;
    if (rc || needed == HN_SCOPE_OPEN || !req->server->keys_required)
        return rc;
    rc = find_key(req, err);
    return rc ? rc : hn_access_scope(req, needed, err);
}
