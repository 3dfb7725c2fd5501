/* What training rows cost, as a file: how much of it is kept, and that bytes which are no such file
 * are refused. */
#include "engine/run/row_file.h"

#include <fcntl.h>
#include <stdarg.h>
#include <setjmp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <cmocka.h>

static struct hn_row_layout plan(enum hn_objective objective, size_t rows, size_t epochs) {
    struct hn_spec spec = {.hp = {.batch_size = 8, .seed = 5}, .labels = {.objective = objective}};
    struct hn_run run = {.loaded = {.spec = &spec}, .train = {.n_rows = rows}};
    struct hn_row_layout layout;
    run.steps = (rows + 7) / 8 * epochs;
    hn_row_layout_plan(&layout, &run);
    return layout;
}

/* As many epochs as fit, spread over the run; every one where all fit. */
static void test_bounded(void **state) {
    (void)state;
    const size_t rows[] = {1, 7, 100, 10000, 1000000, 9000000, 40000000},
                 epochs[] = {1, 3, 50, 5000000};
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++)
        for (size_t k = 0; k < sizeof epochs / sizeof epochs[0]; k++) {
            struct hn_row_layout l = plan(HN_OBJECTIVE_CLASSES, rows[i], epochs[k]);
            size_t all = rows[i] * (8 + 17 * epochs[k]) + 80;
            assert_true(hn_row_layout_bytes(&l) <= HN_ROWS_KEPT);
            if (all < HN_ROWS_KEPT) {
                assert_int_equal(l.every, 1);
                assert_int_equal(l.epochs, epochs[k]);
            } else if (l.epochs) {
                assert_true(l.every > 1 && (l.epochs - 1) * l.every < epochs[k]);
                assert_true(l.epochs * l.every >= epochs[k]);
            } else {
                assert_true(rows[i] > HN_ROWS_KEPT / 27);
            }
        }
}

static void write_all(const char *path, const void *data, size_t size) {
    int fd = open(path, O_RDWR | O_CREAT | O_TRUNC, 0600);
    assert_true(fd >= 0 && write(fd, data, size) == (ssize_t)size);
    close(fd);
}

/* Cut anywhere and changed in every byte of its header, it is refused or tells of nothing. */
static void test_hostile(void **state) {
    char folder[] = "/tmp/hone-rows-XXXXXX", path[64], bad[64];
    struct hn_row_layout layout = plan(HN_OBJECTIVE_CLASSES, 3, 2);
    struct hn_row_file file;
    struct hn_row_history h;
    struct hn_error err = {0};
    uint32_t lines[3] = {1, 2, 4};
    size_t rows[3] = {0, 1, 3};
    const struct hn_examples ex = {.n_rows = 3, .lines = lines, .rows = rows};
    const struct hn_row_record record = {
        .loss = 0.5f, .choice = {.margin = -1, .p = 0.25f, .predicted = 2}, .trained = true};
    char *data = NULL;
    size_t size = 0;
    (void)state;
    assert_non_null(mkdtemp(folder));
    snprintf(path, sizeof path, "%s/" HN_ROWS_FILE, folder);
    snprintf(bad, sizeof bad, "%s/bad", folder);
    assert_int_equal(hn_row_file_open(&file, folder, &layout, &ex, &err), 0);
    assert_int_equal(hn_row_file_put(&file, 1, 2, &record, &err), 0);
    assert_int_equal(hn_row_file_put(&file, 9, 2, &record, &err), 0); /* behind the last */
    hn_row_file_close(&file);
    assert_int_equal(hn_row_history_open(&h, path, &err), 0);
    assert_int_equal(hn_row_history_line(&h, 2), 4);
    struct hn_row_record read = hn_row_history_get(&h, 1, 2), none = hn_row_history_get(&h, 0, 2);
    assert_true(read.trained && !none.trained && read.choice.predicted == 2);
    assert_true(read.loss >= 0.5f && read.loss <= 0.5f && read.choice.margin <= -1);
    hn_row_history_close(&h);
    assert_int_equal(hn_file_read(path, 1 << 20, &data, &size, &err), 0);
    for (size_t n = 1; n < size; n++) {
        write_all(bad, data, n);
        if (!hn_row_history_open(&h, bad, &err)) {
            assert_true(n >= 72 + 3 * 8 && !hn_row_history_get(&h, 1, 2).trained);
            hn_row_history_close(&h);
        }
    }
    for (size_t i = 0; i < 72; i++) {
        data[i] = (char)(data[i] ^ 0xff);
        write_all(bad, data, size);
        if (!hn_row_history_open(&h, bad, &err)) {
            for (size_t k = 0; k < h.layout.epochs && k < 100; k++)
                hn_row_history_get(&h, k, h.layout.n_rows - 1);
            hn_row_history_close(&h);
        }
        data[i] = (char)(data[i] ^ 0xff);
    }
    free(data);
    unlink(bad);
    unlink(path);
    rmdir(folder);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_bounded), cmocka_unit_test(test_hostile)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
