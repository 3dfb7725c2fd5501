/*
 * A column of labels as a whole: what stands in it, how often, and which kind of target it is.
 *
 * One decision for the column, and the spelling of every label is kept. Lists are several labels.
 * A label that is no number makes all of them names. Numbers are names (classes) as well where
 * their spelling says so: a leading zero (007), one number in two spellings (1.1 and 1.10), a
 * fraction that ends in zero beside fractions of other lengths (250.00 and 401.9), an exponent
 * without sign or point (1E2). Of all others
 *   whole numbers are classes where they are few (at most 20) and repeat, or count from 0 or 1
 *   without a gap and have five rows each; else values to predict;
 *   numbers with a decimal point are values, unless they are few, repeat, and count from 0 or 1
 *   (0.0 and 1.0).
 * What could be meant otherwise is said, and a job's `problem` overrules it.
 */
#ifndef HN_ENGINE_DATA_LABEL_SURVEY_H
#define HN_ENGINE_DATA_LABEL_SURVEY_H

#include "engine/base/error.h"
#include "engine/data/dataset.h"
#include "engine/model/model.h"

#include <jansson.h>

#define HN_LABEL_TEXT 40 /* bytes that hn_label_text needs for a number */
#define HN_LABELS_SHOWN 100
#define HN_LABELS_MAX 4096 /* that a head can tell apart */

struct hn_label_survey {
    json_t *counts; /* name → rows with it (of lists: times) */
    size_t rows;
    bool many;     /* more different ones than are counted: rows beyond are in no count */
    size_t lists;  /* rows */
    size_t quoted; /* numbers that stand as texts in JSON or CSV */
    size_t bare;   /* numbers of JSON */
    /* of the first list of zeros and ones; rows with such lists; the first line with another */
    size_t width, binary;
    uint32_t odd_line;
    size_t *places;       /* [width] rows that have a 1 there, for at most HN_LABELS_MAX */
    size_t numbers;       /* of those that are */
    double mean, squares; /* of these: mean, and sum of squared distances from it */
};

/* The label's text: as written for texts, JSON's shortest for numbers, in `room` for what is no
 * text. NULL for lists, objects and null. */
const char *hn_label_text(const json_t *label, char room[HN_LABEL_TEXT]);
/* The value of a number, or of a text that spells one, with a decimal comma as well (2,5); false
 * when it is neither. */
bool hn_label_value(const json_t *label, double *ret);

/* Whether the label says 0 or 1 (false or true), as a member of a list that says of each label
 * whether it holds. */
bool hn_label_bit(const json_t *label, bool *ret);

/* Counts every label of the data. */
int hn_label_survey(
    struct hn_label_survey *ret, const struct hn_dataset *data, struct hn_error *err);
void hn_label_survey_finish(struct hn_label_survey *survey);

/* "single_label" …: what a person may ask for; NULL for objectives that are not chosen. */
const char *hn_problem_name(enum hn_objective objective);
/*
 * The objective of a column of labels. `asked`: a word of hn_problem_name, or NULL; `named`: labels
 * were given, so they are names. Errors name `problem`. *ret_why gets a sentence where it could be
 * meant otherwise (an allocated text), else NULL.
 */
int hn_label_survey_decide(const struct hn_label_survey *survey, const char *asked, bool named,
    enum hn_objective *ret, char **ret_why, struct hn_error *err);
/* Labels that differ by case, spaces or Unicode form alone: a sentence with the first of them and
 * their rows (an allocated text), or NULL. */
char *hn_label_survey_alike(const struct hn_label_survey *survey);
/* The names in the order of the logits: numbers by value, then texts by bytes. New reference. */
json_t *hn_label_survey_names(const struct hn_label_survey *survey);
/* {"problem","label_count","labels":[{"label","rows"}]}: what people are shown; of many labels the
 * first HN_LABELS_SHOWN. `names`: in this order, or NULL; `multi_hot`: they are the places of lists
 * of zeros and ones. New reference. */
json_t *hn_label_survey_json(const struct hn_label_survey *survey, enum hn_objective objective,
    const json_t *names, bool multi_hot);

#endif
