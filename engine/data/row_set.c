/* See row_set.h. */
#include "engine/data/row_set.h"
#include "engine/base/buf.h"
#include "engine/base/file.h"
#include "engine/base/json.h"
#include "engine/base/utf8.h"
#include "engine/data/label_survey.h"

#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <utf8proc.h>

#define FIRST_CAPACITY ((size_t)1024)

/* Marks that say little about a text; all other signs (C# and C, :) and :() tell texts apart. */
static bool is_mark(uint32_t c) {
    static const uint32_t wide[] = {
        0x2018, 0x2019, 0x201C, 0x201D, 0x2026, 0x3001, 0x3002, 0xFF01, 0xFF0C, 0xFF1F, 0xAB, 0xBB};
    for (size_t i = 0; i < sizeof wide / sizeof wide[0]; i++)
        if (c == wide[i])
            return true;
    return (c < 0x80 && c && strchr(".,;:!?'\" \t\r\n", (int)c)) || c == 0xA0;
}

/* The text with each run of marks as one blank; whole where nothing else is in it. */
static void append_plain(struct hn_buf *out, const char *text, size_t size) {
    size_t before = out->size, at = 0;
    while (at < size) {
        size_t n = hn_utf8_length((unsigned char)text[at]);
        if (!is_mark(n == 1 ? (unsigned char)text[at] : hn_utf8_get(text + at)))
            hn_buf_append(out, text + at, n);
        else if (out->size > before && out->data[out->size - 1] != ' ')
            hn_buf_char(out, ' ');
        at += n;
    }
    while (out->size > before && out->data[out->size - 1] == ' ')
        out->size--;
    if (out->size == before)
        hn_buf_append(out, text, size);
    hn_buf_char(out, '\n');
}

/* The same of ASCII, in small letters; false, with nothing appended, when it is not. Most texts
 * are, and a data set's rows are all read so, some of them again and again. */
static bool append_ascii(struct hn_buf *out, const char *text, size_t size) {
    static const bool marks[128] = {['.'] = true,
        [','] = true,
        [';'] = true,
        [':'] = true,
        ['!'] = true,
        ['?'] = true,
        ['\''] = true,
        ['"'] = true,
        [' '] = true,
        ['\t'] = true,
        ['\r'] = true,
        ['\n'] = true};
    size_t begin = out->size;
    hn_buf_append(out, text, size);
    if (out->failed)
        return true;
    char *to = out->data + begin, *end = to;
    for (size_t i = 0; i < size; i++) {
        unsigned char c = (unsigned char)text[i];
        if (c >= 0x80) {
            out->size = begin;
            return false;
        }
        if (!marks[c])
            *end++ = (char)(c >= 'A' && c <= 'Z' ? c + 'a' - 'A' : c);
        else if (end > to && end[-1] != ' ')
            *end++ = ' ';
    }
    while (end > to && end[-1] == ' ')
        end--;
    out->size = end > to ? begin + (size_t)(end - to) : begin + size;
    for (size_t i = 0; end == to && i < size; i++)
        to[i] = (char)tolower((unsigned char)text[i]);
    hn_buf_char(out, '\n');
    return true;
}

static void append_text(struct hn_buf *out, const json_t *text) {
    const char *from = json_string_value(text);
    size_t size = json_string_length(text), begin = out->size;
    if (append_ascii(out, from, size))
        return;
    if (memchr(from, 0, size)) {
        append_plain(out, from, size);
        for (size_t i = begin; i < out->size; i++)
            out->data[i] = (char)tolower((unsigned char)out->data[i]);
        return;
    }
    char *folded = (char *)utf8proc_NFKC_Casefold((const utf8proc_uint8_t *)from);
    append_plain(out, folded ? folded : from, folded ? strlen(folded) : size);
    free(folded);
}

static void append_texts(struct hn_buf *out, const json_t *value) {
    const char *key;
    const json_t *item;
    size_t i;
    if (json_is_string(value))
        append_text(out, value);
    json_array_foreach((json_t *)(uintptr_t)value, i, item)
        append_texts(out, item);
    json_object_foreach((json_t *)(uintptr_t)value, key, item)
        append_texts(out, item);
}

/* What a row asks. */
static void append_input(struct hn_buf *out, enum hn_columns columns, const json_t *row) {
    static const char *const names[][2] = {[HN_ROWS_PROMPT_COMPLETION] = {"prompt"},
        [HN_ROWS_TEXT] = {"text"},
        [HN_ROWS_TEXT_LABEL] = {"text"},
        [HN_ROWS_QA] = {"context", "question"},
        [HN_ROWS_TOKENS_TAGS] = {"tokens"},
        [HN_ROWS_PREFERENCE] = {"prompt"}};
    const json_t *messages = json_object_get(row, "messages");
    size_t last = json_array_size(messages);
    for (int i = 0; columns != HN_ROWS_MESSAGES && i < 2 && names[columns][i]; i++)
        append_texts(out, json_object_get(row, names[columns][i]));
    for (size_t i = last; i-- > 1;) { /* up to the last answer, if something stands before it */
        const char *role = json_string_value(json_object_get(json_array_get(messages, i), "role"));
        if (role && strcmp(role, "assistant") == 0) {
            last = i;
            break;
        }
    }
    for (size_t i = 0; columns == HN_ROWS_MESSAGES && i < last; i++)
        append_texts(out, json_array_get(messages, i));
}

/* A label is its text: CSV has no numbers. */
static void spell_label(json_t *row) {
    char room[HN_LABEL_TEXT];
    const json_t *label = json_object_get(row, "label");
    const char *text = json_is_string(label) ? NULL : hn_label_text(label, room);
    if (text)
        json_object_set_new(row, "label", json_string(text));
}

void hn_text_plain(struct hn_buf *out, const json_t *value) {
    append_texts(out, value);
}

void hn_row_input(struct hn_buf *out, enum hn_columns columns, const json_t *row) {
    append_input(out, columns, row);
}

int hn_text_key(const char *text, size_t size, uint64_t key[2], struct hn_error *err) {
    char hex[HN_SHA256_HEX], half[17] = "";
    if (!text && size)
        return hn_fail(err, HN_E_INTERNAL, "out of memory");
    hn_sha256(text ? text : "", size, hex);
    for (size_t i = 0; i < 2; i++) {
        memcpy(half, hex + 16 * i, 16);
        key[i] = strtoull(half, NULL, 16);
    }
    key[1] |= 1; /* so that no key is a free place */
    return 0;
}

int hn_row_content_key(json_t *row, uint64_t key[2], struct hn_error *err) {
    spell_label(row);
    char *text = hn_json_canonical(row);
    int rc = hn_text_key(text, text ? strlen(text) : 1, key, err);
    free(text);
    return rc;
}

int hn_row_key(
    const struct hn_dataset *data, size_t row, bool input, uint64_t key[2], struct hn_error *err) {
    struct hn_buf plain = {0};
    json_t *object = NULL;
    int rc = hn_dataset_row(data, row, &object, err);
    if (!rc && input) {
        append_input(&plain, data->columns, object);
        rc = plain.failed ? hn_fail(err, HN_E_INTERNAL, "out of memory")
                          : hn_text_key(plain.data, plain.size, key, err);
    } else if (!rc) {
        rc = hn_row_content_key(object, key, err);
    }
    json_decref(object);
    hn_buf_free(&plain);
    return rc;
}

/* The key's place, or the free one where it would go. */
static size_t place_of(const struct hn_row_set *set, const uint64_t key[2]) {
    size_t at = (size_t)key[0] & (set->capacity - 1);
    while (set->keys[at][1] && memcmp(set->keys[at], key, sizeof set->keys[at]) != 0)
        at = (at + 1) & (set->capacity - 1);
    return at;
}

static bool grow(struct hn_row_set *set) {
    struct hn_row_set next = {.n = set->n,
        .inputs = set->inputs,
        .capacity = set->capacity ? 2 * set->capacity : FIRST_CAPACITY};
    if (!(next.keys = hn_calloc(next.capacity, sizeof *next.keys)))
        return false;
    for (size_t i = 0; i < set->capacity; i++)
        if (set->keys[i][1])
            memcpy(next.keys[place_of(&next, set->keys[i])], set->keys[i], sizeof set->keys[i]);
    free(set->keys);
    *set = next;
    return true;
}

bool hn_row_set_has(const struct hn_row_set *set, const uint64_t key[2]) {
    return set->capacity && set->keys[place_of(set, key)][1];
}

int hn_row_set_put(struct hn_row_set *set, const uint64_t key[2], struct hn_error *err) {
    if (2 * set->n >= set->capacity && !grow(set))
        return hn_fail(err, HN_E_INTERNAL, "out of memory");
    size_t at = place_of(set, key);
    set->n += !set->keys[at][1];
    memcpy(set->keys[at], key, sizeof set->keys[at]);
    return 0;
}

/* Whether the row is there, and puts it there if `add`. */
static int find(struct hn_row_set *set, const struct hn_dataset *data, size_t row, bool add,
    bool *ret_there, struct hn_error *err) {
    uint64_t key[2];
    int rc = hn_row_key(data, row, set->inputs, key, err);
    if (rc)
        return rc;
    *ret_there = hn_row_set_has(set, key);
    return add && !*ret_there ? hn_row_set_put(set, key, err) : 0;
}

int hn_row_set_add(struct hn_row_set *set, const struct hn_dataset *data, const size_t *rows,
    size_t n, struct hn_error *err) {
    bool there;
    int rc = 0;
    for (size_t i = 0; !rc && i < n; i++)
        rc = find(set, data, rows ? rows[i] : i, true, &there, err);
    return rc;
}

int hn_row_set_sift(struct hn_row_set *set, const struct hn_dataset *data, size_t *rows, size_t *n,
    bool once, struct hn_error *err) {
    size_t kept = 0;
    int rc = 0;
    for (size_t i = 0; !rc && i < *n; i++) {
        bool there = false;
        rc = find(set, data, rows[i], once, &there, err);
        if (!there)
            rows[kept++] = rows[i];
    }
    *n = kept;
    return rc;
}

int hn_row_set_count(struct hn_row_set *set, const struct hn_dataset *data, const size_t *rows,
    size_t n, size_t *ret, struct hn_error *err) {
    int rc = 0;
    *ret = 0;
    for (size_t i = 0; !rc && i < n; i++) {
        bool there = false;
        rc = find(set, data, rows ? rows[i] : i, false, &there, err);
        *ret += there;
    }
    return rc;
}

void hn_row_set_finish(struct hn_row_set *set) {
    free(set->keys);
    *set = (struct hn_row_set){0};
}

int hn_row_sum_add(struct hn_row_sum *sum, const struct hn_dataset *data, const size_t *rows,
    size_t n, struct hn_error *err) {
    int rc = 0;
    for (size_t i = 0; !rc && i < n; i++) {
        uint64_t key[2];
        uint8_t bytes[sizeof key];
        if (sum->sha && rows[i] == sum->last)
            continue;
        if (!sum->sha && !(sum->sha = hn_sha256_begin()))
            return hn_fail(err, HN_E_INTERNAL, "out of memory");
        rc = hn_row_key(data, rows[i], false, key, err);
        for (size_t b = 0; !rc && b < sizeof bytes; b++) /* the same on any machine */
            bytes[b] = (uint8_t)(key[b / 8] >> 8 * (b % 8));
        if (!rc)
            hn_sha256_add(sum->sha, bytes, sizeof bytes);
        sum->last = rows[i];
    }
    return rc;
}

void hn_row_sum_end(struct hn_row_sum *sum, char ret[HN_SHA256_HEX]) {
    if (ret)
        ret[0] = 0;
    if (sum->sha)
        hn_sha256_end(sum->sha, ret);
    *sum = (struct hn_row_sum){0};
}
