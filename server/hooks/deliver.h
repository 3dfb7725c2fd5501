/*
 * One attempt to deliver a notice, in a child (`honed deliver FD`) that may open connections and
 * nothing else. It reads {"url","body","headers":["name: value"]} from its descriptor, a line, and
 * writes {"status","message"}: the answer's status, 0 where none came, and what went wrong or null.
 *
 * POST, without redirects, proxies, cookies and keys; what is answered is read and dropped.
 */
#ifndef HN_SERVER_HOOKS_DELIVER_H
#define HN_SERVER_HOOKS_DELIVER_H

#include "engine/engine.h"

#define HN_DELIVER_SECONDS 15   /* a receiver has so long to answer */
#define HN_DELIVER_LINE 1000000 /* bytes, at most, of what the child reads */

/* Returns a process exit status. */
int hn_deliver(int fd);

#endif
