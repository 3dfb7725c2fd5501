/* See corrections.h. */
#include "server/library/corrections.h"
#include "server/base/id.h"
#include "server/process/rundir.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

#define CORRECT_SECONDS 1800
#define NAME_BYTES 200

static const char *text(const json_t *object, const char *name) {
    const char *value = json_string_value(json_object_get(object, name));
    return value ? value : "";
}

/* "train.csv, corrected", once however often it is corrected. */
static void name_copy(const char *name, char ret[NAME_BYTES + 1]) {
    static const char end[] = ", corrected";
    size_t n = strlen(name), tail = sizeof end - 1;
    if (n >= tail && strcmp(name + n - tail, end) == 0)
        n -= tail;
    if (n > NAME_BYTES - tail)
        n = hn_utf8_valid(name, NAME_BYTES - tail);
    snprintf(ret, NAME_BYTES + 1, "%.*s%s", (int)n, name, end);
}

/* {"dataset","sha256","excluded","relabelled","changes"}: what the copy was made of. */
static json_t *origin(const json_t *record, const json_t *made) {
    return json_pack("{s:O,s:O,s:O,s:O,s:O}", "dataset", json_object_get(record, "id"), "sha256",
        json_object_get(record, "sha256"), "excluded", json_object_get(made, "excluded"),
        "relabelled", json_object_get(made, "relabelled"), "changes",
        json_object_get(made, "changes"));
}

static int make_copy(const struct hn_library *library, const struct hn_corrections *c,
    const char *to, json_t **ret, json_t **ret_details, struct hn_error *err) {
    json_t *params =
        json_pack("{s:o,s:O,s:s,s:I}", "data", hn_dataset_params(library->state, c->record),
            "request", c->request, "to", to, "limit", (json_int_t)library->max_upload);
    const struct hn_question question = {.op = "dataset.correct",
        .params = params,
        .asker = library->asker,
        .timeout_seconds = CORRECT_SECONDS};
    int rc = params ? hn_helper_call(library->helper, &question, ret, ret_details, err)
                    : hn_fail(err, HN_E_INTERNAL, "out of memory");
    json_decref(params);
    return rc;
}

static int take_copy(const struct hn_library *library, const struct hn_corrections *c,
    const char *path, const json_t *made, json_t **ret, bool *ret_existing, json_t **ret_details,
    struct hn_error *err) {
    char name[NAME_BYTES + 1];
    name_copy(text(c->record, "name"), name);
    json_t *from = origin(c->record, made);
    const struct hn_dataset_source source = {.path = path,
        .sha256 = text(made, "sha256"),
        .bytes = (uint64_t)json_integer_value(json_object_get(made, "bytes")),
        .name = c->name && *c->name ? c->name : name,
        .format = text(c->record, "format"),
        .columns = json_object_get(c->record, "columns"),
        .drop = strcmp(text(c->record, "on_error"), "drop") == 0,
        .owner = c->owner,
        .corrected_from = from};
    int rc = from && strlen(source.sha256) == HN_SHA256_HEX - 1
        ? hn_dataset_import(library, &source, ret, ret_existing, ret_details, err)
        : hn_fail(err, HN_E_INTERNAL, "the helper's answer about the copy is not complete");
    json_decref(from);
    return rc;
}

int hn_dataset_correct(const struct hn_library *library, const struct hn_corrections *corrections,
    json_t **ret, bool *ret_existing, json_t **ret_details, struct hn_error *err) {
    char unique[HN_ID_SIZE], path[HN_PATH_SIZE];
    json_t *made = NULL;
    hn_id_make("raw", unique);
    if (!hn_state_path(path, library->state, "tmp", unique, NULL))
        return hn_fail(err, HN_E_INTERNAL, "path too long");
    int rc = hn_dataset_check(library->seen, library->state, corrections->record, err);
    if (!rc)
        rc = make_copy(library, corrections, path, &made, ret_details, err);
    if (!rc)
        rc = take_copy(library, corrections, path, made, ret, ret_existing, ret_details, err);
    unlink(path); /* gone already when it was moved to its place */
    json_decref(made);
    return rc;
}
