/*
 * Rows in separated columns: CSV by RFC 4180 (comma, semicolon or bar, recognised), and TSV.
 *
 * The first record is a header if it names a column we know, in whatever letters, or one that the
 * mapping names; otherwise the columns are col1, col2 …. Two columns, one of which has few distinct
 * values, are taken as text and label, with a warning, and so is what stands beside a column called
 * label. In TSV a quote is a character like any other, unless a field begins and ends with one and
 * those inside are doubled, as spreadsheets write it; such a field may hold line ends but no tabs.
 * Every field is a text; whether labels are names or numbers is decided for the whole column
 * (label_survey.h).
 */
#include "engine/data/dataset_internal.h"
#include "engine/data/rows.h"
#include "engine/base/utf8.h"

#include <ctype.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define SAMPLE_RECORDS 20  /* looked at to recognise the delimiter */
#define GUESS_RECORDS 5000 /* looked at to recognise a column of labels */
#define LABELS_MAX 64      /* distinct values a column of labels may have */
#define COLUMNS_MAX 1000

/* End of a TSV's field that begins with a quote, if it is a cell of several lines: up to a quote
 * before a tab or line end, with no tab on the way. Else 0. */
static size_t cell_end(const char *text, size_t size, size_t at, struct hn_dialect d) {
    bool broken = false; /* over several lines */
    for (at++; at < size && text[at] != d.delimiter; at++) {
        broken |= text[at] == d.newline || text[at] == '\n';
        if (text[at] != '"')
            continue;
        if (at + 1 < size && text[at + 1] == '"') {
            at++;
            continue;
        }
        for (at++; at < size && text[at] == '\r' && d.newline != '\r';)
            at++;
        return broken && (at == size || text[at] == d.delimiter || text[at] == d.newline) ? at : 0;
    }
    return 0;
}

/* End of the field that begins at text[at]: the delimiter or line end behind it. *closed is false
 * when a quote is open. */
static size_t field_end(
    const char *text, size_t size, size_t at, struct hn_dialect d, bool *closed) {
    *closed = true;
    if (d.delimiter != '\t' && at < size && text[at] == '"') {
        const char *quote;
        for (at++; (quote = memchr(text + at, '"', size - at)); at += 2) {
            at = (size_t)(quote - text);
            if (at + 1 >= size || text[at + 1] != '"')
                break;
        }
        if (!quote) {
            *closed = false;
            return size;
        }
        at++;
    } else if (at < size && text[at] == '"') {
        size_t end = cell_end(text, size, at, d);
        at = end ? end : at;
    }
    while (at < size && text[at] != d.delimiter && text[at] != d.newline)
        at++;
    return at;
}

/* End of the record that begins at text[at]; counts its fields. */
static size_t record_end(const char *text, size_t size, size_t at, struct hn_dialect d,
    size_t *ret_fields, bool *closed) {
    for (*ret_fields = 1;; ++*ret_fields, at++) {
        at = field_end(text, size, at, d, closed);
        if (at >= size || text[at] == d.newline)
            return at;
    }
}

/* A record of nothing but what line ends leave. */
static bool is_empty_record(const char *text, size_t begin, size_t end) {
    while (begin < end && (text[begin] == '\r' || text[begin] == '\n'))
        begin++;
    return begin == end;
}

/* The text of the field text[begin, end), without its quotes; a record's line end is not in it. */
static void field_text(const char *text, size_t begin, size_t end, struct hn_buf *out) {
    bool quoted = end - begin >= 2 && text[begin] == '"' && text[end - 1] == '"';
    for (size_t i = begin + 1; quoted && i + 1 < end; i++)
        if (text[i] == '"' && (i + 2 >= end || text[++i] != '"'))
            quoted = false;
    if (!quoted) {
        hn_buf_append(out, text + begin, end - begin);
        return;
    }
    for (size_t i = begin + 1; i + 1 < end; i++) {
        hn_buf_char(out, text[i]);
        i += text[i] == '"';
    }
}

/* Fields of one record as a list of strings; NULL when memory or UTF-8 fails. */
static json_t *read_fields(const char *text, size_t size, struct hn_dialect d) {
    json_t *fields = json_array();
    struct hn_buf field = {0};
    bool closed = true;
    while (size && text[size - 1] == '\r') /* more than one: "\n" was written as "\r\n" twice */
        size--;
    for (size_t at = 0; fields; at++) {
        size_t end = field_end(text, size, at, d, &closed);
        hn_buf_clear(&field);
        hn_buf_append(&field, "", 0);
        field_text(text, at, end, &field);
        json_t *value = field.failed ? NULL : json_stringn(field.data, field.size);
        if (!value || json_array_append_new(fields, value)) {
            json_decref(fields);
            fields = NULL;
        }
        at = end;
        if (at >= size)
            break;
    }
    hn_buf_free(&field);
    return fields;
}

/* How many of the first records have the same number of fields, more than one, with this delimiter;
 * 0 if not all. */
static size_t steady_fields(const char *text, size_t size, struct hn_dialect d) {
    size_t at = 0, first = 0, records = 0;
    while (at < size && records < SAMPLE_RECORDS) {
        size_t fields;
        bool closed;
        size_t end = record_end(text, size, at, d, &fields, &closed);
        if (!closed && records)
            break; /* a broken row says nothing about the others */
        if (!is_empty_record(text, at, end)) {
            first = records++ ? first : fields;
            if (fields != first || fields > COLUMNS_MAX || !closed)
                return 0;
        }
        at = end + 1;
    }
    return first > 1 ? first : 0;
}

static bool is_mapped(const char *name, const json_t *mapping) {
    const char *key;
    json_t *value;
    json_object_foreach((json_t *)(uintptr_t)mapping, key, value)
        if (json_is_string(value) && strcmp(json_string_value(value), name) == 0)
            return true;
    return false;
}

static bool names_column(const json_t *fields, const json_t *mapping) {
    const json_t *field;
    size_t i;
    json_array_foreach((json_t *)(uintptr_t)fields, i, field)
        if (hn_layout_knows(json_string_value(field)) ||
            is_mapped(json_string_value(field), mapping))
            return true;
    return false;
}

/* The first record, with names that we know as we write them: " Text" is text. */
static json_t *read_header(
    const char *text, size_t size, struct hn_dialect d, const json_t *mapping) {
    json_t *header = read_fields(text, size, d), *field;
    size_t i;
    json_array_foreach(header, i, field) {
        char plain[32];
        const char *name = json_string_value(field);
        if (is_mapped(name, mapping))
            continue;
        name += strspn(name, " ");
        size_t n = strcspn(name, " ");
        if (n >= sizeof plain || name[n + strspn(name + n, " ")])
            continue;
        for (size_t k = 0; k <= n; k++)
            plain[k] = k < n ? (char)tolower((unsigned char)name[k]) : 0;
        if (hn_layout_knows(plain))
            json_array_set_new(header, i, json_string(plain));
    }
    return header;
}

/* A first record that names a column we know says what the delimiter is, however odd the rows
 * behind it are. A single column is CSV's, called text: any line of a text is one field. */
static bool has_header(const char *text, size_t size, struct hn_dialect d) {
    size_t fields;
    bool closed;
    size_t end = record_end(text, size, 0, d, &fields, &closed);
    if (!closed || fields > COLUMNS_MAX || end > HN_ROW_MAX || hn_utf8_valid(text, end) != end)
        return false;
    json_t *first = read_header(text, end, d, NULL);
    bool named = fields > 1 ? names_column(first, NULL)
                            : d.delimiter == ',' && first &&
            strcmp(json_string_value(json_array_get(first, 0)), "text") == 0;
    json_decref(first);
    return named;
}

static size_t score(const char *text, size_t size, struct hn_dialect d) {
    return has_header(text, size, d) ? COLUMNS_MAX + 1 : steady_fields(text, size, d);
}

/* Spreadsheets can begin with a line that names the delimiter: "sep=;". Its size, with its end; 0
 * without one. */
static size_t named_delimiter(const char *text, size_t size, char newline, char *ret) {
    size_t end = 5;
    if (size < 6 || strncasecmp(text, "sep=", 4) != 0)
        return 0;
    while (end < size && text[end] == '\r' && newline != '\r')
        end++;
    if (end >= size || text[end] != newline)
        return 0;
    *ret = text[4];
    return end + 1;
}

static bool is_tsv(const char *text, size_t size, char newline) {
    char named;
    return named_delimiter(text, size, newline, &named)
        ? named == '\t'
        : score(text, size, (struct hn_dialect){'\t', newline}) > 0;
}

static char find_delimiter(const char *text, size_t size, char newline) {
    static const char candidates[] = ",;|\t";
    char best = 0;
    size_t most = 0;
    if (named_delimiter(text, size, newline, &best))
        return best;
    for (const char *c = candidates; *c; c++) {
        size_t fields = score(text, size, (struct hn_dialect){*c, newline});
        if (fields > most) {
            most = fields;
            best = *c;
        }
    }
    return best;
}

static bool is_csv(const char *text, size_t size, char newline) {
    return find_delimiter(text, size, newline) != 0;
}

static json_t *numbered_header(size_t columns) {
    json_t *header = json_array();
    char name[32];
    for (size_t i = 1; i <= columns; i++) {
        snprintf(name, sizeof name, "col%zu", i);
        json_array_append_new(header, json_string(name));
    }
    return header;
}

/* Distinct values of both columns and how often each was seen, as far as they are few. */
struct guess {
    json_t *values[2]; /* value → number */
    size_t records;
    bool many[2];
};

static void look(struct guess *g, const json_t *fields) {
    for (size_t i = 0; i < 2; i++) {
        const char *value = json_string_value(json_array_get(fields, i));
        if (!value || strlen(value) > 64 || json_object_size(g->values[i]) > LABELS_MAX)
            g->many[i] = true;
        else
            json_object_set_new(g->values[i], value,
                json_integer(1 + json_integer_value(json_object_get(g->values[i], value))));
    }
    g->records++;
}

static bool few(const struct guess *g, size_t column) {
    size_t distinct = json_object_size(g->values[column]);
    return !g->many[column] && distinct > 1 && distinct <= LABELS_MAX && distinct * 5 <= g->records;
}

/* One word or two, as columns are named. */
static bool is_name(const char *text) {
    size_t n = 0, spaces = 0;
    for (; isalnum((unsigned char)text[n]) || (text[n] && strchr("_-. ", text[n])); n++)
        spaces += text[n] == ' ';
    return isalpha((unsigned char)text[0]) && !text[n] && n <= 40 && spaces <= 1;
}

/* A first record of names whose label no other record has. */
static bool is_header(const struct guess *g, const json_t *first, size_t label) {
    const char *names[2] = {
        json_string_value(json_array_get(first, 0)), json_string_value(json_array_get(first, 1))};
    return is_name(names[0]) && is_name(names[1]) &&
        json_integer_value(json_object_get(g->values[label], names[label])) == 1;
}

/* Two columns that nothing names: ["text", "label"], ["label", "text"], or NULL. *ret_named:
 * `first` names them after all, in other words. */
static json_t *guess_header(
    const struct hn_row_scan *scan, const json_t *first_record, bool *ret_named) {
    const char *text = (const char *)scan->data->map.data;
    size_t size = scan->data->map.size, at = scan->at, fields;
    const struct hn_dialect d = scan->data->dialect;
    struct guess g = {.values = {json_object(), json_object()}};
    bool closed = true;
    while (at < size && g.records < GUESS_RECORDS && closed) {
        size_t end = record_end(text, size, at, d, &fields, &closed);
        json_t *list =
            fields == 2 && end - at < HN_ROW_MAX ? read_fields(text + at, end - at, d) : NULL;
        if (list)
            look(&g, list);
        json_decref(list);
        at = end + 1;
    }
    bool first = few(&g, 0), second = few(&g, 1);
    if (first && second)
        first = json_object_size(g.values[0]) < json_object_size(g.values[1]);
    *ret_named = (first || second) && is_header(&g, first_record, first ? 0 : 1);
    json_decref(g.values[0]);
    json_decref(g.values[1]);
    return first ? json_pack("[s, s]", "label", "text")
        : second ? json_pack("[s, s]", "text", "label")
                 : NULL;
}

/* Nobody has said what the columns are, or only what was guessed when the file was taken in. */
static bool may_guess(const json_t *given) {
    const char *key;
    json_t *value;
    json_object_foreach((json_t *)(uintptr_t)given, key, value) {
        const char *name = json_string_value(value);
        if (!name || (strcmp(name, "text") != 0 && strcmp(name, "label") != 0))
            return false;
    }
    return true;
}

/* Names must differ, or a row could not be an object. */
static bool all_differ(const json_t *header) {
    const json_t *name;
    size_t i;
    json_t *seen = json_object();
    json_array_foreach((json_t *)(uintptr_t)header, i, name)
        json_object_set_new(seen, json_string_value(name), json_true());
    bool differ = json_object_size(seen) == json_array_size(header);
    json_decref(seen);
    return differ;
}

/* Of two columns one is the label: the other is its text, whatever it is called. */
static void complete_header(struct hn_dataset *data, json_t *header) {
    const char *names[2] = {
        json_string_value(json_array_get(header, 0)), json_string_value(json_array_get(header, 1))};
    if (json_array_size(header) != 2 || !may_guess(data->given))
        return;
    size_t other = strcmp(names[0], "label") == 0 ? 1 : 0;
    if (strcmp(names[1 - other], "label") != 0 || hn_layout_knows(names[other]))
        return;
    hn_issue_warn(&data->issues, "guessed_columns", 0,
        "the column \"%.80s\" is taken as the text of the label", names[other]);
    json_array_set_new(header, other, json_string("text"));
}

/* Two columns without a name that we know: text and label, as far as their values look like it. */
static void guess_columns(struct hn_row_scan *scan, const json_t *first, bool *ret_named) {
    struct hn_dataset *data = scan->data;
    data->header = guess_header(scan, first, ret_named);
    if (data->header)
        hn_issue_warn(&data->issues, "guessed_columns", 0,
            "%s; column %s is taken as the label, the other as the text",
            *ret_named ? "the first line is taken as a header" : "the file has no header",
            strcmp(json_string_value(json_array_get(data->header, 0)), "label") == 0 ? "1" : "2");
}

static void skip_record(struct hn_row_scan *scan, size_t end) {
    for (size_t i = scan->at; i < end; i++)
        scan->line += scan->data->map.data[i] == scan->data->dialect.newline;
    scan->line++;
    scan->at = end < scan->data->map.size ? end + 1 : scan->data->map.size;
}

/* Names that columns of texts and labels have elsewhere: a record of nothing else is a header, even
 * where columns are mapped by their numbers. */
static bool is_usual_header(const json_t *fields) {
    static const char usual[] =
        " id index no number date time name title body content message review comment sentence "
        "sentence1 sentence2 document article abstract summary text label labels class category "
        "target sentiment rating score stars intent tag tags emotion topic prompt completion "
        "question answer answers context input output instruction response query reply source "
        "translation system user assistant human bot ";
    const json_t *field;
    size_t i;
    json_array_foreach((json_t *)(uintptr_t)fields, i, field) {
        char word[40];
        const char *name = json_string_value(field);
        size_t n = strlen(name);
        if (n == 0 || n > sizeof word - 3)
            return false;
        snprintf(word, sizeof word, " %s ", name);
        for (char *c = word; *c; c++)
            *c = (char)tolower((unsigned char)*c);
        if (strpbrk(name, " ") || !strstr(usual, word))
            return false;
    }
    return json_array_size(fields) > 1;
}

static int begin(struct hn_row_scan *scan, char delimiter, struct hn_error *err) {
    struct hn_dataset *data = scan->data;
    const char *text = (const char *)data->map.data;
    size_t size = data->map.size, fields;
    bool closed;
    size_t naming =
        named_delimiter(text + scan->at, size - scan->at, data->dialect.newline, &delimiter);
    data->dialect.delimiter = delimiter;
    const struct hn_dialect d = data->dialect;
    if (naming)
        skip_record(scan, scan->at + naming - 1);
    size_t end = record_end(text, size, scan->at, d, &fields, &closed);
    if (!closed || fields > COLUMNS_MAX || end - scan->at > HN_ROW_MAX ||
        hn_utf8_valid(text + scan->at, end - scan->at) != end - scan->at) {
        hn_fail(err, HN_E_DATASET_INVALID, "the first line is no line of columns");
        hn_error_hint(err, "save the file as CSV in UTF-8, with a header such as text,label");
        return HN_E_DATASET_INVALID;
    }
    json_t *first = read_header(text + scan->at, end - scan->at, d, data->given);
    bool named = first && names_column(first, data->given) && all_differ(first);
    if (named) {
        complete_header(data, first);
        data->header = json_incref(first);
    } else if (first && fields == 2 && may_guess(data->given)) {
        guess_columns(scan, first, &named);
    }
    if (!data->header) {
        data->header = numbered_header(fields);
        named = first && is_usual_header(first);
        if (named)
            hn_issue_warn(&data->issues, "guessed_columns", 1,
                "the first line is taken as a header, whose names are not used");
    }
    json_decref(first);
    if (named) {
        scan->header = (struct hn_span){.offset = scan->at, .size = end - scan->at};
        skip_record(scan, end);
    }
    return data->header ? 0 : hn_fail(err, HN_E_INTERNAL, "out of memory");
}

static int begin_csv(struct hn_row_scan *scan, struct hn_error *err) {
    char delimiter = find_delimiter((const char *)scan->data->map.data + scan->at,
        scan->data->map.size - scan->at, scan->data->dialect.newline);
    return begin(scan, delimiter ? delimiter : ',', err);
}

static int begin_tsv(struct hn_row_scan *scan, struct hn_error *err) {
    return begin(scan, '\t', err);
}

/* As in files that were put together of several. */
static bool is_header_again(const struct hn_row_scan *scan, size_t begin, size_t end) {
    const char *text = (const char *)scan->data->map.data, *header = text + scan->header.offset;
    size_t n = scan->header.size, size = end - begin;
    while (n && header[n - 1] == '\r')
        n--;
    while (size && text[begin + size - 1] == '\r')
        size--;
    return n && n == size && memcmp(header, text + begin, n) == 0;
}

static bool next_record(struct hn_row_scan *scan, struct hn_span *ret) {
    struct hn_dataset *data = scan->data;
    const struct hn_dialect d = data->dialect;
    const char *text = (const char *)data->map.data;
    size_t size = data->map.size;
    while (d.newline == '\r' && size && text[size - 1] == '\n')
        size--;
    while (scan->at < size) {
        size_t begin = scan->at, end, fields, line = scan->line + 1;
        const char *newline = memchr(text + begin, d.newline, size - begin);
        bool closed = true;
        end = newline ? (size_t)(newline - text) : size;
        if (!scan->by_line) {
            size_t whole = record_end(text, size, begin, d, &fields, &closed);
            if (closed && whole - begin <= HN_ROW_MAX) {
                end = whole;
            } else {
                /* go on line by line: no later quote can be trusted, and the search must not be
                 * repeated */
                scan->by_line = true;
                hn_issue_add(&data->issues, line, 0, "",
                    "double the quotes inside a field, and close the field with a quote",
                    "a quote that is opened in this row is never closed");
            }
        }
        for (size_t i = begin; i < end; i++)
            scan->line += text[i] == d.newline;
        scan->line++;
        scan->at = end < size ? end + 1 : size;
        if (is_empty_record(text, begin, end))
            continue;
        if (is_header_again(scan, begin, end)) {
            hn_issue_warn(&data->issues, "repeated_header", line,
                "lines that are the header once more are left out");
            continue;
        }
        *ret = (struct hn_span){begin, end - begin, line, 0};
        return true;
    }
    return false;
}

static json_t *parse_record(
    const struct hn_dataset *data, const struct hn_span *span, struct hn_row_fault *fault) {
    const char *text = (const char *)data->map.data + span->offset;
    size_t good = span->size > HN_ROW_MAX ? span->size : hn_utf8_valid(text, span->size),
           columns = json_array_size(data->header);
    *fault = (struct hn_row_fault){.line = span->line,
        .hint = "every row needs the same columns; put texts with delimiters into quotes"};
    if (span->size > HN_ROW_MAX) {
        snprintf(fault->message, sizeof fault->message,
            "the row has %zu bytes; more than %zu are not accepted", span->size, HN_ROW_MAX);
        return NULL;
    }
    if (good < span->size) {
        fault->column = good + 1;
        fault->hint = "save the file as UTF-8";
        snprintf(fault->message, sizeof fault->message,
            "the byte 0x%02X is not valid UTF-8 text here", (unsigned char)text[good]);
        return NULL;
    }
    json_t *fields = read_fields(text, span->size, data->dialect), *row = NULL;
    if (!fields || json_array_size(fields) != columns) {
        snprintf(fault->message, sizeof fault->message,
            "the row has %zu columns; there should be %zu", json_array_size(fields), columns);
        json_decref(fields);
        return NULL;
    }
    row = json_object();
    for (size_t i = 0; i < columns; i++)
        json_object_set(
            row, json_string_value(json_array_get(data->header, i)), json_array_get(fields, i));
    json_decref(fields);
    return row;
}

const struct hn_dataset_format hn_format_csv = {
    "csv", is_csv, begin_csv, next_record, parse_record};
const struct hn_dataset_format hn_format_tsv = {
    "tsv", is_tsv, begin_tsv, next_record, parse_record};
