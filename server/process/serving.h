/*
 * Serving: helpers that write answers to many requests at once, one model each
 * (engine/helper/chat.c).
 *
 * A few children are started on demand. A request goes to the one that has its model open, else to
 * one that is idle, else it waits; a child takes no new requests for its model while others have
 * waited for it for some seconds. A child that dies or hangs costs the requests that it had.
 */
#ifndef HN_SERVER_PROCESS_SERVING_H
#define HN_SERVER_PROCESS_SERVING_H

#include "server/process/child.h"
#include "server/process/question.h"

#define HN_SERVING_OPEN 64    /* requests that a child has at once */
#define HN_SERVING_WAITING 96 /* that wait for a child */

struct hn_serving;

/* What comes of a request, in this order: any number of chunks, then once, with `last`, the
 * result or an error. Called under a lock by threads of the serving, or by hn_serving_cancel: it
 * must not call the serving, and soon return. */
struct hn_served {
    const json_t *chunk, *result;
    const struct hn_error *error; /* with details as {"details","total"}, or NULL */
    const json_t *details;
    bool last;
};
typedef void hn_served_fn(void *ud, const struct hn_served *served);

int hn_serving_create(int64_t children, int64_t seconds, const struct hn_confinement *to,
    struct hn_serving **ret, struct hn_error *err);
void hn_serving_destroy(struct hn_serving *serving);
/* Asks for the op "chat". `key` says what model it is. Waits for a child while the asker does;
 * HN_E_BUSY where too many wait. On success `fn` hears of it to the end; *ret_ticket names it. */
int hn_serving_ask(struct hn_serving *serving, const char *key, const json_t *params,
    const struct hn_asker *asker, hn_served_fn *fn, void *ud, int64_t *ret_ticket,
    struct hn_error *err);
/* Nobody wants it any more: `fn` hears the end of it now, unless it has already. */
void hn_serving_cancel(struct hn_serving *serving, int64_t ticket);
/* Ends idle children; to be called now and then. */
void hn_serving_rest(struct hn_serving *serving);
/* Ends all requests and lets no others begin: the daemon stops. */
void hn_serving_stop(struct hn_serving *serving);
/* Requests that are open or wait; children that died. Any thread. */
int64_t hn_serving_load(struct hn_serving *serving);
int hn_serving_deaths(const struct hn_serving *serving);

#endif
