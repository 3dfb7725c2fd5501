/*
 * The filters and tests of chat templates, one row each; what they do is what Jinja's do.
 * Case and strip work character by character, so that every byte keeps its origin.
 */
#include "engine/template/strings.h"
#include "engine/base/utf8.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

static struct hn_tpl_value text_of(struct hn_tpl_render *r, struct hn_tpl_value v) {
    return hn_value_text(r, v);
}

static struct hn_tpl_value f_trim(
    struct hn_tpl_render *r, struct hn_tpl_value self, struct hn_tpl_call *call) {
    return hn_string_strip(r, text_of(r, self), call->args[0], true, true);
}

static struct hn_tpl_value f_upper(
    struct hn_tpl_render *r, struct hn_tpl_value self, struct hn_tpl_call *call) {
    (void)call;
    return hn_string_case(r, text_of(r, self), HN_CASE_UPPER);
}

static struct hn_tpl_value f_lower(
    struct hn_tpl_render *r, struct hn_tpl_value self, struct hn_tpl_call *call) {
    (void)call;
    return hn_string_case(r, text_of(r, self), HN_CASE_LOWER);
}

static struct hn_tpl_value f_capitalize(
    struct hn_tpl_render *r, struct hn_tpl_value self, struct hn_tpl_call *call) {
    (void)call;
    return hn_string_case(r, text_of(r, self), HN_CASE_CAPITAL);
}

static struct hn_tpl_value f_title(
    struct hn_tpl_render *r, struct hn_tpl_value self, struct hn_tpl_call *call) {
    (void)call;
    return hn_string_case(r, text_of(r, self), HN_CASE_TITLE_WORDS);
}

static struct hn_tpl_value f_string(
    struct hn_tpl_render *r, struct hn_tpl_value self, struct hn_tpl_call *call) {
    (void)call;
    return text_of(r, self);
}

static struct hn_tpl_value f_list(
    struct hn_tpl_render *r, struct hn_tpl_value self, struct hn_tpl_call *call) {
    (void)call;
    struct hn_tpl_value v = hn_value_list(r, self);
    v.tuple = false;
    return v;
}

static struct hn_tpl_value f_length(
    struct hn_tpl_render *r, struct hn_tpl_value self, struct hn_tpl_call *call) {
    (void)call;
    switch (self.kind) {
    case HN_V_UNDEFINED:
        return hn_integer(0);
    case HN_V_STRING:
        return hn_integer((int64_t)hn_value_characters(r, &self));
    case HN_V_LIST:
        return hn_integer(self.size);
    case HN_V_DICT:
        return hn_integer((int64_t)self.dict->n);
    default:
        return hn_tpl_render_fail(
            r, HN_E_DATASET_INVALID, "%s has no length", hn_value_type(&self));
    }
}

static struct hn_tpl_value f_default(
    struct hn_tpl_render *r, struct hn_tpl_value self, struct hn_tpl_call *call) {
    (void)r;
    bool replace =
        self.kind == HN_V_UNDEFINED || (hn_value_true(&call->args[1]) && !hn_value_true(&self));
    return !replace ? self : call->args[0].kind == HN_V_ABSENT ? hn_string("", 0) : call->args[0];
}

static struct hn_tpl_value f_first(
    struct hn_tpl_render *r, struct hn_tpl_value self, struct hn_tpl_call *call) {
    (void)call;
    struct hn_tpl_value list = hn_value_list(r, self);
    return list.size ? list.items[0] : hn_undefined();
}

static struct hn_tpl_value f_last(
    struct hn_tpl_render *r, struct hn_tpl_value self, struct hn_tpl_call *call) {
    (void)call;
    struct hn_tpl_value list = hn_value_list(r, self);
    return list.size ? list.items[list.size - 1] : hn_undefined();
}

static struct hn_tpl_value f_reverse(
    struct hn_tpl_render *r, struct hn_tpl_value self, struct hn_tpl_call *call) {
    (void)call;
    struct hn_tpl_value list = hn_value_list(r, self),
                        *items = hn_tpl_render_alloc(r, list.size, sizeof *items);
    for (size_t i = 0; items && i < list.size; i++)
        items[i] = list.items[list.size - 1 - i];
    if (self.kind != HN_V_STRING || r->rc)
        return hn_list(items, items ? list.size : 0);
    return hn_string_join(r, hn_string("", 0), hn_list(items, list.size));
}

/* "a.b" or 2: what an attribute argument of map, sort … leads to. */
static struct hn_tpl_value follow(
    struct hn_tpl_render *r, struct hn_tpl_value v, struct hn_tpl_value path) {
    if (path.kind != HN_V_STRING)
        return hn_tpl_render_item(r, v, path);
    for (size_t begin = 0; begin <= path.size && !r->rc;) {
        const char *dot = memchr(path.text + begin, '.', path.size - begin);
        size_t end = dot ? (size_t)(dot - path.text) : path.size;
        struct hn_tpl_value part = hn_value_slice(&path, begin, end);
        char *rest = NULL;
        char digits[24] = {0};
        if (part.size && part.size < sizeof digits)
            memcpy(digits, part.text, part.size);
        hn_tpl_render_bytes(r, part.size);
        long long index = strtoll(digits, &rest, 10);
        v = hn_tpl_render_item(r, v, *digits && !*rest ? hn_integer(index) : part);
        begin = end + 1;
    }
    return v;
}

static struct hn_tpl_value f_join(
    struct hn_tpl_render *r, struct hn_tpl_value self, struct hn_tpl_call *call) {
    struct hn_tpl_value list = hn_value_list(r, self),
                        *items = hn_tpl_render_alloc(r, list.size, sizeof *items);
    for (size_t i = 0; items && i < list.size && !r->rc; i++)
        items[i] = text_of(r,
            hn_is_missing(&call->args[1]) ? list.items[i]
                                          : follow(r, list.items[i], call->args[1]));
    struct hn_tpl_value glue =
        call->args[0].kind == HN_V_ABSENT ? hn_string("", 0) : text_of(r, call->args[0]);
    return r->rc ? hn_undefined() : hn_string_join(r, glue, hn_list(items, list.size));
}

static struct hn_tpl_value f_replace(
    struct hn_tpl_render *r, struct hn_tpl_value self, struct hn_tpl_call *call) {
    int64_t limit = hn_is_missing(&call->args[2]) ? -1 : hn_value_int(&call->args[2]);
    return hn_string_replace(
        r, text_of(r, self), text_of(r, call->args[0]), text_of(r, call->args[1]), limit);
}

static struct hn_tpl_value f_items(
    struct hn_tpl_render *r, struct hn_tpl_value self, struct hn_tpl_call *call) {
    (void)call;
    if (self.kind == HN_V_UNDEFINED)
        return hn_list(NULL, 0);
    if (self.kind != HN_V_DICT)
        return hn_tpl_render_fail(
            r, HN_E_DATASET_INVALID, "items needs a mapping, not %s", hn_value_type(&self));
    return hn_dict_items(r, self.dict);
}

static struct hn_tpl_value f_tojson(
    struct hn_tpl_render *r, struct hn_tpl_value self, struct hn_tpl_call *call) {
    struct hn_tpl_value indent = call->args[1], separators = call->args[2];
    struct hn_json_style style = {.item = ", ", .key = ": ", .indent = hn_none()};
    char parts[2][32];
    if (indent.kind == HN_V_INT && indent.integer >= 0 && indent.integer <= 64) {
        style.indent = hn_string("                                                                ",
            (size_t)indent.integer);
        style.item = ",";
    } else if (indent.kind == HN_V_STRING) {
        style.indent = indent;
        style.item = ",";
    }
    if (separators.kind == HN_V_LIST && separators.size == 2)
        for (size_t i = 0; i < 2; i++) {
            struct hn_tpl_value s = separators.items[i];
            if (s.kind != HN_V_STRING || s.size >= sizeof parts[i])
                return hn_tpl_render_fail(r, HN_E_UNSUPPORTED, "these separators of tojson");
            memcpy(parts[i], s.text, s.size);
            parts[i][s.size] = 0;
            *(i ? &style.key : &style.item) = parts[i];
        }
    style.ascii = hn_value_true(&call->args[0]);
    style.sorted = hn_value_true(&call->args[3]);
    struct hn_tpl_builder b = {0};
    hn_value_to_json(r, &b, self, &style, 0);
    return hn_build_end(&b);
}

static struct hn_tpl_value f_indent(
    struct hn_tpl_render *r, struct hn_tpl_value self, struct hn_tpl_call *call) {
    struct hn_tpl_value text = text_of(r, self), pad = call->args[0], lines;
    bool first = hn_value_true(&call->args[1]), blank = hn_value_true(&call->args[2]);
    int64_t width = pad.kind == HN_V_ABSENT ? 4 : hn_is_number(&pad) ? hn_value_int(&pad) : 0;
    if (width < 0 || width > 1000)
        return hn_tpl_render_fail(
            r, HN_E_MODEL_INVALID, "indent cannot be %lld wide", (long long)width);
    char spaces[1000];
    memset(spaces, ' ', sizeof spaces);
    struct hn_tpl_builder b = {0};
    hn_build_value(r, &b, &text);
    /* as Jinja does, so that an empty last line is kept */
    hn_build(r, &b, "\n", 1, HN_ORIGIN_TEMPLATE);
    lines = hn_string_lines(r, hn_build_end(&b), false);
    struct hn_tpl_builder out = {0};
    for (size_t i = 0; i < lines.size && !r->rc; i++) {
        if (i)
            hn_build(r, &out, "\n", 1, HN_ORIGIN_TEMPLATE);
        if (i ? blank || lines.items[i].size : first) {
            if (pad.kind == HN_V_STRING)
                hn_build_value(r, &out, &pad);
            else
                hn_build(r, &out, spaces, (size_t)width, HN_ORIGIN_TEMPLATE);
        }
        hn_build_value(r, &out, &lines.items[i]);
    }
    return hn_build_end(&out);
}

static struct hn_tpl_value f_int(
    struct hn_tpl_render *r, struct hn_tpl_value self, struct hn_tpl_call *call) {
    char text[64], *end;
    struct hn_tpl_value other = call->args[0].kind == HN_V_ABSENT ? hn_integer(0) : call->args[0];
    if (self.kind == HN_V_FLOAT)
        return fabs(self.real) < 9e18 ? hn_integer((int64_t)self.real) : other;
    if (hn_is_number(&self))
        return hn_integer(hn_value_int(&self));
    if (self.kind != HN_V_STRING)
        return other;
    struct hn_tpl_value s = hn_string_strip(r, self, hn_absent(), true, true);
    int base = hn_is_missing(&call->args[1]) ? 10 : (int)hn_value_int(&call->args[1]);
    if (s.size == 0 || s.size >= sizeof text || base < 2 || base > 36)
        return other;
    memcpy(text, s.text, s.size);
    text[s.size] = 0;
    errno = 0;
    long long v = strtoll(text, &end, base);
    if (!*end && !errno)
        return hn_integer(v);
    double real = strtod(text, &end);
    return *end || !(fabs(real) < 9e18) ? other : hn_integer((int64_t)real);
}

static struct hn_tpl_value f_float(
    struct hn_tpl_render *r, struct hn_tpl_value self, struct hn_tpl_call *call) {
    char text[64], *end;
    struct hn_tpl_value other = call->args[0].kind == HN_V_ABSENT ? hn_real(0) : call->args[0];
    if (hn_is_number(&self))
        return hn_real(hn_value_real(&self));
    if (self.kind != HN_V_STRING)
        return other;
    struct hn_tpl_value s = hn_string_strip(r, self, hn_absent(), true, true);
    if (s.size == 0 || s.size >= sizeof text)
        return other;
    memcpy(text, s.text, s.size);
    text[s.size] = 0;
    double real = strtod(text, &end);
    return *end ? other : hn_real(real);
}

static struct hn_tpl_value need_number(struct hn_tpl_render *r, struct hn_tpl_value v) {
    return hn_is_number(&v) ? v
                            : hn_tpl_render_fail(r, HN_E_DATASET_INVALID,
                                  "a number is needed, not %s", hn_value_type(&v));
}

static struct hn_tpl_value f_abs(
    struct hn_tpl_render *r, struct hn_tpl_value self, struct hn_tpl_call *call) {
    (void)call;
    struct hn_tpl_value v = need_number(r, self);
    if (v.kind == HN_V_FLOAT)
        return hn_real(fabs(v.real));
    int64_t n = hn_value_int(&v);
    return r->rc ? v : n < 0 ? hn_op_binary(r, HN_TPL_OP_SUB, hn_integer(0), v) : hn_integer(n);
}

static struct hn_tpl_value f_round(
    struct hn_tpl_render *r, struct hn_tpl_value self, struct hn_tpl_call *call) {
    struct hn_tpl_value v = need_number(r, self);
    int64_t places = call->args[0].kind == HN_V_ABSENT ? 0 : hn_value_int(&call->args[0]);
    if (r->rc || places < -15 || places > 15)
        return r->rc
            ? v
            : hn_tpl_render_fail(r, HN_E_UNSUPPORTED, "rounding to %lld places", (long long)places);
    double scale = pow(10, (double)places), x = hn_value_real(&v) * scale;
    bool up = call->args[1].kind == HN_V_STRING && hn_view_is(hn_view_of(call->args[1]), "ceil");
    bool down = call->args[1].kind == HN_V_STRING && hn_view_is(hn_view_of(call->args[1]), "floor");
    return hn_real((up ? ceil(x) : down ? floor(x) : rint(x)) / scale);
}

/* sort, unique, min, max: the value an item is judged by. */
static struct hn_tpl_value key_of(
    struct hn_tpl_render *r, struct hn_tpl_value item, struct hn_tpl_value attribute) {
    return hn_is_missing(&attribute) ? item : follow(r, item, attribute);
}

/* Stable merge sort of keys with their items. */
static void merge_sort(struct hn_tpl_render *r, struct hn_tpl_pair *a, struct hn_tpl_pair *spare,
    size_t n, bool fold, bool reverse) {
    if (n < 2 || r->rc)
        return;
    size_t half = n / 2, i = 0, j = half, k = 0;
    merge_sort(r, a, spare, half, fold, reverse);
    merge_sort(r, a + half, spare, n - half, fold, reverse);
    while (i < half && j < n && !r->rc) {
        int order = hn_value_compare(r, &a[i].key, &a[j].key, fold);
        spare[k++] = (reverse ? order >= 0 : order <= 0) ? a[i++] : a[j++];
    }
    while (i < half)
        spare[k++] = a[i++];
    memcpy(a, spare, k * sizeof *a);
}

static struct hn_tpl_pair *sorted(struct hn_tpl_render *r, struct hn_tpl_value list,
    struct hn_tpl_value attribute, bool fold, bool reverse) {
    struct hn_tpl_pair *pairs = hn_tpl_render_alloc(r, list.size, sizeof *pairs),
                       *spare = hn_tpl_render_alloc(r, list.size, sizeof *spare);
    if (!pairs || !spare)
        return NULL;
    for (size_t i = 0; i < list.size && !r->rc; i++)
        pairs[i] = (struct hn_tpl_pair){key_of(r, list.items[i], attribute), list.items[i]};
    merge_sort(r, pairs, spare, list.size, fold, reverse);
    return r->rc ? NULL : pairs;
}

static struct hn_tpl_value values_of(
    struct hn_tpl_render *r, const struct hn_tpl_pair *pairs, size_t n) {
    struct hn_tpl_value *items = pairs ? hn_tpl_render_alloc(r, n, sizeof *items) : NULL;
    for (size_t i = 0; items && i < n; i++)
        items[i] = pairs[i].value;
    return hn_list(items, items ? n : 0);
}

static struct hn_tpl_value f_sort(
    struct hn_tpl_render *r, struct hn_tpl_value self, struct hn_tpl_call *call) {
    struct hn_tpl_value list = hn_value_list(r, self);
    return values_of(r,
        sorted(
            r, list, call->args[2], !hn_value_true(&call->args[1]), hn_value_true(&call->args[0])),
        list.size);
}

static struct hn_tpl_value f_dictsort(
    struct hn_tpl_render *r, struct hn_tpl_value self, struct hn_tpl_call *call) {
    bool by_value =
        call->args[1].kind == HN_V_STRING && hn_view_is(hn_view_of(call->args[1]), "value");
    struct hn_tpl_value list = f_items(r, self, call);
    return values_of(r,
        sorted(r, list, hn_integer(by_value), !hn_value_true(&call->args[0]),
            hn_value_true(&call->args[2])),
        list.size);
}

static struct hn_tpl_value f_unique(
    struct hn_tpl_render *r, struct hn_tpl_value self, struct hn_tpl_call *call) {
    struct hn_tpl_value list = hn_value_list(r, self),
                        *items = hn_tpl_render_alloc(r, list.size, sizeof *items);
    struct hn_tpl_value *keys = hn_tpl_render_alloc(r, list.size, sizeof *keys);
    size_t n = 0;
    for (size_t i = 0; items && keys && i < list.size && !r->rc; i++) {
        struct hn_tpl_value key = key_of(r, list.items[i], call->args[1]);
        if (key.kind == HN_V_STRING && !hn_value_true(&call->args[0]))
            key = hn_string_case(r, key, HN_CASE_LOWER);
        struct hn_tpl_value seen = hn_list(keys, n);
        if (hn_value_contains(r, &seen, &key))
            continue;
        keys[n] = key;
        items[n++] = list.items[i];
    }
    return hn_list(items, n);
}

static struct hn_tpl_value extreme(
    struct hn_tpl_render *r, struct hn_tpl_value self, struct hn_tpl_call *call, bool reverse) {
    struct hn_tpl_value list = hn_value_list(r, self);
    struct hn_tpl_pair *pairs =
        sorted(r, list, call->args[1], !hn_value_true(&call->args[0]), reverse);
    return pairs && list.size ? pairs[0].value : hn_undefined();
}

static struct hn_tpl_value f_min(
    struct hn_tpl_render *r, struct hn_tpl_value self, struct hn_tpl_call *call) {
    return extreme(r, self, call, false);
}

static struct hn_tpl_value f_max(
    struct hn_tpl_render *r, struct hn_tpl_value self, struct hn_tpl_call *call) {
    return extreme(r, self, call, true);
}

static struct hn_tpl_value f_sum(
    struct hn_tpl_render *r, struct hn_tpl_value self, struct hn_tpl_call *call) {
    struct hn_tpl_value list = hn_value_list(r, self),
                        total = call->args[1].kind == HN_V_ABSENT ? hn_integer(0) : call->args[1];
    for (size_t i = 0; i < list.size && hn_tpl_render_work(r, 1); i++) {
        struct hn_tpl_value v = need_number(r, key_of(r, list.items[i], call->args[0]));
        int64_t sum;
        if (r->rc)
            break;
        if (total.kind == HN_V_FLOAT || v.kind == HN_V_FLOAT)
            total = hn_real(hn_value_real(&total) + hn_value_real(&v));
        else if (__builtin_add_overflow(hn_value_int(&total), hn_value_int(&v), &sum))
            hn_tpl_render_fail(r, HN_E_UNSUPPORTED, "a whole number grows past 64 bits");
        else
            total = hn_integer(sum);
    }
    return total;
}

static struct hn_tpl_value f_batch(
    struct hn_tpl_render *r, struct hn_tpl_value self, struct hn_tpl_call *call) {
    struct hn_tpl_value list = hn_value_list(r, self);
    int64_t width = hn_value_int(&call->args[0]);
    if (r->rc || width < 1)
        return hn_tpl_render_fail(r, HN_E_MODEL_INVALID, "batch needs a positive size");
    size_t size = (size_t)width < list.size ? (size_t)width
        : list.size                         ? list.size
                                            : 1,
           n = (list.size + size - 1) / size;
    struct hn_tpl_value *rows = hn_tpl_render_alloc(r, n, sizeof *rows);
    for (size_t i = 0; rows && i < n; i++)
        rows[i] = hn_list(list.items + i * size, i + 1 < n ? size : list.size - i * size);
    if (rows && n && call->args[1].kind != HN_V_ABSENT && call->args[1].kind != HN_V_NONE &&
        rows[n - 1].size < (size_t)width && width < 100000) {
        struct hn_tpl_value *padded = hn_tpl_render_alloc(r, (size_t)width, sizeof *padded);
        for (size_t i = 0; padded && i < (size_t)width; i++)
            padded[i] = i < rows[n - 1].size ? rows[n - 1].items[i] : call->args[1];
        rows[n - 1] = hn_list(padded, padded ? (size_t)width : 0);
    }
    return hn_list(rows, rows ? n : 0);
}

static struct hn_tpl_value f_escape(
    struct hn_tpl_render *r, struct hn_tpl_value self, struct hn_tpl_call *call) {
    (void)call;
    static const char chars[] = "&<>'\"";
    static const char *const names[] = {"&amp;", "&lt;", "&gt;", "&#39;", "&#34;"};
    struct hn_tpl_value text = text_of(r, self);
    struct hn_tpl_builder b = {0};
    for (size_t i = 0; i < text.size && !r->rc; i++) {
        const char *found = text.text[i] ? strchr(chars, text.text[i]) : NULL;
        const char *name = found ? names[found - chars] : text.text + i;
        hn_build(r, &b, name, found ? strlen(name) : 1, hn_origin_at(&text, i));
    }
    return hn_build_end(&b);
}

static struct hn_tpl_value f_attr(
    struct hn_tpl_render *r, struct hn_tpl_value self, struct hn_tpl_call *call) {
    return hn_tpl_render_attribute(r, self, hn_view_of(text_of(r, call->args[0])));
}

static const struct hn_tpl_value *named(const struct hn_tpl_call *call, const char *name) {
    for (size_t i = 0; i < call->n_keywords; i++)
        if (hn_view_is(hn_view_of(call->keywords[i].key), name))
            return &call->keywords[i].value;
    return NULL;
}

/* map('filter', args…) or map(attribute='a.b', default=x). */
static struct hn_tpl_value f_map(
    struct hn_tpl_render *r, struct hn_tpl_value self, struct hn_tpl_call *call) {
    struct hn_tpl_value list = hn_value_list(r, self),
                        *items = hn_tpl_render_alloc(r, list.size, sizeof *items);
    const struct hn_tpl_value *attribute = named(call, "attribute"),
                              *other = named(call, "default");
    const struct hn_tpl_builtin *filter = NULL;
    if (!attribute) {
        if (!call->n || call->args[0].kind != HN_V_STRING)
            return hn_tpl_render_fail(
                r, HN_E_MODEL_INVALID, "map needs the name of a filter or an attribute");
        if (!(filter = hn_filter_find(hn_view_of(call->args[0]))))
            return hn_tpl_render_fail(r, HN_E_UNSUPPORTED, "there is no filter \"%.*s\"",
                (int)call->args[0].size, call->args[0].text);
    }
    for (size_t i = 0; items && i < list.size && !r->rc; i++) {
        struct hn_tpl_call inner = {.args = filter ? call->args + 1 : NULL,
            .n = filter ? call->n - 1 : 0,
            .caller = hn_absent()};
        inner.keywords = call->keywords;
        inner.n_keywords = filter ? call->n_keywords : 0;
        items[i] = filter ? hn_tpl_render_builtin(r, filter, list.items[i], &inner)
                          : follow(r, list.items[i], *attribute);
        if (!filter && other && items[i].kind == HN_V_UNDEFINED)
            items[i] = *other;
    }
    return hn_list(items, items ? list.size : 0);
}

/* select, reject, selectattr, rejectattr: items for which a test (default: truth) holds, or does
 * not. */
static struct hn_tpl_value choose(struct hn_tpl_render *r, struct hn_tpl_value self,
    struct hn_tpl_call *call, bool by_attribute, bool want) {
    struct hn_tpl_value list = hn_value_list(r, self),
                        *items = hn_tpl_render_alloc(r, list.size, sizeof *items);
    size_t used = by_attribute, n = 0;
    if (by_attribute && !call->n)
        return hn_tpl_render_fail(
            r, HN_E_MODEL_INVALID, "selectattr and rejectattr need an attribute");
    const struct hn_tpl_builtin *test = NULL;
    if (call->n > used) {
        struct hn_tpl_value name = text_of(r, call->args[used]);
        if (!(test = hn_test_find(hn_view_of(name))))
            return hn_tpl_render_fail(
                r, HN_E_UNSUPPORTED, "there is no test \"%.*s\"", (int)name.size, name.text);
        used++;
    }
    for (size_t i = 0; items && i < list.size && !r->rc; i++) {
        struct hn_tpl_value v =
            by_attribute ? follow(r, list.items[i], call->args[0]) : list.items[i];
        struct hn_tpl_call inner = {.args = call->args ? call->args + used : NULL,
            .n = call->n - used,
            .caller = hn_absent()};
        if (test)
            v = hn_tpl_render_builtin(r, test, v, &inner);
        if (hn_tpl_render_work(r, 1) && hn_value_true(&v) == want)
            items[n++] = list.items[i];
    }
    return hn_list(items, n);
}

static struct hn_tpl_value f_select(
    struct hn_tpl_render *r, struct hn_tpl_value self, struct hn_tpl_call *call) {
    return choose(r, self, call, false, true);
}

static struct hn_tpl_value f_reject(
    struct hn_tpl_render *r, struct hn_tpl_value self, struct hn_tpl_call *call) {
    return choose(r, self, call, false, false);
}

static struct hn_tpl_value f_selectattr(
    struct hn_tpl_render *r, struct hn_tpl_value self, struct hn_tpl_call *call) {
    return choose(r, self, call, true, true);
}

static struct hn_tpl_value f_rejectattr(
    struct hn_tpl_render *r, struct hn_tpl_value self, struct hn_tpl_call *call) {
    return choose(r, self, call, true, false);
}

static const struct hn_tpl_builtin filters[] = {
    {"abs", "", 0, f_abs},
    {"attr", "name", 1, f_attr},
    {"batch", "linecount,fill_with", 1, f_batch},
    {"capitalize", "", 0, f_capitalize},
    {"count", "", 0, f_length},
    {"d", "default_value,boolean", 0, f_default},
    {"default", "default_value,boolean", 0, f_default},
    {"dictsort", "case_sensitive,by,reverse", 0, f_dictsort},
    {"e", "", 0, f_escape},
    {"escape", "", 0, f_escape},
    {"first", "", 0, f_first},
    {"float", "default", 0, f_float},
    {"indent", "width,first,blank", 0, f_indent},
    {"int", "default,base", 0, f_int},
    {"items", "", 0, f_items},
    {"join", "d,attribute", 0, f_join},
    {"last", "", 0, f_last},
    {"length", "", 0, f_length},
    {"list", "", 0, f_list},
    {"lower", "", 0, f_lower},
    {"map", NULL, 0, f_map},
    {"max", "case_sensitive,attribute", 0, f_max},
    {"min", "case_sensitive,attribute", 0, f_min},
    {"reject", NULL, 0, f_reject},
    {"rejectattr", NULL, 0, f_rejectattr},
    {"replace", "old,new,count", 2, f_replace},
    {"reverse", "", 0, f_reverse},
    {"round", "precision,method", 0, f_round},
    {"safe", "", 0, f_string},
    {"select", NULL, 0, f_select},
    {"selectattr", NULL, 0, f_selectattr},
    {"sort", "reverse,case_sensitive,attribute", 0, f_sort},
    {"string", "", 0, f_string},
    {"sum", "attribute,start", 0, f_sum},
    {"title", "", 0, f_title},
    {"tojson", "ensure_ascii,indent,separators,sort_keys", 0, f_tojson},
    {"trim", "chars", 0, f_trim},
    {"unique", "case_sensitive,attribute", 0, f_unique},
    {"upper", "", 0, f_upper},
};

/* Tests that ask only for the kind of a value: one bit a kind. */
#define KINDS(name, mask)                                                              \
    static struct hn_tpl_value t_##name(                                               \
        struct hn_tpl_render *r, struct hn_tpl_value self, struct hn_tpl_call *call) { \
        (void)r;                                                                       \
        (void)call;                                                                    \
        return hn_truth((unsigned)(mask) >> self.kind & 1);                            \
    }
#define BIT(kind) (1u << HN_V_##kind)
KINDS(defined, ~BIT(UNDEFINED))
KINDS(undefined, BIT(UNDEFINED))
KINDS(none, BIT(NONE))
KINDS(boolean, BIT(BOOL))
KINDS(integer, BIT(INT))
KINDS(float, BIT(FLOAT))
KINDS(number, BIT(INT) | BIT(FLOAT) | BIT(BOOL))
KINDS(string, BIT(STRING))
KINDS(mapping, BIT(DICT))
KINDS(iterable, BIT(STRING) | BIT(LIST) | BIT(DICT) | BIT(UNDEFINED) | BIT(LOOP))
KINDS(sequence, BIT(STRING) | BIT(LIST) | BIT(DICT) | BIT(UNDEFINED))
KINDS(callable, BIT(MACRO) | BIT(FUNCTION) | BIT(METHOD) | BIT(UNDEFINED))

static struct hn_tpl_value t_true(
    struct hn_tpl_render *r, struct hn_tpl_value self, struct hn_tpl_call *call) {
    (void)r;
    (void)call;
    return hn_truth(self.kind == HN_V_BOOL && self.truth);
}

static struct hn_tpl_value t_false(
    struct hn_tpl_render *r, struct hn_tpl_value self, struct hn_tpl_call *call) {
    (void)r;
    (void)call;
    return hn_truth(self.kind == HN_V_BOOL && !self.truth);
}

static struct hn_tpl_value remainder_is(
    struct hn_tpl_render *r, struct hn_tpl_value self, int64_t divisor, int64_t want) {
    struct hn_tpl_value v = need_number(r, self);
    if (r->rc || divisor == 0 || divisor == -1)
        return divisor == -1 ? hn_truth(want == 0)
                             : hn_tpl_render_fail(r, HN_E_DATASET_INVALID, "division by zero");
    return hn_truth(
        hn_value_int(&v) % divisor == want || (want && hn_value_int(&v) % divisor == -want));
}

static struct hn_tpl_value t_even(
    struct hn_tpl_render *r, struct hn_tpl_value self, struct hn_tpl_call *call) {
    (void)call;
    return remainder_is(r, self, 2, 0);
}

static struct hn_tpl_value t_odd(
    struct hn_tpl_render *r, struct hn_tpl_value self, struct hn_tpl_call *call) {
    (void)call;
    return remainder_is(r, self, 2, 1);
}

static struct hn_tpl_value t_divisibleby(
    struct hn_tpl_render *r, struct hn_tpl_value self, struct hn_tpl_call *call) {
    return remainder_is(r, self, hn_value_int(&call->args[0]), 0);
}

static struct hn_tpl_value t_eq(
    struct hn_tpl_render *r, struct hn_tpl_value self, struct hn_tpl_call *call) {
    return hn_truth(hn_value_equal(r, &self, &call->args[0]));
}

static struct hn_tpl_value t_ne(
    struct hn_tpl_render *r, struct hn_tpl_value self, struct hn_tpl_call *call) {
    return hn_truth(!hn_value_equal(r, &self, &call->args[0]));
}

static struct hn_tpl_value t_lt(
    struct hn_tpl_render *r, struct hn_tpl_value self, struct hn_tpl_call *call) {
    return hn_truth(hn_value_compare(r, &self, &call->args[0], false) < 0);
}

static struct hn_tpl_value t_le(
    struct hn_tpl_render *r, struct hn_tpl_value self, struct hn_tpl_call *call) {
    return hn_truth(hn_value_compare(r, &self, &call->args[0], false) <= 0);
}

static struct hn_tpl_value t_gt(
    struct hn_tpl_render *r, struct hn_tpl_value self, struct hn_tpl_call *call) {
    return hn_truth(hn_value_compare(r, &self, &call->args[0], false) > 0);
}

static struct hn_tpl_value t_ge(
    struct hn_tpl_render *r, struct hn_tpl_value self, struct hn_tpl_call *call) {
    return hn_truth(hn_value_compare(r, &self, &call->args[0], false) >= 0);
}

static struct hn_tpl_value t_in(
    struct hn_tpl_render *r, struct hn_tpl_value self, struct hn_tpl_call *call) {
    return hn_truth(hn_value_contains(r, &call->args[0], &self));
}

static struct hn_tpl_value t_sameas(
    struct hn_tpl_render *r, struct hn_tpl_value self, struct hn_tpl_call *call) {
    return hn_truth(self.kind == call->args[0].kind && hn_value_equal(r, &self, &call->args[0]));
}

static struct hn_tpl_value t_lower(
    struct hn_tpl_render *r, struct hn_tpl_value self, struct hn_tpl_call *call) {
    (void)call;
    return hn_truth(hn_string_is(r, text_of(r, self), HN_CLASS_LOWER));
}

static struct hn_tpl_value t_upper(
    struct hn_tpl_render *r, struct hn_tpl_value self, struct hn_tpl_call *call) {
    (void)call;
    return hn_truth(hn_string_is(r, text_of(r, self), HN_CLASS_UPPER));
}

static struct hn_tpl_value t_filter(
    struct hn_tpl_render *r, struct hn_tpl_value self, struct hn_tpl_call *call) {
    (void)call;
    return hn_truth(hn_filter_find(hn_view_of(text_of(r, self))) != NULL);
}

static struct hn_tpl_value t_test(
    struct hn_tpl_render *r, struct hn_tpl_value self, struct hn_tpl_call *call) {
    (void)call;
    return hn_truth(hn_test_find(hn_view_of(text_of(r, self))) != NULL);
}

static const struct hn_tpl_builtin tests[] = {
    {"boolean", "", 0, t_boolean},
    {"callable", "", 0, t_callable},
    {"defined", "", 0, t_defined},
    {"divisibleby", "num", 1, t_divisibleby},
    {"eq", "b", 1, t_eq},
    {"equalto", "b", 1, t_eq},
    {"==", "b", 1, t_eq},
    {"even", "", 0, t_even},
    {"false", "", 0, t_false},
    {"filter", "", 0, t_filter},
    {"float", "", 0, t_float},
    {"ge", "b", 1, t_ge},
    {">=", "b", 1, t_ge},
    {"greaterthan", "b", 1, t_gt},
    {"gt", "b", 1, t_gt},
    {">", "b", 1, t_gt},
    {"in", "seq", 1, t_in},
    {"integer", "", 0, t_integer},
    {"iterable", "", 0, t_iterable},
    {"le", "b", 1, t_le},
    {"<=", "b", 1, t_le},
    {"lessthan", "b", 1, t_lt},
    {"lower", "", 0, t_lower},
    {"lt", "b", 1, t_lt},
    {"<", "b", 1, t_lt},
    {"mapping", "", 0, t_mapping},
    {"ne", "b", 1, t_ne},
    {"!=", "b", 1, t_ne},
    {"none", "", 0, t_none},
    {"number", "", 0, t_number},
    {"odd", "", 0, t_odd},
    {"sameas", "other", 1, t_sameas},
    {"sequence", "", 0, t_sequence},
    {"string", "", 0, t_string},
    {"test", "", 0, t_test},
    {"true", "", 0, t_true},
    {"undefined", "", 0, t_undefined},
    {"upper", "", 0, t_upper},
};

static const struct hn_tpl_builtin *find(
    const struct hn_tpl_builtin *rows, size_t n, struct hn_view name) {
    for (size_t i = 0; i < n; i++)
        if (hn_view_is(name, rows[i].name))
            return &rows[i];
    return NULL;
}

const struct hn_tpl_builtin *hn_filter_find(struct hn_view name) {
    return find(filters, sizeof filters / sizeof filters[0], name);
}

const struct hn_tpl_builtin *hn_test_find(struct hn_view name) {
    return find(tests, sizeof tests / sizeof tests[0], name);
}
