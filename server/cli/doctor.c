/*
 * honed doctor: what an operator would look at first, a line each, with what to do about it.
 * Changes nothing: a state folder that is not there yet is not made.
 */
#include "server/cli/commands.h"
#include "server/base/config.h"
#include "server/process/confine.h"
#include "server/base/machine.h"
#include "server/base/state.h"
#include "server/store/store.h"
#include "server/care/usage.h"

#include <errno.h>
#include <netdb.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#define MIB ((int64_t)1 << 20)
#define FEW_FILES 1024

enum verdict { GOOD, DOUBTFUL, BAD };

struct finding {
    enum verdict verdict;
    char text[300];
    const char *advice; /* of what is not good */
};

struct patient {
    struct hn_config config;
    bool state_there, in_use; /* in_use: a daemon runs on the state folder */
};

static struct finding look_at_build(const struct patient *p) {
    struct finding f = {.advice = NULL};
    (void)p;
    snprintf(f.text, sizeof f.text, "%s", hn_build_name());
    return f;
}

static struct finding look_at_kernels(const struct patient *p) {
    const char *level = hn_kernel_level();
    struct finding f = {.verdict = strcmp(level, "portable") == 0 ? DOUBTFUL : GOOD,
        .advice = "without AVX2 training is many times slower; nothing else is wrong"};
    (void)p;
    snprintf(f.text, sizeof f.text, "%s", level);
    return f;
}

static struct finding look_at_confinement(const struct patient *p) {
    struct finding f = {.advice = "trainers and helpers run with the daemon's own rights; a kernel "
                                  "from 5.13 on with Landlock has more"};
    f.verdict = hn_confine_look(f.text, sizeof f.text) ? GOOD : DOUBTFUL;
    if (!p->config.confine) {
        f.verdict = DOUBTFUL;
        f.advice = "set confine = yes";
        snprintf(f.text, sizeof f.text, "turned off");
    }
    return f;
}

static struct finding look_at_threads(const struct patient *p) {
    int64_t there = hn_machine_threads();
    struct finding f = {.verdict = p->config.threads > there || p->config.slots > p->config.threads
            ? DOUBTFUL
            : GOOD,
        .advice =
            "threads beyond the processors, or slots beyond the threads, slow each other down"};
    snprintf(f.text, sizeof f.text, "%lld in %lld slots, of %lld processors",
        (long long)p->config.threads, (long long)p->config.slots, (long long)there);
    return f;
}

static struct finding look_at_memory(const struct patient *p) {
    int64_t there = hn_machine_memory(), given = p->config.memory;
    struct finding f = {.verdict = given < 256 * MIB ? BAD
            : given > there                          ? DOUBTFUL
                                                     : GOOD,
        .advice = given < 256 * MIB
            ? "give trainers at least 256M with the setting memory"
            : "lower the setting memory: the machine, or the limit of its cgroup, has less"};
    snprintf(f.text, sizeof f.text,
        "%lld MiB for trainers, of %lld MiB (the cgroup's limit counts)", (long long)(given / MIB),
        (long long)(there / MIB));
    return f;
}

static struct finding look_at_files(const struct patient *p) {
    struct rlimit limit = {0};
    (void)p;
    getrlimit(RLIMIT_NOFILE, &limit);
    struct finding f = {.verdict = limit.rlim_max < FEW_FILES ? DOUBTFUL : GOOD,
        .advice = "raise it (LimitNOFILE=65536 in the unit): each connection takes one"};
    snprintf(f.text, sizeof f.text, "%llu may be open, %llu at most",
        (unsigned long long)limit.rlim_cur, (unsigned long long)limit.rlim_max);
    return f;
}

/* The nearest folder that is there, for what does not exist yet. */
static void existing_parent(const char *state, char out[HN_PATH_SIZE]) {
    snprintf(out, HN_PATH_SIZE, "%s", state);
    while (access(out, F_OK) && strrchr(out, '/') && strrchr(out, '/') != out)
        *strrchr(out, '/') = 0;
    if (access(out, F_OK))
        snprintf(out, HN_PATH_SIZE, "/");
}

static struct finding look_at_state(const struct patient *p) {
    char parent[HN_PATH_SIZE];
    existing_parent(p->config.state, parent);
    struct finding f = {.verdict = access(parent, W_OK | X_OK) ? BAD : GOOD,
        .advice = "choose another with --state, or run as the user that owns it"};
    snprintf(f.text, sizeof f.text, "%.200s%s", p->config.state,
        p->state_there ? "" : " (will be made at the first start)");
    return f;
}

static struct finding look_at_disk(const struct patient *p) {
    char parent[HN_PATH_SIZE];
    existing_parent(p->config.state, parent);
    int64_t room = hn_machine_disk_free(parent), reserve = p->config.disk_reserve;
    struct finding f = {.verdict = room < reserve ? BAD
            : room < reserve + 2048 * MIB         ? DOUBTFUL
                                                  : GOOD,
        .advice = "free some space: uploads are refused and jobs wait below the reserve"};
    snprintf(f.text, sizeof f.text, "%lld MiB free, %lld kept in reserve", (long long)(room / MIB),
        (long long)(reserve / MIB));
    return f;
}

static struct finding look_at_usage(const struct patient *p) {
    struct finding f = {.advice = NULL};
    struct hn_usage usage;
    size_t n = 0;
    hn_usage_read(p->config.state, &usage);
    for (int kind = 0; kind < HN_USAGE_KINDS && n < sizeof f.text; kind++)
        if (usage.bytes[kind] >= MIB || kind == HN_USAGE_STORE)
            n += (size_t)snprintf(f.text + n, sizeof f.text - n, "%s%s %lld MiB", n ? ", " : "",
                hn_usage_name((enum hn_usage_kind)kind), (long long)(usage.bytes[kind] / MIB));
    return f;
}

static struct finding look_at_store(const struct patient *p) {
    struct finding f = {
        .advice = "`honed serve` says what to do; `honed rebuild` makes a store from the folders"};
    struct hn_store *store = NULL;
    struct hn_error err = {0};
    snprintf(f.text, sizeof f.text, "%s", p->in_use ? "in use" : "none yet");
    if (!p->state_there || p->in_use)
        return f;
    int rc = hn_store_create(p->config.state, &store, &err);
    f.verdict = rc ? BAD : GOOD;
    snprintf(f.text, sizeof f.text, "%.290s", rc ? err.message : "opens and is of this version");
    hn_store_destroy(store);
    return f;
}

/* The first of model_dirs that cannot be looked into. */
static struct finding look_at_models(const struct patient *p) {
    struct finding f = {
        .advice =
            "POST /models finds nothing there: make the folder, or correct the setting model_dirs"};
    char *list = strdup(p->config.model_dirs), *rest = list;
    snprintf(f.text, sizeof f.text, "%.250s",
        *p->config.model_dirs ? p->config.model_dirs : "none to import from by the API");
    for (char *dir; list && f.verdict == GOOD && (dir = strsep(&rest, ":"));)
        if (*dir && access(dir, R_OK | X_OK)) {
            f.verdict = DOUBTFUL;
            snprintf(f.text, sizeof f.text, "%.200s: %s", dir, strerror(errno));
        }
    free(list);
    return f;
}

/* The settings are there both or not at all. */
static struct finding look_at_tls(const struct patient *p) {
    const char *cert = p->config.tls_cert, *key = p->config.tls_key;
    struct finding f = {
        .advice = "tls_cert and tls_key name a PEM file each, which the daemon's user may read"};
    const char *bad = access(cert, R_OK) ? cert : access(key, R_OK) ? key : NULL;
    f.verdict = *cert && bad ? BAD : GOOD;
    snprintf(f.text, sizeof f.text, "%.200s%s",
        !*cert    ? "off"
            : bad ? bad
                  : cert,
        f.verdict == BAD ? " cannot be read" : "");
    return f;
}

static struct finding look_at_daemon(const struct patient *p) {
    struct finding f = {.advice = NULL};
    snprintf(f.text, sizeof f.text,
        p->in_use ? "one runs on this state folder" : "none runs on this state folder");
    return f;
}

/* Whether the address can be had; the daemon that runs has it already. */
static struct finding look_at_address(const struct patient *p) {
    struct finding f = {.advice = "another program has the port: choose one with --listen"};
    char host[256] = "";
    const char *colon = strrchr(p->config.listen, ':');
    struct addrinfo hints = {.ai_socktype = SOCK_STREAM, .ai_flags = AI_PASSIVE}, *found = NULL;
    size_t n = colon ? (size_t)(colon - p->config.listen) : 0;
    bool bracketed = n > 1 && p->config.listen[0] == '[';
    snprintf(host, sizeof host, "%.*s", (int)(bracketed ? n - 2 : n), p->config.listen + bracketed);
    int fd = -1, one = 1;
    if (!p->in_use && colon && getaddrinfo(host, colon + 1, &hints, &found) == 0 &&
        (fd = socket(found->ai_family, SOCK_STREAM | SOCK_CLOEXEC, 0)) >= 0) {
        setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
        if (bind(fd, found->ai_addr, found->ai_addrlen))
            f.verdict = BAD;
    }
    snprintf(f.text, sizeof f.text, "%.200s%s", p->config.listen,
        f.verdict == BAD ? " cannot be listened on" : "");
    if (fd >= 0)
        close(fd);
    if (found)
        freeaddrinfo(found);
    return f;
}

static const struct {
    const char *what;
    struct finding (*look)(const struct patient *p);
} looks[] = {
    {"build", look_at_build},
    {"kernels", look_at_kernels},
    {"threads", look_at_threads},
    {"memory", look_at_memory},
    {"open files", look_at_files},
    {"state folder", look_at_state},
    {"disk", look_at_disk},
    {"kept", look_at_usage},
    {"store", look_at_store},
    {"models", look_at_models},
    {"tls", look_at_tls},
    {"confinement", look_at_confinement},
    {"daemon", look_at_daemon},
    {"address", look_at_address},
};

int hn_command_doctor(int argc, char **argv) {
    static const char *const words[] = {"ok  ", "warn", "BAD "};
    struct patient p = {.in_use = false};
    struct hn_error err = {0};
    int left, status = 0, lock = -1;
    hn_config_init(&p.config);
    int rc = hn_command_config(&p.config, argc, argv, &left, &err);
    if (rc) {
        fprintf(stderr, "%s%s%s\n", err.message, err.hint[0] ? " \xE2\x80\x94 " : "", err.hint);
        hn_config_finish(&p.config);
        return 1;
    }
    p.state_there = access(p.config.state, F_OK) == 0;
    p.in_use = p.state_there && hn_state_lock(p.config.state, &lock, &err) == HN_E_CONFLICT;
    if (lock >= 0)
        close(lock);
    for (size_t i = 0; i < sizeof looks / sizeof looks[0]; i++) {
        struct finding f = looks[i].look(&p);
        printf("%s  %-14s %s\n", words[f.verdict], looks[i].what, f.text);
        if (f.verdict != GOOD && f.advice)
            printf("      %-14s \xE2\x86\x92 %s\n", "", f.advice);
        status |= f.verdict == BAD;
    }
    hn_config_finish(&p.config);
    return status;
}
