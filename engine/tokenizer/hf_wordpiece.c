/*
 * WordPiece in tokenizer.json → the fields of GGUF's "bert", with the tokens spelled as Hugging
 * Face spells them (HN_KEY_INNER_PREFIX says so); and tokenizer.json as it would be, where there is
 * only BERT's vocab.txt.
 */
#include "engine/base/buf.h"
#include "engine/tokenizer/hf_tokenizer.h"
#include "engine/base/json.h"
#include "engine/tokenizer/tokenizer_internal.h"
#include "engine/base/utf8.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define MAX_WORD_CHARS 100 /* the reference's default */

static int put_normalizer(struct hn_text *t, struct hn_error *err) {
    static const struct {
        const char *name, *key;
    } rows[] = {{"clean_text", HN_KEY_CLEAN}, {"handle_chinese_chars", HN_KEY_IDEOGRAPHS},
        {"lowercase", HN_KEY_LOWER}};
    const json_t *normalizer = json_object_get(t->tokenizer, "normalizer");
    bool none = !json_is_object(normalizer);
    if (!none && !hn_text_has_type(normalizer, "BertNormalizer"))
        return hn_text_refuse("normalizer", normalizer, err);
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++)
        hn_gguf_put_bool(
            &t->w, rows[i].key, json_is_true(json_object_get(normalizer, rows[i].name)));
    /* null: as lowercase says */
    const json_t *strip = json_object_get(normalizer, "strip_accents");
    hn_gguf_put_bool(&t->w, HN_KEY_STRIP,
        json_is_true(json_is_boolean(strip) ? strip : json_object_get(normalizer, "lowercase")));
    return 0;
}

static int convert(struct hn_text *t, const json_t *model, struct hn_error *err) {
    const json_t *pre = json_object_get(t->tokenizer, "pre_tokenizer");
    const json_t *longest = json_object_get(model, "max_input_chars_per_word");
    const char *prefix = json_string_value(json_object_get(model, "continuing_subword_prefix"));
    const char *unknown = json_string_value(json_object_get(model, "unk_token"));
    int64_t id = hn_text_find(t, unknown ? unknown : "[UNK]");
    json_int_t max_word = json_is_integer(longest) ? json_integer_value(longest) : MAX_WORD_CHARS;
    if (!hn_text_has_type(pre, "BertPreTokenizer"))
        return hn_text_refuse("pre-tokenizer", pre, err);
    if (id < 0)
        return hn_fail(err, HN_E_MODEL_INVALID,
            "tokenizer.json: the unknown token \"%.60s\" is not in the vocabulary",
            unknown ? unknown : "[UNK]");
    t->unknown = id;
    hn_gguf_put_string(&t->w, HN_KEY_INNER_PREFIX, prefix ? prefix : "##");
    hn_gguf_put_u32(&t->w, HN_KEY_MAX_WORD,
        max_word < 0               ? 0
            : max_word > INT32_MAX ? INT32_MAX
                                   : (uint32_t)max_word);
    return put_normalizer(t, err);
}

const struct hn_text_kind hn_text_wordpiece = {
    .type = "WordPiece",
    .model = "bert",
    .convert = convert,
};

/* One token a line, its number is its id; of twins the last counts. */
static int read_lines(const char *text, size_t size, json_t *vocab, struct hn_error *err) {
    json_int_t line = 0;
    for (size_t at = 0, next; at < size; at = next, line++) {
        const char *end = memchr(text + at, '\n', size - at);
        size_t length = end ? (size_t)(end - (text + at)) : size - at;
        next = at + length + 1;
        if (length && text[at + length - 1] == '\r')
            length--;
        if (memchr(text + at, 0, length) ||
            json_object_setn_new(vocab, text + at, length, json_integer(line)))
            return hn_fail(err, HN_E_MODEL_INVALID, "vocab.txt: line %lld is not UTF-8 text",
                (long long)line + 1);
    }
    return 0;
}

/* A special token's text: from tokenizer_config.json (there it may be an object), else BERT's
 * own. */
static const char *special_text(const struct hn_text *t, const char *name, const char *fallback) {
    char key[32];
    snprintf(key, sizeof key, "%s_token", name);
    const json_t *value = json_object_get(t->config, key);
    const char *text =
        json_string_value(json_is_object(value) ? json_object_get(value, "content") : value);
    return text ? text : fallback;
}

static void put_added(
    json_t *list, json_int_t id, const char *content, const json_t *flags, bool special) {
    json_array_append_new(list,
        HN_JSON_OBJECT({"id", json_integer(id)}, {"content", json_string(content)},
            {"special", json_boolean(special)},
            {"lstrip", json_boolean(json_is_true(json_object_get(flags, "lstrip")))},
            {"rstrip", json_boolean(json_is_true(json_object_get(flags, "rstrip")))},
            {"single_word", json_boolean(json_is_true(json_object_get(flags, "single_word")))},
            {"normalized", json_boolean(json_is_true(json_object_get(flags, "normalized")))}));
}

/* The five special tokens, and what tokenizer_config.json's added_tokens_decoder has besides. */
static json_t *added_tokens(const struct hn_text *t, const json_t *vocab) {
    static const char *const names[][2] = {
        {"pad", "[PAD]"}, {"unk", "[UNK]"}, {"cls", "[CLS]"}, {"sep", "[SEP]"}, {"mask", "[MASK]"}};
    const json_t *more = json_object_get(t->config, "added_tokens_decoder");
    json_t *list = json_array(), *value;
    const char *number;
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        const char *text = special_text(t, names[i][0], names[i][1]);
        const json_t *id = json_object_get(vocab, text);
        if (id)
            put_added(list, json_integer_value(id), text, NULL, true);
    }
    json_object_foreach((json_t *)(uintptr_t)more, number, value) {
        const char *content = json_string_value(json_object_get(value, "content"));
        if (content)
            put_added(list, strtol(number, NULL, 10), content, value,
                json_is_true(json_object_get(value, "special")));
    }
    return list;
}

static json_t *processor(const struct hn_text *t, const json_t *vocab) {
    const char *cls = special_text(t, "cls", "[CLS]"), *sep = special_text(t, "sep", "[SEP]");
    const json_t *cls_id = json_object_get(vocab, cls), *sep_id = json_object_get(vocab, sep);
    if (!cls_id || !sep_id)
        return json_null();
    return json_pack("{s:s, s:[s, I], s:[s, I]}", "type", "BertProcessing", "sep", sep,
        json_integer_value(sep_id), "cls", cls, json_integer_value(cls_id));
}

static bool says(const struct hn_text *t, const char *key, bool fallback) {
    const json_t *value = json_object_get(t->config, key);
    return json_is_boolean(value) ? json_is_true(value) : fallback;
}

static json_t *build(const struct hn_text *t, json_t *vocab) {
    const json_t *strip = json_object_get(t->config, "strip_accents");
    return HN_JSON_OBJECT({"added_tokens", added_tokens(t, vocab)},
        {"normalizer",
            HN_JSON_OBJECT({"type", json_string("BertNormalizer")}, {"clean_text", json_boolean(1)},
                {"handle_chinese_chars", json_boolean(says(t, "tokenize_chinese_chars", true))},
                {"lowercase", json_boolean(says(t, "do_lower_case", true))},
                {"strip_accents", hn_json_share_or_null(json_is_boolean(strip) ? strip : NULL)})},
        {"pre_tokenizer", HN_JSON_OBJECT({"type", json_string("BertPreTokenizer")})},
        {"post_processor", processor(t, vocab)},
        {"model",
            HN_JSON_OBJECT({"type", json_string("WordPiece")},
                {"unk_token", json_string(special_text(t, "unk", "[UNK]"))},
                {"continuing_subword_prefix", json_string("##")},
                {"max_input_chars_per_word", json_integer(MAX_WORD_CHARS)},
                {"vocab", hn_json_share(vocab)})});
}

int hn_text_from_vocab_txt(const struct hn_text *t, json_t **ret, struct hn_error *err) {
    char path[4400], *text = NULL;
    size_t size;
    snprintf(path, sizeof path, "%.4096s/vocab.txt", t->folder->dir);
    if (access(path, R_OK))
        return 0;
    if (!says(t, "do_basic_tokenize", true) ||
        json_array_size(json_object_get(t->config, "never_split")))
        return hn_fail(err, HN_E_UNSUPPORTED,
            "tokenizer_config.json: \"do_basic_tokenize\": false and \"never_split\" are not "
            "supported");
    json_t *vocab = json_object();
    int rc = hn_file_read(path, HN_JSON_MAX, &text, &size, err);
    if (!rc)
        rc = read_lines(text, size, vocab, err);
    if (!rc && !(*ret = build(t, vocab)))
        rc = hn_fail(
            err, HN_E_MODEL_INVALID, "vocab.txt and tokenizer_config.json make no tokenizer");
    json_decref(vocab);
    free(text);
    return rc;
}
