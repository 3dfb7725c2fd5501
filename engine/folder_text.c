/*
 * tokenizer.json of Hugging Face's tokenizers library → the fields of a GGUF file; see folder.h. What is not
 * byte-level BPE, or does something to the text that the fields cannot say, is refused by name: other ids than the
 * model learned would be worse than none.
 */
#include "engine/buf.h"
#include "engine/folder.h"
#include "engine/json.h"
#include "engine/pretokenize.h"
#include "engine/vocab.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define MAX_JSON ((size_t)256 << 20)

struct text {
    json_t *tokenizer, *config, *generation; /* of tokenizer.json, tokenizer_config.json, generation_config.json */
    const struct hn_folder *folder;
    struct hn_view *tokens; /* [n] by id */
    int32_t *types;         /* [n] */
    size_t n;
    struct hn_gguf_writer w;
};

/* Integers are read as reals where tokenizer_config.json is concerned: Transformers writes 10^30 there for "no
 * limit". */
static int load(const char *dir, const char *name, size_t flags, json_t **ret, struct hn_error *err) {
    char path[4400], *text = NULL;
    size_t size;
    json_error_t where;
    snprintf(path, sizeof path, "%.4096s/%s", dir, name);
    if (access(path, R_OK))
        return 0;
    int rc = hn_file_read(path, MAX_JSON, &text, &size, err);
    if (!rc && !(*ret = json_loadb(text, size, flags | JSON_REJECT_DUPLICATES, &where)))
        rc = hn_fail(err, HN_E_MODEL_INVALID, "%s is not valid JSON: line %d, column %d: %s", name, where.line,
            where.column, where.text);
    free(text);
    return rc;
}

static bool has_type(const json_t *part, const char *type) {
    const char *name = json_string_value(json_object_get(part, "type"));
    return name && strcmp(name, type) == 0;
}

static int unsupported(const char *what, const json_t *part, struct hn_error *err) {
    const char *type = json_string_value(json_object_get(part, "type"));
    hn_fail(err, HN_E_UNSUPPORTED, "tokenizer.json: the %s%s%.60s%s is not supported", what, type ? " \"" : "",
        type ? type : "", type ? "\"" : "");
    hn_error_hint(err, "byte-level BPE tokenizers are (GPT-2, Llama 3, Qwen, SmolLM, Mistral NeMo …)");
    return HN_E_UNSUPPORTED;
}

static int place(struct text *t, size_t id, const char *text, int32_t type, struct hn_error *err) {
    if (id >= t->n)
        return hn_fail(err, HN_E_MODEL_INVALID, "tokenizer.json: the token \"%.60s\" has an id out of range", text);
    t->tokens[id] = (struct hn_view){text, strlen(text)};
    t->types[id] = type;
    return 0;
}

static int highest_id(struct text *t, const json_t *vocab, const json_t *added, struct hn_error *err) {
    const char *token;
    json_t *value;
    json_int_t top = -1;
    json_object_foreach((json_t *)(uintptr_t)vocab, token, value) top =
        json_integer_value(value) > top ? json_integer_value(value) : top;
    for (size_t i = 0; i < json_array_size(added); i++) {
        json_int_t id = json_integer_value(json_object_get(json_array_get(added, i), "id"));
        top = id > top ? id : top;
    }
    if (top < 0 || top >= (json_int_t)HN_VOCAB_MAX)
        return hn_fail(err, HN_E_MODEL_INVALID, "tokenizer.json: no tokens, or ids that are too large");
    t->n = (size_t)top + 1;
    t->tokens = hn_calloc(t->n, sizeof *t->tokens);
    t->types = hn_calloc(t->n, sizeof *t->types);
    return t->tokens && t->types ? 0 : hn_fail(err, HN_E_INTERNAL, "out of memory");
}

static int read_tokens(struct text *t, const json_t *model, struct hn_error *err) {
    const json_t *vocab = json_object_get(model, "vocab"), *added = json_object_get(t->tokenizer, "added_tokens");
    const char *token;
    json_t *value;
    int rc = json_is_object(vocab) ? highest_id(t, vocab, added, err)
                                   : hn_fail(err, HN_E_MODEL_INVALID, "tokenizer.json: the model has no vocab");
    if (rc)
        return rc;
    for (size_t i = 0; i < t->n; i++)
        place(t, i, "", HN_TOKEN_UNUSED, NULL); /* ids that nobody names */
    json_object_foreach((json_t *)(uintptr_t)vocab, token, value) {
        json_int_t id = json_is_integer(value) ? json_integer_value(value) : -1;
        if (!rc)
            rc = place(t, id < 0 ? SIZE_MAX : (size_t)id, token, HN_TOKEN_NORMAL, err);
    }
    for (size_t i = 0; !rc && i < json_array_size(added); i++) {
        const json_t *a = json_array_get(added, i);
        const char *content = json_string_value(json_object_get(a, "content"));
        json_int_t id = json_integer_value(json_object_get(a, "id"));
        if (!content || id < 0)
            return hn_fail(err, HN_E_MODEL_INVALID, "tokenizer.json: added token %zu has no content or id", i + 1);
        if (json_is_true(json_object_get(a, "lstrip")) || json_is_true(json_object_get(a, "rstrip")) ||
            json_is_true(json_object_get(a, "single_word")))
            return hn_fail(err, HN_E_UNSUPPORTED,
                "tokenizer.json: the added token \"%.60s\" takes in spaces around it, which is not supported",
                content);
        rc = place(t, (size_t)id, content,
            json_is_true(json_object_get(a, "special")) ? HN_TOKEN_CONTROL : HN_TOKEN_USER_DEFINED, err);
    }
    return rc;
}

static void put_texts(struct text *t, const char *key, struct hn_view *views, size_t n) {
    struct hn_gguf_kv kv = {{key, strlen(key)}, HN_GGUF_ARRAY, HN_GGUF_STRING, n, NULL, views};
    hn_gguf_put_copy(&t->w, &kv);
}

/* "a b", or since version 0.20 of the library ["a", "b"]. */
static int put_merges(struct text *t, const json_t *merges, struct hn_error *err) {
    size_t n = json_array_size(merges), *starts = hn_calloc(n + 1, sizeof *starts);
    struct hn_view *views = hn_calloc(n, sizeof *views);
    struct hn_buf joined = {0};
    int rc = 0;
    if (n > HN_VOCAB_MAX)
        rc = hn_fail(
            err, HN_E_MODEL_INVALID, "tokenizer.json has %zu merges; at most %zu can be read", n, HN_VOCAB_MAX);
    else if (!starts || !views)
        rc = hn_fail(err, HN_E_INTERNAL, "out of memory");
    for (size_t i = 0; !rc && i < n; i++) {
        const json_t *merge = json_array_get(merges, i);
        const char *whole = json_string_value(merge), *left = json_string_value(json_array_get(merge, 0)),
                   *right = json_string_value(json_array_get(merge, 1));
        if (whole)
            hn_buf_printf(&joined, "%s", whole);
        else if (left && right && json_array_size(merge) == 2)
            hn_buf_printf(&joined, "%s %s", left, right);
        else
            rc = hn_fail(err, HN_E_MODEL_INVALID, "tokenizer.json: merge %zu is not a pair of texts", i + 1);
        starts[i + 1] = joined.size;
    }
    if (!rc && joined.failed)
        rc = hn_fail(err, HN_E_INTERNAL, "out of memory");
    for (size_t i = 0; !rc && i < n; i++)
        views[i] = (struct hn_view){joined.data + starts[i], starts[i + 1] - starts[i]};
    if (!rc)
        put_texts(t, "tokenizer.ggml.merges", views, n);
    hn_buf_free(&joined);
    free(views);
    free(starts);
    return rc;
}

static int64_t find_token(const struct text *t, const char *text) {
    for (size_t id = 0; text && id < t->n; id++)
        if (t->types[id] != HN_TOKEN_UNUSED && hn_view_is(t->tokens[id], text))
            return (int64_t)id;
    return -1;
}

/* A special token: by text in tokenizer_config.json (or the object that holds it), else by id in config.json. */
static int64_t special(const struct text *t, const char *name) {
    char key[32], id_key[40];
    snprintf(key, sizeof key, "%s_token", name);
    snprintf(id_key, sizeof id_key, "%s_token_id", name);
    const json_t *value = json_object_get(t->config, key);
    const char *text = json_string_value(json_is_object(value) ? json_object_get(value, "content") : value);
    int64_t id = find_token(t, text);
    const json_t *number = json_object_get(t->folder->config, id_key);
    number = json_is_array(number) ? json_array_get(number, 0) : number;
    if (id < 0 && json_is_integer(number) && (size_t)json_integer_value(number) < t->n)
        id = json_integer_value(number);
    return id;
}

static void put_specials(struct text *t) {
    static const struct {
        const char *name, *key;
    } rows[] = {{"bos", "tokenizer.ggml.bos_token_id"}, {"eos", "tokenizer.ggml.eos_token_id"},
        {"unk", "tokenizer.ggml.unknown_token_id"}, {"pad", "tokenizer.ggml.padding_token_id"}};
    static const char *const ends[] = {"tokenizer.ggml.eot_token_id", "tokenizer.ggml.eom_token_id"};
    int64_t eos = special(t, "eos");
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        int64_t id = special(t, rows[i].name);
        if (id >= 0)
            hn_gguf_put_u32(&t->w, rows[i].key, (uint32_t)id);
    }
    const json_t *list = json_object_get(t->generation, "eos_token_id");
    for (size_t i = 0, k = 0; i < json_array_size(list) && k < 2; i++) {
        json_int_t id = json_integer_value(json_array_get(list, i));
        if (id >= 0 && (size_t)id < t->n && id != eos)
            hn_gguf_put_u32(&t->w, ends[k++], (uint32_t)id);
    }
}

/* A template may put BOS before a text; anything else is refused. */
static int read_template(const json_t *processor, int64_t bos, bool *adds_bos, struct hn_error *err) {
    const json_t *single = json_object_get(processor, "single");
    const json_t *first = json_object_get(json_array_get(single, 0), "SpecialToken");
    const char *name = json_string_value(json_object_get(first, "id"));
    const json_t *ids =
        json_object_get(json_object_get(json_object_get(processor, "special_tokens"), name ? name : ""), "ids");
    size_t n = json_array_size(single);
    bool leads = n == 2 && first && json_array_size(ids) == 1 && json_integer_value(json_array_get(ids, 0)) == bos;
    if (!(n == 1 && !first) && !leads)
        return unsupported("post-processor", processor, err);
    *adds_bos = leads;
    return 0;
}

static int put_processor(struct text *t, struct hn_error *err) {
    const json_t *processor = json_object_get(t->tokenizer, "post_processor");
    const json_t *parts = has_type(processor, "Sequence") ? json_object_get(processor, "processors") : NULL;
    int64_t bos = special(t, "bos");
    bool adds_bos = false;
    int rc = 0;
    for (size_t i = 0; !rc && i < (parts ? json_array_size(parts) : 1); i++) {
        const json_t *one = parts ? json_array_get(parts, i) : processor;
        if (has_type(one, "TemplateProcessing"))
            rc = read_template(one, bos, &adds_bos, err);
        else if (json_is_object(one) && !has_type(one, "ByteLevel"))
            rc = unsupported("post-processor", one, err);
    }
    hn_gguf_put_bool(&t->w, "tokenizer.ggml.add_bos_token", adds_bos);
    return rc;
}

static int put_pre_tokenizer(struct text *t, const json_t *model, struct hn_error *err) {
    const json_t *normalizer = json_object_get(t->tokenizer, "normalizer"),
                 *pre = json_object_get(t->tokenizer, "pre_tokenizer");
    const json_t *only = json_object_get(normalizer, "normalizers");
    if (has_type(normalizer, "Sequence") && json_array_size(only) <= 1)
        normalizer = json_array_size(only) ? json_array_get(only, 0) : NULL;
    if (json_is_object(normalizer) && !has_type(normalizer, "NFC"))
        return unsupported("normalizer", normalizer, err);
    const char *name =
        hn_pre_rule_describes(pre, json_is_object(normalizer), json_is_true(json_object_get(model, "ignore_merges")));
    if (!name)
        return unsupported("pre-tokenizer", pre, err);
    char first[64];
    size_t skip = strspn(name, " ");
    snprintf(first, sizeof first, "%.*s", (int)strcspn(name + skip, " "), name + skip);
    hn_gguf_put_string(&t->w, "tokenizer.ggml.pre", first);
    return 0;
}

/* The template of that name, or the only one. */
static const char *named_template(const json_t *value) {
    for (size_t i = 0; i < json_array_size(value); i++) {
        const json_t *one = json_array_get(value, i);
        const char *name = json_string_value(json_object_get(one, "name"));
        if (name && strcmp(name, "default") == 0)
            return json_string_value(json_object_get(one, "template"));
    }
    return json_string_value(value);
}

static int put_chat_template(struct text *t, struct hn_error *err) {
    char path[4400], *file = NULL;
    size_t size;
    snprintf(path, sizeof path, "%.4096s/chat_template.jinja", t->folder->dir);
    const char *chat = named_template(json_object_get(t->config, "chat_template"));
    int rc = access(path, R_OK) ? 0 : hn_file_read(path, 1 << 20, &file, &size, err);
    if (!rc && (file || chat))
        hn_gguf_put_string(&t->w, "tokenizer.chat_template", file ? file : chat);
    free(file);
    return rc;
}

static int convert(struct text *t, struct hn_error *err) {
    const json_t *model = json_object_get(t->tokenizer, "model");
    const char *prefix = json_string_value(json_object_get(model, "continuing_subword_prefix"));
    const char *suffix = json_string_value(json_object_get(model, "end_of_word_suffix"));
    if (!has_type(model, "BPE"))
        return unsupported("model", model, err);
    if (json_is_true(json_object_get(model, "byte_fallback")) || (prefix && *prefix) || (suffix && *suffix))
        return unsupported("BPE with byte fallback or word marks", NULL, err);
    int rc = read_tokens(t, model, err);
    if (!rc) {
        hn_gguf_put_string(&t->w, "tokenizer.ggml.model", "gpt2");
        put_texts(t, "tokenizer.ggml.tokens", t->tokens, t->n);
        struct hn_gguf_kv types = {
            {"tokenizer.ggml.token_type", 25}, HN_GGUF_ARRAY, HN_GGUF_I32, t->n, (const uint8_t *)t->types, NULL};
        hn_gguf_put_copy(&t->w, &types);
        put_specials(t);
        rc = put_merges(t, json_object_get(model, "merges"), err);
    }
    if (!rc)
        rc = put_pre_tokenizer(t, model, err);
    if (!rc)
        rc = put_processor(t, err);
    return rc ? rc : put_chat_template(t, err);
}

int hn_folder_text(const struct hn_folder *folder, struct hn_gguf *ret, struct hn_error *err) {
    struct text t = {.folder = folder};
    struct hn_buf file = {0};
    int rc = load(folder->dir, "tokenizer.json", 0, &t.tokenizer, err);
    if (!rc)
        rc = load(folder->dir, "tokenizer_config.json", JSON_DECODE_INT_AS_REAL, &t.config, err);
    if (!rc)
        rc = load(folder->dir, "generation_config.json", 0, &t.generation, err);
    if (!rc && t.tokenizer)
        rc = convert(&t, err);
    hn_gguf_finish_header(&t.w, &file);
    if (!rc && t.tokenizer)
        rc = file.failed ? hn_fail(err, HN_E_INTERNAL, "out of memory")
                         : hn_gguf_from_memory(ret, file.data, file.size, err);
    hn_buf_free(&file);
    free(t.tokens);
    free(t.types);
    json_decref(t.tokenizer);
    json_decref(t.config);
    json_decref(t.generation);
    return rc;
}
