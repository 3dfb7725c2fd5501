/*
 * Byte-level byte-pair encoding, as GPT-2 introduced it and the Llama 3, Qwen, SmolLM … families
 * use it.
 *
 * A word (see pretokenize.h) begins as its bytes; again and again the adjacent pair whose merge
 * stands first in the model's list is replaced by its product, the leftmost of equals first, until
 * no pair has a merge. A byte that is no token of the vocabulary is left out, as the reference does
 * for models without an unknown token.
 *
 * Three ways to the same ids:
 *   - Which tokens encode to themselves is found out once at load; a word that is such a token is
 *     done with one look-up. Nine words of ten in ordinary text are.
 *   - Short words are scanned for the best pair again and again: quadratic, but in registers and
 *     cache.
 *   - Long words (a page without spaces) use a linked list and a heap: n log n.
 *
 * The same machinery reads SentencePiece's vocabularies where a file has their merges (Hugging
 * Face's Llama 2, Mistral, Gemma): there a text begins as its characters, one that is no token as
 * its bytes, and words, if the file asks for any, begin at spaces.
 */
#include "engine/tokenizer/pretokenize.h"
#include "engine/tokenizer/tokenizer_internal.h"
#include "engine/base/utf8.h"

#include <stdlib.h>
#include <string.h>
#include <utf8proc.h>

#define SHORT_WORD 96 /* bytes; up to here scanning beats the heap */
#define NO_RANK UINT32_MAX

struct merge {
    uint64_t pair; /* left id << 32 | right id; EMPTY when unused */
    uint32_t rank;
    int32_t product;
};
#define EMPTY UINT64_MAX

struct bpe {
    struct merge *merges; /* [mask + 1] open addressing */
    size_t mask;
    int32_t byte_ids[256]; /* id of the token of one byte, or -1 */
    uint8_t *whole;        /* [vocab] 1 where a token's bytes encode to that token alone */
    bool whole_words, nfc;
    bool pieces; /* begins as characters; the rest of this is for that alone */
    bool split, fuse, fallback;
    int32_t unknown; /* or -1 */
    const struct hn_vocab *vocab;
    struct hn_pretokenizer *pre;
};

struct symbol { /* of a long word; symbols form a list in text order */
    int32_t id;
    uint32_t begin, previous, next;
};

struct candidate { /* a pair of a long word that could be merged */
    uint32_t rank, left;
    int32_t left_id, right_id, product;
};

struct scratch {
    struct symbol *symbols;
    struct candidate *heap;
    size_t n_heap, symbols_capacity, heap_capacity;
};

struct job { /* one call of encode */
    const struct hn_tokenizer *tok;
    const struct bpe *bpe;
    const char *text;
    const uint32_t *map;
    size_t base;
    struct hn_ids *out;
    struct scratch scratch;
    bool failed; /* out of memory */
};

static inline size_t slot_of(uint64_t pair, size_t mask) {
    uint64_t h = pair * 0x9E3779B97F4A7C15u;
    return (h ^ h >> 32) & mask;
}

static inline const struct merge *find_merge(const struct bpe *bpe, int32_t left, int32_t right) {
    uint64_t pair = (uint64_t)(uint32_t)left << 32 | (uint32_t)right;
    for (size_t i = slot_of(pair, bpe->mask);; i = (i + 1) & bpe->mask) {
        const struct merge *m = &bpe->merges[i];
        if (m->pair == pair)
            return m;
        if (m->pair == EMPTY)
            return NULL;
    }
}

static inline uint32_t rank_of(const struct bpe *bpe, int32_t left, int32_t right) {
    const struct merge *m = find_merge(bpe, left, right);
    return m ? m->rank : NO_RANK;
}

/* Whether every byte of the character has a token of its own. */
static bool has_bytes(const struct bpe *bpe, const char *text, size_t size) {
    for (size_t i = 0; i < size; i++)
        if (bpe->byte_ids[(unsigned char)text[i]] < 0)
            return false;
    return bpe->fallback;
}

/* The symbol that word[at] begins as: its id, or -1 to leave it out, and its bytes. */
static inline int32_t first_symbol(
    const struct bpe *bpe, const char *word, size_t at, size_t *ret_length) {
    unsigned char byte = (unsigned char)word[at];
    *ret_length = 1;
    if (!bpe->pieces || (byte & 0xC0) == 0x80) /* inside a character that became its bytes */
        return bpe->byte_ids[byte];
    size_t length = hn_utf8_length(byte);
    int32_t id = hn_vocab_find(bpe->vocab, word + at, length);
    if (id < 0 && has_bytes(bpe, word + at, length))
        return bpe->byte_ids[byte];
    *ret_length = length;
    return id >= 0 ? id : bpe->unknown;
}

static inline bool fuses(const struct bpe *bpe, int32_t left, int32_t right) {
    return bpe->fuse && left == bpe->unknown && right == bpe->unknown;
}

/* Bytes of a short word → ids and begins in place; returns how many. */
static size_t merge_short(
    const struct bpe *bpe, const char *word, size_t size, int32_t *ids, uint32_t *begins) {
    uint32_t ranks[SHORT_WORD];
    size_t n = 0;
    for (size_t i = 0, length; i < size; i += length) {
        int32_t id = first_symbol(bpe, word, i, &length);
        if (id < 0 || (n && fuses(bpe, ids[n - 1], id)))
            continue;
        ids[n] = id;
        begins[n++] = (uint32_t)i;
    }
    for (size_t i = 0; i + 1 < n; i++)
        ranks[i] = rank_of(bpe, ids[i], ids[i + 1]);
    while (n > 1) {
        size_t best = 0;
        for (size_t i = 1; i + 1 < n; i++)
            if (ranks[i] < ranks[best])
                best = i;
        if (ranks[best] == NO_RANK)
            break;
        ids[best] = find_merge(bpe, ids[best], ids[best + 1])->product;
        n--;
        memmove(ids + best + 1, ids + best + 2, (n - best - 1) * sizeof *ids);
        memmove(begins + best + 1, begins + best + 2, (n - best - 1) * sizeof *begins);
        memmove(ranks + best, ranks + best + 1, (n - best) * sizeof *ranks);
        if (best > 0)
            ranks[best - 1] = rank_of(bpe, ids[best - 1], ids[best]);
        if (best + 1 < n)
            ranks[best] = rank_of(bpe, ids[best], ids[best + 1]);
    }
    return n;
}

static inline bool before(const struct candidate *a, const struct candidate *b) {
    return a->rank != b->rank ? a->rank < b->rank : a->left < b->left;
}

static bool heap_push(struct scratch *s, struct candidate c) {
    if (!hn_grow(&s->heap, &s->heap_capacity, s->n_heap + 1, sizeof *s->heap))
        return false;
    size_t i = s->n_heap++;
    while (i > 0 && before(&c, &s->heap[(i - 1) / 2])) {
        s->heap[i] = s->heap[(i - 1) / 2];
        i = (i - 1) / 2;
    }
    s->heap[i] = c;
    return true;
}

static struct candidate heap_pop(struct scratch *s) {
    struct candidate top = s->heap[0], last = s->heap[--s->n_heap];
    size_t i = 0;
    for (;;) {
        size_t child = 2 * i + 1;
        if (child >= s->n_heap)
            break;
        if (child + 1 < s->n_heap && before(&s->heap[child + 1], &s->heap[child]))
            child++;
        if (!before(&s->heap[child], &last))
            break;
        s->heap[i] = s->heap[child];
        i = child;
    }
    if (s->n_heap)
        s->heap[i] = last;
    return top;
}

static bool consider(const struct bpe *bpe, struct scratch *s, uint32_t left) {
    uint32_t right = s->symbols[left].next;
    if (right == UINT32_MAX)
        return true;
    int32_t left_id = s->symbols[left].id, right_id = s->symbols[right].id;
    const struct merge *m = find_merge(bpe, left_id, right_id);
    return !m || heap_push(s, (struct candidate){m->rank, left, left_id, right_id, m->product});
}

/* The same for a word of any length; the surviving symbols are the list that begins at 0. A
 * candidate is stale when a symbol of its pair has changed since; a symbol merged into its left
 * neighbour has id -1. */
static bool merge_long(
    const struct bpe *bpe, struct scratch *s, const char *word, size_t size, size_t *ret_n) {
    uint32_t n = 0;
    if (!hn_grow(&s->symbols, &s->symbols_capacity, size, sizeof *s->symbols))
        return false;
    for (size_t i = 0, length; i < size; i += length) {
        int32_t id = first_symbol(bpe, word, i, &length);
        if (id < 0 || (n && fuses(bpe, s->symbols[n - 1].id, id)))
            continue;
        s->symbols[n] = (struct symbol){id, (uint32_t)i, n - 1, n + 1};
        n++;
    }
    *ret_n = n;
    if (n == 0)
        return true;
    s->symbols[n - 1].next = UINT32_MAX;
    s->n_heap = 0;
    for (uint32_t i = 0; i < n; i++)
        if (!consider(bpe, s, i))
            return false;
    while (s->n_heap) {
        struct candidate c = heap_pop(s);
        struct symbol *left = &s->symbols[c.left];
        if (left->id != c.left_id || left->next == UINT32_MAX ||
            s->symbols[left->next].id != c.right_id)
            continue;
        struct symbol *right = &s->symbols[left->next];
        left->id = c.product;
        left->next = right->next;
        right->id = -1;
        if (left->next != UINT32_MAX)
            s->symbols[left->next].previous = c.left;
        if ((left->previous != UINT32_MAX && !consider(bpe, s, left->previous)) ||
            !consider(bpe, s, c.left))
            return false;
    }
    return true;
}

static size_t place(const struct job *job, size_t at) {
    return job->map ? job->map[at] : job->base + at;
}

static bool push(struct job *job, int32_t id, size_t begin, size_t end) {
    job->failed = !hn_ids_push(job->out, id, place(job, begin), place(job, end));
    return !job->failed;
}

static bool encode_word(void *ud, size_t begin, size_t end) {
    struct job *job = ud;
    const struct bpe *bpe = job->bpe;
    const char *word = job->text + begin;
    size_t size = end - begin, n;
    int32_t id = hn_vocab_find(&job->tok->vocab, word, size);
    if (id >= 0 && (bpe->whole_words || bpe->whole[id]))
        return push(job, id, begin, end);
    if (size <= SHORT_WORD) {
        int32_t ids[SHORT_WORD];
        uint32_t begins[SHORT_WORD];
        n = merge_short(bpe, word, size, ids, begins);
        for (size_t i = 0; i < n; i++)
            if (!push(job, ids[i], begin + begins[i], i + 1 < n ? begin + begins[i + 1] : end))
                return false;
        return true;
    }
    struct scratch *s = &job->scratch;
    if (!merge_long(bpe, s, word, size, &n)) {
        job->failed = true;
        return false;
    }
    for (uint32_t i = n ? 0 : UINT32_MAX, next; i != UINT32_MAX; i = next) {
        next = s->symbols[i].next;
        size_t behind = next != UINT32_MAX ? begin + s->symbols[next].begin : end;
        if (!push(job, s->symbols[i].id, begin + s->symbols[i].begin, behind))
            return false;
    }
    return true;
}

/* Whether a composition with what stands before this character is impossible, so that form C may be
 * made piece by piece. */
static bool composes_never(uint32_t c) {
    return c < 0x300 || (c >= 0x3400 && c <= 0x9FFF) || (c >= 0xAC00 && c <= 0xD7A3) ||
        (c >= 0x3041 && c <= 0x3098) || (c >= 0x30A1 && c <= 0x30FA);
}

/*
 * Form C of text[size] in *out with the offset of every byte in *map. A changed piece maps to its
 * begin; pieces end before every character that composes with nothing before it, so offsets stay
 * exact outside of what was composed.
 */
static bool compose(const char *text, size_t size, const uint32_t *map, size_t base,
    struct hn_buf *out, uint32_t **ret_map) {
    size_t capacity = 0;
    for (size_t begin = 0, end; begin < size; begin = end) {
        bool plain = true;
        end = begin;
        do {
            plain = plain && hn_utf8_get(text + end) < 0x300;
            end += hn_utf8_length((unsigned char)text[end]);
        } while (end < size && !composes_never(hn_utf8_get(text + end)));
        utf8proc_uint8_t *form = NULL;
        utf8proc_ssize_t n = (utf8proc_ssize_t)(end - begin);
        if (!plain)
            n = utf8proc_map((const utf8proc_uint8_t *)text + begin, n, &form,
                UTF8PROC_STABLE | UTF8PROC_COMPOSE);
        if (n < 0 || !hn_grow(ret_map, &capacity, out->size + (size_t)n + 1, sizeof **ret_map)) {
            free(form);
            return false;
        }
        bool same =
            !form || ((size_t)n == end - begin && memcmp(form, text + begin, (size_t)n) == 0);
        for (size_t i = 0; i < (size_t)n; i++) {
            size_t at = begin + (same ? i : 0);
            (*ret_map)[out->size + i] = map ? map[at] : (uint32_t)(base + at);
        }
        hn_buf_append(out, form ? (const char *)form : text + begin, (size_t)n);
        (*ret_map)[out->failed ? 0 : out->size] = map ? map[end] : (uint32_t)(base + end);
        free(form);
    }
    return !out->failed;
}

/* Characters below U+0300 neither compose nor change in form C. */
static bool needs_composing(const char *text, size_t size) {
    for (size_t i = 0; i < size; i++)
        if ((unsigned char)text[i] >= 0xCC)
            return true;
    return false;
}

/* The text as one word, or as words that begin at its spaces. */
static void cut_pieces(struct job *job, size_t size) {
    for (size_t begin = 0, end; begin < size; begin = end) {
        end = begin + 1;
        while (end < size && !(job->bpe->split && job->text[end] == ' '))
            end++;
        if (!encode_word(job, begin, end))
            return;
    }
}

static int encode(const struct hn_tokenizer *tok, const char *text, size_t size,
    const uint32_t *map, size_t base, struct hn_ids *out, struct hn_error *err) {
    const struct bpe *bpe = tok->state;
    struct job job = {.tok = tok, .bpe = bpe, .text = text, .map = map, .base = base, .out = out};
    struct hn_buf composed = {.ceiling = 3 * HN_TEXT_MAX};
    uint32_t *composed_map = NULL;
    int rc = 0;
    if (bpe->nfc && needs_composing(text, size)) {
        job.failed = !compose(text, size, map, base, &composed, &composed_map);
        job.text = composed.data;
        job.map = composed_map;
        size = composed.size;
    }
    if (!job.failed && bpe->pieces)
        cut_pieces(&job, size);
    else if (!job.failed)
        rc = hn_pretokenizer_split(bpe->pre, job.text, size, encode_word, &job, err);
    if (!rc && job.failed)
        rc = hn_fail(err, HN_E_INTERNAL, "out of memory while tokenising");
    free(job.scratch.symbols);
    free(job.scratch.heap);
    free(composed_map);
    hn_buf_free(&composed);
    return rc;
}

static void destroy(void *state) {
    struct bpe *bpe = state;
    if (!bpe)
        return;
    hn_pretokenizer_destroy(bpe->pre);
    free(bpe->merges);
    free(bpe->whole);
    free(bpe);
}

/* Bytes of a token as merges spell it. */
static bool read_spelling(
    const struct bpe *bpe, const char *text, size_t size, char *to, size_t *ret_size) {
    if (!bpe->pieces)
        return hn_byte_level_decode(text, size, to, ret_size);
    *ret_size = hn_blocks_decode((struct hn_view){text, size}, to);
    return true;
}

/* One line of the list, "left right", each part in the file's spelling. A merge of what is no token
 * can never apply.
 */
static void add_merge(
    struct bpe *bpe, const struct hn_vocab *vocab, struct hn_view line, uint32_t rank) {
    char bytes[1024];
    const char *space = line.size > 2 ? memchr(line.data + 1, ' ', line.size - 2) : NULL;
    if (!space || line.size > sizeof bytes)
        return;
    size_t left_text = (size_t)(space - line.data), right_text = line.size - left_text - 1, left,
           right;
    if (!read_spelling(bpe, line.data, left_text, bytes, &left) ||
        !read_spelling(bpe, space + 1, right_text, bytes + left, &right))
        return;
    int32_t left_id = hn_vocab_find(vocab, bytes, left),
            right_id = hn_vocab_find(vocab, bytes + left, right);
    int32_t product = hn_vocab_find(vocab, bytes, left + right);
    if (left_id < 0 || right_id < 0 || product < 0)
        return;
    uint64_t pair = (uint64_t)(uint32_t)left_id << 32 | (uint32_t)right_id;
    size_t i = slot_of(pair, bpe->mask);
    while (bpe->merges[i].pair != EMPTY && bpe->merges[i].pair != pair)
        i = (i + 1) & bpe->mask;
    /* the reference's map keeps the last of twins */
    bpe->merges[i] = (struct merge){pair, rank, product};
}

static int load_merges(struct bpe *bpe, const struct hn_vocab *vocab, const struct hn_gguf *gguf,
    struct hn_error *err) {
    const struct hn_gguf_kv *list = hn_gguf_find(gguf, "tokenizer.ggml.merges");
    size_t slots = 16;
    if (!list || list->type != HN_GGUF_ARRAY || !list->strings || list->count > HN_VOCAB_MAX)
        return hn_fail(err, HN_E_MODEL_INVALID,
            "the model file has no usable list of merges (tokenizer.ggml.merges)");
    while (slots < 3 * list->count)
        slots *= 2;
    if (!(bpe->merges = hn_calloc(slots, sizeof *bpe->merges)))
        return hn_fail(err, HN_E_INTERNAL, "out of memory for %zu merges", list->count);
    memset(bpe->merges, 0xFF, slots * sizeof *bpe->merges);
    bpe->mask = slots - 1;
    for (size_t i = 0; i < list->count; i++)
        add_merge(bpe, vocab, list->strings[i], (uint32_t)i);
    return 0;
}

static int find_whole(struct bpe *bpe, const struct hn_vocab *vocab, struct hn_error *err) {
    if (!(bpe->whole = hn_calloc(vocab->n, 1)))
        return hn_fail(err, HN_E_INTERNAL, "out of memory");
    for (size_t id = 0; id < vocab->n; id++) {
        struct hn_view text = hn_vocab_text(vocab, (int32_t)id);
        int32_t ids[SHORT_WORD];
        uint32_t begins[SHORT_WORD];
        if (text.size == 0 || text.size > SHORT_WORD ||
            hn_vocab_find(vocab, text.data, text.size) != (int32_t)id)
            continue;
        bpe->whole[id] =
            merge_short(bpe, text.data, text.size, ids, begins) == 1 && ids[0] == (int32_t)id;
    }
    return 0;
}

static int load(struct hn_tokenizer *tok, const struct hn_gguf *gguf, struct hn_error *err) {
    struct bpe *bpe = hn_calloc(1, sizeof *bpe);
    struct hn_view name = hn_gguf_string(gguf, "tokenizer.ggml.pre");
    if (!(tok->state = bpe))
        return hn_fail(err, HN_E_INTERNAL, "out of memory");
    if (!name.data)
        name = (struct hn_view){"default", 7};
    const struct hn_pre_rule *rule = hn_pre_rule_find(name.data, name.size);
    if (!rule) {
        hn_fail(err, HN_E_UNSUPPORTED, "the model's pre-tokenizer \"%.*s\" is not supported",
            (int)(name.size < 64 ? name.size : 64), name.data);
        hn_error_hint(err,
            "its words would be cut in another way than the model learned; use a model of another "
            "family");
        return HN_E_UNSUPPORTED;
    }
    bpe->nfc = rule->nfc;
    bpe->whole_words = rule->whole_words;
    if (hn_gguf_bool(gguf, "tokenizer.ggml.add_space_prefix", false))
        tok->prefix = HN_PREFIX_MISSING;
    tok->adds_bos = rule->adds_bos;
    for (int b = 0; b < 256; b++) {
        char byte = (char)b;
        bpe->byte_ids[b] = hn_vocab_find(&tok->vocab, &byte, 1);
    }
    int rc = hn_pretokenizer_create(rule, &bpe->pre, err);
    if (!rc)
        rc = load_merges(bpe, &tok->vocab, gguf, err);
    return rc ? rc : find_whole(bpe, &tok->vocab, err);
}

const struct hn_tokenizer_kind hn_tokenizer_bpe = {
    .model = "gpt2",
    .spelling = HN_SPELLED_IN_BYTES,
    .load = load,
    .encode = encode,
    .destroy = destroy,
};

static int load_pieces(struct hn_tokenizer *tok, const struct hn_gguf *gguf, struct hn_error *err) {
    struct bpe *bpe = hn_calloc(1, sizeof *bpe);
    int64_t unknown = hn_gguf_int(gguf, "tokenizer.ggml.unknown_token_id", -1);
    int64_t prefix = hn_gguf_int(gguf, HN_KEY_PREFIX, HN_PREFIX_NONE);
    if (!(tok->state = bpe))
        return hn_fail(err, HN_E_INTERNAL, "out of memory");
    tok->prefix =
        prefix >= HN_PREFIX_NONE && prefix <= HN_PREFIX_FIRST ? (int)prefix : HN_PREFIX_NONE;
    bpe->pieces = true;
    bpe->vocab = &tok->vocab;
    bpe->split = hn_gguf_bool(gguf, HN_KEY_SPLIT, false);
    bpe->fuse = hn_gguf_bool(gguf, HN_KEY_FUSE, false);
    bpe->fallback = hn_gguf_bool(gguf, HN_KEY_FALLBACK, false);
    bpe->unknown = unknown >= 0 && (size_t)unknown < tok->vocab.n ? (int32_t)unknown : -1;
    hn_vocab_bytes(&tok->vocab, bpe->byte_ids);
    int rc = load_merges(bpe, &tok->vocab, gguf, err);
    return rc ? rc : find_whole(bpe, &tok->vocab, err);
}

const struct hn_tokenizer_kind hn_tokenizer_piece_bpe = {
    .model = "hone.piece-bpe",
    .spelling = HN_SPELLED_WITH_BLOCKS,
    .takes_added = true,
    .load = load_pieces,
    .encode = encode,
    .destroy = destroy,
};
