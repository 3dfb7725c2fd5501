/* See spec.h. */
#include "engine/run/spec.h"
#include "engine/base/json.h"

#include <stdlib.h>
#include <string.h>
#include <strings.h>

static const char *const methods[] = {"lora", "full", "head"};
static const char *const exports[] = {"peft", "gguf", "merged", "merged_gguf"};

const char *hn_method_name(enum hn_method method) {
    return methods[method];
}

const char *hn_export_name(enum hn_export bit) {
    for (int i = 0; i < 4; i++)
        if ((int)bit == 1 << i)
            return exports[i];
    return "";
}

int hn_export_from_name(const char *name) {
    for (int i = 0; i < 4; i++)
        if (strcmp(exports[i], name) == 0)
            return 1 << i;
    return 0;
}

unsigned hn_method_exports(enum hn_method method, bool head) {
    unsigned merged = HN_EXPORT_MERGED | (head ? 0 : HN_EXPORT_MERGED_GGUF);
    return method == HN_METHOD_LORA ? HN_EXPORT_PEFT | merged | (head ? 0 : HN_EXPORT_GGUF)
                                    : merged;
}

/* One of the types that merged results can have, in small letters or as GGUF's tools write them;
 * `fallback` when the field is absent. */
static int read_dtype(const json_t *run, const char *field, const char *fallback, bool blocks,
    enum hn_dtype *ret, struct hn_error *err) {
    static const struct {
        const char *name;
        enum hn_dtype type;
        bool folder, gguf;
    } dtypes[] = {{"f32", HN_F32, true, true}, {"f16", HN_F16, true, true},
        {"bf16", HN_BF16, true, false}, {"q8_0", HN_Q8_0, false, true},
        {"q4_0", HN_Q4_0, false, true}};
    const char *name = fallback;
    int rc = hn_json_string(run, field, &name, err);
    for (size_t i = 0; !rc && i < sizeof dtypes / sizeof dtypes[0]; i++)
        if ((blocks ? dtypes[i].gguf : dtypes[i].folder) && strcasecmp(dtypes[i].name, name) == 0) {
            *ret = dtypes[i].type;
            return 0;
        }
    if (!rc) {
        rc = hn_fail(err, HN_E_INVALID_FIELD, "%s must be %s", field,
            blocks ? "\"f32\", \"f16\", \"q8_0\" or \"q4_0\"" : "\"f32\", \"f16\" or \"bf16\"");
        hn_error_field(err, "%s", field);
    }
    return rc;
}

static int read_method(const json_t *run, enum hn_method *ret, struct hn_error *err) {
    const char *name = "";
    int rc = hn_json_string(run, "method", &name, err);
    for (int i = 0; !rc && i < 3; i++)
        if (strcmp(methods[i], name) == 0) {
            *ret = (enum hn_method)i;
            return 0;
        }
    return rc ? rc : hn_fail(err, HN_E_INVALID_FIELD, "spec: unknown method \"%s\"", name);
}

static int read_source(const json_t *object, struct hn_source *s, struct hn_error *err) {
    const char *on_error = "refuse";
    int rc = 0;
    if ((rc = hn_json_string(object, "file", &s->file, err)) ||
        (rc = hn_json_string(object, "name", &s->name, err)) ||
        (rc = hn_json_string(object, "sha256", &s->sha256, err)) ||
        (rc = hn_json_string(object, "format", &s->format, err)) ||
        (rc = hn_json_string(object, "on_error", &on_error, err)))
        return rc;
    s->columns = json_object_get(object, "columns");
    if (!json_is_object(s->columns))
        s->columns = NULL;
    s->drop = strcmp(on_error, "drop") == 0;
    s->weight = 1;
    return hn_json_number(object, "weight", HN_WEIGHT_MIN, HN_WEIGHT_MAX, &s->weight, err);
}

static int read_sources(const json_t *list, const char *what, struct hn_source *sources,
    size_t limit, size_t *ret_n, struct hn_error *err) {
    int rc = json_array_size(list) > limit
        ? hn_fail(err, HN_E_INVALID_FIELD, "spec: %s: more than %zu", what, limit)
        : 0;
    for (size_t i = 0; !rc && i < json_array_size(list); i++, *ret_n = i) {
        rc = read_source(json_array_get(list, i), &sources[i], err);
        if (!rc && !sources[i].file)
            rc = hn_fail(err, HN_E_INVALID_FIELD, "spec: %s: each needs a file", what);
    }
    return rc;
}

static int read_exports(const json_t *run, unsigned *ret, struct hn_error *err) {
    const json_t *list = json_object_get(run, "exports");
    for (size_t i = 0; i < json_array_size(list); i++) {
        const char *name = json_string_value(json_array_get(list, i));
        int bit = name ? hn_export_from_name(name) : 0;
        if (!bit)
            return hn_fail(err, HN_E_INVALID_FIELD, "spec: unknown export");
        *ret |= (unsigned)bit;
    }
    return 0;
}

static int read_run(struct hn_spec *s, struct hn_error *err) {
    const json_t *run = s->run, *validation = json_object_get(run, "validation"),
                 *samples = json_object_get(run, "samples");
    const char *task = "", *export_step = "last";
    int rc;
    if ((rc = hn_json_string(run, "task", &task, err)) ||
        (rc = read_method(run, &s->method, err)) ||
        (rc = hn_json_string(json_object_get(run, "model"), "file", &s->model_file, err)) ||
        (rc = hn_json_string(json_object_get(run, "model"), "sha256", &s->model_sha256, err)) ||
        (rc = read_source(json_object_get(run, "train"), &s->train, err)) ||
        (rc = read_sources(
             json_object_get(run, "more"), "run.more", s->more, HN_SPEC_MORE, &s->n_more, err)) ||
        (rc = read_source(validation, &s->validation, err)) ||
        (rc = read_source(json_object_get(run, "test"), &s->test, err)) ||
        (rc = hn_json_number(validation, "fraction", 0, 1, &s->validation_fraction, err)) ||
        (rc = read_exports(run, &s->exports, err)) ||
        (rc = read_dtype(run, "export_dtype", "f32", false, &s->export_dtype, err)) ||
        (rc = read_dtype(run, "gguf_dtype", "f16", true, &s->gguf_dtype, err)) ||
        (rc = hn_json_int(
             run, "max_shard_bytes", 1, HN_SHARD_BYTES_MAX, &s->max_shard_bytes, err)) ||
        (rc = hn_json_string(run, "export_step", &export_step, err)) ||
        (rc = hn_json_bool(run, "recompute", &s->recompute, err)) ||
        (rc = hn_json_bool(run, "dedupe", &s->dedupe, err)) ||
        (rc = hn_json_bool(run, "drop_leaks", &s->drop_leaks, err)) ||
        (rc = hn_json_string(run, "template_date", &s->template_date, err)) ||
        (rc = hn_json_int(samples, "rows", 0, 1000, &s->sample_rows, err)) ||
        (rc = hn_json_int(samples, "max_tokens", 1, 100000, &s->sample_tokens, err)) ||
        (rc = hn_json_string(json_object_get(run, "init"), "file", &s->init_file, err)) ||
        (rc = hn_json_string(json_object_get(run, "init"), "sha256", &s->init_sha256, err)) ||
        (rc = hn_labels_read(&s->labels, run, err)) ||
        (rc = hn_hyperparams_read(
             &s->hp, json_object_get(run, "hyperparameters"), "hyperparameters.", err)))
        return rc;
    const struct hn_hyperparams *hp = &s->hp;
    if (hn_is_auto(hp->epochs) || hn_is_auto(hp->learning_rate) || hp->batch_size == HN_AUTO_INT ||
        hp->micro_batch_tokens == HN_AUTO_INT || hp->max_length == HN_AUTO_INT ||
        hp->eval_every == HN_AUTO_INT) {
        hn_fail(err, HN_E_INVALID_FIELD, "spec: \"auto\" is left in run.hyperparameters");
        hn_error_hint(err,
            "set epochs, learning_rate, batch_size, micro_batch_tokens, max_length and eval_every "
            "to numbers");
        return HN_E_INVALID_FIELD;
    }
    int task_number = hn_task_from_name(task);
    if (task_number < 0 || !s->model_file || !s->train.file)
        return hn_fail(err, HN_E_INVALID_FIELD,
            "spec: the run part needs a known task, model.file and train.file");
    s->task = (enum hn_task)task_number;
    s->export_best = strcmp(export_step, "best") == 0;
    return 0;
}

static int read_host(struct hn_spec *s, struct hn_error *err) {
    json_t *fields = json_object();
    static const char *const names[] = {"log_every", "save_every", "keep_checkpoints", "threads"};
    for (size_t i = 0; i < 4; i++) {
        json_t *value = json_object_get(s->host, names[i]);
        if (value)
            json_object_set(fields, names[i], value);
    }
    int rc = hn_hyperparams_read(&s->hp, fields, "host.", err);
    json_decref(fields);
    s->threads = s->hp.threads == HN_AUTO_INT ? 0 : s->hp.threads;
    if (!rc)
        rc = read_sources(json_object_get(s->host, "verify_on"), "host.verify_on", s->verify_on,
            HN_VERIFY_ON_MAX, &s->n_verify_on, err);
    return rc ? rc : hn_json_int(s->host, "memory_bytes", 0, INT64_MAX, &s->memory_bytes, err);
}

int hn_spec_read(struct hn_spec *spec, json_t *json, struct hn_error *err) {
    *spec = (struct hn_spec){.json = json,
        .run = json_object_get(json, "run"),
        .host = json_object_get(json, "host"),
        .job = "",
        .model_sha256 = "",
        .max_shard_bytes = HN_SHARD_BYTES,
        .sample_tokens = 128};
    hn_hyperparams_defaults(&spec->hp);
    int64_t format = 0;
    int rc = hn_json_int(json, "format", 1, 1, &format, err);
    if (!rc && (format != 1 || !json_is_object(spec->run)))
        rc =
            hn_fail(err, HN_E_INVALID_FIELD, "spec: \"format\":1 and an object \"run\" are needed");
    if (!rc)
        rc = hn_json_string(json, "job", &spec->job, err);
    if (!rc)
        rc = read_run(spec, err);
    if (!rc)
        rc = read_host(spec, err);
    char *canonical = rc ? NULL : hn_json_canonical(spec->run);
    if (canonical)
        hn_sha256(canonical, strlen(canonical), spec->run_sha256);
    free(canonical);
    if (rc)
        hn_spec_finish(spec);
    return rc;
}

void hn_spec_finish(struct hn_spec *spec) {
    hn_labels_finish(&spec->labels);
    json_decref(spec->json);
    *spec = (struct hn_spec){0};
}
