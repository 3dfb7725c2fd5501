/*
 * The rate of the engine's own product path over the shapes of a model's training step, through the
 * pool and with the model's own (quantised) weights: what a whole step's rate is held against by
 * bench/share.py.
 *
 *   bench_share MODEL ROWS TARGETS THREADS lora|full
 *
 * Products of one layer stand for all; the head has TARGETS rows. Prints {"flops", "seconds",
 * "shapes": [[m, n, k, times a step], …]}: floating-point operations and the least seconds that all
 * of a step's products took.
 */
#include "engine/families/load.h"
#include "engine/kernels/blas.h"
#include "engine/base/buf.h"
#include "engine/kernels/kernels.h"
#include "engine/graph/linear.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { RUNS = 5 };

static double now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

struct bench {
    struct hn_exec x;
    /* values of rows on either side of a weight, and of its gradient */
    float *wide, *narrow, *grad;
    bool full;
    double flops, seconds;
    const char *comma;
};

static void shape(struct bench *b, size_t m, size_t n, size_t k, size_t times) {
    printf("%s[%zu, %zu, %zu, %zu]", b->comma, m, n, k, times);
    b->comma = ", ";
    b->flops += 2.0 * (double)(m * n * k * times);
}

/* Forward, gradient of the input and, where it is trained, of the weight itself. */
static void products(struct bench *b, const struct hn_weight *w, size_t rows, size_t times) {
    double best[3] = {1e9, 1e9, 1e9};
    for (int run = 0; run < RUNS; run++)
        for (int kind = 0; kind < (b->full ? 3 : 2); kind++) {
            double start = now();
            if (kind == 0)
                hn_product_nt(&b->x, b->wide, w->rows, b->narrow, w, rows);
            else if (kind == 1)
                hn_product_nn(&b->x, b->narrow, false, b->wide, w->rows, w, rows);
            else
                hn_product_tn(&b->x, b->grad, 1, b->wide, w->rows, w->rows, b->narrow, w->cols,
                    w->cols, rows);
            double seconds = now() - start;
            best[kind] = seconds < best[kind] ? seconds : best[kind];
        }
    shape(b, rows, w->rows, w->cols, times);
    shape(b, rows, w->cols, w->rows, times);
    if (b->full)
        shape(b, w->rows, w->cols, rows, times);
    for (int kind = 0; kind < (b->full ? 3 : 2); kind++)
        b->seconds += best[kind] * (double)times;
}

int main(int argc, char **argv) {
    struct hn_error err = {0};
    struct hn_model model = {0};
    struct hn_plan plan = {.scratch_bytes = HN_GEMM_SCRATCH * sizeof(float)};
    struct bench b = {.comma = ""};
    if (argc != 6) {
        fprintf(stderr, "usage: bench_share MODEL ROWS TARGETS THREADS lora|full\n");
        return 2;
    }
    size_t rows = strtoul(argv[2], NULL, 10), targets = strtoul(argv[3], NULL, 10), most = 0;
    unsigned threads = (unsigned)strtoul(argv[4], NULL, 10);
    b.full = strcmp(argv[5], "full") == 0;
    if (hn_blas_open(&err) || hn_model_open(&model, argv[1], &err) ||
        hn_pool_create(threads, &b.x.pool, &err)) {
        fprintf(stderr, "%s\n", err.message);
        return 1;
    }
    const struct hn_weight *head =
        hn_model_weight(&model, -1, model.config.tied ? HN_ROLE_EMBED : HN_ROLE_HEAD);
    for (size_t i = 0; i < model.n_weights; i++)
        if (!model.weights[i].vector && (model.weights[i].layer >= 0 || &model.weights[i] == head))
            most = model.weights[i].rows * model.weights[i].cols > most
                ? model.weights[i].rows * model.weights[i].cols
                : most;
    size_t widest = model.config.vocab > model.config.ffn ? model.config.vocab : model.config.ffn;
    size_t tallest = rows > targets ? rows : targets;
    b.wide = hn_calloc(tallest * widest, sizeof *b.wide);
    b.narrow = hn_calloc(tallest * widest, sizeof *b.narrow);
    b.grad = hn_calloc(most, sizeof *b.grad);
    b.x.arena = hn_calloc(threads, plan.scratch_bytes);
    if (!b.wide || !b.narrow || !b.grad || !b.x.arena)
        return 1;
    for (size_t i = 0; i < tallest * widest; i++)
        b.wide[i] = b.narrow[i] = (float)(i % 17) / 17;
    b.x.plan = &plan;
    printf("{\"shapes\": [");
    for (size_t i = 0; i < model.n_weights; i++) {
        struct hn_weight w = model.weights[i];
        w.param = SIZE_MAX;
        if (w.layer == 0 && !w.vector)
            products(&b, &w, rows, model.config.layers);
    }
    struct hn_weight w = *head;
    w.param = SIZE_MAX;
    if (targets)
        products(&b, &w, targets, 1);
    printf("], \"flops\": %.0f, \"seconds\": %.6f}\n", b.flops, b.seconds);
    hn_pool_destroy(b.x.pool);
    hn_model_close(&model);
    free(b.wide);
    free(b.narrow);
    free(b.grad);
    free(b.x.arena);
    return 0;
}
