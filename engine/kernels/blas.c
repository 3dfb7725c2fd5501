/* See blas.h. */
#include "engine/kernels/blas.h"
#include "engine/base/buf.h"

#include <cblas.h>
#include <dlfcn.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>

typedef void sgemm_fn(enum CBLAS_ORDER, enum CBLAS_TRANSPOSE, enum CBLAS_TRANSPOSE, blasint,
    blasint, blasint, float, const float *, blasint, const float *, blasint, float, float *,
    blasint);

typedef void dsyev_fn(const char *job, const char *part, const blasint *n, double *a,
    const blasint *lda, double *w, double *work, const blasint *lwork, blasint *info);

/* Written once under `once`, read-only afterwards. */
static struct {
    pthread_once_t once;
    sgemm_fn *sgemm;
    dsyev_fn *dsyev; /* NULL: built without LAPACK */
    char name[128], problem[256];
} blas = {.once = PTHREAD_ONCE_INIT};

static const char *core_type(void) {
#if defined(__x86_64__)
    __builtin_cpu_init();
    if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
        __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl"))
        return "SkylakeX";
    if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma"))
        return "Haswell";
#endif
    return NULL;
}

static void open_library(void) {
    const char *core = core_type();
    if (core)
        setenv("OPENBLAS_CORETYPE", core, 0);
    setenv("OPENBLAS_NUM_THREADS", "1", 1);
    void *library = dlopen("libopenblas.so.0", RTLD_NOW | RTLD_LOCAL);
    if (!library) {
        snprintf(blas.problem, sizeof blas.problem, "OpenBLAS cannot be opened: %s", dlerror());
        return;
    }
    void *sgemm = dlsym(library, "cblas_sgemm"), *config = dlsym(library, "openblas_get_config"),
         *threads = dlsym(library, "openblas_set_num_threads"),
         *corename = dlsym(library, "openblas_get_corename");
    if (!sgemm) {
        snprintf(blas.problem, sizeof blas.problem, "libopenblas.so.0 has no cblas_sgemm");
        return;
    }
    if (threads)
        ((void (*)(int))threads)(1);
    const char *version = config ? ((char *(*)(void))config)() : "OpenBLAS";
    int words = 0;
    size_t n = 0; /* "OpenBLAS 0.3.21 …": the first two words */
    while (version[n] && (version[n] != ' ' || ++words < 2))
        n++;
    snprintf(blas.name, sizeof blas.name, "%.*s %s", (int)n, version,
        corename ? ((char *(*)(void))corename)() : "");
    blas.dsyev = (dsyev_fn *)dlsym(library, "dsyev_");
    blas.sgemm = (sgemm_fn *)sgemm;
}

int hn_blas_open(struct hn_error *err) {
    pthread_once(&blas.once, open_library);
    if (blas.sgemm)
        return 0;
    hn_fail(err, HN_E_INTERNAL, "%s", blas.problem);
    hn_error_hint(err, "install Debian's package libopenblas0-pthread");
    return HN_E_INTERNAL;
}

const char *hn_blas_name(void) {
    return blas.name;
}

void hn_sgemm(bool trans_a, bool trans_b, size_t m, size_t n, size_t k, float alpha, const float *a,
    size_t lda, const float *b, size_t ldb, float beta, float *c, size_t ldc) {
    if (m == 0 || n == 0)
        return;
    blas.sgemm(CblasRowMajor, trans_a ? CblasTrans : CblasNoTrans,
        trans_b ? CblasTrans : CblasNoTrans, (blasint)m, (blasint)n, (blasint)k, alpha, a,
        (blasint)lda, b, (blasint)ldb, beta, c, (blasint)ldc);
}

int hn_eigenvalues(double *matrix, size_t n, double *ret, struct hn_error *err) {
    blasint size = (blasint)n, room = -1, info = 0;
    double wanted = 0;
    if (!blas.dsyev)
        return hn_fail(err, HN_E_INTERNAL, "this OpenBLAS has no LAPACK: dsyev_ is missing");
    if (!n)
        return 0;
    blas.dsyev("N", "U", &size, matrix, &size, ret, &wanted, &room, &info);
    room = (blasint)wanted;
    double *work = hn_calloc((size_t)room + 1, sizeof *work);
    if (!work)
        return hn_fail(err, HN_E_INTERNAL, "out of memory for eigenvalues");
    blas.dsyev("N", "U", &size, matrix, &size, ret, work, &room, &info);
    free(work);
    return info ? hn_fail(err, HN_E_INTERNAL, "eigenvalues were not found (dsyev: %d)", (int)info)
                : 0;
}
