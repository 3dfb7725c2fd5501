/* See tool_calls.h. */
#include "engine/data/tool_calls.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

static json_t *parse(const char *text, size_t size) {
    return json_loadb(text, size, JSON_ALLOW_NUL | JSON_DECODE_ANY, NULL);
}

static json_t *parse_text(const json_t *text) {
    return json_is_string(text) ? parse(json_string_value(text), json_string_length(text)) : NULL;
}

static bool blank(const json_t *text) {
    const char *s = json_string_value(text);
    return s && s[strspn(s, " \t\r\n")] == 0;
}

/* {"type": "function", "function": …} around a function that stands alone. Takes it over. */
static json_t *wrapped(json_t *tool) {
    bool alone =
        json_is_string(json_object_get(tool, "name")) && !json_object_get(tool, "function");
    return alone ? json_pack("{s:s, s:o}", "type", "function", "function", tool) : tool;
}

json_t *hn_tools_read(const json_t *tools, bool functions, bool *ret_bad) {
    json_t *said = parse_text(tools), *list = json_array(), *tool;
    const json_t *from = said ? said : tools;
    size_t i;
    *ret_bad = false;
    if (json_is_array(from))
        json_array_foreach((json_t *)(uintptr_t)from, i, tool) {
            *ret_bad |= said && !json_is_object(tool);
            json_array_append_new(
                list, said || functions ? wrapped(json_incref(tool)) : json_incref(tool));
        }
    else if (said && json_is_string(json_object_get(said, "name")))
        json_array_append_new(list, wrapped(json_incref(said)));
    else if (said && json_object_get(said, "function"))
        json_array_append_new(list, json_incref(said));
    else
        *ret_bad = tools && !json_is_null(tools) && !blank(tools) && !json_is_null(said);
    json_decref(said);
    if (!*ret_bad && json_array_size(list))
        return list;
    json_decref(list);
    return NULL;
}

/* One {"name", "arguments"} as an item of tool_calls; NULL: it is none. */
static json_t *call_of(const json_t *function) {
    const json_t *name = json_object_get(function, "name"),
                 *arguments = json_object_get(function, "arguments");
    if (!json_string_length(name))
        return NULL;
    return json_pack("{s:s, s:{s:O, s:o}}", "type", "function", "function", "name", name,
        "arguments", arguments ? json_incref((json_t *)(uintptr_t)arguments) : json_object());
}

static bool append_calls(json_t *list, const json_t *from) {
    const json_t *item;
    size_t i;
    if (!json_is_array(from)) {
        json_t *call = call_of(from);
        return call && json_array_append_new(list, call) == 0;
    }
    json_array_foreach((json_t *)(uintptr_t)from, i, item)
        if (!json_is_object(item) || !append_calls(list, item))
            return false;
    return json_array_size(from) > 0;
}

json_t *hn_call_message(const json_t *text) {
    const char *s = json_string_value(text), *end = s ? strstr(s, "</think>") : NULL;
    const char *from = end ? end + strlen("</think>") : s;
    json_t *calls = json_array(),
           *said = s ? parse(from, json_string_length(text) - (size_t)(from - s)) : NULL;
    json_t *message = NULL;
    if (append_calls(calls, said))
        message = json_pack("{s:s, s:o, s:O}", "role", "assistant", "content",
            json_stringn(s, (size_t)(from - s)), "tool_calls", calls);
    json_decref(said);
    json_decref(calls);
    return message;
}

/* The item of tool_calls that a function_call says; NULL: none. */
static json_t *legacy_call(const json_t *message) {
    const json_t *call = json_object_get(message, "function_call");
    json_t *said = parse_text(call), *out = call_of(said ? said : call);
    json_decref(said);
    return out;
}

bool hn_call_is_legacy(const json_t *message) {
    json_t *call = legacy_call(message);
    json_decref(call);
    return call != NULL;
}

void hn_calls_modernise(json_t *messages) {
    json_t *message, *call;
    bool any = false;
    size_t i;
    json_array_foreach(messages, i, message) {
        if (!json_object_get(message, "function_call"))
            continue;
        call = legacy_call(message);
        any |= call != NULL;
        if (call && !json_array_size(json_object_get(message, "tool_calls")))
            json_object_set_new(message, "tool_calls", json_pack("[O]", call));
        if (call || json_is_null(json_object_get(message, "function_call")))
            json_object_del(message, "function_call");
        json_decref(call);
    }
    json_array_foreach(messages, i, message) {
        const char *role = json_string_value(json_object_get(message, "role"));
        if (any && role && strcmp(role, "function") == 0)
            json_object_set_new(message, "role", json_string("tool"));
    }
}

/* What holds a call's name and arguments. */
static json_t *function_of(const json_t *call) {
    json_t *function = json_object_get(call, "function");
    return json_is_object(function) ? function : (json_t *)(uintptr_t)call;
}

/* The object that a call's arguments say as text, or NULL. */
static json_t *said_arguments(const json_t *call) {
    json_t *said = parse_text(json_object_get(function_of(call), "arguments"));
    if (json_is_object(said))
        return said;
    json_decref(said);
    return NULL;
}

bool hn_calls_opaque(const json_t *message) {
    const json_t *call;
    size_t i;
    json_array_foreach(json_object_get(message, "tool_calls"), i, call) {
        json_t *said = said_arguments(call);
        bool opaque = !said && json_is_string(json_object_get(function_of(call), "arguments"));
        json_decref(said);
        if (opaque)
            return true;
    }
    return false;
}

/* Calls with their arguments read; NULL: there is nothing to read. */
static json_t *read_calls(const json_t *calls) {
    json_t *out = NULL;
    const json_t *call;
    size_t i;
    json_array_foreach((json_t *)(uintptr_t)calls, i, call) {
        json_t *said = said_arguments(call);
        if (said && !out)
            out = json_deep_copy(calls);
        if (said)
            json_object_set(function_of(json_array_get(out, i)), "arguments", said);
        json_decref(said);
    }
    return out;
}

static json_t *filled_content(const json_t *message) {
    const json_t *content = json_object_get(message, "content");
    bool missing = !content || json_is_null(content);
    return missing && json_array_size(json_object_get(message, "tool_calls")) ? json_string("")
                                                                              : NULL;
}

/* The messages with a field of some replaced; NULL: of none. `make` returns the new value or
 * NULL. */
static json_t *changed(
    const json_t *messages, const char *field, json_t *(*make)(const json_t *message)) {
    json_t *out = NULL;
    const json_t *message;
    size_t i;
    json_array_foreach((json_t *)(uintptr_t)messages, i, message) {
        json_t *value = make(message);
        if (!value)
            continue;
        out = out ? out : json_copy((json_t *)(uintptr_t)messages);
        json_t *copy = json_copy((json_t *)(uintptr_t)message);
        json_object_set_new(copy, field, value);
        json_array_set_new(out, i, copy);
    }
    return out;
}

static json_t *calls_of(const json_t *message) {
    const json_t *calls = json_object_get(message, "tool_calls");
    return calls ? read_calls(calls) : NULL;
}

json_t *hn_calls_read(const json_t *messages) {
    return changed(messages, "tool_calls", calls_of);
}

json_t *hn_calls_filled(const json_t *messages) {
    return changed(messages, "content", filled_content);
}

static bool is_offered(const json_t *tools, const json_t *name) {
    size_t i;
    json_t *tool;
    json_array_foreach((json_t *)(uintptr_t)tools, i, tool) {
        json_t *function = json_object_get(tool, "function");
        if (json_equal(json_object_get(function ? function : tool, "name"), name))
            return true;
    }
    return false;
}

/* One call as a model writes it, as OpenAI's API has it; NULL: it is none of these tools. */
static json_t *written_call(const json_t *call, const json_t *tools) {
    json_t *name = json_object_get(call, "name"), *arguments = json_object_get(call, "arguments");
    if (!arguments)
        arguments = json_object_get(call, "parameters");
    if (!json_string_length(name) || !is_offered(tools, name) ||
        (arguments && !json_is_object(arguments) && !json_is_string(arguments)))
        return NULL;
    char *text = json_is_object(arguments) ? json_dumps(arguments, JSON_COMPACT) : NULL;
    const char *said = json_is_string(arguments) ? json_string_value(arguments) : "{}";
    json_t *out = json_pack("{s:s, s:{s:O, s:s}}", "type", "function", "function", "name", name,
        "arguments", text ? text : said);
    free(text);
    return out;
}

/* Appends the calls of a JSON text, one or a list of them; false when it is anything else. */
static bool add_calls(json_t *list, const char *text, size_t size, const json_t *tools) {
    json_t *json = parse(text, size), *item;
    size_t i, before = json_array_size(list),
              wanted = json_is_array(json) ? json_array_size(json) : 1;
    if (json_is_array(json))
        json_array_foreach(json, i, item) {
            json_t *call = written_call(item, tools);
            if (call)
                json_array_append_new(list, call);
        }
    else {
        json_t *call = written_call(json, tools);
        if (call)
            json_array_append_new(list, call);
    }
    json_decref(json);
    return wanted && json_array_size(list) == before + wanted;
}

json_t *hn_calls_parse(const char *text, size_t size, const json_t *tools, size_t *ret_kept) {
    static const char open[] = "<tool_call>", close[] = "</tool_call>";
    const char *end = text + size, *at = memmem(text, size, open, sizeof open - 1), *first = at;
    json_t *list = json_array();
    bool good = list != NULL;
    *ret_kept = size;
    if (!at)
        good = good && add_calls(list, text, size, tools);
    while (good && at) {
        const char *from = at + sizeof open - 1;
        const char *to = memmem(from, (size_t)(end - from), close, sizeof close - 1);
        good = add_calls(list, from, (size_t)((to ? to : end) - from), tools);
        at = to ? memmem(to, (size_t)(end - to), open, sizeof open - 1) : NULL;
    }
    if (!good || !json_array_size(list)) {
        json_decref(list);
        return NULL;
    }
    *ret_kept = first ? (size_t)(first - text) : 0;
    while (*ret_kept && strchr(" \t\r\n", text[*ret_kept - 1]))
        --*ret_kept;
    return list;
}
