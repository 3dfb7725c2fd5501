/* The verdict on the run so far, told when it changes. */
#include "engine/base/buf.h"
#include "engine/base/json.h"
#include "engine/eval/fit.h"
#include "engine/train/trainer.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

static int by_step(const void *a, const void *b) {
    json_int_t x = json_integer_value(json_object_get(*(json_t *const *)a, "step")),
               y = json_integer_value(json_object_get(*(json_t *const *)b, "step"));
    return (x > y) - (x < y);
}

/* The data of the evaluations up to this step, in order; NULL: out of memory. */
static json_t *list_evaluations(const struct hn_trainer *t) {
    size_t n = 0, most = json_object_size(t->events.written);
    json_t **all = hn_calloc(most + 1, sizeof *all), *list = all ? json_array() : NULL, *data;
    const char *key;
    json_object_foreach(t->events.written, key, data)
        if (list && strncmp(key, "eval:", 5) == 0 &&
            json_integer_value(json_object_get(data, "step")) <= (json_int_t)t->progress.step)
            all[n++] = data;
    if (n)
        qsort(all, n, sizeof(*all), by_step);
    for (size_t i = 0; i < n; i++)
        json_array_append(list, all[i]);
    free(all);
    return list;
}

static int judge(const struct hn_trainer *t, const json_t *evaluations, bool ended, json_t **ret,
    struct hn_error *err) {
    struct hn_fit_facts facts;
    const struct hn_fit_run run = {.dir = t->dir,
        .spec = &t->spec,
        .evaluations = evaluations,
        .steps = t->run.steps,
        .steps_per_epoch = t->run.steps_per_epoch,
        .train_rows = t->run.train.n_rows,
        .ended = ended,
        .contradicted = (double)NAN};
    int rc = hn_fit_measure(&run, &facts, err);
    *ret = rc ? NULL : hn_fit_tell(&run, &facts);
    return rc || *ret ? rc : hn_fail(err, HN_E_INTERNAL, "out of memory");
}

static const char *verdict_of(const json_t *told) {
    const char *verdict = json_string_value(json_object_get(told, "verdict"));
    return verdict ? verdict : "";
}

int hn_trainer_tell_fit(struct hn_trainer *t, struct hn_error *err) {
    if (t->run.validation.n_rows > HN_FIT_ROWS)
        return 0;
    json_t *evaluations = list_evaluations(t), *now = NULL, *before = NULL;
    if (!evaluations)
        return hn_fail(err, HN_E_INTERNAL, "out of memory");
    int rc = judge(t, evaluations, t->progress.step == t->run.steps, &now, err);
    size_t n = json_array_size(evaluations);
    if (!rc && n)
        json_array_remove(evaluations, n - 1);
    if (!rc)
        rc = judge(t, evaluations, false, &before, err);
    if (!rc && strcmp(verdict_of(now), verdict_of(before)) != 0)
        rc = hn_events_add(&t->events, "fit",
            HN_JSON_OBJECT({"step", json_integer((json_int_t)t->progress.step)},
                {"verdict", json_incref(json_object_get(now, "verdict"))},
                {"health", json_incref(json_object_get(now, "health"))},
                {"summary", json_incref(json_object_get(now, "summary"))},
                {"best_step", json_incref(json_object_get(now, "best_step"))},
                {"provisional", json_incref(json_object_get(now, "provisional"))}),
            err);
    json_decref(now);
    json_decref(before);
    json_decref(evaluations);
    return rc;
}
