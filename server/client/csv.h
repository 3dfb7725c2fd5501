/* Rows of a CSV or TSV file for predictions: fields in quotes as RFC 4180 has them. */
#ifndef HN_SERVER_CLIENT_CSV_H
#define HN_SERVER_CLIENT_CSV_H

#include "engine/engine.h"

struct hn_csv {
    char *text; /* owned; fields are cut out of it */
    size_t size, at;
    char separator;
    char **fields; /* [n]: the row that was read last, borrowed from `text` */
    size_t n, capacity;
    size_t row, columns; /* number of that row, from 1; fields of the first one */
};
/* Reads the whole file; the separator is what the first line has most of: comma, semicolon, tab. */
int hn_csv_open(struct hn_csv *csv, const char *path, struct hn_error *err);
void hn_csv_finish(struct hn_csv *csv);
/* The next row in csv->fields; 1 when there is none. Empty lines are left out.
 * HN_E_INVALID_FIELD for a quote that is not closed, and for more fields than the first row has. */
int hn_csv_next(struct hn_csv *csv, struct hn_error *err);
/* Appends a field, in quotes where it needs them. */
void hn_csv_write(struct hn_buf *out, char separator, const char *field);

#endif
