/*
 * What is put on a terminal: texts from a server with everything taken out that could drive the
 * terminal, columns, numbers as people read them, one line that is written over.
 */
#ifndef HN_SERVER_CLIENT_SCREEN_H
#define HN_SERVER_CLIENT_SCREEN_H

#include "engine/engine.h"

#include <stdio.h>

/* `text` with control characters (C0, C1, DEL), marks of writing direction and what is not UTF-8
 * as U+FFFD; with `lines`, line feeds and tabs stay. Appended to *out. */
void hn_screen_clean(struct hn_buf *out, const char *text, size_t size, bool lines);
/* The same to a file; as it is where the file is no terminal. */
void hn_screen_write(FILE *file, const char *text, size_t size);

/* Rows of cells, printed in columns as wide as their widest cell. */
struct hn_table {
    int columns;
    char **cells; /* owned */
    size_t n, capacity;
    bool failed;
};
void hn_table_add(struct hn_table *table, const char *cell);
/* A column whose name (first cell) begins with '>' is set to the right. */
void hn_table_print(struct hn_table *table, FILE *file);
void hn_table_finish(struct hn_table *table);

enum { HN_FIGURE = 32 };
const char *hn_figure_bytes(char ret[HN_FIGURE], double bytes);     /* "93.1 MB" */
const char *hn_figure_seconds(char ret[HN_FIGURE], double seconds); /* "2m10s" */
const char *hn_figure_number(char ret[HN_FIGURE], double value);    /* "0.2314"; "-" for NaN */
const char *hn_figure_age(char ret[HN_FIGURE], const char *time);   /* "5m ago" */

/* A line of progress on standard error: written over on a terminal, else a line of its own where
 * the caller asks for one. */
struct hn_bar {
    bool terminal, shown;
    int width;
};
void hn_bar_init(struct hn_bar *bar);
/* `fraction` < 0: not known. `plain`: without a terminal, this is worth a line. */
void hn_bar_show(
    struct hn_bar *bar, const char *what, double fraction, const char *rest, bool plain);
void hn_bar_clear(struct hn_bar *bar);
/* Columns of the terminal behind the file; 80 where it is none. */
int hn_screen_width(int fd);
bool hn_screen_utf8(void); /* the locale's characters are UTF-8 */

#endif
