/* The hyperparameter table: defaults, strict reading, messages that help, exact round trip. */
#include "engine/hyperparams.h"
#include "engine/run/params.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

static int read_text(struct hn_hyperparams *hp, const char *text, struct hn_error *err) {
    json_t *object = json_loads(text, JSON_DECODE_ANY, NULL);
    assert_non_null(object);
    int rc = hn_hyperparams_read(hp, object, "hyperparameters.", err);
    json_decref(object);
    return rc;
}

static void test_round_trip(void **state) {
    (void)state;
    struct hn_hyperparams a, b;
    hn_hyperparams_defaults(&a);
    assert_true(hn_is_auto(a.learning_rate));
    assert_int_equal(a.batch_size, HN_AUTO_INT);
    assert_int_equal(
        read_text(&a,
            "{\"learning_rate\":1e-4,\"epochs\":3,\"schedule\":\"cosine\",\"lora_targets\":[\"v_"
            "proj\",\"q_proj\",\"v_proj\"],\"warmup_steps\":10,\"rslora\":true}",
            NULL),
        0);
    assert_string_equal(a.lora_targets.names, "q_proj,v_proj");
    json_t *out = hn_hyperparams_write(&a, HN_HP_ALL);
    hn_hyperparams_defaults(&b);
    assert_int_equal(hn_hyperparams_read(&b, out, "", NULL), 0);
    json_t *again = hn_hyperparams_write(&b, HN_HP_ALL);
    assert_true(json_equal(out, again));
    json_decref(out);
    json_decref(again);
}

/* A bound: null in what people see, absent in the identity of a run without one. */
static void test_bound(void **state) {
    (void)state;
    struct hn_hyperparams hp;
    struct hn_error err = {0};
    hn_hyperparams_defaults(&hp);
    json_t *all = hn_hyperparams_write(&hp, HN_HP_ALL), *run = hn_hyperparams_write(&hp, HN_HP_RUN);
    assert_true(json_is_null(json_object_get(all, "max_kl")));
    assert_null(json_object_get(run, "max_kl"));
    json_decref(all);
    json_decref(run);
    assert_int_equal(read_text(&hp, "{\"max_kl\":0.25}", NULL), 0);
    run = hn_hyperparams_write(&hp, HN_HP_RUN);
    assert_true(json_real_value(json_object_get(run, "max_kl")) == 0.25);
    json_decref(run);
    assert_int_equal(read_text(&hp, "{\"max_kl\":null}", NULL), 0);
    assert_true(isnan(hp.max_kl));
    assert_int_equal(read_text(&hp, "{\"max_kl\":\"auto\"}", &err), HN_E_INVALID_FIELD);
    assert_non_null(strstr(err.message, "or null"));
}

static void test_refusals(void **state) {
    (void)state;
    static const struct {
        const char *text;
        int code;
        const char *field;
    } cases[] = {
        {"{\"learning_rte\":1}", HN_E_UNKNOWN_FIELD, "hyperparameters.learning_rte"},
        {"{\"epochs\":\"3\"}", HN_E_INVALID_FIELD, "hyperparameters.epochs"},
        {"{\"epochs\":-1}", HN_E_INVALID_FIELD, "hyperparameters.epochs"},
        {"{\"batch_size\":1.5}", HN_E_INVALID_FIELD, "hyperparameters.batch_size"},
        {"{\"batch_size\":null}", HN_E_INVALID_FIELD, "hyperparameters.batch_size"},
        {"{\"rslora\":1}", HN_E_INVALID_FIELD, "hyperparameters.rslora"},
        {"{\"schedule\":\"step\"}", HN_E_INVALID_FIELD, "hyperparameters.schedule"},
        {"{\"lora_targets\":[\"a b\"]}", HN_E_INVALID_FIELD, "hyperparameters.lora_targets"},
        {"{\"lora_targets\":[]}", HN_E_INVALID_FIELD, "hyperparameters.lora_targets"},
        {"[]", HN_E_INVALID_FIELD, "hyperparameters"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct hn_hyperparams hp, before;
        struct hn_error err = {0};
        hn_hyperparams_defaults(&hp);
        before = hp;
        assert_int_equal(read_text(&hp, cases[i].text, &err), cases[i].code);
        assert_string_equal(err.field, cases[i].field);
        assert_memory_equal(&hp, &before, sizeof hp);
    }
    struct hn_hyperparams hp;
    struct hn_error err = {0};
    hn_hyperparams_defaults(&hp);
    read_text(&hp, "{\"learning_rte\":1}", &err);
    assert_non_null(strstr(err.hint, "learning_rate"));
}

/* The names stand in the table and in a list of their own: they are the same, in the same order. */
static void test_metric_names(void **state) {
    json_t *schema = hn_hyperparams_schema(), *row, *name;
    size_t i, k, seen = 0;
    (void)state;
    json_array_foreach(schema, i, row) {
        if (strcmp(json_string_value(json_object_get(row, "name")), "metric_for_best") != 0)
            continue;
        json_array_foreach(json_object_get(row, "values"), k, name) {
            assert_string_equal(json_string_value(name), hn_metric_name((int)k));
            seen++;
        }
    }
    assert_true(seen > 9);
    json_decref(schema);
}

/* The peak is reached in one step, with a warm-up and without, and nothing is trained at zero. */
static void test_schedules(void **state) {
    static const size_t warmups[] = {0, 1, 3, 9, 10};
    struct hn_hyperparams hp;
    (void)state;
    hn_hyperparams_defaults(&hp);
    hp.learning_rate = 0.5;
    for (int schedule = HN_SCHEDULE_LINEAR; schedule <= HN_SCHEDULE_COSINE; schedule++)
        for (size_t i = 0; i < sizeof warmups / sizeof warmups[0]; i++) {
            size_t peak = warmups[i] ? warmups[i] : 1;
            hp.schedule = schedule;
            hp.warmup_steps = (int64_t)warmups[i];
            for (size_t s = 1; s <= 10; s++) {
                double rate = hn_learning_rate(&hp, s, 10);
                assert_true(rate > 0);
                assert_true(s == peak ? rate >= 0.5 && rate <= 0.5 : rate < 0.5);
                assert_true(s <= peak || rate < hn_learning_rate(&hp, s - 1, 10));
            }
        }
    hp.schedule = HN_SCHEDULE_RISING; /* by the same factor at each step, to the peak at the end */
    double before = hn_learning_rate(&hp, 1, 100);
    for (size_t s = 2; s <= 100; s++) {
        double now = hn_learning_rate(&hp, s, 100);
        assert_true(fabs(now / before - pow(10, 0.05)) < 1e-12);
        before = now;
    }
    assert_true(fabs(before - hp.learning_rate) < 1e-12);
    hp.schedule = HN_SCHEDULE_LINEAR;
    hp.warmup_steps = 0;
    assert_float_equal(hn_learning_rate(&hp, 10, 10), 0.05, 1e-12);
    hp.schedule = HN_SCHEDULE_COSINE;
    hp.warmup_steps = 3;
    assert_float_equal(hn_learning_rate(&hp, 7, 10), 0.25, 1e-12); /* half of eight steps */
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_round_trip),
        cmocka_unit_test(test_bound), cmocka_unit_test(test_refusals),
        cmocka_unit_test(test_metric_names), cmocka_unit_test(test_schedules)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
