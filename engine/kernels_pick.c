/* Chooses the kernels by CPU feature; see kernels.h. */
#include "engine/engine.h"
#include "engine/kernels.h"

extern const struct hn_kernels hn_kernels_portable;
#if defined(__x86_64__)
extern const struct hn_kernels hn_kernels_avx2, hn_kernels_avx512;
#endif

const struct hn_kernels *hn_kernels(void) {
#if defined(__x86_64__)
    __builtin_cpu_init();
    if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
        __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512dq") &&
        __builtin_cpu_supports("avx512cd"))
        return &hn_kernels_avx512;
    if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma"))
        return &hn_kernels_avx2;
#endif
    return &hn_kernels_portable;
}

const char *hn_kernel_level(void) {
    return hn_kernels()->name;
}
