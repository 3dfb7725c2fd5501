/* See call.h. */
#include "engine/helper/call.h"
#include "engine/base/json.h"

#include <stdlib.h>
#include <string.h>

#define TEXT_BYTES ((size_t)4000) /* of a row's text that is told */

int hn_helper_path(const json_t *object, const char **path, struct hn_error *err) {
    *path = NULL;
    int rc = hn_json_string(object, "path", path, err);
    return rc || *path ? rc : hn_fail(err, HN_E_MISSING_FIELD, "path is missing");
}

int hn_helper_data(const json_t *object, const char **path, struct hn_dataset_options *options,
    struct hn_error *err) {
    const char *on_error = "refuse";
    *options = (struct hn_dataset_options){0};
    int rc = hn_helper_path(object, path, err);
    if (!rc)
        rc = hn_json_string(object, "format", &options->format, err);
    if (!rc)
        rc = hn_json_string(object, "on_error", &on_error, err);
    options->columns = json_object_get(object, "columns");
    if (json_is_null(options->columns))
        options->columns = NULL;
    options->drop = strcmp(on_error, "drop") == 0;
    return rc;
}

void hn_helper_issues(struct hn_helper_call *call, const struct hn_dataset *data) {
    size_t listed = HN_ISSUES_LISTED;
    if (!data->issues.n)
        return;
    json_decref(call->details);
    call->details = json_array();
    call->total = data->issues.n;
    for (size_t i = 0; i < data->issues.n && i < listed; i++) {
        const struct hn_issue *issue = &data->issues.list[i];
        json_t *row = json_pack("{s:I, s:s, s:s, s:s}", "line", (json_int_t)issue->line, "field",
            issue->field, "message", issue->message, "hint", issue->hint);
        if (row && issue->column)
            json_object_set_new(row, "column", json_integer((json_int_t)issue->column));
        if (row)
            json_array_append_new(call->details, row);
    }
}

void hn_helper_tell_row(const json_t *row, json_t *out) {
    static const char *const texts[] = {"text", "prompt", "question", "tokens", "messages"};
    static const char *const labels[] = {"label", "completion", "answers", "tags", "chosen"};
    json_t *text = NULL, *label = NULL;
    for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++) {
        text = text ? text : json_object_get(row, texts[i]);
        label = label ? label : json_object_get(row, labels[i]);
    }
    char *made = json_is_string(text) ? NULL : json_dumps(text ? text : row, JSON_COMPACT);
    const char *whole = json_is_string(text) ? json_string_value(text) : made ? made : "";
    size_t n = strlen(whole), kept = n;
    if (n > TEXT_BYTES)
        for (kept = TEXT_BYTES; kept && ((unsigned char)whole[kept] & 0xc0) == 0x80; kept--)
            ;
    json_object_set_new(out, "text", json_stringn(whole, kept));
    if (kept < n)
        json_object_set_new(out, "truncated", json_true());
    json_object_set(out, "label", label ? label : json_null());
    free(made);
}
