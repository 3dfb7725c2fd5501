/* Byte-level BPE in tokenizer.json (GPT-2, Llama 3, Qwen, RoBERTa …) → the fields of GGUF's
 * "gpt2". */
#include "engine/base/buf.h"
#include "engine/tokenizer/hf_tokenizer.h"
#include "engine/base/json.h"
#include "engine/tokenizer/pretokenize.h"
#include "engine/tokenizer/vocab.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* "a b", or since version 0.20 of the library ["a", "b"]. */
int hn_text_put_merges(struct hn_text *t, const json_t *merges, struct hn_error *err) {
    size_t n = json_array_size(merges), *starts = hn_calloc(n + 1, sizeof *starts);
    struct hn_view *views = hn_calloc(n, sizeof *views);
    struct hn_buf joined = {0};
    int rc = 0;
    if (n > HN_VOCAB_MAX)
        rc = hn_fail(err, HN_E_MODEL_INVALID,
            "tokenizer.json has %zu merges; at most %zu can be read", n, HN_VOCAB_MAX);
    else if (!starts || !views)
        rc = hn_fail(err, HN_E_INTERNAL, "out of memory");
    for (size_t i = 0; !rc && i < n; i++) {
        const json_t *merge = json_array_get(merges, i);
        const char *whole = json_string_value(merge),
                   *left = json_string_value(json_array_get(merge, 0)),
                   *right = json_string_value(json_array_get(merge, 1));
        if (whole)
            hn_buf_printf(&joined, "%s", whole);
        else if (left && right && json_array_size(merge) == 2)
            hn_buf_printf(&joined, "%s %s", left, right);
        else
            rc = hn_fail(
                err, HN_E_MODEL_INVALID, "tokenizer.json: merge %zu is not a pair of texts", i + 1);
        starts[i + 1] = joined.size;
    }
    if (!rc && joined.failed)
        rc = hn_fail(err, HN_E_INTERNAL, "out of memory");
    for (size_t i = 0; !rc && i < n; i++)
        views[i] = (struct hn_view){joined.data + starts[i], starts[i + 1] - starts[i]};
    if (!rc)
        hn_text_put_views(t, "tokenizer.ggml.merges", views, n);
    hn_buf_free(&joined);
    free(views);
    free(starts);
    return rc;
}

/* ByteLevel alone may put a space before each text (RoBERTa's do). Behind another step it would do
 * so before each of that one's pieces, which nobody wants and nothing here says. */
static bool puts_space(const json_t *pre) {
    return hn_text_has_type(pre, "ByteLevel") &&
        json_is_true(json_object_get(pre, "add_prefix_space"));
}

static int put_pre_tokenizer(struct hn_text *t, const json_t *model, struct hn_error *err) {
    const json_t *normalizer = json_object_get(t->tokenizer, "normalizer"),
                 *pre = json_object_get(t->tokenizer, "pre_tokenizer");
    const json_t *only = json_object_get(normalizer, "normalizers");
    if (hn_text_has_type(normalizer, "Sequence") && json_array_size(only) <= 1)
        normalizer = json_array_size(only) ? json_array_get(only, 0) : NULL;
    if (json_is_object(normalizer) && !hn_text_has_type(normalizer, "NFC"))
        return hn_text_refuse("normalizer", normalizer, err);
    bool prefix = puts_space(pre);
    json_t *plain = prefix ? json_copy((json_t *)(uintptr_t)pre) : NULL;
    if (plain)
        json_object_set_new(plain, "add_prefix_space", json_false());
    const char *name = hn_pre_rule_describes(plain ? plain : pre, json_is_object(normalizer),
        json_is_true(json_object_get(model, "ignore_merges")));
    json_decref(plain);
    if (!name)
        return hn_text_refuse("pre-tokenizer", pre, err);
    char first[64];
    size_t skip = strspn(name, " ");
    snprintf(first, sizeof first, "%.*s", (int)strcspn(name + skip, " "), name + skip);
    hn_gguf_put_string(&t->w, "tokenizer.ggml.pre", first);
    if (prefix)
        hn_gguf_put_bool(&t->w, "tokenizer.ggml.add_space_prefix", true);
    return 0;
}

static int convert(struct hn_text *t, const json_t *model, struct hn_error *err) {
    const char *prefix = json_string_value(json_object_get(model, "continuing_subword_prefix"));
    const char *suffix = json_string_value(json_object_get(model, "end_of_word_suffix"));
    if ((prefix && *prefix) || (suffix && *suffix))
        return hn_text_refuse("BPE with word marks", NULL, err);
    int rc = hn_text_put_merges(t, json_object_get(model, "merges"), err);
    return rc ? rc : put_pre_tokenizer(t, model, err);
}

const struct hn_text_kind hn_text_byte_bpe = {
    .type = "BPE",
    .model = "gpt2",
    .convert = convert,
};
