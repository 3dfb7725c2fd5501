/* See confine.h. Landlock has no library: its three calls are made directly, as its documentation
 * shows them. */
#include "server/process/confine.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/landlock.h>
#include <sched.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <termios.h>
#include <ucontext.h>
#include <unistd.h>
#ifdef HN_SECCOMP
#include <seccomp.h>
#endif

/* The rules as the newest interface has them; an older one is given the part that it knows. */
struct ruleset {
    uint64_t files, tcp, scopes;
};

static const struct {
    int abi;
    size_t size;
    uint64_t files; /* rights that this version added */
} versions[] = {
    {1, 8, (1 << 13) - 1},            /* execute, write, read, list, remove, make */
    {2, 8, LANDLOCK_ACCESS_FS_REFER}, /* rename and link across folders */
    {3, 8, 1 << 14},                  /* truncate */
    {4, 16, 0},                       /* TCP: bind, connect */
    {5, 16, 1 << 15},                 /* control calls of devices */
    {6, 24, 0},                       /* scopes: abstract sockets, signals */
};
/* The right to execute is given nowhere: libraries are mapped, which does not need it. */
#define READING (LANDLOCK_ACCESS_FS_READ_FILE | LANDLOCK_ACCESS_FS_READ_DIR)
#define TRUNCATE (1 << 14)
/* Files and folders only: whoever reads the place later meets no link, pipe, socket or device in
 * it; nothing moves in from elsewhere. */
#define WRITING                                                                           \
    (READING | TRUNCATE | LANDLOCK_ACCESS_FS_WRITE_FILE | LANDLOCK_ACCESS_FS_REMOVE_DIR | \
        LANDLOCK_ACCESS_FS_REMOVE_FILE | LANDLOCK_ACCESS_FS_MAKE_DIR |                    \
        LANDLOCK_ACCESS_FS_MAKE_REG)
/* The rights that a file can have; the others are a folder's, and a rule for a file that names one
 * is refused. */
#define ON_FILES (LANDLOCK_ACCESS_FS_READ_FILE | LANDLOCK_ACCESS_FS_WRITE_FILE | TRUNCATE)

/* Libraries and how they are found, time zones, the number of processors: what the C library and
 * OpenBLAS look at. Neither /etc nor the rest of /usr and /proc, where keys and other processes
 * are. */
static const struct hn_place common[] = {{"/usr/lib", false}, {"/usr/lib32", false},
    {"/usr/lib64", false}, {"/usr/local/lib", false}, {"/usr/share/zoneinfo", false},
    {"/lib", false}, {"/lib64", false}, {"/etc/ld.so.cache", false}, {"/etc/localtime", false},
    {"/proc/self", false}, {"/proc/cpuinfo", false}, {"/proc/meminfo", false},
    {"/proc/stat", false}, {"/proc/sys/vm", false}, {"/sys/devices/system", false},
    {"/sys/fs/cgroup", false}, {"/sys/kernel/mm", false}, {"/dev/null", true},
    {"/dev/urandom", false}};

static int landlock_abi(void) {
    long abi = syscall(SYS_landlock_create_ruleset, NULL, 0, LANDLOCK_CREATE_RULESET_VERSION);
    return abi < 0 ? 0 : (int)abi;
}

static uint64_t rights_of(int abi, size_t *ret_size) {
    uint64_t rights = 0;
    for (size_t i = 0; i < sizeof versions / sizeof versions[0] && versions[i].abi <= abi; i++) {
        rights |= versions[i].files;
        *ret_size = versions[i].size;
    }
    return rights;
}

static void allow(int ruleset, const struct hn_place *place, uint64_t rights) {
    struct stat st;
    if (!place->path || !*place->path)
        return;
    struct landlock_path_beneath_attr rule = {
        .allowed_access = rights & (place->write ? WRITING : READING),
        .parent_fd = open(place->path, O_PATH | O_CLOEXEC)};
    if (rule.parent_fd < 0)
        return;
    if (fstat(rule.parent_fd, &st) == 0 && !S_ISDIR(st.st_mode))
        rule.allowed_access &= ON_FILES;
    syscall(SYS_landlock_add_rule, ruleset, LANDLOCK_RULE_PATH_BENEATH, &rule, 0);
    close(rule.parent_fd);
}

/* Bits of Landlock's rule for TCP. */
#define TCP_BIND 1
#define TCP_CONNECT 2

static bool confine_files(const struct hn_place *places, size_t n, enum hn_confine_net net) {
    int abi = landlock_abi();
    size_t size = 0;
    struct ruleset rules = {.files = rights_of(abi, &size),
        .tcp = net == HN_CONFINE_CALLS ? TCP_BIND : TCP_BIND | TCP_CONNECT,
        .scopes = 3};
    if (!abi)
        return false;
    int fd = (int)syscall(SYS_landlock_create_ruleset, &rules, size, 0);
    if (fd < 0)
        return false;
    for (size_t i = 0; i < sizeof common / sizeof common[0]; i++)
        allow(fd, &common[i], rules.files);
    for (size_t i = 0; i < n; i++)
        allow(fd, &places[i], rules.files);
    bool done = syscall(SYS_landlock_restrict_self, fd, 0) == 0;
    close(fd);
    return done;
}

#if defined(__SANITIZE_ADDRESS__) || \
    defined(__SANITIZE_THREAD__) /* they trace, start processes and do much else */
#define CALLS "by seccomp (but for this build's own checker)"
static bool confine_calls(enum hn_confine_net net) {
    (void)net;
    return true;
}
#elif !defined(HN_SECCOMP)
#define CALLS ""
static bool confine_calls(enum hn_confine_net net) {
    (void)net;
    return false;
}
#else
#define CALLS "by seccomp"
/*
 * What a trainer and a helper call, found by running the tests under strace and with this list in
 * force; the C library's variants of a call stand with it, since which one is taken is its choice.
 * What is not here is refused, above all what Landlock does not look at: modes, owners, times and
 * attributes of files that may only be read, signals, other processes, new namespaces.
 */
#define CALL(name) SCMP_SYS(name)
static const int allowed[] = {
    /* memory */
    CALL(brk), CALL(mmap), CALL(munmap), CALL(mremap), CALL(mprotect), CALL(madvise),
    CALL(membarrier),
    /* open files */
    CALL(read), CALL(readv), CALL(pread64), CALL(preadv), CALL(write), CALL(writev), CALL(pwrite64),
    CALL(pwritev), CALL(lseek), CALL(close), CALL(fsync), CALL(fdatasync), CALL(sync_file_range),
    CALL(ftruncate), CALL(fallocate), CALL(fadvise64), CALL(dup), CALL(poll), CALL(ppoll),
    /* files by name, where Landlock lets them */
    CALL(open), CALL(openat), CALL(stat), CALL(fstat), CALL(lstat), CALL(newfstatat), CALL(statx),
    CALL(statfs), CALL(fstatfs), CALL(access), CALL(faccessat), CALL(faccessat2), CALL(readlink),
    CALL(readlinkat), CALL(getcwd), CALL(getdents64), CALL(mkdir), CALL(mkdirat), CALL(rmdir),
    CALL(unlink), CALL(unlinkat), CALL(rename), CALL(renameat), CALL(renameat2), CALL(chdir),
    CALL(fchdir), CALL(umask),
    /* threads; see below for clone */
    CALL(futex), CALL(set_robust_list), CALL(rseq), CALL(set_tid_address), CALL(arch_prctl),
    CALL(gettid), CALL(exit), CALL(exit_group), CALL(sched_yield), CALL(sched_getaffinity),
    CALL(sched_setaffinity), CALL(getcpu),
    /* signals to itself */
    CALL(rt_sigaction), CALL(rt_sigprocmask), CALL(rt_sigreturn), CALL(sigaltstack),
    CALL(restart_syscall),
    /* the helper's socket, which is open already */
    CALL(sendto), CALL(recvfrom), CALL(shutdown),
    /* time and what the process is */
    CALL(clock_gettime), CALL(clock_getres), CALL(clock_nanosleep), CALL(nanosleep),
    CALL(gettimeofday), CALL(time), CALL(getrandom), CALL(getpid), CALL(getppid), CALL(getuid),
    CALL(geteuid), CALL(getgid), CALL(getegid), CALL(getrusage), CALL(times), CALL(sysinfo),
    CALL(uname), CALL(getpriority)};

/* Calls of which a part is needed: when an argument has this value. */
static const struct {
    int call;
    unsigned argument;
    uint64_t mask, value;
} in_part[] = {
    /* Threads, but no processes. */
    {CALL(clone), 0, CLONE_THREAD, CLONE_THREAD},
    /* Not F_SETOWN, F_SETLEASE, F_NOTIFY, which send signals; not F_SETPIPE_SZ, seals or locks. */
    {CALL(fcntl), 1, UINT32_MAX, F_GETFD}, {CALL(fcntl), 1, UINT32_MAX, F_SETFD},
    {CALL(fcntl), 1, UINT32_MAX, F_GETFL}, {CALL(fcntl), 1, UINT32_MAX, F_SETFL},
    {CALL(fcntl), 1, UINT32_MAX, F_DUPFD_CLOEXEC},
    /* Whether standard output is a terminal. */
    {CALL(ioctl), 1, UINT32_MAX, TCGETS},
    /* Names of threads and of memory. */
    {CALL(prctl), 0, UINT32_MAX, PR_SET_NAME}, {CALL(prctl), 0, UINT32_MAX, PR_GET_NAME},
    {CALL(prctl), 0, UINT32_MAX, 0x53564d41},
    /* OpenBLAS asks that its buffers lie near the core that uses them (MPOL_PREFERRED). */
    {CALL(mbind), 2, UINT32_MAX, 1},
    /* Limits are read, not set. */
    {CALL(prlimit64), 2, UINT64_MAX, 0}};

/* What libcurl and the resolver of names call besides. A Unix socket would reach other services of
 * this machine: it is refused as a kernel without them does, for the resolver tries one. */
static const int calling[] = {CALL(connect), CALL(bind), CALL(getsockname), CALL(getpeername),
    CALL(getsockopt), CALL(setsockopt), CALL(sendmsg), CALL(sendmmsg), CALL(recvmsg),
    CALL(socketpair), CALL(pipe), CALL(pipe2), CALL(eventfd2)};
static const struct {
    int call;
    unsigned argument;
    uint64_t value;
} calling_in_part[] = {{CALL(socket), 0, AF_INET}, {CALL(socket), 0, AF_INET6},
    {CALL(socket), 0, AF_NETLINK}, {CALL(fcntl), 1, F_SETFL}, {CALL(ioctl), 1, FIONREAD}};

static bool allow_calling(scmp_filter_ctx filter) {
    bool good = seccomp_rule_add(filter, SCMP_ACT_ERRNO(EAFNOSUPPORT), CALL(socket), 1,
                    SCMP_A0(SCMP_CMP_EQ, AF_UNIX)) == 0;
    for (size_t i = 0; good && i < sizeof calling / sizeof calling[0]; i++)
        good = seccomp_rule_add(filter, SCMP_ACT_ALLOW, calling[i], 0) == 0;
    for (size_t i = 0; good && i < sizeof calling_in_part / sizeof calling_in_part[0]; i++)
        good = seccomp_rule_add(filter, SCMP_ACT_ALLOW, calling_in_part[i].call, 1,
                   SCMP_CMP(calling_in_part[i].argument, SCMP_CMP_MASKED_EQ, UINT32_MAX,
                       calling_in_part[i].value)) == 0;
    return good;
}

/* The newest call that the list was made with (mseal). The C library tries younger ones and takes
 * an older way when they are not there. */
#define NEWEST 462

/* Refused calls come here, so that one that was forgotten is named in the log and fails as if the
 * user were not allowed to. */
static void on_refused(int number, siginfo_t *info, void *context) {
    ucontext_t *c = context;
    char text[160];
    int call = info->si_syscall, error = call > NEWEST ? ENOSYS : EPERM, saved = errno;
    int n = snprintf(text, sizeof text,
        "confined: system call %d was refused (the list of those allowed is in "
        "server/process/confine.c)\n",
        call);
    (void)number;
    if (write(2, text, (size_t)n) < 0) {
        /* Nobody listens. */
    }
#if defined(__x86_64__)
    c->uc_mcontext.gregs[REG_RAX] = -error;
#elif defined(__aarch64__)
    c->uc_mcontext.regs[0] = (unsigned long long)-(long long)error;
#else
#error "where does a system call's result go?"
#endif
    errno = saved;
}

static bool confine_calls(enum hn_confine_net net) {
    struct sigaction action = {.sa_sigaction = on_refused, .sa_flags = SA_SIGINFO | SA_NODEFER};
    scmp_filter_ctx filter = seccomp_init(SCMP_ACT_TRAP);
    bool good = filter && sigaction(SIGSYS, &action, NULL) == 0;
    for (size_t i = 0; good && i < sizeof allowed / sizeof allowed[0]; i++)
        good = seccomp_rule_add(filter, SCMP_ACT_ALLOW, allowed[i], 0) == 0;
    for (size_t i = 0; good && i < sizeof in_part / sizeof in_part[0]; i++)
        good = seccomp_rule_add(filter, SCMP_ACT_ALLOW, in_part[i].call, 1,
                   SCMP_CMP(in_part[i].argument, SCMP_CMP_MASKED_EQ, in_part[i].mask,
                       in_part[i].value)) == 0;
    good = good && (net == HN_CONFINE_OFFLINE || allow_calling(filter));
    /* abort() signals the process itself. */
    good = good &&
        seccomp_rule_add(filter, SCMP_ACT_ALLOW, CALL(tgkill), 1,
            SCMP_A0(SCMP_CMP_EQ, (scmp_datum_t)getpid())) == 0;
    /* clone3 hides its flags behind a pointer; without it the C library takes clone. It is called
     * with all signals blocked. */
    good = good && seccomp_rule_add(filter, SCMP_ACT_ERRNO(ENOSYS), CALL(clone3), 0) == 0 &&
        seccomp_load(filter) == 0;
    if (filter)
        seccomp_release(filter);
    return good;
}
#endif

static bool tell(int abi, bool files, bool calls, char *ret, size_t size) {
    snprintf(ret, size, "files %s%s, system calls %s",
        files ? "by Landlock" : "open: the kernel has no Landlock",
        !files || abi >= 4 ? "" : " (too old to keep TCP out)",
        calls ? CALLS : "open: the kernel or this build has no seccomp");
    return files && calls;
}

bool hn_confine(
    const struct hn_place *places, size_t n, enum hn_confine_net net, char *ret, size_t size) {
    prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
    int abi = landlock_abi(); /* asked before no such question is allowed */
    bool files = confine_files(places, n, net);
    return tell(abi, files, confine_calls(net), ret, size);
}

bool hn_confine_look(char *ret, size_t size) {
    return tell(landlock_abi(), landlock_abi() > 0,
        CALLS[0] && prctl(PR_GET_SECCOMP, 0, 0, 0, 0) >= 0, ret, size);
}
