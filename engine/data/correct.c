/* See correct.h. Corrections become edits: what stands in the file where, and what stands there
 * instead. */
#include "engine/data/correct.h"
#include "engine/base/json.h"
#include "engine/base/pulse.h"
#include "engine/data/choice.h"
#include "engine/data/label_survey.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define BLOCK ((size_t)1 << 16)
#define NO_ENTRY SIZE_MAX

/* What is asked of a row. */
struct correction {
    size_t row;
    size_t entry;           /* of `labels`; NO_ENTRY: the row is left out */
    json_t *value, *before; /* its label as the file will have it, and has it */
};

struct edit {
    struct hn_extent at;
    size_t text, size; /* of struct copy's text */
};

struct copy {
    const struct hn_dataset *data;
    const json_t *lines, *labels; /* of the request; each may be NULL */
    bool new_labels;
    struct correction *list; /* [n] by row, each row once */
    struct edit *edits;      /* [n_edits] by place, none overlaps the next */
    size_t n, capacity, n_edits, edits_capacity, excluded;
    struct hn_buf text;
    /* being written */
    int fd;
    uint64_t bytes, limit;
    size_t used;
    char block[BLOCK];
};

static int refuse(struct hn_error *err, const char *hint) {
    hn_error_hint(err, "%s", hint);
    return HN_E_INVALID_FIELD;
}

/* "labels[3].label: …" */
static int refuse_label(struct hn_error *err, size_t entry, const char *what, const char *hint) {
    hn_fail(err, HN_E_INVALID_FIELD, "labels[%zu].label %s", entry, what);
    hn_error_field(err, "labels[%zu].label", entry);
    return refuse(err, hint);
}

static int add_correction(struct copy *c, size_t row, size_t entry, struct hn_error *err) {
    if (!hn_grow(&c->list, &c->capacity, c->n + 1, sizeof *c->list))
        return hn_fail(err, HN_E_INTERNAL, "out of memory");
    c->list[c->n++] = (struct correction){.row = row, .entry = entry};
    return 0;
}

/* Adds the rows that begin in the lines: at least one, and in no line two. `field` is the
 * request's. */
static int add_rows(struct copy *c, const struct hn_lines *lines, size_t entry, const char *field,
    struct hn_error *err) {
    const struct hn_dataset *data = c->data;
    size_t begin, end;
    int rc = 0;
    hn_lines_rows(lines, data, &begin, &end);
    for (size_t row = begin; !rc && row < end; row++) {
        if (!lines->numbers && row + 1 < data->n_rows && data->lines[row + 1] == data->lines[row]) {
            hn_fail(err, HN_E_INVALID_FIELD, "several rows begin in line %u", data->lines[row]);
            hn_error_field(err, "%s", field);
            return refuse(err,
                "name rows by their numbers, \"#7\", or write the file with one row a line: jq -c "
                "'.[]' FILE");
        }
        rc = add_correction(c, row, entry, err);
    }
    if (rc || end > begin)
        return rc;
    if (lines->numbers)
        hn_fail(err, HN_E_INVALID_FIELD, "there are %zu rows", data->n_rows);
    else if (lines->first == lines->last)
        hn_fail(err, HN_E_INVALID_FIELD, "no row begins in line %llu",
            (unsigned long long)lines->first);
    else
        hn_fail(err, HN_E_INVALID_FIELD, "no row begins in lines %llu-%llu",
            (unsigned long long)lines->first, (unsigned long long)lines->last);
    hn_error_field(err, "%s", field);
    return refuse(err,
        "lines are those of the file, from 1, as findings, examples and previews tell them; a row "
        "of "
        "several lines is known by its first");
}

static int read_exclude(struct copy *c, struct hn_error *err) {
    int rc = 0;
    for (size_t i = 0; !rc && i < json_array_size(c->lines); i++) {
        struct hn_lines lines;
        char field[64];
        snprintf(field, sizeof field, "exclude.lines[%zu]", i);
        if (!hn_lines_read(json_array_get(c->lines, i), &lines) || lines.part) {
            hn_fail(err, HN_E_INVALID_FIELD, "%s is no line and no range of lines", field);
            hn_error_field(err, "%s", field);
            return refuse(err, "for example [12, \"20-30\"]");
        }
        rc = add_rows(c, &lines, NO_ENTRY, field, err);
    }
    return rc;
}

static int read_labels(struct copy *c, struct hn_error *err) {
    static const char *const fields[] = {"line", "label", NULL};
    int rc = 0;
    for (size_t i = 0; !rc && i < json_array_size(c->labels); i++) {
        const json_t *entry = json_array_get(c->labels, i);
        int64_t line = 0;
        char name[64], field[96];
        snprintf(name, sizeof name, "labels[%zu]", i);
        snprintf(field, sizeof field, "%s.line", name);
        rc = json_is_object(entry)
            ? hn_json_known(entry, fields, "", err)
            : hn_fail(err, HN_E_INVALID_FIELD, "%s must be {\"line\": …, \"label\": …}", name);
        if (!rc)
            rc = hn_json_int(entry, "line", 1, UINT32_MAX, &line, err);
        if (!rc && (!line || !json_object_get(entry, "label"))) {
            rc = hn_fail(err, HN_E_MISSING_FIELD, "%s needs a line and a label", name);
            hn_error_field(err, "%s", line ? "label" : "line");
        }
        if (rc)
            hn_error_inside(err, name);
        const struct hn_lines lines = {.first = (uint64_t)line, .last = (uint64_t)line};
        if (!rc)
            rc = add_rows(c, &lines, i, field, err);
    }
    return rc;
}

static int check_list(const json_t *list, const char *field, struct hn_error *err) {
    if (!list || (json_is_array(list) && json_array_size(list) <= HN_CORRECTIONS_MAX))
        return 0;
    if (json_is_array(list))
        hn_fail(err, HN_E_INVALID_FIELD, "%s has more than %d entries", field, HN_CORRECTIONS_MAX);
    else
        hn_fail(err, HN_E_INVALID_FIELD, "%s must be a list", field);
    hn_error_field(err, "%s", field);
    return HN_E_INVALID_FIELD;
}

/* A member that is there and not null. */
static const json_t *member(const json_t *object, const char *name) {
    const json_t *value = json_object_get(object, name);
    return json_is_null(value) ? NULL : value;
}

static int read_request(struct copy *c, const json_t *request, struct hn_error *err) {
    static const char *const exclude_fields[] = {"lines", NULL};
    const json_t *exclude = member(request, "exclude");
    int rc = 0;
    if (exclude && !json_is_object(exclude)) {
        rc = hn_fail(err, HN_E_INVALID_FIELD, "exclude must be {\"lines\": [12, \"20-30\"]}");
        hn_error_field(err, "exclude");
    } else if (exclude) {
        rc = hn_json_known(exclude, exclude_fields, "exclude.", err);
    }
    c->lines = member(exclude, "lines");
    c->labels = member(request, "labels");
    if (!rc)
        rc = check_list(c->lines, "exclude.lines", err);
    if (!rc)
        rc = check_list(c->labels, "labels", err);
    if (!rc)
        rc = hn_json_bool(request, "new_labels", &c->new_labels, err);
    return rc;
}

/* Whether such rows have what is asked for. */
static int check_kind(const struct copy *c, struct hn_error *err) {
    struct hn_extent extent;
    if (json_array_size(c->lines) && !hn_dataset_cut(c->data, 0, NULL, &extent)) {
        hn_fail(err, HN_E_UNSUPPORTED, "rows cannot be taken out of a file of the format %s",
            c->data->format);
        hn_error_field(err, "exclude");
        hn_error_hint(err,
            "leave them out of the job instead: \"rows\":{\"exclude\":[…]}; or upload the rows as "
            "jsonl");
        return HN_E_UNSUPPORTED;
    }
    if (json_array_size(c->labels) && c->data->columns != HN_ROWS_TEXT_LABEL) {
        hn_fail(err, HN_E_UNSUPPORTED, "these rows have %s, and no label that could be set",
            hn_layout_title(c->data->layout));
        hn_error_field(err, "labels");
        hn_error_hint(err, "correct the file and upload it again, or leave the rows out");
        return HN_E_UNSUPPORTED;
    }
    return 0;
}

static int by_row(const void *a, const void *b) {
    const struct correction *x = a, *y = b;
    if (x->row != y->row)
        return x->row < y->row ? -1 : 1;
    return (x->entry > y->entry) - (x->entry < y->entry);
}

/* Sorts; a row is corrected once. */
static int order(struct copy *c, struct hn_error *err) {
    size_t kept = 0;
    if (c->n)
        qsort(c->list, c->n, sizeof *c->list, by_row);
    for (size_t i = 0; i < c->n; i++) {
        const struct correction *last = kept ? &c->list[kept - 1] : NULL;
        bool same = last && last->row == c->list[i].row, out = c->list[i].entry == NO_ENTRY;
        if (same && out && last->entry == NO_ENTRY)
            continue;
        if (same) {
            hn_fail(err, HN_E_INVALID_FIELD, "line %u is %s", c->data->lines[last->row],
                out ? "left out and given a label" : "given two labels");
            hn_error_field(err, "labels[%zu].line", out ? last->entry : c->list[i].entry);
            return refuse(err, "one correction a row");
        }
        c->excluded += out;
        c->list[kept++] = c->list[i];
    }
    c->n = kept;
    if (c->excluded < c->data->n_rows)
        return 0;
    hn_fail(err, HN_E_INVALID_FIELD, "no row would be left");
    hn_error_field(err, "exclude.lines");
    return refuse(err, "leave at least one row in");
}

/* The sentence of hn_layout_check, or nothing: whether a row may have such a label. */
static int check_form(const json_t *label, size_t entry, struct hn_error *err) {
    struct hn_issues *issues = hn_calloc(1, sizeof *issues);
    json_t *row = json_pack("{s:s,s:O}", "text", "a", "label", label);
    const struct hn_layout *layout = row ? hn_layout_find(row, NULL) : NULL;
    const struct hn_row_place place = {issues, 1};
    int rc = issues && row ? 0 : hn_fail(err, HN_E_INTERNAL, "out of memory");
    if (!rc && (!layout || !hn_layout_check(layout, row, NULL, &place)))
        rc = refuse_label(err, entry, "is no label",
            issues->n ? issues->list[0].hint : "a label is a text, a number or a list of them");
    json_decref(row);
    free(issues);
    return rc;
}

static int unknown_label(
    const struct hn_label_survey *s, const char *text, size_t entry, struct hn_error *err) {
    char what[160];
    snprintf(what, sizeof what, "\"%.80s\" stands in no row", text);
    if (s->many)
        return refuse_label(err, entry, what,
            "there are too many different labels to know all; \"new_labels\": true takes any");
    char *known = json_dumps(s->counts, JSON_COMPACT);
    char hint[400];
    snprintf(hint, sizeof hint, "labels with their rows: %.300s; \"new_labels\": true takes any",
        known ? known : "");
    free(known);
    return refuse_label(err, entry, what, hint);
}

/* A list of zeros and ones keeps its length; each member of other lists is a known label. */
static int check_list_label(const struct copy *c, const struct hn_label_survey *s,
    const json_t *label, size_t entry, struct hn_error *err) {
    const json_t *one;
    size_t i;
    char room[HN_LABEL_TEXT];
    bool bit, places = s->width && s->binary == s->rows;
    if (places && json_array_size(label) != s->width)
        return refuse_label(err, entry, "has another number of zeros and ones than the other rows",
            "one for each label");
    json_array_foreach((json_t *)(uintptr_t)label, i, one) {
        const char *text = hn_label_text(one, room);
        if (places && !hn_label_bit(one, &bit))
            return refuse_label(err, entry, "must have zeros and ones, as the other rows have", "");
        if (!places && !c->new_labels && (!text || !json_object_get(s->counts, text)))
            return unknown_label(s, text ? text : "", entry, err);
    }
    return 0;
}

static int check_label(const struct copy *c, const struct hn_label_survey *s, bool values,
    const json_t *label, size_t entry, struct hn_error *err) {
    char room[HN_LABEL_TEXT];
    double value;
    int rc = check_form(label, entry, err);
    if (rc)
        return rc;
    if (json_is_array(label) != (s->lists > 0))
        return refuse_label(err, entry,
            s->lists ? "must be a list, as the other rows have"
                     : "is a list; the other rows have none",
            "a correction keeps the kind of label");
    if (s->lists)
        return check_list_label(c, s, label, entry, err);
    if (c->new_labels || (values && hn_label_value(label, &value)))
        return 0;
    if (values)
        return refuse_label(err, entry, "is no number, and the labels are values to predict",
            "\"new_labels\": true takes any");
    const char *text = hn_label_text(label, room);
    return text && json_object_get(s->counts, text)
        ? 0
        : unknown_label(s, text ? text : "", entry, err);
}

/* Whether the labels are values to predict, where a job says nothing else. */
static bool are_values(const struct hn_label_survey *s) {
    enum hn_objective objective = HN_OBJECTIVE_CLASSES;
    char *why = NULL;
    int rc = hn_label_survey_decide(s, NULL, false, &objective, &why, NULL);
    free(why);
    return !rc && objective == HN_OBJECTIVE_VALUE;
}

static bool same_label(const json_t *a, const json_t *b) {
    char first[HN_LABEL_TEXT], second[HN_LABEL_TEXT];
    const char *x = hn_label_text(a, first), *y = hn_label_text(b, second);
    return x && y ? strcmp(x, y) == 0 : json_equal(a, b);
}

/* How a row that has the label spells it (1 or "1"), for labels[text] that are still null. */
static void learn_spelling(json_t *spellings, const json_t *label) {
    char room[HN_LABEL_TEXT];
    const json_t *one;
    size_t i;
    json_array_foreach((json_t *)(uintptr_t)label, i, one)
        learn_spelling(spellings, one);
    const char *text = hn_label_text(label, room);
    if (text && json_is_null(json_object_get(spellings, text)))
        json_object_set(spellings, text, (json_t *)(uintptr_t)label);
}

static void want_spelling(json_t *spellings, const json_t *label) {
    char room[HN_LABEL_TEXT];
    const json_t *one;
    size_t i;
    json_array_foreach((json_t *)(uintptr_t)label, i, one)
        want_spelling(spellings, one);
    const char *text = hn_label_text(label, room);
    if (text)
        json_object_set_new(spellings, text, json_null());
}

/* The label as other rows spell it, or as it is given. New reference. */
static json_t *spelled(const json_t *spellings, const json_t *label) {
    char room[HN_LABEL_TEXT];
    const json_t *one;
    size_t i;
    if (!json_is_array(label)) {
        const char *text = hn_label_text(label, room);
        const json_t *found = text ? json_object_get(spellings, text) : NULL;
        return json_incref((json_t *)(uintptr_t)(found && !json_is_null(found) ? found : label));
    }
    json_t *list = json_array();
    json_array_foreach((json_t *)(uintptr_t)label, i, one)
        json_array_append_new(list, spelled(spellings, one));
    return list;
}

static int label_of(const struct hn_dataset *data, size_t row, json_t **ret, struct hn_error *err) {
    json_t *object = NULL;
    int rc = hn_dataset_row(data, row, &object, err);
    if (!rc)
        *ret = json_incref(json_object_get(object, "label"));
    json_decref(object);
    return rc;
}

static const json_t *given_label(const struct copy *c, const struct correction *one) {
    return json_object_get(json_array_get(c->labels, one->entry), "label");
}

static int find_spellings(const struct copy *c, json_t *spellings, struct hn_error *err) {
    int rc = 0;
    for (size_t i = 0; i < c->n; i++)
        if (c->list[i].entry != NO_ENTRY)
            want_spelling(spellings, given_label(c, &c->list[i]));
    for (size_t row = 0; !rc && row < c->data->n_rows; row++) {
        json_t *label = NULL;
        rc = label_of(c->data, row, &label, err);
        if (!rc)
            learn_spelling(spellings, label);
        json_decref(label);
    }
    return rc;
}

/* What each row's label will be; a label that the row has already is no correction. */
static int set_values(struct copy *c, const json_t *spellings, struct hn_error *err) {
    size_t kept = 0;
    int rc = 0;
    for (size_t i = 0; i < c->n; i++) {
        struct correction one = c->list[i];
        if (one.entry != NO_ENTRY && !rc) {
            one.value = spelled(spellings, given_label(c, &one));
            rc = one.value ? label_of(c->data, one.row, &one.before, err)
                           : hn_fail(err, HN_E_INTERNAL, "out of memory");
        }
        if (one.value && one.before && same_label(one.value, one.before)) {
            json_decref(one.value);
            json_decref(one.before);
            continue;
        }
        c->list[kept++] = one;
    }
    c->n = kept;
    return rc;
}

static int choose_labels(struct copy *c, struct hn_error *err) {
    struct hn_label_survey survey = {0};
    json_t *spellings = json_object();
    int rc = spellings ? hn_label_survey(&survey, c->data, err)
                       : hn_fail(err, HN_E_INTERNAL, "out of memory");
    bool values = !rc && are_values(&survey);
    for (size_t i = 0; !rc && i < c->n; i++)
        if (c->list[i].entry != NO_ENTRY)
            rc =
                check_label(c, &survey, values, given_label(c, &c->list[i]), c->list[i].entry, err);
    if (!rc)
        rc = find_spellings(c, spellings, err);
    if (!rc)
        rc = set_values(c, spellings, err);
    json_decref(spellings);
    hn_label_survey_finish(&survey);
    return rc;
}

/* Adds what the correction does to the file. */
static int add_edit(struct copy *c, const struct correction *one, struct hn_error *err) {
    const char *column = json_string_value(json_object_get(c->data->mapping, "label"));
    struct edit edit = {.text = c->text.size},
                *last = c->n_edits ? &c->edits[c->n_edits - 1] : NULL;
    if (one->entry != NO_ENTRY) {
        if (!hn_dataset_respell(
                c->data, one->row, column ? column : "label", one->value, &edit.at, &c->text))
            return refuse_label(
                err, one->entry, "cannot be written in this file", "TSV holds no tabs");
        edit.size = c->text.size - edit.text;
    } else {
        hn_dataset_cut(c->data, one->row, last && !last->size ? &last->at : NULL, &edit.at);
        if (last && !last->size && edit.at.from <= last->at.to) { /* one after the other */
            last->at.from = edit.at.from < last->at.from ? edit.at.from : last->at.from;
            last->at.to = edit.at.to;
            return 0;
        }
    }
    if (!hn_grow(&c->edits, &c->edits_capacity, c->n_edits + 1, sizeof *c->edits))
        return hn_fail(err, HN_E_INTERNAL, "out of memory");
    c->edits[c->n_edits++] = edit;
    return 0;
}

static int flush(struct copy *c, struct hn_error *err) {
    hn_pulse();
    if (c->limit && c->used > c->limit - c->bytes) {
        hn_fail(err, HN_E_TOO_LARGE, "the copy has more than the %llu bytes that may be uploaded",
            (unsigned long long)c->limit);
        hn_error_hint(err, "use shorter labels, or raise the server's max_upload");
        return HN_E_TOO_LARGE;
    }
    int rc = hn_write_all(c->fd, c->block, c->used, err);
    c->bytes += c->used;
    c->used = 0;
    return rc;
}

static int append(struct copy *c, const void *data, size_t size, struct hn_error *err) {
    const char *from = data;
    int rc = 0;
    while (!rc && size) {
        size_t n = size < BLOCK - c->used ? size : BLOCK - c->used;
        memcpy(c->block + c->used, from, n);
        c->used += n;
        from += n;
        size -= n;
        if (c->used == BLOCK)
            rc = flush(c, err);
    }
    return rc;
}

static int write_copy(struct copy *c, const char *to, struct hn_error *err) {
    const struct hn_map *map = &c->data->map;
    size_t at = 0;
    int rc = 0;
    c->fd = open(to, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    if (c->fd < 0)
        return hn_fail_errno(err, errno, "cannot create %s", to);
    for (size_t i = 0; !rc && i < c->n_edits; i++) {
        const struct edit *edit = &c->edits[i];
        rc = append(c, map->data + at, edit->at.from - at, err);
        if (!rc)
            rc = append(c, c->text.data + edit->text, edit->size, err);
        at = edit->at.to;
    }
    if (!rc)
        rc = append(c, map->data + at, map->size - at, err);
    if (!rc)
        rc = flush(c, err);
    if (close(c->fd) && !rc)
        rc = hn_fail_errno(err, errno, "cannot write %s", to);
    return rc;
}

static int read_otherwise(uint32_t line, struct hn_error *err) {
    hn_fail(err, HN_E_CONFLICT,
        "without these rows the file would be read otherwise, first at what is now line %u", line);
    hn_error_hint(err,
        "what its first rows have says how the others are read: correct the file and upload it "
        "again, with format= and columns=");
    return HN_E_CONFLICT;
}

/* Whether the rows are the same but for the label that was set. */
static int compare_row(const struct copy *c, size_t row, const json_t *value,
    const struct hn_dataset *copy, size_t now, struct hn_error *err) {
    json_t *was = NULL, *is = NULL;
    int rc = hn_dataset_row(c->data, row, &was, err);
    if (!rc)
        rc = hn_dataset_row(copy, now, &is, err);
    json_t *label = json_object_get(is, "label");
    if (!rc && value && (!label || !same_label(value, label)))
        rc = read_otherwise(copy->lines[now], err);
    if (!rc && value)
        json_object_set(was, "label", label);
    if (!rc && !json_equal(was, is))
        rc = read_otherwise(copy->lines[now], err);
    json_decref(was);
    json_decref(is);
    return rc;
}

static int compare_rows(const struct copy *c, const struct hn_dataset *copy, struct hn_error *err) {
    size_t next = 0, now = 0;
    int rc = 0;
    if (copy->columns != c->data->columns || copy->dropped != c->data->dropped ||
        copy->n_rows != c->data->n_rows - c->excluded)
        return read_otherwise(copy->n_rows ? copy->lines[0] : 1, err);
    for (size_t row = 0; !rc && row < c->data->n_rows; row++) {
        const struct correction *one =
            next < c->n && c->list[next].row == row ? &c->list[next++] : NULL;
        if (!one || one->entry != NO_ENTRY)
            rc = compare_row(c, row, one ? one->value : NULL, copy, now++, err);
    }
    return rc;
}

static int read_back(const struct copy *c, const struct hn_dataset_options *options, const char *to,
    struct hn_error *err) {
    struct hn_dataset_options same = *options;
    struct hn_dataset *copy = hn_calloc(1, sizeof *copy);
    if (!copy)
        return hn_fail(err, HN_E_INTERNAL, "out of memory");
    same.format = c->data->format;
    int rc = hn_dataset_open(copy, to, &same, err);
    if (!rc)
        rc = compare_rows(c, copy, err);
    else if (rc == HN_E_DATASET_INVALID)
        rc = read_otherwise(copy->issues.n ? (uint32_t)copy->issues.list[0].line : 1, err);
    hn_dataset_close(copy);
    free(copy);
    return rc;
}

static json_t *changes_json(const struct copy *c) {
    json_t *list = json_array();
    for (size_t i = 0; i < c->n && i < HN_CORRECTIONS_TOLD; i++) {
        const struct correction *one = &c->list[i];
        json_int_t line = (json_int_t)c->data->lines[one->row];
        json_array_append_new(list,
            one->entry == NO_ENTRY
                ? json_pack("{s:I,s:b}", "line", line, "excluded", 1)
                : json_pack("{s:I,s:O,s:O}", "line", line, "from", one->before, "to", one->value));
    }
    return list;
}

static int correct(struct copy *c, const struct hn_dataset_options *options, const json_t *request,
    const char *to, json_t **ret, struct hn_error *err) {
    int rc = read_request(c, request, err);
    if (!rc)
        rc = check_kind(c, err);
    if (!rc)
        rc = read_exclude(c, err);
    if (!rc)
        rc = read_labels(c, err);
    if (!rc)
        rc = order(c, err);
    if (!rc && json_array_size(c->labels))
        rc = choose_labels(c, err);
    if (!rc && !c->n) {
        hn_fail(err, HN_E_INVALID_FIELD, "nothing would change");
        rc = refuse(err, "name lines to leave out, or labels that differ from those of the rows");
    }
    for (size_t i = 0; !rc && i < c->n; i++)
        rc = add_edit(c, &c->list[i], err);
    if (!rc)
        rc = write_copy(c, to, err);
    if (!rc)
        rc = read_back(c, options, to, err);
    if (!rc)
        *ret = HN_JSON_OBJECT({"rows", json_integer((json_int_t)(c->data->n_rows - c->excluded))},
            {"excluded", json_integer((json_int_t)c->excluded)},
            {"relabelled", json_integer((json_int_t)(c->n - c->excluded))},
            {"changes", changes_json(c)});
    return rc || *ret ? rc : hn_fail(err, HN_E_INTERNAL, "out of memory");
}

int hn_correct(const struct hn_dataset *data, const struct hn_dataset_options *options,
    const json_t *request, const char *to, uint64_t limit, json_t **ret, struct hn_error *err) {
    struct copy *c = hn_calloc(1, sizeof *c);
    if (!c)
        return hn_fail(err, HN_E_INTERNAL, "out of memory");
    c->data = data;
    c->limit = limit;
    int rc = correct(c, options, request, to, ret, err);
    for (size_t i = 0; i < c->n; i++) {
        json_decref(c->list[i].value);
        json_decref(c->list[i].before);
    }
    free(c->list);
    free(c->edits);
    hn_buf_free(&c->text);
    free(c);
    return rc;
}
