/* See hook_address.h. */
#include "server/base/hook_address.h"

#include <ctype.h>
#include <stdio.h>
#include <string.h>

#define NAME "abcdefghijklmnopqrstuvwxyz0123456789.-_"

static int refuse(struct hn_error *err, const char *why) {
    hn_fail(err, HN_E_INVALID_FIELD, "notify_url: %s", why);
    hn_error_field(err, "notify_url");
    hn_error_hint(err, "write it as https://host/path or http://host:port/path");
    return HN_E_INVALID_FIELD;
}

/* Reads "host" or "[v6]", in any case, from the front of `text`; 0 when there is none, else its
 * length. */
static size_t read_host(const char *text, char ret[256]) {
    size_t n = 0;
    if (text[0] == '[') {
        n = 1 + strspn(text + 1, "0123456789abcdefABCDEF:.");
        if (n < 3 || text[n++] != ']')
            return 0;
    } else {
        while (text[n] && strchr(NAME, tolower((unsigned char)text[n])))
            n++;
    }
    if (n >= 256)
        return 0;
    for (size_t i = 0; i < n; i++)
        ret[i] = (char)tolower((unsigned char)text[i]);
    ret[n] = 0;
    return n;
}

/* Reads ":port" from the front of `text` into *ret, which it leaves where there is none; the number
 * of bytes, -1 when that is no port. */
static int read_port(const char *text, int *ret) {
    int value = 0, n = 1;
    if (text[0] != ':')
        return 0;
    for (; isdigit((unsigned char)text[n]) && n < 7; n++)
        value = value * 10 + (text[n] - '0');
    if (n < 2 || value < 1 || value > 65535)
        return -1;
    *ret = value;
    return n;
}

int hn_hook_address_read(const char *url, struct hn_hook_address *ret, struct hn_error *err) {
    bool tls = strncmp(url, "https://", 8) == 0;
    if (!tls && strncmp(url, "http://", 7) != 0)
        return refuse(err, "it must begin with https:// or http://");
    for (const unsigned char *s = (const unsigned char *)url; *s; s++)
        if (*s <= ' ' || *s > '~' || strchr("\\#\"<>^`{|}", *s))
            return refuse(err, "it has a character that cannot stand in an address, or a #");
    const char *rest = url + (tls ? 8 : 7);
    if (memchr(rest, '@', strcspn(rest, "/?")))
        return refuse(err, "it must not name a user");
    *ret = (struct hn_hook_address){.port = tls ? 443 : 80};
    size_t n = read_host(rest, ret->host);
    int port = n ? read_port(rest + n, &ret->port) : -1;
    if (port < 0 || (rest[n + (size_t)port] && !strchr("/?", rest[n + (size_t)port])))
        return refuse(err, "its host or port cannot be read");
    return 0;
}

/* The next entry of `*list`, which moves behind it. 1: there is one; 0: the end; -1: no entry. */
static int next_entry(const char **list, struct hn_hook_address *ret) {
    *list += strspn(*list, ", ");
    if (!**list)
        return 0;
    *ret = (struct hn_hook_address){0};
    size_t n = read_host(*list, ret->host);
    int port = n ? read_port(*list + n, &ret->port) : -1;
    if (port < 0)
        return -1;
    *list += n + (size_t)port;
    return !**list || strchr(", ", **list) ? 1 : -1;
}

int hn_hook_hosts_check(const char *hosts, struct hn_error *err) {
    struct hn_hook_address entry;
    int more;
    while ((more = next_entry(&hosts, &entry)) == 1)
        continue;
    if (!more)
        return 0;
    hn_fail(err, HN_E_INVALID_FIELD, "notify_hosts: cannot read \"%.200s\"", hosts);
    hn_error_field(err, "notify_hosts");
    hn_error_hint(
        err, "names joined by ',', each with or without a port: hooks.example.com,10.0.0.5:8080");
    return HN_E_INVALID_FIELD;
}

int hn_hook_address_allowed(const char *url, const char *hosts, struct hn_error *err) {
    struct hn_hook_address wanted, entry;
    int rc = hn_hook_address_read(url, &wanted, err);
    if (rc)
        return rc;
    while (next_entry(&hosts, &entry) == 1) {
        bool port =
            entry.port ? entry.port == wanted.port : wanted.port == 80 || wanted.port == 443;
        if (port && strcmp(entry.host, wanted.host) == 0)
            return 0;
    }
    hn_fail(err, HN_E_INVALID_FIELD, "notify_url: this server does not call %s, port %d",
        wanted.host, wanted.port);
    hn_error_field(err, "notify_url");
    hn_error_hint(err,
        "the server's setting notify_hosts lists what it may call: its operator adds \"%s:%d\"",
        wanted.host, wanted.port);
    return HN_E_INVALID_FIELD;
}
