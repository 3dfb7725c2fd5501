/* See label_errors.h. */
#include "engine/tune/label_errors.h"
#include "engine/base/buf.h"

#include <stdlib.h>

#define LEAST_THRESHOLD 1e-6
#define SURE_SHARE 0.1         /* of the rows predicted as a class, */
#define SURE_ROWS ((size_t)50) /* and at least so many, are its surest */
#define SLACK 1e-6             /* for sums in another order */

/* Class j's mean probability over the rows that are labelled so; above 1 where none is. */
static void find_thresholds(
    const int32_t *labels, const float *p, size_t n, size_t classes, size_t *rows, double *ret) {
    for (size_t i = 0; i < n; i++) {
        size_t label = (size_t)labels[i];
        rows[label]++;
        ret[label] += (double)p[i * classes + label];
    }
    for (size_t j = 0; j < classes; j++) {
        ret[j] = rows[j] ? ret[j] / (double)rows[j] : 2;
        if (ret[j] < LEAST_THRESHOLD)
            ret[j] = LEAST_THRESHOLD;
    }
}

/* Which class the row is confidently of; `classes`: none. */
static size_t confident_class(const float *p, const double *thresholds, size_t classes) {
    size_t found = classes, many = 0, best = 0;
    for (size_t j = 0; j < classes; j++) {
        if ((double)p[j] >= thresholds[j] - SLACK) {
            found = found == classes ? j : found;
            many++;
        }
        if (p[j] > p[best])
            best = j;
    }
    return many > 1 ? best : found;
}

/* Whether the label is as probable as any class. */
static bool is_most_probable(const float *p, size_t label, size_t classes) {
    for (size_t j = 0; j < classes; j++)
        if ((double)p[j] > (double)p[label] + SLACK)
            return false;
    return true;
}

/* Each label's counts as shares of its rows, by which the sum over all labels is n. */
static void calibrate(
    double *joint, const size_t *rows, size_t n, size_t classes, double *ret_noise) {
    double right = 0;
    for (size_t i = 0; i < classes; i++) {
        double sum = 0;
        for (size_t j = 0; j < classes; j++)
            sum += joint[i * classes + j];
        for (size_t j = 0; j < classes && sum > 0; j++)
            joint[i * classes + j] *= (double)rows[i] / sum;
        right += joint[i * classes + i];
    }
    *ret_noise = 1 - right / (double)n;
}

struct sure_row {
    float p; /* of the class that is predicted */
    int32_t predicted;
    bool other; /* is not what the label says */
};

/* By class, the surest first; of equal ones those with the predicted label. */
static int surest_first(const void *a, const void *b) {
    const struct sure_row *x = a, *y = b;
    if (x->predicted != y->predicted)
        return x->predicted < y->predicted ? -1 : 1;
    if (x->p < y->p || x->p > y->p)
        return x->p < y->p ? 1 : -1;
    return (int)x->other - (int)y->other;
}

/* The share of wrong labels where the model is surest. */
static double find_noise(struct sure_row *rows, size_t n) {
    double wrong = 0;
    qsort(rows, n, sizeof *rows, surest_first);
    for (size_t begin = 0, end; begin < n; begin = end) {
        for (end = begin; end < n && rows[end].predicted == rows[begin].predicted;)
            end++;
        size_t all = end - begin, tenth = (size_t)(SURE_SHARE * (double)all), other = 0;
        size_t sure = tenth > SURE_ROWS ? tenth : all < SURE_ROWS ? all : SURE_ROWS;
        for (size_t i = 0; i < sure; i++)
            other += rows[begin + i].other;
        wrong += (double)other / (double)sure * (double)all;
    }
    return wrong / (double)n;
}

static struct sure_row sure_row(const float *p, int32_t label, size_t classes) {
    size_t best = 0;
    for (size_t j = 1; j < classes; j++)
        if (p[j] > p[best])
            best = j;
    return (struct sure_row){p[best], (int32_t)best, (int32_t)best != label};
}

int hn_label_errors_find(const int32_t *labels, const float *p, size_t n, size_t classes,
    struct hn_label_errors *ret, struct hn_error *err) {
    size_t cells;
    if (!n || classes < 2)
        return hn_fail(
            err, HN_E_INVALID_FIELD, "wrong labels are found among rows of two classes or more");
    double *thresholds = hn_calloc(classes, sizeof *thresholds),
           *joint = hn_mul(classes, classes, &cells) ? hn_calloc(cells, sizeof *joint) : NULL;
    size_t *rows = hn_calloc(classes, sizeof *rows), flagged = 0;
    struct sure_row *sure = hn_calloc(n, sizeof *sure);
    int rc = thresholds && joint && rows && sure ? 0 : hn_fail(err, HN_E_INTERNAL, "out of memory");
    if (!rc)
        find_thresholds(labels, p, n, classes, rows, thresholds);
    for (size_t i = 0; !rc && i < n; i++) {
        const float *own = p + i * classes;
        sure[i] = sure_row(own, labels[i], classes);
        size_t label = (size_t)labels[i], found = confident_class(own, thresholds, classes);
        if (found == classes)
            continue;
        joint[label * classes + found]++;
        flagged += found != label && !is_most_probable(own, label, classes);
    }
    for (size_t i = 0; !rc && i < classes; i++)
        if (joint[i * classes + i] < 1)
            joint[i * classes + i] = 1;
    *ret = (struct hn_label_errors){.flagged = flagged, .joint = rc ? NULL : joint};
    if (!rc) {
        calibrate(joint, rows, n, classes, &ret->joint_rate);
        ret->noise_rate = find_noise(sure, n);
    } else {
        free(joint);
    }
    free(sure);
    free(thresholds);
    free(rows);
    return rc;
}

void hn_label_errors_finish(struct hn_label_errors *errors) {
    free(errors->joint);
    *errors = (struct hn_label_errors){0};
}
