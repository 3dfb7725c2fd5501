/* What a helper is asked, and for whom. */
#ifndef HN_SERVER_PROCESS_QUESTION_H
#define HN_SERVER_PROCESS_QUESTION_H

#include "engine/engine.h"

#include <stdatomic.h>

#define HN_CLIENT_SIZE 64

/* On whose account a request is, and whether somebody still waits for its answer. */
struct hn_asker {
    char client[HN_CLIENT_SIZE]; /* key or address; "" is the daemon itself */
    atomic_bool gone;
};

/* A streamed piece of the answer; non-zero gives the request up (the child is ended). */
typedef int (*hn_helper_chunk_fn)(void *ud, const json_t *chunk);

struct hn_question {
    const char *op;
    const json_t *params;
    const struct hn_asker *asker; /* NULL: the daemon itself */
    bool brief;                   /* known to be answered soon */
    /* for the whole answer, without the time in the queue; 0: as long as the helper shows that it
     * works */
    int timeout_seconds;
    hn_helper_chunk_fn chunk;
    /* instead of asker->gone: whether nobody waits any more. May be NULL */
    bool (*unwanted)(void *ud);
    void *ud; /* of both */
};

#endif
