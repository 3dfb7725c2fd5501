/*
 * Room engine/data. A hostile file becomes rows, and rows become tokens with the weight of every
 * target.
 *
 * Nouns: data set, row, layout (which columns make a row), issue, codec (tokenizer and template of
 *   a model), labels, example (an encoded row), prompt.
 * Ownership: A data set owns its map and the places of its rows; examples own their arrays, or
 *   borrow a token file's.
 * May include: engine/base engine/formats engine/hyperparams engine/model engine/tables
 *   engine/template engine/tokenizer.
 */

/*
 * Data sets: a file of rows in one of the accepted formats, parsed and validated line by line.
 *
 * The file is hostile: any bytes, any size. Every bad row is reported with line, column, field and
 * the fix (the first 100, and the total). With `drop` bad rows are left out and counted; with
 * `refuse` one bad row refuses the file.
 */
#ifndef HN_ENGINE_DATA_DATASET_H
#define HN_ENGINE_DATA_DATASET_H

#include "engine/base/buf.h"
#include "engine/base/error.h"
#include "engine/base/file.h"
#include "engine/data/issues.h"
#include "engine/data/rows.h"

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

struct hn_dataset_options {
    const char *format; /* "jsonl" … or NULL: recognised */
    /* {"prompt":"question","completion":"answer"} maps our names to the file's, or NULL */
    const json_t *columns;
    bool drop; /* on_error=drop */
    /* The first rows as their file has them, usable or not, are added to this list as
     * {"line","row"}. NULL: none are. */
    json_t *sample;
    size_t n_sample; /* at most so many */
};

struct hn_dataset_format;

struct hn_dialect {
    char delimiter; /* of columns, in formats that have no names in their rows */
    char newline;   /* '\r' in files whose lines end in nothing else, else '\n' */
};

struct hn_dataset {
    struct hn_map map;
    const char *format;
    enum hn_columns columns;
    json_t *mapping; /* the columns as found or given: our name → the file's */
    size_t n_rows;   /* kept rows, of `more` as well */
    size_t *offsets; /* [n_rows] byte of the row in the file */
    size_t *sizes;   /* [n_rows] bytes of the row */
    uint32_t *lines; /* [n_rows] line in its file, from 1 */
    uint32_t *parts; /* [n_rows] which of the rows in that text, from 0 */
    size_t dropped;
    struct hn_issues issues;
    size_t offsets_capacity, sizes_capacity, lines_capacity, parts_capacity;
    /* Further files, whose rows come behind this one's. */
    struct hn_dataset *more; /* [n_more] */
    size_t n_more, first;    /* first: number of rows in the files before this one */
    /* of the reader */
    const struct hn_dataset_format *reader;
    const struct hn_layout *layout; /* of the first row that was recognised */
    json_t *given;                  /* the mapping that was asked for, or NULL */
    /* column names of formats that have no names in their rows, or NULL */
    json_t *header;
    size_t begin; /* byte behind the byte order mark */
    struct hn_dialect dialect;
    bool counted;       /* tagged words: the first column counts them */
    size_t tag_columns; /* tagged words: columns of each line; 0: they differ */
};

/* Parses and validates the whole file; rows themselves stay in the map. On HN_E_DATASET_INVALID
 * `ret->issues` is filled as well. Call hn_dataset_close in every case (also after a failure). */
int hn_dataset_open(struct hn_dataset *ret, const char *path,
    const struct hn_dataset_options *options, struct hn_error *err);
/* Reads another file behind what `data` has; its rows must be of the same kind. Leaves `data` as it
 * was on failure.
 */
int hn_dataset_append(struct hn_dataset *data, const char *path,
    const struct hn_dataset_options *options, struct hn_error *err);
/* The first row of the first file that begins in this line or behind it; n_rows: there is none. */
size_t hn_dataset_row_from(const struct hn_dataset *data, uint64_t line);
/* Which of the files a row is from, from 0. */
size_t hn_dataset_part(const struct hn_dataset *data, size_t row);
void hn_dataset_close(struct hn_dataset *data);
/* The row as an object under our own names ("messages" | "prompt","completion" | "text" …). New
 * reference. */
int hn_dataset_row(const struct hn_dataset *data, size_t row, json_t **ret, struct hn_error *err);
/* What a row has in a column of its file, under the file's own name, or NULL where it has none. New
 * reference. With `column` NULL the whole row as the file has it. */
int hn_dataset_column(const struct hn_dataset *data, size_t row, const char *column, json_t **ret,
    struct hn_error *err);
struct hn_extent {
    size_t from, to; /* bytes of the file, without the last */
};
/*
 * What is to go from the file so that the row goes and all others stay as they are. `before` is
 * what goes already for the rows just before (NULL: nothing); *ret can begin where it begins, and
 * then takes its place. False: rows of this format do not stand by themselves.
 */
bool hn_dataset_cut(const struct hn_dataset *data, size_t row, const struct hn_extent *before,
    struct hn_extent *ret);
/* What is to be written in a place of the file (*ret; `out` is appended to) for the row to have the
 * value in a column of the file. False: it cannot be written so. */
bool hn_dataset_respell(const struct hn_dataset *data, size_t row, const char *column,
    const json_t *value, struct hn_extent *ret, struct hn_buf *out);
/* Names of the tasks these columns allow, the default first; NULL-ended. */
const char *const *hn_dataset_tasks(const struct hn_dataset *data);

#endif
