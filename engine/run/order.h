/*
 * In which order an epoch takes the training rows: a Fisher-Yates shuffle keyed by (seed, epoch),
 * so that the rows of any step are known without state.
 */
#ifndef HN_ENGINE_RUN_ORDER_H
#define HN_ENGINE_RUN_ORDER_H

#include <stddef.h>
#include <stdint.h>

void hn_order_fill(uint32_t *order, size_t n, uint64_t seed, size_t epoch);

#endif
