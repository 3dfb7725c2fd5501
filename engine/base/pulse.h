/*
 * Signs of life of a process that works: a count that rises with every unit of work that ends soon
 * by itself (a pass of the model, a row of data, a block of a file). Whoever watches the process
 * takes a count that stands still for a sign that it hangs; a running process whose loop never ends
 * does not move it.
 */
#ifndef HN_ENGINE_BASE_PULSE_H
#define HN_ENGINE_BASE_PULSE_H

#include <stdint.h>

void hn_pulse(void); /* any thread; costs an addition */
uint64_t hn_pulse_count(void);

#endif
