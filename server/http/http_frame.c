/*
 * Framing: a request whose end, host or headers two programs could read differently is refused, and
 * its connection closed; a proxy before us that reads it the other way would pass on one client's
 * bytes as another's request.
 *
 * microhttpd takes the first of two equal headers and ends every text at a NUL byte. That bytes are
 * missing is seen from where the texts lie: up to version 0.9.76 it leaves request line and headers
 * where they were read, and puts NUL bytes in place of each line's end, so that the next line
 * begins one or two bytes behind a value. (Later versions refuse NUL bytes themselves.) A line that
 * continues the one before it, which is forbidden by now, is refused by the same rule.
 */
#include "server/http/http_internal.h"

#include <ctype.h>
#include <microhttpd.h>
#include <string.h>

#define ARGUMENTS_MAX 200

void hn_frame_target(struct hn_link *link, const char *target) {
    const char *query = target ? strchr(target, '?') : NULL;
    link->target_end = target ? target + strlen(target) : NULL;
    link->nul = target && strstr(target, "%00");
    link->n_arguments = query && query[1] ? 1 : 0;
    for (const char *s = query; s && *s; s++)
        link->n_arguments += *s == '&';
    /* Too many would fill its memory for a connection, and be answered by microhttpd itself: it
     * shall not see them. The text is its own buffer, which it takes apart in place after this. */
    if (link->n_arguments > ARGUMENTS_MAX)
        ((char *)(uintptr_t)query)[1] = 0;
}

static int refuse(struct hn_error *err, const char *field, const char *what) {
    hn_fail(err, HN_E_INVALID_FIELD, "%s", what);
    hn_error_field(err, "%s", field);
    hn_error_hint(
        err, "the connection is closed, as it is not certain where its next request would begin");
    return HN_E_INVALID_FIELD;
}

struct lines {
    const char *end; /* of the text before the one that comes */
    bool broken;
};

static void next_text(struct lines *lines, const char *text) {
    ptrdiff_t gap = text - lines->end;
    lines->broken = lines->broken || (lines->end && gap != 1 && gap != 2);
    lines->end = text + strlen(text);
}

static enum MHD_Result next_header(
    void *cls, enum MHD_ValueKind kind, const char *name, const char *value) {
    (void)kind;
    struct lines *lines = cls;
    next_text(lines, name);
    lines->end = value ? value + strlen(value) : NULL;
    return MHD_YES;
}

/* Whether a byte is missing anywhere from the request line to the end of the last header. */
static bool is_torn(const struct hn_exchange *x, const char *version) {
    struct lines lines = {.end = x->guard ? x->guard->target_end : NULL};
    if (!x->http->keeps_layout || !lines.end)
        return false;
    next_text(&lines, version);
    MHD_get_connection_values(x->connection, MHD_HEADER_KIND, next_header, &lines);
    /* Behind the last one is the empty line: its end, too, is NUL bytes by now. */
    return lines.broken || (x->req.n_headers && lines.end && (lines.end[0] || lines.end[1]));
}

static size_t count(const struct hn_request *req, const char *name) {
    size_t n = 0;
    for (size_t i = 0; i < req->n_headers; i++)
        n += strcasecmp(req->headers[i].name, name) == 0;
    return n;
}

static bool is_token(const char *text) {
    const char *s = text;
    while (*s && (isalnum((unsigned char)*s) || strchr("-_!#$%&'*+.^`|~", *s)))
        s++;
    return s > text && !*s;
}

int hn_frame_check(struct hn_exchange *x, const char *version, struct hn_error *err) {
    const struct hn_request *req = &x->req;
    const char *coding = hn_request_header(req, "Transfer-Encoding");
    if (is_torn(x, version))
        return refuse(err, "headers",
            "there is a NUL byte in the headers, or a header that goes on in a second line");
    for (size_t i = 0; i < req->n_headers; i++)
        if (!is_token(req->headers[i].name))
            return refuse(err, "headers",
                "the name of a header has a space or another character that it may not have");
    if (count(req, "Content-Length") > 1)
        return refuse(err, "Content-Length", "the header Content-Length is there more than once");
    if (count(req, "Host") > 1)
        return refuse(err, "Host", "the header Host is there more than once");
    if (!count(req, "Host") && strcmp(version, "HTTP/1.1") == 0)
        return refuse(err, "Host", "the header Host is missing, which HTTP/1.1 asks for");
    if (count(req, "Authorization") > 1)
        return refuse(err, "Authorization", "the header Authorization is there more than once");
    if (coding && hn_request_header(req, "Content-Length"))
        return refuse(
            err, "Content-Length", "Content-Length and Transfer-Encoding do not go together");
    if (coding && (strcasecmp(coding, "chunked") != 0 || count(req, "Transfer-Encoding") > 1))
        return refuse(
            err, "Transfer-Encoding", "of transfer encodings only \"chunked\" is understood");
    if (coding && strcmp(version, "HTTP/1.1") != 0)
        return refuse(err, "Transfer-Encoding", "there is no Transfer-Encoding before HTTP/1.1");
    if (x->guard && x->guard->nul)
        return refuse(err, "path", "there is a NUL byte (%00) in the path or the query");
    if (x->guard && x->guard->n_arguments > ARGUMENTS_MAX) {
        hn_fail(err, HN_E_INVALID_FIELD, "the query has %zu parameters; at most %d are read",
            x->guard->n_arguments, ARGUMENTS_MAX);
        hn_error_hint(err, "GET /openapi.json lists what each path knows");
        return HN_E_INVALID_FIELD;
    }
    return 0;
}
