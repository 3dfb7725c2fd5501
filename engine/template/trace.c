/* Which fields leave bytes in the text; see template.h. While a render traces, a value's origin is
 * the number of its part, from 1, instead of its message. */
#include "engine/template/internal.h"
#include "engine/base/utf8.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

void hn_trace_free(struct hn_trace *trace) {
    free(trace->parts);
    *trace = (struct hn_trace){0};
}

void hn_trace_mark(struct hn_trace *trace, const uint16_t *origins, size_t n) {
    for (size_t i = 0; i < n; i++)
        if (origins[i] && origins[i] <= trace->n)
            trace->parts[origins[i] - 1].left = true;
    for (size_t i = 1; i < trace->n; i++)
        if (trace->parts[i].inside && !trace->parts[i - 1].left)
            trace->parts[i].left = true; /* lost with what it belongs to, which tells of both */
}

static bool blank(const char *text, size_t size) {
    for (size_t i = 0; i < size; i += hn_utf8_length((unsigned char)text[i]))
        if (!hn_utf8_is_space(hn_utf8_get(text + i)))
            return false;
    return true;
}

/* Nothing that a text could show. */
static bool is_empty(const json_t *json) {
    return !json || json_is_null(json) ||
        (json_is_string(json) && blank(json_string_value(json), json_string_length(json))) ||
        (json_is_array(json) && !json_array_size(json)) ||
        (json_is_object(json) && !json_object_size(json));
}

static uint16_t add_part(struct hn_tpl_render *r, const char *field) {
    struct hn_trace *trace = r->in->trace;
    if (trace->n >= HN_ORIGIN_DATA - 1) /* what no origin is left for counts as written */
        return HN_ORIGIN_DATA;
    if (!hn_grow(&trace->parts, &trace->capacity, trace->n + 1, sizeof *trace->parts)) {
        hn_tpl_render_fail(r, HN_E_INTERNAL, "out of memory for the parts of a conversation");
        return HN_ORIGIN_DATA;
    }
    struct hn_trace_part *part = &trace->parts[trace->n];
    *part = (struct hn_trace_part){0};
    snprintf(part->field, sizeof part->field, "%s", field);
    return (uint16_t)++trace->n;
}

uint16_t hn_trace_field(struct hn_tpl_render *r, const char *field, const json_t *value) {
    return is_empty(value) ? HN_ORIGIN_DATA : add_part(r, field);
}

/* What a model thought before it answered, where it stands in the content itself: up to </think>.
 * `begin` and `end` are bytes. */
static bool find_thought(const char *text, size_t size, size_t *ret_begin, size_t *ret_end) {
    const char *end = memmem(text, size, "</think>", 8), *begin;
    if (!end)
        return false;
    begin = memmem(text, (size_t)(end - text), "<think>", 7);
    *ret_begin = begin ? (size_t)(begin - text) + 7 : 0;
    *ret_end = (size_t)(end - text);
    return !blank(text + *ret_begin, *ret_end - *ret_begin);
}

static struct hn_tpl_value content(struct hn_tpl_render *r, const char *key, const json_t *json) {
    struct hn_tpl_value v = hn_value_from_json(r, json, hn_trace_field(r, key, json));
    size_t begin, end;
    if (v.kind != HN_V_STRING || !find_thought(v.text, v.size, &begin, &end))
        return v;
    uint16_t *origins = hn_tpl_render_alloc(r, v.size, sizeof *origins),
             thought = add_part(r, "<think> inside of content");
    for (size_t i = 0; origins && i < v.size; i++)
        origins[i] = i >= begin && i < end ? thought : v.origin;
    v.origins = origins;
    return v;
}

/* One call: its arguments are a part of their own. */
static struct hn_tpl_value call_value(
    struct hn_tpl_render *r, const char *key, const json_t *call) {
    struct hn_tpl_value v = hn_value_from_json(r, call, hn_trace_field(r, key, call));
    struct hn_tpl_value *at =
        v.kind == HN_V_DICT ? hn_dict_get_text(v.dict, (struct hn_view){"function", 8}) : NULL;
    const json_t *holder = at ? json_object_get(call, "function") : call;
    const struct hn_tpl_value *of = at ? at : &v;
    const json_t *arguments = json_object_get(holder, "arguments");
    at =
        of->kind == HN_V_DICT ? hn_dict_get_text(of->dict, (struct hn_view){"arguments", 9}) : NULL;
    if (!at || !arguments)
        return v;
    uint16_t origin = hn_trace_field(r, "arguments of tool_calls", arguments);
    if (origin && origin <= r->in->trace->n)
        r->in->trace->parts[origin - 1].inside = true;
    *at = hn_value_from_json(r, arguments, origin);
    return v;
}

static struct hn_tpl_value list_value(struct hn_tpl_render *r, const char *key, const json_t *list,
    struct hn_tpl_value (*one)(struct hn_tpl_render *, const char *, const json_t *)) {
    size_t n = json_array_size(list);
    struct hn_tpl_value *items = hn_tpl_render_alloc(r, n, sizeof *items);
    for (size_t i = 0; items && i < n && !r->rc; i++)
        items[i] = one(r, key, json_array_get(list, i));
    struct hn_tpl_value v = hn_list(items, items && !r->rc ? n : 0);
    v.origin = HN_ORIGIN_DATA;
    return v;
}

static struct hn_tpl_value tool_value(
    struct hn_tpl_render *r, const char *key, const json_t *tool) {
    return hn_value_from_json(r, tool, hn_trace_field(r, key, tool));
}

struct hn_tpl_value hn_trace_tools(struct hn_tpl_render *r, const json_t *tools) {
    return list_value(r, "tools", tools, tool_value);
}

struct hn_tpl_value hn_trace_member(struct hn_tpl_render *r, const char *key, const json_t *json) {
    if (strcmp(key, "role") == 0 || strcmp(key, "tool_call_id") == 0)
        return hn_value_from_json(r, json, HN_ORIGIN_DATA);
    if (strcmp(key, "content") == 0)
        return content(r, key, json);
    if (strcmp(key, "tool_calls") == 0 && json_is_array(json))
        return list_value(r, key, json, call_value);
    return hn_value_from_json(r, json, hn_trace_field(r, key, json));
}
