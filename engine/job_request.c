/* One row a field, made from the table; everything else walks the rows. See job_request.h. */
#include "engine/job_request.h"
#include "engine/base/buf.h"
#include "engine/base/json.h"
#include "engine/hyperparams.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* The table's `min` and `standard` are numbers or texts, by the kind; these pick the right one. */
#define WORDS_TEXT(x) NULL
#define WORDS_WORD(x) x
#define WORDS_DTYPE(x) NULL
#define WORDS_GGUF_DTYPE(x) NULL
#define WORDS_INT(x) NULL
#define WORDS_BOOL(x) NULL
#define WORDS_SAME(x) x
#define WORDS_NAME(x) NULL
#define WORDS_OBJECT(x) NULL
#define WORDS_DATASETS(x) NULL
#define WORDS_HYPERPARAMETERS(x) NULL
#define WORDS_METADATA(x) NULL
#define WORDS_ANY(x) NULL
#define NUMBER_TEXT(x) 0
#define NUMBER_WORD(x) 0
#define NUMBER_DTYPE(x) 0
#define NUMBER_GGUF_DTYPE(x) 0
#define NUMBER_INT(x) x
#define NUMBER_BOOL(x) x
#define NUMBER_SAME(x) 0
#define NUMBER_NAME(x) 0
#define NUMBER_OBJECT(x) 0
#define NUMBER_DATASETS(x) 0
#define NUMBER_HYPERPARAMETERS(x) 0
#define NUMBER_METADATA(x) 0
#define NUMBER_ANY(x) 0
#define TEXT_TEXT(x) x
#define TEXT_WORD(x) x
#define TEXT_DTYPE(x) x
#define TEXT_GGUF_DTYPE(x) x
#define TEXT_INT(x) NULL
#define TEXT_BOOL(x) NULL
#define TEXT_SAME(x) NULL
#define TEXT_NAME(x) NULL
#define TEXT_OBJECT(x) NULL
#define TEXT_DATASETS(x) NULL
#define TEXT_HYPERPARAMETERS(x) NULL
#define TEXT_METADATA(x) NULL
#define TEXT_ANY(x) NULL

static const struct hn_job_field fields[] = {
#define HN_JOB_FIELD(name, KIND, min, max, FORM, PART, standard, help)           \
    {#name, HN_JOB_##KIND, HN_JOB_FORM_##FORM, HN_JOB_##PART, WORDS_##KIND(min), \
        NUMBER_##KIND(min), max, TEXT_##KIND(standard), NUMBER_##KIND(standard), help},
#include "engine/job_request.def"
#undef HN_JOB_FIELD
};
#define FIELDS (sizeof fields / sizeof fields[0])

const struct hn_job_field *hn_job_fields(size_t *ret_n) {
    *ret_n = FIELDS;
    return fields;
}

static const struct hn_job_field *find(const char *name) {
    for (size_t i = 0; i < FIELDS; i++)
        if (strcmp(fields[i].name, name) == 0)
            return &fields[i];
    return NULL;
}

json_t *hn_job_field_standard(const struct hn_job_field *field) {
    return field->kind == HN_JOB_INT                               ? json_integer(field->number)
        : field->kind == HN_JOB_BOOL || field->kind == HN_JOB_SAME ? json_boolean(field->number)
        : field->text                                              ? json_string(field->text)
                                                                   : json_null();
}

int hn_job_metadata_check(const json_t *metadata, struct hn_error *err) {
    const char *key;
    json_t *value;
    bool good = json_is_object(metadata) && json_object_size(metadata) <= 16;
    json_object_foreach((json_t *)(uintptr_t)metadata, key, value)
        good = good && strlen(key) <= 64 && *key && json_is_string(value) &&
            json_string_length(value) <= 512;
    if (good)
        return 0;
    hn_fail(err, HN_E_INVALID_FIELD,
        "metadata must be an object of at most 16 texts (keys to 64, values to 512 bytes)");
    hn_error_field(err, "metadata");
    return HN_E_INVALID_FIELD;
}

static int check_text(
    const json_t *request, const struct hn_job_field *field, struct hn_error *err) {
    const char *text = NULL;
    int rc = hn_json_string(request, field->name, &text, err);
    if (rc || !text || !field->max || strlen(text) <= (size_t)field->max)
        return rc;
    hn_fail(
        err, HN_E_INVALID_FIELD, "%s has more than %lld bytes", field->name, (long long)field->max);
    hn_error_field(err, "%s", field->name);
    hn_error_hint(err, "shorten it");
    return HN_E_INVALID_FIELD;
}

static int check_object(
    const struct hn_job_field *field, const json_t *value, struct hn_error *err) {
    if (json_is_object(value))
        return 0;
    hn_fail(err, HN_E_INVALID_FIELD, "%s must be a JSON object", field->name);
    hn_error_field(err, "%s", field->name);
    hn_error_hint(err, "for example {\"prompt\":\"question\",\"completion\":\"answer\"}");
    return HN_E_INVALID_FIELD;
}

int hn_job_same_read(
    const json_t *request, const struct hn_job_field *field, int *ret, struct hn_error *err) {
    const json_t *value = json_object_get(request, field->name);
    const char *text = json_string_value(value);
    int number = json_is_true(value);
    size_t n;
    for (const char *word = field->words; text && *word; word += n + (word[n] == '|')) {
        n = strcspn(word, "|");
        number++;
        if (strlen(text) == n && memcmp(text, word, n) == 0) {
            *ret = number;
            return 0;
        }
    }
    if (!text && (!value || json_is_null(value) || json_is_boolean(value))) {
        *ret = number;
        return 0;
    }
    hn_fail(
        err, HN_E_INVALID_FIELD, "%s must be true, false or one of %s", field->name, field->words);
    hn_error_field(err, "%s", field->name);
    return HN_E_INVALID_FIELD;
}

static int check(const json_t *request, const struct hn_job_field *field, struct hn_error *err) {
    const json_t *value = json_object_get(request, field->name);
    int64_t number;
    bool flag;
    int same;
    if (!value || json_is_null(value))
        return 0;
    switch (field->kind) {
    case HN_JOB_TEXT:
    case HN_JOB_WORD:
    case HN_JOB_DTYPE:
    case HN_JOB_GGUF_DTYPE:
        return check_text(request, field, err);
    case HN_JOB_INT:
        return hn_json_int(request, field->name, field->min, field->max, &number, err);
    case HN_JOB_BOOL:
        return hn_json_bool(request, field->name, &flag, err);
    case HN_JOB_SAME:
        return hn_job_same_read(request, field, &same, err);
    case HN_JOB_OBJECT:
        return check_object(field, value, err);
    case HN_JOB_HYPERPARAMETERS: /* one by one: check_hyperparameters */
        return check_object(field, value, err);
    case HN_JOB_METADATA:
        return hn_job_metadata_check(value, err);
    case HN_JOB_NAME:
    case HN_JOB_DATASETS:
    case HN_JOB_ANY:
        return 0;
    }
    return HN_E_INTERNAL;
}

/* Faults as they are found: the first is the error, all of them are the list. */
struct faults {
    int first;
    struct hn_error *err;
    json_t *list;
};

static void note(struct faults *faults, int rc, const struct hn_error *found) {
    if (!rc)
        return;
    if (!faults->first && faults->err)
        *faults->err = *found;
    faults->first = faults->first ? faults->first : rc;
    json_array_append_new(faults->list, hn_json_fault(found));
}

static void check_name(struct faults *faults, const char *name) {
    const char *names[FIELDS + 1] = {NULL};
    struct hn_error err;
    json_t *one = json_pack("{s:n}", name);
    for (size_t i = 0; i < FIELDS; i++)
        names[i] = fields[i].name;
    int rc = hn_json_known(one, names, "", &err);
    if (rc && hn_hyperparams_know(err.field))
        hn_error_hint(
            &err, "hyperparameters are together: \"hyperparameters\": {\"%s\": …}", err.field);
    json_decref(one);
    note(faults, rc, &err);
}

static void check_hyperparameters(struct faults *faults, const json_t *object) {
    const char *name;
    json_t *value;
    json_object_foreach((json_t *)(uintptr_t)object, name, value) {
        struct hn_hyperparams hp;
        struct hn_error err;
        json_t *one = json_pack("{s:O}", name, value);
        hn_hyperparams_defaults(&hp);
        note(faults, hn_hyperparams_read(&hp, one, "hyperparameters.", &err), &err);
        json_decref(one);
    }
}

int hn_job_request_check(const json_t *request, json_t **ret_faults, struct hn_error *err) {
    struct faults faults = {0, err, json_array()};
    const char *name;
    json_t *value;
    json_object_foreach((json_t *)(uintptr_t)request, name, value)
        check_name(&faults, name);
    for (size_t i = 0; i < FIELDS; i++) {
        struct hn_error found;
        note(&faults, check(request, &fields[i], &found), &found);
        if (fields[i].kind == HN_JOB_HYPERPARAMETERS)
            check_hyperparameters(&faults, json_object_get(request, fields[i].name));
    }
    if (ret_faults && json_array_size(faults.list) > 1)
        *ret_faults = json_incref(faults.list);
    json_decref(faults.list);
    return faults.first;
}

json_t *hn_job_request_form(const char *name, const char *text) {
    const struct hn_job_field *field = find(name);
    enum hn_job_form form = field ? field->form : HN_JOB_FORM_JSON;
    json_t *value = NULL;
    if (form == HN_JOB_FORM_TEXT || (form == HN_JOB_FORM_LIST_FILE && text[0] != '['))
        return json_string(text);
    /* "auto", "none", ds_… are plain words; numbers, lists and objects are JSON. */
    return hn_json_parse(text, strlen(text), &value, NULL) ? json_string(text) : value;
}

bool hn_job_request_takes_file(const char *name) {
    const struct hn_job_field *field = find(name);
    return field && (field->form == HN_JOB_FORM_JSON_FILE || field->form == HN_JOB_FORM_LIST_FILE);
}

static void copy(const json_t *from, json_t *to, enum hn_job_part parts) {
    for (size_t i = 0; i < FIELDS; i++) {
        json_t *value = json_object_get(from, fields[i].name);
        bool absent = !value || json_is_null(value);
        if (fields[i].part & parts)
            json_object_set_new(to, fields[i].name,
                !absent                                        ? json_incref(value)
                    : fields[i].kind == HN_JOB_HYPERPARAMETERS ? json_object()
                                                               : json_null());
    }
}

void hn_job_request_pass(const json_t *request, json_t *params) {
    copy(request, params, HN_JOB_PLAN | HN_JOB_RUN | HN_JOB_GIVEN);
}

void hn_job_request_show(const json_t *request, json_t *job) {
    copy(request, job, HN_JOB_NOTE);
}

static json_t *words_schema(const char *words) {
    json_t *list = json_array();
    for (size_t n; *words; words += n + (words[n] == '|')) {
        n = strcspn(words, "|");
        json_array_append_new(list, json_stringn(words, n));
    }
    return json_pack("{s:s,s:o}", "type", "string", "enum", list);
}

static json_t *same_schema(const char *words) {
    json_t *schema = words_schema(words), *list = json_object_get(schema, "enum");
    json_object_del(schema, "type");
    json_array_insert_new(list, 0, json_false());
    json_array_insert_new(list, 1, json_true());
    return schema;
}

static json_t *datasets_schema(void) {
    json_t *weighed = json_pack("{s:s,s:b,s:[s],s:{s:{s:s},s:{s:s,s:f,s:i}}}", "type", "object",
        "additionalProperties", 0, "required", "dataset", "properties", "dataset", "type", "string",
        "weight", "type", "number", "minimum", HN_WEIGHT_MIN, "maximum", HN_WEIGHT_MAX);
    return json_pack("{s:[{s:s},{s:s,s:i,s:i,s:{s:[{s:s},o]}}]}", "oneOf", "type", "string", "type",
        "array", "minItems", 1, "maxItems", HN_DATASETS_MAX, "items", "oneOf", "type", "string",
        weighed);
}

static json_t *field_schema(const struct hn_job_field *field) {
    switch (field->kind) {
    case HN_JOB_WORD:
        return words_schema(field->words);
    case HN_JOB_NAME:
    case HN_JOB_TEXT:
    case HN_JOB_DTYPE:
    case HN_JOB_GGUF_DTYPE:
        return field->max
            ? json_pack("{s:s,s:I}", "type", "string", "maxLength", (json_int_t)field->max)
            : json_pack("{s:s}", "type", "string");
    case HN_JOB_INT:
        return json_pack("{s:s,s:I,s:I}", "type", "integer", "minimum", (json_int_t)field->min,
            "maximum", (json_int_t)field->max);
    case HN_JOB_BOOL:
        return json_pack("{s:s}", "type", "boolean");
    case HN_JOB_SAME:
        return same_schema(field->words);
    case HN_JOB_OBJECT:
    case HN_JOB_METADATA:
        return json_pack("{s:s}", "type", "object");
    case HN_JOB_DATASETS:
        return datasets_schema();
    case HN_JOB_HYPERPARAMETERS:
        return json_pack("{s:s}", "$ref", "#/components/schemas/Hyperparameters");
    case HN_JOB_ANY:
        break;
    }
    return json_object();
}

json_t *hn_job_request_schema(void) {
    json_t *properties = json_object();
    for (size_t i = 0; i < FIELDS; i++) {
        json_t *schema = field_schema(&fields[i]), *standard = hn_job_field_standard(&fields[i]);
        json_object_set_new(schema, "description", json_string(fields[i].help));
        if (!json_is_null(standard))
            json_object_set(schema, "default", standard);
        json_decref(standard);
        json_object_set_new(properties, fields[i].name, schema);
    }
    return json_pack("{s:s,s:b,s:[s,s],s:o}", "type", "object", "additionalProperties", 0,
        "required", "model", "dataset", "properties", properties);
}

void hn_job_request_show_schema(json_t *schema) {
    json_t *properties = json_object_get(schema, "properties"),
           *required = json_object_get(schema, "required");
    for (size_t i = 0; i < FIELDS; i++) {
        if (!(fields[i].part & HN_JOB_NOTE))
            continue;
        json_object_set_new(properties, fields[i].name,
            json_pack("{s:[o,{s:s}],s:s}", "anyOf", field_schema(&fields[i]), "type", "null",
                "description", fields[i].help));
        json_array_append_new(required, json_string(fields[i].name));
    }
}
