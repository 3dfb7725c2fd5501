/* See pulse.h. One count for the process: it is the process that is watched, and ended, not a part
 * of it. */
#include "engine/base/pulse.h"

#include <stdatomic.h>

static _Atomic uint64_t pulses;

void hn_pulse(void) {
    atomic_fetch_add_explicit(&pulses, 1, memory_order_relaxed);
}

uint64_t hn_pulse_count(void) {
    return atomic_load_explicit(&pulses, memory_order_relaxed);
}
