/* Places in a text that somebody should look at: secrets, personal data, broken encodings. */
#ifndef HN_ENGINE_INSIGHT_SPOTS_H
#define HN_ENGINE_INSIGHT_SPOTS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct hn_spot {
    const char *kind;   /* what it is, for programs: "github_token" */
    const char *at;     /* [size] in the text */
    size_t size, shown; /* the first `shown` bytes may be shown to people */
    bool sure;          /* not where a checksum is wrong, or where it may be something else */
};

typedef void hn_spot_fn(void *context, const struct hn_spot *spot);

/* What most bytes of a text are passed by. */
struct hn_secret_filter {
    uint8_t pairs[65536 / 8]; /* a bit for each two bytes that a prefix begins with */
};
void hn_secret_filter_init(struct hn_secret_filter *filter);
/* Keys and tokens of services, by their prefix, alphabet, length and checksum (secrets.def). */
void hn_secrets_find(const struct hn_secret_filter *filter, const char *text, size_t size,
    hn_spot_fn *found, void *context);
/* E-mail addresses, card and account numbers, telephone and social security numbers, addresses of
 * machines. Names and postal addresses are not looked for. */
void hn_personal_find(const char *text, size_t size, hn_spot_fn *found, void *context);
/* U+FFFD, control characters, and UTF-8 that was read as Windows-1252: the first of each kind. */
void hn_encoding_find(const char *text, size_t size, hn_spot_fn *found, void *context);

static inline bool hn_is_digit(char c) {
    return c >= '0' && c <= '9';
}
static inline bool hn_is_alnum(char c) {
    return hn_is_digit(c) || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
}

#endif
