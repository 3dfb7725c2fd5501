/* See http_parse.h. */
#include "server/http/http_parse.h"

#include <arpa/inet.h>
#include <ctype.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

bool hn_path_match(
    const char *pattern, const char *path, char *scratch, const char *params[HN_PATH_PARAMS]) {
    size_t n = 0;
    for (size_t i = 0; i < HN_PATH_PARAMS; i++)
        params[i] = NULL;
    while (*pattern) {
        if (*pattern != '{') {
            if (*pattern++ != *path++)
                return false;
            continue;
        }
        const char *close = strchr(pattern, '}');
        bool rest = close[-1] == '*';
        size_t size = rest ? strlen(path) : strcspn(path, "/");
        if (!size || n == HN_PATH_PARAMS)
            return false;
        memcpy(scratch, path, size);
        scratch[size] = 0;
        params[n++] = scratch;
        scratch += size + 1;
        path += size;
        pattern = close + 1;
        /* "{step}.tar": the part ends where the pattern's own text begins. */
    }
    return *path == 0;
}

/* Digits only; false on overflow or none. */
static bool digits(const char **s, uint64_t *ret) {
    uint64_t value = 0;
    const char *start = *s;
    for (; isdigit((unsigned char)**s); (*s)++)
        if (__builtin_mul_overflow(value, 10u, &value) ||
            __builtin_add_overflow(value, (uint64_t)(**s - '0'), &value))
            return false;
    *ret = value;
    return *s != start;
}

enum hn_range hn_range_parse(
    const char *header, uint64_t size, uint64_t *ret_from, uint64_t *ret_count) {
    uint64_t from = 0, to = 0;
    if (!header || strncasecmp(header, "bytes=", 6) != 0 || strchr(header, ','))
        return HN_RANGE_NONE;
    const char *s = header + 6;
    bool has_from = digits(&s, &from);
    if (*s++ != '-')
        return HN_RANGE_NONE;
    bool has_to = digits(&s, &to);
    if (*s || (!has_from && !has_to))
        return HN_RANGE_NONE;
    if (!has_from) { /* the last `to` bytes */
        if (!to || !size)
            return HN_RANGE_BAD;
        from = to < size ? size - to : 0;
        to = size - 1;
    } else if (!has_to || to >= size) {
        to = size ? size - 1 : 0;
    } else if (to < from) {
        return HN_RANGE_NONE;
    }
    if (from >= size)
        return HN_RANGE_BAD;
    *ret_from = from;
    *ret_count = to - from + 1;
    return HN_RANGE_OK;
}

bool hn_host_split(const char *text, char *host, size_t host_size, char *port, size_t port_size) {
    const char *end;
    if (*text == '[') {
        end = strchr(++text, ']');
        if (!end)
            return false;
    } else {
        end = text + strcspn(text, ":");
        if (*end && strchr(end + 1, ':'))
            return false; /* a bare IPv6 address has no place for a port */
    }
    const char *rest = *end == ']' ? end + 1 : end;
    size_t n = (size_t)(end - text);
    if (!n || n >= host_size || (*rest && *rest != ':'))
        return false;
    memcpy(host, text, n);
    host[n] = 0;
    const char *p = *rest ? rest + 1 : "";
    if (strlen(p) >= port_size || strspn(p, "0123456789") != strlen(p))
        return false;
    memcpy(port, p, strlen(p) + 1);
    return true;
}

bool hn_host_is_loopback(const char *host) {
    size_t n = strlen(host);
    if (strcasecmp(host, "localhost") == 0 || strcmp(host, "::1") == 0)
        return true;
    if (n > 10 && strcasecmp(host + n - 10, ".localhost") == 0)
        return true;
    /* A name such as 127.evil.example is not an address. */
    return strncmp(host, "127.", 4) == 0 && strspn(host, "0123456789.") == n;
}

bool hn_host_is_address(const char *host) {
    unsigned char bytes[16];
    return inet_pton(AF_INET, host, bytes) == 1 || inet_pton(AF_INET6, host, bytes) == 1;
}

bool hn_host_listed(const char *list, const char *host) {
    size_t n = strlen(host);
    while (*list) {
        size_t size = strcspn(list, ", ");
        if (size && size == n && strncasecmp(list, host, n) == 0)
            return true;
        list += size + strspn(list + size, ", ");
    }
    return false;
}

bool hn_origin_allowed(const char *origin, const char *host, const char *list) {
    if (!origin)
        return true;
    char name[256], port[8];
    const char *authority = strncmp(origin, "http://", 7) == 0 ? origin + 7
        : strncmp(origin, "https://", 8) == 0                  ? origin + 8
                                                               : NULL;
    if (authority && host && strcasecmp(authority, host) == 0)
        return true;
    return authority && hn_host_split(authority, name, sizeof name, port, sizeof port) &&
        hn_host_listed(list, name);
}

bool hn_media_is(const char *content_type, const char *wanted) {
    size_t n = strlen(wanted);
    if (!content_type || strncasecmp(content_type, wanted, n) != 0)
        return false;
    content_type += n;
    while (*content_type == ' ' || *content_type == '\t')
        content_type++;
    return *content_type == 0 || *content_type == ';';
}

bool hn_etag_listed(const char *list, const char *tag) {
    size_t n = strlen(tag);
    while (list && *list) {
        list += strspn(list, " \t,");
        if (*list == '*')
            return true;
        if (strncmp(list, "W/", 2) == 0)
            list += 2;
        if (*list == '"' && strncmp(list + 1, tag, n) == 0 && list[n + 1] == '"')
            return true;
        list += strcspn(list, ",");
    }
    return false;
}

bool hn_accepts(const char *accept, const char *type) {
    size_t n = strlen(type);
    while (accept && *accept) {
        accept += strspn(accept, " \t,");
        if (strncasecmp(accept, type, n) == 0 && (!accept[n] || strchr(",; \t", accept[n])))
            return true;
        accept += strcspn(accept, ",");
    }
    return false;
}
