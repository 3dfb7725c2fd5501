/*
 * Room server/process. Child processes: trainers and helpers, what they may do, and the folders
 * that they share with the daemon.
 *
 * Nouns: child, confinement (Landlock and seccomp), helper pool, question (of a helper), run
 *   directory, executor (how a trainer is started).
 * Ownership: A pool owns its children; a run directory is written by its trainer alone.
 * May include: engine server/base server/store.
 */

/*
 * Helpers: child processes that parse what comes from outside. See engine.h for their wire.
 *
 * A pool has a few children of one kind, started on demand, replaced when they die or hang, ended
 * after a minute without work. Each does one request at a time. Two pools serve the daemon: one for
 * data and planning, one for predictions. A hostile file that kills or hangs a child costs the
 * caller's request and nothing else.
 *
 * Who waits is served in turns: the client that was served longest ago comes next, and each
 * client's own requests in the order in which they came. One child of a pool takes none but brief
 * requests, so that these never wait for long ones. A long list of predictions is paused for
 * another client's request and gone on with when its turn comes again.
 *
 * Calls block their thread; hn_loop_work_waiting has threads for that.
 */
#ifndef HN_SERVER_PROCESS_HELPER_H
#define HN_SERVER_PROCESS_HELPER_H

#include "server/process/question.h"

#define HN_HELPER_QUEUE 48        /* requests that may wait for a pool */
#define HN_HELPER_CLIENT_QUEUE 16 /* of one client */

struct hn_confinement;
struct hn_helper;

/* `seconds`: a child without a sign of life for so long is ended. `to` (child.h) must outlive the
 * pool; NULL: its children are not confined. */
int hn_helper_create(const char *name, int64_t children, int64_t seconds,
    const struct hn_confinement *to, struct hn_helper **ret, struct hn_error *err);
void hn_helper_destroy(struct hn_helper *helper);
/* of its children, without those that were ended as nobody needed them */
int hn_helper_deaths(const struct hn_helper *helper);
/* Blocks: any thread but the loop's. On success *ret is a new reference. When the helper answered
 * with an error,
 * *ret_details (nullable) gets {"details":[…],"total":N} if it told any. */
int hn_helper_call(struct hn_helper *helper, const struct hn_question *question, json_t **ret,
    json_t **ret_details, struct hn_error *err);
/* Ends idle children; to be called now and then. */
void hn_helper_rest(struct hn_helper *helper);
/* Makes the running calls and all later ones fail: the daemon stops. Any thread. */
void hn_helper_stop(struct hn_helper *helper);

#endif
