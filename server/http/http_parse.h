/* The small grammars of HTTP that the daemon reads itself: pure functions on hostile text. */
#ifndef HN_SERVER_HTTP_HTTP_PARSE_H
#define HN_SERVER_HTTP_HTTP_PARSE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define HN_PATH_PARAMS 3

/* Matches a path with a pattern such as "/jobs/{id}/artifacts/{path*}" ({x} = one part, {x*} = the
 * rest, not empty). Parameters are written into `scratch` (strlen(path) + 8 bytes) and pointed to
 * by params. */
bool hn_path_match(
    const char *pattern, const char *path, char *scratch, const char *params[HN_PATH_PARAMS]);

enum hn_range { HN_RANGE_NONE, HN_RANGE_OK, HN_RANGE_BAD };
/* "bytes=a-b" of a file of `size` bytes. Several ranges or other units count as none: the whole
 * file is an answer, too. */
enum hn_range hn_range_parse(
    const char *header, uint64_t size, uint64_t *ret_from, uint64_t *ret_count);

/* Splits "host:port", "[v6]:port" or either without a port; false when it is neither. */
bool hn_host_split(const char *text, char *host, size_t host_size, char *port, size_t port_size);
bool hn_host_is_loopback(const char *host); /* localhost, *.localhost, 127.x, ::1 */
/* of IPv4 or IPv6, in figures: no name server has a say in it */
bool hn_host_is_address(const char *host);
/* True when "a, b.example" names the host; case does not count. */
bool hn_host_listed(const char *list, const char *host);
/* True when the origin ("http://host:port") names the host of the request or a listed one, or there
 * is none. */
bool hn_origin_allowed(const char *origin, const char *host, const char *list);

/* "application/json; charset=utf-8" is "application/json"; case does not count. */
bool hn_media_is(const char *content_type, const char *wanted);
/* True when the If-None-Match or If-Match list names the tag (without quotes) or is "*". */
bool hn_etag_listed(const char *list, const char *tag);
/* True when the Accept header names the type itself (not only by a wildcard). */
bool hn_accepts(const char *accept, const char *type);

#endif
