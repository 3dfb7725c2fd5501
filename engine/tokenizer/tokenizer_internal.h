/*
 * What the kinds of tokenizers share, and the row each of them adds: internal to tokenizer.c and
 * the kinds' files.
 */
#ifndef HN_ENGINE_TOKENIZER_TOKENIZER_INTERNAL_H
#define HN_ENGINE_TOKENIZER_TOKENIZER_INTERNAL_H

#include "engine/formats/gguf.h"
#include "engine/tokenizer/tokenizer.h"
#include "engine/tokenizer/vocab.h"

#define HN_TEXT_MAX ((size_t)1 << 30) /* bytes of one text */

/* Fields that GGUF has no name for, as folder_text.c writes them. */
#define HN_KEY_INNER_PREFIX "hone.tokenizer.inner_prefix" /* marks a piece inside a word: "##" */
#define HN_KEY_MAX_WORD "hone.tokenizer.max_word"         /* characters; a longer word is unknown */
#define HN_KEY_CLEAN "hone.tokenizer.clean_text" /* these four: BertNormalizer's switches */
#define HN_KEY_IDEOGRAPHS "hone.tokenizer.handle_chinese_chars"
#define HN_KEY_STRIP "hone.tokenizer.strip_accents"
#define HN_KEY_LOWER "hone.tokenizer.lowercase"
#define HN_KEY_ADDED \
    "hone.tokenizer.added" /* [id, HN_ADDED_… flags] for added tokens that have any */
#define HN_KEY_ENDS "hone.tokenizer.ends"     /* ids that end a turn or a text */
#define HN_KEY_TRIM "hone.tokenizer.trim"     /* HN_TRIM_… */
#define HN_KEY_PREFIX "hone.tokenizer.prefix" /* HN_PREFIX_… */
#define HN_KEY_SPLIT "hone.tokenizer.split"   /* words begin at spaces (Metaspace's "split") */
#define HN_KEY_WORDS "hone.tokenizer.words"   /* cut at white space first */
#define HN_KEY_STRIP_LEFT \
    "hone.tokenizer.strip_left" /* spaces at the ends of a text, and runs of them */
#define HN_KEY_STRIP_RIGHT "hone.tokenizer.strip_right"
#define HN_KEY_COLLAPSE "hone.tokenizer.collapse"
#define HN_KEY_FUSE "hone.tokenizer.fuse_unknown" /* unknown characters in a row are one token */
#define HN_KEY_FALLBACK "hone.tokenizer.byte_fallback"
#define HN_KEY_SINGLE \
    "hone.tokenizer.single" /* [id or HN_PART_FIRST, type] for each part of a wrapped text */
#define HN_KEY_PAIR "hone.tokenizer.pair" /* the same for two texts */

enum { HN_ADDED_LSTRIP = 1, HN_ADDED_RSTRIP = 2, HN_ADDED_WORD = 4, HN_ADDED_NORMALIZED = 8 };
enum { HN_TRIM_NONE, HN_TRIM_SPACES, HN_TRIM_BUT_PREFIX };
/* A space put before stretches between added tokens: none; before each one, and "normalized" added
 * tokens are looked for behind it; before each that begins with none; before that at the text's
 * begin if it begins with none. */
enum { HN_PREFIX_NONE, HN_PREFIX_EACH, HN_PREFIX_MISSING, HN_PREFIX_FIRST };
enum { HN_PART_FIRST = -1, HN_PART_SECOND = -2 }; /* the texts in HN_KEY_SINGLE and HN_KEY_PAIR */
#define HN_WRAP_PARTS_MAX 32
#define HN_ENDS_MAX 32

struct hn_tokenizer_kind {
    const char *model; /* tokenizer.ggml.model */
    enum hn_spelling spelling;
    /* user-defined tokens match in any text, but for those that structure a chat */
    bool takes_added;
    bool own_spaces; /* puts spaces before texts and reads U+2581 itself */
    /* Fills tok->state from the file; tok->vocab is loaded already. */
    int (*load)(struct hn_tokenizer *tok, const struct hn_gguf *gguf, struct hn_error *err);
    /* Appends the ids of text[size], a stretch of valid UTF-8 between added tokens. `map[i]`, or
     * base + i when map is NULL, is the offset to record for byte i; i may be `size`. */
    int (*encode)(const struct hn_tokenizer *tok, const char *text, size_t size,
        const uint32_t *map, size_t base, struct hn_ids *out, struct hn_error *err);
    void (*destroy)(void *state);
};

struct hn_added { /* a control or added token, matched in the text itself */
    int32_t id;
    bool anywhere; /* matches in data as well */
    uint8_t flags; /* HN_ADDED_… */
};

struct hn_wrap_part {
    int32_t id, type;
};

struct hn_tokenizer {
    const struct hn_tokenizer_kind *kind;
    void *state;
    struct hn_vocab vocab;
    int32_t bos, eos;
    bool adds_bos;
    struct hn_added *added;       /* [n_added] by first byte, then longest first */
    size_t n_added, n_normalized; /* the latter with HN_ADDED_NORMALIZED */
    /* added tokens beginning with byte b are [added_first[b], added_first[b + 1]) */
    uint32_t added_first[257];
    int32_t ends[HN_ENDS_MAX]; /* ids that end a turn or a text */
    size_t n_ends;
    int prefix;                                      /* HN_PREFIX_…, set by the kind's load */
    int trim;                                        /* HN_TRIM_… */
    struct hn_wrap_part parts[2][HN_WRAP_PARTS_MAX]; /* of a single text, of a pair */
    size_t n_parts[2];
};

extern const struct hn_tokenizer_kind hn_tokenizer_bpe, hn_tokenizer_piece_bpe, hn_tokenizer_spm,
    hn_tokenizer_unigram, hn_tokenizer_wordpiece;

/* Fills tok->parts and tok->trim; the rest of tok is loaded already. */
int hn_tokenizer_load_parts(
    struct hn_tokenizer *tok, const struct hn_gguf *gguf, struct hn_error *err);

/* One unknown token; when the one before it, at or behind index `first`, is unknown as well, that
 * one grows. */
static inline bool hn_ids_push_unknown(
    struct hn_ids *ids, size_t first, bool fuse, int32_t unknown, size_t begin, size_t end) {
    if (!fuse || ids->n <= first || ids->ids[ids->n - 1] != unknown)
        return hn_ids_push(ids, unknown, begin, end);
    ids->ends[ids->n - 1] = (uint32_t)end;
    return true;
}

#endif
