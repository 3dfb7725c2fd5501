/* See decoder.h. */
#include "engine/eval/decoder.h"
#include "engine/base/buf.h"
#include "engine/eval/grammar.h"
#include "engine/run/loaded.h"

#include <stdlib.h>
#include <string.h>

enum {
    SHARED = 16,     /* tokens in common that are worth a copy, or waiting for */
    BESIDE = 128,    /* prompt tokens of a step in which others write: so long do they wait */
    FREE = SIZE_MAX, /* no extent */
};

/* Rows of the cache that a sequence has, or had. */
struct extent {
    size_t begin, size; /* size 0: none */
    int32_t *ids;       /* [n] the prompt */
    size_t n, valid;    /* valid: so many of its rows are computed */
    bool busy;
    uint64_t used; /* when it ended */
};

/* A text that is being written. */
struct sequence {
    struct hn_writing *writing; /* NULL: the slot is free */
    size_t extent;
    size_t past;     /* tokens in the cache */
    int32_t next;    /* token to feed once the prompt is in the cache */
    size_t streamed; /* bytes handed to the piece function */
    bool begun;      /* what it repeats of its prompt is behind it */
    struct hn_written written;
    struct hn_matcher *matcher; /* of its grammar, or NULL */
    bool broken;                /* it has a grammar that cannot be followed */
};

struct hn_decoder {
    const struct hn_generator *g;
    struct sequence *sequences; /* [g->slots] */
    struct extent *extents;     /* [n_extents] */
    size_t n_extents;
    struct hn_sampler sampler;
    struct hn_vocabulary *vocabulary; /* made for the first grammar */
    uint32_t *past, *cache_rows;      /* [slots] */
    size_t *answering, n_answers;     /* [slots] slots that get logits in this pass */
    uint64_t ended;                   /* sequences so far */
    bool failed;                      /* out of memory */
};

static size_t least(size_t a, size_t b) {
    return a < b ? a : b;
}

void hn_generated_finish(struct hn_generated *generated) {
    hn_buf_free(&generated->text);
    free(generated->said);
    generated->said = NULL;
    generated->n_said = generated->said_capacity = 0;
}

/* --- the cache ------------------------------------------------------------------------------ */

static bool is_room(const struct hn_decoder *d, size_t begin, size_t size) {
    if (begin > d->g->rows || size > d->g->rows - begin)
        return false;
    for (size_t i = 0; i < d->n_extents; i++) {
        const struct extent *e = &d->extents[i];
        if (e->size && begin < e->begin + e->size && e->begin < begin + size)
            return false;
    }
    return true;
}

static void drop(struct extent *e) {
    free(e->ids);
    *e = (struct extent){0};
}

/* The first place with so many free rows; the number of a new extent, or FREE. */
static size_t place(struct hn_decoder *d, size_t size) {
    size_t at = FREE, begin = FREE;
    for (size_t i = 0; i < d->n_extents; i++) {
        const struct extent *e = &d->extents[i];
        at = !e->size && at == FREE ? i : at;
        if (e->size && e->begin + e->size < begin && is_room(d, e->begin + e->size, size))
            begin = e->begin + e->size;
    }
    if (is_room(d, 0, size))
        begin = 0;
    if (at == FREE || begin == FREE)
        return FREE;
    d->extents[at] = (struct extent){.begin = begin, .size = size};
    return at;
}

/* The extent that nobody has had for the longest time, but for `kept`; FREE when all are busy. */
static size_t oldest(const struct hn_decoder *d, size_t kept) {
    size_t found = FREE;
    for (size_t i = 0; i < d->n_extents; i++)
        if (d->extents[i].size && !d->extents[i].busy && i != kept &&
            (found == FREE || d->extents[i].used < d->extents[found].used))
            found = i;
    return found;
}

/* So many rows, of which the first `shared` are those of extent `from`. */
static size_t take_rows(struct hn_decoder *d, size_t size, size_t from, size_t shared) {
    if (from != FREE && !d->extents[from].busy && d->extents[from].size >= size) {
        d->extents[from].size = size;
        return from;
    }
    size_t at;
    while ((at = place(d, size)) == FREE) {
        size_t old = oldest(d, from);
        if (old == FREE)
            return FREE;
        drop(&d->extents[old]);
    }
    if (from != FREE)
        hn_cache_copy(
            d->g->compute, d->g->phase, d->extents[from].begin, d->extents[at].begin, shared);
    return at;
}

static size_t common(const struct extent *e, const struct hn_ids *prompt) {
    size_t n = least(e->n, prompt->n - 1), i = 0; /* the last one must be run for its logits */
    while (i < n && e->ids[i] == prompt->ids[i])
        i++;
    return i;
}

/* --- sequences ------------------------------------------------------------------------------ */

static struct sequence *free_slot(struct hn_decoder *d) {
    for (size_t i = 0; i < d->g->slots; i++)
        if (!d->sequences[i].writing)
            return &d->sequences[i];
    return NULL;
}

static void begin(
    struct sequence *q, struct hn_writing *w, size_t at, size_t shared, struct extent *e) {
    *q = (struct sequence){.writing = w, .extent = at, .past = shared};
    e->n = w->prompt->n;
    e->valid = shared;
    e->busy = true;
    *w->result = (struct hn_generated){.prompt_tokens = w->prompt->n, .shared = shared};
}

static bool make_matcher(struct hn_decoder *d, struct sequence *q) {
    const struct hn_grammar *grammar = q->writing->options->grammar;
    const struct hn_view again = q->writing->again;
    if (!grammar)
        return true;
    if (!d->vocabulary && hn_vocabulary_create(d->g->codec->tokenizer, &d->vocabulary, NULL))
        return false;
    return hn_matcher_create(grammar, d->vocabulary, again.data, again.size, &q->matcher, NULL) ==
        0;
}

bool hn_decoder_add(struct hn_decoder *d, struct hn_writing *w) {
    struct sequence *q = free_slot(d);
    size_t from = FREE, shared = 0;
    if (!q)
        return false;
    for (size_t i = 0; i < d->n_extents; i++) {
        size_t n = d->extents[i].size ? common(&d->extents[i], w->prompt) : 0;
        if (n < SHARED || n <= shared)
            continue;
        if (d->extents[i].busy && d->extents[i].valid < n)
            return false; /* it computes them now */
        from = i;
        shared = least(n, d->extents[i].valid);
    }
    size_t size = least(w->prompt->n + w->options->max_tokens, d->g->context);
    int32_t *ids = hn_calloc(w->prompt->n, sizeof *ids);
    size_t at = ids ? take_rows(d, size, shared ? from : FREE, shared) : FREE;
    if (ids && at == FREE && shared) {
        shared = 0;
        at = take_rows(d, size, FREE, 0);
    }
    if (at == FREE) {
        free(ids);
        d->failed = d->failed || !ids;
        return false;
    }
    memcpy(ids, w->prompt->ids, w->prompt->n * sizeof *ids);
    free(d->extents[at].ids);
    d->extents[at].ids = ids;
    begin(q, w, at, shared, &d->extents[at]);
    q->broken = !make_matcher(d, q);
    return true;
}

static void leave(struct hn_decoder *d, struct sequence *q) {
    struct extent *e = &d->extents[q->extent];
    e->busy = false;
    e->used = ++d->ended;
    hn_written_free(&q->written);
    hn_matcher_destroy(q->matcher);
    *q = (struct sequence){0};
}

void hn_decoder_cancel(struct hn_decoder *d, const struct hn_writing *w) {
    for (size_t i = 0; i < d->g->slots; i++)
        if (d->sequences[i].writing == w)
            leave(d, &d->sequences[i]);
}

size_t hn_decoder_count(const struct hn_decoder *d) {
    size_t n = 0;
    for (size_t i = 0; i < d->g->slots; i++)
        n += d->sequences[i].writing != NULL;
    return n;
}

/* --- what was written ----------------------------------------------------------------------- */

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

static void stream(struct sequence *q, bool final) {
    struct hn_writing *w = q->writing;
    const struct hn_buf *text = &w->result->text;
    size_t end = text->size - (final ? 0 : held_back(text, w->options)), from = q->streamed;
    q->streamed = end > from ? end : from;
    if (w->piece && end > from)
        w->piece(w, text->data + from, end - from);
}

/* Takes off what the answer repeats of its prompt; false while it may still do so. */
static bool begin_answer(struct sequence *q) {
    const struct hn_view again = q->writing->again;
    struct hn_buf *text = &q->writing->result->text;
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

static bool tell(struct hn_decoder *d, struct hn_writing *w, const float *logits, int32_t id) {
    struct hn_generated *r = w->result;
    if (!w->options->tell)
        return true;
    if (!hn_grow(&r->said, &r->said_capacity, r->n_said + 1, sizeof *r->said))
        return false;
    hn_sample_tell(logits, d->sampler.vocab, id, w->options->n_top, &r->said[r->n_said++]);
    return true;
}

static void end(struct hn_decoder *d, struct sequence *q) {
    struct hn_writing *w = q->writing;
    leave(d, q);
    if (w->end)
        w->end(w);
}

/* Takes the next token of a sequence; frees the slot when it ends. */
static void advance(struct hn_decoder *d, struct sequence *q, const float *logits) {
    const struct hn_generator *g = d->g;
    struct hn_writing *w = q->writing;
    struct hn_generated *r = w->result;
    const bool *allowed = q->matcher ? hn_matcher_allowed(q->matcher) : NULL;
    if (q->broken || (q->matcher && !allowed)) {
        r->finish_reason = "error";
        end(d, q);
        return;
    }
    int32_t id =
        hn_sample(&d->sampler, logits, allowed, w->options, &q->written, w->input, r->tokens);
    if (hn_tokenizer_is_end(g->codec->tokenizer, id)) {
        r->finish_reason = "stop";
    } else {
        d->failed = !hn_written_add(&q->written, id) || !tell(d, w, logits, id) || d->failed;
        hn_tokenizer_decode(g->codec->tokenizer, id, false, &r->text);
        q->next = id;
        bool followed = !q->matcher || hn_matcher_take(q->matcher, id);
        bool over = followed && q->matcher && hn_matcher_must_end(q->matcher);
        if (!followed)
            r->finish_reason = "error";
        else if ((begin_answer(q) && stopped(&r->text, w->options)) || over)
            r->finish_reason = "stop";
        else if (r->tokens + 1 >= w->options->max_tokens || q->past + 1 > g->context)
            r->finish_reason = "length";
        if (r->n_said)
            r->said[r->n_said - 1].end = r->text.size;
    }
    r->tokens++;
    if (r->finish_reason && !q->begun)
        hn_buf_clear(&r->text);
    if (q->begun || r->finish_reason)
        stream(q, r->finish_reason != NULL);
    if (r->finish_reason)
        end(d, q);
}

/* --- steps ---------------------------------------------------------------------------------- */

static const float *run(struct hn_decoder *d) {
    const struct hn_generator *g = d->g;
    struct hn_exec x = {.params = g->params};
    g->compute->batch.batch.past = d->past;
    g->compute->batch.batch.cache_rows = d->cache_rows;
    hn_compute_run(g->compute, g->phase, &x);
    return (
        const float *)(g->compute->arena + g->phase->plan.buffers[g->phase->plan.logits].offset);
}

/* Part of its prompt is not in the cache yet. */
static bool reads(const struct sequence *q) {
    return q->past < q->writing->prompt->n;
}

/* Lays the next piece of a sequence into the batch, of at most `room` tokens. */
static void lay(struct hn_decoder *d, size_t slot, size_t room) {
    struct sequence *q = &d->sequences[slot];
    struct hn_batch_store *batch = &d->g->compute->batch;
    struct extent *e = &d->extents[q->extent];
    size_t n = batch->batch.n_sequences, count = 1;
    bool answers = true;
    d->past[n] = (uint32_t)q->past;
    d->cache_rows[n] = (uint32_t)e->begin;
    if (!reads(q)) {
        hn_batch_add_next(batch, q->next, q->past);
    } else {
        const struct hn_ids *prompt = q->writing->prompt;
        count = least(prompt->n - q->past, room);
        answers = q->past + count == prompt->n;
        hn_batch_add_tokens(batch, prompt->ids + q->past, count, q->past, answers);
    }
    d->answering[d->n_answers] = slot;
    d->n_answers += answers;
    q->past += count;
    e->valid = least(q->past, e->n);
}

int hn_decoder_step(struct hn_decoder *d, struct hn_error *err) {
    const struct hn_generator *g = d->g;
    const struct hn_batch *batch = &g->compute->batch.batch;
    if (d->failed)
        return hn_fail(err, HN_E_INTERNAL, "out of memory");
    hn_compute_clear(g->compute, g->phase);
    d->n_answers = 0;
    for (size_t i = 0; i < g->slots; i++) /* the batch has those that write before the others */
        if (d->sequences[i].writing && !reads(&d->sequences[i]))
            lay(d, i, 1);
    size_t most = batch->n_tokens ? batch->n_tokens + BESIDE : HN_SAMPLE_CHUNK;
    most = least(most, HN_SAMPLE_CHUNK);
    for (size_t i = 0; i < g->slots && batch->n_tokens < most; i++)
        if (d->sequences[i].writing && reads(&d->sequences[i]))
            lay(d, i, most - batch->n_tokens);
    if (!batch->n_tokens)
        return 0;
    const float *logits = run(d);
    for (size_t i = 0; i < d->n_answers; i++)
        advance(d, &d->sequences[d->answering[i]], logits + i * g->model->config.vocab);
    return d->failed ? hn_fail(err, HN_E_INTERNAL, "out of memory") : 0;
}

int hn_decoder_create(const struct hn_generator *g, struct hn_decoder **ret, struct hn_error *err) {
    struct hn_decoder *d = hn_calloc(1, sizeof *d);
    if (!d)
        return hn_fail(err, HN_E_INTERNAL, "out of memory");
    d->g = g;
    d->n_extents = 4 * g->slots;
    d->sequences = hn_calloc(g->slots, sizeof *d->sequences);
    d->extents = hn_calloc(d->n_extents, sizeof *d->extents);
    d->past = hn_calloc(g->slots, sizeof *d->past);
    d->cache_rows = hn_calloc(g->slots, sizeof *d->cache_rows);
    d->answering = hn_calloc(g->slots, sizeof *d->answering);
    int rc = d->sequences && d->extents && d->past && d->cache_rows && d->answering
        ? hn_sampler_init(&d->sampler, g->model->config.vocab, err)
        : hn_fail(err, HN_E_INTERNAL, "out of memory");
    if (rc)
        hn_decoder_destroy(d);
    else
        *ret = d;
    return rc;
}

void hn_decoder_destroy(struct hn_decoder *d) {
    if (!d)
        return;
    for (size_t i = 0; d->extents && i < d->n_extents; i++)
        free(d->extents[i].ids);
    for (size_t i = 0; d->sequences && i < d->g->slots; i++) {
        hn_written_free(&d->sequences[i].written);
        hn_matcher_destroy(d->sequences[i].matcher);
    }
    hn_vocabulary_destroy(d->vocabulary);
    hn_sampler_finish(&d->sampler);
    free(d->sequences);
    free(d->extents);
    free(d->past);
    free(d->cache_rows);
    free(d->answering);
    free(d);
}
