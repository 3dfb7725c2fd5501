/* See confine.h. Landlock has no library: its three calls are made directly, as its documentation shows them. */
#include "server/confine.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/landlock.h>
#include <sched.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
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
    {1, 8, (1 << 13) - 1},                 /* execute, write, read, list, remove, make */
    {2, 8, LANDLOCK_ACCESS_FS_REFER},      /* rename and link across folders */
    {3, 8, 1 << 14},                       /* truncate */
    {4, 16, 0},                            /* TCP: bind, connect */
    {5, 16, 1 << 15},                      /* control calls of devices */
    {6, 24, 0},                            /* scopes: abstract sockets, signals */
};
/* The right to execute is given nowhere: libraries are mapped, which does not need it. */
#define READING (LANDLOCK_ACCESS_FS_READ_FILE | LANDLOCK_ACCESS_FS_READ_DIR)
/* The rights that a file can have; the others are a folder's, and a rule for a file that names one is refused. */
#define ON_FILES (LANDLOCK_ACCESS_FS_READ_FILE | LANDLOCK_ACCESS_FS_WRITE_FILE | 1 << 14)

/* Libraries, time zones, the number of processors; what the C library and OpenBLAS look at. */
static const struct hn_place common[] = {{"/usr", false}, {"/lib", false}, {"/lib64", false}, {"/etc", false}, {"/proc", false},
    {"/sys/devices/system", false}, {"/sys/fs/cgroup", false}, {"/dev/null", true}, {"/dev/urandom", false}, {"/dev/shm", true}};

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
    struct landlock_path_beneath_attr rule = {.allowed_access = (place->write ? rights : rights & READING) & ~(uint64_t)LANDLOCK_ACCESS_FS_EXECUTE,
        .parent_fd = open(place->path, O_PATH | O_CLOEXEC)};
    if (rule.parent_fd < 0)
        return;
    if (fstat(rule.parent_fd, &st) == 0 && !S_ISDIR(st.st_mode))
        rule.allowed_access &= ON_FILES;
    syscall(SYS_landlock_add_rule, ruleset, LANDLOCK_RULE_PATH_BENEATH, &rule, 0);
    close(rule.parent_fd);
}

static bool confine_files(const struct hn_place *places, size_t n) {
    int abi = landlock_abi();
    size_t size = 0;
    struct ruleset rules = {.files = rights_of(abi, &size), .tcp = 3, .scopes = 3};
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

#if defined(__SANITIZE_ADDRESS__) /* its leak checker starts a process and traces this one */
#define CALLS "by seccomp (but for this build's own checker)"
static bool confine_calls(void) {
    return true;
}
#elif !defined(HN_SECCOMP)
#define CALLS ""
static bool confine_calls(void) {
    return false;
}
#else
#define CALLS "by seccomp"
/* What neither training nor answering has a use for. They fail with EPERM, as if the user were not allowed to. */
static const int refused[] = {SCMP_SYS(socket), SCMP_SYS(socketpair), SCMP_SYS(connect), SCMP_SYS(bind), SCMP_SYS(listen),
    SCMP_SYS(accept), SCMP_SYS(accept4), SCMP_SYS(execve), SCMP_SYS(execveat), SCMP_SYS(fork), SCMP_SYS(vfork), SCMP_SYS(ptrace),
    SCMP_SYS(process_vm_readv), SCMP_SYS(process_vm_writev), SCMP_SYS(mount), SCMP_SYS(umount2), SCMP_SYS(pivot_root),
    SCMP_SYS(chroot), SCMP_SYS(unshare), SCMP_SYS(setns), SCMP_SYS(bpf), SCMP_SYS(perf_event_open), SCMP_SYS(keyctl), SCMP_SYS(add_key),
    SCMP_SYS(request_key), SCMP_SYS(io_uring_setup), SCMP_SYS(userfaultfd), SCMP_SYS(init_module), SCMP_SYS(finit_module),
    SCMP_SYS(kexec_load), SCMP_SYS(reboot), SCMP_SYS(swapon), SCMP_SYS(open_by_handle_at)};

static bool confine_calls(void) {
    scmp_filter_ctx filter = seccomp_init(SCMP_ACT_ALLOW);
    bool good = filter != NULL;
    for (size_t i = 0; good && i < sizeof refused / sizeof refused[0]; i++)
        good = seccomp_rule_add(filter, SCMP_ACT_ERRNO(EPERM), refused[i], 0) == 0;
    /* Threads, but no processes. clone3 hides its flags behind a pointer; without it the C library takes clone. */
    good = good && seccomp_rule_add(filter, SCMP_ACT_ERRNO(ENOSYS), SCMP_SYS(clone3), 0) == 0 &&
        seccomp_rule_add(filter, SCMP_ACT_ERRNO(EPERM), SCMP_SYS(clone), 1, SCMP_A0(SCMP_CMP_MASKED_EQ, CLONE_THREAD, 0)) == 0 &&
        seccomp_load(filter) == 0;
    if (filter)
        seccomp_release(filter);
    return good;
}
#endif

static bool tell(bool files, bool calls, char *ret, size_t size) {
    int abi = landlock_abi();
    snprintf(ret, size, "files %s%s, system calls %s", files ? "by Landlock" : "open: the kernel has no Landlock",
        !files || abi >= 4 ? "" : " (too old to keep TCP out)", calls ? CALLS : "open: the kernel or this build has no seccomp");
    return files && calls;
}

bool hn_confine(const struct hn_place *places, size_t n, char *ret, size_t size) {
    prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
    bool files = confine_files(places, n);
    return tell(files, confine_calls(), ret, size);
}

bool hn_confine_look(char *ret, size_t size) {
    return tell(landlock_abi() > 0, CALLS[0] && prctl(PR_GET_SECCOMP, 0, 0, 0, 0) >= 0, ret, size);
}
