/*
 * One row → tokens and targets. What is trained is the contract's:
 *
 * messages. The conversation is rendered by the model's template and tokenised at once. The turn of
 * an assistant message begins where the template's generation prompt ends (turn_begin), so that
 * what the template writes inside the turn, such as <tool_call>, is learned as well; without such a
 * place it begins at the message's first byte. It ends with the first end token behind the
 * message's last byte, if one stands there before anything that is not the template's. A token is a
 * target if it *begins* inside a turn whose message has a weight other than 0: one that spans the
 * border from the header into the content is not, one that spans the border at the end is.
 *
 * prompt and completion. No template. The joint text is tokenised at once, and the completion is
 * what follows the tokens that the prompt has alone. Where a token crosses the border, the border
 * moves before it: what inference will have to write, which asks with the prompt's firm tokens
 * (hn_codec_firm). So a space belongs to the same token whichever side of the border it stands on.
 * In a chat the same holds for the white space that a turn's begin ends with.
 *
 * The first token of a row is never a target: nothing precedes it.
 */
#include "engine/data/encode.h"

#include <stdlib.h>
#include <string.h>

static int no_memory(struct hn_error *err) {
    return hn_fail(err, HN_E_INTERNAL, "out of memory");
}

static bool reserve_weights(struct hn_encoded *e, float weight) {
    if (!hn_grow(&e->weights, &e->weights_capacity, e->ids.n, sizeof *e->weights))
        return false;
    for (size_t i = 0; i < e->ids.n; i++)
        e->weights[i] = weight;
    return true;
}

static float message_weight(const json_t *message) {
    const char *role = json_string_value(json_object_get(message, "role"));
    const json_t *weight = json_object_get(message, "weight");
    if (!role || strcmp(role, "assistant") != 0)
        return 0;
    return json_is_number(weight) ? (float)json_number_value(weight) : 1;
}

/*
 * Where the turn begins whose message's first byte is at `first`: behind the generation prompt in
 * the template's bytes before it. Templates that let the model think begin the prompt for an answer
 * with more than they leave in a finished turn (<think>), so the longest begin of the prompt
 * counts, if it is at least half; of equals the last. Where the template has no generation prompt
 * ("[/INST] answer"), the model writes the spaces before the answer itself.
 */
static size_t turn_begin(const struct hn_codec *codec, const struct hn_encoded *e, size_t first) {
    size_t low = first, best = 0, begin = first;
    while (low > 0 && e->origins[low - 1] == HN_ORIGIN_TEMPLATE)
        low--;
    for (size_t at = low; at < first; at++) {
        size_t same = 0;
        while (same < codec->turn_size && at + same < first &&
            e->text.data[at + same] == codec->turn[same])
            same++;
        if (same >= best && 2 * same >= codec->turn_size && same) {
            best = same;
            begin = at + same - (same == codec->turn_size ? codec->turn_loose : 0);
        }
    }
    while (!codec->turn_size && begin > low && e->text.data[begin - 1] == ' ')
        begin--;
    return begin;
}

/* Marks the tokens of the turn whose message has its bytes in [first, last]; *at is the first token
 * to look at, and moves on. */
static void mark_turn(const struct hn_codec *codec, struct hn_encoded *e, size_t first, size_t last,
    float weight, size_t *at) {
    size_t begin = turn_begin(codec, e, first), i = *at;
    while (i < e->ids.n && e->ids.offsets[i] < begin)
        i++;
    for (; i < e->ids.n && e->ids.offsets[i] <= last; i++)
        e->weights[i] = weight;
    for (size_t k = i; k < e->ids.n && e->ids.offsets[k] < e->text.size &&
         e->origins[e->ids.offsets[k]] == HN_ORIGIN_TEMPLATE;
         k++)
        if (hn_tokenizer_is_end(codec->tokenizer, e->ids.ids[k])) {
            for (; i <= k; i++)
                e->weights[i] = weight;
            break;
        }
    *at = i;
}

/* A message's bytes in the rendered text; first > last when it left none. */
struct extent {
    size_t first, last;
};

/* *ret_lost: some message left no byte. */
static int mark_messages(const struct hn_codec *codec, const json_t *messages, struct hn_encoded *e,
    bool *ret_lost, struct hn_error *err) {
    size_t n = json_array_size(messages), at = 0;
    struct extent *extents = hn_calloc(n, sizeof *extents);
    if (!extents)
        return no_memory(err);
    for (size_t i = 0; i < n; i++)
        extents[i] = (struct extent){SIZE_MAX, 0};
    for (size_t b = 0; b < e->text.size; b++) {
        size_t origin = e->origins[b];
        if (origin == HN_ORIGIN_TEMPLATE || origin > n)
            continue;
        struct extent *x = &extents[origin - 1];
        x->first = b < x->first ? b : x->first;
        x->last = b;
    }
    for (size_t i = 0; i < n; i++) {
        float weight = message_weight(json_array_get(messages, i));
        *ret_lost |= extents[i].first > extents[i].last;
        if (weight != 0 && extents[i].first <= extents[i].last)
            mark_turn(codec, e, extents[i].first, extents[i].last, weight, &at);
    }
    free(extents);
    return 0;
}

/* Whether a message has more than a role, a content and a weight; or reasoning inside of it. */
static bool has_more(const json_t *message) {
    size_t plain = (json_object_get(message, "role") != NULL) +
        (json_object_get(message, "content") != NULL) +
        (json_object_get(message, "weight") != NULL);
    const json_t *content = json_object_get(message, "content");
    return json_object_size(message) > plain ||
        (json_is_string(content) &&
            memmem(json_string_value(content), json_string_length(content), "</think>", 8));
}

/* Answers that spell control tokens; the end tokens that they end with are no part of the text. */
static void notice_control(
    const struct hn_codec *codec, const json_t *messages, struct hn_encoded *e) {
    const json_t *message;
    size_t i;
    json_array_foreach((json_t *)(uintptr_t)messages, i, message) {
        const json_t *content = json_object_get(message, "content");
        if (message_weight(message) != 0 && json_is_string(content) &&
            hn_tokenizer_spells_control(
                codec->tokenizer, json_string_value(content), hn_codec_answer_size(codec, content)))
            hn_notices_add(&e->notices, HN_NOTICE_CONTROL_ANSWER, "", 0);
    }
}

/* Fields of the row that left no byte in its text. Only rows that have more than contents, or have
 * `lost` one, are rendered again for it. */
static int notice_unrendered(const struct hn_codec *codec, const json_t *row, bool lost,
    struct hn_encoded *e, struct hn_error *err) {
    const json_t *messages = json_object_get(row, "messages"),
                 *tools = json_object_get(row, "tools"), *message;
    struct hn_trace trace = {0};
    bool more = lost || json_array_size(tools) > 0;
    size_t i;
    json_array_foreach((json_t *)(uintptr_t)messages, i, message)
        more = more || has_more(message);
    notice_control(codec, messages, e);
    int rc = more ? hn_codec_trace(codec, messages, tools, &trace, err) : 0;
    for (i = 0; !rc && i < trace.n; i++)
        if (!trace.parts[i].left)
            hn_notices_add(&e->notices, HN_NOTICE_UNRENDERED, trace.parts[i].field, 0);
    hn_trace_free(&trace);
    return rc;
}

/* A <think></think> with nothing inside that is trained. */
static void notice_empty_thinking(struct hn_encoded *e) {
    static const char open[] = "<think>", close[] = "</think>";
    const char *text = e->text.data, *end = text + e->text.size, *at = text;
    while ((at = memmem(at, (size_t)(end - at), open, sizeof open - 1))) {
        const char *inside = at += sizeof open - 1;
        while (inside < end && strchr(" \t\r\n", *inside))
            inside++;
        if ((size_t)(end - inside) < sizeof close - 1 ||
            memcmp(inside, close, sizeof close - 1) != 0)
            continue;
        for (size_t i = 0; i < e->ids.n; i++)
            if (e->weights[i] != 0 && text + e->ids.offsets[i] < inside + sizeof close - 1 &&
                text + e->ids.ends[i] > at - (sizeof open - 1))
                hn_notices_add(&e->notices, HN_NOTICE_EMPTY_THINKING, "", 0);
    }
}

static int encode_messages(
    const struct hn_codec *codec, const json_t *row, struct hn_encoded *e, struct hn_error *err) {
    const json_t *messages = json_object_get(row, "messages");
    struct hn_rendered text = {0};
    bool lost = false;
    int rc = hn_codec_render(codec, messages, json_object_get(row, "tools"), false, &text, err);
    hn_buf_free(&e->text);
    free(e->origins);
    e->text = text.text; /* moved */
    e->origins = text.origin;
    if (!rc)
        rc = hn_codec_encode(codec, e->text.data, e->text.size, e->origins, &e->ids, err);
    if (!rc && !reserve_weights(e, 0))
        rc = no_memory(err);
    if (!rc)
        rc = mark_messages(codec, messages, e, &lost, err);
    if (!rc)
        rc = notice_unrendered(codec, row, lost, e, err);
    if (!rc && e->text.size)
        notice_empty_thinking(e);
    return rc;
}

/* *ret_ended: tokens up to the end token that the text ends with, but for white space behind it. */
static void end_at_last(const struct hn_codec *codec, struct hn_encoded *e, size_t *ret_ended) {
    size_t n = e->ids.n;
    while (n && !hn_tokenizer_is_end(codec->tokenizer, e->ids.ids[n - 1])) {
        const char *text = e->text.data + e->ids.offsets[n - 1];
        size_t size = e->ids.ends[n - 1] - e->ids.offsets[n - 1];
        for (size_t i = 0; i < size; i++)
            if (!strchr(" \t\r\n", text[i]))
                return;
        n--;
    }
    *ret_ended = n;
}

/*
 * The tokens of a row of bare text, of which the first `kept` bytes were encoded, get their end:
 * the token that the text spelled there, `end`, or else the end of a sequence. A text that was
 * rendered already and has its end is left with it. All tokens get weight 1.
 */
static int end_bare(const struct hn_codec *codec, size_t kept, int32_t end, struct hn_encoded *e,
    struct hn_error *err) {
    size_t ended = 0;
    if (codec->applied)
        end_at_last(codec, e, &ended);
    end = end < 0 ? hn_tokenizer_eos(codec->tokenizer) : end;
    if (!ended && end >= 0 && !hn_ids_push(&e->ids, end, kept, e->text.size))
        return no_memory(err);
    if (!reserve_weights(e, 1))
        return no_memory(err);
    for (size_t i = ended; ended && i < e->ids.n; i++)
        e->weights[i] = 0;
    return 0;
}

/* Bytes of a bare row that are encoded: with an end token that it spells at its end left out. The
 * `first` bytes are no part of what may end so. */
static size_t bare_size(
    const struct hn_codec *codec, struct hn_encoded *e, size_t first, int32_t *ret_end) {
    size_t kept = e->text.size;
    *ret_end = -1;
    if (codec->applied)
        return kept;
    kept = first +
        hn_tokenizer_before_end(codec->tokenizer, e->text.data + first, kept - first, ret_end);
    if (hn_tokenizer_spells_control(codec->tokenizer, e->text.data, kept))
        hn_notices_add(&e->notices, HN_NOTICE_CONTROL_TEXT, "", 0);
    return kept;
}

/* Where the completion begins in the tokens of the joint text: behind those that the prompt has
 * alone, whatever follows it. */
static int find_border(const struct hn_codec *codec, size_t prompt, struct hn_encoded *e,
    size_t *ret_border, struct hn_error *err) {
    struct hn_ids head = {0};
    size_t firm = 0;
    int rc = hn_codec_encode_bare(codec, e->text.data, prompt, &head, err);
    if (!rc)
        rc = hn_codec_firm(codec, e->text.data, prompt, NULL, &head, &firm, err);
    size_t common = rc ? 0 : hn_ids_common(&head, &e->ids);
    *ret_border = common < firm ? common : firm;
    if (!rc && *ret_border < head.n)
        hn_notices_add(&e->notices, HN_NOTICE_BORDER, "", 0);
    hn_ids_free(&head);
    return rc;
}

static int encode_completion(
    const struct hn_codec *codec, const json_t *row, struct hn_encoded *e, struct hn_error *err) {
    const json_t *prompt = json_object_get(row, "prompt"),
                 *completion = json_object_get(row, "completion");
    size_t first = json_string_length(prompt), kept, border = 0;
    int32_t end;
    hn_buf_append(&e->text, json_string_value(prompt), first);
    hn_buf_append(&e->text, json_string_value(completion), json_string_length(completion));
    if (e->text.failed)
        return no_memory(err);
    kept = bare_size(codec, e, first, &end);
    int rc = hn_codec_encode_bare(codec, e->text.data, kept, &e->ids, err);
    if (!rc)
        rc = find_border(codec, first, e, &border, err);
    if (!rc)
        rc = end_bare(codec, kept, end, e, err);
    for (size_t i = 0; !rc && i < border; i++)
        e->weights[i] = 0;
    return rc;
}

static int encode_text(
    const struct hn_codec *codec, const json_t *row, struct hn_encoded *e, struct hn_error *err) {
    const json_t *text = json_object_get(row, "text");
    int32_t end;
    hn_buf_append(&e->text, json_string_value(text), json_string_length(text));
    if (e->text.failed)
        return no_memory(err);
    size_t kept = bare_size(codec, e, 0, &end);
    int rc = hn_codec_encode_bare(codec, e->text.data, kept, &e->ids, err);
    return rc ? rc : end_bare(codec, kept, end, e, err);
}

/* loss_on=all: every token counts, but for messages whose weight says otherwise. */
static void train_all(struct hn_encoded *e, const json_t *row) {
    const json_t *messages = json_object_get(row, "messages");
    for (size_t i = 0; i < e->ids.n; i++) {
        size_t origin = e->origins && e->ids.offsets[i] < e->text.size
            ? e->origins[e->ids.offsets[i]]
            : HN_ORIGIN_TEMPLATE;
        const json_t *message =
            origin == HN_ORIGIN_TEMPLATE ? NULL : json_array_get(messages, origin - 1);
        const json_t *weight = json_object_get(message, "weight");
        e->weights[i] = json_is_number(weight) ? (float)json_number_value(weight)
            : e->weights[i] != 0               ? e->weights[i]
                                               : 1;
    }
}

/* The texts as one, `between` the first two and `behind` them; whole, whatever bytes are in
 * them. */
static json_t *question_text(const json_t *row, const char *between, const char *behind) {
    const json_t *context = json_object_get(row, "context"),
                 *question = json_object_get(row, "question");
    struct hn_buf text = {0};
    hn_buf_append(&text, json_string_value(context), json_string_length(context));
    hn_buf_text(&text, between);
    hn_buf_append(&text, json_string_value(question), json_string_length(question));
    hn_buf_text(&text, behind);
    json_t *out = text.failed ? NULL : json_stringn(text.data, text.size);
    hn_buf_free(&text);
    return out;
}

int hn_question_row(const struct hn_codec *codec, const json_t *row, enum hn_columns *ret_columns,
    json_t **ret, struct hn_error *err) {
    const json_t *answers = json_object_get(row, "answers");
    const json_t *texts = json_is_array(answers) ? answers : json_object_get(answers, "text");
    const char *answer =
        json_string_value(json_is_string(answers) ? answers : json_array_get(texts, 0));
    json_t *out;
    answer = answer && *answer ? answer : "There is no answer.";
    if (codec->chat) {
        out = json_pack("{s:[{s:s, s:o}]}", "messages", "role", "user", "content",
            question_text(row, "\n\n", ""));
        if (answers)
            json_array_append_new(json_object_get(out, "messages"),
                json_pack("{s:s, s:s}", "role", "assistant", "content", answer));
    } else {
        out = json_pack("{s:o, s:o}", "prompt", question_text(row, "\n\nQuestion: ", "\nAnswer:"),
            "completion", json_sprintf(" %s", answer));
    }
    if (!out)
        return no_memory(err);
    *ret_columns = codec->chat ? HN_ROWS_MESSAGES : HN_ROWS_PROMPT_COMPLETION;
    *ret = out;
    return 0;
}

static int encode_question(
    const struct hn_codec *codec, const json_t *row, struct hn_encoded *e, struct hn_error *err) {
    enum hn_columns columns;
    json_t *text = NULL;
    int rc = hn_question_row(codec, row, &columns, &text, err);
    if (!rc)
        rc = columns == HN_ROWS_MESSAGES ? encode_messages(codec, text, e, err)
                                         : encode_completion(codec, text, e, err);
    json_decref(text);
    return rc;
}

static int (*const encoders[])(
    const struct hn_codec *, const json_t *, struct hn_encoded *, struct hn_error *) = {
    [HN_ROWS_MESSAGES] = encode_messages,
    [HN_ROWS_PROMPT_COMPLETION] = encode_completion,
    [HN_ROWS_TEXT] = encode_text,
    [HN_ROWS_QA] = encode_question,
};

/* Rows of a task's head. */
static const struct {
    enum hn_columns columns;
    int (*encode)(const struct hn_codec *codec, const json_t *row,
        const struct hn_encode_options *options, struct hn_encoded *e, struct hn_error *err);
} objectives[HN_OBJECTIVES] = {
#define HN_OBJECTIVE(NAME, name, HEAD, LABELLED, VALUES, head_task, auto_class, problem_type, \
    peft_type, best, others, COLUMNS, encode, loss, measure, input)                           \
    [HN_OBJECTIVE_##NAME] = {COLUMNS, encode},
#include "engine/objective.def"
#undef HN_OBJECTIVE
};

enum hn_columns hn_objective_columns(enum hn_objective objective) {
    return objectives[objective].columns;
}

int hn_row_encode(const struct hn_codec *codec, enum hn_columns columns, const json_t *row,
    const struct hn_encode_options *options, struct hn_encoded *out, struct hn_error *err) {
    out->ids.n = 0;
    hn_buf_clear(&out->text);
    free(out->origins);
    out->origins = NULL;
    out->again = false;
    out->notices.n = 0;
    enum hn_objective objective =
        options->labels ? options->labels->objective : HN_OBJECTIVE_TOKENS;
    if (objectives[objective].encode && objectives[objective].columns == columns)
        return objectives[objective].encode(codec, row, options, out, err);
    if (objectives[objective].encode || (size_t)columns >= sizeof encoders / sizeof encoders[0] ||
        !encoders[columns])
        return hn_fail(err, HN_E_UNSUPPORTED, "these columns cannot be trained on as %s",
            hn_task_name(options->task));
    int rc = encoders[columns](codec, row, out, err);
    if (rc)
        return rc;
    out->length = out->ids.n;
    if (options->loss_on == HN_LOSS_ON_ALL)
        train_all(out, row);
    if (out->ids.n)
        out->weights[0] = 0;
    return 0;
}

void hn_encoded_finish(struct hn_encoded *out) {
    hn_ids_free(&out->ids);
    hn_buf_free(&out->text);
    free(out->origins);
    free(out->weights);
    free(out->targets);
    free(out->types);
    free(out->words);
    free(out->values);
    *out = (struct hn_encoded){0};
}

size_t hn_encoded_targets(const struct hn_encoded *e, size_t n) {
    size_t targets = 0;
    for (size_t i = 0; i < n; i++)
        targets += e->weights[i] != 0;
    return targets;
}
