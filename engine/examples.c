/*
 * Rows to tokens; see examples.h. The rules of what is trained are the contract's:
 *   messages            every token that begins inside an assistant message of weight > 0, and the end-of-turn token behind it
 *   prompt + completion the completion and EOS; no template
 *   text                all of it and EOS
 * A token belongs to the message in which it begins. The first token of a row is never a target: nothing precedes it.
 */
#include "engine/examples.h"
#include "engine/gguf.h"
#include "engine/json.h"
#include "engine/rng.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char *const task_names[] = {"generation", "classification", "qa", "token_classification", "preference"};

const char *hn_task_name(enum hn_task task) {
    return task_names[task];
}

int hn_task_from_name(const char *name) {
    for (int i = 0; i < 5; i++)
        if (strcmp(task_names[i], name) == 0)
            return i;
    return -1;
}

int hn_codec_from_gguf(const struct hn_gguf *gguf, struct hn_codec *ret, struct hn_error *err) {
    struct hn_codec codec = {0};
    int rc = hn_tokenizer_from_gguf(gguf, &codec.tokenizer, err);
    struct hn_view chat = hn_gguf_string(gguf, "tokenizer.chat_template");
    if (!rc && chat.size)
        rc = hn_template_compile(chat.data, chat.size, &codec.chat, err);
    if (rc) {
        hn_codec_finish(&codec);
        return rc;
    }
    *ret = codec;
    return 0;
}

void hn_codec_finish(struct hn_codec *codec) {
    hn_tokenizer_destroy(codec->tokenizer);
    hn_template_destroy(codec->chat);
    *codec = (struct hn_codec){0};
}

void hn_examples_finish(struct hn_examples *ex) {
    free(ex->tokens);
    free(ex->weights);
    free(ex->starts);
    free(ex->lines);
    free(ex->rows);
    *ex = (struct hn_examples){0};
}

/* One row while it is being encoded. */
struct coded {
    struct hn_ids ids;
    float *weights;
    size_t weights_capacity;
};

static void coded_clear(struct coded *c) {
    c->ids.n = 0;
}

static void coded_free(struct coded *c) {
    hn_ids_free(&c->ids);
    free(c->weights);
    *c = (struct coded){0};
}

static int append_id(struct hn_ids *ids, int32_t id, struct hn_error *err) {
    if (!hn_grow(&ids->ids, &ids->capacity, ids->n + 1, sizeof *ids->ids) ||
        !hn_grow(&ids->offsets, &ids->offsets_capacity, ids->n + 1, sizeof *ids->offsets))
        return hn_fail(err, HN_E_INTERNAL, "out of memory");
    ids->offsets[ids->n] = 0;
    ids->ids[ids->n++] = id;
    return 0;
}

/* Makes weights as long as ids, all `weight`. */
static int fill_weights(struct coded *c, float weight, struct hn_error *err) {
    if (!hn_grow(&c->weights, &c->weights_capacity, c->ids.n, sizeof *c->weights))
        return hn_fail(err, HN_E_INTERNAL, "out of memory");
    for (size_t i = 0; i < c->ids.n; i++)
        c->weights[i] = weight;
    return 0;
}

static int begin_ids(const struct hn_codec *codec, struct hn_ids *ids, struct hn_error *err) {
    int32_t bos = hn_tokenizer_bos(codec->tokenizer);
    return hn_tokenizer_adds_bos(codec->tokenizer) && bos >= 0 ? append_id(ids, bos, err) : 0;
}

static int append_eos(const struct hn_codec *codec, struct hn_ids *ids, struct hn_error *err) {
    int32_t eos = hn_tokenizer_eos(codec->tokenizer);
    return eos >= 0 ? append_id(ids, eos, err) : 0;
}

static int append_text(const struct hn_codec *codec, const json_t *text, struct hn_ids *ids, struct hn_error *err) {
    return hn_tokenizer_encode(codec->tokenizer, json_string_value(text), json_string_length(text), NULL, ids, err);
}

static void token_text(const struct hn_codec *codec, int32_t id, char *out, size_t size) {
    struct hn_buf text = {0};
    if (id >= 0)
        hn_tokenizer_decode(codec->tokenizer, id, true, &text);
    snprintf(out, size, "%s", text.data ? text.data : "");
    hn_buf_free(&text);
}

static int render(const struct hn_codec *codec, const json_t *messages, const json_t *tools, bool generation, struct hn_rendered *out,
    struct hn_error *err) {
    char bos[128], eos[128];
    if (!codec->chat) {
        hn_fail(err, HN_E_UNSUPPORTED, "the model has no chat template, so messages cannot be laid out for it");
        hn_error_hint(err, "send rows of prompt and completion, or use an instruction-tuned model");
        return HN_E_UNSUPPORTED;
    }
    token_text(codec, hn_tokenizer_bos(codec->tokenizer), bos, sizeof bos);
    token_text(codec, hn_tokenizer_eos(codec->tokenizer), eos, sizeof eos);
    struct hn_template_input in = {.messages = messages, .tools = json_is_array(tools) ? tools : NULL, .add_generation_prompt = generation,
        .bos_token = bos, .eos_token = eos, .date = codec->date[0] ? codec->date : NULL};
    return hn_template_render(codec->chat, &in, out, err);
}

/* Ids of rendered text, with a BOS where the tokenizer adds one and the template has not. */
static int encode_rendered(const struct hn_codec *codec, const struct hn_rendered *text, struct hn_ids *ids, size_t *ret_first,
    struct hn_error *err) {
    int rc = begin_ids(codec, ids, err);
    size_t first = ids->n;
    if (!rc)
        rc = hn_tokenizer_encode(codec->tokenizer, text->text.data ? text->text.data : "", text->text.size, text->origin, ids, err);
    if (!rc && first && ids->n > first && ids->ids[first] == ids->ids[first - 1]) {
        memmove(ids->ids, ids->ids + 1, (ids->n - 1) * sizeof *ids->ids);
        memmove(ids->offsets, ids->offsets + 1, (ids->n - 1) * sizeof *ids->offsets);
        ids->n--;
        first = 0;
    }
    *ret_first = first;
    return rc;
}

/* Weight of the message that byte `offset` belongs to; 0 outside assistant messages. */
static float message_weight(const struct hn_rendered *text, size_t offset, const json_t *messages) {
    size_t origin = text->origin[offset];
    const json_t *message = origin == HN_ORIGIN_TEMPLATE || origin == HN_ORIGIN_DATA ? NULL : json_array_get(messages, origin - 1);
    const char *role = json_string_value(json_object_get(message, "role"));
    const json_t *weight = json_object_get(message, "weight");
    if (!role || strcmp(role, "assistant") != 0)
        return 0;
    return json_is_number(weight) ? (float)json_number_value(weight) : 1;
}

static int encode_messages(const struct hn_codec *codec, const json_t *row, struct coded *c, struct hn_error *err) {
    const json_t *messages = json_object_get(row, "messages");
    struct hn_rendered text = {0};
    size_t first = 0;
    int rc = render(codec, messages, json_object_get(row, "tools"), false, &text, err);
    if (!rc)
        rc = encode_rendered(codec, &text, &c->ids, &first, err);
    if (!rc)
        rc = fill_weights(c, 0, err);
    for (size_t i = first; !rc && i < c->ids.n; i++) {
        float weight = message_weight(&text, c->ids.offsets[i], messages);
        if (weight > 0)
            c->weights[i] = weight;
        else if (i > first && c->weights[i - 1] > 0 && hn_tokenizer_is_end(codec->tokenizer, c->ids.ids[i]) &&
                 message_weight(&text, c->ids.offsets[i - 1], messages) > 0)
            c->weights[i] = c->weights[i - 1];
    }
    hn_rendered_free(&text);
    return rc;
}

/*
 * The whole text is tokenised at once, as it will be seen at inference; the completion is what follows the prompt's own
 * tokens. Where the joint tokens do not begin with the prompt's (a merge across the border), both are tokenised apart.
 */
static int encode_completion(const struct hn_codec *codec, const json_t *row, struct coded *c, struct hn_error *err) {
    const json_t *prompt = json_object_get(row, "prompt"), *completion = json_object_get(row, "completion");
    struct hn_buf joint = {0};
    struct hn_ids head = {0};
    int rc = begin_ids(codec, &head, err);
    if (!rc)
        rc = append_text(codec, prompt, &head, err);
    hn_buf_append(&joint, json_string_value(prompt), json_string_length(prompt));
    hn_buf_append(&joint, json_string_value(completion), json_string_length(completion));
    if (!rc)
        rc = begin_ids(codec, &c->ids, err);
    if (!rc)
        rc = hn_tokenizer_encode(codec->tokenizer, joint.data, joint.size, NULL, &c->ids, err);
    if (!rc && (c->ids.n < head.n || memcmp(c->ids.ids, head.ids, head.n * sizeof *head.ids) != 0)) {
        c->ids.n = 0;
        for (size_t i = 0; !rc && i < head.n; i++)
            rc = append_id(&c->ids, head.ids[i], err);
        if (!rc)
            rc = append_text(codec, completion, &c->ids, err);
    }
    if (!rc)
        rc = append_eos(codec, &c->ids, err);
    if (!rc)
        rc = fill_weights(c, 1, err);
    for (size_t i = 0; !rc && i < head.n; i++)
        c->weights[i] = 0;
    hn_ids_free(&head);
    hn_buf_free(&joint);
    return rc;
}

static int encode_text(const struct hn_codec *codec, const json_t *row, struct coded *c, struct hn_error *err) {
    int rc = begin_ids(codec, &c->ids, err);
    if (!rc)
        rc = append_text(codec, json_object_get(row, "text"), &c->ids, err);
    if (!rc)
        rc = append_eos(codec, &c->ids, err);
    return rc ? rc : fill_weights(c, 1, err);
}

static int encode_row(const struct hn_codec *codec, const struct hn_dataset *data, const json_t *row, const struct hn_encode_options *o,
    struct coded *c, struct hn_error *err) {
    int rc;
    coded_clear(c);
    switch (data->columns) {
    case HN_ROWS_MESSAGES:
        rc = encode_messages(codec, row, c, err);
        break;
    case HN_ROWS_PROMPT_COMPLETION:
        rc = encode_completion(codec, row, c, err);
        break;
    case HN_ROWS_TEXT:
        rc = encode_text(codec, row, c, err);
        break;
    default:
        return hn_fail(err, HN_E_UNSUPPORTED, "these columns cannot be trained on as %s", hn_task_name(o->task));
    }
    if (!rc && o->loss_on == HN_LOSS_ON_ALL)
        rc = fill_weights(c, 1, err);
    if (!rc && c->ids.n)
        c->weights[0] = 0;
    return rc;
}

static size_t count_targets(const struct coded *c, size_t n) {
    size_t targets = 0;
    for (size_t i = 1; i < n; i++)
        targets += c->weights[i] > 0;
    return targets;
}

static int keep(struct hn_examples *ex, const struct coded *c, size_t n, size_t row, uint32_t line, struct hn_error *err) {
    size_t total = ex->n_tokens + n;
    if (!hn_grow(&ex->tokens, &ex->tokens_capacity, total, sizeof *ex->tokens) ||
        !hn_grow(&ex->weights, &ex->weights_capacity, total, sizeof *ex->weights) ||
        !hn_grow(&ex->starts, &ex->starts_capacity, ex->n_rows + 2, sizeof *ex->starts) ||
        !hn_grow(&ex->lines, &ex->lines_capacity, ex->n_rows + 1, sizeof *ex->lines) ||
        !hn_grow(&ex->rows, &ex->rows_capacity, ex->n_rows + 1, sizeof *ex->rows))
        return hn_fail(err, HN_E_INTERNAL, "out of memory");
    memcpy(ex->tokens + ex->n_tokens, c->ids.ids, n * sizeof *ex->tokens);
    memcpy(ex->weights + ex->n_tokens, c->weights, n * sizeof *ex->weights);
    ex->lines[ex->n_rows] = line;
    ex->rows[ex->n_rows] = row;
    ex->n_tokens = total;
    ex->starts[0] = 0;
    ex->starts[++ex->n_rows] = total;
    return 0;
}

/* Applies the overflow rule and keeps the row, or counts it as dropped. */
static int settle_row(struct hn_examples *ex, const struct coded *c, const struct hn_encode_options *o, size_t row, uint32_t line,
    struct hn_error *err) {
    size_t n = c->ids.n;
    for (size_t i = 0; i < n; i++)
        if ((size_t)c->ids.ids[i] >= o->vocab)
            return hn_fail(err, HN_E_MODEL_INVALID, "the tokenizer gives token %d, but the model has only %zu", c->ids.ids[i], o->vocab);
    if (n > o->max_length && o->overflow == HN_OVERFLOW_ERROR) {
        hn_fail(err, HN_E_DATASET_INVALID, "line %u has %zu tokens; max_length is %zu", line, n, o->max_length);
        hn_error_hint(err, "shorten the row, raise max_length, or set overflow to \"truncate\" or \"drop\"");
        return HN_E_DATASET_INVALID;
    }
    bool over = n > o->max_length;
    n = over ? o->max_length : n;
    size_t targets = over && o->overflow == HN_OVERFLOW_DROP ? 0 : count_targets(c, n);
    if (!targets) {
        ex->dropped++;
        return 0;
    }
    ex->truncated += over;
    ex->target_tokens += targets;
    return keep(ex, c, n, row, line, err);
}

int hn_examples_encode(const struct hn_codec *codec, const struct hn_dataset *data, const size_t *rows, size_t n_rows,
    const struct hn_encode_options *options, struct hn_examples *ret, struct hn_error *err) {
    struct hn_examples ex = {.rows_total = n_rows};
    struct coded c = {0};
    int rc = 0;
    for (size_t i = 0; i < n_rows && !rc; i++) {
        size_t row = rows ? rows[i] : i;
        json_t *object = NULL;
        rc = hn_dataset_row(data, row, &object, err);
        if (!rc)
            rc = encode_row(codec, data, object, options, &c, err);
        if (!rc)
            rc = settle_row(&ex, &c, options, row, data->lines[row], err);
        else if (err && rc == HN_E_UNSUPPORTED && !strstr(err->message, "line ")) {
            char inner[sizeof err->message];
            memcpy(inner, err->message, sizeof inner);
            snprintf(err->message, sizeof err->message, "line %u: %.1000s", data->lines[row], inner);
        }
        json_decref(object);
    }
    coded_free(&c);
    if (rc) {
        hn_examples_finish(&ex);
        return rc;
    }
    *ret = ex;
    return 0;
}

void hn_prompt_finish(struct hn_prompt *prompt) {
    hn_ids_free(&prompt->ids);
    hn_buf_free(&prompt->text);
    hn_buf_free(&prompt->reference);
}

static int prompt_from_messages(const struct hn_codec *codec, const json_t *messages, const json_t *tools, struct hn_prompt *p,
    struct hn_error *err) {
    struct hn_rendered text = {0};
    size_t first;
    int rc = render(codec, messages, tools, true, &text, err);
    if (!rc)
        rc = encode_rendered(codec, &text, &p->ids, &first, err);
    hn_buf_append(&p->text, text.text.data ? text.text.data : "", text.text.size);
    hn_rendered_free(&text);
    return rc;
}

/* Everything before the last assistant message is the prompt. */
static int prompt_from_chat(const struct hn_codec *codec, const json_t *row, struct hn_prompt *p, struct hn_error *err) {
    const json_t *messages = json_object_get(row, "messages");
    size_t last = json_array_size(messages);
    while (last > 0) {
        const char *role = json_string_value(json_object_get(json_array_get(messages, last - 1), "role"));
        if (role && strcmp(role, "assistant") == 0)
            break;
        last--;
    }
    if (last <= 1)
        return hn_fail(err, HN_E_UNSUPPORTED, "the conversation has nothing before the assistant's answer");
    const json_t *answer = json_object_get(json_array_get(messages, last - 1), "content");
    hn_buf_append(&p->reference, json_string_value(answer) ? json_string_value(answer) : "", json_string_length(answer));
    json_t *before = json_array();
    for (size_t i = 0; i + 1 < last; i++)
        json_array_append(before, json_array_get(messages, i));
    int rc = prompt_from_messages(codec, before, json_object_get(row, "tools"), p, err);
    json_decref(before);
    return rc;
}

static int prompt_from_text(const struct hn_codec *codec, const json_t *text, struct hn_prompt *p, struct hn_error *err) {
    int rc = begin_ids(codec, &p->ids, err);
    size_t first = p->ids.n;
    if (!rc)
        rc = append_text(codec, text, &p->ids, err);
    size_t half = first + (p->ids.n - first + 1) / 2;
    for (size_t i = first; !rc && i < p->ids.n; i++)
        hn_tokenizer_decode(codec->tokenizer, p->ids.ids[i], true, i < half ? &p->text : &p->reference);
    p->ids.n = half < p->ids.n ? half : p->ids.n;
    return rc;
}

int hn_prompt_from_row(const struct hn_codec *codec, const struct hn_dataset *data, size_t row, struct hn_prompt *ret, struct hn_error *err) {
    struct hn_prompt p = {0};
    json_t *object = NULL;
    int rc = hn_dataset_row(data, row, &object, err);
    if (!rc && data->columns == HN_ROWS_MESSAGES) {
        rc = prompt_from_chat(codec, object, &p, err);
    } else if (!rc && data->columns == HN_ROWS_PROMPT_COMPLETION) {
        const json_t *prompt = json_object_get(object, "prompt"), *completion = json_object_get(object, "completion");
        hn_buf_append(&p.text, json_string_value(prompt), json_string_length(prompt));
        hn_buf_append(&p.reference, json_string_value(completion), json_string_length(completion));
        if (!(rc = begin_ids(codec, &p.ids, err)))
            rc = append_text(codec, prompt, &p.ids, err);
    } else if (!rc && data->columns == HN_ROWS_TEXT) {
        rc = prompt_from_text(codec, json_object_get(object, "text"), &p, err);
    } else if (!rc) {
        rc = hn_fail(err, HN_E_UNSUPPORTED, "rows of these columns have no prompt");
    }
    json_decref(object);
    if (rc) {
        hn_prompt_finish(&p);
        return rc;
    }
    *ret = p;
    return 0;
}

int hn_prompt_from_input(const struct hn_codec *codec, const json_t *input, struct hn_prompt *ret, struct hn_error *err) {
    struct hn_prompt p = {0};
    int rc;
    if (json_is_string(input) && !codec->chat) {
        hn_buf_append(&p.text, json_string_value(input), json_string_length(input));
        if (!(rc = begin_ids(codec, &p.ids, err)))
            rc = append_text(codec, input, &p.ids, err);
    } else if (json_is_string(input)) {
        json_t *messages = json_pack("[{s:s, s:O}]", "role", "user", "content", input);
        rc = prompt_from_messages(codec, messages, NULL, &p, err);
        json_decref(messages);
    } else if (json_is_array(input)) {
        rc = prompt_from_messages(codec, input, NULL, &p, err);
    } else if (json_is_string(json_object_get(input, "prompt"))) { /* {"prompt": "…"}: raw text, without the template */
        const json_t *prompt = json_object_get(input, "prompt");
        hn_buf_append(&p.text, json_string_value(prompt), json_string_length(prompt));
        if (!(rc = begin_ids(codec, &p.ids, err)))
            rc = append_text(codec, prompt, &p.ids, err);
    } else {
        hn_fail(err, HN_E_INVALID_FIELD, "an input must be a text, a list of messages or {\"prompt\":\"raw text\"}");
        hn_error_field(err, "inputs");
        rc = HN_E_INVALID_FIELD;
    }
    if (rc) {
        hn_prompt_finish(&p);
        return rc;
    }
    *ret = p;
    return 0;
}

/* A row in the draw for the validation part. */
struct ticket {
    uint64_t label, key; /* label: hash of the class, 0 without; key: random */
    size_t row;
};

static int by_label_and_key(const void *a, const void *b) {
    const struct ticket *x = a, *y = b;
    if (x->label != y->label)
        return x->label < y->label ? -1 : 1;
    if (x->key != y->key)
        return x->key < y->key ? -1 : 1;
    return (x->row > y->row) - (x->row < y->row);
}

static int by_row(const void *a, const void *b) {
    size_t x = *(const size_t *)a, y = *(const size_t *)b;
    return (x > y) - (x < y);
}

static uint64_t hash_label(const struct hn_dataset *data, size_t row) {
    json_t *object = NULL;
    uint64_t hash = 14695981039346656037u; /* FNV-1a */
    if (data->columns != HN_ROWS_TEXT_LABEL || hn_dataset_row(data, row, &object, NULL))
        return 0;
    char *text = hn_json_canonical(json_object_get(object, "label"));
    for (const char *s = text; s && *s; s++)
        hash = (hash ^ (unsigned char)*s) * 1099511628211u;
    free(text);
    json_decref(object);
    return hash;
}

int hn_split_validation(const struct hn_dataset *data, double fraction, size_t **ret_rows, size_t *ret_n, struct hn_error *err) {
    size_t n = data->n_rows, count = 0;
    struct ticket *tickets = hn_calloc(n, sizeof *tickets);
    size_t *rows = hn_calloc(n, sizeof *rows);
    if (!tickets || !rows || n < 2) {
        free(tickets);
        free(rows);
        return n < 2 ? hn_fail(err, HN_E_DATASET_INVALID, "one row cannot be split into training and validation rows")
                     : hn_fail(err, HN_E_INTERNAL, "out of memory");
    }
    for (size_t i = 0; i < n; i++)
        tickets[i] = (struct ticket){hash_label(data, i), hn_random_u64(0, HN_PURPOSE_SPLIT, 0, i), i};
    qsort(tickets, n, sizeof *tickets, by_label_and_key);
    /* Each class gives its share; what rounding leaves over is carried to the next class, so that the sum is right. */
    double owed = 0;
    for (size_t begin = 0, end; begin < n; begin = end) {
        for (end = begin + 1; end < n && tickets[end].label == tickets[begin].label;)
            end++;
        owed += fraction * (double)(end - begin);
        size_t take = (size_t)floor(owed + 0.5);
        take = take < end - begin ? take : end - begin;
        for (size_t i = 0; i < take; i++)
            rows[count++] = tickets[begin + i].row;
        owed -= (double)take;
    }
    count = count == n ? n - 1 : count;
    if (count == 0)
        rows[count++] = tickets[0].row;
    qsort(rows, count, sizeof *rows, by_row);
    free(tickets);
    *ret_rows = rows;
    *ret_n = count;
    return 0;
}
