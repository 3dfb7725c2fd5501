/* See embed.h. */
#include "engine/eval/embed.h"
#include "engine/base/buf.h"
#include "engine/base/pulse.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define BATCH_TOKENS ((size_t)1024)

int hn_embedder_open(struct hn_embedder *ret, const struct hn_model *model,
    const struct hn_codec *codec, struct hn_error *err) {
    size_t context = model->config.context;
    unsigned threads = (unsigned)sysconf(_SC_NPROCESSORS_ONLN);
    const struct hn_graph_options graph = {.logits = true, .hidden = true};
    const struct hn_plan_options plan = {
        .caps = {.dims = {[HN_DIM_TOKENS] = BATCH_TOKENS, [HN_DIM_TARGETS] = BATCH_TOKENS},
            .threads = threads}};
    *ret = (struct hn_embedder){.model = model,
        .codec = codec,
        .longest = context && context < HN_EMBED_TOKENS ? context : HN_EMBED_TOKENS,
        .width = model->config.hidden};
    int rc = hn_phase_make(&ret->phase, model, &graph, &plan, err);
    return rc
        ? rc
        : hn_compute_init(&ret->compute, threads, ret->phase.plan.arena_bytes, BATCH_TOKENS, err);
}

/* The text's tokens with those that the model wants around them. */
static int read_text(
    const struct hn_embedder *e, const char *text, struct hn_sequence *ret, struct hn_error *err) {
    struct hn_ids ids = {0};
    size_t specials = hn_tokenizer_wrap_size(e->codec->tokenizer, false),
           room = e->longest > specials ? e->longest - specials : 0;
    int rc = hn_tokenizer_encode(e->codec->tokenizer, text, strlen(text), NULL, &ids, err);
    if (ids.n > room)
        ids.n = room;
    if (!rc)
        rc = hn_tokenizer_wrap(e->codec->tokenizer, &ids, NULL, ret, err);
    for (size_t i = 0; !rc && i < ret->n; i++)
        if (ret->ids[i] < 0 || (size_t)ret->ids[i] >= e->model->config.vocab)
            rc = hn_fail(err, HN_E_MODEL_INVALID,
                "the model's tokenizer gives the token %d, which the model does not have",
                (int)ret->ids[i]);
    hn_ids_free(&ids);
    return rc;
}

/* The mean of rows[n, width], scaled to length 1. */
static void pool(const float *rows, size_t n, size_t width, float *ret) {
    double square = 0;
    for (size_t k = 0; k < width; k++) {
        double sum = 0;
        for (size_t i = 0; i < n; i++)
            sum += (double)rows[i * width + k];
        ret[k] = (float)(sum / (double)(n ? n : 1));
        square += (double)ret[k] * (double)ret[k];
    }
    for (size_t k = 0; k < width && square > 0; k++)
        ret[k] = (float)((double)ret[k] / sqrt(square));
}

/* Runs the texts that the batch holds, the last of which is before number `end`. */
static void run_batch(struct hn_embedder *e, size_t end, float *ret) {
    struct hn_exec x = {0};
    const struct hn_batch *b = &e->compute.batch.batch;
    hn_pulse();
    hn_compute_run(&e->compute, &e->phase, &x);
    const float *hidden = hn_buffer(&x, e->phase.plan.logits);
    for (size_t i = 0; i < b->n_sequences; i++)
        pool(hidden + b->starts[i] * e->width, b->starts[i + 1] - b->starts[i], e->width,
            ret + (end - b->n_sequences + i) * e->width);
}

int hn_embedder_run(
    struct hn_embedder *e, const char *const *texts, size_t n, float *ret, struct hn_error *err) {
    int rc = 0;
    memset(ret, 0, n * e->width * sizeof *ret);
    hn_compute_clear(&e->compute, &e->phase);
    for (size_t i = 0; !rc && i < n; i++) {
        struct hn_sequence s = {0};
        rc = read_text(e, texts[i], &s, err);
        bool full = !rc && s.n > BATCH_TOKENS - e->compute.batch.batch.n_tokens;
        if (!rc && e->compute.batch.batch.n_sequences && (full || !s.n)) {
            run_batch(e, i, ret);
            hn_compute_clear(&e->compute, &e->phase);
        }
        if (!rc && s.n && !hn_batch_add_tokens(&e->compute.batch, s.ids, s.n, 0, s.n))
            rc = hn_fail(err, HN_E_INTERNAL, "a text is longer than was planned for");
        hn_sequence_free(&s);
    }
    if (!rc && e->compute.batch.batch.n_sequences)
        run_batch(e, n, ret);
    return rc;
}

void hn_embedder_close(struct hn_embedder *e) {
    hn_compute_finish(&e->compute);
    hn_phase_finish(&e->phase);
    *e = (struct hn_embedder){0};
}
