/*
 * Run: everything a specification stands for, opened, tokenised and planned: model, data, adapter,
 * phases, memory.
 *
 * Made by the trainer before it starts and by job.plan to answer what a run would need; so both
 * give the same answer.
 */
#ifndef HN_ENGINE_RUN_RUN_H
#define HN_ENGINE_RUN_RUN_H

#include "engine/model/adapter.h"
#include "engine/data/examples.h"
#include "engine/model/model.h"
#include "engine/run/params.h"
#include "engine/graph/phase.h"
#include "engine/run/spec.h"

#define HN_AUTO_SAVE_SECONDS 300 /* between checkpoints, where save_every is auto */

struct hn_memory {  /* bytes */
    size_t arena;   /* the largest phase */
    size_t params;  /* values, gradients, moments */
    size_t data;    /* tokenised rows, batches */
    size_t mapped;  /* the base's weights */
    size_t process; /* program, libraries, tokenizer tables */
    size_t peak;    /* the sum that admission counts with */
};

enum hn_phase_kind { HN_PHASE_TRAIN, HN_PHASE_EVAL, HN_PHASE_SAMPLE, HN_PHASE_VERIFY, HN_PHASES };

struct hn_run {
    const struct hn_spec *spec;
    struct hn_model model;
    struct hn_codec codec;
    struct hn_dataset train_data, validation_data, test_data;
    struct hn_examples train, validation, test;
    struct hn_map tokens;                 /* the file that they lie in, when there is one */
    size_t dataset_bytes;                 /* memory that the open data sets take */
    const struct hn_dataset *sample_data; /* rows that samples are taken from */
    /* kept rows of sample_data, validation ones where there are any */
    size_t *sample_rows, n_sample_rows;
    struct hn_adapter adapter; /* of method lora, else empty */
    /* trainable values: the adapter's, or all of the model's */
    size_t n_params;
    struct hn_phase phases[HN_PHASES];
    struct hn_memory memory;
    size_t steps, steps_per_epoch;
    size_t other_bytes;  /* mapped of the largest model of spec.verify_on */
    size_t longest;      /* tokens of the longest row in a batch */
    size_t batch_tokens; /* that a batch of any phase holds at most */
    unsigned threads;
};

/* Opens and tokenises; paths in the spec are relative to `dir` (or absolute). `tokens` names a
 * token file (token_file.h): rows come from there or, when it is missing or was made from something
 * else, are written there; NULL keeps them in memory. The data sets are open afterwards only if
 * they had to be read, or hn_run_reads_texts. On HN_E_DATASET_INVALID their issues tell which rows.
 * Owner calls hn_run_finish in every case. */
int hn_run_load(struct hn_run *run, const struct hn_spec *spec, const char *dir, const char *tokens,
    struct hn_error *err);
/* Whether training needs the rows' texts beside their tokens: for samples, and for answers in a
 * context. */
bool hn_run_reads_texts(const struct hn_run *run);
/* Opens the data sets that are not open yet. */
int hn_run_open_data(struct hn_run *run, const char *dir, struct hn_error *err);
/* The run's other precision of the base number `i` with the same task's head and adapter, nothing
 * else of it filled; HN_E_INVALID_FIELD (field verify_on) when it is another model. hn_run_finish
 * in every case. */
int hn_run_open_other(
    const struct hn_run *run, size_t i, const char *dir, struct hn_run *ret, struct hn_error *err);
/* How rows become tokens for this run. Borrows the specification. */
struct hn_encode_options hn_run_encode_options(const struct hn_run *run);
/* Decides what is trained: fills adapter and n_params from the specification and the open model.
 * Done by hn_run_load.
 */
int hn_run_choose_params(struct hn_run *run, struct hn_error *err);
/* The parameter vector for that, zeroed. Owner calls hn_params_finish in every case. */
int hn_run_make_params(const struct hn_run *run, struct hn_params *params, struct hn_error *err);
/* Fills params->values with what training begins from: the base, new adapters and heads, or an
 * earlier run's values (spec.init_file, relative to `dir`). */
int hn_run_start_params(
    const struct hn_run *run, const char *dir, struct hn_params *params, struct hn_error *err);
/* Plans all phases for the loaded data; fills memory, steps. */
int hn_run_plan(struct hn_run *run, struct hn_error *err);
void hn_run_finish(struct hn_run *run);

/* Rows whose key-value caches a generation phase holds at once, and target rows that verification
 * compares at once.
 */
enum { HN_SAMPLE_SLOTS = 4, HN_SAMPLE_CHUNK = 512, HN_VERIFY_TARGETS = 32 };

/* Plans a generation phase: `slots` sequences of at most `context` tokens. */
int hn_sample_phase(struct hn_phase *phase, const struct hn_model *model,
    const struct hn_adapter *adapter, size_t slots, size_t context, unsigned threads,
    struct hn_error *err);

#endif
