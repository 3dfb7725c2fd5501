/* See evaluate.h. Rows in the data's order, packed as training rows are; a head's logits are few
 * and kept until the metrics are made of them. */
#include "engine/eval/evaluate.h"
#include "engine/eval/answers.h"
#include "engine/base/buf.h"
#include "engine/base/json.h"
#include "engine/eval/metrics.h"
#include "engine/model/objective.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#define CONFUSION_MAX 64

/* What the logits of all batches come together in. */
struct gathered {
    float *logits;    /* [n, outputs]: of each target, or for spans of each token */
    int32_t *targets; /* [n] */
    size_t n, outputs, logits_capacity, targets_capacity;
};

static bool gather(struct gathered *g, const struct hn_exec *x, const struct hn_phase *phase) {
    const struct hn_batch *b = x->batch;
    size_t rows = hn_rows(x, phase->plan.buffers[phase->plan.logits].dim);
    if (!hn_grow(&g->logits, &g->logits_capacity, (g->n + rows) * g->outputs, sizeof *g->logits) ||
        !hn_grow(&g->targets, &g->targets_capacity, g->n + rows, sizeof *g->targets))
        return false;
    memcpy(g->logits + g->n * g->outputs, hn_buffer(x, phase->plan.logits),
        rows * g->outputs * sizeof *g->logits);
    for (size_t i = 0; i < rows; i++)
        g->targets[g->n + i] = i < b->n_targets ? b->target_ids[i] : 0;
    g->n += rows;
    return true;
}

static int measure_classes(const struct gathered *g, struct hn_evaluation *e) {
    size_t k = g->outputs,
           *confusion = k <= CONFUSION_MAX ? hn_calloc(k * k, sizeof *confusion) : NULL;
    int rc = hn_metrics_classes(g->logits, g->targets, g->n, k, confusion, e->metrics);
    e->confusion = confusion ? json_array() : NULL;
    for (size_t i = 0; confusion && i < k; i++) {
        json_t *row = json_array();
        for (size_t c = 0; c < k; c++)
            json_array_append_new(row, json_integer((json_int_t)confusion[i * k + c]));
        json_array_append_new(e->confusion, row);
    }
    free(confusion);
    return rc;
}

/* What is measured: gathered logits of examples, and where their metrics and answers go. */
struct measured {
    const struct hn_loaded *loaded;
    const struct gathered *g;
    const struct hn_examples *ex;
    const struct hn_dataset *data;
    struct hn_evaluation *e;
    json_t *answers;
    struct hn_score *scores; /* [rows] or NULL */
};

static int memory(int rc, struct hn_error *err) {
    return rc ? hn_fail(err, HN_E_INTERNAL, "out of memory") : 0;
}

static int measure_labels(const struct measured *m, struct hn_error *err) {
    return memory(measure_classes(m->g, m->e), err);
}

static int measure_tags(const struct measured *m, struct hn_error *err) {
    return hn_metrics_tags(m->loaded, m->g->logits, m->g->targets, m->ex, m->data, m->e->metrics,
        m->answers, m->scores, err);
}

static int measure_spans(const struct measured *m, struct hn_error *err) {
    return hn_metrics_spans(
        m->loaded, m->g->logits, m->ex, m->data, m->e->metrics, m->answers, m->scores, err);
}

static int measure_multi(const struct measured *m, struct hn_error *err) {
    int rc = hn_metrics_multi(m->g->logits, m->ex->values, m->g->n, m->g->outputs, m->e->metrics);
    return memory(rc, err);
}

static int measure_values(const struct measured *m, struct hn_error *err) {
    const struct hn_labels *labels = &m->loaded->spec->labels;
    int rc = hn_metrics_values(m->g->logits, m->ex->values, m->g->n, labels->scale, m->e->metrics);
    return memory(rc, err);
}

/* NULL: the loss is all there is. */
static int (*const measures[HN_OBJECTIVES])(const struct measured *m, struct hn_error *err) = {
#define HN_OBJECTIVE(NAME, name, HEAD, LABELLED, VALUES, head_task, auto_class, problem_type, \
    peft_type, best, others, COLUMNS, encode, loss, measure, input)                           \
    [HN_OBJECTIVE_##NAME] = measure,
#include "engine/objective.def"
#undef HN_OBJECTIVE
};

/* Of one example: sums over its targets. */
struct example_loss {
    double loss, weight;
};

/* Adds what the batch's targets cost to the examples from `first` on, which it holds in order. */
static void share_losses(const struct hn_exec *x, struct example_loss *first) {
    const struct hn_batch *b = x->batch;
    for (size_t i = 0, sequence = 0; i < b->n_targets; i++) {
        while (b->target_rows[i] >= b->starts[sequence + 1])
            sequence++;
        first[sequence].loss += (double)b->target_weights[i] * x->row_losses[i];
        first[sequence].weight += (double)b->target_weights[i];
    }
}

/* Whether each label of example `i` is predicted where it is given, and nowhere else. */
static bool is_all_right(const struct gathered *g, const struct hn_examples *ex, size_t i) {
    for (size_t c = i * g->outputs; c < (i + 1) * g->outputs; c++)
        if ((g->logits[c] > 0) != (ex->values[c] > 0.5f))
            return false;
    return true;
}

/* The answer of a head without text: which label, labels or value, and whether that is right. */
static json_t *answer_of(const struct hn_loaded *loaded, const struct gathered *g,
    const struct hn_examples *ex, size_t i) {
    const struct hn_labels *labels = &loaded->spec->labels;
    const float *logits = g->logits + i * g->outputs;
    float value = (float)(labels->objective == HN_OBJECTIVE_VALUE && labels->folded
            ? (double)logits[0] * labels->scale + labels->mean
            : (double)logits[0]);
    json_t *answer =
        hn_answer_sequence(labels, labels->objective == HN_OBJECTIVE_VALUE ? &value : logits);
    bool right = true;
    if (labels->objective == HN_OBJECTIVE_CLASSES)
        right = strcmp(json_string_value(json_object_get(answer, "label")),
                    hn_label_name(labels, (size_t)g->targets[i])) == 0;
    else if (labels->objective == HN_OBJECTIVE_MULTI)
        right = is_all_right(g, ex, i);
    if (labels->objective != HN_OBJECTIVE_VALUE)
        json_object_set_new(answer, "correct", json_boolean(right));
    return answer;
}

/* What the task calls its answer, under one name beside the row's own columns. */
static void add_answer(json_t *out, json_t *answer) {
    static const char *const names[] = {"label", "labels", "value", "answer", "tags"};
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++)
        if (json_object_get(answer, names[i])) {
            json_object_set(out, "predicted", json_object_get(answer, names[i]));
            json_object_del(answer, names[i]);
        }
    json_object_update(out, answer);
}

/* Loss and weight of the row that begins with example `i`, over the windows it was cut into.
 * Returns the first example behind it. */
static size_t sum_windows(const struct hn_examples *ex, const struct example_loss *losses, size_t i,
    struct example_loss *ret) {
    size_t end = i;
    *ret = (struct example_loss){0};
    for (; end < ex->n_rows && ex->rows[end] == ex->rows[i]; end++) {
        ret->loss += losses[end].loss;
        ret->weight += losses[end].weight;
    }
    return end;
}

/* A row of the data with its loss and `answers`' next. */
static int tell_rows(const struct hn_examples *ex, const struct hn_dataset *data,
    const struct example_loss *losses, json_t *answers, json_t *out, struct hn_error *err) {
    for (size_t i = 0, end, n = 0; i < ex->n_rows; i = end, n++) {
        struct example_loss sum;
        json_t *row = NULL, *one = json_pack("{s:I}", "line", (json_int_t)ex->lines[i]);
        int rc = hn_dataset_row(data, ex->rows[i], &row, err);
        if (rc)
            return rc;
        end = sum_windows(ex, losses, i, &sum);
        json_object_update(one, row);
        if (json_array_get(answers, n))
            add_answer(one, json_array_get(answers, n));
        json_object_set_new(one, "loss",
            sum.weight > 0 ? hn_json_float((float)(sum.loss / sum.weight)) : json_null());
        json_array_append_new(out, one);
        json_decref(row);
    }
    return 0;
}

static int gather_rows(const struct hn_loaded *loaded, const struct gathered *all,
    const struct hn_examples *ex, const struct hn_dataset *data, const struct example_loss *losses,
    json_t *answers, struct hn_evaluation *e, struct hn_error *err) {
    bool head = loaded->model.head.objective != HN_OBJECTIVE_TOKENS && !json_array_size(answers);
    for (size_t i = 0; head && i < ex->n_rows; i++)
        json_array_append_new(answers, answer_of(loaded, all, ex, i));
    e->rows = json_array();
    return tell_rows(ex, data, losses, answers, e->rows, err);
}

/* A folded head's logits are values: what is measured are their distances, as in training. The
 * graph has compared them with these, so the losses are made again. */
static void measure_folded(const struct hn_labels *labels, struct gathered *g,
    const struct hn_examples *ex, struct example_loss *losses, double *ret_loss) {
    double sum = 0;
    for (size_t i = 0; i < g->n; i++) {
        double value = (double)g->logits[i];
        g->logits[i] = (float)((value - labels->mean) / labels->scale);
        double off = (double)g->logits[i] - (double)ex->values[i];
        sum += off * off;
        if (losses)
            losses[i] = (struct example_loss){off * off, 1};
    }
    *ret_loss = g->n ? sum / (double)g->n : 0;
}

/* What a head says of example `i`, which is a row of its own; tags and spans have theirs from their
 * metrics. */
static void score_head(const struct hn_labels *labels, const struct gathered *g,
    const struct hn_examples *ex, size_t i, struct hn_score *s) {
    const float *logits = g->logits + i * g->outputs;
    if (labels->objective == HN_OBJECTIVE_CLASSES) {
        s->label = g->targets[i];
        s->predicted = (int32_t)hn_logits_best(logits, g->outputs);
        s->right = s->label == s->predicted;
        s->p = (float)hn_logits_probability(logits, g->outputs, (size_t)s->label);
    } else if (labels->objective == HN_OBJECTIVE_MULTI) {
        s->right = is_all_right(g, ex, i);
    } else if (labels->objective == HN_OBJECTIVE_VALUE) {
        s->value = (float)((double)logits[0] * labels->scale + labels->mean);
        s->truth = (float)((double)ex->values[i] * labels->scale + labels->mean);
    }
}

static int gather_probabilities(
    const struct gathered *g, size_t n, struct hn_scores *ret, struct hn_error *err) {
    if (!hn_scores_have_probabilities(ret->objective, ret->n_labels) || ret->n_labels != g->outputs)
        return 0;
    if (!(ret->probabilities = hn_calloc(n * g->outputs, sizeof *ret->probabilities)))
        return hn_fail(err, HN_E_INTERNAL, "out of memory");
    for (size_t i = 0; i < n; i++)
        for (size_t k = 0; k < g->outputs; k++)
            ret->probabilities[i * g->outputs + k] =
                (float)hn_logits_probability(g->logits + i * g->outputs, g->outputs, k);
    return 0;
}

/* Each row with its loss, the mean over its windows, beside what is in `rows` already. */
static void gather_scores(const struct hn_labels *labels, const struct gathered *g,
    const struct hn_examples *ex, const struct example_loss *losses, struct hn_scores *ret) {
    for (size_t i = 0, end; i < ex->n_rows; i = end) {
        struct hn_score *s = &ret->rows[ret->n++];
        struct example_loss sum;
        end = sum_windows(ex, losses, i, &sum);
        s->line = ex->lines[i];
        s->loss = sum.weight > 0 ? (float)(sum.loss / sum.weight) : 0;
        s->weight = (float)sum.weight;
        score_head(labels, g, ex, i, s);
    }
    ret->objective = labels->objective;
    ret->n_labels = hn_objectives[labels->objective].labelled ? hn_labels_outputs(labels) : 0;
    memcpy(ret->sha256, ex->sha256, sizeof ret->sha256);
}

int hn_evaluate(struct hn_compute *compute, const struct hn_phase *phase,
    const struct hn_loaded *loaded, const float *params, const struct hn_examples *ex,
    const struct hn_dataset *data, enum hn_evaluation_detail detail, struct hn_evaluation *ret,
    struct hn_error *err) {
    struct hn_loss_sums sums = {0};
    struct gathered all = {.outputs = loaded->model.head.outputs};
    bool head = loaded->model.head.objective != HN_OBJECTIVE_TOKENS;
    bool each = detail != HN_EVALUATION_FIGURES, rows = detail == HN_EVALUATION_ROWS;
    struct example_loss *losses = each ? hn_calloc(ex->n_rows, sizeof *losses) : NULL;
    struct hn_score *scores = each ? hn_calloc(ex->n_rows, sizeof *scores) : NULL;
    struct hn_exec x = {.params = params,
        .sums = &sums,
        .row_losses = each ? hn_calloc(compute->batch.max_tokens, sizeof *x.row_losses) : NULL};
    json_t *answers = rows ? json_array() : NULL;
    bool ok = (!each || (losses && scores && x.row_losses)) && (!rows || answers);
    const struct hn_labels *labels = &loaded->spec->labels;
    double weight = 0;
    size_t targets = 0;
    *ret = (struct hn_evaluation){.metrics = json_object(), .scores = {.rows = scores}};
    for (size_t i = 0; i < ex->n_rows; i++)
        weight += hn_row_weight(ex, i);
    for (size_t i = 0, first = 0; ok && i < ex->n_rows; first = i) {
        hn_compute_clear(compute, phase);
        while (i < ex->n_rows && hn_batch_add(&compute->batch, ex, i, (uint32_t)i, weight))
            i++;
        targets += compute->batch.batch.n_targets;
        hn_compute_run(compute, phase, &x);
        ok = !head || gather(&all, &x, phase);
        if (each)
            share_losses(&x, losses + first);
        if (compute->progress)
            compute->progress(compute->ud, i);
    }
    int rc = ok && ret->metrics ? 0 : hn_fail(err, HN_E_INTERNAL, "out of memory");
    ret->loss = sums.loss;
    if (!rc && labels->objective == HN_OBJECTIVE_VALUE && labels->folded)
        measure_folded(labels, &all, ex, losses, &ret->loss);
    if (!rc && detail == HN_EVALUATION_LOSSES) {
        rc = 0;
    } else if (!rc && head) {
        const struct measured m = {loaded, &all, ex, data, ret, answers, scores};
        rc = measures[loaded->model.head.objective](&m, err);
    } else if (!rc) {
        json_object_set_new(ret->metrics, "perplexity", hn_json_float((float)exp(sums.loss)));
        json_object_set_new(ret->metrics, "token_accuracy",
            hn_json_float(targets ? (float)((double)sums.correct / (double)targets) : 0));
    }
    if (!rc && each) {
        gather_scores(labels, &all, ex, losses, &ret->scores);
        rc = gather_probabilities(&all, ret->scores.n, &ret->scores, err);
    }
    if (!rc && rows)
        rc = gather_rows(loaded, &all, ex, data, losses, answers, ret, err);
    json_decref(answers);
    free(losses);
    free(x.row_losses);
    free(all.logits);
    free(all.targets);
    if (rc)
        hn_evaluation_finish(ret);
    return rc;
}

void hn_evaluation_finish(struct hn_evaluation *e) {
    json_decref(e->metrics);
    json_decref(e->confusion);
    json_decref(e->rows);
    hn_scores_finish(&e->scores);
    *e = (struct hn_evaluation){0};
}
