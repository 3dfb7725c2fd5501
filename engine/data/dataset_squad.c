/*
 * SQuAD's own files (versions 1.1 and 2.0): {"data": [{"paragraphs": [{"context", "qas":
 * [{"question", "answers"}]}]}]}. A row is a question; its span is the paragraph's, and `part`
 * numbers the question in it. Articles are found by the key "paragraphs", which no text can spell
 * in JSON without escaping its quotes.
 */
#include "engine/data/dataset_internal.h"
#include "engine/data/rows.h"

#include <stdio.h>
#include <string.h>

#define KEY "\"paragraphs\""
#define LOOK ((size_t)1 << 16) /* bytes looked at to recognise the file */

static bool is_squad(const char *text, size_t size, char newline) {
    (void)newline;
    size_t at = 0;
    size = size < LOOK ? size : LOOK;
    while (at < size && hn_is_blank(text[at]))
        at++;
    if (!text || at == size || text[at] != '{')
        return false;
    const char *begin = text + at;
    return memmem(begin, size - at, KEY, strlen(KEY)) && memmem(begin, size - at, "\"data\"", 6);
}

static void count_lines(struct hn_row_scan *scan, size_t end) {
    for (; scan->at < end; scan->at++)
        scan->line += scan->data->map.data[scan->at] == '\n';
}

/* Moves behind the bracket that opens the next article's paragraphs; false at the end of the
 * file. */
static bool open_article(struct hn_row_scan *scan) {
    const char *text = (const char *)scan->data->map.data;
    size_t size = scan->data->map.size;
    const char *key = memmem(text + scan->at, size - scan->at, KEY, strlen(KEY));
    const char *open = key ? memchr(key, '[', size - (size_t)(key - text)) : NULL;
    if (!open)
        return false;
    count_lines(scan, (size_t)(open - text) + 1);
    return true;
}

/* The next paragraph's extent; false at the end of the file. */
static bool next_paragraph(struct hn_row_scan *scan, struct hn_span *ret) {
    const char *text = (const char *)scan->data->map.data;
    size_t size = scan->data->map.size;
    for (;;) {
        while (scan->at < size && (hn_is_blank(text[scan->at]) || text[scan->at] == ','))
            scan->line += text[scan->at++] == '\n';
        if (scan->at < size && text[scan->at] == '{' && scan->inside)
            break;
        if (!open_article(scan))
            return false;
        scan->inside = true;
    }
    size_t end = hn_json_value_end(text, size, scan->at);
    *ret = (struct hn_span){.offset = scan->at, .size = end - scan->at, .line = scan->line};
    if (end == size)
        hn_issue_add(&scan->data->issues, scan->line, 0, "", "the file may have been cut short",
            "a paragraph is never closed");
    count_lines(scan, end);
    return true;
}

static size_t count_questions(struct hn_dataset *data, const struct hn_span *paragraph) {
    struct hn_row_fault fault;
    json_t *object = hn_row_parse_json(data, paragraph, &fault);
    size_t n = json_array_size(json_object_get(object, "qas"));
    if (!object)
        hn_issue_add(&data->issues, fault.line, fault.column, "", fault.hint, "%s", fault.message);
    json_decref(object);
    return n;
}

static bool next_question(struct hn_row_scan *scan, struct hn_span *ret) {
    while (scan->part == scan->questions) {
        if (!next_paragraph(scan, &scan->whole))
            return false;
        scan->part = 0;
        scan->questions = count_questions(scan->data, &scan->whole);
    }
    *ret = scan->whole;
    ret->part = scan->part++;
    return true;
}

/* The list as it stands; empty for a question without an answer, whose plausible answers are
 * none. */
static json_t *answers_of(const json_t *question) {
    json_t *answers = json_object_get(question, "answers");
    return json_is_array(answers) && !json_is_true(json_object_get(question, "is_impossible"))
        ? json_incref(answers)
        : json_array();
}

static json_t *parse_question(
    const struct hn_dataset *data, const struct hn_span *span, struct hn_row_fault *fault) {
    json_t *paragraph = hn_row_parse_json(data, span, fault);
    const json_t *question = json_array_get(json_object_get(paragraph, "qas"), span->part);
    if (!paragraph)
        return NULL;
    json_t *row = json_pack("{s:O?, s:O?, s:o}", "context", json_object_get(paragraph, "context"),
        "question", json_object_get(question, "question"), "answers", answers_of(question));
    json_decref(paragraph);
    if (!row) {
        snprintf(fault->message, sizeof fault->message, "the question cannot be read");
        fault->hint = "a question is {\"question\", \"answers\": [{\"text\", \"answer_start\"}]}";
    }
    return row;
}

const struct hn_dataset_format hn_format_squad = {
    "squad", is_squad, NULL, next_question, parse_question, NULL, NULL};
