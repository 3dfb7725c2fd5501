/*
 * GGUF and safetensors files that are damaged or hostile: whatever bytes they hold, opening gives
 * an error or a model whose every value can be read. Meant for the sanitizers' build; a few
 * thousand random mutations and cuts, the same each time.
 */
#include "tests/unit/tiny.h"

#include "engine/families/load.h"
#include "engine/formats/safetensors.h"

#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <cmocka.h>

enum { MUTATIONS = 3000 };

static void write_bytes(const char *path, const char *data, size_t size) {
    struct hn_error err = {0};
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC, 0600);
    assert_true(fd >= 0);
    assert_int_equal(hn_write_all(fd, data, size, &err), 0);
    close(fd);
}

/* Changes a few bytes of the head, with a liking for extreme values, or cuts the file. */
static size_t mutate(char *data, size_t size, size_t head, uint64_t seed) {
    static const unsigned char extremes[] = {0, 1, 0x7F, 0x80, 0xFF};
    size_t changes = 1 + hn_random_u64(seed, HN_PURPOSE_INIT, 1, 0) % 4;
    for (size_t i = 0; i < changes; i++) {
        uint64_t draw = hn_random_u64(seed, HN_PURPOSE_INIT, 2, i);
        data[draw % head] = (char)(draw >> 40 & 1 ? extremes[(draw >> 48) % 5] : draw >> 56);
    }
    uint64_t cut = hn_random_u64(seed, HN_PURPOSE_INIT, 3, 0);
    return cut % 5 == 0 ? 1 + (cut >> 8) % size : size;
}

static void read_everything(const struct hn_model *model) {
    float *row = NULL;
    for (size_t i = 0; i < model->n_weights; i++) {
        const struct hn_weight *w = &model->weights[i];
        row = realloc(row, w->cols * sizeof *row);
        assert_non_null(row);
        hn_weight_row(w, 0, row);
        hn_weight_row(w, w->rows - 1, row);
    }
    free(row);
}

static void test_gguf(void **state) {
    struct tiny tiny;
    struct hn_error err = {0};
    char *bytes, *copy, path[] = "/tmp/hone-hostile-XXXXXX";
    size_t size, refused = 0;
    (void)state;
    tiny_open(&tiny, HN_Q4_1);
    assert_int_equal(hn_file_read(tiny.path, 1 << 24, &bytes, &size, &err), 0);
    assert_non_null(copy = malloc(size));
    close(mkstemp(path));
    for (uint64_t i = 0; i < MUTATIONS; i++) {
        struct hn_model model;
        memcpy(copy, bytes, size);
        write_bytes(path, copy, mutate(copy, size, 2048, i));
        err = (struct hn_error){0};
        int rc = hn_model_open(&model, path, &err);
        if (rc == 0)
            read_everything(&model);
        else
            assert_true(err.message[0] != 0);
        refused += rc != 0;
        hn_model_close(&model);
    }
    assert_true(refused > MUTATIONS / 4 && refused < MUTATIONS);
    unlink(path);
    free(copy);
    free(bytes);
    tiny_close(&tiny);
}

static void test_safetensors(void **state) {
    static const float values[24] = {1, 2, 3};
    const struct hn_safetensor_out out[] = {
        {.name = "a.weight", .n_dims = 2, .dims = {4, 6}, .type = HN_F32, .values = values},
        {.name = "b", .n_dims = 1, .dims = {24}, .type = HN_BF16, .values = values}};
    struct hn_error err = {0};
    struct hn_safetensors st;
    char *bytes, *copy, path[] = "/tmp/hone-hostile-XXXXXX";
    size_t size, refused = 0;
    (void)state;
    close(mkstemp(path));
    assert_int_equal(hn_safetensors_write(path, out, 2, NULL, NULL, NULL, &err), 0);
    assert_int_equal(hn_safetensors_open(&st, path, &err), 0);
    assert_int_equal(st.n, 2);
    assert_memory_equal(hn_safetensors_find(&st, "a.weight")->data, values, sizeof values);
    hn_safetensors_close(&st);
    assert_int_equal(hn_file_read(path, 1 << 20, &bytes, &size, &err), 0);
    assert_non_null(copy = malloc(size));
    for (uint64_t i = 0; i < MUTATIONS; i++) {
        memcpy(copy, bytes, size);
        write_bytes(path, copy, mutate(copy, size, size, i));
        int rc = hn_safetensors_open(&st, path, &err);
        unsigned sum = 0;
        for (size_t t = 0; rc == 0 && t < st.n; t++)
            for (size_t k = 0; k < st.tensors[t].bytes; k++)
                sum += st.tensors[t].data[k];
        refused += rc != 0 || sum == 1;
        hn_safetensors_close(&st);
    }
    assert_true(refused > MUTATIONS / 4 && refused < MUTATIONS);
    unlink(path);
    free(copy);
    free(bytes);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_gguf), cmocka_unit_test(test_safetensors)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
