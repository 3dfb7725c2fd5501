/* See labels.h. */
#include "engine/data/labels.h"
#include "engine/base/buf.h"
#include "engine/base/json.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char *const problems[HN_OBJECTIVES] = {[HN_OBJECTIVE_TOKENS] = "tokens",
    [HN_OBJECTIVE_CLASSES] = "classes",
    [HN_OBJECTIVE_MULTI] = "multi_label",
    [HN_OBJECTIVE_VALUE] = "value",
    [HN_OBJECTIVE_TAGS] = "tags",
    [HN_OBJECTIVE_SPAN] = "span"};

/* The label's text: into `room` for what is not a text. NULL for lists and objects. */
static const char *label_text(const json_t *label, char room[32]) {
    if (json_is_string(label))
        return json_string_value(label);
    if (json_is_boolean(label))
        return json_is_true(label) ? "true" : "false";
    if (!json_is_number(label))
        return NULL;
    if (json_is_integer(label))
        snprintf(room, 32, "%" JSON_INTEGER_FORMAT, json_integer_value(label));
    else
        snprintf(room, 32, "%.17g", json_real_value(label));
    return room;
}

bool hn_label_value(const json_t *label, double *ret) {
    char *end;
    if (json_is_string(label)) {
        *ret = strtod(json_string_value(label), &end);
        return json_string_length(label) && !*end && isfinite(*ret);
    }
    *ret = json_number_value(label);
    return json_is_number(label);
}

static bool is_whole(const char *text) {
    text += *text == '-';
    return *text && strlen(text) < 18 && strspn(text, "0123456789") == strlen(text);
}

static bool has_point(const json_t *label) {
    double value;
    if (json_is_string(label))
        return hn_label_value(label, &value) && strpbrk(json_string_value(label), ".eE");
    return json_is_real(label);
}

/* What all rows together show. */
struct survey {
    json_t *counts; /* name → rows */
    bool lists, points, texts;
    size_t rows;
};

static int count_label(struct survey *s, const json_t *label, uint32_t line, struct hn_error *err) {
    char room[32];
    double value;
    const char *text = label_text(label, room);
    if (!text)
        return hn_fail(
            err, HN_E_DATASET_INVALID, "line %u: a label must be a text or a number", line);
    s->points |= has_point(label);
    s->texts |= !hn_label_value(label, &value);
    json_int_t before = json_integer_value(json_object_get(s->counts, text));
    if (json_object_set_new(s->counts, text, json_integer(before + 1)))
        return hn_fail(err, HN_E_INTERNAL, "out of memory");
    if (s->lists && json_object_size(s->counts) > HN_LABELS_MAX)
        return hn_fail(
            err, HN_E_DATASET_INVALID, "there are more than %d different labels", HN_LABELS_MAX);
    return 0;
}

static int survey_rows(struct survey *s, const struct hn_dataset *data, struct hn_error *err) {
    const char *column = data->columns == HN_ROWS_TOKENS_TAGS ? "tags" : "label";
    int rc = (s->counts = json_object()) ? 0 : hn_fail(err, HN_E_INTERNAL, "out of memory");
    for (size_t row = 0; !rc && row < data->n_rows; row++, s->rows++) {
        json_t *object = NULL;
        rc = hn_dataset_row(data, row, &object, err);
        const json_t *label = rc ? NULL : json_object_get(object, column);
        s->lists |= json_is_array(label);
        for (size_t i = 0; !rc && i < json_array_size(label); i++)
            rc = count_label(s, json_array_get(label, i), data->lines[row], err);
        if (!rc && !json_is_array(label))
            rc = count_label(s, label, data->lines[row], err);
        json_decref(object);
    }
    return rc;
}

static int compare_names(const void *a, const void *b) {
    const char *x = *(const char *const *)a, *y = *(const char *const *)b;
    if (is_whole(x) && is_whole(y)) {
        long long m = atoll(x), n = atoll(y);
        return (m > n) - (m < n);
    }
    if (is_whole(x) != is_whole(y))
        return is_whole(x) ? -1 : 1;
    return strcmp(x, y);
}

static json_t *sorted_names(const json_t *counts) {
    size_t n = 0;
    const char **names = hn_calloc(json_object_size(counts) + 1, sizeof *names), *name;
    json_t *list = names ? json_array() : NULL, *value;
    json_object_foreach((json_t *)(uintptr_t)counts, name, value)
        if (names)
            names[n++] = name;
    if (n)
        qsort(names, n, sizeof *names, compare_names);
    for (size_t i = 0; list && i < n; i++)
        json_array_append_new(list, json_string(names[i]));
    free(names);
    return list;
}

static int make_index(struct hn_labels *l, struct hn_error *err) {
    if (!(l->index = json_object()))
        return hn_fail(err, HN_E_INTERNAL, "out of memory");
    for (size_t i = 0; i < json_array_size(l->names); i++) {
        const char *name = json_string_value(json_array_get(l->names, i));
        if (!name || json_object_get(l->index, name)) {
            hn_fail(err, HN_E_INVALID_FIELD, "labels must be a list of different texts");
            hn_error_field(err, "labels");
            return HN_E_INVALID_FIELD;
        }
        if (json_object_set_new(l->index, name, json_integer((json_int_t)i)))
            return hn_fail(err, HN_E_INTERNAL, "out of memory");
    }
    return 0;
}

/* The names given must hold all that the rows say. */
static int check_given(const struct hn_labels *l, const struct survey *s, struct hn_error *err) {
    const char *name;
    json_t *count;
    json_object_foreach(s->counts, name, count)
        if (!json_object_get(l->index, name)) {
            hn_fail(err, HN_E_INVALID_FIELD,
                "the data has the label \"%.60s\" (%" JSON_INTEGER_FORMAT
                " times), which labels does not list",
                name, json_integer_value(count));
            hn_error_field(err, "labels");
            return HN_E_INVALID_FIELD;
        }
    return 0;
}

static int weigh(
    struct hn_labels *l, const struct survey *s, const json_t *weights, struct hn_error *err) {
    const char *kind = json_string_value(weights), *name;
    size_t n = json_array_size(l->names);
    json_t *value;
    if (!weights || json_is_null(weights) || (kind && strcmp(kind, "none") == 0))
        return 0;
    int rc = 0;
    if ((l->objective != HN_OBJECTIVE_CLASSES && l->objective != HN_OBJECTIVE_TAGS) ||
        !((kind && strcmp(kind, "balanced") == 0) || json_is_object(weights)))
        rc = hn_fail(err, HN_E_INVALID_FIELD,
            "class_weights is \"none\", \"balanced\" or an object from label to weight, for tasks "
            "with one label a row or a token");
    else if (!(l->weights = hn_calloc(n, sizeof *l->weights)))
        return hn_fail(err, HN_E_INTERNAL, "out of memory");
    double total = 0;
    json_object_foreach(s->counts, name, value)
        total += (double)json_integer_value(value);
    for (size_t i = 0; !rc && i < n; i++) {
        double count = (double)json_integer_value(json_object_get(s->counts, hn_label_name(l, i)));
        l->weights[i] = kind && count > 0 ? (float)(total / ((double)n * count)) : 1;
    }
    json_object_foreach((json_t *)(uintptr_t)weights, name, value) {
        const json_t *number = json_object_get(l->index, name);
        if (!rc &&
            (!number || !json_is_number(value) || !(json_number_value(value) >= 0) ||
                json_number_value(value) > 1e6))
            rc = hn_fail(err, HN_E_INVALID_FIELD, "class_weights: \"%.60s\" is %s", name,
                number ? "not weighted by a number from 0 to 1,000,000"
                       : "not a label of the data");
        else if (!rc)
            l->weights[json_integer_value(number)] = (float)json_number_value(value);
    }
    if (rc)
        hn_error_field(err, "class_weights");
    return rc;
}

/* Labels as a request gives them: numbers are taken as the data's are. */
static json_t *texts_of(const json_t *given) {
    json_t *list = json_array();
    const json_t *label;
    size_t i;
    json_array_foreach((json_t *)(uintptr_t)given, i, label) {
        char room[32];
        const char *text = label_text(label, room);
        json_array_append_new(list, text ? json_string(text) : json_null());
    }
    return list;
}

static int choose(struct hn_labels *l, const struct survey *s, const struct hn_dataset *data,
    const json_t *given, struct hn_error *err) {
    bool tags = data->columns == HN_ROWS_TOKENS_TAGS, named = given && !json_is_null(given);
    l->objective = tags                    ? HN_OBJECTIVE_TAGS
        : s->lists                         ? HN_OBJECTIVE_MULTI
        : s->points && !s->texts && !named ? HN_OBJECTIVE_VALUE
                                           : HN_OBJECTIVE_CLASSES;
    if (l->objective == HN_OBJECTIVE_VALUE)
        return 0;
    if (named &&
        (!json_is_array(given) || !json_array_size(given) ||
            json_array_size(given) > HN_LABELS_MAX)) {
        hn_fail(err, HN_E_INVALID_FIELD, "labels must be a list of 1 to %d texts", HN_LABELS_MAX);
        hn_error_field(err, "labels");
        return HN_E_INVALID_FIELD;
    }
    l->names = named ? texts_of(given) : sorted_names(s->counts);
    int rc = l->names ? make_index(l, err) : hn_fail(err, HN_E_INTERNAL, "out of memory");
    if (!rc && named)
        rc = check_given(l, s, err);
    size_t n = json_array_size(l->names);
    if (!rc && n > HN_LABELS_MAX) {
        hn_fail(err, HN_E_DATASET_INVALID,
            "there are %zu different labels in %zu rows; at most %d can be told apart", n, s->rows,
            HN_LABELS_MAX);
        hn_error_hint(
            err, "is the label column the right one? map it with columns={\"label\":\"…\"}");
        return HN_E_DATASET_INVALID;
    }
    if (!rc && n < 2 && l->objective == HN_OBJECTIVE_CLASSES) {
        hn_fail(err, HN_E_DATASET_INVALID,
            "all rows have the same label \"%.60s\": there is nothing to tell apart",
            hn_label_name(l, 0));
        hn_error_hint(err, "give rows of at least two labels");
        return HN_E_DATASET_INVALID;
    }
    return rc;
}

static bool lacks_answer(const json_t *answers) {
    const json_t *texts = json_is_array(answers) ? answers : json_object_get(answers, "text");
    return !json_string_length(json_is_string(answers) ? answers : json_array_get(texts, 0));
}

static int find_unanswerable(
    struct hn_labels *l, const struct hn_dataset *data, struct hn_error *err) {
    int rc = 0;
    l->objective = HN_OBJECTIVE_SPAN;
    for (size_t row = 0; !rc && !l->unanswerable && row < data->n_rows; row++) {
        json_t *object = NULL;
        rc = hn_dataset_row(data, row, &object, err);
        l->unanswerable = !rc && lacks_answer(json_object_get(object, "answers"));
        json_decref(object);
    }
    return rc;
}

int hn_labels_find(struct hn_labels *ret, const struct hn_dataset *data, const json_t *given,
    const json_t *weights, struct hn_error *err) {
    struct survey s = {0};
    *ret = (struct hn_labels){0};
    if (data->columns == HN_ROWS_QA)
        return find_unanswerable(ret, data, err);
    int rc = survey_rows(&s, data, err);
    if (!rc)
        rc = choose(ret, &s, data, given, err);
    if (!rc)
        rc = weigh(ret, &s, weights, err);
    json_decref(s.counts);
    if (rc)
        hn_labels_finish(ret);
    return rc;
}

/* The problem of a class of Transformers; HN_OBJECTIVE_TOKENS when it has no head of a task. */
static enum hn_objective problem_of(const struct hn_model *model) {
    static const enum hn_objective problems_of_heads[HN_HEADS] = {
        [HN_HEAD_SEQUENCE] = HN_OBJECTIVE_CLASSES,
        [HN_HEAD_TOKENS] = HN_OBJECTIVE_TAGS,
        [HN_HEAD_SPAN] = HN_OBJECTIVE_SPAN};
    const json_t *config = model->folder.config;
    const char *name =
                   json_string_value(json_array_get(json_object_get(config, "architectures"), 0)),
               *kind = json_string_value(json_object_get(config, "problem_type"));
    for (int i = 0; name && i < HN_HEADS; i++) {
        if (!model->arch->heads[i].score || strcmp(model->arch->heads[i].hf_class, name) != 0)
            continue;
        if (i == HN_HEAD_SEQUENCE && kind && strcmp(kind, "multi_label_classification") == 0)
            return HN_OBJECTIVE_MULTI;
        if (i == HN_HEAD_SEQUENCE && kind && strcmp(kind, "regression") == 0)
            return HN_OBJECTIVE_VALUE;
        return problems_of_heads[i];
    }
    return HN_OBJECTIVE_TOKENS;
}

int hn_labels_of_model(struct hn_labels *ret, const struct hn_model *model, struct hn_error *err) {
    const json_t *names = json_object_get(model->folder.config, "id2label");
    *ret =
        (struct hn_labels){.objective = model->is_folder ? problem_of(model) : HN_OBJECTIVE_TOKENS,
            .unanswerable = true};
    if (ret->objective == HN_OBJECTIVE_TOKENS || ret->objective == HN_OBJECTIVE_VALUE ||
        ret->objective == HN_OBJECTIVE_SPAN)
        return 0;
    /* Transformers' own default */
    size_t n = json_object_size(names) ? json_object_size(names) : 2;
    ret->names = json_array();
    for (size_t i = 0; i < n && n <= HN_LABELS_MAX; i++) {
        char number[24], label[32];
        snprintf(number, sizeof number, "%zu", i);
        snprintf(label, sizeof label, "LABEL_%zu", i);
        const char *name = json_string_value(json_object_get(names, number));
        json_array_append_new(ret->names, json_string(name ? name : label));
    }
    int rc = json_array_size(ret->names) == n
        ? make_index(ret, err)
        : hn_fail(err, HN_E_MODEL_INVALID, "config.json names more than %d labels", HN_LABELS_MAX);
    if (rc)
        hn_labels_finish(ret);
    return rc;
}

int hn_labels_read(struct hn_labels *ret, const json_t *run, struct hn_error *err) {
    const char *problem = problems[0];
    const json_t *weights = json_object_get(run, "label_weights");
    *ret = (struct hn_labels){.objective = HN_OBJECTIVES};
    int rc = hn_json_string(run, "problem", &problem, err);
    for (int i = 0; !rc && problem && i < HN_OBJECTIVES; i++)
        if (strcmp(problem, problems[i]) == 0)
            ret->objective = (enum hn_objective)i;
    ret->names = json_incref(json_object_get(run, "labels"));
    size_t n = json_array_size(ret->names);
    bool labelled = ret->objective == HN_OBJECTIVE_CLASSES ||
        ret->objective == HN_OBJECTIVE_MULTI || ret->objective == HN_OBJECTIVE_TAGS;
    if (!rc && (ret->objective == HN_OBJECTIVES || (labelled && (n < 1 || n > HN_LABELS_MAX))))
        rc = hn_fail(err, HN_E_INVALID_FIELD,
            "spec: \"problem\" is not known, or \"labels\" does not go with it");
    if (!rc)
        rc = make_index(ret, err);
    if (!rc)
        rc = hn_json_bool(run, "unanswerable", &ret->unanswerable, err);
    if (!rc && json_is_array(weights) && json_array_size(weights) == n && n) {
        if (!(ret->weights = hn_calloc(n, sizeof *ret->weights)))
            rc = hn_fail(err, HN_E_INTERNAL, "out of memory");
        for (size_t i = 0; !rc && i < n; i++)
            ret->weights[i] = (float)json_number_value(json_array_get(weights, i));
    }
    if (rc)
        hn_labels_finish(ret);
    return rc;
}

int hn_labels_write(const struct hn_labels *l, json_t *run, struct hn_error *err) {
    if (l->objective == HN_OBJECTIVE_TOKENS)
        return 0;
    json_t *weights = l->weights ? json_array() : NULL;
    for (size_t i = 0; weights && i < json_array_size(l->names); i++)
        json_array_append_new(weights, hn_json_float(l->weights[i]));
    json_object_set_new(run, "problem", json_string(problems[l->objective]));
    json_object_set(run, "labels", l->names ? l->names : json_null());
    if (weights)
        json_object_set_new(run, "label_weights", weights);
    if (l->objective == HN_OBJECTIVE_SPAN)
        json_object_set_new(run, "unanswerable", json_boolean(l->unanswerable));
    return json_object_get(run, "labels") ? 0 : hn_fail(err, HN_E_INTERNAL, "out of memory");
}

void hn_labels_finish(struct hn_labels *l) {
    json_decref(l->names);
    json_decref(l->index);
    free(l->weights);
    *l = (struct hn_labels){0};
}

size_t hn_labels_outputs(const struct hn_labels *l) {
    return l->objective == HN_OBJECTIVE_TOKENS ? 0
        : l->objective == HN_OBJECTIVE_VALUE   ? 1
        : l->objective == HN_OBJECTIVE_SPAN    ? 2
                                               : json_array_size(l->names);
}

int32_t hn_label_number(const struct hn_labels *l, const json_t *label) {
    char room[32];
    const char *text = label_text(label, room);
    const json_t *number = text ? json_object_get(l->index, text) : NULL;
    return number ? (int32_t)json_integer_value(number) : -1;
}

const char *hn_label_name(const struct hn_labels *l, size_t number) {
    const char *name = json_string_value(json_array_get(l->names, number));
    return name ? name : "";
}
