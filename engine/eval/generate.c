/* See generate.h. */
#include "engine/eval/generate.h"
#include "engine/base/buf.h"
#include "engine/kernels/kernels.h"
#include "engine/base/rng.h"
#include "engine/run/loaded.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

struct sequence {
    size_t input;    /* index among the prompts; SIZE_MAX: the slot is free */
    size_t past;     /* tokens in the cache */
    int32_t next;    /* token to feed once the prompt is in the cache */
    size_t streamed; /* bytes handed to the piece function */
    bool begun;      /* what it repeats of its prompt is behind it */
};

struct candidate {
    float logit;
    int32_t id;
};

static size_t least(size_t a, size_t b) {
    return a < b ? a : b;
}

static int by_logit(const void *a, const void *b) {
    const struct candidate *x = a, *y = b;
    return x->logit < y->logit ? 1 : x->logit > y->logit ? -1 : (x->id > y->id) - (x->id < y->id);
}

static int32_t argmax(const float *logits, size_t n) {
    size_t best = 0;
    for (size_t i = 1; i < n; i++)
        best = logits[i] > logits[best] ? i : best;
    return (int32_t)best;
}

/* `scratch` holds n candidates. */
static int32_t sample(const float *logits, size_t n, const struct hn_generate_options *o,
    size_t input, size_t position, struct candidate *scratch) {
    if (o->temperature <= 0)
        return argmax(logits, n);
    for (size_t i = 0; i < n; i++)
        scratch[i] = (struct candidate){logits[i], (int32_t)i};
    qsort(scratch, n, sizeof *scratch, by_logit);
    size_t count = o->top_k && o->top_k < n ? o->top_k : n;
    double total = 0, kept = 0;
    for (size_t i = 0; i < count; i++)
        total += exp((double)(scratch[i].logit - scratch[0].logit) / o->temperature);
    size_t last = 0;
    for (; last < count; last++) {
        kept += exp((double)(scratch[last].logit - scratch[0].logit) / o->temperature);
        if (kept >= o->top_p * total)
            break;
    }
    last = last < count ? last : count - 1;
    double draw = hn_random_unit(o->seed, HN_PURPOSE_SAMPLE, input, position) * kept;
    for (size_t i = 0; i < last; i++) {
        draw -= exp((double)(scratch[i].logit - scratch[0].logit) / o->temperature);
        if (draw < 0)
            return scratch[i].id;
    }
    return scratch[last].id;
}

/* Cuts the text where the first of the stop strings begins; true when there is one. */
static bool stopped(struct hn_buf *text, const struct hn_generate_options *o) {
    bool found = false;
    for (size_t i = 0; i < o->n_stop; i++) {
        char *at = o->stop[i][0] && text->data
            ? memmem(text->data, text->size, o->stop[i], strlen(o->stop[i]))
            : NULL;
        if (at) {
            text->size = (size_t)(at - text->data);
            *at = 0;
            found = true;
        }
    }
    return found;
}

/* Bytes at the end that may be the beginning of a stop string or of a UTF-8 character: not streamed
 * yet. */
static size_t held_back(const struct hn_buf *text, const struct hn_generate_options *o) {
    size_t held = 0;
    for (size_t n = 1; n <= 3 && n <= text->size; n++) {
        unsigned char c = (unsigned char)text->data[text->size - n];
        if (c >= 0xC0)
            held = (c >= 0xF0 ? 4 : c >= 0xE0 ? 3 : 2) > (int)n ? n : 0;
        if (c < 0x80 || c >= 0xC0)
            break;
    }
    for (size_t i = 0; i < o->n_stop; i++)
        for (size_t n = strlen(o->stop[i]); n-- > 1;)
            if (n > held && n <= text->size &&
                memcmp(text->data + text->size - n, o->stop[i], n) == 0)
                held = n;
    return held;
}

struct session {
    const struct hn_generator *g;
    const struct hn_generate_options *o;
    struct hn_generated *results;
    struct sequence *sequences; /* [g->slots] */
    struct candidate *scratch;
    uint32_t *past, *cache_rows;
    size_t *answering, n_answers; /* [slots] slots that get logits in this pass */
    hn_piece_fn *piece;
    void *user;
};

static void stream(struct session *s, struct sequence *q, bool final) {
    struct hn_buf *text = &s->results[q->input].text;
    size_t end = text->size - (final ? 0 : held_back(text, s->o));
    if (s->piece && end > q->streamed)
        s->piece(s->user, q->input, text->data + q->streamed, end - q->streamed);
    q->streamed = end > q->streamed ? end : q->streamed;
}

/* Takes off what the answer repeats of its prompt; false while it may still do so. */
static bool begin_answer(const struct session *s, struct sequence *q) {
    const struct hn_view again = s->g->again ? s->g->again[q->input] : (struct hn_view){0};
    struct hn_buf *text = &s->results[q->input].text;
    size_t n = least(text->size, again.size);
    if (q->begun || (n && memcmp(text->data, again.data, n) != 0)) {
        q->begun = true;
        return true;
    }
    if (text->size < again.size)
        return false;
    q->begun = true;
    text->size -= again.size;
    if (again.size)
        memmove(text->data, text->data + again.size, text->size + 1);
    return true;
}

/* Takes the next token of a sequence; frees the slot when it ends. */
static void advance(struct session *s, struct sequence *q, const float *logits) {
    const struct hn_generator *g = s->g;
    struct hn_generated *r = &s->results[q->input];
    int32_t id =
        sample(logits, g->model->config.vocab, s->o, s->o->first + q->input, r->tokens, s->scratch);
    if (hn_tokenizer_is_end(g->codec->tokenizer, id)) {
        r->finish_reason = "stop";
    } else {
        hn_tokenizer_decode(g->codec->tokenizer, id, false, &r->text);
        q->next = id;
        if (begin_answer(s, q) && stopped(&r->text, s->o))
            r->finish_reason = "stop";
        else if (r->tokens + 1 >= s->o->max_tokens || q->past + 1 > g->context)
            r->finish_reason = "length";
    }
    r->tokens++;
    if (r->finish_reason && !q->begun)
        hn_buf_clear(&r->text);
    if (q->begun || r->finish_reason)
        stream(s, q, r->finish_reason != NULL);
    if (r->finish_reason)
        q->input = SIZE_MAX;
}

static const float *run(struct session *s) {
    const struct hn_generator *g = s->g;
    struct hn_exec x = {.params = g->params};
    g->compute->batch.batch.past = s->past;
    g->compute->batch.batch.cache_rows = s->cache_rows;
    hn_compute_run(g->compute, g->phase, &x);
    return (
        const float *)(g->compute->arena + g->phase->plan.buffers[g->phase->plan.logits].offset);
}

/* Part of its prompt is not in the cache yet. */
static bool reads(const struct sequence *q, const struct hn_ids *prompts) {
    return q->past < prompts[q->input].n;
}

/*
 * One pass over everything that runs: prompts go in by pieces, beside the next tokens of sequences
 * that are further, as many as the batch holds. A row's bits depend on nothing beside it, so an
 * answer does not depend on how it was packed.
 */
static void step(struct session *s, const struct hn_ids *prompts) {
    const struct hn_generator *g = s->g;
    struct hn_batch_store *batch = &g->compute->batch;
    size_t n = 0;
    hn_compute_clear(g->compute, g->phase);
    s->n_answers = 0;
    for (size_t i = 0; i < 2 * g->slots; i++) { /* all that write, then all that read */
        size_t slot = i % g->slots, room = HN_SAMPLE_CHUNK - batch->batch.n_tokens, count = 1;
        struct sequence *q = &s->sequences[slot];
        if (q->input == SIZE_MAX || !room || reads(q, prompts) != (i >= g->slots))
            continue;
        s->past[n] = (uint32_t)q->past;
        s->cache_rows[n++] = (uint32_t)(slot * g->context);
        bool answers = true;
        if (!reads(q, prompts)) {
            hn_batch_add_next(batch, q->next, q->past);
        } else {
            const struct hn_ids *prompt = &prompts[q->input];
            count = least(prompt->n - q->past, room);
            answers = q->past + count == prompt->n;
            hn_batch_add_tokens(batch, prompt->ids + q->past, count, q->past, answers);
        }
        s->answering[s->n_answers] = slot;
        s->n_answers += answers;
        q->past += count;
    }
    const float *logits = run(s);
    for (size_t i = 0; i < s->n_answers; i++)
        advance(s, &s->sequences[s->answering[i]], logits + i * g->model->config.vocab);
}

int hn_generate(const struct hn_generator *g, const struct hn_ids *prompts, size_t n,
    const struct hn_generate_options *options, struct hn_generated *results, hn_piece_fn *piece,
    void *user, struct hn_error *err) {
    struct session s = {.g = g, .o = options, .results = results, .piece = piece, .user = user};
    for (size_t i = 0; i < n; i++) {
        results[i] = (struct hn_generated){.prompt_tokens = prompts[i].n};
        if (prompts[i].n == 0)
            return hn_fail(err, HN_E_INVALID_FIELD, "input %zu is empty", options->first + i + 1);
        if (prompts[i].n + 1 > g->context)
            return hn_fail(err, HN_E_TOO_LARGE,
                "input %zu has %zu tokens; at most %zu fit the context", options->first + i + 1,
                prompts[i].n, g->context - 1);
    }
    s.sequences = hn_calloc(g->slots, sizeof *s.sequences);
    s.scratch =
        options->temperature > 0 ? hn_calloc(g->model->config.vocab, sizeof *s.scratch) : NULL;
    s.past = hn_calloc(g->slots, sizeof *s.past);
    s.cache_rows = hn_calloc(g->slots, sizeof *s.cache_rows);
    s.answering = hn_calloc(g->slots, sizeof *s.answering);
    bool ok = s.sequences && s.past && s.cache_rows && s.answering &&
        (s.scratch || options->temperature <= 0);
    for (size_t i = 0; ok && i < g->slots; i++)
        s.sequences[i].input = SIZE_MAX;
    for (size_t started = 0, running = 1; ok && running;) {
        running = 0;
        for (size_t slot = 0; slot < g->slots; slot++) {
            if (s.sequences[slot].input == SIZE_MAX && started < n)
                s.sequences[slot] = (struct sequence){.input = started++};
            running += s.sequences[slot].input != SIZE_MAX;
        }
        if (running)
            step(&s, prompts);
        if (options->pause && atomic_load(options->pause))
            n = started;
    }
    free(s.sequences);
    free(s.scratch);
    free(s.past);
    free(s.cache_rows);
    free(s.answering);
    return ok ? 0 : hn_fail(err, HN_E_INTERNAL, "out of memory");
}
