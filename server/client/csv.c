/* See csv.h. */
#include "server/client/csv.h"

#include <stdlib.h>
#include <string.h>

#define FILE_BYTES ((size_t)1 << 30)

static char pick_separator(const char *text, size_t size) {
    static const char separators[] = ",;\t";
    size_t counts[3] = {0};
    for (size_t i = 0; i < size && text[i] != '\n' && text[i] != '\r'; i++)
        for (size_t j = 0; j < 3; j++)
            counts[j] += text[i] == separators[j];
    size_t best = 0;
    for (size_t j = 1; j < 3; j++)
        best = counts[j] > counts[best] ? j : best;
    return separators[best];
}

int hn_csv_open(struct hn_csv *csv, const char *path, struct hn_error *err) {
    *csv = (struct hn_csv){0};
    int rc = hn_file_read(path, FILE_BYTES, &csv->text, &csv->size, err);
    if (rc)
        return rc;
    if (csv->size >= 3 && memcmp(csv->text, "\xEF\xBB\xBF", 3) == 0)
        csv->at = 3;
    if (strlen(csv->text) != csv->size || hn_utf8_valid(csv->text, csv->size) != csv->size) {
        hn_csv_finish(csv);
        hn_fail(err, HN_E_INVALID_FIELD, "%.300s is not UTF-8", path);
        hn_error_hint(err, "save it as \"CSV UTF-8\"");
        return HN_E_INVALID_FIELD;
    }
    csv->separator = pick_separator(csv->text + csv->at, csv->size - csv->at);
    return 0;
}

void hn_csv_finish(struct hn_csv *csv) {
    free(csv->text);
    free(csv->fields);
    *csv = (struct hn_csv){0};
}

/* Cuts one field out and says what stood behind it: the separator, '\n', 0 at the end, or '"'
 * where a quote was not closed. */
static char *cut_field(struct hn_csv *csv, char *ret_end) {
    char *begin = csv->text + csv->at, *from = begin, *to = begin;
    bool quoted = *from == '"';
    from += quoted;
    while (*from && (quoted || (*from != csv->separator && *from != '\n' && *from != '\r'))) {
        if (quoted && *from == '"') {
            quoted = from[1] == '"';
            from += 1;
            if (!quoted)
                continue;
        }
        *to++ = *from++;
    }
    *ret_end = quoted ? '"' : *from == '\r' ? '\n' : *from;
    if (*from == '\r' && from[1] == '\n')
        from++;
    csv->at = (size_t)(from - csv->text) + (*from != 0);
    *to = 0;
    return begin;
}

int hn_csv_next(struct hn_csv *csv, struct hn_error *err) {
    char end;
    while (csv->at < csv->size && (csv->text[csv->at] == '\n' || csv->text[csv->at] == '\r'))
        csv->at++;
    if (csv->at >= csv->size)
        return 1;
    csv->n = 0;
    csv->row++;
    do {
        if (!hn_grow(&csv->fields, &csv->capacity, csv->n + 1, sizeof *csv->fields))
            return hn_fail(err, HN_E_INTERNAL, "out of memory");
        csv->fields[csv->n++] = cut_field(csv, &end);
    } while (end == csv->separator);
    if (end == '"')
        return hn_fail(
            err, HN_E_INVALID_FIELD, "row %zu begins a quoted field that has no end", csv->row);
    csv->columns = csv->columns ? csv->columns : csv->n;
    if (csv->n <= csv->columns)
        return 0;
    return hn_fail(err, HN_E_INVALID_FIELD, "row %zu has %zu fields, and the first row %zu",
        csv->row, csv->n, csv->columns);
}

void hn_csv_write(struct hn_buf *out, char separator, const char *field) {
    char special[] = {separator, '"', '\n', '\r', 0};
    if (!field[strcspn(field, special)]) {
        hn_buf_text(out, field);
        return;
    }
    hn_buf_char(out, '"');
    for (; *field; field++) {
        if (*field == '"')
            hn_buf_char(out, '"');
        hn_buf_char(out, *field);
    }
    hn_buf_char(out, '"');
}
