/* The tasks that a model can be adapted to. */
#ifndef HN_ENGINE_DATA_TASK_H
#define HN_ENGINE_DATA_TASK_H

enum hn_task {
    HN_TASK_GENERATION,
    HN_TASK_CLASSIFICATION,
    HN_TASK_QA,
    HN_TASK_TOKEN_CLASSIFICATION,
    HN_TASK_PREFERENCE
};
const char *hn_task_name(enum hn_task task);
int hn_task_from_name(const char *name); /* -1 when unknown */

#endif
