/* Texts whose bytes were read wrongly before they came here. */
#include "engine/insight/spots.h"
#include "engine/base/utf8.h"

/* Whether Windows-1252 (or Latin-1) has the character at 0x80 to 0xBF, where all bytes of UTF-8
 * behind the first one lie. */
static bool is_continuation(uint32_t c) {
    static const uint16_t high[] = {0x20AC, 0x201A, 0x0192, 0x201E, 0x2026, 0x2020, 0x2021, 0x02C6,
        0x2030, 0x0160, 0x2039, 0x0152, 0x017D, 0x2018, 0x2019, 0x201C, 0x201D, 0x2022, 0x2013,
        0x2014, 0x02DC, 0x2122, 0x0161, 0x203A, 0x0153, 0x017E, 0x0178};
    for (size_t i = 0; i < sizeof high / sizeof high[0]; i++)
        if (c == high[i])
            return true;
    return c >= 0x80 && c <= 0xBF;
}

/* "Ã©", "Â°", "â€™": a first byte of UTF-8 as a character, and its next ones. Quotes, dashes and
 * guillemets may follow "Ã" in good Portuguese. */
static bool is_mojibake(uint32_t a, uint32_t b, uint32_t c) {
    if (a == 0xC2 || a == 0xC3)
        return b >= 0x80 && b <= 0xBF && b != 0xAB && b != 0xBB;
    if (a == 0xE2)
        return (b == 0x20AC || b == 0x80) && is_continuation(c);
    return a == 0xF0 && (b == 0x0178 || b == 0x9F) && is_continuation(c);
}

static bool is_control(uint32_t c) {
    return (c < 0x20 && c != '\t' && c != '\n' && c != '\r') || c == 0x7F ||
        (c >= 0x80 && c < 0xA0 && c != 0x85) || (c >= 0xFDD0 && c <= 0xFDEF) ||
        (c & 0xFFFE) == 0xFFFE;
}

static uint32_t get(const char *text, size_t size, size_t at, size_t *ret_next) {
    size_t n = at < size ? hn_utf8_length((unsigned char)text[at]) : 0;
    *ret_next = at + n;
    return n && n <= size - at ? hn_utf8_get(text + at) : 0x20;
}

void hn_encoding_find(const char *text, size_t size, hn_spot_fn *found, void *context) {
    static const char *const kinds[] = {
        "replacement_character", "control_character", "mojibake", "byte_order_mark"};
    bool told[4] = {false};
    for (size_t at = 0, next; at < size; at = next) {
        if ((unsigned char)text[at] >= 0x20 && (unsigned char)text[at] < 0x7F) {
            next = at + 1;
            continue;
        }
        size_t second, third;
        uint32_t c = get(text, size, at, &next), b = get(text, size, next, &second),
                 d = get(text, size, second, &third);
        int kind = c == 0xFFFD     ? 0
            : is_mojibake(c, b, d) ? 2
            : c == 0xFEFF          ? 3
            : is_control(c)        ? 1
                                   : -1;
        if (kind < 0 || told[kind])
            continue;
        const struct hn_spot spot = {kinds[kind], text + at, next - at, next - at, true};
        found(context, &spot);
        told[kind] = true;
    }
}
