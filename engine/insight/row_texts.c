/* See row_texts.h. */
#include "engine/insight/row_texts.h"
#include "engine/base/json.h"
#include "engine/data/row_set.h"

#include <stdlib.h>
#include <string.h>

/* Columns of each kind of row. A conversation's are its messages. The body is what is asked and
 * answered; a question's input has its context as well, which is apart here. */
static const struct parts {
    const char *question, *scope, *answer, *worse;
} parts[] = {
    [HN_ROWS_PROMPT_COMPLETION] = {.answer = "completion"},
    [HN_ROWS_TEXT] = {.answer = NULL},
    [HN_ROWS_TEXT_LABEL] = {.answer = "label"},
    [HN_ROWS_QA] = {.question = "question", .scope = "context", .answer = "answers"},
    [HN_ROWS_TOKENS_TAGS] = {.answer = "tags"},
    [HN_ROWS_PREFERENCE] = {.answer = "chosen", .worse = "rejected"},
};

bool hn_row_texts_answered(enum hn_columns columns) {
    return columns == HN_ROWS_MESSAGES || parts[columns].answer;
}

static bool has_role(const json_t *message, const char *role) {
    const char *found = json_string_value(json_object_get(message, "role"));
    return found && strcmp(found, role) == 0;
}

/* Every row of a data set may begin with the same long system message, which says nothing about
 * whether rows are alike. */
static void read_messages(struct hn_row_texts *texts, const json_t *messages) {
    const json_t *message, *last = NULL;
    size_t i;
    json_array_foreach((json_t *)(uintptr_t)messages, i, message) {
        if (!has_role(message, "system") && !has_role(message, "developer")) {
            hn_text_plain(&texts->body, json_object_get(message, "content"));
            hn_text_plain(&texts->body, json_object_get(message, "tool_calls"));
        }
        if (has_role(message, "assistant"))
            last = message;
    }
    hn_text_plain(&texts->answer, json_object_get(last, "content"));
    hn_text_plain(&texts->answer, json_object_get(last, "tool_calls"));
}

/* Labels, tags and numbers tell rows apart by their spelling. */
static void read_label(struct hn_buf *out, const json_t *label) {
    char *text = json_is_string(label) ? NULL : hn_json_canonical(label);
    if (json_is_string(label))
        hn_buf_append(out, json_string_value(label), json_string_length(label));
    else if (text)
        hn_buf_text(out, text);
    else
        out->failed = true;
    free(text);
}

static struct hn_buf *buf_of(struct hn_row_texts *texts, int i) {
    struct hn_buf *const bufs[] = {
        &texts->body, &texts->scope, &texts->input, &texts->answer, &texts->worse};
    return i < (int)(sizeof bufs / sizeof bufs[0]) ? bufs[i] : NULL;
}

static void append(struct hn_buf *out, const struct hn_buf *from) {
    hn_buf_append(out, from->data, from->size);
}

static void read_columns(struct hn_row_texts *texts, const struct parts *p, const json_t *row) {
    if (p->answer)
        hn_text_plain(&texts->answer, json_object_get(row, p->answer));
    if (p->worse)
        hn_text_plain(&texts->worse, json_object_get(row, p->worse));
    if (p->scope)
        hn_text_plain(&texts->scope, json_object_get(row, p->scope));
    if (p->question)
        hn_text_plain(&texts->body, json_object_get(row, p->question));
    else
        append(&texts->body, &texts->input);
    append(&texts->body, &texts->answer);
    append(&texts->body, &texts->worse);
}

int hn_row_texts_read(
    struct hn_row_texts *texts, enum hn_columns columns, const json_t *row, struct hn_error *err) {
    const struct parts *p = &parts[columns];
    struct hn_buf *buf;
    bool failed = false;
    for (int i = 0; (buf = buf_of(texts, i)); i++) {
        hn_buf_clear(buf);
        hn_buf_append(buf, "", 0);
    }
    hn_row_input(&texts->input, columns, row);
    if (columns == HN_ROWS_MESSAGES) {
        read_messages(texts, json_object_get(row, "messages"));
    } else if (columns == HN_ROWS_TEXT_LABEL || columns == HN_ROWS_TOKENS_TAGS) {
        append(&texts->body, &texts->input);
        read_label(&texts->answer, json_object_get(row, p->answer));
    } else {
        read_columns(texts, p, row);
    }
    for (int i = 0; (buf = buf_of(texts, i)); i++)
        failed = failed || buf->failed;
    return failed ? hn_fail(err, HN_E_INTERNAL, "out of memory") : 0;
}

void hn_row_texts_finish(struct hn_row_texts *texts) {
    struct hn_buf *buf;
    for (int i = 0; (buf = buf_of(texts, i)); i++)
        hn_buf_free(buf);
}
