/* A sweep and its trials as the API shows them (contract section 8). */
#include "server/sweeps/next.h"
#include "server/sweeps/sweeps.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

static json_t *parsed(const char *text) {
    json_t *value = NULL;
    return text && !hn_json_parse(text, strlen(text), &value, NULL) ? value : json_null();
}

static json_t *number(double value) {
    return isfinite(value) ? json_real(value) : json_null();
}

static json_t *reason(const char *code, const char *message) {
    return code ? json_pack("{s:s,s:s?}", "code", code, "message", message) : json_null();
}

/* Plan and trials of a sweep; the caller finishes both in every case. */
static int open_sweep(struct hn_db *db, const struct hn_sweep *sweep, struct hn_sweep_plan *plan,
    struct hn_sweep_trials *trials, struct hn_error *err) {
    *trials = (struct hn_sweep_trials){0};
    int rc = hn_sweep_plan_open(sweep->plan, plan, err);
    return rc ? rc : hn_db_trials(db, sweep->n, plan->metric, plan->smaller, trials, err);
}

/* By what was measured so far; as planned before anything was. */
static json_t *eta(
    const struct hn_sweep *sweep, const struct hn_sweep_plan *plan, double steps, double seconds) {
    double all =
        json_number_value(json_object_get(json_object_get(plan->json, "estimate"), "steps"));
    double each = steps > 0 ? seconds / steps : plan->steps > 0 ? plan->seconds / plan->steps : 0;
    double left = all > steps ? all - steps : 0;
    bool runs = strcmp(sweep->status, "running") == 0 || strcmp(sweep->status, "queued") == 0;
    return runs ? number(round(left * each / (double)(plan->parallel > 0 ? plan->parallel : 1)))
                : json_null();
}

static json_t *progress(const struct hn_sweep *sweep, const struct hn_sweep_plan *plan,
    const struct hn_sweep_trials *trials) {
    int64_t count[HN_TRIAL_BAD + 1] = {0}, cancelled = 0;
    double steps = 0, seconds = 0;
    for (size_t i = 0; i < trials->n; i++) {
        const char *status = trials->list[i].status;
        count[hn_trial_phase(&trials->list[i])]++;
        cancelled += status && strcmp(status, "cancelled") == 0;
        steps += (double)trials->list[i].step;
        seconds += trials->list[i].seconds;
    }
    return HN_JSON_OBJECT({"trials", json_integer(plan->trials)},
        {"started", json_integer((json_int_t)trials->n)},
        {"finished", json_integer(count[HN_TRIAL_GOOD] + count[HN_TRIAL_BAD])},
        {"failed", json_integer(count[HN_TRIAL_BAD] - cancelled)},
        {"cancelled", json_integer(cancelled)}, {"running", json_integer(count[HN_TRIAL_ACTIVE])},
        {"paused", json_integer(count[HN_TRIAL_HELD] + count[HN_TRIAL_ASIDE])},
        {"steps", json_real(steps)}, {"seconds", number(round(seconds * 10) / 10)},
        {"eta_seconds", eta(sweep, plan, steps, seconds)});
}

/* The best so far, of trials on their way as well. */
static json_t *best_so_far(const struct hn_sweep_plan *plan, const struct hn_sweep_trials *trials) {
    const struct hn_sweep_trial *best = NULL;
    for (size_t i = 0; i < trials->n; i++) {
        const struct hn_sweep_trial *t = &trials->list[i];
        double value = hn_trial_value(t);
        if (!isnan(value) && hn_trial_phase(t) != HN_TRIAL_BAD &&
            (!best ||
                (plan->smaller ? value < hn_trial_value(best) : value > hn_trial_value(best))))
            best = t;
    }
    return best
        ? json_pack("{s:I,s:s,s:s,s:f,s:n}", "number", (json_int_t)best->number, "job", best->job,
              "metric", plan->metric, "value", hn_trial_value(best), "gain_over_auto")
        : json_null();
}

static json_t *links(const struct hn_sweep *sweep) {
    return json_pack("{s:o,s:o,s:o}", "trials", json_sprintf("/sweeps/%s/trials", sweep->id),
        "events", json_sprintf("/sweeps/%s/events", sweep->id), "jobs",
        json_sprintf("/jobs?sweep=%s", sweep->id));
}

/* What of the plan a person wants to see, beside the job. */
static json_t *shown_plan(const struct hn_sweep_plan *plan) {
    json_t *shown = json_copy(plan->json);
    static const char *const hidden[] = {"job", "settings", "chosen", "warnings", "kind"};
    for (size_t i = 0; i < sizeof hidden / sizeof hidden[0]; i++)
        json_object_del(shown, hidden[i]);
    return shown;
}

int hn_sweep_json(
    struct hn_db *db, const struct hn_sweep *sweep, json_t **ret, struct hn_error *err) {
    struct hn_sweep_plan plan;
    struct hn_sweep_trials trials;
    int rc = open_sweep(db, sweep, &plan, &trials, err);
    json_t *out = rc
        ? NULL
        : HN_JSON_OBJECT({"id", json_string(sweep->id)},
              {"owner", sweep->owner && *sweep->owner ? json_string(sweep->owner) : json_null()},
              {"name", hn_json_string_or_null(sweep->name)}, {"kind", json_string(sweep->kind)},
              {"status", json_string(sweep->status)},
              {"status_reason", reason(sweep->reason_code, sweep->reason_message)},
              {"progress", progress(sweep, &plan, &trials)}, {"best", best_so_far(&plan, &trials)},
              {"warnings", hn_json_share(json_object_get(plan.json, "warnings"))},
              {"plan", shown_plan(&plan)}, {"request", parsed(sweep->request)},
              {"last_seq", json_integer(sweep->next_seq - 1)},
              {"created_at", json_string(sweep->created_at)},
              {"started_at", hn_json_string_or_null(sweep->started_at)},
              {"finished_at", hn_json_string_or_null(sweep->finished_at)}, {"links", links(sweep)});
    if (!rc && !out)
        rc = hn_fail(err, HN_E_INTERNAL, "out of memory");
    if (!rc) {
        static const char *const names[] = {"indistinguishable", "importance",
            "importance_quantile", "curve", "forecast", "forecast_refused", "folds", "ablation",
            "seeds", "suggestion", "saved", "summary"};
        json_t *result = parsed(sweep->result);
        for (size_t i = 0; i < sizeof names / sizeof names[0]; i++)
            json_object_set_new(
                out, names[i], hn_json_share_or_null(json_object_get(result, names[i])));
        if (json_is_object(json_object_get(result, "best")))
            json_object_set(out, "best", json_object_get(result, "best"));
        json_decref(result);
        *ret = out;
    }
    hn_sweep_trials_finish(&trials);
    hn_sweep_plan_finish(&plan);
    return rc;
}

static json_t *trial_json(const struct hn_sweep_plan *plan, const struct hn_sweep_trial *t) {
    json_t *values = json_array();
    int64_t rung = 0;
    for (size_t i = 0; i < t->n_rungs; i++) {
        bool reached = t->step >= t->rungs[i];
        rung += reached;
        json_array_append_new(values,
            json_pack("{s:I,s:o}", "step", (json_int_t)t->rungs[i], "value",
                reached ? number(t->rung_values[i]) : json_null()));
    }
    const json_t *listed = json_array_get(plan->settings, (size_t)t->number);
    const char *status = t->status ? t->status : t->why ? "refused" : "deleted";
    return HN_JSON_OBJECT({"number", json_integer(t->number)},
        {"job", t->job[0] ? json_string(t->job) : json_null()}, {"role", json_string(t->role)},
        {"name", hn_json_share_or_null(json_object_get(listed, "name"))},
        {"settings", parsed(t->settings)}, {"status", json_string(status)},
        {"status_reason", reason(t->reason_code, t->reason_message)}, {"rung", json_integer(rung)},
        {"rungs", values}, {"value", number(hn_trial_value(t))},
        {"best_step", t->best_step < 0 ? json_null() : json_integer(t->best_step)},
        {"step", json_integer(t->step)}, {"total_steps", json_integer(t->total_steps)},
        {"rows", t->rows < 0 ? json_null() : json_integer(t->rows)},
        {"seconds", number(round(t->seconds * 100) / 100)}, {"why", hn_json_string_or_null(t->why)},
        {"started_at", hn_json_string_or_null(t->started_at)},
        {"finished_at", hn_json_string_or_null(t->finished_at)});
}

int hn_sweep_trials_json(
    struct hn_db *db, const struct hn_sweep *sweep, json_t **ret, struct hn_error *err) {
    struct hn_sweep_plan plan;
    struct hn_sweep_trials trials;
    int rc = open_sweep(db, sweep, &plan, &trials, err);
    json_t *list = json_array();
    for (size_t i = 0; !rc && i < trials.n; i++)
        json_array_append_new(list, trial_json(&plan, &trials.list[i]));
    hn_sweep_trials_finish(&trials);
    hn_sweep_plan_finish(&plan);
    if (rc)
        json_decref(list);
    else
        *ret = list;
    return rc;
}
