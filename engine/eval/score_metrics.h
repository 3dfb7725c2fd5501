/* Metrics of rows that were scored once (scores.h): of all of them, or of any draw. */
#ifndef HN_ENGINE_EVAL_SCORE_METRICS_H
#define HN_ENGINE_EVAL_SCORE_METRICS_H

#include "engine/eval/metrics.h"
#include "engine/eval/scores.h"

/* How two runs are compared by a metric. */
enum hn_score_kind {
    HN_SCORE_RIGHT,    /* a share of rows that are right */
    HN_SCORE_MEAN,     /* a mean over rows of what each has */
    HN_SCORE_STATISTIC /* no mean of rows */
};

struct hn_score_metric {
    const char *name;    /* as in evaluations, without "val_" */
    unsigned objectives; /* bits of enum hn_objective */
    enum hn_score_kind kind;
    bool lower; /* is better */
    /* RIGHT and MEAN: what one row has; else NULL */
    double (*row)(const struct hn_score *score);
    /* Of rows[n] of the scores; NaN where it is not defined. counts: [n_labels], for those of
     * classes */
    double (*of)(const struct hn_score_metric *metric, const struct hn_scores *scores,
        const size_t *rows, size_t n, struct hn_label_counts *counts);
};

/* By name, with or without "val_"; NULL: the objective's first one. HN_E_INVALID_FIELD (field
 * "metric") where scores of the objective do not give it, with those that they give. */
int hn_score_metric_find(enum hn_objective objective, const char *name,
    const struct hn_score_metric **ret, struct hn_error *err);

#endif
