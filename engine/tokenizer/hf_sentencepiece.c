/*
 * SentencePiece's vocabularies in tokenizer.json → fields: BPE by merges over characters (Llama 2,
 * Mistral, Gemma) and unigram (T5, XLM-RoBERTa).
 *
 * What the file's normalizer and pre-tokenizer do to spaces is read into three: where a space is
 * put before the text, whether words begin at spaces, and (what all do, since the vocabulary spells
 * it so) that U+2581 stands for a space. Unigram's have more: the precompiled normalization, spaces
 * taken off the ends, runs of them collapsed, in this order.
 */
#include "engine/base/buf.h"
#include "engine/tokenizer/hf_tokenizer.h"
#include "engine/tokenizer/tokenizer_internal.h"
#include "engine/tokenizer/vocab.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define BLOCK "\xE2\x96\x81"

struct spaces {
    int prefix;         /* HN_PREFIX_… */
    bool split, marked; /* words begin at spaces; spaces are spelled U+2581 */
    /* Of unigram's alone: */
    const char *charsmap; /* base64 */
    bool strip_left, strip_right, collapse, collapse_to_block, words;
};

static bool is_text(const json_t *part, const char *key, const char *text) {
    const char *value = json_string_value(json_object_get(part, key));
    return value && strcmp(value, text) == 0;
}

/* The i-th step of a normalizer or pre-tokenizer, which may be a sequence, one step or nothing. */
static const json_t *step(const json_t *part, const char *list, size_t i) {
    if (hn_text_has_type(part, "Sequence"))
        return json_array_get(json_object_get(part, list), i);
    return i == 0 && json_is_object(part) ? part : NULL;
}

static bool read_normalizer(struct spaces *s, const json_t *one) {
    if (hn_text_has_type(one, "Prepend") && is_text(one, "prepend", BLOCK))
        s->prefix = HN_PREFIX_EACH;
    else if (hn_text_has_type(one, "Replace") &&
        is_text(json_object_get(one, "pattern"), "String", " ") && is_text(one, "content", BLOCK))
        s->marked = true;
    else
        return false;
    return true;
}

/* Unigram's further steps, which have to come in the order in which unigram.c does them. */
static bool read_unigram_step(struct spaces *s, const json_t *one) {
    const char *charsmap = json_string_value(json_object_get(one, "precompiled_charsmap"));
    bool later = s->strip_left || s->strip_right || s->collapse;
    if (hn_text_has_type(one, "Precompiled") && !s->charsmap && !later) {
        s->charsmap = charsmap;
        return true;
    }
    if (hn_text_has_type(one, "Strip") && !s->collapse) {
        s->strip_left = s->strip_left || json_is_true(json_object_get(one, "strip_left"));
        s->strip_right = s->strip_right || json_is_true(json_object_get(one, "strip_right"));
        return true;
    }
    s->collapse_to_block = is_text(one, "content", BLOCK);
    s->collapse = hn_text_has_type(one, "Replace") &&
        is_text(json_object_get(one, "pattern"), "Regex", " {2,}") &&
        (s->collapse_to_block || is_text(one, "content", " "));
    return s->collapse;
}

/* "prepend_scheme", or the older "add_prefix_space". */
static bool read_metaspace(struct spaces *s, const json_t *one) {
    const char *scheme = json_string_value(json_object_get(one, "prepend_scheme"));
    const json_t *split = json_object_get(one, "split"),
                 *add = json_object_get(one, "add_prefix_space");
    if (!is_text(one, "replacement", BLOCK))
        return false;
    if (!scheme)
        scheme = json_is_false(add) ? "never" : "always";
    s->marked = true;
    s->split = !split || json_is_true(split);
    s->prefix = strcmp(scheme, "always") == 0 ? HN_PREFIX_MISSING
        : strcmp(scheme, "first") == 0        ? HN_PREFIX_FIRST
                                              : HN_PREFIX_NONE;
    return true;
}

static bool read_pre_tokenizer(struct spaces *s, const json_t *one) {
    if (hn_text_has_type(one, "Metaspace"))
        return s->prefix == HN_PREFIX_NONE && read_metaspace(s, one);
    /* Gemma's: after the normalizer there is no space left to split at. */
    return s->marked && hn_text_has_type(one, "Split") &&
        is_text(json_object_get(one, "pattern"), "String", " ");
}

static int read_spaces(
    const struct hn_text *t, bool unigram, struct spaces *s, struct hn_error *err) {
    const json_t *normalizer = json_object_get(t->tokenizer, "normalizer"),
                 *pre = json_object_get(t->tokenizer, "pre_tokenizer"), *one;
    for (size_t i = 0; (one = step(normalizer, "normalizers", i)); i++)
        if (!(unigram && read_unigram_step(s, one)) && !read_normalizer(s, one))
            return hn_text_refuse("normalizer", one, err);
    for (size_t i = 0; (one = step(pre, "pretokenizers", i)); i++)
        if (unigram && i == 0 && hn_text_has_type(one, "WhitespaceSplit") &&
            !s->collapse_to_block && !s->marked)
            s->words = true;
        else if (!read_pre_tokenizer(s, one))
            return hn_text_refuse("pre-tokenizer", one, err);
    return s->marked ? 0 : hn_text_refuse("model without a mark for spaces", NULL, err);
}

/* Byte tokens, the unknown one, and user-defined ones that spell spaces: these the reference looks
 * for as they are spelled, which no text is, while merges lead to them. */
static void set_types(struct hn_text *t, bool fallback, int64_t unknown) {
    for (size_t id = 0; id < t->n; id++) {
        struct hn_view token = t->tokens[id];
        char spelling[8] = "";
        if (t->types[id] == HN_TOKEN_USER_DEFINED && memmem(token.data, token.size, BLOCK, 3))
            t->types[id] = HN_TOKEN_NORMAL;
        if (fallback && t->types[id] == HN_TOKEN_NORMAL && token.size == 6 &&
            memcmp(token.data, "<0x", 3) == 0) {
            for (int byte = 0; byte < 256 && t->types[id] == HN_TOKEN_NORMAL; byte++) {
                snprintf(spelling, sizeof spelling, "<0x%02X>", byte);
                if (memcmp(token.data, spelling, 6) == 0)
                    t->types[id] = HN_TOKEN_BYTE;
            }
        }
        if ((int64_t)id == unknown && t->types[id] == HN_TOKEN_NORMAL)
            t->types[id] = HN_TOKEN_UNKNOWN;
    }
}

static bool takes(const struct hn_text *t, const json_t *model) {
    const json_t *normalizer = json_object_get(t->tokenizer, "normalizer"),
                 *pre = json_object_get(t->tokenizer, "pre_tokenizer"), *one;
    struct spaces s = {0};
    if (json_is_true(json_object_get(model, "byte_fallback")))
        return true;
    for (size_t i = 0; (one = step(normalizer, "normalizers", i)); i++)
        read_normalizer(&s, one);
    for (size_t i = 0; (one = step(pre, "pretokenizers", i)); i++)
        s.marked = s.marked || hn_text_has_type(one, "Metaspace");
    return s.marked;
}

static int convert(struct hn_text *t, const json_t *model, struct hn_error *err) {
    static const char *const marks[] = {"continuing_subword_prefix", "end_of_word_suffix"};
    struct spaces s = {0};
    int rc = read_spaces(t, false, &s, err);
    if (rc)
        return rc;
    for (size_t i = 0; i < 2; i++)
        if (json_string_length(json_object_get(model, marks[i])))
            return hn_text_refuse("BPE with word marks", NULL, err);
    if (json_is_true(json_object_get(model, "ignore_merges")))
        return hn_text_refuse("BPE over characters that ignores its merges", NULL, err);
    bool fallback = json_is_true(json_object_get(model, "byte_fallback"));
    const char *name = json_string_value(json_object_get(model, "unk_token"));
    int64_t unknown = hn_text_find(t, name);
    if (name && unknown < 0)
        return hn_fail(err, HN_E_MODEL_INVALID,
            "tokenizer.json: the unknown token \"%.60s\" is not in the vocabulary", name);
    set_types(t, fallback, unknown);
    hn_gguf_put_bool(&t->w, HN_KEY_FALLBACK, fallback);
    hn_gguf_put_bool(&t->w, HN_KEY_FUSE, json_is_true(json_object_get(model, "fuse_unk")));
    hn_gguf_put_bool(&t->w, HN_KEY_SPLIT, s.split);
    hn_gguf_put_u32(&t->w, HN_KEY_PREFIX, (uint32_t)s.prefix);
    t->unknown = unknown;
    return hn_text_put_merges(t, json_object_get(model, "merges"), err);
}

const struct hn_text_kind hn_text_piece_bpe = {
    .type = "BPE",
    .takes = takes,
    .model = "hone.piece-bpe",
    .convert = convert,
};

static int value_of(char c) {
    static const char alphabet[] =
        "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    const char *at = c ? strchr(alphabet, c) : NULL;
    return at ? (int)(at - alphabet) : -1;
}

/* The normalization's bytes from base64. */
static int put_charsmap(struct hn_text *t, const char *text, struct hn_error *err) {
    struct hn_buf bytes = {0};
    uint32_t bits = 0;
    size_t size = strlen(text), i = 0;
    for (int value; i < size && (value = value_of(text[i])) >= 0; i++) {
        bits = bits << 6 | (uint32_t)value;
        if (i % 4) /* the second to fourth of four complete a byte */
            hn_buf_char(&bytes, (char)(bits >> (6 - 2 * (i % 4)) & 0xFF));
    }
    int rc = 0;
    if (strspn(text + i, "=") != size - i)
        rc = hn_fail(
            err, HN_E_MODEL_INVALID, "tokenizer.json: the precompiled normalization is not base64");
    else if (bytes.failed)
        rc = hn_fail(err, HN_E_INTERNAL, "out of memory");
    else if (bytes.size) {
        struct hn_gguf_kv kv = {{"tokenizer.ggml.precompiled_charsmap", 35}, HN_GGUF_ARRAY,
            HN_GGUF_U8, bytes.size, (const uint8_t *)bytes.data, NULL};
        hn_gguf_put_copy(&t->w, &kv);
    }
    hn_buf_free(&bytes);
    return rc;
}

static int put_scores(struct hn_text *t, const json_t *vocab, struct hn_error *err) {
    double *scores = hn_calloc(t->n, sizeof *scores);
    if (!scores)
        return hn_fail(err, HN_E_INTERNAL, "out of memory");
    for (size_t i = 0; i < json_array_size(vocab) && i < t->n; i++)
        scores[i] = json_number_value(json_array_get(json_array_get(vocab, i), 1));
    struct hn_gguf_kv kv = {{"tokenizer.ggml.scores", 21}, HN_GGUF_ARRAY, HN_GGUF_F64, t->n,
        (const uint8_t *)scores, NULL};
    hn_gguf_put_copy(&t->w, &kv);
    free(scores);
    return 0;
}

static int convert_unigram(struct hn_text *t, const json_t *model, struct hn_error *err) {
    struct spaces s = {0};
    const json_t *unknown = json_object_get(model, "unk_id");
    int rc = read_spaces(t, true, &s, err);
    if (rc)
        return rc;
    t->unknown = json_is_integer(unknown) ? json_integer_value(unknown) : -1;
    if (t->unknown < 0 || (size_t)t->unknown >= t->n)
        return hn_fail(err, HN_E_MODEL_INVALID,
            "tokenizer.json: the unigram model's unk_id is missing or out of range");
    bool fallback = json_is_true(json_object_get(model, "byte_fallback"));
    set_types(t, fallback, t->unknown);
    const struct {
        const char *key;
        bool value;
    } rows[] = {{HN_KEY_FALLBACK, fallback}, {HN_KEY_SPLIT, s.split}, {HN_KEY_WORDS, s.words},
        {HN_KEY_STRIP_LEFT, s.strip_left}, {HN_KEY_STRIP_RIGHT, s.strip_right},
        {HN_KEY_COLLAPSE, s.collapse}};
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++)
        hn_gguf_put_bool(&t->w, rows[i].key, rows[i].value);
    hn_gguf_put_u32(&t->w, HN_KEY_PREFIX, (uint32_t)s.prefix);
    rc = s.charsmap ? put_charsmap(t, s.charsmap, err) : 0;
    return rc ? rc : put_scores(t, json_object_get(model, "vocab"), err);
}

const struct hn_text_kind hn_text_unigram = {
    .type = "Unigram",
    .model = "t5",
    .convert = convert_unigram,
};
