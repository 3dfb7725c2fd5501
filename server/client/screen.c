/* See screen.h. */
#include "server/client/screen.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/ioctl.h>
#include <time.h>
#include <unistd.h>

#define REPLACEMENT "\xEF\xBF\xBD"

static bool drives_terminals(uint32_t c) {
    return c < 0x20 || (c >= 0x7F && c < 0xA0) || c == 0x2028 || c == 0x2029 ||
        (c >= 0x202A && c <= 0x202E) || (c >= 0x2066 && c <= 0x2069) || c == 0x200E || c == 0x200F;
}

void hn_screen_clean(struct hn_buf *out, const char *text, size_t size, bool lines) {
    for (size_t i = 0; i < size;) {
        size_t left = size - i, n = hn_utf8_length((unsigned char)text[i]);
        if (n > left || hn_utf8_valid(text + i, n) != n) {
            hn_buf_text(out, REPLACEMENT);
            i += hn_utf8_bad_length(text + i, left);
            continue;
        }
        bool stays = lines && (text[i] == '\n' || text[i] == '\t');
        if (!stays && drives_terminals(hn_utf8_get(text + i)))
            hn_buf_text(out, REPLACEMENT);
        else
            hn_buf_append(out, text + i, n);
        i += n;
    }
}

void hn_screen_write(FILE *file, const char *text, size_t size) {
    struct hn_buf out = {0};
    if (isatty(fileno(file))) {
        hn_screen_clean(&out, text, size, true);
        fwrite(out.data ? out.data : "", 1, out.size, file);
    } else {
        fwrite(text, 1, size, file);
    }
    hn_buf_free(&out);
}

void hn_table_add(struct hn_table *t, const char *cell) {
    char *copy = hn_grow(&t->cells, &t->capacity, t->n + 1, sizeof *t->cells) ? strdup(cell) : NULL;
    if (copy)
        t->cells[t->n++] = copy;
    else
        t->failed = true;
}

static int cell_width(const char *cell) {
    return (int)hn_utf8_count(cell, strlen(cell));
}

/* Of a column's cells; its name without the mark. */
static int column_width(const struct hn_table *t, int column) {
    int widest = 0;
    for (size_t i = (size_t)column; i < t->n; i += (size_t)t->columns) {
        int w = cell_width(t->cells[i] + (i == (size_t)column && t->cells[i][0] == '>'));
        widest = w > widest ? w : widest;
    }
    return widest;
}

void hn_table_print(struct hn_table *t, FILE *file) {
    if (t->failed || t->columns < 1 || t->columns > 32)
        return;
    int widths[32];
    bool right[32];
    for (int c = 0; c < t->columns; c++) {
        widths[c] = column_width(t, c);
        right[c] = (size_t)c < t->n && t->cells[c][0] == '>';
    }
    for (size_t i = 0; i < t->n; i++) {
        int c = (int)(i % (size_t)t->columns);
        const char *cell = t->cells[i] + (i < (size_t)t->columns && right[c]);
        int pad = widths[c] - cell_width(cell);
        bool last = c + 1 == t->columns;
        fprintf(file, "%*s%s%*s%s", right[c] ? pad : 0, "", cell, right[c] || last ? 0 : pad, "",
            last ? "\n" : "  ");
    }
}

void hn_table_finish(struct hn_table *t) {
    for (size_t i = 0; i < t->n; i++)
        free(t->cells[i]);
    free(t->cells);
    *t = (struct hn_table){0};
}

const char *hn_figure_bytes(char ret[HN_FIGURE], double bytes) {
    static const char *const units[] = {"bytes", "kB", "MB", "GB", "TB"};
    size_t unit = 0;
    while (bytes >= 1000 && unit + 1 < sizeof units / sizeof units[0]) {
        bytes /= 1000;
        unit++;
    }
    snprintf(ret, HN_FIGURE, "%.*f %s", unit && bytes < 100, bytes, units[unit]);
    return ret;
}

const char *hn_figure_seconds(char ret[HN_FIGURE], double seconds) {
    if (!(seconds >= 0 && seconds < 1e9)) {
        snprintf(ret, HN_FIGURE, "-");
        return ret;
    }
    long s = (long)(seconds + 0.5);
    if (s >= 86400)
        snprintf(ret, HN_FIGURE, "%ldd%ldh", s / 86400, s % 86400 / 3600);
    else if (s >= 3600)
        snprintf(ret, HN_FIGURE, "%ldh%ldm", s / 3600, s % 3600 / 60);
    else if (s >= 60)
        snprintf(ret, HN_FIGURE, "%ldm%02lds", s / 60, s % 60);
    else
        snprintf(ret, HN_FIGURE, "%lds", s);
    return ret;
}

const char *hn_figure_number(char ret[HN_FIGURE], double value) {
    if (isnan(value))
        snprintf(ret, HN_FIGURE, "-");
    else
        snprintf(ret, HN_FIGURE, "%.4g", value);
    return ret;
}

const char *hn_figure_age(char ret[HN_FIGURE], const char *text) {
    struct tm at = {0};
    char since[HN_FIGURE];
    if (!text || !strptime(text, "%Y-%m-%dT%H:%M:%S", &at)) {
        snprintf(ret, HN_FIGURE, "-");
        return ret;
    }
    double age = difftime(time(NULL), timegm(&at));
    snprintf(ret, HN_FIGURE, "%.20s ago", hn_figure_seconds(since, age < 0 ? 0 : age));
    return ret;
}

int hn_screen_width(int fd) {
    struct winsize size;
    const char *columns = getenv("COLUMNS");
    long said = columns ? strtol(columns, NULL, 10) : 0;
    if (said >= 20 && said <= 1000)
        return (int)said;
    return ioctl(fd, TIOCGWINSZ, &size) == 0 && size.ws_col >= 20 ? size.ws_col : 80;
}

bool hn_screen_utf8(void) {
    static const char *const names[] = {"LC_ALL", "LC_CTYPE", "LANG"};
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        const char *value = getenv(names[i]);
        if (value && *value)
            return strcasestr(value, "utf-8") || strcasestr(value, "utf8");
    }
    return false;
}

void hn_bar_init(struct hn_bar *bar) {
    const char *kind = getenv("TERM");
    *bar = (struct hn_bar){.terminal = isatty(STDERR_FILENO) && kind && strcmp(kind, "dumb") != 0,
        .width = hn_screen_width(STDERR_FILENO)};
}

void hn_bar_show(
    struct hn_bar *bar, const char *what, double fraction, const char *rest, bool plain) {
    if (!bar->terminal) {
        if (plain && fraction >= 0)
            fprintf(stderr, "%s %3.0f %%  %s\n", what, fraction * 100, rest);
        else if (plain)
            fprintf(stderr, "%s  %s\n", what, rest);
        return;
    }
    struct hn_buf line = {0};
    bool blocks = hn_screen_utf8();
    int room = bar->width - cell_width(what) - cell_width(rest) - 12, cells = room < 30 ? room : 30;
    hn_buf_printf(&line, "%s ", what);
    if (fraction >= 0 && cells >= 5) {
        int full = (int)(fraction * cells + 0.5);
        for (int i = 0; i < cells; i++)
            hn_buf_text(&line,
                i < full ? (blocks ? "\xE2\x96\x88" : "#") : (blocks ? "\xE2\x96\x91" : "."));
    }
    if (fraction >= 0)
        hn_buf_printf(&line, " %3.0f %% ", fraction * 100);
    hn_buf_printf(&line, " %s", rest);
    /* what is wider than the terminal would wrap, and could not be written over */
    size_t end = 0;
    for (int i = 0; end < line.size && i < bar->width - 1; i++)
        end += hn_utf8_length((unsigned char)line.data[end]);
    fprintf(stderr, "\r\033[K%.*s", (int)(end < line.size ? end : line.size),
        line.data ? line.data : "");
    fflush(stderr);
    bar->shown = true;
    hn_buf_free(&line);
}

void hn_bar_clear(struct hn_bar *bar) {
    if (bar->shown)
        fputs("\r\033[K", stderr);
    bar->shown = false;
}
