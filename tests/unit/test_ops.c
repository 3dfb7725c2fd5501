/*
 * The computation on a tiny model: every gradient of the double-precision definition against finite
 * differences; the fast ops against the definition; the same bits for any thread count, with
 * recomputation and on dirty memory; the key-value cache against the plain forward pass.
 */
#include "tests/unit/tiny.h"

#include "engine/families/load.h"
#include "engine/run/batch.h"
#include "engine/kernels/blas.h"
#include "engine/base/buf.h"
#include "engine/run/compute.h"
#include "engine/kernels/gemm.h"
#include "engine/run/params.h"
#include "engine/graph/phase.h"
#include "engine/base/rng.h"

#include <setjmp.h>
#include <stdarg.h>
#include <cmocka.h>

struct setting {
    const char *name;
    const struct hn_arch *arch;
    enum hn_dtype type;
    bool full;
    double lora_dropout, smoothing;
    const char *targets; /* JSON, or NULL for all */
    bool rslora;
    enum hn_objective objective; /* of the head */
    double dropout;              /* of hidden states and attention */
};

enum { OUTPUTS = 3 };
/* Coordinates that finite differences are taken of; with sanitizers the point is that the memory is
 * right. */
#ifdef __SANITIZE_ADDRESS__
enum { COORDINATES = 15 };
#else
enum { COORDINATES = 150 };
#endif

static const struct setting settings[] = {
    {"lora on q4_1", &hn_arch_llama, HN_Q4_1, false, 0, 0, NULL, false, HN_OBJECTIVE_TOKENS, 0},
    {"lora on q8_0, some modules, smoothing", &hn_arch_llama, HN_Q8_0, false, 0, 0.1,
        "[\"q_proj\",\"v_proj\",\"up_proj\"]", true, HN_OBJECTIVE_TOKENS, 0},
    {"lora with dropout", &hn_arch_llama, HN_F32, false, 0.25, 0, NULL, false, HN_OBJECTIVE_TOKENS,
        0},
    {"full", &hn_arch_llama, HN_F32, true, 0, 0, NULL, false, HN_OBJECTIVE_TOKENS, 0},
    {"full with smoothing", &hn_arch_llama, HN_F32, true, 0, 0.2, NULL, false, HN_OBJECTIVE_TOKENS,
        0},
    {"qwen2, full: biases", &hn_arch_qwen2, HN_F32, true, 0, 0, NULL, false, HN_OBJECTIVE_TOKENS,
        0},
    {"qwen3, full: norms of heads", &hn_arch_qwen3, HN_F32, true, 0, 0, NULL, false,
        HN_OBJECTIVE_TOKENS, 0},
    {"qwen3, lora", &hn_arch_qwen3, HN_Q8_0, false, 0, 0, NULL, false, HN_OBJECTIVE_TOKENS, 0},
    {"gemma3, full: windows, GELU, norms behind", &hn_arch_gemma3, HN_F32, true, 0, 0, NULL, false,
        HN_OBJECTIVE_TOKENS, 0},
    {"gemma3, lora", &hn_arch_gemma3, HN_Q8_0, false, 0, 0, NULL, false, HN_OBJECTIVE_TOKENS, 0},
    {"gpt2, full: LayerNorm, positions, biases", &hn_arch_gpt2, HN_F32, true, 0, 0, NULL, false,
        HN_OBJECTIVE_TOKENS, 0},
    {"gpt2, lora", &hn_arch_gpt2, HN_Q8_0, false, 0.1, 0, NULL, false, HN_OBJECTIVE_TOKENS, 0},
    {"bert, full, classes, dropout", &hn_arch_bert, HN_F32, true, 0, 0.1, NULL, false,
        HN_OBJECTIVE_CLASSES, 0.2},
    {"bert, lora, several labels", &hn_arch_bert, HN_Q8_0, false, 0.1, 0, NULL, false,
        HN_OBJECTIVE_MULTI, 0},
    {"bert, full, tags", &hn_arch_bert, HN_F32, true, 0, 0, NULL, false, HN_OBJECTIVE_TAGS, 0.1},
    {"bert, full, spans", &hn_arch_bert, HN_F32, true, 0, 0, NULL, false, HN_OBJECTIVE_SPAN, 0.1},
    {"llama, lora, a number", &hn_arch_llama, HN_Q8_0, false, 0, 0, NULL, false, HN_OBJECTIVE_VALUE,
        0},
};
#define SETTINGS (sizeof settings / sizeof settings[0])

struct bench {
    struct tiny tiny;
    struct hn_hyperparams hp;
    struct hn_adapter adapter;
    size_t n_params;
    double *params; /* [n_params] */
    struct hn_examples ex;
};

/* The base's own weights as parameters, behind the adapter's. */
static size_t train_weights(struct hn_model *model, size_t at) {
    for (size_t i = 0; i < model->n_weights; i++) {
        if (model->weights[i].unused)
            continue;
        model->weights[i].param = at;
        at += model->weights[i].rows * model->weights[i].cols;
    }
    return at;
}

static void make_examples(
    struct hn_examples *ex, const size_t *lengths, size_t rows, enum hn_objective objective) {
    size_t total = 0;
    for (size_t i = 0; i < rows; i++)
        total += lengths[i];
    *ex = (struct hn_examples){.n_rows = rows,
        .tokens = hn_calloc(total, 4),
        .weights = hn_calloc(total, 4),
        .starts = hn_calloc(rows + 1, sizeof(size_t)),
        .aligned = objective != HN_OBJECTIVE_TOKENS,
        .spans = objective == HN_OBJECTIVE_SPAN,
        .targets = hn_calloc(total, 4),
        .types = hn_calloc(total, 1),
        .values = hn_calloc(rows * OUTPUTS, 4)};
    for (size_t i = 0, at = 0; i < rows; i++) {
        for (size_t k = 0; k < lengths[i]; k++, at++) {
            ex->tokens[at] = (int32_t)(hn_random_u64(5, HN_PURPOSE_INIT, i, k) % TINY_VOCAB);
            ex->weights[at] = (k * 7 + i) % 3 ? 0.5f + (float)(k % 4) * 0.25f : 0;
            if (ex->aligned && objective != HN_OBJECTIVE_TAGS)
                ex->weights[at] = k == 0 ? 0.5f + (float)i : 0;
            ex->targets[at] =
                (int32_t)(objective == HN_OBJECTIVE_MULTI || objective == HN_OBJECTIVE_VALUE
                        ? i
                        : (at + i) % OUTPUTS);
            ex->types[at] = k > lengths[i] / 2;
        }
        for (size_t k = 0; k < 2 && ex->spans; k++)
            ex->values[2 * i + k] = (float)((1 + k) * lengths[i] / 3);
        for (size_t k = 0; k < OUTPUTS && ex->aligned && !ex->spans; k++)
            ex->values[OUTPUTS * i + k] = (float)((i + k) % 2);
        ex->starts[i + 1] = at;
    }
}

static void bench_open(
    struct bench *b, const struct setting *s, const size_t *lengths, size_t rows) {
    struct hn_error err = {0};
    memset(b, 0, sizeof *b);
    tiny_open_family(&b->tiny, s->arch, s->type);
    if (s->objective)
        assert_int_equal(hn_model_set_head(&b->tiny.model, s->objective,
                             s->objective == HN_OBJECTIVE_SPAN ? 2 : OUTPUTS, &err),
            0);
    hn_hyperparams_defaults(&b->hp);
    b->hp.lora_rank = 3;
    b->hp.lora_dropout = s->lora_dropout;
    b->hp.rslora = s->rslora;
    if (s->targets) {
        json_t *knobs = json_pack("{s:o}", "lora_targets", json_loads(s->targets, 0, NULL));
        assert_int_equal(hn_hyperparams_read(&b->hp, knobs, "", &err), 0);
        json_decref(knobs);
    }
    if (!s->full)
        assert_int_equal(hn_adapter_init(&b->adapter, &b->tiny.model, &b->hp, &err), 0);
    b->n_params = s->full ? train_weights(&b->tiny.model, 0)
                          : hn_params_assign_head(&b->tiny.model, b->adapter.n_params, false);
    b->params = hn_calloc(b->n_params, sizeof *b->params);
    if (s->full) {
        float row[4 * TINY_HIDDEN]; /* the widest is a bias of q, k and v */
        for (size_t i = 0; i < b->tiny.model.n_weights; i++)
            for (size_t r = 0; r < b->tiny.model.weights[i].rows; r++) {
                const struct hn_weight *w = &b->tiny.model.weights[i];
                for (size_t c = 0; !w->data && c < w->cols; c++)
                    row[c] = 0.3f * tiny_random(i, r * w->cols + c);
                if (w->unused)
                    continue;
                if (w->data)
                    hn_weight_row(w, r, row);
                for (size_t c = 0; c < w->cols; c++)
                    b->params[w->param + r * w->cols + c] = (double)row[c];
            }
    } else {
        for (size_t i = 0; i < b->n_params; i++)
            b->params[i] = 0.2 * (double)tiny_random(99, i);
    }
    make_examples(&b->ex, lengths, rows, s->objective);
}

static void bench_close(struct bench *b) {
    hn_examples_finish(&b->ex);
    free(b->params);
    hn_adapter_finish(&b->adapter);
    tiny_close(&b->tiny);
}

/* One forward and backward pass; grads in the table's precision, zeroed here. `dirt`: what the
 * arena holds before. */
static double run(struct bench *b, const struct setting *s, const struct hn_op_table *table,
    unsigned threads, bool recompute, int dirt, const void *params, void *grads) {
    struct hn_error err = {0};
    struct hn_phase phase;
    struct hn_batch_store store;
    struct hn_graph_options go = {.adapter = s->full ? NULL : &b->adapter,
        .label_smoothing = s->smoothing,
        .dropout = s->dropout,
        .attention_dropout = s->dropout,
        .head_dropout = s->dropout};
    size_t total = b->ex.starts[b->ex.n_rows];
    struct hn_plan_options po = {.caps = {.dims = {total, total}, .threads = threads},
        .train = true,
        .recompute = recompute,
        .value_bytes = table->value_bytes};
    assert_int_equal(hn_phase_make(&phase, &b->tiny.model, &go, &po, &err), 0);
    assert_int_equal(hn_batch_init(&store, total, &err), 0);
    double weight = 0;
    for (size_t i = 0; i < b->ex.n_rows; i++)
        weight += hn_row_weight(&b->ex, i);
    for (size_t i = 0; i < b->ex.n_rows; i++)
        assert_true(hn_batch_add(&store, &b->ex, i, (uint32_t)(10 + i), weight));
    struct hn_loss_sums sums = {0};
    uint8_t *arena =
        /* on the heap: ASan guards its ends */
        aligned_alloc(64, (phase.plan.arena_bytes + 63) / 64 * 64);
    memset(arena, dirt, phase.plan.arena_bytes);
    struct hn_exec x = {.plan = &phase.plan,
        .batch = &store.batch,
        .arena = arena,
        .params = params,
        .grads = grads,
        .sums = &sums,
        .seed = 7,
        .dropout_step = 3,
        .dropout_on = true};
    memset(grads, 0, b->n_params * table->value_bytes);
    assert_int_equal(hn_pool_create(threads, &x.pool, &err), 0);
    hn_exec_run(&x, table);
    hn_pool_destroy(x.pool);
    free(arena);
    hn_batch_finish(&store);
    hn_phase_finish(&phase);
    return sums.loss;
}

static void test_finite_differences(void **state) {
    static const size_t lengths[] = {9, 5, 13};
    (void)state;
    for (size_t k = 0; k < SETTINGS; k++) {
        struct bench b;
        bench_open(&b, &settings[k], lengths, 3);
        double *grads = hn_calloc(b.n_params, sizeof *grads),
               *scratch = hn_calloc(b.n_params, sizeof *scratch), largest = 0, worst = 0;
        run(&b, &settings[k], &hn_ops_ref64, 1, false, 0, b.params, grads);
        for (size_t i = 0; i < b.n_params; i++)
            largest = fabs(grads[i]) > largest ? fabs(grads[i]) : largest;
        assert_true(largest > 1e-4);
        /* A spread of coordinates over all matrices; the step balances truncation (h²) and
         * cancellation (1e-16 / h).
         */
        for (size_t i = 0; i < b.n_params; i += b.n_params / COORDINATES + 1) {
            double kept = b.params[i], h = 1e-5;
            b.params[i] = kept + h;
            double up = run(&b, &settings[k], &hn_ops_ref64, 1, false, 0, b.params, scratch);
            b.params[i] = kept - h;
            double down = run(&b, &settings[k], &hn_ops_ref64, 1, false, 0, b.params, scratch);
            b.params[i] = kept;
            double error = fabs((up - down) / (2 * h) - grads[i]) / largest;
            worst = error > worst ? error : worst;
        }
        if (worst > 1e-7)
            print_error("%s: worst relative error of a gradient %g\n", settings[k].name, worst);
        assert_true(worst <= 1e-7);
        free(grads);
        free(scratch);
        bench_close(&b);
    }
}

static void test_fast_against_definition(void **state) {
    /* crosses every block size */
    static const size_t lengths[] = {300, 3, 6, 77, 64, 65, 130, 257, 5, 1100};
    enum { LENGTHS = sizeof lengths / sizeof lengths[0], LONG = 8 };
    (void)state;
    for (size_t k = 0; k < SETTINGS; k++) {
        struct bench b;
        /* the longest takes its time */
        bench_open(&b, &settings[k], lengths, k % LONG ? LENGTHS - 1 : LENGTHS);
        float *params = hn_calloc(b.n_params, 4), *fast = hn_calloc(b.n_params, 4),
              *again = hn_calloc(b.n_params, 4);
        double *exact = hn_calloc(b.n_params, 8), largest = 0, worst = 0;
        for (size_t i = 0; i < b.n_params; i++)
            b.params[i] = (double)(params[i] = (float)b.params[i]);
        double loss64 = run(&b, &settings[k], &hn_ops_ref64, 1, false, 0, b.params, exact);
        double loss = run(&b, &settings[k], &hn_ops_fast, 1, false, 0, params, fast);
        for (size_t i = 0; i < b.n_params; i++) {
            largest = fabs(exact[i]) > largest ? fabs(exact[i]) : largest;
            worst =
                fabs((double)fast[i] - exact[i]) > worst ? fabs((double)fast[i] - exact[i]) : worst;
        }
        /* f32 round-off of sums over some hundred terms through two layers. */
        if (!(fabs(loss - loss64) < 1e-5 * loss64) || !(worst < 5e-5 * largest))
            print_error("%s: loss %.9g, exactly %.9g; worst gradient %g of %g\n", settings[k].name,
                loss, loss64, worst, largest);
        assert_true(fabs(loss - loss64) < 1e-5 * loss64);
        assert_true(worst < 5e-5 * largest);
        const struct {
            unsigned threads;
            bool recompute;
            int dirt;
        } variants[] = {{2, false, 0}, {3, false, 0xFF}, {2, true, 0xFF}};
        for (size_t v = 0; v < 3; v++) {
            double same = run(&b, &settings[k], &hn_ops_fast, variants[v].threads,
                variants[v].recompute, variants[v].dirt, params, again);
            assert_memory_equal(&same, &loss, sizeof loss);
            assert_memory_equal(again, fast, b.n_params * sizeof *fast);
        }
        double loss32 = run(&b, &settings[k], &hn_ops_ref32, 1, false, 0, params, again);
        assert_true(fabs(loss32 - loss64) < 1e-4 * loss64);
        free(params);
        free(fast);
        free(again);
        free(exact);
        bench_close(&b);
    }
}

/* The token behind `past` cached ones as `copies` sequences of one next token each, with a piece of
 * another text behind them: each gives the very bits that it gives alone. */
static void check_company(struct hn_compute *compute, const struct hn_phase *cached,
    const float *params, const int32_t *tokens, uint32_t past, uint32_t row, const float *alone) {
    enum { COPIES = 6 };
    uint32_t pasts[COPIES + 1], rows[COPIES + 1];
    struct hn_exec x = {.params = params};
    hn_compute_clear(compute, cached);
    for (size_t i = 0; i < COPIES; i++) {
        assert_true(hn_batch_add_next(&compute->batch, tokens[past], past));
        pasts[i] = past;
        rows[i] = row;
    }
    assert_true(hn_batch_add_tokens(&compute->batch, tokens, 9, 0, 9));
    pasts[COPIES] = 0;
    rows[COPIES] = row + past + 1;
    compute->batch.batch.past = pasts;
    compute->batch.batch.cache_rows = rows;
    hn_compute_run(compute, cached, &x);
    const float *logits = hn_buffer(&x, cached->plan.logits);
    for (size_t i = 0; i < COPIES; i++)
        assert_memory_equal(logits + i * TINY_VOCAB, alone, TINY_VOCAB * sizeof *alone);
}

static void test_cache_of(const struct setting *setting) {
    static const size_t lengths[] = {90};
    struct hn_error err = {0};
    struct bench b;
    struct hn_phase plain, cached;
    struct hn_compute compute;
    float alone[TINY_VOCAB];
    bench_open(&b, setting, lengths, 1);
    struct hn_graph_options go = {.adapter = setting->full ? NULL : &b.adapter, .logits = true};
    struct hn_plan_options po = {.caps = {.dims = {90, 90}, .threads = 2}};
    assert_int_equal(hn_phase_make(&plain, &b.tiny.model, &go, &po, &err), 0);
    go.cached = true;
    po.caps = (struct hn_caps){.dims = {40, 40}, .threads = 2, .cache_rows = 200};
    assert_int_equal(hn_phase_make(&cached, &b.tiny.model, &go, &po, &err), 0);
    size_t bytes = plain.plan.arena_bytes > cached.plan.arena_bytes ? plain.plan.arena_bytes
                                                                    : cached.plan.arena_bytes;
    assert_int_equal(hn_compute_init(&compute, 2, bytes, 90, &err), 0);
    float *params = hn_calloc(b.n_params, 4), *whole = hn_calloc(90 * TINY_VOCAB, 4);
    for (size_t i = 0; i < b.n_params; i++)
        params[i] = (float)b.params[i];
    struct hn_exec x = {.params = params};
    hn_compute_clear(&compute, &plain);
    hn_batch_add_tokens(&compute.batch, b.ex.tokens, 90, 0, 90);
    hn_compute_run(&compute, &plain, &x);
    memcpy(whole, hn_buffer(&x, plain.plan.logits), 90 * TINY_VOCAB * 4);
    /* The same tokens in pieces of 40, 40, then one by one as next tokens, behind a cache that
     * begins at row 17. */
    for (size_t at = 0; at < 90;) {
        size_t n = at < 80 ? 40 : 1;
        uint32_t past = (uint32_t)at, row = 17;
        hn_compute_clear(&compute, &cached);
        if (n == 1)
            hn_batch_add_next(&compute.batch, b.ex.tokens[at], at);
        else
            hn_batch_add_tokens(&compute.batch, b.ex.tokens + at, n, at, n);
        compute.batch.batch.past = &past;
        compute.batch.batch.cache_rows = &row;
        x = (struct hn_exec){.params = params};
        hn_compute_run(&compute, &cached, &x);
        const float *logits = hn_buffer(&x, cached.plan.logits);
        for (size_t i = 0; i < n * TINY_VOCAB; i++)
            assert_true(fabsf(logits[i] - whole[at * TINY_VOCAB + i]) < 1e-4f);
        memcpy(alone, logits, sizeof alone);
        at += n;
    }
    check_company(&compute, &cached, params, b.ex.tokens, 89, 17, alone);
    free(params);
    free(whole);
    hn_compute_finish(&compute);
    hn_phase_finish(&plain);
    hn_phase_finish(&cached);
    bench_close(&b);
}

static void test_cache(void **state) {
    (void)state;
    for (size_t i = 0; i < SETTINGS; i++)
        if (!settings[i].objective)
            test_cache_of(&settings[i]);
}

/* The first rows and columns of an operand that was packed whole, beside the product of those
 * alone. */
static void check_operand(const struct hn_operand *b, bool trans_a, size_t m, size_t n, size_t k,
    const float *a, size_t lda, bool add, float *out, float *other, float *scratch) {
    for (size_t i = 0; i < m * n; i++)
        out[i] = other[i] = 0.25f;
    hn_gemm(trans_a, b->trans, m, n, k, 2, a, lda, b->values, b->ld, add, out, n, scratch);
    hn_gemm_operand(trans_a, m, n, k, 2, a, lda, b, add, other, n);
    assert_memory_equal(out, other, m * n * sizeof *out);
}

/* Products of all forms against plain loops, and the same bits however far A's rows lie apart. */
static void test_fast_products(void **state) {
    static const struct {
        bool trans_a, trans_b, add;
        size_t m, n, k;
    } cases[] = {{false, false, false, 29, 70, 100}, {false, true, true, 13, 33, 900},
        {true, false, true, 50, 17, 40}, {true, false, false, 12, 96, 1600},
        {false, false, true, 25, 300, 768}, {false, true, false, 1, 1, 1}};
    enum { MOST = 1 << 21 };
    float *a = hn_calloc(MOST, sizeof *a), *b = hn_calloc(MOST, sizeof *b),
          *scratch = hn_calloc(HN_GEMM_SCRATCH, sizeof *scratch);
    float *c[2] = {hn_calloc(MOST, sizeof **c), hn_calloc(MOST, sizeof **c)};
    (void)state;
    for (size_t t = 0; t < sizeof cases / sizeof cases[0]; t++) {
        size_t m = cases[t].m, n = cases[t].n, k = cases[t].k, across = cases[t].trans_a ? m : k,
               along = cases[t].trans_a ? k : m;
        size_t ldb = cases[t].trans_b ? k : n, page = (across + 1023) / 1024 * 1024;
        size_t strides[] = {across, page, page + 16};
        for (size_t i = 0; i < n * k; i++)
            b[i] = (float)hn_random_unit(2, HN_PURPOSE_SHUFFLE, t, i) - 0.5f;
        for (size_t s = 0; s < 3; s++) {
            size_t lda = strides[s];
            float *out = c[s > 0];
            for (size_t i = 0; i < along * across; i++)
                a[i / across * lda + i % across] =
                    (float)hn_random_unit(1, HN_PURPOSE_SHUFFLE, t, i) - 0.5f;
            for (size_t i = 0; i < m * n; i++)
                out[i] = 0.25f;
            hn_gemm(cases[t].trans_a, cases[t].trans_b, m, n, k, 2, a, lda, b, ldb, cases[t].add,
                out, n, scratch);
            if (s)
                assert_memory_equal(out, c[0], m * n * sizeof *out);
            for (size_t i = 0; i < m * n; i++) {
                double sum = 0;
                for (size_t q = 0; q < k; q++)
                    sum += (double)a[cases[t].trans_a ? q * lda + i / n : i / n * lda + q] *
                        (double)b[cases[t].trans_b ? i % n * ldb + q : q * ldb + i % n];
                assert_true(fabs(2 * sum + (cases[t].add ? 0.25 : 0) - (double)out[i]) < 1e-4);
            }
        }
        struct hn_operand operand = {
            cases[t].trans_b, k, n, ldb, b, hn_calloc(hn_operand_room(k, n), sizeof *b)};
        hn_operand_pack(&operand);
        for (size_t part = 0; part < 3; part++)
            check_operand(&operand, cases[t].trans_a, m, n - n / 3 * (part & 1),
                k - k / 4 * (part > 1), a, strides[2], cases[t].add, c[0], c[1], scratch);
        free(operand.packed);
    }
    free(a);
    free(b);
    free(c[0]);
    free(c[1]);
    free(scratch);
}

/* Products of decoding: a row's bits are the same however many rows there are, whatever the weights
 * are stored as, and near those of plain sums. */
static void test_next_products(void **state) {
    static const enum hn_dtype types[] = {HN_Q4_0, HN_Q4_1, HN_Q8_0, HN_F16, HN_F32};
    enum { ROWS = 6, COLS = 37, DEPTH = 1088 };
    float *values = hn_calloc(COLS * DEPTH, sizeof *values),
          *x = hn_calloc(ROWS * DEPTH, sizeof *x),
          *scratch = hn_calloc(HN_GEMM_SCRATCH, sizeof *scratch);
    uint8_t *blocks = hn_calloc(COLS * DEPTH, sizeof(float));
    (void)state;
    for (size_t i = 0; i < ROWS * DEPTH; i++)
        x[i] = (float)hn_random_unit(3, HN_PURPOSE_SHUFFLE, 0, i) - 0.5f;
    for (size_t t = 0; t < sizeof types / sizeof types[0]; t++) {
        const struct hn_dtype_info *info = hn_dtype_info((int)types[t]);
        float all[ROWS * COLS], few[2 * COLS];
        for (size_t i = 0; i < hn_dtype_bytes(info, COLS * DEPTH);
             i++) /* small numbers of any kind */
            blocks[i] = (uint8_t)(hn_random_unit(4, HN_PURPOSE_SHUFFLE, t, i) * 56);
        info->dequantise(values, blocks, COLS * DEPTH);
        struct hn_weight weight = {.type = types[t], .rows = COLS, .cols = DEPTH, .data = blocks};
        struct hn_weight_part part = {.weight = &weight};
        hn_dots_weight(
            ROWS, COLS, DEPTH, x, DEPTH, &part, (struct hn_addend){0}, all, COLS, scratch);
        for (size_t m = 1; m <= 2; m++)
            for (size_t r = 0; r + m <= ROWS; r++) {
                hn_dots_weight(m, COLS, DEPTH, x + r * DEPTH, DEPTH, &part, (struct hn_addend){0},
                    few, COLS, scratch);
                assert_memory_equal(few, all + r * COLS, m * COLS * sizeof *few);
            }
        for (size_t i = 0; i < ROWS * COLS; i++) {
            double sum = 0, size = 0;
            for (size_t k = 0; k < DEPTH; k++) {
                double term =
                    (double)x[i / COLS * DEPTH + k] * (double)values[i % COLS * DEPTH + k];
                sum += term;
                size += fabs(term);
            }
            assert_true(fabs(sum - (double)all[i]) <= 1e-5 * size);
        }
    }
    free(values);
    free(x);
    free(scratch);
    free(blocks);
}

int main(int argc, char **argv) { /* a pattern of names: those tests only */
    struct hn_error err = {0};
    if (hn_blas_open(&err)) {
        fprintf(stderr, "%s\n", err.message);
        return 1;
    }
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_finite_differences),
        cmocka_unit_test(test_fast_against_definition), cmocka_unit_test(test_fast_products),
        cmocka_unit_test(test_next_products), cmocka_unit_test(test_cache)};
    if (argc > 1)
        cmocka_set_test_filter(argv[1]);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
