/* See predict_head.h. */
#include "engine/model/objective.h"
#include "engine/eval/predict_head.h"
#include "engine/eval/answers.h"
#include "engine/base/buf.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

int hn_predict_phase(
    struct hn_phase *phase, const struct hn_loaded *loaded, size_t longest, struct hn_error *err) {
    size_t tokens = longest > HN_PREDICT_TOKENS ? longest : HN_PREDICT_TOKENS;
    struct hn_graph_options graph = {
        .adapter = loaded->adapter.n ? &loaded->adapter : NULL, .logits = true};
    struct hn_plan_options plan = {
        .caps = {.dims = {[HN_DIM_TOKENS] = tokens, [HN_DIM_TARGETS] = tokens},
            .threads = (unsigned)sysconf(_SC_NPROCESSORS_ONLN)}};
    return hn_phase_make(phase, &loaded->model, &graph, &plan, err);
}

/* Words of a text, apart at white space. */
static json_t *split_words(const char *text) {
    json_t *words = json_array();
    for (const char *s = text; *s;) {
        size_t n = strcspn(s, HN_WORD_SPACES);
        if (n)
            json_array_append_new(words, json_stringn(s, n));
        s += n + strspn(s + n, HN_WORD_SPACES);
    }
    return words;
}

static bool has_text(const json_t *object, const char *name) {
    return json_string_length(json_object_get(object, name)) > 0;
}

/* The input as a row of the task's data; NULL when it is none. */
static json_t *row_of(enum hn_objective objective, const json_t *input) {
    json_t *plain =
        json_is_object(input) ? json_object_get(input, "text") : (json_t *)(uintptr_t)input;
    if (objective == HN_OBJECTIVE_SPAN)
        return has_text(input, "question") && has_text(input, "context")
            ? json_pack("{s:O, s:O}", "question", json_object_get(input, "question"), "context",
                  json_object_get(input, "context"))
            : NULL;
    if (objective != HN_OBJECTIVE_TAGS)
        return json_is_string(plain) ? json_pack("{s:O}", "text", plain) : NULL;
    json_t *words =
        json_is_object(input) ? json_object_get(input, "tokens") : (json_t *)(uintptr_t)input;
    for (size_t i = 0; i < json_array_size(words); i++)
        if (!json_string_length(json_array_get(words, i)))
            return NULL;
    if (json_array_size(words))
        return json_pack("{s:O}", "tokens", words);
    return json_is_string(plain)
        ? json_pack("{s:o, s:O}", "tokens", split_words(json_string_value(plain)), "text", plain)
        : NULL;
}

static int refuse(enum hn_objective objective, size_t index, struct hn_error *err) {
    hn_fail(
        err, HN_E_INVALID_FIELD, "inputs[%zu] must be %s", index, hn_objectives[objective].input);
    hn_error_field(err, "inputs");
    return HN_E_INVALID_FIELD;
}

static int add_windows(struct hn_head_inputs *in, const struct hn_loaded *loaded, const json_t *row,
    size_t index, struct hn_encoded *e, struct hn_error *err) {
    struct hn_encode_options o = hn_loaded_encode_options(loaded);
    int rc = 0;
    e->window = 0;
    do {
        rc = hn_row_encode(
            &loaded->codec, hn_objective_columns(loaded->model.head.objective), row, &o, e, err);
        if (!rc)
            rc = hn_examples_add(&in->examples, e, e->ids.n, index, (uint32_t)index + 1, err);
        in->longest = e->ids.n > in->longest ? e->ids.n : in->longest;
    } while (!rc && e->again);
    bool windows = loaded->model.head.objective == HN_OBJECTIVE_SPAN;
    if (!rc)
        in->cut[index] = windows ? e->question_cut : e->length - hn_encoded_kept(e, &o);
    return rc;
}

int hn_head_inputs_read(struct hn_head_inputs *in, const struct hn_loaded *loaded,
    const json_t *inputs, struct hn_error *err) {
    enum hn_objective objective = loaded->model.head.objective;
    struct hn_encoded e = {0};
    *in = (struct hn_head_inputs){
        .rows = json_array(), .cut = hn_calloc(json_array_size(inputs) + 1, sizeof *in->cut)};
    hn_examples_begin(&in->examples, &loaded->spec->labels);
    int rc = in->rows && in->cut ? 0 : hn_fail(err, HN_E_INTERNAL, "out of memory");
    for (size_t i = 0; !rc && i < json_array_size(inputs); i++) {
        json_t *row = row_of(objective, json_array_get(inputs, i));
        rc = row ? add_windows(in, loaded, row, i, &e, err) : refuse(objective, i, err);
        json_array_append_new(in->rows, row);
    }
    hn_encoded_finish(&e);
    return rc;
}

void hn_head_inputs_finish(struct hn_head_inputs *in) {
    hn_examples_finish(&in->examples);
    json_decref(in->rows);
    free(in->cut);
    *in = (struct hn_head_inputs){0};
}

/* Rows of logits that an example has. */
static size_t logit_rows(const struct hn_examples *ex, size_t i) {
    size_t n = 0;
    if (ex->spans)
        return ex->starts[i + 1] - ex->starts[i];
    for (size_t k = ex->starts[i]; k < ex->starts[i + 1]; k++)
        n += ex->weights[k] > 0;
    return n;
}

/* Logits of all examples, in order; caller frees. */
static int compute_logits(struct hn_compute *compute, const struct hn_phase *phase,
    const struct hn_loaded *loaded, const float *params, const struct hn_examples *ex, float **ret,
    struct hn_error *err) {
    size_t outputs = loaded->model.head.outputs, rows = 0, at = 0;
    struct hn_exec x = {.params = params};
    for (size_t i = 0; i < ex->n_rows; i++)
        rows += logit_rows(ex, i);
    float *logits = hn_calloc(rows * outputs + 1, sizeof *logits);
    if (!logits)
        return hn_fail(err, HN_E_INTERNAL, "out of memory");
    for (size_t i = 0; i < ex->n_rows;) {
        size_t before = i;
        hn_compute_clear(compute, phase);
        while (i < ex->n_rows && hn_batch_add(&compute->batch, ex, i, 0, 1))
            i++;
        if (i == before) {
            if (ex->starts[i + 1] == ex->starts[i]) { /* a text without tokens */
                i++;
                continue;
            }
            free(logits);
            return hn_fail(err, HN_E_INTERNAL, "an input is longer than was planned for");
        }
        hn_compute_run(compute, phase, &x);
        size_t n = hn_rows(&x, phase->plan.buffers[phase->plan.logits].dim);
        memcpy(
            logits + at * outputs, hn_buffer(&x, phase->plan.logits), n * outputs * sizeof *logits);
        at += n;
    }
    *ret = logits;
    return 0;
}

/* The windows of one input, encoded again for their offsets. */
static int answer_text(const struct hn_loaded *loaded, const json_t *row, const float *logits,
    const struct hn_examples *ex, size_t *example, size_t *at, json_t **ret, struct hn_error *err) {
    enum hn_objective objective = loaded->model.head.objective;
    const struct hn_labels *labels = &loaded->spec->labels;
    const json_t *context = json_object_get(row, "context");
    struct hn_encode_options o = hn_loaded_encode_options(loaded);
    struct hn_encoded e = {0};
    struct hn_best_span span = {0};
    size_t outputs = loaded->model.head.outputs;
    int rc = 0;
    do {
        rc = hn_row_encode(&loaded->codec, hn_objective_columns(objective), row, &o, &e, err);
        if (!rc && objective == HN_OBJECTIVE_SPAN)
            hn_span_consider(&span, &e, logits + *at * outputs);
        else if (!rc)
            *ret = hn_answer_tags(labels, &e, row, logits + *at * outputs);
        *at += logit_rows(ex, *example);
        ++*example;
    } while (!rc && e.again);
    if (!rc && objective == HN_OBJECTIVE_SPAN)
        *ret = hn_answer_span(&span, labels, json_string_value(context));
    hn_encoded_finish(&e);
    return rc;
}

int hn_predict_head(struct hn_compute *compute, const struct hn_phase *phase,
    const struct hn_loaded *loaded, const float *params, const struct hn_head_inputs *in,
    json_t **ret, struct hn_error *err) {
    const struct hn_examples *ex = &in->examples;
    enum hn_objective objective = loaded->model.head.objective;
    float *logits = NULL;
    json_t *data = json_array();
    int rc = compute_logits(compute, phase, loaded, params, ex, &logits, err);
    for (size_t i = 0, example = 0, at = 0; !rc && i < json_array_size(in->rows); i++) {
        json_t *one = NULL;
        if (objective == HN_OBJECTIVE_TAGS || objective == HN_OBJECTIVE_SPAN) {
            rc = answer_text(
                loaded, json_array_get(in->rows, i), logits, ex, &example, &at, &one, err);
        } else {
            if (logit_rows(ex, example))
                one = hn_answer_sequence(
                    &loaded->spec->labels, logits + loaded->model.head.outputs * at++);
            else
                one = json_pack("{s:n}", "label");
            example++;
        }
        if (one && in->cut[i])
            json_object_set_new(one, "truncated", json_integer((json_int_t)in->cut[i]));
        json_array_append_new(data, one);
    }
    free(logits);
    if (rc)
        json_decref(data);
    else
        *ret = json_pack("{s:o}", "data", data);
    return rc;
}
