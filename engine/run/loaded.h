/*
 * A loaded model: the base that a specification names, with its codec, its task's head and what of
 * it is trained. The trainer has one in its run; predictions, evaluations and exports need no more.
 */
#ifndef HN_ENGINE_RUN_LOADED_H
#define HN_ENGINE_RUN_LOADED_H

#include "engine/data/encode.h"
#include "engine/graph/phase.h"
#include "engine/model/adapter.h"
#include "engine/model/model.h"
#include "engine/run/params.h"
#include "engine/run/spec.h"

struct hn_loaded {
    const struct hn_spec *spec;
    struct hn_model model;
    struct hn_codec codec;
    struct hn_adapter adapter; /* of method lora, else empty */
    size_t n_params;           /* trainable values: the adapter's, or all of the model's */
};

/* Opens the model of the specification with the head of its task, and the codec. What is trained
 * is not decided yet. Owner calls hn_loaded_finish in every case. */
int hn_loaded_open(
    struct hn_loaded *loaded, const struct hn_spec *spec, const char *dir, struct hn_error *err);
/* The other precision of the base number `i` of spec.verify_on, with the same head and adapter and
 * without a codec; HN_E_INVALID_FIELD (field verify_on) when it is another model. Owner calls
 * hn_loaded_finish in every case. */
int hn_loaded_open_other(const struct hn_loaded *loaded, size_t i, const char *dir,
    struct hn_loaded *ret, struct hn_error *err);
void hn_loaded_finish(struct hn_loaded *loaded);
/* How rows become tokens for it. Borrows the specification. */
struct hn_encode_options hn_loaded_encode_options(const struct hn_loaded *loaded);
/* Decides what is trained: fills adapter and n_params from the specification and the model. */
int hn_loaded_choose_params(struct hn_loaded *loaded, struct hn_error *err);
/* The parameter vector for that, zeroed. Owner calls hn_params_finish in every case. */
int hn_loaded_make_params(
    const struct hn_loaded *loaded, struct hn_params *params, struct hn_error *err);
/* Fills params->values with what training begins from: the base, new adapters and heads, or an
 * earlier run's values (spec.init_file, relative to `dir`). */
int hn_loaded_start_params(const struct hn_loaded *loaded, const char *dir,
    struct hn_params *params, struct hn_error *err);
/* A trained head of values gives (value - mean) / scale; afterwards it gives values: weights and
 * bias of its last layer. Where it has no bias the mean is 0. Nothing for other objectives. */
void hn_loaded_fold_head(const struct hn_loaded *loaded, float *values);
/* The path of a file that the specification names, which is relative to `dir` or absolute. */
void hn_spec_path(char *ret, size_t size, const char *dir, const char *file);

/* Rows whose key-value caches a generation phase holds at once, and target rows that verification
 * compares at once.
 */
enum { HN_SAMPLE_SLOTS = 4, HN_SAMPLE_CHUNK = 512, HN_VERIFY_TARGETS = 32 };

/* Plans a generation phase: `slots` sequences at once, which together have `rows` rows of the
 * key-value cache. */
int hn_sample_phase(struct hn_phase *phase, const struct hn_model *model,
    const struct hn_adapter *adapter, size_t slots, size_t rows, unsigned threads,
    struct hn_error *err);

#endif
