/* See lengths.h. */
#include "engine/insight/lengths.h"
#include "engine/base/buf.h"
#include "engine/base/json.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#define FEW 20        /* rows, among which none is an outlier */
#define CUT_LENGTH 64 /* shorter texts are not cut: many have the same length by chance */

static int by_length(const void *a, const void *b) {
    uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;
    return (x > y) - (x < y);
}

bool hn_lengths_init(struct hn_lengths *ret, const uint32_t *lengths, size_t n) {
    *ret = (struct hn_lengths){hn_calloc(n, sizeof *ret->sorted), n};
    if (!ret->sorted)
        return false;
    if (n)
        memcpy(ret->sorted, lengths, n * sizeof *lengths);
    qsort(ret->sorted, n, sizeof *ret->sorted, by_length);
    return true;
}

void hn_lengths_finish(struct hn_lengths *lengths) {
    free(lengths->sorted);
    *lengths = (struct hn_lengths){0};
}

uint32_t hn_lengths_quantile(const struct hn_lengths *lengths, double share) {
    if (!lengths->n)
        return 0;
    size_t i = (size_t)ceil(share * (double)lengths->n);
    return lengths->sorted[i ? i - 1 : 0];
}

json_t *hn_lengths_json(const struct hn_lengths *lengths) {
    static const struct {
        const char *name;
        double share;
    } shown[] = {
        {"min", 0}, {"p10", 0.1}, {"median", 0.5}, {"p90", 0.9}, {"p99", 0.99}, {"max", 1}};
    double sum = 0;
    for (size_t i = 0; i < lengths->n; i++)
        sum += (double)lengths->sorted[i];
    json_t *out = json_pack(
        "{s:o}", "mean", hn_json_float((float)(lengths->n ? sum / (double)lengths->n : 0)));
    for (size_t i = 0; i < sizeof shown / sizeof shown[0]; i++)
        json_object_set_new(
            out, shown[i].name, json_integer(hn_lengths_quantile(lengths, shown[i].share)));
    return out;
}

size_t hn_lengths_above(const struct hn_lengths *lengths, uint32_t length) {
    size_t low = 0, high = lengths->n;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (lengths->sorted[middle] > length)
            high = middle;
        else
            low = middle + 1;
    }
    return lengths->n - low;
}

uint32_t hn_lengths_outlier(const struct hn_lengths *lengths) {
    uint64_t median = 8 * (uint64_t)hn_lengths_quantile(lengths, 0.5),
             tail = 4 * (uint64_t)hn_lengths_quantile(lengths, 0.95);
    uint64_t limit = median > tail ? median : tail;
    return lengths->n < FEW || limit > UINT32_MAX || !limit ? UINT32_MAX : (uint32_t)limit;
}

uint32_t hn_lengths_cut(const struct hn_lengths *lengths) {
    uint32_t most = hn_lengths_quantile(lengths, 1);
    if (most < CUT_LENGTH)
        return 0;
    size_t same = hn_lengths_above(lengths, most - 1);
    return same >= 5 && same >= lengths->n / 100 && same < lengths->n / 2 ? most : 0;
}
