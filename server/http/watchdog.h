/*
 * The watchdog's food: where systemd expects a sign of life, a thread asks the server for /healthz
 * as any client would, through its own listening socket, and gives the sign when an answer came. So
 * a server that runs but takes no more clients is started again. Without a watchdog in the
 * environment nothing runs.
 */
#ifndef HN_SERVER_HTTP_WATCHDOG_H
#define HN_SERVER_HTTP_WATCHDOG_H

#include "server/http/http.h"

struct hn_watchdog;

/* *ret is NULL when there is nothing to feed. */
int hn_watchdog_create(
    const struct hn_http *http, bool tls, struct hn_watchdog **ret, struct hn_error *err);
void hn_watchdog_destroy(struct hn_watchdog *watchdog); /* NULL is fine */

#endif
