/*
 * SentencePiece's precompiled normalization: a trie from byte sequences to what replaces them
 * (https://github.com/google/sentencepiece/blob/master/doc/normalization.md). Everything in it is
 * hostile: every step through the trie is checked, and what would not be whole characters is no
 * match.
 */
#ifndef HN_ENGINE_TOKENIZER_CHARSMAP_H
#define HN_ENGINE_TOKENIZER_CHARSMAP_H

#include "engine/base/error.h"
#include "engine/formats/gguf.h"

struct hn_charsmap {
    const uint8_t *units; /* [n_units] of four bytes, little-endian: a double-array trie */
    size_t n_units;
    struct hn_view texts; /* replacements, each ended by a NUL */
};

/* `data` must stay while the map is used. size 0: nothing is ever replaced. */
int hn_charsmap_open(
    struct hn_charsmap *map, const uint8_t *data, size_t size, struct hn_error *err);
/* Bytes at the begin of text[size] (valid UTF-8) that are replaced, 0 if none; the longest such
 * sequence, or the shortest. */
size_t hn_charsmap_find(const struct hn_charsmap *map, const char *text, size_t size, bool longest,
    struct hn_view *ret);

#endif
