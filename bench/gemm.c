/*
 * Rate of the engine's own matrix product beside OpenBLAS's on the shapes of SmolLM2, one thread,
 * minimum of several runs. OPENBLAS_CORETYPE chooses OpenBLAS's kernels; unset, the best for this
 * CPU are taken.
 */
#include "engine/kernels/blas.h"
#include "engine/base/buf.h"
#include "engine/kernels/gemm.h"

#include <stdio.h>
#include <stdlib.h>
#include <time.h>

static double now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

int main(void) {
    static const struct {
        const char *name;
        bool ta, tb;
        size_t m, n, k;
    } shapes[] = {
        {"q|k|v forward", false, true, 512, 320, 576},
        {"o forward", false, true, 512, 288, 576},
        {"gate|up forward", false, true, 512, 256, 576},
        {"down forward", false, true, 512, 288, 1536},
        {"head forward", false, true, 256, 256, 576},
        {"gate|up backward", false, false, 512, 192, 3072},
        {"down backward", false, false, 512, 256, 576},
        {"head backward", false, false, 128, 192, 49152},
        {"weight gradient", true, false, 256, 256, 512},
        {"scores", false, true, 64, 256, 64},
        {"P.V", false, false, 64, 64, 256},
        {"dV", true, false, 256, 64, 64},
        {"lora mid", false, true, 64, 48, 576},
        {"lora out", false, true, 512, 256, 16},
        {"lora dA", true, false, 48, 256, 512},
        {"lora dB", true, false, 256, 16, 512},
    };
    struct hn_error err;
    if (hn_blas_open(&err)) {
        fprintf(stderr, "%s\n", err.message);
        return 1;
    }
    size_t most = (size_t)49152 * 256;
    float *a = hn_calloc(most, 4), *b = hn_calloc(most, 4), *c = hn_calloc(most, 4),
          *scratch = hn_calloc(HN_GEMM_SCRATCH, 4);
    for (size_t i = 0; i < most; i++) {
        a[i] = (float)(i % 17) - 8;
        b[i] = (float)(i % 13) - 6;
    }
    printf("%s, GFLOP/s, one thread\n%-20s %6s %6s %6s %9s %9s %6s\n", hn_blas_name(), "shape", "m",
        "n", "k", "OpenBLAS", "own", "ratio");
    for (size_t s = 0; s < sizeof shapes / sizeof shapes[0]; s++) {
        size_t m = shapes[s].m, n = shapes[s].n, k = shapes[s].k, lda = shapes[s].ta ? m : k,
               ldb = shapes[s].tb ? k : n;
        double flops = 2.0 * (double)m * (double)n * (double)k, best[2] = {1e9, 1e9};
        int repeat = flops > 1e8 ? 4 : 400;
        for (int run = 0; run < 7; run++)
            for (int which = 0; which < 2; which++) {
                double start = now();
                for (int i = 0; i < repeat; i++)
                    if (which)
                        hn_gemm(shapes[s].ta, shapes[s].tb, m, n, k, 1, a, lda, b, ldb, false, c, n,
                            scratch);
                    else
                        hn_sgemm(shapes[s].ta, shapes[s].tb, m, n, k, 1, a, lda, b, ldb, 0, c, n);
                double seconds = (now() - start) / repeat;
                best[which] = seconds < best[which] ? seconds : best[which];
            }
        printf("%-20s %6zu %6zu %6zu %9.1f %9.1f %6.2f\n", shapes[s].name, m, n, k,
            flops / best[0] / 1e9, flops / best[1] / 1e9, best[0] / best[1]);
    }
    free(a);
    free(b);
    free(c);
    free(scratch);
    return 0;
}
