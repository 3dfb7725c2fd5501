/* See child.h. posix_spawn, not fork: the daemon has threads and may be large. */
#include "server/process/child.h"

#include <fcntl.h>
#include <signal.h>
#include <spawn.h>
#include <stdlib.h>
#include <unistd.h>

#define MAX_ARGS 8

static const char *program(void) {
    /* For the daemon's own tests, which put a fast stand-in in the engine's place. */
    const char *other = getenv("HONED_TEST_EXE");
    return other && *other ? other : "/proc/self/exe";
}

int hn_child_spawn(const char *const *args, int fd, int log, const struct hn_confinement *to,
    int *ret_pid, struct hn_error *err) {
    const char *confine[] = {
        "--confine", to ? to->state : NULL, to && to->model_dirs ? to->model_dirs : ""};
    char *argv[MAX_ARGS + 5] = {(char *)(uintptr_t) "honed"};
    size_t n = 1;
    for (; args[n - 1] && n <= MAX_ARGS; n++)
        argv[n] = (char *)(uintptr_t)args[n - 1];
    for (size_t i = 0; to && i < 3; i++)
        argv[n++] = (char *)(uintptr_t)confine[i];
    posix_spawn_file_actions_t actions;
    posix_spawnattr_t attr;
    posix_spawn_file_actions_init(&actions);
    posix_spawnattr_init(&attr);
    posix_spawn_file_actions_addopen(&actions, 0, "/dev/null", O_RDWR, 0);
    if (log >= 0) {
        posix_spawn_file_actions_adddup2(&actions, log, 1);
        posix_spawn_file_actions_adddup2(&actions, 1, 2);
    } else {
        posix_spawn_file_actions_adddup2(&actions, 0, 1);
    }
    /* also when equal: it clears close-on-exec */
    posix_spawn_file_actions_adddup2(&actions, fd, HN_CHILD_FD);
    sigset_t none, all;
    sigemptyset(&none);
    sigfillset(&all);
    posix_spawnattr_setsigmask(&attr, &none);
    posix_spawnattr_setsigdefault(&attr, &all);
    posix_spawnattr_setflags(
        &attr, POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF | POSIX_SPAWN_SETSID);
    pid_t pid;
    int failed = posix_spawn(&pid, program(), &actions, &attr, argv, environ);
    posix_spawn_file_actions_destroy(&actions);
    posix_spawnattr_destroy(&attr);
    if (failed)
        return hn_fail_errno(err, failed, "cannot start honed %s", args[0]);
    *ret_pid = pid;
    return 0;
}
