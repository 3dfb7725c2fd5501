/* The queue's decision, case by case. */
#include "server/store/queue.h"

#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

#define MINUTE ((int64_t)60 * 1000)

static struct hn_queue_limits limits(int64_t used) {
    return (struct hn_queue_limits){
        .memory = 100, .used = used, .disk_free = 1000, .now = 100 * MINUTE};
}

static void test_first_that_fits(void **state) {
    (void)state;
    struct hn_queue_candidate c[] = {{.peak_bytes = 60}, {.peak_bytes = 50}, {.peak_bytes = 40}};
    struct hn_queue_limits l = limits(50);
    assert_int_equal(hn_queue_pick(c, 3, &l), 1);
    assert_string_equal(c[0].reason, "waiting_for_memory");
    assert_int_equal(c[0].blocked_since, l.now);
    assert_string_equal(c[2].reason, "waiting_for_slot");
    l.used = 0;
    assert_int_equal(hn_queue_pick(c, 3, &l), 0);
    assert_int_equal(hn_queue_pick(c, 0, &l), -1);
}

static void test_nobody_passes_for_ever(void **state) {
    (void)state;
    struct hn_queue_limits l = limits(50);
    struct hn_queue_candidate c[] = {
        {.peak_bytes = 60, .blocked_since = l.now - 9 * MINUTE}, {.peak_bytes = 1}};
    assert_int_equal(hn_queue_pick(c, 2, &l), 1);
    c[0].blocked_since = l.now - 11 * MINUTE;
    assert_int_equal(hn_queue_pick(c, 2, &l), -1);
    l.used = 40;
    assert_int_equal(hn_queue_pick(c, 2, &l), 0);
}

static void test_what_waits_for_time_or_disk(void **state) {
    (void)state;
    struct hn_queue_limits l = limits(0);
    struct hn_queue_candidate c[] = {{.peak_bytes = 1, .not_before = l.now + 1}, {.peak_bytes = 1}};
    assert_int_equal(hn_queue_pick(c, 2, &l), 1);
    c[1].disk_bytes = 1001; /* smaller ones pass */
    assert_int_equal(hn_queue_pick(c, 2, &l), -1);
    assert_string_equal(c[1].reason, "waiting_for_disk");
    c[0].not_before = 0;
    assert_int_equal(hn_queue_pick(c, 2, &l), 0);
    l.disk_free = -1;
    assert_int_equal(hn_queue_pick(c, 2, &l), -1);
    assert_string_equal(c[0].reason, "waiting_for_disk");
}

/* What was admitted when the machine had more memory does not run now, not even alone. */
static void test_never_more_than_there_is(void **state) {
    (void)state;
    struct hn_queue_limits l = limits(0);
    struct hn_queue_candidate c[] = {{.peak_bytes = 101}, {.peak_bytes = 100}};
    assert_int_equal(hn_queue_pick(c, 1, &l), -1);
    assert_int_equal(hn_queue_pick(c, 2, &l), 1);
}

/* What was noted in a future that the clock has left delays nobody and reserves nothing. */
static void test_a_clock_set_back(void **state) {
    (void)state;
    struct hn_queue_limits l = limits(0);
    struct hn_queue_candidate c[] = {
        {.peak_bytes = 1, .not_before = l.now + 90 * MINUTE, .blocked_since = l.now + MINUTE}};
    assert_int_equal(hn_queue_pick(c, 1, &l), 0);
    assert_int_equal(c[0].blocked_since, l.now);
    c[0].not_before = l.now + 1000;
    c[0].reason = "waiting_for_disk"; /* kept while it is delayed */
    assert_int_equal(hn_queue_pick(c, 1, &l), -1);
    assert_string_equal(c[0].reason, "waiting_for_disk");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_first_that_fits),
        cmocka_unit_test(test_nobody_passes_for_ever),
        cmocka_unit_test(test_what_waits_for_time_or_disk),
        cmocka_unit_test(test_never_more_than_there_is),
        cmocka_unit_test(test_a_clock_set_back),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
