/*
 * One row as tokens with the weight of every target, and the text they came from. Internal to
 * examples, prompts, preview.
 */
#ifndef HN_ENCODE_H
#define HN_ENCODE_H

#include "engine/data/examples.h"

struct hn_encoded {
    struct hn_ids ids; /* offsets into text; an added BOS begins at 0, an added EOS at text.size */
    float *weights;    /* [ids.n] weight of predicting this token; 0 = no target */
    /* what was tokenised: the rendered conversation, or prompt and completion, or the text */
    struct hn_buf text;
    uint16_t *origins; /* [text.size] for conversations (template.h), else NULL */
    size_t length;     /* tokens before max_length cut it */
    /* For a task's head (struct hn_examples has what they mean). */
    int32_t *targets; /* [ids.n] */
    uint8_t *types;   /* [ids.n] */
    float *values;    /* [outputs] */
    /* Answers in a context, to which offsets then belong: where the next window begins, and whether
     * there is one; the context's tokens in ids. Set window to 0 for a row's first. */
    size_t window, context_first, context_last;
    bool again;
    size_t weights_capacity, targets_capacity, types_capacity, values_capacity;
};

/* Encodes a row under our own names (hn_dataset_row); overwrites *out, whose memory is reused. */
int hn_row_encode(const struct hn_codec *codec, enum hn_columns columns, const json_t *row,
    const struct hn_encode_options *options, struct hn_encoded *out, struct hn_error *err);
void hn_encoded_finish(struct hn_encoded *out);
/* Tokens kept under max_length. */
static inline size_t hn_encoded_kept(
    const struct hn_encoded *e, const struct hn_encode_options *options) {
    return e->ids.n < options->max_length ? e->ids.n : options->max_length;
}
/* Targets among the first n tokens. */
size_t hn_encoded_targets(const struct hn_encoded *e, size_t n);

/* A question about a context as text to write, for models without a head for answers: a
 * conversation of one question and one answer where the model has a chat template, else prompt and
 * completion. Without answers in the row: the question alone. New reference. */
int hn_question_row(const struct hn_codec *codec, const json_t *row, enum hn_columns *ret_columns,
    json_t **ret, struct hn_error *err);

/* The rows of a task's head; part of hn_row_encode. */
int hn_encode_labelled(const struct hn_codec *codec, const json_t *row,
    const struct hn_encode_options *options, struct hn_encoded *e, struct hn_error *err);
int hn_encode_tagged(const struct hn_codec *codec, const json_t *row,
    const struct hn_encode_options *options, struct hn_encoded *e, struct hn_error *err);
int hn_encode_asked(const struct hn_codec *codec, const json_t *row,
    const struct hn_encode_options *options, struct hn_encoded *e, struct hn_error *err);

/* Finds out with what text the chat template begins an assistant's turn; done by
 * hn_codec_from_gguf. */
void hn_codec_prepare(struct hn_codec *codec);
/* Renders a conversation for the codec's model; HN_E_UNSUPPORTED when it has no chat template. */
int hn_codec_render(const struct hn_codec *codec, const json_t *messages, const json_t *tools,
    bool generation_prompt, struct hn_rendered *out, struct hn_error *err);
/* Appends the ids of a text, after a BOS where the tokenizer adds one and the text does not begin
 * with it already. */
int hn_codec_encode(const struct hn_codec *codec, const char *text, size_t size,
    const uint16_t *origins, struct hn_ids *ids, struct hn_error *err);

#endif
