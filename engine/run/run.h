/*
 * Room engine/run. A run's identity and its state: what it was asked to do, and how far it is.
 *
 * Nouns: specification, run (everything it names, opened and planned), parameter vector, batch
 *   order, checkpoint, token file.
 * Ownership: A run borrows its specification; parameters own three arrays: values, gradients,
 *   moments.
 * May include: engine/base engine/data engine/families engine/formats engine/graph
 *   engine/hyperparams engine/insight engine/kernels engine/model engine/tables.
 */

/*
 * Run: everything a specification stands for, opened, tokenised and planned: model, data, adapter,
 * phases, memory.
 *
 * Made by the trainer before it starts and by job.plan to answer what a run would need; so both
 * give the same answer.
 */
#ifndef HN_ENGINE_RUN_RUN_H
#define HN_ENGINE_RUN_RUN_H

#include "engine/data/examples.h"
#include "engine/graph/phase.h"
#include "engine/run/loaded.h"

#define HN_AUTO_SAVE_SECONDS 300 /* between checkpoints, where save_every is auto */

/* With more validation rows than this nothing is said of the fit while a run trains: what each of
 * them scored at several evaluations would take too much memory. */
#define HN_FIT_ROWS ((size_t)100000)

struct hn_memory {  /* bytes */
    size_t arena;   /* the largest phase */
    size_t params;  /* values, gradients, moments */
    size_t data;    /* tokenised rows, batches */
    size_t mapped;  /* the base's weights */
    size_t process; /* program, libraries, tokenizer tables */
    size_t peak;    /* the sum that admission counts with */
};

/* BASE and TUNED give logits of the same targets, for KL; without them no phase is made. */
enum hn_phase_kind {
    HN_PHASE_TRAIN,
    HN_PHASE_EVAL,
    HN_PHASE_SAMPLE,
    HN_PHASE_VERIFY,
    HN_PHASE_BASE,
    HN_PHASE_TUNED,
    HN_PHASES
};

struct hn_run {
    struct hn_loaded loaded;
    struct hn_dataset train_data, validation_data, test_data;
    struct hn_examples train, validation, test;
    struct hn_examples train_sample;      /* training rows that are evaluated as well */
    struct hn_examples neutral, kl_rows;  /* see forgetting.h; empty for other objectives */
    struct hn_model base;                 /* of method full, as its file has it, for KL */
    struct hn_map tokens;                 /* the file that they lie in, when there is one */
    size_t dataset_bytes;                 /* memory that the open data sets take */
    const struct hn_dataset *sample_data; /* rows that samples are taken from */
    /* kept rows of sample_data, validation ones where there are any */
    size_t *sample_rows, n_sample_rows;
    /* rows that were to be samples, or to be answered, and have no prompt */
    struct hn_notices unwritten;
    size_t n_samples_tried, n_answers_tried;
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
/* Makes the prompt of every row whose answer training will write, and notes those that have none;
 * max_length is final. Refuses eval_generate where no row has one. */
int hn_run_check_prompts(struct hn_run *run, struct hn_error *err);
/* Its training data sets, one behind the other. Call hn_dataset_close in every case. */
int hn_run_open_training(
    struct hn_dataset *data, const char *dir, const struct hn_spec *spec, struct hn_error *err);
/* Opens the data sets that are not open yet. */
int hn_run_open_data(struct hn_run *run, const char *dir, struct hn_error *err);
/* Plans all phases for the loaded data; fills memory, steps. */
int hn_run_plan(struct hn_run *run, struct hn_error *err);
void hn_run_finish(struct hn_run *run);

#endif
