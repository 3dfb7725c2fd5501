/*
 * Figures that many threads add to and the metrics page reads: counts and histograms, without a
 * lock.
 *
 * They live in what they measure (the store, the workers, the routes) and begin at zero with the
 * daemon, as Prometheus expects. A reader may see a histogram between two additions; each of its
 * numbers only grows.
 */
#ifndef HN_SERVER_BASE_PROMETHEUS_H
#define HN_SERVER_BASE_PROMETHEUS_H

#include "engine/engine.h"

#include <stdatomic.h>
#include <stdint.h>

#define HN_BOUNDS 12

/* Upper bounds in seconds: of what should be quick, and of what may wait for hours. */
extern const double hn_bounds_quick[HN_BOUNDS], hn_bounds_slow[HN_BOUNDS];

struct hn_histogram {
    _Atomic uint64_t counts[HN_BOUNDS + 1]; /* the last: beyond all bounds */
    _Atomic uint64_t micros;
};

void hn_histogram_add(
    struct hn_histogram *histogram, const double bounds[HN_BOUNDS], int64_t micros);
/* The lines of a Prometheus histogram; `labels` is "" or `a="b",`. */
void hn_histogram_write(const struct hn_histogram *histogram, const double bounds[HN_BOUNDS],
    const char *name, const char *labels, struct hn_buf *out);
uint64_t hn_histogram_count(const struct hn_histogram *histogram);

#endif
