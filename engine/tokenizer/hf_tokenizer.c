/*
 * tokenizer.json of Hugging Face's tokenizers library → the fields of a GGUF file; see folder.h.
 * Here is what all kinds share: the tokens, the special ones, the chat template; the kinds are a
 * table (folder_bpe.c, …). What does something to the text that the fields cannot say is refused by
 * name: other ids than the model learned would be worse than none.
 */
#include "engine/base/buf.h"
#include "engine/tokenizer/hf_tokenizer.h"
#include "engine/base/json.h"
#include "engine/tokenizer/tokenizer_internal.h"
#include "engine/tokenizer/vocab.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static const struct hn_text_kind *const kinds[] = {
    &hn_text_piece_bpe, &hn_text_byte_bpe, &hn_text_unigram, &hn_text_wordpiece};

bool hn_text_has_type(const json_t *part, const char *type) {
    const char *name = json_string_value(json_object_get(part, "type"));
    return name && strcmp(name, type) == 0;
}

int hn_text_refuse(const char *what, const json_t *part, struct hn_error *err) {
    const char *type = json_string_value(json_object_get(part, "type"));
    hn_fail(err, HN_E_UNSUPPORTED, "tokenizer.json: the %s%s%.60s%s is not supported", what,
        type ? " \"" : "", type ? type : "", type ? "\"" : "");
    hn_error_hint(err,
        "byte-level BPE (GPT-2, Llama 3, Qwen, RoBERTa …), SentencePiece's BPE (Llama 2, Mistral, "
        "Gemma), unigram (T5, XLM-RoBERTa) and WordPiece (BERT …) are");
    return HN_E_UNSUPPORTED;
}

static int place(
    struct hn_text *t, size_t id, const char *text, int32_t type, struct hn_error *err) {
    if (id >= t->n)
        return hn_fail(err, HN_E_MODEL_INVALID,
            "tokenizer.json: the token \"%.60s\" has an id out of range", text);
    t->tokens[id] = (struct hn_view){text, strlen(text)};
    t->types[id] = type;
    return 0;
}

static int highest_id(
    struct hn_text *t, const json_t *vocab, const json_t *added, struct hn_error *err) {
    const char *token;
    json_t *value;
    json_int_t top = -1;
    json_object_foreach((json_t *)(uintptr_t)vocab, token, value)
        top = json_integer_value(value) > top ? json_integer_value(value) : top;
    top = json_is_array(vocab) ? (json_int_t)json_array_size(vocab) - 1 : top;
    for (size_t i = 0; i < json_array_size(added); i++) {
        json_int_t id = json_integer_value(json_object_get(json_array_get(added, i), "id"));
        top = id > top ? id : top;
    }
    if (top < 0 || top >= (json_int_t)HN_VOCAB_MAX)
        return hn_fail(
            err, HN_E_MODEL_INVALID, "tokenizer.json: no tokens, or ids that are too large");
    t->n = (size_t)top + 1;
    t->tokens = hn_calloc(t->n, sizeof *t->tokens);
    t->types = hn_calloc(t->n, sizeof *t->types);
    return t->tokens && t->types ? 0 : hn_fail(err, HN_E_INTERNAL, "out of memory");
}

/* Form C changes no text that added tokens are made of; other normalizers may. */
static bool normalizes(const struct hn_text *t) {
    const json_t *normalizer = json_object_get(t->tokenizer, "normalizer");
    const json_t *parts = json_object_get(normalizer, "normalizers");
    return json_is_object(normalizer) && !hn_text_has_type(normalizer, "NFC") &&
        !(json_array_size(parts) <= 1 &&
            (!parts || json_array_size(parts) == 0 ||
                hn_text_has_type(json_array_get(parts, 0), "NFC")) &&
            hn_text_has_type(normalizer, "Sequence"));
}

static int read_flags(
    struct hn_text *t, const json_t *added, size_t id, const char *content, struct hn_error *err) {
    static const struct {
        const char *name;
        int32_t flag;
    } rows[] = {{"lstrip", HN_ADDED_LSTRIP}, {"rstrip", HN_ADDED_RSTRIP},
        {"single_word", HN_ADDED_WORD}, {"normalized", HN_ADDED_NORMALIZED}};
    int32_t flags = 0;
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++)
        if (json_is_true(json_object_get(added, rows[i].name)))
            flags |= rows[i].flag;
    if ((flags & HN_ADDED_NORMALIZED) && normalizes(t))
        return hn_fail(err, HN_E_UNSUPPORTED,
            "tokenizer.json: the added token \"%.60s\" is looked for in normalized text, which is "
            "not supported",
            content);
    if (!hn_grow(&t->added, &t->added_capacity, t->n_added + 2, sizeof *t->added))
        return hn_fail(err, HN_E_INTERNAL, "out of memory");
    if (flags) {
        t->added[t->n_added++] = (int32_t)id;
        t->added[t->n_added++] = flags;
    }
    return 0;
}

static int read_tokens(struct hn_text *t, const json_t *model, struct hn_error *err) {
    const json_t *vocab = json_object_get(model, "vocab"),
                 *added = json_object_get(t->tokenizer, "added_tokens");
    const char *token;
    json_t *value;
    /* [text, score] by id */
    bool scored = json_is_array(vocab) && hn_text_has_type(model, "Unigram");
    int rc = json_is_object(vocab) || scored
        ? highest_id(t, vocab, added, err)
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
    for (size_t i = 0; scored && i < json_array_size(vocab); i++) {
        if (!(token = json_string_value(json_array_get(json_array_get(vocab, i), 0))))
            return hn_fail(err, HN_E_MODEL_INVALID,
                "tokenizer.json: entry %zu of the vocab is no text with a score", i);
        place(t, i, token, HN_TOKEN_NORMAL, NULL);
    }
    for (size_t i = 0; !rc && i < json_array_size(added); i++) {
        const json_t *a = json_array_get(added, i);
        const char *content = json_string_value(json_object_get(a, "content"));
        json_int_t id = json_integer_value(json_object_get(a, "id"));
        if (!content || id < 0)
            return hn_fail(err, HN_E_MODEL_INVALID,
                "tokenizer.json: added token %zu has no content or id", i + 1);
        if ((rc = read_flags(t, a, (size_t)id, content, err)))
            return rc;
        rc = place(t, (size_t)id, content,
            json_is_true(json_object_get(a, "special")) ? HN_TOKEN_CONTROL : HN_TOKEN_USER_DEFINED,
            err);
    }
    return rc;
}

void hn_text_put_i32s(struct hn_text *t, const char *key, const int32_t *values, size_t n) {
    struct hn_gguf_kv kv = {
        {key, strlen(key)}, HN_GGUF_ARRAY, HN_GGUF_I32, n, (const uint8_t *)values, NULL};
    hn_gguf_put_copy(&t->w, &kv);
}

void hn_text_put_views(struct hn_text *t, const char *key, struct hn_view *views, size_t n) {
    struct hn_gguf_kv kv = {{key, strlen(key)}, HN_GGUF_ARRAY, HN_GGUF_STRING, n, NULL, views};
    hn_gguf_put_copy(&t->w, &kv);
}

int64_t hn_text_find(const struct hn_text *t, const char *text) {
    for (size_t id = 0; text && id < t->n; id++)
        if (t->types[id] != HN_TOKEN_UNUSED && hn_view_is(t->tokens[id], text))
            return (int64_t)id;
    return -1;
}

/* A special token: by text in tokenizer_config.json (or the object that holds it), else by id in
 * config.json. */
int64_t hn_text_special(const struct hn_text *t, const char *name) {
    char key[32], id_key[40];
    snprintf(key, sizeof key, "%s_token", name);
    snprintf(id_key, sizeof id_key, "%s_token_id", name);
    const json_t *value = json_object_get(t->config, key);
    const char *text =
        json_string_value(json_is_object(value) ? json_object_get(value, "content") : value);
    int64_t id = hn_text_find(t, text);
    const json_t *number = json_object_get(t->folder->config, id_key);
    number = json_is_array(number) ? json_array_get(number, 0) : number;
    if (id < 0 && json_is_integer(number) && (size_t)json_integer_value(number) < t->n)
        id = json_integer_value(number);
    return id;
}

/* All ids by which generation ends: lists of generation_config.json and config.json. */
static void put_ends(struct hn_text *t) {
    const json_t *lists[] = {json_object_get(t->generation, "eos_token_id"),
        json_object_get(t->folder->config, "eos_token_id")};
    int32_t ends[HN_ENDS_MAX];
    size_t n = 0;
    for (size_t k = 0; k < 2; k++)
        for (size_t i = 0;
             i < (json_is_array(lists[k]) ? json_array_size(lists[k]) : 1) && n < HN_ENDS_MAX;
             i++) {
            const json_t *id = json_is_array(lists[k]) ? json_array_get(lists[k], i) : lists[k];
            if (json_is_integer(id) && json_integer_value(id) >= 0 &&
                (size_t)json_integer_value(id) < t->n)
                ends[n++] = (int32_t)json_integer_value(id);
        }
    if (n)
        hn_text_put_i32s(t, HN_KEY_ENDS, ends, n);
}

static void put_specials(struct hn_text *t) {
    static const struct {
        const char *name, *key;
    } rows[] = {{"bos", "tokenizer.ggml.bos_token_id"}, {"eos", "tokenizer.ggml.eos_token_id"},
        {"unk", "tokenizer.ggml.unknown_token_id"}, {"pad", "tokenizer.ggml.padding_token_id"},
        /* GGUF's spelling */
        {"cls", "tokenizer.ggml.cls_token_id"}, {"sep", "tokenizer.ggml.seperator_token_id"},
        {"mask", "tokenizer.ggml.mask_token_id"}};
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        bool unknown = strcmp(rows[i].name, "unk") == 0;
        int64_t id = unknown ? t->unknown : hn_text_special(t, rows[i].name);
        if (id >= 0)
            hn_gguf_put_u32(&t->w, rows[i].key, (uint32_t)id);
    }
    put_ends(t);
}

/* The template of that name: of a list of named ones, of an object, or the only one, which is
 * "default". */
static const char *named_template(const json_t *value, const char *name) {
    for (size_t i = 0; i < json_array_size(value); i++) {
        const json_t *one = json_array_get(value, i);
        const char *own = json_string_value(json_object_get(one, "name"));
        if (own && strcmp(own, name) == 0)
            return json_string_value(json_object_get(one, "template"));
    }
    if (json_is_object(value))
        return json_string_value(json_object_get(value, name));
    return strcmp(name, "default") == 0 ? json_string_value(value) : NULL;
}

/* One template, from the first of its own files that there is, else from `named`. */
static int put_template(struct hn_text *t, const char *const *file_names, const char *key,
    const char *named, struct hn_error *err) {
    char path[4400], *file = NULL;
    size_t size;
    int rc = 0;
    for (size_t i = 0; !rc && !file && file_names[i]; i++) {
        snprintf(path, sizeof path, "%.4096s/%s", t->folder->dir, file_names[i]);
        rc = access(path, R_OK) ? 0 : hn_file_read(path, 1 << 20, &file, &size, err);
    }
    if (!rc && (file || named))
        hn_gguf_put_string(&t->w, key, file ? file : named);
    free(file);
    return rc;
}

/* The chat template and the one for conversations with tools. Files of their own stand above
 * chat_template.json, and that above tokenizer_config.json. */
static int put_chat_templates(struct hn_text *t, struct hn_error *err) {
    static const char *const main_files[] = {"chat_template.jinja", NULL};
    static const char *const tool_files[] = {HN_FOLDER_TEMPLATES "/tool_use.jinja",
        HN_FOLDER_TEMPLATES ".tool_use.jinja", NULL}; /* as an import has it */
    json_t *legacy = NULL;
    int rc =
        hn_folder_json(t->folder->dir, "chat_template.json", JSON_DECODE_INT_AS_REAL, &legacy, err);
    const json_t *list = json_object_get(legacy, "chat_template");
    if (!list)
        list = json_object_get(t->config, "chat_template");
    if (!rc)
        rc = put_template(
            t, main_files, "tokenizer.chat_template", named_template(list, "default"), err);
    if (!rc)
        rc = put_template(t, tool_files, "tokenizer.chat_template.tool_use",
            named_template(list, "tool_use"), err);
    json_decref(legacy);
    return rc;
}

static const struct hn_text_kind *find_kind(const struct hn_text *t, const json_t *model) {
    for (size_t i = 0; i < sizeof kinds / sizeof kinds[0]; i++)
        if (hn_text_has_type(model, kinds[i]->type) &&
            (!kinds[i]->takes || kinds[i]->takes(t, model)))
            return kinds[i];
    return NULL;
}

static int convert(struct hn_text *t, struct hn_error *err) {
    const json_t *model = json_object_get(t->tokenizer, "model");
    const struct hn_text_kind *kind = find_kind(t, model);
    if (!kind)
        return hn_text_refuse("model", model, err);
    int rc = read_tokens(t, model, err);
    if (!rc) {
        hn_gguf_put_string(&t->w, "tokenizer.ggml.model", kind->model);
        t->unknown = hn_text_special(t, "unk");
        rc = kind->convert(t, model, err);
        put_specials(t);
    }
    if (rc)
        return rc;
    hn_text_put_views(t, "tokenizer.ggml.tokens", t->tokens, t->n);
    hn_text_put_i32s(t, "tokenizer.ggml.token_type", t->types, t->n);
    if (t->n_added)
        hn_text_put_i32s(t, HN_KEY_ADDED, t->added, t->n_added);
    rc = hn_text_put_processor(t, err);
    return rc ? rc : put_chat_templates(t, err);
}

int hn_folder_text(const struct hn_folder *folder, struct hn_gguf *ret, struct hn_error *err) {
    struct hn_text t = {.folder = folder};
    struct hn_buf file = {0};
    int rc = hn_folder_json(folder->dir, "tokenizer.json", 0, &t.tokenizer, err);
    if (!rc)
        /* integers as reals: Transformers writes 10^30 there for "no limit" */
        rc = hn_folder_json(
            folder->dir, "tokenizer_config.json", JSON_DECODE_INT_AS_REAL, &t.config, err);
    if (!rc)
        rc = hn_folder_json(folder->dir, "generation_config.json", 0, &t.generation, err);
    if (!rc && !t.tokenizer)
        rc = hn_text_from_vocab_txt(&t, &t.tokenizer, err);
    if (!rc && t.tokenizer)
        rc = convert(&t, err);
    hn_gguf_finish_header(&t.w, &file);
    if (!rc && t.tokenizer)
        rc = file.failed ? hn_fail(err, HN_E_INTERNAL, "out of memory")
                         : hn_gguf_from_memory(ret, file.data, file.size, err);
    hn_buf_free(&file);
    free(t.tokens);
    free(t.types);
    free(t.added);
    json_decref(t.tokenizer);
    json_decref(t.config);
    json_decref(t.generation);
    return rc;
}
