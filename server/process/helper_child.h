/* One child of a pool of helpers and the talk with it. Used by the one thread that has it; see
 * helper.h. */
#ifndef HN_SERVER_PROCESS_HELPER_CHILD_H
#define HN_SERVER_PROCESS_HELPER_CHILD_H

#include "server/process/child.h"
#include "server/process/question.h"

#define HN_HELPER_TICK_MS 100 /* how often a waiting thread looks whether it still has to */

struct hn_helper_child {
    const char *name; /* of its pool */
    const struct hn_confinement *to;
    int pid, fd; /* 0 and -1 without a process */
    int64_t next_id, last_used;
    int64_t silence_ms;      /* without a sign of life for so long it hangs */
    struct hn_buf in;        /* what was read and not yet taken */
    const atomic_bool *stop; /* the daemon stops */
    atomic_int *deaths;
    atomic_bool pause; /* another client waits; set by any thread */
};

void hn_helper_child_init(struct hn_helper_child *child);
/* Ends the process whatever it does; the next question starts another. */
void hn_helper_child_end(struct hn_helper_child *child);
/* Starts its process. */
int hn_helper_child_start(struct hn_helper_child *child, struct hn_error *err);
/* Takes the next whole line of what was read, as JSON; false: there is none yet. *ret NULL: it is
 * not JSON. *seen (from 0) is kept between calls that find none. */
bool hn_helper_child_next(struct hn_helper_child *child, size_t *seen, json_t **ret);
/* The "error" of an answer as an error with its code; *ret_details as of hn_helper_call. */
int hn_helper_child_error(const json_t *error, json_t **ret_details, struct hn_error *err);
/* What is told when the process has died. */
int hn_helper_child_broken(struct hn_error *err);
int hn_helper_child_ask(struct hn_helper_child *child, const struct hn_question *question,
    json_t **ret, json_t **ret_details, struct hn_error *err);
/* HN_E_BUSY where the daemon stops or nobody waits for the answer any more. */
int hn_helper_wanted(
    const struct hn_question *question, const atomic_bool *stop, struct hn_error *err);

#endif
