/*
 * Sizes in which work is cut up. They depend on shapes only, never on the number of threads: that keeps bits the
 * same. Measured in bench/SPEED.md.
 */
#ifndef HN_TILES_H
#define HN_TILES_H

enum {
    HN_TILE_ROWS = 512, /* tokens a task of a product */
    HN_TILE_COLS = 96,  /* output columns a task of a product: three panels; 576 are six tasks, which two threads share */
    HN_LOSS_ROWS = 256, /* target rows whose logits exist at the same time */
    HN_QUERY_BLOCK = 64,
    HN_KEY_BLOCK = 256,
    HN_ROW_BLOCK = 32,    /* rows a task of an elementwise op */
    HN_DROPOUT_ROWS = 64, /* rows whose dropped inputs exist at the same time */
    HN_MID_ROWS = 256,    /* rows a task of the adapters' inner tensors without dropout: A is packed for each */
};

#endif
