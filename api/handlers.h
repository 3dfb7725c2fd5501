/*
 * Room api. The native routes: one table, one file a resource.
 *
 * Nouns: route, handler.
 * Ownership: Handlers own nothing beyond their request.
 * May include: engine/tables server/base server/care server/http server/jobs server/library
 *   server/process server/server.h server/store server/sweeps.
 */

/* The handlers of all resources, one file each; routes.c says what leads to them. All are
 * hn_handler_fn. */
#ifndef HN_API_HANDLERS_H
#define HN_API_HANDLERS_H

#include "api/reply.h"
#include "server/http/access.h"
#include "server/server.h"
#include "server/base/state.h"
#include "server/store/store_events.h"
#include "server/store/store_jobs.h"

int hn_datasets_create(struct hn_request *req, struct hn_error *err);
int hn_datasets_list(struct hn_request *req, struct hn_error *err);
int hn_datasets_get(struct hn_request *req, struct hn_error *err);
int hn_datasets_delete(struct hn_request *req, struct hn_error *err);
int hn_datasets_preview(struct hn_request *req, struct hn_error *err);
int hn_datasets_rows(struct hn_request *req, struct hn_error *err);
int hn_datasets_correct(struct hn_request *req, struct hn_error *err);
int hn_datasets_report(struct hn_request *req, struct hn_error *err);

int hn_models_create(struct hn_request *req, struct hn_error *err);
int hn_models_found(struct hn_request *req, struct hn_error *err);
int hn_models_list(struct hn_request *req, struct hn_error *err);
int hn_models_get(struct hn_request *req, struct hn_error *err);
int hn_models_delete(struct hn_request *req, struct hn_error *err);
int hn_models_predict(struct hn_request *req, struct hn_error *err);
int hn_models_evaluate(struct hn_request *req, struct hn_error *err);

int hn_jobs_create(struct hn_request *req, struct hn_error *err);
int hn_jobs_list(struct hn_request *req, struct hn_error *err);
int hn_jobs_get(struct hn_request *req, struct hn_error *err);
int hn_jobs_patch(struct hn_request *req, struct hn_error *err);
int hn_jobs_delete(struct hn_request *req, struct hn_error *err);
int hn_jobs_cancel(struct hn_request *req, struct hn_error *err);
int hn_jobs_pause(struct hn_request *req, struct hn_error *err);
int hn_jobs_resume(struct hn_request *req, struct hn_error *err);
int hn_jobs_metrics(struct hn_request *req, struct hn_error *err);
int hn_jobs_events(struct hn_request *req, struct hn_error *err);
int hn_jobs_log(struct hn_request *req, struct hn_error *err);
int hn_jobs_fit(struct hn_request *req, struct hn_error *err);
int hn_jobs_next(struct hn_request *req, struct hn_error *err);
int hn_jobs_examples(struct hn_request *req, struct hn_error *err);
int hn_jobs_checkpoints(struct hn_request *req, struct hn_error *err);
int hn_checkpoint_artifacts(struct hn_request *req, struct hn_error *err);
int hn_checkpoint_artifact(struct hn_request *req, struct hn_error *err);
int hn_checkpoint_artifacts_tar(struct hn_request *req, struct hn_error *err);
int hn_jobs_artifacts(struct hn_request *req, struct hn_error *err);
int hn_jobs_artifact(struct hn_request *req, struct hn_error *err);
int hn_jobs_artifacts_tar(struct hn_request *req, struct hn_error *err);
int hn_jobs_predict(struct hn_request *req, struct hn_error *err);
int hn_jobs_evaluate(struct hn_request *req, struct hn_error *err);
int hn_jobs_verify(struct hn_request *req, struct hn_error *err);
int hn_jobs_verifications(struct hn_request *req, struct hn_error *err);

int hn_sweeps_create(struct hn_request *req, struct hn_error *err);
int hn_sweeps_list(struct hn_request *req, struct hn_error *err);
int hn_sweeps_get(struct hn_request *req, struct hn_error *err);
int hn_sweeps_delete(struct hn_request *req, struct hn_error *err);
int hn_sweeps_cancel(struct hn_request *req, struct hn_error *err);
int hn_sweeps_pause(struct hn_request *req, struct hn_error *err);
int hn_sweeps_resume(struct hn_request *req, struct hn_error *err);
int hn_sweeps_trials(struct hn_request *req, struct hn_error *err);
int hn_sweeps_rows(struct hn_request *req, struct hn_error *err);
int hn_sweeps_events(struct hn_request *req, struct hn_error *err);
int hn_compare_get(struct hn_request *req, struct hn_error *err);

int hn_evaluations_list(struct hn_request *req, struct hn_error *err);
int hn_evaluations_get(struct hn_request *req, struct hn_error *err);
int hn_evaluations_rows(struct hn_request *req, struct hn_error *err);
int hn_evaluations_delete(struct hn_request *req, struct hn_error *err);

int hn_openai_files_create(struct hn_request *req, struct hn_error *err);
int hn_openai_files_list(struct hn_request *req, struct hn_error *err);
int hn_openai_files_get(struct hn_request *req, struct hn_error *err);
int hn_openai_files_content(struct hn_request *req, struct hn_error *err);
int hn_openai_files_delete(struct hn_request *req, struct hn_error *err);
int hn_openai_jobs_create(struct hn_request *req, struct hn_error *err);
int hn_openai_jobs_list(struct hn_request *req, struct hn_error *err);
int hn_openai_jobs_get(struct hn_request *req, struct hn_error *err);
int hn_openai_jobs_cancel(struct hn_request *req, struct hn_error *err);
int hn_openai_jobs_pause(struct hn_request *req, struct hn_error *err);
int hn_openai_jobs_resume(struct hn_request *req, struct hn_error *err);
int hn_openai_jobs_events(struct hn_request *req, struct hn_error *err);
int hn_openai_jobs_checkpoints(struct hn_request *req, struct hn_error *err);
int hn_openai_models_list(struct hn_request *req, struct hn_error *err);
int hn_openai_models_get(struct hn_request *req, struct hn_error *err);
int hn_openai_chat(struct hn_request *req, struct hn_error *err);
int hn_openai_completions(struct hn_request *req, struct hn_error *err);
int hn_openai_embeddings(struct hn_request *req, struct hn_error *err);

int hn_system_health(struct hn_request *req, struct hn_error *err);
int hn_system_ready(struct hn_request *req, struct hn_error *err);
int hn_system_metrics(struct hn_request *req, struct hn_error *err);
int hn_system_openapi(struct hn_request *req, struct hn_error *err);
int hn_web_file(struct hn_request *req, struct hn_error *err);
int hn_web_manual(struct hn_request *req, struct hn_error *err);

/* Shared by several resources. */
/* by params[0]; finish it always */
int hn_job_load(struct hn_request *req, struct hn_job *ret, struct hn_error *err);
/* The base that the job's run directory links: there also after the model was deleted from the
 * library. HN_E_CONFLICT before the job has started. */
int hn_job_model(struct hn_request *req, const struct hn_job *job, const char *run_dir,
    char path[HN_PATH_SIZE], struct hn_error *err);
/* Fills "model" and "source" of the helper's params for a job's result or a checkpoint of it.
 * `step` as in a request. */
int hn_job_source(struct hn_request *req, const json_t *step, json_t *params, struct hn_error *err);
/* metadata[k]=v of the query into the filter. */
void hn_job_filter_metadata(const struct hn_request *req, struct hn_job_filter *filter);
/* The library, with helpers asked on the account of the request. */
struct hn_library hn_request_library(const struct hn_request *req);
/* The job as JSON (contract section 2), NULL when out of memory; the caller frees it. `version` of
 * the store is from before the job was read, so that what is kept is as new, or newer. */
struct hn_kept;
char *hn_job_text(
    struct hn_db *db, struct hn_kept *kept, const struct hn_job *job, int64_t version);
int hn_job_reply(struct hn_request *req, int status, const char *id, struct hn_error *err);
/* 201 with the new job and where it is. */
int hn_job_reply_created(struct hn_request *req, const char *id, struct hn_error *err);
/* Streams the rows of the range, at most `limit`, or about `points` of them, as CSV. */
struct hn_metric_range;
int hn_metrics_csv(struct hn_request *req, const struct hn_metric_range *range, int64_t limit,
    int64_t points, struct hn_error *err);
/* The JSON text of a query or form field as an object; NULL text gives NULL. */
int hn_columns_parse(const char *text, json_t **ret, struct hn_error *err);

#endif
