/* Rows in JSON: one object a line (jsonl), or one array of objects (json). See dataset_format.h. */
#include "engine/data/dataset_internal.h"
#include "engine/data/label_survey.h"
#include "engine/data/rows.h"
#include "engine/base/utf8.h"

#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Where the number (or what Python and JavaScript write in its place) that begins at text[at]
 * ends. */
static size_t number_end(const char *text, size_t size, size_t at) {
    while (at < size && (isalnum((unsigned char)text[at]) || strchr("+-.", text[at])))
        at++;
    return at;
}

static bool is_word(const char *text, size_t size, const char *word) {
    return size == strlen(word) && memcmp(text, word, size) == 0;
}

/* A number beyond what the parser holds. */
static bool is_unreadable(const char *word, size_t n) {
    json_error_t je;
    size_t sign = *word == '-';
    if (n < 5 || !isdigit((unsigned char)word[sign]))
        return false;
    for (size_t i = 0; i < n; i++)
        if (!isdigit((unsigned char)word[i]) && !strchr("+-.eE", word[i]))
            return false;
    json_t *number = json_loadb(word, n, JSON_DECODE_ANY, &je);
    json_decref(number);
    return !number;
}

/*
 * Numbers that JSON does not know (NaN, Infinity) as null, and those that no reader here can hold
 * (more than 64 bits, 1e999) as texts of their spelling: in columns that nobody uses they do not
 * matter. False: there are none.
 */
static bool spell_numbers(const char *text, size_t size, struct hn_buf *out) {
    bool changed = false;
    for (size_t at = 0; at < size;) {
        size_t end = at + 1;
        if (text[at] == '"') {
            while (end < size && text[end] != '"')
                end += text[end] == '\\' ? 2 : 1;
            end = end < size ? end + 1 : size;
        } else if (isalnum((unsigned char)text[at]) || text[at] == '-') {
            end = number_end(text, size, at);
        }
        size_t n = end - at;
        const char *word = text + at;
        if (is_word(word, n, "NaN") || is_word(word, n, "Infinity") ||
            is_word(word, n, "-Infinity")) {
            hn_buf_text(out, "null");
            changed = true;
        } else if (is_unreadable(word, n)) {
            hn_buf_char(out, '"');
            hn_buf_append(out, word, n);
            hn_buf_char(out, '"');
            changed = true;
        } else {
            hn_buf_append(out, word, n);
        }
        at = end;
    }
    return changed && !out->failed;
}

json_t *hn_row_parse_json(
    const struct hn_dataset *data, const struct hn_span *span, struct hn_row_fault *fault) {
    const char *text = (const char *)data->map.data + span->offset;
    size_t good = hn_utf8_valid(text, span->size);
    json_error_t je;
    *fault = (struct hn_row_fault){.line = span->line};
    if (span->size > HN_ROW_MAX) {
        snprintf(fault->message, sizeof fault->message,
            "the row has %zu bytes; more than %zu are not accepted", span->size, HN_ROW_MAX);
        fault->hint = "split it into several rows";
        return NULL;
    }
    if (good < span->size || memchr(text, 0, span->size)) {
        const char *zero = memchr(text, 0, span->size);
        size_t at = zero && (size_t)(zero - text) < good ? (size_t)(zero - text) : good;
        for (size_t i = 0; i < at; i++) {
            fault->line += text[i] == '\n';
            fault->column = text[i] == '\n' ? 0 : fault->column + 1;
        }
        fault->column++;
        snprintf(fault->message, sizeof fault->message,
            "the byte 0x%02X is not valid UTF-8 text here", (unsigned char)text[at]);
        fault->hint = "save the file as UTF-8";
        return NULL;
    }
    const size_t flags = JSON_REJECT_DUPLICATES | JSON_ALLOW_NUL | JSON_DECODE_ANY;
    json_t *row = json_loadb(text, span->size, flags, &je);
    struct hn_buf plain = {0};
    if (!row && spell_numbers(text, span->size, &plain)) {
        json_error_t other;
        row = json_loadb(plain.data, plain.size, flags, &other);
    }
    hn_buf_free(&plain);
    if (row && json_is_object(row))
        return row;
    if (row) {
        json_decref(row);
        snprintf(fault->message, sizeof fault->message, "the row is no JSON object");
        fault->column = 1;
        fault->hint = "write each row as {\"column\": value, …}";
        return NULL;
    }
    fault->line += je.line > 1 ? (size_t)je.line - 1 : 0;
    fault->column = je.line > 1 ? (size_t)(je.column > 0 ? je.column : 1)
                                : (size_t)(je.position > 0 ? je.position : 1);
    snprintf(fault->message, sizeof fault->message, "not valid JSON: %.160s", je.text);
    fault->hint = "a row is one whole JSON object; texts need \"quotes\", and line ends in them "
                  "are written \\n";
    return NULL;
}

static bool is_jsonl(const char *text, size_t size, char newline) {
    (void)newline;
    for (size_t i = 0; i < size; i++)
        if (!hn_is_blank(text[i]))
            return text[i] == '{';
    return false;
}

static bool next_line(struct hn_row_scan *scan, struct hn_span *ret) {
    const char *text = (const char *)scan->data->map.data;
    size_t size = scan->data->map.size;
    while (scan->at < size) {
        const char *end = memchr(text + scan->at, scan->data->dialect.newline, size - scan->at);
        size_t begin = scan->at, stop = end ? (size_t)(end - text) : size;
        scan->at = end ? stop + 1 : size;
        scan->line++;
        while (begin < stop && hn_is_blank(text[begin]))
            begin++;
        while (stop > begin && hn_is_blank(text[stop - 1]))
            stop--;
        if (begin < stop) {
            *ret = (struct hn_span){begin, stop - begin, scan->line, 0};
            return true;
        }
    }
    return false;
}

static size_t blanks_end(const char *text, size_t size, size_t at) {
    while (at < size && hn_is_blank(text[at]))
        at++;
    return at;
}

/* Whether the string in quotes text[0, size) says this. */
static bool spells(const char *text, size_t size, const char *name) {
    json_error_t je;
    json_t *key = json_loadb(text, size, JSON_DECODE_ANY | JSON_ALLOW_NUL, &je);
    bool same = json_string_length(key) == strlen(name) && key &&
        memcmp(json_string_value(key), name, strlen(name)) == 0;
    json_decref(key);
    return same;
}

/* Behind the quote that ends the string which begins at text[at]. */
static size_t string_end(const char *text, size_t size, size_t at) {
    for (at++; at < size && text[at] != '"'; at++)
        at += text[at] == '\\';
    return at < size ? at + 1 : size;
}

/* The value of a member of an object that has been parsed before. */
static bool find_member(const char *text, size_t size, const char *name, struct hn_extent *ret) {
    size_t at = blanks_end(text, size, 0) + 1; /* behind the brace */
    for (;;) {
        at = blanks_end(text, size, at);
        if (at >= size || text[at] != '"')
            return false;
        size_t key = at, behind = string_end(text, size, at);
        at = blanks_end(text, size, behind);
        if (at >= size || text[at] != ':')
            return false;
        at = blanks_end(text, size, at + 1);
        size_t end = hn_json_value_end(text, size, at), last = end;
        while (last > at && hn_is_blank(text[last - 1]))
            last--;
        if (end == size) /* the last one: without the brace that ends the object */
            for (last--; last > at && hn_is_blank(text[last - 1]);)
                last--;
        if (last > at && spells(text + key, behind - key, name)) {
            *ret = (struct hn_extent){at, last};
            return true;
        }
        at = end + 1;
    }
}

bool hn_row_respell_json(const struct hn_dataset *data, const struct hn_span *span,
    const char *column, const json_t *value, struct hn_extent *ret, struct hn_buf *out) {
    const char *text = (const char *)data->map.data + span->offset;
    char room[HN_LABEL_TEXT], *made = json_dumps(value, JSON_ENCODE_ANY);
    bool found = made && find_member(text, span->size, column, ret);
    if (found) {
        hn_buf_text(out, json_is_real(value) ? hn_label_text(value, room) : made);
        ret->from += span->offset;
        ret->to += span->offset;
    }
    free(made);
    return found;
}

const struct hn_dataset_format hn_format_jsonl = {
    "jsonl", is_jsonl, NULL, next_line, hn_row_parse_json, hn_row_cut_lines, hn_row_respell_json};

static bool is_array(const char *text, size_t size, char newline) {
    (void)newline;
    for (size_t i = 0; i < size; i++)
        if (!hn_is_blank(text[i]))
            return text[i] == '[';
    return false;
}

static void skip_blank(struct hn_row_scan *scan) {
    const char *text = (const char *)scan->data->map.data;
    while (scan->at < scan->data->map.size && hn_is_blank(text[scan->at]))
        scan->line += text[scan->at++] == '\n';
}

static int begin_array(struct hn_row_scan *scan, struct hn_error *err) {
    scan->line = 1;
    skip_blank(scan);
    if (scan->at >= scan->data->map.size || scan->data->map.data[scan->at] != '[') {
        hn_fail(err, HN_E_DATASET_INVALID, "a file of the format json begins with [");
        hn_error_hint(err, "use the format jsonl for one object a line");
        return HN_E_DATASET_INVALID;
    }
    scan->at++;
    return 0;
}

size_t hn_json_value_end(const char *text, size_t size, size_t at) {
    size_t depth = 0;
    for (bool string = false; at < size; at++) {
        char c = text[at];
        if (string) {
            if (c == '\\')
                at++;
            else if (c == '"')
                string = false;
        } else if (c == '"') {
            string = true;
        } else if (c == '{' || c == '[') {
            depth++;
        } else if ((c == ']' || c == ',') && depth == 0) {
            return at;
        } else if ((c == '}' || c == ']') && depth > 0) {
            depth--; /* a stray brace stays in the value, which then is no JSON */
        }
    }
    return size;
}

static bool next_element(struct hn_row_scan *scan, struct hn_span *ret) {
    const char *text = (const char *)scan->data->map.data;
    size_t size = scan->data->map.size;
    skip_blank(scan);
    if (scan->at >= size)
        return false;
    if (text[scan->at] == ']') {
        scan->at++;
        skip_blank(scan);
        if (scan->at < size)
            hn_issue_add(&scan->data->issues, scan->line, 0, "", "one file holds one array",
                "there is more text behind the end of the array");
        scan->at = size;
        return false;
    }
    size_t begin = scan->at, end = hn_json_value_end(text, size, scan->at), line = scan->line;
    for (size_t i = begin; i < end; i++)
        scan->line += text[i] == '\n';
    *ret = (struct hn_span){begin, end - begin, line, 0};
    if (end == size)
        hn_issue_add(&scan->data->issues, scan->line, 0, "", "the file may have been cut short",
            "the array is never closed by ]");
    scan->at = end < size && text[end] == ',' ? end + 1 : end;
    return true;
}

/* An element with the comma behind it; the last one with the comma before it, or before what goes
 * already. */
static void cut_element(const struct hn_dataset *data, const struct hn_span *span,
    const struct hn_extent *before, struct hn_extent *ret) {
    const char *text = (const char *)data->map.data;
    size_t size = data->map.size, from = span->offset, to = span->offset + span->size;
    if (to < size && text[to] == ',') {
        *ret = (struct hn_extent){from, blanks_end(text, size, to + 1)};
        return;
    }
    while (to > from && hn_is_blank(text[to - 1]))
        to--;
    if (before && before->to == from)
        from = before->from;
    while (from > 0 && hn_is_blank(text[from - 1]))
        from--;
    *ret = (struct hn_extent){from - (from > 0 && text[from - 1] == ','), to};
}

const struct hn_dataset_format hn_format_json = {"json", is_array, begin_array, next_element,
    hn_row_parse_json, cut_element, hn_row_respell_json};
