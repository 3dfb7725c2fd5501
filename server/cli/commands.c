/* See commands.h. They open the store themselves: WAL and a busy time-out let two processes
 * write. */
#include "server/cli/commands.h"
#include "server/library/library.h"
#include "server/base/config.h"
#include "server/base/log.h"
#include "server/base/machine.h"
#include "server/base/state.h"
#include "server/http/http.h"
#include "server/store/store_files.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

int hn_complain(const struct hn_error *err) {
    fprintf(stderr, "honed: %s\n", err->message);
    if (err->hint[0])
        fprintf(stderr, "       %s\n", err->hint);
    return 1;
}

int hn_usage(const char *text) {
    fprintf(stderr, "usage: %s\n", text);
    return 2;
}

void hn_session_close(struct hn_session *s) {
    hn_helper_destroy(s->helper);
    hn_store_destroy(s->store);
    hn_config_finish(&s->config);
}

/* The value of an option, which stays where it is. */
static const char *look_for(int argc, char **argv, const char *word) {
    size_t n = strlen(word);
    for (int i = 0; i < argc && strcmp(argv[i], "--") != 0; i++) {
        if (strncmp(argv[i], word, n) != 0)
            continue;
        if (argv[i][n] == '=')
            return argv[i] + n + 1;
        if (!argv[i][n])
            return i + 1 < argc ? argv[i + 1] : "";
    }
    return NULL;
}

int hn_command_config(
    struct hn_config *config, int argc, char **argv, int *ret_argc, struct hn_error *err) {
    static const char service[] = "/var/lib/hone";
    const char *file = look_for(argc, argv, "--config");
    bool named = look_for(argc, argv, "--state");
    int rc = 0;
    if (!file && !named && (file = hn_config_standard_file()))
        rc = hn_config_load(config, file, err);
    if (!rc)
        rc = hn_config_arguments(config, argc, argv, ret_argc, err);
    /* as the unit runs it: systemd names the folder, not the file */
    if (!rc && !named && !config->state && file && strcmp(file, "/etc/honed.conf") == 0 &&
        access(service, F_OK) == 0)
        rc = hn_config_set(config, "state", service, err);
    if (!rc && !named && file && config->state)
        fprintf(stderr, "state: %s (%s)\n", config->state, file);
    return rc ? rc : hn_config_resolve(config, err);
}

static void tell_problem(void *ud, const struct hn_error *problem) {
    hn_complain(problem);
    ++*(int *)ud;
}

int hn_command_check_config(int argc, char **argv) {
    struct hn_config config;
    struct hn_error err = {0};
    const char *file = look_for(argc, argv, "--config");
    int problems = 0, left = 0;
    hn_config_init(&config);
    if (!file && !(file = hn_config_standard_file())) {
        hn_fail(&err, HN_E_NOT_FOUND, "there is no configuration file to check");
        hn_error_hint(&err, "name one with --config FILE or HONE_CONFIG");
        tell_problem(&problems, &err);
    } else if (hn_config_check(&config, file, tell_problem, &problems, &err)) {
        tell_problem(&problems, &err);
    }
    const char *rest = hn_argument_take(&argc, argv, "--config");
    if (rest && hn_config_arguments(&config, argc, argv, &left, &err))
        tell_problem(&problems, &err);
    if (!problems &&
        (hn_config_resolve(&config, &err) || hn_state_check(config.state, &err) ||
            hn_http_check(&config, &err)))
        tell_problem(&problems, &err);
    if (!problems)
        printf("%s: all settings can be used\n", file);
    hn_config_finish(&config);
    return problems ? 1 : 0;
}

int hn_session_open(
    struct hn_session *s, int argc, char **argv, bool must_exist, struct hn_error *err) {
    char path[HN_PATH_SIZE];
    *s = (struct hn_session){.argv = argv};
    hn_config_init(&s->config);
    int rc = hn_command_config(&s->config, argc, argv, &s->argc, err);
    hn_log_setup(HN_LOG_WARNING, HN_LOG_TEXT);
    if (!rc && must_exist &&
        (!hn_state_path(path, s->config.state, "hone.db", NULL, NULL) || access(path, F_OK))) {
        rc = hn_fail(err, HN_E_NOT_FOUND, "%.300s is no state folder: there is no hone.db in it",
            s->config.state);
        hn_error_hint(err, "name the right one with --state");
    }
    if (!rc)
        rc = hn_state_create(s->config.state, err);
    if (!rc)
        rc = hn_store_create(s->config.state, &s->store, err);
    if (!rc)
        rc = hn_helper_create("command", 1, s->config.helper_seconds, NULL, &s->helper, err);
    s->library =
        (struct hn_library){.state = s->config.state, .store = s->store, .helper = s->helper};
    if (rc)
        hn_session_close(s);
    return rc;
}

/* Files that root makes in a folder of another user cannot be read by that user's server. */
static void warn_of_owner(const char *state) {
    struct stat st;
    if (geteuid() == 0 && stat(state, &st) == 0 && st.st_uid != 0)
        fprintf(stderr,
            "honed: %s belongs to another user, whose server may be unable to read what root "
            "imports\n       `honed models import NAME PATH` has the running server take it in\n",
            state);
}

static int model_import(
    struct hn_session *s, const char *name, const char *path, struct hn_error *err) {
    json_t *record = NULL;
    if (!hn_name_valid(name)) {
        hn_fail(err, HN_E_INVALID_FIELD, "\"%.80s\" cannot be a model's name", name);
        hn_error_hint(err, "use 1 to 64 of a-z, 0-9, dot, underscore and dash");
        return HN_E_INVALID_FIELD;
    }
    warn_of_owner(s->config.state);
    char *real = realpath(path, NULL);
    if (!real)
        return hn_fail_errno(err, errno, "cannot find %s", path);
    int rc = hn_model_import(&s->library, name, real, NULL, real, &record, NULL, err);
    free(real);
    if (!rc)
        printf("%s: %s, %lld parameters, %s\n", name,
            json_string_value(json_object_get(record, "family")),
            (long long)json_integer_value(json_object_get(record, "parameters")),
            json_string_value(json_object_get(record, "sha256")));
    json_decref(record);
    return rc;
}

static int model_list(struct hn_session *s, struct hn_error *err) {
    struct hn_db *db = hn_store_read(s->store, err);
    json_t *list = NULL, *record;
    bool more;
    size_t i;
    int rc = db ? hn_db_model_list(db, NULL, 100000, &list, &more, err) : HN_E_INTERNAL;
    json_array_foreach(list, i, record) {
        printf("%-32s %-10s %-8s %12lld bytes  %s\n",
            json_string_value(json_object_get(record, "name")),
            json_string_value(json_object_get(record, "family")),
            json_is_string(json_object_get(record, "quantisation"))
                ? json_string_value(json_object_get(record, "quantisation"))
                : "-",
            (long long)json_integer_value(json_object_get(record, "bytes")),
            json_string_value(json_object_get(record, "created_at")));
    }
    json_decref(list);
    hn_store_release(s->store, db);
    return rc;
}

int hn_command_model(int argc, char **argv) {
    struct hn_session s;
    struct hn_error err = {0};
    if (hn_session_open(&s, argc, argv, false, &err))
        return hn_complain(&err);
    int rc = 0, status = 0;
    if (s.argc == 3 && strcmp(s.argv[0], "import") == 0)
        rc = model_import(&s, s.argv[1], s.argv[2], &err);
    else if (s.argc == 1 && strcmp(s.argv[0], "list") == 0)
        rc = model_list(&s, &err);
    else
        status =
            hn_usage("honed model import NAME PATH [--state D] | honed model list [--state D]");
    hn_session_close(&s);
    return rc ? hn_complain(&err) : status;
}

const char *hn_argument_take(int *argc, char **argv, const char *word) {
    size_t n = strlen(word);
    for (int i = 0; i < *argc; i++) {
        if (strncmp(argv[i], word, n) != 0 || (argv[i][n] != '=' && argv[i][n] != 0))
            continue;
        int used = argv[i][n] == '=' ? 1 : 2;
        const char *value = used == 1 ? argv[i] + n + 1 : i + 1 < *argc ? argv[i + 1] : "";
        if (i + used > *argc)
            used = *argc - i;
        memmove(argv + i, argv + i + used, (size_t)(*argc - i - used) * sizeof *argv);
        *argc -= used;
        return value;
    }
    return NULL;
}
