/* See csv_header.h. */
#include "engine/data/csv_header.h"
#include "engine/data/label_survey.h"

#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define GUESS_RECORDS 5000 /* looked at to recognise a column of labels */
#define LABELS_MAX 64      /* distinct values a column of labels may have */
#define NAME_MAX_BYTES 64  /* of a label that repeats, or of a column's name in other words */

/* Distinct values of a column and how often each was seen, as far as they are few. */
struct guess {
    size_t column;
    json_t *values;          /* value → number */
    size_t records, numbers; /* numbers: records behind the first with a number */
    bool many, first_number;
};

static void look(struct guess *g, const json_t *fields) {
    const json_t *field = json_array_get(fields, g->column);
    const char *value = json_string_value(field);
    double number;
    bool is_number = hn_label_value(field, &number);
    if (!value || strlen(value) > NAME_MAX_BYTES || json_object_size(g->values) > LABELS_MAX)
        g->many = true;
    else
        json_object_set_new(g->values, value,
            json_integer(1 + json_integer_value(json_object_get(g->values, value))));
    if (g->records++)
        g->numbers += is_number;
    else
        g->first_number = is_number;
}

static void look_at(const struct hn_row_scan *scan, size_t columns, struct guess *g, size_t n) {
    const char *text = (const char *)scan->data->map.data;
    size_t size = scan->data->map.size, at = scan->at, fields;
    const struct hn_dialect d = scan->data->dialect;
    bool closed = true;
    while (at < size && g[0].records < GUESS_RECORDS && closed) {
        size_t end = hn_csv_record_end(text, size, at, d, &fields, &closed);
        json_t *list = fields == columns && end - at < HN_ROW_MAX
            ? hn_csv_read_fields(text + at, end - at, d)
            : NULL;
        for (size_t i = 0; list && i < n; i++)
            look(&g[i], list);
        json_decref(list);
        at = end + 1;
    }
}

/* One word or two, as columns are named. */
static bool is_name(const char *text) {
    size_t n = 0, spaces = 0;
    for (; isalnum((unsigned char)text[n]) || (text[n] && strchr("_-. ", text[n])); n++)
        spaces += text[n] == ' ';
    return isalpha((unsigned char)text[0]) && !text[n] && n <= 40 && spaces <= 1;
}

/* Up to four words in any script, as people name columns ("Score (1-5)"), and no sentence. */
static bool is_title(const char *text) {
    static const char *const marks[] = {"\u3002", "\uFF0C", "\uFF01", "\u3001", NULL};
    size_t n = 0, spaces = 0, wide = 0; /* wide: characters of scripts that need few */
    for (; text[n]; n++) {
        unsigned char c = (unsigned char)text[n];
        if (c < 0x80 && !isalnum(c) && !strchr("_-. :()?/#*&%[]'", c))
            return false;
        spaces += c == ' ';
        wide += c >= 0xE3;
    }
    for (size_t i = 0; marks[i]; i++)
        if (strstr(text, marks[i]))
            return false;
    return n && n <= NAME_MAX_BYTES && spaces <= 3 && wide <= 8 && text[n - 1] != '.' &&
        (isalpha((unsigned char)text[0]) || (unsigned char)text[0] >= 0x80);
}

static bool all_are(const json_t *fields, bool (*is)(const char *text)) {
    const json_t *field;
    size_t i;
    json_array_foreach((json_t *)(uintptr_t)fields, i, field)
        if (!is(json_string_value(field)))
            return false;
    return true;
}

static bool all_numbers(const struct guess *g) {
    return g->records > 3 && g->numbers == g->records - 1 && !g->first_number;
}

/* A first record of names, whose label no other record has while the others repeat, or whose label
 * is no number while all others are. */
static bool is_header(const struct guess *g, const json_t *first) {
    const char *label = json_string_value(json_array_get(first, g->column)), *key;
    json_t *count;
    size_t once = 0;
    if (!all_are(first, is_title))
        return false;
    if (all_numbers(g))
        return true;
    json_object_foreach(g->values, key, count)
        once += json_integer_value(count) == 1;
    return !g->many && json_integer_value(json_object_get(g->values, label)) == 1 &&
        (all_are(first, is_name) || (once == 1 && json_object_size(g->values) > 2));
}

static bool few(const struct guess *g, bool header) {
    size_t distinct = json_object_size(g->values) - header;
    return !g->many && distinct > 1 && distinct <= LABELS_MAX &&
        distinct * 5 <= g->records - header;
}

json_t *hn_csv_guess_header(const struct hn_row_scan *scan, const json_t *first, bool *ret_named) {
    struct guess g[2] = {
        {.column = 0, .values = json_object()}, {.column = 1, .values = json_object()}};
    bool named[2], label[2];
    look_at(scan, 2, g, 2);
    for (size_t i = 0; i < 2; i++) {
        named[i] = is_header(&g[i], first);
        label[i] = few(&g[i], named[i]);
    }
    if (label[0] && label[1])
        label[0] = json_object_size(g[0].values) < json_object_size(g[1].values);
    label[1] = label[1] || (!label[0] && named[1] && all_numbers(&g[1]) && !all_numbers(&g[0]));
    *ret_named = (label[0] && named[0]) || (!label[0] && label[1] && named[1]);
    json_decref(g[0].values);
    json_decref(g[1].values);
    return label[0] ? json_pack("[s, s]", "label", "text")
        : label[1]  ? json_pack("[s, s]", "text", "label")
                    : NULL;
}

bool hn_csv_is_mapped_header(const struct hn_row_scan *scan, const json_t *first) {
    const char *name = json_string_value(json_object_get(scan->data->given, "label"));
    size_t columns = json_array_size(first);
    char *end;
    if (!name || strncmp(name, "col", 3) != 0 || !isdigit((unsigned char)name[3]))
        return false;
    unsigned long number = strtoul(name + 3, &end, 10);
    if (*end || number < 1 || number > columns)
        return false;
    struct guess g = {.column = number - 1, .values = json_object()};
    look_at(scan, columns, &g, 1);
    bool header = is_header(&g, first) && (few(&g, true) || all_numbers(&g));
    json_decref(g.values);
    return header;
}

bool hn_csv_looks_like_labels(const struct hn_row_scan *scan, size_t column) {
    struct guess g = {.column = column, .values = json_object()};
    look_at(scan, 2, &g, 1);
    bool label = few(&g, true) || all_numbers(&g);
    json_decref(g.values);
    return label;
}

bool hn_csv_is_usual_header(const json_t *fields) {
    static const char usual[] =
        " id index no number date time name title body content message review comment sentence "
        "sentence1 sentence2 document article abstract summary text label labels class category "
        "target sentiment rating score stars intent tag tags emotion topic prompt completion "
        "question answer answers context input output instruction response query reply source "
        "translation system user assistant human bot ";
    const json_t *field;
    size_t i, names = 0;
    json_array_foreach((json_t *)(uintptr_t)fields, i, field) {
        char word[40], number[24];
        const char *name = json_string_value(field);
        size_t n = strlen(name);
        snprintf(number, sizeof number, "col%zu", i + 1);
        if (strcmp(name, number) == 0)
            continue; /* an empty column */
        if (n > sizeof word - 3)
            return false;
        names++;
        snprintf(word, sizeof word, " %s ", name);
        for (char *c = word; *c; c++)
            *c = (char)tolower((unsigned char)*c);
        if (strpbrk(name, " ") || !strstr(usual, word))
            return false;
    }
    return names > 1;
}
