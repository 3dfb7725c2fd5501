/*
 * The tokens of a tokenizer as byte strings, and the way back from bytes to an id.
 *
 * Tokens are stored as the bytes they stand for, whatever alphabet the model's file spells them in
 * (GPT-2's printable stand-ins for bytes are translated on entry). Only ordinary tokens can be
 * found by hn_vocab_find: control and added tokens are matched by tokenizer.c under rules of its
 * own.
 */
#ifndef HN_ENGINE_TOKENIZER_VOCAB_H
#define HN_ENGINE_TOKENIZER_VOCAB_H

#include "engine/base/error.h"
#include "engine/formats/gguf.h"

#include <stdbool.h>
#include <stdint.h>

#define HN_VOCAB_MAX ((size_t)1 << 22)

/* GGUF's tokenizer.ggml.token_type. */
enum hn_token_type {
    HN_TOKEN_NORMAL = 1,
    HN_TOKEN_UNKNOWN = 2,
    HN_TOKEN_CONTROL = 3,
    HN_TOKEN_USER_DEFINED = 4,
    HN_TOKEN_UNUSED = 5,
    HN_TOKEN_BYTE = 6,
};

struct hn_vocab {
    size_t n;
    char *bytes;      /* all texts, one behind the other */
    uint32_t *starts; /* [n + 1] into bytes */
    uint8_t *types;   /* [n] enum hn_token_type */
    int32_t *slots;   /* [mask + 1] open addressing over ordinary tokens; id or -1 */
    size_t mask;
};

/* How the file spells tokens: as they are, in GPT-2's byte alphabet, or with U+2581 for a space and
 * <0xXX> for bytes (SentencePiece). */
enum hn_spelling { HN_SPELLED_PLAIN, HN_SPELLED_IN_BYTES, HN_SPELLED_WITH_BLOCKS };

/* Reads tokenizer.ggml.tokens and .token_type. */
int hn_vocab_load(struct hn_vocab *vocab, const struct hn_gguf *gguf, enum hn_spelling spelling,
    struct hn_error *err);
void hn_vocab_finish(struct hn_vocab *vocab);
/* Id of the ordinary token that stands for exactly these bytes, or -1. */
int32_t hn_vocab_find(const struct hn_vocab *vocab, const char *bytes, size_t size);
static inline struct hn_view hn_vocab_text(const struct hn_vocab *vocab, int32_t id) {
    uint32_t begin = vocab->starts[id];
    return (struct hn_view){vocab->bytes + begin, vocab->starts[id + 1] - begin};
}

/* ret[b] is the token of type HN_TOKEN_BYTE for byte b, or -1. */
void hn_vocab_bytes(const struct hn_vocab *vocab, int32_t ret[256]);

/* U+2581 becomes a space; returns the size, which is at most the text's. */
size_t hn_blocks_decode(struct hn_view text, char *to);
/* Translates text in GPT-2's byte alphabet into bytes (at most `size` of them); false if a
 * character is not in it. */
bool hn_byte_level_decode(const char *text, size_t size, char *ret, size_t *ret_size);

#endif
