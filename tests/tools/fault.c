/*
 * Makes chosen calls of a daemon and its children fail. Preloaded; told what to do by the file
 * FAULT_CONTROL, which is mapped by all of them and by the test, so that a fault can be set while
 * they run and counts over all processes:
 *
 *   int64 who (1 serve, 2 train, 4 helper), what (1 memory, 2 write, 4 sync, 8 spawn, 16 threads),
 *   countdown (the fault is at 1), repeat (how many calls fail from there on), error (an errno; 0:
 *   a write that is short by half), fired, clock (seconds that the wall clock is ahead), seen
 *   (calls of the kind since it was set)
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <spawn.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

enum { MEMORY = 1, WRITE = 2, SYNC = 4, SPAWN = 8, THREAD = 16 };

struct control {
    _Atomic long long who, what, countdown, repeat, error, fired, clock, seen;
};

static struct control *control;
static long long self;

extern void *__libc_malloc(size_t size);
extern void *__libc_calloc(size_t n, size_t size);
extern void *__libc_realloc(void *p, size_t size);

__attribute__((constructor)) static void begin(void) {
    char line[512] = "";
    const char *path = getenv("FAULT_CONTROL");
    int fd = open("/proc/self/cmdline", O_RDONLY | O_CLOEXEC);
    ssize_t n = fd < 0 ? 0 : read(fd, line, sizeof line - 1);
    close(fd);
    const char *word = n > 0 ? line + strlen(line) + 1 : "";
    self = strcmp(word, "serve") == 0 ? 1
        : strcmp(word, "train") == 0  ? 2
        : strcmp(word, "helper") == 0 ? 4
                                      : 0;
    fd = path ? open(path, O_RDWR | O_CLOEXEC) : -1;
    if (fd < 0)
        return;
    void *map = mmap(NULL, sizeof *control, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    close(fd);
    if (map != MAP_FAILED)
        control = map;
}

/* Whether this call is one that shall fail; errno is set then. */
static int fails(int what) {
    if (!control || !(control->what & what) || !(control->who & self))
        return 0;
    atomic_fetch_add(&control->seen, 1);
    long long left = atomic_fetch_sub(&control->countdown, 1);
    if (left > 1 || left <= 1 - control->repeat)
        return 0;
    atomic_fetch_add(&control->fired, 1);
    errno = (int)control->error;
    return 1;
}

void *malloc(size_t size) {
    return fails(MEMORY) ? NULL : __libc_malloc(size);
}
void *calloc(size_t n, size_t size) {
    return fails(MEMORY) ? NULL : __libc_calloc(n, size);
}
void *realloc(void *p, size_t size) {
    return fails(MEMORY) ? NULL : __libc_realloc(p, size);
}

/* Files other than the logs that hang on 1 and 2. */
static int durable(int fd) {
    struct stat st;
    return fd > 2 && fstat(fd, &st) == 0 && S_ISREG(st.st_mode);
}

ssize_t write(int fd, const void *data, size_t size) {
    static ssize_t (*next)(int, const void *, size_t);
    if (!next)
        next = (ssize_t(*)(int, const void *, size_t))dlsym(RTLD_NEXT, "write");
    if (durable(fd) && fails(WRITE)) {
        if (errno || size < 2)
            return -1;
        size /= 2;
    }
    return next(fd, data, size);
}

ssize_t pwrite64(int fd, const void *data, size_t size, off64_t at) {
    static ssize_t (*next)(int, const void *, size_t, off64_t);
    if (!next)
        next = (ssize_t(*)(int, const void *, size_t, off64_t))dlsym(RTLD_NEXT, "pwrite64");
    if (durable(fd) && fails(WRITE)) {
        if (errno || size < 2)
            return -1;
        size /= 2;
    }
    return next(fd, data, size, at);
}

int fsync(int fd) {
    static int (*next)(int);
    if (!next)
        next = (int (*)(int))dlsym(RTLD_NEXT, "fsync");
    return fails(SYNC) ? -1 : next(fd);
}

int fdatasync(int fd) {
    static int (*next)(int);
    if (!next)
        next = (int (*)(int))dlsym(RTLD_NEXT, "fdatasync");
    return fails(SYNC) ? -1 : next(fd);
}

int posix_spawn(pid_t *pid, const char *path, const posix_spawn_file_actions_t *actions,
    const posix_spawnattr_t *attr, char *const argv[], char *const envp[]) {
    static int (*next)(pid_t *, const char *, const posix_spawn_file_actions_t *,
        const posix_spawnattr_t *, char *const[], char *const[]);
    if (!next)
        next = (int (*)(pid_t *, const char *, const posix_spawn_file_actions_t *,
            const posix_spawnattr_t *, char *const[], char *const[]))dlsym(RTLD_NEXT,
            "posix_spawn");
    return fails(SPAWN) ? errno : next(pid, path, actions, attr, argv, envp);
}

int pthread_create(pthread_t *thread, const pthread_attr_t *attr, void *(*run)(void *), void *arg) {
    static int (*next)(pthread_t *, const pthread_attr_t *, void *(*)(void *), void *);
    if (!next)
        next = (int (*)(pthread_t *, const pthread_attr_t *, void *(*)(void *), void *))dlsym(
            RTLD_NEXT, "pthread_create");
    return fails(THREAD) ? errno : next(thread, attr, run, arg);
}

int clock_gettime(clockid_t id, struct timespec *ret) {
    static int (*next)(clockid_t, struct timespec *);
    if (!next)
        next = (int (*)(clockid_t, struct timespec *))dlsym(RTLD_NEXT, "clock_gettime");
    int rc = next(id, ret);
    if (!rc && control && id == CLOCK_REALTIME)
        ret->tv_sec += control->clock;
    return rc;
}
