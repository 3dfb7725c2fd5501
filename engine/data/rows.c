/* See rows.h. The table of layouts is at the end; above it stand the checks of single fields and
 * the conversions. */
#include "engine/data/rows.h"
#include "engine/data/tool_calls.h"
#include "engine/base/utf8.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define FIELDS 4

struct field {
    const char *name;
    bool optional;
    bool (*check)(const struct hn_row_place *place, const char *name, const json_t *value);
};

struct hn_layout {
    enum hn_columns columns;
    const char *title;
    struct field fields[FIELDS];
    const char *const *tasks;
    /* across fields; of the converted row */
    bool (*check)(const struct hn_row_place *place, const json_t *row);
    json_t *(*convert)(json_t *row); /* from our names for the fields; NULL: as it is */
    bool lists; /* its required fields are lists, as those of no layout with the same names */
};

static bool problem(
    const struct hn_row_place *place, const char *field, const char *hint, const char *what) {
    hn_issue_add(place->issues, place->line, 0, field, hint, "%s %s", field, what);
    return false;
}

static bool check_text(const struct hn_row_place *place, const char *name, const json_t *value) {
    char hint[160];
    snprintf(hint, sizeof hint, "write it as {\"%s\": \"…\"}", name);
    if (!json_is_string(value))
        return problem(place, name, hint,
            json_is_null(value) ? "is null; it must be a text" : "must be a text");
    if (json_string_length(value) == 0)
        return problem(place, name, "give it a text, or leave the row out", "is empty");
    return true;
}

static bool check_maybe_empty(
    const struct hn_row_place *place, const char *name, const json_t *value) {
    if (json_is_string(value) || json_is_null(value))
        return true;
    return problem(place, name, "write a text in quotes", "must be a text");
}

static bool is_name(const json_t *text) {
    const char *s = json_string_value(text);
    return strlen(s) == json_string_length(text) && s[strspn(s, " \t\r\n")];
}

static bool is_zero_or_one(const json_t *value) {
    double number = json_number_value(value);
    return json_is_real(value) && (number <= 0 || number >= 1) && number >= 0 && number <= 1;
}

static bool check_label(const struct hn_row_place *place, const char *name, const json_t *value) {
    static const char hint[] =
        "a label is a text or a whole number, a list of them, or a decimal number to predict";
    const json_t *item;
    size_t i;
    if (json_is_string(value) && !is_name(value))
        return problem(place, name, hint, "is empty, or has a NUL character in it");
    if (json_is_string(value) || json_is_number(value) || json_is_boolean(value))
        return true;
    if (!json_is_array(value))
        return problem(place, name, hint, "must be a text, a number or a list of them");
    json_array_foreach((json_t *)(uintptr_t)value, i, item)
        if (json_is_string(item)
                ? !is_name(item)
                : !json_is_integer(item) && !json_is_boolean(item) && !is_zero_or_one(item))
            return problem(place, name, hint,
                "is a list with something else than texts, whole numbers, zeros and ones in it");
    return true;
}

static bool check_strings(const struct hn_row_place *place, const char *name, const json_t *value) {
    const json_t *item;
    size_t i;
    if (!json_is_array(value) || json_array_size(value) == 0)
        return problem(
            place, name, "write it as [\"…\", \"…\"]", "must be a list of texts, and not empty");
    json_array_foreach((json_t *)(uintptr_t)value, i, item)
        if (!json_is_string(item))
            return problem(
                place, name, "write it as [\"…\", \"…\"]", "must be a list of texts only");
    return true;
}

static bool check_tags(const struct hn_row_place *place, const char *name, const json_t *value) {
    const json_t *item;
    size_t i;
    if (!json_is_array(value) || json_array_size(value) == 0)
        return problem(place, name, "write one tag for each token, such as [\"O\", \"B-PER\"]",
            "must be a list, and not empty");
    json_array_foreach((json_t *)(uintptr_t)value, i, item)
        if (!json_is_string(item) && !json_is_integer(item))
            return problem(place, name, "write one tag for each token, such as [\"O\", \"B-PER\"]",
                "must hold texts or whole numbers only");
    return true;
}

/* SQuAD's own list: [{"text","answer_start"}], every one with its place or none. */
static bool check_answer_objects(
    const struct hn_row_place *place, const char *name, const json_t *list) {
    const json_t *answer;
    bool placed = json_object_get(json_array_get(list, 0), "answer_start") != NULL;
    size_t i;
    json_array_foreach((json_t *)(uintptr_t)list, i, answer) {
        const json_t *start = json_object_get(answer, "answer_start");
        if (!json_is_string(json_object_get(answer, "text")) || (start != NULL) != placed ||
            (start && !json_is_integer(start)))
            return problem(place, name, "write it as [{\"text\": \"…\", \"answer_start\": 0}]",
                "must have a text and a whole number as answer_start in each of its objects");
    }
    return true;
}

static bool check_answers(const struct hn_row_place *place, const char *name, const json_t *value) {
    static const char hint[] = "write it as {\"text\": [\"…\"], \"answer_start\": [0]}, empty "
                               "lists when there is no answer";
    const json_t *texts = json_object_get(value, "text"),
                 *starts = json_object_get(value, "answer_start");
    if (json_is_string(value) || (json_is_array(value) && json_array_size(value) == 0))
        return true;
    if (json_is_array(value))
        return json_is_object(json_array_get(value, 0)) ? check_answer_objects(place, name, value)
                                                        : check_strings(place, name, value);
    if (!json_is_array(texts) ||
        (starts && (!json_is_array(starts) || json_array_size(starts) != json_array_size(texts))))
        return problem(
            place, name, hint, "must have the lists text and answer_start, both of one length");
    for (size_t i = 0; i < json_array_size(texts); i++)
        if (!json_is_string(json_array_get(texts, i)) ||
            (starts && !json_is_integer(json_array_get(starts, i))))
            return problem(
                place, name, hint, "must have texts in text and whole numbers in answer_start");
    return true;
}

/* A span cannot be learned from an answer in other words; a decoder can learn to write it. */
static void warn_missing_answer(
    const struct hn_row_place *place, const json_t *context, const json_t *answers) {
    const json_t *texts = json_is_object(answers) ? json_object_get(answers, "text") : answers;
    const json_t *first = json_is_array(texts) ? json_array_get(texts, 0) : texts;
    if (json_string_length(first) &&
        !memmem(json_string_value(context), json_string_length(context), json_string_value(first),
            json_string_length(first)))
        hn_issue_warn(place->issues, "answer_not_found", place->line,
            "the answer does not stand in the context: encoders, which point at it, leave such "
            "rows out");
}

/* Every answer must stand where it says, counted in characters. */
static bool check_qa(const struct hn_row_place *place, const json_t *row) {
    const json_t *context = json_object_get(row, "context"),
                 *answers = json_object_get(row, "answers");
    const json_t *texts = json_object_get(answers, "text"),
                 *starts = json_object_get(answers, "answer_start");
    const char *text = json_string_value(context);
    size_t size = json_string_length(context);
    for (size_t i = 0; starts && i < json_array_size(starts); i++) {
        long long start = json_integer_value(json_array_get(starts, i));
        const json_t *answer = json_array_get(texts, i);
        size_t at = 0;
        for (long long k = 0; k < start && at < size; k++)
            at += hn_utf8_length((unsigned char)text[at]);
        if (start < 0 || json_string_length(answer) > size - at ||
            memcmp(text + at, json_string_value(answer), json_string_length(answer)) != 0) {
            hn_issue_add(place->issues, place->line, 0, "answers",
                "answer_start counts characters from 0",
                "the answer \"%.40s\" does not stand at character %lld of context",
                json_string_value(answer), start);
            return false;
        }
    }
    warn_missing_answer(place, context, answers);
    return true;
}

static bool check_pairs(const struct hn_row_place *place, const json_t *row) {
    size_t tokens = json_array_size(json_object_get(row, "tokens")),
           tags = json_array_size(json_object_get(row, "tags"));
    if (tokens == tags)
        return true;
    hn_issue_add(place->issues, place->line, 0, "tags", "write one tag for each token",
        "there are %zu tokens but %zu tags", tokens, tags);
    return false;
}

static const char *const roles[] = {
    "system", "developer", "user", "assistant", "tool", "function", "ipython", NULL};

static bool is_role(const char *role) {
    for (const char *const *known = roles; *known; known++)
        if (strcmp(*known, role) == 0)
            return true;
    return false;
}

/* Text, or a list of {"type":"text","text":…}. */
static bool is_content(const json_t *content) {
    const json_t *part;
    size_t i;
    if (json_is_string(content))
        return true;
    if (!json_is_array(content) || json_array_size(content) == 0)
        return false;
    json_array_foreach((json_t *)(uintptr_t)content, i, part) {
        const char *type = json_string_value(json_object_get(part, "type"));
        if (!type || strcmp(type, "text") != 0 || !json_is_string(json_object_get(part, "text")))
            return false;
    }
    return true;
}

static bool check_message(
    const struct hn_row_place *place, const char *name, const json_t *message) {
    const char *role = json_string_value(json_object_get(message, "role"));
    const json_t *content = json_object_get(message, "content"),
                 *weight = json_object_get(message, "weight");
    const json_t *legacy = json_object_get(message, "function_call");
    bool calls =
        json_array_size(json_object_get(message, "tool_calls")) > 0 || hn_call_is_legacy(message);
    if (!json_is_object(message))
        return problem(place, name, "write it as {\"role\": \"user\", \"content\": \"…\"}",
            "must be an object");
    if (!role)
        return problem(place, name, "give each message a role such as \"user\"", "has no role");
    if (!is_role(role)) {
        hn_issue_add(place->issues, place->line, 0, name,
            "roles are system, developer, user, assistant, tool",
            "%s has the unknown role \"%.40s\"", name, role);
        return false;
    }
    if ((!content || json_is_null(content)) && calls)
        content = NULL;
    else if (!is_content(content))
        return problem(place, name,
            "content is a text, or a list of {\"type\": \"text\", \"text\": \"…\"}",
            content && !json_is_null(content) ? "has a content that is no text" : "has no content");
    if (content && json_string_length(content) == 0 && json_is_string(content) && !calls &&
        (strcmp(role, "user") == 0 || strcmp(role, "assistant") == 0))
        return problem(
            place, name, "give it a text, or leave the message out", "has an empty content");
    if (weight && !json_is_null(weight) &&
        !(json_is_number(weight) && json_number_value(weight) >= 0 &&
            json_number_value(weight) <= 1e6))
        return problem(place, name, "use 0 to not train on a message, 1 to train on it",
            "has a weight that is no number from 0 on");
    if (json_object_get(message, "tool_calls") &&
        !json_is_null(json_object_get(message, "tool_calls")) &&
        !json_is_array(json_object_get(message, "tool_calls")))
        return problem(
            place, name, "tool_calls is a list of objects", "has tool_calls that are no list");
    if (legacy && !json_is_null(legacy) && !hn_call_is_legacy(message))
        return problem(place, name,
            "write it as {\"name\": \"…\", \"arguments\": \"{…}\"}, or use tool_calls",
            "has a function_call without a name");
    if (hn_calls_opaque(message))
        hn_issue_warn(place->issues, "arguments_text", place->line,
            "the arguments of a tool call are a text that is no JSON object; templates get it as "
            "the text that it is");
    return true;
}

static bool is_target(const json_t *message) {
    const char *role = json_string_value(json_object_get(message, "role"));
    const json_t *weight = json_object_get(message, "weight");
    return role && strcmp(role, "assistant") == 0 &&
        (!json_is_number(weight) || json_number_value(weight) != 0);
}

static bool check_messages(
    const struct hn_row_place *place, const char *name, const json_t *value) {
    const json_t *message;
    size_t i;
    bool target = false;
    if (!json_is_array(value))
        return problem(place, name, "write it as [{\"role\": \"user\", \"content\": \"…\"}, …]",
            "must be a list of messages");
    if (json_array_size(value) == 0)
        return problem(place, name, "leave the row out", "is an empty list");
    json_array_foreach((json_t *)(uintptr_t)value, i, message) {
        char where[64];
        snprintf(where, sizeof where, "%s[%zu]", name, i);
        if (!check_message(place, where, message))
            return false;
        target = target || is_target(message);
    }
    if (!target && strcmp(name, "messages") == 0)
        hn_issue_warn(place->issues, "no_target", place->line,
            "rows without an assistant message to train on are left out of training");
    return true;
}

static bool check_tools(const struct hn_row_place *place, const char *name, const json_t *value) {
    bool bad;
    json_decref(hn_tools_read(value, false, &bad));
    if (!bad)
        return true;
    return problem(place, name, "tools is a list of function descriptions",
        "must be a list, or JSON text of one");
}

/* Tools of rows in other software's form: a text that says none was always left aside. */
static bool check_other_tools(
    const struct hn_row_place *place, const char *name, const json_t *value) {
    bool bad;
    json_decref(hn_tools_read(value, true, &bad));
    if (bad)
        hn_issue_warn(place->issues, "unread_tools", place->line,
            "%s is no list of function descriptions, nor JSON text of one; it is not used", name);
    return true;
}

static bool check_prompt_or_messages(
    const struct hn_row_place *place, const char *name, const json_t *value) {
    return json_is_array(value) ? check_messages(place, name, value)
                                : check_text(place, name, value);
}

static bool check_preference(const struct hn_row_place *place, const json_t *row) {
    const json_t *chosen = json_object_get(row, "chosen"),
                 *rejected = json_object_get(row, "rejected");
    if (json_is_array(chosen) != json_is_array(rejected))
        return problem(place, "rejected", "write both as texts, or both as messages",
            "is of another kind than chosen");
    if (json_equal(chosen, rejected))
        return problem(place, "rejected", "leave the row out", "is the same as chosen");
    return true;
}

/* Much data calls its column as ShareGPT does and the parts of a turn as chats do. */
static const json_t *turn_part(const json_t *turn, const char *name, const char *other) {
    const json_t *part = json_object_get(turn, name);
    return part ? part : json_object_get(turn, other);
}

static bool check_conversations(
    const struct hn_row_place *place, const char *name, const json_t *value) {
    const json_t *turn;
    size_t i;
    if (!json_is_array(value) || json_array_size(value) == 0)
        return problem(place, name, "write it as [{\"from\": \"human\", \"value\": \"…\"}, …]",
            "must be a list of turns, and not empty");
    json_array_foreach((json_t *)(uintptr_t)value, i, turn) {
        const json_t *from = turn_part(turn, "from", "role"),
                     *said = turn_part(turn, "value", "content");
        bool chat = json_object_get(turn, "role") && !json_object_get(turn, "value") &&
            (!said || json_is_null(said) || is_content(said));
        if (!json_is_string(from) || (!chat && !json_is_string(said)))
            return problem(place, name, "every turn has \"from\" and \"value\", both texts",
                "has a turn without from or value");
        if (strcmp(json_string_value(from), "function_call") == 0 && json_is_string(said)) {
            json_t *message = hn_call_message(said);
            json_decref(message);
            if (!message)
                return problem(place, name,
                    "a function_call is JSON text: {\"name\": \"…\", \"arguments\": {…}}, or a "
                    "list of them",
                    "has a function_call that is not JSON text of a name and arguments");
        }
    }
    return true;
}

/* The converted messages of Alpaca and ShareGPT rows. */
static bool check_converted(const struct hn_row_place *place, const json_t *row) {
    return check_messages(place, "messages", json_object_get(row, "messages"));
}

static json_t *message_of(const char *role, const char *text, size_t size) {
    return json_pack("{s:s, s:o}", "role", role, "content", json_stringn(text, size));
}

static json_t *convert_alpaca(json_t *row) {
    const json_t *system = json_object_get(row, "system"), *input = json_object_get(row, "input");
    const json_t *instruction = json_object_get(row, "instruction"),
                 *output = json_object_get(row, "output");
    json_t *messages = json_array();
    struct hn_buf user = {0};
    if (json_string_length(system))
        json_array_append_new(
            messages, message_of("system", json_string_value(system), json_string_length(system)));
    hn_buf_append(&user, json_string_value(instruction), json_string_length(instruction));
    if (json_string_length(input)) {
        hn_buf_text(&user, "\n\n");
        hn_buf_append(&user, json_string_value(input), json_string_length(input));
    }
    if (!user.failed)
        json_array_append_new(messages, message_of("user", user.data, user.size));
    json_array_append_new(
        messages, message_of("assistant", json_string_value(output), json_string_length(output)));
    hn_buf_free(&user);
    json_decref(row);
    return json_pack("{s:o}", "messages", messages);
}

static const char *sharegpt_role(const char *from) {
    static const struct {
        const char *from, *role;
    } names[] = {{"human", "user"}, {"gpt", "assistant"}, {"chatgpt", "assistant"},
        {"bing", "assistant"}, {"bard", "assistant"}, {"model", "assistant"},
        {"function_response", "tool"}, {"observation", "tool"}};
    for (size_t k = 0; k < sizeof names / sizeof names[0]; k++)
        if (strcmp(from, names[k].from) == 0)
            return names[k].role;
    return from;
}

/* A turn as a message, with whatever else it has. */
static json_t *sharegpt_message(json_t *turn) {
    const char *role = json_string_value(turn_part(turn, "from", "role")), *key;
    const json_t *value = turn_part(turn, "value", "content");
    json_t *message = strcmp(role, "function_call") == 0 ? hn_call_message(value) : NULL, *part;
    if (!message)
        message = json_pack(
            "{s:s, s:O}", "role", sharegpt_role(role), "content", value ? value : json_null());
    json_object_foreach(turn, key, part)
        if (strcmp(key, "from") != 0 && strcmp(key, "role") != 0 && strcmp(key, "value") != 0 &&
            strcmp(key, "content") != 0)
            json_object_set(message, key, part);
    return message;
}

/* Gives a converted row the tools of the row it was made of. */
static void take_tools(json_t *out, const json_t *tools, bool functions) {
    bool bad;
    json_t *list = hn_tools_read(tools, functions, &bad);
    if (list)
        json_object_set_new(out, "tools", list);
}

static void convert_all(json_t *messages);

static json_t *convert_sharegpt(json_t *row) {
    const json_t *system = json_object_get(row, "system");
    json_t *messages = json_array(), *turn;
    size_t i;
    if (json_string_length(system))
        json_array_append_new(
            messages, message_of("system", json_string_value(system), json_string_length(system)));
    json_array_foreach(json_object_get(row, "conversations"), i, turn)
        json_array_append_new(messages, sharegpt_message(turn));
    convert_all(messages);
    json_t *out = json_pack("{s:o}", "messages", messages);
    take_tools(out, json_object_get(row, "tools"), true);
    json_decref(row);
    return out;
}

/* A list of text parts becomes one text, its parts on lines of their own: models of text know
 * nothing else. */
static void flatten_content(json_t *message) {
    const json_t *content = json_object_get(message, "content"), *part;
    struct hn_buf text = {0};
    size_t i;
    if (!json_is_array(content))
        return;
    json_array_foreach((json_t *)(uintptr_t)content, i, part) {
        const json_t *piece = json_object_get(part, "text");
        if (i)
            hn_buf_char(&text, '\n');
        hn_buf_append(&text, json_string_value(piece), json_string_length(piece));
    }
    json_object_set_new(message, "content", json_stringn(text.data ? text.data : "", text.size));
    hn_buf_free(&text);
}

/* SQuAD's list of answers as two lists, which is how flat rows have them. */
static json_t *convert_qa(json_t *row) {
    const json_t *list = json_object_get(row, "answers"), *answer;
    json_t *texts, *starts;
    size_t i;
    if (!json_is_object(json_array_get(list, 0)))
        return row;
    texts = json_array();
    starts = json_array();
    json_array_foreach((json_t *)(uintptr_t)list, i, answer) {
        json_array_append(texts, json_object_get(answer, "text"));
        json_array_append(starts, json_object_get(answer, "answer_start"));
    }
    json_t *both = json_pack("{s:o}", "text", texts);
    if (json_array_size(starts) == json_array_size(texts))
        json_object_set(both, "answer_start", starts);
    json_decref(starts);
    json_object_set_new(row, "answers", both);
    return row;
}

static void convert_all(json_t *messages) {
    json_t *message;
    size_t i;
    json_array_foreach(messages, i, message)
        flatten_content(message);
    hn_calls_modernise(messages);
}

/* OpenAI's older column, and tools that are no list yet. */
static void convert_tools(json_t *row) {
    json_t *tools = json_object_get(row, "tools"), *functions = json_object_get(row, "functions");
    bool bad;
    if (functions) {
        if (!tools || json_is_null(tools))
            take_tools(row, functions, true);
        json_object_del(row, "functions");
    } else if (json_is_string(tools)) {
        json_t *list = hn_tools_read(tools, false, &bad);
        if (!list)
            json_object_del(row, "tools");
        else
            json_object_set_new(row, "tools", list);
    }
}

static json_t *convert_messages(json_t *row) {
    convert_all(json_object_get(row, "messages"));
    convert_tools(row);
    return row;
}

/* Prompt and completion as lists: one conversation, in which only the completion's messages are
 * answers to train on. */
static json_t *convert_lists(json_t *row) {
    json_t *messages = json_array(), *message;
    size_t i;
    json_array_foreach(json_object_get(row, "prompt"), i, message) {
        json_object_set_new(message, "weight", json_integer(0));
        json_array_append(messages, message);
    }
    json_array_extend(messages, json_object_get(row, "completion"));
    json_object_set_new(row, "messages", messages);
    json_object_del(row, "prompt");
    json_object_del(row, "completion");
    return convert_messages(row);
}

static const char *const generation[] = {"generation", NULL};
static const char *const classification[] = {"classification", NULL};
static const char *const qa[] = {"qa", "generation", NULL};
static const char *const token_classification[] = {"token_classification", NULL};
static const char *const preference[] = {"preference", NULL};

/* In order: of several layouts that fit a row the first is taken. */
static const struct hn_layout layouts[] = {
    {HN_ROWS_MESSAGES, "messages",
        {{"messages", false, check_messages}, {"tools", true, check_tools},
            {"functions", true, check_other_tools}},
        generation, NULL, convert_messages, false},
    {HN_ROWS_MESSAGES, "conversations (ShareGPT)",
        {{"conversations", false, check_conversations}, {"system", true, check_maybe_empty},
            {"tools", true, check_other_tools}},
        generation, check_converted, convert_sharegpt, false},
    {HN_ROWS_PREFERENCE, "prompt, chosen and rejected",
        {{"prompt", false, check_prompt_or_messages}, {"chosen", false, check_prompt_or_messages},
            {"rejected", false, check_prompt_or_messages}},
        preference, check_preference, NULL, false},
    {HN_ROWS_MESSAGES, "prompt and completion as messages",
        {{"prompt", false, check_messages}, {"completion", false, check_messages},
            {"tools", true, check_tools}},
        generation, check_converted, convert_lists, true},
    {HN_ROWS_PROMPT_COMPLETION, "prompt and completion",
        {{"prompt", false, check_text}, {"completion", false, check_text}}, generation, NULL, NULL,
        false},
    {HN_ROWS_MESSAGES, "instruction and output (Alpaca)",
        {{"instruction", false, check_text}, {"output", false, check_text},
            {"input", true, check_maybe_empty}, {"system", true, check_maybe_empty}},
        generation, check_converted, convert_alpaca, false},
    {HN_ROWS_QA, "context, question and answers",
        {{"context", false, check_text}, {"question", false, check_text},
            {"answers", false, check_answers}},
        qa, check_qa, convert_qa, false},
    {HN_ROWS_TOKENS_TAGS, "tokens and tags",
        {{"tokens", false, check_strings}, {"tags", false, check_tags}}, token_classification,
        check_pairs, NULL, false},
    {HN_ROWS_TEXT_LABEL, "text and label",
        {{"text", false, check_text}, {"label", false, check_label}}, classification, NULL, NULL,
        false},
    {HN_ROWS_TEXT, "text", {{"text", false, check_text}}, generation, NULL, NULL, false},
};
#define LAYOUTS (sizeof layouts / sizeof layouts[0])

/* The file's name of our column. */
static const char *file_name(const char *name, const json_t *mapping) {
    const char *mapped = json_string_value(json_object_get(mapping, name));
    return mapped ? mapped : name;
}

static bool has_field(const struct hn_layout *layout, const char *name) {
    for (size_t i = 0; i < FIELDS && layout->fields[i].name; i++)
        if (strcmp(layout->fields[i].name, name) == 0)
            return true;
    return false;
}

bool hn_layout_knows(const char *name) {
    for (size_t i = 0; i < LAYOUTS; i++)
        if (has_field(&layouts[i], name))
            return true;
    return false;
}

int hn_layout_check_mapping(const json_t *columns, struct hn_error *err) {
    const char *key;
    json_t *value;
    if (!columns || json_is_null(columns))
        return 0;
    if (!json_is_object(columns)) {
        hn_fail(err, HN_E_INVALID_FIELD, "columns must be an object");
        hn_error_field(err, "columns");
        hn_error_hint(err,
            "write it as {\"prompt\": \"question\", \"completion\": \"answer\"}: our name, then "
            "the file's");
        return HN_E_INVALID_FIELD;
    }
    json_object_foreach((json_t *)(uintptr_t)columns, key, value) {
        bool known = hn_layout_knows(key);
        if (known && json_string_length(value))
            continue;
        hn_fail(err, HN_E_INVALID_FIELD,
            known ? "columns.%.60s must be the name of a column of the file"
                  : "columns.%.60s is no column that means anything here",
            key);
        hn_error_field(err, "columns.%.60s", key);
        hn_error_hint(err,
            "our name comes first, then the file's; known: messages, prompt, completion, text, "
            "label, context, question, answers, tokens, tags, instruction, input, output, "
            "conversations, system, tools, functions, chosen, rejected");
        return HN_E_INVALID_FIELD;
    }
    return 0;
}

const struct hn_layout *hn_layout_find(const json_t *row, const json_t *mapping) {
    for (size_t i = 0; i < LAYOUTS; i++) {
        bool fits = true;
        const char *key;
        json_t *value;
        for (size_t k = 0; k < FIELDS && layouts[i].fields[k].name && fits; k++) {
            value = json_object_get(row, file_name(layouts[i].fields[k].name, mapping));
            fits = layouts[i].fields[k].optional ||
                (value && (!layouts[i].lists || json_is_array(value)));
        }
        json_object_foreach((json_t *)(uintptr_t)mapping, key, value)
            fits = fits && has_field(&layouts[i], key); /* a mapping says what is meant */
        if (fits)
            return &layouts[i];
    }
    return NULL;
}

const char *hn_layout_title(const struct hn_layout *layout) {
    return layout->title;
}

enum hn_columns hn_layout_columns(const struct hn_layout *layout) {
    return layout->columns;
}

const char *const *hn_layout_tasks(const struct hn_layout *layout) {
    return layout->tasks;
}

json_t *hn_layout_mapping(
    const struct hn_layout *layout, const json_t *row, const json_t *mapping) {
    json_t *out = json_object();
    for (size_t i = 0; i < FIELDS && layout->fields[i].name; i++) {
        const char *name = file_name(layout->fields[i].name, mapping);
        if (json_object_get(row, name))
            json_object_set_new(out, layout->fields[i].name, json_string(name));
    }
    return out;
}

static void warn_ignored(const struct hn_layout *layout, const json_t *row, const json_t *mapping,
    const struct hn_row_place *place) {
    const char *key;
    json_t *value;
    json_object_foreach((json_t *)(uintptr_t)row, key, value) {
        bool used = false;
        for (size_t i = 0; i < FIELDS && layout->fields[i].name; i++)
            used = used || strcmp(file_name(layout->fields[i].name, mapping), key) == 0;
        if (!used)
            hn_issue_warn(place->issues, "ignored_column", place->line,
                "the column \"%.80s\" is not used", key);
    }
}

bool hn_layout_check(const struct hn_layout *layout, const json_t *row, const json_t *mapping,
    const struct hn_row_place *place) {
    for (size_t i = 0; i < FIELDS && layout->fields[i].name; i++) {
        const struct field *field = &layout->fields[i];
        const json_t *value = json_object_get(row, file_name(field->name, mapping));
        if (!value && field->optional)
            continue;
        if (!value) {
            hn_issue_add(place->issues, place->line, 0, field->name,
                "every row needs the same columns", "the column \"%.60s\" is missing",
                file_name(field->name, mapping));
            return false;
        }
        if (!field->check(place, field->name, value))
            return false;
    }
    if (layout->check) {
        json_t *converted = hn_layout_convert(layout, row, mapping);
        bool good = converted && layout->check(place, converted);
        json_decref(converted);
        if (!good)
            return false;
    }
    warn_ignored(layout, row, mapping, place);
    return true;
}

json_t *hn_layout_convert(
    const struct hn_layout *layout, const json_t *row, const json_t *mapping) {
    json_t *out = json_object();
    for (size_t i = 0; i < FIELDS && layout->fields[i].name; i++) {
        json_t *value = json_object_get(row, file_name(layout->fields[i].name, mapping));
        if (value)
            json_object_set(out, layout->fields[i].name, value);
    }
    return layout->convert && out ? layout->convert(out) : out;
}

int hn_messages_read(const json_t *messages, json_t **ret, struct hn_error *err) {
    struct hn_issues *issues = hn_calloc(1, sizeof *issues);
    json_t *row = issues ? json_pack("{s:o}", "messages", json_deep_copy(messages)) : NULL;
    int rc = row ? 0 : hn_fail(err, HN_E_INTERNAL, "out of memory");
    struct hn_row_place place = {issues, 0};
    if (!rc && !check_messages(&place, "messages", json_object_get(row, "messages"))) {
        rc = hn_fail(err, HN_E_INVALID_FIELD, "%s", issues->list[0].message);
        hn_error_field(err, "%s", issues->list[0].field);
        hn_error_hint(err, "%s", issues->list[0].hint);
    }
    if (!rc) {
        convert_messages(row);
        *ret = json_incref(json_object_get(row, "messages"));
    }
    json_decref(row);
    free(issues);
    return rc;
}
