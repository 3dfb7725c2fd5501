/*
 * Secrets by their prefixes. Most bytes of a text are passed after one look: they stand inside a
 * word, or no prefix begins with them and the byte behind.
 */
#include "engine/insight/spots.h"

#include <stdint.h>
#include <string.h>

#define MANY 8 /* different characters of a secret at least: none is "XXXXXXXXXXXX" */

enum alphabet { UPPER32, HEX, ALNUM, WORD, DOT, SLASH, LETTERS, BECH32, PEM_NAME, ALPHABETS };
enum check { NONE, CRC32, MARK, JWT, PEM };

static const struct secret {
    const char *kind, *prefix;
    enum alphabet alphabet;
    size_t least, most;
    enum check check;
} secrets[] = {
#define HN_SECRET(kind, prefix, ALPHABET, least, most, CHECK) \
    {kind, prefix, ALPHABET, least, most, CHECK},
#include "engine/insight/secrets.def"
#undef HN_SECRET
};
#define SECRETS (sizeof secrets / sizeof secrets[0])

static bool in_alphabet(enum alphabet alphabet, char c) {
    static const char *const others[ALPHABETS] = {
        [WORD] = "_-", [DOT] = "_-.", [SLASH] = "_-./+=", [PEM_NAME] = " "};
    bool upper = c >= 'A' && c <= 'Z', letter = upper || (c >= 'a' && c <= 'z');
    switch (alphabet) {
    case UPPER32:
        return upper || (c >= '2' && c <= '7');
    case HEX:
        return hn_is_digit(c) || (c >= 'a' && c <= 'f');
    case LETTERS:
        return letter;
    case BECH32:
        return hn_is_digit(c) ? c != '1' : upper && c != 'B' && c != 'I' && c != 'O';
    case PEM_NAME:
        return upper || c == ' ';
    default:
        return letter || hn_is_digit(c) || (c && others[alphabet] && strchr(others[alphabet], c));
    }
}

static uint32_t crc32_of(const char *text, size_t size) {
    uint32_t crc = 0xFFFFFFFFu;
    for (size_t i = 0; i < size; i++) {
        crc ^= (unsigned char)text[i];
        for (int bit = 0; bit < 8; bit++)
            crc = crc >> 1 ^ (0xEDB88320u & (0u - (crc & 1)));
    }
    return ~crc;
}

static bool has_crc(const char *body, size_t size) {
    static const char digits[] = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
    if (size < 7)
        return false;
    uint32_t crc = crc32_of(body, size - 6);
    for (size_t i = size; i-- > size - 6; crc /= 62)
        if (body[i] != digits[crc % 62])
            return false;
    return true;
}

static bool varied(const char *body, size_t size) {
    bool seen[256] = {false};
    size_t n = 0;
    for (size_t i = 0; i < size; i++) {
        n += !seen[(unsigned char)body[i]];
        seen[(unsigned char)body[i]] = true;
    }
    return n >= MANY;
}

/* header.payload.signature, of which the first two are JSON in base64. */
static bool is_jwt(const char *body, size_t size) {
    const char *dot = memchr(body, '.', size);
    size_t left = dot ? size - (size_t)(dot - body) - 1 : 0;
    return dot && left > 3 && memcmp(dot + 1, "eyJ", 3) == 0 && memchr(dot + 1, '.', left);
}

/* The body of the secret behind its prefix, or false. *ret_sure: not where its checksum is wrong,
 * as in tokens of documentation, which are told all the same. */
static bool body_of(
    const struct secret *s, const char *body, size_t size, size_t *ret, bool *ret_sure) {
    static const char mark[] = "T3BlbkFJ", pem[] = "PRIVATE KEY-----";
    size_t n = 0;
    while (n < size && in_alphabet(s->alphabet, body[n]))
        n++;
    *ret = n;
    *ret_sure = true;
    if (s->check == PEM)
        return n >= sizeof pem - 6 && n <= s->most + sizeof pem && size - n >= 5 &&
            memcmp(body + n - 11, pem, sizeof pem - 1) == 0;
    while (n > s->least && (body[n - 1] == '.' || body[n - 1] == '-')) /* a sentence's end */
        n--;
    *ret = n;
    if (n < s->least || (s->most && n > s->most) || !varied(body, n))
        return false;
    switch (s->check) {
    case CRC32:
        *ret_sure = has_crc(body, n);
        return true;
    case MARK:
        return memmem(body, n, mark, sizeof mark - 1) != NULL;
    case JWT:
        return is_jwt(body, n);
    default:
        return true;
    }
}

static size_t pair_of(const char *text) {
    return (size_t)(unsigned char)text[0] << 8 | (unsigned char)text[1];
}

void hn_secret_filter_init(struct hn_secret_filter *filter) {
    memset(filter, 0, sizeof *filter);
    for (size_t i = 0; i < SECRETS; i++)
        filter->pairs[pair_of(secrets[i].prefix) / 8] |=
            (uint8_t)(1u << pair_of(secrets[i].prefix) % 8);
}

void hn_secrets_find(const struct hn_secret_filter *filter, const char *text, size_t size,
    hn_spot_fn *found, void *context) {
    for (size_t at = 0; at + 1 < size; at++) {
        size_t pair = pair_of(text + at), n = 0;
        if (!(filter->pairs[pair / 8] >> pair % 8 & 1) || (at && hn_is_alnum(text[at - 1])))
            continue;
        for (size_t i = 0; i < SECRETS; i++) {
            const struct secret *s = &secrets[i];
            size_t prefix = strlen(s->prefix);
            bool sure;
            if (size - at < prefix || memcmp(text + at, s->prefix, prefix) != 0 ||
                !body_of(s, text + at + prefix, size - at - prefix, &n, &sure))
                continue;
            const struct hn_spot spot = {s->kind, text + at, prefix + n, prefix, sure};
            found(context, &spot);
            at += prefix + n - 1;
            break;
        }
    }
}
