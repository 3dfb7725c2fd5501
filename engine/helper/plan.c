/*
 * job.plan: a submission made into a specification with no "auto" left, and what running it will
 * take.
 *
 * The figures are those of the trainer itself: the same code loads and plans.
 */
#include "engine/helper/plan.h"
#include "engine/run/batch.h"
#include "engine/run/checkpoint.h"
#include "engine/export/export.h"
#include "engine/helper/call.h"
#include "engine/base/json.h"
#include "engine/kernels/rate.h"
#include "engine/run/token_file.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define SMALLEST_MICRO_BATCH 128

static int read_names(struct hn_planning *p, struct hn_error *err) {
    const char *task = NULL, *method = NULL;
    int rc = hn_json_string(p->params, "task", &task, err);
    if (!rc)
        rc = hn_json_string(p->params, "method", &method, err);
    if (rc)
        return rc;
    int number = task ? hn_task_from_name(task) : HN_TASK_GENERATION;
    if (number < 0) {
        hn_fail(err, HN_E_INVALID_FIELD, "there is no task \"%.64s\"", task);
        hn_error_field(err, "task");
        return HN_E_INVALID_FIELD;
    }
    p->task = (enum hn_task)number;
    for (int m = HN_METHOD_LORA; m <= HN_METHOD_HEAD; m++)
        if (!method || strcmp(method, hn_method_name((enum hn_method)m)) == 0) {
            p->method = (enum hn_method)m;
            return 0;
        }
    hn_fail(err, HN_E_INVALID_FIELD, "there is no method \"%.32s\"; there are lora, full and head",
        method);
    hn_error_field(err, "method");
    return HN_E_INVALID_FIELD;
}

/* "auto" (or absent), "none", {"fraction"} or DATA. */
static int read_validation(struct hn_planning *p, struct hn_error *err) {
    const json_t *v = json_object_get(p->params, "validation");
    const char *text = json_string_value(v);
    if (json_is_object(v) && json_object_get(v, "path"))
        return hn_json_string(v, "path", &p->validation_path, err);
    if (json_is_object(v) && json_object_get(v, "fraction")) {
        p->fraction = json_number_value(json_object_get(v, "fraction"));
        if (p->fraction > 0 && p->fraction < 1 && p->rows >= 2)
            return 0;
        hn_fail(err, HN_E_INVALID_FIELD,
            "validation as a fraction must lie between 0 and 1, of at least two rows");
        hn_error_field(err, "validation");
        return HN_E_INVALID_FIELD;
    }
    if (text && strcmp(text, "none") == 0)
        return 0;
    if (text && strcmp(text, "auto") != 0) {
        hn_fail(err, HN_E_INVALID_FIELD, "validation must be a data set, a fraction or \"none\"");
        hn_error_field(err, "validation");
        return HN_E_INVALID_FIELD;
    }
    if (p->rows < 200) {
        hn_planning_warn(p, "no_validation",
            "with %zu row%s none are held out (from 200 on, a tenth is); without them overfitting "
            "cannot be seen: send a validation data set or \"validation\":0.2",
            p->rows, p->rows == 1 ? "" : "s");
        return 0;
    }
    p->fraction = p->rows > 10000 ? 1000.0 / (double)p->rows : 0.1;
    hn_planning_because(
        p, "validation", "%.4g of %zu rows held out: a tenth, at most 1,000", p->fraction, p->rows);
    return 0;
}

/* Names of export bits, joined by commas. */
static void list_exports(unsigned bits, char *out, size_t size) {
    out[0] = 0;
    for (unsigned bit = 1; bit <= HN_EXPORT_MERGED_GGUF; bit *= 2)
        if (bits & bit)
            snprintf(out + strlen(out), size - strlen(out), "%s%s", out[0] ? ", " : "",
                hn_export_name((enum hn_export)bit));
}

static json_t *exports_json(const struct hn_planning *p, struct hn_error *err) {
    const json_t *asked = json_object_get(p->params, "exports");
    bool head = p->labels.problem != HN_PROBLEM_TOKENS;
    unsigned bits = hn_method_exports(p->method, head);
    char possible[96];
    list_exports(bits, possible, sizeof possible);
    if (!asked || json_is_null(asked))
        return p->method != HN_METHOD_LORA ? json_pack("[s]", "merged")
            : head                         ? json_pack("[s]", "peft")
                                           : json_pack("[s, s]", "peft", "gguf");
    if (!json_is_array(asked)) {
        hn_fail(err, HN_E_INVALID_FIELD, "exports must be a list of: %s", possible);
        hn_error_field(err, "exports");
        hn_error_hint(err, "for example [\"peft\"]");
        return NULL;
    }
    json_t *list = json_array();
    for (size_t i = 0; i < json_array_size(asked); i++) {
        const char *name = json_string_value(json_array_get(asked, i));
        int bit = name ? hn_export_from_name(name) : 0;
        if ((unsigned)bit & bits) {
            json_array_append_new(list, json_string(name));
            continue;
        }
        hn_fail(err, bit ? HN_E_UNSUPPORTED : HN_E_INVALID_FIELD,
            "the export \"%.32s\" is not one of a %s run%s, which are: %s", name ? name : "?",
            hn_method_name(p->method), head ? " with a head" : "", possible);
        hn_error_field(err, "exports");
        json_decref(list);
        return NULL;
    }
    if (json_array_size(list))
        return list;
    json_decref(list);
    hn_fail(err, HN_E_INVALID_FIELD, "exports must name at least one; of a %s run there are: %s",
        hn_method_name(p->method), possible);
    hn_error_field(err, "exports");
    return NULL;
}

static json_t *source_json(const json_t *data, const char *file) {
    const char *sha = json_string_value(json_object_get(data, "sha256")),
               *format = json_string_value(json_object_get(data, "format"));
    const char *on_error = json_string_value(json_object_get(data, "on_error"));
    const json_t *columns = json_object_get(data, "columns");
    json_t *source = json_pack("{s:s, s:s, s:s, s:O, s:s}", "file", file, "sha256", sha ? sha : "",
        "format", format ? format : "jsonl", "columns", columns ? columns : json_null(), "on_error",
        on_error ? on_error : "refuse");
    if (json_object_get(data, "weight"))
        json_object_set(source, "weight", json_object_get(data, "weight"));
    return source;
}

/* Training data sets behind the first. */
static json_t *more_json(const struct hn_planning *p, bool real) {
    json_t *list = json_array(), *data;
    char name[48];
    size_t i;
    json_array_foreach(json_object_get(p->params, "more"), i, data) {
        snprintf(name, sizeof name, "inputs/train-%zu", i + 2);
        json_array_append_new(list,
            source_json(data, real ? json_string_value(json_object_get(data, "path")) : name));
    }
    return list;
}

static json_t *samples_json(const struct hn_planning *p, struct hn_error *err) {
    const json_t *asked = json_object_get(p->params, "samples");
    int64_t rows = 4, tokens = 128;
    static const char *const known[] = {"rows", "max_tokens", NULL};
    if (asked && !json_is_null(asked) &&
        ((json_is_object(asked) ? hn_json_known(asked, known, "samples.", err)
                                : hn_fail(err, HN_E_INVALID_FIELD, "samples must be an object")) ||
            hn_json_int(asked, "rows", 0, 100, &rows, err) ||
            hn_json_int(asked, "max_tokens", 1, 4096, &tokens, err))) {
        hn_error_inside(err, "samples");
        return NULL;
    }
    return json_pack("{s:I, s:I}", "rows", (json_int_t)rows, "max_tokens", (json_int_t)tokens);
}

/* Other precisions of the base. They change no result, so they belong to the host part. */
static json_t *others_json(const struct hn_planning *p, bool real) {
    json_t *list = json_array(), *model;
    size_t i;
    json_array_foreach(json_object_get(p->params, "verify_on"), i, model) {
        const char *path = json_string_value(json_object_get(model, "path"));
        json_t *file = real
            ? json_string(path)
            : json_sprintf("inputs/verify-%zu%s", i + 1, hn_is_folder(path) ? "" : ".gguf");
        json_array_append_new(list,
            json_pack("{s:O, s:O, s:o}", "name", json_object_get(model, "name"), "sha256",
                json_object_get(model, "sha256"), "file", file));
    }
    return list;
}

/* The run that this one begins from. */
static json_t *init_json(const struct hn_planning *p, bool real) {
    const json_t *init = json_object_get(p->params, "init");
    return p->init_path
        ? json_pack("{s:s, s:s, s:O?, s:O?}", "file",
              real ? p->init_path : "inputs/init.safetensors", "sha256", p->init_sha256, "job",
              json_object_get(init, "job"), "step", json_object_get(init, "step"))
        : json_null();
}

/* The specification; with `real` paths for planning here, else with the names the inputs have in a
 * run directory. */
static json_t *make_spec(const struct hn_planning *p, bool real, struct hn_error *err) {
    const json_t *model = json_object_get(p->params, "model"),
                 *train = json_object_get(p->params, "train");
    const char *sha = json_string_value(json_object_get(model, "sha256")),
               *step = json_string_value(json_object_get(p->params, "export_step"));
    bool validated = p->validation_path || p->fraction > 0;
    if (step && strcmp(step, "best") != 0 && strcmp(step, "last") != 0) {
        hn_fail(err, HN_E_INVALID_FIELD, "export_step must be \"best\" or \"last\"");
        hn_error_field(err, "export_step");
        return NULL;
    }
    json_t *exports = exports_json(p, err), *samples = exports ? samples_json(p, err) : NULL;
    if (!exports || !samples) {
        json_decref(exports);
        return NULL;
    }
    json_t *validation = p->validation_path ? source_json(json_object_get(p->params, "validation"),
                                                  real ? p->validation_path : "inputs/validation")
        : p->fraction > 0                   ? json_pack("{s:f}", "fraction", p->fraction)
                                            : json_null();
    json_t *run = json_pack("{s:s, s:s, s:{s:s, s:s}, s:o, s:o, s:o, s:n, s:o, s:o, s:s}", "task",
        hn_task_name(p->task), "method", hn_method_name(p->method), "model", "sha256",
        sha ? sha : "", "file",
        real                              ? p->model_path
            : hn_is_folder(p->model_path) ? "inputs/model"
                                          : "inputs/model.gguf",
        "train", source_json(train, real ? p->train_path : "inputs/train"), "validation",
        validation, "init", init_json(p, real), "labels", "hyperparameters",
        hn_hyperparams_write(&p->hp, HN_HP_RUN), "exports", exports, "export_step",
        step            ? step
            : validated ? "best"
                        : "last");
    hn_spec_write_fields(run, p->params, HN_JOB_RUN);
    json_object_set_new(run, "samples", samples);
    json_object_set_new(run, "recompute", json_boolean(p->recompute));
    json_object_set_new(run, "template_date", json_string(p->now));
    if (json_array_size(json_object_get(p->params, "more")))
        json_object_set_new(run, "more", more_json(p, real));
    if (p->test_path)
        json_object_set_new(run, "test",
            source_json(json_object_get(p->params, "test"), real ? p->test_path : "inputs/test"));
    hn_spec_write_fields(run, p->params, HN_JOB_GIVEN);
    if (hn_labels_write(&p->labels, run, err)) {
        json_decref(run);
        return NULL;
    }
    json_t *host = hn_hyperparams_write(&p->hp, HN_HP_HOST);
    if (json_array_size(json_object_get(p->params, "verify_on")))
        json_object_set_new(host, "verify_on", others_json(p, real));
    json_object_set_new(host, "memory_bytes", json_integer((json_int_t)p->memory_bytes));
    if (!real && p->tokens[0])
        json_object_set_new(host, "tokens", json_string(p->tokens));
    if (real)
        json_object_set_new(
            host, "threads", json_integer((json_int_t)(p->threads > 0 ? p->threads : 1)));
    return json_pack("{s:i, s:o, s:o}", "format", 1, "run", run, "host", host);
}

/* Plans the loaded run under the present hyperparameters. The new spec replaces the one that `run`
 * points to. */
static int plan_again(
    struct hn_planning *p, struct hn_spec *spec, struct hn_run *run, struct hn_error *err) {
    json_t *json = make_spec(p, true, err);
    struct hn_spec next;
    int rc = json ? hn_spec_read(&next, json, err) : err ? err->code : HN_E_INTERNAL;
    if (rc)
        return rc;
    hn_spec_finish(spec);
    *spec = next;
    return hn_run_plan(run, err);
}

static bool fits(const struct hn_planning *p, const struct hn_run *run) {
    return p->memory_bytes <= 0 || run->memory.peak <= (size_t)p->memory_bytes;
}

/* Makes the run smaller where that changes no result that was asked for: smaller micro-batches,
 * then recomputation.
 */
static int squeeze(struct hn_planning *p, struct hn_spec *spec, struct hn_run *run, bool auto_micro,
    struct hn_error *err) {
    int rc = plan_again(p, spec, run, err);
    while (!rc && auto_micro && !fits(p, run) && p->hp.micro_batch_tokens > SMALLEST_MICRO_BATCH &&
        (size_t)p->hp.micro_batch_tokens > run->longest) {
        p->hp.micro_batch_tokens /= 2;
        hn_planning_because(p, "micro_batch_tokens",
            "%lld: the largest that fits the slot's memory", (long long)p->hp.micro_batch_tokens);
        rc = plan_again(p, spec, run, err);
    }
    if (!rc && !fits(p, run)) {
        p->recompute = true;
        hn_planning_because(p, "recompute",
            "layers are computed again in the backward pass, since keeping them does not fit the "
            "slot's memory");
        rc = plan_again(p, spec, run, err);
    }
    return rc;
}

/* Smaller settings a person could choose, with what they would take. */
static json_t *alternatives(
    struct hn_planning *p, struct hn_spec *spec, struct hn_run *run, struct hn_error *err) {
    json_t *list = json_array();
    struct hn_hyperparams kept = p->hp;
    struct {
        const char *name;
        int64_t *field, value;
    } changes[] = {{"micro_batch_tokens", &p->hp.micro_batch_tokens, p->hp.micro_batch_tokens / 2},
        {"lora_rank", &p->hp.lora_rank, p->hp.lora_rank / 2}};
    size_t before = run->memory.peak;
    if (fits(p, run))
        return list;
    for (size_t i = 0; i < 2; i++) {
        if (changes[i].value < 1 || (i == 0 && changes[i].value < 16) ||
            (i == 1 && p->method != HN_METHOD_LORA))
            continue;
        *changes[i].field = changes[i].value;
        if (!plan_again(p, spec, run, err) &&
            run->memory.peak < before - before / 100) /* less than that is no help */
            json_array_append_new(list,
                json_pack("{s:{s:I}, s:I}", "change", changes[i].name, (json_int_t)changes[i].value,
                    "peak_bytes", (json_int_t)run->memory.peak));
        p->hp = kept;
    }
    plan_again(p, spec, run, err);
    return list;
}

/* Work of the whole run over a cautious share of that rate; a person wants the order of
 * magnitude. */
static double estimate_seconds(const struct hn_planning *p, const struct hn_run *run) {
    const double rate = 0.6 * hn_rate_product();
    double rows = (double)run->steps * (double)p->hp.batch_size,
           mean = (double)run->train.n_tokens / (double)run->train.n_rows;
    double flops =
        rows * mean * (p->method == HN_METHOD_FULL ? 6 : 4.6) * (double)run->model.parameters;
    double evaluations =
        run->validation.n_rows ? (double)run->steps / (double)p->hp.eval_every + 2 : 0;
    flops += evaluations * (double)run->validation.n_tokens * 2 * (double)run->model.parameters;
    return flops / (rate * (double)(p->threads > 0 ? p->threads : 1)) + 5;
}

/* Checkpoints (values and two moments each), one more while the next is written, and the
 * results. */
static size_t disk_bytes(const struct hn_planning *p, const struct hn_run *run) {
    const struct hn_spec *spec = run->spec;
    size_t values = run->n_params * sizeof(float),
           bytes = values * 3 * (size_t)(p->hp.keep_checkpoints + 2);
    bytes += values * (size_t)__builtin_popcount(spec->exports & (HN_EXPORT_PEFT | HN_EXPORT_GGUF));
    if (spec->exports & HN_EXPORT_MERGED)
        bytes += run->model.parameters * hn_dtype_info((int)spec->export_dtype)->bytes;
    if (spec->exports & HN_EXPORT_MERGED_GGUF)
        bytes += hn_dtype_bytes(hn_dtype_info((int)spec->gguf_dtype), run->model.parameters);
    return bytes + (8 << 20); /* tokenizer files, events, log */
}

/* What the trainer decides when it runs, as it will be here: the specification leaves both to
 * it. */
static void tell_host(
    struct hn_planning *p, const struct hn_run *run, double seconds, json_t *resolved) {
    double steps = round(HN_AUTO_SAVE_SECONDS * (double)run->steps / seconds),
           most = (double)run->steps;
    if (p->hp.save_every == HN_AUTO_INT) {
        steps = steps < 1 ? 1 : steps < most ? steps : most;
        json_object_set_new(resolved, "save_every", json_integer((json_int_t)steps));
        hn_planning_because(p, "save_every", "%.0f: about %d seconds of steps, by the clock", steps,
            HN_AUTO_SAVE_SECONDS);
    }
    if (p->hp.threads == HN_AUTO_INT) {
        json_object_set_new(resolved, "threads", json_integer((json_int_t)p->threads));
        hn_planning_because(
            p, "threads", "%lld: the slot's share; it changes no result", (long long)p->threads);
    }
}

static json_t *answer(
    struct hn_planning *p, struct hn_spec *spec, struct hn_run *run, struct hn_error *err) {
    const struct hn_examples *ex = &run->train;
    json_t *other = alternatives(p, spec, run, err), *final = make_spec(p, false, err);
    json_int_t disk = (json_int_t)disk_bytes(p, run);
    json_t *resolved = hn_hyperparams_write(&p->hp, HN_HP_ALL);
    double seconds = round(estimate_seconds(p, run));
    tell_host(p, run, seconds, resolved);
    json_t *validation = p->validation_path
        ? json_pack("{s:I}", "rows", (json_int_t)run->validation.n_rows)
        : p->fraction > 0 ? json_pack("{s:f, s:I}", "fraction", p->fraction, "rows",
                                (json_int_t)run->validation.n_rows)
                          : json_null();
    json_t *dry = json_pack("{s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:f, s:O, s:o}", "peak_bytes",
        (json_int_t)run->memory.peak, "disk_bytes", disk, "steps", (json_int_t)run->steps, "rows",
        (json_int_t)ex->n_rows, "tokens", (json_int_t)ex->n_tokens, "target_tokens",
        (json_int_t)ex->target_tokens, "dropped", (json_int_t)ex->dropped, "truncated",
        (json_int_t)ex->truncated, "seconds_estimate", seconds, "hyperparameters", resolved,
        "alternatives", other);
    if ((p->validation_path || p->fraction > 0) && !run->validation.n_rows)
        hn_planning_warn(p, "no_validation",
            "no validation row is left to evaluate on (%zu of %zu dropped): raise max_length or "
            "look at the rows",
            run->validation.dropped, run->validation.rows_total);
    if (ex->truncated)
        hn_planning_warn(p, "truncated",
            "%zu of %zu rows are longer than max_length %lld and are cut on the right",
            ex->truncated, ex->rows_total, (long long)p->hp.max_length);
    if (ex->dropped)
        hn_planning_warn(p, "dropped", "%zu of %zu rows are left out: %s", ex->dropped,
            ex->rows_total,
            spec->dedupe || spec->drop_leaks
                ? "they are doubles or leaks, or no target is left in them"
                : "no target is left in them");
    json_t *out = json_pack("{s:O, s:O, s:s, s:s, s:o, s:O, s:o, s:{s:I, s:I, s:I, s:I, s:I}, s:O, "
                            "s:{s:I, s:I, s:b, s:I}, s:o}",
        "run", json_object_get(final, "run"), "host", json_object_get(final, "host"), "task",
        hn_task_name(p->task), "method", hn_method_name(p->method), "hyperparameters", resolved,
        "auto", p->reasons, "validation", validation, "counts", "rows", (json_int_t)ex->rows_total,
        "used", (json_int_t)ex->n_rows, "dropped", (json_int_t)ex->dropped, "truncated",
        (json_int_t)ex->truncated, "target_tokens", (json_int_t)ex->target_tokens, "warnings",
        p->warnings, "plan", "peak_bytes", (json_int_t)run->memory.peak, "micro_batch_tokens",
        (json_int_t)p->hp.micro_batch_tokens, "recompute", p->recompute, "disk_bytes", disk,
        "dry_run", dry);
    json_decref(final);
    return out;
}

/* The earlier run must have trained the very matrices that this one trains. */
static int check_init(const struct hn_run *run, const char *path, struct hn_error *err) {
    struct hn_params params;
    int rc = hn_run_make_params(run, &params, err);
    if (!rc)
        rc = hn_checkpoint_read_values(path, &params, true, err);
    hn_params_finish(&params);
    if (rc == HN_E_CONFLICT) {
        hn_fail(err, HN_E_INVALID_FIELD,
            "the job of init_from did not train the matrices that this one would");
        hn_error_field(err, "init_from");
        hn_error_hint(err, "keep its model, method, lora_rank, lora_targets and labels");
        rc = HN_E_INVALID_FIELD;
    }
    return rc;
}

static int read_init(struct hn_planning *p, struct hn_error *err) {
    char folder[4096];
    int rc = hn_json_string(json_object_get(p->params, "init"), "path", &p->init_path, err);
    if (rc || !p->init_path)
        return rc;
    const char *slash = strrchr(p->init_path, '/');
    snprintf(folder, sizeof folder, "%.*s", slash ? (int)(slash - p->init_path) : 0, p->init_path);
    rc = hn_checkpoint_check_folder(folder, err);
    if (rc) {
        hn_error_field(err, "init_from");
        hn_error_hint(
            err, "name another step: GET /jobs/{id}/checkpoints lists those that are kept");
        return rc;
    }
    return hn_sha256_file(p->init_path, p->init_sha256, NULL, err);
}

/* Loads with the rows as tokens in a file of params.tokens {"folder", "bytes"}, where there is one:
 * what is planned again, or trained afterwards, is not tokenised again. */
static int load(
    struct hn_planning *p, struct hn_spec *spec, struct hn_run *run, struct hn_error *err) {
    const json_t *cache = json_object_get(p->params, "tokens");
    const char *folder = json_string_value(json_object_get(cache, "folder"));
    char path[4096], key[HN_SHA256_HEX];
    if (!folder)
        return hn_run_load(run, spec, ".", NULL, err);
    hn_token_key(spec, key);
    snprintf(p->tokens, sizeof p->tokens, "%s-%lld", key, (long long)spec->hp.max_length);
    snprintf(path, sizeof path, "%s/%s", folder, p->tokens);
    int rc = hn_run_load(run, spec, ".", path, err);
    hn_token_files_trim(folder, (uint64_t)json_integer_value(json_object_get(cache, "bytes")));
    return rc;
}

static int plan_loaded(
    struct hn_helper_call *call, struct hn_planning *p, json_t **ret, struct hn_error *err) {
    struct hn_model model = {0};
    struct hn_spec spec = {0};
    struct hn_run run = {0};
    bool auto_length = p->hp.max_length == HN_AUTO_INT,
         auto_micro = p->hp.micro_batch_tokens == HN_AUTO_INT;
    int rc = hn_model_open(&model, p->model_path, err);
    if (!rc)
        rc = hn_planning_choose(p, &model, err);
    hn_model_close(&model);
    /* A first specification to tokenise with; what is still "auto" does not matter to that. */
    struct hn_hyperparams kept = p->hp;
    if (kept.micro_batch_tokens == HN_AUTO_INT)
        p->hp.micro_batch_tokens = HN_AUTO_MICRO_BATCH;
    if (kept.eval_every == HN_AUTO_INT)
        p->hp.eval_every = 1;
    json_t *json = rc ? NULL : make_spec(p, true, err);
    p->hp = kept;
    if (!rc)
        rc = json ? hn_spec_read(&spec, json, err) : err->code;
    if (!rc)
        rc = load(p, &spec, &run, err);
    if (rc == HN_E_DATASET_INVALID)
        hn_helper_issues(call, run.train_data.n_issues ? &run.train_data : &run.validation_data);
    if (!rc) {
        hn_planning_choose_after(p, &run, auto_length);
        rc = squeeze(p, &spec, &run, auto_micro, err);
    }
    if (!rc && spec.exports & HN_EXPORT_MERGED_GGUF)
        rc = hn_merged_gguf_check(&run.model, err);
    if (!rc && spec.exports & HN_EXPORT_MERGED)
        rc = hn_merged_check(&run, err);
    if (!rc && p->init_path)
        rc = check_init(&run, p->init_path, err);
    if (!rc)
        *ret = answer(p, &spec, &run, err);
    hn_run_finish(&run);
    hn_spec_finish(&spec);
    return rc || *ret ? rc : hn_fail(err, HN_E_INTERNAL, "the plan cannot be written as JSON");
}

static int look_at_model(struct hn_planning *p, struct hn_error *err) {
    struct hn_model model = {0};
    int rc = hn_model_peek(&model, p->model_path, err);
    p->encoder = !rc && model.arch->encoder;
    hn_model_close(&model);
    return rc;
}

/* All the training data sets as one, with its rows counted and weighed. */
static int open_training(struct hn_planning *p, struct hn_dataset *data, struct hn_error *err) {
    const json_t *first = json_object_get(p->params, "train"),
                 *more = json_object_get(p->params, "more"), *next;
    struct hn_dataset_options options;
    const char *path;
    double weight = 1;
    size_t i;
    int rc = hn_helper_data(first, &p->train_path, &options, err);
    if (rc)
        return rc;
    rc = hn_dataset_open(data, p->train_path, &options, err);
    if (!rc)
        rc = hn_json_number(first, "weight", HN_WEIGHT_MIN, HN_WEIGHT_MAX, &weight, err);
    p->weighed_rows = weight * (double)data->n_rows;
    json_array_foreach(more, i, next) {
        size_t before = data->n_rows;
        if (!rc)
            rc = hn_helper_data(next, &path, &options, err);
        if (!rc && (rc = hn_dataset_append(data, path, &options, err)))
            hn_error_field(err, "dataset[%zu]", i + 1);
        weight = 1;
        if (!rc)
            rc = hn_json_number(next, "weight", HN_WEIGHT_MIN, HN_WEIGHT_MAX, &weight, err);
        p->weighed_rows += weight * (double)(data->n_rows - before);
    }
    p->rows = data->n_rows;
    return rc;
}

/* What only tasks with classes have is not left aside in silence. */
static int refuse_labels(const struct hn_planning *p, struct hn_error *err) {
    static const char *const names[] = {"labels", "class_weights"};
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        const json_t *value = json_object_get(p->params, names[i]);
        const char *word = json_string_value(value);
        if (!value || json_is_null(value) || (word && strcmp(word, "none") == 0))
            continue;
        hn_fail(err, HN_E_INVALID_FIELD, "%s is for rows with labels or tags; these make a %s job",
            names[i], hn_task_name(p->task));
        hn_error_field(err, "%s", names[i]);
        return HN_E_INVALID_FIELD;
    }
    return 0;
}

/* Number of rows and the tasks the training data allows. */
static int look_at_data(struct hn_helper_call *call, struct hn_planning *p, struct hn_error *err) {
    struct hn_dataset data = {0};
    int rc = open_training(p, &data, err);
    hn_helper_issues(call, &data);
    const char *const *tasks = rc ? NULL : hn_dataset_tasks(&data);
    const char *asked = json_string_value(json_object_get(p->params, "task"));
    bool allowed = !asked;
    for (size_t i = 0; tasks && tasks[i]; i++)
        allowed |= asked && strcmp(asked, tasks[i]) == 0;
    if (!rc && !allowed) {
        hn_fail(err, HN_E_INVALID_FIELD, "the data set's columns allow the task %s, not %.64s",
            tasks[0], asked);
        hn_error_field(err, "task");
        rc = HN_E_INVALID_FIELD;
    }
    int task = rc ? -1 : hn_task_from_name(asked ? asked : tasks[0]);
    if (task >= 0)
        p->task = (enum hn_task)task;
    if (!rc && p->task == HN_TASK_PREFERENCE) {
        hn_fail(err, HN_E_UNSUPPORTED, "training on preferences is not supported");
        hn_error_field(err, "task");
        rc = HN_E_UNSUPPORTED;
    }
    /* Decoders write their answers: rows with questions become text. */
    bool written = p->task == HN_TASK_GENERATION || (p->task == HN_TASK_QA && !p->encoder);
    if (!rc && (written || p->task == HN_TASK_QA))
        rc = refuse_labels(p, err);
    if (!rc && !written)
        rc = hn_labels_find(&p->labels, &data, json_object_get(p->params, "labels"),
            json_object_get(p->params, "class_weights"), err);
    hn_dataset_close(&data);
    return rc;
}

int hn_op_job_plan(
    struct hn_helper_call *call, const json_t *params, json_t **ret, struct hn_error *err) {
    struct hn_planning p = {.params = params,
        .reasons = json_object(),
        .warnings = json_array(),
        .now = "2000-01-01",
        .threads = 1};
    hn_hyperparams_defaults(&p.hp);
    const json_t *knobs = json_object_get(params, "hyperparameters");
    int rc = hn_helper_path(json_object_get(params, "model"), &p.model_path, err);
    if (!rc && knobs && !json_is_null(knobs))
        rc = hn_hyperparams_read(&p.hp, knobs, "hyperparameters.", err);
    if (!rc)
        rc = hn_json_string(params, "now", &p.now, err);
    if (!rc)
        rc = hn_json_int(params, "memory_bytes", 0, INT64_MAX, &p.memory_bytes, err);
    if (!rc)
        rc = hn_json_int(params, "threads", 1, 1024, &p.threads, err);
    if (!rc)
        rc = read_names(&p, err);
    if (!rc)
        rc = look_at_model(&p, err);
    if (!rc)
        rc = look_at_data(call, &p, err);
    if (!rc)
        rc = read_validation(&p, err);
    if (!rc)
        rc = hn_json_string(json_object_get(p.params, "test"), "path", &p.test_path, err);
    if (!rc && p.method != HN_METHOD_LORA &&
        json_array_size(json_object_get(params, "verify_on"))) {
        rc = hn_fail(err, HN_E_UNSUPPORTED,
            "verify_on tries an adapter on other precisions of its base; a %s run makes none",
            hn_method_name(p.method));
        hn_error_field(err, "verify_on");
    }
    if (!rc)
        rc = read_init(&p, err);
    if (!rc)
        rc = plan_loaded(call, &p, ret, err);
    json_decref(p.reasons);
    json_decref(p.warnings);
    hn_labels_finish(&p.labels);
    return rc;
}
