/* See spec.h. */
#include "engine/run/spec.h"
#include "engine/base/json.h"

#include <float.h>
#include <stddef.h>
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

/* One of the types that merged results can have, in small letters or as GGUF's tools write them. */
static int read_dtype(
    const char *name, const struct hn_job_field *field, enum hn_dtype *ret, struct hn_error *err) {
    static const struct {
        const char *name;
        enum hn_dtype type;
        bool folder, gguf;
    } dtypes[] = {{"f32", HN_F32, true, true}, {"f16", HN_F16, true, true},
        {"bf16", HN_BF16, true, false}, {"q8_0", HN_Q8_0, false, true},
        {"q4_0", HN_Q4_0, false, true}};
    bool blocks = field->kind == HN_JOB_GGUF_DTYPE;
    for (size_t i = 0; i < sizeof dtypes / sizeof dtypes[0]; i++)
        if ((blocks ? dtypes[i].gguf : dtypes[i].folder) && strcasecmp(dtypes[i].name, name) == 0) {
            *ret = dtypes[i].type;
            return 0;
        }
    hn_fail(err, HN_E_INVALID_FIELD, "%s must be %s", field->name,
        blocks ? "\"f32\", \"f16\", \"q8_0\" or \"q4_0\"" : "\"f32\", \"f16\" or \"bf16\"");
    hn_error_field(err, "%s", field->name);
    return HN_E_INVALID_FIELD;
}

/* Where a field's value goes in the specification; NULL: it has no member there. */
static void *member_of(struct hn_spec *spec, const struct hn_job_field *field) {
#define AT_RUN(name) {#name, offsetof(struct hn_spec, name)},
#define AT_GIVEN(name) {#name, offsetof(struct hn_spec, name)},
#define AT_INPUT(name)
#define AT_PLAN(name)
#define AT_UPLOAD(name)
#define AT_JOB(name)
#define AT_NOTE(name)
    static const struct {
        const char *name;
        size_t offset;
    } members[] = {
#define HN_JOB_FIELD(name, KIND, min, max, FORM, PART, standard, help) AT_##PART(name)
#include "engine/job_request.def"
#undef HN_JOB_FIELD
    };
    for (size_t i = 0; i < sizeof members / sizeof members[0]; i++)
        if (strcmp(members[i].name, field->name) == 0)
            return (char *)spec + members[i].offset;
    return NULL;
}

static int read_field(struct hn_spec *spec, const struct hn_job_field *field, const json_t *from,
    struct hn_error *err) {
    const char *text = field->text;
    int64_t number = field->number;
    bool flag = number != 0;
    void *member = member_of(spec, field);
    int rc;
    switch (member ? field->kind : HN_JOB_ANY) {
    case HN_JOB_DTYPE:
    case HN_JOB_GGUF_DTYPE:
        rc = hn_json_string(from, field->name, &text, err);
        return rc ? rc : read_dtype(text, field, member, err);
    case HN_JOB_INT:
        rc = hn_json_int(from, field->name, field->min, field->max, &number, err);
        *(int64_t *)member = number;
        return rc;
    case HN_JOB_BOOL:
        rc = hn_json_bool(from, field->name, &flag, err);
        *(bool *)member = flag;
        return rc;
    case HN_JOB_SAME:
        return hn_job_same_read(from, field, member, err);
    case HN_JOB_TEXT:
    case HN_JOB_WORD:
        rc = hn_json_string(from, field->name, &text, err);
        *(const char **)member = text;
        return rc;
    default:
        return hn_fail(err, HN_E_INTERNAL, "%s has no place in a specification", field->name);
    }
}

/* Also of specifications that a later build has written: it may know more. */
static int check_precision(const struct hn_spec *spec, struct hn_error *err) {
    if (strcmp(spec->precision, "f32") == 0)
        return 0;
    hn_fail(err, HN_E_UNSUPPORTED, "precision \"%.20s\" is not supported", spec->precision);
    hn_error_field(err, "precision");
    hn_error_hint(err, "this build computes in f32: leave precision out");
    return HN_E_UNSUPPORTED;
}

bool hn_spec_validates(const struct hn_spec *spec) {
    return spec->validation.file || hn_spec_held_out(spec) > 0;
}

double hn_spec_held_out(const struct hn_spec *spec) {
    return spec->folds.folds ? 1 / (double)spec->folds.folds : spec->validation_fraction;
}

bool hn_spec_applied(const struct hn_spec *spec) {
    return spec->template && strcmp(spec->template, "applied") == 0;
}

static int check_template(const struct hn_spec *spec, struct hn_error *err) {
    if (strcmp(spec->template, "model") == 0 || hn_spec_applied(spec))
        return 0;
    hn_fail(err, HN_E_INVALID_FIELD, "there is no template \"%.20s\"", spec->template);
    hn_error_field(err, "template");
    hn_error_hint(err,
        "\"applied\": the rows' texts are rendered already; \"model\" or nothing: they are not");
    return HN_E_INVALID_FIELD;
}

int hn_spec_read_fields(struct hn_spec *spec, const json_t *from, struct hn_error *err) {
    size_t n;
    const struct hn_job_field *fields = hn_job_fields(&n);
    int rc = 0;
    for (size_t i = 0; !rc && i < n; i++)
        if (fields[i].part & (HN_JOB_RUN | HN_JOB_GIVEN))
            rc = read_field(spec, &fields[i], from, err);
    if (!rc)
        rc = check_precision(spec, err);
    return rc ? rc : check_template(spec, err);
}

void hn_spec_write_fields(json_t *run, const json_t *from, enum hn_job_part part) {
    size_t n;
    const struct hn_job_field *fields = hn_job_fields(&n);
    for (size_t i = 0; i < n; i++) {
        json_t *value = json_object_get(from, fields[i].name);
        bool given = value && !json_is_null(value) && !json_is_false(value);
        if (fields[i].part != part || (part == HN_JOB_GIVEN && !given))
            continue;
        json_object_set_new(
            run, fields[i].name, given ? json_incref(value) : hn_job_field_standard(&fields[i]));
    }
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
    s->chats = json_is_true(json_object_get(object, "chats"));
    s->drop = strcmp(on_error, "drop") == 0;
    s->weight = 1;
    s->weighed = json_is_number(json_object_get(object, "weight"));
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
        (rc = hn_json_string(json_object_get(run, "model"), "source", &s->model_source, err)) ||
        (rc = read_source(json_object_get(run, "train"), &s->train, err)) ||
        (rc = read_sources(
             json_object_get(run, "more"), "run.more", s->more, HN_SPEC_MORE, &s->n_more, err)) ||
        (rc = read_source(validation, &s->validation, err)) ||
        (rc = read_source(json_object_get(run, "test"), &s->test, err)) ||
        (rc = hn_json_number(validation, "fraction", 0, 1, &s->validation_fraction, err)) ||
        (json_object_get(validation, "folds") &&
            (rc = hn_folds_read(&s->folds, validation, err))) ||
        (rc = hn_row_choice_read(&s->choice, json_object_get(run, "rows"), err)) ||
        (rc = read_exports(run, &s->exports, err)) || (rc = hn_spec_read_fields(s, run, err)) ||
        (rc = hn_json_string(run, "export_step", &export_step, err)) ||
        (rc = hn_json_bool(run, "recompute", &s->recompute, err)) ||
        (rc = hn_json_string(run, "template_date", &s->template_date, err)) ||
        (rc = hn_json_int(samples, "rows", 0, 1000, &s->sample_rows, err)) ||
        (rc = hn_json_int(samples, "max_tokens", 1, 100000, &s->sample_tokens, err)) ||
        (rc = hn_json_string(json_object_get(run, "init"), "file", &s->init_file, err)) ||
        (rc = hn_json_string(json_object_get(run, "init"), "sha256", &s->init_sha256, err)) ||
        (rc = hn_json_string(json_object_get(run, "init"), "job", &s->init_job, err)) ||
        (rc = hn_json_int(
             json_object_get(run, "init"), "step", 0, INT64_MAX, &s->init_step, err)) ||
        (rc = hn_json_number(json_object_get(json_object_get(run, "init"), "target"), "mean",
             -DBL_MAX, DBL_MAX, &s->init_mean, err)) ||
        (rc = hn_json_number(json_object_get(json_object_get(run, "init"), "target"), "scale", 0,
             DBL_MAX, &s->init_scale, err)) ||
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
    if (!rc)
        rc = hn_json_string(s->host, "tokens", &s->tokens, err);
    if (!rc)
        rc = hn_json_int(s->host, "stop_at", 1, INT64_MAX, &s->stop_at, err);
    return rc ? rc : hn_json_int(s->host, "memory_bytes", 0, INT64_MAX, &s->memory_bytes, err);
}

int hn_spec_read(struct hn_spec *spec, json_t *json, struct hn_error *err) {
    *spec = (struct hn_spec){.json = json,
        .run = json_object_get(json, "run"),
        .host = json_object_get(json, "host"),
        .given = json_object_get(json, "run"),
        .job = "",
        .model_sha256 = "",
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

static json_t *write_source(const struct hn_source *s) {
    json_t *source = json_pack("{s:s, s:s, s:s, s:O, s:s}", "file", s->file, "sha256",
        s->sha256 ? s->sha256 : "", "format", s->format ? s->format : "jsonl", "columns",
        s->columns ? s->columns : json_null(), "on_error", s->drop ? "drop" : "refuse");
    if (s->weighed)
        json_object_set_new(source, "weight", json_real(s->weight));
    if (source && s->chats)
        json_object_set_new(source, "chats", json_true());
    return source;
}

static json_t *write_validation(const struct hn_spec *s) {
    return s->validation.file        ? write_source(&s->validation)
        : s->folds.folds             ? hn_folds_write(&s->folds)
        : s->validation_fraction > 0 ? json_pack("{s:f}", "fraction", s->validation_fraction)
                                     : json_null();
}

/* The run that this one begins from. */
static json_t *write_init(const struct hn_spec *s) {
    if (!s->init_file)
        return json_null();
    json_t *init =
        json_pack("{s:s, s:s, s:s?, s:o}", "file", s->init_file, "sha256", s->init_sha256, "job",
            s->init_job, "step", s->init_step > 0 ? json_integer(s->init_step) : json_null());
    if (s->init_scale > 0)
        json_object_set_new(
            init, "target", json_pack("{s:f, s:f}", "mean", s->init_mean, "scale", s->init_scale));
    return init;
}

/* As they were sent, in that order. */
static json_t *write_exports(const struct hn_spec *s) {
    json_t *sent = json_object_get(s->given, "exports");
    if (json_is_array(sent))
        return json_copy(sent);
    json_t *list = json_array();
    for (unsigned bit = 1; bit <= HN_EXPORT_MERGED_GGUF; bit *= 2)
        if (s->exports & bit)
            json_array_append_new(list, json_string(hn_export_name((enum hn_export)bit)));
    return list;
}

static json_t *write_model(const struct hn_spec *s) {
    json_t *model = HN_JSON_OBJECT(
        {"sha256", json_string(s->model_sha256)}, {"file", json_string(s->model_file)});
    if (s->model_source)
        json_object_set_new(model, "source", json_string(s->model_source));
    return model;
}

static json_t *write_run(const struct hn_spec *s) {
    json_t *run = HN_JSON_OBJECT({"task", json_string(hn_task_name(s->task))},
        {"method", json_string(hn_method_name(s->method))}, {"model", write_model(s)},
        {"train", write_source(&s->train)}, {"validation", write_validation(s)},
        {"init", write_init(s)}, {"labels", json_null()},
        {"hyperparameters", hn_hyperparams_write(&s->hp, HN_HP_RUN)}, {"exports", write_exports(s)},
        {"export_step", json_string(s->export_best ? "best" : "last")});
    hn_spec_write_fields(run, s->given, HN_JOB_RUN);
    json_object_set_new(run, "samples",
        json_pack("{s:I, s:I}", "rows", (json_int_t)s->sample_rows, "max_tokens",
            (json_int_t)s->sample_tokens));
    json_object_set_new(run, "recompute", json_boolean(s->recompute));
    json_object_set_new(run, "template_date", json_string(s->template_date));
    json_t *more = s->n_more ? json_array() : NULL;
    for (size_t i = 0; i < s->n_more; i++)
        json_array_append_new(more, write_source(&s->more[i]));
    if (more)
        json_object_set_new(run, "more", more);
    if (s->test.file)
        json_object_set_new(run, "test", write_source(&s->test));
    if (s->choice.json)
        json_object_set_new(run, "rows", hn_json_share(s->choice.json));
    hn_spec_write_fields(run, s->given, HN_JOB_GIVEN);
    return run;
}

/* What changes no result. Other precisions of the base do not either. */
static json_t *write_host(const struct hn_spec *s) {
    json_t *host = hn_hyperparams_write(&s->hp, HN_HP_HOST);
    json_t *others = s->n_verify_on ? json_array() : NULL;
    for (size_t i = 0; i < s->n_verify_on; i++)
        json_array_append_new(others,
            json_pack("{s:s?, s:s?, s:s}", "name", s->verify_on[i].name, "sha256",
                s->verify_on[i].sha256, "file", s->verify_on[i].file));
    if (others)
        json_object_set_new(host, "verify_on", others);
    json_object_set_new(host, "memory_bytes", json_integer((json_int_t)s->memory_bytes));
    if (s->stop_at > 0)
        json_object_set_new(host, "stop_at", json_integer((json_int_t)s->stop_at));
    if (s->tokens)
        json_object_set_new(host, "tokens", json_string(s->tokens));
    return host;
}

json_t *hn_spec_write(const struct hn_spec *spec) {
    json_t *run = write_run(spec), *host = write_host(spec);
    if (run && host && hn_labels_write(&spec->labels, run, NULL) == 0)
        return json_pack("{s:i, s:o, s:o}", "format", 1, "run", run, "host", host);
    json_decref(run);
    json_decref(host);
    return NULL;
}

void hn_spec_finish(struct hn_spec *spec) {
    hn_labels_finish(&spec->labels);
    json_decref(spec->json);
    *spec = (struct hn_spec){0};
}
