/*
 * UTF-8: decoding of checked text, checking, and repair as Python's bytes.decode("utf-8",
 * errors="replace") does it.
 */
#ifndef HN_ENGINE_BASE_UTF8_H
#define HN_ENGINE_BASE_UTF8_H

#include "engine/base/buf.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Bytes of the character that begins with this lead byte, in valid text. */
static inline size_t hn_utf8_length(unsigned char lead) {
    return lead < 0x80 ? 1 : lead < 0xE0 ? 2 : lead < 0xF0 ? 3 : 4;
}
/* The character at p of valid text. */
static inline uint32_t hn_utf8_get(const char *text) {
    const unsigned char *p = (const unsigned char *)text;
    if (p[0] < 0x80)
        return p[0];
    if (p[0] < 0xE0)
        return (p[0] & 0x1Fu) << 6 | (p[1] & 0x3Fu);
    if (p[0] < 0xF0)
        return (p[0] & 0x0Fu) << 12 | (p[1] & 0x3Fu) << 6 | (p[2] & 0x3Fu);
    return (p[0] & 0x07u) << 18 | (p[1] & 0x3Fu) << 12 | (p[2] & 0x3Fu) << 6 | (p[3] & 0x3Fu);
}
/* Writes 1 to 4 bytes, returns how many. `c` is a scalar value. */
size_t hn_utf8_put(uint32_t c, char *ret);
/* Bytes at the begin of text[size] that are valid UTF-8; equal to size when all is. No surrogates,
 * no overlong forms.
 */
size_t hn_utf8_valid(const char *text, size_t size);
/* Length of the maximal subpart of an ill-formed sequence at text (size > 0), which U+FFFD stands
 * for. */
size_t hn_utf8_bad_length(const char *text, size_t size);
/* Characters of valid text. */
size_t hn_utf8_count(const char *text, size_t size);
/* What Python's str.isspace() calls a space. */
bool hn_utf8_is_space(uint32_t c);
/* Unicode's White_Space, the \s of the tokenizers' expressions. */
static inline bool hn_utf8_is_white(uint32_t c) {
    return hn_utf8_is_space(c) && !(c >= 0x1C && c <= 0x1F);
}
/* A letter, mark, digit or connector: the \w of the tokenizers' expressions. */
bool hn_utf8_is_word(uint32_t c);

#endif
