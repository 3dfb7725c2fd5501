/* The command line: one row of commands.def a subcommand. Only here do the HTTP layer and the API's
 * route table meet. */
#include "api/routes.h"
#include "server/cli/commands.h"
#include "server/hooks/deliver.h"
#include "server/client/client.h"
#include "server/process/executor.h"
#include "server/process/rundir.h"
#include "server/serve.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <fcntl.h>
#include <unistd.h>

static int complain(const struct hn_error *err) {
    fprintf(stderr, "honed: %s\n", err->message);
    if (err->hint[0])
        fprintf(stderr, "       %s\n", err->hint);
    return 2;
}

static bool wants_help(int argc, char **argv) {
    return argc > 0 && (strcmp(argv[0], "--help") == 0 || strcmp(argv[0], "-h") == 0);
}

static int command_serve(int argc, char **argv) {
    struct hn_config config;
    struct hn_error err = {0};
    if (wants_help(argc, argv)) {
        char *options = hn_config_help();
        printf("usage: honed serve [--config F] [--name value …]\n\n%s\n"
               "  --check-config    only tell every setting that cannot be used; exit status 0 or "
               "1\n\n"
               "Sizes take K, M, G and T. Then submit a job:\n"
               "  honed models import base /path/to/model.gguf\n"
               "  honed submit train.jsonl --model base --watch\n"
               "and watch it at http://127.0.0.1:4663/\n",
            options ? options : "");
        free(options);
        return 0;
    }
    for (int i = 0; i < argc; i++)
        if (strcmp(argv[i], "--check-config") == 0) {
            memmove(argv + i, argv + i + 1, (size_t)(argc - i - 1) * sizeof *argv);
            return hn_command_check_config(argc - 1, argv);
        }
    hn_config_init(&config);
    int left = 0, rc = hn_config_arguments(&config, argc, argv, &left, &err);
    if (!rc && left) {
        rc = hn_fail(&err, HN_E_UNKNOWN_FIELD, "\"%.100s\" is no option of serve", argv[0]);
        hn_error_hint(&err, "`honed serve --help` lists them");
    }
    if (!rc)
        rc = hn_config_resolve(&config, &err);
    int status = rc ? complain(&err) : hn_serve(&config, hn_api_table(), argc, argv);
    hn_config_finish(&config);
    return status;
}

/* Children go first when memory ends, and leave no core files of private data. */
static void become_child(void) {
    struct rlimit none = {0, 0};
    setrlimit(RLIMIT_CORE, &none);
    prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
    int fd = open("/proc/self/oom_score_adj", O_WRONLY | O_CLOEXEC);
    if (fd >= 0 && write(fd, "500", 3) < 0) {
        /* Not ours to say on this machine. */
    }
    if (fd >= 0)
        close(fd);
}

#define PLACES 40

static const char *const *after(int argc, char **argv, const char *word, int n) {
    for (int i = 0; i + n < argc; i++)
        if (strcmp(argv[i], word) == 0)
            return (const char *const *)&argv[i + 1];
    return NULL;
}

/* Places of a list joined by ':', to read. */
static size_t add_list(struct hn_place *places, size_t n, char *list) {
    for (char *dir; list && n < PLACES && (dir = strsep(&list, ":"));)
        places[n++] = (struct hn_place){dir, false};
    return n;
}

static const struct hn_place shared[] = {{"datasets", false}, {"models", false}, {"tmp", true},
    {"tokens", true}, {"runs", false}, {"evaluations", true}};
enum { SHARED = sizeof shared / sizeof shared[0] };
_Static_assert((int)SHARED <= HN_RUNDIR_PLACES, "room for the places of a helper");

/* With `--confine STATE MODEL_DIRS`: a trainer sees its own folder (`own`), a helper what its ops
 * read and write; both the libraries that are still to be opened. */
static int confine(int argc, char **argv, const char *own, struct hn_error *err) {
    const char *const *to = after(argc, argv, "--confine", 2);
    char paths[HN_RUNDIR_PLACES][HN_PATH_SIZE], text[256];
    struct hn_place places[PLACES];
    size_t n = own ? HN_RUNDIR_PLACES : 0;
    int rc = to && own ? hn_rundir_places(own, paths, places, err) : 0;
    if (!to || rc)
        return rc;
    for (size_t i = 0; !own && i < SHARED; i++)
        if (hn_state_path(paths[i], to[0], shared[i].path, NULL, NULL))
            places[n++] = (struct hn_place){paths[i], shared[i].write};
    const char *libraries = getenv("LD_LIBRARY_PATH");
    char *models = own ? NULL : strdup(to[1]), *more = libraries ? strdup(libraries) : NULL;
    n = add_list(places, add_list(places, n, models), more);
    if (!hn_confine(places, n, HN_CONFINE_OFFLINE, text, sizeof text) || own)
        fprintf(stderr, "confined: %s\n", text);
    free(models);
    free(more);
    return 0;
}

/* How names are resolved, and whose certificates count. */
static const struct hn_place calling[] = {{"/etc/resolv.conf", false}, {"/etc/hosts", false},
    {"/etc/host.conf", false}, {"/etc/nsswitch.conf", false}, {"/etc/gai.conf", false},
    {"/etc/services", false}, {"/etc/ssl/certs", false}, {"/etc/ssl/openssl.cnf", false},
    {"/etc/gnutls", false}, {"/usr/share/ca-certificates", false},
    {"/usr/local/share/ca-certificates", false}};

static int command_deliver(int argc, char **argv) {
    char text[256];
    int fd = argc >= 1 ? (int)strtol(argv[0], NULL, 10) : -1;
    if (fd < 3) {
        fprintf(stderr, "usage: honed deliver FD (started by the daemon itself)\n");
        return 2;
    }
    become_child();
    if (after(argc, argv, "--confine", 2) &&
        !hn_confine(
            calling, sizeof calling / sizeof calling[0], HN_CONFINE_CALLS, text, sizeof text))
        fprintf(stderr, "confined: %s\n", text);
    return hn_deliver(fd);
}

static int number_after(int argc, char **argv, const char *word) {
    for (int i = 0; i + 1 < argc; i++)
        if (strcmp(argv[i], word) == 0)
            return (int)strtol(argv[i + 1], NULL, 10);
    return -1;
}

static int command_train(int argc, char **argv) {
    if (argc < 1 || argv[0][0] == '-') {
        fprintf(stderr,
            "usage: honed train RUN_DIR\n"
            "Runs or resumes the run that RUN_DIR/spec.json describes, without a daemon.\n");
        return 2;
    }
    struct hn_error err = {0};
    int lock_fd = number_after(argc, argv, "--lock-fd");
    if (lock_fd >= 0) {
        hn_executor_note_owner(argv[0], (int)getpid());
        become_child();
    }
    if (confine(argc, argv, argv[0], &err))
        return complain(&err);
    return hn_train(argv[0], lock_fd);
}

static int command_helper(int argc, char **argv) {
    int fd = argc >= 1 ? (int)strtol(argv[0], NULL, 10) : -1;
    if (fd < 3) {
        fprintf(stderr, "usage: honed helper FD (started by the daemon itself)\n");
        return 2;
    }
    become_child();
    confine(argc, argv, NULL, NULL);
    return hn_helper_serve(fd);
}

static int command_version(int argc, char **argv) {
    (void)argc;
    (void)argv;
    printf("honed %s (%s)\n", HN_VERSION, hn_build_name());
    return 0;
}

static int command_help(int argc, char **argv);

static const struct {
    const char *name, *synopsis, *what; /* what NULL: not shown */
    int (*run)(int argc, char **argv);
} commands[] = {
#define HN_COMMAND(name, synopsis, what, run) {name, synopsis, what, run},
#include "server/cli/commands.def"
#undef HN_COMMAND
};
#define COMMANDS (sizeof commands / sizeof commands[0])

static int command_help(int argc, char **argv) {
    (void)argc;
    (void)argv;
    printf(
        "honed: a fine-tuning job server\n\n"
        "Asking a running server (each has --help; --server or HONE_SERVER names another one):\n");
    hn_client_list(stdout);
    printf("\nOn the server's machine:\n");
    for (size_t i = 0; i < COMMANDS; i++)
        if (commands[i].what)
            printf("  honed %-48s %s\n", commands[i].synopsis, commands[i].what);
    printf("\nFirst steps:\n"
           "  honed serve &                                   # listens on 127.0.0.1:4663\n"
           "  honed models import base /path/to/model.gguf\n"
           "  honed submit train.jsonl --model base --watch\n"
           "  # then open http://127.0.0.1:4663/ in a browser\n\n"
           "HONE_KERNELS=avx2 (or portable) in the environment takes the kernels that older CPUs "
           "run.\n");
    return 0;
}

int main(int argc, char **argv) {
    const char *name = argc > 1 ? argv[1] : "--help";
    struct hn_error err = {0};
    hn_json_setup();
    if (!hn_kernel_asked(&err)) {
        fprintf(stderr, "honed: %s\n", err.message);
        return 2;
    }
    if (strcmp(name, "-h") == 0 || strcmp(name, "help") == 0)
        name = "--help";
    for (size_t i = 0; i < COMMANDS; i++) {
        if (strcmp(commands[i].name, name) != 0)
            continue;
        if (argc > 2 && strcmp(argv[2], "--help") == 0 && commands[i].run != command_serve) {
            printf("usage: honed %s\n%s\n", commands[i].synopsis,
                commands[i].what ? commands[i].what : "");
            return 0;
        }
        return commands[i].run(argc - 2, argv + 2);
    }
    int status;
    if (hn_client_command(name, argc - 2, argv + 2, &status))
        return status;
    fprintf(stderr, "honed: there is no command \"%s\"; `honed --help` lists them\n", name);
    return 2;
}
