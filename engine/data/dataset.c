/*
 * Opening a data set: recognise the format, walk through all rows once, check each and keep where
 * it lies. The rows themselves are parsed again when asked for, so memory grows with the number of
 * rows only (20 bytes each).
 */
#include "engine/data/dataset_internal.h"
#include "engine/data/rows.h"
#include "engine/data/usual_names.h"
#include "engine/base/json.h"
#include "engine/base/pulse.h"
#include "engine/base/utf8.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#define FEW_ROWS 10
#define LINE_ENDS_LOOK ((size_t)1 << 20) /* bytes looked at to know how lines end */
#define READ_BEHIND ((size_t)64 << 20)

static const struct hn_dataset_format *const formats[] = {&hn_format_squad, &hn_format_jsonl,
    &hn_format_json, &hn_format_conll, &hn_format_tsv, &hn_format_csv};
#define FORMATS (sizeof formats / sizeof formats[0])

static int invalid(struct hn_error *err, const char *hint, const char *message) {
    hn_fail(err, HN_E_DATASET_INVALID, "%s", message);
    hn_error_hint(err, "%s", hint);
    return HN_E_DATASET_INVALID;
}

/* Files of office programs by name, or NULL. Most are zip archives. */
static const char *office_kind(const uint8_t *p, size_t size) {
    static const struct {
        const char *inside, *name;
    } kinds[] = {{"xl/workbook", "an Excel workbook (.xlsx)"},
        {"opendocument.spreadsheet", "an OpenDocument spreadsheet (.ods)"},
        {"word/document.xml", "a Word document (.docx)"},
        {"opendocument.text", "an OpenDocument text (.odt)"}};
    if (size >= 8 && memcmp(p, "\xD0\xCF\x11\xE0\xA1\xB1\x1A\xE1", 8) == 0)
        return "a file of an older Office program (.xls, .doc)";
    if (size >= 5 && memcmp(p, "%PDF-", 5) == 0)
        return "a PDF";
    for (size_t i = 0; i < sizeof kinds / sizeof kinds[0]; i++)
        if (size >= 4 && memcmp(p, "PK\3\4", 4) == 0 &&
            memmem(p, size, kinds[i].inside, strlen(kinds[i].inside)))
            return kinds[i].name;
    return NULL;
}

/* Latin letters in 16 bits: zeros in the odd or the even places alone. */
static bool is_utf16(const uint8_t *p, size_t size) {
    size_t n = size < 4096 ? size / 2 : 2048, zeros[2] = {0};
    for (size_t i = 0; i < 2 * n; i++)
        zeros[i % 2] += !p[i];
    return n > 4 &&
        ((zeros[0] * 10 > n * 8 && zeros[1] * 10 < n) ||
            (zeros[1] * 10 > n * 8 && zeros[0] * 10 < n));
}

/* Skips a byte order mark; refuses encodings of 16 bits, which would otherwise fail in every
 * line. */
static int check_encoding(struct hn_row_scan *scan, struct hn_error *err) {
    const uint8_t *p = scan->data->map.data;
    size_t size = scan->data->map.size;
    const char *office = office_kind(p, size);
    if (office) {
        hn_fail(err, HN_E_DATASET_INVALID, "the file is %s", office);
        hn_error_hint(
            err, "open it in the program that wrote it and save the table as CSV in UTF-8");
        return HN_E_DATASET_INVALID;
    }
    if (size >= 2 && ((p[0] == 0xFF && p[1] == 0xFE) || (p[0] == 0xFE && p[1] == 0xFF)))
        return invalid(err, "save it as UTF-8", "the file is encoded in UTF-16");
    if ((size >= 4 && memcmp(p, "PK\3\4", 4) == 0) ||
        (size >= 262 && memcmp(p + 257, "ustar", 5) == 0))
        return invalid(err,
            "unpack it and send the data file itself; gzip or zstd of that one file is fine",
            "the file is a zip or tar archive, which may hold many files");
    if (size >= 4 && memcmp(p, "PAR1", 4) == 0)
        return invalid(err, "write it as JSON lines",
            "the file is in the Parquet format, which is not supported");
    if (is_utf16(p, size))
        return invalid(err, "save it as UTF-8",
            "every second byte is zero, as in UTF-16 without a byte order mark");
    if (size >= 3 && p[0] == 0xEF && p[1] == 0xBB && p[2] == 0xBF)
        scan->at = 3;
    return 0;
}

static bool all_blank(const char *text, size_t size) {
    for (size_t i = 0; i < size; i++)
        if (!hn_is_blank(text[i]))
            return false;
    return true;
}

static int choose_format(struct hn_row_scan *scan, const char *name,
    const struct hn_dataset_format **ret, struct hn_error *err) {
    const char *text = (const char *)scan->data->map.data + scan->at;
    size_t size = scan->data->map.size - scan->at;
    char known[128] = "";
    for (size_t i = 0; i < FORMATS; i++) {
        if (name ? strcmp(name, formats[i]->name) == 0
                 : formats[i]->recognise &&
                    formats[i]->recognise(text, size, scan->data->dialect.newline)) {
            *ret = formats[i];
            return 0;
        }
        snprintf(known + strlen(known), sizeof known - strlen(known), "%s%s", i ? ", " : "",
            formats[i]->name);
    }
    if (!name && all_blank(text, size))
        return invalid(err, "a data set needs at least one row", "the file has no rows");
    if (!name && hn_looks_like_conll(text, size, scan->data->dialect.newline))
        return invalid(err,
            "if it has a word and its tag on each line, and an empty line between sentences, send "
            "format=conll",
            "the file's format is not recognised");
    if (!name)
        return invalid(err,
            "write one JSON object a line, such as {\"prompt\": \"…\", \"completion\": \"…\"}, or "
            "CSV with a header; see /manual/data",
            "the file's format is not recognised");
    hn_fail(err, HN_E_INVALID_FIELD, "the format \"%.40s\" is not known", name);
    hn_error_field(err, "format");
    hn_error_hint(err, "known formats: %s; see /manual/data", known);
    return HN_E_INVALID_FIELD;
}

static bool keep_row(struct hn_dataset *data, const struct hn_span *span) {
    size_t n = data->n_rows;
    if (!hn_grow(&data->offsets, &data->offsets_capacity, n + 1, sizeof *data->offsets) ||
        !hn_grow(&data->sizes, &data->sizes_capacity, n + 1, sizeof *data->sizes) ||
        !hn_grow(&data->lines, &data->lines_capacity, n + 1, sizeof *data->lines) ||
        !hn_grow(&data->parts, &data->parts_capacity, n + 1, sizeof *data->parts))
        return false;
    data->offsets[n] = span->offset;
    data->sizes[n] = span->size;
    data->lines[n] = (uint32_t)span->line;
    data->parts[n] = (uint32_t)span->part;
    data->n_rows++;
    return true;
}

static size_t add_quoted(const char *text, char *ret, size_t size, size_t used) {
    size_t n = hn_utf8_valid(text, strnlen(text, 40));
    if (used + n + 6 < size)
        used +=
            (size_t)snprintf(ret + used, size - used, "%s\"%.*s\"", used ? ", " : "", (int)n, text);
    return used;
}

/* The row's values for a message, as far as they are texts: "a", "b", "c". */
static void list_texts(const json_t *row, char *ret, size_t size) {
    const char *key;
    json_t *value;
    size_t used = 0;
    ret[0] = 0;
    json_object_foreach((json_t *)(uintptr_t)row, key, value)
        if (json_is_string(value))
            used = add_quoted(json_string_value(value), ret, size, used);
}

/* The row's columns for a message: "a", "b", "c". */
static void list_columns(const json_t *row, char *ret, size_t size) {
    const char *key;
    json_t *value;
    size_t used = 0;
    ret[0] = 0;
    json_object_foreach((json_t *)(uintptr_t)row, key, value)
        used = add_quoted(key, ret, size, used);
}

void hn_dataset_guess(struct hn_dataset *data, const json_t *row) {
    const struct hn_layout *layout = hn_layout_find(row, NULL);
    bool text = layout && hn_layout_columns(layout) == HN_ROWS_TEXT;
    json_t *found = data->given || (layout && !text) ? NULL : hn_usual_mapping(row, text);
    const char *name, *given[2] = {"", ""}, *ours[2] = {"", ""};
    json_t *value;
    size_t n = 0;
    if (!found)
        return;
    data->given = found;
    json_object_foreach(found, name, value) {
        ours[n] = name;
        given[n++] = json_string_value(value);
    }
    hn_issue_warn(&data->issues, "guessed_columns", 0,
        "by their names the columns \"%.80s\" and \"%.80s\" are taken as %s and %s; send columns= "
        "to say otherwise",
        given[0], given[1], ours[0], ours[1]);
}

#define NAMES_NEAR 64 /* columns among which the one that was meant is looked for */

/* A column that `columns` names and the first row does not have: most often a typing error. */
static bool refuse_missing(struct hn_dataset *data, const json_t *row, size_t line) {
    const char *names[NAMES_NEAR + 1] = {NULL}, *ours, *key;
    char columns[200];
    json_t *value;
    size_t n = 0;
    json_object_foreach((json_t *)(uintptr_t)row, key, value)
        if (n < NAMES_NEAR)
            names[n++] = key;
    json_object_foreach((json_t *)(uintptr_t)data->given, ours, value) {
        const char *theirs = json_string_value(value);
        if (!theirs || json_object_get(row, theirs))
            continue;
        const char *nearest = hn_word_nearest(theirs, names);
        list_columns(row, columns, sizeof columns);
        hn_issue_add(&data->issues, line, 0, "columns", "name a column of the file",
            "there is no column \"%.80s\", which is to be %s; the file has %s%s%.80s%s", theirs,
            ours, columns, nearest ? "; did you mean \"" : "", nearest ? nearest : "",
            nearest ? "\"?" : "");
        return true;
    }
    return false;
}

/* The first row has no columns that we know. */
static void refuse_columns(struct hn_dataset *data, const json_t *row, size_t line) {
    const char *first = json_string_value(json_array_get(data->header, 0));
    char columns[200];
    if (data->given && refuse_missing(data, row, line))
        return;
    if (first && strcmp(first, "col1") == 0) {
        list_texts(row, columns, sizeof columns);
        hn_issue_add(&data->issues, line, 0, "columns",
            "say which is which, by the names in the first line, which is then no row: "
            "columns={\"text\": \"message\", \"label\": \"category\"}; or, where it names none, by "
            "number: columns={\"prompt\": \"col1\", \"completion\": \"col2\"}",
            "which columns are meant is not recognised; the first line has %s", columns);
        return;
    }
    list_columns(row, columns, sizeof columns);
    hn_issue_add(&data->issues, line, 0, "columns",
        "use messages, prompt and completion, text, text and label …, or say which is which: "
        "columns={\"prompt\": \"question\", \"completion\": \"answer\"}",
        "the columns %s are not recognised", columns);
}

/* True when the row can be used. The first row that is recognised decides what all rows must be. */
static bool check_row(struct hn_dataset *data, const json_t *row, const struct hn_span *span) {
    if (!data->layout && !hn_layout_find(row, data->given))
        hn_dataset_guess(data, row);
    const json_t *given = data->given;
    const struct hn_layout *layout = hn_layout_find(row, given);
    struct hn_row_place place = {&data->issues, span->line};
    if (!data->layout && layout) {
        data->layout = layout;
        data->columns = hn_layout_columns(layout);
        data->mapping = hn_layout_mapping(layout, row, given);
    }
    if (!data->layout) {
        refuse_columns(data, row, span->line);
        return false;
    }
    if (layout && hn_layout_columns(layout) != data->columns &&
        !(data->columns == HN_ROWS_TEXT && hn_layout_columns(layout) == HN_ROWS_TEXT_LABEL)) {
        hn_issue_add(&data->issues, span->line, 0, "columns",
            "put rows of different kinds into different files",
            "this row has %s, but the rows before have %s", hn_layout_title(layout),
            hn_layout_title(data->layout));
        return false;
    }
    /* Of two spellings of one kind each row may use its own. */
    return hn_layout_check(
        layout && hn_layout_columns(layout) == data->columns ? layout : data->layout, row, given,
        &place);
}

static int refuse_table(const struct hn_dataset *data, struct hn_error *err) {
    size_t last = data->issues.n < HN_ISSUES_LISTED ? data->issues.n : HN_ISSUES_LISTED;
    const struct hn_issue *issue = &data->issues.list[last - 1];
    hn_fail(err, HN_E_DATASET_INVALID, "%s", issue->message);
    hn_error_hint(err, "%s", issue->hint);
    return HN_E_DATASET_INVALID;
}

static bool take_sample(
    const struct hn_dataset_options *options, json_t *row, const struct hn_span *span) {
    return json_array_size(options->sample) >= options->n_sample ||
        json_array_append_new(options->sample,
            json_pack("{s:I,s:O}", "line", (json_int_t)span->line, "row", row)) == 0;
}

static int read_rows(struct hn_dataset *data, const struct hn_dataset_options *options,
    struct hn_row_scan *scan, struct hn_error *err) {
    const struct hn_dataset_format *format = data->reader;
    struct hn_span span;
    size_t seen = 0;
    while (format->next(scan, &span)) {
        hn_pulse();
        struct hn_row_fault fault = {0};
        if (scan->at - seen > READ_BEHIND) { /* pages that were read need not stay in memory */
            madvise((void *)(uintptr_t)(data->map.data + seen), READ_BEHIND, MADV_DONTNEED);
            seen += READ_BEHIND;
        }
        if (span.line >= UINT32_MAX)
            return hn_fail(err, HN_E_TOO_LARGE, "the file has more than %u lines", UINT32_MAX);
        json_t *row = format->parse(data, &span, &fault);
        if (!row)
            hn_issue_add(
                &data->issues, fault.line, fault.column, "", fault.hint, "%s", fault.message);
        bool good = row && check_row(data, row, &span), unknown = row && !data->layout,
             taken = !row || take_sample(options, row, &span);
        json_decref(row);
        if (!taken)
            return hn_fail(err, HN_E_INTERNAL, "out of memory for the first rows");
        if (unknown && data->header && json_array_size(options->sample) >= options->n_sample)
            return refuse_table(data, err); /* the other rows have the same columns */
        if (!good)
            data->dropped++;
        else if (!keep_row(data, &span))
            return hn_fail(err, HN_E_INTERNAL, "out of memory for the index of the rows");
    }
    return 0;
}

/* Names the first lines that are left out, so that they can be looked at. */
static void warn_dropped(struct hn_dataset *data, size_t rows) {
    hn_issue_warn(&data->issues, "dropped_rows", 0,
        "%zu of %zu rows cannot be used and are left out; the first: %s", data->dropped, rows,
        data->issues.n ? data->issues.list[0].message : "");
    json_t *warning =
               json_array_get(data->issues.warnings, json_array_size(data->issues.warnings) - 1),
           *lines = json_array();
    for (size_t i = 0; i < data->issues.n && i < HN_ISSUES_LISTED; i++)
        json_array_append_new(lines, json_integer((json_int_t)data->issues.list[i].line));
    const char *code = json_string_value(json_object_get(warning, "code"));
    if (code && strcmp(code, "dropped_rows") == 0) /* else the list of warnings was full */
        json_object_set(warning, "lines", lines);
    json_decref(lines);
}

static int judge(
    struct hn_dataset *data, const struct hn_dataset_options *options, struct hn_error *err) {
    const struct hn_issue *first = &data->issues.list[0];
    size_t rows = data->n_rows + data->dropped;
    if (rows == 0 && data->issues.n == 0)
        return invalid(err, "a data set needs at least one row", "the file has no rows");
    if (data->issues.n && (!options->drop || data->n_rows == 0)) {
        char column[32] = "";
        if (first->column)
            snprintf(column, sizeof column, ", column %zu", first->column);
        hn_fail(err, HN_E_DATASET_INVALID,
            "%zu of %zu rows cannot be used; the first is line %zu%s: %s",
            data->dropped ? data->dropped : data->issues.n, rows, first->line, column,
            first->message);
        hn_error_hint(err, "%s%s", first->hint,
            data->n_rows ? "; or send on_error=drop to leave such rows out" : "");
        return HN_E_DATASET_INVALID;
    }
    if (data->dropped)
        warn_dropped(data, rows);
    if (data->n_rows < FEW_ROWS)
        hn_issue_warn(&data->issues, "few_rows", 0, "%zu row%s: very little to learn from",
            data->n_rows, data->n_rows == 1 ? "" : "s");
    return 0;
}

struct line_ends {
    size_t returns, feeds; /* returns: carriage returns without a line feed behind them */
    bool closed;           /* no quote was open at the end */
};

/* The line ends of a text, without those inside quoted fields. */
static struct line_ends count_line_ends(const char *text, size_t size, bool quotes) {
    struct line_ends ends = {.closed = true};
    bool start = true; /* of a field */
    for (size_t i = 0; i < size; i++) {
        char c = text[i];
        if (!ends.closed) {
            if (c == '"' && i + 1 < size && text[i + 1] == '"')
                i++;
            else
                ends.closed = c == '"';
            continue;
        }
        ends.closed = !(quotes && start && c == '"');
        start = (start && c == ' ') || (c && strchr(",;|\t\r\n", c));
        ends.feeds += c == '\n';
        size_t run = 0;
        while (i + run < size && text[i + run] == '\r')
            run++;
        if (i + run >= size || text[i + run] != '\n')
            ends.returns += run;
        i += run ? run - 1 : 0;
    }
    return ends;
}

/* '\r' in files of old Macs and of Excel for them, where line feeds stand inside quoted cells, and
 * at most at the very end. */
static char find_newline(const char *text, size_t size) {
    size_t part = size < LINE_ENDS_LOOK ? size : LINE_ENDS_LOOK;
    struct line_ends ends = count_line_ends(text, part, true);
    if (!ends.closed && part == size)
        ends = count_line_ends(text, part, false);
    bool last = ends.feeds == 1 && size && text[size - 1] == '\n';
    return ends.returns > (last ? 0 : 10 * ends.feeds) ? '\r' : '\n';
}

int hn_dataset_open(struct hn_dataset *ret, const char *path,
    const struct hn_dataset_options *options, struct hn_error *err) {
    static const struct hn_dataset_options none;
    const struct hn_dataset_format *format;
    struct hn_error local = {0};
    *ret = (struct hn_dataset){.issues.warnings = json_array()};
    options = options ? options : &none;
    int rc = hn_layout_check_mapping(options->columns, err);
    if (rc)
        return rc;
    if ((rc = hn_map_open(&ret->map, path, &local))) {
        if (rc == HN_E_INVALID_FIELD && strstr(local.message, "is empty"))
            return invalid(err, "a data set needs at least one row", "the file is empty");
        if (err)
            *err = local;
        return rc;
    }
    struct hn_row_scan scan = {.data = ret};
    ret->dialect.newline = find_newline((const char *)ret->map.data, ret->map.size);
    if ((rc = check_encoding(&scan, err)) ||
        (rc = choose_format(&scan, options->format, &format, err)))
        return rc;
    ret->format = format->name;
    ret->reader = format;
    ret->begin = scan.at;
    if (json_object_size(options->columns))
        ret->given = json_deep_copy(options->columns);
    if (format->begin && (rc = format->begin(&scan, err)))
        return rc;
    rc = read_rows(ret, options, &scan, err);
    return rc ? rc : judge(ret, options, err);
}

static int append(struct hn_dataset *data, struct hn_dataset *part, struct hn_error *err) {
    if (part->columns != data->columns) {
        hn_fail(err, HN_E_INVALID_FIELD, "it has %s, but the first has %s",
            hn_layout_title(part->layout), hn_layout_title(data->layout));
        hn_error_hint(err,
            "the data sets of one job need rows of one kind; map their columns when uploading");
        return HN_E_INVALID_FIELD;
    }
    struct hn_dataset *more = realloc(data->more, (data->n_more + 1) * sizeof *more);
    data->more = more ? more : data->more;
    if (!more ||
        !hn_grow(
            &data->lines, &data->lines_capacity, data->n_rows + part->n_rows, sizeof *data->lines))
        return hn_fail(err, HN_E_INTERNAL, "out of memory for the index of the rows");
    memcpy(data->lines + data->n_rows, part->lines, part->n_rows * sizeof *part->lines);
    part->first = data->n_rows;
    data->n_rows += part->n_rows;
    data->more[data->n_more++] = *part;
    return 0;
}

int hn_dataset_append(struct hn_dataset *data, const char *path,
    const struct hn_dataset_options *options, struct hn_error *err) {
    struct hn_dataset part;
    int rc = hn_dataset_open(&part, path, options, err);
    if (!rc)
        rc = append(data, &part, err);
    if (!rc)
        return 0;
    hn_dataset_close(&part);
    char prefix[32];
    snprintf(prefix, sizeof prefix, "data set %zu", data->n_more + 2);
    hn_error_prefix(err, prefix);
    return rc;
}

size_t hn_dataset_part(const struct hn_dataset *data, size_t row) {
    size_t part = data->n_more;
    while (part && row < data->more[part - 1].first)
        part--;
    return part;
}

void hn_dataset_close(struct hn_dataset *data) {
    for (size_t i = 0; i < data->n_more; i++)
        hn_dataset_close(&data->more[i]);
    free(data->more);
    hn_map_close(&data->map);
    json_decref(data->mapping);
    json_decref(data->given);
    json_decref(data->header);
    json_decref(data->issues.warnings);
    free(data->offsets);
    free(data->sizes);
    free(data->lines);
    free(data->parts);
    *data = (struct hn_dataset){0};
}

static struct hn_span span_of(const struct hn_dataset *data, size_t row) {
    return (struct hn_span){
        data->offsets[row], data->sizes[row], data->lines[row], data->parts[row]};
}

/* The row as its file has it, and which of the files that is. */
static int parse_row(const struct hn_dataset *data, size_t row, json_t **ret,
    const struct hn_dataset **ret_file, struct hn_error *err) {
    struct hn_row_fault fault = {0};
    hn_pulse();
    if (row >= data->n_rows) {
        hn_fail(err, HN_E_NOT_FOUND, "there is no row %zu; the data set has %zu", row + 1,
            data->n_rows);
        hn_error_field(err, "row");
        return HN_E_NOT_FOUND;
    }
    size_t part = hn_dataset_part(data, row);
    if (part)
        return parse_row(
            &data->more[part - 1], row - data->more[part - 1].first, ret, ret_file, err);
    struct hn_span span = span_of(data, row);
    json_t *raw = data->reader->parse(data, &span, &fault);
    if (!raw)
        return hn_fail(err, HN_E_DATASET_INVALID, "line %zu: %s", fault.line, fault.message);
    *ret = raw;
    *ret_file = data;
    return 0;
}

int hn_dataset_row(const struct hn_dataset *data, size_t row, json_t **ret, struct hn_error *err) {
    json_t *raw = NULL;
    int rc = parse_row(data, row, &raw, &data, err);
    if (rc)
        return rc;
    const struct hn_layout *layout = hn_layout_find(raw, data->given);
    if (!layout || hn_layout_columns(layout) != data->columns)
        layout = data->layout;
    json_t *out = hn_layout_convert(layout, raw, data->given);
    json_decref(raw);
    if (!out)
        return hn_fail(err, HN_E_INTERNAL, "out of memory");
    *ret = out;
    return 0;
}

int hn_dataset_column(const struct hn_dataset *data, size_t row, const char *column, json_t **ret,
    struct hn_error *err) {
    const struct hn_dataset *file;
    json_t *raw = NULL;
    int rc = parse_row(data, row, &raw, &file, err);
    if (!rc)
        *ret = column ? json_incref(json_object_get(raw, column)) : json_incref(raw);
    json_decref(raw);
    return rc;
}

size_t hn_dataset_row_from(const struct hn_dataset *data, uint64_t line) {
    size_t low = 0, high = data->n_more ? data->more[0].first : data->n_rows;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (data->lines[middle] < line)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

void hn_row_cut_lines(const struct hn_dataset *data, const struct hn_span *span,
    const struct hn_extent *before, struct hn_extent *ret) {
    const char *text = (const char *)data->map.data;
    size_t from = span->offset, to = span->offset + span->size;
    (void)before;
    while (from > data->begin && text[from - 1] != data->dialect.newline)
        from--;
    while (to < data->map.size && text[to] != data->dialect.newline)
        to++;
    *ret = (struct hn_extent){from, to + (to < data->map.size)};
}

bool hn_dataset_cut(const struct hn_dataset *data, size_t row, const struct hn_extent *before,
    struct hn_extent *ret) {
    struct hn_span span = span_of(data, row);
    if (data->reader->cut)
        data->reader->cut(data, &span, before, ret);
    return data->reader->cut != NULL;
}

bool hn_dataset_respell(const struct hn_dataset *data, size_t row, const char *column,
    const json_t *value, struct hn_extent *ret, struct hn_buf *out) {
    struct hn_span span = span_of(data, row);
    return data->reader->respell && data->reader->respell(data, &span, column, value, ret, out) &&
        !out->failed;
}

const char *const *hn_dataset_tasks(const struct hn_dataset *data) {
    static const char *const none[] = {NULL};
    return data->layout ? hn_layout_tasks(data->layout) : none;
}
