/* evaluate: loss and metrics of a base model, a job's result or a checkpoint of it on any data set;
 * of models that write, also metrics of the answers they write to the rows. */
#include "engine/data/prompt.h"
#include "engine/data/row_set.h"
#include "engine/eval/evaluate.h"
#include "engine/base/json.h"
#include "engine/eval/predictor.h"
#include "engine/helper/call.h"
#include "engine/eval/text_metrics.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define EVALUATE_TOKENS 1024
#define ANSWER_TOKENS 128 /* of a written answer, where the request does not say */
#define GROUP 64          /* rows that are answered before the caller hears of it */
#define TELLINGS 50       /* how often it hears of rows that are measured, at most */

struct evaluation {
    struct hn_dataset data;
    struct hn_examples examples;
    struct hn_phase phase;
    struct hn_compute compute;
    struct hn_evaluation result;
    struct hn_sampling writing;
    /* of written answers; none are wanted where there is nothing to write */
    struct hn_text_metrics texts;
    struct hn_helper_call *call;
    size_t told; /* of how many rows the caller heard */
};

static int refuse(struct hn_error *err, int code, const char *message) {
    hn_fail(err, code, "%s", message);
    hn_error_field(err, "generate");
    return code;
}

/* "generate": true or {"max_tokens","stop"}: all metrics of written answers. Absent: only SQuAD's,
 * for questions. */
static int read_generate(const struct hn_predictor *p, const json_t *generate, struct evaluation *e,
    struct hn_error *err) {
    static const char *const known[] = {"max_tokens", "stop", NULL};
    bool writes = p->loaded.model.head.objective == HN_OBJECTIVE_TOKENS,
         absent = !generate || json_is_null(generate);
    if (!absent && !json_is_boolean(generate) && !json_is_object(generate))
        return refuse(err, HN_E_INVALID_FIELD,
            "generate must be true, false or an object such as {\"max_tokens\": 64}");
    int rc = json_is_object(generate) ? hn_json_known(generate, known, "generate.", err) : 0;
    if (rc)
        return rc;
    if ((rc = hn_sampling_read(generate, ANSWER_TOKENS, &e->writing, err))) {
        hn_error_inside(err, "generate");
        return rc;
    }
    if (absent)
        e->texts.wanted = writes && e->data.columns == HN_ROWS_QA ? HN_TEXT_SQUAD : 0;
    else if (!json_is_false(generate))
        e->texts.wanted = HN_TEXT_ALL;
    if (e->texts.wanted && !writes)
        return refuse(
            err, HN_E_INVALID_FIELD, "this model answers with its head and writes no text");
    if (e->texts.wanted && e->data.columns == HN_ROWS_TEXT)
        return refuse(
            err, HN_E_INVALID_FIELD, "rows of plain text have no answer that could be written");
    return 0;
}

static int open_rows(
    struct hn_helper_call *call, const json_t *params, struct evaluation *e, struct hn_error *err) {
    const struct hn_predictor *p = *call->predictor;
    const char *path;
    struct hn_dataset_options options;
    struct hn_encode_options o = hn_loaded_encode_options(&p->loaded);
    int rc = hn_helper_data(json_object_get(params, "data"), &path, &options, err);
    if (!rc)
        rc = hn_dataset_open(&e->data, path, &options, err);
    if (rc == HN_E_DATASET_INVALID)
        hn_helper_issues(call, &e->data);
    if (!rc)
        rc = hn_examples_encode(
            &p->loaded.codec, &e->data, NULL, e->data.n_rows, &o, &e->examples, err);
    if (!rc) {
        struct hn_row_sum sum = {0};
        rc = hn_row_sum_add(&sum, &e->data, e->examples.rows, e->examples.n_rows, err);
        hn_row_sum_end(&sum, e->examples.sha256);
    }
    if (!rc && !e->examples.n_rows)
        rc = hn_fail(err, HN_E_DATASET_INVALID, "no row of the data set has a target to evaluate");
    return rc;
}

static int make_phase(const struct hn_predictor *p, struct evaluation *e, struct hn_error *err) {
    size_t tokens = EVALUATE_TOKENS;
    unsigned threads = (unsigned)sysconf(_SC_NPROCESSORS_ONLN);
    struct hn_graph_options graph = {.adapter = p->loaded.adapter.n ? &p->loaded.adapter : NULL};
    for (size_t i = 0; i < e->examples.n_rows; i++) {
        size_t n = hn_row_length(&e->examples, i);
        tokens = n > tokens ? n : tokens;
    }
    struct hn_plan_options plan = {
        .caps = {
            .dims = {[HN_DIM_TOKENS] = tokens, [HN_DIM_TARGETS] = tokens}, .threads = threads}};
    int rc = hn_phase_make(&e->phase, &p->loaded.model, &graph, &plan, err);
    return rc ? rc : hn_compute_init(&e->compute, threads, e->phase.plan.arena_bytes, tokens, err);
}

static void tell_rows(void *ud, size_t rows) {
    struct evaluation *e = ud;
    size_t total = e->examples.n_rows;
    if (rows && rows < total && rows - e->told < total / TELLINGS + 1)
        return;
    e->told = rows;
    hn_helper_chunk(e->call,
        json_pack("{s:I,s:I,s:o}", "rows", (json_int_t)rows, "total", (json_int_t)total, "answered",
            e->texts.wanted ? json_integer(0) : json_null()),
        NULL);
}

/* Adds a written answer to its row and to the metrics. */
static void take_answer(struct evaluation *e, json_t *row, const struct hn_prompt *prompt,
    const struct hn_generated *r) {
    json_t *text = hn_json_text(r->text.data, r->text.size),
           *references = hn_prompt_references(prompt, row);
    json_object_set(row, "predicted", text);
    json_object_set_new(row, "finish_reason", json_string(r->finish_reason));
    hn_text_metrics_add(&e->texts, text, references, row);
    json_decref(text);
    json_decref(references);
}

/* Answers to the next rows from *next on, without those that have no prompt or one that does not
 * fit the context. */
static int write_group(
    struct hn_predictor *p, struct evaluation *e, size_t *next, struct hn_error *err) {
    struct hn_prompt prompts[GROUP] = {0};
    struct hn_generated results[GROUP] = {0};
    size_t rows[GROUP], n = 0;
    int rc = 0;
    for (; !rc && *next < e->examples.n_rows && n < GROUP; ++*next) {
        rc = hn_prompt_from_row(
            &p->loaded.codec, &e->data, e->examples.rows[*next], &prompts[n], err);
        if (!rc && prompts[n].ids.n && prompts[n].ids.n < hn_predictor_limit(p)) {
            rows[n++] = *next;
        } else {
            hn_prompt_finish(&prompts[n]);
            prompts[n] = (struct hn_prompt){0};
            rc = rc == HN_E_INTERNAL ? rc : 0;
        }
    }
    if (!rc)
        rc = hn_predictor_generate(p, prompts, n, &e->writing.options, results, NULL, NULL, err);
    for (size_t i = 0; i < n; i++) {
        if (!rc)
            take_answer(e, json_array_get(e->result.rows, rows[i]), &prompts[i], &results[i]);
        hn_prompt_finish(&prompts[i]);
        hn_generated_finish(&results[i]);
    }
    return rc;
}

static int write_answers(struct hn_helper_call *call, struct evaluation *e, struct hn_error *err) {
    int rc = 0;
    hn_compute_finish(&e->compute); /* memory that writing needs */
    hn_phase_finish(&e->phase);
    for (size_t next = 0; !rc && next < e->examples.n_rows;) {
        rc = write_group(*call->predictor, e, &next, err);
        if (!rc)
            rc = hn_helper_chunk(
                call, json_pack("{s:I}", "answered", (json_int_t)e->texts.rows), err);
    }
    if (!rc && e->texts.failed)
        rc = hn_fail(err, HN_E_INTERNAL, "out of memory");
    if (!rc && !e->texts.rows && e->texts.wanted == HN_TEXT_ALL)
        rc = refuse(
            err, HN_E_UNSUPPORTED, "no row has a prompt to answer that fits the model's context");
    if (!rc)
        hn_text_metrics_write(&e->texts, e->result.metrics);
    return rc;
}

/* A row a line. */
static int write_rows(const json_t *rows, const char *path, struct hn_error *err) {
    FILE *f = fopen(path, "wxe");
    const json_t *row;
    size_t i;
    if (!f)
        return hn_fail_errno(err, errno, "cannot write %s", path);
    json_array_foreach(rows, i, row)
        if (json_dumpf(row, f, JSON_COMPACT | JSON_REAL_PRECISION(15)) || putc('\n', f) == EOF)
            break;
    bool bad = ferror(f) || i < json_array_size(rows);
    if (fclose(f) || bad)
        return hn_fail_errno(err, errno, "cannot write %s", path);
    return 0;
}

static json_t *answer(const struct hn_predictor *p, const struct evaluation *e) {
    json_t *metrics = json_copy(e->result.metrics);
    json_object_set_new(metrics, "loss", hn_json_float((float)e->result.loss));
    json_t *out = json_pack("{s:I, s:I, s:I, s:o, s:O?, s:O?}", "rows", (json_int_t)e->data.n_rows,
        "dropped", (json_int_t)e->examples.dropped, "truncated", (json_int_t)e->examples.truncated,
        "metrics", metrics, "labels", p->spec.labels.names, "confusion", e->result.confusion);
    if (e->texts.wanted)
        json_object_set_new(out, "answered", json_integer((json_int_t)e->texts.rows));
    return out;
}

int hn_helper_evaluate(
    struct hn_helper_call *call, const json_t *params, json_t **ret, struct hn_error *err) {
    const json_t *source = json_object_get(params, "source");
    const char *path, *rows = NULL, *scores = NULL;
    struct evaluation *e = hn_calloc(1, sizeof *e);
    if (!e)
        return hn_fail(err, HN_E_INTERNAL, "out of memory");
    int rc = hn_helper_path(json_object_get(params, "model"), &path, err);
    if (!rc)
        rc = hn_json_string(params, "rows_to", &rows, err);
    if (!rc)
        rc = hn_json_string(params, "scores_to", &scores, err);
    if (!rc)
        rc = hn_predictor_find(call->predictor, path, json_is_object(source) ? source : NULL, err);
    if (!rc)
        rc = open_rows(call, params, e, err);
    const struct hn_predictor *p = *call->predictor;
    if (!rc)
        rc = read_generate(p, json_object_get(params, "generate"), e, err);
    if (!rc)
        rc = make_phase(p, e, err);
    if (!rc) {
        e->call = call;
        e->compute.progress = tell_rows;
        e->compute.ud = e;
        tell_rows(e, 0);
    }
    if (!rc)
        rc = hn_evaluate(&e->compute, &e->phase, &p->loaded, p->params.values, &e->examples,
            &e->data, HN_EVALUATION_ROWS, &e->result, err);
    if (!rc && e->texts.wanted)
        rc = write_answers(call, e, err);
    if (!rc && scores)
        rc = hn_scores_write(&e->result.scores, scores, err);
    if (!rc && rows)
        rc = write_rows(e->result.rows, rows, err);
    if (!rc && !(*ret = answer(p, e)))
        rc = hn_fail(err, HN_E_INTERNAL, "out of memory");
    hn_text_metrics_finish(&e->texts);
    hn_evaluation_finish(&e->result);
    hn_compute_finish(&e->compute);
    hn_phase_finish(&e->phase);
    hn_examples_finish(&e->examples);
    hn_dataset_close(&e->data);
    free(e);
    return rc;
}
