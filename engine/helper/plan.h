/*
 * What job.plan has found and decided so far, and the choices that "auto" leaves to it
 * (engine/helper/plan_auto.c).
 */
#ifndef HN_ENGINE_HELPER_PLAN_H
#define HN_ENGINE_HELPER_PLAN_H

#include "engine/run/run.h"

#include <jansson.h>

/* LoRA of a 135M model then stays under 0.9 GB; 1,024 took 0.98 GB and was 2 to 10 % faster:
 * bench/SPEED.md. */
#define HN_AUTO_MICRO_BATCH 896

struct hn_planning {
    const json_t *params;
    /* What is planned, with the paths of the inputs here until it is written. */
    struct hn_spec spec;
    json_t *reasons, *warnings;
    json_t *head_labels;    /* of the head that the base's folder was trained with, or NULL */
    json_t *labels;         /* what people are shown of them; or NULL */
    struct hn_dataset data; /* the training rows, until they are loaded */
    size_t twins;           /* training rows whose input another one has, too */
    /* validation and test rows, and how many of them have a training row's input */
    size_t n_others[2], shared[2];
    char tokens[HN_SHA256_HEX + 24]; /* name of the file with the tokenised rows */
    /* names of inputs in a run directory: of further training data, of other precisions */
    char more[HN_SPEC_MORE][48], others[HN_VERIFY_ON_MAX][48];
    char init_sha256[HN_SHA256_HEX];
    size_t rows;           /* of all training data sets */
    double weighed_rows;   /* the same, each as often as its data set's weight has it in an epoch */
    bool encoder, no_bias; /* no_bias: the family's head of values has none */
};

/* Why the hyperparameter `name` has its value; the last reason stays. */
void hn_planning_because(struct hn_planning *p, const char *name, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
/* What the person should know before the run starts; `code` is for programs. */
void hn_planning_warn(struct hn_planning *p, const char *code, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
/* The warnings about the rows of `run`, once it is loaded. */
void hn_planning_warn_of_rows(struct hn_planning *p, const struct hn_run *run);

/* Sets what the preset of params says of hyperparameters, with a reason for those that are not
 * `given` (read over it; NULL or null: none). */
int hn_planning_preset(struct hn_planning *p, const json_t *given, struct hn_error *err);

/* What can be chosen before the rows are tokenised; refuses what the model or the task does not
 * have (HN_E_UNSUPPORTED, with the field). */
int hn_planning_choose(struct hn_planning *p, const struct hn_model *model, struct hn_error *err);
/* What depends on the tokenised rows of `run`; `auto_length`: max_length so far is only a
 * ceiling. */
void hn_planning_choose_after(struct hn_planning *p, const struct hn_run *run, bool auto_length);

/* Reads params.init; its labels and values must go with these rows. Errors name `init_from`. */
int hn_planning_read_init(struct hn_planning *p, struct hn_error *err);
/* The earlier run must have trained the very matrices that this one trains. */
int hn_planning_check_init(const struct hn_run *run, const char *path, struct hn_error *err);

#endif
