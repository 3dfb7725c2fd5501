/*
 * Room engine/hyperparams. The table of hyperparameters as a struct, read from and written as JSON.
 *
 * Nouns: hyperparameters; a part of them (of the run, or of the host).
 * Ownership: Plain values without memory of their own.
 * May include: engine/base engine/tables.
 */

/*
 * Hyperparameters: the struct, its JSON reader and writer, all made from hyperparams.def.
 *
 * Safe on hostile JSON; used by the daemon to refuse early and by the engine to read a run's spec.
 */
#ifndef HN_ENGINE_HYPERPARAMS_H
#define HN_ENGINE_HYPERPARAMS_H

#include "engine/base/error.h"

#include <jansson.h>
#include <math.h>
#include <stdbool.h>
#include <stdint.h>

#define HN_AUTO_INT INT64_MIN       /* "auto" in an AUTO_INT */
#define HN_NONE_INT (INT64_MIN + 1) /* null in a NULL_INT */
#define HN_TARGETS_MAX 512          /* bytes of the comma-joined module list */

enum hn_schedule {
    HN_SCHEDULE_LINEAR,
    HN_SCHEDULE_COSINE,
    HN_SCHEDULE_CONSTANT,
    HN_SCHEDULE_RISING
};
#define HN_RISING_DECADES 5 /* of HN_SCHEDULE_RISING: it begins at 10^-5 of the peak */
enum hn_overflow { HN_OVERFLOW_ERROR, HN_OVERFLOW_DROP, HN_OVERFLOW_TRUNCATE };
enum hn_loss_on { HN_LOSS_ON_COMPLETION, HN_LOSS_ON_ALL };
/* What may decide which checkpoint is the best: the values of metric_for_best behind "auto". */
/* clang-format off */
#define HN_METRICS(X) \
    X(val_loss) X(val_perplexity) X(val_token_accuracy) X(val_accuracy) X(val_f1) \
    X(val_f1_macro) X(val_f1_weighted) X(val_precision) X(val_recall) X(val_mcc) X(val_auc) \
    X(val_ece) X(val_mse) X(val_r2) X(val_spearman) X(val_pearson) X(val_exact_match) \
    X(val_entity_f1) X(val_rouge_l) X(val_chrf) X(val_bleu)
/* clang-format on */
#define HN_METRIC_ALTERNATIVE(name) "|" #name
enum { HN_METRIC_AUTO = 0 };

#define HN_CTYPE_INT int64_t
#define HN_CTYPE_AUTO_INT int64_t
#define HN_CTYPE_NULL_INT int64_t
#define HN_CTYPE_FLOAT double
#define HN_CTYPE_AUTO_FLOAT double /* NaN stands for "auto"; JSON cannot say NaN */
#define HN_CTYPE_NULL_FLOAT double /* NaN stands for null */
#define HN_CTYPE_BOOL bool
#define HN_CTYPE_ENUM int
#define HN_CTYPE_TARGETS struct hn_targets

struct hn_targets {
    char names[HN_TARGETS_MAX]; /* "all-linear" or module names joined by commas, sorted */
};

struct hn_hyperparams {
#define HN_HP(name, TYPE, def, min, max, PART, help) HN_CTYPE_##TYPE name;
#include "engine/hyperparams.def"
#undef HN_HP
};

enum hn_hp_part { HN_HP_RUN = 1, HN_HP_HOST = 2, HN_HP_ALL = 3 };

void hn_hyperparams_defaults(struct hn_hyperparams *hp);
/* Overwrites the fields that `object` names; unknown names are refused with the nearest known one.
 * `prefix` goes before the field's name in errors ("hyperparameters."). Numbers given as JSON
 * strings ("3", from forms) are not accepted. */
int hn_hyperparams_read(
    struct hn_hyperparams *hp, const json_t *object, const char *prefix, struct hn_error *err);
/* A new object with the fields of `parts`, in the table's order. HN_HP_RUN alone, a run's identity,
 * is without a NULL_FLOAT that is null: such runs are what they were before there were any. */
json_t *hn_hyperparams_write(const struct hn_hyperparams *hp, enum hn_hp_part parts);
/* Whether there is one of that name. */
bool hn_hyperparams_know(const char *name);
/* [{"name","type","default","min","max","values","help"}] for the form and the OpenAPI schema. */
json_t *hn_hyperparams_schema(void);
const char *hn_metric_name(int metric);      /* "val_loss" …, the names of metric_for_best */
bool hn_metric_is_smaller(const char *name); /* whether less of it is better */

static inline bool hn_is_auto(double value) {
    return isnan(value);
}

#endif
