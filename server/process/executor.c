/* Trainers as child processes of this machine. See executor.h. */
#include "server/process/executor.h"
#include "server/process/child.h"
#include "server/base/log.h"
#include "server/process/rundir.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#define LEAVE_MS 1000 /* that a trainer without its lock has to end by itself */

static int pidfd_open_(int pid) {
    return (int)syscall(SYS_pidfd_open, pid, 0);
}

static bool read_proc(int pid, const char *name, char *ret, size_t size) {
    char path[64];
    snprintf(path, sizeof path, "/proc/%d/%s", pid, name);
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    ssize_t n = fd < 0 ? 0 : read(fd, ret, size - 1);
    if (fd >= 0)
        close(fd);
    ret[n > 0 ? n : 0] = 0;
    return n > 0;
}

/* A field of /proc/PID/stat, counted from 1; 0 when there is no such process. */
static unsigned long long stat_field(int pid, int number) {
    char text[1024];
    /* the name may hold anything */
    char *s = read_proc(pid, "stat", text, sizeof text) ? strrchr(text, ')') : NULL;
    for (int field = 2; s && field < number; field++)
        s = strchr(s + 1, ' ');
    return s ? strtoull(s + 1, NULL, 10) : 0;
}

/* With the pid it names a process for ever. */
static unsigned long long start_time(int pid) {
    return stat_field(pid, 22);
}

static void local_attach(const char *run_dir, struct hn_process *ret) {
    char text[128] = "";
    int file, pid = 0;
    unsigned long long started = 0;
    *ret = (struct hn_process){.pidfd = -1};
    if (hn_rundir_open(run_dir, "lock", O_RDONLY, &file, NULL))
        return;
    ssize_t n = read(file, text, sizeof text - 1);
    close(file);
    if (n > 0 && sscanf(text, "%d %llu", &pid, &started) == 2 && pid > 1 && started) {
        int fd = pidfd_open_(pid);
        /* Checked after the pidfd is open: from then on the number cannot be given to another. */
        if (fd >= 0 && start_time(pid) == started)
            *ret = (struct hn_process){.pid = pid, .pidfd = fd};
        else if (fd >= 0)
            close(fd);
    }
}

static void local_signal(struct hn_process *process, int number) {
    if (process->pidfd >= 0)
        syscall(SYS_pidfd_send_signal, process->pidfd, number, NULL, 0);
}

static int spawn_process(const char *run_dir, int lock_fd, const struct hn_confinement *to,
    pid_t *pid, struct hn_error *err) {
    int log, rc = hn_rundir_open(run_dir, "trainer.log", O_WRONLY | O_CREAT | O_APPEND, &log, err);
    if (rc)
        return rc;
    char number[16];
    snprintf(number, sizeof number, "%d", HN_CHILD_FD);
    const char *const args[] = {"train", run_dir, "--lock-fd", number, NULL};
    rc = hn_child_spawn(args, lock_fd, log, to, pid, err);
    close(log);
    return rc;
}

void hn_executor_note_owner(const char *run_dir, int pid) {
    char text[64];
    int fd, n = snprintf(text, sizeof text, "%d %llu\n", pid, start_time(pid));
    if (hn_rundir_open(run_dir, "lock", O_WRONLY, &fd, NULL))
        return;
    if (ftruncate(fd, 0) || pwrite(fd, text, (size_t)n, 0) != n)
        hn_log(HN_LOG_WARNING, "cannot note the trainer's pid", "pid", HN_N(pid), NULL);
    close(fd);
}

/* It may have let go of its lock and live on, beside the next one. */
static void kill_previous(const char *run_dir) {
    struct hn_process old;
    local_attach(run_dir, &old);
    if (old.pidfd < 0)
        return;
    hn_log(HN_LOG_WARNING, "a trainer without its lock killed", "run", run_dir, "pid",
        HN_N(old.pid), NULL);
    local_signal(&old, SIGKILL);
    struct pollfd p = {.fd = old.pidfd, .events = POLLIN};
    poll(&p, 1, 5000);
    close(old.pidfd);
}

/* The trainer inherits a descriptor that is for reading only: what the file says is whom the daemon
 * signals. */
static int local_spawn(const char *run_dir, const struct hn_confinement *to, struct hn_process *ret,
    struct hn_error *err) {
    int fd, rc = hn_rundir_open(run_dir, "lock", O_RDONLY | O_CREAT, &fd, err);
    if (rc)
        return rc;
    if (flock(fd, LOCK_EX | LOCK_NB)) {
        close(fd);
        return hn_fail(err, HN_E_CONFLICT, "a trainer works in %s already", run_dir);
    }
    kill_previous(run_dir);
    pid_t pid;
    rc = spawn_process(run_dir, fd, to, &pid, err);
    if (!rc) {
        hn_executor_note_owner(run_dir, pid);
        /* Cannot name another process: the child is ours and not reaped yet. */
        *ret = (struct hn_process){.pid = pid, .pidfd = pidfd_open_(pid), .child = true};
    }
    close(fd);
    return rc;
}

static bool local_alive(const char *run_dir) {
    int fd;
    if (hn_rundir_open(run_dir, "lock", O_RDONLY, &fd, NULL))
        return false;
    bool held = flock(fd, LOCK_SH | LOCK_NB) != 0 && errno == EWOULDBLOCK;
    close(fd);
    return held;
}

static bool local_usage(const struct hn_process *process, int64_t *ret_cpu_ms, int64_t *ret_bytes) {
    char text[4096];
    const char *line = process->pid > 0 && read_proc(process->pid, "status", text, sizeof text)
        ? strstr(text, "\nRssAnon:")
        : NULL;
    if (!line) /* a dead one that is not reaped has none */
        return false;
    *ret_bytes = (int64_t)strtoull(line + strlen("\nRssAnon:"), NULL, 10) * 1024;
    *ret_cpu_ms = (int64_t)((stat_field(process->pid, 14) + stat_field(process->pid, 15)) * 1000 /
        (unsigned long long)sysconf(_SC_CLK_TCK));
    return true;
}

static int local_release(struct hn_process *process) {
    siginfo_t info = {0};
    /* One that lives is one that has let go of its lock, and is about to leave with its status. */
    struct pollfd left = {.fd = process->pidfd, .events = POLLIN};
    if (process->child && process->pidfd >= 0)
        poll(&left, 1, LEAVE_MS);
    local_signal(process, SIGKILL);
    if (process->child)
        while (waitid(P_PID, (id_t)process->pid, &info, WEXITED) < 0 && errno == EINTR)
            continue;
    int status = process->child && info.si_code == CLD_EXITED ? info.si_status : -1;
    if (process->pidfd >= 0)
        close(process->pidfd);
    *process = (struct hn_process){.pidfd = -1};
    return status;
}

const struct hn_executor hn_executor_local = {
    .name = "local",
    .spawn = local_spawn,
    .attach = local_attach,
    .alive = local_alive,
    .usage = local_usage,
    .signal = local_signal,
    .release = local_release,
};
