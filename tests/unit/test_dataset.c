/* Data sets: formats and layouts that are recognised, problems that are named, files that are
 * odd. */
#include "engine/data/dataset.h"
#include "tests/unit/tiny_model.h"

#include <setjmp.h>
#include <stdarg.h>
#include <cmocka.h>

static int open_text(struct hn_dataset *data, const void *text, size_t size,
    const struct hn_dataset_options *options, struct hn_error *err) {
    char path[64];
    tiny_file(path, text, size);
    int rc = hn_dataset_open(data, path, options, err);
    unlink(path); /* the map lives on */
    return rc;
}

static void expect_row(const struct hn_dataset *data, size_t row, const char *want) {
    json_t *have = NULL, *expected = json_loads(want, 0, NULL);
    assert_non_null(expected);
    assert_int_equal(hn_dataset_row(data, row, &have, NULL), 0);
    if (!json_equal(have, expected)) {
        char *text = json_dumps(have, 0);
        print_message("%s\n", text);
        free(text);
        fail_msg("want %s", want);
    }
    json_decref(have);
    json_decref(expected);
}

static void test_layouts(void **state) {
    (void)state;
    static const struct {
        const char *file, *columns, *format, *row,
            *task; /* columns: the mapping asked for; row: the last one, converted */
        enum hn_columns kind;
        size_t rows;
    } cases[] = {
        {"{\"messages\":[{\"role\":\"user\",\"content\":\"a\"},{\"role\":\"assistant\",\"content\":"
         "\"b\",\"weight\":0.5}]}\n",
            NULL, "jsonl",
            "{\"messages\":[{\"role\":\"user\",\"content\":\"a\"},{\"role\":\"assistant\","
            "\"content\":\"b\",\"weight\":0.5}]}",
            "generation", HN_ROWS_MESSAGES, 1},
        {"{\"messages\":[{\"role\":\"user\",\"content\":[{\"type\":\"text\",\"text\":\"a\"},{"
         "\"type\":\"text\",\"text\":\"b\"}]}],\"tools\":[]}",
            NULL, "jsonl",
            "{\"messages\":[{\"role\":\"user\",\"content\":\"a\\nb\"}],\"tools\":[]}", "generation",
            HN_ROWS_MESSAGES, 1},
        {"\xEF\xBB\xBF{\"prompt\":\"p\",\"completion\":\"c\"}\r\n\r\n  "
         "\n{\"prompt\":\"q\",\"completion\":\"\\u00e9\"}",
            NULL, "jsonl", "{\"prompt\":\"q\",\"completion\":\"\xC3\xA9\"}", "generation",
            HN_ROWS_PROMPT_COMPLETION, 2},
        {"{\"question\":\"p\",\"answer\":\"c\"}",
            "{\"prompt\":\"question\",\"completion\":\"answer\"}", "jsonl",
            "{\"prompt\":\"p\",\"completion\":\"c\"}", "generation", HN_ROWS_PROMPT_COMPLETION, 1},
        {"{\"text\":\"a\"}", NULL, "jsonl", "{\"text\":\"a\"}", "generation", HN_ROWS_TEXT, 1},
        {"{\"text\":\"a\",\"label\":\"x\"}\n{\"text\":\"b\",\"label\":\"y\"}", NULL, "jsonl",
            "{\"text\":\"b\",\"label\":\"y\"}", "classification", HN_ROWS_TEXT_LABEL, 2},
        {"{\"context\":\"\xC3\xA9 "
         "two\",\"question\":\"q\",\"answers\":{\"text\":[\"two\"],\"answer_start\":[2]}}",
            NULL, "jsonl",
            "{\"context\":\"\xC3\xA9 "
            "two\",\"question\":\"q\",\"answers\":{\"text\":[\"two\"],\"answer_start\":[2]}}",
            "qa", HN_ROWS_QA, 1},
        {"{\"tokens\":[\"a\",\"b\"],\"tags\":[\"O\",\"B-X\"]}", NULL, "jsonl",
            "{\"tokens\":[\"a\",\"b\"],\"tags\":[\"O\",\"B-X\"]}", "token_classification",
            HN_ROWS_TOKENS_TAGS, 1},
        {"{\"prompt\":\"p\",\"chosen\":\"c\",\"rejected\":\"r\"}", NULL, "jsonl",
            "{\"prompt\":\"p\",\"chosen\":\"c\",\"rejected\":\"r\"}", "preference",
            HN_ROWS_PREFERENCE, 1},
        {"[ "
         "{\"instruction\":\"i\",\"input\":\"n\",\"output\":\"o\"},\n{\"instruction\":\"i\","
         "\"input\":\"\",\"output\":\"o\"}\n]\n",
            NULL, "json",
            "{\"messages\":[{\"role\":\"user\",\"content\":\"i\"},{\"role\":\"assistant\","
            "\"content\":\"o\"}]}",
            "generation", HN_ROWS_MESSAGES, 2},
        {"{\"instruction\":\"i\",\"input\":\"n\",\"output\":\"o\"}", NULL, "jsonl",
            "{\"messages\":[{\"role\":\"user\",\"content\":\"i\\n\\nn\"},{\"role\":\"assistant\","
            "\"content\":\"o\"}]}",
            "generation", HN_ROWS_MESSAGES, 1},
        {"{\"conversations\":[{\"from\":\"human\",\"value\":\"h\"},{\"from\":\"gpt\",\"value\":"
         "\"g\"}],\"system\":\"s\"}",
            NULL, "jsonl",
            "{\"messages\":[{\"role\":\"system\",\"content\":\"s\"},{\"role\":\"user\",\"content\":"
            "\"h\"},{\"role\":\"assistant\",\"content\":\"g\"}]}",
            "generation", HN_ROWS_MESSAGES, 1},
        {"text,label\n\"a, \"\"b\"\"\nc\",1\r\nd,0.5\n", NULL, "csv",
            "{\"text\":\"d\",\"label\":\"0.5\"}", "classification", HN_ROWS_TEXT_LABEL, 2},
        {"prompt;completion\np;\"c;\nd\"\n", NULL, "csv",
            "{\"prompt\":\"p\",\"completion\":\"c;\\nd\"}", "generation", HN_ROWS_PROMPT_COMPLETION,
            1},
        {"a \"quoted\" word\t1\n", "{\"text\":\"col1\",\"label\":\"col2\"}", "tsv",
            "{\"text\":\"a \\\"quoted\\\" word\",\"label\":\"1\"}", "classification",
            HN_ROWS_TEXT_LABEL, 1},
        {"{\"context\":\"a "
         "two\",\"question\":\"q\",\"answers\":[{\"text\":\"two\",\"answer_start\":2}]}",
            NULL, "jsonl",
            "{\"context\":\"a "
            "two\",\"question\":\"q\",\"answers\":{\"text\":[\"two\"],\"answer_start\":[2]}}",
            "qa", HN_ROWS_QA, 1},
        {"{\"conversations\":[{\"role\":\"user\",\"content\":\"h\"},{\"role\":\"assistant\","
         "\"content\":\"g\"}]}",
            NULL, "jsonl",
            "{\"messages\":[{\"role\":\"user\",\"content\":\"h\"},{\"role\":\"assistant\","
            "\"content\":\"g\"}]}",
            "generation", HN_ROWS_MESSAGES, 1},
        {"text\n\"a, b\"\n\"c\nd\"\n", NULL, "csv", "{\"text\":\"c\\nd\"}", "generation",
            HN_ROWS_TEXT, 2},
        {"\"Prompt\", Completion\np,c\n", NULL, "csv", "{\"prompt\":\"p\",\"completion\":\"c\"}",
            "generation", HN_ROWS_PROMPT_COMPLETION, 1},
        {"sentence\tlabel\nso it is\t1\n", NULL, "tsv", "{\"text\":\"so it is\",\"label\":\"1\"}",
            "classification", HN_ROWS_TEXT_LABEL, 1},
        {"review,sentiment\na,x\nb,y\nc,x\nd,y\ne,x\nf,y\ng,x\nh,y\ni,x\nj,y\nk,x\nl,y\nm,x\nn,y\n",
            NULL, "csv", "{\"text\":\"n\",\"label\":\"y\"}", "classification", HN_ROWS_TEXT_LABEL,
            14},
        {"a,x\nb,y\nc,x\nd,y\ne,x\nf,y\ng,x\nh,y\ni,x\nj,y\n", NULL, "csv",
            "{\"text\":\"j\",\"label\":\"y\"}", "classification", HN_ROWS_TEXT_LABEL, 10},
        /* Quotes behind blanks; blanks around what is not quoted stay. */
        {"\"text\", \"label\"\n\"a, 0\", \"good\"\n\"b \"\"1\"\"\n\" ,  \"bad, too\" \r\n", NULL,
            "csv", "{\"text\":\"b \\\"1\\\"\\n\",\"label\":\"bad, too\"}", "classification",
            HN_ROWS_TEXT_LABEL, 2},
        {"text, label\nb, \"y\" or z\na, \"x \n", NULL, "csv",
            "{\"text\":\"a\",\"label\":\" \\\"x \"}", "classification", HN_ROWS_TEXT_LABEL, 2},
        /* Line ends of Macs and of Windows. */
        {"text,label\r\"a 0\nb\",x\r\"c, \"\"\n\nd\",y\r", NULL, "csv",
            "{\"text\":\"c, \\\"\\n\\nd\",\"label\":\"y\"}", "classification", HN_ROWS_TEXT_LABEL,
            2},
        {"text,label\ra,x\rb,y\n", NULL, "csv", "{\"text\":\"b\",\"label\":\"y\"}",
            "classification", HN_ROWS_TEXT_LABEL, 2},
        {"text,label\r\r\na,x\r\r\n\r\r\n\"b\",\"y\"\r\r\n", NULL, "csv",
            "{\"text\":\"b\",\"label\":\"y\"}", "classification", HN_ROWS_TEXT_LABEL, 2},
        {"text,label\na\rb\rc,x\nd\re\rf,y\n", NULL, "csv",
            "{\"text\":\"d\\re\\rf\",\"label\":\"y\"}", "classification", HN_ROWS_TEXT_LABEL, 2},
        {"{\"text\":\"a\"}\r{\"text\":\"b\"}\r\n", NULL, "jsonl", "{\"text\":\"b\"}", "generation",
            HN_ROWS_TEXT, 2},
        {"{\"text\":\"a\"}\r{\"text\":\"b\"}\r{\"text\":\"c\"}\n", NULL, "jsonl",
            "{\"text\":\"c\"}", "generation", HN_ROWS_TEXT, 3},
        /* Cells of several lines between tabs; a quote that closes nowhere is a character. */
        {"text\tlabel\r\n\"a \"\"1\"\"\nb\"\tx\r\nz\ty\r\n\"c\nd\"\ty\r\n", NULL, "tsv",
            "{\"text\":\"c\\nd\",\"label\":\"y\"}", "classification", HN_ROWS_TEXT_LABEL, 3},
        {"text\tlabel\n\"a\tx\nb 5\"\ty\n", NULL, "tsv", "{\"text\":\"b 5\\\"\",\"label\":\"y\"}",
            "classification", HN_ROWS_TEXT_LABEL, 2},
        {"label\ttext\nx\t\"a\nb\"\ny\t\"c\nd\"", NULL, "tsv",
            "{\"text\":\"c\\nd\",\"label\":\"y\"}", "classification", HN_ROWS_TEXT_LABEL, 2},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct hn_dataset data;
        struct hn_error err = {0};
        json_t *columns = cases[i].columns ? json_loads(cases[i].columns, 0, NULL) : NULL;
        struct hn_dataset_options options = {.columns = columns};
        if (open_text(&data, cases[i].file, strlen(cases[i].file), &options, &err))
            fail_msg("%s: %s", cases[i].file, err.message);
        assert_string_equal(data.format, cases[i].format);
        assert_int_equal(data.columns, cases[i].kind);
        assert_int_equal(data.n_rows, cases[i].rows);
        assert_string_equal(hn_dataset_tasks(&data)[0], cases[i].task);
        expect_row(&data, data.n_rows - 1, cases[i].row);
        hn_dataset_close(&data);
        json_decref(columns);
    }
}

static void test_problems(void **state) {
    (void)state;
    static const char good[] = "{\"prompt\":\"p\",\"completion\":\"c\"}\n";
    static const struct {
        const char *line;
        size_t size;
        size_t column;
        const char *field, *says;
    } cases[] = {
        {"{\"prompt\":\"p\",}", 0, 15, "", "not valid JSON"},
        {"[1]", 0, 1, "", "no JSON object"},
        {"{\"prompt\":\"p\",\"prompt\":\"q\",\"completion\":\"c\"}", 0, 0, "", "uplicate"},
        {"{\"prompt\":5,\"completion\":\"c\"}", 0, 0, "prompt", "must be a text"},
        {"{\"prompt\":null,\"completion\":\"c\"}", 0, 0, "prompt", "null"},
        {"{\"prompt\":\"p\",\"completion\":\"\"}", 0, 0, "completion", "empty"},
        {"{\"prompt\":\"p\"}", 0, 0, "completion", "missing"},
        {"{\"text\":\"p\"}", 0, 0, "columns", "text"},
        {"{\"prompt\":\"a\xFF\",\"completion\":\"c\"}", 0, 13, "", "0xFF"},
        {"{\"prompt\":\"a\0\",\"completion\":\"c\"}", 31, 13, "", "0x00"},
        {"{\"prompt\":\"p\\ud800\",\"completion\":\"c\"}", 0, 0, "", "not valid JSON"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct hn_buf file = {0};
        struct hn_dataset data;
        struct hn_error err = {0};
        hn_buf_text(&file, good);
        hn_buf_append(&file, cases[i].line, cases[i].size ? cases[i].size : strlen(cases[i].line));
        hn_buf_text(&file, "\n");
        hn_buf_text(&file, good);
        assert_int_equal(open_text(&data, file.data, file.size, NULL, &err), HN_E_DATASET_INVALID);
        assert_int_equal(data.issues.n, 1);
        assert_int_equal(data.issues.list[0].line, 2);
        if (cases[i].column)
            assert_int_equal(data.issues.list[0].column, cases[i].column);
        assert_string_equal(data.issues.list[0].field, cases[i].field);
        if (!strstr(data.issues.list[0].message, cases[i].says))
            fail_msg("%s: %s", cases[i].line, data.issues.list[0].message);
        assert_true(data.issues.list[0].hint[0] != 0 && err.hint[0] != 0);
        assert_non_null(strstr(err.message, "line 2"));
        hn_dataset_close(&data);
        /* with drop the others are kept */
        struct hn_dataset_options drop = {.drop = true};
        assert_int_equal(open_text(&data, file.data, file.size, &drop, &err), 0);
        assert_int_equal(data.n_rows, 2);
        assert_int_equal(data.dropped, 1);
        assert_int_equal(data.lines[1], 3);
        hn_dataset_close(&data);
        hn_buf_free(&file);
    }
}

static void test_messages(void **state) {
    (void)state;
    static const struct {
        const char *messages, *field, *says;
    } cases[] = {
        {"[]", "messages", "empty list"},
        {"{}", "messages", "list of messages"},
        {"[5]", "messages[0]", "object"},
        {"[{\"content\":\"a\"}]", "messages[0]", "no role"},
        {"[{\"role\":\"user\",\"content\":\"a\"},{\"role\":\"robot\",\"content\":\"a\"}]",
            "messages[1]", "robot"},
        {"[{\"role\":\"user\"}]", "messages[0]", "no content"},
        {"[{\"role\":\"user\",\"content\":5}]", "messages[0]", "no text"},
        {"[{\"role\":\"assistant\",\"content\":\"\"}]", "messages[0]", "empty"},
        {"[{\"role\":\"assistant\",\"content\":\"a\",\"weight\":-1}]", "messages[0]", "weight"},
        {"[{\"role\":\"user\",\"content\":[{\"type\":\"image\"}]}]", "messages[0]", "no text"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        char file[256];
        struct hn_dataset data;
        snprintf(file, sizeof file, "{\"messages\":%s}\n", cases[i].messages);
        assert_int_equal(open_text(&data, file, strlen(file), NULL, NULL), HN_E_DATASET_INVALID);
        assert_string_equal(data.issues.list[0].field, cases[i].field);
        if (!strstr(data.issues.list[0].message, cases[i].says))
            fail_msg("%s: %s", file, data.issues.list[0].message);
        hn_dataset_close(&data);
    }
    static const char calls[] =
        "{\"messages\":[{\"role\":\"user\",\"content\":\"a\"},{\"role\":\"assistant\",\"content\":"
        "null,\"tool_calls\":[{\"function\":{\"name\":\"f\",\"arguments\":{}}}]}]}";
    struct hn_dataset data;
    assert_int_equal(open_text(&data, calls, sizeof calls - 1, NULL, NULL), 0);
    hn_dataset_close(&data);
}

static void expect_warning(const struct hn_dataset *data, const char *code, size_t lines) {
    json_t *warning;
    size_t i;
    json_array_foreach(data->issues.warnings, i, warning)
        if (strcmp(json_string_value(json_object_get(warning, "code")), code) == 0) {
            assert_int_equal(json_array_size(json_object_get(warning, "lines")), lines);
            return;
        }
    fail_msg("no warning %s", code);
}

static void test_warnings(void **state) {
    (void)state;
    static const char file[] = "{\"text\":\"a\",\"id\":1}\n{\"text\":\"b\",\"id\":2}\n";
    static const char silent[] = "{\"messages\":[{\"role\":\"user\",\"content\":\"a\"}]}";
    struct hn_dataset data;
    assert_int_equal(open_text(&data, file, sizeof file - 1, NULL, NULL), 0);
    expect_warning(&data, "ignored_column", 2);
    expect_warning(&data, "few_rows", 0);
    hn_dataset_close(&data);
    assert_int_equal(open_text(&data, silent, sizeof silent - 1, NULL, NULL), 0);
    expect_warning(&data, "no_target", 1);
    hn_dataset_close(&data);
}

static void test_odd_files(void **state) {
    (void)state;
    static const struct {
        const char *bytes;
        size_t size;
        const char *says;
    } cases[] = {
        {"", 0, "empty"},
        {"\n \r\n", 4, "no rows"},
        {"\xFF\xFE{\0", 4, "UTF-16"},
        {"PK\3\4", 4, "archive"},
        {"PAR1xxxx", 8, "Parquet"},
        {"hello", 5, "recognised"},
        {"{\"x\":1}", 7, "\"x\""},
        {"[{\"text\":\"a\"}", 13, "closed"},
        {"[{\"text\":\"a\"}] x", 16, "behind"},
        {"[{}},1}]", 8, "JSON"},
        {"[,,]", 4, "JSON"},
        {"[", 1, "no rows"},
        {"[]", 2, "no rows"},
        {"text,label\n\"a,b\n", 16, "never closed"},
        {"text,label\na\n", 13, "columns"},
        {"\0\0\0\0", 4, "recognised"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct hn_dataset data;
        struct hn_error err = {0};
        assert_int_equal(
            open_text(&data, cases[i].bytes, cases[i].size, NULL, &err), HN_E_DATASET_INVALID);
        if (!strstr(err.message, cases[i].says))
            fail_msg("case %zu: %s", i, err.message);
        assert_true(err.hint[0] != 0);
        hn_dataset_close(&data);
    }
    struct hn_dataset data;
    struct hn_error err = {0};
    assert_int_equal(hn_dataset_open(&data, "/nowhere/at/all", NULL, &err), HN_E_NOT_FOUND);
    hn_dataset_close(&data);
    struct hn_dataset_options options = {.format = "xml"};
    assert_int_equal(open_text(&data, "{}", 2, &options, &err), HN_E_INVALID_FIELD);
    hn_dataset_close(&data);
    json_t *columns = json_pack("{s:s}", "promt", "q");
    options = (struct hn_dataset_options){.columns = columns};
    assert_int_equal(open_text(&data, "{}", 2, &options, &err), HN_E_INVALID_FIELD);
    assert_string_equal(err.field, "columns.promt");
    hn_dataset_close(&data);
    json_decref(columns);
}

/* Files of tagged words: the words and tags of one sentence. */
static void test_tagged_words(void **state) {
    (void)state;
    static const struct {
        const char *file, *format;
        size_t row;
        const char *says; /* the row, or a part of the refusal */
    } cases[] = {
        /* A comment is a hash and a space before a sentence. */
        {"I\tPRP\nlove\tVBP\n#rome\tHT\n.\t.\n", "conll", 0,
            "{\"tokens\":[\"I\",\"love\",\"#rome\",\".\"],"
            "\"tags\":[\"PRP\",\"VBP\",\"HT\",\".\"]}"},
        {"# text = #rome\n#\n#rome O\n# B-X\n# NN\n", "conll", 0,
            "{\"tokens\":[\"#rome\",\"#\",\"#\"],\"tags\":[\"O\",\"B-X\",\"NN\"]}"},
        {"#rome\tO\n#x\tB-X\n\n# id\n#\tO\n#y\tO\n", NULL, 1,
            "{\"tokens\":[\"#\",\"#y\"],\"tags\":[\"O\",\"O\"]}"},
        /* Whether the first column is a counter is decided for the whole file. */
        {"1 CD I-NP O\n\nJapan NNP B-NP B-LOC\nwon VBD B-VP O\n", NULL, 0,
            "{\"tokens\":[\"1\"],\"tags\":[\"O\"]}"},
        {"1\ta\tO\n2\tb\tB-X\n\n1\tc\tO\n\n7\td\tO\n", NULL, 2,
            "{\"tokens\":[\"d\"],\"tags\":[\"O\"]}"},
        {"1\ta\tX\n2\tY\n\n1\ta\tX\n2\tb\tX\n\n1\ta\tX\n2\tb\tX\n", "conll", 0, "2 columns"},
        {"# text = The\n1-2\tTh\t_\t_\t_\t_\t_\t_\t_\t_\n1\tThe\tthe\tDET\t_\t_\t0\troot\t_\tA=B\n",
            NULL, 0, "CoNLL-U"},
        {"1\tThe\tthe\tDET\t_\t_\t0\troot\t_\t_\n", "conll", 0, "CoNLL-U"},
        {"Word\tTag\nEU\tB-X\n.\tO\n", NULL, 0,
            "{\"tokens\":[\"EU\",\".\"],\"tags\":[\"B-X\",\"O\"]}"},
        {"token pos\nThe DT\nfilm NN\n", "conll", 0,
            "{\"tokens\":[\"The\",\"film\"],\"tags\":[\"DT\",\"NN\"]}"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct hn_dataset data;
        struct hn_error err = {0};
        struct hn_dataset_options options = {.format = cases[i].format};
        int rc = open_text(&data, cases[i].file, strlen(cases[i].file), &options, &err);
        if (*cases[i].says == '{') {
            if (rc)
                fail_msg("%s: %s", cases[i].file, err.message);
            assert_string_equal(data.format, "conll");
            expect_row(&data, cases[i].row, cases[i].says);
        } else if (rc != HN_E_DATASET_INVALID || !strstr(err.message, cases[i].says)) {
            fail_msg("%s: %s", cases[i].file, err.message);
        }
        hn_dataset_close(&data);
    }
}

/* Only the first hundred problems are listed; all are counted. */
static void test_many_problems(void **state) {
    (void)state;
    struct hn_buf file = {0};
    struct hn_dataset data;
    for (int i = 0; i < 250; i++)
        hn_buf_text(&file, "nonsense}\n");
    struct hn_dataset_options options = {.format = "jsonl"};
    assert_int_equal(open_text(&data, file.data, file.size, &options, NULL), HN_E_DATASET_INVALID);
    assert_int_equal(data.issues.n, 250);
    assert_int_equal(data.issues.list[99].line, 100);
    hn_dataset_close(&data);
    hn_buf_free(&file);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_layouts),
        cmocka_unit_test(test_problems), cmocka_unit_test(test_messages),
        cmocka_unit_test(test_warnings), cmocka_unit_test(test_odd_files),
        cmocka_unit_test(test_tagged_words), cmocka_unit_test(test_many_problems)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
