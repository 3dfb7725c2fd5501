/* See dynamics.h. */
#include "engine/tune/dynamics.h"

#include <math.h>

static double mean(double sum, size_t n) {
    return n ? sum / (double)n : (double)NAN;
}

/* The last run of epochs in which the row was known. */
static void find_learnt(const struct hn_dynamics_point *points, size_t n, struct hn_dynamics *d) {
    size_t trained = 0, unknown = 0;
    double before = 0;
    d->learnt = 0;
    for (size_t i = 0; i < n; i++) {
        if (!points[i].trained)
            continue;
        trained++;
        bool known = points[i].p > HN_DYNAMICS_KNOWN;
        if (!known)
            d->learnt = 0;
        else if (!d->learnt)
            d->learnt = trained;
    }
    for (size_t i = 0, k = 0; i < n && d->learnt; i++)
        if (points[i].trained && ++k < d->learnt) {
            before += points[i].loss;
            unknown++;
        }
    d->before = mean(before, unknown);
}

void hn_dynamics_of(const struct hn_dynamics_point *points, size_t n, struct hn_dynamics *ret) {
    struct hn_dynamics d = {.first = (double)NAN, .last = (double)NAN};
    double area = 0, loss = 0, p = 0;
    bool was_right = false;
    for (size_t i = 0; i < n; i++) {
        if (!points[i].trained)
            continue;
        bool right = points[i].margin > 0;
        d.first = d.epochs++ ? d.first : points[i].loss;
        d.last = points[i].loss;
        area += points[i].margin;
        loss += points[i].loss;
        p += points[i].p;
        d.right += right;
        d.forgotten += was_right && !right;
        was_right = right;
    }
    d.area = mean(area, d.epochs);
    d.loss = mean(loss, d.epochs);
    d.p = mean(p, d.epochs);
    find_learnt(points, n, &d);
    *ret = d;
}
