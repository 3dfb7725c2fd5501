/* See charsmap.h. The trie's layout is that of the Darts-clone library. */
#include "engine/tokenizer/charsmap.h"
#include "engine/base/utf8.h"

#include <string.h>

static uint32_t read_u32(const uint8_t *p) {
    return p[0] | (uint32_t)p[1] << 8 | (uint32_t)p[2] << 16 | (uint32_t)p[3] << 24;
}

int hn_charsmap_open(
    struct hn_charsmap *map, const uint8_t *data, size_t size, struct hn_error *err) {
    *map = (struct hn_charsmap){0};
    if (size == 0)
        return 0;
    size_t trie = size >= 4 ? read_u32(data) : 0;
    if (size < 4 || trie > size - 4 || trie % 4 || trie == 0)
        return hn_fail(err, HN_E_MODEL_INVALID,
            "the tokenizer's precompiled normalization is damaged: %zu bytes with a trie of %zu",
            size, trie);
    *map =
        (struct hn_charsmap){data + 4, trie / 4, {(const char *)data + 4 + trie, size - 4 - trie}};
    if (hn_utf8_valid(map->texts.data, map->texts.size) != map->texts.size)
        return hn_fail(err, HN_E_MODEL_INVALID,
            "the tokenizer's precompiled normalization has texts that are not UTF-8");
    return 0;
}

static bool is_inner(char byte) {
    return (byte & 0xC0) == 0x80;
}

/* The replacement at `value`; false if it does not begin and end with a character. */
static bool text_at(const struct hn_charsmap *map, uint32_t value, struct hn_view *ret) {
    if (value >= map->texts.size || is_inner(map->texts.data[value]))
        return false;
    const char *begin = map->texts.data + value, *end = memchr(begin, 0, map->texts.size - value);
    if (!end)
        return false;
    *ret = (struct hn_view){begin, (size_t)(end - begin)};
    return true;
}

size_t hn_charsmap_find(const struct hn_charsmap *map, const char *text, size_t size, bool longest,
    struct hn_view *ret) {
    size_t at = 0, found = 0;
    for (size_t i = 0; i <= size && at < map->n_units; i++) {
        uint32_t unit = read_u32(map->units + 4 * at);
        if (i > 0 && (unit & 0x800000FFu) != (unsigned char)text[i - 1])
            break;
        at ^= (size_t)(unit >> 10) << ((unit & 1u << 9) >> 6);
        bool leaf = unit >> 8 & 1 && at < map->n_units;
        if (i > 0 && leaf && (i == size || !is_inner(text[i])) &&
            text_at(map, read_u32(map->units + 4 * at) & 0x7FFFFFFFu, ret)) {
            found = i;
            if (!longest)
                break;
        }
        if (i < size)
            at ^= (unsigned char)text[i];
    }
    return found;
}
