/* See figure.h. */
#include "server/base/prometheus.h"

#include <stdio.h>
#include <string.h>

const double hn_bounds_quick[HN_BOUNDS] = {
    0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.1, 0.25, 1, 2.5, 10, 60};
const double hn_bounds_slow[HN_BOUNDS] = {
    0.1, 0.5, 1, 5, 15, 60, 300, 900, 3600, 14400, 43200, 86400};

void hn_histogram_add(
    struct hn_histogram *histogram, const double bounds[HN_BOUNDS], int64_t micros) {
    size_t i = 0;
    if (micros < 0) /* the wall clock was set back */
        micros = 0;
    while (i < HN_BOUNDS && (double)micros > bounds[i] * 1e6)
        i++;
    atomic_fetch_add(&histogram->counts[i], 1);
    atomic_fetch_add(&histogram->micros, (uint64_t)micros);
}

uint64_t hn_histogram_count(const struct hn_histogram *histogram) {
    uint64_t sum = 0;
    for (size_t i = 0; i <= HN_BOUNDS; i++)
        sum += atomic_load(&histogram->counts[i]);
    return sum;
}

void hn_histogram_write(const struct hn_histogram *histogram, const double bounds[HN_BOUNDS],
    const char *name, const char *labels, struct hn_buf *out) {
    uint64_t sum = 0;
    for (size_t i = 0; i <= HN_BOUNDS; i++) {
        sum += atomic_load(&histogram->counts[i]);
        hn_buf_printf(out, "%s_bucket{%sle=\"", name, labels);
        if (i < HN_BOUNDS)
            hn_buf_printf(out, "%g\"} %llu\n", bounds[i], (unsigned long long)sum);
        else
            hn_buf_printf(out, "+Inf\"} %llu\n", (unsigned long long)sum);
    }
    char own[512] = "";
    if (*labels)
        /* without the last comma */
        snprintf(own, sizeof own, "{%.*s}", (int)strlen(labels) - 1, labels);
    hn_buf_printf(out, "%s_sum%s %.6f\n%s_count%s %llu\n", name, own,
        (double)atomic_load(&histogram->micros) / 1e6, name, own, (unsigned long long)sum);
}
