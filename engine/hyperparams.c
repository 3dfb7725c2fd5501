/* One descriptor row per hyperparameter, made from the table; everything else walks the rows. See
 * hyperparams.h. */
#include "engine/hyperparams.h"
#include "engine/base/json.h"

#include <stddef.h>
#include <stdlib.h>
#include <string.h>

enum type { INT, AUTO_INT, NULL_INT, FLOAT, AUTO_FLOAT, NULL_FLOAT, BOOL, ENUM, TARGETS };

struct row {
    const char *name;
    size_t offset;
    enum type type;
    enum hn_hp_part part;
    double min, max;    /* of numbers */
    const char *values; /* of ENUM: "a|b|c" */
    const char *help;
};

/* The table's `min` is a number or, for ENUM, a string; these pick the right one. */
#define MIN_INT(x) x
#define MIN_AUTO_INT(x) x
#define MIN_NULL_INT(x) x
#define MIN_FLOAT(x) x
#define MIN_AUTO_FLOAT(x) x
#define MIN_NULL_FLOAT(x) x
#define MIN_BOOL(x) 0
#define MIN_ENUM(x) 0
#define MIN_TARGETS(x) 0
#define VALUES_INT(x) NULL
#define VALUES_AUTO_INT(x) NULL
#define VALUES_NULL_INT(x) NULL
#define VALUES_FLOAT(x) NULL
#define VALUES_AUTO_FLOAT(x) NULL
#define VALUES_NULL_FLOAT(x) NULL
#define VALUES_BOOL(x) NULL
#define VALUES_ENUM(x) x
#define VALUES_TARGETS(x) NULL

static const struct row rows[] = {
#define HN_HP(name, TYPE, def, min, max, PART, help)                                         \
    {#name, offsetof(struct hn_hyperparams, name), TYPE, HN_HP_##PART, MIN_##TYPE(min), max, \
        VALUES_##TYPE(min), help},
#include "engine/hyperparams.def"
#undef HN_HP
};
#define ROWS (sizeof rows / sizeof rows[0])

void hn_hyperparams_defaults(struct hn_hyperparams *hp) {
#define SET_INT(name, def) hp->name = def
#define SET_AUTO_INT(name, def) hp->name = HN_AUTO_INT
#define SET_NULL_INT(name, def) hp->name = HN_NONE_INT
#define SET_FLOAT(name, def) hp->name = def
#define SET_AUTO_FLOAT(name, def) hp->name = (double)NAN
#define SET_NULL_FLOAT(name, def) hp->name = (double)NAN
#define SET_BOOL(name, def) hp->name = def
#define SET_ENUM(name, def) hp->name = def
#define SET_TARGETS(name, def) strcpy(hp->name.names, def)
    memset(hp, 0, sizeof *hp);
#define HN_HP(name, TYPE, def, min, max, PART, help) SET_##TYPE(name, def);
#include "engine/hyperparams.def"
#undef HN_HP
}

static void *field_of(const struct hn_hyperparams *hp, const struct row *row) {
    return (char *)(uintptr_t)hp + row->offset;
}

/* The i-th name of "a|b|c" into buf; false past the end. */
static bool enum_name(const char *values, int i, char *buf, size_t size) {
    for (; i > 0; i--) {
        values = strchr(values, '|');
        if (!values)
            return false;
        values++;
    }
    size_t n = strcspn(values, "|");
    if (n >= size)
        return false;
    memcpy(buf, values, n);
    buf[n] = 0;
    return true;
}

static int enum_index(const char *values, const char *name) {
    char buf[64];
    for (int i = 0; enum_name(values, i, buf, sizeof buf); i++)
        if (strcmp(buf, name) == 0)
            return i;
    return -1;
}

static int compare_names(const void *a, const void *b) {
    return strcmp(*(const char *const *)a, *(const char *const *)b);
}

static bool module_name_ok(const char *s) {
    size_t n = strlen(s);
    return n > 0 && n <= 64 &&
        strspn(s, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_.-") == n;
}

static int read_targets(struct hn_targets *targets, const json_t *value) {
    const char *names[64];
    size_t n = 0, used = 0;
    if (json_is_string(value)) {
        names[n++] = json_string_value(value);
    } else if (json_is_array(value) && json_array_size(value) >= 1 &&
        json_array_size(value) <= 64) {
        for (size_t i = 0; i < json_array_size(value); i++)
            if (!(names[n++] = json_string_value(json_array_get(value, i))))
                return -1;
    } else {
        return -1;
    }
    qsort(names, n, sizeof names[0], compare_names);
    struct hn_targets out = {{0}};
    for (size_t i = 0; i < n; i++) {
        if (!module_name_ok(names[i]))
            return -1;
        if (i && strcmp(names[i], names[i - 1]) == 0)
            continue;
        size_t len = strlen(names[i]);
        if (used + len + 2 > sizeof out.names)
            return -1;
        if (used)
            out.names[used++] = ',';
        memcpy(out.names + used, names[i], len);
        used += len;
    }
    *targets = out;
    return 0;
}

static int wrong(struct hn_error *err, const struct row *row, const char *prefix) {
    switch (row->type) {
    case BOOL:
        hn_fail(err, HN_E_INVALID_FIELD, "%s%s must be true or false", prefix, row->name);
        break;
    case ENUM:
        hn_fail(err, HN_E_INVALID_FIELD, "%s%s must be one of %s", prefix, row->name, row->values);
        break;
    case TARGETS:
        hn_fail(err, HN_E_INVALID_FIELD,
            "%s%s must be \"all-linear\" or a list of module names such as [\"q_proj\",\"v_proj\"]",
            prefix, row->name);
        break;
    default:
        hn_fail(err, HN_E_INVALID_FIELD, "%s%s must be %s from %.10g to %.10g%s", prefix, row->name,
            row->type >= FLOAT ? "a number" : "a whole number", row->min, row->max,
            row->type == AUTO_INT || row->type == AUTO_FLOAT       ? ", or \"auto\""
                : row->type == NULL_INT || row->type == NULL_FLOAT ? ", or null"
                                                                   : "");
    }
    hn_error_field(err, "%s%s", prefix, row->name);
    hn_error_hint(err, "%s: %s", row->name, row->help);
    return HN_E_INVALID_FIELD;
}

static int read_row(struct hn_hyperparams *hp, const struct row *row, const json_t *value,
    const char *prefix, struct hn_error *err) {
    void *field = field_of(hp, row);
    const char *text = json_string_value(value);
    bool is_auto = text && strcmp(text, "auto") == 0;
    double number = json_number_value(value);
    bool in_range = json_is_number(value) && number >= row->min && number <= row->max;
    switch (row->type) {
    case AUTO_INT:
    case NULL_INT:
    case INT:
        if (row->type == AUTO_INT && is_auto)
            *(int64_t *)field = HN_AUTO_INT;
        else if (row->type == NULL_INT && json_is_null(value))
            *(int64_t *)field = HN_NONE_INT;
        else if (in_range && number == floor(number))
            *(int64_t *)field =
                json_is_integer(value) ? (int64_t)json_integer_value(value) : (int64_t)number;
        else
            return wrong(err, row, prefix);
        return 0;
    case AUTO_FLOAT:
    case NULL_FLOAT:
    case FLOAT:
        if ((row->type == AUTO_FLOAT && is_auto) ||
            (row->type == NULL_FLOAT && json_is_null(value)))
            *(double *)field = (double)NAN;
        else if (in_range)
            *(double *)field = number;
        else
            return wrong(err, row, prefix);
        return 0;
    case BOOL:
        if (!json_is_boolean(value))
            return wrong(err, row, prefix);
        *(bool *)field = json_is_true(value);
        return 0;
    case ENUM: {
        int i = text ? enum_index(row->values, text) : -1;
        if (i < 0)
            return wrong(err, row, prefix);
        *(int *)field = i;
        return 0;
    }
    case TARGETS:
        return read_targets(field, value) ? wrong(err, row, prefix) : 0;
    }
    return HN_E_INTERNAL;
}

int hn_hyperparams_read(
    struct hn_hyperparams *hp, const json_t *object, const char *prefix, struct hn_error *err) {
    if (!json_is_object(object)) {
        hn_fail(
            err, HN_E_INVALID_FIELD, "hyperparameters must be an object such as {\"epochs\": 1}");
        hn_error_field(err, "hyperparameters");
        return HN_E_INVALID_FIELD;
    }
    struct hn_hyperparams out = *hp;
    const char *names[ROWS + 1];
    for (size_t i = 0; i < ROWS; i++)
        names[i] = rows[i].name;
    names[ROWS] = NULL;
    int rc = hn_json_known(object, names, prefix, err);
    if (rc)
        return rc;
    for (size_t i = 0; i < ROWS; i++) {
        const json_t *value = json_object_get(object, rows[i].name);
        if (value && (rc = read_row(&out, &rows[i], value, prefix, err)))
            return rc;
    }
    *hp = out;
    return 0;
}

static json_t *write_targets(const struct hn_targets *targets) {
    if (strcmp(targets->names, "all-linear") == 0)
        return json_string(targets->names);
    json_t *list = json_array();
    for (const char *s = targets->names; *s;) {
        size_t n = strcspn(s, ",");
        json_array_append_new(list, json_stringn(s, n));
        s += n + (s[n] == ',');
    }
    return list;
}

static json_t *write_row(const struct hn_hyperparams *hp, const struct row *row) {
    const void *field = field_of(hp, row);
    char name[64];
    switch (row->type) {
    case INT:
    case AUTO_INT:
    case NULL_INT: {
        int64_t v = *(const int64_t *)field;
        return v == HN_AUTO_INT ? json_string("auto")
            : v == HN_NONE_INT  ? json_null()
                                : json_integer(v);
    }
    case FLOAT:
    case AUTO_FLOAT:
    case NULL_FLOAT: {
        double v = *(const double *)field;
        return !isnan(v)              ? json_real(v)
            : row->type == NULL_FLOAT ? json_null()
                                      : json_string("auto");
    }
    case BOOL:
        return json_boolean(*(const bool *)field);
    case ENUM:
        return enum_name(row->values, *(const int *)field, name, sizeof name) ? json_string(name)
                                                                              : json_null();
    case TARGETS:
        return write_targets(field);
    }
    return json_null();
}

static bool is_off(const struct hn_hyperparams *hp, const struct row *row) {
    return row->type == NULL_FLOAT && isnan(*(const double *)field_of(hp, row));
}

json_t *hn_hyperparams_write(const struct hn_hyperparams *hp, enum hn_hp_part parts) {
    json_t *object = json_object();
    for (size_t i = 0; i < ROWS; i++)
        if (rows[i].part & parts && !(parts == HN_HP_RUN && is_off(hp, &rows[i])))
            json_object_set_new(object, rows[i].name, write_row(hp, &rows[i]));
    return object;
}

bool hn_hyperparams_know(const char *name) {
    for (size_t i = 0; i < ROWS; i++)
        if (strcmp(rows[i].name, name) == 0)
            return true;
    return false;
}

json_t *hn_hyperparams_schema(void) {
    static const char *const types[] = {"integer", "integer|auto", "integer|null", "number",
        "number|auto", "number|null", "boolean", "enum", "all-linear|list"};
    struct hn_hyperparams hp;
    hn_hyperparams_defaults(&hp);
    json_t *list = json_array();
    for (size_t i = 0; i < ROWS; i++) {
        json_t *row = json_pack("{s:s, s:s, s:o, s:s}", "name", rows[i].name, "type",
            types[rows[i].type], "default", write_row(&hp, &rows[i]), "help", rows[i].help);
        if (rows[i].type <= NULL_FLOAT) {
            json_object_set_new(row, "min", json_real(rows[i].min));
            json_object_set_new(row, "max", json_real(rows[i].max));
        }
        if (rows[i].type == ENUM) {
            json_t *values = json_array();
            char name[64];
            for (int k = 0; enum_name(rows[i].values, k, name, sizeof name); k++)
                json_array_append_new(values, json_string(name));
            json_object_set_new(row, "values", values);
        }
        json_array_append_new(list, row);
    }
    return list;
}

bool hn_metric_is_smaller(const char *name) {
    static const char *const names[] = {"val_loss", "val_perplexity", "val_mse", "val_ece"};
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++)
        if (strcmp(name, names[i]) == 0)
            return true;
    return false;
}

const char *hn_metric_name(int metric) {
#define NAME(name) #name,
    static const char *const names[] = {"auto", HN_METRICS(NAME)};
#undef NAME
    return metric >= 0 && (size_t)metric < sizeof names / sizeof names[0] ? names[metric]
                                                                          : "val_loss";
}
