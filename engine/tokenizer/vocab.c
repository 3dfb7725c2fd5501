/* See vocab.h. */
#include "engine/tokenizer/vocab.h"
#include "engine/base/utf8.h"

#include <stdlib.h>
#include <string.h>

/*
 * GPT-2 spells every byte as a printable character: printable Latin-1 stands for itself, the 68
 * other bytes are numbered from U+0100 in byte order. So a character below U+0100 is its own byte,
 * and U+0100 + k is the k-th unprintable one.
 */
static bool printable(uint32_t c) {
    return (c >= 0x21 && c <= 0x7E) || (c >= 0xA1 && c <= 0xAC) || (c >= 0xAE && c <= 0xFF);
}

static int byte_of(uint32_t c) {
    static const uint8_t unprintable[][2] = {{0x00, 0x20}, {0x7F, 0xA0}, {0xAD, 0xAD}};
    if (c < 0x100)
        return printable(c) ? (int)c : -1;
    uint32_t k = c - 0x100;
    for (size_t i = 0; i < 3; i++) {
        uint32_t count = unprintable[i][1] - unprintable[i][0] + 1u;
        if (k < count)
            return (int)(unprintable[i][0] + k);
        k -= count;
    }
    return -1;
}

bool hn_byte_level_decode(const char *text, size_t size, char *ret, size_t *ret_size) {
    size_t n = 0;
    if (hn_utf8_valid(text, size) != size)
        return false;
    for (size_t i = 0; i < size; i += hn_utf8_length((unsigned char)text[i])) {
        int byte = byte_of(hn_utf8_get(text + i));
        if (byte < 0)
            return false;
        ret[n++] = (char)byte;
    }
    *ret_size = n;
    return true;
}

static uint64_t hash(const char *bytes, size_t size) {
    uint64_t h = 0x9E3779B97F4A7C15u ^ size;
    while (size >= 8) {
        uint64_t word;
        memcpy(&word, bytes, 8);
        h = (h ^ word) * 0xD6E8FEB86659FD93u;
        h ^= h >> 32;
        bytes += 8;
        size -= 8;
    }
    uint64_t word = 0;
    for (size_t i = 0; i < size; i++)
        word |= (uint64_t)(unsigned char)bytes[i] << 8 * i;
    h = (h ^ word) * 0xD6E8FEB86659FD93u;
    h ^= h >> 32;
    h *= 0xD6E8FEB86659FD93u;
    return h ^ h >> 29;
}

int32_t hn_vocab_find(const struct hn_vocab *vocab, const char *bytes, size_t size) {
    for (size_t i = hash(bytes, size) & vocab->mask;; i = (i + 1) & vocab->mask) {
        int32_t id = vocab->slots[i];
        if (id < 0)
            return -1;
        struct hn_view text = hn_vocab_text(vocab, id);
        if (text.size == size && memcmp(text.data, bytes, size) == 0)
            return id;
    }
}

static void insert(struct hn_vocab *vocab, int32_t id) {
    struct hn_view text = hn_vocab_text(vocab, id);
    if (text.size == 0 || hn_vocab_find(vocab, text.data, text.size) >= 0)
        return; /* of twins the first is the token; the other can never be produced */
    size_t i = hash(text.data, text.size) & vocab->mask;
    while (vocab->slots[i] >= 0)
        i = (i + 1) & vocab->mask;
    vocab->slots[i] = id;
}

static bool ordinary(uint8_t type) {
    return type != HN_TOKEN_CONTROL && type != HN_TOKEN_USER_DEFINED && type != HN_TOKEN_UNUSED;
}

/* "<0x0A>" */
static bool read_byte(struct hn_view text, char *to) {
    char copy[8] = "", *end;
    if (text.size != 6 || memcmp(text.data, "<0x", 3) != 0 || text.data[5] != '>')
        return false;
    memcpy(copy, text.data + 3, 2);
    *to = (char)strtol(copy, &end, 16);
    return *end == 0;
}

size_t hn_blocks_decode(struct hn_view text, char *to) {
    size_t n = 0;
    for (size_t i = 0; i < text.size;) {
        bool block = text.size - i >= 3 && memcmp(text.data + i, "\xE2\x96\x81", 3) == 0;
        to[n++] = block ? ' ' : text.data[i];
        i += block ? 3 : 1;
    }
    return n;
}

int hn_vocab_load(struct hn_vocab *vocab, const struct hn_gguf *gguf, enum hn_spelling spelling,
    struct hn_error *err) {
    const struct hn_gguf_kv *tokens = hn_gguf_find(gguf, "tokenizer.ggml.tokens");
    const struct hn_gguf_kv *types = hn_gguf_find(gguf, "tokenizer.ggml.token_type");
    if (!tokens || tokens->type != HN_GGUF_ARRAY || !tokens->strings || tokens->count == 0 ||
        tokens->count > HN_VOCAB_MAX)
        return hn_fail(err, HN_E_MODEL_INVALID,
            "the model file has no usable list of tokens (tokenizer.ggml.tokens)");
    if (types &&
        (types->type != HN_GGUF_ARRAY || types->element == HN_GGUF_STRING ||
            types->count != tokens->count))
        return hn_fail(err, HN_E_MODEL_INVALID,
            "tokenizer.ggml.token_type does not fit the %zu tokens", tokens->count);
    size_t total = 1, slots = 16;
    for (size_t i = 0; i < tokens->count; i++)
        total += tokens->strings[i].size; /* all lie in the file, so the sum cannot overflow */
    if (total > UINT32_MAX)
        return hn_fail(err, HN_E_MODEL_INVALID, "the texts of the tokens are longer than 4 GiB");
    while (slots < 2 * tokens->count)
        slots *= 2;
    *vocab = (struct hn_vocab){.n = tokens->count, .mask = slots - 1};
    vocab->bytes = hn_calloc(total, 1);
    vocab->starts = hn_calloc(vocab->n + 1, sizeof *vocab->starts);
    vocab->types = hn_calloc(vocab->n, 1);
    vocab->slots = hn_calloc(slots, sizeof *vocab->slots);
    if (!vocab->bytes || !vocab->starts || !vocab->types || !vocab->slots)
        return hn_fail(err, HN_E_INTERNAL, "out of memory for %zu tokens", vocab->n);
    memset(vocab->slots, 0xFF, slots * sizeof *vocab->slots);
    for (size_t i = 0; i < vocab->n; i++) {
        struct hn_view text = tokens->strings[i];
        char *to = vocab->bytes + vocab->starts[i];
        size_t size = text.size;
        int64_t type = types ? hn_gguf_array_int(types, i) : HN_TOKEN_NORMAL;
        vocab->types[i] = type >= 1 && type <= HN_TOKEN_BYTE ? (uint8_t)type : HN_TOKEN_NORMAL;
        bool blocks = spelling == HN_SPELLED_WITH_BLOCKS,
             byte_level = spelling == HN_SPELLED_IN_BYTES;
        bool mapped = byte_level && ordinary(vocab->types[i]) &&
            hn_byte_level_decode(text.data, text.size, to, &size);
        if (blocks && vocab->types[i] == HN_TOKEN_BYTE) {
            size = read_byte(text, to) ? 1 : 0;
        } else if (blocks && vocab->types[i] != HN_TOKEN_CONTROL) {
            size = hn_blocks_decode(text, to);
        } else if (!mapped) {
            memcpy(to, text.data, text.size);
            size = text.size;
            if (byte_level && ordinary(vocab->types[i]))
                /* spelled outside the alphabet: no bytes can lead to it */
                vocab->types[i] = HN_TOKEN_UNUSED;
        }
        vocab->starts[i + 1] = vocab->starts[i] + (uint32_t)size;
        bool apart =
            blocks && (vocab->types[i] == HN_TOKEN_BYTE || vocab->types[i] == HN_TOKEN_UNKNOWN);
        if (ordinary(vocab->types[i]) && !apart)
            insert(vocab, (int32_t)i);
    }
    return 0;
}

void hn_vocab_bytes(const struct hn_vocab *vocab, int32_t ret[256]) {
    memset(ret, 0xFF, 256 * sizeof *ret);
    for (size_t id = 0; id < vocab->n; id++) {
        struct hn_view text = hn_vocab_text(vocab, (int32_t)id);
        if (vocab->types[id] == HN_TOKEN_BYTE && text.size == 1)
            ret[(unsigned char)text.data[0]] = (int32_t)id;
    }
}

void hn_vocab_finish(struct hn_vocab *vocab) {
    free(vocab->bytes);
    free(vocab->starts);
    free(vocab->types);
    free(vocab->slots);
    *vocab = (struct hn_vocab){0};
}
