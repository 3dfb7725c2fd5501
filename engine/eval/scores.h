/*
 * What each validation row scored in one evaluation, so that runs can be compared row by row later.
 *
 * A score file is a header (magic, version, columns, number of labels and rows, objective, sha256
 * of the rows), one record of fixed size a row, and for classes of at most HN_SCORES_CLASSES labels
 * the probability of each label in each row, all little-endian. Two files with the same
 * sha256 tell of the same rows in the same order. Its bytes depend on nothing but the run.
 */
#ifndef HN_ENGINE_EVAL_SCORES_H
#define HN_ENGINE_EVAL_SCORES_H

#include "engine/base/error.h"
#include "engine/base/file.h"
#include "engine/model/model.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Of one row of the data. What its objective does not have is 0 and is not in the file. */
struct hn_score {
    uint32_t line; /* in its file, from 1 */
    /* mean over the row's targets, and the sum of their weights; 0 and 0 without a target */
    float loss, weight;
    uint8_t right;            /* classes, labels, tags: all of the row; spans: exact match */
    int32_t label, predicted; /* classes: their numbers; tags: entities in the data, and found */
    float value; /* values: the predicted one; tags: entities found rightly; spans: F1 */
    float truth; /* values: the given one */
    float p;     /* classes: probability of `label` */
};

struct hn_scores {
    struct hn_score *rows; /* [n] in the order of the data */
    size_t n, n_labels;
    float *probabilities; /* [n][n_labels], or NULL: not classes, too many, or an older file */
    enum hn_objective objective;
    char sha256[HN_SHA256_HEX]; /* of the rows' contents in their order (data/row_set.h) */
};

#define HN_SCORES_CLASSES 32

/* Bytes of score files that a run keeps of all its evaluations; where they would be more, it keeps
 * those of the best, the newest and the ones at which it was stopped. */
#define HN_SCORES_KEPT ((size_t)64 << 20)

/* Whether files of such an objective have probabilities. */
bool hn_scores_have_probabilities(enum hn_objective objective, size_t labels);
/* Bytes of the file for so many rows. */
size_t hn_scores_bytes(enum hn_objective objective, size_t labels, size_t rows);
/* Durably, under its name only when it is whole. */
int hn_scores_write(const struct hn_scores *scores, const char *path, struct hn_error *err);
/* Safe on any bytes: HN_E_INVALID_FIELD where it is no score file. Owner calls hn_scores_finish. */
int hn_scores_read(struct hn_scores *ret, const char *path, struct hn_error *err);
void hn_scores_finish(struct hn_scores *scores);

#endif
