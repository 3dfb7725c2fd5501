/* The dashboard and the manual: files compiled into the binary. They hold no data; everything that
 * the dashboard shows comes through the API with its keys. */
#include "api/handlers.h"
#include "server/base/embedded.h"

#include <string.h>

static const char *type_of(const char *name) {
    const char *dot = strrchr(name, '.');
    if (dot && strcmp(dot, ".html") == 0)
        return "text/html; charset=utf-8";
    if (dot && strcmp(dot, ".js") == 0)
        return "text/javascript; charset=utf-8";
    if (dot && strcmp(dot, ".css") == 0)
        return "text/css; charset=utf-8";
    if (dot && strcmp(dot, ".txt") == 0)
        return "text/plain; charset=utf-8";
    return dot && strcmp(dot, ".svg") == 0 ? "image/svg+xml" : "application/octet-stream";
}

/* The file `name`, or `name` with `suffix` behind it. */
static const struct hn_embedded *find(
    const struct hn_embedded *files, const char *name, const char *suffix) {
    size_t n = strlen(name);
    for (const struct hn_embedded *file = files; file->name; file++)
        if (strncmp(file->name, name, n) == 0 && strcmp(file->name + n, suffix) == 0)
            return file;
    return NULL;
}

static int reply_file(struct hn_request *req, const struct hn_embedded *file) {
    hn_reply_header(req, "Content-Security-Policy",
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src "
        "'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'");
    hn_reply_header(req, "Cache-Control", "no-cache");
    hn_reply_static(req, 200, type_of(file->name), file->data, file->size);
    return 0;
}

int hn_web_file(struct hn_request *req, struct hn_error *err) {
    const char *name = req->params[0] ? req->params[0] : "index.html";
    const struct hn_embedded *file = find(hn_embedded_web, name, "");
    if (file)
        return reply_file(req, file);
    hn_fail(err, HN_E_NOT_FOUND, "there is no file %.64s", name);
    hn_error_hint(err, "the dashboard is at /");
    return HN_E_NOT_FOUND;
}

int hn_web_manual(struct hn_request *req, struct hn_error *err) {
    const char *name = req->params[0] ? req->params[0] : "index";
    const struct hn_embedded *file = find(hn_embedded_manual, name, ".html");
    if (file)
        return reply_file(req, file);
    hn_fail(err, HN_E_NOT_FOUND, "the manual has no page \"%.64s\"", name);
    hn_error_hint(err, "/manual/ lists its pages");
    return HN_E_NOT_FOUND;
}
