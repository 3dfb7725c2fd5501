/* See queue.h. */
#include "server/store/queue.h"

int hn_queue_pick(
    struct hn_queue_candidate *candidates, size_t n, const struct hn_queue_limits *limits) {
    int picked = -1;
    bool reserved = false;
    int64_t room = limits->memory - limits->used;
    for (size_t i = 0; i < n; i++) {
        struct hn_queue_candidate *c = &candidates[i];
        if (c->blocked_since > limits->now)
            c->blocked_since = limits->now;
        /* No delay is that long: the clock was set back since. */
        bool delayed =
            c->not_before > limits->now && c->not_before - limits->now <= HN_QUEUE_DELAY_MS;
        if (!delayed || !c->reason)
            c->reason = "waiting_for_slot";
        if (picked >= 0 || delayed)
            continue;
        if (limits->disk_free < 0 || c->disk_bytes > limits->disk_free) {
            c->reason = "waiting_for_disk";
        } else if (c->peak_bytes > room) {
            c->reason = "waiting_for_memory";
            if (!c->blocked_since)
                c->blocked_since = limits->now;
            if (limits->now - c->blocked_since > HN_QUEUE_PASS_MS)
                reserved = true;
        } else if (!reserved) {
            picked = (int)i;
        }
    }
    return picked;
}
