/*
 * Operators of chat templates on values: arithmetic with Python's rules (whole numbers of 64 bits,
 * an error past them), comparison, items and slices.
 */
#include "engine/template/internal.h"
#include "engine/base/utf8.h"

#include <math.h>
#include <string.h>

/* Bytes of the index-th character of a string (negative: from the end); false when there is
 * none. */
static bool find_character(struct hn_tpl_render *r, const struct hn_tpl_value *s, int64_t index,
    size_t *ret_begin, size_t *ret_end) {
    int64_t n = (int64_t)hn_value_characters(r, s);
    index += index < 0 ? n : 0;
    if (index < 0 || index >= n)
        return false;
    size_t at = (size_t)index;
    if (n != s->size)
        for (at = 0; index > 0; index--)
            at += hn_utf8_length((unsigned char)s->text[at]);
    *ret_begin = at;
    *ret_end = at + hn_utf8_length((unsigned char)s->text[at]);
    return true;
}

struct hn_tpl_value hn_tpl_render_item(
    struct hn_tpl_render *r, struct hn_tpl_value object, struct hn_tpl_value key) {
    if (!hn_tpl_render_work(r, 1))
        return hn_undefined();
    if (object.kind == HN_V_UNDEFINED)
        return hn_fail_undefined(r, &object);
    if (object.kind == HN_V_DICT) {
        const struct hn_tpl_value *found = hn_dict_get(r, object.dict, &key);
        if (found)
            return *found;
    }
    if (key.kind == HN_V_INT || key.kind == HN_V_BOOL) {
        int64_t index = hn_value_int(&key);
        size_t begin, end;
        if (object.kind == HN_V_STRING && find_character(r, &object, index, &begin, &end))
            return hn_value_slice(&object, begin, end);
        if (object.kind == HN_V_LIST) {
            index += index < 0 ? object.size : 0;
            if (index >= 0 && index < object.size)
                return object.items[index];
        }
        return hn_missing((struct hn_view){"list object[index]", 18});
    }
    if (key.kind == HN_V_STRING)
        return hn_tpl_render_attribute(r, object, hn_view_of(key));
    return hn_missing((struct hn_view){"item", 4});
}

/* Python's slice.indices(): where a slice begins, its step, and how many items it takes. */
static bool slice_range(struct hn_tpl_render *r, const struct hn_tpl_value parts[3], int64_t n,
    int64_t *ret_begin, int64_t *ret_step, int64_t *ret_count) {
    int64_t step = parts[2].kind == HN_V_NONE ? 1 : hn_value_int(&parts[2]), bounds[2];
    for (size_t i = 0; i < 3; i++)
        if (parts[i].kind != HN_V_NONE && parts[i].kind != HN_V_INT && parts[i].kind != HN_V_BOOL) {
            hn_tpl_render_fail(r, HN_E_DATASET_INVALID,
                "slice bounds must be whole numbers, not %s", hn_value_type(&parts[i]));
            return false;
        }
    if (step == 0 || step < -INT32_MAX || step > INT32_MAX) {
        hn_tpl_render_fail(r, HN_E_MODEL_INVALID, "a slice cannot have this step");
        return false;
    }
    int64_t low = step < 0 ? -1 : 0, high = step < 0 ? n - 1 : n;
    for (size_t i = 0; i < 2; i++) {
        int64_t v = hn_value_int(&parts[i]);
        if (parts[i].kind == HN_V_NONE)
            v = (i == 0) == (step > 0) ? low : high;
        else if (v < 0)
            v = v + n < low ? low : v + n;
        bounds[i] = v > high ? high : v;
    }
    int64_t distance = step > 0 ? bounds[1] - bounds[0] : bounds[0] - bounds[1],
            stride = step > 0 ? step : -step;
    *ret_begin = bounds[0];
    *ret_step = step;
    *ret_count = distance > 0 ? (distance + stride - 1) / stride : 0;
    return true;
}

static struct hn_tpl_value slice_string(
    struct hn_tpl_render *r, struct hn_tpl_value s, int64_t begin, int64_t step, int64_t count) {
    if (s.size == hn_value_characters(r, &s) && step == 1)
        return hn_value_slice(&s, (size_t)begin, (size_t)(begin + count));
    struct hn_tpl_value chars = hn_value_list(r, s);
    struct hn_tpl_builder b = {0};
    for (int64_t i = 0; i < count && !r->rc; i++)
        hn_build_value(r, &b, &chars.items[begin + i * step]);
    return hn_build_end(&b);
}

struct hn_tpl_value hn_op_slice(
    struct hn_tpl_render *r, struct hn_tpl_value object, const struct hn_tpl_value parts[3]) {
    int64_t begin, step, count;
    if (object.kind == HN_V_UNDEFINED)
        return hn_fail_undefined(r, &object);
    if (object.kind != HN_V_STRING && object.kind != HN_V_LIST)
        return hn_missing((struct hn_view){"slice", 5});
    bool text = object.kind == HN_V_STRING;
    int64_t size = text ? (int64_t)hn_value_characters(r, &object) : object.size;
    if (!hn_tpl_render_work(r, 1) || !slice_range(r, parts, size, &begin, &step, &count))
        return hn_undefined();
    if (text)
        return slice_string(r, object, begin, step, count);
    struct hn_tpl_value out = object;
    out.size = (uint32_t)count;
    if (step == 1) {
        out.items += count ? begin : 0;
        return out;
    }
    if (!(out.items = hn_tpl_render_alloc(r, (size_t)count, sizeof *out.items)))
        return hn_undefined();
    for (int64_t i = 0; i < count; i++)
        out.items[i] = object.items[begin + i * step];
    return out;
}

static struct hn_tpl_value join_lists(
    struct hn_tpl_render *r, const struct hn_tpl_value *a, const struct hn_tpl_value *b) {
    size_t n = (size_t)a->size + b->size;
    struct hn_tpl_value *items = n > INT32_MAX ? NULL : hn_tpl_render_alloc(r, n, sizeof *items),
                        out = *a;
    if (!items)
        return hn_undefined();
    if (a->size)
        memcpy(items, a->items, a->size * sizeof *items);
    if (b->size)
        memcpy(items + a->size, b->items, b->size * sizeof *items);
    out.items = items;
    out.size = (uint32_t)n;
    return out;
}

static struct hn_tpl_value join_strings(
    struct hn_tpl_render *r, const struct hn_tpl_value *a, const struct hn_tpl_value *b) {
    struct hn_tpl_builder out = {0};
    if (!b->size)
        return *a;
    if (!a->size)
        return *b;
    hn_build_value(r, &out, a);
    hn_build_value(r, &out, b);
    return hn_build_end(&out);
}

static struct hn_tpl_value repeat(struct hn_tpl_render *r, struct hn_tpl_value v, int64_t times) {
    times = times < 0 ? 0 : times;
    if (v.size && (uint64_t)times > INT32_MAX / v.size)
        return hn_tpl_render_fail(r, HN_E_TOO_LARGE, "a repetition grows too long");
    if (v.kind == HN_V_STRING) {
        struct hn_tpl_builder b = {0};
        for (int64_t i = 0; v.size && i < times && hn_tpl_render_work(r, 1); i++)
            hn_build_value(r, &b, &v);
        return hn_build_end(&b);
    }
    size_t n = v.size;
    struct hn_tpl_value *items = hn_tpl_render_alloc(r, n * (size_t)times, sizeof *items);
    for (size_t i = 0; items && i < n * (size_t)times; i++)
        items[i] = v.items[i % n];
    v.items = items;
    v.size = items ? (uint32_t)(n * (size_t)times) : 0;
    return v;
}

static struct hn_tpl_value integer_op(
    struct hn_tpl_render *r, enum hn_tpl_operator op, int64_t a, int64_t b) {
    int64_t v = 0;
    bool overflow = false, down;
    switch (op) {
    case HN_TPL_OP_ADD:
        overflow = __builtin_add_overflow(a, b, &v);
        break;
    case HN_TPL_OP_SUB:
        overflow = __builtin_sub_overflow(a, b, &v);
        break;
    case HN_TPL_OP_MUL:
        overflow = __builtin_mul_overflow(a, b, &v);
        break;
    case HN_TPL_OP_FLOORDIV:
    case HN_TPL_OP_MOD:
        if (b == 0)
            return hn_tpl_render_fail(r, HN_E_DATASET_INVALID, "division by zero");
        if (b == -1)
            return op == HN_TPL_OP_MOD ? hn_integer(0) : integer_op(r, HN_TPL_OP_SUB, 0, a);
        v = a % b;
        down = v != 0 && (a < 0) != (b < 0); /* C rounds to zero, Python down */
        v = op == HN_TPL_OP_MOD ? v + (down ? b : 0) : a / b - down;
        break;
    default: /* power */
        if (b < 0)
            return hn_real(pow((double)a, (double)b));
        v = 1;
        for (int64_t i = 0; i < b && v != 0 && !overflow && hn_tpl_render_work(r, 1); i++)
            overflow = __builtin_mul_overflow(v, a, &v);
    }
    return overflow ? hn_tpl_render_fail(r, HN_E_UNSUPPORTED, "a whole number grows past 64 bits")
                    : hn_integer(v);
}

static struct hn_tpl_value real_op(
    struct hn_tpl_render *r, enum hn_tpl_operator op, double a, double b) {
    if ((op == HN_TPL_OP_DIV || op == HN_TPL_OP_FLOORDIV || op == HN_TPL_OP_MOD) && b == 0.0)
        return hn_tpl_render_fail(r, HN_E_DATASET_INVALID, "division by zero");
    switch (op) {
    case HN_TPL_OP_ADD:
        return hn_real(a + b);
    case HN_TPL_OP_SUB:
        return hn_real(a - b);
    case HN_TPL_OP_MUL:
        return hn_real(a * b);
    case HN_TPL_OP_DIV:
        return hn_real(a / b);
    case HN_TPL_OP_FLOORDIV:
        return hn_real(floor(a / b));
    case HN_TPL_OP_MOD:
        return hn_real(a - floor(a / b) * b);
    default:
        return hn_real(pow(a, b));
    }
}

struct hn_tpl_value hn_op_binary(struct hn_tpl_render *r, enum hn_tpl_operator op,
    struct hn_tpl_value a, struct hn_tpl_value b) {
    static const char *const signs[] = {"+", "-", "*", "/", "//", "%", "**"};
    if (r->rc)
        return hn_undefined();
    if (a.kind == HN_V_UNDEFINED || b.kind == HN_V_UNDEFINED)
        return hn_fail_undefined(r, a.kind == HN_V_UNDEFINED ? &a : &b);
    if (hn_is_number(&a) && hn_is_number(&b)) {
        if (a.kind == HN_V_FLOAT || b.kind == HN_V_FLOAT || op == HN_TPL_OP_DIV)
            return real_op(r, op, hn_value_real(&a), hn_value_real(&b));
        return integer_op(r, op, hn_value_int(&a), hn_value_int(&b));
    }
    if (op == HN_TPL_OP_ADD && a.kind == HN_V_STRING && b.kind == HN_V_STRING)
        return join_strings(r, &a, &b);
    if (op == HN_TPL_OP_ADD && a.kind == HN_V_LIST && b.kind == HN_V_LIST && a.tuple == b.tuple)
        return join_lists(r, &a, &b);
    bool a_many = a.kind == HN_V_STRING || a.kind == HN_V_LIST,
         b_many = b.kind == HN_V_STRING || b.kind == HN_V_LIST;
    if (op == HN_TPL_OP_MUL && a_many && (b.kind == HN_V_INT || b.kind == HN_V_BOOL))
        return repeat(r, a, hn_value_int(&b));
    if (op == HN_TPL_OP_MUL && b_many && (a.kind == HN_V_INT || a.kind == HN_V_BOOL))
        return repeat(r, b, hn_value_int(&a));
    if (op == HN_TPL_OP_MOD && a.kind == HN_V_STRING)
        return hn_format_percent(r, a, b);
    return hn_tpl_render_fail(r, HN_E_DATASET_INVALID, "%s %s %s is not possible",
        hn_value_type(&a), signs[op], hn_value_type(&b));
}

bool hn_op_compare(struct hn_tpl_render *r, enum hn_tpl_operator op, const struct hn_tpl_value *a,
    const struct hn_tpl_value *b) {
    switch (op) {
    case HN_TPL_OP_EQ:
        return hn_value_equal(r, a, b);
    case HN_TPL_OP_NE:
        return !hn_value_equal(r, a, b);
    case HN_TPL_OP_LT:
        return hn_value_compare(r, a, b, false) < 0;
    case HN_TPL_OP_LE:
        return hn_value_compare(r, a, b, false) <= 0;
    case HN_TPL_OP_GT:
        return hn_value_compare(r, a, b, false) > 0;
    case HN_TPL_OP_GE:
        return hn_value_compare(r, a, b, false) >= 0;
    case HN_TPL_OP_IN:
        return hn_value_contains(r, b, a);
    default:
        return !hn_value_contains(r, b, a);
    }
}
