/*
 * What "auto" becomes. It depends on the model, the task, the data and the slot's configured
 * memory, never on what is free at the moment; each choice comes with its reason.
 */
#include "engine/model/objective.h"
#include "engine/helper/plan.h"

#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#define FEW_ROWS 300

static json_t *sentence(const char *format, va_list ap) __attribute__((format(printf, 1, 0)));

static json_t *sentence(const char *format, va_list ap) {
    char text[512];
    vsnprintf(text, sizeof text, format, ap);
    return json_string(text);
}

void hn_planning_because(struct hn_planning *p, const char *name, const char *format, ...) {
    va_list ap;
    va_start(ap, format);
    json_object_set_new(p->reasons, name, sentence(format, ap));
    va_end(ap);
}

void hn_planning_warn(struct hn_planning *p, const char *code, const char *format, ...) {
    va_list ap;
    va_start(ap, format);
    json_array_append_new(
        p->warnings, json_pack("{s:s, s:o}", "code", code, "message", sentence(format, ap)));
    va_end(ap);
}

static void choose_dropout(
    struct hn_planning *p, const char *name, double *rate, double own, bool encoder) {
    if (!hn_is_auto(*rate))
        return;
    *rate = encoder && p->spec.method != HN_METHOD_LORA ? own : 0;
    const char *why = !encoder             ? "decoders are trained without"
        : p->spec.method == HN_METHOD_LORA ? "adapters are small enough to do without"
                                           : "as the model was made";
    hn_planning_because(p, name, "%.3g: %s", *rate, why);
}

static int resolve_dropout(
    struct hn_planning *p, const struct hn_model *model, struct hn_error *err) {
    struct hn_hyperparams *hp = &p->spec.hp;
    bool encoder = model->arch->encoder;
    if (!encoder && (hp->dropout > 0 || hp->attention_dropout > 0)) {
        hn_fail(err, HN_E_UNSUPPORTED,
            "the %s family has no dropout of its own; lora_dropout is there", model->config.family);
        hn_error_field(
            err, hp->dropout > 0 ? "hyperparameters.dropout" : "hyperparameters.attention_dropout");
        return HN_E_UNSUPPORTED;
    }
    choose_dropout(p, "dropout", &hp->dropout, model->config.dropout, encoder);
    choose_dropout(
        p, "attention_dropout", &hp->attention_dropout, model->config.attention_dropout, encoder);
    return 0;
}

/* The metric that decides by default, and those that the problem has. */
static int resolve_metric(struct hn_planning *p, struct hn_error *err) {
    const char *first = hn_objectives[p->spec.labels.objective].best_metric,
               *others = hn_objectives[p->spec.labels.objective].other_metrics;
    if (p->spec.hp.eval_generate && p->spec.labels.objective != HN_OBJECTIVE_TOKENS) {
        hn_fail(err, HN_E_UNSUPPORTED, "this task's head writes no text that could be compared");
        hn_error_field(err, "hyperparameters.eval_generate");
        return HN_E_UNSUPPORTED;
    }
    if (p->spec.hp.eval_generate) { /* of questions, whether they are answered counts */
        first = p->spec.task == HN_TASK_QA ? "val_f1" : first;
        others = "val_loss val_perplexity val_token_accuracy val_exact_match val_f1 val_rouge_l "
                 "val_chrf val_bleu";
    }
    const char *asked = hn_metric_name(p->spec.hp.metric_for_best);
    if (p->spec.hp.metric_for_best == HN_METRIC_AUTO) {
        for (p->spec.hp.metric_for_best = 1;
             strcmp(hn_metric_name(p->spec.hp.metric_for_best), first) != 0;)
            p->spec.hp.metric_for_best++;
        hn_planning_because(p, "metric_for_best", "%s: what the task is judged by", first);
        return 0;
    }
    const char *found = strstr(others, asked);
    if (strcmp(asked, first) == 0 ||
        (found && (found[strlen(asked)] == ' ' || !found[strlen(asked)])))
        return 0;
    hn_fail(err, HN_E_UNSUPPORTED, "metric_for_best of this task is one of: %s %s", first, others);
    hn_error_field(err, "hyperparameters.metric_for_best");
    if (p->spec.labels.objective == HN_OBJECTIVE_TOKENS && !p->spec.hp.eval_generate)
        hn_error_hint(
            err, "set eval_generate, and answers are written and compared at every evaluation");
    return HN_E_UNSUPPORTED;
}

/* Wider models want smaller steps; adapters and heads bear more than all the weights together, and
 * adapters of a decoder that has few rows, so few steps, get further with twice the rate
 * (bench/SPEED.md). */
static void choose_rate(struct hn_planning *p, const struct hn_model *model, size_t rows) {
    size_t hidden = model->config.hidden;
    int width = hidden < 512 ? 0 : hidden < 1024 ? 1 : hidden < 2560 ? 2 : 3;
    static const double encoder[3][4] = {
        {5e-4, 3e-4, 2e-4, 1e-4}, {1e-4, 5e-5, 2e-5, 1e-5}, {2e-3, 1e-3, 1e-3, 1e-3}};
    static const double decoder[3][4] = {
        {5e-4, 5e-4, 3e-4, 2e-4}, {5e-5, 5e-5, 2e-5, 1e-5}, {1e-3, 1e-3, 1e-3, 1e-3}};
    static const char *const what[3] = {"adapters", "all the weights", "the head"};
    bool few = p->spec.method == HN_METHOD_LORA &&
        p->spec.labels.objective == HN_OBJECTIVE_TOKENS && rows < FEW_ROWS;
    p->spec.hp.learning_rate =
        (model->arch->encoder ? encoder : decoder)[p->spec.method][width] * (few ? 2 : 1);
    double base = p->spec.hp.learning_rate, factor = p->spec.hp.learning_rate_multiplier;
    char times[64] = "";
    if (factor != 1)
        snprintf(times, sizeof times, ", %.3g times learning_rate_multiplier %.6g", base, factor);
    p->spec.hp.learning_rate = base * factor;
    hn_planning_because(p, "learning_rate", "%.3g: %s of %s %zu wide%s%s", base * factor,
        what[p->spec.method], model->arch->encoder ? "an encoder" : "a decoder", hidden,
        few ? ", twice as much for few rows" : "", times);
}

/* Adapters of a task with a head have no dropout and a large rate: with some thousand rows a third
 * pass makes them worse on new ones (bench/SPEED.md). */
static double choose_epochs(enum hn_method method, bool head, size_t rows) {
    if (head)
        return rows < 1000 ? 10 : method == HN_METHOD_LORA && rows >= 4000 ? 2 : 3;
    return rows < 300 ? 5 : rows < 3000 ? 3 : rows < 20000 ? 2 : 1;
}

static int refuse_factor(struct hn_error *err, const char *why) {
    hn_fail(err, HN_E_INVALID_FIELD, "%s", why);
    hn_error_field(err, "hyperparameters.learning_rate_multiplier");
    return HN_E_INVALID_FIELD;
}

/* What can be chosen before the rows are tokenised. */
int hn_planning_choose(struct hn_planning *p, const struct hn_model *model, struct hn_error *err) {
    struct hn_hyperparams *hp = &p->spec.hp;
    double all =
        hn_row_choice_estimate(&p->spec.choice, p->weighed_rows * (1 - hn_spec_held_out(&p->spec)));
    size_t train_rows = (size_t)(all + 0.5);
    int rc = resolve_dropout(p, model, err);
    if (!rc)
        rc = resolve_metric(p, err);
    if (rc)
        return rc;
    bool head = p->spec.labels.objective != HN_OBJECTIVE_TOKENS;
    if (hp->batch_size == HN_AUTO_INT) {
        hp->batch_size = head    ? (train_rows >= 2000         ? 32
                                           : train_rows >= 500 ? 16
                                                               : 8)
            : train_rows >= 8000 ? 16
                                 : 8;
        hn_planning_because(p, "batch_size",
            "%lld for %zu training rows: small batches learn most per row",
            (long long)hp->batch_size, train_rows);
    }
    if (hn_is_auto(hp->epochs)) {
        hp->epochs = choose_epochs(p->spec.method, head, train_rows);
        hn_planning_because(p, "epochs",
            "%.3g for %zu training rows: about enough steps to settle without learning rows by "
            "heart",
            hp->epochs, train_rows);
    }
    if (hn_is_auto(hp->learning_rate))
        choose_rate(p, model, train_rows);
    else if (hp->learning_rate_multiplier != 1)
        return refuse_factor(err,
            "learning_rate_multiplier is a factor of the rate that \"auto\" chooses, and "
            "learning_rate is given");
    if (hp->learning_rate > 10)
        return refuse_factor(
            err, "learning_rate_multiplier makes the learning rate larger than 10");
    if (hp->max_length == HN_AUTO_INT)
        hp->max_length =
            (int64_t)(model->config.context < HN_AUTO_MAX_LENGTH ? model->config.context
                                                                 : HN_AUTO_MAX_LENGTH);
    else if ((size_t)hp->max_length > model->config.context)
        hn_planning_warn(p, "beyond_context",
            "max_length %lld is longer than the %zu tokens the model was made for",
            (long long)hp->max_length, model->config.context);
    return 0;
}

/* What depends on the tokenised rows. */
void hn_planning_choose_after(struct hn_planning *p, const struct hn_run *run, bool auto_length) {
    struct hn_hyperparams *hp = &p->spec.hp;
    size_t longest = 0;
    const struct hn_examples *sets[] = {&run->train, &run->validation, &run->test};
    for (int k = 0; k < 3; k++)
        for (size_t i = 0; i < sets[k]->n_rows; i++)
            longest = sets[k]->starts[i + 1] - sets[k]->starts[i] > longest
                ? sets[k]->starts[i + 1] - sets[k]->starts[i]
                : longest;
    if (auto_length) {
        bool windows = p->spec.labels.objective == HN_OBJECTIVE_SPAN;
        int64_t ceiling = hp->max_length, least = windows ? HN_AUTO_WINDOW : 8;
        hp->max_length = (int64_t)((longest + 7) / 8 * 8);
        hp->max_length = hp->max_length < least ? least : hp->max_length;
        hp->max_length = hp->max_length > ceiling ? ceiling : hp->max_length;
        if (run->train.truncated + run->validation.truncated + run->test.truncated)
            hn_planning_because(p, "max_length",
                "%lld: the most that auto takes; %zu rows are longer and are cut",
                (long long)hp->max_length,
                run->train.truncated + run->validation.truncated + run->test.truncated);
        else
            hn_planning_because(p, "max_length", "%lld: the longest %s has %zu tokens",
                (long long)hp->max_length, windows ? "question with its context" : "row", longest);
    }
    if (hp->micro_batch_tokens == HN_AUTO_INT) {
        hp->micro_batch_tokens = HN_AUTO_MICRO_BATCH;
        hn_planning_because(p, "micro_batch_tokens",
            "%d: matmuls are near their best rate from there on, and memory stays small",
            HN_AUTO_MICRO_BATCH);
    }
    size_t per_epoch = (run->train.n_rows + (size_t)hp->batch_size - 1) / (size_t)hp->batch_size;
    double steps = ceil(hp->epochs * (double)per_epoch);
    if (hp->max_steps != HN_NONE_INT && (double)hp->max_steps < steps)
        steps = (double)hp->max_steps;
    if (hp->eval_every == HN_AUTO_INT) {
        hp->eval_every = (int64_t)ceil(steps / 10);
        hp->eval_every = hp->eval_every < 1 ? 1 : hp->eval_every;
        hn_planning_because(p, "eval_every", "%lld: ten evaluations in %.0f steps",
            (long long)hp->eval_every, steps);
    }
}
