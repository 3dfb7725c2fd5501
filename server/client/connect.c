/*
 * Which server is asked: --server, HONE_SERVER, else by the settings it runs with (--config,
 * HONE_CONFIG, /etc/honed.conf): its Unix socket where this user may use it, else its address.
 */
#include "server/client/client.h"
#include "server/base/config.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static const char *environment(const char *name) {
    const char *value = getenv(name);
    return value && *value ? value : NULL;
}

static char *copy(const char *text) {
    return text ? strdup(text) : NULL;
}

/* "unix:/path", "http://…", "https://…" or "host:port". */
static void set_address(struct hn_endpoint *at, const char *text, const char *from) {
    struct hn_buf url = {0};
    if (strncmp(text, "unix:", 5) == 0) {
        text += 5;
        if (strncmp(text, "//", 2) == 0)
            text += 2;
        at->socket = copy(text);
        hn_buf_text(&url, "http://localhost");
    } else {
        hn_buf_printf(&url, "%s%s", strstr(text, "://") ? "" : "http://", text);
    }
    while (url.size && url.data[url.size - 1] == '/')
        url.data[--url.size] = 0;
    at->url = url.data;
    at->from = copy(from);
}

/* Where a server of these settings is reached from its own machine. */
static void set_settings(struct hn_endpoint *at, const struct hn_config *config, const char *file) {
    struct hn_buf url = {0};
    const char *colon = strrchr(config->listen, ':');
    size_t host = colon ? (size_t)(colon - config->listen) : 0;
    const char *port = colon ? colon + 1 : config->listen;
    bool tls = *config->tls_cert;
    at->from = copy(file);
    if (*config->socket && access(config->socket, W_OK) == 0) {
        at->socket = copy(config->socket);
        hn_buf_text(&url, tls ? "https://localhost" : "http://localhost");
    } else if (tls && *config->allowed_hosts) { /* a certificate is made out to a name */
        hn_buf_printf(&url, "https://%.*s:%s", (int)strcspn(config->allowed_hosts, ","),
            config->allowed_hosts, port);
    } else {
        const char *name = config->listen;
        if (strncmp(name, "0.0.0.0:", 8) == 0 || strncmp(name, "*:", 2) == 0 || !host) {
            name = "127.0.0.1";
            host = strlen(name);
        } else if (strncmp(name, "[::]:", 5) == 0) {
            name = "[::1]";
            host = strlen(name);
        }
        hn_buf_printf(&url, "%s://%.*s:%s", tls ? "https" : "http", (int)host, name, port);
    }
    at->url = url.data;
}

static int read_settings(struct hn_client *c, const char *file) {
    struct hn_config config;
    struct hn_error err = {0};
    hn_config_init(&config);
    int rc = hn_config_load(&config, file, &err);
    if (!rc)
        set_settings(&c->at, &config, file);
    hn_config_finish(&config);
    return rc ? hn_client_fail(c, err.hint, "%s", err.message) : HN_CLIENT_WELL;
}

int hn_client_connect(struct hn_client *c) {
    const char *server = hn_client_option(c, "server"), *file = hn_client_option(c, "config"),
               *key = hn_client_option(c, "key"), *ca = hn_client_option(c, "ca");
    c->at.key = copy(key ? key : environment("HONE_KEY"));
    c->at.ca = copy(ca ? ca : environment("HONE_CA"));
    int status = HN_CLIENT_WELL;
    if (server)
        set_address(&c->at, server, "--server");
    else if (!file && environment("HONE_SERVER"))
        set_address(&c->at, environment("HONE_SERVER"), "HONE_SERVER");
    else if (file || (file = hn_config_standard_file()))
        status = read_settings(c, file);
    else
        set_address(&c->at, "http://127.0.0.1:4663", NULL);
    if (!status && !c->at.url)
        status = hn_client_fail(c, NULL, "out of memory");
    if (!status && c->at.key && strpbrk(c->at.key, "\r\n"))
        status = hn_client_fail(c, "give it without the line break", "the key has a line break");
    if (!status && c->at.from && !server && c->at.from[0] == '/' && !c->json)
        fprintf(stderr, "server: %s (%s)\n", c->at.socket ? c->at.socket : c->at.url, c->at.from);
    return status;
}

bool hn_client_is_here(const struct hn_client *c) {
    return c->at.socket || hn_endpoint_is_here(&c->at);
}
