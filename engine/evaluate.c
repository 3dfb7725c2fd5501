/* See evaluate.h. Rows in the data's order, packed as training rows are; a head's logits are few and kept until the
 * metrics are made of them. */
#include "engine/evaluate.h"
#include "engine/answers.h"
#include "engine/buf.h"
#include "engine/json.h"
#include "engine/metrics.h"

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
    memcpy(g->logits + g->n * g->outputs, hn_buffer(x, phase->plan.logits), rows * g->outputs * sizeof *g->logits);
    for (size_t i = 0; i < rows; i++)
        g->targets[g->n + i] = i < b->n_targets ? b->target_ids[i] : 0;
    g->n += rows;
    return true;
}

static int measure_classes(const struct gathered *g, struct hn_evaluation *e) {
    size_t k = g->outputs, *confusion = k <= CONFUSION_MAX ? hn_calloc(k * k, sizeof *confusion) : NULL;
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

static int measure(const struct hn_run *run, const struct gathered *g, const struct hn_examples *ex,
    const struct hn_dataset *data, struct hn_evaluation *e, struct hn_error *err) {
    int rc = 0;
    switch (run->model.head.problem) {
    case HN_PROBLEM_CLASSES:
        rc = measure_classes(g, e);
        break;
    case HN_PROBLEM_TAGS:
        rc = hn_metrics_tags(run, g->logits, g->targets, ex, e->metrics);
        break;
    case HN_PROBLEM_SPAN:
        return hn_metrics_spans(run, g->logits, ex, data, e->metrics, err);
    case HN_PROBLEM_MULTI:
        rc = hn_metrics_multi(g->logits, ex->values, g->n, g->outputs, e->metrics);
        break;
    default:
        rc = hn_metrics_values(g->logits, ex->values, g->n, e->metrics);
    }
    return rc ? hn_fail(err, HN_E_INTERNAL, "out of memory") : 0;
}

int hn_evaluate(struct hn_compute *compute, const struct hn_phase *phase, const struct hn_run *run,
    const float *params, const struct hn_examples *ex, const struct hn_dataset *data, struct hn_evaluation *ret,
    struct hn_error *err) {
    struct hn_loss_sums sums = {0};
    struct hn_exec x = {.params = params, .sums = &sums};
    struct gathered all = {.outputs = run->model.head.outputs};
    bool head = run->model.head.problem != HN_PROBLEM_TOKENS, ok = true;
    double weight = 0;
    size_t targets = 0;
    *ret = (struct hn_evaluation){.metrics = json_object()};
    for (size_t i = 0; i < ex->n_rows; i++)
        weight += hn_row_weight(ex, i);
    for (size_t i = 0; ok && i < ex->n_rows;) {
        hn_compute_clear(compute, phase);
        while (i < ex->n_rows && hn_batch_add(&compute->batch, ex, i, (uint32_t)i, weight))
            i++;
        targets += compute->batch.batch.n_targets;
        hn_compute_run(compute, phase, &x);
        ok = !head || gather(&all, &x, phase);
    }
    int rc = ok && ret->metrics ? 0 : hn_fail(err, HN_E_INTERNAL, "out of memory");
    ret->loss = sums.loss;
    if (!rc && head) {
        rc = measure(run, &all, ex, data, ret, err);
    } else if (!rc) {
        json_object_set_new(ret->metrics, "perplexity", hn_json_float((float)exp(sums.loss)));
        json_object_set_new(ret->metrics, "token_accuracy",
            hn_json_float(targets ? (float)((double)sums.correct / (double)targets) : 0));
    }
    free(all.logits);
    free(all.targets);
    if (rc)
        hn_evaluation_finish(ret);
    return rc;
}

void hn_evaluation_finish(struct hn_evaluation *e) {
    json_decref(e->metrics);
    json_decref(e->confusion);
    *e = (struct hn_evaluation){0};
}
