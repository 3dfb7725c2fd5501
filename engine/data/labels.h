/*
 * What a task's head is to say: the kind of target, the names of the labels in the order of the
 * logits, and what each label's rows count in the loss. Found in the training data when a job is
 * planned, then part of its specification.
 */
#ifndef HN_ENGINE_DATA_LABELS_H
#define HN_ENGINE_DATA_LABELS_H

#include "engine/data/dataset.h"
#include "engine/data/label_survey.h"
#include "engine/base/error.h"
#include "engine/model/model.h"

#include <jansson.h>

struct hn_labels {
    enum hn_objective objective;
    json_t *names;      /* [n] texts; NULL for problems without labels */
    json_t *index;      /* name → number */
    float *weights;     /* [n] of a label's rows in the loss, or NULL: all 1 */
    bool multi_hot;     /* a row's labels are a list of [n] zeros and ones */
    double mean, scale; /* of values: learned is (value - mean) / scale */
    bool folded;        /* the head's values have been turned back: its logits are values */
    /* spans: questions without an answer are supported, since the training data has some */
    bool unanswerable;
};

/* What a job may ask for; NULL: nothing. */
struct hn_labels_request {
    const json_t *labels; /* names that fix spelling and order */
    /* "none", "balanced" (rows / (labels · rows of the label), scikit-learn's) or an object name →
     * weight */
    const json_t *weights;
    const char *problem; /* "single_label", "multi_label", "regression" */
    bool no_bias;        /* the head has none: values keep their zero */
};
/* What people are shown. */
struct hn_label_notes {
    json_t *shown; /* hn_label_survey_json's; NULL for spans */
    char *why;     /* how labels that could be meant otherwise were taken; or NULL */
    char *alike;   /* which labels differ in spelling alone; or NULL */
};
/*
 * From the rows, one decision for the whole column (label_survey.h). Classes are sorted, as numbers
 * where all are whole numbers, unless names are given. Values are scaled by their mean and standard
 * deviation. `ret_notes` may be NULL. Errors name `problem`, `labels`, `class_weights` or the line.
 */
int hn_labels_find(struct hn_labels *ret, const struct hn_dataset *data,
    const struct hn_labels_request *request, struct hn_label_notes *ret_notes,
    struct hn_error *err);
void hn_label_notes_finish(struct hn_label_notes *notes);
/* Of a model folder that was trained for a task already: by config.json's architectures,
 * problem_type and id2label. Next tokens for all others. */
int hn_labels_of_model(struct hn_labels *ret, const struct hn_model *model, struct hn_error *err);
/* Takes the order of `names` where these are the same labels: the base's own, so that its head and
 * its configuration mean what the result means. */
int hn_labels_follow(struct hn_labels *labels, const json_t *names, struct hn_error *err);
/*
 * The rows of the head that hn_model_set_head found in the base's folder, in the order of these
 * labels, by name (config.json's id2label; "LABEL_3" is also the label "3"). A head that lacks one
 * of the labels is of another task: it begins anew. Nothing for targets without labels.
 */
int hn_labels_fit_head(
    const struct hn_labels *labels, struct hn_model *model, struct hn_error *err);
/* {"problem","labels","label_weights","multi_hot","target"} of a specification's run part, and
 * back. Without "problem": next tokens. */
int hn_labels_read(struct hn_labels *ret, const json_t *run, struct hn_error *err);
int hn_labels_write(const struct hn_labels *labels, json_t *run, struct hn_error *err);
void hn_labels_finish(struct hn_labels *labels);

/* columns of the logits; 0 for next tokens */
size_t hn_labels_outputs(const struct hn_labels *labels);
/* Number of a label, or -1. Texts stand for themselves, numbers and booleans for their JSON
 * text. */
int32_t hn_label_number(const struct hn_labels *labels, const json_t *label);
/* The value as the loss compares it, and a logit as a value. */
double hn_label_target(const struct hn_labels *labels, double value);
double hn_label_predicted(const struct hn_labels *labels, float logit);
const char *hn_label_name(const struct hn_labels *labels, size_t number);

#endif
