/*
 * The queue's decision: which waiting job may run now. Pure: no clock, no store, no lock.
 *
 * Candidates come in the order of precedence (priority, then the key served longest ago, then age).
 * A job runs when its planned memory fits beside what runs and its files fit on the disk. One that
 * does not fit lets smaller ones pass for ten minutes; after that it reserves: nobody passes until
 * it fits. So small jobs use the gaps, and no job starves.
 */
#ifndef HN_SERVER_STORE_QUEUE_H
#define HN_SERVER_STORE_QUEUE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define HN_QUEUE_PASS_MS (10 * 60 * 1000)
#define HN_QUEUE_DELAY_MS \
    (60 * 1000) /* no job is delayed for longer before it may be tried again */

struct hn_queue_limits {
    int64_t memory;    /* bytes for all trainers */
    int64_t used;      /* planned bytes of those that run */
    int64_t disk_free; /* bytes beyond the reserve; negative when it is touched */
    int64_t now;       /* milliseconds since 1970 */
};

struct hn_queue_candidate {
    /* disk_bytes: checkpoints and results, 0 unknown */
    int64_t peak_bytes, disk_bytes, not_before, blocked_since;
    /* out: waiting_for_memory, waiting_for_disk, waiting_for_slot; one that is delayed keeps its
     * own */
    const char *reason;
};

/* The index of the one to run, or -1. Fills every candidate's reason, and blocked_since of those
 * passed over. */
int hn_queue_pick(
    struct hn_queue_candidate *candidates, size_t n, const struct hn_queue_limits *limits);

#endif
