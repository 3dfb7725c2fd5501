/* How fast this machine computes and moves memory, measured in a moment: for estimates and `honed
 * bench`. */
#ifndef HN_ENGINE_KERNELS_RATE_H
#define HN_ENGINE_KERNELS_RATE_H

/* Floating-point operations a second that one thread reaches in a product. Any thread; OpenBLAS is
 * opened where needed. */
double hn_rate_product(void);
/* Bytes a second that one thread copies, reading and writing counted once. */
double hn_rate_copy(void);

#endif
