/*
 * Methods of strings, lists and mappings, and the global functions of chat templates. Methods that
 * would change a value are refused, as in Transformers' immutable sandbox.
 */
#include "engine/template/strings.h"
#include "engine/base/utf8.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

static bool need_string(struct hn_tpl_render *r, const struct hn_tpl_value *v, const char *what) {
    if (v->kind == HN_V_STRING)
        return true;
    hn_tpl_render_fail(
        r, HN_E_DATASET_INVALID, "%s needs a string, not %s", what, hn_value_type(v));
    return false;
}

static struct hn_tpl_value m_strip(
    struct hn_tpl_render *r, struct hn_tpl_value self, struct hn_tpl_call *call) {
    return hn_string_strip(r, self, call->args[0], true, true);
}

static struct hn_tpl_value m_lstrip(
    struct hn_tpl_render *r, struct hn_tpl_value self, struct hn_tpl_call *call) {
    return hn_string_strip(r, self, call->args[0], true, false);
}

static struct hn_tpl_value m_rstrip(
    struct hn_tpl_render *r, struct hn_tpl_value self, struct hn_tpl_call *call) {
    return hn_string_strip(r, self, call->args[0], false, true);
}

static int64_t limit_of(const struct hn_tpl_value *v) {
    return hn_is_number(v) ? hn_value_int(v) : -1;
}

static struct hn_tpl_value m_split(
    struct hn_tpl_render *r, struct hn_tpl_value self, struct hn_tpl_call *call) {
    return hn_string_split(r, self, call->args[0], limit_of(&call->args[1]), false);
}

static struct hn_tpl_value m_rsplit(
    struct hn_tpl_render *r, struct hn_tpl_value self, struct hn_tpl_call *call) {
    return hn_string_split(r, self, call->args[0], limit_of(&call->args[1]), true);
}

static struct hn_tpl_value m_splitlines(
    struct hn_tpl_render *r, struct hn_tpl_value self, struct hn_tpl_call *call) {
    return hn_string_lines(r, self, hn_value_true(&call->args[0]));
}

static struct hn_tpl_value partition(
    struct hn_tpl_render *r, struct hn_tpl_value self, struct hn_tpl_call *call, bool right) {
    struct hn_tpl_value sep = call->args[0], *items = hn_tpl_render_alloc(r, 3, sizeof *items);
    struct hn_tpl_value parts = hn_string_split(r, self, sep, 1, right);
    if (!items || r->rc)
        return hn_undefined();
    struct hn_tpl_value nothing = hn_string("", 0);
    bool found = parts.size == 2;
    items[0] = found ? parts.items[0] : right ? nothing : self;
    items[1] = found ? hn_value_slice(&self, items[0].size, items[0].size + sep.size) : nothing;
    items[2] = found ? parts.items[1] : right ? self : nothing;
    struct hn_tpl_value v = hn_list(items, 3);
    v.tuple = true;
    return v;
}

static struct hn_tpl_value m_partition(
    struct hn_tpl_render *r, struct hn_tpl_value self, struct hn_tpl_call *call) {
    return partition(r, self, call, false);
}

static struct hn_tpl_value m_rpartition(
    struct hn_tpl_render *r, struct hn_tpl_value self, struct hn_tpl_call *call) {
    return partition(r, self, call, true);
}

static bool matches(const struct hn_tpl_value *s, const struct hn_tpl_value *part, bool at_end) {
    return part->size <= s->size &&
        memcmp(s->text + (at_end ? s->size - part->size : 0), part->text, part->size) == 0;
}

static struct hn_tpl_value starts_or_ends(
    struct hn_tpl_render *r, struct hn_tpl_value self, struct hn_tpl_call *call, bool at_end) {
    struct hn_tpl_value what = call->args[0];
    struct hn_tpl_value list = what.kind == HN_V_LIST ? what : hn_list(&what, 1);
    for (size_t i = 0;
         i < list.size && need_string(r, &list.items[i], at_end ? "endswith" : "startswith"); i++)
        if (hn_tpl_render_bytes(r, list.items[i].size) && matches(&self, &list.items[i], at_end))
            return hn_truth(true);
    return hn_truth(false);
}

static struct hn_tpl_value m_startswith(
    struct hn_tpl_render *r, struct hn_tpl_value self, struct hn_tpl_call *call) {
    return starts_or_ends(r, self, call, false);
}

static struct hn_tpl_value m_endswith(
    struct hn_tpl_render *r, struct hn_tpl_value self, struct hn_tpl_call *call) {
    return starts_or_ends(r, self, call, true);
}

static struct hn_tpl_value m_removeprefix(
    struct hn_tpl_render *r, struct hn_tpl_value self, struct hn_tpl_call *call) {
    if (!need_string(r, &call->args[0], "removeprefix") ||
        !hn_tpl_render_bytes(r, call->args[0].size) || !matches(&self, &call->args[0], false))
        return self;
    return hn_value_slice(&self, call->args[0].size, self.size);
}

static struct hn_tpl_value m_removesuffix(
    struct hn_tpl_render *r, struct hn_tpl_value self, struct hn_tpl_call *call) {
    if (!need_string(r, &call->args[0], "removesuffix") ||
        !hn_tpl_render_bytes(r, call->args[0].size) || !matches(&self, &call->args[0], true))
        return self;
    return hn_value_slice(&self, 0, self.size - call->args[0].size);
}

#define CASE_METHOD(name, how)                                                         \
    static struct hn_tpl_value m_##name(                                               \
        struct hn_tpl_render *r, struct hn_tpl_value self, struct hn_tpl_call *call) { \
        (void)call;                                                                    \
        return hn_string_case(r, self, how);                                           \
    }
CASE_METHOD(upper, HN_CASE_UPPER)
CASE_METHOD(lower, HN_CASE_LOWER)
CASE_METHOD(title, HN_CASE_TITLE)
CASE_METHOD(capitalize, HN_CASE_CAPITAL)
CASE_METHOD(swapcase, HN_CASE_SWAP)

#define CLASS_METHOD(name, what)                                                       \
    static struct hn_tpl_value m_##name(                                               \
        struct hn_tpl_render *r, struct hn_tpl_value self, struct hn_tpl_call *call) { \
        (void)call;                                                                    \
        return hn_truth(hn_string_is(r, self, what));                                  \
    }
CLASS_METHOD(isdigit, HN_CLASS_DIGIT)
CLASS_METHOD(isalpha, HN_CLASS_ALPHA)
CLASS_METHOD(isalnum, HN_CLASS_ALNUM)
CLASS_METHOD(isspace, HN_CLASS_SPACE)
CLASS_METHOD(isupper, HN_CLASS_UPPER)
CLASS_METHOD(islower, HN_CLASS_LOWER)

static struct hn_tpl_value m_replace(
    struct hn_tpl_render *r, struct hn_tpl_value self, struct hn_tpl_call *call) {
    if (!need_string(r, &call->args[0], "replace") || !need_string(r, &call->args[1], "replace"))
        return self;
    return hn_string_replace(r, self, call->args[0], call->args[1], limit_of(&call->args[2]));
}

static struct hn_tpl_value m_join(
    struct hn_tpl_render *r, struct hn_tpl_value self, struct hn_tpl_call *call) {
    struct hn_tpl_value list = hn_value_list(r, call->args[0]);
    for (size_t i = 0; i < list.size && hn_tpl_render_work(r, 1); i++)
        need_string(r, &list.items[i], "join");
    return r->rc ? hn_undefined() : hn_string_join(r, self, list);
}

/* Character index of a part, -1 when it is not there. */
static int64_t find(struct hn_tpl_render *r, const struct hn_tpl_value *self,
    const struct hn_tpl_value *part, bool last) {
    const char *found = NULL, *from = self->text, *end = self->text + self->size, *at;
    if (!need_string(r, part, "find") || !hn_tpl_render_work(r, 1 + self->size / 16))
        return -1;
    while ((at = memmem(from, (size_t)(end - from), part->text, part->size))) {
        found = at;
        if (!last || at == end ||
            !hn_tpl_render_bytes(r, 4 * (size_t)part->size)) /* memmem looks through it each time */
            break;
        from = at + 1;
    }
    struct hn_tpl_value before = hn_value_slice(self, 0, found ? (size_t)(found - self->text) : 0);
    return found ? (int64_t)hn_value_characters(r, &before) : -1;
}

static struct hn_tpl_value m_find(
    struct hn_tpl_render *r, struct hn_tpl_value self, struct hn_tpl_call *call) {
    return hn_integer(find(r, &self, &call->args[0], false));
}

static struct hn_tpl_value m_rfind(
    struct hn_tpl_render *r, struct hn_tpl_value self, struct hn_tpl_call *call) {
    return hn_integer(find(r, &self, &call->args[0], true));
}

static struct hn_tpl_value m_index(
    struct hn_tpl_render *r, struct hn_tpl_value self, struct hn_tpl_call *call) {
    int64_t at = -1;
    if (self.kind == HN_V_STRING)
        at = find(r, &self, &call->args[0], false);
    for (size_t i = 0; self.kind == HN_V_LIST && at < 0 && i < self.size && !r->rc; i++)
        if (hn_value_equal(r, &self.items[i], &call->args[0]))
            at = (int64_t)i;
    return at < 0 ? hn_tpl_render_fail(r, HN_E_DATASET_INVALID, "index finds nothing")
                  : hn_integer(at);
}

static struct hn_tpl_value m_count(
    struct hn_tpl_render *r, struct hn_tpl_value self, struct hn_tpl_call *call) {
    int64_t n = 0;
    if (self.kind == HN_V_STRING) {
        struct hn_tpl_value part = call->args[0];
        if (!need_string(r, &part, "count"))
            return hn_undefined();
        if (!part.size)
            return hn_integer((int64_t)hn_value_characters(r, &self) + 1);
        return hn_integer((int64_t)hn_string_split(r, self, part, -1, false).size - 1);
    }
    for (size_t i = 0; i < self.size && !r->rc; i++)
        n += hn_value_equal(r, &self.items[i], &call->args[0]);
    return hn_integer(n);
}

static struct hn_tpl_value pad(
    struct hn_tpl_render *r, struct hn_tpl_value self, struct hn_tpl_call *call, int before_share) {
    int64_t width = hn_value_int(&call->args[0]), n = (int64_t)hn_value_characters(r, &self);
    struct hn_tpl_value fill =
        call->args[1].kind == HN_V_STRING ? call->args[1] : hn_string(" ", 1);
    struct hn_tpl_builder b = {0};
    if (width > INT32_MAX)
        return hn_tpl_render_fail(r, HN_E_TOO_LARGE, "the text grows too long");
    int64_t missing = width > n ? width - n : 0, before = missing * before_share / 2;
    for (int64_t i = 0; i < missing && hn_tpl_render_work(r, 1); i++) {
        if (i == before)
            hn_build_value(r, &b, &self);
        hn_build_value(r, &b, &fill);
    }
    if (before == missing)
        hn_build_value(r, &b, &self);
    return hn_build_end(&b);
}

static struct hn_tpl_value m_ljust(
    struct hn_tpl_render *r, struct hn_tpl_value self, struct hn_tpl_call *call) {
    return pad(r, self, call, 0);
}

static struct hn_tpl_value m_rjust(
    struct hn_tpl_render *r, struct hn_tpl_value self, struct hn_tpl_call *call) {
    return pad(r, self, call, 2);
}

static struct hn_tpl_value m_zfill(
    struct hn_tpl_render *r, struct hn_tpl_value self, struct hn_tpl_call *call) {
    bool sign = self.size && (self.text[0] == '-' || self.text[0] == '+');
    struct hn_tpl_value digits = hn_value_slice(&self, sign, self.size),
                        args[2] = {call->args[0], hn_string("0", 1)};
    args[0] = hn_integer(hn_value_int(&args[0]) > 0 ? hn_value_int(&args[0]) - sign : 0);
    struct hn_tpl_call inner = {.args = args, .n = 2};
    struct hn_tpl_value list[2] = {hn_value_slice(&self, 0, sign), pad(r, digits, &inner, 2)};
    return hn_string_join(r, hn_string("", 0), hn_list(list, 2));
}

/* "{} {0} {name}".format(…) without format specifications. */
static struct hn_tpl_value m_format(
    struct hn_tpl_render *r, struct hn_tpl_value self, struct hn_tpl_call *call) {
    struct hn_tpl_builder b = {0};
    size_t next = 0;
    for (size_t i = 0; i < self.size && hn_tpl_render_work(r, 1);) {
        char c = self.text[i];
        bool twice = i + 1 < self.size && self.text[i + 1] == c;
        if ((c != '{' && c != '}') || twice) {
            hn_build(r, &b, &c, 1, hn_origin_at(&self, i));
            i += c == '{' || c == '}' ? 2 : 1;
            continue;
        }
        const char *close = memchr(self.text + i, '}', self.size - i);
        if (c == '}' || !close || !hn_tpl_render_work(r, call->n_keywords))
            return hn_tpl_render_fail(r, HN_E_MODEL_INVALID, "format has a lone brace");
        struct hn_view name = {self.text + i + 1, (size_t)(close - self.text) - i - 1};
        char digits[8] = {0}, *rest = digits;
        if (name.size < sizeof digits)
            memcpy(digits, name.data, name.size);
        size_t index = name.size ? strtoul(digits, &rest, 10) : next++;
        bool by_place = !name.size || (rest != digits && !*rest);
        const struct hn_tpl_value *v = by_place && index < call->n ? &call->args[index] : NULL;
        for (size_t k = 0; !v && k < call->n_keywords; k++)
            if (call->keywords[k].key.size == name.size &&
                memcmp(call->keywords[k].key.text, name.data, name.size) == 0)
                v = &call->keywords[k].value;
        if (!v)
            return hn_tpl_render_fail(r, HN_E_UNSUPPORTED, "format's field {%.*s}",
                (int)(name.size < 40 ? name.size : 40), name.data);
        struct hn_tpl_value text = hn_value_text(r, *v);
        hn_build_value(r, &b, &text);
        i = (size_t)(close - self.text) + 1;
    }
    return hn_build_end(&b);
}

struct hn_tpl_value hn_format_percent(
    struct hn_tpl_render *r, struct hn_tpl_value format, struct hn_tpl_value value) {
    struct hn_tpl_value args = value.kind == HN_V_LIST && value.tuple ? value : hn_list(&value, 1);
    struct hn_tpl_builder b = {0};
    size_t next = 0;
    for (size_t i = 0; i < format.size && hn_tpl_render_work(r, 1); i++) {
        if (format.text[i] != '%') {
            hn_build(r, &b, format.text + i, 1, hn_origin_at(&format, i));
            continue;
        }
        char spec[16] = "%", text[400];
        size_t n = 1;
        for (i++; i < format.size && n < 8 && strchr("0123456789.+- #", format.text[i]); i++)
            spec[n++] = format.text[i];
        char kind = i < format.size ? format.text[i] : 0;
        if (kind == '%') {
            hn_build(r, &b, "%", 1, hn_origin_at(&format, i));
            continue;
        }
        bool real = kind && strchr("fFgGeE", kind), whole = kind && strchr("dixX", kind);
        if (next >= args.size || (!real && !whole && !(kind == 's' && n == 1)) ||
            strcspn(spec, ".") + 3 < n)
            return hn_tpl_render_fail(
                r, HN_E_UNSUPPORTED, "the format %.*s%c", (int)n, spec, kind ? kind : ' ');
        struct hn_tpl_value v = args.items[next++];
        if (kind == 's') {
            v = hn_value_text(r, v);
            hn_build_value(r, &b, &v);
            continue;
        }
        if (!hn_is_number(&v))
            return hn_tpl_render_fail(
                r, HN_E_DATASET_INVALID, "%%%c needs a number, not %s", kind, hn_value_type(&v));
        int size;
        if (real) {
            spec[n] = kind;
            size = snprintf(text, sizeof text, spec, hn_value_real(&v));
        } else {
            memcpy(spec + n, "ll", 2);
            spec[n + 2] = kind;
            size = snprintf(text, sizeof text, spec, (long long)hn_value_int(&v));
        }
        hn_build(r, &b, text,
            size < 0                         ? 0
                : (size_t)size < sizeof text ? (size_t)size
                                             : sizeof text - 1,
            v.origin);
    }
    return hn_build_end(&b);
}

static struct hn_tpl_value m_items(
    struct hn_tpl_render *r, struct hn_tpl_value self, struct hn_tpl_call *call) {
    (void)call;
    return hn_dict_items(r, self.dict);
}

static struct hn_tpl_value m_keys(
    struct hn_tpl_render *r, struct hn_tpl_value self, struct hn_tpl_call *call) {
    (void)call;
    return hn_value_list(r, self);
}

static struct hn_tpl_value m_values(
    struct hn_tpl_render *r, struct hn_tpl_value self, struct hn_tpl_call *call) {
    (void)call;
    struct hn_tpl_value *items = hn_tpl_render_alloc(r, self.dict->n, sizeof *items);
    for (size_t i = 0; items && i < self.dict->n; i++)
        items[i] = self.dict->pairs[i].value;
    return hn_list(items, items ? self.dict->n : 0);
}

static struct hn_tpl_value m_get(
    struct hn_tpl_render *r, struct hn_tpl_value self, struct hn_tpl_call *call) {
    const struct hn_tpl_value *found = hn_dict_get(r, self.dict, &call->args[0]);
    return found ? *found : call->args[1].kind == HN_V_ABSENT ? hn_none() : call->args[1];
}

static struct hn_tpl_value m_copy(
    struct hn_tpl_render *r, struct hn_tpl_value self, struct hn_tpl_call *call) {
    (void)r;
    (void)call;
    return self; /* values never change */
}

static struct hn_tpl_value m_cycle(
    struct hn_tpl_render *r, struct hn_tpl_value self, struct hn_tpl_call *call) {
    if (!call->n)
        return hn_tpl_render_fail(r, HN_E_MODEL_INVALID, "cycle needs arguments");
    return call->args[self.loop->index % call->n];
}

static struct hn_tpl_value m_changed(
    struct hn_tpl_render *r, struct hn_tpl_value self, struct hn_tpl_call *call) {
    struct hn_tpl_value *copy = hn_tpl_render_alloc(r, call->n, sizeof *copy);
    if (!copy)
        return hn_undefined();
    if (call->n)
        memcpy(copy, call->args, call->n * sizeof *copy);
    struct hn_tpl_value now = hn_list(copy, call->n);
    bool same =
        self.loop->changed.kind == HN_V_LIST && hn_value_equal(r, &self.loop->changed, &now);
    self.loop->changed = now;
    return hn_truth(!same);
}

static const struct {
    enum hn_tpl_value_kind kind;
    struct hn_tpl_builtin row;
} methods[] = {
    {HN_V_STRING, {"strip", "chars", 0, m_strip}},
    {HN_V_STRING, {"lstrip", "chars", 0, m_lstrip}},
    {HN_V_STRING, {"rstrip", "chars", 0, m_rstrip}},
    {HN_V_STRING, {"split", "sep,maxsplit", 0, m_split}},
    {HN_V_STRING, {"rsplit", "sep,maxsplit", 0, m_rsplit}},
    {HN_V_STRING, {"splitlines", "keepends", 0, m_splitlines}},
    {HN_V_STRING, {"partition", "sep", 1, m_partition}},
    {HN_V_STRING, {"rpartition", "sep", 1, m_rpartition}},
    {HN_V_STRING, {"startswith", "prefix", 1, m_startswith}},
    {HN_V_STRING, {"endswith", "suffix", 1, m_endswith}},
    {HN_V_STRING, {"removeprefix", "prefix", 1, m_removeprefix}},
    {HN_V_STRING, {"removesuffix", "suffix", 1, m_removesuffix}},
    {HN_V_STRING, {"upper", "", 0, m_upper}},
    {HN_V_STRING, {"lower", "", 0, m_lower}},
    {HN_V_STRING, {"casefold", "", 0, m_lower}},
    {HN_V_STRING, {"title", "", 0, m_title}},
    {HN_V_STRING, {"capitalize", "", 0, m_capitalize}},
    {HN_V_STRING, {"swapcase", "", 0, m_swapcase}},
    {HN_V_STRING, {"isdigit", "", 0, m_isdigit}},
    {HN_V_STRING, {"isdecimal", "", 0, m_isdigit}},
    {HN_V_STRING, {"isnumeric", "", 0, m_isdigit}},
    {HN_V_STRING, {"isalpha", "", 0, m_isalpha}},
    {HN_V_STRING, {"isalnum", "", 0, m_isalnum}},
    {HN_V_STRING, {"isspace", "", 0, m_isspace}},
    {HN_V_STRING, {"isupper", "", 0, m_isupper}},
    {HN_V_STRING, {"islower", "", 0, m_islower}},
    {HN_V_STRING, {"replace", "old,new,count", 2, m_replace}},
    {HN_V_STRING, {"join", "iterable", 1, m_join}},
    {HN_V_STRING, {"find", "sub", 1, m_find}},
    {HN_V_STRING, {"rfind", "sub", 1, m_rfind}},
    {HN_V_STRING, {"index", "sub", 1, m_index}},
    {HN_V_STRING, {"count", "sub", 1, m_count}},
    {HN_V_STRING, {"ljust", "width,fillchar", 1, m_ljust}},
    {HN_V_STRING, {"rjust", "width,fillchar", 1, m_rjust}},
    {HN_V_STRING, {"zfill", "width", 1, m_zfill}},
    {HN_V_STRING, {"format", NULL, 0, m_format}},
    {HN_V_LIST, {"index", "value", 1, m_index}},
    {HN_V_LIST, {"count", "value", 1, m_count}},
    {HN_V_LIST, {"copy", "", 0, m_copy}},
    {HN_V_DICT, {"items", "", 0, m_items}},
    {HN_V_DICT, {"keys", "", 0, m_keys}},
    {HN_V_DICT, {"values", "", 0, m_values}},
    {HN_V_DICT, {"get", "key,default", 1, m_get}},
    {HN_V_DICT, {"copy", "", 0, m_copy}},
    {HN_V_LOOP, {"cycle", NULL, 0, m_cycle}},
    {HN_V_LOOP, {"changed", NULL, 0, m_changed}},
};

static const char *const list_changers[] = {
    "append", "extend", "insert", "pop", "remove", "clear", "reverse", "sort", NULL};
static const char *const dict_changers[] = {
    "update", "pop", "popitem", "setdefault", "clear", NULL};

const struct hn_tpl_builtin *hn_method_find(
    enum hn_tpl_value_kind kind, struct hn_view name, bool *ret_refused) {
    for (size_t i = 0; i < sizeof methods / sizeof methods[0]; i++)
        if (methods[i].kind == kind && hn_view_is(name, methods[i].row.name))
            return &methods[i].row;
    const char *const *changers = kind == HN_V_LIST ? list_changers
        : kind == HN_V_DICT                         ? dict_changers
                                                    : NULL;
    for (; changers && *changers; changers++)
        *ret_refused = *ret_refused || hn_view_is(name, *changers);
    return NULL;
}

static struct hn_tpl_value g_range(
    struct hn_tpl_render *r, struct hn_tpl_value self, struct hn_tpl_call *call) {
    (void)self;
    int64_t bounds[3] = {0, 0, 1};
    for (size_t i = 0; i < 3 && i < call->n; i++) {
        if (call->args[i].kind != HN_V_INT && call->args[i].kind != HN_V_BOOL &&
            call->args[i].kind != HN_V_ABSENT)
            return hn_tpl_render_fail(r, HN_E_DATASET_INVALID, "range needs whole numbers");
        if (call->args[i].kind != HN_V_ABSENT)
            bounds[i] = hn_value_int(&call->args[i]);
    }
    if (call->args[1].kind == HN_V_ABSENT) {
        bounds[1] = bounds[0];
        bounds[0] = 0;
    }
    int64_t limit = 100000, step = bounds[2], n = 0; /* the sandbox's own limit */
    if (step == 0 || step < -limit || step > limit ||
        llabs(bounds[0] / 2 - bounds[1] / 2) > limit * limit)
        return hn_tpl_render_fail(r, HN_E_DATASET_INVALID, "range with these bounds");
    if (step > 0 ? bounds[1] > bounds[0] : bounds[1] < bounds[0])
        n = (step > 0 ? bounds[1] - bounds[0] + step - 1 : bounds[0] - bounds[1] - step - 1) /
            (step > 0 ? step : -step);
    if (n > limit)
        return hn_tpl_render_fail(
            r, HN_E_DATASET_INVALID, "a range of more than %lld numbers", (long long)limit);
    struct hn_tpl_value *items = hn_tpl_render_alloc(r, (size_t)n, sizeof *items);
    for (int64_t i = 0; items && i < n; i++)
        items[i] = hn_integer(bounds[0] + i * step);
    return hn_list(items, items ? (size_t)n : 0);
}

/* namespace(…) and dict(…): keywords, after the pairs of a mapping or of a list of pairs. */
static struct hn_tpl_value make_dict(
    struct hn_tpl_render *r, struct hn_tpl_call *call, enum hn_tpl_value_kind kind) {
    struct hn_tpl_dict *dict = hn_tpl_render_alloc(r, 1, sizeof *dict);
    struct hn_tpl_value from = call->n ? call->args[0] : hn_list(NULL, 0);
    if (from.kind == HN_V_DICT)
        from = hn_dict_items(r, from.dict);
    from = hn_value_list(r, from);
    for (size_t i = 0; dict && i < from.size && !r->rc; i++) {
        if (from.items[i].kind != HN_V_LIST || from.items[i].size != 2)
            return hn_tpl_render_fail(r, HN_E_DATASET_INVALID, "a mapping is made of pairs");
        hn_dict_set(r, dict, from.items[i].items[0], from.items[i].items[1]);
    }
    for (size_t i = 0; dict && i < call->n_keywords; i++)
        hn_dict_set(r, dict, call->keywords[i].key, call->keywords[i].value);
    return dict ? (struct hn_tpl_value){.kind = (uint8_t)kind, .dict = dict} : hn_undefined();
}

static struct hn_tpl_value g_namespace(
    struct hn_tpl_render *r, struct hn_tpl_value self, struct hn_tpl_call *call) {
    (void)self;
    return make_dict(r, call, HN_V_NAMESPACE);
}

static struct hn_tpl_value g_dict(
    struct hn_tpl_render *r, struct hn_tpl_value self, struct hn_tpl_call *call) {
    (void)self;
    return make_dict(r, call, HN_V_DICT);
}

static struct hn_tpl_value g_raise(
    struct hn_tpl_render *r, struct hn_tpl_value self, struct hn_tpl_call *call) {
    (void)self;
    struct hn_tpl_value text = hn_value_text(r, call->args[0]);
    if (!r->rc) {
        r->rc = hn_fail(r->err, HN_E_DATASET_INVALID,
            "the chat template refuses this conversation: %.*s",
            (int)(text.size < 600 ? text.size : 600), text.text);
        hn_error_hint(r->err,
            "change the order or the fields of the messages as the model's template wants them");
    }
    return hn_undefined();
}

static struct hn_tpl_value g_strftime_now(
    struct hn_tpl_render *r, struct hn_tpl_value self, struct hn_tpl_call *call) {
    (void)self;
    char format[128], out[256];
    struct tm tm = {0};
    struct hn_tpl_value f = call->args[0];
    int year, month, day;
    if (!r->in->date || sscanf(r->in->date, "%4d-%2d-%2d", &year, &month, &day) != 3)
        return hn_tpl_render_fail(
            r, HN_E_UNSUPPORTED, "strftime_now is used, and no date was fixed for this run");
    if (!need_string(r, &f, "strftime_now") || f.size >= sizeof format || f.size == 0)
        return hn_string("", 0);
    memcpy(format, f.text, f.size);
    format[f.size] = 0;
    tm.tm_year = year - 1900;
    tm.tm_mon = month - 1;
    tm.tm_mday = day;
    timegm(&tm); /* fills in the day of the week and of the year */
    size_t n = strftime(out, sizeof out, format, &tm);
    char *copy = hn_tpl_render_alloc(r, n + 1, 1);
    if (!copy)
        return hn_undefined();
    memcpy(copy, out, n);
    return hn_string(copy, n);
}

static const struct hn_tpl_builtin functions[] = {
    {"range", "start,stop,step", 1, g_range},
    {"namespace", NULL, 0, g_namespace},
    {"dict", NULL, 0, g_dict},
    {"raise_exception", "message", 1, g_raise},
    {"strftime_now", "format", 1, g_strftime_now},
};

const struct hn_tpl_builtin *hn_function_find(struct hn_view name) {
    for (size_t i = 0; i < sizeof functions / sizeof functions[0]; i++)
        if (hn_view_is(name, functions[i].name))
            return &functions[i];
    return NULL;
}
