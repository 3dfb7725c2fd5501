/*
 * The model that a helper has open for predictions and evaluations: a base, or a job's result over it. It stays open
 * between calls; another one takes its place.
 */
#ifndef HN_PREDICTOR_H
#define HN_PREDICTOR_H

#include "engine/compute.h"
#include "engine/helper.h"
#include "engine/run.h"

struct hn_predictor {
    char *key; /* canonical text of model and source */
    struct hn_spec spec;
    struct hn_run run;
    struct hn_params params;
    struct hn_phase phase; /* of predictions, with `context` tokens of room */
    struct hn_compute compute;
    size_t context;
};

/* Makes call->predictor the one for these parameters. source: {"run_dir","step"}, or NULL for the base alone. */
int hn_predictor_find(struct hn_helper_call *call, const char *path, const json_t *source, struct hn_error *err);
void hn_predictor_destroy(struct hn_predictor *predictor);

#endif
