/*
 * The helper: a child process that parses what comes from outside. See engine.h for its wire.
 *
 * Started on demand, restarted when it died, ended after a minute without work. It does one request at a time; callers
 * queue (at most HN_HELPER_QUEUE, then HN_E_BUSY). A hostile file that kills or hangs it costs the caller's request and
 * nothing else. Two instances serve the daemon: one for data and planning, one for predictions, so that a long answer
 * does not hold up uploads.
 */
#ifndef HN_HELPER_H
#define HN_HELPER_H

#include "engine/engine.h"

#define HN_HELPER_QUEUE 8

struct hn_helper;

/* A streamed piece of the answer; non-zero gives the request up (the helper is ended). */
typedef int (*hn_helper_chunk_fn)(void *ud, const json_t *chunk);

int hn_helper_create(const char *name, struct hn_helper **ret, struct hn_error *err);
void hn_helper_destroy(struct hn_helper *helper);
int hn_helper_deaths(const struct hn_helper *helper); /* of its children, not counting those that rested too long */
/* Blocks: any thread but the loop's. `params` is borrowed. On success *ret is a new reference. When the helper answered
 * with an error, *ret_details (nullable) gets {"details":[…],"total":N} if it told any. */
int hn_helper_call(struct hn_helper *helper, const char *op, const json_t *params, int timeout_seconds,
    hn_helper_chunk_fn chunk, void *ud, json_t **ret, json_t **ret_details, struct hn_error *err);
/* Ends an idle child; to be called now and then. */
void hn_helper_rest(struct hn_helper *helper);
/* Makes the running call and all later ones fail: the daemon stops. Any thread. */
void hn_helper_stop(struct hn_helper *helper);

#endif
