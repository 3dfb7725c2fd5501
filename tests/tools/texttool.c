/*
 * texttool MODEL (a GGUF file or a folder): tokenizes and renders for the parity tests. One JSON object a line in, one a line out.
 *
 *   {"op":"encode","text":"…"|"hex":"…","special":bool} → {"ids":[…],"offsets":[…]}
 *   {"op":"render","messages":[…],"tools","add_generation_prompt","date","template"} →
 * {"text":"…","origins":[[origin,bytes],…]}
 *   {"op":"example","messages"…, "template"} → {"ids":[…],"weights":[…],"offsets":[…]}
 *   {"op":"time","text":"…","repeat":N} → {"seconds":…,"tokens":…}
 * A failure answers {"error":"…","code":"…"}.
 */
#include "engine/encode.h"
#include "engine/model.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

struct tool {
    struct hn_model model;
    struct hn_codec codec;
};

static json_t *failure(const struct hn_error *err) {
    return json_pack("{s:s, s:s}", "error", err->message, "code", hn_error_name(err->code));
}

static void unhex(const char *hex, struct hn_buf *out) {
    for (size_t i = 0; hex[i] && hex[i + 1]; i += 2) {
        char digits[3] = {hex[i], hex[i + 1], 0};
        hn_buf_char(out, (char)strtol(digits, NULL, 16));
    }
}

static void get_text(const json_t *in, struct hn_buf *out) {
    const json_t *text = json_object_get(in, "text");
    if (json_is_string(text))
        hn_buf_append(out, json_string_value(text), json_string_length(text));
    else if (json_is_string(json_object_get(in, "hex")))
        unhex(json_string_value(json_object_get(in, "hex")), out);
}

static json_t *op_encode(struct tool *tool, const json_t *in) {
    struct hn_buf text = {0};
    struct hn_ids ids = {0};
    struct hn_error err = {0};
    get_text(in, &text);
    uint16_t *origin = json_is_true(json_object_get(in, "special")) ? hn_calloc(text.size, sizeof *origin) : NULL;
    json_t *out;
    if (hn_tokenizer_encode(tool->codec.tokenizer, text.data, text.size, origin, &ids, &err)) {
        out = failure(&err);
    } else {
        json_t *list = json_array(), *offsets = json_array();
        for (size_t i = 0; i < ids.n; i++) {
            json_array_append_new(list, json_integer(ids.ids[i]));
            json_array_append_new(offsets, json_integer(ids.offsets[i]));
        }
        out = json_pack("{s:o, s:o}", "ids", list, "offsets", offsets);
    }
    free(origin);
    hn_ids_free(&ids);
    hn_buf_free(&text);
    return out;
}

static json_t *op_time(struct tool *tool, const json_t *in) {
    struct hn_buf text = {0};
    struct timespec a, b;
    size_t tokens = 0;
    long long repeat = json_integer_value(json_object_get(in, "repeat"));
    get_text(in, &text);
    clock_gettime(CLOCK_MONOTONIC, &a);
    for (long long i = 0; i < (repeat > 0 ? repeat : 1); i++) {
        struct hn_ids ids = {0};
        hn_tokenizer_encode(tool->codec.tokenizer, text.data, text.size, NULL, &ids, NULL);
        tokens = ids.n;
        hn_ids_free(&ids);
    }
    clock_gettime(CLOCK_MONOTONIC, &b);
    hn_buf_free(&text);
    return json_pack("{s:f, s:I}", "seconds", (double)(b.tv_sec - a.tv_sec) + 1e-9 * (double)(b.tv_nsec - a.tv_nsec),
        "tokens", (json_int_t)tokens);
}

/* The codec with the request's own template, if it brings one. */
static int with_template(const struct tool *tool, const json_t *in, struct hn_codec *ret, struct hn_error *err) {
    const json_t *source = json_object_get(in, "template");
    *ret = tool->codec;
    ret->turn = NULL;
    ret->turn_size = 0;
    snprintf(ret->date, sizeof ret->date, "%s",
        json_is_string(json_object_get(in, "date")) ? json_string_value(json_object_get(in, "date")) : "2026-01-31");
    return json_is_string(source)
        ? hn_template_compile(json_string_value(source), json_string_length(source), &ret->chat, err)
        : 0;
}

static json_t *runs(const struct hn_rendered *text) {
    json_t *list = json_array();
    for (size_t i = 0, end; i < text->text.size; i = end) {
        for (end = i + 1; end < text->text.size && text->origin[end] == text->origin[i];)
            end++;
        json_array_append_new(list, json_pack("[i, I]", text->origin[i], (json_int_t)(end - i)));
    }
    return list;
}

static json_t *op_render(struct tool *tool, const json_t *in) {
    struct hn_codec codec;
    struct hn_rendered text = {0};
    struct hn_error err = {0};
    const char *bos = json_string_value(json_object_get(in, "bos_token")),
               *eos = json_string_value(json_object_get(in, "eos_token"));
    int rc = with_template(tool, in, &codec, &err);
    struct hn_template_input input = {.messages = json_object_get(in, "messages"),
        .tools = json_object_get(in, "tools"),
        .add_generation_prompt = json_is_true(json_object_get(in, "add_generation_prompt")),
        .bos_token = bos ? bos : "",
        .eos_token = eos ? eos : "",
        .date = codec.date};
    if (json_is_null(input.tools))
        input.tools = NULL;
    if (!rc)
        rc = hn_template_render(codec.chat, &input, &text, &err);
    json_t *out = rc
        ? failure(&err)
        : json_pack("{s:o, s:o}", "text", json_stringn(text.text.data ? text.text.data : "", text.text.size),
              "origins", runs(&text));
    hn_rendered_free(&text);
    if (codec.chat != tool->codec.chat)
        hn_template_destroy(codec.chat);
    return out;
}

static json_t *op_example(struct tool *tool, const json_t *in) {
    struct hn_codec codec;
    struct hn_encoded encoded = {0};
    struct hn_error err = {0};
    struct hn_encode_options options = {.max_length = SIZE_MAX, .vocab = SIZE_MAX};
    enum hn_columns columns = json_object_get(in, "messages") ? HN_ROWS_MESSAGES
        : json_object_get(in, "prompt")                       ? HN_ROWS_PROMPT_COMPLETION
                                                              : HN_ROWS_TEXT;
    int rc = with_template(tool, in, &codec, &err);
    if (!rc)
        hn_codec_prepare(&codec);
    if (!rc)
        rc = hn_row_encode(&codec, columns, in, &options, &encoded, &err);
    json_t *ids = json_array(), *weights = json_array(), *offsets = json_array();
    for (size_t i = 0; !rc && i < encoded.ids.n; i++) {
        json_array_append_new(ids, json_integer(encoded.ids.ids[i]));
        json_array_append_new(weights, json_real((double)encoded.weights[i]));
        json_array_append_new(offsets, json_integer(encoded.ids.offsets[i]));
    }
    json_t *out =
        rc ? failure(&err) : json_pack("{s:O, s:O, s:O}", "ids", ids, "weights", weights, "offsets", offsets);
    json_decref(ids);
    json_decref(weights);
    json_decref(offsets);
    hn_encoded_finish(&encoded);
    free(codec.turn);
    if (codec.chat != tool->codec.chat)
        hn_template_destroy(codec.chat);
    return out;
}

static const struct op {
    const char *name;
    json_t *(*run)(struct tool *tool, const json_t *in);
} ops[] = {
    {"encode", op_encode},
    {"time", op_time},
    {"render", op_render},
    {"example", op_example},
};

static json_t *answer(struct tool *tool, const json_t *in) {
    const char *name = json_string_value(json_object_get(in, "op"));
    for (size_t i = 0; name && i < sizeof ops / sizeof ops[0]; i++)
        if (strcmp(ops[i].name, name) == 0)
            return ops[i].run(tool, in);
    return json_pack("{s:s}", "error", "unknown op");
}

int main(int argc, char **argv) {
    struct tool tool = {0};
    struct hn_error err = {0};
    char *line = NULL;
    size_t capacity = 0;
    ssize_t n;
    if (argc != 2 || hn_model_peek(&tool.model, argv[1], &err) || hn_codec_open(&tool.model, &tool.codec, &err)) {
        fprintf(stderr, "%s\n", argc != 2 ? "usage: texttool MODEL < requests" : err.message);
        return 1;
    }
    while ((n = getline(&line, &capacity, stdin)) > 0) {
        json_t *in = json_loadb(line, (size_t)n, JSON_ALLOW_NUL, NULL);
        json_t *out = in ? answer(&tool, in) : json_pack("{s:s}", "error", "not JSON");
        json_dumpf(out, stdout, JSON_COMPACT);
        putchar('\n');
        fflush(stdout);
        json_decref(in);
        json_decref(out);
    }
    free(line);
    hn_codec_finish(&tool.codec);
    hn_model_close(&tool.model);
    return 0;
}
