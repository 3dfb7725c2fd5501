/* The codec of one model: its tokenizer, its chat template and its special ids. */
#ifndef HN_ENGINE_DATA_CODEC_H
#define HN_ENGINE_DATA_CODEC_H

#include "engine/model/model.h"
#include "engine/template/template.h"
#include "engine/tokenizer/tokenizer.h"

struct hn_codec {
    struct hn_tokenizer *tokenizer;
    struct hn_template *chat; /* NULL when the model has none */
    /* of conversations with tools, where the model has one of its own; else NULL */
    struct hn_template *chat_tools;
    char date[16]; /* for the template; "" = none */
    /* [turn_size] what add_generation_prompt adds: the begin of an assistant's turn; may be NULL */
    char *turn;
    size_t turn_size;
    size_t turn_loose; /* bytes at its end that a model writes again (hn_codec_firm) */
    bool applied;      /* rows of bare text are rendered already: control tokens are themselves */
};
/* Of an open model, which must stay open while the codec lives. */
int hn_codec_open(const struct hn_model *model, struct hn_codec *ret, struct hn_error *err);
int hn_codec_from_gguf(const struct hn_gguf *gguf, struct hn_codec *ret, struct hn_error *err);
void hn_codec_finish(struct hn_codec *codec);
/* Finds out with what text the chat template begins an assistant's turn; done by
 * hn_codec_from_gguf. */
void hn_codec_prepare(struct hn_codec *codec);
/* Renders a conversation for the codec's model; HN_E_UNSUPPORTED when it has no chat template. */
int hn_codec_render(const struct hn_codec *codec, const json_t *messages, const json_t *tools,
    bool generation_prompt, struct hn_rendered *out, struct hn_error *err);
/* Which fields of the conversation leave bytes in the text that hn_codec_render makes of it without
 * a generation prompt. hn_trace_free afterwards. */
int hn_codec_trace(const struct hn_codec *codec, const json_t *messages, const json_t *tools,
    struct hn_trace *trace, struct hn_error *err);
/*
 * Of ids, which are those of the text: how many stay what they are when an answer follows. White
 * space at the end of a prompt often becomes one token with the word behind it, so that what a
 * model has to write begins before that space, in training and when it is asked. All, where the
 * text does not end in white space, or nothing would be left.
 */
int hn_codec_firm(const struct hn_codec *codec, const char *text, size_t size,
    const uint16_t *origins, const struct hn_ids *ids, size_t *ret_n, struct hn_error *err);
/* How many ids two texts have in common at their begin. */
size_t hn_ids_common(const struct hn_ids *a, const struct hn_ids *b);
/* Bytes of an answer without the end tokens it spells at its end, which the template, or the row's
 * own end, brings itself. */
size_t hn_codec_answer_size(const struct hn_codec *codec, const json_t *text);
/* Appends the ids of a text, after a BOS where the tokenizer adds one and the text does not begin
 * with it already. */
int hn_codec_encode(const struct hn_codec *codec, const char *text, size_t size,
    const uint16_t *origins, struct hn_ids *ids, struct hn_error *err);
/* The same for a text that was not rendered here: plain, or with codec->applied a rendered one. */
int hn_codec_encode_bare(const struct hn_codec *codec, const char *text, size_t size,
    struct hn_ids *ids, struct hn_error *err);

#endif
