/*
 * chat: answers to conversations and prompts, of many requests at once (eval/decoder.h).
 *
 * The op goes on until nothing is being written: it takes requests that come meanwhile, answers
 * each under its own id when its texts have ended, and forgets those that are cancelled.
 */
#include "engine/data/prompt.h"
#include "engine/data/tool_calls.h"
#include "engine/limits.h"
#include "engine/base/buf.h"
#include "engine/base/json.h"
#include "engine/base/pulse.h"
#include "engine/eval/json_grammar.h"
#include "engine/eval/predictor.h"
#include "engine/helper/call.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

struct chat;

enum {
    TEXTS = 128,             /* of a request, at most */
    TOLD = 200000,           /* tokens with what is told of each, of a request */
    SLICE_MS = 200,          /* of a rest, after which the daemon hears of us */
    LONGEST_REST_MS = 10000, /* however long a step took */
};

/* One text of a request's answer. */
struct choice {
    struct hn_writing writing;
    struct hn_generated result;
    struct request *request;
    size_t index, told; /* told: tokens whose probabilities went out with a piece */
};

struct request {
    struct request *next;
    struct chat *chat;
    json_int_t id;
    json_t *params; /* the sampling's texts are its */
    struct hn_sampling sampling;
    struct hn_bias *bias;
    struct hn_grammar *grammar;
    struct hn_prompt *prompts;
    struct choice *choices; /* [n_prompts * n] */
    size_t n_prompts, n, open, next_choice;
    bool stream, begun;
};

struct chat {
    struct hn_helper_call *call;
    struct hn_predictor *predictor;
    struct request *first, **last; /* in the order in which they came */
    int64_t share;                 /* percent of the time that may be used */
    struct hn_error err;           /* what a chunk could not be sent for */
};

static void request_free(struct request *r) {
    for (size_t i = 0; r->choices && i < r->n_prompts * r->n; i++)
        hn_generated_finish(&r->choices[i].result);
    for (size_t i = 0; r->prompts && i < r->n_prompts; i++)
        hn_prompt_finish(&r->prompts[i]);
    free(r->choices);
    free(r->prompts);
    free(r->bias);
    hn_grammar_destroy(r->grammar);
    json_decref(r->params);
    free(r);
}

/* --- what is told --------------------------------------------------------------------------- */

static json_t *token_json(const struct chat *c, int32_t id, float logprob) {
    struct hn_buf text = {0};
    hn_tokenizer_decode(c->predictor->loaded.codec.tokenizer, id, true, &text);
    json_t *bytes = json_array();
    for (size_t i = 0; i < text.size; i++)
        json_array_append_new(bytes, json_integer((unsigned char)text.data[i]));
    json_t *out =
        json_pack("{s:o, s:o, s:o}", "token", hn_json_text(text.data ? text.data : "", text.size),
            "logprob", hn_json_float(logprob), "bytes", bytes);
    hn_buf_free(&text);
    return out;
}

/* Tokens that were not told of yet, of the first `bytes` of the answer. */
static json_t *said_json(const struct chat *c, struct choice *choice, size_t bytes) {
    const struct hn_generated *g = &choice->result;
    json_t *list = json_array();
    for (; choice->told < g->n_said && g->said[choice->told].end <= bytes; choice->told++) {
        const struct hn_said *said = &g->said[choice->told];
        json_t *token = token_json(c, said->id, said->logprob), *top = json_array();
        for (size_t i = 0; i < said->n_top; i++)
            json_array_append_new(top, token_json(c, said->top[i].id, said->top[i].logprob));
        json_object_set_new(token, "top", top);
        json_array_append_new(list, token);
    }
    return list;
}

static void send(struct request *r, json_t *chunk) {
    struct hn_helper_call call = *r->chat->call;
    call.id = r->id;
    hn_helper_chunk(&call, chunk, &r->chat->err);
}

static void tell_piece(struct hn_writing *w, const char *text, size_t size) {
    struct choice *choice = w->user;
    struct request *r = choice->request;
    size_t bytes = (size_t)(text - w->result->text.data) + size;
    hn_pulse();
    if (!r->stream)
        return;
    json_t *chunk = json_pack(
        "{s:I, s:o}", "index", (json_int_t)choice->index, "text", hn_json_text(text, size));
    if (w->options->tell)
        json_object_set_new(chunk, "said", said_json(r->chat, choice, bytes));
    send(r, chunk);
}

static json_t *choice_json(const struct request *r, struct choice *choice) {
    const struct hn_generated *g = &choice->result;
    const char *text = g->text.data ? g->text.data : "";
    json_t *calls = NULL, *tools = json_object_get(r->params, "tools");
    size_t kept = g->text.size;
    if (tools)
        calls = hn_calls_parse(text, g->text.size, tools, &kept);
    json_t *out = json_pack("{s:I, s:o, s:s, s:I, s:o*}", "index", (json_int_t)choice->index,
        "text", hn_json_text(text, kept), "finish_reason", g->finish_reason, "tokens",
        (json_int_t)g->tokens, "calls", calls);
    if (tools) /* it was not streamed: what it is is known at its end */
        json_object_set(out, "held", json_object_get(out, "text"));
    if (r->sampling.options.tell)
        json_object_set_new(out, "said", said_json(r->chat, choice, SIZE_MAX));
    return out;
}

static bool is_broken(const struct request *r) {
    for (size_t i = 0; i < r->n_prompts * r->n; i++)
        if (strcmp(r->choices[i].result.finish_reason, "error") == 0)
            return true;
    return false;
}

static void answer_broken(struct request *r) {
    struct hn_helper_call call = *r->chat->call;
    struct hn_error err = {0};
    call.id = r->id;
    hn_fail(
        &err, HN_E_INVALID_FIELD, "the schema lets a text go on in too many ways to follow them");
    hn_error_field(&err, "response_format");
    hn_helper_answer(&call, err.code, NULL, &err);
}

static void answer(struct request *r) {
    struct hn_helper_call call = *r->chat->call;
    json_t *list = json_array();
    size_t read = 0, shared = 0, written = 0;
    for (size_t i = 0; i < r->n_prompts * r->n; i++) {
        const struct hn_generated *g = &r->choices[i].result;
        read += i % r->n ? 0 : g->prompt_tokens;
        shared += i % r->n ? 0 : g->shared;
        written += g->tokens;
        json_array_append_new(list, choice_json(r, &r->choices[i]));
    }
    call.id = r->id;
    hn_helper_answer(&call, 0,
        json_pack("{s:o, s:I, s:I, s:I}", "choices", list, "prompt_tokens", (json_int_t)read,
            "cached_tokens", (json_int_t)shared, "completion_tokens", (json_int_t)written),
        &r->chat->err);
}

static void end_choice(struct hn_writing *w) {
    struct choice *choice = w->user;
    choice->request->open--;
}

/* --- what is asked -------------------------------------------------------------------------- */

/* {"id": bias} by token ids. */
static int read_bias(struct request *r, size_t vocab, struct hn_error *err) {
    const json_t *given = json_object_get(r->params, "logit_bias");
    const char *name;
    json_t *value;
    r->bias = hn_calloc(json_object_size(given) + 1, sizeof *r->bias);
    if (!r->bias)
        return hn_fail(err, HN_E_INTERNAL, "out of memory");
    json_object_foreach((json_t *)(uintptr_t)given, name, value) {
        char *end;
        long long id = strtoll(name, &end, 10);
        double bias = json_number_value(value);
        if (*end || !*name || id < 0 || (size_t)id >= vocab || !json_is_number(value) ||
            bias < -100 || bias > 100) {
            hn_fail(err, HN_E_INVALID_FIELD,
                "logit_bias gives token ids below %zu a number from -100 to 100, not \"%.40s\"",
                vocab, name);
            hn_error_field(err, "logit_bias");
            return HN_E_INVALID_FIELD;
        }
        r->bias[r->sampling.options.n_bias++] =
            (struct hn_bias){.id = (int32_t)id, .value = (float)bias};
    }
    r->sampling.options.bias = r->bias;
    return 0;
}

/* A call that must be made, in the way that the prompt tells the model of. */
static int read_forced(struct request *r, const json_t *force, struct hn_error *err) {
    const struct hn_buf *prompt = &r->prompts[0].text;
    bool tagged = prompt->size && memmem(prompt->data, prompt->size, "<tool_call>", 11);
    return hn_call_grammar(json_object_get(r->params, "tools"),
        json_string_value(json_object_get(force, "name")), tagged ? "<tool_call>\n" : "",
        tagged ? "\n</tool_call>" : "", &r->grammar, err);
}

/* "format": {"schema": null (any object) or a JSON Schema}; "force": {"name": null or a
 * function's}. */
static int read_format(struct request *r, struct hn_error *err) {
    const json_t *format = json_object_get(r->params, "format"),
                 *schema = json_object_get(format, "schema"),
                 *force = json_object_get(r->params, "force");
    if (!json_is_object(format) && !json_is_object(force))
        return 0;
    int rc = force ? read_forced(r, force, err)
                   : hn_json_grammar(json_is_null(schema) ? NULL : schema, &r->grammar, err);
    if (rc && !*err->field)
        hn_error_field(err, "response_format");
    r->sampling.options.grammar = r->grammar;
    return rc;
}

/* A prompt that is given as token ids. */
static int read_ids(const json_t *ids, size_t vocab, struct hn_prompt *ret, struct hn_error *err) {
    size_t i;
    json_t *id;
    json_array_foreach((json_t *)(uintptr_t)ids, i, id) {
        json_int_t n = json_integer_value(id);
        if (!json_is_integer(id) || n < 0 || (size_t)n >= vocab) {
            hn_fail(err, HN_E_INVALID_FIELD, "item %zu of the prompt is not a token id below %zu",
                i + 1, vocab);
            hn_error_field(err, "prompt");
            return HN_E_INVALID_FIELD;
        }
        if (!hn_ids_push(&ret->ids, (int32_t)n, 0, 0))
            return hn_fail(err, HN_E_INTERNAL, "out of memory");
    }
    return 0;
}

/* A conversation of one message is asked of a run on bare texts as these are. */
static json_t *input_of(const struct hn_predictor *p, const json_t *asked) {
    const json_t *messages = json_object_get(asked, "messages"),
                 *only = json_array_size(messages) == 1 ? json_array_get(messages, 0) : NULL,
                 *text = json_object_get(only, "content");
    if (json_is_string(text) && hn_predictor_on_texts(p))
        return json_pack("{s:O}", "prompt", text);
    return json_incref((json_t *)(uintptr_t)asked);
}

static int read_prompt(const struct hn_predictor *p, const json_t *asked, struct hn_prompt *ret,
    struct hn_error *err) {
    if (json_is_array(asked))
        return read_ids(asked, p->loaded.model.config.vocab, ret, err);
    json_t *input = input_of(p, asked);
    int rc = hn_prompt_from_input(&p->loaded.codec, input, ret, err);
    json_decref(input);
    return rc;
}

/* Answers may be as long as the context has room behind the longest prompt. */
static int fit_tokens(struct request *r, size_t context, struct hn_error *err) {
    struct hn_generate_options *o = &r->sampling.options;
    size_t longest = 0;
    for (size_t i = 0; i < r->n_prompts; i++) {
        size_t n = r->prompts[i].ids.n;
        if (!n) {
            hn_fail(err, HN_E_INVALID_FIELD, "the prompt is empty");
            hn_error_field(err, "prompt");
            return HN_E_INVALID_FIELD;
        }
        longest = n > longest ? n : longest;
    }
    if (longest >= context) {
        hn_fail(err, HN_E_TOO_LARGE,
            "this model's maximum context length is %zu tokens, and the request has %zu", context,
            longest);
        hn_error_field(err, "messages");
        hn_error_hint(err, "shorten the messages");
        return HN_E_TOO_LARGE;
    }
    if (o->max_tokens > context - longest)
        o->max_tokens = context - longest;
    return 0;
}

static int refuse(struct hn_error *err, const char *field, const char *message) {
    hn_fail(err, HN_E_INVALID_FIELD, "%s", message);
    hn_error_field(err, "%s", field);
    return HN_E_INVALID_FIELD;
}

/* No request takes the others' time and memory. */
static int check_size(const struct request *r, struct hn_error *err) {
    const struct hn_generate_options *o = &r->sampling.options;
    size_t texts = r->n_prompts * r->n;
    if (texts > TEXTS)
        return refuse(err, "n", "a request may ask for 128 texts: prompts times n");
    if (o->tell && texts * o->max_tokens * (1 + o->n_top) > TOLD)
        return refuse(err, "logprobs",
            "probabilities of too many tokens: texts times max_tokens times (1 + top_logprobs) may "
            "be 200,000");
    return 0;
}

static int read_request(struct request *r, struct hn_error *err) {
    struct hn_predictor *p = r->chat->predictor;
    const json_t *inputs = json_object_get(r->params, "inputs");
    int64_t n = 1;
    int rc = hn_sampling_read(r->params, HN_ANSWER_CONTEXT, &r->sampling, err);
    if (!rc)
        rc = hn_json_int(r->params, "n", 1, HN_INPUTS_MAX, &n, err);
    if (!rc)
        rc = hn_json_bool(r->params, "stream", &r->stream, err);
    r->stream = r->stream && !json_object_get(r->params, "tools");
    if (!rc)
        rc = read_bias(r, p->loaded.model.config.vocab, err);
    r->n_prompts = json_array_size(inputs);
    r->n = (size_t)n;
    if (!rc && (!r->n_prompts || r->n_prompts > HN_INPUTS_MAX))
        rc = hn_fail(err, HN_E_INVALID_FIELD, "there are 1 to %d prompts", HN_INPUTS_MAX);
    if (!rc && r->n_prompts * r->n > TEXTS)
        rc = check_size(r, err);
    if (rc)
        return rc;
    r->prompts = hn_calloc(r->n_prompts, sizeof *r->prompts);
    r->choices = hn_calloc(r->n_prompts * r->n, sizeof *r->choices);
    if (!r->prompts || !r->choices)
        return hn_fail(err, HN_E_INTERNAL, "out of memory");
    for (size_t i = 0; !rc && i < r->n_prompts; i++)
        rc = read_prompt(p, json_array_get(inputs, i), &r->prompts[i], err);
    if (!rc)
        rc = read_format(r, err);
    if (!rc)
        rc = fit_tokens(r, p->context, err);
    return rc ? rc : check_size(r, err);
}

static void lay_choices(struct request *r) {
    for (size_t i = 0; i < r->n_prompts * r->n; i++) {
        const struct hn_prompt *prompt = &r->prompts[i / r->n];
        struct choice *choice = &r->choices[i];
        choice->request = r;
        choice->index = i;
        choice->writing = (struct hn_writing){.prompt = &prompt->ids,
            .again = hn_prompt_again(prompt),
            .options = &r->sampling.options,
            .input = i,
            .result = &choice->result,
            .piece = tell_piece,
            .end = end_choice,
            .user = choice};
    }
    r->open = r->n_prompts * r->n;
}

/* --- the loop ------------------------------------------------------------------------------- */

/* What a head says, as a text: a label, a value, an answer, else all of it as JSON. */
static json_t *head_text(const json_t *item) {
    static const char *const names[] = {"label", "value", "answer"};
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        json_t *value = json_object_get(item, names[i]);
        if (json_is_string(value))
            return json_incref(value);
        if (value)
            item = value;
    }
    char *text = json_dumps(item, JSON_ENCODE_ANY | JSON_COMPACT | JSON_REAL_PRECISION(9));
    json_t *out = json_string(text ? text : "");
    free(text);
    return out;
}

/* The answers of a head as the choices of a result. Takes `result` over. */
static json_t *head_choices(json_t *result) {
    json_t *list = json_array(), *item;
    size_t i;
    json_array_foreach(json_object_get(result, "data"), i, item) {
        json_t *text = head_text(item);
        json_array_append_new(list,
            json_pack("{s:I, s:O, s:o, s:s, s:O}", "index", (json_int_t)i, "text", text, "held",
                text, "finish_reason", "stop", "answer", item));
    }
    json_decref(result);
    return json_pack("{s:o}", "choices", list);
}

/* A model with a task's head answers at once: its labels are the texts. */
static int answer_by_head(struct chat *c, const json_t *params, struct hn_error *err) {
    json_t *texts = json_array(), *result = NULL, *input;
    bool whole = true;
    size_t i;
    json_array_foreach(json_object_get(params, "inputs"), i, input) {
        const json_t *messages = json_object_get(input, "messages");
        const json_t *text = json_object_get(input, "prompt");
        if (json_array_size(messages))
            text =
                json_object_get(json_array_get(messages, json_array_size(messages) - 1), "content");
        whole = whole && json_is_string(text);
        json_array_append(texts, (json_t *)(uintptr_t)text);
    }
    int rc = whole && json_array_size(texts)
        ? hn_predictor_answer(c->predictor, texts, &result, err)
        : hn_fail(err, HN_E_INVALID_FIELD, "this model answers texts, and nothing else");
    json_decref(texts);
    return rc ? rc : hn_helper_answer(c->call, 0, head_choices(result), err);
}

static int open_predictor(struct chat *c, const json_t *params, struct hn_error *err) {
    const json_t *source = json_object_get(params, "source");
    const char *path;
    struct hn_predictor **kept = c->call->predictor;
    source = json_is_object(source) ? source : NULL;
    int rc = hn_helper_path(json_object_get(params, "model"), &path, err);
    if (!rc && c->first && !hn_predictor_is(*kept, path, source))
        rc = hn_fail(err, HN_E_BUSY, "another model is being asked");
    if (!rc)
        rc = hn_predictor_find(kept, path, source, err);
    c->predictor = *kept;
    return rc;
}

/* Takes a request in; c->call has its id. */
static int take(struct chat *c, const json_t *params, struct hn_error *err) {
    int rc = open_predictor(c, params, err);
    if (rc)
        return rc;
    if (c->predictor->loaded.model.head.objective != HN_OBJECTIVE_TOKENS)
        return answer_by_head(c, params, err);
    rc = hn_predictor_decode(c->predictor, err);
    struct request *r = rc ? NULL : hn_calloc(1, sizeof *r);
    if (!r)
        return rc ? rc : hn_fail(err, HN_E_INTERNAL, "out of memory");
    r->chat = c;
    r->id = c->call->id;
    r->params = json_incref((json_t *)(uintptr_t)params);
    rc = read_request(r, err);
    if (rc) {
        request_free(r);
        return rc;
    }
    lay_choices(r);
    hn_json_int(params, "share", 1, 100, &c->share, NULL);
    *c->last = r;
    c->last = &r->next;
    return 0;
}

static void take_out(struct chat *c, struct request **link) {
    struct request *r = *link;
    *link = r->next;
    if (!r->next)
        c->last = link;
    request_free(r);
}

static void cancel(struct chat *c, json_int_t id) {
    for (struct request **link = &c->first; *link; link = &(*link)->next) {
        struct request *r = *link;
        if (r->id != id)
            continue;
        for (size_t i = 0; c->predictor->decoder && i < r->n_prompts * r->n; i++)
            hn_decoder_cancel(c->predictor->decoder, &r->choices[i].writing);
        take_out(c, link);
        return;
    }
}

/* What the daemon has sent meanwhile. */
static void take_more(struct chat *c) {
    const json_int_t id = c->call->id;
    for (json_t *request; (request = hn_helper_more(c->call)); json_decref(request)) {
        struct hn_error err = {0};
        const char *op = json_string_value(json_object_get(request, "op"));
        json_t *cancelled = json_object_get(request, "cancel");
        if (cancelled) {
            cancel(c, json_integer_value(cancelled));
            continue;
        }
        c->call->id = json_integer_value(json_object_get(request, "id"));
        int rc = op && strcmp(op, "chat") == 0
            ? take(c, json_object_get(request, "params"), &err)
            : hn_fail(&err, HN_E_BUSY, "the helper is writing answers");
        if (rc)
            hn_helper_answer(c->call, rc, NULL, &err);
    }
    c->call->id = id;
}

/* Begins the next text of a request that has one; false where there is none, or no room for it. */
static bool begin_one(struct chat *c, struct request *r) {
    size_t n = r->n_prompts * r->n;
    if (r->next_choice == n ||
        !hn_decoder_add(c->predictor->decoder, &r->choices[r->next_choice].writing))
        return false;
    r->next_choice++;
    if (!r->begun)
        send(r, json_pack("{s:b}", "begun", 1));
    r->begun = true;
    return true;
}

/* Begins what there is room for: a text of each request in turn, in the order in which they
 * came. */
static void begin(struct chat *c) {
    for (bool any = true; any;) {
        any = false;
        for (struct request *r = c->first; r; r = r->next)
            any = begin_one(c, r) || any;
    }
}

static void answer_ended(struct chat *c) {
    for (struct request **link = &c->first; *link;)
        if ((*link)->open) {
            link = &(*link)->next;
        } else {
            (is_broken(*link) ? answer_broken : answer)(*link);
            take_out(c, link);
        }
}

/* Leaves the processors to others for as long as the share says. */
static void leave_time(const struct chat *c, const struct timespec *since) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    int64_t used = (now.tv_sec - since->tv_sec) * 1000000000LL + now.tv_nsec - since->tv_nsec,
            wait = c->share < 100 ? used * (100 - c->share) / c->share / 1000000 : 0;
    for (wait = wait < LONGEST_REST_MS ? wait : LONGEST_REST_MS; wait > 0; wait -= SLICE_MS) {
        int64_t ms = wait < SLICE_MS ? wait : SLICE_MS;
        const struct timespec rest = {0, ms * 1000000};
        nanosleep(&rest, NULL);
        hn_pulse();
    }
}

int hn_helper_chat(
    struct hn_helper_call *call, const json_t *params, json_t **ret, struct hn_error *err) {
    struct hn_helper_call own = *call;
    struct chat c = {.call = &own, .share = 100};
    c.last = &c.first;
    *ret = NULL;
    int rc = take(&c, params, err);
    if (rc)
        return rc;
    while (!rc && c.first) {
        struct timespec since;
        clock_gettime(CLOCK_MONOTONIC, &since);
        begin(&c);
        rc = hn_decoder_step(c.predictor->decoder, err);
        hn_pulse();
        answer_ended(&c);
        leave_time(&c, &since);
        take_more(&c);
        if (!rc && c.err.code)
            rc = c.err.code; /* the daemon is gone */
    }
    if (rc) { /* its memory may have run out in the middle of a step */
        hn_decoder_destroy(c.predictor->decoder);
        c.predictor->decoder = NULL;
    }
    while (c.first) {
        own.id = c.first->id;
        hn_helper_answer(&own, rc, NULL, err);
        cancel(&c, own.id);
    }
    return 0;
}
