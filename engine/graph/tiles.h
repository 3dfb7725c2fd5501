/*
 * Sizes in which work is cut up. Those that a sum depends on follow from shapes only, never from
 * the number of threads: that keeps bits the same. Measured in bench/SPEED.md.
 */
#ifndef HN_ENGINE_GRAPH_TILES_H
#define HN_ENGINE_GRAPH_TILES_H

#include <stddef.h>

enum {
    /* Rows a task of a product; no sum depends on them. Each task packs its columns of the weight
     * anew, so that many rows are better, where the columns alone give every thread its share of
     * tasks. */
    HN_TILE_ROWS = 2048,
    HN_TILE_ROWS_SHARED = 512,
    HN_TILE_TASKS = 3,  /* a thread's share */
    HN_LOSS_ROWS = 256, /* target rows whose logits exist at the same time */
    HN_QUERY_BLOCK = 64,
    HN_KEY_BLOCK = 256,
    HN_HEADS_TOGETHER = 8, /* heads that share packed keys and values, at most */
    /* parts of a sequence's keys with gradients of queries of their own, at most: few sequences of
     * few heads would leave threads idle */
    HN_KEY_PARTS = 4,
    HN_ROW_BLOCK = 32,    /* rows a task of an elementwise op */
    HN_DROPOUT_ROWS = 64, /* rows whose dropped inputs exist at the same time */
    /* rows a task of the adapters' inner tensors without dropout: A is packed for each */
    HN_LORA_ROWS = 256,
};

/* Parts into which the keys of a sequence of this length are dealt out. */
static inline size_t hn_key_parts(size_t length) {
    size_t blocks = (length + HN_KEY_BLOCK - 1) / HN_KEY_BLOCK;
    return blocks < HN_KEY_PARTS ? blocks : HN_KEY_PARTS;
}

#endif
