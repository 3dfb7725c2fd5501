/*
 * job.plan: a submission made into a specification with no "auto" left, and what running it will
 * take.
 *
 * The figures are those of the trainer itself: the same code loads and plans.
 */
#include "engine/families/load.h"
#include "engine/helper/plan.h"
#include "engine/run/row_file.h"
#include "engine/data/row_set.h"
#include "engine/data/split.h"
#include "engine/run/batch.h"
#include "engine/export/export.h"
#include "engine/helper/call.h"
#include "engine/base/buf.h"
#include "engine/base/json.h"
#include "engine/eval/scores.h"
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
    p->spec.task = (enum hn_task)number;
    for (int m = HN_METHOD_LORA; m <= HN_METHOD_HEAD; m++)
        if (!method || strcmp(method, hn_method_name((enum hn_method)m)) == 0) {
            p->spec.method = (enum hn_method)m;
            return 0;
        }
    hn_fail(err, HN_E_INVALID_FIELD, "there is no method \"%.32s\"; there are lora, full and head",
        method);
    hn_error_field(err, "method");
    return HN_E_INVALID_FIELD;
}

/* DATA, with the path here as its file. */
static int read_source(const json_t *data, struct hn_source *ret, struct hn_error *err) {
    struct hn_dataset_options options;
    int rc = hn_helper_data(data, &ret->file, &options, err);
    if (!rc)
        rc = hn_json_string(data, "sha256", &ret->sha256, err);
    ret->format = options.format ? options.format : "jsonl";
    ret->columns = json_is_object(options.columns) ? options.columns : NULL;
    ret->drop = options.drop;
    ret->weight = 1;
    ret->weighed = json_is_number(json_object_get(data, "weight"));
    return rc ? rc
              : hn_json_number(data, "weight", HN_WEIGHT_MIN, HN_WEIGHT_MAX, &ret->weight, err);
}

static struct hn_dataset_options options_of(const struct hn_source *source) {
    return (struct hn_dataset_options){
        .format = source->format, .columns = source->columns, .drop = source->drop};
}

/* "auto" (or absent), "none", {"fraction"}, {"fold","folds",…} or DATA. */
static int read_validation(struct hn_planning *p, struct hn_error *err) {
    const json_t *v = json_object_get(p->params, "validation");
    const char *text = json_string_value(v);
    if (json_is_object(v) && json_object_get(v, "path"))
        return read_source(v, &p->spec.validation, err);
    if (json_object_get(v, "folds") || json_object_get(v, "fold"))
        return hn_folds_read(&p->spec.folds, v, err);
    if (json_is_object(v) && json_object_get(v, "fraction")) {
        p->spec.validation_fraction = json_number_value(json_object_get(v, "fraction"));
        if (p->spec.validation_fraction > 0 && p->spec.validation_fraction < 1 && p->rows >= 2)
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
    p->spec.validation_fraction = p->rows > 10000 ? 1000.0 / (double)p->rows : 0.1;
    hn_planning_because(p, "validation", "%.4g of %zu rows held out: a tenth, at most 1,000",
        p->spec.validation_fraction, p->rows);
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

static int no_export(struct hn_error *err, int code) {
    hn_error_field(err, "exports");
    return code;
}

static int read_exports(struct hn_planning *p, struct hn_error *err) {
    const json_t *asked = json_object_get(p->params, "exports");
    bool head = p->spec.labels.objective != HN_OBJECTIVE_TOKENS;
    unsigned bits = hn_method_exports(p->spec.method, head);
    char possible[96];
    list_exports(bits, possible, sizeof possible);
    if (!asked || json_is_null(asked)) {
        p->spec.exports = p->spec.method != HN_METHOD_LORA ? HN_EXPORT_MERGED
            : head                                         ? HN_EXPORT_PEFT
                                                           : HN_EXPORT_PEFT | HN_EXPORT_GGUF;
        return 0;
    }
    if (!json_is_array(asked)) {
        hn_fail(err, HN_E_INVALID_FIELD, "exports must be a list of: %s", possible);
        hn_error_hint(err, "for example [\"peft\"]");
        return no_export(err, HN_E_INVALID_FIELD);
    }
    for (size_t i = 0; i < json_array_size(asked); i++) {
        const char *name = json_string_value(json_array_get(asked, i));
        int bit = name ? hn_export_from_name(name) : 0;
        if (!((unsigned)bit & bits))
            return no_export(err,
                hn_fail(err, bit ? HN_E_UNSUPPORTED : HN_E_INVALID_FIELD,
                    "the export \"%.32s\" is not one of a %s run%s, which are: %s",
                    name ? name : "?", hn_method_name(p->spec.method), head ? " with a head" : "",
                    possible));
        p->spec.exports |= (unsigned)bit;
    }
    return p->spec.exports ? 0
                           : no_export(err,
                                 hn_fail(err, HN_E_INVALID_FIELD,
                                     "exports must name at least one; of a %s run there are: %s",
                                     hn_method_name(p->spec.method), possible));
}

static int read_samples(struct hn_planning *p, struct hn_error *err) {
    const json_t *asked = json_object_get(p->params, "samples");
    static const char *const known[] = {"rows", "max_tokens", NULL};
    p->spec.sample_rows = 4;
    p->spec.sample_tokens = 128;
    if (asked && !json_is_null(asked) &&
        ((json_is_object(asked) ? hn_json_known(asked, known, "samples.", err)
                                : hn_fail(err, HN_E_INVALID_FIELD, "samples must be an object")) ||
            hn_json_int(asked, "rows", 0, 100, &p->spec.sample_rows, err) ||
            hn_json_int(asked, "max_tokens", 1, 4096, &p->spec.sample_tokens, err))) {
        hn_error_inside(err, "samples");
        return err ? err->code : HN_E_INVALID_FIELD;
    }
    return 0;
}

/* What is written at the end, and meanwhile. */
static int read_outputs(struct hn_planning *p, struct hn_error *err) {
    const char *step = json_string_value(json_object_get(p->params, "export_step"));
    bool validated = hn_spec_validates(&p->spec);
    if (step && strcmp(step, "best") != 0 && strcmp(step, "last") != 0) {
        hn_fail(err, HN_E_INVALID_FIELD, "export_step must be \"best\" or \"last\"");
        hn_error_field(err, "export_step");
        return HN_E_INVALID_FIELD;
    }
    p->spec.export_best = step ? strcmp(step, "best") == 0 : validated;
    int rc = read_exports(p, err);
    if (!rc)
        rc = read_samples(p, err);
    return rc ? rc : hn_spec_read_fields(&p->spec, p->params, err);
}

/* Other precisions of the base. */
static int read_others(struct hn_planning *p, struct hn_error *err) {
    const json_t *list = json_object_get(p->params, "verify_on"), *model;
    size_t i;
    int rc = 0;
    if (json_array_size(list) > HN_VERIFY_ON_MAX)
        return hn_fail(err, HN_E_INVALID_FIELD, "verify_on has more than %d", HN_VERIFY_ON_MAX);
    if (json_array_size(list) && p->spec.method != HN_METHOD_LORA) {
        hn_fail(err, HN_E_UNSUPPORTED,
            "verify_on tries an adapter on other precisions of its base; a %s run makes none",
            hn_method_name(p->spec.method));
        hn_error_field(err, "verify_on");
        return HN_E_UNSUPPORTED;
    }
    json_array_foreach(list, i, model) {
        struct hn_source *other = &p->spec.verify_on[p->spec.n_verify_on++];
        if (!rc)
            rc = hn_helper_path(model, &other->file, err);
        if (!rc)
            rc = hn_json_string(model, "name", &other->name, err);
        if (!rc)
            rc = hn_json_string(model, "sha256", &other->sha256, err);
    }
    return rc;
}

/* The names that the inputs have in a run directory. What is loaded stays open. */
static void name_inputs(struct hn_planning *p) {
    struct hn_spec *spec = &p->spec;
    spec->model_file = hn_is_folder(spec->model_file) ? "inputs/model" : "inputs/model.gguf";
    spec->train.file = "inputs/train";
    if (spec->validation.file)
        spec->validation.file = "inputs/validation";
    if (spec->test.file)
        spec->test.file = "inputs/test";
    if (spec->init_file)
        spec->init_file = "inputs/init.safetensors";
    for (size_t i = 0; i < spec->n_more; i++) {
        snprintf(p->more[i], sizeof p->more[i], "inputs/train-%zu", i + 2);
        spec->more[i].file = p->more[i];
    }
    for (size_t i = 0; i < spec->n_verify_on; i++) {
        snprintf(p->others[i], sizeof p->others[i], "inputs/verify-%zu%s", i + 1,
            hn_is_folder(spec->verify_on[i].file) ? "" : ".gguf");
        spec->verify_on[i].file = p->others[i];
    }
}

static bool fits(const struct hn_planning *p, const struct hn_run *run) {
    return p->spec.memory_bytes <= 0 || run->memory.peak <= (size_t)p->spec.memory_bytes;
}

/* Makes the run smaller where that changes no result that was asked for: smaller micro-batches,
 * then recomputation.
 */
static int fit_memory(
    struct hn_planning *p, struct hn_run *run, bool auto_micro, struct hn_error *err) {
    int rc = hn_run_plan(run, err);
    while (!rc && auto_micro && !fits(p, run) &&
        p->spec.hp.micro_batch_tokens > SMALLEST_MICRO_BATCH &&
        (size_t)p->spec.hp.micro_batch_tokens > run->longest) {
        p->spec.hp.micro_batch_tokens /= 2;
        hn_planning_because(p, "micro_batch_tokens",
            "%lld: the largest that fits the slot's memory",
            (long long)p->spec.hp.micro_batch_tokens);
        rc = hn_run_plan(run, err);
    }
    if (!rc && !fits(p, run)) {
        p->spec.recompute = true;
        hn_planning_because(p, "recompute",
            "layers are computed again in the backward pass, since keeping them does not fit the "
            "slot's memory");
        rc = hn_run_plan(run, err);
    }
    return rc;
}

/* Smaller settings a person could choose, with what they would take. */
static json_t *alternatives(struct hn_planning *p, struct hn_run *run, struct hn_error *err) {
    json_t *list = json_array();
    struct hn_hyperparams kept = p->spec.hp;
    struct {
        const char *name;
        int64_t *field, value;
    } changes[] = {
        {"micro_batch_tokens", &p->spec.hp.micro_batch_tokens, p->spec.hp.micro_batch_tokens / 2},
        {"lora_rank", &p->spec.hp.lora_rank, p->spec.hp.lora_rank / 2}};
    size_t before = run->memory.peak;
    if (fits(p, run))
        return list;
    for (size_t i = 0; i < 2; i++) {
        if (changes[i].value < 1 || (i == 0 && changes[i].value < 16) ||
            (i == 1 && p->spec.method != HN_METHOD_LORA))
            continue;
        *changes[i].field = changes[i].value;
        if (!hn_run_plan(run, err) &&
            run->memory.peak < before - before / 100) /* less than that is no help */
            json_array_append_new(list,
                json_pack("{s:{s:I}, s:I}", "change", changes[i].name, (json_int_t)changes[i].value,
                    "peak_bytes", (json_int_t)run->memory.peak));
        p->spec.hp = kept;
    }
    hn_run_plan(run, err);
    return list;
}

/* Work of the whole run over a cautious share of that rate; a person wants the order of
 * magnitude. */
static double estimate_seconds(const struct hn_planning *p, const struct hn_run *run) {
    const double rate = 0.6 * hn_rate_product();
    double rows = (double)run->steps * (double)p->spec.hp.batch_size,
           mean = (double)run->train.n_tokens / (double)run->train.n_rows;
    double flops = rows * mean * (p->spec.method == HN_METHOD_FULL ? 6 : 4.6) *
        (double)run->loaded.model.parameters;
    double evaluations =
        run->validation.n_rows ? (double)run->steps / (double)p->spec.hp.eval_every + 2 : 0;
    double evaluated = (double)(run->validation.n_tokens + run->train_sample.n_tokens) +
        (double)run->neutral.n_tokens + 2 * (double)run->kl_rows.n_tokens;
    flops += evaluations * evaluated * 2 * (double)run->loaded.model.parameters;
    return flops / (rate * (double)(p->spec.threads > 0 ? p->spec.threads : 1)) + 5;
}

/* Checkpoints (values and two moments each), one more while the next is written, and the
 * results. */
static size_t disk_bytes(const struct hn_planning *p, const struct hn_run *run) {
    const struct hn_spec *spec = run->loaded.spec;
    size_t values = run->loaded.n_params * sizeof(float),
           bytes = values * 3 * (size_t)(p->spec.hp.keep_checkpoints + 2);
    bytes += values * (size_t)__builtin_popcount(spec->exports & (HN_EXPORT_PEFT | HN_EXPORT_GGUF));
    if (spec->exports & HN_EXPORT_MERGED)
        bytes += run->loaded.model.parameters * hn_dtype_info((int)spec->export_dtype)->bytes;
    if (spec->exports & HN_EXPORT_MERGED_GGUF)
        bytes += hn_dtype_bytes(hn_dtype_info((int)spec->gguf_dtype), run->loaded.model.parameters);
    size_t evaluations = run->steps / (size_t)p->spec.hp.eval_every + 2, scores,
           labels = hn_labels_outputs(&spec->labels),
           each = hn_scores_bytes(spec->labels.objective, labels, run->validation.n_rows) +
        hn_scores_bytes(spec->labels.objective, labels, run->train_sample.n_rows);
    if (run->validation.n_rows)
        bytes += hn_mul(each, evaluations, &scores) && scores < HN_SCORES_KEPT ? scores
            : each > HN_SCORES_KEPT / 3                                        ? 3 * each
                                                                               : HN_SCORES_KEPT;
    struct hn_row_layout rows;
    hn_row_layout_plan(&rows, run);
    bytes += hn_row_layout_bytes(&rows);
    return bytes + (8 << 20); /* tokenizer files, events, log */
}

/* What the trainer decides when it runs, as it will be here: the specification leaves both to
 * it. */
static void tell_host(
    struct hn_planning *p, const struct hn_run *run, double seconds, json_t *resolved) {
    double steps = round(HN_AUTO_SAVE_SECONDS * (double)run->steps / seconds),
           most = (double)run->steps;
    if (p->spec.hp.save_every == HN_AUTO_INT) {
        steps = steps < 1 ? 1 : steps < most ? steps : most;
        json_object_set_new(resolved, "save_every", json_integer((json_int_t)steps));
        hn_planning_because(p, "save_every", "%.0f: about %d seconds of steps, by the clock", steps,
            HN_AUTO_SAVE_SECONDS);
    }
    if (p->spec.hp.threads == HN_AUTO_INT) {
        json_object_set_new(resolved, "threads", json_integer((json_int_t)p->spec.threads));
        hn_planning_because(p, "threads", "%lld: the slot's share; it changes no result",
            (long long)p->spec.threads);
    }
}

/* "reused": the task's head begins as the base has it; "new": at random; null: none. */
static json_t *head_of(const struct hn_model *model) {
    const struct hn_weight *score = model->by_role[HN_ROLE_SCORE];
    return score ? json_string(score->data ? "reused" : "new") : json_null();
}

static json_t *answer(struct hn_planning *p, struct hn_run *run, struct hn_error *err) {
    const struct hn_examples *ex = &run->train;
    const struct hn_spec *spec = &p->spec;
    json_t *other = alternatives(p, run, err), *final;
    name_inputs(p);
    final = hn_spec_write(spec);
    json_int_t disk = (json_int_t)disk_bytes(p, run);
    json_t *resolved = hn_hyperparams_write(&p->spec.hp, HN_HP_ALL);
    double seconds = round(estimate_seconds(p, run));
    tell_host(p, run, seconds, resolved);
    json_t *validation = spec->folds.folds ? hn_folds_write(&spec->folds)
        : spec->validation_fraction > 0 ? json_pack("{s:f}", "fraction", spec->validation_fraction)
        : spec->validation.file         ? json_object()
                                        : json_null();
    if (json_is_object(validation))
        json_object_set_new(validation, "rows", json_integer((json_int_t)run->validation.n_rows));
    json_t *dry = HN_JSON_OBJECT({"peak_bytes", json_integer(run->memory.peak)},
        {"disk_bytes", json_integer(disk)}, {"steps", json_integer(run->steps)},
        {"rows", json_integer(ex->n_rows)}, {"tokens", json_integer(ex->n_tokens)},
        {"target_tokens", json_integer(ex->target_tokens)}, {"dropped", json_integer(ex->dropped)},
        {"truncated", json_integer(ex->truncated)},
        {"left_out", json_integer(hn_left_out_count(&ex->left_out))},
        {"seconds_estimate", json_real(seconds)}, {"hyperparameters", hn_json_share(resolved)},
        {"alternatives", other}, {"head", head_of(&run->loaded.model)});
    hn_planning_warn_of_rows(p, run);
    json_t *out = HN_JSON_OBJECT({"run", hn_json_share(json_object_get(final, "run"))},
        {"host", hn_json_share(json_object_get(final, "host"))},
        {"task", json_string(hn_task_name(p->spec.task))},
        {"method", json_string(hn_method_name(p->spec.method))}, {"hyperparameters", resolved},
        {"auto", hn_json_share(p->reasons)}, {"validation", validation},
        {"counts",
            HN_JSON_OBJECT({"rows", json_integer(ex->rows_total)},
                {"used", json_integer(ex->n_rows)}, {"dropped", json_integer(ex->dropped)},
                {"truncated", json_integer(ex->truncated)},
                {"target_tokens", json_integer(ex->target_tokens)},
                {"left_out", json_integer(hn_left_out_count(&ex->left_out))})},
        {"labels", hn_json_share_or_null(p->labels)}, {"warnings", hn_json_share(p->warnings)},
        {"plan",
            HN_JSON_OBJECT({"peak_bytes", json_integer(run->memory.peak)},
                {"micro_batch_tokens", json_integer(p->spec.hp.micro_batch_tokens)},
                {"recompute", json_boolean(p->spec.recompute)}, {"disk_bytes", json_integer(disk)},
                {"head", head_of(&run->loaded.model)})},
        {"dry_run", dry});
    json_decref(final);
    return out;
}

/* Loads with the rows as tokens in a file of params.tokens {"folder", "bytes"}, where there is one:
 * what is planned again, or trained afterwards, is not tokenised again. */
static int load(struct hn_planning *p, struct hn_run *run, struct hn_error *err) {
    const json_t *cache = json_object_get(p->params, "tokens");
    const char *folder = json_string_value(json_object_get(cache, "folder"));
    struct hn_spec *spec = &p->spec;
    char path[4096], key[HN_SHA256_HEX];
    if (!folder)
        return hn_run_load(run, spec, ".", NULL, err);
    spec->json = hn_spec_write(spec); /* the key is made from its text */
    spec->run = json_object_get(spec->json, "run");
    if (!spec->run)
        return hn_fail(err, HN_E_INTERNAL, "out of memory");
    hn_token_key(spec, key);
    snprintf(p->tokens, sizeof p->tokens, "%s-%lld", key, (long long)spec->hp.max_length);
    spec->tokens = p->tokens;
    snprintf(path, sizeof path, "%s/%s", folder, p->tokens);
    int rc = hn_run_load(run, spec, ".", path, err);
    hn_token_files_trim(folder, (uint64_t)json_integer_value(json_object_get(cache, "bytes")));
    return rc;
}

/* Tokenises; what is still "auto" does not matter to that. */
static int load_first(struct hn_planning *p, struct hn_run *run, struct hn_error *err) {
    struct hn_hyperparams *hp = &p->spec.hp, kept = *hp;
    if (hp->micro_batch_tokens == HN_AUTO_INT)
        hp->micro_batch_tokens = HN_AUTO_MICRO_BATCH;
    if (hp->eval_every == HN_AUTO_INT)
        hp->eval_every = 1;
    int rc = load(p, run, err);
    *hp = kept;
    return rc;
}

/* The head's bias is about the values' mean. */
static int check_half_values(const struct hn_spec *spec, struct hn_error *err) {
    const double most = 65504;
    const struct hn_labels *l = &spec->labels;
    if (l->objective != HN_OBJECTIVE_VALUE || spec->export_dtype != HN_F16 ||
        fabs(l->mean) + 4 * l->scale < most)
        return 0;
    hn_fail(err, HN_E_INVALID_FIELD,
        "values of about %.4g do not fit into f16, whose largest number is %.0f", l->mean, most);
    hn_error_field(err, "export_dtype");
    hn_error_hint(err, "leave it out (f32), or give the values in a larger unit");
    return HN_E_INVALID_FIELD;
}

/* What bounds a distance needs one to be measured. */
static int check_max_kl(
    const struct hn_planning *p, const struct hn_run *run, struct hn_error *err) {
    if (isnan(p->spec.hp.max_kl) || run->kl_rows.n_rows)
        return 0;
    bool head = p->spec.labels.objective != HN_OBJECTIVE_TOKENS;
    int code = head ? HN_E_UNSUPPORTED : HN_E_INVALID_FIELD;
    hn_fail(err, code,
        head
            ? "max_kl bounds how far a model that writes text goes from its base; this task's head "
              "writes none"
            : "max_kl is measured on validation rows, and this job has none");
    hn_error_field(err, "hyperparameters.max_kl");
    hn_error_hint(
        err, head ? "leave max_kl out" : "send a validation data set or \"validation\":0.2");
    return code;
}

static int plan_loaded(
    struct hn_helper_call *call, struct hn_planning *p, json_t **ret, struct hn_error *err) {
    struct hn_model model = {0};
    struct hn_run run = {0};
    bool auto_length = p->spec.hp.max_length == HN_AUTO_INT,
         auto_micro = p->spec.hp.micro_batch_tokens == HN_AUTO_INT;
    int rc = hn_model_open(&model, p->spec.model_file, err);
    if (!rc)
        rc = hn_planning_choose(p, &model, err);
    hn_model_close(&model);
    if (!rc)
        rc = read_outputs(p, err);
    if (!rc)
        rc = load_first(p, &run, err);
    if (rc == HN_E_DATASET_INVALID)
        hn_helper_issues(call, run.train_data.issues.n ? &run.train_data : &run.validation_data);
    if (!rc) {
        hn_planning_choose_after(p, &run, auto_length);
        rc = hn_run_check_prompts(&run, err);
    }
    if (!rc)
        rc = check_max_kl(p, &run, err);
    if (!rc) {
        rc = fit_memory(p, &run, auto_micro, err);
    }
    if (!rc && p->spec.exports & HN_EXPORT_MERGED_GGUF)
        rc = hn_merged_gguf_check(&run.loaded.model, err);
    if (!rc && p->spec.exports & HN_EXPORT_MERGED)
        rc = hn_merged_check(&run.loaded, err);
    if (!rc && p->spec.exports & HN_EXPORT_MERGED)
        rc = check_half_values(&p->spec, err);
    if (!rc && p->spec.init_file)
        rc = hn_planning_check_init(&run, p->spec.init_file, err);
    if (!rc)
        *ret = answer(p, &run, err);
    hn_run_finish(&run);
    return rc || *ret ? rc : hn_fail(err, HN_E_INTERNAL, "the plan cannot be written as JSON");
}

static int look_at_model(struct hn_planning *p, struct hn_error *err) {
    struct hn_model model = {0};
    int rc = hn_model_peek(&model, p->spec.model_file, err);
    struct hn_labels own = {0};
    p->encoder = !rc && model.arch->encoder;
    if (!rc)
        rc = hn_labels_of_model(&own, &model, err);
    p->head_labels = json_incref(own.names);
    hn_labels_finish(&own);
    p->no_bias = !rc && !model.arch->heads[HN_HEAD_SEQUENCE].bias;
    if (!rc && !model.is_folder &&
        hn_view_is(hn_gguf_string(&model.gguf, "tokenizer.ggml.model"), "gpt2") &&
        !hn_gguf_find(&model.gguf, "tokenizer.ggml.pre"))
        hn_planning_warn(p, "pre_tokenizer_missing",
            "the GGUF file does not name its pre-tokenizer (tokenizer.ggml.pre): words are cut by "
            "llama.cpp's default, which may not be how the model learned; a newer conversion of "
            "the "
            "model names it");
    hn_model_close(&model);
    return rc;
}

/* All the training data sets as one, with its rows counted and weighed. */
static int open_training(struct hn_planning *p, struct hn_dataset *data, struct hn_error *err) {
    const json_t *more = json_object_get(p->params, "more");
    struct hn_spec *spec = &p->spec;
    int rc = read_source(json_object_get(p->params, "train"), &spec->train, err);
    if (!rc && json_array_size(more) > HN_SPEC_MORE)
        rc = hn_fail(err, HN_E_INVALID_FIELD, "more than %d data sets", HN_DATASETS_MAX);
    if (rc)
        return rc;
    struct hn_dataset_options options = options_of(&spec->train);
    rc = hn_dataset_open(data, spec->train.file, &options, err);
    p->weighed_rows = spec->train.weight * (double)data->n_rows;
    spec->train.chats =
        data->columns == HN_ROWS_MESSAGES && json_object_get(data->mapping, "completion");
    for (size_t i = 0; !rc && i < json_array_size(more); i++) {
        struct hn_source *next = &spec->more[i];
        size_t before = data->n_rows;
        rc = read_source(json_array_get(more, i), next, err);
        options = options_of(next);
        if (!rc && (rc = hn_dataset_append(data, next->file, &options, err)))
            hn_error_field(err, "dataset[%zu]", i + 1);
        p->weighed_rows += next->weight * (double)(data->n_rows - before);
        spec->n_more = i + 1;
    }
    p->rows = data->n_rows;
    return rc;
}

/* What only tasks with classes have is not left aside in silence. */
static int refuse_labels(const struct hn_planning *p, struct hn_error *err) {
    static const char *const names[] = {"labels", "class_weights", "problem"};
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        const json_t *value = json_object_get(p->params, names[i]);
        const char *word = json_string_value(value);
        if (!value || json_is_null(value) || (word && strcmp(word, "none") == 0))
            continue;
        hn_fail(err, HN_E_INVALID_FIELD, "%s is for rows with labels or tags; these make a %s job",
            names[i], hn_task_name(p->spec.task));
        hn_error_field(err, "%s", names[i]);
        return HN_E_INVALID_FIELD;
    }
    return 0;
}

static const json_t *given(const struct hn_planning *p, const char *name) {
    const json_t *value = json_object_get(p->params, name);
    return json_is_null(value) ? NULL : value;
}

/* The labels of all rows, with what a person should know about how they were taken. */
static int find_labels(struct hn_planning *p, struct hn_error *err) {
    const struct hn_labels_request request = {.labels = given(p, "labels"),
        .weights = given(p, "class_weights"),
        .problem = json_string_value(given(p, "problem")),
        .no_bias = p->no_bias};
    struct hn_label_notes notes;
    int rc = hn_labels_find(&p->spec.labels, &p->data, &request, &notes, err);
    if (notes.why)
        hn_planning_warn(p, "guessed_problem", "%s", notes.why);
    if (notes.alike)
        hn_planning_warn(p, "similar_labels", "%s", notes.alike);
    p->labels = hn_json_share_or_null(notes.shown);
    hn_label_notes_finish(&notes);
    const json_t *init = json_object_get(json_object_get(p->params, "init"), "labels");
    return rc || request.labels || p->spec.labels.multi_hot
        ? rc
        : hn_labels_follow(&p->spec.labels, json_is_array(init) ? init : p->head_labels, err);
}

/* Rows whose text the model's template makes are not rendered yet; labelled texts stay plain. */
static int refuse_applied(
    const struct hn_planning *p, const struct hn_dataset *data, struct hn_error *err) {
    const char *word = json_string_value(json_object_get(p->params, "template"));
    if (!word || strcmp(word, "applied") != 0 || data->columns == HN_ROWS_TEXT ||
        data->columns == HN_ROWS_PROMPT_COMPLETION)
        return 0;
    hn_fail(err, HN_E_INVALID_FIELD,
        "template \"applied\" is for rows of text, or of prompt and completion, that are rendered "
        "already; these are not");
    hn_error_field(err, "template");
    hn_error_hint(err, "leave template out");
    return HN_E_INVALID_FIELD;
}

/* Number of rows and the tasks the training data allows. */
static int look_at_data(struct hn_helper_call *call, struct hn_planning *p, struct hn_error *err) {
    int rc = open_training(p, &p->data, err);
    hn_helper_issues(call, &p->data);
    const char *const *tasks = rc ? NULL : hn_dataset_tasks(&p->data);
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
        p->spec.task = (enum hn_task)task;
    if (!rc && p->spec.task == HN_TASK_PREFERENCE) {
        hn_fail(err, HN_E_UNSUPPORTED, "training on preferences is not supported");
        hn_error_field(err, "task");
        rc = HN_E_UNSUPPORTED;
    }
    /* Decoders write their answers: rows with questions become text. */
    bool written =
        p->spec.task == HN_TASK_GENERATION || (p->spec.task == HN_TASK_QA && !p->encoder);
    if (!rc)
        rc = refuse_applied(p, &p->data, err);
    if (!rc && (written || p->spec.task == HN_TASK_QA))
        rc = refuse_labels(p, err);
    if (!rc && !written)
        rc = find_labels(p, err);
    if (!rc)
        rc = hn_split_twins(&p->data, &p->twins, err);
    return rc;
}

/* Validation and test rows whose input is trained on. */
static int look_at_shared(struct hn_planning *p, struct hn_error *err) {
    const struct hn_source *sources[] = {&p->spec.validation, &p->spec.test};
    struct hn_row_set seen = {.inputs = true};
    int rc = sources[0]->file || sources[1]->file
        ? hn_row_set_add(&seen, &p->data, NULL, p->data.n_rows, err)
        : 0;
    for (size_t i = 0; !rc && i < 2; i++) {
        struct hn_dataset other = {0};
        struct hn_dataset_options options = options_of(sources[i]);
        if (sources[i]->file && hn_dataset_open(&other, sources[i]->file, &options, NULL) == 0) {
            p->n_others[i] = other.n_rows;
            rc = hn_row_set_count(&seen, &other, NULL, other.n_rows, &p->shared[i], err);
        }
        hn_dataset_close(&other);
    }
    hn_dataset_close(&p->data);
    hn_row_set_finish(&seen);
    return rc;
}

/* What stands in the request by itself. */
static int read_params(struct hn_planning *p, struct hn_error *err) {
    const json_t *params = p->params, *model = json_object_get(params, "model"),
                 *given = json_object_get(params, "hyperparameters");
    struct hn_spec *spec = &p->spec;
    int rc = hn_helper_path(model, &spec->model_file, err);
    if (!rc)
        rc = hn_json_string(model, "sha256", &spec->model_sha256, err);
    if (!rc)
        rc = hn_json_string(model, "source", &spec->model_source, err);
    if (!rc)
        rc = hn_planning_preset(p, given, err);
    if (!rc && given && !json_is_null(given))
        rc = hn_hyperparams_read(&spec->hp, given, "hyperparameters.", err);
    if (!rc)
        rc = hn_json_string(params, "now", &spec->template_date, err);
    if (!rc)
        rc = hn_json_int(params, "memory_bytes", 0, INT64_MAX, &spec->memory_bytes, err);
    if (!rc)
        rc = hn_json_int(params, "threads", 1, 1024, &spec->threads, err);
    return rc ? rc : read_names(p, err);
}

int hn_helper_job_plan(
    struct hn_helper_call *call, const json_t *params, json_t **ret, struct hn_error *err) {
    struct hn_planning p = {.params = params,
        .spec = {.given = params,
            .job = "",
            .model_sha256 = "",
            .template_date = "2000-01-01",
            .threads = 1},
        .reasons = json_object(),
        .warnings = json_array()};
    const json_t *test = json_object_get(params, "test");
    hn_hyperparams_defaults(&p.spec.hp);
    int rc = read_params(&p, err);
    if (!rc)
        rc = look_at_model(&p, err);
    if (!rc)
        rc = look_at_data(call, &p, err);
    if (!rc)
        rc = read_validation(&p, err);
    if (!rc)
        rc = hn_row_choice_read(&p.spec.choice, json_object_get(params, "rows"), err);
    if (!rc && test && !json_is_null(test))
        rc = read_source(test, &p.spec.test, err);
    if (!rc)
        rc = look_at_shared(&p, err);
    if (!rc)
        rc = read_others(&p, err);
    if (!rc)
        rc = hn_planning_read_init(&p, err);
    if (!rc)
        rc = plan_loaded(call, &p, ret, err);
    hn_dataset_close(&p.data);
    json_decref(p.labels);
    json_decref(p.reasons);
    json_decref(p.warnings);
    json_decref(p.head_labels);
    hn_spec_finish(&p.spec);
    return rc;
}
