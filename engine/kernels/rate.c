/* See rate.h. The best of a few short runs: what else the machine does meanwhile only makes them
 * slower. */
#include "engine/kernels/rate.h"
#include "engine/kernels/blas.h"
#include "engine/base/buf.h"
#include "engine/kernels/gemm.h"

#include <stdlib.h>
#include <string.h>
#include <time.h>

#define SIDE ((size_t)256)
#define COPIED ((size_t)64 << 20)

static double now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

double hn_rate_product(void) {
    float *memory = hn_calloc(3 * SIDE * SIDE + HN_GEMM_SCRATCH, sizeof *memory);
    double best = 1e9;
    if (!memory || hn_blas_open(NULL)) {
        free(memory);
        return 1e10;
    }
    for (int i = 0; i < 8; i++) {
        double begin = now();
        hn_gemm(false, true, SIDE, SIDE, SIDE, 1, memory, SIDE, memory + SIDE * SIDE, SIDE, false,
            memory + 2 * SIDE * SIDE, SIDE, memory + 3 * SIDE * SIDE);
        double seconds = now() - begin;
        best = seconds < best ? seconds : best;
    }
    free(memory);
    return 2.0 * (double)(SIDE * SIDE * SIDE) / best;
}

double hn_rate_copy(void) {
    char *memory = hn_calloc(2, COPIED);
    double best = 1e9;
    for (int i = 0; memory && i < 4; i++) { /* the first one touches the pages */
        double begin = now();
        memcpy(memory + COPIED, memory, COPIED);
        memory[i] = memory[COPIED + (size_t)i]; /* so that the copy is not left out */
        double seconds = now() - begin;
        best = seconds < best ? seconds : best;
    }
    free(memory);
    return (double)COPIED / best;
}
