/* Which training rows are used: lines, random ones, shares that are parts of larger shares. */
#include "engine/data/choice.h"
#include "engine/base/buf.h"
#include "tests/unit/tiny_model.h"

#include <stdarg.h>
#include <setjmp.h>
#include <cmocka.h>

enum { ROWS = 200 };

static char file[64];
static struct hn_dataset data;
static struct hn_labels labels;

/* One in ten is "rare". Line i + 2, since the first line is empty. */
static int set_up(void **state) {
    struct hn_buf rows = {0};
    struct hn_labels_request request = {0};
    (void)state;
    hn_buf_text(&rows, "\n");
    for (int i = 0; i < ROWS; i++)
        hn_buf_printf(
            &rows, "{\"text\":\"text %d\",\"label\":\"%s\"}\n", i, i % 10 ? "common" : "rare");
    tiny_file(file, rows.data, rows.size);
    hn_buf_free(&rows);
    return hn_dataset_open(&data, file, NULL, NULL) ||
        hn_labels_find(&labels, &data, &request, NULL, NULL);
}

static int tear_down(void **state) {
    (void)state;
    hn_labels_finish(&labels);
    hn_dataset_close(&data);
    return unlink(file);
}

struct chosen {
    bool has[ROWS];
    size_t n, rare;
    struct hn_left_out out;
};

/* Of all rows but the first ten, which validation has. */
static struct chosen choose(const char *text) {
    struct hn_row_choice choice;
    struct hn_error err = {0};
    struct chosen c = {0};
    size_t rows[ROWS];
    json_t *json = json_loads(text, 0, NULL);
    for (size_t i = 10; i < ROWS; i++)
        rows[c.n++] = i;
    if (hn_row_choice_read(&choice, json, &err) ||
        hn_row_choice_exclude(&choice, &data, rows, &c.n, &c.out, &err) ||
        hn_row_choice_draw(&choice, &data, &labels, rows, &c.n, &c.out, &err))
        fail_msg("%s", err.message);
    for (size_t i = 0; i < c.n; i++) {
        assert_true(!i || rows[i] > rows[i - 1]);
        c.has[rows[i]] = true;
        c.rare += rows[i] % 10 == 0;
    }
    assert_int_equal(c.n + c.out.excluded + c.out.random + c.out.unchosen, ROWS - 10);
    json_decref(json);
    return c;
}

static void test_shares_are_nested(void **state) {
    static const char *const shares[] = {"{\"share\":0.05,\"seed\":3}",
        "{\"share\":0.1,\"seed\":3}", "{\"count\":40,\"seed\":3}", "{\"share\":0.5,\"seed\":3}",
        "{\"share\":1,\"seed\":3}", "{}"};
    static const size_t sizes[] = {10, 19, 40, 95, 190, 190};
    struct chosen before = {0};
    (void)state;
    for (size_t k = 0; k < 6; k++) {
        struct chosen c = choose(shares[k]);
        assert_int_equal(c.n, sizes[k]);
        assert_in_range(c.rare * 10, c.n - 10, c.n + 10);
        for (size_t i = 0; i < ROWS; i++)
            assert_true(c.has[i] || !before.has[i]);
        before = c;
    }
    struct chosen a = choose(shares[3]), b = choose("{\"share\":0.5,\"seed\":4}"),
                  again = choose(shares[3]);
    assert_memory_equal(a.has, again.has, sizeof a.has);
    assert_memory_not_equal(a.has, b.has, sizeof a.has);
    assert_int_equal(choose("{\"share\":0.0001}").n, 1);
}

static void test_lines(void **state) {
    (void)state;
    struct chosen c =
        choose("{\"exclude\":[12,\"20-22\",\"21-23\",\"1:30\",\"2:40\",5,\"900-1000\"]}");
    for (size_t i = 0; i < ROWS; i++) { /* row i stands in line i + 2 */
        size_t line = i + 2;
        bool out = line == 12 || (line >= 20 && line <= 23) || line == 30;
        assert_int_equal(c.has[i], i >= 10 && !out);
    }
    assert_int_equal(c.out.excluded, 6);
    assert_int_equal(c.out.idle, 3); /* another data set, a row of validation, no row at all */
    c = choose("{\"exclude\":[\"#12\",12,\"1:#20-22\",\"#22\",\"2:#40\",\"#5\"]}");
    for (size_t i = 0; i < ROWS; i++) {
        bool out = i + 1 == 12 || (i + 1 >= 20 && i + 1 <= 22) || i + 2 == 12;
        assert_int_equal(c.has[i], i >= 10 && !out);
    }
    assert_int_equal(c.out.excluded, 5);
    assert_int_equal(c.out.idle, 2);
}

static void test_together(void **state) {
    (void)state;
    struct chosen all = choose("{\"random_out\":30,\"seed\":8}"),
                  c = choose(
                      "{\"exclude\":[\"1-111\"],\"random_out\":30,\"share\":0.5,\"seed\":8}");
    assert_int_equal(all.out.random, 30);
    assert_int_equal(c.out.excluded, 100);
    assert_int_equal(c.out.random, 30);
    assert_int_equal(c.out.unchosen, 30);
    assert_int_equal(c.n, 30);
    for (size_t i = 0; i < 110; i++)
        assert_false(c.has[i]);
    assert_int_equal(choose("{\"random_out\":189}").n, 1);
}

static void test_refused(void **state) {
    static const struct {
        const char *text, *field;
    } bad[] = {{"[]", "rows"}, {"{\"shares\":1}", "rows.shares"}, {"{\"share\":0}", "rows.share"},
        {"{\"share\":1.5}", "rows.share"}, {"{\"share\":0.5,\"count\":3}", "rows.count"},
        {"{\"count\":0}", "rows.count"}, {"{\"count\":191}", "rows.count"},
        {"{\"random_out\":190}", "rows.random_out"}, {"{\"random_out\":-1}", "rows.random_out"},
        {"{\"seed\":1.5}", "rows.seed"}, {"{\"exclude\":3}", "rows.exclude"},
        {"{\"exclude\":[3,0]}", "rows.exclude[1]"}, {"{\"exclude\":[\"5-4\"]}", "rows.exclude[0]"},
        {"{\"exclude\":[\"5-\"]}", "rows.exclude[0]"},
        {"{\"exclude\":[\"0:5\"]}", "rows.exclude[0]"},
        {"{\"exclude\":[\"#0\"]}", "rows.exclude[0]"},
        {"{\"exclude\":[\"##1\"]}", "rows.exclude[0]"},
        {"{\"exclude\":[\"#1:2\"]}", "rows.exclude[0]"},
        {"{\"exclude\":[\"17:5\"]}", "rows.exclude[0]"},
        {"{\"exclude\":[\"99999999999\"]}", "rows.exclude[0]"},
        {"{\"exclude\":[\"4\\u0000\"]}", "rows.exclude[0]"},
        {"{\"exclude\":[2.5]}", "rows.exclude[0]"}};
    (void)state;
    for (size_t k = 0; k < sizeof bad / sizeof bad[0]; k++) {
        struct hn_row_choice choice;
        struct hn_error err = {0};
        struct hn_left_out out = {0};
        size_t rows[ROWS], n = 0;
        json_t *json = json_loads(bad[k].text, JSON_ALLOW_NUL, NULL);
        assert_non_null(json);
        for (size_t i = 10; i < ROWS; i++)
            rows[n++] = i;
        int rc = hn_row_choice_read(&choice, json, &err);
        if (!rc)
            rc = hn_row_choice_draw(&choice, &data, &labels, rows, &n, &out, &err);
        if (!rc || strcmp(err.field, bad[k].field) != 0 || !err.message[0])
            fail_msg("%s: %s: %s", bad[k].text, err.field, err.message);
        json_decref(json);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_shares_are_nested),
        cmocka_unit_test(test_lines), cmocka_unit_test(test_together),
        cmocka_unit_test(test_refused)};
    return cmocka_run_group_tests_name("choice", tests, set_up, tear_down);
}
