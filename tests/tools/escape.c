/*
 * For tests: a library that is preloaded into a daemon and works in its trainers only. As soon as
 * one is confined and begins, it tries what a hostile model file might make it do. A line for each
 * in the trainer's log: "escape NAME: errno".
 */
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/stat.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <sys/xattr.h>
#include <termios.h>
#include <unistd.h>

#define LOCK_FD 3

static const char *run_dir; /* NULL where this is no trainer, or when it has tried */

__attribute__((constructor)) static void begin(int argc, char **argv) {
    if (argc > 2 && strcmp(argv[1], "train") == 0)
        run_dir = argv[2];
}

static void tell(const char *name, long result) {
    int error = result < 0 ? errno : 0;
    fprintf(stderr, "escape %s: %d\n", name, error);
}

/* The path of `name` in the run directory; two at a time. */
static const char *in(const char *name) {
    static char paths[2][4096];
    static int turn;
    turn = !turn;
    snprintf(paths[turn], sizeof paths[0], "%s/%s", run_dir, name);
    return paths[turn];
}

static void try_open(const char *name, const char *path, int flags) {
    int fd = open(path, flags | O_CLOEXEC, 0600);
    tell(name, fd);
    if (fd >= 0)
        close(fd);
}

static void *nothing(void *argument) {
    return argument;
}

static void try_allowed(void) {
    pthread_t thread;
    int failed = pthread_create(&thread, NULL, nothing, NULL);
    if (!failed)
        pthread_join(thread, NULL);
    errno = failed;
    tell("allowed thread", failed ? -1 : 0);
    try_open("allowed events", in("events.jsonl"), O_RDWR | O_APPEND);
    try_open("allowed input", in("inputs/train"), O_RDONLY);
    try_open("allowed list", run_dir, O_RDONLY | O_DIRECTORY);
    try_open("allowed null", "/dev/null", O_WRONLY);
    try_open("allowed checkpoint", in("checkpoints/.tmp-x"), O_WRONLY | O_CREAT);
    tell("allowed rename", rename(in("checkpoints/.tmp-x"), in("checkpoints/.tmp-y")));
    tell("allowed remove", unlink(in("checkpoints/.tmp-y")));
    tell("allowed folder", mkdir(in("artifacts/.tmp-x"), 0700));
    tell("allowed folder removed", rmdir(in("artifacts/.tmp-x")));
}

/* The inputs are hard links to the library's files. */
static void try_inputs(const char *model) {
    char again[64];
    int fd = open(model, O_RDONLY | O_CLOEXEC);
    struct timespec times[2] = {{0, 0}, {0, 0}};
    snprintf(again, sizeof again, "/proc/self/fd/%d", fd);
    try_open("input write", model, O_WRONLY);
    try_open("input truncate", model, O_RDONLY | O_TRUNC);
    try_open("input by descriptor", again, O_WRONLY);
    try_open("input new", in("inputs/new"), O_WRONLY | O_CREAT);
    tell("input truncated by name", truncate(model, 1));
    tell("input mode", chmod(model, 0666));
    tell("input mode by descriptor", fchmod(fd, 0666));
    tell("input owner", chown(model, 1, 1));
    tell("input times", utimensat(AT_FDCWD, model, times, 0));
    tell("input times by descriptor", futimens(fd, times));
    tell("input attribute", setxattr(model, "user.x", "x", 1, 0));
    tell("input remove", unlink(model));
    tell("input move", rename(model, in("checkpoints/model")));
    tell("input replace", rename(in("events.jsonl"), model));
    tell("input link", link(model, in("checkpoints/model")));
    tell("input shared map",
        mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0) == MAP_FAILED ? -1 : 0);
    close(fd);
}

static void try_run_dir(void) {
    tell("lock write", write(LOCK_FD, "1 1\n", 4));
    tell("lock truncate", ftruncate(LOCK_FD, 0));
    tell("lock release", flock(LOCK_FD, LOCK_UN));
    try_open("lock open", in("lock"), O_RDWR);
    try_open("lock by descriptor", "/proc/self/fd/3", O_RDWR);
    tell("lock remove", unlink(in("lock")));
    tell("lock replace", rename(in("events.jsonl"), in("lock")));
    try_open("spec write", in("spec.json"), O_WRONLY);
    tell("log remove", unlink(in("trainer.log")));
    tell("events remove", unlink(in("events.jsonl")));
    try_open("run directory file", in("new"), O_WRONLY | O_CREAT);
    tell("run directory folder", mkdir(in("exports"), 0700));
    tell("checkpoints replace", rename(in("checkpoints"), in("old")));
    tell("work remove", rmdir(in("work")));
    tell("symbolic link", symlink("/etc/shadow", in("artifacts/shadow")));
    tell("pipe", mkfifo(in("artifacts/pipe"), 0600));
    tell("device", mknod(in("artifacts/device"), S_IFCHR | 0600, 1 << 8 | 3));
}

static void try_outside(const char *secret) {
    char path[64];
    snprintf(path, sizeof path, "/proc/%d/environ", (int)getppid());
    try_open("daemon's environment", path, O_RDONLY);
    try_open("other process", "/proc/1/cmdline", O_RDONLY);
    try_open("processes", "/proc", O_RDONLY | O_DIRECTORY);
    try_open("store", in("../../hone.db"), O_RDONLY);
    try_open("library", in("../../models"), O_RDONLY | O_DIRECTORY);
    try_open("other runs", in(".."), O_RDONLY | O_DIRECTORY);
    try_open("passwords", "/etc/passwd", O_RDONLY);
    try_open("settings", "/etc", O_RDONLY | O_DIRECTORY);
    try_open("key", secret, O_RDONLY);
    try_open("key write", secret, O_WRONLY);
    try_open("home", "/root", O_RDONLY | O_DIRECTORY);
    try_open("temporary file", "/tmp/hone-escape", O_WRONLY | O_CREAT);
    try_open("shared memory", "/dev/shm/hone-escape", O_WRONLY | O_CREAT);
    try_open("system library", "/usr/lib/hone-escape", O_WRONLY | O_CREAT);
}

static void try_calls(void) {
    struct rlimit limit = {RLIM_INFINITY, RLIM_INFINITY};
    int pair[2];
    char none = 0;
    tell("socket", socket(AF_INET, SOCK_STREAM, 0));
    tell("unix socket", socket(AF_UNIX, SOCK_STREAM, 0));
    tell("socket pair", socketpair(AF_UNIX, SOCK_STREAM, 0, pair));
    tell("message with descriptors", sendmsg(LOCK_FD, &(struct msghdr){0}, 0));
    pid_t pid = fork();
    if (pid == 0)
        _exit(0);
    tell("process", pid);
    tell("process without fork", syscall(SYS_clone, SIGCHLD, NULL, NULL, NULL, NULL));
    tell("program", execl("/bin/true", "true", NULL));
    tell("trace", ptrace(PTRACE_ATTACH, getppid(), NULL, NULL));
    tell("signal", kill(getppid(), 0));
    tell("signal to a thread", syscall(SYS_tgkill, getppid(), getppid(), 0));
    tell("process descriptor", syscall(SYS_pidfd_open, getppid(), 0));
    tell("other memory", syscall(SYS_process_vm_readv, getppid(), NULL, 0, NULL, 0, 0));
    tell("signals by descriptor", fcntl(LOCK_FD, F_SETOWN, getppid()));
    tell("lease", fcntl(LOCK_FD, F_SETLEASE, F_RDLCK));
    tell("namespace", unshare(CLONE_NEWUSER));
    tell("mount", mount("none", "/mnt", "tmpfs", 0, NULL));
    tell("root", chroot("/"));
    tell("limits", setrlimit(RLIMIT_CORE, &limit));
    tell("dumpable", prctl(PR_SET_DUMPABLE, 1, 0, 0, 0));
    tell("terminal", ioctl(2, TIOCSTI, &none));
    tell("file in memory", syscall(SYS_memfd_create, "x", 0));
    tell("handle", syscall(SYS_open_by_handle_at, AT_FDCWD, NULL, 0));
    tell("rings", syscall(SYS_io_uring_setup, 1, NULL));
    tell("kernel program", syscall(SYS_bpf, 0, NULL, 0));
    tell("faults", syscall(SYS_userfaultfd, 0));
    tell("keys", syscall(SYS_keyctl, 0, 0, 0, 0, 0));
    tell("personality", syscall(SYS_personality, 0xffffffffL));
    tell("call of the future", syscall(999));
}

int sigaction(int number, const struct sigaction *action, struct sigaction *old) {
    int (*next)(int, const struct sigaction *, struct sigaction *);
    *(void **)&next = dlsym(RTLD_NEXT, "sigaction");
    if (number == SIGTERM && run_dir) { /* the trainer's first act, confined already */
        try_allowed();
        char *model = strdup(in(getenv("HONE_ESCAPE_MODEL")));
        try_inputs(model);
        free(model);
        try_run_dir();
        try_outside(getenv("HONE_ESCAPE_KEY"));
        try_calls();
        run_dir = NULL;
    }
    return next(number, action, old);
}
