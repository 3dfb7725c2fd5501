/* systemd's notification protocol: one datagram to $NOTIFY_SOCKET. Does nothing when not run by
 * systemd. */
#ifndef HN_SERVER_BASE_NOTIFY_H
#define HN_SERVER_BASE_NOTIFY_H

#include <stdint.h>

void hn_notify(const char *state);   /* "READY=1", "STOPPING=1", "WATCHDOG=1", "STATUS=…" */
int64_t hn_notify_watchdog_ms(void); /* how often WATCHDOG=1 is due; 0 = never */

#endif
