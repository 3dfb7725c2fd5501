/*
 * See export_tokenizer.h. A folder's files are copied. Of a GGUF file they are made: the layout is
 * that of Hugging Face's tokenizers library: a byte-level BPE model with its vocabulary and merges,
 * the pre-tokenizer as a sequence of splits by the very expressions that the engine runs
 * (pretokenize.c), control and user-defined tokens as added tokens.
 * tests/parity/test_tokenizer_files.py loads them.
 */
#include "engine/export/export_tokenizer.h"
#include "engine/base/json.h"
#include "engine/tokenizer/pretokenize.h"
#include "engine/tokenizer/tokenizer_internal.h"
#include "engine/tokenizer/vocab.h"

#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { CONTROL = 3, USER_DEFINED = 4 }; /* of tokenizer.ggml.token_type */

/* A new JSON string, or NULL when the bytes are not UTF-8. */
static json_t *text_of(struct hn_view view) {
    return json_stringn(view.size ? view.data : "", view.size);
}

static struct hn_view token_view(const struct hn_gguf_kv *tokens, int64_t id) {
    return id >= 0 && (size_t)id < tokens->count ? tokens->strings[id] : (struct hn_view){0};
}

static const char *token_name(const struct hn_gguf *gguf, const struct hn_gguf_kv *tokens,
    const char *key, char *out, size_t size) {
    struct hn_view view = token_view(tokens, hn_gguf_int(gguf, key, -1));
    if (!view.size || view.size >= size)
        return NULL;
    snprintf(out, size, "%.*s", (int)view.size, view.data);
    return out;
}

/* HN_ADDED_… flags of a token, from the list that a folder's tokenizer has of those with any. */
static int64_t flags_of(const struct hn_gguf_kv *list, size_t id) {
    bool fits = list && list->type == HN_GGUF_ARRAY && list->element == HN_GGUF_I32;
    for (size_t i = 0; fits && i + 1 < list->count; i += 2)
        if (hn_gguf_array_int(list, i) == (int64_t)id)
            return hn_gguf_array_int(list, i + 1);
    return 0;
}

static json_t *added_tokens(const struct hn_gguf_kv *tokens, const struct hn_gguf_kv *types,
    const struct hn_gguf_kv *flagged) {
    json_t *list = json_array();
    for (size_t id = 0; types && id < types->count && id < tokens->count; id++) {
        int64_t type = hn_gguf_array_int(types, id);
        if (type != CONTROL && type != USER_DEFINED)
            continue;
        int64_t flags = flags_of(flagged, id);
        json_array_append_new(list,
            HN_JSON_OBJECT({"id", json_integer(id)}, {"content", text_of(tokens->strings[id])},
                {"single_word", json_boolean((flags & HN_ADDED_WORD) != 0)},
                {"lstrip", json_boolean((flags & HN_ADDED_LSTRIP) != 0)},
                {"rstrip", json_boolean((flags & HN_ADDED_RSTRIP) != 0)},
                {"normalized", json_boolean((flags & HN_ADDED_NORMALIZED) != 0)},
                {"special", json_boolean(type == CONTROL)}));
    }
    return list;
}

static json_t *bpe_model(const struct hn_gguf_kv *tokens, const struct hn_gguf_kv *merges,
    const struct hn_pre_rule *rule) {
    json_t *vocab = json_object(), *pairs = json_array();
    for (size_t id = 0; id < tokens->count; id++)
        if (json_object_setn_new(vocab, tokens->strings[id].data, tokens->strings[id].size,
                json_integer((json_int_t)id))) {
            json_decref(vocab);
            json_decref(pairs);
            return NULL;
        }
    for (size_t i = 0; i < merges->count; i++)
        json_array_append_new(pairs, text_of(merges->strings[i]));
    return HN_JSON_OBJECT({"type", json_string("BPE")}, {"dropout", json_null()},
        {"unk_token", json_null()}, {"continuing_subword_prefix", json_null()},
        {"end_of_word_suffix", json_null()}, {"fuse_unk", json_boolean(0)},
        {"byte_fallback", json_boolean(0)}, {"ignore_merges", json_boolean(rule->whole_words)},
        {"vocab", vocab}, {"merges", pairs});
}

/* BOS before the text where the tokenizer adds one. */
static json_t *post_processor(const struct hn_codec *codec, const char *bos) {
    json_t *byte_level = json_pack("{s:s, s:b, s:b, s:b}", "type", "ByteLevel", "add_prefix_space",
        1, "trim_offsets", 0, "use_regex", 1);
    if (!bos || !hn_tokenizer_adds_bos(codec->tokenizer))
        return byte_level;
    json_t *first = json_pack("{s:{s:s, s:i}}", "SpecialToken", "id", bos, "type_id", 0);
    json_t *template = HN_JSON_OBJECT({"type", json_string("TemplateProcessing")},
        {"single",
            json_pack("[o,o]", hn_json_share(first),
                HN_JSON_OBJECT({"Sequence",
                    HN_JSON_OBJECT({"id", json_string("A")}, {"type_id", json_integer(0)})}))},
        {"pair",
            json_pack("[o,o,o]", hn_json_share(first),
                HN_JSON_OBJECT({"Sequence",
                    HN_JSON_OBJECT({"id", json_string("A")}, {"type_id", json_integer(0)})}),
                HN_JSON_OBJECT({"Sequence",
                    HN_JSON_OBJECT({"id", json_string("B")}, {"type_id", json_integer(1)})}))},
        {"special_tokens",
            HN_JSON_OBJECT({bos,
                HN_JSON_OBJECT({"id", json_string(bos)},
                    {"ids", json_pack("[o]", json_integer(hn_tokenizer_bos(codec->tokenizer)))},
                    {"tokens", json_pack("[o]", json_string(bos))})})});
    json_decref(first);
    return json_pack("{s:s, s:[o, o]}", "type", "Sequence", "processors", byte_level, template);
}

static json_t *tokenizer_json(const struct hn_loaded *loaded, const struct hn_pre_rule *rule,
    const struct hn_gguf_kv *tokens, const char *bos) {
    const struct hn_gguf *gguf = &loaded->model.gguf;
    json_t *model = bpe_model(tokens, hn_gguf_find(gguf, "tokenizer.ggml.merges"), rule);
    if (!model)
        return NULL;
    return HN_JSON_OBJECT({"version", json_string("1.0")}, {"truncation", json_null()},
        {"padding", json_null()},
        {"added_tokens",
            added_tokens(tokens, hn_gguf_find(gguf, "tokenizer.ggml.token_type"),
                hn_gguf_find(gguf, HN_KEY_ADDED))},
        {"normalizer", rule->nfc ? json_pack("{s:s}", "type", "NFC") : json_null()},
        {"pre_tokenizer", hn_pre_rule_json(rule)},
        {"post_processor", post_processor(&loaded->codec, bos)},
        {"decoder",
            HN_JSON_OBJECT({"type", json_string("ByteLevel")},
                {"add_prefix_space", json_boolean(1)}, {"trim_offsets", json_boolean(1)},
                {"use_regex", json_boolean(1)})},
        {"model", model});
}

/* Takes over `json`; one that is NULL (not UTF-8 somewhere) is left out. */
static int write_json(const char *dir, const char *name, json_t *json, struct hn_error *err) {
    char path[4300];
    char *text = json ? json_dumps(json, JSON_INDENT(1)) : NULL;
    json_decref(json);
    snprintf(path, sizeof path, "%.4096s/%s", dir, name);
    int rc = text ? hn_file_write_durable(path, text, strlen(text), err) : 0;
    free(text);
    return rc;
}

/* A chat template beside the default one, which has a folder of Transformers' for its like. */
static int write_further_template(
    const char *dir, const char *name, const char *text, size_t size, struct hn_error *err) {
    char path[4600];
    snprintf(path, sizeof path, "%.4096s/" HN_FOLDER_TEMPLATES, dir);
    int rc = hn_dir_create(path, err);
    snprintf(path, sizeof path, "%.4096s/" HN_FOLDER_TEMPLATES "/%.255s", dir, name);
    return rc ? rc : hn_file_write_durable(path, text, size, err);
}

static int write_templates(const struct hn_loaded *loaded, const char *dir, struct hn_error *err) {
    char path[4300];
    struct hn_view chat = hn_gguf_string(&loaded->model.gguf, "tokenizer.chat_template"),
                   tools = hn_gguf_string(&loaded->model.gguf, "tokenizer.chat_template.tool_use");
    snprintf(path, sizeof path, "%.4096s/chat_template.jinja", dir);
    int rc = chat.size ? hn_file_write_durable(path, chat.data, chat.size, err) : 0;
    return rc || !tools.size
        ? rc
        : write_further_template(dir, "tool_use.jinja", tools.data, tools.size, err);
}

static json_t *special_tokens(const char *bos, const char *eos, const char *unk, const char *pad) {
    const struct {
        const char *name, *value;
    } rows[] = {{"bos_token", bos}, {"eos_token", eos}, {"unk_token", unk}, {"pad_token", pad}};
    json_t *map = json_object();
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++)
        if (rows[i].value)
            json_object_set_new(map, rows[i].name, json_string(rows[i].value));
    return map;
}

/* Further chat templates, which an import has in the folder itself: files of
 * additional_chat_templates/, or named "additional_chat_templates.NAME". */
static int copy_templates(
    const char *from, const char *prefix, const char *dir, struct hn_error *err) {
    DIR *d = opendir(from);
    size_t n = strlen(prefix);
    int rc = 0;
    for (struct dirent *entry; d && !rc && (entry = readdir(d));) {
        char path[4400], *text = NULL;
        size_t size, length = strlen(entry->d_name);
        if (strncmp(entry->d_name, prefix, n) != 0 || length < n + 7 || entry->d_name[n] == '.' ||
            strcmp(entry->d_name + length - 6, ".jinja") != 0)
            continue;
        snprintf(path, sizeof path, "%.4096s/%.255s", from, entry->d_name);
        rc = hn_file_read(path, 1 << 20, &text, &size, err);
        if (!rc)
            rc = write_further_template(dir, entry->d_name + n, text, size, err);
        free(text);
    }
    if (d)
        closedir(d);
    return rc;
}

/* A folder's own files, as they are. */
static int copy_files(const struct hn_loaded *loaded, const char *dir, struct hn_error *err) {
    static const char *const names[] = {"tokenizer.json", "tokenizer_config.json",
        "special_tokens_map.json", "added_tokens.json", "vocab.txt", "vocab.json", "merges.txt",
        "tokenizer.model", "chat_template.jinja", "chat_template.json"};
    const char *base = loaded->model.folder.dir;
    char path[4400];
    int rc = 0;
    for (size_t i = 0; !rc && i < sizeof names / sizeof names[0]; i++) {
        char *text = NULL;
        size_t size;
        snprintf(path, sizeof path, "%.4096s/%s", base, names[i]);
        if (access(path, R_OK))
            continue;
        rc = hn_file_read(path, (size_t)256 << 20, &text, &size, err);
        snprintf(path, sizeof path, "%.4096s/%s", dir, names[i]);
        if (!rc)
            rc = hn_file_write_durable(path, text, size, err);
        free(text);
    }
    snprintf(path, sizeof path, "%.4096s/" HN_FOLDER_TEMPLATES, base);
    if (!rc)
        rc = copy_templates(path, "", dir, err);
    return rc ? rc : copy_templates(base, HN_FOLDER_TEMPLATES ".", dir, err);
}

int hn_tokenizer_files_write(
    const struct hn_loaded *loaded, const char *dir, struct hn_error *err) {
    const struct hn_gguf *gguf = &loaded->model.gguf;
    if (loaded->model.is_folder)
        return copy_files(loaded, dir, err);
    const struct hn_gguf_kv *tokens = hn_gguf_find(gguf, "tokenizer.ggml.tokens");
    struct hn_view pre = hn_gguf_string(gguf, "tokenizer.ggml.pre");
    const struct hn_pre_rule *rule =
        pre.size ? hn_pre_rule_find(pre.data, pre.size) : hn_pre_rule_find("default", 7);
    if (!rule || !tokens || !hn_view_is(hn_gguf_string(gguf, "tokenizer.ggml.model"), "gpt2") ||
        !hn_gguf_find(gguf, "tokenizer.ggml.merges") ||
        hn_gguf_bool(
            gguf, "tokenizer.ggml.add_space_prefix", false)) /* RoBERTa's: more than this writes */
        return 0;
    char texts[4][128];
    const char *bos =
        token_name(gguf, tokens, "tokenizer.ggml.bos_token_id", texts[0], sizeof texts[0]);
    const char *eos =
        token_name(gguf, tokens, "tokenizer.ggml.eos_token_id", texts[1], sizeof texts[1]);
    const char *unk =
        token_name(gguf, tokens, "tokenizer.ggml.unknown_token_id", texts[2], sizeof texts[2]);
    const char *pad =
        token_name(gguf, tokens, "tokenizer.ggml.padding_token_id", texts[3], sizeof texts[3]);
    json_t *config = special_tokens(bos, eos, unk, pad ? pad : eos);
    json_object_set_new(config, "tokenizer_class", json_string("PreTrainedTokenizerFast"));
    json_object_set_new(
        config, "model_max_length", json_integer((json_int_t)loaded->model.config.context));
    json_object_set_new(config, "clean_up_tokenization_spaces", json_false());
    struct hn_view chat = hn_gguf_string(gguf, "tokenizer.chat_template");
    if (chat.size)
        json_object_set_new(config, "chat_template", text_of(chat));
    int rc = write_json(dir, "tokenizer.json", tokenizer_json(loaded, rule, tokens, bos), err);
    if (rc)
        json_decref(config);
    else
        rc = write_json(dir, "tokenizer_config.json", config, err);
    if (!rc)
        rc = write_json(
            dir, "special_tokens_map.json", special_tokens(bos, eos, unk, pad ? pad : eos), err);
    return rc ? rc : write_templates(loaded, dir, err);
}
