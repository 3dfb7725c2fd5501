/* See divergence.h. */
#include "engine/eval/divergence.h"
#include "engine/base/buf.h"
#include "engine/run/forgetting.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* Logits of a batch's targets under both models. */
struct pair {
    const float *base, *tuned; /* [targets, vocab] */
    double *kl;                /* [targets] */
    size_t vocab;
};

static double greatest(const float *row, size_t n) {
    double most = -INFINITY;
    for (size_t i = 0; i < n; i++)
        most = (double)row[i] > most ? (double)row[i] : most;
    return most;
}

/* Of one target: Σ p·(x − y) less the difference of the two logarithms of sums. */
static void compare(void *context, size_t target, unsigned thread) {
    const struct pair *t = context;
    const float *x = t->base + target * t->vocab, *y = t->tuned + target * t->vocab;
    double most_x = greatest(x, t->vocab), most_y = greatest(y, t->vocab);
    double sum_x = 0, sum_y = 0, moved = 0;
    (void)thread;
    for (size_t v = 0; v < t->vocab; v++) {
        double p = exp((double)x[v] - most_x);
        sum_x += p;
        sum_y += exp((double)y[v] - most_y);
        moved += p * ((double)x[v] - (double)y[v]);
    }
    double kl = moved / sum_x - (most_x + log(sum_x)) + (most_y + log(sum_y));
    t->kl[target] = kl < 0 ? 0 : kl; /* round-off where they are equal; NaN stays */
}

static size_t count_targets(const struct hn_examples *ex, size_t row) {
    size_t n = 0;
    for (size_t k = ex->starts[row] + 1; k < ex->starts[row + 1]; k++)
        n += ex->weights[k] > 0;
    return n;
}

/* Lays down rows from *row on as long as their tokens and targets fit. */
static void fill(struct hn_compute *compute, const struct hn_phase *phase,
    const struct hn_examples *ex, size_t *row) {
    const struct hn_batch *b = &compute->batch.batch;
    size_t most = phase->plan.caps.dims[HN_DIM_TARGETS];
    hn_compute_clear(compute, phase);
    while (*row < ex->n_rows && b->n_targets + count_targets(ex, *row) <= most &&
        hn_batch_add(&compute->batch, ex, *row, (uint32_t)*row, 1))
        ++*row;
}

static const float *run(
    struct hn_compute *compute, const struct hn_phase *phase, const float *params) {
    struct hn_exec x = {.params = params};
    hn_compute_run(compute, phase, &x);
    return hn_buffer(&x, phase->plan.logits);
}

int hn_diverge(struct hn_compute *compute, const struct hn_divergence *of,
    const struct hn_examples *ex, double *ret, struct hn_error *err) {
    size_t vocab = of->base->plan.buffers[of->base->plan.logits].cols,
           most = of->base->plan.caps.dims[HN_DIM_TARGETS], targets = 0;
    float *base = (void *)(compute->arena + hn_kl_place(&of->base->plan, &of->tuned->plan));
    double *kl = hn_calloc(most, sizeof *kl), sum = 0;
    int rc = kl ? 0 : hn_fail(err, HN_E_INTERNAL, "out of memory");
    if (!rc && hn_kl_arena(&of->base->plan, &of->tuned->plan) > compute->arena_bytes)
        rc = hn_fail(err, HN_E_INTERNAL, "comparing with the base needs more than was planned");
    for (size_t row = 0; !rc && row < ex->n_rows;) {
        size_t first = row;
        fill(compute, of->base, ex, &row);
        if (row == first) {
            rc = hn_fail(err, HN_E_INTERNAL, "a row does not fit the phase that compares it");
            break;
        }
        size_t n = compute->batch.batch.n_targets;
        memcpy(base, run(compute, of->base, NULL), n * vocab * sizeof *base);
        struct pair pair = {base, run(compute, of->tuned, of->params), kl, vocab};
        hn_pool_run(compute->pool, n, compare, &pair);
        for (size_t i = 0; i < n; i++)
            sum += kl[i];
        targets += n;
    }
    *ret = targets ? sum / (double)targets : (double)NAN;
    free(kl);
    return rc;
}
