/* See fit.h. */
#include "engine/tune/fit.h"

#include <math.h>

#define LEAST_ROWS 20 /* validation rows that a verdict needs */
#define LEAST_EVALUATIONS 3
#define ERRORS 2.0 /* standard errors that an effect must be beyond */
/* A rise that counts: beyond the less of a share of the gain and one of the best loss, but never
 * less than RISE_LEAST. */
#define RISE_SHARE 0.1
#define RISE_OF_BEST 0.05
#define RISE_LEAST 0.02
#define RUINED_SHARE 2      /* of the first validation loss, and 1 more */
#define UNSTABLE_SHARE 0.25 /* of what the training rows' loss had fallen */
#define LATE_SHARE 0.15     /* of the gain, in the last quarter of all learning rate */
#define MUCH_LEFT 0.3       /* of the first loss */
/* The more of a share of the gain, which may just have begun, and of the loss. */
#define SMALL_GAP 0.25
#define SMALL_OF_LAST 0.1
#define SURE_SHARE 0.7 /* error where the model is surest, of the whole error */
#define GAP_LEAST 0.2  /* validation loss above that of training rows */
#define NOISE_LEAST 0.05
#define MEMORISED_SHARE 0.1
#define MEMORISED_LOSS 0.3
#define KNOWN_SHARE 0.5
#define LEVEL 0.05

struct hn_fit_mean hn_fit_mean_of(const double *values, const double *weights, size_t n) {
    double sum = 0, weight = 0, squares = 0;
    if (n < 2)
        return (struct hn_fit_mean){(double)NAN, (double)NAN};
    for (size_t i = 0; i < n; i++) {
        double w = weights ? weights[i] : 1;
        sum += w * values[i];
        weight += w;
    }
    double mean = sum / weight;
    for (size_t i = 0; i < n; i++) {
        double w = weights ? weights[i] : 1;
        squares += w * w * (values[i] - mean) * (values[i] - mean);
    }
    return (struct hn_fit_mean){mean, sqrt(squares) / weight};
}

static bool above(const struct hn_fit_mean *m, double least) {
    return m->value > least && m->value > ERRORS * m->error;
}

/* What the validation loss gained in all; 0 where it gained nothing. */
static double progress(const struct hn_fit_facts *f) {
    double gain = f->start.val_loss - f->best.val_loss;
    return gain > 0 ? gain : 0;
}

/* So far beyond the loss of the beginning that no number of rows is too small to say so. */
static bool is_ruined(const struct hn_fit_facts *f) {
    return f->diverged || f->last.val_loss > RUINED_SHARE * f->start.val_loss + 1;
}

static bool is_undecided(const struct hn_fit_facts *f) {
    return !is_ruined(f) && (f->val_rows < LEAST_ROWS || f->evaluations < LEAST_EVALUATIONS);
}

/* The training rows' loss in evaluation falls in a sound run; it goes back where steps are too
 * large. */
static bool is_unstable(const struct hn_fit_facts *f) {
    double gained = f->start.train_loss - f->train_least;
    return is_ruined(f) || above(&f->train_rise, UNSTABLE_SHARE * (gained > 0 ? gained : 0) + 1e-3);
}

static bool leaks(const struct hn_fit_facts *f) {
    return (f->shared * 20 >= f->val_rows && above(&f->shared_gain, 0)) ||
        (f->shared && f->shared * 2 >= f->val_rows);
}

static bool is_memorised(const struct hn_fit_facts *f) {
    return f->texts && f->last.train_loss < MEMORISED_SHARE * f->last.val_loss &&
        f->last.val_loss > MEMORISED_LOSS && f->known >= KNOWN_SHARE;
}

static bool has_learnt_classes(const struct hn_fit_facts *f) {
    return f->accuracy_best > f->majority && f->p_majority < LEVEL;
}

static bool is_limited_by_labels(const struct hn_fit_facts *f) {
    double error = 1 - f->accuracy_best;
    return f->classes && has_learnt_classes(f) && error >= NOISE_LEAST && f->wrong_sure >= 5 &&
        f->error_sure >= SURE_SHARE * error && f->contradicted >= 0.4 * error &&
        f->contradicted <= 2 * error;
}

static bool rises(const struct hn_fit_facts *f) {
    double share = fmin(RISE_SHARE * progress(f), RISE_OF_BEST * f->best.val_loss);
    return f->since_best >= 2 && above(&f->rise, fmax(share, RISE_LEAST)) &&
        f->last.train_loss < f->best.train_loss;
}

/* The loss rises while the answers are as right as before. */
static bool is_overconfident(const struct hn_fit_facts *f) {
    return f->classes && rises(f) && has_learnt_classes(f) &&
        (f->accuracy_last >= f->accuracy_best || f->p_last > LEVEL) &&
        !(f->ece_last <= f->ece_best);
}

static bool has_learnt_nothing(const struct hn_fit_facts *f) {
    if (!f->ended)
        return false;
    if (f->classes)
        return !has_learnt_classes(f) && !above(&f->over_prior, 0);
    return !above(&f->gain, 0);
}

/* The last quarter of all learning rate still brought its share of the gain, much is left to be
 * gained, and training rows are hardly better known than others. */
static bool is_underfit(const struct hn_fit_facts *f) {
    double gap = f->last.val_loss - f->last.train_loss,
           small = fmax(SMALL_GAP * progress(f), SMALL_OF_LAST * f->last.val_loss);
    return f->ended && above(&f->late_gain, LATE_SHARE * progress(f)) &&
        f->last.val_loss > MUCH_LEFT * f->start.val_loss && gap < small;
}

static bool is_limited_by_data(const struct hn_fit_facts *f) {
    return f->ended && above(&f->gap, GAP_LEAST) && f->last.train_loss < 0.5 * f->last.val_loss;
}

static bool is_good(const struct hn_fit_facts *f) {
    (void)f;
    return true;
}

/* The first that holds. */
static const struct {
    enum hn_fit_verdict verdict;
    bool (*holds)(const struct hn_fit_facts *f);
} rules[] = {{HN_FIT_UNDECIDED, is_undecided}, {HN_FIT_UNSTABLE, is_unstable}, {HN_FIT_LEAK, leaks},
    {HN_FIT_MEMORISED, is_memorised}, {HN_FIT_LABELS, is_limited_by_labels},
    {HN_FIT_OVERCONFIDENT, is_overconfident}, {HN_FIT_OVERFIT, rises},
    {HN_FIT_NOTHING, has_learnt_nothing}, {HN_FIT_UNDERFIT, is_underfit},
    {HN_FIT_DATA, is_limited_by_data}, {HN_FIT_GOOD, is_good}};

const char *const hn_fit_names[HN_FITS] = {"undecided", "unstable", "leak_suspected", "memorised",
    "label_limited", "overfit", "overconfident", "nothing_learned", "underfit", "data_limited",
    "good"};

const char *const hn_fit_rules[HN_FITS] = {"fewer than 20 validation rows or 3 evaluations",
    "the loss of the same training rows rose beyond 2 standard errors and by a quarter of what it "
    "had fallen, or the run diverged, or the validation loss is more than twice that of the start, "
    "and 1",
    "validation rows that stand among the training rows cost less than the others, or are half of "
    "all",
    "training rows cost less than a tenth of the validation rows, and half of them are known by "
    "heart",
    "errors are as frequent where the model is surest, and training rows contradict it as often",
    "the validation loss rose beyond 2 standard errors, and by a tenth of its gain or a twentieth "
    "of itself, 2 evaluations or more ago, while that of the training rows fell",
    "the validation loss rose as in overfitting, but as many answers are right and the calibration "
    "error grew",
    "no better than the base, or than always the most frequent label, beyond chance",
    "the last quarter of all learning rate still brought 15 % or more of the gain, the loss is "
    "above "
    "30 % of the first one, and training rows are hardly better known",
    "training rows cost less than half of the validation rows, whose loss is at least 0.2 higher "
    "beyond 2 standard errors, and has not risen",
    "none of the other rules holds"};

const char *const hn_fit_health[HN_FITS] = {[HN_FIT_UNDECIDED] = "unknown",
    [HN_FIT_UNSTABLE] = "bad",
    [HN_FIT_LEAK] = "bad",
    [HN_FIT_MEMORISED] = "attention",
    [HN_FIT_LABELS] = "attention",
    [HN_FIT_OVERFIT] = "attention",
    [HN_FIT_OVERCONFIDENT] = "attention",
    [HN_FIT_NOTHING] = "bad",
    [HN_FIT_UNDERFIT] = "attention",
    [HN_FIT_DATA] = "attention",
    [HN_FIT_GOOD] = "good"};

enum hn_fit_verdict hn_fit_judge(const struct hn_fit_facts *facts) {
    size_t i = 0;
    while (!rules[i].holds(facts))
        i++;
    return rules[i].verdict;
}
