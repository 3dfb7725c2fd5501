/* init_from: a run that begins from another job's checkpoint. See plan.h. */
#include "engine/helper/plan.h"
#include "engine/base/json.h"
#include "engine/model/objective.h"
#include "engine/run/checkpoint.h"

#include <float.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* The earlier run must have trained the very matrices that this one trains. */
int hn_planning_check_init(const struct hn_run *run, const char *path, struct hn_error *err) {
    struct hn_params params;
    int rc = hn_loaded_make_params(&run->loaded, &params, err);
    if (!rc)
        rc = hn_checkpoint_read_values(path, &params, true, err);
    hn_params_finish(&params);
    if (rc == HN_E_CONFLICT) {
        hn_fail(err, HN_E_INVALID_FIELD,
            "the job of init_from did not train the matrices that this one would");
        hn_error_field(err, "init_from");
        hn_error_hint(err, "keep its model, method, lora_rank, lora_targets and labels");
        rc = HN_E_INVALID_FIELD;
    }
    return rc;
}

/*
 * Values of another job's head are distances in its own standard deviations. Where both jobs'
 * values are of one size they are turned into this job's (hn_loaded_start_params); else the unit
 * must have changed, and they mean the same in the new one.
 */
static int read_init_scale(struct hn_planning *p, const json_t *init, struct hn_error *err) {
    const json_t *target = json_object_get(init, "target");
    struct hn_spec *spec = &p->spec;
    const struct hn_labels *l = &spec->labels;
    double mean = 0, scale = 1;
    int rc = hn_json_number(target, "mean", -DBL_MAX, DBL_MAX, &mean, err);
    if (!rc)
        rc = hn_json_number(target, "scale", DBL_MIN, DBL_MAX, &scale, err);
    if (rc || l->objective != HN_OBJECTIVE_VALUE)
        return rc;
    double ratio = scale / l->scale;
    if (ratio > 0.1 && ratio < 10 && fabs(mean - l->mean) < 3 * fmax(scale, l->scale)) {
        spec->init_mean = mean;
        spec->init_scale = scale;
        return 0;
    }
    hn_planning_warn(p, "init_unit",
        "the values of init_from's job have mean %.4g and standard deviation %.3g, these %.4g and "
        "%.3g: its head is taken as if the unit had changed",
        mean, scale, l->mean, l->scale);
    return 0;
}

/* A head's rows mean labels by their place. */
static int check_init_labels(
    const struct hn_planning *p, const json_t *init, struct hn_error *err) {
    const struct hn_labels *l = &p->spec.labels;
    const json_t *names = json_object_get(init, "labels");
    const char *problem = json_string_value(json_object_get(init, "problem"));
    if (!l->names || !problem ||
        (json_equal(names, l->names) && strcmp(problem, hn_objectives[l->objective].name) == 0))
        return 0;
    char *theirs = json_dumps(names, JSON_COMPACT | JSON_ENCODE_ANY),
         *ours = json_dumps(l->names, JSON_COMPACT | JSON_ENCODE_ANY);
    hn_fail(err, HN_E_INVALID_FIELD,
        "the job of init_from was trained on %s %.150s, but these rows make %s %.150s", problem,
        theirs ? theirs : "", hn_objectives[l->objective].name, ours ? ours : "");
    hn_error_field(err, "init_from");
    hn_error_hint(
        err, "its head knows labels by their order: send \"labels\" as that job has them");
    free(theirs);
    free(ours);
    return HN_E_INVALID_FIELD;
}

int hn_planning_read_init(struct hn_planning *p, struct hn_error *err) {
    const json_t *init = json_object_get(p->params, "init");
    struct hn_spec *spec = &p->spec;
    char folder[4096];
    int rc = hn_json_string(init, "path", &spec->init_file, err);
    if (!rc)
        rc = hn_json_string(init, "job", &spec->init_job, err);
    if (!rc)
        rc = hn_json_int(init, "step", 1, INT64_MAX, &spec->init_step, err);
    if (rc || !spec->init_file)
        return rc;
    const char *slash = strrchr(spec->init_file, '/');
    snprintf(
        folder, sizeof folder, "%.*s", slash ? (int)(slash - spec->init_file) : 0, spec->init_file);
    rc = hn_checkpoint_check_folder(folder, err);
    if (rc) {
        hn_error_field(err, "init_from");
        hn_error_hint(
            err, "name another step: GET /jobs/{id}/checkpoints lists those that are kept");
        return rc;
    }
    spec->init_sha256 = p->init_sha256;
    rc = check_init_labels(p, init, err);
    if (!rc)
        rc = read_init_scale(p, init, err);
    if (rc)
        return rc;
    return hn_sha256_file(spec->init_file, p->init_sha256, NULL, err);
}
