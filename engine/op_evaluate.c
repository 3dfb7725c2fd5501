/* evaluate: loss and metrics of a base model, a job's result or a checkpoint of it on any data set. */
#include "engine/evaluate.h"
#include "engine/json.h"
#include "engine/predictor.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define EVALUATE_TOKENS 1024

struct evaluation {
    struct hn_dataset data;
    struct hn_examples examples;
    struct hn_phase phase;
    struct hn_compute compute;
    struct hn_evaluation result;
};

static int open_rows(struct hn_helper_call *call, const json_t *params, struct evaluation *e, struct hn_error *err) {
    const struct hn_predictor *p = *call->predictor;
    const char *path;
    struct hn_dataset_options options;
    struct hn_encode_options o = hn_run_encode_options(&p->run);
    int rc = hn_helper_data(json_object_get(params, "data"), &path, &options, err);
    if (!rc)
        rc = hn_dataset_open(&e->data, path, &options, err);
    if (rc == HN_E_DATASET_INVALID)
        hn_helper_issues(call, &e->data);
    if (!rc)
        rc = hn_examples_encode(&p->run.codec, &e->data, NULL, e->data.n_rows, &o, &e->examples, err);
    if (!rc && !e->examples.n_rows)
        rc = hn_fail(err, HN_E_DATASET_INVALID, "no row of the data set has a target to evaluate");
    return rc;
}

static int make_phase(const struct hn_predictor *p, struct evaluation *e, struct hn_error *err) {
    size_t tokens = EVALUATE_TOKENS;
    unsigned threads = (unsigned)sysconf(_SC_NPROCESSORS_ONLN);
    struct hn_graph_options graph = {.adapter = p->run.adapter.n ? &p->run.adapter : NULL};
    for (size_t i = 0; i < e->examples.n_rows; i++) {
        size_t n = hn_row_length(&e->examples, i);
        tokens = n > tokens ? n : tokens;
    }
    struct hn_plan_options plan = {
        .caps = {.dims = {[HN_DIM_TOKENS] = tokens, [HN_DIM_TARGETS] = tokens}, .threads = threads}};
    int rc = hn_phase_make(&e->phase, &p->run.model, &graph, &plan, err);
    return rc ? rc : hn_compute_init(&e->compute, threads, e->phase.plan.arena_bytes, tokens, err);
}

static json_t *answer(const struct hn_predictor *p, const struct evaluation *e) {
    json_t *metrics = json_copy(e->result.metrics);
    json_object_set_new(metrics, "loss", hn_json_float((float)e->result.loss));
    return json_pack("{s:I, s:I, s:I, s:o, s:O?, s:O?}", "rows", (json_int_t)e->data.n_rows, "dropped",
        (json_int_t)e->examples.dropped, "truncated", (json_int_t)e->examples.truncated, "metrics", metrics, "labels",
        p->spec.labels.names, "confusion", e->result.confusion);
}

int hn_op_evaluate(struct hn_helper_call *call, const json_t *params, json_t **ret, struct hn_error *err) {
    const json_t *source = json_object_get(params, "source");
    const char *path;
    struct evaluation *e = hn_calloc(1, sizeof *e);
    if (!e)
        return hn_fail(err, HN_E_INTERNAL, "out of memory");
    int rc = hn_helper_path(json_object_get(params, "model"), &path, err);
    if (!rc)
        rc = hn_predictor_find(call, path, json_is_object(source) ? source : NULL, err);
    if (!rc)
        rc = open_rows(call, params, e, err);
    const struct hn_predictor *p = *call->predictor;
    if (!rc)
        rc = make_phase(p, e, err);
    if (!rc)
        rc = hn_evaluate(&e->compute, &e->phase, &p->run, p->params.values, &e->examples, &e->data, &e->result, err);
    if (!rc && !(*ret = answer(p, e)))
        rc = hn_fail(err, HN_E_INTERNAL, "out of memory");
    hn_evaluation_finish(&e->result);
    hn_compute_finish(&e->compute);
    hn_phase_finish(&e->phase);
    hn_examples_finish(&e->examples);
    hn_dataset_close(&e->data);
    free(e);
    return rc;
}
