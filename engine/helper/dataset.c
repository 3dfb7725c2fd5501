/*
 * dataset.inspect: is this file a data set, of what kind, and what is wrong with it.
 * dataset.look: the same before it is stored, with its first rows, and also where it has faults.
 * dataset.correct: a copy of the file without some of its rows, and with other labels.
 * dataset.rows: rows by their lines, as they are read.
 * dataset.preview: one row as the model would see it: every token, and whether it is trained,
 * masked or cut off.
 */
#include "engine/limits.h"
#include "engine/families/load.h"
#include "engine/data/choice.h"
#include "engine/data/correct.h"
#include "engine/data/encode.h"
#include "engine/model/model.h"
#include "engine/helper/call.h"
#include "engine/base/json.h"
#include "engine/data/unpack.h"
#include "engine/base/utf8.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define ROWS_MAX 1000  /* that are told at once */
#define SAMPLE_ROWS 20 /* of a look */
#define CELL_BYTES 300
#define NAME_BYTES 200
#define SAMPLE_COLUMNS 100

static int open_data(struct hn_helper_call *call, const json_t *params, struct hn_dataset *data,
    struct hn_error *err) {
    const char *path;
    struct hn_dataset_options options;
    int rc = hn_helper_data(params, &path, &options, err);
    if (rc) {
        *data = (struct hn_dataset){0};
        return rc;
    }
    rc = hn_dataset_open(data, path, &options, err);
    if (rc)
        hn_helper_issues(call, data);
    return rc;
}

/* The file to make, and the bytes that it may have. */
static int read_target(
    const json_t *params, const char **ret_to, int64_t *ret_limit, struct hn_error *err) {
    int rc = hn_json_string(params, "to", ret_to, err);
    if (!rc && !*ret_to)
        rc = hn_fail(err, HN_E_MISSING_FIELD, "to is missing");
    return rc ? rc : hn_json_int(params, "limit", 0, INT64_MAX, ret_limit, err);
}

int hn_helper_dataset_unpack(
    struct hn_helper_call *call, const json_t *params, json_t **ret, struct hn_error *err) {
    const char *path, *to = NULL;
    int64_t limit = 0;
    uint64_t bytes = 0;
    char sha256[HN_SHA256_HEX];
    (void)call;
    int rc = hn_helper_path(params, &path, err);
    if (!rc)
        rc = read_target(params, &to, &limit, err);
    if (!rc)
        rc = hn_unpack(path, to, (uint64_t)limit, &bytes, sha256, err);
    if (!rc)
        *ret = json_pack("{s:I, s:s}", "bytes", (json_int_t)bytes, "sha256", sha256);
    return rc;
}

int hn_helper_dataset_correct(
    struct hn_helper_call *call, const json_t *params, json_t **ret, struct hn_error *err) {
    const char *path, *to = NULL;
    int64_t limit = 0;
    uint64_t bytes = 0;
    char sha256[HN_SHA256_HEX];
    json_t *made = NULL;
    struct hn_dataset_options options;
    struct hn_dataset *data = hn_calloc(1, sizeof *data);
    if (!data)
        return hn_fail(err, HN_E_INTERNAL, "out of memory");
    int rc = hn_helper_data(json_object_get(params, "data"), &path, &options, err);
    if (!rc)
        rc = read_target(params, &to, &limit, err);
    if (!rc && (rc = hn_dataset_open(data, path, &options, err)))
        hn_helper_issues(call, data);
    if (!rc)
        rc = hn_correct(
            data, &options, json_object_get(params, "request"), to, (uint64_t)limit, &made, err);
    if (!rc)
        rc = hn_sha256_file(to, sha256, &bytes, err);
    if (!rc) {
        json_object_set_new(made, "bytes", json_integer((json_int_t)bytes));
        json_object_set_new(made, "sha256", json_string(sha256));
        *ret = json_incref(made);
    }
    json_decref(made);
    hn_dataset_close(data);
    free(data);
    return rc;
}

static int tell_rows(const struct hn_dataset *data, const struct hn_lines *lines, json_t *list,
    struct hn_error *err) {
    size_t row, end;
    int rc = 0;
    for (hn_lines_rows(lines, data, &row, &end); !rc && row < end; row++) {
        json_t *object = NULL,
               *out = json_pack(
                   "{s:I,s:I}", "line", (json_int_t)data->lines[row], "row", (json_int_t)row + 1);
        if (json_array_size(list) == ROWS_MAX) {
            json_decref(out);
            break;
        }
        rc = hn_dataset_row(data, row, &object, err);
        if (!rc)
            hn_helper_tell_row(object, out);
        json_decref(object);
        json_array_append_new(list, out);
    }
    return rc;
}

int hn_helper_dataset_rows(
    struct hn_helper_call *call, const json_t *params, json_t **ret, struct hn_error *err) {
    const json_t *wanted = json_object_get(params, "lines");
    json_t *list = json_array();
    struct hn_dataset *data = hn_calloc(1, sizeof *data);
    int rc = data && list ? open_data(call, json_object_get(params, "data"), data, err)
                          : hn_fail(err, HN_E_INTERNAL, "out of memory");
    for (size_t i = 0; !rc && i < json_array_size(wanted); i++) {
        struct hn_lines lines;
        if (hn_lines_read(json_array_get(wanted, i), &lines) && !lines.part) {
            rc = tell_rows(data, &lines, list, err);
            continue;
        }
        rc = hn_fail(err, HN_E_INVALID_FIELD, "lines are numbers from 1 and ranges of them");
        hn_error_field(err, "lines");
        hn_error_hint(err, "for example lines=12,20-30");
    }
    if (!rc && !(*ret = json_pack("{s:O}", "data", list)))
        rc = hn_fail(err, HN_E_INTERNAL, "out of memory");
    json_decref(list);
    if (data)
        hn_dataset_close(data);
    free(data);
    return rc;
}

/* What the column of labels is taken as where a job says nothing else, with warnings; null where
 * there is none, or where a job would have to say more. */
static json_t *find_labels(struct hn_dataset *data) {
    static const struct hn_labels_request nothing;
    struct hn_label_notes notes = {0};
    struct hn_labels labels;
    struct hn_error problem = {0};
    if (data->columns != HN_ROWS_TEXT_LABEL && data->columns != HN_ROWS_TOKENS_TAGS)
        return json_null();
    if (hn_labels_find(&labels, data, &nothing, &notes, &problem) == 0)
        hn_labels_finish(&labels);
    else
        hn_issue_warn(&data->issues, "labels", 0, "%s%s%s", problem.message,
            problem.hint[0] ? "; " : "", problem.hint);
    if (notes.why)
        hn_issue_warn(&data->issues, "guessed_problem", 0, "%s", notes.why);
    if (notes.alike)
        hn_issue_warn(&data->issues, "similar_labels", 0, "%s", notes.alike);
    json_t *shown = hn_json_share_or_null(notes.shown);
    hn_label_notes_finish(&notes);
    return shown;
}

static json_t *tell_data(struct hn_dataset *data) {
    json_t *tasks = json_array();
    for (const char *const *task = hn_dataset_tasks(data); *task; task++)
        json_array_append_new(tasks, json_string(*task));
    json_t *labels = data->n_rows ? find_labels(data) : json_null();
    return HN_JSON_OBJECT({"format", data->format ? json_string(data->format) : json_null()},
        {"columns", hn_json_share_or_null(data->mapping)}, {"tasks", tasks},
        {"rows", json_integer((json_int_t)data->n_rows)},
        {"dropped", json_integer((json_int_t)data->dropped)}, {"labels", labels},
        {"warnings", hn_json_share(data->issues.warnings)});
}

int hn_helper_dataset_inspect(
    struct hn_helper_call *call, const json_t *params, json_t **ret, struct hn_error *err) {
    struct hn_dataset *data = hn_calloc(1, sizeof *data);
    if (!data)
        return hn_fail(err, HN_E_INTERNAL, "out of memory");
    int rc = open_data(call, params, data, err);
    if (!rc && !(*ret = tell_data(data)))
        rc = hn_fail(err, HN_E_INTERNAL, "out of memory");
    hn_dataset_close(data);
    free(data);
    return rc;
}

/* The first bytes of a text, whole characters of them. */
static json_t *cut_text(const char *text, size_t size, size_t limit) {
    size_t kept = size;
    if (size > limit)
        for (kept = limit; kept && ((unsigned char)text[kept] & 0xc0) == 0x80; kept--)
            continue;
    return size > limit ? json_sprintf("%.*s …", (int)kept, text) : json_stringn(text, size);
}

static json_t *cell(const json_t *value) {
    if (json_is_string(value))
        return cut_text(json_string_value(value), json_string_length(value), CELL_BYTES);
    char *text = json_dumps(value, JSON_COMPACT | JSON_ENCODE_ANY);
    json_t *out = text ? cut_text(text, strlen(text), CELL_BYTES) : NULL;
    free(text);
    return out;
}

/* The rows of a sample with texts of bounded length. NULL: out of memory. */
static json_t *tell_sample(const json_t *sample) {
    json_t *list = json_array(), *one, *value;
    size_t i;
    json_array_foreach((json_t *)(uintptr_t)sample, i, one) {
        json_t *cells = json_object(), *row = json_object_get(one, "row");
        const char *name;
        json_object_foreach(row, name, value) {
            json_t *key = cut_text(name, strlen(name), NAME_BYTES);
            if (json_object_size(cells) < SAMPLE_COLUMNS && key)
                json_object_set_new(cells, json_string_value(key), cell(value));
            json_decref(key);
        }
        json_array_append_new(
            list, json_pack("{s:O,s:o}", "line", json_object_get(one, "line"), "cells", cells));
    }
    return list;
}

int hn_helper_dataset_look(
    struct hn_helper_call *call, const json_t *params, json_t **ret, struct hn_error *err) {
    const char *path;
    struct hn_dataset_options options;
    struct hn_error fault = {0};
    json_t *told = NULL, *error = NULL;
    struct hn_dataset *data = hn_calloc(1, sizeof *data);
    if (!data)
        return hn_fail(err, HN_E_INTERNAL, "out of memory");
    int rc = hn_helper_data(params, &path, &options, err);
    options.sample = json_array();
    options.n_sample = SAMPLE_ROWS;
    if (!rc && (rc = hn_dataset_open(data, path, &options, &fault)) == HN_E_DATASET_INVALID) {
        hn_helper_issues(call, data);
        error = json_pack("{s:s,s:s,s:O?,s:I}", "message", fault.message, "hint", fault.hint,
            "details", call->details, "total", (json_int_t)call->total);
        rc = error ? 0 : hn_fail(err, HN_E_INTERNAL, "out of memory");
    } else if (rc && err && fault.message[0]) {
        *err = fault;
    }
    if (!rc && !(told = tell_data(data)))
        rc = hn_fail(err, HN_E_INTERNAL, "out of memory");
    if (!rc &&
        (json_object_set_new(told, "sample", tell_sample(options.sample)) ||
            json_object_set_new(told, "error", error ? json_incref(error) : json_null())))
        rc = hn_fail(err, HN_E_INTERNAL, "out of memory");
    if (!rc)
        *ret = json_incref(told);
    json_decref(told);
    json_decref(error);
    json_decref(options.sample);
    hn_dataset_close(data);
    free(data);
    return rc;
}

/* {"id","text"} and, where a token is a part of a character, its "bytes". */
static json_t *token_json(const struct hn_codec *codec, int32_t id) {
    struct hn_buf text = {0}, hex = {0};
    hn_buf_append(&text, "", 0);
    hn_tokenizer_decode(codec->tokenizer, id, true, &text);
    json_t *out = json_pack("{s:i, s:o}", "id", id, "text", hn_json_text(text.data, text.size));
    if (hn_utf8_valid(text.data, text.size) != text.size) {
        for (size_t i = 0; i < text.size; i++)
            hn_buf_printf(&hex, "%02x", (unsigned char)text.data[i]);
        json_object_set_new(out, "bytes", json_string(hex.data ? hex.data : ""));
    }
    hn_buf_free(&hex);
    hn_buf_free(&text);
    return out;
}

/* The message a token begins in, null for the template's own. */
static json_t *message_json(const struct hn_encoded *e, size_t token) {
    size_t at = e->ids.offsets[token];
    uint16_t origin = e->origins && at < e->text.size ? e->origins[at] : HN_ORIGIN_TEMPLATE;
    return origin == HN_ORIGIN_TEMPLATE || origin == HN_ORIGIN_DATA ? json_null()
                                                                    : json_integer(origin - 1);
}

static json_t *tokens_json(
    const struct hn_codec *codec, const struct hn_encoded *e, size_t kept, json_t *counts) {
    json_t *tokens = json_array();
    size_t trained = 0;
    for (size_t i = 0; i < e->ids.n; i++) {
        json_t *token = token_json(codec, e->ids.ids[i]);
        bool target = i < kept && e->weights[i] != 0;
        trained += target;
        json_object_set_new(token, "state",
            json_string(i >= kept ? "truncated"
                    : target      ? "trained"
                                  : "masked"));
        json_object_set_new(token, "message", message_json(e, i));
        json_array_append_new(tokens, token);
    }
    json_object_set_new(counts, "tokens", json_integer((json_int_t)e->ids.n));
    json_object_set_new(counts, "trained", json_integer((json_int_t)trained));
    json_object_set_new(counts, "masked", json_integer((json_int_t)(kept - trained)));
    json_object_set_new(counts, "truncated", json_integer((json_int_t)(e->ids.n - kept)));
    return tokens;
}

/* Why the row would not be used, or null. */
static json_t *fate(const struct hn_encoded *e, size_t kept, const struct hn_encode_options *o) {
    if (e->length > o->max_length && o->overflow != HN_OVERFLOW_TRUNCATE)
        return json_string("overflow");
    return hn_encoded_targets(e, kept) ? json_null() : json_string("no_target");
}

struct preview {
    struct hn_model model;
    struct hn_codec codec;
    struct hn_dataset data;
    struct hn_encoded encoded;
    struct hn_encode_options options;
    struct hn_labels labels;
    struct hn_label_notes notes;
};

static int read_options(struct preview *p, const json_t *params, struct hn_error *err) {
    struct hn_hyperparams hp;
    const json_t *given = json_object_get(params, "hyperparameters");
    const char *task = NULL;
    hn_hyperparams_defaults(&hp);
    int rc = given && !json_is_null(given)
        ? hn_hyperparams_read(&hp, given, "hyperparameters.", err)
        : 0;
    if (!rc)
        rc = hn_json_string(params, "task", &task, err);
    if (rc)
        return rc;
    int number = hn_task_from_name(task ? task : hn_dataset_tasks(&p->data)[0]);
    if (number < 0) {
        hn_fail(err, HN_E_INVALID_FIELD, "the task \"%.40s\" is not known", task ? task : "");
        hn_error_field(err, "task");
        return HN_E_INVALID_FIELD;
    }
    int64_t context = (int64_t)p->model.config.context;
    int64_t length = hp.max_length != HN_AUTO_INT ? hp.max_length
        : context < HN_AUTO_MAX_LENGTH            ? context
                                                  : HN_AUTO_MAX_LENGTH;
    p->options = (struct hn_encode_options){.task = (enum hn_task)number,
        .max_length = length > 0 ? (size_t)length : 1,
        .overflow = (enum hn_overflow)hp.overflow,
        .loss_on = (enum hn_loss_on)hp.loss_on,
        .vocab = SIZE_MAX,
        .encoder = p->model.arch->encoder,
        .token_types = 2};
    if (p->options.task == HN_TASK_GENERATION ||
        (p->options.task == HN_TASK_QA && !p->model.arch->encoder))
        return 0;
    p->options.labels = &p->labels;
    const struct hn_labels_request request = {
        .no_bias = !p->model.arch->heads[HN_HEAD_SEQUENCE].bias};
    return hn_labels_find(&p->labels, &p->data, &request, &p->notes, err);
}

static json_t *notices_json(const struct hn_notices *notices) {
    json_t *list = json_array();
    char text[320];
    for (size_t i = 0; i < notices->n; i++) {
        hn_notice_text(&notices->list[i], text, sizeof text);
        json_array_append_new(list,
            json_pack("{s:s, s:s}", "code", hn_notice_code(&notices->list[i]), "message", text));
    }
    return list;
}

static int preview_row(
    struct preview *p, size_t row, const char *date, json_t **ret, struct hn_error *err) {
    json_t *object = NULL, *counts = json_object();
    snprintf(p->codec.date, sizeof p->codec.date, "%s", date);
    int rc = hn_dataset_row(&p->data, row - 1, &object, err);
    if (!rc)
        rc = hn_row_encode(&p->codec, p->data.columns, object, &p->options, &p->encoded, err);
    if (!rc) {
        size_t kept = hn_encoded_kept(&p->encoded, &p->options);
        json_t *tokens = tokens_json(&p->codec, &p->encoded, kept, counts);
        const char *text = p->encoded.text.data ? p->encoded.text.data : "";
        *ret = HN_JSON_OBJECT({"row", json_integer((json_int_t)row)},
            {"line", json_integer((json_int_t)p->data.lines[row - 1])},
            {"rendered", json_stringn(text, p->encoded.text.size)}, {"tokens", tokens},
            {"counts", hn_json_share(counts)}, {"dropped", fate(&p->encoded, kept, &p->options)},
            {"warnings", notices_json(&p->encoded.notices)});
        if (*ret && p->notes.shown)
            json_object_update(*ret, p->notes.shown);
        rc = *ret ? 0 : hn_fail(err, HN_E_INTERNAL, "out of memory");
    }
    json_decref(counts);
    json_decref(object);
    return rc;
}

int hn_helper_dataset_preview(
    struct hn_helper_call *call, const json_t *params, json_t **ret, struct hn_error *err) {
    const char *path = NULL, *template = NULL,
               *date = "2000-01-01"; /* templates that print the date need one */
    int64_t row = 1;
    struct preview *p = hn_calloc(1, sizeof *p);
    if (!p)
        return hn_fail(err, HN_E_INTERNAL, "out of memory");
    int rc = hn_helper_path(json_object_get(params, "model"), &path, err);
    if (!rc)
        rc = hn_json_int(params, "row", 1, INT64_MAX / 2, &row, err);
    if (!rc)
        rc = hn_json_string(params, "now", &date, err);
    if (!rc)
        rc = hn_json_string(params, "template", &template, err);
    if (!rc)
        rc = hn_model_peek(&p->model, path, err);
    if (!rc)
        rc = hn_codec_open(&p->model, &p->codec, err);
    p->codec.applied = template && strcmp(template, "applied") == 0;
    if (!rc)
        rc = open_data(call, json_object_get(params, "data"), &p->data, err);
    if (!rc)
        rc = read_options(p, params, err);
    if (!rc)
        rc = preview_row(p, (size_t)row, date, ret, err);
    hn_encoded_finish(&p->encoded);
    hn_labels_finish(&p->labels);
    hn_label_notes_finish(&p->notes);
    hn_dataset_close(&p->data);
    hn_codec_finish(&p->codec);
    hn_model_close(&p->model);
    free(p);
    return rc;
}
