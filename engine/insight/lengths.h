/* How long rows are, and which are far longer than the others. */
#ifndef HN_ENGINE_INSIGHT_LENGTHS_H
#define HN_ENGINE_INSIGHT_LENGTHS_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct hn_lengths {
    uint32_t *sorted; /* [n] */
    size_t n;
};

/* Sorts a copy of lengths[n]. false: out of memory. */
bool hn_lengths_init(struct hn_lengths *ret, const uint32_t *lengths, size_t n);
void hn_lengths_finish(struct hn_lengths *lengths);
/* The length that a share of the rows does not exceed; 0 without rows. */
uint32_t hn_lengths_quantile(const struct hn_lengths *lengths, double share);
/* {"mean","min","p10","median","p90","p99","max"}. New reference. */
json_t *hn_lengths_json(const struct hn_lengths *lengths);
/* How many are longer than that. */
size_t hn_lengths_above(const struct hn_lengths *lengths, uint32_t length);
/* A row longer than this is an outlier: eight times the median and four times what 95 of 100 rows
 * have at most, since lengths have long tails by nature. UINT32_MAX for few rows. */
uint32_t hn_lengths_outlier(const struct hn_lengths *lengths);
/* The greatest length, if so many rows have exactly it that they must have been cut: one in a
 * hundred, and five. 0: no. */
uint32_t hn_lengths_cut(const struct hn_lengths *lengths);

#endif
