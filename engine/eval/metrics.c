/* See metrics.h. Sums in double, in the order of the rows. */
#include "engine/eval/metrics.h"
#include "engine/base/buf.h"
#include "engine/base/json.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#define BINS 15

static void put(json_t *out, const char *name, double value) {
    if (isfinite(value))
        json_object_set_new(out, name, hn_json_float((float)value));
}

static double ratio(size_t a, size_t b) {
    return b ? (double)a / (double)b : 0;
}

static double f1_of(const struct hn_label_counts *c) {
    return ratio(2 * c->hits, c->predicted + c->actual);
}

void hn_label_means(
    const struct hn_label_counts *c, size_t k, bool classes, struct hn_label_means *ret) {
    bool binary = classes && k == 2;
    double f1 = 0, weighted = 0, precision = 0, recall = 0;
    size_t seen = 0, rows = 0;
    for (size_t i = 0; i < k; i++) {
        if (classes && !c[i].predicted && !c[i].actual)
            continue;
        seen++;
        rows += c[i].actual;
        f1 += f1_of(&c[i]);
        weighted += f1_of(&c[i]) * (double)c[i].actual;
        precision += ratio(c[i].hits, c[i].predicted);
        recall += ratio(c[i].hits, c[i].actual);
    }
    *ret = (struct hn_label_means){.f1_macro = f1 / (double)seen,
        .f1_weighted = rows ? weighted / (double)rows : 0,
        .precision = binary ? ratio(c[1].hits, c[1].predicted) : precision / (double)seen,
        .recall = binary ? ratio(c[1].hits, c[1].actual) : recall / (double)seen};
}

static void put_means(json_t *out, const struct hn_label_counts *c, size_t k, bool classes) {
    struct hn_label_means means;
    hn_label_means(c, k, classes, &means);
    put(out, "f1_macro", means.f1_macro);
    put(out, "f1_weighted", means.f1_weighted);
    put(out, "precision", means.precision);
    put(out, "recall", means.recall);
}

struct scored {
    double score;
    bool positive;
};

static int by_score(const void *a, const void *b) {
    double x = ((const struct scored *)a)->score, y = ((const struct scored *)b)->score;
    return (x > y) - (x < y);
}

/* Area under the ROC curve by ranks, ties shared (Mann and Whitney); NaN when there is one class
 * only. */
static double area(struct scored *rows, size_t n) {
    double rank_sum = 0;
    size_t positive = 0;
    qsort(rows, n, sizeof *rows, by_score);
    for (size_t begin = 0, end; begin < n; begin = end) {
        size_t hits = 0;
        for (end = begin; end < n && !(rows[end].score > rows[begin].score); end++)
            hits += rows[end].positive;
        positive += hits;
        rank_sum += (double)hits * ((double)(begin + end + 1) / 2);
    }
    double p = (double)positive, q = (double)(n - positive);
    return p > 0 && q > 0 ? (rank_sum - p * (p + 1) / 2) / (p * q) : (double)NAN;
}

double hn_matthews(const struct hn_label_counts *c, size_t k, size_t n) {
    double hits = 0, cross = 0, predicted = 0, actual = 0, total = (double)n;
    for (size_t i = 0; i < k; i++) {
        hits += (double)c[i].hits;
        cross += (double)c[i].predicted * (double)c[i].actual;
        predicted += (double)c[i].predicted * (double)c[i].predicted;
        actual += (double)c[i].actual * (double)c[i].actual;
    }
    double below = (total * total - predicted) * (total * total - actual);
    return below > 0 ? (hits * total - cross) / sqrt(below) : 0;
}

struct bins {
    size_t n[BINS];
    double confidence[BINS], right[BINS];
};

static double calibration_error(const struct bins *b, size_t n) {
    double sum = 0;
    for (size_t i = 0; i < BINS; i++)
        sum += fabs(b->confidence[i] - b->right[i]);
    return sum / (double)n;
}

static size_t softmax(const float *logits, size_t k, double *out) {
    size_t best = 0;
    double sum = 0;
    for (size_t i = 1; i < k; i++)
        best = logits[i] > logits[best] ? i : best;
    for (size_t i = 0; i < k; i++)
        sum += out[i] = exp((double)logits[i] - (double)logits[best]);
    for (size_t i = 0; i < k; i++)
        out[i] /= sum;
    return best;
}

/* Of two classes the second's, of more the mean of each against the rest. */
static double area_of_classes(
    const double *probabilities, const int32_t *targets, size_t n, size_t k, struct scored *rows) {
    double sum = 0;
    for (size_t c = k == 2 ? 1 : 0; c < k; c++) {
        for (size_t i = 0; i < n; i++)
            rows[i] = (struct scored){probabilities[i * k + c], (size_t)targets[i] == c};
        sum += area(rows, n);
    }
    return k == 2 ? sum : sum / (double)k;
}

int hn_metrics_classes(const float *logits, const int32_t *targets, size_t n, size_t k,
    size_t *confusion, json_t *out) {
    struct hn_label_counts *counts = hn_calloc(k, sizeof *counts);
    double *probabilities = hn_calloc(n * k, sizeof *probabilities);
    struct scored *rows = hn_calloc(n, sizeof *rows);
    struct bins bins = {0};
    size_t right = 0;
    bool ok = counts && probabilities && rows;
    for (size_t i = 0; ok && i < n; i++) {
        size_t best = softmax(logits + i * k, k, probabilities + i * k),
               target = (size_t)targets[i];
        double sure = probabilities[i * k + best];
        size_t bin = sure * BINS > 0 ? (size_t)ceil(sure * BINS) - 1 : 0; /* intervals (a, b] */
        bin = bin < BINS ? bin : BINS - 1;
        bins.n[bin]++;
        bins.confidence[bin] += sure;
        bins.right[bin] += best == target;
        right += best == target;
        counts[best].predicted++;
        counts[target].actual++;
        counts[target].hits += best == target;
        if (confusion)
            confusion[target * k + best]++;
    }
    if (ok && n) {
        put(out, "accuracy", ratio(right, n));
        put_means(out, counts, k, true);
        put(out, "mcc", hn_matthews(counts, k, n));
        put(out, "auc", area_of_classes(probabilities, targets, n, k, rows));
        put(out, "ece", calibration_error(&bins, n));
    }
    free(counts);
    free(probabilities);
    free(rows);
    return ok ? 0 : -1;
}

int hn_metrics_multi(const float *logits, const float *truth, size_t n, size_t k, json_t *out) {
    struct hn_label_counts *counts = hn_calloc(k, sizeof *counts);
    struct scored *rows = hn_calloc(n, sizeof *rows);
    bool ok = counts && rows;
    size_t right = 0;
    double area_sum = 0;
    for (size_t i = 0; ok && i < n; i++) {
        bool all = true;
        for (size_t c = 0; c < k; c++) {
            bool predicted = logits[i * k + c] > 0, actual = truth[i * k + c] > 0.5f;
            counts[c].predicted += predicted;
            counts[c].actual += actual;
            counts[c].hits += predicted && actual;
            all = all && predicted == actual;
        }
        right += all;
    }
    for (size_t c = 0; ok && c < k; c++) {
        for (size_t i = 0; i < n; i++)
            rows[i] = (struct scored){(double)logits[i * k + c], truth[i * k + c] > 0.5f};
        area_sum += area(rows, n);
    }
    if (ok && n) {
        put(out, "accuracy", ratio(right, n));
        put_means(out, counts, k, false);
        put(out, "auc", area_sum / (double)k);
    }
    free(counts);
    free(rows);
    return ok ? 0 : -1;
}

static double correlation(const double *x, const double *y, size_t n) {
    double mx = 0, my = 0, xx = 0, yy = 0, xy = 0;
    for (size_t i = 0; i < n; i++) {
        mx += x[i] / (double)n;
        my += y[i] / (double)n;
    }
    for (size_t i = 0; i < n; i++) {
        xx += (x[i] - mx) * (x[i] - mx);
        yy += (y[i] - my) * (y[i] - my);
        xy += (x[i] - mx) * (y[i] - my);
    }
    return xx > 0 && yy > 0 ? xy / sqrt(xx * yy) : (double)NAN;
}

struct ranked {
    float value;
    size_t row;
};

static int by_value(const void *a, const void *b) {
    float x = ((const struct ranked *)a)->value, y = ((const struct ranked *)b)->value;
    return (x > y) - (x < y);
}

/* Ranks from 1, the mean of them where values are equal. */
static bool rank(const float *values, size_t n, double *ranks) {
    struct ranked *rows = hn_calloc(n, sizeof *rows);
    for (size_t i = 0; rows && i < n; i++)
        rows[i] = (struct ranked){values[i], i};
    if (rows)
        qsort(rows, n, sizeof *rows, by_value);
    for (size_t begin = 0, end; rows && begin < n; begin = end) {
        for (end = begin; end < n && !(rows[end].value > rows[begin].value);)
            end++;
        for (size_t i = begin; i < end; i++)
            ranks[rows[i].row] = (double)(begin + end + 1) / 2;
    }
    free(rows);
    return rows != NULL;
}

int hn_metrics_values(
    const float *predicted, const float *truth, size_t n, double unit, json_t *out) {
    double *x = hn_calloc(n, sizeof *x), *y = hn_calloc(n, sizeof *y), squares = 0, mean = 0,
           spread = 0;
    bool ok = x && y;
    for (size_t i = 0; ok && i < n; i++) {
        x[i] = (double)predicted[i];
        y[i] = (double)truth[i];
        squares += (x[i] - y[i]) * (x[i] - y[i]);
        mean += y[i] / (double)n;
    }
    for (size_t i = 0; ok && i < n; i++)
        spread += (y[i] - mean) * (y[i] - mean);
    if (ok && n) {
        if (spread > 1e-12 * (double)n) /* all but equal values have no variance to explain */
            put(out, "r2", 1 - squares / spread);
        put(out, "mse", squares / (double)n * unit * unit);
        put(out, "pearson", correlation(x, y, n));
    }
    ok = ok && rank(predicted, n, x) && rank(truth, n, y);
    if (ok && n)
        put(out, "spearman", correlation(x, y, n));
    free(x);
    free(y);
    return ok ? 0 : -1;
}
