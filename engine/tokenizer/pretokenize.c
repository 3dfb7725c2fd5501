/*
 * The table of pre-tokenizers and their execution by PCRE2; see pretokenize.h.
 *
 * The expressions are those of the models' own tokenizer.json, where Oniguruma runs them. Two
 * things differ between the engines and are spelled out here: \s is Unicode's White_Space (PCRE2's
 * \s also has U+180E), and tables of letters and digits are those of PCRE2's Unicode version
 * (10.42: Unicode 14), so that a letter or symbol of a newer version may be cut from its neighbours
 * in another way. That changes ids only where the vocabulary merges its bytes with theirs: with
 * SmolLM2's no character of all does (tests/parity/test_tokenizer.py tries each).
 *
 * All expressions are linear on long runs of one class, except that a run of spaces is scanned
 * twice; PCRE2's own limits therefore are lifted. JIT is used where the system allows it; without
 * it the same matches come slower.
 */
#include "engine/tokenizer/pretokenize.h"
#include "engine/base/buf.h"

#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#define WS     \
    "\\t-\\r " \
    "\\x{85}\\x{a0}\\x{1680}\\x{2000}-\\x{200a}\\x{2028}\\x{2029}\\x{202f}\\x{205f}\\x{3000}"
#define CONTRACTION "(?i:'s|'t|'re|'ve|'m|'ll|'d)"
#define SPACES "[" WS "]*[\\r\\n]+|[" WS "]+(?![^" WS "])|[" WS "]+"
#define UPPER "[\\p{Lu}\\p{Lt}\\p{Lm}\\p{Lo}\\p{M}]"
#define LOWER "[\\p{Ll}\\p{Lm}\\p{Lo}\\p{M}]"
#define LEAD "[^\\r\\n\\p{L}\\p{N}]?"
#define ASCII_PUNCT "[!-\\/:-@\\[-`{-~]"

/* The reference takes digits one by one with Rust's tables, which know the numerals of Unicode 15
 * to 17. */
#define DIGIT                                                                                     \
    "[\\p{N}\\x{10d40}-\\x{10d49}\\x{116d0}-\\x{116e3}\\x{11bf0}-\\x{11bf9}\\x{11de0}-\\x{11de9}" \
    "\\x{11f50}-\\x{"                                                                             \
    "11f59}"                                                                                      \
    "\\x{16130}-\\x{16139}\\x{16d70}-\\x{16d79}\\x{16ff4}-\\x{16ff6}\\x{1ccf0}-\\x{1ccf9}\\x{"    \
    "1d2c0}-\\x{1d2d3}"                                                                           \
    "\\x{1e4f0}-\\x{1e4f9}\\x{1e5f1}-\\x{1e5fa}]"

#define GPT2                                                                                 \
    "'s|'t|'re|'ve|'m|'ll|'d| ?\\p{L}+| ?\\p{N}+| ?[^" WS "\\p{L}\\p{N}]+|[" WS "]+(?![^" WS \
    "])|[" WS "]+"
#define CL100K(digits) \
    CONTRACTION "|" LEAD "\\p{L}+|" digits "| ?[^" WS "\\p{L}\\p{N}]+[\\r\\n]*|" SPACES
#define O200K(tail, digits)                                                               \
    LEAD UPPER "*" LOWER "+" tail "|" LEAD UPPER "+" LOWER "*" tail "|" digits "| ?[^" WS \
               "\\p{L}\\p{N}]+[\\r\\n\\/]*|" SPACES
#define BLOOM " ?[^(" WS "|.,!?\\x{2026}\\x{3002}\\x{ff0c}\\x{3001}\\x{964}\\x{6d4}\\x{60c})]+"
#define DEEPSEEK3 \
    ASCII_PUNCT   \
    "[A-Za-z]+|[^\\r\\n\\p{L}\\p{P}\\p{S}]?[\\p{L}\\p{M}]+| ?[\\p{P}\\p{S}]+[\\r\\n]*|" SPACES

static const struct hn_pre_rule rules[] = {
    {.names = " gpt-2 gpt2 default phi-2 mpt olmo jais trillion granite-docling dolly gigachat "
              "jina-es jina-de roberta-bpe ",
        .stages = {GPT2}},
    {.names = " smollm starcoder refact codeshell exaone minerva minerva-7b megrez ",
        .stages = {DIGIT, GPT2}},
    {.names = " command-r ", .stages = {DIGIT, GPT2}, .nfc = true, .adds_bos = true},
    {.names = " llama-bpe llama3 llama-v3 falcon3 pixtral lfm2 ",
        .stages = {CL100K("\\p{N}{1,3}")},
        .whole_words = true,
        .adds_bos = true},
    {.names = " dbrx smaug-bpe chatglm-bpe glm4 ", .stages = {CL100K("\\p{N}{1,3}")}},
    {.names = " qwen2 deepseek-r1-qwen stablelm2 ", .stages = {CL100K("\\p{N}")}, .nfc = true},
    {.names = " hunyuan grok-2 ", .stages = {CL100K("\\p{N}")}},
    {.names = " tekken ", .stages = {O200K("", "\\p{N}")}, .whole_words = true, .adds_bos = true},
    {.names = " gpt-4o llama4 ", .stages = {O200K(CONTRACTION "?", "\\p{N}{1,3}")}},
    {.names = " falcon ", .stages = {"[\\p{P}\\$\\+<=>\\^~\\|`]+", GPT2, "[0-9][0-9][0-9]"}},
    {.names = " bloom gpt3-finnish poro-chat ", .stages = {BLOOM}},
    {.names = " viking ", .stages = {BLOOM, "\\p{N}"}},
    {.names = " deepseek-coder ",
        .stages = {"[\\r\\n]", "[" WS "]?\\p{L}+|[" WS "]?\\p{P}+",
            "[\\x{4e00}-\\x{9fa5}\\x{800}-\\x{4e00}\\x{ac00}-\\x{d7ff}]+", "\\p{N}"}},
    {.names = " deepseek-v3 hunyuan-dense ",
        .stages = {"\\p{N}{1,3}", "[\\x{4e00}-\\x{9fa5}\\x{3040}-\\x{309f}\\x{30a0}-\\x{30ff}]+",
            DEEPSEEK3},
        .adds_bos = true},
};

const struct hn_pre_rule *hn_pre_rule_find(const char *name, size_t size) {
    for (size_t i = 0; i < sizeof rules / sizeof rules[0]; i++)
        for (const char *at = rules[i].names; at[1]; at += strcspn(at + 1, " ") + 1)
            if (strcspn(at + 1, " ") == size && memcmp(at + 1, name, size) == 0)
                return &rules[i];
    return NULL;
}

json_t *hn_pre_rule_json(const struct hn_pre_rule *rule) {
    json_t *stages = json_array();
    for (size_t i = 0; i < HN_PRE_STAGES && rule->stages[i]; i++)
        json_array_append_new(stages,
            json_pack("{s:s, s:{s:s}, s:s, s:b}", "type", "Split", "pattern", "Regex",
                rule->stages[i], "behavior", "Isolated", "invert", 0));
    json_array_append_new(stages,
        json_pack("{s:s, s:b, s:b, s:b}", "type", "ByteLevel", "add_prefix_space", 0,
            "trim_offsets", 1, "use_regex", 0));
    return json_pack("{s:s, s:o}", "type", "Sequence", "pretokenizers", stages);
}

/* The expressions as published files write them; the engine's own (above) say the same. */
#define PUBLISHED_CL100K(digits)                                         \
    "(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|" digits \
    "| ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+"
#define PUBLISHED_O200K(tail, digits)                                                             \
    "[^\\r\\n\\p{L}\\p{N}]?[\\p{Lu}\\p{Lt}\\p{Lm}\\p{Lo}\\p{M}]*[\\p{Ll}\\p{Lm}\\p{Lo}\\p{M}]"    \
    "+" tail "|[^\\r\\n\\p{L}\\p{N}]?[\\p{Lu}\\p{Lt}\\p{Lm}\\p{Lo}\\p{M}]+[\\p{Ll}\\p{Lm}\\p{Lo}" \
    "\\p{M}]*" tail "|" digits "| ?[^\\s\\p{L}\\p{N}]+[\\r\\n/]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+"

static const struct {
    /* the expression of a Split before ByteLevel; NULL: ByteLevel's own, GPT-2's */
    const char *split;
    bool digits; /* Digits one by one before */
    bool nfc, whole_words;
    const char *name;
} published[] = {
    {NULL, false, false, false, "gpt-2"},
    {NULL, true, false, false, "smollm"},
    {PUBLISHED_CL100K("\\p{N}{1,3}"), false, false, true, "llama-bpe"},
    {PUBLISHED_CL100K("\\p{N}{1,3}"), false, false, false, "dbrx"},
    {PUBLISHED_CL100K("\\p{N}"), false, true, false, "qwen2"},
    {PUBLISHED_CL100K("\\p{N}"), false, false, false, "hunyuan"},
    {PUBLISHED_O200K("", "\\p{N}"), false, false, true, "tekken"},
    {PUBLISHED_O200K("(?i:'s|'t|'re|'ve|'m|'ll|'d)?", "\\p{N}{1,3}"), false, false, false,
        "gpt-4o"},
};

static bool has_type(const json_t *part, const char *type) {
    const char *name = json_string_value(json_object_get(part, "type"));
    return name && strcmp(name, type) == 0;
}

/* ByteLevel that adds no space, and cuts words itself or not. */
static bool is_byte_level(const json_t *part, bool cuts) {
    const json_t *regex = json_object_get(part, "use_regex");
    return has_type(part, "ByteLevel") &&
        !json_is_true(json_object_get(part, "add_prefix_space")) &&
        (regex ? json_is_true(regex) : true) == cuts;
}

static bool is_split(const json_t *part, const char *expression) {
    const char *regex =
        json_string_value(json_object_get(json_object_get(part, "pattern"), "Regex"));
    const char *behavior = json_string_value(json_object_get(part, "behavior"));
    return has_type(part, "Split") && regex && behavior && strcmp(behavior, "Isolated") == 0 &&
        !json_is_true(json_object_get(part, "invert")) && strcmp(regex, expression) == 0;
}

static bool fits(const json_t *pre, const char *split, bool digits) {
    const json_t *parts = json_object_get(pre, "pretokenizers");
    if (has_type(pre, "ByteLevel"))
        return !split && !digits && is_byte_level(pre, true);
    if (!has_type(pre, "Sequence") || json_array_size(parts) != (split || digits ? 2 : 1))
        return false;
    const json_t *first = json_array_get(parts, 0),
                 *last = json_array_get(parts, json_array_size(parts) - 1);
    if (split)
        return is_split(first, split) && is_byte_level(last, false);
    return is_byte_level(last, true) &&
        (!digits ||
            (has_type(first, "Digits") &&
                json_is_true(json_object_get(first, "individual_digits"))));
}

const char *hn_pre_rule_describes(const json_t *pre, bool nfc, bool whole_words) {
    for (size_t i = 0; i < sizeof published / sizeof published[0]; i++)
        if (published[i].nfc == nfc && published[i].whole_words == whole_words &&
            fits(pre, published[i].split, published[i].digits))
            return published[i].name;
    for (size_t i = 0; i < sizeof rules / sizeof rules[0]; i++) {
        /* as the engine's own exports write it */
        json_t *own = rules[i].nfc == nfc && rules[i].whole_words == whole_words
            ? hn_pre_rule_json(&rules[i])
            : NULL;
        bool same = own && json_equal(own, pre);
        json_decref(own);
        if (same)
            return rules[i].names;
    }
    return NULL;
}

struct hn_pretokenizer {
    size_t n;
    pcre2_code *stages[HN_PRE_STAGES];
    pcre2_match_context *limits;
};

int hn_pretokenizer_create(
    const struct hn_pre_rule *rule, struct hn_pretokenizer **ret, struct hn_error *err) {
    struct hn_pretokenizer *pre = hn_calloc(1, sizeof *pre);
    int rc = pre && (pre->limits = pcre2_match_context_create(NULL))
        ? 0
        : hn_fail(err, HN_E_INTERNAL, "out of memory");
    if (!rc)
        pcre2_set_match_limit(pre->limits, UINT32_MAX);
    for (; !rc && pre->n < HN_PRE_STAGES && rule->stages[pre->n]; pre->n++) {
        int code;
        PCRE2_SIZE at;
        pcre2_code *re = pcre2_compile((PCRE2_SPTR)rule->stages[pre->n], PCRE2_ZERO_TERMINATED,
            PCRE2_UTF | PCRE2_UCP | PCRE2_NO_UTF_CHECK, &code, &at, NULL);
        if (!re)
            rc = hn_fail(err, HN_E_INTERNAL, "PCRE2 error %d at byte %zu of the pre-tokenizer%s",
                code, at, rule->names);
        else
            /* refused under W^X rules: then it is interpreted */
            pcre2_jit_compile(re, PCRE2_JIT_COMPLETE);
        pre->stages[pre->n] = re;
    }
    if (rc)
        hn_pretokenizer_destroy(pre);
    else
        *ret = pre;
    return rc;
}

void hn_pretokenizer_destroy(struct hn_pretokenizer *pre) {
    if (!pre)
        return;
    for (size_t i = 0; i < HN_PRE_STAGES; i++)
        pcre2_code_free(pre->stages[i]);
    pcre2_match_context_free(pre->limits);
    free(pre);
}

struct split {
    const struct hn_pretokenizer *pre;
    const char *text;
    pcre2_match_data *match[HN_PRE_STAGES];
    bool (*word)(void *ud, size_t begin, size_t end);
    void *ud;
    int code; /* of PCRE2, or 0 */
};

/* Cuts text[begin, end) by `stage` and the ones behind it; false stops. */
static bool cut(struct split *s, size_t stage, size_t begin, size_t end) {
    if (stage == s->pre->n)
        return s->word(s->ud, begin, end);
    PCRE2_SPTR piece = (PCRE2_SPTR)s->text + begin;
    size_t size = end - begin, at = 0;
    PCRE2_SIZE *found = pcre2_get_ovector_pointer(s->match[stage]);
    while (at < size) {
        int n = pcre2_match(s->pre->stages[stage], piece, size, at, PCRE2_NO_UTF_CHECK,
            s->match[stage], s->pre->limits);
        if (n == PCRE2_ERROR_NOMATCH)
            break;
        if (n < 0) {
            s->code = n;
            return false;
        }
        if (found[0] > at && !cut(s, stage + 1, begin + at, begin + found[0]))
            return false;
        if (!cut(s, stage + 1, begin + found[0], begin + found[1]))
            return false;
        at = found[1]; /* no expression of the table matches the empty string */
    }
    return at == size || cut(s, stage + 1, begin + at, end);
}

int hn_pretokenizer_split(const struct hn_pretokenizer *pre, const char *text, size_t size,
    bool (*word)(void *ud, size_t begin, size_t end), void *ud, struct hn_error *err) {
    struct split s = {.pre = pre, .text = text, .word = word, .ud = ud};
    int rc = 0;
    for (size_t i = 0; i < pre->n && !rc; i++)
        if (!(s.match[i] = pcre2_match_data_create(1, NULL)))
            rc = hn_fail(err, HN_E_INTERNAL, "out of memory");
    if (!rc && size && !cut(&s, 0, 0, size) && s.code)
        rc = hn_fail(err, HN_E_INTERNAL, "PCRE2 error %d in the pre-tokenizer", s.code);
    for (size_t i = 0; i < pre->n; i++)
        pcre2_match_data_free(s.match[i]);
    return rc;
}
