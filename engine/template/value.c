/*
 * Values of the template interpreter: Python's semantics of truth, equality, order and text forms,
 * as far as templates can tell; and the origin of every byte of a string.
 */
#include "engine/template/internal.h"
#include "engine/base/utf8.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <utf8proc.h>

const char *hn_value_type(const struct hn_tpl_value *v) {
    static const char *const names[] = {"Undefined", "NoneType", "bool", "int", "float", "str",
        "list", "dict", "Namespace", "Macro", "function", "method", "LoopContext", "nothing"};
    return v->kind == HN_V_LIST && v->tuple ? "tuple" : names[v->kind];
}

int64_t hn_value_int(const struct hn_tpl_value *v) {
    if (v->kind == HN_V_FLOAT)
        return v->real >= 0x1p63 ? INT64_MAX
            : v->real < -0x1p63  ? INT64_MIN
            : isnan(v->real)     ? 0
                                 : (int64_t)v->real;
    return v->kind == HN_V_BOOL ? v->truth : v->kind == HN_V_INT ? v->integer : 0;
}

double hn_value_real(const struct hn_tpl_value *v) {
    return v->kind == HN_V_FLOAT ? v->real : (double)hn_value_int(v);
}

bool hn_value_true(const struct hn_tpl_value *v) {
    switch (v->kind) {
    case HN_V_UNDEFINED:
    case HN_V_NONE:
    case HN_V_ABSENT:
        return false;
    case HN_V_BOOL:
        return v->truth;
    case HN_V_INT:
        return v->integer != 0;
    case HN_V_FLOAT:
        return v->real != 0.0;
    case HN_V_STRING:
    case HN_V_LIST:
        return v->size != 0;
    case HN_V_DICT:
        return v->dict->n != 0;
    default:
        return true;
    }
}

static bool equal(
    struct hn_tpl_render *r, const struct hn_tpl_value *a, const struct hn_tpl_value *b) {
    if (hn_is_number(a) && hn_is_number(b))
        return a->kind == HN_V_FLOAT || b->kind == HN_V_FLOAT ? hn_value_real(a) == hn_value_real(b)
                                                              : hn_value_int(a) == hn_value_int(b);
    if (a->kind != b->kind)
        return false;
    bool same = true;
    switch (a->kind) {
    case HN_V_STRING:
        return a->size == b->size && hn_tpl_render_bytes(r, a->size) &&
            memcmp(a->text, b->text, a->size) == 0;
    case HN_V_LIST:
        same = a->size == b->size && a->tuple == b->tuple;
        for (size_t i = 0; same && i < a->size; i++)
            same = hn_value_equal(r, &a->items[i], &b->items[i]);
        return same;
    case HN_V_DICT:
        same = a->dict->n == b->dict->n;
        for (size_t i = 0; same && i < a->dict->n; i++) {
            const struct hn_tpl_value *other = hn_dict_get(r, b->dict, &a->dict->pairs[i].key);
            same = other && hn_value_equal(r, &a->dict->pairs[i].value, other);
        }
        return same;
    case HN_V_UNDEFINED:
    case HN_V_NONE:
        return true;
    case HN_V_NAMESPACE:
        return a->dict == b->dict;
    default:
        return false;
    }
}

bool hn_value_equal(
    struct hn_tpl_render *r, const struct hn_tpl_value *a, const struct hn_tpl_value *b) {
    if (!hn_tpl_render_deeper(r))
        return false;
    bool same = equal(r, a, b);
    r->depth--;
    return same && !r->rc;
}

static int compare_text(const struct hn_tpl_value *a, const struct hn_tpl_value *b, bool fold) {
    size_t i = 0, j = 0;
    while (fold && i < a->size && j < b->size) {
        utf8proc_int32_t x = utf8proc_tolower((utf8proc_int32_t)hn_utf8_get(a->text + i));
        utf8proc_int32_t y = utf8proc_tolower((utf8proc_int32_t)hn_utf8_get(b->text + j));
        if (x != y)
            return x < y ? -1 : 1;
        i += hn_utf8_length((unsigned char)a->text[i]);
        j += hn_utf8_length((unsigned char)b->text[j]);
    }
    if (fold)
        return (i < a->size) - (j < b->size);
    int order = memcmp(a->text, b->text, a->size < b->size ? a->size : b->size);
    return order ? order : (a->size > b->size) - (a->size < b->size);
}

static int compare(struct hn_tpl_render *r, const struct hn_tpl_value *a,
    const struct hn_tpl_value *b, bool fold) {
    if (hn_is_number(a) && hn_is_number(b)) {
        if (a->kind != HN_V_FLOAT && b->kind != HN_V_FLOAT)
            return (hn_value_int(a) > hn_value_int(b)) - (hn_value_int(a) < hn_value_int(b));
        double x = hn_value_real(a), y = hn_value_real(b);
        return (x > y) - (x < y);
    }
    if (a->kind == HN_V_STRING && b->kind == HN_V_STRING)
        return hn_tpl_render_bytes(r,
                   (size_t)(a->size < b->size ? a->size : b->size) * (fold ? HN_TPL_STEP_BYTES : 1))
            ? compare_text(a, b, fold)
            : 0;
    if (a->kind == HN_V_LIST && b->kind == HN_V_LIST) {
        for (size_t i = 0; i < a->size && i < b->size && !r->rc; i++)
            if (!hn_value_equal(r, &a->items[i], &b->items[i]))
                return hn_value_compare(r, &a->items[i], &b->items[i], fold);
        return (a->size > b->size) - (a->size < b->size);
    }
    hn_tpl_render_fail(
        r, HN_E_DATASET_INVALID, "%s and %s cannot be ordered", hn_value_type(a), hn_value_type(b));
    return 0;
}

int hn_value_compare(struct hn_tpl_render *r, const struct hn_tpl_value *a,
    const struct hn_tpl_value *b, bool fold) {
    if (!hn_tpl_render_deeper(r))
        return 0;
    int order = compare(r, a, b, fold);
    r->depth--;
    return order;
}

bool hn_value_contains(struct hn_tpl_render *r, const struct hn_tpl_value *container,
    const struct hn_tpl_value *item) {
    switch (container->kind) {
    case HN_V_STRING:
        if (item->kind != HN_V_STRING) {
            hn_tpl_render_fail(r, HN_E_DATASET_INVALID, "\"in\" a string needs a string, not %s",
                hn_value_type(item));
            return false;
        }
        return hn_tpl_render_bytes(r, (size_t)container->size + item->size) &&
            memmem(container->text, container->size, item->text, item->size) != NULL;
    case HN_V_LIST:
        for (size_t i = 0; i < container->size && !r->rc; i++)
            if (hn_value_equal(r, &container->items[i], item))
                return true;
        return false;
    case HN_V_DICT:
    case HN_V_NAMESPACE:
        return hn_dict_get(r, container->dict, item) != NULL;
    case HN_V_UNDEFINED:
        return false;
    default:
        hn_tpl_render_fail(
            r, HN_E_DATASET_INVALID, "\"in\" cannot look into %s", hn_value_type(container));
        return false;
    }
}

struct hn_tpl_value hn_value_slice(const struct hn_tpl_value *string, size_t begin, size_t end) {
    struct hn_tpl_value part = *string;
    part.text += begin;
    part.size = (uint32_t)(end - begin);
    if (part.origins)
        part.origins += begin;
    return part;
}

size_t hn_value_characters(struct hn_tpl_render *r, const struct hn_tpl_value *string) {
    return hn_tpl_render_bytes(r, 4 * (size_t)string->size)
        ? hn_utf8_count(string->text, string->size)
        : 0;
}

struct hn_tpl_value *hn_dict_get(
    struct hn_tpl_render *r, const struct hn_tpl_dict *dict, const struct hn_tpl_value *key) {
    for (size_t i = 0; i < dict->n && !r->rc; i++)
        if (hn_value_equal(r, &dict->pairs[i].key, key))
            return &dict->pairs[i].value;
    return NULL;
}

struct hn_tpl_value *hn_dict_get_text(const struct hn_tpl_dict *dict, struct hn_view key) {
    for (size_t i = 0; i < dict->n; i++) {
        const struct hn_tpl_value *k = &dict->pairs[i].key;
        if (k->kind == HN_V_STRING && k->size == key.size &&
            memcmp(k->text, key.data, key.size) == 0)
            return &dict->pairs[i].value;
    }
    return NULL;
}

void hn_dict_set(struct hn_tpl_render *r, struct hn_tpl_dict *dict, struct hn_tpl_value key,
    struct hn_tpl_value value) {
    struct hn_tpl_value *found = hn_dict_get(r, dict, &key);
    if (found) {
        *found = value;
        return;
    }
    if (dict->n == dict->capacity) {
        size_t capacity = dict->capacity ? 2 * dict->capacity : 8;
        struct hn_tpl_pair *pairs = hn_tpl_render_alloc(r, capacity, sizeof *pairs);
        if (!pairs)
            return;
        if (dict->n)
            memcpy(pairs, dict->pairs, dict->n * sizeof *pairs);
        dict->pairs = pairs;
        dict->capacity = capacity;
    }
    dict->pairs[dict->n++] = (struct hn_tpl_pair){key, value};
}

static bool reserve(struct hn_tpl_render *r, struct hn_tpl_builder *b, size_t extra) {
    size_t need = b->size + extra;
    if (r->rc || need <= b->capacity)
        return !r->rc;
    if (need > INT32_MAX / 2) {
        hn_tpl_render_fail(r, HN_E_TOO_LARGE, "the text grows too long");
        return false;
    }
    size_t capacity = b->capacity ? 2 * b->capacity : 64;
    while (capacity < need)
        capacity *= 2;
    char *text = hn_tpl_render_alloc(r, capacity, 1);
    uint16_t *origins = hn_tpl_render_alloc(r, capacity, sizeof *origins);
    if (!text || !origins)
        return false;
    if (b->size) {
        memcpy(text, b->text, b->size);
        memcpy(origins, b->origins, b->size * sizeof *origins);
    }
    b->text = text;
    b->origins = origins;
    b->capacity = capacity;
    return true;
}

void hn_build(struct hn_tpl_render *r, struct hn_tpl_builder *b, const char *text, size_t size,
    uint16_t origin) {
    if (!hn_tpl_render_bytes(r, 4 * size) || !reserve(r, b, size) || !size)
        return;
    memcpy(b->text + b->size, text, size);
    for (size_t i = 0; i < size; i++)
        b->origins[b->size + i] = origin;
    b->size += size;
}

void hn_build_value(
    struct hn_tpl_render *r, struct hn_tpl_builder *b, const struct hn_tpl_value *string) {
    if (!string->origins) {
        hn_build(r, b, string->text, string->size, string->origin);
        return;
    }
    if (!hn_tpl_render_bytes(r, 4 * (size_t)string->size) || !reserve(r, b, string->size) ||
        !string->size)
        return;
    memcpy(b->text + b->size, string->text, string->size);
    memcpy(b->origins + b->size, string->origins, string->size * sizeof *string->origins);
    b->size += string->size;
}

struct hn_tpl_value hn_build_end(const struct hn_tpl_builder *b) {
    struct hn_tpl_value v = hn_string(b->size ? b->text : "", b->size);
    v.origins = b->size ? b->origins : NULL;
    return v;
}

/* Python's repr of a float: the shortest digits that read back, exponents from 1e16 on. */
static void float_text(double real, char *ret, size_t size) {
    if (!isfinite(real)) {
        snprintf(ret, size, "%s", isnan(real) ? "nan" : real > 0 ? "inf" : "-inf");
        return;
    }
    char digits[40];
    int precision = 1;
    do
        snprintf(digits, sizeof digits, "%.*e", precision - 1, real);
    while (strtod(digits, NULL) != real && ++precision <= 17);
    char *e = strchr(digits, 'e');
    int exponent = e ? (int)strtol(e + 1, NULL, 10) : 0;
    if (exponent >= -4 && exponent < 16) {
        int places = precision - 1 - exponent;
        snprintf(ret, size, "%.*f", places > 1 ? places : 1, real);
    } else {
        snprintf(ret, size, "%.*se%c%02d", (int)(e - digits), digits, exponent < 0 ? '-' : '+',
            abs(exponent));
    }
}

static size_t scalar_text(const struct hn_tpl_value *v, char *ret, size_t size) {
    switch (v->kind) {
    case HN_V_NONE:
        return (size_t)snprintf(ret, size, "None");
    case HN_V_BOOL:
        return (size_t)snprintf(ret, size, v->truth ? "True" : "False");
    case HN_V_INT:
        return (size_t)snprintf(ret, size, "%lld", (long long)v->integer);
    case HN_V_FLOAT:
        float_text(v->real, ret, size);
        return strlen(ret);
    case HN_V_UNDEFINED:
    case HN_V_ABSENT:
        ret[0] = 0;
        return 0;
    default:
        return (size_t)snprintf(ret, size, "<%s>", hn_value_type(v));
    }
}

static void repr_string(
    struct hn_tpl_render *r, struct hn_tpl_builder *b, const struct hn_tpl_value *s) {
    char quote = memchr(s->text, '\'', s->size) && !memchr(s->text, '"', s->size) ? '"' : '\'';
    uint16_t origin = s->size ? hn_origin_at(s, 0) : s->origin;
    hn_build(r, b, &quote, 1, origin);
    for (size_t i = 0; i < s->size && !r->rc;) {
        unsigned char c = (unsigned char)s->text[i];
        size_t n = hn_utf8_length(c);
        char escape[8];
        int size = 0;
        if (c == '\\' || c == quote)
            size = snprintf(escape, sizeof escape, "\\%c", c);
        else if (c == '\n' || c == '\r' || c == '\t')
            size = snprintf(escape, sizeof escape, "\\%c", c == '\n' ? 'n' : c == '\r' ? 'r' : 't');
        else if (c < 0x20 || c == 0x7F)
            size = snprintf(escape, sizeof escape, "\\x%02x", c);
        hn_build(r, b, size ? escape : s->text + i, size ? (size_t)size : n, hn_origin_at(s, i));
        i += n;
    }
    hn_build(r, b, &quote, 1, origin);
}

static void repr(struct hn_tpl_render *r, struct hn_tpl_builder *b, const struct hn_tpl_value *v) {
    char text[64];
    if (!hn_tpl_render_deeper(r))
        return;
    if (v->kind == HN_V_STRING) {
        repr_string(r, b, v);
    } else if (v->kind == HN_V_LIST) {
        hn_build(r, b, v->tuple ? "(" : "[", 1, v->origin);
        for (size_t i = 0; i < v->size && !r->rc; i++) {
            hn_build(r, b, ", ", i ? 2 : 0, v->origin);
            repr(r, b, &v->items[i]);
        }
        hn_build(r, b, v->tuple ? v->size == 1 ? ",)" : ")" : "]", v->tuple && v->size == 1 ? 2 : 1,
            v->origin);
    } else if (v->kind == HN_V_DICT) {
        hn_build(r, b, "{", 1, v->origin);
        for (size_t i = 0; i < v->dict->n && !r->rc; i++) {
            hn_build(r, b, ", ", i ? 2 : 0, v->origin);
            repr(r, b, &v->dict->pairs[i].key);
            hn_build(r, b, ": ", 2, v->origin);
            repr(r, b, &v->dict->pairs[i].value);
        }
        hn_build(r, b, "}", 1, v->origin);
    } else {
        hn_build(r, b, text, scalar_text(v, text, sizeof text), v->origin);
    }
    r->depth--;
}

struct hn_tpl_value hn_value_text(struct hn_tpl_render *r, struct hn_tpl_value v) {
    if (v.kind == HN_V_STRING)
        return v;
    struct hn_tpl_builder b = {0};
    if (v.kind == HN_V_LIST || v.kind == HN_V_DICT) {
        repr(r, &b, &v);
    } else {
        char text[64];
        hn_build(r, &b, text, scalar_text(&v, text, sizeof text), v.origin);
    }
    return r->rc ? hn_string("", 0) : hn_build_end(&b);
}

struct hn_tpl_value hn_value_list(struct hn_tpl_render *r, struct hn_tpl_value v) {
    struct hn_tpl_value *items;
    size_t n = 0;
    switch (v.kind) {
    case HN_V_LIST:
        return v;
    case HN_V_UNDEFINED:
        return hn_list(NULL, 0);
    case HN_V_STRING:
        if (!(items = hn_tpl_render_alloc(r, hn_value_characters(r, &v), sizeof *items)))
            return hn_list(NULL, 0);
        for (size_t i = 0, length; i < v.size; i += length) {
            length = hn_utf8_length((unsigned char)v.text[i]);
            items[n++] = hn_value_slice(&v, i, i + length);
        }
        return hn_list(items, n);
    case HN_V_DICT:
        if (!(items = hn_tpl_render_alloc(r, v.dict->n, sizeof *items)))
            return hn_list(NULL, 0);
        for (; n < v.dict->n; n++)
            items[n] = v.dict->pairs[n].key;
        return hn_list(items, n);
    default:
        hn_tpl_render_fail(
            r, HN_E_DATASET_INVALID, "%s cannot be iterated over", hn_value_type(&v));
        return hn_list(NULL, 0);
    }
}

static struct hn_tpl_value text_from_json(const json_t *json, uint16_t origin) {
    struct hn_tpl_value v = hn_string(json_string_value(json), json_string_length(json));
    v.origin = origin;
    return v;
}

struct hn_tpl_value hn_value_from_json(
    struct hn_tpl_render *r, const json_t *json, uint16_t origin) {
    struct hn_tpl_value v = hn_none();
    if (!hn_tpl_render_work(r, 1))
        return v;
    switch (json_typeof(json)) {
    case JSON_STRING:
        if (json_string_length(json) > INT32_MAX / 4)
            hn_tpl_render_fail(r, HN_E_TOO_LARGE, "a text of the row is too long");
        else
            v = text_from_json(json, origin);
        break;
    case JSON_INTEGER:
        v = hn_integer(json_integer_value(json));
        break;
    case JSON_REAL:
        v = hn_real(json_real_value(json));
        break;
    case JSON_TRUE:
    case JSON_FALSE:
        v = hn_truth(json_is_true(json));
        break;
    case JSON_ARRAY: {
        size_t n = json_array_size(json);
        struct hn_tpl_value *items = hn_tpl_render_alloc(r, n, sizeof *items);
        for (size_t i = 0; items && i < n && !r->rc; i++)
            items[i] = hn_value_from_json(r, json_array_get(json, i), origin);
        v = hn_list(items, items ? n : 0);
        break;
    }
    case JSON_OBJECT: {
        const char *key;
        json_t *member;
        struct hn_tpl_dict *dict = hn_tpl_render_alloc(r, 1, sizeof *dict);
        if (!dict ||
            !(dict->pairs = hn_tpl_render_alloc(r, json_object_size(json), sizeof *dict->pairs)))
            break;
        dict->capacity = json_object_size(json);
        json_object_foreach((json_t *)(uintptr_t)json, key, member) {
            struct hn_tpl_value name = hn_string(key, strlen(key));
            name.origin = origin;
            dict->pairs[dict->n++] =
                (struct hn_tpl_pair){name, hn_value_from_json(r, member, origin)};
        }
        v = (struct hn_tpl_value){.kind = HN_V_DICT, .dict = dict};
        break;
    }
    case JSON_NULL:
        break;
    }
    v.origin = origin;
    return v;
}

/* A role that is a plain word may count as the template's own; it is the template that asks for
 * it. */
static bool plain_word(const json_t *json) {
    const char *text = json_string_value(json);
    return text &&
        strspn(text, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-") ==
        json_string_length(json);
}

static uint16_t member_origin(const char *key, const json_t *value, uint16_t message) {
    if (strcmp(key, "role") == 0 && plain_word(value))
        return HN_ORIGIN_TEMPLATE;
    /* Fields that stand in a turn's header: data, but nothing that the model would have to say. */
    if (strcmp(key, "role") == 0 || strcmp(key, "name") == 0 || strcmp(key, "tool_call_id") == 0)
        return HN_ORIGIN_DATA;
    return message;
}

struct hn_tpl_value hn_value_tools(struct hn_tpl_render *r, const json_t *tools) {
    return r->in->trace ? hn_trace_tools(r, tools) : hn_value_from_json(r, tools, HN_ORIGIN_DATA);
}

static void set_member(
    struct hn_tpl_render *r, struct hn_tpl_dict *dict, const char *key, struct hn_tpl_value value) {
    hn_dict_set(r, dict, hn_string(key, strlen(key)), value);
}

static const char *const reasoning[] = {"reasoning_content", "thinking", "reasoning"};

static bool is_reasoning(const char *key) {
    return strcmp(key, reasoning[0]) == 0 || strcmp(key, reasoning[1]) == 0 ||
        strcmp(key, reasoning[2]) == 0;
}

static struct hn_tpl_value member_value(
    struct hn_tpl_render *r, const char *key, const json_t *member, uint16_t message) {
    return r->in->trace ? hn_trace_member(r, key, member)
                        : hn_value_from_json(r, member, member_origin(key, member, message));
}

/* As Transformers hands messages to a template: reasoning under each of its names. `weight` is ours
 * and left out. */
static struct hn_tpl_value message_value(
    struct hn_tpl_render *r, const json_t *message, uint16_t origin) {
    struct hn_tpl_dict *dict = hn_tpl_render_alloc(r, 1, sizeof *dict);
    const json_t *thought = NULL;
    const char *key, *name = NULL;
    json_t *member;
    if (!dict)
        return hn_none();
    for (size_t i = 0; i < 3 && !thought; i++)
        if (!json_is_null(json_object_get(message, reasoning[i])))
            thought = json_object_get(message, name = reasoning[i]);
    uint16_t of_thought = thought && r->in->trace ? hn_trace_field(r, name, thought) : origin;
    if (thought)
        set_member(r, dict, "thinking", hn_value_from_json(r, thought, of_thought));
    json_object_foreach((json_t *)(uintptr_t)message, key, member)
        if (is_reasoning(key))
            set_member(r, dict, key, hn_value_from_json(r, member, of_thought));
        else if (strcmp(key, "weight") != 0)
            set_member(r, dict, key, member_value(r, key, member, origin));
    if (thought)
        set_member(r, dict, "reasoning_content", hn_value_from_json(r, thought, of_thought));
    return (struct hn_tpl_value){.kind = HN_V_DICT, .dict = dict, .origin = origin};
}

struct hn_tpl_value hn_value_messages(struct hn_tpl_render *r, const json_t *messages) {
    size_t n = json_array_size(messages);
    if (n >= HN_ORIGIN_DATA - 1) {
        hn_tpl_render_fail(r, HN_E_TOO_LARGE, "a conversation of %zu messages is too long", n);
        return hn_none();
    }
    struct hn_tpl_value *items = hn_tpl_render_alloc(r, n, sizeof *items);
    for (size_t i = 0; items && i < n && !r->rc; i++)
        items[i] = message_value(r, json_array_get(messages, i), (uint16_t)(i + 1));
    return items ? hn_list(items, n) : hn_none();
}

static void json_string_text(
    struct hn_tpl_render *r, struct hn_tpl_builder *b, const struct hn_tpl_value *s, bool ascii) {
    static const char names[] = "\"\\\b\f\n\r\t", letters[] = "\"\\bfnrt";
    uint16_t origin = s->size ? hn_origin_at(s, 0) : s->origin;
    hn_build(r, b, "\"", 1, origin);
    for (size_t i = 0; i < s->size && !r->rc;) {
        size_t n = hn_utf8_length((unsigned char)s->text[i]);
        uint32_t c = hn_utf8_get(s->text + i);
        const char *named = c && c < 0x80 ? strchr(names, (int)c) : NULL;
        char escape[16];
        int size = 0;
        if (named)
            size = snprintf(escape, sizeof escape, "\\%c", letters[named - names]);
        else if (c < 0x20 || (ascii && c >= 0x7F && c < 0x10000 && c != 0x7F))
            size = snprintf(escape, sizeof escape, "\\u%04x", c);
        else if (ascii && c >= 0x10000)
            size = snprintf(escape, sizeof escape, "\\u%04x\\u%04x", 0xD800 + ((c - 0x10000) >> 10),
                0xDC00 + (c & 0x3FF));
        hn_build(r, b, size ? escape : s->text + i, size ? (size_t)size : n, hn_origin_at(s, i));
        i += n;
    }
    hn_build(r, b, "\"", 1, origin);
}

static void json_newline(struct hn_tpl_render *r, struct hn_tpl_builder *b,
    const struct hn_json_style *style, size_t depth, uint16_t origin) {
    if (style->indent.kind != HN_V_STRING)
        return;
    hn_build(r, b, "\n", 1, origin);
    for (size_t i = 0; i < depth && !r->rc; i++)
        hn_build(r, b, style->indent.text, style->indent.size, origin);
}

static int compare_keys(const void *a, const void *b) {
    return compare_text(
        &((const struct hn_tpl_pair *)a)->key, &((const struct hn_tpl_pair *)b)->key, false);
}

static void json_dict(struct hn_tpl_render *r, struct hn_tpl_builder *b, struct hn_tpl_value v,
    const struct hn_json_style *style, size_t depth) {
    struct hn_tpl_pair *pairs = v.dict->pairs;
    size_t n = v.dict->n;
    if (style->sorted && n) {
        if (!(pairs = hn_tpl_render_alloc(r, n, sizeof *pairs)))
            return;
        memcpy(pairs, v.dict->pairs, n * sizeof *pairs);
        size_t longest = 0, rounds = 1;
        for (size_t i = 0; i < n; i++) {
            if (pairs[i].key.kind != HN_V_STRING) {
                hn_tpl_render_fail(r, HN_E_DATASET_INVALID, "keys to sort must be strings");
                return;
            }
            longest = pairs[i].key.size > longest ? pairs[i].key.size : longest;
        }
        for (size_t i = n; i > 1; i /= 2)
            rounds++;
        if (!hn_tpl_render_work(r, n * rounds * (1 + longest / HN_TPL_STEP_BYTES)))
            return;
        qsort(pairs, n, sizeof *pairs, compare_keys);
    }
    hn_build(r, b, "{", 1, v.origin);
    for (size_t i = 0; i < n && !r->rc; i++) {
        if (i)
            hn_build(r, b, style->item, strlen(style->item), v.origin);
        json_newline(r, b, style, depth + 1, v.origin);
        struct hn_tpl_value key = pairs[i].key;
        if (key.kind != HN_V_STRING) {
            struct hn_tpl_builder text = {0};
            hn_value_to_json(r, &text, key, style, depth + 1);
            key = hn_build_end(&text);
        }
        json_string_text(r, b, &key, style->ascii);
        hn_build(r, b, style->key, strlen(style->key), v.origin);
        hn_value_to_json(r, b, pairs[i].value, style, depth + 1);
    }
    if (n)
        json_newline(r, b, style, depth, v.origin);
    hn_build(r, b, "}", 1, v.origin);
}

void hn_value_to_json(struct hn_tpl_render *r, struct hn_tpl_builder *b, struct hn_tpl_value v,
    const struct hn_json_style *style, size_t depth) {
    char text[64];
    if (!hn_tpl_render_work(r, 1))
        return;
    if (depth > HN_TPL_DEPTH_MAX) {
        hn_tpl_render_fail(r, HN_E_DATASET_INVALID, "a value is nested too deeply for tojson");
        return;
    }
    switch (v.kind) {
    case HN_V_STRING:
        json_string_text(r, b, &v, style->ascii);
        break;
    case HN_V_NONE:
        hn_build(r, b, "null", 4, v.origin);
        break;
    case HN_V_BOOL:
        hn_build(r, b, v.truth ? "true" : "false", v.truth ? 4 : 5, v.origin);
        break;
    case HN_V_INT:
    case HN_V_FLOAT:
        if (v.kind == HN_V_FLOAT && !isfinite(v.real))
            snprintf(text, sizeof text, "%s",
                isnan(v.real)    ? "NaN"
                    : v.real > 0 ? "Infinity"
                                 : "-Infinity");
        else
            scalar_text(&v, text, sizeof text);
        hn_build(r, b, text, strlen(text), v.origin);
        break;
    case HN_V_LIST:
        hn_build(r, b, "[", 1, v.origin);
        for (size_t i = 0; i < v.size && !r->rc; i++) {
            if (i)
                hn_build(r, b, style->item, strlen(style->item), v.origin);
            json_newline(r, b, style, depth + 1, v.origin);
            hn_value_to_json(r, b, v.items[i], style, depth + 1);
        }
        if (v.size)
            json_newline(r, b, style, depth, v.origin);
        hn_build(r, b, "]", 1, v.origin);
        break;
    case HN_V_DICT:
        json_dict(r, b, v, style, depth);
        break;
    default:
        hn_tpl_render_fail(
            r, HN_E_DATASET_INVALID, "%s cannot be written as JSON", hn_value_type(&v));
    }
}
