/* See score_metrics.h. One row a metric; the first that an objective has is its own. */
#include "engine/eval/score_metrics.h"
#include "engine/model/objective.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

static double right(const struct hn_score *s) {
    return s->right;
}

static double right_percent(const struct hn_score *s) {
    return 100.0 * s->right;
}

static double value_percent(const struct hn_score *s) {
    return 100 * (double)s->value;
}

static double square(const struct hn_score *s) {
    double off = (double)s->value - (double)s->truth;
    return off * off;
}

static double loss(const struct hn_score *s) {
    return (double)s->loss;
}

static double mean(const struct hn_score_metric *metric, const struct hn_scores *scores,
    const size_t *rows, size_t n, struct hn_label_counts *counts) {
    double sum = 0;
    (void)counts;
    for (size_t i = 0; i < n; i++)
        sum += metric->row(&scores->rows[rows[i]]);
    return sum / (double)n;
}

/* As an evaluation's: over target tokens, by their weights. */
static double mean_loss(const struct hn_score_metric *metric, const struct hn_scores *scores,
    const size_t *rows, size_t n, struct hn_label_counts *counts) {
    double sum = 0, weight = 0;
    (void)metric;
    (void)counts;
    for (size_t i = 0; i < n; i++) {
        const struct hn_score *s = &scores->rows[rows[i]];
        sum += (double)s->loss * (double)s->weight;
        weight += (double)s->weight;
    }
    return sum / weight;
}

static double perplexity(const struct hn_score_metric *metric, const struct hn_scores *scores,
    const size_t *rows, size_t n, struct hn_label_counts *counts) {
    return exp(mean_loss(metric, scores, rows, n, counts));
}

static void count(
    const struct hn_scores *scores, const size_t *rows, size_t n, struct hn_label_counts *counts) {
    memset(counts, 0, scores->n_labels * sizeof *counts);
    for (size_t i = 0; i < n; i++) {
        const struct hn_score *s = &scores->rows[rows[i]];
        counts[s->label].actual++;
        counts[s->predicted].predicted++;
        counts[s->label].hits += s->label == s->predicted;
    }
}

static double f1_macro(const struct hn_score_metric *metric, const struct hn_scores *scores,
    const size_t *rows, size_t n, struct hn_label_counts *counts) {
    struct hn_label_means means;
    (void)metric;
    count(scores, rows, n, counts);
    hn_label_means(counts, scores->n_labels, true, &means);
    return means.f1_macro;
}

static double f1_weighted(const struct hn_score_metric *metric, const struct hn_scores *scores,
    const size_t *rows, size_t n, struct hn_label_counts *counts) {
    struct hn_label_means means;
    (void)metric;
    count(scores, rows, n, counts);
    hn_label_means(counts, scores->n_labels, true, &means);
    return means.f1_weighted;
}

static double matthews(const struct hn_score_metric *metric, const struct hn_scores *scores,
    const size_t *rows, size_t n, struct hn_label_counts *counts) {
    (void)metric;
    count(scores, rows, n, counts);
    return hn_matthews(counts, scores->n_labels, n);
}

static double r2(const struct hn_score_metric *metric, const struct hn_scores *scores,
    const size_t *rows, size_t n, struct hn_label_counts *counts) {
    double middle = 0, squares = 0, spread = 0;
    (void)metric;
    (void)counts;
    for (size_t i = 0; i < n; i++)
        middle += (double)scores->rows[rows[i]].truth / (double)n;
    for (size_t i = 0; i < n; i++) {
        double off = (double)scores->rows[rows[i]].truth - middle;
        squares += square(&scores->rows[rows[i]]);
        spread += off * off;
    }
    return spread > 0 ? 1 - squares / spread : (double)NAN;
}

static double entity_f1(const struct hn_score_metric *metric, const struct hn_scores *scores,
    const size_t *rows, size_t n, struct hn_label_counts *counts) {
    double common = 0, all = 0;
    (void)metric;
    (void)counts;
    for (size_t i = 0; i < n; i++) {
        const struct hn_score *s = &scores->rows[rows[i]];
        common += (double)s->value;
        all += (double)s->label + (double)s->predicted;
    }
    return all > 0 ? 2 * common / all : 0;
}

#define OF(NAME) (1u << HN_OBJECTIVE_##NAME)
static const struct hn_score_metric metrics[] = {
    {"accuracy", OF(CLASSES) | OF(MULTI), HN_SCORE_RIGHT, false, right, mean},
    {"f1_macro", OF(CLASSES), HN_SCORE_STATISTIC, false, NULL, f1_macro},
    {"f1_weighted", OF(CLASSES), HN_SCORE_STATISTIC, false, NULL, f1_weighted},
    {"mcc", OF(CLASSES), HN_SCORE_STATISTIC, false, NULL, matthews},
    {"r2", OF(VALUE), HN_SCORE_STATISTIC, false, NULL, r2},
    {"mse", OF(VALUE), HN_SCORE_MEAN, true, square, mean},
    {"entity_f1", OF(TAGS), HN_SCORE_STATISTIC, false, NULL, entity_f1},
    {"f1", OF(SPAN), HN_SCORE_MEAN, false, value_percent, mean},
    {"exact_match", OF(SPAN), HN_SCORE_RIGHT, false, right_percent, mean},
    {"loss", ~0u, HN_SCORE_MEAN, true, loss, mean_loss},
    {"perplexity", OF(TOKENS), HN_SCORE_STATISTIC, true, NULL, perplexity},
};

int hn_score_metric_find(enum hn_objective objective, const char *name,
    const struct hn_score_metric **ret, struct hn_error *err) {
    char known[256] = "";
    name = name && strncmp(name, "val_", 4) == 0 ? name + 4 : name;
    for (size_t i = 0; i < sizeof metrics / sizeof metrics[0]; i++) {
        if (!(metrics[i].objectives & 1u << objective))
            continue;
        if (!name || strcmp(metrics[i].name, name) == 0) {
            *ret = &metrics[i];
            return 0;
        }
        size_t used = strlen(known);
        snprintf(known + used, sizeof known - used, "%s%s", used ? ", " : "", metrics[i].name);
    }
    hn_fail(err, HN_E_INVALID_FIELD, "scores of %s do not give the metric \"%.40s\"",
        hn_objectives[objective].name, name);
    hn_error_field(err, "metric");
    hn_error_hint(err, "they give: %s", known);
    return HN_E_INVALID_FIELD;
}
