/*
 * Counter-based random numbers: a value is a pure function of (seed, purpose, step, index), so that
 * shuffling, initialisation, dropout and sampling give the same bytes for any thread count, order
 * of work or resumption.
 *
 * Philox 4x32-10 (Salmon et al., "Parallel Random Numbers: As Easy as 1, 2, 3", SC 2011).
 */
#ifndef HN_ENGINE_BASE_RNG_H
#define HN_ENGINE_BASE_RNG_H

#include <stdint.h>

enum hn_purpose {
    HN_PURPOSE_SPLIT = 1,
    HN_PURPOSE_SHUFFLE,
    HN_PURPOSE_INIT,
    HN_PURPOSE_DROPOUT,
    HN_PURPOSE_SAMPLE,
    HN_PURPOSE_AUTO,      /* choices made while a job is planned */
    HN_PURPOSE_HIDDEN,    /* dropout of hidden states */
    HN_PURPOSE_ATTENTION, /* dropout of attention's probabilities */
    HN_PURPOSE_HEAD,      /* initialisation of a task's head */
    HN_PURPOSE_BOOTSTRAP, /* rows drawn again for an interval (engine/tune/stats.h) */
    HN_PURPOSE_SEQUENCE,  /* digit permutations (engine/tune/sequence.h) */
    HN_PURPOSE_SEARCH,    /* candidates of hyperparameters (engine/tune/tpe.h) */
    HN_PURPOSE_FOLDS,     /* order in which rows are dealt out (engine/data/folds.h) */
    HN_PURPOSE_ROWS,      /* rows that are trained on (engine/data/choice.h) */
    HN_PURPOSE_PROBE,     /* training rows that are evaluated (engine/run/train_sample.h) */
};

static inline void hn_philox(const uint32_t counter[4], const uint32_t key[2], uint32_t out[4]) {
    uint32_t c0 = counter[0], c1 = counter[1], c2 = counter[2], c3 = counter[3], k0 = key[0],
             k1 = key[1];
    for (int round = 0; round < 10; round++) {
        uint64_t a = (uint64_t)c0 * 0xD2511F53u, b = (uint64_t)c2 * 0xCD9E8D57u;
        uint32_t n0 = (uint32_t)(b >> 32) ^ c1 ^ k0, n2 = (uint32_t)(a >> 32) ^ c3 ^ k1;
        c1 = (uint32_t)b;
        c3 = (uint32_t)a;
        c0 = n0;
        c2 = n2;
        k0 += 0x9E3779B9u;
        k1 += 0xBB67AE85u;
    }
    out[0] = c0;
    out[1] = c1;
    out[2] = c2;
    out[3] = c3;
}

static inline uint64_t hn_random_u64(
    uint64_t seed, uint32_t purpose, uint64_t step, uint64_t index) {
    uint32_t key[2] = {(uint32_t)seed, (uint32_t)(seed >> 32)}, out[4];
    uint32_t counter[4] = {(uint32_t)index, (uint32_t)(index >> 32) ^ purpose << 24, (uint32_t)step,
        (uint32_t)(step >> 32)};
    hn_philox(counter, key, out);
    return (uint64_t)out[1] << 32 | out[0];
}

/* In [0, 1), a multiple of 2^-53. */
static inline double hn_random_unit(
    uint64_t seed, uint32_t purpose, uint64_t step, uint64_t index) {
    return (double)(hn_random_u64(seed, purpose, step, index) >> 11) * 0x1p-53;
}

#endif
