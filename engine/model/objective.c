/* See objective.h. */
#include "engine/model/objective.h"

const struct hn_objective_info hn_objectives[HN_OBJECTIVES] = {
#define HN_OBJECTIVE(NAME, name, HEAD, LABELLED, VALUES, head_task, auto_class, problem_type,   \
    peft_type, best, others, COLUMNS, encode, loss, measure, input)                             \
    [HN_OBJECTIVE_##NAME] = {name, HEAD, LABELLED, VALUES, head_task, auto_class, problem_type, \
        peft_type, best, others, input},
#include "engine/objective.def"
#undef HN_OBJECTIVE
};
