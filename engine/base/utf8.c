/* See utf8.h. */
#include "engine/base/utf8.h"

#include <string.h>
#include <utf8proc.h>

size_t hn_utf8_put(uint32_t c, char *ret) {
    if (c < 0x80) {
        ret[0] = (char)c;
        return 1;
    }
    if (c < 0x800) {
        ret[0] = (char)(0xC0 | c >> 6);
        ret[1] = (char)(0x80 | (c & 0x3F));
        return 2;
    }
    if (c < 0x10000) {
        ret[0] = (char)(0xE0 | c >> 12);
        ret[1] = (char)(0x80 | (c >> 6 & 0x3F));
        ret[2] = (char)(0x80 | (c & 0x3F));
        return 3;
    }
    ret[0] = (char)(0xF0 | c >> 18);
    ret[1] = (char)(0x80 | (c >> 12 & 0x3F));
    ret[2] = (char)(0x80 | (c >> 6 & 0x3F));
    ret[3] = (char)(0x80 | (c & 0x3F));
    return 4;
}

/*
 * Well-formed prefix of one sequence (Unicode 15, table 3-7): returns how many bytes fit, *ret_need
 * how many a whole one has. Only the second byte has a range that depends on the first.
 */
static size_t sequence(const unsigned char *p, size_t size, size_t *ret_need) {
    unsigned char lead = p[0], low = 0x80, high = 0xBF;
    size_t need = lead < 0x80 ? 1
        : lead < 0xC2         ? 0
        : lead < 0xE0         ? 2
        : lead < 0xF0         ? 3
        : lead < 0xF5         ? 4
                              : 0;
    *ret_need = need;
    if (need < 2)
        return need;
    if (lead == 0xE0)
        low = 0xA0;
    else if (lead == 0xED)
        high = 0x9F;
    else if (lead == 0xF0)
        low = 0x90;
    else if (lead == 0xF4)
        high = 0x8F;
    size_t i = 1;
    for (; i < need && i < size; i++) {
        if (p[i] < low || p[i] > high)
            break;
        low = 0x80;
        high = 0xBF;
    }
    return i;
}

size_t hn_utf8_valid(const char *text, size_t size) {
    const unsigned char *p = (const unsigned char *)text;
    size_t i = 0;
    while (i < size) {
        uint64_t word;
        if (p[i] < 0x80) {
            while (size - i >= 8 && (memcpy(&word, p + i, 8), (word & 0x8080808080808080u) == 0))
                i += 8;
            if (i < size && p[i] < 0x80)
                i++;
            continue;
        }
        size_t need, have = sequence(p + i, size - i, &need);
        if (!need || have < need)
            return i;
        i += need;
    }
    return size;
}

size_t hn_utf8_bad_length(const char *text, size_t size) {
    size_t need, have = sequence((const unsigned char *)text, size, &need);
    return have ? have : 1;
}

size_t hn_utf8_count(const char *text, size_t size) {
    size_t n = 0;
    for (size_t i = 0; i < size; i++)
        n += (text[i] & 0xC0) != 0x80;
    return n;
}

bool hn_utf8_is_space(uint32_t c) {
    return (c >= 0x09 && c <= 0x0D) || (c >= 0x1C && c <= 0x20) || c == 0x85 || c == 0xA0 ||
        c == 0x1680 || (c >= 0x2000 && c <= 0x200A) || c == 0x2028 || c == 0x2029 || c == 0x202F ||
        c == 0x205F || c == 0x3000;
}

bool hn_utf8_is_word(uint32_t c) {
    utf8proc_category_t category = utf8proc_category((utf8proc_int32_t)c);
    return (category >= UTF8PROC_CATEGORY_LU && category <= UTF8PROC_CATEGORY_NL) ||
        category == UTF8PROC_CATEGORY_PC || c == 0x200C || c == 0x200D ||
        (c >= 0x24B6 && c <= 0x24E9) || (c >= 0x1F130 && c <= 0x1F149) ||
        (c >= 0x1F150 && c <= 0x1F169) || (c >= 0x1F170 && c <= 0x1F189);
}
