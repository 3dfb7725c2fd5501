/* See order.h. */
#include "engine/run/order.h"
#include "engine/base/rng.h"

void hn_order_fill(uint32_t *order, size_t n, uint64_t seed, size_t epoch) {
    for (size_t i = 0; i < n; i++)
        order[i] = (uint32_t)i;
    for (size_t i = n; i > 1; i--) {
        size_t k = (size_t)(hn_random_u64(seed, HN_PURPOSE_SHUFFLE, epoch, i) % i);
        uint32_t swap = order[i - 1];
        order[i - 1] = order[k];
        order[k] = swap;
    }
}
