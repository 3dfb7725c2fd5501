/*
 * Personal data by its form: checksums where there are some, and what cannot be told from other
 * numbers (telephone numbers, addresses of machines) is not sure.
 */
#include "engine/insight/spots.h"

#include <arpa/inet.h>
#include <stdint.h>
#include <string.h>

/* A text from one place on. Each reader returns the bytes of what it found there, or 0. */
struct from {
    const char *text;
    size_t size;
};

static char at(const struct from *f, size_t i) {
    return i < f->size ? f->text[i] : 0;
}

/* Digits with at most one separator between two; at most `room` of them. Returns the bytes. */
static size_t read_digits(
    const struct from *f, const char *separators, char *digits, size_t room, size_t *ret_n) {
    size_t i = 0, n = 0, end = 0;
    while (i < f->size && n < room) {
        if (hn_is_digit(f->text[i])) {
            digits[n++] = f->text[i++];
            end = i;
        } else if (n && i == end && f->text[i] && strchr(separators, f->text[i])) {
            i++;
        } else {
            break;
        }
    }
    *ret_n = n;
    return end;
}

static bool luhn(const char *digits, size_t n) {
    int sum = 0;
    for (size_t i = 0; i < n; i++) {
        int d = digits[n - 1 - i] - '0';
        d = i % 2 ? 2 * d : d;
        sum += d > 9 ? d - 9 : d;
    }
    return sum % 10 == 0;
}

/* Visa, Mastercard, American Express, Discover, JCB, Diners Club by first digits and length. */
static bool is_issuer(const char *digits, size_t n) {
    int two = (digits[0] - '0') * 10 + digits[1] - '0',
        four = two * 100 + (digits[2] - '0') * 10 + digits[3] - '0';
    return (two / 10 == 4 && (n == 13 || n == 16 || n == 19)) ||
        (n == 16 &&
            ((two >= 51 && two <= 55) || (four >= 2221 && four <= 2720) || four == 6011 ||
                two == 65 || two == 35)) ||
        (n == 15 && (two == 34 || two == 37)) || (n == 14 && (two == 30 || two == 36 || two == 38));
}

static size_t read_card(const struct from *f) {
    char digits[20];
    size_t n, size = read_digits(f, " -", digits, sizeof digits, &n);
    if (n < 13 || n > 19 || hn_is_alnum(at(f, size)) || !is_issuer(digits, n) || !luhn(digits, n))
        return 0;
    for (size_t i = 4; i < n; i++) /* 4000 0000 0000 0000 is nobody's, nor any number of zeros */
        if (digits[i] != '0')
            return size;
    return 0;
}

/* "+49 30 1234567", "(212) 555-0123" or "212-555-0123". */
static size_t read_phone(const struct from *f) {
    char digits[16];
    bool plus = at(f, 0) == '+';
    struct from rest = {f->text + plus, f->size - plus};
    size_t n;
    if (plus) {
        size_t size = read_digits(&rest, " -./", digits, sizeof digits, &n);
        return n >= 8 && n <= 15 && digits[0] != '0' && !hn_is_alnum(at(&rest, size)) ? size + 1
                                                                                      : 0;
    }
    static const char *const forms[] = {"(ddd) ddd-dddd", "ddd-ddd-dddd"};
    for (size_t k = 0; k < 2; k++) {
        size_t i = 0;
        while (
            forms[k][i] && (forms[k][i] == 'd' ? hn_is_digit(at(f, i)) : forms[k][i] == at(f, i)))
            i++;
        if (!forms[k][i] && !hn_is_alnum(at(f, i)) && at(f, i) != '-')
            return i;
    }
    return 0;
}

/* Of the United States: no area 000, 666 or 9xx, no group 00, no number 0000. */
static size_t read_ssn(const struct from *f) {
    static const char form[] = "ddd-dd-dddd";
    size_t n = sizeof form - 1;
    for (size_t i = 0; i < n; i++)
        if (form[i] == 'd' ? !hn_is_digit(at(f, i)) : at(f, i) != '-')
            return 0;
    bool taken = memcmp(f->text, "000", 3) && memcmp(f->text, "666", 3) && f->text[0] != '9' &&
        memcmp(f->text + 4, "00", 2) && memcmp(f->text + 7, "0000", 4);
    return taken && !hn_is_alnum(at(f, n)) && at(f, n) != '-' ? n : 0;
}

/* Not of the machine itself, and not such as headings and versions have. */
static size_t read_ipv4(const struct from *f) {
    unsigned part[4] = {0};
    size_t i = 0;
    for (int k = 0; k < 4; k++) {
        size_t begin = i;
        while (hn_is_digit(at(f, i)) && i - begin < 3)
            part[k] = part[k] * 10 + (unsigned)(f->text[i++] - '0');
        bool zero = i - begin > 1 && f->text[begin] == '0';
        if (i == begin || part[k] > 255 || zero || (k < 3 && at(f, i++) != '.'))
            return 0;
    }
    bool more = hn_is_alnum(at(f, i)) || (at(f, i) == '.' && hn_is_digit(at(f, i + 1)));
    bool nobody = part[0] == 0 || part[0] == 127 || part[0] >= 224,
         version = part[0] < 10 && part[1] < 10 && part[2] < 10 && part[3] < 10;
    return more || nobody || version ? 0 : i;
}

static bool is_hex(char c) {
    return hn_is_digit(c) || (c >= 'a' && c <= 'f') || (c >= 'A' && c <= 'F');
}

static size_t read_ipv6(const struct from *f) {
    char text[INET6_ADDRSTRLEN];
    struct in6_addr address;
    size_t n = 0, groups = 0;
    while (n < sizeof text - 1 && (is_hex(at(f, n)) || at(f, n) == ':')) {
        groups += is_hex(at(f, n)) && (!n || at(f, n - 1) == ':');
        n++;
    }
    if (n && at(f, n - 1) == ':' && (n < 2 || at(f, n - 2) != ':'))
        n--;
    memcpy(text, f->text, n);
    text[n] = 0;
    return groups >= 4 && n >= 12 && !hn_is_alnum(at(f, n)) && inet_pton(AF_INET6, text, &address)
        ? n
        : 0;
}

static size_t read_mac(const struct from *f) {
    char mark = at(f, 2);
    if (mark != ':' && mark != '-')
        return 0;
    for (size_t i = 0; i < 17; i++)
        if (i % 3 == 2 ? at(f, i) != mark : !is_hex(at(f, i)))
            return 0;
    return hn_is_alnum(at(f, 17)) || at(f, 17) == mark ? 0 : 17;
}

/* Characters of an account number by country (ISO 13616). */
static size_t iban_length(const char *country) {
    static const char lengths[] =
        "AD24AE23AL28AT20BA20BE16BG22CH21CY28CZ24DE22DK18EE20ES24FI18FR27GB22GR27HR21HU28IE22IL23"
        "IS26IT27KW30LI21LT20LU20LV21MC27MT31NL18NO15PL28PT25QA29RO24RS22SA24SE24SI19SK24SM27TR26"
        "UA29";
    for (const char *s = lengths; *s; s += 4)
        if (memcmp(s, country, 2) == 0)
            return (size_t)(s[2] - '0') * 10 + (size_t)(s[3] - '0');
    return 0;
}

static size_t read_iban(const struct from *f) {
    char text[40];
    size_t n = 0, i = 0, want = f->size >= 15 ? iban_length(f->text) : 0;
    unsigned rest = 0;
    if (!want || !hn_is_digit(at(f, 2)) || !hn_is_digit(at(f, 3)))
        return 0;
    for (; n < want && i < f->size; i++) {
        char c = f->text[i];
        if (hn_is_digit(c) || (c >= 'A' && c <= 'Z'))
            text[n++] = c;
        else if (c != ' ' || (i && f->text[i - 1] == ' '))
            return 0;
    }
    for (size_t k = 0; n == want && k < n; k++) {
        char c = text[(k + 4) % n];
        rest = hn_is_digit(c) ? (rest * 10 + (unsigned)(c - '0')) % 97
                              : (rest * 100 + (unsigned)(c - 'A') + 10) % 97;
    }
    return n == want && rest == 1 && !hn_is_alnum(at(f, i)) ? i : 0;
}

static bool is_local(char c) { /* in the part of an e-mail address before the @ */
    return hn_is_alnum(c) || (c && strchr("._%+-", c));
}

/* Around an @ at `middle`; *ret_begin is where it begins. Names that are reserved for examples are
 * probably nobody's: not *ret_sure. */
static size_t read_email(
    const char *text, size_t size, size_t middle, size_t *ret_begin, bool *ret_sure) {
    static const char *const reserved[] = {
        "example.com", "example.org", "example.net", "domain.com", "email.com", "localhost"};
    size_t begin = middle, end = middle + 1, dot = 0;
    while (begin && middle - begin < 64 && is_local(text[begin - 1]))
        begin--;
    while (end < size && end - middle < 254 &&
        (hn_is_alnum(text[end]) || text[end] == '-' || text[end] == '.')) {
        if (text[end] == '.' && text[end - 1] == '.')
            break;
        end++;
    }
    while (end > middle + 1 && !hn_is_alnum(text[end - 1]))
        end--;
    for (size_t i = middle + 1; i < end; i++)
        dot = text[i] == '.' ? i : dot;
    if (begin == middle || !dot || dot == middle + 1 || end - dot < 3)
        return 0;
    for (size_t i = dot + 1; i < end; i++)
        if (hn_is_digit(text[i]) || text[i] == '-')
            return 0;
    *ret_sure = true;
    for (size_t i = 0; i < sizeof reserved / sizeof reserved[0]; i++)
        if (strlen(reserved[i]) == end - middle - 1 &&
            memcmp(text + middle + 1, reserved[i], end - middle - 1) == 0)
            *ret_sure = false;
    *ret_begin = begin;
    return end - begin;
}

static const struct reader {
    const char *kind;
    size_t (*read)(const struct from *from);
    size_t shown;
    bool sure;
} readers[] = {
    {"card_number", read_card, 4, true},
    {"iban", read_iban, 4, true},
    {"social_security_number", read_ssn, 0, false},
    {"telephone_number", read_phone, 3, false},
    {"mac_address", read_mac, 8, false},
    {"ipv4_address", read_ipv4, 3, false},
    {"ipv6_address", read_ipv6, 4, false},
};

/* Where one of the readers may find something: digits, hex digits before a colon, "+" and "(". */
static bool begins(const char *text, size_t size, size_t i) {
    char c = text[i];
    if (c == '+' || c == '(')
        return i + 1 < size && hn_is_digit(text[i + 1]);
    if (hn_is_digit(c))
        return true;
    bool iban = c >= 'A' && c <= 'Z' && i + 2 < size && hn_is_digit(text[i + 2]);
    return iban || (is_hex(c) && size - i > 4 && (memchr(text + i, ':', 5) || text[i + 2] == '-'));
}

void hn_personal_find(const char *text, size_t size, hn_spot_fn *found, void *context) {
    for (size_t i = 0; i < size; i++) {
        size_t begin, n;
        bool sure;
        if (text[i] == '@' && (n = read_email(text, size, i, &begin, &sure))) {
            const struct hn_spot spot = {"email", text + begin, n, 1, sure};
            found(context, &spot);
            i = begin + n - 1;
            continue;
        }
        bool inside = i &&
            (hn_is_alnum(text[i - 1]) ||
                (hn_is_digit(text[i]) && (text[i - 1] == '.' || text[i - 1] == '-')));
        if (inside || !begins(text, size, i))
            continue;
        const struct from from = {text + i, size - i};
        for (size_t k = 0; k < sizeof readers / sizeof readers[0]; k++) {
            if (!(n = readers[k].read(&from)))
                continue;
            const struct hn_spot spot = {
                readers[k].kind, text + i, n, readers[k].shown, readers[k].sure};
            found(context, &spot);
            i += n - 1;
            break;
        }
    }
}
