/*
 * Rows in separated columns: CSV by RFC 4180 (comma, semicolon or bar, recognised), and TSV.
 *
 * The first record is a header if it names a column we know, in whatever letters, or one that the
 * mapping names; otherwise the columns are col1, col2 …. Two columns, one of which has few
 * distinct values or numbers below a name, are taken as text and label, with a warning, and so is
 * what stands beside a column called label. In TSV a quote is a character like any other, unless a
 * field begins and ends with one and those inside are doubled, as spreadsheets write it; such a
 * field may hold line ends but no tabs. Every field is a text; whether labels are names or numbers
 * is decided for the whole column (label_survey.h).
 */
#include "engine/data/csv_header.h"
#include "engine/data/label_survey.h"
#include "engine/data/rows.h"
#include "engine/base/utf8.h"

#include <ctype.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#define SAMPLE_RECORDS 20 /* looked at to recognise the delimiter */
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

static size_t skip_spaces(const char *text, size_t size, size_t at) {
    while (at < size && text[at] == ' ')
        at++;
    return at;
}

/* Behind the quote that closes the one at text[at]; 0 without one. */
static size_t quote_end(const char *text, size_t size, size_t at) {
    const char *quote;
    for (at++; (quote = memchr(text + at, '"', size - at)); at += 2) {
        at = (size_t)(quote - text);
        if (at + 1 >= size || text[at + 1] != '"')
            return at + 1;
    }
    return 0;
}

/* End of a CSV's field that is quoted behind blanks (a, "b"), before a delimiter or line end; 0 if
 * it is no such field. */
static size_t indented_end(const char *text, size_t size, size_t at, struct hn_dialect d) {
    size_t open = skip_spaces(text, size, at),
           end = open < size && text[open] == '"' ? quote_end(text, size, open) : 0;
    if (!end)
        return 0;
    end = skip_spaces(text, size, end);
    while (end < size && text[end] == '\r' && d.newline != '\r')
        end++;
    return end == size || text[end] == d.delimiter || text[end] == d.newline ? end : 0;
}

/* End of the field that begins at text[at]: the delimiter or line end behind it. *closed is false
 * when a quote is open. */
static size_t field_end(
    const char *text, size_t size, size_t at, struct hn_dialect d, bool *closed) {
    size_t end = at;
    *closed = true;
    if (d.delimiter != '\t' && at < size && text[at] == '"') {
        end = quote_end(text, size, at);
        if (!end) {
            *closed = false;
            return size;
        }
    } else if (at < size && text[at] == '"') {
        end = cell_end(text, size, at, d);
    } else if (d.delimiter != '\t' && at < size && text[at] == ' ') {
        end = indented_end(text, size, at, d);
    }
    at = end ? end : at;
    while (at < size && text[at] != d.delimiter && text[at] != d.newline)
        at++;
    return at;
}

/* End of the record that begins at text[at]; counts its fields. */
size_t hn_csv_record_end(const char *text, size_t size, size_t at, struct hn_dialect d,
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
static void field_text(
    const char *text, size_t begin, size_t end, struct hn_dialect d, struct hn_buf *out) {
    size_t first = begin, last = end; /* without the blanks around quotes */
    if (d.delimiter != '\t') {
        first = skip_spaces(text, end, begin);
        while (last > first && text[last - 1] == ' ')
            last--;
    }
    bool quoted = last - first >= 2 && text[first] == '"' && text[last - 1] == '"';
    for (size_t i = first + 1; quoted && i + 1 < last; i++)
        if (text[i] == '"' && (i + 2 >= last || text[++i] != '"'))
            quoted = false;
    if (!quoted) {
        hn_buf_append(out, text + begin, end - begin);
        return;
    }
    for (size_t i = first + 1; i + 1 < last; i++) {
        hn_buf_char(out, text[i]);
        i += text[i] == '"';
    }
}

/* Fields of one record as a list of strings; NULL when memory or UTF-8 fails. */
json_t *hn_csv_read_fields(const char *text, size_t size, struct hn_dialect d) {
    json_t *fields = json_array();
    struct hn_buf field = {0};
    bool closed = true;
    while (size && text[size - 1] == '\r') /* more than one: "\n" was written as "\r\n" twice */
        size--;
    for (size_t at = 0; fields; at++) {
        size_t end = field_end(text, size, at, d, &closed);
        hn_buf_clear(&field);
        hn_buf_append(&field, "", 0);
        field_text(text, at, end, d, &field);
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
        size_t end = hn_csv_record_end(text, size, at, d, &fields, &closed);
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

/* The first record, with names that we know as we write them: " Text" is text; the empty names of a
 * spreadsheet's empty columns are their numbers. */
static json_t *read_header(
    const char *text, size_t size, struct hn_dialect d, const json_t *mapping) {
    json_t *header = hn_csv_read_fields(text, size, d), *field;
    size_t i;
    json_array_foreach(header, i, field) {
        char plain[32];
        const char *name = json_string_value(field);
        if (!*name && json_array_size(header) > 1) {
            snprintf(plain, sizeof plain, "col%zu", i + 1);
            json_array_set_new(header, i, json_string(plain));
            continue;
        }
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
    size_t end = hn_csv_record_end(text, size, 0, d, &fields, &closed);
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

/* The first name that stands twice, or NULL. Names must differ, or a row could not be an object. */
static const char *find_twice(const json_t *header) {
    const json_t *name;
    const char *twice = NULL;
    size_t i;
    json_t *seen = json_object();
    json_array_foreach((json_t *)(uintptr_t)header, i, name) {
        if (!twice && json_object_get(seen, json_string_value(name)))
            twice = json_string_value(name);
        json_object_set_new(seen, json_string_value(name), json_true());
    }
    json_decref(seen);
    return twice;
}

/* Columns are mapped by their numbers: the header's names do not matter. */
static bool maps_numbers(const json_t *mapping) {
    const char *key;
    json_t *value;
    json_object_foreach((json_t *)(uintptr_t)mapping, key, value) {
        const char *name = json_string_value(value);
        if (name && strncmp(name, "col", 3) == 0 && isdigit((unsigned char)name[3]))
            return true;
    }
    return false;
}

/* Of two columns one is the label, or the text: the other is its text, whatever it is called, or
 * its label, if its values look like it. */
static void complete_header(const struct hn_row_scan *scan, json_t *header) {
    struct hn_dataset *data = scan->data;
    static const char *const known[] = {"label", "text"};
    if (json_array_size(header) != 2 || !may_guess(data->given))
        return;
    for (size_t i = 0; i < 4; i++) {
        size_t other = i % 2, here = i / 2;
        const char *name = json_string_value(json_array_get(header, other));
        if (strcmp(json_string_value(json_array_get(header, 1 - other)), known[here]) != 0 ||
            hn_layout_knows(name) || (here == 1 && !hn_csv_looks_like_labels(scan, other)))
            continue;
        hn_issue_warn(&data->issues, "guessed_columns", 0,
            "the column \"%.80s\" is taken as the %s of the %s", name, known[1 - here],
            known[here]);
        json_array_set_new(header, other, json_string(known[1 - here]));
        return;
    }
}

/* Two columns without a name that we know: text and label, as far as their values look like it. */
static void guess_columns(struct hn_row_scan *scan, const json_t *first, bool *ret_named) {
    struct hn_dataset *data = scan->data;
    data->header = hn_csv_guess_header(scan, first, ret_named);
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

/* Whether names that columns usually have say which is which. */
static bool guess_names(struct hn_dataset *data, const json_t *first) {
    json_t *row = data->given ? NULL : json_object();
    const json_t *name;
    size_t i;
    if (!row)
        return false;
    json_array_foreach((json_t *)(uintptr_t)first, i, name)
        json_object_set_new(row, json_string_value(name), json_null());
    if (json_object_size(row) == json_array_size(first))
        hn_dataset_guess(data, row);
    json_decref(row);
    return data->given;
}

/* The columns' names, from the first record or else; *ret_named: the record names them, and is no
 * row. */
static int name_columns(
    struct hn_row_scan *scan, json_t *first, bool *ret_named, struct hn_error *err) {
    struct hn_dataset *data = scan->data;
    bool named = names_column(first, data->given);
    const char *twice = named ? find_twice(first) : NULL;
    if (twice && !maps_numbers(data->given)) {
        hn_fail(err, HN_E_DATASET_INVALID, "two columns of the header are called \"%.80s\"", twice);
        hn_error_hint(err,
            "give every column a name of its own, or say which is which by their "
            "numbers: columns={\"text\": \"col1\", \"label\": \"col2\"}");
        return HN_E_DATASET_INVALID;
    }
    named = named && !twice;
    if (named) {
        complete_header(scan, first);
        guess_names(data, first);
        data->header = json_incref(first);
    } else if (json_array_size(first) == 2 && may_guess(data->given)) {
        guess_columns(scan, first, &named);
    }
    if (!data->header &&
        (guess_names(data, first) ||
            (!data->given && !find_twice(first) && hn_csv_is_usual_header(first)))) {
        named = true;
        data->header = json_incref(first);
    }
    if (!data->header) {
        data->header = numbered_header(json_array_size(first));
        named = hn_csv_is_usual_header(first) || hn_csv_is_mapped_header(scan, first);
        if (named)
            hn_issue_warn(&data->issues, "guessed_columns", 1,
                "the first line is taken as a header, whose names are not used");
    }
    *ret_named = named;
    return data->header ? 0 : hn_fail(err, HN_E_INTERNAL, "out of memory");
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
    size_t end = hn_csv_record_end(text, size, scan->at, d, &fields, &closed);
    if (!closed || fields > COLUMNS_MAX || end - scan->at > HN_ROW_MAX ||
        hn_utf8_valid(text + scan->at, end - scan->at) != end - scan->at) {
        hn_fail(err, HN_E_DATASET_INVALID, "the first line is no line of columns");
        hn_error_hint(err, "save the file as CSV in UTF-8, with a header such as text,label");
        return HN_E_DATASET_INVALID;
    }
    json_t *first = read_header(text + scan->at, end - scan->at, d, data->given);
    bool named = false;
    int rc = first ? name_columns(scan, first, &named, err)
                   : hn_fail(err, HN_E_INTERNAL, "out of memory");
    json_decref(first);
    if (rc)
        return rc;
    if (named) {
        scan->header = (struct hn_span){.offset = scan->at, .size = end - scan->at};
        skip_record(scan, end);
    }
    return 0;
}

static int begin_csv(struct hn_row_scan *scan, struct hn_error *err) {
    char delimiter = find_delimiter((const char *)scan->data->map.data + scan->at,
        scan->data->map.size - scan->at, scan->data->dialect.newline);
    return begin(scan, delimiter ? delimiter : ',', err);
}

static int begin_tsv(struct hn_row_scan *scan, struct hn_error *err) {
    struct hn_dataset *data = scan->data;
    const char *text = (const char *)data->map.data + scan->at;
    if (hn_looks_like_conll(text, data->map.size - scan->at, data->dialect.newline))
        hn_issue_warn(&data->issues, "looks_like_conll", 0,
            "empty lines between blocks of words in columns look like CoNLL, whose rows are "
            "sentences of tagged words: send format=conll");
    return begin(scan, '\t', err);
}

/* The first character of a record in small letters, behind quotes and blanks. */
static int first_letter(const char *text, size_t size) {
    size_t at = 0;
    while (at < size && (text[at] == '"' || text[at] == ' '))
        at++;
    return at < size ? tolower((unsigned char)text[at]) : 0;
}

/* As in files that were put together of several: the same names, whatever their quotes, blanks
 * around them, and case. */
static bool is_header_again(const struct hn_row_scan *scan, size_t begin, size_t end) {
    const char *text = (const char *)scan->data->map.data, *header = text + scan->header.offset;
    const struct hn_dialect d = scan->data->dialect;
    size_t n = scan->header.size, size = end - begin, i;
    while (n && header[n - 1] == '\r')
        n--;
    while (size && text[begin + size - 1] == '\r')
        size--;
    if (n && n == size && memcmp(header, text + begin, n) == 0)
        return true;
    if (!n || size > 2 * n + 64 || first_letter(header, n) != first_letter(text + begin, size))
        return false;
    json_t *names = hn_csv_read_fields(header, n, d),
           *fields = hn_csv_read_fields(text + begin, size, d), *name;
    bool same =
        fields && json_array_size(names) > 1 && json_array_size(names) == json_array_size(fields);
    json_array_foreach(names, i, name) {
        const char *a = json_string_value(name), *b;
        if (!same)
            break;
        b = json_string_value(json_array_get(fields, i));
        a += strspn(a, " ");
        b += strspn(b, " ");
        size_t left = strlen(a), right = strlen(b);
        while (left && a[left - 1] == ' ')
            left--;
        while (right && b[right - 1] == ' ')
            right--;
        same = left == right && strncasecmp(a, b, left) == 0;
    }
    json_decref(names);
    json_decref(fields);
    return same;
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
        begin += size - begin >= 3 && memcmp(text + begin, "\xEF\xBB\xBF", 3) == 0 ? 3 : 0;
        const char *newline = memchr(text + begin, d.newline, size - begin);
        bool closed = true;
        end = newline ? (size_t)(newline - text) : size;
        if (!scan->by_line) {
            size_t whole = hn_csv_record_end(text, size, begin, d, &fields, &closed);
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
    json_t *fields = hn_csv_read_fields(text, span->size, data->dialect), *row = NULL;
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

/* The text as a field that reads back as it; `quoted`: quotes are put around it in any case. False
 * where the format cannot hold it. */
static bool write_field(const char *text, struct hn_dialect d, bool quoted, struct hn_buf *out) {
    size_t n = strlen(text);
    bool tabs = d.delimiter == '\t', marked = n && text[0] == '"';
    const char special[] = {d.delimiter, '"', '\n', '\r', 0};
    if (tabs && strchr(text, '\t'))
        return false;
    quoted = tabs ? marked || strpbrk(text, "\r\n") : quoted || strpbrk(text, special);
    if (!quoted) {
        hn_buf_text(out, text);
        return true;
    }
    hn_buf_char(out, '"');
    for (size_t i = 0; i < n; i++) {
        if (text[i] == '"')
            hn_buf_char(out, '"');
        hn_buf_char(out, text[i]);
    }
    hn_buf_char(out, '"');
    return true;
}

static bool respell_field(const struct hn_dataset *data, const struct hn_span *span,
    const char *column, const json_t *value, struct hn_extent *ret, struct hn_buf *out) {
    char room[HN_LABEL_TEXT];
    const char *text = (const char *)data->map.data + span->offset,
               *spelled = hn_label_text(value, room);
    size_t size = span->size, at = 0, columns = json_array_size(data->header), number = 0;
    bool closed;
    while (number < columns &&
        strcmp(json_string_value(json_array_get(data->header, number)), column) != 0)
        number++;
    while (size && text[size - 1] == '\r') /* as in read_fields */
        size--;
    size_t end = field_end(text, size, at, data->dialect, &closed);
    for (size_t i = 0; i < number && end < size; i++) {
        at = end + 1;
        end = field_end(text, size, at, data->dialect, &closed);
    }
    *ret = (struct hn_extent){span->offset + at, span->offset + end};
    size_t first = skip_spaces(text, end, at);
    return spelled && number < columns &&
        write_field(spelled, data->dialect, first < end && text[first] == '"', out);
}

const struct hn_dataset_format hn_format_csv = {
    "csv", is_csv, begin_csv, next_record, parse_record, hn_row_cut_lines, respell_field};
const struct hn_dataset_format hn_format_tsv = {
    "tsv", is_tsv, begin_tsv, next_record, parse_record, hn_row_cut_lines, respell_field};
