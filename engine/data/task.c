/* See task.h. */
#include "engine/data/task.h"

#include <stddef.h>
#include <string.h>

static const char *const task_names[] = {
    "generation", "classification", "qa", "token_classification", "preference"};

const char *hn_task_name(enum hn_task task) {
    return task_names[task];
}

int hn_task_from_name(const char *name) {
    for (size_t i = 0; i < sizeof task_names / sizeof task_names[0]; i++)
        if (strcmp(task_names[i], name) == 0)
            return (int)i;
    return -1;
}
