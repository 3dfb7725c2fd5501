/* See labels.h. */
#include "engine/data/labels.h"
#include "engine/data/label_survey.h"
#include "engine/base/buf.h"
#include "engine/base/json.h"
#include "engine/model/objective.h"

#include <float.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

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
static int check_given(
    const struct hn_labels *l, const struct hn_label_survey *s, struct hn_error *err) {
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

static int weigh(struct hn_labels *l, const struct hn_label_survey *s, const json_t *weights,
    struct hn_error *err) {
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
        char room[HN_LABEL_TEXT];
        const char *text = hn_label_text(label, room);
        json_array_append_new(list, text ? json_string(text) : json_null());
    }
    return list;
}

/* Lists of 0 and 1 that all have one length say of each label whether it holds; the label's names
 * are those given, or its places. As many names as there are different digits mean the digits. */
static bool is_multi_hot(const struct hn_label_survey *s, const json_t *given) {
    size_t n = json_array_size(given);
    return s->binary == s->rows && s->width >= 2 && s->width <= HN_LABELS_MAX &&
        (!n || n == s->width);
}

static json_t *names_of(
    const struct hn_labels *l, const struct hn_label_survey *s, const json_t *given) {
    if (json_is_array(given))
        return texts_of(given);
    if (!l->multi_hot)
        return hn_label_survey_names(s);
    json_t *list = json_array();
    for (size_t i = 0; i < s->width; i++)
        json_array_append_new(list, json_sprintf("label_%zu", i));
    return list;
}

static int check_names(
    const struct hn_labels *l, const struct hn_label_survey *s, struct hn_error *err) {
    if (!s->many && !json_array_size(l->names)) {
        hn_fail(err, HN_E_DATASET_INVALID, "no row has a label: all lists are empty");
        hn_error_hint(err, "give rows with labels, or name them all with labels");
        return HN_E_DATASET_INVALID;
    }
    size_t n = s->many ? HN_LABELS_MAX + 1 : json_array_size(l->names);
    if (n > HN_LABELS_MAX) {
        hn_fail(err, HN_E_DATASET_INVALID,
            "there are %zu%s different labels in %zu rows; at most %d can be told apart",
            json_object_size(s->counts), s->many ? " or more" : "", s->rows, HN_LABELS_MAX);
        hn_error_hint(
            err, "is the label column the right one? map it with columns={\"label\":\"…\"}");
        return HN_E_DATASET_INVALID;
    }
    if (n < 2 && l->objective == HN_OBJECTIVE_CLASSES) {
        hn_fail(err, HN_E_DATASET_INVALID,
            "all rows have the same label \"%.60s\": there is nothing to tell apart",
            hn_label_name(l, 0));
        hn_error_hint(err, "give rows of at least two labels");
        return HN_E_DATASET_INVALID;
    }
    return 0;
}

/* Values are learned as distances from their mean, in standard deviations, so that their size makes
 * no difference to the loss and the rate. A head without a bias could not give the mean back: there
 * they are divided by their root mean square. */
static int choose_scale(
    struct hn_labels *l, const struct hn_label_survey *s, bool bias, struct hn_error *err) {
    double variance = s->squares / (double)s->numbers;
    if (!s->many && json_object_size(s->counts) == 1) {
        hn_fail(err, HN_E_DATASET_INVALID,
            "all %zu rows have the same value: there is nothing to predict", s->numbers);
        hn_error_hint(err, "give rows of different values");
        return HN_E_DATASET_INVALID;
    }
    /* of float, which heads are made of: six digits of the mean at the most */
    if (!isfinite(variance) || !(sqrt(variance) > 1e-5 * fabs(s->mean)) || variance < 1e-60 ||
        fabs(s->mean) > 1e30 || variance > 1e60) {
        hn_fail(err, HN_E_DATASET_INVALID,
            "values with mean %.6g and standard deviation %.3g cannot be told apart in single "
            "precision",
            s->mean, sqrt(variance));
        hn_error_hint(err, "subtract a constant from the values, or give them in another unit");
        return HN_E_DATASET_INVALID;
    }
    l->mean = bias ? s->mean : 0;
    l->scale = sqrt(bias ? variance : variance + s->mean * s->mean);
    return 0;
}

/* Which names the labels have. Errors name `labels`. */
static int choose_names(struct hn_labels *l, const struct hn_label_survey *s, const json_t *given,
    struct hn_error *err) {
    if (given &&
        (!json_is_array(given) || !json_array_size(given) ||
            json_array_size(given) > HN_LABELS_MAX)) {
        hn_fail(err, HN_E_INVALID_FIELD, "labels must be a list of 1 to %d texts", HN_LABELS_MAX);
        hn_error_field(err, "labels");
        return HN_E_INVALID_FIELD;
    }
    l->multi_hot = l->objective == HN_OBJECTIVE_MULTI && is_multi_hot(s, given);
    l->names = s->many && !given ? json_array() : names_of(l, s, given);
    int rc = l->names ? make_index(l, err) : hn_fail(err, HN_E_INTERNAL, "out of memory");
    if (!rc && given && !l->multi_hot)
        rc = check_given(l, s, err);
    return rc ? rc : check_names(l, s, err);
}

static int refuse_names(const struct hn_labels_request *request, struct hn_error *err) {
    const char *field = request->labels ? "labels" : "class_weights";
    const char *word = json_string_value(request->weights);
    if (!request->labels && (!request->weights || (word && strcmp(word, "none") == 0)))
        return 0;
    hn_fail(
        err, HN_E_INVALID_FIELD, "%s names classes, but these labels are values to predict", field);
    hn_error_field(err, "%s", field);
    hn_error_hint(err, "send \"problem\": \"single_label\" if they are classes");
    return HN_E_INVALID_FIELD;
}

static int choose(struct hn_labels *l, const struct hn_label_survey *s, bool tags,
    const struct hn_labels_request *request, char **ret_why, struct hn_error *err) {
    l->objective = HN_OBJECTIVE_TAGS;
    int rc = tags ? 0
                  : hn_label_survey_decide(
                        s, request->problem, request->labels != NULL, &l->objective, ret_why, err);
    if (rc)
        return rc;
    if (tags && request->problem) {
        hn_fail(err, HN_E_INVALID_FIELD, "problem is for rows of text and label, not for tags");
        hn_error_field(err, "problem");
        return HN_E_INVALID_FIELD;
    }
    if (l->objective != HN_OBJECTIVE_VALUE)
        return choose_names(l, s, request->labels, err);
    rc = refuse_names(request, err);
    return rc ? rc : choose_scale(l, s, !request->no_bias, err);
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

static void note_labels(const struct hn_labels *l, const struct hn_label_survey *s, char **why,
    struct hn_label_notes *ret) {
    *ret = (struct hn_label_notes){.why = *why};
    *why = NULL;
    if (l->multi_hot && !ret->why &&
        asprintf(&ret->why,
            "labels are lists of %zu zeros and ones: each place is taken as one label, which "
            "\"labels\" names in their order; for labels called 0 and 1 send \"labels\": "
            "[\"0\", \"1\"]",
            s->width) < 0)
        ret->why = NULL;
    if (l->objective != HN_OBJECTIVE_VALUE && !l->multi_hot)
        ret->alike = hn_label_survey_alike(s);
    ret->shown = hn_label_survey_json(s, l->objective, l->names, l->multi_hot);
}

int hn_labels_find(struct hn_labels *ret, const struct hn_dataset *data,
    const struct hn_labels_request *request, struct hn_label_notes *ret_notes,
    struct hn_error *err) {
    struct hn_label_survey s = {0};
    char *why = NULL;
    *ret = (struct hn_labels){.scale = 1};
    if (ret_notes)
        *ret_notes = (struct hn_label_notes){0};
    if (data->columns == HN_ROWS_QA)
        return find_unanswerable(ret, data, err);
    int rc = hn_label_survey(&s, data, err);
    if (!rc)
        rc = choose(ret, &s, data->columns == HN_ROWS_TOKENS_TAGS, request, &why, err);
    if (!rc)
        rc = weigh(ret, &s, request->weights, err);
    if (!rc && ret_notes)
        note_labels(ret, &s, &why, ret_notes);
    free(why);
    hn_label_survey_finish(&s);
    if (rc)
        hn_labels_finish(ret);
    return rc;
}

void hn_label_notes_finish(struct hn_label_notes *notes) {
    json_decref(notes->shown);
    free(notes->why);
    free(notes->alike);
    *notes = (struct hn_label_notes){0};
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
        .unanswerable = true,
        .scale = 1};
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
    const json_t *target = json_object_get(run, "target");
    int rc = hn_json_string(run, "problem", &problem, err);
    ret->scale = 1;
    if (!rc)
        rc = hn_json_number(target, "mean", -DBL_MAX, DBL_MAX, &ret->mean, err);
    if (!rc)
        rc = hn_json_number(target, "scale", DBL_MIN, DBL_MAX, &ret->scale, err);
    if (!rc)
        rc = hn_json_bool(run, "multi_hot", &ret->multi_hot, err);
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
    if (l->multi_hot)
        json_object_set_new(run, "multi_hot", json_true());
    if (l->objective == HN_OBJECTIVE_VALUE)
        json_object_set_new(
            run, "target", json_pack("{s:f, s:f}", "mean", l->mean, "scale", l->scale));
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
    char room[HN_LABEL_TEXT];
    const char *text = hn_label_text(label, room);
    const json_t *number = text ? json_object_get(l->index, text) : NULL;
    return number ? (int32_t)json_integer_value(number) : -1;
}

double hn_label_target(const struct hn_labels *l, double value) {
    return (value - l->mean) / l->scale;
}

double hn_label_predicted(const struct hn_labels *l, float logit) {
    return l->folded ? (double)logit : (double)logit * l->scale + l->mean;
}

const char *hn_label_name(const struct hn_labels *l, size_t number) {
    const char *name = json_string_value(json_array_get(l->names, number));
    return name ? name : "";
}
