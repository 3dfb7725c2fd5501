/* dataset.report: what a data set is worth (engine/insight), with tokens where a model is named. */
#include "engine/base/json.h"
#include "engine/data/codec.h"
#include "engine/data/encode.h"
#include "engine/eval/embed.h"
#include "engine/families/load.h"
#include "engine/helper/call.h"
#include "engine/insight/embeddings.h"
#include "engine/insight/report.h"

#include <stdlib.h>
#include <string.h>
#include <time.h>

#define EMBED_WORK ((size_t)46000000000) /* parameters times rows */
#define EMBED_LEAST ((size_t)64)         /* rows */
#define TELL_MS 500                      /* between two signs of progress */

struct job {
    struct hn_helper_call *call;
    struct hn_dataset data, other;
    struct hn_model model;
    struct hn_codec codec;
    struct hn_embedder embedder;
    struct hn_encoded encoded;
    struct hn_ids ids;
    int64_t told; /* ms */
};

static int64_t now_ms(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

static int tell_progress(void *context, double done, struct hn_error *err) {
    struct job *job = context;
    int64_t now = now_ms();
    if (now - job->told < TELL_MS)
        return 0;
    job->told = now;
    return hn_helper_chunk(job->call, json_pack("{s:f}", "progress", done), err);
}

/* Texts of columns that no template joins, one behind the other. */
static int encode_texts(struct job *job, const json_t *value, struct hn_error *err) {
    const char *key;
    const json_t *item;
    size_t i;
    int rc = json_is_string(value) ? hn_codec_encode_bare(&job->codec, json_string_value(value),
                                         json_string_length(value), &job->ids, err)
                                   : 0;
    json_array_foreach((json_t *)(uintptr_t)value, i, item)
        rc = rc ? rc : encode_texts(job, item, err);
    json_object_foreach((json_t *)(uintptr_t)value, key, item)
        rc = rc || strcmp(key, "label") == 0 || strcmp(key, "tags") == 0 ||
                strcmp(key, "answers") == 0
            ? rc
            : encode_texts(job, item, err);
    return rc;
}

/* As the row is trained on where it is written; of other tasks, the texts of the row. */
static int count_tokens(void *context, const json_t *row, size_t *ret, struct hn_error *err) {
    struct job *job = context;
    enum hn_columns columns = job->data.columns;
    const struct hn_encode_options options = {.task = HN_TASK_GENERATION,
        .max_length = SIZE_MAX / 2,
        .vocab = SIZE_MAX,
        .encoder = job->model.arch->encoder,
        .token_types = 2};
    int rc;
    bool chat = columns == HN_ROWS_MESSAGES && job->codec.chat;
    if (chat || columns == HN_ROWS_PROMPT_COMPLETION || columns == HN_ROWS_TEXT) {
        rc = hn_row_encode(&job->codec, columns, row, &options, &job->encoded, err);
        *ret = job->encoded.length;
        return rc;
    }
    job->ids.n = 0;
    rc = encode_texts(job, row, err);
    *ret = job->ids.n;
    return rc;
}

static int embed(
    void *context, const char *const *texts, size_t n, float *ret, struct hn_error *err) {
    struct job *job = context;
    return hn_embedder_run(&job->embedder, texts, n, ret, err);
}

/* Rows of a set whose vectors take about so long as MiniLM's of all that are allowed. */
static size_t embedded_rows(const struct hn_model *model) {
    size_t rows = EMBED_WORK / (model->parameters ? model->parameters : 1);
    return rows < EMBED_LEAST ? EMBED_LEAST : rows > HN_EMBEDDED_ROWS ? HN_EMBEDDED_ROWS : rows;
}

/* The report's plan with what vectors need: theirs, a matrix of eigenvalues, the model's arena. */
static json_t *plan_of(const struct job *job, const struct hn_report_request *request) {
    json_t *plan = hn_report_plan(request->data, request->other), *bytes;
    size_t width = request->width, most = request->embedded,
           rows = request->data->n_rows < most ? request->data->n_rows : most;
    if (!plan || !request->embed || !(bytes = json_object_get(plan, "bytes")))
        return plan;
    if (request->other)
        rows += request->other->n_rows < most ? request->other->n_rows : most;
    json_integer_set(bytes,
        json_integer_value(bytes) +
            (json_int_t)(rows * width * sizeof(float) + width * width * 12 +
                job->embedder.phase.plan.arena_bytes));
    return plan;
}

static int open_data(
    struct job *job, const json_t *params, struct hn_dataset *data, struct hn_error *err) {
    const char *path;
    struct hn_dataset_options options;
    int rc = hn_helper_data(params, &path, &options, err);
    if (!rc && (rc = hn_dataset_open(data, path, &options, err)))
        hn_helper_issues(job->call, data);
    return rc;
}

static int open_model(struct job *job, const json_t *params, struct hn_error *err) {
    const char *path;
    int rc = hn_helper_path(params, &path, err);
    if (!rc)
        rc = hn_model_open(&job->model, path, err);
    if (!rc)
        rc = hn_codec_open(&job->model, &job->codec, err);
    return rc ? rc : hn_embedder_open(&job->embedder, &job->model, &job->codec, err);
}

int hn_helper_dataset_report(
    struct hn_helper_call *call, const json_t *params, json_t **ret, struct hn_error *err) {
    const json_t *other = json_object_get(params, "other"),
                 *model = json_object_get(params, "model");
    bool leaks = json_is_object(other), tokens = json_is_object(model);
    struct job *job = hn_calloc(1, sizeof *job);
    int64_t begun = now_ms();
    if (!job)
        return hn_fail(err, HN_E_INTERNAL, "out of memory");
    job->call = call;
    int rc = open_data(job, json_object_get(params, "data"), &job->data, err);
    if (!rc && leaks)
        rc = open_data(job, other, &job->other, err);
    if (!rc && tokens)
        rc = open_model(job, model, err);
    const struct hn_report_request request = {.data = &job->data,
        .other = leaks ? &job->other : NULL,
        .count_tokens = tokens ? count_tokens : NULL,
        .model_context = tokens ? job->model.config.context : 0,
        .embed = tokens ? embed : NULL,
        .width = tokens ? job->embedder.width : 0,
        .embedded = tokens ? embedded_rows(&job->model) : 0,
        .progress = tell_progress,
        .context = job};
    if (!rc)
        rc = hn_helper_chunk(
            call, json_pack("{s:f,s:o}", "progress", 0.0, "plan", plan_of(job, &request)), err);
    if (!rc)
        rc = hn_report_make(&request, ret, err);
    if (!rc)
        json_object_set_new(*ret, "seconds", json_real((double)(now_ms() - begun) / 1000));
    hn_encoded_finish(&job->encoded);
    hn_ids_free(&job->ids);
    hn_embedder_close(&job->embedder);
    hn_codec_finish(&job->codec);
    hn_model_close(&job->model);
    hn_dataset_close(&job->other);
    hn_dataset_close(&job->data);
    free(job);
    return rc;
}
