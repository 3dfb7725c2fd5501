/* Rows of a CSV or TSV file for predictions: fields in quotes as RFC 4180 has them. */
#ifndef HN_SERVER_CLIENT_CSV_H
#define HN_SERVER_CLIENT_CSV_H

#include "engine/engine.h"

#include <stdio.h>

struct hn_csv {
    char *text; /* owned; fields are cut out of it */
    size_t size, at;
    char separator;
    char **fields; /* [n]: the row that was read last, borrowed from `text` */
    size_t n, capacity;
};
/* Reads the whole file; the separator is what the first line has most of: comma, semicolon, tab. */
int hn_csv_open(struct hn_csv *csv, const char *path, struct hn_error *err);
void hn_csv_finish(struct hn_csv *csv);
/* The next row in csv->fields; 1 when there is none. Empty lines are left out. */
int hn_csv_next(struct hn_csv *csv, struct hn_error *err);
/* A field, in quotes where it needs them. */
void hn_csv_write(FILE *file, char separator, const char *field);

#endif
