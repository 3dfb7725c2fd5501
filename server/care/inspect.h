/*
 * What the store says of one data set, model or job against what the disk has: every file with its
 * sha256, checkpoints, events. For `honed check`, which looks at all, and for the daemon's scrub,
 * which does so bit by bit.
 */
#ifndef HN_SERVER_CARE_INSPECT_H
#define HN_SERVER_CARE_INSPECT_H

#include "server/store/store.h"

struct hn_inspection {
    const char *state;
    struct hn_db *db;
    /* Called for each thing that is wrong: "data set" | "model" | "job", its name, what was found,
     * and what to do about it. */
    void (*tell)(
        void *ud, const char *what, const char *name, const char *found, const char *advice);
    void *ud;
    long long looked; /* files and records so far */
    int64_t bytes;    /* read so far */
};

/* `kind` is "datasets", "models" or "runs", `name` as hn_db_names gives it. What goes away
 * meanwhile is no finding. */
void hn_inspect(struct hn_inspection *inspection, const char *kind, const char *name);

#endif
