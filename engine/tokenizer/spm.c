/*
 * SentencePiece's BPE (Kudo & Richardson 2018), as GGUF files of Llama 2, Mistral and Gemma have
 * it: no words are cut beforehand; of all neighbouring symbols whose texts together are a piece,
 * those with the highest score are joined first, the leftmost of equals; a character that is no
 * piece becomes its bytes. Pieces spell a space as U+2581; the vocabulary holds them with the space
 * itself (vocab.c), so that text is looked up as it stands.
 */
#include "engine/base/buf.h"
#include "engine/tokenizer/tokenizer_internal.h"
#include "engine/base/utf8.h"

#include <stdlib.h>
#include <string.h>

#define END UINT32_MAX

struct spm {
    float *scores; /* [vocab] */
    int32_t byte_ids[256], unknown;
};

struct symbol { /* of a text; in a list from left to right */
    uint32_t begin, size, previous, next;
};

struct candidate { /* two neighbours that make a piece */
    float score;
    /* size of both when it was found: another one now means that it is stale */
    uint32_t left, size;
};

struct work {
    const struct hn_tokenizer *tok;
    const struct spm *spm;
    const char *text;
    const uint32_t *map;
    size_t base;
    struct symbol *symbols;
    struct candidate *heap;
    size_t n_heap, symbols_capacity, heap_capacity;
};

static bool before(const struct candidate *a, const struct candidate *b) {
    return a->score > b->score || (a->score >= b->score && a->left < b->left);
}

static bool heap_push(struct work *w, struct candidate c) {
    if (!hn_grow(&w->heap, &w->heap_capacity, w->n_heap + 1, sizeof *w->heap))
        return false;
    size_t i = w->n_heap++;
    for (; i > 0 && before(&c, &w->heap[(i - 1) / 2]); i = (i - 1) / 2)
        w->heap[i] = w->heap[(i - 1) / 2];
    w->heap[i] = c;
    return true;
}

static struct candidate heap_pop(struct work *w) {
    struct candidate top = w->heap[0], last = w->heap[--w->n_heap];
    size_t i = 0;
    for (size_t child; (child = 2 * i + 1) < w->n_heap; i = child) {
        if (child + 1 < w->n_heap && before(&w->heap[child + 1], &w->heap[child]))
            child++;
        if (!before(&w->heap[child], &last))
            break;
        w->heap[i] = w->heap[child];
    }
    w->heap[i] = last;
    return top;
}

static bool consider(struct work *w, uint32_t left) {
    if (left == END || w->symbols[left].next == END)
        return true;
    const struct symbol *a = &w->symbols[left], *b = &w->symbols[a->next];
    int32_t id = hn_vocab_find(&w->tok->vocab, w->text + a->begin, a->size + b->size);
    return id < 0 || heap_push(w, (struct candidate){w->spm->scores[id], left, a->size + b->size});
}

static bool merge(struct work *w, uint32_t n) {
    for (uint32_t i = 0; i < n; i++)
        if (!consider(w, i))
            return false;
    while (w->n_heap) {
        struct candidate c = heap_pop(w);
        struct symbol *left = &w->symbols[c.left];
        if (!left->size || left->next == END || left->size + w->symbols[left->next].size != c.size)
            continue;
        struct symbol *right = &w->symbols[left->next];
        left->size = c.size;
        left->next = right->next;
        right->size = 0;
        if (left->next != END)
            w->symbols[left->next].previous = c.left;
        if (!consider(w, left->previous) || !consider(w, c.left))
            return false;
    }
    return true;
}

static size_t place(const struct work *w, size_t at) {
    return w->map ? w->map[at] : w->base + at;
}

static bool put(const struct work *w, const struct symbol *s, size_t first, struct hn_ids *out) {
    int32_t id = hn_vocab_find(&w->tok->vocab, w->text + s->begin, s->size);
    uint32_t end = s->begin + s->size;
    if (id >= 0)
        return hn_ids_push(out, id, place(w, s->begin), place(w, end));
    for (uint32_t i = s->begin; i < end; i++) {
        id = w->spm->byte_ids[(unsigned char)w->text[i]];
        if (id < 0) /* one unknown token for the whole character */
            return hn_ids_push_unknown(
                out, first, true, w->spm->unknown, place(w, i), place(w, end));
        if (!hn_ids_push(out, id, place(w, i), place(w, i + 1)))
            return false;
    }
    return true;
}

static int encode(const struct hn_tokenizer *tok, const char *text, size_t size,
    const uint32_t *map, size_t base, struct hn_ids *out, struct hn_error *err) {
    struct work w = {.tok = tok, .spm = tok->state, .text = text, .map = map, .base = base};
    bool ok = hn_grow(&w.symbols, &w.symbols_capacity, size, sizeof *w.symbols);
    uint32_t n = 0;
    size_t first = out->n;
    for (size_t at = 0; ok && at < size; n++) {
        uint32_t length = (uint32_t)hn_utf8_length((unsigned char)text[at]);
        w.symbols[n] = (struct symbol){(uint32_t)at, length, n ? n - 1 : END, n + 1};
        at += length;
    }
    if (ok && n) {
        w.symbols[n - 1].next = END;
        ok = merge(&w, n);
    }
    for (uint32_t i = 0; ok && n && i != END; i = w.symbols[i].next)
        ok = put(&w, &w.symbols[i], first, out);
    free(w.symbols);
    free(w.heap);
    return ok ? 0 : hn_fail(err, HN_E_INTERNAL, "out of memory while tokenising");
}

static int load(struct hn_tokenizer *tok, const struct hn_gguf *gguf, struct hn_error *err) {
    struct spm *spm = hn_calloc(1, sizeof *spm);
    const struct hn_gguf_kv *scores = hn_gguf_find(gguf, "tokenizer.ggml.scores");
    size_t n = tok->vocab.n;
    if (!(tok->state = spm) || !(spm->scores = hn_calloc(n, sizeof *spm->scores)))
        return hn_fail(err, HN_E_INTERNAL, "out of memory");
    if (!scores || scores->type != HN_GGUF_ARRAY || scores->element != HN_GGUF_F32 ||
        scores->count != n)
        return hn_fail(err, HN_E_MODEL_INVALID,
            "tokenizer.ggml.scores is missing or does not fit the %zu tokens", n);
    if (hn_gguf_bool(gguf, "tokenizer.ggml.add_space_prefix", true))
        tok->prefix = HN_PREFIX_EACH;
    hn_vocab_bytes(&tok->vocab, spm->byte_ids);
    int64_t unknown = hn_gguf_int(gguf, "tokenizer.ggml.unknown_token_id", 0);
    spm->unknown = unknown >= 0 && (size_t)unknown < n ? (int32_t)unknown : 0;
    for (size_t id = 0; id < n; id++) {
        float score = (float)hn_gguf_array_float(scores, id);
        /* NaN would have no order */
        spm->scores[id] = score >= -1e30f && score <= 1e30f ? score : -1e30f;
    }
    return 0;
}

static void destroy(void *state) {
    struct spm *spm = state;
    if (spm)
        free(spm->scores);
    free(spm);
}

const struct hn_tokenizer_kind hn_tokenizer_spm = {
    .model = "llama",
    .spelling = HN_SPELLED_WITH_BLOCKS,
    .takes_added = true,
    .load = load,
    .encode = encode,
    .destroy = destroy,
};
