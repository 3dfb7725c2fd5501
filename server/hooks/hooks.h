/*
 * Room server/hooks. Webhooks: the notices of ended jobs, how they are signed and delivered.
 *
 * Nouns: notice (one message about one job's end), attempt, secret (what notices are signed with).
 * Ownership: The store is the state (store_notices.h); what is here can be thrown away at any
 *   moment.
 * May include: engine server/base server/client server/process server/server.h server/store.
 */

/*
 * One thread looks, whenever the store tells of a job's end and when a notice is due again, which
 * notices wait, and starts a confined child for each attempt (deliver.h), a few at a time and one a
 * host. What came of it is written before the next attempt, so a notice is delivered at least once
 * whatever dies.
 *
 * 2xx is delivered; 410 ends it; anything else, redirects too, is tried again: after 5 seconds,
 * then four times as long up to an hour, for a day.
 */
#ifndef HN_SERVER_HOOKS_HOOKS_H
#define HN_SERVER_HOOKS_HOOKS_H

#include "server/hooks/secret.h"

struct hn_server;
struct hn_hooks;

/* Opens the secret and starts the thread where the setting notify_hosts is not empty; else *ret is
 * NULL. */
int hn_hooks_start(struct hn_server *server, struct hn_hooks **ret, struct hn_error *err);
/* Ends attempts under way, which are made again. NULL is harmless. */
void hn_hooks_stop(struct hn_hooks *hooks);

#endif
