/* See sample.h. */
#include "engine/eval/sample.h"
#include "engine/base/buf.h"
#include "engine/base/rng.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

struct hn_candidate {
    float logit;
    int32_t id;
};

bool hn_written_add(struct hn_written *w, int32_t id) {
    for (size_t i = 0; i < w->n; i++)
        if (w->ids[i] == id) {
            w->counts[i]++;
            return true;
        }
    if (!hn_grow(&w->ids, &w->ids_capacity, w->n + 1, sizeof *w->ids) ||
        !hn_grow(&w->counts, &w->counts_capacity, w->n + 1, sizeof *w->counts))
        return false;
    w->ids[w->n] = id;
    w->counts[w->n++] = 1;
    return true;
}

void hn_written_free(struct hn_written *w) {
    free(w->ids);
    free(w->counts);
    *w = (struct hn_written){0};
}

int hn_sampler_init(struct hn_sampler *s, size_t vocab, struct hn_error *err) {
    *s = (struct hn_sampler){.vocab = vocab};
    s->heap = hn_calloc(vocab, sizeof *s->heap);
    s->logits = hn_calloc(vocab, sizeof *s->logits);
    return s->heap && s->logits ? 0 : hn_fail(err, HN_E_INTERNAL, "out of memory");
}

void hn_sampler_finish(struct hn_sampler *s) {
    free(s->heap);
    free(s->logits);
    *s = (struct hn_sampler){0};
}

static int32_t argmax(const float *logits, size_t n) {
    size_t best = 0;
    for (size_t i = 1; i < n; i++)
        best = logits[i] > logits[best] ? i : best;
    return (int32_t)best;
}

/* Logits as the options change them: the ones given, or the sampler's copy. */
static const float *change(struct hn_sampler *s, const float *logits, const bool *allowed,
    const struct hn_generate_options *o, const struct hn_written *written) {
    bool penalised = o->presence_penalty != 0 || o->frequency_penalty != 0;
    if (!allowed && !o->n_bias && !penalised)
        return logits;
    memcpy(s->logits, logits, s->vocab * sizeof *logits);
    for (size_t i = 0; penalised && i < written->n; i++)
        s->logits[written->ids[i]] -=
            (float)(o->presence_penalty + o->frequency_penalty * written->counts[i]);
    for (size_t i = 0; i < o->n_bias; i++)
        s->logits[o->bias[i].id] += o->bias[i].value;
    for (size_t i = 0; allowed && i < s->vocab; i++)
        if (!allowed[i])
            s->logits[i] = -INFINITY;
    return s->logits;
}

/* Whether a comes before b: the larger logit, the smaller id. */
static bool before(const struct hn_candidate *a, const struct hn_candidate *b) {
    return a->logit > b->logit || (a->logit == b->logit && a->id < b->id);
}

static void sink(struct hn_candidate *heap, size_t n, size_t at) {
    struct hn_candidate moved = heap[at];
    for (size_t child; (child = 2 * at + 1) < n; at = child) {
        if (child + 1 < n && before(&heap[child + 1], &heap[child]))
            child++;
        if (!before(&heap[child], &moved))
            break;
        heap[at] = heap[child];
    }
    heap[at] = moved;
}

/* Takes the first of the n that are left; it then lies behind them. */
static const struct hn_candidate *take(struct hn_candidate *heap, size_t n) {
    struct hn_candidate first = heap[0];
    heap[0] = heap[n - 1];
    heap[n - 1] = first;
    sink(heap, n - 1, 0);
    return &heap[n - 1];
}

/* The candidates leave the heap in their order, so that those taken lie sorted at its end. */
static int32_t draw(
    struct hn_sampler *s, const float *logits, const struct hn_generate_options *o, double unit) {
    size_t n = s->vocab, count = o->top_k && o->top_k < n ? o->top_k : n, taken = 0;
    double largest = logits[argmax(logits, n)], total = 0, kept = 0;
    for (size_t i = 0; i < n; i++)
        s->heap[i] = (struct hn_candidate){logits[i], (int32_t)i};
    for (size_t i = n / 2; i-- > 0;)
        sink(s->heap, n, i);
    if (count == n)
        for (size_t i = 0; i < n; i++)
            total += exp((logits[i] - largest) / o->temperature);
    else
        for (; taken < count; taken++)
            total += exp((take(s->heap, n - taken)->logit - largest) / o->temperature);
    for (size_t i = 0; i < count && kept < o->top_p * total; i++) {
        if (i == taken)
            take(s->heap, n - taken++);
        kept += exp((s->heap[n - 1 - i].logit - largest) / o->temperature);
        if (o->top_p >= 1 && kept > unit * total)
            return s->heap[n - 1 - i].id; /* all count: the draw is known before the rest is */
    }
    double left = unit * kept;
    for (size_t i = 0; i + 1 < taken; i++) {
        left -= exp((s->heap[n - 1 - i].logit - largest) / o->temperature);
        if (left < 0)
            return s->heap[n - 1 - i].id;
    }
    return s->heap[n - (taken ? taken : 1)].id;
}

int32_t hn_sample(struct hn_sampler *s, const float *logits, const bool *allowed,
    const struct hn_generate_options *o, const struct hn_written *written, size_t input,
    size_t position) {
    logits = change(s, logits, allowed, o, written);
    if (o->temperature <= 0)
        return argmax(logits, s->vocab);
    return draw(s, logits, o, hn_random_unit(o->seed, HN_PURPOSE_SAMPLE, input, position));
}

void hn_sample_tell(
    const float *logits, size_t vocab, int32_t id, size_t n_top, struct hn_said *said) {
    double largest = logits[argmax(logits, vocab)], total = 0;
    for (size_t i = 0; i < vocab; i++)
        total += exp(logits[i] - largest);
    double norm = largest + log(total);
    said->id = id;
    said->logprob = (float)(logits[id] - norm);
    said->n_top = 0;
    for (size_t i = 0; n_top && i < vocab; i++) {
        float value = (float)(logits[i] - norm);
        size_t at = said->n_top;
        if (at == n_top && value <= said->top[at - 1].logprob)
            continue;
        at -= at == n_top;
        for (; at > 0 && said->top[at - 1].logprob < value; at--)
            said->top[at] = said->top[at - 1];
        said->top[at].id = (int32_t)i;
        said->top[at].logprob = value;
        said->n_top += said->n_top < n_top;
    }
}
