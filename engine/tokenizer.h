/*
 * Tokenizers: bytes to ids and back, exactly as the model's own tokenizer does it.
 *
 * A tokenizer is immutable after creation and may be used from several threads.
 */
#ifndef HN_TOKENIZER_H
#define HN_TOKENIZER_H

#include "engine/buf.h"
#include "engine/error.h"

#include <stdbool.h>
#include <stdint.h>

struct hn_gguf;
struct hn_tokenizer;

struct hn_ids {
    int32_t *ids;      /* [n] */
    uint32_t *offsets; /* [n] byte in the encoded text at which the token begins; the next one's begin is its end */
    size_t n, capacity, offsets_capacity;
};
void hn_ids_free(struct hn_ids *ids);

/* `gguf` must stay open while the tokenizer lives. HN_E_UNSUPPORTED names a pre-tokenizer or model that is not known.
 */
int hn_tokenizer_from_gguf(const struct hn_gguf *gguf, struct hn_tokenizer **ret, struct hn_error *err);
void hn_tokenizer_destroy(struct hn_tokenizer *tok);

/*
 * Appends the ids of text[size]. Special and added tokens match only where `origin` allows it: origin NULL allows
 * none, else origin[i] == HN_ORIGIN_TEMPLATE for every byte of the match (see template.h). Added tokens of spaces
 * only match anywhere. Invalid UTF-8 is read as U+FFFD where Python's decoder would put one; see tokenizer.c. No BOS
 * or EOS is added here.
 */
int hn_tokenizer_encode(const struct hn_tokenizer *tok, const char *text, size_t size, const uint16_t *origin,
    struct hn_ids *out, struct hn_error *err);
/* Appends the bytes of one id (special tokens as their text when `special` is true, else nothing). */
void hn_tokenizer_decode(const struct hn_tokenizer *tok, int32_t id, bool special, struct hn_buf *out);

/* The special tokens between which an encoder's texts stand: first A last, or first A last… B last; -1: none. */
struct hn_wrapping {
    int32_t first, last;
    size_t n_between; /* how often `last` stands between A and B */
};
const struct hn_wrapping *hn_tokenizer_wrapping(const struct hn_tokenizer *tok);

size_t hn_tokenizer_vocab(const struct hn_tokenizer *tok);
int32_t hn_tokenizer_bos(const struct hn_tokenizer *tok); /* -1 if none */
int32_t hn_tokenizer_eos(const struct hn_tokenizer *tok); /* -1 if none */
bool hn_tokenizer_adds_bos(const struct hn_tokenizer *tok);
/* True for tokens that end a turn or a text (EOS, <|im_end|>, <|eot_id|>, <end_of_turn> …): generation stops there.
 */
bool hn_tokenizer_is_end(const struct hn_tokenizer *tok, int32_t id);
/* True for control tokens (<|im_start|> …), which no text can spell. */
bool hn_tokenizer_is_control(const struct hn_tokenizer *tok, int32_t id);
int32_t hn_tokenizer_find(const struct hn_tokenizer *tok, const char *token); /* id of an exact token text, or -1 */

#endif
