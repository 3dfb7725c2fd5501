/* fit: the verdict on a run, from what its directory has by now. */
#include "engine/base/json.h"
#include "engine/base/pulse.h"
#include "engine/data/row_set.h"
#include "engine/eval/fit.h"
#include "engine/helper/call.h"
#include "engine/run/row_file.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define CEILING ((size_t)8 << 30)

struct fit {
    struct hn_spec spec;
    struct hn_fit_run run;
    json_t *evaluations;
    bool *shared;
};

static void take_event(struct fit *f, const json_t *event) {
    const char *type = json_string_value(json_object_get(event, "type"));
    json_t *data = json_object_get(event, "data");
    const char *code = json_string_value(json_object_get(data, "code"));
    if (!type || !json_is_object(data))
        return;
    if (strcmp(type, "eval") == 0)
        json_array_append(f->evaluations, data);
    if (strcmp(type, "plan") == 0) {
        f->run.steps = (size_t)json_integer_value(json_object_get(data, "steps"));
        f->run.train_rows = (size_t)json_integer_value(json_object_get(data, "rows"));
    }
    f->run.ended |= strcmp(type, "finished") == 0 || strcmp(type, "failed") == 0;
    f->run.diverged |= strcmp(type, "failed") == 0 && code && strcmp(code, "diverged") == 0;
}

/* Whole lines of the types that count; most are of steps, and are not parsed. */
static int read_events(struct fit *f, const char *path, struct hn_error *err) {
    char *text;
    size_t size, next;
    int rc = hn_file_read(path, CEILING, &text, &size, err);
    for (size_t at = 0; !rc && at < size; at = next) {
        const char *line = text + at, *newline = memchr(line, '\n', size - at);
        json_t *event = NULL;
        if (!newline)
            break;
        next = (size_t)(newline - text) + 1;
        hn_pulse();
        if (memmem(line, next - at, "\"type\":\"step\"", 13) ||
            hn_json_parse(line, next - at - 1, &event, NULL))
            continue;
        take_event(f, event);
        json_decref(event);
    }
    if (!rc)
        free(text);
    return rc;
}

/* The rows that it trains on, as a set of inputs. */
static int gather_trained(const struct fit *f, struct hn_row_set *set, struct hn_error *err) {
    struct hn_dataset data = {0};
    struct hn_row_history h = {0};
    char path[4160];
    snprintf(path, sizeof path, "%s/" HN_ROWS_FILE, f->run.dir);
    if (hn_row_history_open(&h, path, NULL))
        return HN_E_NOT_FOUND;
    int rc = hn_run_open_training(&data, f->run.dir, &f->spec, err);
    for (size_t i = 0; !rc && i < h.layout.n_rows; i++) {
        size_t row = hn_row_history_row(&h, i);
        if (row < data.n_rows)
            rc = hn_row_set_add(set, &data, &row, 1, err);
    }
    hn_dataset_close(&data);
    hn_row_history_close(&h);
    return rc;
}

/* Which of the scored rows have the input of a training row; they follow the data in its order. */
static int mark_shared(struct fit *f, const struct hn_scores *scores, struct hn_row_set *set,
    const struct hn_dataset *data, struct hn_error *err) {
    int rc = (f->shared = hn_calloc(scores->n + 1, sizeof *f->shared))
        ? 0
        : hn_fail(err, HN_E_INTERNAL, "out of memory");
    for (size_t i = 0, row = 0; !rc && i < scores->n; i++) {
        size_t found = 0;
        while (row < data->n_rows && data->lines[row] != scores->rows[i].line)
            row++;
        if (row < data->n_rows)
            rc = hn_row_set_count(set, data, &row, 1, &found, err);
        f->shared[i] = found > 0;
        row++;
    }
    return rc;
}

/* Only of validation rows with a file of their own: those that are held out share no input with
 * training rows. */
static int find_shared(struct fit *f, struct hn_error *err) {
    struct hn_row_set set = {.inputs = true};
    struct hn_dataset data = {0};
    struct hn_scores scores = {0};
    const struct hn_source *held = &f->spec.validation;
    const json_t *last = json_array_get(f->evaluations, json_array_size(f->evaluations) - 1);
    struct hn_dataset_options options = {
        .format = held->format, .columns = held->columns, .drop = held->drop};
    char path[4160];
    if (!held->file || !last)
        return 0;
    snprintf(path, sizeof path, "%s/scores/%lld.bin", f->run.dir,
        (long long)json_integer_value(json_object_get(last, "step")));
    if (hn_scores_read(&scores, path, NULL))
        return 0;
    int rc = gather_trained(f, &set, err);
    hn_spec_path(path, sizeof path, f->run.dir, held->file);
    if (!rc)
        rc = hn_dataset_open(&data, path, &options, err);
    if (!rc)
        rc = mark_shared(f, &scores, &set, &data, err);
    f->run.shared = rc ? NULL : f->shared;
    hn_dataset_close(&data);
    hn_scores_finish(&scores);
    hn_row_set_finish(&set);
    return rc == HN_E_NOT_FOUND ? 0 : rc;
}

static int open_fit(struct fit *f, struct hn_error *err) {
    char path[4160];
    json_t *json = NULL;
    snprintf(path, sizeof path, "%s/spec.json", f->run.dir);
    int rc = hn_json_load(path, 16 << 20, &json, err);
    if (!rc)
        rc = hn_spec_read(&f->spec, json, err);
    snprintf(path, sizeof path, "%s/events.jsonl", f->run.dir);
    if (!rc)
        rc = read_events(f, path, err);
    if (rc)
        return rc;
    size_t batch = (size_t)f->spec.hp.batch_size;
    f->run.spec = &f->spec;
    f->run.evaluations = f->evaluations;
    f->run.steps_per_epoch = f->run.train_rows / batch + (f->run.train_rows % batch != 0);
    f->run.contradicted = hn_fit_contradicted(f->run.dir);
    if (!f->run.steps || !f->run.steps_per_epoch)
        return hn_fail(err, HN_E_CONFLICT, "the run has not begun to train");
    return find_shared(f, err);
}

int hn_helper_fit(
    struct hn_helper_call *call, const json_t *params, json_t **ret, struct hn_error *err) {
    struct fit f = {.evaluations = json_array()};
    struct hn_fit_facts facts;
    (void)call;
    int rc = hn_json_string(params, "run_dir", &f.run.dir, err);
    if (!rc && !f.run.dir)
        rc = hn_fail(err, HN_E_MISSING_FIELD, "run_dir is missing");
    if (!rc)
        rc = open_fit(&f, err);
    if (!rc)
        rc = hn_fit_measure(&f.run, &facts, err);
    if (!rc && !(*ret = hn_fit_tell(&f.run, &facts)))
        rc = hn_fail(err, HN_E_INTERNAL, "out of memory");
    json_decref(f.evaluations);
    free(f.shared);
    hn_spec_finish(&f.spec);
    return rc;
}
