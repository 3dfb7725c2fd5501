/* See codec.h. */
#include "engine/data/codec.h"
#include "engine/data/tool_calls.h"
#include "engine/formats/gguf.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static int no_memory(struct hn_error *err) {
    return hn_fail(err, HN_E_INTERNAL, "out of memory");
}

int hn_codec_encode(const struct hn_codec *codec, const char *text, size_t size,
    const uint16_t *origins, struct hn_ids *ids, struct hn_error *err) {
    size_t first = ids->n;
    int32_t bos = hn_tokenizer_bos(codec->tokenizer);
    int rc = hn_tokenizer_encode(codec->tokenizer, text ? text : "", size, origins, ids, err);
    if (rc || !hn_tokenizer_adds_bos(codec->tokenizer) ||
        (ids->n > first && ids->ids[first] == bos))
        return rc;
    if (!hn_ids_push(ids, bos, 0, 0))
        return no_memory(err);
    memmove(ids->ids + first + 1, ids->ids + first, (ids->n - 1 - first) * sizeof *ids->ids);
    memmove(ids->offsets + first + 1, ids->offsets + first,
        (ids->n - 1 - first) * sizeof *ids->offsets);
    memmove(ids->ends + first + 1, ids->ends + first, (ids->n - 1 - first) * sizeof *ids->ends);
    ids->ids[first] = bos;
    ids->offsets[first] = ids->ends[first] = 0;
    return 0;
}

size_t hn_ids_common(const struct hn_ids *a, const struct hn_ids *b) {
    size_t n = 0;
    while (n < a->n && n < b->n && a->ids[n] == b->ids[n])
        n++;
    return n;
}

int hn_codec_firm(const struct hn_codec *codec, const char *text, size_t size,
    const uint16_t *origins, const struct hn_ids *ids, size_t *ret_n, struct hn_error *err) {
    struct hn_buf longer = {0};
    struct hn_ids with = {0};
    uint16_t *places = NULL;
    *ret_n = ids->n;
    if (!size || !text[size - 1] || !strchr(" \t\r\n", text[size - 1]))
        return 0;
    hn_buf_append(&longer, text, size);
    hn_buf_char(&longer, 'a');
    if (origins && (places = hn_calloc(size + 1, sizeof *places))) {
        memcpy(places, origins, size * sizeof *places);
        places[size] = HN_ORIGIN_DATA;
    }
    int rc = longer.failed || (origins && !places)
        ? no_memory(err)
        : hn_codec_encode(codec, longer.data, longer.size, places, &with, err);
    size_t n = rc ? 0 : hn_ids_common(ids, &with);
    if (n && !(n == 1 && ids->ids[0] == hn_tokenizer_bos(codec->tokenizer)))
        *ret_n = n;
    free(places);
    hn_buf_free(&longer);
    hn_ids_free(&with);
    return rc;
}

int hn_codec_encode_bare(const struct hn_codec *codec, const char *text, size_t size,
    struct hn_ids *ids, struct hn_error *err) {
    uint16_t *origins = codec->applied ? hn_calloc(size + 1, sizeof *origins) : NULL;
    if (codec->applied && !origins)
        return no_memory(err);
    int rc = hn_codec_encode(codec, text, size, origins, ids, err);
    free(origins);
    return rc;
}

size_t hn_codec_answer_size(const struct hn_codec *codec, const json_t *text) {
    int32_t id;
    return json_is_string(text) ? hn_tokenizer_before_end(codec->tokenizer, json_string_value(text),
                                      json_string_length(text), &id)
                                : 0;
}

/* The messages with answers that do not spell the end token that the template writes behind them;
 * NULL: none did. New reference. */
static json_t *without_ends(const struct hn_codec *codec, const json_t *messages) {
    json_t *out = NULL;
    const json_t *message;
    size_t i;
    json_array_foreach((json_t *)(uintptr_t)messages, i, message) {
        const char *role = json_string_value(json_object_get(message, "role"));
        const json_t *content = json_object_get(message, "content");
        size_t size = hn_codec_answer_size(codec, content);
        if (!role || strcmp(role, "assistant") != 0 || size == json_string_length(content))
            continue;
        out = out ? out : json_copy((json_t *)(uintptr_t)messages);
        json_t *copy = json_copy((json_t *)(uintptr_t)message);
        json_object_set_new(copy, "content", json_stringn(json_string_value(content), size));
        json_array_set_new(out, i, copy);
    }
    return out;
}

static void special_text(const struct hn_codec *codec, int32_t id, struct hn_buf *out) {
    hn_buf_append(out, "", 0);
    if (id >= 0)
        hn_tokenizer_decode(codec->tokenizer, id, true, out);
}

static int render_once(const struct hn_codec *codec, struct hn_template_input *in,
    const json_t *messages, struct hn_rendered *out, struct hn_error *err) {
    const struct hn_template *chat =
        in->tools && codec->chat_tools ? codec->chat_tools : codec->chat;
    in->messages = messages;
    if (in->trace)
        in->trace->n = 0;
    return hn_template_render(chat, in, out, err);
}

/*
 * Templates do not agree on what a call looks like. Arguments given as JSON text are handed over as
 * the object they say; to a template that fails with it, as the text. A message of calls without a
 * content has none, or where the template fails with that, an empty one.
 */
static int render_any(const struct hn_codec *codec, struct hn_template_input *in,
    const json_t *messages, struct hn_rendered *out, struct hn_error *err) {
    json_t *read = hn_calls_read(messages), *filled = NULL;
    const json_t *first = read ? read : messages;
    struct hn_error local = {0};
    int rc = render_once(codec, in, first, out, &local), again = rc;
    if (again && again != HN_E_INTERNAL && (filled = hn_calls_filled(first)))
        again = render_once(codec, in, filled, out, NULL);
    json_decref(filled);
    filled = NULL;
    if (again && again != HN_E_INTERNAL && read) {
        filled = hn_calls_filled(messages);
        again = render_once(codec, in, messages, out, NULL);
        if (again && filled)
            again = render_once(codec, in, filled, out, NULL);
    }
    json_decref(filled);
    json_decref(read);
    if (again && err)
        *err = local;
    return again ? rc : 0;
}

static int render(const struct hn_codec *codec, struct hn_template_input *in,
    const json_t *messages, struct hn_rendered *out, struct hn_error *err) {
    struct hn_buf bos = {0}, eos = {0};
    if (!codec->chat) {
        hn_fail(err, HN_E_UNSUPPORTED,
            "the model has no chat template, so messages cannot be laid out for it");
        hn_error_hint(err, "send rows of prompt and completion, or use an instruction-tuned model");
        return HN_E_UNSUPPORTED;
    }
    special_text(codec, hn_tokenizer_bos(codec->tokenizer), &bos);
    special_text(codec, hn_tokenizer_eos(codec->tokenizer), &eos);
    in->bos_token = bos.data;
    in->eos_token = eos.data;
    in->date = codec->date[0] ? codec->date : NULL;
    json_t *ended = without_ends(codec, messages);
    int rc = bos.failed || eos.failed ? no_memory(err)
                                      : render_any(codec, in, ended ? ended : messages, out, err);
    json_decref(ended);
    hn_buf_free(&bos);
    hn_buf_free(&eos);
    return rc;
}

int hn_codec_render(const struct hn_codec *codec, const json_t *messages, const json_t *tools,
    bool generation_prompt, struct hn_rendered *out, struct hn_error *err) {
    struct hn_template_input in = {
        .tools = json_is_array(tools) ? tools : NULL, .add_generation_prompt = generation_prompt};
    return render(codec, &in, messages, out, err);
}

int hn_codec_trace(const struct hn_codec *codec, const json_t *messages, const json_t *tools,
    struct hn_trace *trace, struct hn_error *err) {
    struct hn_template_input in = {.tools = json_is_array(tools) ? tools : NULL, .trace = trace};
    struct hn_rendered text = {0};
    int rc = render(codec, &in, messages, &text, err);
    hn_rendered_free(&text);
    return rc;
}

/* Bytes at the end of the turn's begin that are written again; 0 where that cannot be told. */
static size_t loose_bytes(const struct hn_codec *codec, const uint16_t *origins) {
    struct hn_ids ids = {0};
    size_t firm = 0, loose = 0;
    if (!hn_codec_encode(codec, codec->turn, codec->turn_size, origins, &ids, NULL) &&
        !hn_codec_firm(codec, codec->turn, codec->turn_size, origins, &ids, &firm, NULL) &&
        firm < ids.n)
        loose = codec->turn_size - ids.offsets[firm];
    hn_ids_free(&ids);
    return loose;
}

/*
 * The text with which the template asks for an answer: what add_generation_prompt adds to a
 * conversation. Templates that add nothing, or that refuse this conversation, leave it empty; it is
 * only an aid (encode.c).
 */
void hn_codec_prepare(struct hn_codec *codec) {
    char date[sizeof codec->date];
    json_t *messages = json_pack("[{s:s, s:s}]", "role", "user", "content", "Hello");
    struct hn_rendered without = {0}, with = {0};
    memcpy(date, codec->date, sizeof date);
    snprintf(codec->date, sizeof codec->date, "2000-01-01");
    if (messages && !hn_codec_render(codec, messages, NULL, false, &without, NULL) &&
        !hn_codec_render(codec, messages, NULL, true, &with, NULL)) {
        size_t n = without.text.size, more = with.text.size > n ? with.text.size - n : 0;
        if (more && (n == 0 || memcmp(without.text.data, with.text.data, n) == 0) &&
            (codec->turn = hn_calloc(more, 1))) {
            memcpy(codec->turn, with.text.data + n, more);
            codec->turn_size = more;
            codec->turn_loose = loose_bytes(codec, with.origin + n);
        }
    }
    memcpy(codec->date, date, sizeof date);
    hn_rendered_free(&without);
    hn_rendered_free(&with);
    json_decref(messages);
}

int hn_codec_from_gguf(const struct hn_gguf *gguf, struct hn_codec *ret, struct hn_error *err) {
    struct hn_codec codec = {0};
    int rc = hn_tokenizer_from_gguf(gguf, &codec.tokenizer, err);
    struct hn_view chat = hn_gguf_string(gguf, "tokenizer.chat_template");
    if (!rc && chat.size)
        rc = hn_template_compile(chat.data, chat.size, &codec.chat, err);
    chat = hn_gguf_string(gguf, "tokenizer.chat_template.tool_use");
    if (!rc && codec.chat && chat.size)
        rc = hn_template_compile(chat.data, chat.size, &codec.chat_tools, err);
    if (rc) {
        hn_codec_finish(&codec);
        return rc;
    }
    if (codec.chat)
        hn_codec_prepare(&codec);
    *ret = codec;
    return 0;
}

/* There is neither tokenizer.json nor vocab.txt. */
static int refuse_tokenizer(const char *dir, struct hn_error *err) {
    static const struct {
        const char *file, *what;
    } older[] = {{"tokenizer.model", "SentencePiece's own file"},
        {"spiece.model", "SentencePiece's own file"},
        {"sentencepiece.bpe.model", "SentencePiece's own file"},
        {"merges.txt", "a vocabulary with merges"}, {"tekken.json", "Mistral's own file"},
        {"tokenizer_config.json", "the settings alone"}};
    char path[4400], found[120] = "";
    for (size_t i = 0; !found[0] && i < sizeof older / sizeof older[0]; i++) {
        snprintf(path, sizeof path, "%.4096s/%s", dir, older[i].file);
        if (!access(path, F_OK))
            snprintf(found, sizeof found, "; it has %s (%s)", older[i].what, older[i].file);
    }
    hn_fail(err, HN_E_MODEL_INVALID, "the model's folder has no tokenizer.json%s", found);
    hn_error_hint(
        err, "AutoTokenizer.from_pretrained(\"FOLDER\").save_pretrained(\"FOLDER\") writes it");
    return HN_E_MODEL_INVALID;
}

int hn_codec_open(const struct hn_model *model, struct hn_codec *ret, struct hn_error *err) {
    if (model->is_folder && !model->gguf.n_kv)
        return refuse_tokenizer(model->folder.dir, err);
    return hn_codec_from_gguf(&model->gguf, ret, err);
}

void hn_codec_finish(struct hn_codec *codec) {
    hn_tokenizer_destroy(codec->tokenizer);
    hn_template_destroy(codec->chat);
    hn_template_destroy(codec->chat_tools);
    free(codec->turn);
    *codec = (struct hn_codec){0};
}
