/* See fit.h. */
#include "engine/eval/fit.h"
#include "engine/base/buf.h"
#include "engine/base/json.h"
#include "engine/base/pulse.h"
#include "engine/run/params.h"
#include "engine/run/row_file.h"
#include "engine/tune/stats.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define HEAT_TERMS ((size_t)10000) /* of the sum over the steps */
#define KNOWN_LOSS 0.05f
#define NORMAL_95 1.959964

enum { START, LATE, BEST, LAST, POINTS };

/* Scores of validation rows and of sampled training rows at a point. */
struct scored {
    struct hn_scores val, train;
};

static double number(const json_t *object, const char *name) {
    const json_t *value = json_object_get(object, name);
    return json_is_number(value) ? json_number_value(value) : (double)NAN;
}

/* Sum of the learning rates of steps 1 … step. */
static double heat_of(const struct hn_fit_run *run, size_t step) {
    size_t stride = run->steps / HEAT_TERMS + 1;
    double sum = 0;
    for (size_t s = stride; s <= step; s += stride)
        sum += hn_learning_rate(&run->spec->hp, s, run->steps) * (double)stride;
    return sum;
}

static struct hn_fit_point point_of(const struct hn_fit_run *run, size_t i) {
    const json_t *e = json_array_get(run->evaluations, i);
    size_t step = (size_t)json_integer_value(json_object_get(e, "step"));
    return (struct hn_fit_point){
        step, number(e, "val_loss"), number(e, "train_eval_loss"), heat_of(run, step)};
}

static int read_scores(const struct hn_fit_run *run, const char *prefix, size_t step,
    struct hn_scores *ret, struct hn_error *err) {
    char path[4160];
    snprintf(path, sizeof path, "%s/scores/%s%zu.bin", run->dir, prefix, step);
    struct hn_error why = {0};
    int rc = hn_scores_read(ret, path, &why);
    if (rc == HN_E_INTERNAL)
        return hn_fail(err, rc, "%s", why.message);
    return 0; /* not kept: what needs it stays unknown */
}

static double loss_of(const struct hn_score *row) {
    return (double)row->loss;
}

/* Weighted mean of a less b over rows that both have, by row. */
static struct hn_fit_mean difference(const struct hn_scores *a, const struct hn_scores *b) {
    struct hn_fit_mean none = {(double)NAN, (double)NAN};
    if (!a->n || a->n != b->n || strcmp(a->sha256, b->sha256) != 0)
        return none;
    double *values = hn_calloc(a->n, sizeof *values), *weights = hn_calloc(a->n, sizeof *weights);
    for (size_t i = 0; values && weights && i < a->n; i++) {
        values[i] = loss_of(&a->rows[i]) - loss_of(&b->rows[i]);
        weights[i] = (double)a->rows[i].weight;
    }
    struct hn_fit_mean m = values && weights ? hn_fit_mean_of(values, weights, a->n) : none;
    free(values);
    free(weights);
    return m;
}

static struct hn_fit_mean mean_loss(const struct hn_scores *s, const bool *only, bool is) {
    struct hn_fit_mean none = {(double)NAN, (double)NAN};
    double *values = hn_calloc(s->n + 1, sizeof *values),
           *weights = hn_calloc(s->n + 1, sizeof *weights);
    size_t n = 0;
    for (size_t i = 0; values && weights && i < s->n; i++)
        if (!only || only[i] == is) {
            values[n] = loss_of(&s->rows[i]);
            weights[n++] = (double)s->rows[i].weight;
        }
    struct hn_fit_mean m = values && weights ? hn_fit_mean_of(values, weights, n) : none;
    free(values);
    free(weights);
    return m;
}

/* a less b of different rows. */
static struct hn_fit_mean apart(struct hn_fit_mean a, struct hn_fit_mean b) {
    return (struct hn_fit_mean){a.value - b.value, hypot(a.error, b.error)};
}

static double share_right(const struct hn_scores *s) {
    size_t right = 0;
    for (size_t i = 0; i < s->n; i++)
        right += s->rows[i].right;
    return s->n ? (double)right / (double)s->n : (double)NAN;
}

static double p_of_right(const struct hn_scores *a, const struct hn_scores *b) {
    uint64_t only_a = 0, only_b = 0;
    if (a->n != b->n || strcmp(a->sha256, b->sha256) != 0)
        return (double)NAN;
    for (size_t i = 0; i < a->n; i++) {
        only_a += a->rows[i].right && !b->rows[i].right;
        only_b += b->rows[i].right && !a->rows[i].right;
    }
    return hn_mcnemar(only_a, only_b);
}

/* Against the most frequent label and the labels' shares. */
static void measure_baseline(const struct hn_scores *s, size_t *counts, struct hn_fit_facts *f) {
    size_t most = 0;
    uint64_t only_model = 0, only_majority = 0;
    double *gains = hn_calloc(s->n + 1, sizeof *gains);
    for (size_t i = 0; i < s->n; i++)
        counts[s->rows[i].label]++;
    for (size_t c = 0; c < s->n_labels; c++)
        most = counts[c] > counts[most] ? c : most;
    for (size_t i = 0; i < s->n; i++) {
        bool majority = (size_t)s->rows[i].label == most;
        only_model += s->rows[i].right && !majority;
        only_majority += majority && !s->rows[i].right;
        if (gains)
            gains[i] = -log((double)counts[s->rows[i].label] / (double)s->n) - loss_of(&s->rows[i]);
    }
    f->majority = (double)counts[most] / (double)s->n;
    f->p_majority = hn_mcnemar(only_model, only_majority);
    if (gains)
        f->over_prior = hn_fit_mean_of(gains, NULL, s->n);
    free(gains);
}

/* How sure the model is of what it predicts: the given label's probability tells it where that is
 * right; where it is wrong of two labels the rest, of more at most the rest. */
static double sureness(const struct hn_score *row) {
    return row->right ? (double)row->p : 1 - (double)row->p;
}

static int by_sureness(const void *a, const void *b) {
    const struct hn_score *const *x = a, *const *y = b;
    double p = sureness(*x), q = sureness(*y);
    return (p < q) - (p > q);
}

static void measure_sure(const struct hn_scores *s, struct hn_fit_facts *f) {
    const struct hn_score **rows = hn_calloc(s->n, sizeof *rows);
    for (size_t i = 0; rows && i < s->n; i++)
        rows[i] = &s->rows[i];
    if (!rows)
        return;
    qsort(rows, s->n, sizeof(*rows), by_sureness);
    for (size_t i = 0; i < s->n / 2; i++)
        f->wrong_sure += !rows[i]->right;
    f->error_sure = s->n > 1 ? (double)f->wrong_sure / (double)(s->n / 2) : (double)NAN;
    free(rows);
}

static int measure_classes(const struct scored *s, struct hn_fit_facts *f, struct hn_error *err) {
    const struct hn_scores *best = &s[BEST].val;
    if (!best->n || best->objective != HN_OBJECTIVE_CLASSES)
        return 0;
    size_t *counts = hn_calloc(best->n_labels, sizeof *counts);
    if (!counts)
        return hn_fail(err, HN_E_INTERNAL, "out of memory");
    measure_baseline(best, counts, f);
    measure_sure(best, f);
    f->accuracy_best = share_right(best);
    f->accuracy_last = share_right(&s[LAST].val);
    f->p_last = p_of_right(best, &s[LAST].val);
    free(counts);
    return 0;
}

/* Which evaluations the points are. */
static void find_points(const struct hn_fit_run *run, size_t at[POINTS], size_t *ret_least) {
    size_t n = json_array_size(run->evaluations);
    double least = HUGE_VAL, train = HUGE_VAL, off = HUGE_VAL;
    at[START] = at[LATE] = at[BEST] = *ret_least = 0;
    at[LAST] = n - 1;
    double late = 0.75 * point_of(run, n - 1).heat;
    for (size_t i = 0; i < n; i++) {
        struct hn_fit_point p = point_of(run, i);
        if (p.val_loss < least) {
            least = p.val_loss;
            at[BEST] = i;
        }
        if (p.train_loss < train) {
            train = p.train_loss;
            *ret_least = i;
        }
        if (fabs(p.heat - late) < off) {
            off = fabs(p.heat - late);
            at[LATE] = i;
        }
    }
}

static void measure_differences(const struct hn_fit_run *run, const struct scored *s,
    const struct hn_scores *train_least, struct hn_fit_facts *f) {
    size_t known = 0;
    f->gain = difference(&s[START].val, &s[BEST].val);
    f->rise = difference(&s[LAST].val, &s[BEST].val);
    f->late_gain = difference(&s[LATE].val, &s[LAST].val);
    f->train_rise = difference(&s[LAST].train, train_least);
    f->gap = apart(mean_loss(&s[BEST].val, NULL, true), mean_loss(&s[BEST].train, NULL, true));
    for (size_t i = 0; i < s[LAST].train.n; i++)
        known += s[LAST].train.rows[i].loss < KNOWN_LOSS;
    f->known = s[LAST].train.n ? (double)known / (double)s[LAST].train.n : (double)NAN;
    if (!run->shared)
        return;
    for (size_t i = 0; i < s[LAST].val.n; i++)
        f->shared += run->shared[i];
    f->shared_gain = apart(
        mean_loss(&s[LAST].val, run->shared, false), mean_loss(&s[LAST].val, run->shared, true));
}

static struct hn_fit_facts unknown(const struct hn_fit_run *run) {
    const struct hn_fit_mean no = {(double)NAN, (double)NAN};
    enum hn_objective objective = run->spec->labels.objective;
    return (struct hn_fit_facts){.train_rows = run->train_rows,
        .evaluations = json_array_size(run->evaluations),
        .classes = objective == HN_OBJECTIVE_CLASSES,
        .texts = objective == HN_OBJECTIVE_TOKENS,
        .ended = run->ended,
        .diverged = run->diverged,
        .contradicted = run->contradicted,
        .gain = no,
        .rise = no,
        .late_gain = no,
        .train_rise = no,
        .gap = no,
        .over_prior = no,
        .shared_gain = no,
        .kl = (double)NAN,
        .neutral_rise = (double)NAN,
        .known = (double)NAN,
        .accuracy_best = (double)NAN,
        .accuracy_last = (double)NAN,
        .majority = (double)NAN,
        .p_majority = (double)NAN,
        .p_last = (double)NAN,
        .ece_best = (double)NAN,
        .ece_last = (double)NAN,
        .error_sure = (double)NAN};
}

int hn_fit_measure(const struct hn_fit_run *run, struct hn_fit_facts *ret, struct hn_error *err) {
    struct scored s[POINTS] = {0};
    struct hn_scores train_least = {0};
    struct hn_fit_facts f = unknown(run);
    size_t at[POINTS], least = 0;
    int rc = 0;
    *ret = f;
    if (!f.evaluations)
        return 0;
    find_points(run, at, &least);
    struct hn_fit_point *points[POINTS] = {&f.start, &f.late, &f.best, &f.last};
    for (size_t i = 0; !rc && i < POINTS; i++) {
        *points[i] = point_of(run, at[i]);
        rc = read_scores(run, "", points[i]->step, &s[i].val, err);
        if (!rc)
            rc = read_scores(run, "train-", points[i]->step, &s[i].train, err);
    }
    if (!rc)
        rc = read_scores(run, "train-", point_of(run, least).step, &train_least, err);
    f.train_least = point_of(run, least).train_loss;
    const json_t *last = json_array_get(run->evaluations, at[LAST]);
    f.kl = number(last, "val_kl");
    f.neutral_rise = number(last, "neutral_loss") -
        number(json_array_get(run->evaluations, at[START]), "neutral_loss");
    f.since_best = at[LAST] - at[BEST];
    f.val_rows = s[LAST].val.n;
    f.ece_best = number(json_array_get(run->evaluations, at[BEST]), "val_ece");
    f.ece_last = number(json_array_get(run->evaluations, at[LAST]), "val_ece");
    if (!rc)
        rc = measure_classes(s, &f, err);
    if (!rc)
        measure_differences(run, s, &train_least, &f);
    for (size_t i = 0; i < POINTS; i++) {
        hn_scores_finish(&s[i].val);
        hn_scores_finish(&s[i].train);
    }
    hn_scores_finish(&train_least);
    if (!rc)
        *ret = f;
    return rc;
}

double hn_fit_contradicted(const char *run_dir) {
    struct hn_row_history h;
    char path[4160];
    size_t below = 0, n = 0;
    snprintf(path, sizeof path, "%s/" HN_ROWS_FILE, run_dir);
    if (hn_row_history_open(&h, path, NULL))
        return (double)NAN;
    for (size_t i = 0; h.layout.objective == HN_OBJECTIVE_CLASSES && i < h.layout.n_rows; i++) {
        double sum = 0;
        size_t epochs = 0;
        for (size_t k = 0; k < h.layout.epochs; k++) {
            struct hn_row_record r = hn_row_history_get(&h, k, i);
            sum += r.trained ? (double)r.choice.margin : 0;
            epochs += r.trained;
        }
        n += epochs > 0;
        below += sum < 0;
        hn_pulse();
    }
    hn_row_history_close(&h);
    return n ? (double)below / (double)n : (double)NAN;
}

static json_t *figure(double value) {
    return isfinite(value) ? json_real(value) : json_null();
}

/* `of`: the verdict whose rule reads it, or HN_FITS: none. */
static void add(json_t *list, const char *code, double value, double error, enum hn_fit_verdict of,
    const char *message) {
    json_t *interval = isfinite(value) && isfinite(error)
        ? json_pack("[f, f]", value - NORMAL_95 * error, value + NORMAL_95 * error)
        : json_null();
    if (isfinite(value))
        json_array_append_new(list,
            HN_JSON_OBJECT({"code", json_string(code)}, {"value", figure(value)},
                {"interval", json_incref(interval)},
                {"verdict", hn_json_string_or_null(of < HN_FITS ? hn_fit_names[of] : NULL)},
                {"rule", hn_json_string_or_null(of < HN_FITS ? hn_fit_rules[of] : NULL)},
                {"message", json_string(message)}));
    json_decref(interval);
}

static json_t *tell_evidence(const struct hn_fit_facts *f) {
    json_t *list = json_array();
    const struct {
        const char *code;
        struct hn_fit_mean mean;
        enum hn_fit_verdict of;
        const char *message;
    } means[] = {
        {"gain", f->gain, HN_FIT_NOTHING, "validation loss: first evaluation less the best"},
        {"rise", f->rise, HN_FIT_OVERFIT, "validation loss: last evaluation less the best"},
        {"late_gain", f->late_gain, HN_FIT_UNDERFIT,
            "validation loss: at three quarters of all learning rate less the end"},
        {"train_rise", f->train_rise, HN_FIT_UNSTABLE,
            "loss of the sampled training rows: last evaluation less their best"},
        {"gap", f->gap, HN_FIT_DATA,
            "at the best: validation loss less that of the sampled training rows"},
        {"over_prior", f->over_prior, HN_FIT_NOTHING,
            "what the loss is below that of always saying the labels' shares"},
        {"shared_gain", f->shared_gain, HN_FIT_LEAK,
            "loss of other validation rows less that of those among the training rows"}};
    const struct {
        const char *code;
        double value;
        enum hn_fit_verdict of;
        const char *message;
    } figures[] = {{"accuracy", f->accuracy_best, HN_FIT_NOTHING, "at the best validation loss"},
        {"accuracy_last", f->accuracy_last, HN_FIT_OVERCONFIDENT, "at the last evaluation"},
        {"majority", f->majority, HN_FIT_NOTHING, "share of the most frequent label"},
        {"p_majority", f->p_majority, HN_FIT_NOTHING, "McNemar's test of accuracy and majority"},
        {"ece", f->ece_best, HN_FIT_OVERCONFIDENT, "calibration error at the best"},
        {"ece_last", f->ece_last, HN_FIT_OVERCONFIDENT, "calibration error at the last evaluation"},
        {"error_sure", f->error_sure, HN_FIT_LABELS,
            "share wrong among the half that the model is surest of"},
        {"contradicted", f->contradicted, HN_FIT_LABELS,
            "share of training rows whose label has a mean margin below 0"},
        {"known", f->known, HN_FIT_MEMORISED,
            "share of the sampled training rows with a loss below 0.05"},
        {"shared", f->shared ? (double)f->shared : (double)NAN, HN_FIT_LEAK,
            "validation rows that stand among the training rows"},
        {"kl", f->kl, HN_FITS,
            "what is forgotten: KL from the base on validation rows, at the end"},
        {"neutral_rise", f->neutral_rise, HN_FITS,
            "what is forgotten: loss on the neutral text, at the end less at the first "
            "evaluation"}};
    for (size_t i = 0; i < sizeof means / sizeof means[0]; i++)
        add(list, means[i].code, means[i].mean.value, means[i].mean.error, means[i].of,
            means[i].message);
    for (size_t i = 0; i < sizeof figures / sizeof figures[0]; i++)
        add(list, figures[i].code, figures[i].value, (double)NAN, figures[i].of,
            figures[i].message);
    return list;
}

/* Two significant digits, so that what is sent again can be read. */
static double rounded(double value) {
    char text[32];
    snprintf(text, sizeof text, "%.2g", value);
    return strtod(text, NULL);
}

/* The run's length times `factor`, by what decides it. */
static void set_length(const struct hn_fit_run *run, double factor, json_t *hp) {
    const struct hn_hyperparams *own = &run->spec->hp;
    double steps = ceil(factor * (double)run->steps);
    if (own->max_steps != HN_NONE_INT && (size_t)own->max_steps == run->steps) {
        json_object_set_new(hp, "max_steps", json_integer((json_int_t)(steps < 1 ? 1 : steps)));
        if (factor > 1)
            json_object_set_new(hp, "epochs",
                json_real(fmax(own->epochs, ceil(steps / (double)run->steps_per_epoch))));
        return;
    }
    double epochs = ceil(100 * steps / (double)run->steps_per_epoch) / 100;
    json_object_set_new(hp, "epochs", json_real(fmin(fmax(epochs, 0.01), 10000)));
}

static void set_rate(const struct hn_fit_run *run, double factor, json_t *hp) {
    json_object_set_new(
        hp, "learning_rate", json_real(rounded(fmin(run->spec->hp.learning_rate * factor, 1))));
}

/* As long as the best step; where that came early, with half the learning rate. */
static const char *stop_at_best(
    const struct hn_fit_run *run, const struct hn_fit_facts *f, json_t *hp) {
    double share = run->steps ? (double)f->best.step / (double)run->steps : 1;
    set_length(run, share < 0.1 ? 0.1 : share, hp);
    if (share < 0.25)
        set_rate(run, 0.5, hp);
    return share < 0.25 ? "a shorter run with half the learning rate: the best came early"
                        : "a run as long as up to the best step";
}

/* Fills the change; the reason, or NULL where a changed request is no help. */
static const char *find_change(const struct hn_fit_run *run, const struct hn_fit_facts *f,
    enum hn_fit_verdict verdict, json_t *change, json_t *hp) {
    switch (verdict) {
    case HN_FIT_OVERFIT:
    case HN_FIT_MEMORISED:
        return stop_at_best(run, f, hp);
    case HN_FIT_OVERCONFIDENT:
        if (run->spec->hp.label_smoothing >= 0.1)
            return stop_at_best(run, f, hp);
        json_object_set_new(hp, "label_smoothing", json_real(0.1));
        return "label smoothing keeps probabilities from going to 0 and 1";
    case HN_FIT_UNDERFIT:
        set_length(run, 2, hp);
        set_rate(run, 3, hp);
        return "twice as long at three times the learning rate: it was still learning";
    case HN_FIT_UNSTABLE:
        set_rate(run, f->diverged ? 0.1 : 0.3, hp);
        json_object_set_new(hp, "warmup_ratio", json_real(0.1));
        return "a lower learning rate, reached more slowly";
    case HN_FIT_NOTHING:
        set_rate(run, 3, hp);
        if (run->spec->method != HN_METHOD_HEAD)
            return "three times the learning rate; if that learns nothing either, the texts "
                   "may not say what is to be learnt";
        json_object_set_new(change, "method", json_string("lora"));
        json_object_set_new(change, "exports", json_null());
        json_object_del(hp, "learning_rate");
        json_object_set_new(hp, "learning_rate", json_string("auto"));
        return "an adapter in all layers: what the base says is not enough for a head alone";
    case HN_FIT_LEAK:
        if (run->spec->drop_leaks)
            return NULL;
        json_object_set_new(change, "drop_leaks", json_true());
        return "without training rows that stand among the validation rows as well";
    default:
        return NULL;
    }
}

static const char *const advice[HN_FITS] = {[HN_FIT_UNDECIDED] = "more validation rows, or more "
                                                                 "evaluations (eval_every)",
    [HN_FIT_LABELS] = "look at GET /jobs/{id}/examples?sort=mislabelled and mend what is wrong, "
                      "validation rows first",
    [HN_FIT_DATA] = "more rows; a sweep of kind data_size tells how much they would help",
    [HN_FIT_LEAK] = "validation rows that are not among the training rows",
    [HN_FIT_GOOD] = "nothing has to be changed"};

static const char *const sentences[HN_FITS] = {"it cannot be told yet how well this fits",
    "training is unstable: losses that had fallen went up again",
    "validation rows seem to be among the training rows, so that they are no test",
    "the model has learnt its training rows by heart",
    "what is still wrong looks like wrong labels, not like a lack of training",
    "overfitting: training rows become better known and validation rows worse",
    "too sure of itself: as many answers are right, but probabilities have become worse",
    "nothing has been learnt that helps with the validation rows",
    "underfitting: it was still learning when it ended",
    "training rows are known and others are not: there are too few of them", "a good fit"};

static json_t *summary_of(
    const struct hn_fit_run *run, const struct hn_fit_facts *f, enum hn_fit_verdict verdict) {
    struct hn_buf text = {0};
    const char *sentence = sentences[verdict];
    if (f->diverged)
        sentence = "training diverged: its loss was no longer a finite number";
    hn_buf_printf(&text, "%c%s", sentence[0] - 'a' + 'A', sentence + 1);
    if (f->evaluations)
        hn_buf_printf(&text, ". Best at step %zu of %zu: validation loss %.4g, training rows %.4g",
            f->best.step, run->steps, f->best.val_loss, f->best.train_loss);
    if (f->evaluations && f->last.step != f->best.step)
        hn_buf_printf(&text, "; at step %zu %.4g and %.4g", f->last.step, f->last.val_loss,
            f->last.train_loss);
    hn_buf_char(&text, '.');
    json_t *out = hn_json_text(text.data ? text.data : "", text.size);
    hn_buf_free(&text);
    return out;
}

json_t *hn_fit_tell(const struct hn_fit_run *run, const struct hn_fit_facts *f) {
    enum hn_fit_verdict verdict = hn_fit_judge(f);
    json_t *change = json_object(), *hp = json_object();
    const char *why = find_change(run, f, verdict, change, hp);
    json_object_set_new(change, "hyperparameters", hp);
    json_t *out = HN_JSON_OBJECT({"verdict", json_string(hn_fit_names[verdict])},
        {"health", json_string(hn_fit_health[verdict])}, {"summary", summary_of(run, f, verdict)},
        {"rule", json_string(hn_fit_rules[verdict])}, {"evidence", tell_evidence(f)},
        {"best_step", f->evaluations ? json_integer((json_int_t)f->best.step) : json_null()},
        {"best_gain", figure(f->rise.value)}, {"advice", json_string(why ? why : advice[verdict])},
        {"change", why ? json_incref(change) : json_null()},
        {"provisional", json_boolean(!run->ended)});
    json_decref(change);
    return out;
}
