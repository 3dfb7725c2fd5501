/*
 * A GGUF file's byte-level BPE as Hugging Face's tokenizer files, so that an exported folder is loaded on its own.
 *
 * GGUF holds tokens, merges and the *name* of a pre-tokenizer; tokenizer.json wants the pre-tokenizer spelled out. The
 * table below has the spelling of the models' own tokenizer.json for the names it knows. The expressions are not those
 * of pretokenize.c, which are written for PCRE2: here Oniguruma and the tokenizers library run them.
 *
 * Guaranteed: the ids are the engine's (tests/parity/test_tokenizer_files.py). For that, merges that the engine cannot
 * apply are left out, since the library refuses a file with them, and of twin tokens only the first has a place in the
 * vocabulary. Bytes depend on the GGUF file alone: tokens in the order of their ids, merges in that of the file.
 */
#include "engine/export_tokenizer.h"
#include "engine/buf.h"
#include "engine/export.h"
#include "engine/file.h"
#include "engine/pretokenize.h"
#include "engine/utf8.h"
#include "engine/vocab.h"

#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define CL100K(digits)                                                                                                 \
    "(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|" digits                                               \
    "| ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+"

/* Every name that pretokenize.c treats as it treats `name` is meant. */
static const struct spelling {
    const char *name;
    const char *split; /* one expression that cuts the words; NULL: ByteLevel's own, which is GPT-2's */
    bool digits;       /* digits are cut off one by one before that */
} spellings[] = {
    {"gpt-2", NULL, false},
    {"smollm", NULL, true},
    {"llama-bpe", CL100K("\\p{N}{1,3}"), false},
    {"dbrx", CL100K("\\p{N}{1,3}"), false},
    {"qwen2", CL100K("\\p{N}"), false},
    {"hunyuan", CL100K("\\p{N}"), false},
};

struct source { /* what the files are made of */
    const struct hn_gguf *gguf;
    const struct hn_gguf_kv *tokens, *merges;
    const struct hn_pre_rule *rule;
    const struct spelling *spelling;
    struct hn_vocab vocab;
    size_t context;
};

static bool find_spelling(struct source *s) {
    struct hn_view pre = hn_gguf_string(s->gguf, "tokenizer.ggml.pre");
    s->rule = pre.data ? hn_pre_rule_find(pre.data, pre.size) : hn_pre_rule_find("default", 7);
    for (size_t i = 0; s->rule && i < sizeof spellings / sizeof spellings[0]; i++)
        if (hn_pre_rule_find(spellings[i].name, strlen(spellings[i].name)) == s->rule)
            s->spelling = &spellings[i];
    return s->spelling && hn_view_is(hn_gguf_string(s->gguf, "tokenizer.ggml.model"), "gpt2");
}

/* A JSON string; false for text that is not UTF-8, which JSON cannot hold. */
static bool put_string(struct hn_buf *out, struct hn_view text) {
    json_t *value = hn_utf8_valid(text.data, text.size) == text.size ? json_stringn(text.data, text.size) : NULL;
    char *dumped = value ? json_dumps(value, JSON_ENCODE_ANY) : NULL;
    if (dumped)
        hn_buf_text(out, dumped);
    free(dumped);
    json_decref(value);
    return dumped;
}

/* Appends a value built by jansson, which is given away. */
static void put_json(struct hn_buf *out, json_t *value) {
    char *text = value ? json_dumps(value, JSON_COMPACT | JSON_ENCODE_ANY) : NULL;
    if (text)
        hn_buf_text(out, text);
    else
        out->failed = true;
    free(text);
    json_decref(value);
}

/* Id of the ordinary token that a stretch in the byte alphabet stands for, or -1. */
static int32_t find_spelled(const struct hn_vocab *vocab, const char *text, size_t size) {
    char bytes[1024];
    size_t n;
    return size <= sizeof bytes && hn_byte_level_decode(text, size, bytes, &n) ? hn_vocab_find(vocab, bytes, n) : -1;
}

static bool is_added(uint8_t type) {
    return type == HN_TOKEN_CONTROL || type == HN_TOKEN_USER_DEFINED;
}

static void put_added(const struct source *s, struct hn_buf *out) {
    bool first = true;
    for (size_t i = 0; i < s->vocab.n; i++) {
        struct hn_view text = s->tokens->strings[i];
        if (!is_added(s->vocab.types[i]) || text.size == 0 || hn_utf8_valid(text.data, text.size) != text.size)
            continue;
        hn_buf_printf(out, "%s\n{\"id\":%zu,\"content\":", first ? "" : ",", i);
        put_string(out, text);
        hn_buf_printf(out, ",\"single_word\":false,\"lstrip\":false,\"rstrip\":false,\"normalized\":false,\"special\":%s}",
            s->vocab.types[i] == HN_TOKEN_CONTROL ? "true" : "false");
        first = false;
    }
}

static void put_vocabulary(const struct source *s, struct hn_buf *out) {
    bool first = true;
    for (size_t i = 0; i < s->vocab.n; i++) {
        struct hn_view text = s->tokens->strings[i];
        int32_t id = find_spelled(&s->vocab, text.data, text.size);
        bool twin = id >= 0 && (size_t)id != i;
        if (twin || text.size == 0 || hn_utf8_valid(text.data, text.size) != text.size)
            continue;
        hn_buf_text(out, first ? "\n" : ",\n");
        put_string(out, text);
        hn_buf_printf(out, ":%zu", i);
        first = false;
    }
}

static bool applies(const struct hn_vocab *vocab, struct hn_view line) {
    char joined[1024];
    const char *space = line.size > 2 ? memchr(line.data + 1, ' ', line.size - 2) : NULL;
    if (!space || line.size > sizeof joined)
        return false;
    size_t left = (size_t)(space - line.data), right = line.size - left - 1;
    memcpy(joined, line.data, left);
    memcpy(joined + left, space + 1, right);
    return find_spelled(vocab, line.data, left) >= 0 && find_spelled(vocab, space + 1, right) >= 0 &&
           find_spelled(vocab, joined, left + right) >= 0;
}

/* As "left right", which versions of the library from before it wrote pairs read as well. */
static void put_merges(const struct source *s, struct hn_buf *out) {
    bool first = true;
    for (size_t i = 0; i < s->merges->count; i++) {
        if (!applies(&s->vocab, s->merges->strings[i]))
            continue;
        hn_buf_text(out, first ? "\n" : ",\n");
        put_string(out, s->merges->strings[i]);
        first = false;
    }
}

static json_t *byte_level(bool use_regex) {
    return json_pack("{s:s, s:b, s:b, s:b}", "type", "ByteLevel", "add_prefix_space", 0, "trim_offsets", 1, "use_regex", use_regex);
}

static json_t *pre_tokenizer(const struct spelling *spelling) {
    json_t *first = NULL;
    if (spelling->split)
        first = json_pack("{s:s, s:{s:s}, s:s, s:b}", "type", "Split", "pattern", "Regex", spelling->split, "behavior", "Isolated", "invert", 0);
    else if (spelling->digits)
        first = json_pack("{s:s, s:b}", "type", "Digits", "individual_digits", 1);
    else
        return byte_level(true);
    return json_pack("{s:s, s:[o, o]}", "type", "Sequence", "pretokenizers", first, byte_level(!spelling->split));
}

/* Text of the token whose id stands under `key`; {NULL, 0} if none. */
static struct hn_view named_token(const struct source *s, const char *key) {
    int64_t id = hn_gguf_int(s->gguf, key, -1);
    return id >= 0 && (size_t)id < s->vocab.n ? s->tokens->strings[id] : (struct hn_view){NULL, 0};
}

/* What is added to every text: a BOS where the model wants one. */
static json_t *post_processor(const struct source *s) {
    struct hn_view bos = named_token(s, "tokenizer.ggml.bos_token_id");
    if (!bos.data || !hn_gguf_bool(s->gguf, "tokenizer.ggml.add_bos_token", s->rule->adds_bos))
        return json_null();
    json_t *name = json_stringn(bos.data, bos.size), *tokens = json_object();
    if (!name || !tokens) {
        json_decref(name);
        json_decref(tokens);
        return NULL;
    }
    json_object_setn_new(tokens, bos.data, bos.size,
        json_pack("{s:O, s:[I], s:[O]}", "id", name, "ids", (json_int_t)hn_gguf_int(s->gguf, "tokenizer.ggml.bos_token_id", 0), "tokens", name));
    json_t *out = json_pack("{s:s, s:[{s:{s:O, s:i}}, {s:{s:s, s:i}}], s:[{s:{s:O, s:i}}, {s:{s:s, s:i}}, {s:{s:s, s:i}}], s:o}", "type",
        "TemplateProcessing", "single", "SpecialToken", "id", name, "type_id", 0, "Sequence", "id", "A", "type_id", 0, "pair", "SpecialToken",
        "id", name, "type_id", 0, "Sequence", "id", "A", "type_id", 0, "Sequence", "id", "B", "type_id", 1, "special_tokens", tokens);
    json_decref(name);
    return out;
}

static int write_text(const char *dir, const char *name, struct hn_buf *text, struct hn_error *err) {
    char path[4096];
    snprintf(path, sizeof path, "%s/%s", dir, name);
    int rc = text->failed ? hn_fail(err, HN_E_INTERNAL, "out of memory") : hn_file_write_durable(path, text->data, text->size, err);
    hn_buf_free(text);
    return rc;
}

static int write_tokenizer(const struct source *s, const char *dir, struct hn_error *err) {
    struct hn_buf out = {0};
    hn_buf_text(&out, "{\"version\":\"1.0\",\"truncation\":null,\"padding\":null,\n\"added_tokens\":[");
    put_added(s, &out);
    hn_buf_printf(&out, "],\n\"normalizer\":%s,\n\"pre_tokenizer\":", s->rule->nfc ? "{\"type\":\"NFC\"}" : "null");
    put_json(&out, pre_tokenizer(s->spelling));
    hn_buf_text(&out, ",\n\"post_processor\":");
    put_json(&out, post_processor(s));
    hn_buf_text(&out, ",\n\"decoder\":");
    put_json(&out, byte_level(true));
    hn_buf_printf(&out,
        ",\n\"model\":{\"type\":\"BPE\",\"dropout\":null,\"unk_token\":null,\"continuing_subword_prefix\":null,"
        "\"end_of_word_suffix\":null,\"fuse_unk\":false,\"byte_fallback\":false,\"ignore_merges\":%s,\n\"vocab\":{",
        s->rule->whole_words ? "true" : "false");
    put_vocabulary(s, &out);
    hn_buf_text(&out, "},\n\"merges\":[");
    put_merges(s, &out);
    hn_buf_text(&out, "]}}\n");
    return write_text(dir, "tokenizer.json", &out, err);
}

static json_t *special_tokens(const struct source *s) {
    static const char *const keys[][2] = {
        {"bos_token", "tokenizer.ggml.bos_token_id"},
        {"eos_token", "tokenizer.ggml.eos_token_id"},
        {"pad_token", "tokenizer.ggml.padding_token_id"},
        {"unk_token", "tokenizer.ggml.unknown_token_id"},
    };
    json_t *out = json_object();
    for (size_t i = 0; i < sizeof keys / sizeof keys[0]; i++) {
        struct hn_view text = named_token(s, keys[i][1]);
        if (text.data) /* text that is no UTF-8 makes no string: jansson then sets nothing */
            json_object_set_new(out, keys[i][0], json_stringn(text.data, text.size));
    }
    return out;
}

static int write_json(const char *dir, const char *name, json_t *json, struct hn_error *err) {
    char path[4096];
    snprintf(path, sizeof path, "%s/%s", dir, name);
    return hn_export_json(path, json, err);
}

static int write_config(const struct source *s, const char *dir, struct hn_error *err) {
    struct hn_view chat = hn_gguf_string(s->gguf, "tokenizer.chat_template");
    json_t *config = special_tokens(s);
    json_object_set_new(config, "clean_up_tokenization_spaces", json_false());
    json_object_set_new(config, "model_max_length", json_integer((json_int_t)s->context));
    json_object_set_new(config, "tokenizer_class", json_string("PreTrainedTokenizerFast"));
    if (chat.data)
        json_object_set_new(config, "chat_template", json_stringn(chat.data, chat.size));
    int rc = write_json(dir, "special_tokens_map.json", special_tokens(s), err);
    if (rc)
        json_decref(config);
    else
        rc = write_json(dir, "tokenizer_config.json", config, err);
    if (rc || !chat.data)
        return rc;
    struct hn_buf text = {0};
    hn_buf_append(&text, chat.data, chat.size);
    return write_text(dir, "chat_template.jinja", &text, err);
}

int hn_tokenizer_export(const struct hn_gguf *gguf, size_t context, const char *dir, struct hn_error *err) {
    struct source s = {.gguf = gguf, .context = context};
    if (!find_spelling(&s))
        return 0;
    int rc = hn_vocab_load(&s.vocab, gguf, true, err);
    s.tokens = hn_gguf_find(gguf, "tokenizer.ggml.tokens");
    s.merges = hn_gguf_find(gguf, "tokenizer.ggml.merges");
    if (!rc && (!s.merges || s.merges->type != HN_GGUF_ARRAY || !s.merges->strings))
        rc = hn_fail(err, HN_E_MODEL_INVALID, "the model file has no usable list of merges (tokenizer.ggml.merges)");
    if (!rc)
        rc = write_tokenizer(&s, dir, err);
    if (!rc)
        rc = write_config(&s, dir, err);
    hn_vocab_finish(&s.vocab);
    return rc;
}
