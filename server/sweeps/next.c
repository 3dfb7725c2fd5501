/* See next.h. */
#include "server/sweeps/next.h"

#include "engine/tune/asha.h"
#include "engine/tune/sequence.h"
#include "engine/tune/tpe.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#define REPEATS 200 /* points that are looked at for one that was not tried */

enum hn_trial_phase hn_trial_phase(const struct hn_sweep_trial *t) {
    if (!t->status || strcmp(t->status, "failed") == 0 || strcmp(t->status, "cancelled") == 0)
        return HN_TRIAL_BAD;
    if (strcmp(t->status, "succeeded") == 0)
        return HN_TRIAL_GOOD;
    if (strcmp(t->status, "paused") != 0)
        return HN_TRIAL_ACTIVE;
    return t->reason_code && strcmp(t->reason_code, "waiting_for_promotion") == 0 ? HN_TRIAL_HELD
                                                                                  : HN_TRIAL_ASIDE;
}

double hn_trial_value(const struct hn_sweep_trial *t) {
    return t->rung_values[t->n_rungs];
}

/* What a cancelled trial had reached still counts: those that wait at a rung are cancelled one by
 * one when the sweep ends, and whoever dies meanwhile must come to the same end again. */
static bool is_lost(const struct hn_sweep_trial *t) {
    return hn_trial_phase(t) == HN_TRIAL_BAD &&
        (!t->status || strcmp(t->status, "cancelled") != 0 || isnan(hn_trial_value(t)));
}

static bool is_seed(const struct hn_sweep_trial *t) {
    return strcmp(t->role, "seed") == 0;
}

static bool is_better(const struct hn_sweep_plan *plan, double a, double b) {
    return plan->smaller ? a < b : a > b;
}

/* Lower is better everywhere in engine/tune. */
static double as_loss(const struct hn_sweep_plan *plan, double value) {
    return plan->smaller ? value : -value;
}

int64_t hn_sweep_best(const struct hn_sweep_plan *plan, const struct hn_sweep_trials *trials) {
    int64_t best = -1;
    for (size_t i = 0; i < trials->n; i++) {
        const struct hn_sweep_trial *t = &trials->list[i];
        if (hn_trial_phase(t) != HN_TRIAL_GOOD || is_seed(t) || isnan(hn_trial_value(t)))
            continue;
        if (best < 0 || is_better(plan, hn_trial_value(t), hn_trial_value(&trials->list[best])))
            best = (int64_t)i;
    }
    return best;
}

struct hn_trial *hn_sweep_for_tune(const struct hn_sweep_plan *plan,
    const struct hn_sweep_trials *trials, const struct hn_earlier *earlier, double **ret_points,
    size_t *ret_n) {
    size_t axes = plan->space.n, n = 0, most = trials->n + earlier->n;
    struct hn_trial *list = hn_calloc(most + 1, sizeof *list);
    double *points = hn_calloc((most + 1) * (axes + 1), sizeof *points);
    for (size_t i = 0; list && points && i < earlier->n; i++) {
        memcpy(points + n * axes, earlier->points + i * axes, axes * sizeof *points);
        list[n] = (struct hn_trial){.values = points + n * axes,
            .number = (int64_t)i - (int64_t)earlier->n,
            .state = HN_TRIAL_COMPLETE,
            .value = as_loss(plan, earlier->values[i])};
        n++;
    }
    for (size_t i = 0; list && points && i < trials->n; i++) {
        const struct hn_sweep_trial *t = &trials->list[i];
        json_t *point = NULL;
        if (is_seed(t) || hn_json_parse(t->point, strlen(t->point), &point, NULL))
            continue;
        for (size_t k = 0; k < axes; k++) {
            const json_t *value = json_array_get(point, k);
            points[n * axes + k] = json_is_number(value) ? json_number_value(value) : (double)NAN;
        }
        json_decref(point);
        enum hn_trial_phase phase = hn_trial_phase(t);
        list[n] = (struct hn_trial){.values = points + n * axes,
            .number = t->number,
            .state = phase == HN_TRIAL_ACTIVE          ? HN_TRIAL_RUNNING
                : phase == HN_TRIAL_GOOD || is_lost(t) ? HN_TRIAL_COMPLETE
                                                       : HN_TRIAL_PRUNED,
            .value = is_lost(t) ? (double)NAN : as_loss(plan, hn_trial_value(t)),
            .last_step = t->step};
        n++;
    }
    if (!list || !points) {
        free(list);
        free(points);
        return NULL;
    }
    *ret_points = points;
    *ret_n = n;
    return list;
}

/* The job as it is: the values that "auto" chose, where they lie on the axes. */
static void point_as_is(const struct hn_sweep_plan *plan, double *ret) {
    json_t *settings = json_copy(json_object_get(plan->json, "chosen"));
    const char *names[] = {"method", "model", "dataset"};
    json_object_set_new(settings, "method", json_string("lora"));
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++)
        if (json_object_get(plan->job, names[i]))
            json_object_set(settings, names[i], json_object_get(plan->job, names[i]));
    hn_space_point(&plan->space, settings, ret);
    json_decref(settings);
}

static int suggest(const struct hn_sweep_plan *plan, const struct hn_sweep_trials *trials,
    const struct hn_earlier *earlier, int64_t number, double *ret, struct hn_error *err) {
    const struct hn_space *space = &plan->space;
    double *points = NULL;
    size_t n = 0;
    if (plan->kind == HN_SWEEP_GRID) {
        hn_space_grid_point(space, (size_t)number - 1, ret);
        return 0;
    }
    if (plan->kind == HN_SWEEP_RANDOM) {
        for (size_t i = 0; i < space->n; i++)
            ret[i] = hn_axis_from_unit(
                &space->axes[i], hn_sequence((uint64_t)plan->seed, (uint64_t)number, (unsigned)i));
        return 0;
    }
    struct hn_trial *list = hn_sweep_for_tune(plan, trials, earlier, &points, &n);
    int rc = list ? hn_tpe_suggest(space->axes, space->n, list, n, number, (size_t)plan->trials,
                        (uint64_t)plan->seed, ret, err)
                  : hn_fail(err, HN_E_INTERNAL, "out of memory");
    free(list);
    free(points);
    return rc;
}

/* Whether a trial, other than one for its seed, has these settings: equal settings give equal
 * results, so trying them again would tell nothing. */
static bool was_tried(const struct hn_sweep_trials *trials, const json_t *settings) {
    bool tried = false;
    for (size_t i = 0; i < trials->n && !tried; i++) {
        json_t *own = NULL;
        const char *text = trials->list[i].settings;
        if (is_seed(&trials->list[i]) || hn_json_parse(text, strlen(text), &own, NULL))
            continue;
        tried = json_equal(own, (json_t *)(uintptr_t)settings);
        json_decref(own);
    }
    return tried;
}

/* The next point of the sequence that was not tried; whatever comes, where none is found. */
static json_t *untried(const struct hn_sweep_plan *plan, const struct hn_sweep_trials *trials,
    int64_t number, json_t *settings, double *point) {
    for (uint64_t k = 1; k <= REPEATS && was_tried(trials, settings); k++) {
        uint64_t index = (uint64_t)number + k * (uint64_t)(plan->trials > 0 ? plan->trials : 1);
        for (size_t i = 0; i < plan->space.n; i++)
            point[i] = hn_axis_from_unit(
                &plan->space.axes[i], hn_sequence((uint64_t)plan->seed, index, (unsigned)i));
        hn_space_settle(&plan->space, point);
        json_decref(settings);
        settings = hn_space_settings(&plan->space, point);
    }
    return settings;
}

static int start_point(const struct hn_sweep_plan *plan, const struct hn_sweep_trials *trials,
    const struct hn_earlier *earlier, struct hn_sweep_step *ret, struct hn_error *err) {
    int rc = 0;
    ret->role = ret->number ? "trial" : "auto";
    ret->pauses = true;
    if (!ret->number) {
        point_as_is(plan, ret->point);
        ret->settings = json_object();
        return 0;
    }
    rc = suggest(plan, trials, earlier, ret->number, ret->point, err);
    if (rc)
        return rc;
    hn_space_settle(&plan->space, ret->point);
    ret->settings = hn_space_settings(&plan->space, ret->point);
    if (ret->settings && plan->kind != HN_SWEEP_GRID)
        ret->settings = untried(plan, trials, ret->number, ret->settings, ret->point);
    return ret->settings ? 0 : hn_fail(err, HN_E_INTERNAL, "out of memory");
}

static int start_listed(
    const struct hn_sweep_plan *plan, struct hn_sweep_step *ret, struct hn_error *err) {
    const json_t *one = json_array_get(plan->settings, (size_t)ret->number);
    ret->role = json_string_value(json_object_get(one, "role"));
    ret->settings = json_incref(json_object_get(one, "settings"));
    return ret->role && ret->settings
        ? 0
        : hn_fail(
              err, HN_E_INTERNAL, "the plan of a sweep has no trial %lld", (long long)ret->number);
}

/* The two best again with other seeds, once all else has ended: how much the seed alone does. Trial
 * numbers go on from plan->trials: first all seeds of the best, then of the second. */
static bool next_seed(const struct hn_sweep_plan *plan, const struct hn_sweep_trials *trials,
    struct hn_sweep_step *ret) {
    int64_t each = plan->seeds - 1, done = 0, first = -1, second = -1;
    if (each <= 0 || plan->kind >= HN_SWEEP_FOLDS)
        return false;
    first = hn_sweep_best(plan, trials);
    for (size_t i = 0; i < trials->n; i++) {
        const struct hn_sweep_trial *t = &trials->list[i];
        done += is_seed(t);
        if ((int64_t)i == first || hn_trial_phase(t) != HN_TRIAL_GOOD || is_seed(t) ||
            isnan(hn_trial_value(t)))
            continue;
        if (second < 0 || is_better(plan, hn_trial_value(t), hn_trial_value(&trials->list[second])))
            second = (int64_t)i;
    }
    int64_t of = done < each ? first : second;
    json_t *settings = NULL;
    if (of < 0 || done >= 2 * each ||
        hn_json_parse(
            trials->list[of].settings, strlen(trials->list[of].settings), &settings, NULL))
        return false;
    json_object_set_new(settings, "seed", json_integer(plan->seed + 1 + done % each));
    ret->act = HN_SWEEP_START;
    ret->number = plan->trials + done;
    ret->role = "seed";
    ret->settings = settings;
    hn_space_point(&plan->space, settings, ret->point);
    return true;
}

/* The job as it is goes to its end as well, so that the gain over it can be told; -1: it has, or
 * cannot. */
static int64_t find_held_auto(const struct hn_sweep_trials *trials) {
    for (size_t i = 0; i < trials->n; i++)
        if (strcmp(trials->list[i].role, "auto") == 0 &&
            hn_trial_phase(&trials->list[i]) == HN_TRIAL_HELD)
            return (int64_t)i;
    return -1;
}

/* How the sweep stands. */
struct standing {
    int64_t active, aside, started; /* started: of the plan's own trials, from 0 on */
    double steps, seconds;
    bool reached; /* the target */
};

static struct standing look(
    const struct hn_sweep_plan *plan, const struct hn_sweep_trials *trials) {
    struct standing s = {0};
    for (size_t i = 0; i < trials->n; i++) {
        const struct hn_sweep_trial *t = &trials->list[i];
        enum hn_trial_phase phase = hn_trial_phase(t);
        s.active += phase == HN_TRIAL_ACTIVE;
        s.aside += phase == HN_TRIAL_ASIDE;
        s.started += !is_seed(t);
        s.steps += (double)t->step;
        s.seconds += t->seconds;
        s.reached = s.reached ||
            (phase == HN_TRIAL_GOOD && !isnan(plan->target) && !isnan(hn_trial_value(t)) &&
                !is_better(plan, plan->target, hn_trial_value(t)));
    }
    return s;
}

static bool has_budget(const struct hn_sweep_plan *plan, const struct standing *s) {
    return (plan->budget_steps <= 0 || s->steps < (double)plan->budget_steps) &&
        (plan->budget_seconds <= 0 || s->seconds < plan->budget_seconds * (double)plan->parallel);
}

/* What is left of a budget in steps or seconds takes up again who waits: the furthest, then the
 * best, then the first; -1: none, or none fits. */
static int64_t find_affordable(const struct hn_sweep_plan *plan,
    const struct hn_sweep_trials *trials, const struct standing *s) {
    int64_t found = -1;
    if (plan->budget_steps <= 0 && plan->budget_seconds <= 0)
        return -1;
    for (size_t i = 0; i < trials->n; i++) {
        const struct hn_sweep_trial *t = &trials->list[i],
                                    *best = found < 0 ? NULL : &trials->list[found];
        if (hn_trial_phase(t) != HN_TRIAL_HELD || isnan(hn_trial_value(t)))
            continue;
        if (found < 0 || t->step > best->step ||
            (t->step == best->step && is_better(plan, hn_trial_value(t), hn_trial_value(best))))
            found = (int64_t)i;
    }
    if (found < 0)
        return -1;
    double left = (double)(trials->list[found].total_steps - trials->list[found].step),
           each = s->steps > 0 ? s->seconds / s->steps : 0;
    bool fits = (plan->budget_steps <= 0 || s->steps + left <= (double)plan->budget_steps) &&
        (plan->budget_seconds <= 0 ||
            s->seconds + left * each <= plan->budget_seconds * (double)plan->parallel);
    return fits ? found : -1;
}

static bool may_start(const struct hn_sweep_plan *plan, const struct standing *s) {
    return s->started < plan->trials && !s->reached && has_budget(plan, s);
}

/* What halving says of trials that pause. */
static struct hn_asha_decision halve(
    const struct hn_sweep_plan *plan, const struct hn_sweep_trials *trials, bool start, bool idle) {
    struct hn_asha_decision d = {HN_ASHA_NOTHING, 0, 0};
    size_t rungs = plan->n_rungs + 1;
    struct hn_asha_trial *list = hn_calloc(trials->n + 1, sizeof *list);
    double *values = hn_calloc((trials->n + 1) * rungs, sizeof *values);
    for (size_t i = 0; list && values && i < trials->n; i++) {
        const struct hn_sweep_trial *t = &trials->list[i];
        enum hn_trial_phase phase = hn_trial_phase(t);
        size_t reached = 0;
        if (phase == HN_TRIAL_GOOD)
            reached = rungs;
        while (phase != HN_TRIAL_GOOD && reached < t->n_rungs && t->step >= t->rungs[reached])
            reached++;
        for (size_t k = 0; k < reached; k++) {
            /* a trial whose rungs fall together has fewer */
            size_t at = k < t->n_rungs && k < plan->n_rungs ? k : t->n_rungs;
            values[i * rungs + k] = is_lost(t) ? (double)NAN : as_loss(plan, t->rung_values[at]);
        }
        list[i] = (struct hn_asha_trial){.number = t->number,
            .waiting = phase == HN_TRIAL_HELD,
            .reached = is_seed(t) ? 0 : reached,
            .values = values + i * rungs};
    }
    if (list && values)
        d = hn_asha_next(list, trials->n, rungs, (unsigned)plan->eta, start);
    if (list && values && d.action == HN_ASHA_NOTHING && idle && !start)
        d = hn_asha_finalist(list, trials->n, rungs);
    free(list);
    free(values);
    return d;
}

int hn_sweep_next(const struct hn_sweep_plan *plan, const struct hn_sweep_trials *trials,
    const struct hn_earlier *earlier, struct hn_sweep_step *ret, struct hn_error *err) {
    struct standing s = look(plan, trials);
    *ret = (struct hn_sweep_step){.act = HN_SWEEP_WAIT, .number = s.started};
    if (s.active >= plan->parallel)
        return 0;
    bool start = may_start(plan, &s);
    if (plan->asha && !s.reached) {
        struct hn_asha_decision d = halve(plan, trials, start, !s.active && !s.aside);
        if (d.action == HN_ASHA_PROMOTE) {
            ret->act = HN_SWEEP_PROMOTE;
            ret->index = d.trial;
            ret->rung = d.rung;
            return 0;
        }
    }
    if (start) {
        ret->act = HN_SWEEP_START;
        return plan->settings ? start_listed(plan, ret, err)
                              : start_point(plan, trials, earlier, ret, err);
    }
    if (s.active || s.aside)
        return 0;
    int64_t held = has_budget(plan, &s) ? find_held_auto(trials) : -1;
    if (held < 0 && !s.reached)
        held = find_affordable(plan, trials, &s);
    if (held >= 0) {
        ret->act = HN_SWEEP_PROMOTE;
        ret->index = (size_t)held;
        ret->rung = plan->n_rungs;
        ret->to_end = true;
        return 0;
    }
    if (!next_seed(plan, trials, ret))
        ret->act = HN_SWEEP_DONE;
    return 0;
}
