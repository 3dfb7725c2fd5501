/*
 * What a tokenizer puts around texts, and where a token stands in its text as the reference says
 * it. See tokenizer.h.
 *
 * The parts come from the file's post-processor (folder_text.c), or follow from the kind: BERT's
 * [CLS] and [SEP], else BOS and EOS where the file wants them added.
 */
#include "engine/tokenizer/tokenizer_internal.h"
#include "engine/base/utf8.h"

#include <stdlib.h>
#include <string.h>

void hn_sequence_free(struct hn_sequence *seq) {
    free(seq->ids);
    free(seq->types);
    *seq = (struct hn_sequence){0};
}

static void add_part(struct hn_tokenizer *tok, bool pair, int32_t id, int32_t type) {
    tok->parts[pair][tok->n_parts[pair]++] = (struct hn_wrap_part){id, type};
}

/* [begin] text [end], and for a pair the same again; BERT's second text has no begin of its own. */
static void put_default(struct hn_tokenizer *tok, int32_t begin, int32_t end, bool again) {
    for (int pair = 0; pair < 2; pair++)
        for (int text = 0; text <= pair; text++) {
            if (begin >= 0 && (text == 0 || again))
                add_part(tok, pair, begin, text);
            add_part(tok, pair, text ? HN_PART_SECOND : HN_PART_FIRST, text);
            if (end >= 0)
                add_part(tok, pair, end, text);
        }
}

static int read_parts(
    struct hn_tokenizer *tok, const struct hn_gguf_kv *list, bool pair, struct hn_error *err) {
    size_t seen[2] = {0, 0};
    bool fits = list->type == HN_GGUF_ARRAY && list->element == HN_GGUF_I32 &&
        list->count <= 2 * HN_WRAP_PARTS_MAX;
    for (size_t i = 0; fits && i + 1 < list->count; i += 2) {
        int64_t id = hn_gguf_array_int(list, i), type = hn_gguf_array_int(list, i + 1);
        fits = id >= HN_PART_SECOND && id < (int64_t)tok->vocab.n && type >= 0 && type < 1 << 16;
        if (fits && id < 0)
            seen[id == HN_PART_SECOND]++;
        if (fits)
            add_part(tok, pair, (int32_t)id, (int32_t)type);
    }
    if (!fits || seen[0] != 1 || seen[1] != pair)
        return hn_fail(err, HN_E_MODEL_INVALID, "the tokenizer's parts around a %s make no sense",
            pair ? "pair of texts" : "text");
    return 0;
}

static int32_t id_of(const struct hn_tokenizer *tok, const struct hn_gguf *gguf, const char *key) {
    int64_t id = hn_gguf_int(gguf, key, -1);
    return id >= 0 && (size_t)id < tok->vocab.n ? (int32_t)id : -1;
}

int hn_tokenizer_load_parts(
    struct hn_tokenizer *tok, const struct hn_gguf *gguf, struct hn_error *err) {
    const struct hn_gguf_kv *single = hn_gguf_find(gguf, HN_KEY_SINGLE),
                            *pair = hn_gguf_find(gguf, HN_KEY_PAIR);
    int64_t trim = hn_gguf_int(gguf, HN_KEY_TRIM, HN_TRIM_NONE);
    tok->trim = trim == HN_TRIM_SPACES || trim == HN_TRIM_BUT_PREFIX ? (int)trim : HN_TRIM_NONE;
    if (single && pair) {
        int rc = read_parts(tok, single, false, err);
        return rc ? rc : read_parts(tok, pair, true, err);
    }
    if (tok->kind == &hn_tokenizer_wordpiece) {
        int32_t cls = id_of(tok, gguf, "tokenizer.ggml.cls_token_id");
        put_default(tok, cls >= 0 ? cls : tok->bos,
            id_of(tok, gguf, "tokenizer.ggml.seperator_token_id"), false);
    } else {
        bool adds_eos = hn_gguf_bool(gguf, "tokenizer.ggml.add_eos_token", false);
        put_default(tok, tok->adds_bos ? tok->bos : -1, adds_eos ? tok->eos : -1, true);
    }
    return 0;
}

size_t hn_tokenizer_wrap_size(const struct hn_tokenizer *tok, bool pair) {
    return tok->n_parts[pair] - 1 - pair;
}

int hn_tokenizer_wrap(const struct hn_tokenizer *tok, const struct hn_ids *a,
    const struct hn_ids *b, struct hn_sequence *ret, struct hn_error *err) {
    const struct hn_wrap_part *parts = tok->parts[b != NULL];
    size_t total = a->n + (b ? b->n : 0) + hn_tokenizer_wrap_size(tok, b != NULL);
    struct hn_sequence seq = {
        .ids = hn_calloc(total, sizeof *seq.ids), .types = hn_calloc(total, sizeof *seq.types)};
    if (!seq.ids || !seq.types) {
        hn_sequence_free(&seq);
        return hn_fail(err, HN_E_INTERNAL, "out of memory for %zu tokens", total);
    }
    for (size_t i = 0; i < tok->n_parts[b != NULL]; i++) {
        const struct hn_ids *text = parts[i].id == HN_PART_FIRST ? a
            : parts[i].id == HN_PART_SECOND                      ? b
                                                                 : NULL;
        size_t n = text ? text->n : 1;
        if (text)
            seq.begin[parts[i].id == HN_PART_SECOND] = seq.n;
        if (n)
            memcpy(seq.ids + seq.n, text ? text->ids : &parts[i].id, n * sizeof *seq.ids);
        for (size_t k = 0; k < n; k++)
            seq.types[seq.n++] = parts[i].type;
    }
    *ret = seq;
    return 0;
}

/* Length of the character, or of the bytes that one U+FFFD stands for. */
static size_t length_at(const char *text, size_t size) {
    size_t length = hn_utf8_length((unsigned char)text[0]);
    size_t look = size < length ? size : length;
    return hn_utf8_valid(text, look) == length && look == length ? length
                                                                 : hn_utf8_bad_length(text, size);
}

/* Moves both ends outwards to the borders of characters. A character begins at most three bytes
 * before. */
static void widen(const char *text, size_t size, size_t *begin, size_t *end) {
    size_t at = *begin;
    for (int i = 0; i < 3 && at > 0 && (text[at] & 0xC0) == 0x80; i++)
        at--;
    while (at < size) {
        size_t next = at + length_at(text + at, size - at);
        if (next > *begin) {
            *begin = at;
            at = next;
            break;
        }
        at = next;
    }
    while (at < *end && at < size)
        at += length_at(text + at, size - at);
    *end = at;
}

static size_t plain_spaces(struct hn_view text, bool trailing) {
    size_t n = 0;
    while (n < text.size && text.data[trailing ? text.size - 1 - n : n] == ' ')
        n++;
    return n;
}

/* Characters that are spaces of any sort at one end of text, which is valid. */
static size_t all_spaces(struct hn_view text, bool trailing) {
    size_t n = 0;
    for (size_t at = trailing ? text.size : 0, from; trailing ? at > 0 : at < text.size; n++) {
        for (from = at - trailing; trailing && from > 0 && (text.data[from] & 0xC0) == 0x80;)
            from--;
        if (!hn_utf8_is_white(hn_utf8_get(text.data + from)))
            break;
        at = trailing ? from : at + hn_utf8_length((unsigned char)text.data[at]);
    }
    return n;
}

/* Takes `leading` and `trailing` characters off, as far as there are any. */
static void trim(
    const char *text, size_t size, size_t leading, size_t trailing, size_t *begin, size_t *end) {
    for (; leading && *begin < *end; leading--)
        *begin += length_at(text + *begin, size - *begin);
    for (; trailing && *end > *begin; trailing--)
        do
            --*end;
        while (*end > *begin && (text[*end] & 0xC0) == 0x80);
}

void hn_tokenizer_span(const struct hn_tokenizer *tok, const char *text, size_t size,
    const struct hn_ids *ids, size_t i, size_t *ret_begin, size_t *ret_end) {
    size_t begin = ids->offsets[i], end = ids->ends[i];
    if (begin < size)
        widen(text, size, &begin, &end);
    if (tok->trim != HN_TRIM_NONE && begin < size) {
        uint8_t type = tok->vocab.types[ids->ids[i]];
        bool added = type == HN_TOKEN_CONTROL || type == HN_TOKEN_USER_DEFINED,
             first = i == 0 || begin == 0;
        /* A token of bytes counts the spaces that it is spelled with, an added one those that it
         * took from the text.
         */
        struct hn_view own = added ? (struct hn_view){text + begin, end - begin}
                                   : hn_vocab_text(&tok->vocab, ids->ids[i]);
        size_t (*count)(struct hn_view text, bool trailing) = added ? all_spaces : plain_spaces;
        size_t leading = count(own, false), trailing = count(own, true);
        if (leading == 1 && first && tok->trim == HN_TRIM_BUT_PREFIX)
            /* the reference takes it for the space put before the text, even if none was */
            leading = 0;
        trim(text, size, leading, trailing, &begin, &end);
    }
    *ret_begin = begin;
    *ret_end = end;
}
