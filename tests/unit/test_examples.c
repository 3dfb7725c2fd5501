/* Rows to tokens: what is trained, overflow, BOS, prompts, the validation split, and the preview of
 * a row. */
#include "engine/data/split.h"
#include "engine/data/prompt.h"
#include "engine/data/examples.h"
#include "engine/helper/call.h"
#include "tests/unit/tiny_model.h"

#include <setjmp.h>
#include <stdarg.h>
#include <cmocka.h>

struct fixture {
    char model[64], file[64];
    struct hn_gguf gguf;
    struct hn_codec codec;
    struct hn_dataset data;
};

static void set_up(struct fixture *f, bool bos, const char *chat, const char *rows) {
    struct hn_error err = {0};
    tiny_write(f->model, "gpt-2", bos, chat);
    tiny_file(f->file, rows, strlen(rows));
    assert_int_equal(hn_gguf_open(&f->gguf, f->model, NULL), 0);
    if (hn_codec_from_gguf(&f->gguf, &f->codec, &err) ||
        hn_dataset_open(&f->data, f->file, NULL, &err))
        fail_msg("%s", err.message);
}

static void tear_down(struct fixture *f) {
    hn_dataset_close(&f->data);
    hn_codec_finish(&f->codec);
    hn_gguf_close(&f->gguf);
    unlink(f->model);
    unlink(f->file);
}

static const struct hn_encode_options plain = {.task = HN_TASK_GENERATION,
    .max_length = 1000,
    .overflow = HN_OVERFLOW_TRUNCATE,
    .loss_on = HN_LOSS_ON_COMPLETION,
    .vocab = TINY_VOCAB};

/* The text of the targets of a row. */
static void targets(
    const struct fixture *f, const struct hn_examples *ex, size_t row, struct hn_buf *out) {
    hn_buf_clear(out);
    hn_buf_append(out, "", 0);
    assert_true(ex->weights[ex->starts[row]] == 0);
    for (size_t i = ex->starts[row]; i < ex->starts[row + 1]; i++)
        if (ex->weights[i] != 0)
            hn_tokenizer_decode(f->codec.tokenizer, ex->tokens[i], true, out);
}

#define CHAT(a, b)                                                                                 \
    "{\"messages\":[{\"role\":\"user\",\"content\":\"hi\"},{\"role\":\"assistant\",\"content\":"   \
    "\"" a "\"},"                                                                                  \
    "{\"role\":\"user\",\"content\":\"<|im_end|>\"},{\"role\":\"assistant\",\"content\":\"two\"" b \
    "}]}\n"

static void test_chat(void **state) {
    struct fixture f;
    struct hn_examples ex;
    struct hn_buf text = {0};
    (void)state;
    set_up(&f, false, TINY_CHATML,
        CHAT("hello", "") CHAT("x", ",\"weight\":0") CHAT("x", ",\"weight\":0.25"));
    assert_int_equal(hn_examples_encode(&f.codec, &f.data, NULL, 3, &plain, &ex, NULL), 0);
    assert_int_equal(ex.n_rows, 3);
    targets(&f, &ex, 0, &text);
    assert_string_equal(text.data, "hello<|im_end|>two<|im_end|>");
    targets(&f, &ex, 1, &text);
    assert_string_equal(text.data, "x<|im_end|>");
    targets(&f, &ex, 2, &text);
    assert_string_equal(text.data, "x<|im_end|>two<|im_end|>");
    assert_true(ex.weights[ex.starts[3] - 2] == 0.25f);
    assert_true(ex.weights[ex.starts[3] - 1] == 0); /* the newline behind the end of the turn */
    /* four turns end; the user's own "<|im_end|>" is ordinary text */
    size_t stops = 0;
    for (size_t i = ex.starts[0]; i < ex.starts[1]; i++)
        stops += ex.tokens[i] == TINY_STOP;
    assert_int_equal(stops, 4);
    hn_buf_free(&text);
    hn_examples_finish(&ex);
    tear_down(&f);
}

/* What the template writes inside the turn, before and behind the message's own bytes, is trained
 * as well. */
static void test_turn_of_template(void **state) {
    static const char chat[] =
        "{% for m in messages %}<|im_start|>{{ m.role }}\n{% if m.tool_calls %}<tool>{{ "
        "m.tool_calls[0].function.name }}</tool>{% else %}{{ m.content }}{% endif %}<|im_end|>\n{% "
        "endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}";
    struct fixture f;
    struct hn_examples ex;
    struct hn_buf text = {0};
    (void)state;
    set_up(&f, false, chat,
        "{\"messages\":[{\"role\":\"user\",\"content\":\"a\"},{\"role\":\"assistant\",\"content\":"
        "null,\"tool_calls\":[{\"function\":{\"name\":\"f\",\"arguments\":{}}}]},{\"role\":"
        "\"tool\",\"content\":\"r\"},{\"role\":\"assistant\",\"content\":\"b\"}]}\n");
    assert_int_equal(hn_examples_encode(&f.codec, &f.data, NULL, 1, &plain, &ex, NULL), 0);
    targets(&f, &ex, 0, &text);
    assert_string_equal(text.data, "<tool>f</tool><|im_end|>b<|im_end|>");
    hn_buf_free(&text);
    hn_examples_finish(&ex);
    tear_down(&f);
}

static void test_completion(void **state) {
    struct fixture f;
    struct hn_examples ex;
    struct hn_buf text = {0};
    (void)state;
    /* "he" + "llo" are the one token hello together, before which the border moves */
    set_up(&f, true, NULL,
        "{\"prompt\":\"a\",\"completion\":\" b\"}\n{\"prompt\":\"he\",\"completion\":\"llo\"}\n");
    assert_int_equal(hn_examples_encode(&f.codec, &f.data, NULL, 2, &plain, &ex, NULL), 0);
    assert_int_equal(ex.tokens[0], TINY_START);
    targets(&f, &ex, 0, &text);
    assert_string_equal(text.data, " b<|im_end|>");
    targets(&f, &ex, 1, &text);
    assert_string_equal(text.data, "hello<|im_end|>");
    assert_int_equal(ex.notices.n, 1);
    assert_int_equal(ex.notices.list[0].kind, HN_NOTICE_BORDER);
    assert_int_equal(ex.notices.list[0].rows, 1);
    hn_examples_finish(&ex);
    struct hn_encode_options all = plain;
    all.loss_on = HN_LOSS_ON_ALL;
    assert_int_equal(hn_examples_encode(&f.codec, &f.data, NULL, 1, &all, &ex, NULL), 0);
    targets(&f, &ex, 0, &text);
    assert_string_equal(text.data, "a b<|im_end|>");
    hn_buf_free(&text);
    hn_examples_finish(&ex);
    tear_down(&f);
}

static void test_overflow(void **state) {
    struct fixture f;
    struct hn_examples ex;
    struct hn_error err = {0};
    (void)state;
    set_up(&f, false, NULL, "{\"text\":\"abcdef\"}\n{\"text\":\"x\"}\n{\"text\":\"xyz\"}\n");
    struct hn_encode_options o = plain;
    o.max_length = 3;
    assert_int_equal(hn_examples_encode(&f.codec, &f.data, NULL, 3, &o, &ex, NULL), 0);
    assert_int_equal(ex.n_rows, 3);
    assert_int_equal(ex.truncated, 2);
    assert_int_equal(ex.target_tokens, 2 + 1 + 2);
    hn_examples_finish(&ex);
    o.overflow = HN_OVERFLOW_DROP;
    assert_int_equal(hn_examples_encode(&f.codec, &f.data, NULL, 3, &o, &ex, NULL), 0);
    assert_int_equal(ex.n_rows, 1);
    assert_int_equal(ex.dropped, 2);
    assert_int_equal(ex.lines[0], 2);
    assert_int_equal(ex.rows[0], 1);
    hn_examples_finish(&ex);
    o.overflow = HN_OVERFLOW_ERROR;
    assert_int_equal(
        hn_examples_encode(&f.codec, &f.data, NULL, 3, &o, &ex, &err), HN_E_DATASET_INVALID);
    assert_non_null(strstr(err.message, "line 1"));
    o = plain;
    o.vocab = 10;
    assert_int_equal(
        hn_examples_encode(&f.codec, &f.data, NULL, 3, &o, &ex, &err), HN_E_MODEL_INVALID);
    tear_down(&f);
}

static void test_prompts(void **state) {
    struct fixture f;
    struct hn_prompt prompt = {0};
    struct hn_error err = {0};
    (void)state;
    set_up(&f, false, TINY_CHATML, CHAT("hello", ""));
    assert_int_equal(hn_prompt_from_row(&f.codec, &f.data, 0, &prompt, NULL), 0);
    assert_string_equal(prompt.reference.data, "two");
    assert_string_equal(prompt.text.data + prompt.text.size - 22, "<|im_start|>assistant\n");
    assert_int_equal(prompt.ids.ids[0], TINY_START);
    hn_prompt_finish(&prompt);
    json_t *text = json_string("<|im_end|>");
    assert_int_equal(hn_prompt_from_input(&f.codec, text, &prompt, NULL), 0);
    assert_string_equal(
        prompt.text.data, "<|im_start|>user\n<|im_end|><|im_end|>\n<|im_start|>assistant\n");
    size_t stops = 0;
    for (size_t i = 0; i < prompt.ids.n; i++)
        stops += prompt.ids.ids[i] == TINY_STOP;
    assert_int_equal(stops, 1);
    hn_prompt_finish(&prompt);
    json_decref(text);
    json_t *bad = json_pack("[{s:s}]", "role", "pirate");
    assert_int_equal(hn_prompt_from_input(&f.codec, bad, &prompt, &err), HN_E_INVALID_FIELD);
    assert_non_null(strstr(err.message, "pirate"));
    json_decref(bad);
    tear_down(&f);
}

static void test_split(void **state) {
    struct fixture f;
    struct hn_buf rows = {0};
    size_t *held, *again, n, m;
    (void)state;
    for (int i = 0; i < 1000; i++)
        hn_buf_printf(
            &rows, "{\"text\":\"t%d\",\"label\":\"%s\"}\n", i, i % 10 ? "common" : "rare");
    set_up(&f, false, NULL, rows.data);
    assert_int_equal(hn_split_validation(&f.data, NULL, 0.1, &held, &n, NULL), 0);
    assert_int_equal(n, 100);
    size_t rare = 0;
    for (size_t i = 0; i < n; i++) {
        assert_true(i == 0 || held[i] > held[i - 1]);
        rare += held[i] % 10 == 0;
    }
    assert_int_equal(rare, 10);
    assert_int_equal(hn_split_validation(&f.data, NULL, 0.1, &again, &m, NULL), 0);
    assert_int_equal(m, n);
    assert_memory_equal(held, again, n * sizeof *held);
    free(held);
    free(again);
    hn_buf_free(&rows);
    tear_down(&f);
}

static void test_preview(void **state) {
    struct fixture f;
    struct hn_error err = {0};
    struct hn_helper_call call = {0};
    json_t *result = NULL;
    (void)state;
    set_up(&f, false, TINY_CHATML,
        CHAT("hello", "") "{\"messages\":[{\"role\":\"user\",\"content\":\"\xC3\xA9\"},{\"role\":"
                          "\"assistant\",\"content\":\"b\"}]}\n");
    json_t *params = json_pack("{s:{s:s}, s:{s:s}, s:i, s:{s:i}}", "model", "path", f.model, "data",
        "path", f.file, "row", 2, "hyperparameters", "max_length", 8);
    if (hn_helper_dataset_preview(&call, params, &result, &err))
        fail_msg("%s", err.message);
    assert_int_equal(json_integer_value(json_object_get(result, "line")), 2);
    assert_string_equal(json_string_value(json_object_get(result, "rendered")),
        "<|im_start|>user\n\xC3\xA9<|im_end|>\n<|im_start|>assistant\nb<|im_end|>\n");
    json_t *tokens = json_object_get(result, "tokens"), *first = json_array_get(tokens, 0),
           *part = json_array_get(tokens, 6);
    assert_string_equal(json_string_value(json_object_get(first, "text")), "<|im_start|>");
    assert_string_equal(json_string_value(json_object_get(first, "state")), "masked");
    assert_true(json_is_null(json_object_get(first, "message")));
    assert_string_equal(json_string_value(json_object_get(part, "bytes")), "c3");
    assert_int_equal(json_integer_value(json_object_get(part, "message")), 0);
    assert_string_equal(
        json_string_value(json_object_get(json_array_get(tokens, 8), "state")), "truncated");
    assert_string_equal(json_string_value(json_object_get(result, "dropped")), "no_target");
    json_decref(result);
    result = NULL;
    json_object_set_new(params, "row", json_integer(3));
    assert_int_equal(hn_helper_dataset_preview(&call, params, &result, &err), HN_E_NOT_FOUND);
    assert_null(result);
    assert_int_equal(
        hn_helper_dataset_inspect(&call, json_object_get(params, "data"), &result, &err), 0);
    assert_int_equal(json_integer_value(json_object_get(result, "rows")), 2);
    json_decref(result);
    json_decref(params);
    tear_down(&f);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_chat),
        cmocka_unit_test(test_turn_of_template), cmocka_unit_test(test_completion),
        cmocka_unit_test(test_overflow), cmocka_unit_test(test_prompts),
        cmocka_unit_test(test_split), cmocka_unit_test(test_preview)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
