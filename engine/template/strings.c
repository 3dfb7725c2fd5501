/* See template_strings.h. Parts of a string are views into it, so they keep their origins for
 * nothing. */
#include "engine/template/strings.h"
#include "engine/base/utf8.h"

#include <string.h>
#include <utf8proc.h>

/* The character before `end`, which is > begin. */
static size_t previous(const char *text, size_t end) {
    do
        end--;
    while (end > 0 && (text[end] & 0xC0) == 0x80);
    return end;
}

static bool strips(
    struct hn_tpl_render *r, const struct hn_tpl_value *chars, const char *text, size_t length) {
    if (!hn_tpl_render_work(r, 1 + (hn_is_missing(chars) ? 0 : chars->size / 8)))
        return false;
    if (hn_is_missing(chars))
        return hn_utf8_is_space(hn_utf8_get(text));
    for (size_t i = 0; i < chars->size; i += hn_utf8_length((unsigned char)chars->text[i]))
        if (hn_utf8_length((unsigned char)chars->text[i]) == length &&
            memcmp(chars->text + i, text, length) == 0)
            return true;
    return false;
}

struct hn_tpl_value hn_string_strip(struct hn_tpl_render *r, struct hn_tpl_value s,
    struct hn_tpl_value chars, bool left, bool right) {
    size_t begin = 0, end = s.size;
    if (!hn_is_missing(&chars) && chars.kind != HN_V_STRING)
        return hn_tpl_render_fail(
            r, HN_E_DATASET_INVALID, "strip needs a string, not %s", hn_value_type(&chars));
    while (left && begin < end &&
        strips(r, &chars, s.text + begin, hn_utf8_length((unsigned char)s.text[begin])))
        begin += hn_utf8_length((unsigned char)s.text[begin]);
    while (right && end > begin) {
        size_t at = previous(s.text, end);
        if (!strips(r, &chars, s.text + at, end - at))
            break;
        end = at;
    }
    return hn_value_slice(&s, begin, end);
}

static bool is_letter(uint32_t c) {
    utf8proc_category_t k = utf8proc_category((utf8proc_int32_t)c);
    return k >= UTF8PROC_CATEGORY_LU && k <= UTF8PROC_CATEGORY_LO;
}

static bool is_cased(uint32_t c) {
    utf8proc_category_t k = utf8proc_category((utf8proc_int32_t)c);
    return k == UTF8PROC_CATEGORY_LU || k == UTF8PROC_CATEGORY_LL || k == UTF8PROC_CATEGORY_LT;
}

/* Simple case mapping, and U+00DF, the one letter of everyday text whose upper case is two. */
static void put_case(
    struct hn_tpl_render *r, struct hn_tpl_builder *b, uint32_t c, int how, uint16_t origin) {
    char text[8];
    utf8proc_int32_t in = (utf8proc_int32_t)c;
    if (c == 0xDF && how > 0) {
        hn_build(r, b, how == 1 ? "SS" : "Ss", 2, origin);
        return;
    }
    utf8proc_int32_t out = how == 0 ? utf8proc_tolower(in)
        : how == 1                  ? utf8proc_toupper(in)
                                    : utf8proc_totitle(in);
    hn_build(r, b, text, hn_utf8_put((uint32_t)out, text), origin);
}

/* Whether the next character begins a word: for Python's title() behind anything without case, for
 * Jinja's filter behind spaces, hyphens and opening brackets. */
static bool ends_word(uint32_t c, enum hn_case how) {
    if (how == HN_CASE_TITLE)
        return !is_cased(c);
    return hn_utf8_is_space(c) || (c < 0x80 && c && strchr("-({[<", (int)c));
}

struct hn_tpl_value hn_string_case(
    struct hn_tpl_render *r, struct hn_tpl_value s, enum hn_case how) {
    struct hn_tpl_builder b = {0};
    bool word = true;
    for (size_t i = 0; i < s.size && hn_tpl_render_work(r, 1);
         i += hn_utf8_length((unsigned char)s.text[i])) {
        uint32_t c = hn_utf8_get(s.text + i);
        int to = 0;
        if (how == HN_CASE_UPPER)
            to = 1;
        else if (how == HN_CASE_CAPITAL)
            to = i == 0 ? 2 : 0;
        else if (how == HN_CASE_TITLE || how == HN_CASE_TITLE_WORDS)
            to = word ? 2 : 0;
        else if (how == HN_CASE_SWAP)
            to = (uint32_t)utf8proc_toupper((utf8proc_int32_t)c) != c;
        put_case(r, &b, c, to, hn_origin_at(&s, i));
        word = ends_word(c, how);
    }
    return hn_build_end(&b);
}

bool hn_string_is(struct hn_tpl_render *r, struct hn_tpl_value s, enum hn_class what) {
    bool any = false;
    for (size_t i = 0; i < s.size && hn_tpl_render_work(r, 1);
         i += hn_utf8_length((unsigned char)s.text[i])) {
        uint32_t c = hn_utf8_get(s.text + i);
        utf8proc_category_t k = utf8proc_category((utf8proc_int32_t)c);
        bool number = k == UTF8PROC_CATEGORY_ND || k == UTF8PROC_CATEGORY_NL ||
            k == UTF8PROC_CATEGORY_NO,
             fits;
        switch (what) {
        case HN_CLASS_LOWER:
        case HN_CLASS_UPPER:
            if (is_cased(c) && (k == UTF8PROC_CATEGORY_LL) != (what == HN_CLASS_LOWER))
                return false;
            any = any || is_cased(c);
            continue;
        case HN_CLASS_DIGIT:
            fits = k == UTF8PROC_CATEGORY_ND;
            break;
        case HN_CLASS_ALPHA:
            fits = is_letter(c);
            break;
        case HN_CLASS_ALNUM:
            fits = is_letter(c) || number;
            break;
        default:
            fits = hn_utf8_is_space(c);
        }
        if (!fits)
            return false;
        any = true;
    }
    return any;
}

struct hn_tpl_value hn_string_join(
    struct hn_tpl_render *r, struct hn_tpl_value glue, struct hn_tpl_value items) {
    struct hn_tpl_builder b = {0};
    for (size_t i = 0; i < items.size && hn_tpl_render_work(r, 1); i++) {
        if (i)
            hn_build_value(r, &b, &glue);
        hn_build_value(r, &b, &items.items[i]);
    }
    return hn_build_end(&b);
}

struct hn_tpl_value hn_string_replace(struct hn_tpl_render *r, struct hn_tpl_value s,
    struct hn_tpl_value old, struct hn_tpl_value fresh, int64_t limit) {
    struct hn_tpl_builder b = {0};
    size_t at = 0;
    if (!hn_tpl_render_work(r, 1 + s.size / 16))
        return s;
    while (limit != 0 && !r->rc) {
        const char *found =
            old.size ? memmem(s.text + at, s.size - at, old.text, old.size) : s.text + at;
        if (!found)
            break;
        struct hn_tpl_value before = hn_value_slice(&s, at, (size_t)(found - s.text));
        hn_build_value(r, &b, &before);
        hn_build_value(r, &b, &fresh);
        at = (size_t)(found - s.text) + old.size;
        limit -= limit > 0;
        if (!old.size) { /* Python puts the new text between all characters */
            if (at == s.size)
                break;
            struct hn_tpl_value one =
                hn_value_slice(&s, at, at + hn_utf8_length((unsigned char)s.text[at]));
            hn_build_value(r, &b, &one);
            at += one.size;
        }
    }
    struct hn_tpl_value rest = hn_value_slice(&s, at, s.size);
    hn_build_value(r, &b, &rest);
    return hn_build_end(&b);
}

/* A list that grows in the arena. */
struct items {
    struct hn_tpl_value *items;
    size_t n, capacity;
};

static void add(struct hn_tpl_render *r, struct items *list, struct hn_tpl_value v) {
    if (list->n == list->capacity) {
        size_t capacity = list->capacity ? 2 * list->capacity : 16;
        struct hn_tpl_value *items = hn_tpl_render_alloc(r, capacity, sizeof *items);
        if (!items)
            return;
        if (list->n)
            memcpy(items, list->items, list->n * sizeof *items);
        list->items = items;
        list->capacity = capacity;
    }
    list->items[list->n++] = v;
}

/* Bytes of the line end at text[at], 0 if none. */
static size_t line_end(const struct hn_tpl_value *s, size_t at) {
    uint32_t c = hn_utf8_get(s->text + at);
    if (c == '\r' && at + 1 < s->size && s->text[at + 1] == '\n')
        return 2;
    bool is = (c >= 0x0A && c <= 0x0D) || (c >= 0x1C && c <= 0x1E) || c == 0x85 || c == 0x2028 ||
        c == 0x2029;
    return is ? hn_utf8_length((unsigned char)s->text[at]) : 0;
}

struct hn_tpl_value hn_string_lines(struct hn_tpl_render *r, struct hn_tpl_value s, bool keep) {
    struct items list = {0};
    size_t begin = 0;
    for (size_t at = 0; at < s.size && hn_tpl_render_work(r, 1);) {
        size_t end = line_end(&s, at);
        if (end) {
            add(r, &list, hn_value_slice(&s, begin, keep ? at + end : at));
            begin = at + end;
        }
        at += end ? end : hn_utf8_length((unsigned char)s.text[at]);
    }
    if (begin < s.size)
        add(r, &list, hn_value_slice(&s, begin, s.size));
    return hn_list(list.items, list.n);
}

static bool space_at(const struct hn_tpl_value *s, size_t at) {
    return hn_utf8_is_space(hn_utf8_get(s->text + at));
}

static void split_spaces(
    struct hn_tpl_render *r, const struct hn_tpl_value *s, int64_t limit, struct items *list) {
    size_t at = 0;
    while (hn_tpl_render_work(r, 1)) {
        while (at < s->size && space_at(s, at))
            at += hn_utf8_length((unsigned char)s->text[at]);
        if (at == s->size)
            return;
        size_t begin = at;
        if (limit >= 0 && (int64_t)list->n == limit) {
            add(r, list,
                hn_string_strip(r, hn_value_slice(s, begin, s->size), hn_absent(), false, true));
            return;
        }
        while (at < s->size && !space_at(s, at))
            at += hn_utf8_length((unsigned char)s->text[at]);
        add(r, list, hn_value_slice(s, begin, at));
    }
}

static void split_spaces_right(
    struct hn_tpl_render *r, const struct hn_tpl_value *s, int64_t limit, struct items *list) {
    size_t end = s->size;
    while (hn_tpl_render_work(r, 1)) {
        while (end > 0 && space_at(s, previous(s->text, end)))
            end = previous(s->text, end);
        if (end == 0)
            return;
        size_t begin = end;
        if (limit >= 0 && (int64_t)list->n == limit) {
            add(r, list, hn_string_strip(r, hn_value_slice(s, 0, end), hn_absent(), true, false));
            return;
        }
        while (begin > 0 && !space_at(s, previous(s->text, begin)))
            begin = previous(s->text, begin);
        add(r, list, hn_value_slice(s, begin, end));
        end = begin;
    }
}

static void split_at(struct hn_tpl_render *r, const struct hn_tpl_value *s, struct hn_tpl_value sep,
    int64_t limit, struct items *list) {
    size_t at = 0;
    const char *found;
    while (hn_tpl_render_work(r, 1) && (limit < 0 || (int64_t)list->n < limit) &&
        (found = memmem(s->text + at, s->size - at, sep.text, sep.size))) {
        add(r, list, hn_value_slice(s, at, (size_t)(found - s->text)));
        at = (size_t)(found - s->text) + sep.size;
    }
    add(r, list, hn_value_slice(s, at, s->size));
}

static void split_at_right(struct hn_tpl_render *r, const struct hn_tpl_value *s,
    struct hn_tpl_value sep, int64_t limit, struct items *list) {
    size_t end = s->size;
    for (size_t at = end;
         at >= sep.size && hn_tpl_render_work(r, 1) && (limit < 0 || (int64_t)list->n < limit);) {
        if (!hn_tpl_render_bytes(r, sep.size) ||
            memcmp(s->text + at - sep.size, sep.text, sep.size) != 0) {
            at--;
            continue;
        }
        add(r, list, hn_value_slice(s, at, end));
        at = end = at - sep.size;
    }
    add(r, list, hn_value_slice(s, 0, end));
}

struct hn_tpl_value hn_string_split(struct hn_tpl_render *r, struct hn_tpl_value s,
    struct hn_tpl_value sep, int64_t limit, bool from_right) {
    struct items list = {0};
    if (!hn_tpl_render_work(r, 1 + s.size / 16))
        return hn_undefined();
    if (hn_is_missing(&sep)) {
        (from_right ? split_spaces_right : split_spaces)(r, &s, limit, &list);
    } else if (sep.kind != HN_V_STRING || !sep.size) {
        return hn_tpl_render_fail(
            r, HN_E_DATASET_INVALID, "split needs a separator that is a string and not empty");
    } else {
        (from_right ? split_at_right : split_at)(r, &s, sep, limit, &list);
    }
    for (size_t i = 0; from_right && i < list.n / 2; i++) {
        struct hn_tpl_value v = list.items[i];
        list.items[i] = list.items[list.n - 1 - i];
        list.items[list.n - 1 - i] = v;
    }
    return hn_list(list.items, list.n);
}

struct hn_tpl_value hn_dict_items(struct hn_tpl_render *r, const struct hn_tpl_dict *dict) {
    struct hn_tpl_value *items = hn_tpl_render_alloc(r, dict->n, sizeof *items);
    struct hn_tpl_value *parts = hn_tpl_render_alloc(r, dict->n, 2 * sizeof *parts);
    for (size_t i = 0; items && parts && i < dict->n; i++) {
        parts[2 * i] = dict->pairs[i].key;
        parts[2 * i + 1] = dict->pairs[i].value;
        items[i] = hn_list(parts + 2 * i, 2);
        items[i].tuple = true;
    }
    return hn_list(items, items && parts ? dict->n : 0);
}
