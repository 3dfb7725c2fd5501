/* Chooses the kernels by CPU feature; see kernels.h. */
#include "engine/kernels/kernels.h"
#include "engine/kernels/level.h"

#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

extern const struct hn_kernels hn_kernels_portable;
#if defined(__x86_64__)
extern const struct hn_kernels hn_kernels_avx2, hn_kernels_avx512;

static bool runs_avx512(void) {
    return __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
        __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512dq") &&
        __builtin_cpu_supports("avx512cd");
}

static bool runs_avx2(void) {
    return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
}
#endif

static bool runs_always(void) {
    return true;
}

/* Best first. */
static const struct {
    const struct hn_kernels *kernels;
    bool (*runs)(void);
} levels[] = {
#if defined(__x86_64__)
    {&hn_kernels_avx512, runs_avx512},
    {&hn_kernels_avx2, runs_avx2},
#endif
    {&hn_kernels_portable, runs_always},
};
#define LEVELS (sizeof levels / sizeof levels[0])

static size_t level_of(const char *name) {
    size_t i = 0;
    while (i < LEVELS && strcmp(levels[i].kernels->name, name) != 0)
        i++;
    return i;
}

static const struct hn_kernels *pick(const char *most) {
    size_t i = most && level_of(most) < LEVELS ? level_of(most) : 0;
#if defined(__x86_64__)
    __builtin_cpu_init();
#endif
    while (!levels[i].runs())
        i++;
    return levels[i].kernels;
}

const struct hn_kernels *hn_kernels(void) {
    static _Atomic(const struct hn_kernels *) picked;
    const struct hn_kernels *kernels = atomic_load_explicit(&picked, memory_order_relaxed);
    if (!kernels) { /* threads that come here at once find the same */
        kernels = pick(getenv("HONE_KERNELS"));
        atomic_store_explicit(&picked, kernels, memory_order_relaxed);
    }
    return kernels;
}

const char *hn_kernel_level(void) {
    return hn_kernels()->name;
}

bool hn_kernel_asked(struct hn_error *err) {
    const char *name = getenv("HONE_KERNELS");
    if (!name || level_of(name) < LEVELS)
        return true;
    hn_fail(err, HN_E_INVALID_FIELD,
        "HONE_KERNELS is \"%.40s\": there are avx512, avx2 and portable", name);
    return false;
}
