/* predict: answers of a base model, or of a job's result, to a list of inputs. The model stays open
 * between calls. */
#include "engine/limits.h"
#include "engine/data/prompt.h"
#include "engine/base/buf.h"
#include "engine/eval/generate.h"
#include "engine/helper/call.h"
#include "engine/base/json.h"
#include "engine/eval/predictor.h"
#include "engine/run/run.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* A call whose inputs are a part of a longer list, from `first` on. */
struct piece_of {
    struct hn_helper_call *call;
    size_t first;
};

static void send_piece(void *user, size_t input, const char *text, size_t size) {
    const struct piece_of *of = user;
    hn_helper_chunk(of->call,
        json_pack("{s:I, s:o}", "index", (json_int_t)(of->first + input), "text",
            hn_json_text(text, size)),
        NULL);
}

static json_t *result_json(const struct hn_generated *r) {
    return json_pack("{s:o, s:s, s:{s:I, s:I}}", "text", hn_json_text(r->text.data, r->text.size),
        "finish_reason", r->finish_reason, "usage", "prompt_tokens", (json_int_t)r->prompt_tokens,
        "completion_tokens", (json_int_t)r->tokens);
}

static int read_prompt(
    const struct hn_predictor *p, json_t *input, struct hn_prompt *ret, struct hn_error *err) {
    json_t *asked = json_is_string(input) && hn_predictor_on_texts(p)
        ? json_pack("{s:O}", "prompt", input)
        : json_incref(input);
    int rc = hn_prompt_from_input(&p->loaded.codec, asked, ret, err);
    json_decref(asked);
    return rc;
}

static int answer(struct hn_helper_call *call, const json_t *inputs, const struct hn_sampling *w,
    bool stream, json_t **ret, struct hn_error *err) {
    struct hn_predictor *p = *call->predictor;
    struct piece_of of = {call, w->options.first};
    size_t n = json_array_size(inputs);
    struct hn_prompt *prompts = hn_calloc(n, sizeof *prompts);
    struct hn_generated *results = hn_calloc(n, sizeof *results);
    int rc = prompts && results ? 0 : hn_fail(err, HN_E_INTERNAL, "out of memory");
    for (size_t i = 0; !rc && i < n; i++)
        rc = read_prompt(p, json_array_get(inputs, i), &prompts[i], err);
    if (!rc)
        rc = hn_predictor_generate(
            p, prompts, n, &w->options, results, stream ? send_piece : NULL, &of, err);
    json_t *data = json_array();
    size_t done = 0;
    while (!rc && done < n && results[done].finish_reason)
        done++;
    for (size_t i = 0; prompts && results && i < n; i++) {
        if (!rc && i < done)
            json_array_append_new(data, result_json(&results[i]));
        hn_generated_finish(&results[i]);
        hn_prompt_finish(&prompts[i]);
    }
    free(prompts);
    free(results);
    if (rc)
        json_decref(data);
    else
        *ret = done < n ? json_pack("{s:o, s:b}", "data", data, "paused", 1)
                        : json_pack("{s:o}", "data", data);
    return rc;
}

int hn_helper_predict(
    struct hn_helper_call *call, const json_t *params, json_t **ret, struct hn_error *err) {
    const json_t *inputs = json_object_get(params, "inputs"),
                 *source = json_object_get(params, "source");
    const char *path;
    struct hn_sampling writing = {0};
    bool stream = false;
    int64_t first = 0;
    int rc = hn_sampling_read(params, HN_MAX_TOKENS, &writing, err);
    if (!rc)
        rc = hn_json_int(params, "first", 0, HN_INPUTS_MAX, &first, err);
    if (!rc)
        rc = hn_json_bool(params, "stream", &stream, err);
    if (!rc &&
        (!json_is_array(inputs) || !json_array_size(inputs) ||
            json_array_size(inputs) > HN_INPUTS_MAX)) {
        rc = hn_fail(err, HN_E_INVALID_FIELD,
            "inputs must be a list of 1 to %d texts or conversations", HN_INPUTS_MAX);
        hn_error_field(err, "inputs");
    }
    if (!rc)
        rc = hn_helper_path(json_object_get(params, "model"), &path, err);
    if (!rc)
        rc = hn_predictor_find(call->predictor, path, json_is_object(source) ? source : NULL, err);
    if (rc)
        return rc;
    writing.options.first = (size_t)first;
    writing.options.pause = call->pause;
    if ((*call->predictor)->loaded.model.head.objective != HN_OBJECTIVE_TOKENS)
        return hn_predictor_answer(*call->predictor, inputs, ret, err);
    return answer(call, inputs, &writing, stream, ret, err);
}
