/* See plot.h. */
#include "server/client/plot.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define LEFT 11 /* characters of the scale at the left */

struct frame {
    double x0, x1, y0, y1;
    int columns, rows; /* of characters */
    int across, down;  /* dots of a character */
    uint8_t *cells;    /* [rows][columns]: a bit for each dot */
};

/* Bits of U+2800: the left column's dots from above, then the right one's. */
static const uint8_t bits[4][2] = {{0x01, 0x08}, {0x02, 0x10}, {0x04, 0x20}, {0x40, 0x80}};

static bool find_range(struct frame *f, const struct hn_plot *p) {
    bool any = false;
    for (size_t i = 0; i < p->n; i++) {
        if (!isfinite(p->x[i]) || !isfinite(p->y[i]))
            continue;
        f->x0 = !any || p->x[i] < f->x0 ? p->x[i] : f->x0;
        f->x1 = !any || p->x[i] > f->x1 ? p->x[i] : f->x1;
        f->y0 = !any || p->y[i] < f->y0 ? p->y[i] : f->y0;
        f->y1 = !any || p->y[i] > f->y1 ? p->y[i] : f->y1;
        any = true;
    }
    return any;
}

/* Where a value lies among `dots`, from 0 on. */
static int place(double value, double from, double to, int dots) {
    double share = to > from ? (value - from) / (to - from) : 0.5;
    int at = (int)lround(share * (dots - 1));
    return at < 0 ? 0 : at >= dots ? dots - 1 : at;
}

static void set_dot(struct frame *f, int x, int y) {
    int row = y / f->down, column = x / f->across;
    f->cells[row * f->columns + column] |= bits[y % f->down][x % f->across];
}

/* A line of dots to the point from the one before. */
static void draw_line(struct frame *f, int x0, int y0, int x1, int y1) {
    int steps = abs(x1 - x0) > abs(y1 - y0) ? abs(x1 - x0) : abs(y1 - y0);
    for (int i = 0; i <= steps; i++)
        set_dot(
            f, x0 + (steps ? (x1 - x0) * i / steps : 0), y0 + (steps ? (y1 - y0) * i / steps : 0));
}

static void draw_points(struct frame *f, const struct hn_plot *p) {
    int before_x = -1, before_y = -1, dots_x = f->columns * f->across, dots_y = f->rows * f->down;
    for (size_t i = 0; i < p->n; i++) {
        if (!isfinite(p->x[i]) || !isfinite(p->y[i]))
            continue;
        int x = place(p->x[i], f->x0, f->x1, dots_x),
            y = dots_y - 1 - place(p->y[i], f->y0, f->y1, dots_y);
        if (before_x < 0)
            set_dot(f, x, y);
        else
            draw_line(f, before_x, before_y, x, y);
        before_x = x;
        before_y = y;
    }
}

static void write_rows(struct hn_buf *out, const struct frame *f, const struct hn_plot *p) {
    for (int row = 0; row < f->rows; row++) {
        char scale[LEFT + 1] = "";
        if (row == 0 || row == f->rows - 1)
            snprintf(scale, sizeof scale, "%.4g", row ? f->y0 : f->y1);
        hn_buf_printf(out, "%*s %s", LEFT - 2, scale, p->braille ? "\xE2\x94\x82" : "|");
        for (int column = 0; column < f->columns; column++) {
            uint8_t cell = f->cells[row * f->columns + column];
            char character[5] = "";
            if (p->braille && cell)
                hn_utf8_put(0x2800u + cell, character);
            hn_buf_text(out, character[0] ? character : cell ? "*" : " ");
        }
        while (out->size && out->data[out->size - 1] == ' ')
            out->data[--out->size] = 0;
        hn_buf_char(out, '\n');
    }
}

void hn_plot_draw(struct hn_buf *out, const struct hn_plot *p) {
    struct frame f = {.columns = p->width - LEFT,
        .rows = p->height - 2,
        .across = p->braille ? 2 : 1,
        .down = p->braille ? 4 : 1};
    char from[32], to[32];
    hn_buf_printf(out, "%*s%s\n", LEFT, "", p->title);
    if (f.columns < 8 || f.rows < 2 || f.columns > 1000 || f.rows > 1000 || !find_range(&f, p)) {
        hn_buf_printf(out, "%*sno values\n", LEFT, "");
        return;
    }
    f.cells = hn_calloc((size_t)(f.columns * f.rows), 1);
    if (!f.cells) {
        out->failed = true;
        return;
    }
    draw_points(&f, p);
    write_rows(out, &f, p);
    snprintf(from, sizeof from, "%.6g", f.x0);
    snprintf(to, sizeof to, "%.6g", f.x1);
    int between = f.columns - (int)strlen(from) - (int)strlen(to);
    hn_buf_printf(out, "%*s%s%*s%s\n", LEFT, "", from, between > 1 ? between : 1, "", to);
    free(f.cells);
}
