/* See space.h. */
#include "server/sweeps/space.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define VALUES_MAX 64
#define WEIGHTS "weights."

static int refuse(struct hn_error *err, const char *name, const char *part, const char *message,
    const char *hint) {
    hn_fail(err, HN_E_INVALID_FIELD, "space.%.60s%s%s %s", name, *part ? "." : "", part, message);
    hn_error_field(err, "space.%.60s%s%s", name, *part ? "." : "", part);
    hn_error_hint(err, "%s", hint);
    return HN_E_INVALID_FIELD;
}

/* Names of fields of a job's request that may be an axis beside hyperparameters. */
static bool is_field(const char *name) {
    return strcmp(name, "method") == 0 || strcmp(name, "model") == 0 ||
        strcmp(name, "dataset") == 0;
}

static bool is_weight(const char *name) {
    return strncmp(name, WEIGHTS, strlen(WEIGHTS)) == 0;
}

/* A field of the job's request: its words are the engine's table's. */
static int check_field(const char *name, const json_t *value, struct hn_error *err) {
    size_t n, i = 0;
    const struct hn_job_field *fields = hn_job_fields(&n);
    const char *text = json_string_value(value), *words;
    if (!text)
        return refuse(err, name, "values", "must be texts", "name them as POST /jobs does");
    while (i < n && strcmp(fields[i].name, name) != 0)
        i++;
    words = i < n ? fields[i].words : NULL;
    while (words && *words) {
        size_t size = strcspn(words, "|");
        if (strlen(text) == size && strncmp(words, text, size) == 0)
            return 0;
        words += size + (words[size] == '|');
    }
    return i < n && fields[i].words
        ? refuse(err, name, "", "has a value that there is not", fields[i].help)
        : 0;
}

/* A value that a hyperparameter, or a field, can have. */
static int check_value(const char *name, const json_t *value, struct hn_error *err) {
    struct hn_hyperparams hp;
    if (is_weight(name)) {
        double weight = json_number_value(value);
        return json_is_number(value) && weight >= HN_WEIGHT_MIN && weight <= HN_WEIGHT_MAX
            ? 0
            : refuse(err, name, "", "must be a weight: a positive number",
                  "2 is twice, 0.5 every second row");
    }
    json_t *object = json_object();
    json_object_set(object, name, (json_t *)(uintptr_t)value);
    hn_hyperparams_defaults(&hp);
    int rc;
    if (is_field(name))
        rc = check_field(name, value, err);
    else
        rc = hn_hyperparams_read(&hp, object, "space.", err);
    json_decref(object);
    return rc;
}

/* Whether the hyperparameter's numbers are whole ones. */
static bool is_whole(const char *name) {
    json_t *rows = hn_hyperparams_schema(), *row;
    bool whole = false;
    size_t i;
    json_array_foreach(rows, i, row)
        if (strcmp(json_string_value(json_object_get(row, "name")), name) == 0)
            whole = strncmp(json_string_value(json_object_get(row, "type")), "integer", 7) == 0;
    json_decref(rows);
    return whole;
}

static int read_values(const char *name, const json_t *values, json_t *axis, struct hn_error *err) {
    size_t n = json_array_size(values);
    if (!n || n > VALUES_MAX)
        return refuse(err, name, "values", "must be a list of 1 to 64 values",
            "for example {\"values\": [8, 16, 32]}, or a range: {\"min\": …, \"max\": …}");
    for (size_t i = 0; i < n; i++) {
        const json_t *value = json_array_get(values, i);
        int rc = check_value(name, value, err);
        if (rc)
            return rc;
        for (size_t k = 0; k < i; k++)
            if (json_equal(json_array_get(values, k), value))
                return refuse(err, name, "values", "has a value twice", "name each value once");
    }
    json_object_set(axis, "values", (json_t *)(uintptr_t)values);
    return 0;
}

static int read_range(const char *name, const json_t *given, json_t *axis, struct hn_error *err) {
    const json_t *min = json_object_get(given, "min"), *max = json_object_get(given, "max"),
                 *step = json_object_get(given, "step");
    bool whole = is_whole(name), log = strcmp(name, "learning_rate") == 0;
    if (is_field(name))
        return refuse(err, name, "", "has no range", "send {\"values\": […]}");
    if (!json_is_number(min) || !json_is_number(max))
        return refuse(err, name, json_is_number(min) ? "max" : "min", "must be a number",
            "an axis has \"values\", or \"min\" and \"max\"");
    int rc = check_value(name, min, err);
    if (!rc)
        rc = check_value(name, max, err);
    if (rc)
        return rc;
    double low = json_number_value(min), high = json_number_value(max);
    if (low > high)
        return refuse(err, name, "min", "is larger than max", "swap the two");
    if (json_object_get(given, "log") && !json_is_boolean(json_object_get(given, "log")))
        return refuse(err, name, "log", "must be true or false", "");
    if (json_is_boolean(json_object_get(given, "log")))
        log = json_is_true(json_object_get(given, "log"));
    if (log && low <= 0)
        return refuse(err, name, "min", "must be above 0 on a logarithmic axis",
            "give a small number such as 1e-6, or \"log\": false");
    if (step && !json_is_null(step) &&
        (!json_is_number(step) || !(json_number_value(step) > 0) ||
            (whole && json_number_value(step) != floor(json_number_value(step)))))
        return refuse(err, name, "step", "must be a positive number, a whole one for whole numbers",
            "leave step out for any value in the range");
    if (json_is_number(step) && log)
        return refuse(err, name, "step", "has no meaning on a logarithmic axis",
            "list the \"values\", or send \"log\": false");
    json_object_set(axis, "min", (json_t *)(uintptr_t)min);
    json_object_set(axis, "max", (json_t *)(uintptr_t)max);
    json_object_set_new(axis, "log", json_boolean(log));
    json_object_set_new(axis, "step", hn_json_share_or_null(step));
    json_object_set_new(axis, "whole", json_boolean(whole));
    return 0;
}

static json_t *find_axis(json_t *axes, const char *name) {
    json_t *axis;
    size_t i;
    json_array_foreach(axes, i, axis)
        if (strcmp(json_string_value(json_object_get(axis, "name")), name) == 0)
            return axis;
    return NULL;
}

/* The value that the request itself has for a name, borrowed; "lora" stands for no method. */
static const json_t *value_in(const json_t *job, const char *name) {
    const json_t *value =
        json_object_get(is_field(name) ? job : json_object_get(job, "hyperparameters"), name);
    return value;
}

static bool is_one_of(const json_t *value, const json_t *list) {
    json_t *one;
    size_t i;
    json_array_foreach((json_t *)(uintptr_t)list, i, one)
        if (json_equal(one, (json_t *)(uintptr_t)value))
            return true;
    return false;
}

/* An axis, or a field that a condition names: the nearest known one is told. */
static int check_name(const char *name, const char *prefix, struct hn_error *err) {
    static const char *const fields[] = {"method", "model", "dataset"};
    const char *names[128];
    json_t *rows = hn_hyperparams_schema(), *row, *object = json_object();
    size_t i, n = 0;
    json_array_foreach(rows, i, row)
        if (n < 120)
            names[n++] = json_string_value(json_object_get(row, "name"));
    for (i = 0; i < 3; i++)
        names[n++] = fields[i];
    names[n] = NULL;
    json_object_set_new(object, name, json_null());
    int rc = is_weight(name) ? 0 : hn_json_known(object, names, prefix, err);
    json_decref(object);
    json_decref(rows);
    return rc;
}

/* "when": {name: value or list of values}. What is no axis is decided here: *ret_never. */
static int read_when(const char *name, const json_t *when, const json_t *job, json_t *axes,
    json_t *axis, bool *ret_never, struct hn_error *err) {
    const char *other;
    char prefix[80];
    json_t *wanted, *kept = json_object();
    int rc = 0;
    snprintf(prefix, sizeof prefix, "space.%.60s.when.", name);
    if (!json_is_object(when)) {
        json_decref(kept);
        return refuse(err, name, "when", "must be an object",
            "for example {\"when\": {\"method\": \"lora\"}}");
    }
    json_object_foreach((json_t *)(uintptr_t)when, other, wanted) {
        if (rc || (rc = check_name(other, prefix, err)))
            break;
        json_t *list = json_is_array(wanted) ? json_incref(wanted) : json_pack("[O]", wanted);
        const json_t *known = find_axis(axes, other);
        if (known && !json_object_get(known, "values"))
            rc = refuse(err, name, "when", "names an axis that is a range",
                "conditions are on axes with \"values\"");
        else if (known)
            json_object_set(kept, other, list);
        else {
            const json_t *value = value_in(job, other);
            json_t *standard = json_string("lora");
            if (!value && strcmp(other, "method") == 0)
                value = standard;
            *ret_never = *ret_never || !value || !is_one_of(value, list);
            json_decref(standard);
        }
        json_decref(list);
    }
    if (!rc && json_object_size(kept))
        json_object_set(axis, "when", kept);
    json_decref(kept);
    return rc;
}

static int read_axis(
    const char *name, const json_t *given, const json_t *job, json_t *axes, struct hn_error *err) {
    static const char *const known[] = {"values", "min", "max", "log", "step", "when", NULL};
    char prefix[80];
    bool never = false;
    snprintf(prefix, sizeof prefix, "space.%.60s.", name);
    int rc = check_name(name, "space.", err);
    if (rc)
        return rc;
    if (!json_is_object(given) && !json_is_array(given))
        return refuse(err, name, "", "must be an object or a list of values",
            "{\"values\": [8, 16]} or {\"min\": 1e-5, \"max\": 1e-3, \"log\": true}");
    json_t *axis = json_pack("{s:s}", "name", name);
    if (json_is_object(given))
        rc = hn_json_known(given, known, prefix, err);
    if (!rc && json_object_get(given, "when"))
        rc = read_when(name, json_object_get(given, "when"), job, axes, axis, &never, err);
    const json_t *values = json_is_array(given) ? given : json_object_get(given, "values");
    if (!rc && values && (json_object_get(given, "min") || json_object_get(given, "max")))
        rc = refuse(err, name, "", "has both values and a range", "leave one of them out");
    if (!rc)
        rc = values ? read_values(name, values, axis, err) : read_range(name, given, axis, err);
    if (!rc && never)
        rc = refuse(err, name, "when", "never holds for this job", "leave the axis out");
    if (!rc)
        json_array_append(axes, axis);
    json_decref(axis);
    return rc;
}

int hn_space_read(const json_t *space, const json_t *job, json_t **ret, struct hn_error *err) {
    const char *name;
    json_t *given, *axes = json_array();
    int rc = 0;
    if (!json_is_object(space) || !json_object_size(space)) {
        hn_fail(err, HN_E_INVALID_FIELD, "space must name at least one axis");
        hn_error_hint(err, "for example {\"learning_rate\": {\"min\": 1e-5, \"max\": 1e-3}}");
        rc = HN_E_INVALID_FIELD;
    }
    /* conditions name axes with values: those come first */
    for (int pass = 0; pass < 2 && !rc; pass++)
        json_object_foreach((json_t *)(uintptr_t)space, name, given) {
            bool conditional = json_object_get(given, "when") != NULL;
            if (!rc && conditional == (pass == 1))
                rc = read_axis(name, given, job, axes, err);
        }
    if (!rc && json_array_size(axes) > HN_SPACE_AXES)
        rc = hn_fail(err, HN_E_INVALID_FIELD, "space has more than %d axes", HN_SPACE_AXES);
    if (rc) {
        json_decref(axes);
        if (err && !*err->field)
            hn_error_field(err, "space");
        return rc;
    }
    *ret = axes;
    return 0;
}

static double rounded(double value) {
    char text[40];
    snprintf(text, sizeof text, "%.6g", value);
    return strtod(text, NULL);
}

json_t *hn_space_around(const json_t *chosen, const char *method) {
    double rate = json_number_value(json_object_get(chosen, "learning_rate"));
    json_t *axes = json_array();
    json_array_append_new(axes,
        json_pack("{s:s,s:f,s:f,s:b,s:n,s:b}", "name", "learning_rate", "min", rounded(rate / 5),
            "max", rounded(rate * 5), "log", 1, "step", "whole", 0));
    json_array_append_new(
        axes, json_pack("{s:s,s:[i,i,i,i]}", "name", "batch_size", "values", 4, 8, 16, 32));
    if (strcmp(method, "lora") == 0)
        json_array_append_new(
            axes, json_pack("{s:s,s:[i,i,i]}", "name", "lora_rank", "values", 8, 16, 32));
    json_array_append_new(
        axes, json_pack("{s:s,s:[f,f,f]}", "name", "weight_decay", "values", 0.0, 0.01, 0.1));
    return axes;
}

static int same_condition(const json_t *a, const json_t *b) {
    return (!a && !b) || (a && b && json_equal((json_t *)(uintptr_t)a, (json_t *)(uintptr_t)b));
}

int hn_space_open(json_t *axes, struct hn_space *ret, struct hn_error *err) {
    json_t *axis;
    size_t i;
    *ret = (struct hn_space){.json = axes, .n = json_array_size(axes)};
    if (ret->n > HN_SPACE_AXES)
        return hn_fail(err, HN_E_INTERNAL, "a plan has too many axes");
    json_array_foreach(axes, i, axis) {
        struct hn_axis *a = &ret->axes[i];
        const json_t *values = json_object_get(axis, "values");
        unsigned group = 0;
        for (size_t k = 0; k < i; k++)
            if (same_condition(json_object_get(axis, "when"),
                    json_object_get(json_array_get(axes, k), "when")))
                group = ret->axes[k].group + 1;
        /* groups are numbered by their first axis; those without a condition are group 0 */
        group = !json_object_get(axis, "when") ? 0 : group ? group - 1 : (unsigned)i + 1;
        *a = values
            ? (struct hn_axis){.kind = HN_AXIS_CHOICE, .choices = (unsigned)json_array_size(values)}
            : (struct hn_axis){
                  .kind = json_is_true(json_object_get(axis, "whole")) ? HN_AXIS_INT : HN_AXIS_REAL,
                  .log = json_is_true(json_object_get(axis, "log")),
                  .low = json_number_value(json_object_get(axis, "min")),
                  .high = json_number_value(json_object_get(axis, "max")),
                  .step = json_number_value(json_object_get(axis, "step"))};
        a->group = group;
    }
    return hn_axes_check(ret->axes, ret->n, err);
}

const char *hn_space_name(const struct hn_space *space, size_t i) {
    return json_string_value(json_object_get(json_array_get(space->json, i), "name"));
}

static json_t *value_of(const struct hn_space *space, size_t i, double value) {
    const json_t *values = json_object_get(json_array_get(space->json, i), "values");
    if (values)
        return json_incref(json_array_get(values, (size_t)value));
    return space->axes[i].kind == HN_AXIS_INT ? json_integer((json_int_t)value) : json_real(value);
}

static bool applies(const struct hn_space *space, size_t i, const double *point) {
    const char *name;
    json_t *list;
    json_object_foreach(json_object_get(json_array_get(space->json, i), "when"), name, list) {
        for (size_t k = 0; k < space->n; k++) {
            if (strcmp(hn_space_name(space, k), name) != 0)
                continue;
            json_t *value = isnan(point[k]) ? NULL : value_of(space, k, point[k]);
            bool holds = value && is_one_of(value, list);
            json_decref(value);
            if (!holds)
                return false;
        }
    }
    return true;
}

/* Axes with conditions stand behind those that they name. */
void hn_space_settle(const struct hn_space *space, double *point) {
    for (size_t i = 0; i < space->n; i++) {
        const struct hn_axis *axis = &space->axes[i];
        if (!applies(space, i, point)) {
            point[i] = (double)NAN;
        } else if (axis->kind == HN_AXIS_REAL) {
            double value = rounded(point[i]);
            point[i] = value < axis->low ? axis->low : value > axis->high ? axis->high : value;
        }
    }
}

json_t *hn_space_settings(const struct hn_space *space, const double *point) {
    json_t *settings = json_object();
    for (size_t i = 0; i < space->n; i++)
        if (!isnan(point[i]))
            json_object_set_new(settings, hn_space_name(space, i), value_of(space, i, point[i]));
    return settings;
}

void hn_space_point(const struct hn_space *space, const json_t *settings, double *ret) {
    for (size_t i = 0; i < space->n; i++) {
        const json_t *value = json_object_get(settings, hn_space_name(space, i)), *one,
                     *values = json_object_get(json_array_get(space->json, i), "values");
        const struct hn_axis *axis = &space->axes[i];
        size_t k;
        ret[i] = (double)NAN;
        if (values) {
            json_array_foreach((json_t *)(uintptr_t)values, k, one)
                if (value &&
                    (json_equal(one, (json_t *)(uintptr_t)value) ||
                        (json_is_number(one) && json_is_number(value) &&
                            json_number_value(one) == json_number_value(value))))
                    ret[i] = (double)k;
        } else if (json_is_number(value)) {
            double number = json_number_value(value);
            if (number >= axis->low && number <= axis->high)
                ret[i] = number;
        }
    }
}

/* {"dataset": X} or a list, as a list of objects with weights; one of them gets a new weight. */
static int set_weight(
    json_t *request, const char *dataset, const json_t *weight, struct hn_error *err) {
    const json_t *given = json_object_get(request, "dataset"), *one;
    json_t *list = json_array();
    bool found = false;
    for (size_t i = 0; i < (json_is_array(given) ? json_array_size(given) : 1); i++) {
        one = json_is_array(given) ? json_array_get(given, i) : given;
        json_t *entry = json_is_object(one) ? json_copy((json_t *)(uintptr_t)one)
                                            : json_pack("{s:O?}", "dataset", one);
        const char *id = json_string_value(json_object_get(entry, "dataset"));
        if (id && strcmp(id, dataset) == 0) {
            json_object_set(entry, "weight", (json_t *)(uintptr_t)weight);
            found = true;
        }
        json_array_append_new(list, entry);
    }
    json_object_set_new(request, "dataset", list);
    if (found)
        return 0;
    hn_fail(err, HN_E_INVALID_FIELD, "the job does not train on data set %.40s", dataset);
    hn_error_field(err, "space." WEIGHTS "%.40s", dataset);
    hn_error_hint(err, "weights are of the data sets that the job's \"dataset\" lists");
    return HN_E_INVALID_FIELD;
}

int hn_settings_apply(const json_t *settings, json_t *request, struct hn_error *err) {
    const char *name;
    json_t *value, *hyperparameters;
    struct hn_hyperparams hp;
    hn_hyperparams_defaults(&hp);
    json_t *all = hn_hyperparams_write(&hp, HN_HP_ALL);
    int rc = 0;
    hyperparameters = json_object_get(request, "hyperparameters");
    hyperparameters = json_is_object(hyperparameters) ? json_copy(hyperparameters) : json_object();
    json_object_foreach((json_t *)(uintptr_t)settings, name, value) {
        if (rc)
            break;
        if (is_weight(name))
            rc = set_weight(request, name + strlen(WEIGHTS), value, err);
        else if (json_object_get(all, name))
            json_object_set(hyperparameters, name, value);
        else
            json_object_set(request, name, value);
    }
    json_object_set_new(request, "hyperparameters", hyperparameters);
    json_decref(all);
    return rc;
}

/* Walks through all combinations; those where an axis that does not apply has another than its
 * first value are left out. Gives how many there are, or stops at number `at` with it in *ret. */
static size_t walk(const struct hn_space *space, size_t at, double *ret) {
    size_t digits[HN_SPACE_AXES] = {0}, n = 0;
    for (;;) {
        double point[HN_SPACE_AXES];
        bool once = true;
        for (size_t i = 0; i < space->n; i++)
            point[i] = hn_axis_from_unit(&space->axes[i],
                ((double)digits[i] + 0.5) / (double)hn_axis_count(&space->axes[i]));
        hn_space_settle(space, point);
        for (size_t i = 0; i < space->n; i++)
            once = once && (!isnan(point[i]) || digits[i] == 0);
        if (once && n == at) {
            memcpy(ret, point, space->n * sizeof *ret);
            return n;
        }
        n += once;
        size_t i = 0;
        while (i < space->n && ++digits[i] == hn_axis_count(&space->axes[i]))
            digits[i++] = 0;
        if (i == space->n || n > HN_GRID_MAX)
            return n;
    }
}

size_t hn_space_grid(const struct hn_space *space, size_t *ret_axis) {
    double all = 1;
    for (size_t i = 0; i < space->n; i++) {
        *ret_axis = i;
        size_t count = hn_axis_count(&space->axes[i]);
        if (!count)
            return 0;
        all *= (double)count;
    }
    return all > 1e6 ? HN_GRID_MAX + 1 : walk(space, SIZE_MAX, NULL);
}

void hn_space_grid_point(const struct hn_space *space, size_t i, double *ret) {
    walk(space, i, ret);
}
