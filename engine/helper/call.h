/*
 * Room engine/helper. The helper process: requests of the daemon that touch hostile files, one file
 * each.
 *
 * Nouns: call (a request being answered), plan (what a job would need), predict, evaluate, export.
 * Ownership: A call lives for one request; the predictor stays open between them.
 * May include: engine engine/base engine/data engine/eval engine/export engine/families
 *   engine/insight engine/kernels engine/model engine/run engine/tables engine/tune.
 */

/*
 * The helper's ops: one row each in helper.c, one function each in op_*.c. Wire and parameters:
 * engine.h.
 */
#ifndef HN_ENGINE_HELPER_CALL_H
#define HN_ENGINE_HELPER_CALL_H

#include "engine/data/dataset.h"
#include "engine/base/error.h"

#include <jansson.h>
#include <stdatomic.h>

struct hn_predictor;
struct hn_wire;

struct hn_helper_call {
    struct hn_wire *wire; /* where its chunks go */
    /* others wait: an op that can be gone on with later shall end soon. May be NULL */
    const atomic_bool *pause;
    json_int_t id;
    json_t *details; /* of an error: [{"line","column","field","message","hint"}], or NULL */
    /* the model that predictions were last asked of, kept open between calls */
    struct hn_predictor **predictor;
    size_t total; /* problems in all, also those past the listed ones */
};

/* Each returns 0 and a new reference in *ret, or an error. */
typedef int hn_helper_fn(
    struct hn_helper_call *call, const json_t *params, json_t **ret, struct hn_error *err);
hn_helper_fn hn_helper_dataset_inspect, hn_helper_dataset_look, hn_helper_dataset_unpack,
    hn_helper_dataset_correct, hn_helper_dataset_rows, hn_helper_dataset_preview,
    hn_helper_dataset_report, hn_helper_model_inspect, hn_helper_job_plan, hn_helper_predict,
    hn_helper_chat, hn_helper_embed, hn_helper_evaluate, hn_helper_export, hn_helper_compare,
    hn_helper_examples, hn_helper_fit, hn_helper_machine_rate;

/* Sends {"id","chunk"} before the result; takes over `chunk`. */
int hn_helper_chunk(struct hn_helper_call *call, json_t *chunk, struct hn_error *err);
/* Answers the call before its op returns: `result` is taken over, `err` where rc is set. An op that
 * does so returns 0 and leaves *ret NULL. */
int hn_helper_answer(struct hn_helper_call *call, int rc, json_t *result, struct hn_error *err);
/* The next request that has come meanwhile, for an op that answers several at once; NULL: none
 * yet. New reference. */
json_t *hn_helper_more(struct hn_helper_call *call);
/* Copies a data set's issues into the call's details. */
void hn_helper_issues(struct hn_helper_call *call, const struct hn_dataset *data);
/* Reads DATA ({"path","format","columns","on_error"}) into *path and options; strings are
 * borrowed. */
int hn_helper_data(const json_t *object, const char **path, struct hn_dataset_options *options,
    struct hn_error *err);
/* "text", what is to be read in a row, cut ("truncated") where it is long, and "label", what the
 * row gives as its answer. */
void hn_helper_tell_row(const json_t *row, json_t *out);
/* {"path"} of `object`, required. */
int hn_helper_path(const json_t *object, const char **path, struct hn_error *err);

#endif
