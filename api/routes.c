/* Every path of the API: method, pattern, handler, scope, body, known query parameters, one line
 * about it. */
#include "api/routes.h"
#include "api/handlers.h"
#include "api/openai.h"

#include <string.h>

#define LOOP HN_ON_LOOP
#define POOL HN_ON_POOL
#define WAIT HN_ON_WAITING /* for a helper */
#define NO HN_BODY_NONE
#define JSON HN_BODY_JSON
#define FORM HN_BODY_FORM
#define RAW HN_BODY_FILE

static const struct hn_route routes[] = {
    {"GET", "/", hn_web_file, HN_SCOPE_OPEN, NO, LOOP, "", "the dashboard"},
    {"GET", "/web", hn_web_file, HN_SCOPE_OPEN, NO, LOOP, "", "the dashboard"},
    {"GET", "/web/{file}", hn_web_file, HN_SCOPE_OPEN, NO, LOOP, "", "the dashboard's files"},
    {"GET", "/manual", hn_web_manual, HN_SCOPE_OPEN, NO, LOOP, "", "the manual"},
    {"GET", "/manual/", hn_web_manual, HN_SCOPE_OPEN, NO, LOOP, "", "the manual"},
    {"GET", "/manual/{page}", hn_web_manual, HN_SCOPE_OPEN, NO, LOOP, "", "a page of the manual"},
    {"GET", "/healthz", hn_system_health, HN_SCOPE_OPEN, NO, LOOP, "", "the process is alive"},
    {"GET", "/readyz", hn_system_ready, HN_SCOPE_OPEN, NO, LOOP, "",
        "jobs are taken; 503 while shutting down"},
    {"GET", "/metrics", hn_system_metrics, HN_SCOPE_READ, NO, LOOP, "",
        "figures of the daemon, for Prometheus"},
    {"GET", "/openapi.json", hn_system_openapi, HN_SCOPE_OPEN, NO, LOOP, "", "this description"},

    {"POST", "/datasets", hn_datasets_create, HN_SCOPE_SUBMIT, FORM | RAW, WAIT,
        "name,format,columns,on_error,dry_run",
        "upload a data set; the body is the file, raw or as multipart part `file`"},
    {"GET", "/datasets", hn_datasets_list, HN_SCOPE_READ, NO, POOL, "limit,after",
        "data sets, newest first"},
    {"GET", "/datasets/{id}", hn_datasets_get, HN_SCOPE_READ, NO, POOL, "", "one data set"},
    {"DELETE", "/datasets/{id}", hn_datasets_delete, HN_SCOPE_SUBMIT, NO, POOL, "",
        "delete a data set that no job needs"},
    {"GET", "/datasets/{id}/preview", hn_datasets_preview, HN_SCOPE_READ, NO, WAIT,
        "model,row,template", "the tokens of one row: what is trained, masked, truncated"},
    {"GET", "/datasets/{id}/rows", hn_datasets_rows, HN_SCOPE_READ, NO, WAIT, "lines",
        "rows by the lines they begin in: what is to be read, and the label"},
    {"POST", "/datasets/{id}/corrections", hn_datasets_correct, HN_SCOPE_SUBMIT, JSON, WAIT, "",
        "make a corrected copy of a data set: rows left out, labels set, all else as it was"},
    {"GET", "/datasets/{id}/report", hn_datasets_report, HN_SCOPE_READ, NO, WAIT,
        "model,against,wait",
        "what a data set is worth: duplicates, leaks, secrets, lengths, diversity; 202 while it is "
        "made"},

    {"POST", "/models", hn_models_create, HN_SCOPE_ADMIN, JSON | FORM | RAW, WAIT, "name",
        "take in a model from an allowed folder of the server, or upload it"},
    {"GET", "/models", hn_models_list, HN_SCOPE_READ, NO, POOL, "limit,after",
        "base models, newest first"},
    {"GET", "/models/available", hn_models_found, HN_SCOPE_ADMIN, NO, POOL, "",
        "models in the folders of model_dirs that could be taken in"},
    {"GET", "/models/{name}", hn_models_get, HN_SCOPE_READ, NO, POOL, "", "one base model"},
    {"DELETE", "/models/{name}", hn_models_delete, HN_SCOPE_ADMIN, NO, POOL, "",
        "delete a model that no job needs"},
    {"POST", "/models/{name}/predict", hn_models_predict, HN_SCOPE_SUBMIT, JSON, WAIT, "",
        "answers of the base model"},
    {"POST", "/models/{name}/evaluate", hn_models_evaluate, HN_SCOPE_SUBMIT, JSON, WAIT, "wait",
        "loss and metrics of the base model on a data set, also of answers it writes"},

    {"POST", "/jobs", hn_jobs_create, HN_SCOPE_SUBMIT, JSON | FORM, WAIT, "dry_run",
        "submit a job: JSON, or multipart with the data file in the same call"},
    {"GET", "/jobs", hn_jobs_list, HN_SCOPE_READ, NO, POOL,
        "status,model,task,dataset,sweep,metadata[],q,sort,order,limit,after", "jobs"},
    {"GET", "/jobs/{id}", hn_jobs_get, HN_SCOPE_READ, NO, LOOP, "", "one job"},
    {"PATCH", "/jobs/{id}", hn_jobs_patch, HN_SCOPE_SUBMIT, JSON, POOL, "",
        "change name, metadata or priority"},
    {"DELETE", "/jobs/{id}", hn_jobs_delete, HN_SCOPE_SUBMIT, NO, POOL, "",
        "delete an ended job and its files"},
    {"POST", "/jobs/{id}/cancel", hn_jobs_cancel, HN_SCOPE_SUBMIT, NO, POOL, "", "end a job"},
    {"POST", "/jobs/{id}/pause", hn_jobs_pause, HN_SCOPE_SUBMIT, NO, POOL, "",
        "stop a job so that it can go on later"},
    {"POST", "/jobs/{id}/resume", hn_jobs_resume, HN_SCOPE_SUBMIT, NO, POOL, "",
        "queue a paused job again"},
    {"GET", "/jobs/{id}/metrics", hn_jobs_metrics, HN_SCOPE_READ, NO, POOL,
        "after,limit,format,points,from,to", "training and validation metrics as JSON or CSV"},
    {"GET", "/jobs/{id}/events", hn_jobs_events, HN_SCOPE_READ, NO, LOOP, "after,limit,type",
        "all that happened; streams with Accept: text/event-stream"},
    {"GET", "/jobs/{id}/log", hn_jobs_log, HN_SCOPE_READ, NO, POOL, "", "the trainer's own log"},
    {"GET", "/jobs/{id}/fit", hn_jobs_fit, HN_SCOPE_READ, NO, WAIT, "",
        "whether it fits well, overfits, underfits …: the verdict, its evidence, and the job that "
        "would mend it"},
    {"POST", "/jobs/{id}/next", hn_jobs_next, HN_SCOPE_SUBMIT, NO, WAIT, "",
        "submit the job that the verdict on its fit proposes"},
    {"GET", "/jobs/{id}/examples", hn_jobs_examples, HN_SCOPE_READ, NO, WAIT,
        "sort,epoch,step,limit,after",
        "training rows with what they cost at every epoch: those that may be mislabelled, hard, "
        "forgotten or memorised first, or those of one step"},
    {"GET", "/jobs/{id}/checkpoints", hn_jobs_checkpoints, HN_SCOPE_READ, NO, POOL, "",
        "checkpoints that are kept"},
    {"GET", "/jobs/{id}/checkpoints/{step}/artifacts", hn_checkpoint_artifacts, HN_SCOPE_READ, NO,
        WAIT, "", "files of a checkpoint's result, made when they are first asked for"},
    {"GET", "/jobs/{id}/checkpoints/{step}/artifacts.tar", hn_checkpoint_artifacts_tar,
        HN_SCOPE_READ, NO, WAIT, "", "all of them as one archive"},
    {"GET", "/jobs/{id}/checkpoints/{step}/artifacts/{path*}", hn_checkpoint_artifact,
        HN_SCOPE_READ, NO, WAIT, "", "one file, also in parts"},
    {"GET", "/jobs/{id}/artifacts", hn_jobs_artifacts, HN_SCOPE_READ, NO, POOL, "limit,after",
        "files of the result"},
    {"GET", "/jobs/{id}/artifacts.tar", hn_jobs_artifacts_tar, HN_SCOPE_READ, NO, POOL, "",
        "all of them as one archive"},
    {"GET", "/jobs/{id}/artifacts/{path*}", hn_jobs_artifact, HN_SCOPE_READ, NO, POOL, "",
        "one file, also in parts"},
    {"POST", "/jobs/{id}/predict", hn_jobs_predict, HN_SCOPE_SUBMIT, JSON, WAIT, "",
        "answers of the result or of a checkpoint"},
    {"POST", "/jobs/{id}/evaluate", hn_jobs_evaluate, HN_SCOPE_SUBMIT, JSON, WAIT, "wait",
        "loss and metrics of the result or of a checkpoint on a data set, also of answers it "
        "writes"},
    {"POST", "/jobs/{id}/verify", hn_jobs_verify, HN_SCOPE_SUBMIT, JSON, POOL, "",
        "run a succeeded job again, or its last steps, as a job of the lowest priority, to see "
        "whether the same bytes come out"},
    {"GET", "/jobs/{id}/verify", hn_jobs_verifications, HN_SCOPE_READ, NO, POOL, "",
        "its verifications, newest first: of every file the sha256 as told, as stored now, and as "
        "found again; and of the state at the end"},

    {"POST", "/sweeps", hn_sweeps_create, HN_SCOPE_SUBMIT, JSON, WAIT, "dry_run",
        "begin an experiment: a search, folds, sizes of data or an ablation, whose trials are "
        "jobs"},
    {"GET", "/sweeps", hn_sweeps_list, HN_SCOPE_READ, NO, POOL, "limit,after",
        "sweeps, newest first"},
    {"GET", "/sweeps/{id}", hn_sweeps_get, HN_SCOPE_READ, NO, POOL, "",
        "one sweep: its progress, its best trial, and what its trials say together"},
    {"DELETE", "/sweeps/{id}", hn_sweeps_delete, HN_SCOPE_SUBMIT, NO, POOL, "",
        "forget an ended sweep; its jobs stay"},
    {"POST", "/sweeps/{id}/cancel", hn_sweeps_cancel, HN_SCOPE_SUBMIT, NO, POOL, "",
        "end a sweep and its jobs"},
    {"POST", "/sweeps/{id}/pause", hn_sweeps_pause, HN_SCOPE_SUBMIT, NO, POOL, "",
        "pause a sweep and its jobs"},
    {"POST", "/sweeps/{id}/resume", hn_sweeps_resume, HN_SCOPE_SUBMIT, NO, POOL, "",
        "go on with a paused sweep"},
    {"GET", "/sweeps/{id}/trials", hn_sweeps_trials, HN_SCOPE_READ, NO, POOL, "format",
        "its trials with their settings and results, as JSON or CSV"},
    {"GET", "/sweeps/{id}/rows", hn_sweeps_rows, HN_SCOPE_READ, NO, WAIT, "sort",
        "of folds: every row as predicted by the run that did not train on it, as lines of JSON; "
        "sort=mislabelled: the likeliest wrong labels first"},
    {"GET", "/sweeps/{id}/events", hn_sweeps_events, HN_SCOPE_READ, NO, LOOP, "after,limit,type",
        "all that happened; streams with Accept: text/event-stream"},
    {"GET", "/compare", hn_compare_get, HN_SCOPE_READ, NO, WAIT, "jobs,models,dataset,metric",
        "results on the same validation rows side by side: differences, intervals, tests"},

    {"GET", "/v1/models", hn_openai_models_list, HN_SCOPE_READ, NO, POOL, "",
        "OpenAI's API: bases, results of jobs and their checkpoints"},
    {"GET", "/v1/models/{name*}", hn_openai_models_get, HN_SCOPE_READ, NO, POOL, "",
        "OpenAI's API: one model"},
    {"POST", "/v1/files", hn_openai_files_create, HN_SCOPE_SUBMIT, FORM, WAIT, "",
        "OpenAI's API: upload a training file, as multipart parts `file` and `purpose`"},
    {"GET", "/v1/files", hn_openai_files_list, HN_SCOPE_READ, NO, POOL, "purpose,limit,order,after",
        "OpenAI's API: data sets as files"},
    {"GET", "/v1/files/{file}", hn_openai_files_get, HN_SCOPE_READ, NO, POOL, "",
        "OpenAI's API: one file"},
    {"GET", "/v1/files/{file}/content", hn_openai_files_content, HN_SCOPE_READ, NO, POOL, "",
        "OpenAI's API: the bytes of a file, or a job's metrics as CSV"},
    {"DELETE", "/v1/files/{file}", hn_openai_files_delete, HN_SCOPE_SUBMIT, NO, POOL, "",
        "OpenAI's API: delete a file that no job needs"},
    {"POST", "/v1/fine_tuning/jobs", hn_openai_jobs_create, HN_SCOPE_SUBMIT, JSON, WAIT, "",
        "OpenAI's API: submit a job; fields of a native one in x_hone"},
    {"GET", "/v1/fine_tuning/jobs", hn_openai_jobs_list, HN_SCOPE_READ, NO, POOL,
        "limit,after,metadata[]", "OpenAI's API: jobs, newest first"},
    {"GET", "/v1/fine_tuning/jobs/{job}", hn_openai_jobs_get, HN_SCOPE_READ, NO, POOL, "",
        "OpenAI's API: one job"},
    {"POST", "/v1/fine_tuning/jobs/{job}/cancel", hn_openai_jobs_cancel, HN_SCOPE_SUBMIT, NO, POOL,
        "", "OpenAI's API: end a job"},
    {"POST", "/v1/fine_tuning/jobs/{job}/pause", hn_openai_jobs_pause, HN_SCOPE_SUBMIT, NO, POOL,
        "", "OpenAI's API: stop a job so that it can go on later"},
    {"POST", "/v1/fine_tuning/jobs/{job}/resume", hn_openai_jobs_resume, HN_SCOPE_SUBMIT, NO, POOL,
        "", "OpenAI's API: queue a paused job again"},
    {"GET", "/v1/fine_tuning/jobs/{job}/events", hn_openai_jobs_events, HN_SCOPE_READ, NO, POOL,
        "limit,after", "OpenAI's API: what happened, newest first"},
    {"GET", "/v1/fine_tuning/jobs/{job}/checkpoints", hn_openai_jobs_checkpoints, HN_SCOPE_READ, NO,
        POOL, "limit,after", "OpenAI's API: checkpoints that are kept, newest first"},
    {"POST", "/v1/chat/completions", hn_openai_chat, HN_SCOPE_SUBMIT, JSON, WAIT, "",
        "OpenAI's API: the next message of a conversation, also as a stream"},
    {"POST", "/v1/completions", hn_openai_completions, HN_SCOPE_SUBMIT, JSON, WAIT, "",
        "OpenAI's API: how texts go on, also as a stream"},
    {"POST", "/v1/embeddings", hn_openai_embeddings, HN_SCOPE_SUBMIT, JSON, WAIT, "",
        "OpenAI's API: texts as vectors, by an encoder"},

    {"GET", "/evaluations", hn_evaluations_list, HN_SCOPE_READ, NO, POOL, "job,model,dataset",
        "evaluations that are kept, newest first"},
    {"GET", "/evaluations/{id}", hn_evaluations_get, HN_SCOPE_READ, NO, POOL, "",
        "an evaluation as it was answered; 202 while it is made"},
    {"GET", "/evaluations/{id}/rows", hn_evaluations_rows, HN_SCOPE_READ, NO, POOL, "",
        "its rows as lines of JSON: what was there, what was predicted, loss, whether it is right"},
    {"DELETE", "/evaluations/{id}", hn_evaluations_delete, HN_SCOPE_SUBMIT, NO, POOL, "",
        "forget an evaluation, or end one that is made"},
};

static void reply_error(struct hn_request *req, const struct hn_error *err, const json_t *details) {
    bool openai = strncmp(req->path, "/v1/", 4) == 0;
    (openai ? hn_openai_error : hn_reply_error)(req, err, details);
}

static const struct hn_api api = {routes, sizeof routes / sizeof routes[0], reply_error};

const struct hn_api *hn_api_table(void) {
    return &api;
}
