/* Limits that are not the hardware's. */
#include "server/base/machine.h"
#include "engine/engine.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static void put(const char *folder, const char *group, const char *file, const char *text) {
    char path[512], dir[512];
    snprintf(dir, sizeof dir, "%s%s", folder, group);
    snprintf(path, sizeof path, "%.400s/%s", dir, file);
    assert_int_equal(hn_dir_create(dir, NULL), 0);
    assert_int_equal(hn_file_write_durable(path, text, strlen(text), NULL), 0);
}

static void test_limits_of_groups(void **state) {
    (void)state;
    char groups[] = "/tmp/hone-groups-XXXXXX";
    assert_non_null(mkdtemp(groups));
    const char *in_two = "0::/a/b/c\n",
               *in_one = "9:cpu,cpuacct:/x\n4:memory:/x/y\n1:name=systemd:/z\n0::/\n";
    assert_true(hn_machine_group_memory(in_two, groups) == INT64_MAX &&
        hn_machine_group_memory("", groups) == INT64_MAX);
    put(groups, "/a/b/c", "memory.max", "max\n");
    assert_true(hn_machine_group_memory(in_two, groups) == INT64_MAX);
    put(groups, "/a/b", "memory.max", "5000\n");
    put(groups, "/a", "memory.max", "9000\n");
    assert_int_equal(hn_machine_group_memory(in_two, groups), 5000);
    put(groups, "", "memory.max", "3000\n"); /* a container's own, seen as the root */
    assert_int_equal(hn_machine_group_memory(in_two, groups), 3000);
    assert_int_equal(hn_machine_group_memory("0::/gone\n", groups), 3000);

    put(groups, "/memory/x/y", "memory.limit_in_bytes", "9223372036854771712\n");
    put(groups, "/memory/x", "memory.limit_in_bytes", "2000\n");
    assert_int_equal(hn_machine_group_memory(in_one, groups), 2000);

    assert_true(hn_machine_group_processors(in_two, groups) == INT64_MAX);
    put(groups, "/a/b/c", "cpu.max", "max 100000\n");
    assert_true(hn_machine_group_processors(in_two, groups) == INT64_MAX);
    put(groups, "/a", "cpu.max", "150000 100000\n");
    assert_int_equal(hn_machine_group_processors(in_two, groups), 2);
    hn_dir_remove(groups, NULL);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_limits_of_groups),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
