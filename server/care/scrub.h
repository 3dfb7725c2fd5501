/*
 * The scrub: while nothing trains, the daemon reads all that it keeps, a little at a time, and
 * compares it with its hashes. That finds what happens below the file system, where no time stamp
 * moves, before somebody needs the file.
 */
#ifndef HN_SERVER_CARE_SCRUB_H
#define HN_SERVER_CARE_SCRUB_H

#include "server/store/store.h"

struct hn_scrub;

/* A round through everything begins every `days`; 0: never. */
int hn_scrub_create(const char *state, struct hn_store *store, int64_t days, struct hn_scrub **ret,
    struct hn_error *err);
void hn_scrub_destroy(struct hn_scrub *scrub);
/* Looks at the next few hundred megabytes; `busy` is asked between files and ends it. Blocks; from
 * one thread at a time. */
void hn_scrub_step(struct hn_scrub *scrub, bool (*busy)(void *ud), void *ud);
/* Things found damaged in the last whole round and the present one; whole rounds so far. Any
 * thread. */
int64_t hn_scrub_damaged(const struct hn_scrub *scrub);
int64_t hn_scrub_rounds(const struct hn_scrub *scrub);

#endif
