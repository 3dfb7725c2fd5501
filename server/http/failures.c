/* See failures.h. */
#include "server/http/failures.h"

#include "engine/engine.h"

#include <stdlib.h>
#include <string.h>

#define SETS 256
#define WAYS 4 /* places that an address may take */

struct entry {
    struct hn_address address; /* kind 0: free */
    int64_t count, last, until, good;
};

struct hn_failures {
    struct entry entries[SETS][WAYS];
};

struct hn_failures *hn_failures_create(void) {
    return hn_calloc(1, sizeof(struct hn_failures));
}

void hn_failures_destroy(struct hn_failures *failures) {
    free(failures);
}

static struct entry *set_of(struct hn_failures *failures, const struct hn_address *address) {
    uint64_t hash = 14695981039346656037u; /* FNV-1a */
    for (size_t i = 0; i < sizeof address->bytes; i++)
        hash = (hash ^ address->bytes[i]) * 1099511628211u;
    return failures->entries[(hash >> 32) % SETS];
}

static struct entry *find(struct entry *set, const struct hn_address *address) {
    for (size_t i = 0; i < WAYS; i++)
        if (set[i].address.kind == address->kind &&
            memcmp(set[i].address.bytes, address->bytes, sizeof address->bytes) == 0)
            return &set[i];
    return NULL;
}

static struct entry *take(struct entry *set, const struct hn_address *address) {
    struct entry *oldest = &set[0];
    for (size_t i = 1; i < WAYS; i++)
        if (set[i].last < oldest->last)
            oldest = &set[i];
    *oldest = (struct entry){.address = *address, .good = INT64_MIN / 2};
    return oldest;
}

int64_t hn_failures_add(
    struct hn_failures *failures, const struct hn_address *address, int64_t now) {
    struct entry *set = set_of(failures, address), *e = find(set, address);
    if (!e)
        e = take(set, address);
    if (now < e->until)
        return e->until - now;
    if (now - e->last > HN_FAILURES_FORGET_MS)
        e->count = 0;
    e->last = now;
    e->count++;
    if (e->count >= HN_FAILURES_FREE && now - e->good > HN_FAILURES_GOOD_MS) {
        int64_t over = e->count - HN_FAILURES_FREE,
                wait = over < 16 ? (int64_t)1000 << over : HN_FAILURES_MOST_MS;
        e->until = now + (wait < HN_FAILURES_MOST_MS ? wait : HN_FAILURES_MOST_MS);
    }
    return 0;
}

void hn_failures_good(struct hn_failures *failures, const struct hn_address *address, int64_t now) {
    struct entry *e = find(set_of(failures, address), address);
    if (!e)
        return;
    e->good = now;
    e->until = 0;
}
