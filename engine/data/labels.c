/* See labels.h. */
#include "engine/data/labels.h"
#include "engine/base/buf.h"
#include "engine/base/json.h"
#include "engine/model/objective.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

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

/* The objective of a class of Transformers; HN_OBJECTIVE_TOKENS when it has no head of a task. A
 * head for several objectives is the first's unless "problem_type" names another. */
static enum hn_objective objective_of(const struct hn_model *model) {
    const json_t *config = model->folder.config;
    const char *name =
                   json_string_value(json_array_get(json_object_get(config, "architectures"), 0)),
               *type = json_string_value(json_object_get(config, "problem_type"));
    enum hn_objective found = HN_OBJECTIVE_TOKENS;
    for (int i = 0; name && i < HN_OBJECTIVES; i++) {
        const struct hn_objective_info *o = &hn_objectives[i];
        if (o->head == HN_HEADS || !model->arch->heads[o->head].score ||
            strcmp(model->arch->heads[o->head].hf_class, name) != 0)
            continue;
        if (found == HN_OBJECTIVE_TOKENS ||
            (type && o->problem_type && strcmp(type, o->problem_type) == 0))
            found = (enum hn_objective)i;
    }
    return found;
}

int hn_labels_of_model(struct hn_labels *ret, const struct hn_model *model, struct hn_error *err) {
    const json_t *names = json_object_get(model->folder.config, "id2label");
    *ret = (struct hn_labels){
        .objective = model->is_folder ? objective_of(model) : HN_OBJECTIVE_TOKENS,
        .unanswerable = true};
    if (!hn_objectives[ret->objective].labelled)
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

int hn_labels_follow(struct hn_labels *l, const json_t *names, struct hn_error *err) {
    size_t n = json_array_size(l->names), k;
    const json_t *name;
    if (!n || json_array_size(names) != n)
        return 0;
    json_array_foreach((json_t *)(uintptr_t)names, k, name)
        if (!json_object_get(l->index, json_string_value(name)))
            return 0;
    float *weights = l->weights ? hn_calloc(n, sizeof *weights) : NULL;
    if (l->weights && !weights)
        return hn_fail(err, HN_E_INTERNAL, "out of memory");
    json_array_foreach((json_t *)(uintptr_t)names, k, name)
        if (weights)
            weights[k] = l->weights[hn_label_number(l, name)];
    free(l->weights);
    l->weights = weights;
    json_decref(l->names);
    json_decref(l->index);
    l->index = NULL;
    l->names = json_deep_copy(names);
    return l->names ? make_index(l, err) : hn_fail(err, HN_E_INTERNAL, "out of memory");
}

/* Row of the base's head for a label, or -1. */
static int32_t row_of(const struct hn_labels *base, const char *label) {
    char unnamed[64];
    const json_t *row = json_object_get(base->index, label);
    snprintf(unnamed, sizeof unnamed, "LABEL_%.50s", label);
    row = row ? row : json_object_get(base->index, unnamed);
    return row ? (int32_t)json_integer_value(row) : -1;
}

static void forget_head(struct hn_model *model) {
    for (int role = HN_ROLE_SCORE; role <= HN_ROLE_SCORE_BIAS; role++) {
        struct hn_weight *w = model->by_role[role];
        if (!w)
            continue;
        free(w->owned);
        w->owned = NULL;
        w->data = NULL;
    }
    model->head.is_new = true;
}

/* Row i of the head becomes what row rows[i] is in the file. */
static int permute_head(struct hn_model *model, const int32_t *rows, struct hn_error *err) {
    struct hn_weight *score = model->by_role[HN_ROLE_SCORE],
                     *bias = model->by_role[HN_ROLE_SCORE_BIAS];
    size_t n = score->rows;
    float *values = hn_calloc(n * score->cols, sizeof *values),
          *biases = hn_calloc(n, sizeof *biases);
    if (!values || !biases) {
        free(values);
        free(biases);
        return hn_fail(err, HN_E_INTERNAL, "out of memory");
    }
    for (size_t i = 0; i < n; i++) {
        hn_weight_row(score, (size_t)rows[i], values + i * score->cols);
        if (bias && bias->owned)
            biases[i] = bias->owned[rows[i]];
    }
    score->data = score->owned = values;
    score->type = HN_F32;
    if (bias && bias->owned)
        memcpy(bias->owned, biases, n * sizeof *biases);
    free(biases);
    return 0;
}

int hn_labels_fit_head(const struct hn_labels *l, struct hn_model *model, struct hn_error *err) {
    const struct hn_weight *score = model->by_role[HN_ROLE_SCORE];
    size_t n = json_array_size(l->names);
    struct hn_labels base = {0};
    if (!hn_objectives[l->objective].labelled || !score || !score->data || score->rows != n)
        return 0;
    int rc = hn_labels_of_model(&base, model, err);
    int32_t *rows = rc ? NULL : hn_calloc(n, sizeof *rows);
    bool known = true, same = true;
    if (!rc && !rows)
        rc = hn_fail(err, HN_E_INTERNAL, "out of memory");
    for (size_t i = 0; !rc && i < n; i++) {
        rows[i] = row_of(&base, hn_label_name(l, i));
        known = known && rows[i] >= 0 && (size_t)rows[i] < n;
        same = same && rows[i] == (int32_t)i;
    }
    if (!rc && !known)
        forget_head(model);
    else if (!rc && !same)
        rc = permute_head(model, rows, err);
    free(rows);
    hn_labels_finish(&base);
    return rc;
}

int hn_labels_read(struct hn_labels *ret, const json_t *run, struct hn_error *err) {
    const char *problem = hn_objectives[HN_OBJECTIVE_TOKENS].name;
    const json_t *weights = json_object_get(run, "label_weights");
    *ret = (struct hn_labels){.objective = HN_OBJECTIVES};
    int rc = hn_json_string(run, "problem", &problem, err);
    for (int i = 0; !rc && problem && i < HN_OBJECTIVES; i++)
        if (strcmp(problem, hn_objectives[i].name) == 0)
            ret->objective = (enum hn_objective)i;
    ret->names = json_incref(json_object_get(run, "labels"));
    size_t n = json_array_size(ret->names);
    if (!rc &&
        (ret->objective == HN_OBJECTIVES ||
            (hn_objectives[ret->objective].labelled && (n < 1 || n > HN_LABELS_MAX))))
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
    json_object_set_new(run, "problem", json_string(hn_objectives[l->objective].name));
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
