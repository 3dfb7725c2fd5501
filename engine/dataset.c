/*
 * Data sets; see dataset.h. Two tables: formats (how a file falls into rows) and kinds (what a row must hold). Opening walks
 * the whole file once and keeps only where each good row lies; the file itself stays mapped.
 */
#include "engine/dataset.h"
#include "engine/json.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define MAX_ROW ((size_t)64 << 20)
#define MAX_ROWS ((size_t)200000000)
#define MAX_MESSAGES 4096
#define WARNED_COLUMNS 32

/* Where a problem was found, handed down while a row is checked. */
struct place {
    struct hn_dataset *data;
    size_t line;
};

static void add_issue(const struct place *at, size_t column, const char *field, const char *hint, const char *format, ...)
    __attribute__((format(printf, 5, 6)));

static void add_issue(const struct place *at, size_t column, const char *field, const char *hint, const char *format, ...) {
    struct hn_dataset *d = at->data;
    if (d->n_issues < sizeof d->issues / sizeof d->issues[0]) {
        struct hn_issue *issue = &d->issues[d->n_issues];
        *issue = (struct hn_issue){.line = at->line, .column = column};
        snprintf(issue->field, sizeof issue->field, "%s", field);
        snprintf(issue->hint, sizeof issue->hint, "%s", hint);
        va_list ap;
        va_start(ap, format);
        vsnprintf(issue->message, sizeof issue->message, format, ap);
        va_end(ap);
    }
    d->n_issues++;
}

static bool need_text(const struct place *at, const json_t *row, const char *name, bool may_be_empty) {
    const json_t *value = json_object_get(row, name);
    if (!json_is_string(value)) {
        add_issue(at, 0, name, "give it as a string in double quotes", "\"%s\" must be a string", name);
        return false;
    }
    if (!may_be_empty && json_string_length(value) == 0) {
        add_issue(at, 0, name, "fill it in or remove the row", "\"%s\" is empty", name);
        return false;
    }
    return true;
}

static bool check_message(const struct place *at, const json_t *message, size_t i, bool *answers) {
    static const char *const roles[] = {"system", "user", "assistant", "tool", "developer"};
    const char *role = json_string_value(json_object_get(message, "role"));
    const json_t *content = json_object_get(message, "content"), *weight = json_object_get(message, "weight");
    char field[64];
    size_t k = 0;
    while (role && k < 5 && strcmp(roles[k], role) != 0)
        k++;
    snprintf(field, sizeof field, "messages[%zu].role", i);
    if (!role || k == 5) {
        add_issue(at, 0, field, "roles are system, user, assistant, tool and developer", "message %zu has %s%.40s", i + 1,
            role ? "the unknown role " : "no role", role ? role : "");
        return false;
    }
    bool calls = json_is_array(json_object_get(message, "tool_calls"));
    snprintf(field, sizeof field, "messages[%zu].content", i);
    if (!json_is_string(content) && !(calls && (!content || json_is_null(content)))) {
        add_issue(at, 0, field, "give the text as a string", "message %zu (%s) has no text in \"content\"", i + 1, role);
        return false;
    }
    snprintf(field, sizeof field, "messages[%zu].weight", i);
    if (weight && !json_is_null(weight) && !(json_is_number(weight) && json_number_value(weight) >= 0 && json_number_value(weight) <= 1000)) {
        add_issue(at, 0, field, "0 leaves the message out of the loss, 1 is the default", "message %zu has a weight that is no number from 0 to 1000",
            i + 1);
        return false;
    }
    bool weighs = !weight || json_is_null(weight) || json_number_value(weight) > 0;
    *answers |= strcmp(role, "assistant") == 0 && weighs && json_string_length(content) > 0;
    return true;
}

static bool check_messages(const struct place *at, const json_t *row) {
    const json_t *messages = json_object_get(row, "messages");
    size_t n = json_array_size(messages);
    bool answers = false, good = true;
    if (n == 0 || n > MAX_MESSAGES) {
        add_issue(at, 0, "messages", "[{\"role\":\"user\",\"content\":\"…\"},{\"role\":\"assistant\",\"content\":\"…\"}]",
            "\"messages\" must be a list of 1 to %d messages", MAX_MESSAGES);
        return false;
    }
    for (size_t i = 0; i < n && good; i++)
        good = check_message(at, json_array_get(messages, i), i, &answers);
    if (good && !answers) {
        add_issue(at, 0, "messages", "add the assistant's answer, or give it a weight above 0", "no assistant message to learn from");
        return false;
    }
    return good;
}

static bool check_prompt_completion(const struct place *at, const json_t *row) {
    return need_text(at, row, "prompt", true) && need_text(at, row, "completion", false);
}

static bool check_text(const struct place *at, const json_t *row) {
    return need_text(at, row, "text", false);
}

static bool check_label(const struct place *at, const json_t *row) {
    const json_t *label = json_object_get(row, "label");
    if (!need_text(at, row, "text", false))
        return false;
    if (json_is_string(label) || json_is_number(label) || json_is_boolean(label))
        return true;
    for (size_t i = 0; json_is_array(label) && i <= json_array_size(label); i++) {
        if (i == json_array_size(label))
            return true;
        if (!json_is_string(json_array_get(label, i)))
            break;
    }
    add_issue(at, 0, "label", "\"label\":\"positive\", \"label\":3.5 or \"label\":[\"a\",\"b\"]", "\"label\" must be a string, a number or a list of strings");
    return false;
}

static bool check_qa(const struct place *at, const json_t *row) {
    const json_t *answers = json_object_get(row, "answers");
    if (!need_text(at, row, "context", false) || !need_text(at, row, "question", false))
        return false;
    if (json_is_object(answers) || json_is_array(answers) || json_is_string(answers))
        return true;
    add_issue(at, 0, "answers", "{\"text\":[\"…\"],\"answer_start\":[17]}; empty lists for a question without an answer", "\"answers\" is missing");
    return false;
}

static bool check_tags(const struct place *at, const json_t *row) {
    const json_t *tokens = json_object_get(row, "tokens"), *tags = json_object_get(row, "tags");
    if (json_is_array(tokens) && json_is_array(tags) && json_array_size(tokens) && json_array_size(tokens) == json_array_size(tags))
        return true;
    add_issue(at, 0, "tags", "one tag for every token", "\"tokens\" and \"tags\" must be lists of the same length");
    return false;
}

static bool check_preference(const struct place *at, const json_t *row) {
    return need_text(at, row, "prompt", true) && need_text(at, row, "chosen", false) && need_text(at, row, "rejected", false);
}

/* What a row may consist of; the first kind whose columns are all there is the file's. */
static const struct kind {
    enum hn_columns columns;
    const char *names[5]; /* required, NULL-ended */
    bool (*check)(const struct place *at, const json_t *row);
    const char *tasks[3];
} kinds[] = {
    {HN_ROWS_MESSAGES, {"messages"}, check_messages, {"generation"}},
    {HN_ROWS_PREFERENCE, {"prompt", "chosen", "rejected"}, check_preference, {"preference"}},
    {HN_ROWS_PROMPT_COMPLETION, {"prompt", "completion"}, check_prompt_completion, {"generation"}},
    {HN_ROWS_QA, {"context", "question", "answers"}, check_qa, {"qa"}},
    {HN_ROWS_TOKENS_TAGS, {"tokens", "tags"}, check_tags, {"token_classification"}},
    {HN_ROWS_TEXT_LABEL, {"text", "label"}, check_label, {"classification"}},
    {HN_ROWS_TEXT, {"text"}, check_text, {"generation"}},
};
#define KINDS (sizeof kinds / sizeof kinds[0])
static const char *const optional_names[] = {"tools", "id", NULL}; /* kept, never warned about */

static const struct kind *kind_of(const struct hn_dataset *data) {
    for (size_t i = 0; i < KINDS; i++)
        if (kinds[i].columns == data->columns)
            return &kinds[i];
    return &kinds[0];
}

const char *const *hn_dataset_tasks(const struct hn_dataset *data) {
    return kind_of(data)->tasks;
}

/* The row under our own names: mapped columns renamed. New reference. */
static json_t *rename_columns(const struct hn_dataset *data, json_t *row) {
    const char *ours;
    json_t *theirs;
    if (!data->mapping)
        return json_incref(row);
    json_t *out = json_copy(row);
    json_object_foreach(data->mapping, ours, theirs) {
        json_t *value = json_object_get(row, json_string_value(theirs));
        if (value)
            json_object_set(out, ours, value);
    }
    return out;
}

static bool has_columns(const struct kind *kind, const json_t *row) {
    for (size_t i = 0; kind->names[i]; i++)
        if (!json_object_get(row, kind->names[i]))
            return false;
    return true;
}

/* The columns of a row for a message: "a, b, c". */
static void list_columns(const json_t *row, char *out, size_t size) {
    const char *name;
    json_t *value;
    size_t used = 0;
    out[0] = 0;
    json_object_foreach((json_t *)(uintptr_t)row, name, value) {
        int n = snprintf(out + used, size - used, "%s%.40s", used ? ", " : "", name);
        if (n < 0 || used + (size_t)n >= size)
            return;
        used += (size_t)n;
    }
}

/* The first row that fits a kind decides for the file. */
static bool decide_kind(struct hn_dataset *data, const json_t *row) {
    for (size_t i = 0; i < KINDS; i++)
        if (has_columns(&kinds[i], row)) {
            data->columns = kinds[i].columns;
            return true;
        }
    return false;
}

static void warn_unused(struct hn_dataset *data, const json_t *row, size_t line) {
    const struct kind *kind = kind_of(data);
    const char *name;
    json_t *value;
    json_object_foreach((json_t *)(uintptr_t)row, name, value) {
        bool known = json_object_get(data->mapping, name) != NULL;
        const char *ours;
        json_t *theirs;
        json_object_foreach(data->mapping, ours, theirs)
            known |= strcmp(json_string_value(theirs), name) == 0;
        for (size_t i = 0; kind->names[i]; i++)
            known |= strcmp(kind->names[i], name) == 0;
        for (size_t i = 0; optional_names[i]; i++)
            known |= strcmp(optional_names[i], name) == 0;
        if (known || json_array_size(data->warnings) >= WARNED_COLUMNS)
            continue;
        char message[256];
        snprintf(message, sizeof message, "column \"%.60s\" is not used; map it with columns={\"prompt\":\"%.40s\"} if it should be", name, name);
        json_array_append_new(data->warnings, json_pack("{s:s, s:s, s:[I]}", "code", "unused_column", "message", message, "lines", (json_int_t)line));
    }
}

/* Checks one parsed row; true when it is kept. */
static bool check_row(const struct place *at, json_t *row, bool *decided) {
    struct hn_dataset *data = at->data;
    char columns[200];
    if (!json_is_object(row)) {
        add_issue(at, 1, "", "write each row as {\"prompt\":\"…\",\"completion\":\"…\"}", "the row is not a JSON object");
        return false;
    }
    json_t *renamed = rename_columns(data, row);
    bool good = true;
    if (!*decided && decide_kind(data, renamed)) {
        *decided = true;
        warn_unused(data, row, at->line);
    } else if (!*decided) {
        list_columns(row, columns, sizeof columns);
        add_issue(at, 1, "", "needed: messages, or prompt and completion, or text, or text and label; other names are mapped by columns={\"prompt\":\"question\"}",
            "the row's columns (%s) are none that can be trained on", columns);
        good = false;
    }
    const struct kind *kind = kind_of(data);
    if (good && !has_columns(kind, renamed)) {
        size_t missing = 0;
        while (json_object_get(renamed, kind->names[missing]))
            missing++;
        add_issue(at, 1, kind->names[missing], "all rows of a file must have the same columns", "the row has no \"%s\", which the first rows have",
            kind->names[missing]);
        good = false;
    }
    good = good && kind->check(at, renamed);
    json_decref(renamed);
    return good;
}

static int keep_row(struct hn_dataset *data, size_t offset, size_t size, size_t line, struct hn_error *err) {
    size_t n = data->n_rows + 1;
    if (n > MAX_ROWS || line > UINT32_MAX)
        return hn_fail(err, HN_E_TOO_LARGE, "the file has more than %zu rows", MAX_ROWS);
    if (!hn_grow(&data->offsets, &data->offsets_capacity, n, sizeof *data->offsets) ||
        !hn_grow(&data->sizes, &data->sizes_capacity, n, sizeof *data->sizes) ||
        !hn_grow(&data->lines, &data->lines_capacity, n, sizeof *data->lines))
        return hn_fail(err, HN_E_INTERNAL, "out of memory");
    data->offsets[n - 1] = offset;
    data->sizes[n - 1] = size;
    data->lines[n - 1] = (uint32_t)line;
    data->n_rows = n;
    return 0;
}

static bool is_blank(const char *text, size_t size) {
    for (size_t i = 0; i < size; i++)
        if (!strchr(" \t\r", text[i]) || !text[i])
            return false;
    return true;
}

static json_t *parse_row(const struct place *at, const char *text, size_t size) {
    json_error_t je;
    if (size > MAX_ROW) {
        add_issue(at, 1, "", "split it into several rows", "the row is longer than %zu bytes", MAX_ROW);
        return NULL;
    }
    json_t *row = json_loadb(text, size, JSON_REJECT_DUPLICATES | JSON_DECODE_ANY | JSON_ALLOW_NUL, &je);
    if (!row)
        add_issue(at, je.column > 0 ? (size_t)je.column : 1, "", "one complete JSON object a line, in UTF-8", "not valid JSON: %s", je.text);
    return row;
}

/* JSON Lines: one object a line; blank lines, a byte order mark and Windows line ends are fine. */
static int index_jsonl(struct hn_dataset *data, struct hn_error *err) {
    const char *text = (const char *)data->map.data;
    size_t size = data->map.size, at = size >= 3 && memcmp(text, "\xEF\xBB\xBF", 3) == 0 ? 3 : 0, line = 0;
    bool decided = false;
    int rc = 0;
    while (at < size && !rc) {
        const char *newline = memchr(text + at, '\n', size - at);
        size_t length = newline ? (size_t)(newline - text) - at : size - at;
        struct place place = {data, ++line};
        if (!is_blank(text + at, length)) {
            json_t *row = parse_row(&place, text + at, length);
            if (row && check_row(&place, row, &decided))
                rc = keep_row(data, at, length, line, err);
            else
                data->dropped++;
            json_decref(row);
        }
        at += length + 1;
    }
    return rc;
}

static int row_jsonl(const struct hn_dataset *data, size_t row, json_t **ret, struct hn_error *err) {
    json_error_t je;
    *ret = json_loadb((const char *)data->map.data + data->offsets[row], data->sizes[row], JSON_DECODE_ANY | JSON_ALLOW_NUL, &je);
    return *ret ? 0 : hn_fail(err, HN_E_INTERNAL, "line %u can no longer be read: %s", data->lines[row], je.text);
}

static bool looks_like_jsonl(const char *text, size_t size) {
    for (size_t i = 0; i < size; i++)
        if (!strchr(" \t\r\n\xEF\xBB\xBF", text[i]) || !text[i])
            return text[i] == '{';
    return false;
}

static const struct format {
    const char *name;
    bool (*matches)(const char *text, size_t size); /* tried in order when no format is given */
    int (*index)(struct hn_dataset *data, struct hn_error *err);
    int (*row)(const struct hn_dataset *data, size_t row, json_t **ret, struct hn_error *err);
} formats[] = {
    {"jsonl", looks_like_jsonl, index_jsonl, row_jsonl},
};
#define FORMATS (sizeof formats / sizeof formats[0])

static const struct format *find_format(const struct hn_dataset *data, const char *name, struct hn_error *err) {
    for (size_t i = 0; i < FORMATS; i++)
        if (name ? strcmp(name, formats[i].name) == 0 : formats[i].matches((const char *)data->map.data, data->map.size))
            return &formats[i];
    if (name)
        hn_fail(err, HN_E_INVALID_FIELD, "there is no format \"%.32s\"", name);
    else
        hn_fail(err, HN_E_DATASET_INVALID, "the file's format is not recognised: it does not begin with a JSON object");
    hn_error_field(err, "format");
    hn_error_hint(err, "formats: jsonl (one JSON object a line)");
    return NULL;
}

static int read_mapping(struct hn_dataset *data, const json_t *columns, struct hn_error *err) {
    const char *ours;
    json_t *theirs;
    if (!columns || json_is_null(columns))
        return 0;
    json_object_foreach((json_t *)(uintptr_t)columns, ours, theirs) {
        bool known = strcmp(ours, "tools") == 0;
        for (size_t i = 0; i < KINDS; i++)
            for (size_t k = 0; kinds[i].names[k]; k++)
                known |= strcmp(ours, kinds[i].names[k]) == 0;
        if (!known || !json_is_string(theirs)) {
            hn_fail(err, HN_E_INVALID_FIELD, "columns: \"%.64s\" is no column that can be trained on, or is not mapped to a name", ours);
            hn_error_field(err, "columns");
            hn_error_hint(err, "the form is {\"prompt\":\"question\",\"completion\":\"answer\"}: our name first, the file's second");
            return HN_E_INVALID_FIELD;
        }
    }
    if (!json_is_object(columns))
        return hn_fail(err, HN_E_INVALID_FIELD, "columns must be an object");
    data->mapping = json_deep_copy(columns);
    return 0;
}

static int judge(struct hn_dataset *data, const struct hn_dataset_options *options, struct hn_error *err) {
    if (data->n_issues && !options->drop) {
        hn_fail(err, HN_E_DATASET_INVALID, "%zu bad row%s; the first is line %zu: %s", data->n_issues, data->n_issues == 1 ? "" : "s",
            data->issues[0].line, data->issues[0].message);
        hn_error_hint(err, "mend the rows named in details, or send on_error=drop to leave them out");
        return HN_E_DATASET_INVALID;
    }
    if (data->n_rows == 0) {
        hn_fail(err, HN_E_DATASET_INVALID, "the file has no usable row");
        hn_error_hint(err, "one JSON object a line, such as {\"prompt\":\"2+2=\",\"completion\":\"4\"}");
        return HN_E_DATASET_INVALID;
    }
    return 0;
}

int hn_dataset_open(struct hn_dataset *ret, const char *path, const struct hn_dataset_options *options, struct hn_error *err) {
    memset(ret, 0, sizeof *ret);
    if (!(ret->warnings = json_array()))
        return hn_fail(err, HN_E_INTERNAL, "out of memory");
    int rc = hn_map_open(&ret->map, path, err);
    if (rc == HN_E_INVALID_FIELD) {
        rc = hn_fail(err, HN_E_DATASET_INVALID, "the file is empty");
        hn_error_hint(err, "one JSON object a line, such as {\"prompt\":\"2+2=\",\"completion\":\"4\"}");
    }
    if (!rc)
        rc = read_mapping(ret, options->columns, err);
    const struct format *format = rc ? NULL : find_format(ret, options->format, err);
    if (!format)
        return rc ? rc : err ? err->code : HN_E_DATASET_INVALID;
    ret->format = format->name;
    rc = format->index(ret, err);
    return rc ? rc : judge(ret, options, err);
}

void hn_dataset_close(struct hn_dataset *data) {
    hn_map_close(&data->map);
    json_decref(data->mapping);
    json_decref(data->warnings);
    free(data->offsets);
    free(data->sizes);
    free(data->lines);
    memset(data, 0, sizeof *data);
}

int hn_dataset_row(const struct hn_dataset *data, size_t row, json_t **ret, struct hn_error *err) {
    json_t *raw = NULL;
    if (row >= data->n_rows)
        return hn_fail(err, HN_E_NOT_FOUND, "there is no row %zu; the data set has %zu", row + 1, data->n_rows);
    for (size_t i = 0; i < FORMATS; i++)
        if (strcmp(formats[i].name, data->format) == 0) {
            int rc = formats[i].row(data, row, &raw, err);
            if (rc)
                return rc;
        }
    *ret = rename_columns(data, raw);
    json_decref(raw);
    return 0;
}
