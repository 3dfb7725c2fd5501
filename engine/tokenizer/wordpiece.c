/*
 * WordPiece, BERT's tokenizer: the text is cleaned (control characters out, ideographs apart,
 * accents off, lower case: whatever the model's file asks for), cut at spaces and punctuation, and
 * each word is read from the left by the longest piece that fits; a word with a place where none
 * fits is one unknown token.
 *
 * Pieces inside a word are marked: by a prefix ("##") in Hugging Face's files, while GGUF files
 * mark those at a word's begin (with U+2581) and leave the others bare. Both are looked up as they
 * are spelled.
 *
 * The reference's tables of punctuation, marks and format characters are those of Unicode 8, its
 * table of lower case is younger than utf8proc's; what differs is listed below.
 * tests/parity/test_wordpiece.py tries every character.
 */
#include "engine/base/buf.h"
#include "engine/tokenizer/tokenizer_internal.h"
#include "engine/base/utf8.h"

#include <stdlib.h>
#include <string.h>
#include <utf8proc.h>

struct wordpiece {
    bool clean, ideographs, strip, lower;
    struct hn_view first, inner; /* what marks a piece at a word's begin, and inside one */
    size_t max_word;             /* characters; a longer word is unknown */
    size_t max_piece;            /* bytes of the longest token */
    int32_t unknown;
};

/* a character of the cleaned text, and the bytes of the original that it stands for */
struct letter {
    uint32_t c, begin, end;
};

struct letters {
    struct letter *data;
    size_t n, capacity;
};

struct work {
    const struct hn_tokenizer *tok;
    const struct wordpiece *wp;
    const char *text;
    const uint32_t *map;
    size_t base;
    struct letters letters, decomposed; /* of one stretch without spaces */
    char *key;                          /* [longest mark + max_piece] a piece to look up */
    struct hn_ids *out;
};

struct range {
    uint32_t first, last;
};

/* Marks that do not take space (Mn) younger than the reference's table. */
static const struct range young_marks[] = {{0x07FD, 0x07FD}, {0x0898, 0x089F}, {0x08CA, 0x08E1},
    {0x09FE, 0x09FE}, {0x0AFA, 0x0AFF}, {0x0B55, 0x0B55}, {0x0C04, 0x0C04}, {0x0C3C, 0x0C3C},
    {0x0D00, 0x0D00}, {0x0D3B, 0x0D3C}, {0x0D81, 0x0D81}, {0x0EBA, 0x0EBA}, {0x0ECE, 0x0ECE},
    {0x180F, 0x180F}, {0x1885, 0x1886}, {0x1ABF, 0x1ACE}, {0x1DF6, 0x1DFB}, {0xA82C, 0xA82C},
    {0xA8C5, 0xA8C5}, {0xA8FF, 0xA8FF}, {0xA9BD, 0xA9BD}, {0x10D24, 0x10D27}, {0x10EAB, 0x10EAC},
    {0x10EFD, 0x10EFF}, {0x10F46, 0x10F50}, {0x10F82, 0x10F85}, {0x11070, 0x11070},
    {0x11073, 0x11074}, {0x110C2, 0x110C2}, {0x111C9, 0x111C9}, {0x111CF, 0x111CF},
    {0x1123E, 0x1123E}, {0x11241, 0x11241}, {0x1133B, 0x1133B}, {0x11438, 0x11446},
    {0x1145E, 0x1145E}, {0x1182F, 0x1183A}, {0x1193B, 0x11943}, {0x119D4, 0x119E0},
    {0x11A01, 0x11A99}, {0x11C30, 0x11CB6}, {0x11D31, 0x11D97}, {0x11EF3, 0x11EF4},
    {0x11F00, 0x11F42}, {0x13440, 0x13455}, {0x16F4F, 0x16F4F}, {0x16FE4, 0x16FE4},
    {0x1CF00, 0x1CF46}, {0x1E000, 0x1E02A}, {0x1E08F, 0x1E08F}, {0x1E130, 0x1E136},
    {0x1E2AE, 0x1E2AE}, {0x1E2EC, 0x1E2EF}, {0x1E4EC, 0x1E4EF}, {0x1E944, 0x1E94A}};

/* Punctuation likewise. U+111C9 was punctuation then and is a mark now. */
static const struct range young_punctuation[] = {{0x061D, 0x061D}, {0x09FD, 0x09FD},
    {0x0A76, 0x0A76}, {0x0C77, 0x0C77}, {0x0C84, 0x0C84}, {0x1B7D, 0x1B7E}, {0x2E43, 0x2E5D},
    {0x10EAD, 0x10EAD}, {0x10F55, 0x10F59}, {0x10F86, 0x10F89}, {0x1144B, 0x1145D},
    {0x11660, 0x1166C}, {0x116B9, 0x116B9}, {0x1183B, 0x1183B}, {0x11944, 0x11946},
    {0x119E2, 0x119E2}, {0x11A3F, 0x11AA2}, {0x11B00, 0x11B09}, {0x11C41, 0x11C71},
    {0x11EF7, 0x11EF8}, {0x11F43, 0x11F4F}, {0x11FFF, 0x11FFF}, {0x12FF1, 0x12FF2},
    {0x16E97, 0x16E9A}, {0x16FE2, 0x16FE2}, {0x1E95E, 0x1E95F}};

/* Format characters likewise. */
static const struct range young_formats[] = {
    {0x0890, 0x0891}, {0x08E2, 0x08E2}, {0x110CD, 0x110CD}, {0x13430, 0x1343F}};

/* Letters of Unicode 16 and 17, which utf8proc does not lower yet. */
static const struct {
    struct range upper;
    uint32_t step; /* between two of them */
    int32_t lower; /* of the first */
} young_capitals[] = {{{0x1C89, 0x1C89}, 1, 0x1C8A}, {{0xA7CB, 0xA7CB}, 1, 0x264},
    {{0xA7CC, 0xA7CE}, 2, 0xA7CD}, {{0xA7D2, 0xA7D4}, 2, 0xA7D3}, {{0xA7DA, 0xA7DA}, 1, 0xA7DB},
    {{0xA7DC, 0xA7DC}, 1, 0x19B}, {{0x10D50, 0x10D65}, 1, 0x10D70},
    {{0x16EA0, 0x16EB8}, 1, 0x16EBB}};

static const struct range ideographs[] = {{0x3400, 0x4DBF}, {0x4E00, 0x9FFF}, {0xF900, 0xFAFF},
    {0x20000, 0x2A6DF}, {0x2A700, 0x2B81F}, {0x2B920, 0x2CEAF}, {0x2F800, 0x2FA1F}};

static bool in_ranges(const struct range *ranges, size_t n, uint32_t c) {
    for (size_t i = 0; i < n && ranges[i].first <= c; i++)
        if (c <= ranges[i].last)
            return true;
    return false;
}
#define IN(ranges, c) in_ranges(ranges, sizeof(ranges) / sizeof *(ranges), c)

static bool is_dropped(uint32_t c) {
    if (c == '\t' || c == '\n' || c == '\r')
        return false;
    if (c < 0x80)
        return c < 0x20 || c == 0x7F;
    utf8proc_category_t category = utf8proc_category((utf8proc_int32_t)c);
    return c == 0xFFFD || category == UTF8PROC_CATEGORY_CC || category == UTF8PROC_CATEGORY_CO ||
        (category == UTF8PROC_CATEGORY_CF && !IN(young_formats, c));
}

static bool is_mark(uint32_t c) {
    if (c < 0x300)
        return false;
    return c == 0x1734 ||
        (utf8proc_category((utf8proc_int32_t)c) == UTF8PROC_CATEGORY_MN && !IN(young_marks, c));
}

static bool is_punctuation(uint32_t c) {
    if (c < 0x80)
        return (c >= '!' && c <= '/') || (c >= ':' && c <= '@') || (c >= '[' && c <= '`') ||
            (c >= '{' && c <= '~');
    utf8proc_category_t category = utf8proc_category((utf8proc_int32_t)c);
    return c == 0x166D || c == 0x111C9 ||
        (category >= UTF8PROC_CATEGORY_PC && category <= UTF8PROC_CATEGORY_PO &&
            !IN(young_punctuation, c));
}

static uint32_t lower(uint32_t c) {
    if (c < 0x80)
        return c >= 'A' && c <= 'Z' ? c + 0x20 : c;
    for (size_t i = 0; i < sizeof young_capitals / sizeof young_capitals[0]; i++) {
        uint32_t first = young_capitals[i].upper.first;
        if (c >= first && c <= young_capitals[i].upper.last &&
            (c - first) % young_capitals[i].step == 0)
            return (uint32_t)young_capitals[i].lower + (c - first);
    }
    return (uint32_t)utf8proc_tolower((utf8proc_int32_t)c);
}

static bool push(struct letters *letters, uint32_t c, uint32_t begin, uint32_t end) {
    if (letters->n == letters->capacity &&
        !hn_grow(&letters->data, &letters->capacity, letters->n + 1, sizeof *letters->data))
        return false;
    letters->data[letters->n++] = (struct letter){c, begin, end};
    return true;
}

static uint32_t place(const struct work *w, size_t at) {
    return w->map ? w->map[at] : (uint32_t)(w->base + at);
}

/* Cleaned characters of text[begin, end); ideographs with a space on either side. */
static bool read_letters(struct work *w, size_t begin, size_t end) {
    w->letters.n = 0;
    for (size_t at = begin; at < end;) {
        uint32_t c = hn_utf8_get(w->text + at), from = place(w, at);
        at += hn_utf8_length((unsigned char)w->text[at]);
        uint32_t to = place(w, at);
        if (w->wp->clean && is_dropped(c))
            continue;
        bool apart = w->wp->ideographs && c >= 0x3400 && IN(ideographs, c);
        if ((apart && !push(&w->letters, ' ', from, to)) || !push(&w->letters, c, from, to) ||
            (apart && !push(&w->letters, ' ', from, to)))
            return false;
    }
    return true;
}

static void swap(struct work *w) {
    struct letters letters = w->letters;
    w->letters = w->decomposed;
    w->decomposed = letters;
}

static int class_of(uint32_t c) {
    return c < 0x300 || IN(young_marks, c)
        ? 0
        : utf8proc_get_property((utf8proc_int32_t)c)->combining_class;
}

/* Puts the marks behind a letter into their canonical order (stable). */
static void order_marks(struct letter *letters, size_t n) {
    for (size_t i = 1; i < n; i++) {
        struct letter moved = letters[i];
        int class = class_of(moved.c);
        size_t k = i;
        for (; class && k > 0 && class_of(letters[k - 1].c) > class; k--)
            letters[k] = letters[k - 1];
        letters[k] = moved;
    }
}

/*
 * Form D without marks. The reference hands places out after it has put marks into order: to what
 * begins a letter the next of the original's places, to what follows from it the one before; so
 * places are handed out here. While marks are put into order, `begin` says whether a character
 * begins a letter, and only runs of marks move, so that a long one costs no more than its own
 * square: more than MAX_MARKS in a row are left as they stand.
 */
static bool strip_marks(struct work *w) {
    struct letters *from = &w->letters, *to = &w->decomposed;
    enum { MAX_MARKS = 4096 };
    bool plain = true;
    for (size_t i = 0; i < from->n; i++)
        plain = plain && from->data[i].c < 0x80;
    if (plain)
        return true;
    to->n = 0;
    for (size_t i = 0; i < from->n; i++) {
        utf8proc_int32_t parts[16] = {(utf8proc_int32_t)from->data[i].c};
        int boundary = 0;
        utf8proc_ssize_t n = 1;
        if (from->data[i].c >= 0x80 &&
            from->data[i].c != 0x11938) /* younger than the reference's table */
            n = utf8proc_decompose_char(
                parts[0], parts, 16, UTF8PROC_STABLE | UTF8PROC_DECOMPOSE, &boundary);
        for (utf8proc_ssize_t k = 0; k < n && k < 16; k++)
            if (!push(to, (uint32_t)parts[k], k == 0, 0))
                return false;
    }
    for (size_t i = 0, end; i < to->n; i = end) {
        for (end = i + 1; end < to->n && class_of(to->data[end].c);)
            end++;
        if (end - i > 1 && end - i <= MAX_MARKS)
            order_marks(to->data + i, end - i);
    }
    size_t kept = 0, next = 0;
    for (size_t i = 0; i < to->n; i++) {
        next += to->data[i].begin;
        struct letter origin = from->data[next ? next - 1 : 0];
        if (!is_mark(to->data[i].c))
            to->data[kept++] = (struct letter){to->data[i].c, origin.begin, origin.end};
    }
    to->n = kept;
    swap(w);
    return true;
}

/* U+0130 is the one letter whose lower case is two characters: i and a dot. */
static bool split_dotted(struct work *w) {
    struct letters *from = &w->letters, *to = &w->decomposed;
    bool dotted = false;
    for (size_t i = 0; i < from->n; i++)
        dotted = dotted || from->data[i].c == 0x130;
    to->n = 0;
    for (size_t i = 0; dotted && i < from->n; i++) {
        struct letter l = from->data[i];
        bool two = l.c == 0x130;
        if (!push(to, two ? 'i' : l.c, l.begin, l.end) || (two && !push(to, 0x307, l.begin, l.end)))
            return false;
    }
    if (dotted)
        swap(w);
    return true;
}

static bool to_lower(struct work *w) {
    if (!split_dotted(w))
        return false;
    for (size_t i = 0; i < w->letters.n; i++)
        w->letters.data[i].c = lower(w->letters.data[i].c);
    return true;
}

/* Characters of the longest piece that letters[0, n) begins with, 0 if there is none; *ret_id is
 * the piece. */
static size_t longest(
    struct work *w, const struct letter *letters, size_t n, bool first, int32_t *ret_id) {
    const struct wordpiece *wp = w->wp;
    struct hn_view mark = first ? wp->first : wp->inner;
    size_t size = mark.size, count = 0;
    char utf8[4];
    memcpy(w->key, mark.data, mark.size);
    for (size_t bytes; count < n; count++, size += bytes) {
        bytes = hn_utf8_put(letters[count].c, utf8);
        if (size + bytes > wp->max_piece)
            break;
        memcpy(w->key + size, utf8, bytes);
    }
    for (; count > 0; count--) {
        *ret_id = hn_vocab_find(&w->tok->vocab, w->key, size);
        if (*ret_id >= 0)
            return count;
        size -= hn_utf8_put(letters[count - 1].c, utf8);
    }
    return 0;
}

static bool encode_word(struct work *w, const struct letter *letters, size_t n) {
    size_t before = w->out->n;
    bool known = n <= w->wp->max_word;
    for (size_t at = 0, count; known && at < n; at += count) {
        int32_t id;
        count = longest(w, letters + at, n - at, at == 0, &id);
        known = count > 0;
        if (known && !hn_ids_push(w->out, id, letters[at].begin, letters[at + count - 1].end))
            return false;
    }
    if (known)
        return true;
    w->out->n = before;
    return hn_ids_push(w->out, w->wp->unknown, letters[0].begin, letters[n - 1].end);
}

/* A stretch without spaces. */
static bool encode_stretch(struct work *w, size_t begin, size_t end) {
    if (!read_letters(w, begin, end) || (w->wp->strip && !strip_marks(w)) ||
        (w->wp->lower && !to_lower(w)))
        return false;
    const struct letter *letters = w->letters.data;
    for (size_t i = 0, n; i < w->letters.n; i += n) {
        n = 1;
        if (hn_utf8_is_white(letters[i].c))
            continue;
        if (!is_punctuation(letters[i].c))
            while (i + n < w->letters.n && !hn_utf8_is_white(letters[i + n].c) &&
                !is_punctuation(letters[i + n].c))
                n++;
        if (!encode_word(w, letters + i, n))
            return false;
    }
    return true;
}

static bool is_gap(char c) {
    return c == ' ' || c == '\n' || c == '\t' || c == '\r';
}

static int encode(const struct hn_tokenizer *tok, const char *text, size_t size,
    const uint32_t *map, size_t base, struct hn_ids *out, struct hn_error *err) {
    struct work w = {
        .tok = tok, .wp = tok->state, .text = text, .map = map, .base = base, .out = out};
    w.key = hn_calloc(w.wp->max_piece + 1, 1);
    bool ok = w.key != NULL;
    /* No word and no letter with its marks goes across these four, so stretches between them are
     * done alone. */
    for (size_t at = 0, end; ok && at < size; at = end) {
        for (end = at; end < size && !is_gap(text[end]);)
            end++;
        if (end > at)
            ok = encode_stretch(&w, at, end);
        else
            end = at + 1;
    }
    free(w.key);
    free(w.letters.data);
    free(w.decomposed.data);
    return ok ? 0 : hn_fail(err, HN_E_INTERNAL, "out of memory while tokenising");
}

static int load(struct hn_tokenizer *tok, const struct hn_gguf *gguf, struct hn_error *err) {
    static const struct hn_view block = {"\xE2\x96\x81", 3}, nothing = {"", 0};
    struct wordpiece *wp = hn_calloc(1, sizeof *wp);
    if (!(tok->state = wp))
        return hn_fail(err, HN_E_INTERNAL, "out of memory");
    const struct hn_gguf_kv *prefix = hn_gguf_find(gguf, HN_KEY_INNER_PREFIX);
    wp->first = prefix ? nothing : block;
    wp->inner = prefix ? hn_gguf_string(gguf, HN_KEY_INNER_PREFIX) : nothing;
    if (!wp->inner.data)
        wp->inner = nothing;
    wp->clean = hn_gguf_bool(gguf, HN_KEY_CLEAN, true);
    wp->ideographs = hn_gguf_bool(gguf, HN_KEY_IDEOGRAPHS, true);
    wp->lower = hn_gguf_bool(gguf, HN_KEY_LOWER, true);
    wp->strip = hn_gguf_bool(gguf, HN_KEY_STRIP, wp->lower);
    int64_t longest_word = hn_gguf_int(gguf, HN_KEY_MAX_WORD, 100);
    wp->max_word = longest_word > 0 ? (size_t)longest_word : 0;
    int64_t unknown = hn_gguf_int(gguf, "tokenizer.ggml.unknown_token_id", -1);
    if (unknown < 0 || (size_t)unknown >= tok->vocab.n)
        return hn_fail(
            err, HN_E_MODEL_INVALID, "the WordPiece tokenizer names no unknown token ([UNK])");
    wp->unknown = (int32_t)unknown;
    wp->max_piece = wp->inner.size > wp->first.size ? wp->inner.size : wp->first.size;
    for (size_t id = 0; id < tok->vocab.n; id++) {
        size_t bytes = hn_vocab_text(&tok->vocab, (int32_t)id).size;
        wp->max_piece = bytes > wp->max_piece ? bytes : wp->max_piece;
    }
    return 0;
}

const struct hn_tokenizer_kind hn_tokenizer_wordpiece = {
    .model = "bert",
    .spelling = HN_SPELLED_PLAIN,
    .takes_added = true,
    .load = load,
    .encode = encode,
    .destroy = free,
};
