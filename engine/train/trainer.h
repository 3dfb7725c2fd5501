/*
 * Room engine/train. The trainer process: steps, evaluations, checkpoints, and artifacts at the
 * end.
 *
 * Nouns: trainer, event (a line of events.jsonl), sample (an answer written during training).
 * Ownership: The trainer owns the run and its parameters; files are written durably, each under its
 *   final name only when it is whole.
 * May include: engine engine/base engine/data engine/eval engine/export engine/families
 *   engine/kernels engine/run.
 */

/*
 * The trainer's state, shared by the files that make it up: train.c (steps), sample.c (answers),
 * scores.c (score files), rows.c (what training rows cost), fit.c (verdicts), publish.c
 * (artifacts).
 */
#ifndef HN_ENGINE_TRAIN_TRAINER_H
#define HN_ENGINE_TRAIN_TRAINER_H

#include "engine/run/checkpoint.h"
#include "engine/eval/scores.h"
#include "engine/run/compute.h"
#include "engine/run/row_file.h"
#include "engine/train/events.h"
#include "engine/run/run.h"

#define HN_STOP_KL "max_kl" /* reason of a run's end at an evaluation beyond that bound */
#define HN_INTERRUPTED 1    /* returned beside HN_E_*: a stop was asked for and has been obeyed */

/* What a step says of its rows. All NULL where nothing is kept of them. */
struct hn_trained_rows {
    struct hn_row_file file;
    double *losses;             /* [targets of a batch] */
    struct hn_choice *choices;  /* the same, of classes, else NULL */
    struct hn_row_record *step; /* [batch_size] in the step's order */
};

struct hn_trainer {
    const char *dir;
    char tokens[4096]; /* inputs/tokens or work/tokens of it: token_file.h */
    struct hn_spec spec;
    struct hn_run run;
    struct hn_params params;
    struct hn_compute compute;
    struct hn_events events;
    struct hn_progress progress;
    struct hn_trained_rows rows;
    uint32_t *order; /* [training rows] this epoch's order */
    size_t order_epoch, exported_step;
    bool verified_others; /* the adapter was tried on spec.verify_on */
    double started, last_save, window_seconds;
    json_t *failed_lines;
};

/* Before the step in the names of files with scores of training rows. */
#define HN_SCORES_TRAIN "train-"

/* The scores of the evaluation at the present step, whose rank among the others is known: into
 * scores/<prefix><step>.bin. */
int hn_trainer_keep_scores(const struct hn_trainer *t, const char *prefix,
    const struct hn_scores *scores, struct hn_error *err);
int hn_trainer_begin_rows(struct hn_trainer *t, struct hn_error *err);
void hn_trainer_finish_rows(struct hn_trainer *t);
/* Of the batch that was just computed, whose first row is number `begin` of the step. */
void hn_trainer_note_rows(struct hn_trainer *t, size_t begin);
/* The noted records of step s, whose rows are rows[n], into the run's row file. */
int hn_trainer_keep_rows(
    const struct hn_trainer *t, size_t s, const uint32_t *rows, size_t n, struct hn_error *err);
/* What is measured beside the validation rows; NaN: not of this run. */
struct hn_beside {
    double train_loss, neutral_loss, kl;
};
/* Adds what was measured to an evaluation's data, and to its line text[size]. */
void hn_beside_tell(const struct hn_beside *b, json_t *data, char *text, size_t size);
/* The same sample of training rows each time, as validation rows are evaluated. */
int hn_trainer_measure_training(struct hn_trainer *t, double *ret_loss, struct hn_error *err);
/* How much of the base is left: the loss on the neutral text, and the distance of what is written
 * on validation rows from what the base would have written. */
int hn_trainer_measure_forgetting(
    struct hn_trainer *t, double *ret_loss, double *ret_kl, struct hn_error *err);
/* Event `fit` where the verdict on the evaluations so far is another than before the last. */
int hn_trainer_tell_fit(struct hn_trainer *t, struct hn_error *err);
/* Answers to a few held-out rows, before and after training, kept in the job as events. */
int hn_trainer_sample(struct hn_trainer *t, size_t step, struct hn_error *err);
/* hyperparameters.eval_generate: adds metrics of the answers to so many of these rows, spread
 * evenly and the same each time. */
int hn_trainer_compare(struct hn_trainer *t, const struct hn_examples *ex,
    const struct hn_dataset *data, json_t *metrics, struct hn_error *err);

#endif
