/*
 * From a head's logits to what a person reads: labels with probabilities, a value, entities, an
 * answer's span; and the metrics of tags and spans, which need the text.
 */
#ifndef HN_ENGINE_EVAL_ANSWERS_H
#define HN_ENGINE_EVAL_ANSWERS_H

#include "engine/data/encode.h"
#include "engine/eval/scores.h"
#include "engine/run/loaded.h"

#include <jansson.h>

/* The largest of k logits, the first of equals, and the softmax's share of one. */
size_t hn_logits_best(const float *logits, size_t k);
double hn_logits_probability(const float *logits, size_t k, size_t i);

/* {"label","probabilities"}: of one class; {"labels","probabilities"}: of several; {"value"}. New
 * reference. */
json_t *hn_answer_sequence(const struct hn_labels *labels, const float *logits);

#define HN_WORD_SPACES " \t\r\n" /* what stands between the words of a text that is to be tagged */
/* {"entities":[{"label","text","start","end","first","last","score"}], "tags":[…]} of a row
 * {"tokens"[,"text"]}: start and end in characters of the text whose words the tokens are, without
 * it of the tokens joined by spaces; first and last number them from 0. A word without tokens has
 * the tag O. logits of the encoded row's targets. */
json_t *hn_answer_tags(const struct hn_labels *labels, const struct hn_encoded *e,
    const json_t *row, const float *logits);

/* The best span over the windows of a row. Start it with zeros. */
struct hn_best_span {
    double score, null_score; /* sums of two logits */
    size_t begin, end;        /* bytes of the context */
    bool found, any;
};
/* logits[e->ids.n, 2] of a window. Spans of at most 30 tokens of the context. */
void hn_span_consider(
    struct hn_best_span *best, const struct hn_encoded *window, const float *logits);
/* Whether the answer is that there is none. */
bool hn_span_is_null(const struct hn_best_span *span, const struct hn_labels *labels);
/* {"answer","score","start","end"}, start and end in characters; the empty answer where there is
 * none. */
json_t *hn_answer_span(
    const struct hn_best_span *span, const struct hn_labels *labels, const char *context);

/* entity_f1 and accuracy, as seqeval computes them; logits and targets of the examples' targets in
 * order. `data` is read where a row has a word without tokens, which counts as answered with O.
 * `answers` (or NULL) gets {"tags","correct"} of each row, `scores` (or NULL) [rows] what scores.h
 * has of tags. */
int hn_metrics_tags(const struct hn_loaded *loaded, const float *logits, const int32_t *targets,
    const struct hn_examples *ex, const struct hn_dataset *data, json_t *out, json_t *answers,
    struct hn_score *scores, struct hn_error *err);
/* exact_match and f1 in percent, as SQuAD's script computes them; logits of all tokens. `answers`
 * (or NULL) gets hn_answer_span's of each row with its scores, `scores` (or NULL) [rows] what
 * scores.h has of spans. */
int hn_metrics_spans(const struct hn_loaded *loaded, const float *logits,
    const struct hn_examples *ex, const struct hn_dataset *data, json_t *out, json_t *answers,
    struct hn_score *scores, struct hn_error *err);

#endif
