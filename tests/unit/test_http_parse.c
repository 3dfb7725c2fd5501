/* The grammars of HTTP that the daemon reads itself. */
#include "server/http/http_parse.h"

#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

static void test_patterns(void **state) {
    (void)state;
    char scratch[64];
    const char *p[HN_PATH_PARAMS];
    assert_true(
        hn_path_match("/jobs/{id}/artifacts/{path*}", "/jobs/j1/artifacts/a/b.txt", scratch, p));
    assert_string_equal(p[0], "j1");
    assert_string_equal(p[1], "a/b.txt");
    assert_null(p[2]);
    assert_false(hn_path_match("/jobs/{id}", "/jobs/", scratch, p));
    assert_false(hn_path_match("/jobs/{id}", "/jobs/a/b", scratch, p));
    assert_false(hn_path_match("/jobs/{id}/log", "/jobs/a", scratch, p));
    assert_false(hn_path_match("/jobs/{id}/artifacts/{path*}", "/jobs/j1/artifacts/", scratch, p));
    assert_false(hn_path_match("/", "/x", scratch, p));
    assert_true(hn_path_match("/", "/", scratch, p));
}

static void check_range(
    const char *text, uint64_t size, enum hn_range wanted, uint64_t from, uint64_t count) {
    uint64_t f = 0, c = 0;
    assert_int_equal(hn_range_parse(text, size, &f, &c), wanted);
    if (wanted == HN_RANGE_OK) {
        assert_int_equal(f, from);
        assert_int_equal(c, count);
    }
}

static void test_ranges(void **state) {
    (void)state;
    check_range(NULL, 10, HN_RANGE_NONE, 0, 0);
    check_range("bytes=0-0", 10, HN_RANGE_OK, 0, 1);
    check_range("bytes=2-", 10, HN_RANGE_OK, 2, 8);
    check_range("bytes=-3", 10, HN_RANGE_OK, 7, 3);
    check_range("bytes=-30", 10, HN_RANGE_OK, 0, 10);
    check_range("bytes=5-99999999999999999999", 10, HN_RANGE_NONE, 0, 0);
    check_range("bytes=5-99", 10, HN_RANGE_OK, 5, 5);
    check_range("bytes=10-", 10, HN_RANGE_BAD, 0, 0);
    check_range("bytes=-0", 10, HN_RANGE_BAD, 0, 0);
    check_range("bytes=0-", 0, HN_RANGE_BAD, 0, 0);
    check_range("bytes=3-2", 10, HN_RANGE_NONE, 0, 0);
    check_range("bytes=1-2,4-5", 10, HN_RANGE_NONE, 0, 0);
    check_range("bytes=-", 10, HN_RANGE_NONE, 0, 0);
    check_range("lines=1-2", 10, HN_RANGE_NONE, 0, 0);
}

static void test_hosts(void **state) {
    (void)state;
    char host[32], port[8];
    assert_true(hn_host_split("127.0.0.1:80", host, sizeof host, port, sizeof port));
    assert_string_equal(host, "127.0.0.1");
    assert_string_equal(port, "80");
    assert_true(hn_host_split("[::1]:4663", host, sizeof host, port, sizeof port));
    assert_string_equal(host, "::1");
    assert_true(hn_host_split("localhost", host, sizeof host, port, sizeof port));
    assert_string_equal(port, "");
    assert_false(hn_host_split("::1", host, sizeof host, port, sizeof port));
    assert_false(hn_host_split("[::1", host, sizeof host, port, sizeof port));
    assert_false(hn_host_split("a:b", host, sizeof host, port, sizeof port));
    assert_false(hn_host_split("", host, sizeof host, port, sizeof port));
    assert_false(hn_host_split(
        "a-host-name-that-is-longer-than-the-buffer", host, sizeof host, port, sizeof port));
    assert_true(hn_host_is_loopback("LOCALHOST"));
    assert_true(hn_host_is_loopback("app.localhost"));
    assert_true(hn_host_is_loopback("127.1.2.3"));
    assert_false(hn_host_is_loopback("127.evil.example"));
    assert_false(hn_host_is_loopback("localhost.evil.example"));
    assert_false(hn_host_is_loopback("0.0.0.0"));
    assert_true(hn_host_is_address("10.0.0.5") && hn_host_is_address("fe80::1"));
    assert_false(hn_host_is_address("10.0.0.5.evil.example") || hn_host_is_address("0x7f.1") ||
        hn_host_is_address(""));
    assert_true(hn_host_listed("a.example, b.example", "B.example") &&
        hn_host_listed("a.example,b", "a.example"));
    assert_false(hn_host_listed("a.example,b", "example") ||
        hn_host_listed("a.example", "a.example.evil") || hn_host_listed("", ""));
}

static void test_origins_media_tags(void **state) {
    (void)state;
    assert_true(hn_origin_allowed(NULL, "a:1", ""));
    assert_true(hn_origin_allowed("http://a:1", "A:1", ""));
    assert_false(hn_origin_allowed("http://a:2", "a:1", ""));
    assert_false(hn_origin_allowed("null", "a:1", "null"));
    assert_false(hn_origin_allowed("http://a", NULL, ""));
    assert_true(hn_origin_allowed("https://a.example", "127.0.0.1:4663", "a.example"));
    assert_false(hn_origin_allowed("https://a.example.evil", "127.0.0.1:4663", "a.example"));
    assert_false(hn_origin_allowed("https://a.example@evil", "127.0.0.1:4663", "a.example"));
    assert_true(hn_media_is("Application/JSON; charset=utf-8", "application/json"));
    assert_false(hn_media_is("application/jsonl", "application/json"));
    assert_false(hn_media_is(NULL, "application/json"));
    assert_true(hn_etag_listed("\"a\", W/\"b\"", "b"));
    assert_false(hn_etag_listed("\"ab\"", "a"));
    assert_true(hn_etag_listed("*", "a"));
    assert_true(hn_accepts("text/html, text/event-stream;q=1", "text/event-stream"));
    assert_false(hn_accepts("*/*", "text/event-stream"));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_patterns),
        cmocka_unit_test(test_ranges),
        cmocka_unit_test(test_hosts),
        cmocka_unit_test(test_origins_media_tags),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
