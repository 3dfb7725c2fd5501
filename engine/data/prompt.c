/*
 * Prompts for generation, from rows and from prediction inputs; see examples.h.
 */
#include "engine/data/prompt.h"
#include "engine/data/encode.h"
#include "engine/base/json.h"
#include "engine/data/rows.h"
#include "engine/data/tool_calls.h"

#include <string.h>

void hn_prompt_finish(struct hn_prompt *prompt) {
    hn_ids_free(&prompt->ids);
    hn_buf_free(&prompt->text);
    hn_buf_free(&prompt->reference);
}

struct hn_view hn_prompt_again(const struct hn_prompt *p) {
    return (struct hn_view){p->text.data ? p->text.data + p->text.size - p->again : "", p->again};
}

static void append(struct hn_buf *buf, const json_t *text) {
    if (json_is_string(text))
        hn_buf_append(buf, json_string_value(text), json_string_length(text));
}

/* Leaves out the tokens at the end that an answer will be a part of. */
static int keep_firm(const struct hn_codec *codec, const uint16_t *origins, struct hn_prompt *p,
    struct hn_error *err) {
    size_t firm;
    int rc = hn_codec_firm(codec, p->text.data, p->text.size, origins, &p->ids, &firm, err);
    if (rc || firm == p->ids.n)
        return rc;
    p->again = p->text.size - p->ids.offsets[firm];
    p->ids.n = firm;
    return 0;
}

static int from_raw(
    const struct hn_codec *codec, const json_t *text, struct hn_prompt *p, struct hn_error *err) {
    append(&p->text, text);
    return hn_codec_encode_bare(codec, p->text.data, p->text.size, &p->ids, err);
}

static int from_asked(
    const struct hn_codec *codec, const json_t *text, struct hn_prompt *p, struct hn_error *err) {
    int rc = from_raw(codec, text, p, err);
    return rc ? rc : keep_firm(codec, NULL, p, err);
}

static void append_answer(const struct hn_codec *codec, struct hn_buf *buf, const json_t *text) {
    if (json_is_string(text))
        hn_buf_append(buf, json_string_value(text), hn_codec_answer_size(codec, text));
}

static int from_messages(const struct hn_codec *codec, const json_t *messages, const json_t *tools,
    struct hn_prompt *p, struct hn_error *err) {
    struct hn_rendered text = {0};
    int rc = hn_codec_render(codec, messages, tools, true, &text, err);
    if (!rc)
        rc = hn_codec_encode(codec, text.text.data, text.text.size, text.origin, &p->ids, err);
    if (!rc)
        hn_buf_append(&p->text, text.text.data, text.text.size);
    if (!rc && !p->text.failed)
        rc = keep_firm(codec, text.origin, p, err);
    hn_rendered_free(&text);
    return rc;
}

/* Everything before the last assistant message is the prompt. */
static int from_chat(
    const struct hn_codec *codec, const json_t *row, struct hn_prompt *p, struct hn_error *err) {
    const json_t *messages = json_object_get(row, "messages");
    size_t last = json_array_size(messages);
    for (; last > 0; last--) {
        const char *role =
            json_string_value(json_object_get(json_array_get(messages, last - 1), "role"));
        if (role && strcmp(role, "assistant") == 0)
            break;
    }
    if (last <= 1)
        return hn_fail(
            err, HN_E_UNSUPPORTED, "the conversation has nothing before the assistant's answer");
    append_answer(
        codec, &p->reference, json_object_get(json_array_get(messages, last - 1), "content"));
    json_t *before = json_array();
    for (size_t i = 0; i + 1 < last; i++)
        json_array_append(before, json_array_get(messages, i));
    int rc = from_messages(codec, before, json_object_get(row, "tools"), p, err);
    json_decref(before);
    return rc;
}

static int from_completion(
    const struct hn_codec *codec, const json_t *row, struct hn_prompt *p, struct hn_error *err) {
    append_answer(codec, &p->reference, json_object_get(row, "completion"));
    return from_asked(codec, json_object_get(row, "prompt"), p, err);
}

/* Plain text: its first half is the prompt, the second what might follow. */
static int from_text(
    const struct hn_codec *codec, const json_t *row, struct hn_prompt *p, struct hn_error *err) {
    int rc = from_raw(codec, json_object_get(row, "text"), p, err);
    size_t half = (p->ids.n + 1) / 2;
    hn_buf_clear(&p->text);
    for (size_t i = 0; !rc && i < p->ids.n; i++)
        hn_tokenizer_decode(
            codec->tokenizer, p->ids.ids[i], false, i < half ? &p->text : &p->reference);
    p->ids.n = half;
    return rc;
}

static int from_question(
    const struct hn_codec *codec, const json_t *row, struct hn_prompt *p, struct hn_error *err) {
    enum hn_columns columns;
    json_t *text = NULL;
    int rc = hn_question_row(codec, row, &columns, &text, err);
    if (!rc && !json_object_get(row, "answers")) /* an input to predict */
        rc = columns == HN_ROWS_MESSAGES
            ? from_messages(codec, json_object_get(text, "messages"), NULL, p, err)
            : from_asked(codec, json_object_get(text, "prompt"), p, err);
    else if (!rc)
        rc = columns == HN_ROWS_MESSAGES ? from_chat(codec, text, p, err)
                                         : from_completion(codec, text, p, err);
    json_decref(text);
    return rc;
}

static int (*const by_columns[])(
    const struct hn_codec *, const json_t *, struct hn_prompt *, struct hn_error *) = {
    [HN_ROWS_MESSAGES] = from_chat,
    [HN_ROWS_PROMPT_COMPLETION] = from_completion,
    [HN_ROWS_TEXT] = from_text,
    [HN_ROWS_QA] = from_question,
};

static int settle(struct hn_prompt *p, int rc, struct hn_prompt *ret, struct hn_error *err) {
    if (!rc && (p->text.failed || p->reference.failed))
        rc = hn_fail(err, HN_E_INTERNAL, "out of memory for a prompt");
    if (rc)
        hn_prompt_finish(p);
    else
        *ret = *p;
    return rc;
}

int hn_prompt_from_row(const struct hn_codec *codec, const struct hn_dataset *data, size_t row,
    struct hn_prompt *ret, struct hn_error *err) {
    struct hn_prompt p = {0};
    json_t *object = NULL;
    if ((size_t)data->columns >= sizeof by_columns / sizeof by_columns[0] ||
        !by_columns[data->columns])
        return hn_fail(err, HN_E_UNSUPPORTED, "rows of these columns have no prompt");
    int rc = hn_dataset_row(data, row, &object, err);
    if (!rc)
        rc = by_columns[data->columns](codec, object, &p, err);
    json_decref(object);
    return settle(&p, rc, ret, err);
}

/* HN_E_UNSUPPORTED where the template writes nothing of the tools: the model would not know
 * them. */
static int check_tools(const struct hn_codec *codec, const json_t *messages,
    const struct hn_prompt *p, struct hn_error *err) {
    struct hn_rendered plain = {0};
    int rc = hn_codec_render(codec, messages, NULL, true, &plain, err);
    if (!rc && plain.text.size == p->text.size &&
        memcmp(plain.text.data, p->text.data, p->text.size) == 0) {
        rc = hn_fail(err, HN_E_UNSUPPORTED,
            "this model's chat template has no place for tools, so that it would not know of them");
        hn_error_field(err, "tools");
    }
    hn_rendered_free(&plain);
    return rc;
}

/* Messages and tools of a request. */
static int from_conversation(const struct hn_codec *codec, const json_t *messages,
    const json_t *tools, struct hn_prompt *p, struct hn_error *err) {
    json_t *read = NULL;
    bool bad = false;
    json_t *list = hn_tools_read(tools, false, &bad);
    int rc = bad ? hn_fail(err, HN_E_INVALID_FIELD, "tools is a list of function descriptions")
                 : hn_messages_read(messages, &read, err);
    if (bad)
        hn_error_field(err, "tools");
    if (!rc)
        rc = from_messages(codec, read, list, p, err);
    if (!rc && list)
        rc = check_tools(codec, read, p, err);
    json_decref(read);
    json_decref(list);
    return rc;
}

int hn_prompt_from_input(const struct hn_codec *codec, const json_t *input, struct hn_prompt *ret,
    struct hn_error *err) {
    struct hn_prompt p = {0};
    const json_t *raw = json_object_get(input, "prompt");
    int rc;
    if (json_is_string(input) && codec->chat) {
        json_t *messages = json_pack("[{s:s, s:O}]", "role", "user", "content", input);
        rc = from_messages(codec, messages, NULL, &p, err);
        json_decref(messages);
    } else if (json_is_string(input)) {
        rc = from_asked(codec, input, &p, err);
    } else if (json_is_string(json_object_get(input, "question")) &&
        json_is_string(json_object_get(input, "context"))) {
        rc = from_question(codec, input, &p, err);
    } else if (json_is_string(raw)) {
        rc = from_asked(codec, raw, &p, err);
    } else if (json_is_array(input)) {
        rc = from_conversation(codec, input, NULL, &p, err);
    } else if (json_is_array(json_object_get(input, "messages"))) {
        rc = from_conversation(
            codec, json_object_get(input, "messages"), json_object_get(input, "tools"), &p, err);
    } else {
        rc = hn_fail(err, HN_E_INVALID_FIELD,
            "an input must be a text, a list of messages, {\"messages\", \"tools\"}, "
            "{\"prompt\": \"raw text\"} or {\"question\", \"context\"}");
        hn_error_field(err, "inputs");
    }
    return settle(&p, rc, ret, err);
}

/* What a question may be answered with, where it has an answer. */
static bool has_answer(const json_t *answers) {
    const json_t *texts = json_is_object(answers) ? json_object_get(answers, "text") : answers;
    for (size_t i = 0; i < json_array_size(texts); i++)
        if (json_string_length(json_array_get(texts, i)))
            return true;
    return json_string_length(texts) > 0;
}

json_t *hn_prompt_references(const struct hn_prompt *prompt, const json_t *row) {
    json_t *answers = json_object_get(row, "answers");
    return has_answer(answers) ? json_incref(answers)
                               : hn_json_text(prompt->reference.data, prompt->reference.size);
}
