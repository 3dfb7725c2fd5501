/*
 * Metrics of written answers against reference texts: exact_match and f1 as SQuAD's script has
 * them, rouge_l as the rouge-score package, chrf (chrF2) and bleu (13a tokens, exponential
 * smoothing) as sacrebleu, each with its defaults.
 *
 * Answers are added one by one; what is summed up is whole numbers, but for the means over rows.
 */
#ifndef HN_ENGINE_EVAL_TEXT_METRICS_H
#define HN_ENGINE_EVAL_TEXT_METRICS_H

#include "engine/base/buf.h"

#include <jansson.h>

enum hn_text_metric {
    HN_TEXT_EXACT_MATCH,
    HN_TEXT_F1,
    HN_TEXT_ROUGE_L,
    HN_TEXT_CHRF,
    HN_TEXT_BLEU,
    HN_TEXT_METRICS
};
#define HN_TEXT_ALL ((1u << HN_TEXT_METRICS) - 1)
#define HN_TEXT_SQUAD (1u << HN_TEXT_EXACT_MATCH | 1u << HN_TEXT_F1)

enum { HN_CHRF_ORDERS = 6, HN_BLEU_ORDERS = 4 };

/* Start it with zeros and `wanted`. Owner calls hn_text_metrics_finish. */
struct hn_text_metrics {
    unsigned wanted; /* bits of enum hn_text_metric */
    bool failed;     /* out of memory: to be checked once, at the end */
    size_t rows;
    double exact_match, f1, rouge_l; /* sums over rows */
    size_t chrf[HN_CHRF_ORDERS][3];  /* grams of the answers, of their references, in both */
    size_t length, reference_length; /* words */
    size_t bleu[HN_BLEU_ORDERS][2];  /* grams of the answers, those also in a reference */
    struct hn_buf words;             /* all words seen */
    size_t *slots, n_words, n_slots; /* hash table: 1 + number of the word, or 0 */
    size_t *ends, ends_capacity;     /* [n_words] in `words` */
};

/* `references` are a text, a list of texts or SQuAD's {"text": […]}; the best one counts, none at
 * all is the empty text. Texts are valid UTF-8. The row's own exact_match (0 or 1), f1 and rouge_l
 * (0..1), as far as they are wanted, are added to `ret_scores` (or NULL), with "correct" where
 * exact_match is one of them. */
void hn_text_metrics_add(
    struct hn_text_metrics *m, const json_t *answer, const json_t *references, json_t *ret_scores);
/* Adds the wanted figures to `out`: rouge_l 0..1, the others in percent. Nothing when there are no
 * rows. */
void hn_text_metrics_write(const struct hn_text_metrics *m, json_t *out);
void hn_text_metrics_finish(struct hn_text_metrics *m);

#endif
