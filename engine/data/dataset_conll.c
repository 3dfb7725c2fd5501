/*
 * Tagged words as CoNLL's shared tasks have them: a word a line with its columns, of which the last
 * is its tag, and an empty line behind each sentence.
 *
 *     EU      NNP  B-NP  B-ORG
 *     rejects VBZ  B-VP  O
 *
 * Columns are separated by tabs, or by spaces where there are none. Only tags of spans (O, B-…, I-…
 * and their relatives) are recognised by looking; files of other tags name the format. Lines that
 * only begin a document (-DOCSTART-) are left out, and so are comments before a sentence: a hash
 * and a space, and no tag. Where the first column counts the words, the second has them.
 */
#include "engine/data/dataset_internal.h"
#include "engine/base/utf8.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define LOOK ((size_t)1 << 16) /* bytes looked at to recognise the file */

/* A line's columns. */
struct line {
    const char *first, *second, *last;
    size_t first_size, second_size, last_size, columns, size;
};

static size_t line_size(const char *text, size_t size, char newline) {
    const char *end = memchr(text, newline, size);
    return end ? (size_t)(end - text) : size;
}

static bool splits(char c, bool tabs) {
    return tabs ? c == '\t' : hn_is_blank(c);
}

static struct line read_line(const char *text, size_t size, char newline) {
    struct line line = {.size = line_size(text, size, newline)};
    size_t at = 0, end = line.size;
    while (end && hn_is_blank(text[end - 1]))
        end--;
    bool tabs = memchr(text, '\t', end) != NULL;
    while (at < end) {
        size_t begin = at;
        while (at < end && !splits(text[at], tabs))
            at++;
        line.last = text + begin;
        line.last_size = at - begin;
        if (line.columns == 0)
            line.first = line.last, line.first_size = line.last_size;
        if (line.columns == 1)
            line.second = line.last, line.second_size = line.last_size;
        line.columns++;
        while (at < end && splits(text[at], tabs) && (!tabs || line.columns == 0))
            at++;
        at += tabs && at < end;
    }
    return line;
}

static bool is_span_tag(const char *tag, size_t size) {
    return (size == 1 && *tag == 'O') ||
        (size > 2 && memchr("BILUESM", tag[0], 7) && tag[1] == '-');
}

static bool is_document(const struct line *line) {
    return line->first_size == 10 && memcmp(line->first, "-DOCSTART-", 10) == 0;
}

/* Only before the first word of a sentence: words begin with a hash as well (#rome). */
static bool is_comment(const struct line *line) {
    if (!line->first_size || *line->first != '#')
        return false;
    if (line->columns == 1 && line->first_size == 1)
        return true;
    return line->first[1] == ' ' &&
        !(line->columns > 1 && is_span_tag(line->last, line->last_size));
}

static bool is_conll(const char *text, size_t size, char newline) {
    size_t columns = 0, spans = 0, end = size < LOOK ? size : LOOK, at = 0;
    bool inside = false; /* a sentence */
    while (at < end) {
        struct line line = read_line(text + at, size - at, newline);
        bool word = line.columns && !is_document(&line) && (inside || !is_comment(&line));
        inside = line.columns && (inside || word);
        at += line.size + 1;
        if (at > end && end < size)
            break;
        if (!word)
            continue;
        if (line.columns < 2 || (columns && line.columns != columns) ||
            !is_span_tag(line.last, line.last_size))
            return false;
        columns = line.columns;
        spans += line.last_size > 1;
    }
    return spans > 0;
}

/* The next lines up to an empty one that hold words. */
static bool next_sentence(struct hn_row_scan *scan, struct hn_span *ret) {
    const char *text = (const char *)scan->data->map.data;
    size_t size = scan->data->map.size, begin = 0, first = 0, end = 0;
    while (scan->at < size) {
        struct line line = read_line(text + scan->at, size - scan->at, scan->data->dialect.newline);
        size_t from = scan->at;
        scan->at = from + line.size < size ? from + line.size + 1 : size;
        scan->line++;
        if (!line.columns && first)
            break;
        if (!line.columns || is_document(&line) || (!first && is_comment(&line)))
            continue;
        if (!first) {
            first = scan->line;
            begin = from;
        }
        end = from + line.size;
    }
    *ret = (struct hn_span){begin, end - begin, first, 0};
    return first != 0;
}

/* Whether the first column counts the words from 1 on. */
static bool is_counted(const char *text, size_t size, char newline) {
    size_t words = 0;
    for (size_t at = 0; at < size;) {
        struct line line = read_line(text + at, size - at, newline);
        char number[24];
        snprintf(number, sizeof number, "%zu", ++words);
        if (line.columns < 3 || line.first_size != strlen(number) ||
            memcmp(line.first, number, line.first_size) != 0)
            return false;
        at += line.size + 1;
    }
    return words > 0;
}

static json_t *read_words(
    const char *text, size_t size, char newline, size_t line_number, struct hn_row_fault *fault) {
    json_t *tokens = json_array(), *tags = json_array();
    bool counted = is_counted(text, size, newline), good = true;
    for (size_t at = 0; good && at < size; line_number++) {
        struct line line = read_line(text + at, size - at, newline);
        at += line.size + 1;
        if (is_document(&line))
            continue;
        good = line.columns >= 2;
        if (good) {
            json_array_append_new(tokens,
                counted ? json_stringn(line.second, line.second_size)
                        : json_stringn(line.first, line.first_size));
            json_array_append_new(tags, json_stringn(line.last, line.last_size));
        } else {
            fault->line = line_number;
            fault->hint = "write a word and its tag on each line, such as EU<tab>B-ORG, and an "
                          "empty line between sentences";
            snprintf(fault->message, sizeof fault->message, "the line has a word but no tag");
        }
    }
    json_t *row = good ? json_pack("{s:O, s:O}", "tokens", tokens, "tags", tags) : NULL;
    json_decref(tokens);
    json_decref(tags);
    return row;
}

static json_t *parse_sentence(
    const struct hn_dataset *data, const struct hn_span *span, struct hn_row_fault *fault) {
    const char *text = (const char *)data->map.data + span->offset;
    size_t good = span->size > HN_ROW_MAX ? span->size : hn_utf8_valid(text, span->size);
    *fault = (struct hn_row_fault){.line = span->line};
    if (span->size <= HN_ROW_MAX && good == span->size)
        return read_words(text, span->size, data->dialect.newline, span->line, fault);
    if (good < span->size) {
        fault->hint = "save the file as UTF-8";
        snprintf(fault->message, sizeof fault->message,
            "the byte 0x%02X is not valid UTF-8 text here", (unsigned char)text[good]);
        return NULL;
    }
    fault->hint = "put an empty line behind each sentence";
    snprintf(fault->message, sizeof fault->message,
        "the sentence has %zu bytes; more than %zu are not accepted", span->size, HN_ROW_MAX);
    return NULL;
}

const struct hn_dataset_format hn_format_conll = {
    "conll", is_conll, NULL, next_sentence, parse_sentence};
