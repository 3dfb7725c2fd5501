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
int hn_helper_child_ask(struct hn_helper_child *child, const struct hn_question *question,
    json_t **ret, json_t **ret_details, struct hn_error *err);
/* HN_E_BUSY where the daemon stops or nobody waits for the answer any more. */
int hn_helper_wanted(
    const struct hn_question *question, const atomic_bool *stop, struct hn_error *err);

#endif
