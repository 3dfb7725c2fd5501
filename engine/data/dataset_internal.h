/*
 * File formats of data sets: where the rows lie, and a row as a JSON object. Internal to
 * dataset*.c.
 */
#ifndef HN_ENGINE_DATA_DATASET_INTERNAL_H
#define HN_ENGINE_DATA_DATASET_INTERNAL_H

#include "engine/data/dataset.h"

static inline bool hn_is_blank(char c) {
    return c == ' ' || c == '\t' || c == '\r' || c == '\n';
}

#define HN_ROW_MAX ((size_t)64 << 20) /* bytes of one row */

struct hn_span {
    size_t offset, size, line; /* of the row's text in the file */
    size_t part;               /* of several rows in one text: which, from 0 */
};

/* Walks through the rows of a file. */
struct hn_row_scan {
    struct hn_dataset *data;
    size_t at, line;
    bool by_line; /* CSV: quotes no longer reach past a line */
    /* CSV: the record with the names of the columns; of size 0 where they have none */
    struct hn_span header;
    /* SQuAD: inside a list of paragraphs; the paragraph, its questions, and the next one's
     * number */
    bool inside;
    struct hn_span whole;
    size_t questions, part;
};

/* What is wrong with a row's text, for an issue. */
struct hn_row_fault {
    size_t line, column;
    char message[200];
    const char *hint;
};

/* Where nobody has said what the columns are, and the row's are none that we know, or a text and
 * what may be its label: `given` becomes what their names say (usual_names.h), with a warning. */
void hn_dataset_guess(struct hn_dataset *data, const json_t *row);

struct hn_dataset_format {
    const char *name;
    /* Whether the file looks like this; asked in the table's order. NULL: never by looking. */
    bool (*recognise)(const char *text, size_t size, char newline);
    /* Before the rows: reads a header. May be NULL. */
    int (*begin)(struct hn_row_scan *scan, struct hn_error *err);
    /* The next row; false at the end. Problems between rows are added to the data set. */
    bool (*next)(struct hn_row_scan *scan, struct hn_span *ret);
    /* A new reference, or NULL with *fault filled. */
    json_t *(*parse)(
        const struct hn_dataset *data, const struct hn_span *span, struct hn_row_fault *fault);
    /* hn_dataset_cut. NULL: no row can be taken out of such a file. */
    void (*cut)(const struct hn_dataset *data, const struct hn_span *span,
        const struct hn_extent *before, struct hn_extent *ret);
    /* hn_dataset_respell; false: the row has no such column, or the value cannot be written. NULL:
     * columns have no text of their own. */
    bool (*respell)(const struct hn_dataset *data, const struct hn_span *span, const char *column,
        const json_t *value, struct hn_extent *ret, struct hn_buf *out);
};

extern const struct hn_dataset_format hn_format_jsonl, hn_format_json, hn_format_squad,
    hn_format_conll, hn_format_tsv, hn_format_csv;
/* Short words in columns with empty lines between blocks of them: tagged words whose tags are not
 * known by looking. */
bool hn_looks_like_conll(const char *text, size_t size, char newline);
/* Where the JSON value that begins at text[at] ends: the comma or bracket behind it. Strings are
 * skipped, brackets counted. */
size_t hn_json_value_end(const char *text, size_t size, size_t at);
/* hn_dataset_cut where a row is whole lines. */
void hn_row_cut_lines(const struct hn_dataset *data, const struct hn_span *span,
    const struct hn_extent *before, struct hn_extent *ret);
/* hn_dataset_respell of a JSON object. */
bool hn_row_respell_json(const struct hn_dataset *data, const struct hn_span *span,
    const char *column, const json_t *value, struct hn_extent *ret, struct hn_buf *out);
/* A JSON object from the text of one row. */
json_t *hn_row_parse_json(
    const struct hn_dataset *data, const struct hn_span *span, struct hn_row_fault *fault);

/* CSV and TSV. End of the record that begins at text[at]; counts its fields. *closed is false where
 * a quote does not end. */
size_t hn_csv_record_end(
    const char *text, size_t size, size_t at, struct hn_dialect d, size_t *fields, bool *closed);
/* Fields of one record as a list of strings; NULL when memory or UTF-8 fails. */
json_t *hn_csv_read_fields(const char *text, size_t size, struct hn_dialect d);

#endif
