/*
 * What the routes below /v1 share: OpenAI's forms of errors, times and names. Their objects are
 * views of the native ones: nothing is kept for them alone.
 *
 * A model's id is a base's name; a job's result is `ft:BASE:hone:NAME:ID`, where NAME is the job's
 * name in lower case with dashes and ID the sixteen characters of its id behind "job_"; a
 * checkpoint has `:ckpt-step-N` behind that. Only BASE's last part counts when one is looked up:
 * ID, and N.
 */
#ifndef HN_API_OPENAI_H
#define HN_API_OPENAI_H

#include "api/reply.h"
#include "server/store/store_jobs.h"

#define HN_OPENAI_NAME 256 /* of a model */
#define HN_OPENAI_ID 48    /* of a file or a job */

/* {"error":{"message","type","param","code"}} with the status that OpenAI's clients expect: what
 * they would send again in vain has none of 408, 409, 429 and 5xx. */
void hn_openai_error(struct hn_request *req, const struct hn_error *err, const json_t *details);
/* The same as the text of an event in a stream. Caller frees. */
char *hn_openai_error_text(const struct hn_error *err);
/* {"object":"list","data","first_id","last_id","has_more"}; takes `data` over. */
int hn_openai_reply_list(struct hn_request *req, json_t *data, bool more, struct hn_error *err);
/* Seconds since 1970 of a time as the store has it; 0 for NULL. */
int64_t hn_openai_time(const char *time);
/* The id of a job's result, or of its checkpoint of `step` where that is not negative. */
void hn_openai_model_name(const struct hn_job *job, int64_t step, char ret[HN_OPENAI_NAME]);
/* The job that a model id names into `id`, and the checkpoint, -1 for the exported result; false
 * where it is none of a job. */
bool hn_openai_model_job(const char *name, char id[HN_ID_SIZE], int64_t *ret_step);
/* "model" and "source" of the helper's parameters for a model id, which the key must reach. */
int hn_openai_model(struct hn_request *req, const char *name, json_t *params, struct hn_error *err);

/* The data set that a file id names into `ret`; false where it is none. And the other way round. */
bool hn_openai_file_dataset(const char *id, char ret[HN_ID_SIZE]);
void hn_openai_file_name(const char *dataset, char ret[HN_OPENAI_ID]);
/* The id of the file with a job's metrics; and that file, appended to `ret`. */
void hn_openai_result_file(const char *job, char ret[HN_OPENAI_ID]);
int hn_openai_metrics(
    struct hn_request *req, const struct hn_job *job, struct hn_buf *ret, struct hn_error *err);
/* The job that the path names ("ftjob-…"), within reach; finish it always. */
int hn_openai_job_load(struct hn_request *req, struct hn_job *ret, struct hn_error *err);

#endif
