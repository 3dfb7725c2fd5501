/*
 * The trainer: from a run directory's spec.json to its artifacts, resumable anywhere.
 *
 * One pass over the steps. After each step the state is a function of (spec, inputs, step); what is
 * written when: events as they happen, a checkpoint every save_every steps, at each new best
 * evaluation, at the last step and when SIGTERM asks for a stop. A start with checkpoints present
 * goes on from the newest. See events.h for why a recomputed step writes no second line.
 */
#include "engine/base/json.h"
#include "engine/run/checkpoint.h"
#include "engine/run/compute.h"
#include "engine/engine.h"
#include "engine/eval/evaluate.h"
#include "engine/train/events.h"
#include "engine/export/export.h"
#include "engine/train/publish.h"
#include "engine/run/order.h"
#include "engine/run/run.h"
#include "engine/train/trainer.h"

#include <errno.h>
#include <fcntl.h>
#include <math.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <time.h>
#include <unistd.h>

static volatile sig_atomic_t stop_requests;

static void on_stop(int signal) {
    (void)signal;
    if (++stop_requests > 1)
        _exit(HN_EXIT_INTERRUPTED);
}

static double now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

static json_t *f32(double value) {
    return hn_json_float((float)value);
}

/* Training rows in this epoch's order. */
static void shuffle(struct hn_trainer *t, size_t epoch) {
    if (t->order_epoch != epoch)
        hn_order_fill(t->order, t->run.train.n_rows, (uint64_t)t->spec.hp.seed, epoch);
    t->order_epoch = epoch;
}

/* Rows of step s (from 1): t->order[first … first + *n). */
static size_t rows_of_step(struct hn_trainer *t, size_t s, size_t *n) {
    size_t batch = (size_t)t->spec.hp.batch_size, first = (s - 1) % t->run.steps_per_epoch * batch;
    shuffle(t, (s - 1) / t->run.steps_per_epoch);
    *n = t->run.train.n_rows - first < batch ? t->run.train.n_rows - first : batch;
    return first;
}

struct step_result {
    double loss, norm, weight, seconds;
    size_t tokens, targets;
};

/* Forward and backward over the step's rows, as many micro-batches as they need. */
static void accumulate(struct hn_trainer *t, size_t s, struct step_result *r) {
    size_t n, first = rows_of_step(t, s, &n);
    const struct hn_examples *ex = &t->run.train;
    struct hn_loss_sums sums = {0};
    struct hn_exec x = {.params = t->params.values,
        .grads = t->params.grads,
        .sums = &sums,
        .seed = (uint64_t)t->spec.hp.seed,
        .dropout_step = s,
        .dropout_on = true,
        .row_losses = t->rows.losses,
        .choices = t->rows.choices};
    for (size_t i = 0; i < n; i++)
        r->weight += hn_row_weight(ex, t->order[first + i]);
    hn_params_zero_grads(&t->params, t->compute.pool);
    for (size_t i = 0, begin = 0; i < n; begin = i) {
        hn_compute_clear(&t->compute, &t->run.phases[HN_PHASE_TRAIN]);
        while (i < n &&
            hn_batch_add(
                &t->compute.batch, ex, t->order[first + i], (uint32_t)(first + i), r->weight))
            i++;
        r->tokens += t->compute.batch.batch.n_tokens;
        r->targets += t->compute.batch.batch.n_targets;
        hn_compute_run(&t->compute, &t->run.phases[HN_PHASE_TRAIN], &x);
        hn_trainer_note_rows(t, begin);
    }
    r->loss = sums.loss;
}

/* Root-mean-square norms turn overflowed activations into zeros, so a model that blew up can show a
 * finite loss that no step changes any more. A gradient of exactly zero has no other cause while
 * there is a loss. */
static bool has_vanished(const struct step_result *r) {
    return r->norm <= 0 && r->loss > 1e-3;
}

static int report_divergence(
    struct hn_trainer *t, size_t s, const struct step_result *r, struct hn_error *err) {
    size_t n, first = rows_of_step(t, s, &n);
    json_t *lines = json_array();
    for (size_t i = 0; i < n && i < 100; i++)
        json_array_append_new(
            lines, json_integer((json_int_t)t->run.train.lines[t->order[first + i]]));
    t->failed_lines = lines;
    if (has_vanished(r))
        hn_fail(err, HN_E_DIVERGED,
            "at step %zu the gradient is exactly zero at a loss of %.3g: the activations have "
            "overflowed",
            s, r->loss);
    else
        hn_fail(err, HN_E_DIVERGED, "at step %zu the %s is no longer a finite number", s,
            isfinite(r->loss) ? "gradient" : "loss");
    hn_error_hint(err,
        "lower learning_rate (it was %.3g), raise warmup_ratio, or look at the rows of this step "
        "for broken text",
        hn_learning_rate(&t->spec.hp, s, t->run.steps));
    return HN_E_DIVERGED;
}

static int train_step(struct hn_trainer *t, size_t s, struct step_result *r, struct hn_error *err) {
    const struct hn_hyperparams *hp = &t->spec.hp;
    double start = now();
    *r = (struct step_result){0};
    accumulate(t, s, r);
    r->norm = hn_params_grad_norm(&t->params, t->compute.pool);
    if (!isfinite(r->loss) || !isfinite(r->norm) || has_vanished(r))
        return report_divergence(t, s, r, err);
    double clip = hp->max_grad_norm > 0 ? hp->max_grad_norm / (r->norm + 1e-6) : 1;
    struct hn_adamw_options o = {.learning_rate = hn_learning_rate(hp, s, t->run.steps),
        .beta1 = hp->beta1,
        .beta2 = hp->beta2,
        .epsilon = hp->epsilon,
        .weight_decay = hp->weight_decay,
        .clip = clip < 1 ? clip : 1,
        .step = s};
    hn_params_update(&t->params, &o, t->compute.pool);
    size_t n, first = rows_of_step(t, s, &n);
    int rc = hn_trainer_keep_rows(t, s, t->order + first, n, err);
    r->seconds = now() - start;
    return rc;
}

/* A line for people on standard error, which the daemon keeps as the job's log. */
static void tell(const char *format, ...) __attribute__((format(printf, 1, 2)));

static void tell(const char *format, ...) {
    char time[32];
    va_list ap;
    hn_time_text(time);
    fprintf(stderr, "%s ", time);
    va_start(ap, format);
    vfprintf(stderr, format, ap);
    va_end(ap);
    fputc('\n', stderr);
}

static double epoch_of(const struct hn_trainer *t, size_t step) {
    return (double)step / (double)t->run.steps_per_epoch;
}

static int log_step(struct hn_trainer *t, const struct step_result *r, struct hn_error *err) {
    struct hn_progress *p = &t->progress;
    p->tokens += r->tokens;
    p->target_tokens += r->targets;
    p->window_loss += r->loss * r->weight;
    p->window_weight += r->weight;
    p->window_tokens += r->tokens;
    t->window_seconds += r->seconds;
    if (p->step % (size_t)t->spec.hp.log_every && p->step != t->run.steps)
        return 0;
    double left =
        (double)(t->run.steps - p->step) * t->window_seconds / (double)t->spec.hp.log_every;
    tell("step %zu of %zu  loss %.4f  grad norm %.3g  %.0f tokens/s  %.0f s left", p->step,
        t->run.steps, p->window_loss / p->window_weight, r->norm,
        (double)p->window_tokens / t->window_seconds, left);
    int rc = hn_events_add(&t->events, "step",
        HN_JSON_OBJECT({"step", json_integer(p->step)}, {"epoch", f32(epoch_of(t, p->step))},
            {"loss", f32(p->window_loss / p->window_weight)},
            {"learning_rate", f32(hn_learning_rate(&t->spec.hp, p->step, t->run.steps))},
            {"grad_norm", f32(r->norm)}, {"tokens", json_integer(p->tokens)},
            {"target_tokens", json_integer(p->target_tokens)},
            {"tokens_per_second", f32((double)p->window_tokens / t->window_seconds)},
            {"seconds", f32(t->window_seconds)}),
        err);
    p->window_loss = p->window_weight = t->window_seconds = 0;
    p->window_tokens = 0;
    return rc;
}

/* The figure that decides which evaluation is the best; NaN when this one has none (one class only,
 * say). */
static double decisive(const struct hn_trainer *t, const struct hn_evaluation *e) {
    const char *name = hn_metric_name(t->spec.hp.metric_for_best) + strlen("val_");
    const json_t *value = json_object_get(e->metrics, name);
    return strcmp(name, "loss") == 0 ? e->loss : value ? json_number_value(value) : (double)NAN;
}

/* Of equals the one with the smaller loss is better, else the first. */
static bool is_better(const struct hn_trainer *t, double value, double loss) {
    const struct hn_progress *p = &t->progress;
    bool smaller = hn_metric_is_smaller(hn_metric_name(t->spec.hp.metric_for_best));
    if (!isfinite(value) || !p->has_best)
        return isfinite(value);
    double gain = smaller ? p->best_value - value : value - p->best_value;
    return gain > 0 || (gain >= 0 && loss < p->best_loss);
}

static void note_best(struct hn_progress *p, bool best, double value, double loss) {
    if (!best) {
        p->evaluations_since_best++;
        return;
    }
    p->has_best = true;
    p->best_value = value;
    p->best_loss = loss;
    p->best_step = p->step;
    p->evaluations_since_best = 0;
}

static int report_evaluation(struct hn_trainer *t, const struct hn_evaluation *e,
    const struct hn_beside *beside, double seconds, bool best, struct hn_error *err) {
    const struct hn_progress *p = &t->progress;
    json_t *data = json_pack("{s:I, s:I, s:o, s:b, s:o}", "step", (json_int_t)p->step, "rows",
        (json_int_t)t->run.validation.n_rows, "seconds", f32(seconds), "best", best, "val_loss",
        f32(e->loss));
    char name[64], text[512] = "";
    const char *key;
    json_t *value;
    json_object_foreach(e->metrics, key, value) {
        size_t used = strlen(text);
        snprintf(name, sizeof name, "val_%.50s", key);
        json_object_set(data, name, value);
        snprintf(text + used, sizeof text - used, ", %s %.4g", key, json_number_value(value));
    }
    hn_beside_tell(beside, data, text, sizeof text);
    tell("evaluation at step %zu: loss %.4f%s%s", p->step, e->loss, text,
        best ? ", the best so far" : "");
    if (e->confusion) {
        json_object_set(data, "confusion", e->confusion);
        json_object_set(data, "labels", t->spec.labels.names);
    }
    return hn_events_add(&t->events, "eval", data, err);
}

/* Beyond max_kl; of NaN, which is no bound, nothing is. */
static bool is_too_far(const struct hn_trainer *t) {
    return t->progress.val_kl > t->spec.hp.max_kl;
}

static int evaluate(struct hn_trainer *t, bool *ret_best, struct hn_error *err) {
    struct hn_progress *p = &t->progress;
    const struct hn_run *run = &t->run;
    struct hn_evaluation e;
    struct hn_beside beside = {(double)NAN, (double)NAN, (double)NAN};
    double start = now();
    *ret_best = false;
    if (!run->validation.n_rows || (p->step == 0 && !t->spec.hp.eval_at_start))
        return 0;
    const struct hn_dataset *data =
        t->spec.validation.file ? &run->validation_data : &run->train_data;
    int rc = hn_evaluate(&t->compute, &run->phases[HN_PHASE_EVAL], &run->loaded, t->params.values,
        &run->validation, data, HN_EVALUATION_SCORES, &e, err);
    if (rc)
        return rc;
    rc = hn_trainer_compare(t, &run->validation, data, e.metrics, err);
    if (!rc && !isfinite(e.loss))
        rc = hn_fail(err, HN_E_DIVERGED,
            "the validation loss at step %zu is no longer a finite number", p->step);
    if (!rc)
        rc = hn_trainer_measure_forgetting(t, &beside.neutral_loss, &beside.kl, err);
    if (!rc) {
        double value = decisive(t, &e);
        p->val_kl = isfinite(beside.kl) ? beside.kl : 0;
        *ret_best = is_better(t, value, e.loss) && !is_too_far(t);
        note_best(p, *ret_best, value, e.loss);
        rc = hn_trainer_keep_scores(t, "", &e.scores, err);
        if (!rc)
            rc = hn_trainer_measure_training(t, &beside.train_loss, err);
        if (!rc)
            rc = report_evaluation(t, &e, &beside, now() - start, *ret_best, err);
        if (!rc)
            rc = hn_trainer_tell_fit(t, err);
    }
    hn_evaluation_finish(&e);
    return rc;
}

static int tell_checkpoint(struct hn_trainer *t, struct hn_error *err) {
    const struct hn_progress *p = &t->progress;
    return hn_events_add(&t->events, "checkpoint",
        json_pack("{s:I, s:I, s:b}", "step", (json_int_t)p->step, "bytes",
            (json_int_t)hn_checkpoint_bytes(t->dir, p->step), "best",
            p->has_best && p->best_step == p->step),
        err);
}

static int save(struct hn_trainer *t, struct hn_error *err) {
    int rc = hn_events_sync(&t->events, err);
    if (!rc)
        rc = hn_row_file_sync(&t->rows.file, err);
    if (!rc)
        rc = hn_checkpoint_write(t->dir, &t->params, &t->progress, t->spec.run_sha256, err);
    if (!rc)
        rc = tell_checkpoint(t, err);
    t->last_save = now();
    if (!rc)
        tell("checkpoint of step %zu written", t->progress.step);
    return rc ? rc
              : hn_checkpoint_prune(
                    t->dir, (size_t)t->spec.hp.keep_checkpoints, t->progress.best_step, err);
}

static bool save_is_due(const struct hn_trainer *t) {
    const struct hn_hyperparams *hp = &t->spec.hp;
    if (hp->save_every == HN_AUTO_INT)
        return now() - t->last_save > HN_AUTO_SAVE_SECONDS;
    return t->progress.step % (size_t)hp->save_every == 0;
}

static bool patience_is_over(const struct hn_trainer *t) {
    return t->spec.hp.early_stopping_patience != HN_NONE_INT && t->run.validation.n_rows &&
        t->progress.evaluations_since_best >= (size_t)t->spec.hp.early_stopping_patience;
}

/* Before the last step. */
static bool ends_early(const struct hn_trainer *t) {
    return patience_is_over(t) || is_too_far(t);
}

static int interrupted(struct hn_trainer *t, const char *reason, struct hn_error *err) {
    int rc = save(t, err);
    if (!rc)
        rc = hn_events_add(&t->events, "interrupted",
            json_pack("{s:I, s:s}", "step", (json_int_t)t->progress.step, "reason", reason), err);
    return rc ? rc : HN_INTERRUPTED;
}

/* With its evaluation, if one is due. The last step is the run's end, not a stop. */
static bool stop_is_reached(const struct hn_trainer *t) {
    return t->spec.stop_at > 0 && t->progress.step >= (size_t)t->spec.stop_at;
}

/* Steps until the end, an early stop or an interruption (HN_INTERRUPTED). */
static int train(struct hn_trainer *t, const char **ret_reason, struct hn_error *err) {
    struct hn_progress *p = &t->progress;
    const struct hn_hyperparams *hp = &t->spec.hp;
    *ret_reason = hp->max_steps != HN_NONE_INT && t->run.steps == (size_t)hp->max_steps
        ? "max_steps"
        : "completed";
    int rc = 0;
    bool best = false;
    if (p->step == 0 && (!(rc = evaluate(t, &best, err))))
        rc = hn_trainer_sample(t, 0, err);
    while (!rc && p->step < t->run.steps && !ends_early(t)) {
        struct step_result r;
        if (stop_requests || stop_is_reached(t))
            return interrupted(t, stop_requests ? "signal" : HN_STOP_AT, err);
        if ((rc = train_step(t, p->step + 1, &r, err)))
            break;
        p->step++;
        hn_examples_release(&t->run.train);
        if ((rc = log_step(t, &r, err)))
            break;
        bool last = p->step == t->run.steps;
        best = false;
        if (last || p->step % (size_t)hp->eval_every == 0)
            rc = evaluate(t, &best, err);
        if (!rc && (last || best || save_is_due(t) || ends_early(t)))
            rc = save(t, err);
    }
    if (!rc && patience_is_over(t) && p->step < t->run.steps)
        *ret_reason = "early_stopping";
    if (!rc && is_too_far(t))
        *ret_reason = HN_STOP_KL;
    return rc;
}

/* A damaged one costs the steps from an older checkpoint on: the next attempt goes on from
 * there. */
static int read_best(struct hn_trainer *t, struct hn_error *err) {
    struct hn_error problem = {0};
    if (!hn_checkpoint_check(t->dir, t->exported_step, &problem))
        return hn_checkpoint_read(
            t->dir, t->exported_step, &t->params, NULL, t->spec.run_sha256, err);
    int rc = hn_events_add(&t->events, "interrupted",
        json_pack("{s:I, s:s, s:s}", "step", (json_int_t)t->progress.step, "reason",
            "checkpoint_damaged", "message", problem.message),
        err);
    return rc ? rc : HN_INTERRUPTED;
}

/* The parameters to export: the best evaluation's where asked for, else the last step's. */
static int choose_exported(struct hn_trainer *t, struct hn_error *err) {
    t->exported_step = t->progress.step;
    if (!t->spec.export_best || !t->progress.has_best || t->progress.best_step == t->progress.step)
        return 0;
    t->exported_step = t->progress.best_step;
    if (t->exported_step)
        return read_best(t, err);
    /* nothing was better than the beginning */
    return hn_loaded_start_params(&t->run.loaded, t->dir, &t->params, err);
}

/* The rows that nothing has looked at so far, once, with what is exported. */
static int test(struct hn_trainer *t, struct hn_error *err) {
    struct hn_evaluation e;
    const char *key;
    char name[64];
    json_t *value;
    if (!t->run.test.n_rows)
        return 0;
    int rc = hn_evaluate(&t->compute, &t->run.phases[HN_PHASE_EVAL], &t->run.loaded,
        t->params.values, &t->run.test, &t->run.test_data, HN_EVALUATION_FIGURES, &e, err);
    if (rc)
        return rc;
    if ((rc = hn_trainer_compare(t, &t->run.test, &t->run.test_data, e.metrics, err))) {
        hn_evaluation_finish(&e);
        return rc;
    }
    json_t *data = json_pack("{s:I, s:I, s:o}", "step", (json_int_t)t->exported_step, "rows",
        (json_int_t)t->run.test.n_rows, "test_loss", f32(e.loss));
    json_object_foreach(e.metrics, key, value) {
        snprintf(name, sizeof name, "test_%.50s", key);
        json_object_set(data, name, value);
    }
    if (e.confusion) {
        json_object_set(data, "confusion", e.confusion);
        json_object_set(data, "labels", t->spec.labels.names);
    }
    tell("test rows: loss %.4f", e.loss);
    hn_evaluation_finish(&e);
    return hn_events_add(&t->events, "test", data, err);
}

/* What predicting the mean of the validation rows' values would cost. */
static double loss_of_mean(const struct hn_examples *ex) {
    double mean = 0, squares = 0;
    for (size_t i = 0; i < ex->n_rows; i++)
        mean += (double)ex->values[i] / (double)ex->n_rows;
    for (size_t i = 0; i < ex->n_rows; i++)
        squares += ((double)ex->values[i] - mean) * ((double)ex->values[i] - mean);
    return squares / (double)ex->n_rows;
}

/* A share of the variance below 4/n is what n rows show by chance in one of twenty cases (the F
 * test of a correlation, for large n). */
static int warn_of_mean(struct hn_trainer *t, struct hn_error *err) {
    const struct hn_examples *ex = &t->run.validation;
    if (t->spec.labels.objective != HN_OBJECTIVE_VALUE || !t->progress.has_best || !ex->n_rows)
        return 0;
    double r2 = 1 - t->progress.best_loss / loss_of_mean(ex);
    if (!(r2 < 4 / (double)ex->n_rows))
        return 0;
    return hn_events_add(&t->events, "warning",
        json_pack("{s:s, s:o, s:I}", "code", "no_better_than_mean", "message",
            json_sprintf("the values predicted for %zu validation rows are no better than their "
                         "mean (R2 %.3f): train longer or at another learning_rate, or the texts "
                         "do not say what the values are",
                ex->n_rows, r2),
            "step", (json_int_t)t->progress.step),
        err);
}

static int finish(struct hn_trainer *t, const char *reason, struct hn_error *err) {
    int rc = choose_exported(t, err);
    hn_params_release_optimizer(&t->params); /* memory that reading back needs */
    if (!rc)
        rc = test(t, err);
    if (!rc)
        rc = hn_trainer_sample(t, t->exported_step, err);
    if (!rc)
        rc = warn_of_mean(t, err);
    if (!rc)
        rc = hn_publish_artifacts(t, err);
    if (rc)
        return rc;
    tell("finished (%s): step %zu exported, artifacts in %s/artifacts", reason, t->exported_step,
        t->dir);
    json_t *best = t->progress.has_best
        ? json_pack("{s:I, s:s, s:o}", "step", (json_int_t)t->progress.best_step, "metric",
              hn_metric_name(t->spec.hp.metric_for_best), "value", f32(t->progress.best_value))
        : json_null();
    json_t *end = json_pack("{s:I, s:s, s:o, s:I, s:o}", "step", (json_int_t)t->progress.step,
        "reason", reason, "best", best, "exported_step", (json_int_t)t->exported_step, "seconds",
        f32(now() - t->started));
    if (strcmp(reason, HN_STOP_KL) == 0)
        json_object_set_new(end, "message",
            json_sprintf(
                "stopped at step %zu: val_kl %.4g is above max_kl %.4g; step %zu is exported",
                t->progress.step, t->progress.val_kl, t->spec.hp.max_kl, t->exported_step));
    rc = hn_events_add(&t->events, "finished", end, err);
    if (!rc)
        rc = hn_events_sync(&t->events, err);
    if (!rc)
        unlink(t->tokens); /* made again in a moment, should anyone run this again */
    return rc;
}

static int announce(struct hn_trainer *t, struct hn_error *err) {
    char kernels[256];
    hn_compute_name(kernels, sizeof kernels);
    int rc = hn_events_add(&t->events, "started",
        json_pack("{s:I, s:I, s:s, s:s, s:I}", "attempt", (json_int_t)t->events.attempts + 1, "pid",
            (json_int_t)getpid(), "build", hn_build_name(), "kernels", kernels, "threads",
            (json_int_t)t->run.threads),
        err);
    const struct hn_examples *ex = &t->run.train;
    tell("honed %s, %s, %u threads", hn_build_name(), kernels, t->run.threads);
    tell("%zu training rows (%zu dropped, %zu truncated), %zu validation rows, %zu steps; %zu MB "
         "planned",
        ex->n_rows, ex->dropped, ex->truncated, t->run.validation.n_rows, t->run.steps,
        t->run.memory.peak >> 20);
    if (!rc)
        rc = hn_events_add(&t->events, "plan",
            HN_JSON_OBJECT({"peak_bytes", json_integer(t->run.memory.peak)},
                {"arena_bytes", json_integer(t->run.memory.arena)},
                {"mapped_bytes", json_integer(t->run.memory.mapped)},
                {"micro_batch_tokens", json_integer(t->spec.hp.micro_batch_tokens)},
                {"recompute", json_boolean(t->spec.recompute)},
                {"steps", json_integer(t->run.steps)}, {"rows", json_integer(ex->n_rows)},
                {"dropped", json_integer(ex->dropped)}, {"truncated", json_integer(ex->truncated)},
                {"tokens", json_integer(ex->n_tokens)},
                {"target_tokens", json_integer(ex->target_tokens)}),
            err);
    return rc;
}

static void name_computer(char *out) {
    char kernels[256];
    hn_compute_name(kernels, sizeof kernels);
    snprintf(out, HN_COMPUTED_BY, "%s, %s", hn_build_name(), kernels);
}

/* The checkpoint may come from another CPU or an earlier build: the run goes on, but its bytes are
 * no longer those of a run on either alone. */
static int tell_kernels(struct hn_trainer *t, struct hn_error *err) {
    char here[HN_COMPUTED_BY], text[2 * HN_COMPUTED_BY + 120];
    struct hn_progress *p = &t->progress;
    name_computer(here);
    bool same = strcmp(p->computed_by, here) == 0 || !p->computed_by[0];
    snprintf(text, sizeof text,
        "up to step %zu computed by %s, from there on by %s: the last digits may differ from a run "
        "of one of them",
        p->step, p->computed_by, here);
    snprintf(p->computed_by, sizeof p->computed_by, "%s", here);
    if (same)
        return 0;
    p->kernels_changed = true;
    tell("%s", text);
    return hn_events_add(&t->events, "warning",
        json_pack("{s:s, s:s, s:I}", "code", "kernels_changed", "message", text, "step",
            (json_int_t)p->step),
        err);
}

static int warn_damaged(
    struct hn_trainer *t, size_t step, const char *message, struct hn_error *err) {
    tell("the checkpoint of step %zu cannot be used: %s", step, message);
    return hn_events_add(&t->events, "warning",
        json_pack("{s:s, s:s, s:I}", "code", "checkpoint_unreadable", "message", message, "step",
            (json_int_t)step),
        err);
}

/* Takes away the checkpoints that are damaged, each with a warning: steps that are computed again
 * write them again. The others stay in `steps`. */
static int remove_damaged(struct hn_trainer *t, size_t *steps, size_t *n, struct hn_error *err) {
    size_t kept = 0;
    int rc = 0;
    for (size_t i = 0; i < *n && !rc; i++) {
        struct hn_error problem = {0};
        if (!hn_checkpoint_check(t->dir, steps[i], &problem)) {
            steps[kept++] = steps[i];
            continue;
        }
        rc = warn_damaged(t, steps[i], problem.message, err);
        if (!rc)
            rc = hn_checkpoint_remove(t->dir, steps[i], err);
    }
    *n = kept;
    return rc;
}

/* What will be exported must be there: a checkpoint whose best step has lost its own is no place to
 * go on from. */
static bool has_its_best(const struct hn_trainer *t, size_t step, const size_t *steps, size_t n) {
    struct hn_progress p;
    if (!t->spec.export_best || hn_checkpoint_read_progress(t->dir, step, &p, NULL, NULL))
        return true;
    bool found = !p.has_best || p.best_step == 0;
    for (size_t i = 0; i < n; i++)
        found = found || steps[i] == p.best_step;
    return found;
}

static int went_on(struct hn_trainer *t, struct hn_error *err) {
    tell("going on from the checkpoint of step %zu", t->progress.step);
    int rc = hn_events_add(&t->events, "resumed",
        json_pack("{s:I, s:I}", "from_step", (json_int_t)t->progress.step, "replayed_to",
            (json_int_t)t->events.last_step),
        err);
    if (!rc)
        rc = tell_kernels(t, err);
    /* its event may be missing: the trainer can have died between the two */
    return rc ? rc : tell_checkpoint(t, err);
}

/* Goes on from the newest checkpoint that is whole; without one, from the beginning. */
static int resume(struct hn_trainer *t, struct hn_error *err) {
    size_t *steps = NULL, n = 0;
    name_computer(t->progress.computed_by);
    int rc = hn_checkpoint_list(t->dir, &steps, &n, err);
    bool found = false;
    if (!rc)
        rc = remove_damaged(t, steps, &n, err);
    for (size_t i = n; !rc && !found && i-- > 0;) {
        struct hn_error problem = {0};
        if (!has_its_best(t, steps[i], steps, n))
            continue;
        if (hn_checkpoint_read(
                t->dir, steps[i], &t->params, &t->progress, t->spec.run_sha256, &problem))
            rc = warn_damaged(t, steps[i], problem.message, err);
        else
            found = true;
    }
    if (!rc && found)
        rc = went_on(t, err);
    free(steps);
    return rc;
}

/* The rows as the plan made them; where they are not, a file beside the inputs, which only a server
 * changes. */
static void choose_tokens(struct hn_trainer *t) {
    char work[4096];
    snprintf(t->tokens, sizeof t->tokens, "%s/inputs/tokens", t->dir);
    if (access(t->tokens, F_OK) == 0)
        return;
    snprintf(work, sizeof work, "%s/work", t->dir);
    hn_dir_create(work, NULL); /* without it the rows are held in memory */
    snprintf(t->tokens, sizeof t->tokens, "%.4080s/tokens", work);
}

static int prepare(struct hn_trainer *t, struct hn_error *err) {
    char path[4096];
    json_t *json = NULL;
    snprintf(path, sizeof path, "%s/spec.json", t->dir);
    choose_tokens(t);
    int rc = hn_json_load(path, 16 << 20, &json, err);
    if (!rc)
        rc = hn_spec_read(&t->spec, json, err);
    if (!rc)
        rc = hn_run_load(&t->run, &t->spec, t->dir, t->tokens, err);
    if (!rc && hn_run_reads_texts(&t->run))
        rc = hn_run_open_data(&t->run, t->dir, err);
    if (!rc)
        rc = hn_run_plan(&t->run, err);
    if (!rc)
        rc = hn_loaded_make_params(&t->run.loaded, &t->params, err);
    if (!rc)
        rc = hn_params_add_optimizer(&t->params, err);
    if (!rc)
        rc = hn_compute_init(
            &t->compute, t->run.threads, t->run.memory.arena, t->run.batch_tokens, err);
    if (!rc && !(t->order = hn_calloc(t->run.train.n_rows, sizeof *t->order)))
        rc = hn_fail(err, HN_E_INTERNAL, "out of memory");
    t->order_epoch = SIZE_MAX;
    if (!rc)
        rc = hn_trainer_begin_rows(t, err);
    return rc ? rc : hn_loaded_start_params(&t->run.loaded, t->dir, &t->params, err);
}

/* RUN_DIR/lock: held by flock while a trainer lives; tells who it is. Whoever hands it over has
 * locked and written it, and the descriptor is for reading only. */
static int take_lock(const char *dir, int *fd, struct hn_error *err) {
    char path[4096], stat_text[1024] = "", line[64];
    if (*fd >= 0)
        return 0;
    snprintf(path, sizeof path, "%s/lock", dir);
    if ((*fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600)) < 0)
        return hn_fail_errno(err, errno, "cannot open %s", path);
    if (flock(*fd, LOCK_EX | LOCK_NB))
        return hn_fail(err, HN_E_CONFLICT, "another trainer holds %s", path);
    /* Start time: field 22 of /proc/self/stat, counted behind the command's closing parenthesis. */
    unsigned long long start = 0;
    FILE *f = fopen("/proc/self/stat", "r");
    if (f && fgets(stat_text, sizeof stat_text, f) && strrchr(stat_text, ')'))
        sscanf(strrchr(stat_text, ')') + 2,
            "%*c %*d %*d %*d %*d %*d %*u %*u %*u %*u %*u %*u %*u %*d %*d %*d %*d %*d %*d %llu",
            &start);
    if (f)
        fclose(f);
    int n = snprintf(line, sizeof line, "%d %llu\n", (int)getpid(), start);
    if (ftruncate(*fd, 0) || pwrite(*fd, line, (size_t)n, 0) != n)
        return hn_fail_errno(err, errno, "cannot write %s", path);
    return 0;
}

static int settle(struct hn_trainer *t, int rc, const struct hn_error *err) {
    if (!rc)
        return HN_EXIT_FINISHED;
    if (rc == HN_INTERRUPTED)
        return HN_EXIT_INTERRUPTED;
    tell("failed: %s%s%s", err->message, err->hint[0] ? " — " : "", err->hint);
    if (t->events.fd <= 0)
        return rc == HN_E_DISK_FULL ? HN_EXIT_RESOURCES : HN_EXIT_FAILED;
    if (rc == HN_E_DISK_FULL) {
        hn_events_add(&t->events, "interrupted",
            json_pack("{s:I, s:s}", "step", (json_int_t)t->progress.step, "reason", "disk_full"),
            NULL);
        hn_events_sync(&t->events, NULL);
        return HN_EXIT_RESOURCES;
    }
    json_t *lines = t->failed_lines ? t->failed_lines : json_array();
    t->failed_lines = NULL;
    hn_events_add(&t->events, "failed",
        json_pack("{s:s, s:s, s:s, s:I, s:o}", "code", hn_error_name(rc), "message", err->message,
            "hint", err->hint, "step", (json_int_t)t->progress.step + (rc == HN_E_DIVERGED),
            "lines", lines),
        NULL);
    hn_events_sync(&t->events, NULL);
    return HN_EXIT_FAILED;
}

int hn_train(const char *run_dir, int lock_fd) {
    struct hn_trainer t = {.dir = run_dir,
        .events = {.fd = -1},
        .rows = {.file = {.fd = -1}},
        .started = now(),
        .last_save = now()};
    struct hn_error err = {0};
    struct sigaction action = {.sa_handler = on_stop};
    sigaction(SIGTERM, &action, NULL);
    sigaction(SIGINT, &action, NULL);
    int rc = take_lock(run_dir, &lock_fd, &err);
    if (rc == HN_E_CONFLICT) {
        fprintf(stderr, "%s\n", err.message);
        return HN_EXIT_LOCKED;
    }
    const char *reason = "completed";
    if (!rc)
        rc = hn_events_open(&t.events, run_dir, &err);
    if (!rc && t.events.finished) {
        hn_events_close(&t.events);
        close(lock_fd);
        return HN_EXIT_FINISHED;
    }
    if (!rc)
        rc = prepare(&t, &err);
    if (!rc)
        rc = announce(&t, &err);
    if (!rc)
        rc = resume(&t, &err);
    if (!rc)
        rc = train(&t, &reason, &err);
    if (!rc)
        rc = finish(&t, reason, &err);
    int status = settle(&t, rc, &err);
    json_decref(t.failed_lines);
    free(t.order);
    hn_trainer_finish_rows(&t);
    hn_compute_finish(&t.compute);
    hn_params_finish(&t.params);
    hn_run_finish(&t.run);
    hn_spec_finish(&t.spec);
    hn_events_close(&t.events);
    close(lock_fd); /* last: a free lock means that all is written */
    return status;
}
