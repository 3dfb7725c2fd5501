/* Addresses that send wrong keys: who waits, for how long, and that the table stays small. */
#include "server/http/failures.h"

#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <string.h>
#include <cmocka.h>

static int setup(void **state) {
    *state = hn_failures_create();
    return *state ? 0 : -1;
}

static int teardown(void **state) {
    hn_failures_destroy(*state);
    return 0;
}

static struct hn_address address(uint32_t n) {
    struct hn_address a = {.kind = 4};
    memcpy(a.bytes, &n, sizeof n);
    return a;
}

/* Fails until the address has to wait; returns for how long. */
static int64_t provoke(struct hn_failures *f, const struct hn_address *a, int64_t *now) {
    int64_t wait = 0;
    for (int i = 0; i < 2 * HN_FAILURES_FREE && !wait; i++)
        wait = hn_failures_add(f, a, *now);
    *now += wait;
    return wait;
}

static void test_wait_doubles(void **state) {
    struct hn_address a = address(1), b = address(2);
    int64_t now = 1000000, wanted[] = {1000, 2000, 4000, 8000, 16000, 32000, 60000, 60000, 60000};
    for (int i = 0; i + 1 < HN_FAILURES_FREE; i++)
        assert_int_equal(hn_failures_add(*state, &a, now), 0);
    for (size_t i = 0; i < sizeof wanted / sizeof wanted[0]; i++) {
        assert_int_equal(hn_failures_add(*state, &a, now), 0);
        assert_int_equal(hn_failures_add(*state, &a, now + 1), wanted[i] - 1);
        assert_int_equal(hn_failures_add(*state, &b, now), 0); /* another one's business */
        now += wanted[i];
        hn_failures_good(*state, &b, now);
    }
    now += HN_FAILURES_FORGET_MS + 1;
    for (int i = 0; i + 1 < HN_FAILURES_FREE; i++)
        assert_int_equal(hn_failures_add(*state, &a, now), 0);
}

static void test_good_key_ends_the_wait(void **state) {
    struct hn_address a = address(1);
    int64_t now = 1000000;
    assert_true(provoke(*state, &a, &now) > 0);
    hn_failures_good(*state, &a, now);
    for (int i = 0; i < 100; i++)
        assert_int_equal(hn_failures_add(*state, &a, now + i), 0);
    now += HN_FAILURES_GOOD_MS + 1000;
    assert_true(provoke(*state, &a, &now) > 0);
}

static void test_many_addresses(void **state) {
    struct hn_address first = address(0);
    int64_t now = 1000000;
    assert_true(provoke(*state, &first, &now) > 0);
    for (uint32_t i = 1; i < 100000; i++) {
        struct hn_address a = address(i);
        assert_int_equal(hn_failures_add(*state, &a, now + i), 0);
    }
    struct hn_address last = address(99999);
    now += 200000;
    assert_true(provoke(*state, &last, &now) > 0);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_wait_doubles, setup, teardown),
        cmocka_unit_test_setup_teardown(test_good_key_ends_the_wait, setup, teardown),
        cmocka_unit_test_setup_teardown(test_many_addresses, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
