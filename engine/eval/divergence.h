/*
 * Divergence: how far a tuned model's next-token distributions are from its base's.
 */
#ifndef HN_ENGINE_EVAL_DIVERGENCE_H
#define HN_ENGINE_EVAL_DIVERGENCE_H

#include "engine/run/compute.h"

/* Two phases that end in logits of the same targets, and the parameters of the second; the first
 * has none. Both have room for the same batches. */
struct hn_divergence {
    const struct hn_phase *base, *tuned;
    const float *params;
};

/*
 * Mean over the targets of `ex` of KL(base ‖ tuned) = Σ p·(log p − log q) in nats, summed over the
 * whole vocabulary in double. Positions are those at which validation rows have a target: what the
 * base would have written there, which is where forgetting shows (Shenfeld et al. 2025,
 * arXiv:2509.04259, measure the same on the new task's inputs). No row has more targets than the
 * phases have room for.
 */
int hn_diverge(struct hn_compute *compute, const struct hn_divergence *of,
    const struct hn_examples *ex, double *ret, struct hn_error *err);

#endif
