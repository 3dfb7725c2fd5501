/* The dashboard: files compiled into the binary. They hold no data; everything shown comes through
 * the API with its keys. */
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
    return dot && strcmp(dot, ".svg") == 0 ? "image/svg+xml" : "application/octet-stream";
}

int hn_web_file(struct hn_request *req, struct hn_error *err) {
    const char *name = req->params[0] ? req->params[0] : "index.html";
    for (const struct hn_embedded *file = hn_embedded_web; file->name; file++) {
        if (strcmp(file->name, name) != 0)
            continue;
        hn_reply_header(req, "Content-Security-Policy",
            "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src "
            "'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'");
        hn_reply_header(req, "Cache-Control", "no-cache");
        hn_reply_static(req, 200, type_of(name), file->data, file->size);
        return 0;
    }
    hn_fail(err, HN_E_NOT_FOUND, "there is no file %.64s", name);
    hn_error_hint(err, "the dashboard is at /");
    return HN_E_NOT_FOUND;
}
