/*
 * Room engine/tokenizer. Text becomes token ids, and ids text, as the model's own tokenizer does
 * it.
 *
 * Nouns: tokenizer, kind (BPE, SentencePiece, unigram, WordPiece), vocabulary, ids with their
 *   offsets.
 * Ownership: A tokenizer is immutable and owns its tables; ids belong to the caller. hf_*.c turn
 *   tokenizer.json into the fields of GGUF.
 * May include: engine/base engine/formats engine/template.
 */

/*
 * Tokenizers: bytes to ids and back, exactly as the model's own tokenizer does it.
 *
 * A tokenizer is immutable after creation and may be used from several threads.
 */
#ifndef HN_ENGINE_TOKENIZER_TOKENIZER_H
#define HN_ENGINE_TOKENIZER_TOKENIZER_H

#include "engine/base/buf.h"
#include "engine/base/error.h"

#include <stdbool.h>
#include <stdint.h>

struct hn_gguf;
struct hn_tokenizer;

struct hn_ids {
    int32_t *ids;      /* [n] */
    uint32_t *offsets; /* [n] byte in the encoded text at which the token begins */
    /* [n] byte behind its last one; what lies between it and the next token's begin, such as the
     * spaces between words of WordPiece, belongs to no token */
    uint32_t *ends;
    size_t n, capacity, offsets_capacity, ends_capacity;
};
void hn_ids_free(struct hn_ids *ids);
/* Appends one id; false when out of memory. */
static inline bool hn_ids_push(struct hn_ids *ids, int32_t id, size_t begin, size_t end) {
    if (ids->n == ids->capacity || ids->n == ids->offsets_capacity || ids->n == ids->ends_capacity)
        if (!hn_grow(&ids->ids, &ids->capacity, ids->n + 1, sizeof *ids->ids) ||
            !hn_grow(&ids->offsets, &ids->offsets_capacity, ids->n + 1, sizeof *ids->offsets) ||
            !hn_grow(&ids->ends, &ids->ends_capacity, ids->n + 1, sizeof *ids->ends))
            return false;
    ids->ids[ids->n] = id;
    ids->offsets[ids->n] = (uint32_t)begin;
    ids->ends[ids->n++] = (uint32_t)end;
    return true;
}

/* `gguf` must stay open while the tokenizer lives. HN_E_UNSUPPORTED names a pre-tokenizer or model
 * that is not known.
 */
int hn_tokenizer_from_gguf(
    const struct hn_gguf *gguf, struct hn_tokenizer **ret, struct hn_error *err);
void hn_tokenizer_destroy(struct hn_tokenizer *tok);

/*
 * Appends the ids of text[size]. Special and added tokens match only where `origin` allows it:
 * origin NULL allows none, else origin[i] == HN_ORIGIN_TEMPLATE for every byte of the match (see
 * template.h). Added tokens of spaces only match anywhere. Invalid UTF-8 is read as U+FFFD where
 * Python's decoder would put one; see tokenizer.c. No BOS or EOS is added here.
 */
int hn_tokenizer_encode(const struct hn_tokenizer *tok, const char *text, size_t size,
    const uint16_t *origin, struct hn_ids *out, struct hn_error *err);
/*
 * Where token i of `ids`, which are those of text[size] alone, stands in the text, as Hugging
 * Face's tokenizers say it: by whole characters (tokens of a character's single bytes all have the
 * character), without the spaces at its ends where the tokenizer's file asks for that (RoBERTa's),
 * *ret_begin == *ret_end where nothing is left.
 */
void hn_tokenizer_span(const struct hn_tokenizer *tok, const char *text, size_t size,
    const struct hn_ids *ids, size_t i, size_t *ret_begin, size_t *ret_end);

/*
 * A text, or a pair of texts, with the special tokens that the model's own tokenizer puts around
 * and between them ("[CLS] a [SEP] b [SEP]", "<s> a </s></s> b </s>") and their token types. Where
 * the file says nothing, there is BOS before each text if the tokenizer adds one.
 */
struct hn_sequence {
    int32_t *ids;    /* [n] */
    int32_t *types;  /* [n] token type (segment) ids */
    size_t n;        /* hn_tokenizer_wrap_size() more than the texts have */
    size_t begin[2]; /* where the first text's ids begin, and the second's */
};
void hn_sequence_free(struct hn_sequence *seq);
/* Special tokens that a single text gets, or a pair: what truncation has to leave room for. */
size_t hn_tokenizer_wrap_size(const struct hn_tokenizer *tok, bool pair);
/* b NULL: a single text. Owner calls hn_sequence_free. */
int hn_tokenizer_wrap(const struct hn_tokenizer *tok, const struct hn_ids *a,
    const struct hn_ids *b, struct hn_sequence *ret, struct hn_error *err);

/* Appends the bytes of one id (special tokens as their text when `special` is true, else
 * nothing). */
void hn_tokenizer_decode(
    const struct hn_tokenizer *tok, int32_t id, bool special, struct hn_buf *out);

size_t hn_tokenizer_vocab(const struct hn_tokenizer *tok);
int32_t hn_tokenizer_bos(const struct hn_tokenizer *tok); /* -1 if none */
int32_t hn_tokenizer_eos(const struct hn_tokenizer *tok); /* -1 if none */
bool hn_tokenizer_adds_bos(const struct hn_tokenizer *tok);
/* True for tokens that end a turn or a text (EOS, <|im_end|>, <|eot_id|>, <end_of_turn> …):
 * generation stops there.
 */
bool hn_tokenizer_is_end(const struct hn_tokenizer *tok, int32_t id);
/* True for control tokens (<|im_start|> …), which no text can spell. */
bool hn_tokenizer_is_control(const struct hn_tokenizer *tok, int32_t id);
/* Whether the text spells a control token, which stays plain text unless an origin allows it. */
bool hn_tokenizer_spells_control(const struct hn_tokenizer *tok, const char *text, size_t size);
/* Bytes of a text before the spelled end tokens that it ends with, white space between and behind
 * them included; `size` where there is none. *ret_id: the first of them, or -1. */
size_t hn_tokenizer_before_end(
    const struct hn_tokenizer *tok, const char *text, size_t size, int32_t *ret_id);
/* id of an exact token text, or -1 */
int32_t hn_tokenizer_find(const struct hn_tokenizer *tok, const char *token);

#endif
