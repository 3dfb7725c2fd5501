/*
 * What the kinds of tokenizers share, and the row each of them adds: internal to tokenizer.c and the kinds' files.
 */
#ifndef HN_TOKENIZER_KIND_H
#define HN_TOKENIZER_KIND_H

#include "engine/gguf.h"
#include "engine/tokenizer.h"
#include "engine/vocab.h"

#define HN_TEXT_MAX ((size_t)1 << 30) /* bytes of one text */

struct hn_tokenizer_kind {
    const char *model; /* tokenizer.ggml.model */
    enum hn_spelling spelling;
    /* Fills tok->state from the file; tok->vocab is loaded already. */
    int (*load)(struct hn_tokenizer *tok, const struct hn_gguf *gguf, struct hn_error *err);
    /* Appends the ids of text[size], a stretch of valid UTF-8 between added tokens. `map[i]`, or base + i when map is
     * NULL, is the offset to record for byte i. */
    int (*encode)(const struct hn_tokenizer *tok, const char *text, size_t size, const uint32_t *map, size_t base,
        struct hn_ids *out, struct hn_error *err);
    void (*destroy)(void *state);
};

struct hn_added { /* a control or added token, matched in the text itself */
    int32_t id;
    bool anywhere; /* only spaces: matches in data as well */
};

struct hn_tokenizer {
    const struct hn_tokenizer_kind *kind;
    void *state;
    struct hn_vocab vocab;
    int32_t bos, eos;
    bool adds_bos;
    struct hn_wrapping wrapping;
    struct hn_added *added; /* [n_added] by first byte, then longest first */
    size_t n_added;
    uint32_t added_first[257]; /* added tokens beginning with byte b are [added_first[b], added_first[b + 1]) */
    int32_t ends[32];          /* ids that end a turn or a text */
    size_t n_ends;
};

extern const struct hn_tokenizer_kind hn_tokenizer_bpe, hn_tokenizer_spm;

/* Appends one id; false when out of memory. */
static inline bool hn_ids_push(struct hn_ids *out, int32_t id, uint32_t offset) {
    if (out->n == out->capacity || out->n == out->offsets_capacity)
        if (!hn_grow(&out->ids, &out->capacity, out->n + 1, sizeof *out->ids) ||
            !hn_grow(&out->offsets, &out->offsets_capacity, out->n + 1, sizeof *out->offsets))
            return false;
    out->ids[out->n] = id;
    out->offsets[out->n++] = offset;
    return true;
}

#endif
