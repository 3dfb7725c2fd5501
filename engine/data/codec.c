/* See codec.h. */
#include "engine/data/codec.h"
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

static void special_text(const struct hn_codec *codec, int32_t id, struct hn_buf *out) {
    hn_buf_append(out, "", 0);
    if (id >= 0)
        hn_tokenizer_decode(codec->tokenizer, id, true, out);
}

int hn_codec_render(const struct hn_codec *codec, const json_t *messages, const json_t *tools,
    bool generation_prompt, struct hn_rendered *out, struct hn_error *err) {
    struct hn_buf bos = {0}, eos = {0};
    if (!codec->chat) {
        hn_fail(err, HN_E_UNSUPPORTED,
            "the model has no chat template, so messages cannot be laid out for it");
        hn_error_hint(err, "send rows of prompt and completion, or use an instruction-tuned model");
        return HN_E_UNSUPPORTED;
    }
    special_text(codec, hn_tokenizer_bos(codec->tokenizer), &bos);
    special_text(codec, hn_tokenizer_eos(codec->tokenizer), &eos);
    struct hn_template_input in = {.messages = messages,
        .tools = json_is_array(tools) ? tools : NULL,
        .add_generation_prompt = generation_prompt,
        .bos_token = bos.data,
        .eos_token = eos.data,
        .date = codec->date[0] ? codec->date : NULL};
    const struct hn_template *chat =
        in.tools && codec->chat_tools ? codec->chat_tools : codec->chat;
    int rc = bos.failed || eos.failed ? no_memory(err) : hn_template_render(chat, &in, out, err);
    hn_buf_free(&bos);
    hn_buf_free(&eos);
    return rc;
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
