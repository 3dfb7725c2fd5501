/* What hn_rundir_open opens and what not, with the kernel's openat2 and without it. */
#include "server/process/rundir.h"

#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>
#include <cmocka.h>

static bool without_openat2;
static long asked;

/* In the C library's place. */
long syscall(long number, ...) {
    va_list ap;
    va_start(ap, number);
    long a = va_arg(ap, long), b = va_arg(ap, long), c = va_arg(ap, long), d = va_arg(ap, long);
    va_end(ap);
    asked += number == SYS_openat2;
    if (number != SYS_openat2 || without_openat2) {
        errno = ENOSYS;
        return -1;
    }
    struct open_how {
        uint64_t flags, mode, resolve;
    } *how = (void *)c;
    assert_int_equal(how->resolve, 0x08 | 0x04); /* RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS */
    long result;
#if defined(__x86_64__)
    register long r10 __asm__("r10") = d;
    __asm__ volatile("syscall"
                     : "=a"(result)
                     : "a"(number), "D"(a), "S"(b), "d"(c), "r"(r10)
                     : "rcx", "r11", "memory");
#else
    register long x8 __asm__("x8") = number, x0 __asm__("x0") = a, x1 __asm__("x1") = b,
                     x2 __asm__("x2") = c, x3 __asm__("x3") = d;
    __asm__ volatile("svc 0" : "+r"(x0) : "r"(x8), "r"(x1), "r"(x2), "r"(x3) : "memory");
    result = x0;
#endif
    errno = result < 0 ? (int)-result : errno;
    return result < 0 ? -1 : result;
}

static char root[] = "/tmp/hone-rundir-XXXXXX";

static void put(const char *name) {
    char path[200];
    snprintf(path, sizeof path, "%s/%s", root, name);
    assert_int_equal(hn_file_write_durable(path, name, strlen(name), NULL), 0);
}

static int make(void **state) {
    (void)state;
    char path[200], target[200];
    assert_non_null(mkdtemp(root));
    snprintf(path, sizeof path, "%s/run/folder/deep", root);
    assert_int_equal(hn_dir_create(path, NULL), 0);
    put("secret");
    put("run/file");
    put("run/folder/deep/file");
    const struct {
        const char *name, *to;
    } links[] = {{"run/link", "file"}, {"run/out", "../secret"}, {"run/folder/up", ".."},
        {"run/way", "folder"}, {"run/nothing", "none"}};
    for (size_t i = 0; i < sizeof links / sizeof links[0]; i++) {
        snprintf(path, sizeof path, "%s/%s", root, links[i].name);
        assert_int_equal(symlink(links[i].to, path), 0);
    }
    snprintf(path, sizeof path, "%s/run/far", root);
    snprintf(target, sizeof target, "%s/secret", root);
    assert_int_equal(symlink(target, path), 0);
    snprintf(path, sizeof path, "%s/run/pipe", root);
    return mkfifo(path, 0600);
}

static int clear(void **state) {
    (void)state;
    return hn_dir_remove(root, NULL);
}

static void look(void) {
    static const struct {
        const char *path;
        int flags, code;
    } cases[] = {{"file", O_RDONLY, 0}, {"folder/deep/file", O_RDONLY, 0},
        {"folder/deep", O_RDONLY | O_DIRECTORY, 0}, {".", O_RDONLY | O_DIRECTORY, 0},
        {"new", O_WRONLY | O_CREAT, 0}, {"none", O_RDONLY, HN_E_NOT_FOUND},
        {"folder/none/file", O_RDONLY, HN_E_NOT_FOUND}, {"link", O_RDONLY, HN_E_CONFLICT},
        {"out", O_RDONLY, HN_E_CONFLICT}, {"far", O_RDONLY, HN_E_CONFLICT},
        {"way/deep/file", O_RDONLY, HN_E_CONFLICT}, {"folder/up/file", O_RDONLY, HN_E_CONFLICT},
        {"way", O_RDONLY | O_DIRECTORY, HN_E_CONFLICT},
        {"nothing", O_WRONLY | O_CREAT, HN_E_CONFLICT}, {"../secret", O_RDONLY, HN_E_CONFLICT},
        {"folder/../../secret", O_RDONLY, HN_E_CONFLICT}, {"/etc/passwd", O_RDONLY, HN_E_CONFLICT},
        {"pipe", O_RDONLY, HN_E_CONFLICT}, {"pipe", O_WRONLY, HN_E_CONFLICT},
        {"folder", O_RDONLY, HN_E_CONFLICT}, {"file", O_RDONLY | O_DIRECTORY, HN_E_CONFLICT}};
    char run[200], made[220];
    snprintf(run, sizeof run, "%s/run", root);
    snprintf(made, sizeof made, "%s/none", run);
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct hn_error err = {0};
        int fd = -1, rc = hn_rundir_open(run, cases[i].path, cases[i].flags, &fd, &err);
        if (rc != cases[i].code)
            fail_msg("%s: %d %s", cases[i].path, rc, err.message);
        if (!rc)
            close(fd);
    }
    assert_int_not_equal(access(made, F_OK), 0);
    int fd;
    snprintf(run, sizeof run, "%s/run/way", root); /* the run directory itself is no link either */
    assert_int_not_equal(hn_rundir_open(run, "deep/file", O_RDONLY, &fd, NULL), 0);
}

static void test_with_openat2(void **state) {
    (void)state;
    without_openat2 = false;
    asked = 0;
    look();
    assert_true(asked > 0);
}

static void test_without_openat2(void **state) {
    (void)state;
    without_openat2 = true;
    look();
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_with_openat2), cmocka_unit_test(test_without_openat2)};
    return cmocka_run_group_tests(tests, make, clear);
}
