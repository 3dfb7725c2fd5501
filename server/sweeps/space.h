/*
 * The space of a sweep: axes by the names of what they change in a job's request.
 *
 * A name is a hyperparameter, "method", "model", "dataset" (values only), or "weights.ds_…", the
 * weight of that data set among several. An axis has "values", a list, or "min" and "max" with
 * "log" and "step"; "when" says for which values of other axes (or of the request) it applies.
 */
#ifndef HN_SERVER_SWEEPS_SPACE_H
#define HN_SERVER_SWEEPS_SPACE_H

#include "engine/engine.h"
#include "engine/tune/tune.h"

#define HN_SPACE_AXES 16
#define HN_GRID_MAX 10000 /* points of a grid */

struct hn_space {
    json_t *json; /* [{"name", …}] as in a sweep's plan; borrowed */
    size_t n;
    struct hn_axis axes[HN_SPACE_AXES];
};

/* Checks a request's "space" and writes it as a plan has it: a new array. `job` is the request that
 * the space changes: a condition on what is no axis is decided by it. HN_E_INVALID_FIELD with
 * fields such as "space.learning_rate.min". */
int hn_space_read(const json_t *space, const json_t *job, json_t **ret, struct hn_error *err);
/* The space that is searched where none is given: around the values that "auto" has chosen
 * (`chosen`: the resolved hyperparameters) for training by `method`. New array. */
json_t *hn_space_around(const json_t *chosen, const char *method);
/* From a plan's array. */
int hn_space_open(json_t *axes, struct hn_space *ret, struct hn_error *err);

/* Borrowed. */
const char *hn_space_name(const struct hn_space *space, size_t axis);
/* Sets the values whose condition does not hold to NaN, and rounds the others to 6 digits. */
void hn_space_settle(const struct hn_space *space, double *point);
/* {name: value}, new; and the other way round for settings made so (NaN where one is missing). */
json_t *hn_space_settings(const struct hn_space *space, const double *point);
void hn_space_point(const struct hn_space *space, const json_t *settings, double *ret);
/* Writes settings into a job's request. */
int hn_settings_apply(const json_t *settings, json_t *request, struct hn_error *err);

/* How many points a grid of the space has, 0: an axis has no end of values (*ret_axis: which);
 * HN_GRID_MAX + 1 stands for more than HN_GRID_MAX. Points where an axis that does not apply would
 * make no difference count once. */
size_t hn_space_grid(const struct hn_space *space, size_t *ret_axis);
/* The i-th of them. */
void hn_space_grid_point(const struct hn_space *space, size_t i, double *ret);

#endif
