#ifndef HN_ENGINE_KERNELS_LEVEL_H
#define HN_ENGINE_KERNELS_LEVEL_H

#include "engine/base/error.h"

#include <stdbool.h>

/* The CPU level that matmuls and elementwise loops run at here: "avx512", "avx2", "portable";
 * HONE_KERNELS may name a lower one than the CPU's best. */
const char *hn_kernel_level(void);
/* Whether HONE_KERNELS names a level there is. */
bool hn_kernel_asked(struct hn_error *err);

#endif
