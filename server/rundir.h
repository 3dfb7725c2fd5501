/*
 * Run directories: STATE/runs/<job id>/ with spec.json and inputs/ made from the job's record.
 */
#ifndef HN_RUNDIR_H
#define HN_RUNDIR_H

#include "server/seen.h"
#include "server/state.h"
#include "server/store_jobs.h"

/* Creates what is missing; doing it again changes nothing but the host part of spec.json. `threads` fills
 * host.threads where the job left it to us. HN_E_MODEL_INVALID or
 * HN_E_DATASET_INVALID when a file is not what was taken in. */
int hn_rundir_prepare(struct hn_seen *seen, const char *state, const struct hn_job *job, struct hn_db *db, int64_t threads,
    struct hn_error *err);
/* Removes what a trainer or a preparation left half-written when it was killed. Only while no trainer lives. */
void hn_rundir_tidy(const char *run_dir);
/* Links `from` to `to` in the folder of a job that waits, for good when it returns: what it is of may be deleted, or the power
 * cut, before the job begins. */
int hn_rundir_keep(const char *from, const char *to, struct hn_error *err);
/* The checkpoint of that step, or a file in it; false when the path is too long. Whether it is there is another question. */
bool hn_rundir_checkpoint(char ret[HN_PATH_SIZE], const char *state, const char *job, int64_t step, const char *file);
#define HN_MODEL_FILES 512 /* of one model, at most */
/* The content of the model's files, and of a data set's, compared with what was taken in: HN_E_MODEL_INVALID, HN_E_DATASET_INVALID.
 * `seen` NULL: read whole. */
int hn_model_check(struct hn_seen *seen, const char *state, const json_t *model, struct hn_error *err);
int hn_dataset_check(struct hn_seen *seen, const char *state, const json_t *dataset, struct hn_error *err);
/* The model's path below STATE/models, for the helper. */
bool hn_model_path(char ret[HN_PATH_SIZE], const char *state, const json_t *model);

#endif
