/*
 * A scrambled low-discrepancy sequence: points that fill the unit cube more evenly than random
 * ones, for the first trials of a search and for random sweeps.
 *
 * Halton's sequence (1960) with one base (the first 32 primes) a dimension, and a random
 * permutation for each digit place of each dimension (Owen 2017, "A randomized Halton algorithm in
 * R", arXiv 1706.02808), keyed by the seed. Point i is a pure function of (seed, i).
 */
#ifndef HN_ENGINE_TUNE_SEQUENCE_H
#define HN_ENGINE_TUNE_SEQUENCE_H

#include <stdint.h>

/* Coordinate `dimension` (below HN_TUNE_AXES of tune.h) of point `index`, in [0, 1). */
double hn_sequence(uint64_t seed, uint64_t index, unsigned dimension);

#endif
