/*
 * Plans that were asked for lately. A plan depends on nothing but its parameters, which name models
 * and data by their hashes: the same job submitted again, or tried with dry_run before, is not
 * planned twice. All who ask share one tree, which nobody may change.
 */
#ifndef HN_SERVER_JOBS_PLAN_CACHE_H
#define HN_SERVER_JOBS_PLAN_CACHE_H

#include "server/process/helper.h"

struct hn_plans;

int hn_plans_create(struct hn_helper *helper, struct hn_plans **ret, struct hn_error *err);
void hn_plans_destroy(struct hn_plans *plans);
/* The helper's job.plan, or what it said to the same parameters lately. New reference to what
 * others read too: not to be changed. "texts" has its parts as they stand in a job's record.
 * *ret_details as of hn_helper_call. Blocks as that does. `asker` NULL: the daemon itself. */
int hn_plan_ask(struct hn_plans *plans, const struct hn_asker *asker, const json_t *params,
    json_t **ret, json_t **ret_details, struct hn_error *err);

#endif
