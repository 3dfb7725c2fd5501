/*
 * What a task's head is to say: the kind of target, the names of the labels in the order of the
 * logits, and what each label's rows count in the loss. Found in the training data when a job is
 * planned, then part of its specification.
 */
#ifndef HN_ENGINE_DATA_LABELS_H
#define HN_ENGINE_DATA_LABELS_H

#include "engine/data/dataset.h"
#include "engine/base/error.h"
#include "engine/model/model.h"

#include <jansson.h>

#define HN_LABELS_MAX 4096

struct hn_labels {
    enum hn_objective objective;
    json_t *names;  /* [n] texts; NULL for problems without labels */
    json_t *index;  /* name → number */
    float *weights; /* [n] of a label's rows in the loss, or NULL: all 1 */
    /* spans: questions without an answer are supported, since the training data has some */
    bool unanswerable;
};

/*
 * From the rows: labels that are texts, whole numbers or true and false are classes; a list of them
 * is several labels; numbers with a decimal point are values to predict. Classes are sorted, as
 * numbers where all are whole numbers. `given` (names, or NULL) fixes the names and their order;
 * `weights` is NULL, "none", "balanced" (rows / (labels · rows of the label), scikit-learn's) or an
 * object name → weight. Errors name `labels`, `class_weights` or the line.
 */
int hn_labels_find(struct hn_labels *ret, const struct hn_dataset *data, const json_t *given,
    const json_t *weights, struct hn_error *err);
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
/* {"problem","labels","label_weights"} of a specification's run part, and back. Without "problem":
 * next tokens. */
int hn_labels_read(struct hn_labels *ret, const json_t *run, struct hn_error *err);
int hn_labels_write(const struct hn_labels *labels, json_t *run, struct hn_error *err);
void hn_labels_finish(struct hn_labels *labels);

/* columns of the logits; 0 for next tokens */
size_t hn_labels_outputs(const struct hn_labels *labels);
/* Number of a label, or -1. Texts stand for themselves, numbers and booleans for their JSON
 * text. */
int32_t hn_label_number(const struct hn_labels *labels, const json_t *label);
const char *hn_label_name(const struct hn_labels *labels, size_t number);
/* The value of a number or of a text that spells one; false when it is neither. */
bool hn_label_value(const json_t *label, double *ret);

#endif
