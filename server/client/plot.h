/* A curve in a terminal's characters. */
#ifndef HN_SERVER_CLIENT_PLOT_H
#define HN_SERVER_CLIENT_PLOT_H

#include "engine/engine.h"

struct hn_plot {
    const char *title;
    const double *x, *y; /* [n]; what is not finite is left out */
    size_t n;
    int width, height; /* characters of the whole, axes included */
    bool braille;      /* two by four dots a character, else one asterisk */
};
/* Appends the lines of the plot; "no values" where there are none. */
void hn_plot_draw(struct hn_buf *out, const struct hn_plot *plot);

#endif
