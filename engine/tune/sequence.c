#include "engine/tune/sequence.h"

#include "engine/base/rng.h"
#include "engine/tune/tune.h"

#include <assert.h>

/* The smallest distance between neighbours that a digit place may add. */
#define RESOLUTION 0x1p-53
#define LARGEST_BASE 131

static const uint8_t primes[HN_TUNE_AXES] = {2, 3, 5, 7, 11, 13, 17, 19, 23, 29, 31, 37, 41, 43, 47,
    53, 59, 61, 67, 71, 73, 79, 83, 89, 97, 101, 103, 107, 109, 113, 127, LARGEST_BASE};

/* Where the permutation of this digit place sends `digit` (Fisher-Yates, keyed). */
static unsigned permuted(
    uint64_t seed, unsigned dimension, unsigned place, unsigned base, unsigned digit) {
    uint8_t table[LARGEST_BASE];
    uint64_t step = (uint64_t)dimension << 32 | place;
    for (unsigned i = 0; i < base; i++)
        table[i] = (uint8_t)i;
    for (unsigned i = base; i > 1; i--) {
        uint64_t k = hn_random_u64(seed, HN_PURPOSE_SEQUENCE, step, i) % i;
        uint8_t swap = table[i - 1];
        table[i - 1] = table[k];
        table[k] = swap;
    }
    return table[digit];
}

/* Digits beyond those of the index are 0 and are permuted as well, down to the last bit of the
 * result: without them the points of a low index would lie on a coarse lattice. */
double hn_sequence(uint64_t seed, uint64_t index, unsigned dimension) {
    assert(dimension < HN_TUNE_AXES);
    unsigned base = primes[dimension];
    double value = 0, weight = 1.0 / base;
    for (unsigned place = 0; weight > RESOLUTION; place++, weight /= base, index /= base)
        value += weight * permuted(seed, dimension, place, base, (unsigned)(index % base));
    return value < 1 ? value : 1 - RESOLUTION;
}
