/*
 * texttool MODEL (a GGUF file, or a folder, which needs no weights): tokenizes and renders for the
 * parity tests. One JSON object a line in, one a line out.
 *
 *   {"op":"encode","text":"…"|"hex":"…","special":bool} →
 *   {"ids":[…],"offsets":[…],"spans":[[begin,end],…]}
 *   {"op":"ends"} → {"ids":[…]}, those that end a turn
 *   {"op":"wrap","text":"…","pair":"…" or absent} → {"ids":[…],"types":[…],"begin":[a,b]}
 *   {"op":"render","messages":[…],"tools","add_generation_prompt","date","template"} →
 * {"text":"…","origins":[[origin,bytes],…]}
 *   {"op":"example","messages"…, "template"} → {"ids":[…],"weights":[…],"offsets":[…]}
 *   {"op":"asked","input":…, "template"} → {"ids":[…],"again":"…"}: what a prediction begins with
 *   {"op":"time","text":"…","repeat":N} → {"seconds":…,"tokens":…}
 * A failure answers {"error":"…","code":"…"}.
 */
#include "engine/families/load.h"
#include "engine/data/encode.h"
#include "engine/data/prompt.h"
#include "engine/model/model.h"

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
    uint16_t *origin =
        json_is_true(json_object_get(in, "special")) ? hn_calloc(text.size, sizeof *origin) : NULL;
    json_t *out;
    if (hn_tokenizer_encode(tool->codec.tokenizer, text.data, text.size, origin, &ids, &err)) {
        out = failure(&err);
    } else {
        json_t *list = json_array(), *offsets = json_array(), *spans = json_array();
        for (size_t i = 0; i < ids.n; i++) {
            size_t begin, end;
            hn_tokenizer_span(tool->codec.tokenizer, text.data, text.size, &ids, i, &begin, &end);
            json_array_append_new(list, json_integer(ids.ids[i]));
            json_array_append_new(offsets, json_integer(ids.offsets[i]));
            json_array_append_new(spans, json_pack("[I, I]", (json_int_t)begin, (json_int_t)end));
        }
        out = json_pack("{s:o, s:o, s:o}", "ids", list, "offsets", offsets, "spans", spans);
    }
    free(origin);
    hn_ids_free(&ids);
    hn_buf_free(&text);
    return out;
}

static json_t *op_wrap(struct tool *tool, const json_t *in) {
    const json_t *texts[2] = {json_object_get(in, "text"), json_object_get(in, "pair")};
    struct hn_ids ids[2] = {{0}};
    struct hn_sequence seq = {0};
    struct hn_error err = {0};
    int rc = 0;
    for (int i = 0; !rc && i < 2; i++)
        if (texts[i])
            rc = hn_tokenizer_encode(tool->codec.tokenizer, json_string_value(texts[i]),
                json_string_length(texts[i]), NULL, &ids[i], &err);
    if (!rc)
        rc = hn_tokenizer_wrap(
            tool->codec.tokenizer, &ids[0], texts[1] ? &ids[1] : NULL, &seq, &err);
    json_t *list = json_array(), *types = json_array();
    for (size_t i = 0; i < seq.n; i++) {
        json_array_append_new(list, json_integer(seq.ids[i]));
        json_array_append_new(types, json_integer(seq.types[i]));
    }
    json_t *out = rc ? failure(&err)
                     : json_pack("{s:O, s:O, s:[I, I]}", "ids", list, "types", types, "begin",
                           (json_int_t)seq.begin[0], (json_int_t)seq.begin[1]);
    json_decref(list);
    json_decref(types);
    hn_sequence_free(&seq);
    hn_ids_free(&ids[0]);
    hn_ids_free(&ids[1]);
    return out;
}

static json_t *op_ends(struct tool *tool, const json_t *in) {
    json_t *list = json_array();
    (void)in;
    for (size_t id = 0; id < hn_tokenizer_vocab(tool->codec.tokenizer); id++)
        if (hn_tokenizer_is_end(tool->codec.tokenizer, (int32_t)id))
            json_array_append_new(list, json_integer((json_int_t)id));
    return json_pack("{s:o}", "ids", list);
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
    return json_pack("{s:f, s:I}", "seconds",
        (double)(b.tv_sec - a.tv_sec) + 1e-9 * (double)(b.tv_nsec - a.tv_nsec), "tokens",
        (json_int_t)tokens);
}

/* The codec with the request's own template, if it brings one. */
static int with_template(
    const struct tool *tool, const json_t *in, struct hn_codec *ret, struct hn_error *err) {
    const json_t *source = json_object_get(in, "template");
    *ret = tool->codec;
    ret->turn = NULL;
    ret->turn_size = 0;
    if (json_is_string(source))
        ret->chat_tools = NULL;
    snprintf(ret->date, sizeof ret->date, "%s",
        json_is_string(json_object_get(in, "date")) ? json_string_value(json_object_get(in, "date"))
                                                    : "2026-01-31");
    return json_is_string(source) ? hn_template_compile(json_string_value(source),
                                        json_string_length(source), &ret->chat, err)
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
    if (!rc && !codec.chat)
        rc = hn_fail(&err, HN_E_UNSUPPORTED, "the model has no chat template");
    if (!rc)
        rc = hn_template_render(
            input.tools && codec.chat_tools ? codec.chat_tools : codec.chat, &input, &text, &err);
    json_t *out = rc ? failure(&err)
                     : json_pack("{s:o, s:o}", "text",
                           json_stringn(text.text.data ? text.text.data : "", text.text.size),
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
    json_t *out = rc
        ? failure(&err)
        : json_pack("{s:O, s:O, s:O}", "ids", ids, "weights", weights, "offsets", offsets);
    json_decref(ids);
    json_decref(weights);
    json_decref(offsets);
    hn_encoded_finish(&encoded);
    free(codec.turn);
    if (codec.chat != tool->codec.chat)
        hn_template_destroy(codec.chat);
    return out;
}

static json_t *op_asked(struct tool *tool, const json_t *in) {
    struct hn_codec codec;
    struct hn_prompt prompt = {0};
    struct hn_error err = {0};
    int rc = with_template(tool, in, &codec, &err);
    if (!rc)
        rc = hn_prompt_from_input(&codec, json_object_get(in, "input"), &prompt, &err);
    json_t *ids = json_array(), *out;
    for (size_t i = 0; !rc && i < prompt.ids.n; i++)
        json_array_append_new(ids, json_integer(prompt.ids.ids[i]));
    struct hn_view again = hn_prompt_again(&prompt);
    out =
        rc ? failure(&err) : json_pack("{s:O, s:s%}", "ids", ids, "again", again.data, again.size);
    json_decref(ids);
    hn_prompt_finish(&prompt);
    if (codec.chat != tool->codec.chat)
        hn_template_destroy(codec.chat);
    return out;
}

static const struct op {
    const char *name;
    json_t *(*run)(struct tool *tool, const json_t *in);
} ops[] = {
    {"encode", op_encode},
    {"wrap", op_wrap},
    {"ends", op_ends},
    {"time", op_time},
    {"render", op_render},
    {"example", op_example},
    {"asked", op_asked},
};

static json_t *answer(struct tool *tool, const json_t *in) {
    const char *name = json_string_value(json_object_get(in, "op"));
    for (size_t i = 0; name && i < sizeof ops / sizeof ops[0]; i++)
        if (strcmp(ops[i].name, name) == 0)
            return ops[i].run(tool, in);
    return json_pack("{s:s}", "error", "unknown op");
}

/* The tokenizer of a folder whose weights are absent or of a family that the engine has not. */
static int open_text(struct hn_model *model, const char *path, struct hn_error *err) {
    if (!hn_is_folder(path))
        return hn_model_peek(model, path, err);
    char config[4200];
    snprintf(config, sizeof config, "%.4096s/config.json", path);
    *model = (struct hn_model){.is_folder = true};
    snprintf(model->folder.dir, sizeof model->folder.dir, "%.4095s", path);
    model->folder.config = json_load_file(config, 0, NULL);
    return hn_folder_text(&model->folder, &model->gguf, err);
}

int main(int argc, char **argv) {
    struct tool tool = {0};
    struct hn_error err = {0};
    char *line = NULL;
    size_t capacity = 0;
    ssize_t n;
    if (argc != 2 || open_text(&tool.model, argv[1], &err) ||
        hn_codec_open(&tool.model, &tool.codec, &err)) {
        fprintf(stderr, "%s\n", argc != 2 ? "usage: texttool MODEL < requests" : err.message);
        hn_model_close(&tool.model);
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
