/*
 * Run directories: STATE/runs/<job id>/ with spec.json and inputs/ made from the job's record.
 */
#ifndef HN_SERVER_PROCESS_RUNDIR_H
#define HN_SERVER_PROCESS_RUNDIR_H

#include "server/base/blob.h"
#include "server/process/confine.h"
#include "server/base/seen.h"
#include "server/base/state.h"
#include "server/store/store_jobs.h"

/*
 * Opens what a trainer may have made, `path` relative to the run directory, with nothing on the way
 * followed that is a link: a regular file, or a folder where flags has O_DIRECTORY. HN_E_NOT_FOUND
 * when it is not there, HN_E_CONFLICT when it is something else. Every opening of something in a
 * run directory goes through here.
 */
int hn_rundir_open(
    const char *run_dir, const char *path, int flags, int *ret_fd, struct hn_error *err);
/* The name under which an open file can be opened, linked and read again without looking up its
 * path again. */
#define HN_FD_PATH_SIZE 32
const char *hn_fd_path(char ret[HN_FD_PATH_SIZE], int fd);

/*
 * What a confined trainer may do where: it reads its run directory and writes in four folders and
 * one file of it, which this makes where they are missing. So it can neither replace the lock or a
 * folder, nor write through the hard links in inputs/ into the library: a right on a folder holds
 * for all below it, so there is none to write on the run directory itself.
 */
#define HN_RUNDIR_PLACES 7
int hn_rundir_places(const char *run_dir, char paths[HN_RUNDIR_PLACES][HN_PATH_SIZE],
    struct hn_place ret[HN_RUNDIR_PLACES], struct hn_error *err);

/* Creates what is missing; doing it again changes nothing but the host part of spec.json. `threads`
 * fills host.threads where the job left it to us. HN_E_MODEL_INVALID or
 * HN_E_DATASET_INVALID when a file is not what was taken in. */
int hn_rundir_prepare(struct hn_seen *seen, const char *state, const struct hn_job *job,
    struct hn_db *db, int64_t threads, struct hn_error *err);
/* Removes what a trainer or a preparation left half-written when it was killed. Only while no
 * trainer lives. */
void hn_rundir_tidy(const char *run_dir);
/* The tokenised rows, once the job has succeeded: one can read the texts in them. */
void hn_rundir_forget_tokens(const char *run_dir);
/* Places the file `from` of a run directory at `to` in the folder of a job that waits, for good
 * when it returns: what it is of may be deleted, or the power cut, before the job begins. A link
 * (HN_BLOB_SHARED) only where no trainer can write either of the two. */
int hn_rundir_keep(const char *run_dir, const char *from, const char *to, enum hn_blob_way way,
    struct hn_error *err);
/* The checkpoint of that step, or a file in it, relative to the run directory. */
#define HN_CHECKPOINT_SIZE 96
void hn_rundir_checkpoint(char ret[HN_CHECKPOINT_SIZE], int64_t step, const char *file);
/* Whether something is there that hn_rundir_open would open. */
bool hn_rundir_has(const char *run_dir, const char *path, int flags);
/* A job's checkpoints that are still kept, oldest first, as the contract has them. */
int hn_rundir_checkpoints(const char *state, struct hn_db *db, const struct hn_job *job,
    json_t **ret, struct hn_error *err);
#define HN_MODEL_FILES 512                             /* of one model, at most */
#define HN_MODEL_TEMPLATES "additional_chat_templates" /* a folder of Transformers' */
/* The content of the model's files, and of a data set's, compared with what was taken in:
 * HN_E_MODEL_INVALID, HN_E_DATASET_INVALID. `seen` NULL: read whole. */
int hn_model_check(
    struct hn_seen *seen, const char *state, const json_t *model, struct hn_error *err);
int hn_dataset_check(
    struct hn_seen *seen, const char *state, const json_t *dataset, struct hn_error *err);
/* The model's path below STATE/models, for the helper. */
bool hn_model_path(char ret[HN_PATH_SIZE], const char *state, const json_t *model);

#endif
