/* Folds: every row in one of them, what belongs together stays together, classes as even as can be,
 * and what is refused. */
#include "engine/data/folds.h"
#include "engine/base/buf.h"
#include "tests/unit/tiny_model.h"

#include <stdarg.h>
#include <setjmp.h>
#include <cmocka.h>

enum { ROWS = 103, FOLDS = 5 };

struct fixture {
    char file[64];
    struct hn_dataset data;
    struct hn_labels labels;
};

static void set_up(struct fixture *f, const char *rows) {
    struct hn_error err = {0};
    struct hn_labels_request request = {0};
    tiny_file(f->file, rows, strlen(rows));
    if (hn_dataset_open(&f->data, f->file, NULL, &err) ||
        hn_labels_find(&f->labels, &f->data, &request, NULL, &err))
        fail_msg("%s", err.message);
}

static void tear_down(struct fixture *f) {
    hn_labels_finish(&f->labels);
    hn_dataset_close(&f->data);
    unlink(f->file);
}

/* The fold of every row; *sizes gets how many each has. */
static void fold_of_rows(
    const struct fixture *f, struct hn_folds folds, size_t *fold, size_t *sizes) {
    struct hn_error err = {0};
    memset(fold, 0, f->data.n_rows * sizeof *fold);
    for (folds.fold = 1; folds.fold <= folds.folds; folds.fold++) {
        size_t *held = NULL, n = 0;
        if (hn_folds_split(&f->data, &f->labels, &folds, &held, &n, &err))
            fail_msg("%s", err.message);
        for (size_t i = 0; i < n; i++) {
            assert_int_equal(fold[held[i]], 0); /* in no other */
            assert_true(!i || held[i] > held[i - 1]);
            fold[held[i]] = (size_t)folds.fold;
        }
        sizes[folds.fold - 1] = n;
        free(held);
    }
    for (size_t i = 0; i < f->data.n_rows; i++)
        assert_int_not_equal(fold[i], 0);
}

/* A third "rare", the others "common"; rows 7 and 70 ask the same; ten authors write ten rows each,
 * and three rows have none. */
static void write_rows(struct hn_buf *out) {
    for (int i = 0; i < ROWS; i++) {
        hn_buf_printf(out, "{\"text\":\"text number %d\",\"label\":\"%s\"", i == 70 ? 7 : i,
            i % 3 ? "common" : "rare");
        if (i < 100)
            hn_buf_printf(out, ",\"author\":%s%d%s", i % 2 ? "" : "\"", i % 10, i % 2 ? "" : "\"");
        hn_buf_text(out,
            i == 100       ? ",\"author\":null}\n"
                : i == 101 ? ",\"author\":\"\"}\n"
                           : "}\n");
    }
}

static void test_even(void **state) {
    struct fixture f = {0};
    struct hn_buf rows = {0};
    size_t fold[ROWS], again[ROWS], sizes[FOLDS], rare[FOLDS] = {0}, other = 0;
    (void)state;
    write_rows(&rows);
    set_up(&f, rows.data);
    fold_of_rows(&f, (struct hn_folds){.folds = FOLDS}, fold, sizes);
    assert_int_equal(fold[7], fold[70]);
    for (size_t i = 0; i < ROWS; i += 3)
        rare[fold[i] - 1]++;
    for (size_t k = 0; k < FOLDS; k++) { /* 35 rare rows, 103 in all */
        assert_int_equal(rare[k], 7);
        assert_in_range(sizes[k], 20, 21);
    }
    fold_of_rows(&f, (struct hn_folds){.folds = FOLDS}, again, sizes);
    assert_memory_equal(fold, again, sizeof fold);
    fold_of_rows(&f, (struct hn_folds){.folds = FOLDS, .seed = 1}, again, sizes);
    for (size_t i = 0; i < ROWS; i++)
        other += fold[i] != again[i];
    assert_in_range(other, ROWS / 2, ROWS);
    hn_buf_free(&rows);
    tear_down(&f);
}

static void test_groups(void **state) {
    struct fixture f = {0};
    struct hn_buf rows = {0};
    size_t fold[ROWS], sizes[FOLDS];
    (void)state;
    write_rows(&rows);
    set_up(&f, rows.data);
    fold_of_rows(&f, (struct hn_folds){.folds = FOLDS, .group_by = "author"}, fold, sizes);
    for (size_t i = 0; i < 100; i++)
        assert_int_equal(fold[i], fold[i % 10]);
    assert_int_equal(fold[7], fold[0]); /* since rows 7 and 70 ask the same */
    assert_false(fold[100] == fold[101] && fold[101] == fold[102]);
    for (size_t k = 0; k < FOLDS; k++)
        assert_in_range(sizes[k], 20, 22);
    hn_buf_free(&rows);
    tear_down(&f);
}

static void refused(const struct fixture *f, struct hn_folds folds, const char *field,
    const char *message, const char *hint) {
    struct hn_error err = {0};
    size_t *held, n;
    folds.fold = 1;
    assert_int_equal(
        hn_folds_split(&f->data, &f->labels, &folds, &held, &n, &err), HN_E_INVALID_FIELD);
    assert_string_equal(err.field, field);
    if (!strstr(err.message, message) || !strstr(err.hint, hint))
        fail_msg("%s — %s", err.message, err.hint);
}

static void test_refused(void **state) {
    struct fixture f = {0};
    struct hn_buf rows = {0};
    (void)state;
    for (int i = 0; i < 24; i++)
        hn_buf_printf(&rows, "{\"text\":\"t%d\",\"label\":\"%s\",\"author\":\"%s\"}\n", i,
            i < 3 ? "rare" : "common", i < 3 ? "me" : "you");
    set_up(&f, rows.data);
    refused(
        &f, (struct hn_folds){.folds = 25}, "validation.folds", "25 folds of 24 rows", "at most");
    refused(&f, (struct hn_folds){.folds = 4}, "validation.folds",
        "the label \"rare\" has 3 rows, fewer than the 4 folds", "fewer folds");
    refused(&f, (struct hn_folds){.folds = 2, .group_by = "autor"}, "validation.group_by",
        "no row has a column \"autor\"", "did you mean \"author\"");
    refused(&f, (struct hn_folds){.folds = 3, .group_by = "author"}, "validation.group_by",
        "of the label", "another column");
    f.labels.objective = HN_OBJECTIVE_TAGS; /* whose labels are not looked at */
    refused(&f, (struct hn_folds){.folds = 3, .group_by = "author"}, "validation.folds",
        "make only 2 sets", "fewer folds");
    hn_buf_free(&rows);
    tear_down(&f);
}

static void test_read(void **state) {
    static const struct {
        const char *text, *field;
    } bad[] = {{"{\"fold\":1}", "validation.folds"}, {"{\"folds\":3}", "validation.fold"},
        {"{\"fold\":1,\"folds\":1}", "validation.folds"},
        {"{\"fold\":0,\"folds\":3}", "validation.fold"},
        {"{\"fold\":4,\"folds\":3}", "validation.fold"},
        {"{\"fold\":1,\"folds\":1001}", "validation.folds"},
        {"{\"fold\":1,\"folds\":3,\"group\":\"a\"}", "validation.group"},
        {"{\"fold\":1,\"folds\":3,\"group_by\":1}", "validation.group_by"},
        {"{\"fold\":1,\"folds\":3,\"seed\":-1}", "validation.seed"}};
    struct hn_folds folds = {0};
    json_t *json, *back;
    (void)state;
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        struct hn_error err = {0};
        json = json_loads(bad[i].text, 0, NULL);
        assert_int_not_equal(hn_folds_read(&folds, json, &err), 0);
        assert_string_equal(err.field, bad[i].field);
        assert_true(err.message[0]);
        json_decref(json);
    }
    json = json_loads("{\"fold\":2,\"folds\":3,\"group_by\":\"a\",\"seed\":9}", 0, NULL);
    assert_int_equal(hn_folds_read(&folds, json, NULL), 0);
    back = hn_folds_write(&folds);
    assert_true(json_equal(json, back));
    json_decref(back);
    json_decref(json);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_even), cmocka_unit_test(test_groups),
        cmocka_unit_test(test_refused), cmocka_unit_test(test_read)};
    return cmocka_run_group_tests_name("folds", tests, NULL, NULL);
}
