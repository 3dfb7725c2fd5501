/*
 * /v1/chat/completions and /v1/completions as OpenAI's API has them. A request becomes the
 * parameters of the helper's op "chat"; what it answers is put into OpenAI's forms.
 */
#include "api/handlers.h"
#include "api/openai.h"
#include "api/openai_talk.h"
#include "server/base/id.h"
#include "server/jobs/worker.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <time.h>

#define NESTED 500 /* levels of a body, at most */

/* What both routes know, and what they take without effect, since it changes no answer here. */
#define COMMON                                                                               \
    "model", "max_tokens", "temperature", "top_p", "top_k", "n", "stop", "seed", "stream",   \
        "stream_options", "presence_penalty", "frequency_penalty", "logit_bias", "logprobs", \
        "user"

static const char *const chat_known[] = {COMMON, "messages", "max_completion_tokens", "tools",
    "tool_choice", "parallel_tool_calls", "response_format", "top_logprobs", "metadata", "store",
    "service_tier", "safety_identifier", "prompt_cache_key", "reasoning_effort", "verbosity",
    "modalities", NULL};
static const char *const text_known[] = {COMMON, "prompt", "echo", "best_of", "suffix", NULL};

static int refuse(struct hn_error *err, const char *field, const char *why) {
    hn_fail(err, HN_E_UNSUPPORTED, "%s", why);
    hn_error_field(err, "%s", field);
    return HN_E_UNSUPPORTED;
}

static int missing(struct hn_error *err, const char *field) {
    hn_fail(err, HN_E_MISSING_FIELD, "you must provide a %s parameter", field);
    hn_error_field(err, "%s", field);
    return HN_E_MISSING_FIELD;
}

/* --- forms of an answer --------------------------------------------------------------------- */

/* What every object of an answer begins with. */
static json_t *head(const void *form_data, const char *object, json_t *choices) {
    json_t *out = json_deep_copy(form_data);
    json_object_del(out, "usage");
    json_object_del(out, "n");
    json_object_set_new(out, "object", json_string(object));
    json_object_set_new(out, "choices", choices);
    return out;
}

static json_t *usage(const json_t *result) {
    json_int_t read = json_integer_value(json_object_get(result, "prompt_tokens")),
               written = json_integer_value(json_object_get(result, "completion_tokens"));
    return json_pack("{s:I, s:I, s:I, s:{s:I}}", "prompt_tokens", read, "completion_tokens",
        written, "total_tokens", read + written, "prompt_tokens_details", "cached_tokens",
        json_integer_value(json_object_get(result, "cached_tokens")));
}

static json_t *token(const json_t *said) {
    return json_pack("{s:O, s:O, s:O}", "token", json_object_get(said, "token"), "logprob",
        json_object_get(said, "logprob"), "bytes", json_object_get(said, "bytes"));
}

/* {"content":[…]}, or null where none were asked for. */
static json_t *chat_logprobs(const json_t *said) {
    json_t *list = said ? json_array() : NULL, *item, *top;
    size_t i, k;
    json_array_foreach((json_t *)(uintptr_t)said, i, item) {
        json_t *out = token(item), *tops = json_array();
        json_array_foreach(json_object_get(item, "top"), k, top)
            json_array_append_new(tops, token(top));
        json_object_set_new(out, "top_logprobs", tops);
        json_array_append_new(list, out);
    }
    return list ? json_pack("{s:o, s:n}", "content", list, "refusal") : json_null();
}

/* The older form, of /v1/completions. */
static json_t *text_logprobs(const json_t *said) {
    if (!said)
        return json_null();
    json_t *tokens = json_array(), *values = json_array(), *tops = json_array(), *item, *top;
    size_t i, k;
    json_array_foreach((json_t *)(uintptr_t)said, i, item) {
        json_t *likeliest = json_object();
        json_array_append(tokens, json_object_get(item, "token"));
        json_array_append(values, json_object_get(item, "logprob"));
        json_array_foreach(json_object_get(item, "top"), k, top)
            json_object_set(likeliest, json_string_value(json_object_get(top, "token")),
                json_object_get(top, "logprob"));
        json_array_append_new(tops, likeliest);
    }
    return json_pack("{s:o, s:o, s:o, s:n}", "tokens", tokens, "token_logprobs", values,
        "top_logprobs", tops, "text_offset");
}

/* Calls with ids, as the API has them. */
static json_t *calls_of(const json_t *choice, bool numbered) {
    json_t *list = json_array(), *call;
    size_t i;
    json_array_foreach(json_object_get(choice, "calls"), i, call) {
        char id[HN_ID_SIZE];
        json_t *out = json_copy(call);
        hn_id_make("call", id);
        json_object_set_new(out, "id", json_string(id));
        if (numbered)
            json_object_set_new(out, "index", json_integer((json_int_t)i));
        json_array_append_new(list, out);
    }
    return list;
}

static const char *reason_of(const json_t *choice) {
    const char *reason = json_string_value(json_object_get(choice, "finish_reason"));
    return json_object_get(choice, "calls") ? "tool_calls" : reason ? reason : "stop";
}

static json_t *chat_choice(
    json_t *index, const char *name, json_t *message, json_t *logprobs, const char *reason) {
    return json_pack("{s:O, s:o, s:o, s:s?}", "index", index, name, message, "logprobs", logprobs,
        "finish_reason", reason);
}

static json_t *chat_beginning(const void *form_data) {
    json_int_t n = json_integer_value(json_object_get(form_data, "n"));
    json_t *list = json_array();
    for (json_int_t i = 0; i < n; i++)
        json_array_append_new(list,
            head(form_data, "chat.completion.chunk",
                json_pack("[{s:I, s:{s:s, s:s}, s:n, s:n}]", "index", i, "delta", "role",
                    "assistant", "content", "", "logprobs", "finish_reason")));
    return list;
}

static json_t *chat_chunk(const void *form_data, const json_t *chunk) {
    json_t *delta = json_pack("{s:O}", "content", json_object_get(chunk, "text"));
    return head(form_data, "chat.completion.chunk",
        json_pack("[o]",
            chat_choice(json_object_get(chunk, "index"), "delta", delta,
                chat_logprobs(json_object_get(chunk, "said")), NULL)));
}

/* The chunk that says how much was used, where it was asked for. */
static void add_usage(
    json_t *list, const void *form_data, const char *object, const json_t *result) {
    if (!json_object_get(form_data, "usage"))
        return;
    json_t *last = head(form_data, object, json_array());
    json_object_set_new(last, "usage", usage(result));
    json_array_append_new(list, last);
}

static json_t *chat_ending(const void *form_data, const json_t *result) {
    json_t *list = json_array(), *choice;
    size_t i;
    json_array_foreach(json_object_get(result, "choices"), i, choice) {
        json_t *index = json_object_get(choice, "index"), *delta = json_object(),
               *said = json_object_get(choice, "said");
        json_t *held = json_object_get(choice, "held");
        if (json_string_length(held))
            json_object_set(delta, "content", held);
        if (json_object_get(choice, "calls"))
            json_object_set_new(delta, "tool_calls", calls_of(choice, true));
        json_array_append_new(list,
            head(form_data, "chat.completion.chunk",
                json_pack("[o]",
                    chat_choice(index, "delta", delta,
                        chat_logprobs(json_array_size(said) ? said : NULL), reason_of(choice)))));
    }
    add_usage(list, form_data, "chat.completion.chunk", result);
    return list;
}

static json_t *chat_message(const json_t *choice) {
    json_t *text = json_object_get(choice, "text"), *calls = json_object_get(choice, "calls");
    json_t *message = json_pack("{s:s, s:O, s:n}", "role", "assistant", "content",
        calls && !json_string_length(text) ? json_null() : text, "refusal");
    if (calls)
        json_object_set_new(message, "tool_calls", calls_of(choice, false));
    return message;
}

static json_t *chat_whole(const void *form_data, const json_t *result) {
    json_t *list = json_array(), *choice;
    size_t i;
    json_array_foreach(json_object_get(result, "choices"), i, choice) {
        json_t *out = chat_choice(json_object_get(choice, "index"), "message", chat_message(choice),
            chat_logprobs(json_object_get(choice, "said")), reason_of(choice));
        if (json_object_get(choice, "answer")) /* of a task's head: with its probabilities */
            json_object_set(out, "x_hone", json_object_get(choice, "answer"));
        json_array_append_new(list, out);
    }
    json_t *out = head(form_data, "chat.completion", list);
    json_object_set_new(out, "usage", usage(result));
    return out;
}

static json_t *text_choice(const json_t *from, json_t *text, const char *reason) {
    return json_pack("{s:O, s:O, s:o, s:s?}", "index", json_object_get(from, "index"), "text", text,
        "logprobs", text_logprobs(json_object_get(from, "said")), "finish_reason", reason);
}

static json_t *text_chunk(const void *form_data, const json_t *chunk) {
    return head(form_data, "text_completion",
        json_pack("[o]", text_choice(chunk, json_object_get(chunk, "text"), NULL)));
}

static json_t *text_ending(const void *form_data, const json_t *result) {
    json_t *list = json_array(), *choice;
    size_t i;
    json_array_foreach(json_object_get(result, "choices"), i, choice) {
        json_t *none = json_string(""), *held = json_object_get(choice, "held");
        json_array_append_new(list,
            head(form_data, "text_completion",
                json_pack("[o]", text_choice(choice, held ? held : none, reason_of(choice)))));
        json_decref(none);
    }
    add_usage(list, form_data, "text_completion", result);
    return list;
}

static json_t *text_whole(const void *form_data, const json_t *result) {
    json_t *list = json_array(), *choice;
    size_t i;
    json_array_foreach(json_object_get(result, "choices"), i, choice)
        json_array_append_new(
            list, text_choice(choice, json_object_get(choice, "text"), reason_of(choice)));
    json_t *out = head(form_data, "text_completion", list);
    json_object_set_new(out, "usage", usage(result));
    return out;
}

static const struct hn_talk_form chat_form = {chat_beginning, chat_chunk, chat_ending, chat_whole},
                                 text_form = {NULL, text_chunk, text_ending, text_whole};

/* --- requests ------------------------------------------------------------------------------- */

/* {"id","created","model","system_fingerprint"}, and "usage" where a stream shall say it. */
static json_t *make_head(
    const json_t *body, const char *prefix, bool *stream, struct hn_error *err) {
    char id[HN_ID_SIZE], name[48];
    const json_t *options = json_object_get(body, "stream_options");
    bool says_usage = false;
    hn_id_make("", id);
    snprintf(name, sizeof name, "%s%s", prefix, id + 1);
    if (hn_json_bool(body, "stream", stream, err) ||
        (options && hn_json_bool(options, "include_usage", &says_usage, err)))
        return NULL;
    json_t *n = json_object_get(body, "n");
    json_t *head = json_pack("{s:s, s:s, s:I, s:O, s:s, s:I}", "id", name, "object", "", "created",
        (json_int_t)time(NULL), "model", json_object_get(body, "model"), "system_fingerprint",
        hn_build_name(), "n", json_is_integer(n) ? json_integer_value(n) : (json_int_t)1);
    if (says_usage && head)
        json_object_set_new(head, "usage", json_true());
    return head;
}

static void copy(json_t *params, const char *to, const json_t *body, const char *from) {
    json_t *value = json_object_get(body, from);
    if (value && !json_is_null(value))
        json_object_set(params, to, value);
}

/* What both routes give to the helper; a missing seed is drawn, since the API promises no answer
 * twice without one. */
static int read_sampling(
    struct hn_request *req, const json_t *body, json_t *params, struct hn_error *err) {
    static const char *const same[] = {"top_p", "top_k", "n", "stop", "stream", "presence_penalty",
        "frequency_penalty", "logit_bias", NULL};
    uint32_t seed = 0;
    double temperature = 1;
    int64_t n = 1;
    int rc = hn_json_number(body, "temperature", 0, 2, &temperature, err);
    if (!rc)
        rc = hn_json_int(body, "n", 1, 128, &n, err);
    for (const char *const *name = same; *name; name++)
        copy(params, *name, body, *name);
    if (getrandom(&seed, sizeof seed, 0) != sizeof seed)
        seed = (uint32_t)time(NULL);
    json_object_set_new(params, "seed", json_integer(seed));
    copy(params, "seed", body, "seed");
    json_object_set_new(params, "temperature", json_real(temperature));
    bool trains = hn_workers_busy(req->server->workers) > 0;
    json_object_set_new(params, "share",
        json_integer(trains ? (json_int_t)req->server->config->inference_share : 100));
    return rc;
}

static int read_model(struct hn_request *req, const json_t *body, json_t *params,
    struct hn_buf *key, struct hn_error *err) {
    const char *name = NULL;
    int rc = hn_json_string(body, "model", &name, err);
    if (!rc && !name)
        rc = missing(err, "model");
    if (!rc)
        rc = hn_openai_model(req, name, params, err);
    if (rc)
        return rc;
    char *model = json_dumps(json_object_get(params, "model"), JSON_SORT_KEYS),
         *source = json_dumps(json_object_get(params, "source"), JSON_SORT_KEYS | JSON_ENCODE_ANY);
    hn_buf_printf(key, "%s%s", model ? model : "", source ? source : "");
    free(model);
    free(source);
    return 0;
}

/* {"type":"text"|"json_object"}, or {"type":"json_schema","json_schema":{"name","schema"}}. */
static int read_format(const json_t *body, json_t *params, struct hn_error *err) {
    const json_t *format = json_object_get(body, "response_format");
    const char *type = json_string_value(json_object_get(format, "type"));
    json_t *schema = json_object_get(json_object_get(format, "json_schema"), "schema");
    if (!format || json_is_null(format) || (type && strcmp(type, "text") == 0))
        return 0;
    bool any = type && strcmp(type, "json_object") == 0;
    if (!any && (!type || strcmp(type, "json_schema") != 0 || !json_is_object(schema))) {
        hn_fail(err, HN_E_INVALID_FIELD,
            "response_format is {\"type\":\"text\"}, {\"type\":\"json_object\"} or "
            "{\"type\":\"json_schema\",\"json_schema\":{\"name\":…,\"schema\":{…}}}");
        hn_error_field(err, "response_format");
        return HN_E_INVALID_FIELD;
    }
    json_object_set_new(params, "format", json_pack("{s:O}", "schema", any ? json_null() : schema));
    return 0;
}

/* What tool_choice asks for: nothing, or {"name"} of the function that must be called, null for
 * any. */
static int read_choice(const json_t *choice, json_t **ret, struct hn_error *err) {
    const char *word = json_string_value(choice), *name = NULL;
    const json_t *function = json_object_get(choice, "function");
    *ret = NULL;
    if (!choice || json_is_null(choice) || (word && strcmp(word, "auto") == 0))
        return 0;
    bool any = word && strcmp(word, "required") == 0;
    if (!any && (hn_json_string(function, "name", &name, err) || !name)) {
        hn_fail(err, HN_E_INVALID_FIELD,
            "tool_choice is \"auto\", \"none\", \"required\" or "
            "{\"type\":\"function\",\"function\":{\"name\":…}}");
        hn_error_field(err, "tool_choice");
        return HN_E_INVALID_FIELD;
    }
    *ret = json_pack("{s:s?}", "name", name);
    return 0;
}

/* Tools for the template, unless none are to be used. */
static int read_tools(const json_t *body, json_t *params, json_t *input, struct hn_error *err) {
    const json_t *choice = json_object_get(body, "tool_choice");
    const char *word = json_string_value(choice);
    json_t *force = NULL;
    if (word && strcmp(word, "none") == 0)
        return 0;
    int rc = read_choice(choice, &force, err);
    bool tools = json_array_size(json_object_get(body, "tools")) > 0;
    if (!rc && force && !tools)
        rc = refuse(err, "tool_choice", "tool_choice needs tools");
    if (!rc && force && json_object_get(params, "format"))
        rc = refuse(err, "tool_choice", "a call that must be made has its own response_format");
    if (!rc && tools) {
        copy(params, "tools", body, "tools");
        copy(input, "tools", body, "tools");
    }
    if (!rc && force)
        json_object_set(params, "force", force);
    json_decref(force);
    return rc;
}

static int read_chat_logprobs(const json_t *body, json_t *params, struct hn_error *err) {
    bool wanted = false;
    int64_t top = 0;
    int rc = hn_json_bool(body, "logprobs", &wanted, err);
    if (!rc)
        rc = hn_json_int(body, "top_logprobs", 0, 20, &top, err);
    if (!rc && top && !wanted)
        rc = refuse(err, "top_logprobs", "top_logprobs needs \"logprobs\": true");
    if (!rc && wanted)
        json_object_set_new(params, "logprobs", json_integer((json_int_t)top));
    return rc;
}

static int read_chat(const json_t *body, json_t *params, struct hn_error *err) {
    const json_t *messages = json_object_get(body, "messages");
    if (!json_array_size(messages))
        return missing(err, "messages");
    json_t *input = json_pack("{s:O}", "messages", messages);
    copy(params, "max_tokens", body, "max_tokens");
    copy(params, "max_tokens", body, "max_completion_tokens");
    int rc = read_format(body, params, err);
    if (!rc)
        rc = read_tools(body, params, input, err);
    if (!rc)
        rc = read_chat_logprobs(body, params, err);
    json_object_set_new(params, "inputs", json_pack("[o]", input));
    return rc;
}

/* What a helper could not read any more, since it goes on inside of other objects. */
static bool is_deep(const json_t *value, unsigned left) {
    const char *name;
    json_t *inner;
    size_t i;
    if (!left)
        return true;
    json_object_foreach((json_t *)(uintptr_t)value, name, inner)
        if (is_deep(inner, left - 1))
            return true;
    if (json_is_array(value))
        json_array_foreach((json_t *)(uintptr_t)value, i, inner)
            if (is_deep(inner, left - 1))
                return true;
    return false;
}

static int read_body(
    struct hn_request *req, const char *const *known, json_t **ret, struct hn_error *err) {
    int rc = hn_body_object(req, ret, err);
    if (!rc && is_deep(*ret, NESTED))
        rc = hn_fail(err, HN_E_INVALID_JSON, "the body is nested more than %d deep", NESTED);
    return rc ? rc : hn_json_known(*ret, known, "", err);
}

/* A text, a list of texts, a list of token ids, or a list of such lists. */
static int read_prompt(const json_t *body, json_t *params, struct hn_error *err) {
    json_t *prompt = json_object_get(body, "prompt"), *list = json_array(), *item;
    size_t i;
    if (json_is_string(prompt))
        json_array_append_new(list, json_pack("{s:O}", "prompt", prompt));
    else if (json_is_integer(json_array_get(prompt, 0)))
        json_array_append(list, prompt);
    else
        json_array_foreach(prompt, i, item)
            json_array_append_new(list,
                json_is_string(item) ? json_pack("{s:O}", "prompt", item) : json_incref(item));
    json_object_set_new(params, "inputs", list);
    return json_array_size(list) ? 0 : missing(err, "prompt");
}

static int read_text(const json_t *body, json_t *params, struct hn_error *err) {
    bool echo = false;
    int64_t best = 1, n = 1, logprobs = -1;
    int rc = read_prompt(body, params, err);
    if (!rc)
        rc = hn_json_bool(body, "echo", &echo, err);
    if (!rc && echo)
        rc = refuse(err, "echo", "echo is not supported");
    if (!rc && json_string_length(json_object_get(body, "suffix")))
        rc = refuse(err, "suffix", "suffix is not supported");
    if (!rc)
        rc = hn_json_int(body, "best_of", 1, 20, &best, err);
    if (!rc)
        rc = hn_json_int(body, "n", 1, 128, &n, err);
    if (!rc && json_is_integer(json_object_get(body, "best_of")) && best != n)
        rc = refuse(err, "best_of", "best_of must be n");
    if (!rc)
        rc = hn_json_int(body, "logprobs", 0, 5, &logprobs, err);
    if (logprobs >= 0)
        json_object_set_new(params, "logprobs", json_integer((json_int_t)logprobs));
    json_object_set_new(params, "max_tokens", json_integer(16));
    copy(params, "max_tokens", body, "max_tokens");
    return rc;
}

/* What a route knows, how it reads what is its own, and how it answers. */
struct route {
    const char *const *known;
    const char *prefix; /* of ids */
    int (*read)(const json_t *body, json_t *params, struct hn_error *err);
    const struct hn_talk_form *form;
};
static const struct route chat_route = {chat_known, "chatcmpl-", read_chat, &chat_form},
                          text_route = {text_known, "cmpl-", read_text, &text_form};

static int complete(struct hn_request *req, const struct route *route, struct hn_error *err) {
    json_t *body = NULL, *params = json_object(), *form_data = NULL;
    struct hn_buf key = {0};
    bool stream = false;
    int rc = read_body(req, route->known, &body, err);
    if (!rc)
        rc = read_model(req, body, params, &key, err);
    if (!rc)
        rc = route->read(body, params, err);
    if (!rc)
        rc = read_sampling(req, body, params, err);
    if (!rc && !(form_data = make_head(body, route->prefix, &stream, err)))
        rc = err->code ? err->code : hn_fail(err, HN_E_INTERNAL, "out of memory");
    json_decref(body);
    if (rc)
        json_decref(params);
    else
        rc = hn_talk(req, key.data, params, stream, route->form, form_data, err);
    hn_buf_free(&key);
    return rc;
}

int hn_openai_chat(struct hn_request *req, struct hn_error *err) {
    return complete(req, &chat_route, err);
}

int hn_openai_completions(struct hn_request *req, struct hn_error *err) {
    return complete(req, &text_route, err);
}
