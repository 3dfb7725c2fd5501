/*
 * Metrics of predictions, as scikit-learn, seqeval and the SQuAD script compute them: pure
 * functions of arrays.
 *
 * Each adds its figures to `out` under the contract's names without "val_". A figure that is not
 * defined (one class only, no variance) is left out. Precision and recall: with two classes those
 * of the second, else the mean over the classes that occur; a class never predicted counts 0.
 */
#ifndef HN_ENGINE_EVAL_METRICS_H
#define HN_ENGINE_EVAL_METRICS_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Rows of one class or label: given, predicted, and both. */
struct hn_label_counts {
    size_t hits, predicted, actual;
};
struct hn_label_means {
    double f1_macro, f1_weighted, precision, recall;
};
/* Over k labels; of classes only over those that occur in truth or prediction. */
void hn_label_means(
    const struct hn_label_counts *counts, size_t k, bool classes, struct hn_label_means *ret);
/* Matthews' coefficient of n rows, for any number of classes (Gorodkin 2004). */
double hn_matthews(const struct hn_label_counts *counts, size_t k, size_t n);

/* logits[n, k], targets[n]. accuracy f1_macro f1_weighted precision recall mcc auc (two classes: of
 * the second's probability; more: mean of one against the rest) ece (15 bins of equal width).
 * confusion[k, k], NULL or zeroed: rows are true classes. */
int hn_metrics_classes(const float *logits, const int32_t *targets, size_t n, size_t k,
    size_t *confusion, json_t *out);
/* logits[n, k], truth[n, k] of 0 and 1; predicted where the logit is above 0. accuracy (all labels
 * of a row right) f1_macro f1_weighted precision recall (means over labels) auc. */
int hn_metrics_multi(const float *logits, const float *truth, size_t n, size_t k, json_t *out);
/* mse pearson spearman */
int hn_metrics_values(
    const float *predicted, const float *truth, size_t n, double unit, json_t *out);

#endif
