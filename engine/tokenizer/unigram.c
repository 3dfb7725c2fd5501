/*
 * SentencePiece's unigram model (Kudo 2018), as T5 and XLM-RoBERTa have it: of all ways to cut a
 * word into pieces the one with the highest sum of scores, found by Viterbi's algorithm from left
 * to right. A character that is no piece counts as unknown, worse by 10 than the worst piece;
 * unknown ones in a row are one token, or become their bytes where the file asks for that.
 *
 * Two references do it: the sentencepiece library (GGUF files), which adds scores as floats and
 * replaces the longest sequence that its normalization knows; and Hugging Face's tokenizers
 * (folders), which add doubles and look up grapheme clusters, replacing a whole one by what its
 * first bytes map to. Each file is read as its own does.
 */
#include "engine/base/buf.h"
#include "engine/tokenizer/charsmap.h"
#include "engine/tokenizer/tokenizer_internal.h"
#include "engine/base/utf8.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <utf8proc.h>

#define UNKNOWN_PENALTY 10.0
#define MAX_CLUSTER 6 /* bytes; the reference looks up shorter ones whole */

struct unigram {
    double *scores; /* [vocab] */
    double unknown_score;
    bool floats;                            /* sums are floats */
    bool clusters;                          /* normalization by grapheme clusters */
    bool strip_left, strip_right, collapse; /* spaces at the ends, runs of spaces */
    bool words;                             /* cut at white space first */
    bool split;                             /* words begin at spaces */
    bool fallback;
    int prefix; /* HN_PREFIX_… */
    int32_t unknown, byte_ids[256];
    struct hn_charsmap charsmap;
    int32_t *sorted; /* [n_sorted] ordinary tokens by their bytes */
    size_t n_sorted;
};

struct normal { /* a text and the offset of each of its bytes, and of its end */
    struct hn_buf text;
    uint32_t *map; /* [text.size + 1] */
    size_t map_capacity;
};

struct node { /* the best way to cut what ends here */
    double score;
    uint32_t begin; /* of its last piece; NONE: no way leads here */
    int32_t id;
};
#define NONE UINT32_MAX

struct work {
    const struct hn_tokenizer *tok;
    const struct unigram *uni;
    struct normal normal, word;
    struct node *nodes;
    size_t nodes_capacity;
    struct hn_ids *out;
};

static bool append(struct normal *n, const char *text, size_t size, uint32_t at) {
    if (!hn_grow(&n->map, &n->map_capacity, n->text.size + size + 1, sizeof *n->map))
        return false;
    for (size_t i = 0; i < size; i++)
        n->map[n->text.size + i] = at;
    hn_buf_append(&n->text, text, size);
    return !n->text.failed;
}

/* Bytes of the grapheme cluster at text. */
static size_t cluster(const char *text, size_t size) {
    utf8proc_int32_t state = 0;
    size_t at = hn_utf8_length((unsigned char)text[0]);
    for (uint32_t before = hn_utf8_get(text), c; at < size;
         before = c, at += hn_utf8_length((unsigned char)text[at])) {
        c = hn_utf8_get(text + at);
        if (utf8proc_grapheme_break_stateful((utf8proc_int32_t)before, (utf8proc_int32_t)c, &state))
            break;
    }
    return at;
}

/* The normalization's replacements. A replaced stretch maps to its begin. */
static bool replace(
    struct work *w, const char *text, size_t size, const uint32_t *map, size_t base) {
    const struct unigram *u = w->uni;
    struct hn_view with;
    size_t ends = 0; /* of the cluster */
    hn_buf_clear(&w->normal.text);
    for (size_t at = 0, bytes; at < size; at += bytes) {
        /* What is removed before the first character leaves its place to that. */
        size_t from = w->normal.text.size ? at : 0;
        uint32_t place = map ? map[from] : (uint32_t)(base + from);
        bool begins = u->charsmap.n_units && u->clusters && at >= ends;
        if (begins)
            ends = at + cluster(text + at, size - at);
        bytes =
            begins && ends - at < MAX_CLUSTER ? ends - at : hn_utf8_length((unsigned char)text[at]);
        if (u->clusters && hn_charsmap_find(&u->charsmap, text + at, bytes, false, &with)) {
            if (!append(&w->normal, with.data, with.size, place))
                return false;
            continue;
        }
        bytes = u->clusters ? 0 : hn_charsmap_find(&u->charsmap, text + at, size - at, true, &with);
        if (bytes == 0) {
            bytes = hn_utf8_length((unsigned char)text[at]);
            with = (struct hn_view){text + at, bytes};
        }
        if (!append(&w->normal, with.data, with.size, place))
            return false;
    }
    if (!append(&w->normal, "", 0, 0))
        return false;
    w->normal.map[w->normal.text.size] = map ? map[size] : (uint32_t)(base + size);
    return true;
}

static bool is_block(const char *text, size_t size) {
    return size >= 3 && memcmp(text, "\xE2\x96\x81", 3) == 0;
}

/* Takes spaces off the ends and makes runs of them one, in place. The sentencepiece library knows
 * the one space only, but takes U+2581 for one at the end. */
static void squeeze(struct work *w) {
    const struct unigram *u = w->uni;
    char *text = w->normal.text.data;
    uint32_t *map = w->normal.map, last;
    size_t size = w->normal.text.size, begin = 0, n = 0;
    while (u->strip_left && begin < size && hn_utf8_is_white(hn_utf8_get(text + begin)) &&
        (!u->floats || text[begin] == ' '))
        begin += hn_utf8_length((unsigned char)text[begin]);
    last = size ? map[size] : 0;
    while (u->strip_right && size > begin) {
        size_t from = size - 1;
        while (from > begin && (text[from] & 0xC0) == 0x80)
            from--;
        bool space = u->floats ? text[from] == ' ' || is_block(text + from, size - from)
                               : hn_utf8_is_white(hn_utf8_get(text + from));
        if (!space)
            break;
        last = map[from];
        size = from;
    }
    for (size_t i = begin; i < size; i++) {
        if (u->collapse && text[i] == ' ' && i > begin && text[i - 1] == ' ')
            continue;
        text[n] = text[i];
        map[n++] = map[i];
    }
    map[n] = last;
    w->normal.text.size = n;
}

/* Narrows sorted[*lo, *hi), tokens that agree in `depth` bytes, to those with `byte` next. */
static void narrow(
    const struct hn_tokenizer *tok, size_t depth, unsigned char byte, size_t *lo, size_t *hi) {
    const struct unigram *u = tok->state;
    for (int upper = 0; upper < 2; upper++) {
        size_t a = *lo, b = *hi;
        while (a < b) {
            size_t mid = a + (b - a) / 2;
            struct hn_view t = hn_vocab_text(&tok->vocab, u->sorted[mid]);
            int next = t.size > depth ? (unsigned char)t.data[depth] : -1;
            if (next < byte || (upper && next == byte))
                a = mid + 1;
            else
                b = mid;
        }
        *(upper ? hi : lo) = a;
    }
}

static void relax(struct work *w, size_t begin, size_t end, int32_t id, double score) {
    struct node *to = &w->nodes[end];
    double sum = w->nodes[begin].score + score;
    if (w->uni->floats)
        sum = (double)(float)sum;
    if (to->begin == NONE || sum > to->score)
        *to = (struct node){sum, (uint32_t)begin, id};
}

/* Fills nodes[0 … size]. */
static bool search(struct work *w, const char *text, size_t size) {
    const struct unigram *u = w->uni;
    if (!hn_grow(&w->nodes, &w->nodes_capacity, size + 1, sizeof *w->nodes))
        return false;
    for (size_t i = 0; i <= size; i++)
        w->nodes[i] = (struct node){0, NONE, -1};
    for (size_t at = 0, length; at < size; at += length) {
        size_t lo = 0, hi = u->n_sorted;
        bool single = false;
        length = hn_utf8_length((unsigned char)text[at]);
        for (size_t depth = 0; at + depth < size && lo < hi; depth++) {
            narrow(w->tok, depth, (unsigned char)text[at + depth], &lo, &hi);
            if (lo == hi || hn_vocab_text(&w->tok->vocab, u->sorted[lo]).size != depth + 1)
                continue;
            relax(w, at, at + depth + 1, u->sorted[lo], u->scores[u->sorted[lo]]);
            single = single || depth + 1 == length;
        }
        if (!single)
            relax(w, at, at + length, u->unknown, u->unknown_score);
    }
    return true;
}

/* Unknown characters: their bytes if each has a token, else one unknown token. */
static bool put_unknown(struct work *w, const struct normal *n, size_t begin, size_t end) {
    const struct unigram *u = w->uni;
    bool bytes = u->fallback;
    for (size_t i = begin; bytes && i < end; i++)
        bytes = u->byte_ids[(unsigned char)n->text.data[i]] >= 0;
    for (size_t i = begin; bytes && i < end; i++)
        if (!hn_ids_push(
                w->out, u->byte_ids[(unsigned char)n->text.data[i]], n->map[i], n->map[i + 1]))
            return false;
    return bytes || hn_ids_push(w->out, u->unknown, n->map[begin], n->map[end]);
}

/* Cuts word.text[begin, end). */
static bool encode_piece(struct work *w, size_t begin, size_t end) {
    const struct normal *n = &w->word;
    if (!search(w, n->text.data + begin, end - begin))
        return false;
    /* Turns the chain round, so that each node tells where the next one is. */
    uint32_t next = NONE;
    for (uint32_t at = (uint32_t)(end - begin); at != 0;) {
        uint32_t before = w->nodes[at].begin;
        w->nodes[at].begin = next;
        next = at;
        at = before;
    }
    for (uint32_t from = 0, to = next; to != NONE;) {
        int32_t id = w->nodes[to].id;
        while (id == w->uni->unknown && w->nodes[to].begin != NONE &&
            w->nodes[w->nodes[to].begin].id == id)
            to = w->nodes[to].begin;
        bool ok = id == w->uni->unknown
            ? put_unknown(w, n, begin + from, begin + to)
            : hn_ids_push(w->out, id, n->map[begin + from], n->map[begin + to]);
        if (!ok)
            return false;
        from = to;
        to = w->nodes[to].begin;
    }
    return true;
}

/* normal.text[begin, end), with a space before it where one belongs and spaces for U+2581. */
static bool encode_word(struct work *w, size_t begin, size_t end) {
    const struct unigram *u = w->uni;
    const char *text = w->normal.text.data;
    const uint32_t *map = w->normal.map;
    bool has = text[begin] == ' ' || is_block(text + begin, end - begin);
    bool space = u->prefix == HN_PREFIX_EACH || (u->prefix == HN_PREFIX_MISSING && !has) ||
        (u->prefix == HN_PREFIX_FIRST && !has && map[begin] == 0);
    hn_buf_clear(&w->word.text);
    if (space && !append(&w->word, " ", 1, map[begin]))
        return false;
    for (size_t i = begin; i < end;) {
        bool block = is_block(text + i, end - i);
        if (!append(&w->word, block ? " " : text + i, 1, map[i]))
            return false;
        i += block ? 3 : 1;
    }
    size_t size = w->word.text.size;
    w->word.map[size] = map[end];
    for (size_t from = 0, to; from < size; from = to) {
        to = from + 1;
        while (to < size && !(u->split && w->word.text.data[to] == ' '))
            to++;
        if (!encode_piece(w, from, to))
            return false;
    }
    return true;
}

static bool encode_words(struct work *w) {
    const char *text = w->normal.text.data;
    size_t size = w->normal.text.size, begin = 0;
    /* The sentencepiece library puts its space even before a text of which nothing is left. */
    bool space_alone = w->uni->floats && w->uni->prefix == HN_PREFIX_EACH && !w->uni->strip_right;
    if (!w->uni->words)
        return (size == 0 && !space_alone) || encode_word(w, 0, size);
    for (size_t at = 0; at <= size;) {
        bool white = at == size || hn_utf8_is_white(hn_utf8_get(text + at));
        if (white && at > begin && !encode_word(w, begin, at))
            return false;
        at += at < size ? hn_utf8_length((unsigned char)text[at]) : 1;
        if (white)
            begin = at;
    }
    return true;
}

static int encode(const struct hn_tokenizer *tok, const char *text, size_t size,
    const uint32_t *map, size_t base, struct hn_ids *out, struct hn_error *err) {
    struct work w = {.tok = tok, .uni = tok->state, .out = out};
    w.normal.text.ceiling = w.word.text.ceiling = 3 * HN_TEXT_MAX;
    bool ok = replace(&w, text, size, map, base);
    if (ok) {
        squeeze(&w);
        ok = encode_words(&w);
    }
    hn_buf_free(&w.normal.text);
    hn_buf_free(&w.word.text);
    free(w.normal.map);
    free(w.word.map);
    free(w.nodes);
    return ok ? 0
              : hn_fail(err, HN_E_INTERNAL,
                    "out of memory while tokenising, or a text that normalization makes too long");
}

static int compare_tokens(const void *a, const void *b, void *ud) {
    struct hn_view x = hn_vocab_text(ud, *(const int32_t *)a),
                   y = hn_vocab_text(ud, *(const int32_t *)b);
    size_t both = x.size < y.size ? x.size : y.size;
    int order = both ? memcmp(x.data, y.data, both) : 0;
    return order ? order : x.size < y.size ? -1 : x.size > y.size;
}

static int load_pieces(struct hn_tokenizer *tok, struct unigram *u, const struct hn_gguf_kv *scores,
    struct hn_error *err) {
    size_t n = tok->vocab.n;
    double lowest = INFINITY;
    if (!scores || scores->type != HN_GGUF_ARRAY || scores->count != n ||
        (scores->element != HN_GGUF_F32 && scores->element != HN_GGUF_F64))
        return hn_fail(err, HN_E_MODEL_INVALID,
            "tokenizer.ggml.scores is missing or does not fit the %zu tokens", n);
    u->floats = scores->element == HN_GGUF_F32;
    if (!(u->scores = hn_calloc(n, sizeof *u->scores)) ||
        !(u->sorted = hn_calloc(n, sizeof *u->sorted)))
        return hn_fail(err, HN_E_INTERNAL, "out of memory");
    for (size_t id = 0; id < n; id++) {
        double score = hn_gguf_array_float(scores, id);
        /* NaN would have no order */
        u->scores[id] = score >= -1e30 && score <= 1e30 ? score : -1e30;
        struct hn_view text = hn_vocab_text(&tok->vocab, (int32_t)id);
        bool normal = tok->vocab.types[id] == HN_TOKEN_NORMAL;
        if (normal || !u->floats) /* the sentencepiece library looks at normal ones only */
            lowest = u->scores[id] < lowest ? u->scores[id] : lowest;
        if (normal && hn_vocab_find(&tok->vocab, text.data, text.size) == (int32_t)id)
            u->sorted[u->n_sorted++] = (int32_t)id;
    }
    u->unknown_score = (isfinite(lowest) ? lowest : 0) - UNKNOWN_PENALTY;
    qsort_r(u->sorted, u->n_sorted, sizeof *u->sorted, compare_tokens, &tok->vocab);
    return 0;
}

static int load(struct hn_tokenizer *tok, const struct hn_gguf *gguf, struct hn_error *err) {
    struct unigram *u = hn_calloc(1, sizeof *u);
    const struct hn_gguf_kv *charsmap = hn_gguf_find(gguf, "tokenizer.ggml.precompiled_charsmap");
    if (!(tok->state = u))
        return hn_fail(err, HN_E_INTERNAL, "out of memory");
    if (charsmap &&
        (charsmap->type != HN_GGUF_ARRAY ||
            (charsmap->element != HN_GGUF_U8 && charsmap->element != HN_GGUF_I8)))
        return hn_fail(
            err, HN_E_MODEL_INVALID, "tokenizer.ggml.precompiled_charsmap is no array of bytes");
    int64_t unknown = hn_gguf_int(gguf, "tokenizer.ggml.unknown_token_id", -1);
    if (unknown < 0 || (size_t)unknown >= tok->vocab.n)
        return hn_fail(err, HN_E_MODEL_INVALID, "the unigram tokenizer names no unknown token");
    u->unknown = (int32_t)unknown;
    bool squeeze_all = hn_gguf_bool(gguf, "tokenizer.ggml.remove_extra_whitespaces", false);
    int64_t prefix = hn_gguf_int(gguf, HN_KEY_PREFIX, -1);
    if (prefix < 0)
        prefix = hn_gguf_bool(gguf, "tokenizer.ggml.add_space_prefix", true) ? HN_PREFIX_EACH
                                                                             : HN_PREFIX_NONE;
    u->prefix = prefix <= HN_PREFIX_FIRST ? (int)prefix : HN_PREFIX_NONE;
    u->strip_left = hn_gguf_bool(gguf, HN_KEY_STRIP_LEFT, squeeze_all);
    u->strip_right = hn_gguf_bool(gguf, HN_KEY_STRIP_RIGHT, squeeze_all);
    u->collapse = hn_gguf_bool(gguf, HN_KEY_COLLAPSE, squeeze_all);
    u->words = hn_gguf_bool(gguf, HN_KEY_WORDS, false);
    u->split = hn_gguf_bool(gguf, HN_KEY_SPLIT, false);
    hn_vocab_bytes(&tok->vocab, u->byte_ids);
    u->fallback = hn_gguf_bool(gguf, HN_KEY_FALLBACK, true);
    int rc = hn_charsmap_open(
        &u->charsmap, charsmap ? charsmap->data : NULL, charsmap ? charsmap->count : 0, err);
    if (!rc)
        rc = load_pieces(tok, u, hn_gguf_find(gguf, "tokenizer.ggml.scores"), err);
    u->clusters = !u->floats;
    return rc;
}

static void destroy(void *state) {
    struct unigram *u = state;
    if (!u)
        return;
    free(u->scores);
    free(u->sorted);
    free(u);
}

const struct hn_tokenizer_kind hn_tokenizer_unigram = {
    .model = "t5",
    .spelling = HN_SPELLED_WITH_BLOCKS,
    .takes_added = true,
    .own_spaces = true,
    .load = load,
    .encode = encode,
    .destroy = destroy,
};
