/*
 * Training dynamics: what a row's losses and margins over the epochs say of it.
 *
 * Area under the margin: Pleiss et al. 2020. Forgetting events: Toneva et al. 2019.
 */
#ifndef HN_ENGINE_TUNE_DYNAMICS_H
#define HN_ENGINE_TUNE_DYNAMICS_H

#include <stdbool.h>
#include <stddef.h>

/* A row at one epoch. */
struct hn_dynamics_point {
    bool trained;
    double loss;
    double margin; /* of labels: logit of the given one less the largest other one; else NaN */
    double p;      /* probability of what was given; for texts of a token, as a geometric mean */
};

/* NaN where the points do not say. */
struct hn_dynamics {
    size_t epochs;      /* at which it was trained on */
    double area;        /* mean margin; below 0: the model mostly says something else */
    double loss, p;     /* means */
    double first, last; /* losses */
    size_t right;       /* epochs in which the margin was above 0 */
    size_t forgotten;   /* times that it was right and then wrong */
    /* number (from 1) of the first epoch from which on it was always known (p > 0.9); 0: never */
    size_t learnt;
    double before; /* mean loss before that */
};

#define HN_DYNAMICS_KNOWN 0.9

void hn_dynamics_of(const struct hn_dynamics_point *points, size_t n, struct hn_dynamics *ret);

#endif
