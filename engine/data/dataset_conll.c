/*
 * Tagged words as CoNLL's shared tasks have them: a word a line with its columns, of which the last
 * is its tag, and an empty line behind each sentence.
 *
 *     EU      NNP  B-NP  B-ORG
 *     rejects VBZ  B-VP  O
 *
 * Columns are separated by tabs, or by spaces where there are none. Recognised by looking are tags
 * of spans (O, B-…, I-… and their relatives, between empty lines also b-…, B_… and 0), tags that
 * are all O between empty lines, and files whose first line names the columns (word, tag); files
 * of other tags name the format. A line in ten may be broken: it is named when it is read. Lines
 * that only begin a document (-DOCSTART-) are left out, and so are comments before a sentence: a
 * hash and a space, and no tag. Where the first column counts the words in most sentences, the
 * second has them. A first line that names the columns is left out.
 */
#include "engine/data/dataset_internal.h"
#include "engine/base/utf8.h"

#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#define MAX_COLUMNS 64
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

/* Tags of spans in other spellings: b-org, B_ORG, o, and 0 for O. */
static bool is_other_tag(const char *tag, size_t size) {
    return (size == 1 && (*tag == 'o' || *tag == '0')) ||
        (size > 2 && memchr("BILUESMbilues", tag[0], 13) && (tag[1] == '-' || tag[1] == '_'));
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

static bool is_any_of(const char *text, size_t size, const char *const *words) {
    for (; *words; words++)
        if (size == strlen(*words) && strncasecmp(text, *words, size) == 0)
            return true;
    return false;
}

/* A line that names the columns. */
static bool is_names(const struct line *line) {
    static const char *const words[] = {"word", "words", "token", "tokens", "form", NULL},
                             *const others[] = {"text", "id", "index", "no", "sentence",
                                 "sentence #", "sentence_id", NULL},
                             *const labels[] = {"label", "labels", NULL},
                             *const tags[] = {"tag", "tags", "ner", "ner_tag", "ner_tags", "pos",
                                 "iob", "bio", "entity", NULL};
    bool word = is_any_of(line->first, line->first_size, words);
    return line->columns > 1 && (word || is_any_of(line->first, line->first_size, others)) &&
        (is_any_of(line->last, line->last_size, tags) ||
            (word && is_any_of(line->last, line->last_size, labels)));
}

/* 3, 3-4 or 3.1, as CoNLL-U numbers words. */
static bool is_word_number(const char *text, size_t size) {
    for (size_t i = 0; i < size; i++)
        if (!isdigit((unsigned char)text[i]) && text[i] != '-' && text[i] != '.')
            return false;
    return size && isdigit((unsigned char)*text);
}

/* CoNLL-U and its forerunners: ten columns, the first of which counts the words and the last of
 * which is no tag. */
static bool is_conllu(const char *text, size_t size, char newline) {
    size_t words = 0, end = size < LOOK ? size : LOOK;
    for (size_t at = 0; at < end;) {
        struct line line = read_line(text + at, size - at, newline);
        at += line.size + 1;
        if (!line.columns || *line.first == '#')
            continue;
        if (line.columns != 10 || !is_word_number(line.first, line.first_size) ||
            !((line.last_size == 1 && *line.last == '_') || memchr(line.last, '=', line.last_size)))
            return false;
        words++;
    }
    return words > 0;
}

/* What the file's first part has. */
struct look {
    size_t lines, blocks;           /* of words: without comments and a line of names */
    size_t by_columns[MAX_COLUMNS]; /* lines with so many columns */
    size_t columns;                 /* that most lines have */
    size_t tags, others, spans;     /* lines with a tag, with one in another spelling; no O */
    size_t short_words;             /* lines whose first and last column are a short word each */
    bool names;                     /* the first line names the columns */
    bool first_tag;                 /* the first line has a tag, or names columns */
};

static bool is_short_word(const char *text, size_t size) {
    return size && size <= 40 && !memchr(text, ' ', size);
}

static void look_at_line(struct look *look, const struct line *line) {
    bool tag = is_span_tag(line->last, line->last_size),
         other = !tag && is_other_tag(line->last, line->last_size);
    look->first_tag = look->lines ? look->first_tag : look->names || tag || other;
    look->lines++;
    look->by_columns[line->columns < MAX_COLUMNS ? line->columns : 0]++;
    if (line->columns < 2)
        return;
    look->tags += tag;
    look->others += other;
    look->spans += (tag || other) && line->last_size > 1;
    look->short_words +=
        is_short_word(line->first, line->first_size) && is_short_word(line->last, line->last_size);
}

static struct look look_at(const char *text, size_t size, char newline) {
    struct look look = {0};
    size_t end = size < LOOK ? size : LOOK;
    bool inside = false; /* a sentence */
    for (size_t at = 0; at < end;) {
        struct line line = read_line(text + at, size - at, newline);
        bool word = line.columns && !is_document(&line) && (inside || !is_comment(&line));
        if (at == 0 && is_names(&line)) {
            look.names = true;
            word = false;
        }
        at += line.size + 1;
        if (at > end && end < size)
            break;
        look.blocks += word && !inside;
        inside = line.columns && (inside || word);
        if (word)
            look_at_line(&look, &line);
    }
    for (size_t i = 2; i < MAX_COLUMNS; i++)
        if (look.by_columns[i] > look.by_columns[look.columns])
            look.columns = i;
    if (look.columns < 2)
        look.columns = 0;
    return look;
}

/* Whether all lines but one in ten at most. */
static bool most(const struct look *look, size_t lines) {
    return lines && (look->lines - lines) * 10 <= look->lines;
}

/* Empty lines stand between blocks of several lines with the same columns. */
static bool has_blocks(const struct look *look) {
    return look->blocks > 1 && look->lines >= 2 * look->blocks && look->columns &&
        most(look, look->by_columns[look->columns]);
}

static bool is_conll(const char *text, size_t size, char newline) {
    if (is_conllu(text, size, newline))
        return true; /* to be refused for what it is */
    struct look look = look_at(text, size, newline);
    if (!look.columns || !most(&look, look.by_columns[look.columns]))
        return false;
    if (has_blocks(&look) &&
        (look.names || (most(&look, look.tags + look.others) && look.spans) ||
            most(&look, look.tags)))
        return true;
    return look.first_tag && most(&look, look.tags) && look.spans;
}

bool hn_looks_like_conll(const char *text, size_t size, char newline) {
    struct look look = look_at(text, size, newline);
    return has_blocks(&look) && most(&look, look.short_words);
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

/* Whether the line's first column is this number, before a word and a tag. */
static bool counts(const struct line *line, size_t word) {
    char number[24];
    snprintf(number, sizeof number, "%zu", word);
    return line->columns > 2 && line->first_size == strlen(number) &&
        memcmp(line->first, number, line->first_size) == 0;
}

/* Whether the first column counts the words, in most sentences of the file's first part: one word
 * alone may well be the number 1. */
static bool is_counted(const char *text, size_t size, char newline) {
    size_t words = 0, counted = 0, others = 0, end = size < LOOK ? size : LOOK;
    bool all = true; /* words of this sentence are counted */
    for (size_t at = 0; at <= end;) {
        struct line line = {0};
        if (at < end)
            line = read_line(text + at, size - at, newline);
        at += line.size + 1;
        if (line.columns && !words && is_comment(&line))
            continue;
        if (line.columns && !is_document(&line)) {
            all &= counts(&line, ++words);
            continue;
        }
        counted += words > 1 && all;
        others += words > 1 && !all;
        words = 0;
        all = true;
    }
    return counted > others;
}

static int begin_words(struct hn_row_scan *scan, struct hn_error *err) {
    struct hn_dataset *data = scan->data;
    const char *text = (const char *)data->map.data;
    size_t size = data->map.size;
    char newline = data->dialect.newline;
    struct line first = read_line(text + scan->at, size - scan->at, newline);
    if (is_conllu(text + scan->at, size - scan->at, newline)) {
        hn_fail(err, HN_E_DATASET_INVALID,
            "the file is in the format CoNLL-U, whose last column is no tag");
        hn_error_hint(err,
            "keep the words and one column of tags, such as their parts of speech: grep -vE "
            "'^[0-9]+[-.]' FILE | cut -f 2,4");
        return HN_E_DATASET_INVALID;
    }
    const struct look look = look_at(text + scan->at, size - scan->at, newline);
    data->tag_columns =
        look.columns && most(&look, look.by_columns[look.columns]) ? look.columns : 0;
    bool other_names = !look.first_tag && look.spans && most(&look, look.tags + look.others) &&
        first.columns == data->tag_columns && !is_comment(&first) && !is_document(&first);
    if (other_names)
        hn_issue_warn(&data->issues, "guessed_columns", 1,
            "the first line is taken as a header: it has no tag as all others have");
    if (look.names || other_names) {
        scan->at += first.size < size - scan->at ? first.size + 1 : first.size;
        scan->line++;
    }
    data->counted = is_counted(text + scan->at, size - scan->at, newline);
    return 0;
}

static json_t *read_words(
    const struct hn_dataset *data, const struct hn_span *span, struct hn_row_fault *fault) {
    const char *text = (const char *)data->map.data + span->offset;
    json_t *tokens = json_array(), *tags = json_array();
    size_t size = span->size, line_number = span->line;
    bool good = true;
    for (size_t at = 0; good && at < size; line_number++) {
        struct line line = read_line(text + at, size - at, data->dialect.newline);
        at += line.size + 1;
        if (is_document(&line))
            continue;
        good = line.columns >= (data->counted ? 3 : 2) &&
            (!data->tag_columns || line.columns == data->tag_columns);
        if (good) {
            json_array_append_new(tokens,
                data->counted ? json_stringn(line.second, line.second_size)
                              : json_stringn(line.first, line.first_size));
            json_array_append_new(tags, json_stringn(line.last, line.last_size));
        } else {
            fault->line = line_number;
            fault->hint = "write a word and its tag on each line, such as EU<tab>B-ORG, and an "
                          "empty line between sentences";
            if (line.columns > 1)
                snprintf(fault->message, sizeof fault->message,
                    "the line has %zu columns; the others have %zu", line.columns,
                    data->tag_columns ? data->tag_columns : 3);
            else
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
        return read_words(data, span, fault);
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

/* With the empty line behind it. */
static void cut_sentence(const struct hn_dataset *data, const struct hn_span *span,
    const struct hn_extent *before, struct hn_extent *ret) {
    const char *text = (const char *)data->map.data;
    hn_row_cut_lines(data, span, before, ret);
    struct line line = read_line(text + ret->to, data->map.size - ret->to, data->dialect.newline);
    if (!line.columns && ret->to + line.size < data->map.size)
        ret->to += line.size + 1;
}

const struct hn_dataset_format hn_format_conll = {
    "conll", is_conll, begin_words, next_sentence, parse_sentence, cut_sentence, NULL};
