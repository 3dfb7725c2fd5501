/*
 * One row as tokens with the weight of every target, and the text they came from. Internal to
 * examples, prompts, preview.
 */
#ifndef HN_ENGINE_DATA_ENCODE_H
#define HN_ENGINE_DATA_ENCODE_H

#include "engine/base/buf.h"
#include "engine/data/codec.h"
#include "engine/data/labels.h"
#include "engine/data/notices.h"
#include "engine/data/rows.h"
#include "engine/data/task.h"
#include "engine/hyperparams.h"

struct hn_encode_options {
    enum hn_task task;
    size_t max_length;
    enum hn_overflow overflow;
    enum hn_loss_on loss_on;
    size_t vocab;                   /* the model's embedding rows; ids past it are an error */
    const struct hn_labels *labels; /* NULL: next tokens */
    bool encoder;
    size_t token_types;
};

struct hn_encoded {
    struct hn_ids ids; /* offsets into text; an added BOS begins at 0, an added EOS at text.size */
    float *weights;    /* [ids.n] weight of predicting this token; 0 = no target */
    /* what was tokenised: the rendered conversation, or prompt and completion, or the text */
    struct hn_buf text;
    uint16_t *origins;         /* [text.size] for conversations (template.h), else NULL */
    size_t length;             /* tokens before max_length cut it */
    struct hn_notices notices; /* of the row, each once */
    /* For a task's head (struct hn_examples has what they mean). */
    int32_t *targets; /* [ids.n] */
    uint8_t *types;   /* [ids.n] */
    /* [ids.n] of words with tags: the word whose first token this is, else -1 */
    int32_t *words;
    size_t words_seen; /* words before the place where max_length cut the row */
    float *values;     /* [outputs] */
    /* Answers in a context, to which offsets then belong: where the next window begins, and whether
     * there is one; the context's tokens in ids. Set window to 0 for a row's first. */
    size_t window, context_first, context_last;
    bool again;
    size_t question_cut; /* tokens of a question that found no room */
    size_t weights_capacity, targets_capacity, types_capacity, values_capacity, words_capacity;
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

/* The columns that rows of a task's head have. */
enum hn_columns hn_objective_columns(enum hn_objective objective);
/* The rows of a task's head; part of hn_row_encode. */
int hn_encode_labelled(const struct hn_codec *codec, const json_t *row,
    const struct hn_encode_options *options, struct hn_encoded *e, struct hn_error *err);
int hn_encode_tagged(const struct hn_codec *codec, const json_t *row,
    const struct hn_encode_options *options, struct hn_encoded *e, struct hn_error *err);
int hn_encode_asked(const struct hn_codec *codec, const json_t *row,
    const struct hn_encode_options *options, struct hn_encoded *e, struct hn_error *err);

#endif
