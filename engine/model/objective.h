/* Objectives: what a model can be trained for; made from objective.def. */
#ifndef HN_ENGINE_MODEL_OBJECTIVE_H
#define HN_ENGINE_MODEL_OBJECTIVE_H

#include "engine/model/model.h"

struct hn_objective_info {
    const char *name;
    enum hn_head_kind head; /* HN_HEADS: none but the vocabulary's */
    bool labelled, has_values;
    const char *head_task, *auto_class, *problem_type, *peft_type;
    const char *best_metric, *other_metrics;
    const char *input;
};
extern const struct hn_objective_info hn_objectives[HN_OBJECTIVES];

#endif
