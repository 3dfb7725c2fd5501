/*
 * honed check: what the store says against what the disk has: its own soundness, every data set,
 * model, artifact and checkpoint with its sha256, events of runs, and what nothing refers to. A
 * line for each thing that is wrong, with what to do; changes nothing. Beside a running daemon,
 * too: what goes away while it is looked at is no finding.
 */
#include "server/cli/commands.h"
#include "server/care/inspect.h"
#include "server/store/store_backup.h"

#include <poll.h>
#include <stdio.h>

#define SETTLE_MS 1000

struct audit {
    struct hn_session *session;
    struct hn_db *db;
    long long looked, wrong;
};

static void tell(
    void *ud, const char *what, const char *name, const char *found, const char *advice) {
    struct audit *a = ud;
    a->wrong++;
    printf("BAD   %-9s %s: %s\n      %-9s \xE2\x86\x92 %s\n", what, name, found, "", advice);
}

static void look_at_store(void *ud, const char *text) {
    tell(ud, "store", "hone.db", text,
        "stop the server and restore the latest backup that verifies");
}

struct strays {
    const char *state;
    json_t *paths;
};

static void add_stray(void *ud, const char *folder, const char *name) {
    const struct strays *strays = ud;
    char path[HN_PATH_SIZE];
    if (hn_state_path(path, strays->state, folder, name, NULL))
        json_object_set_new(strays->paths, path, json_true());
}

/* A record goes before its files: what is being deleted right now is gone a moment later. */
static void look_at_strays(struct audit *a) {
    json_t *once = json_object(), *twice = json_object(), *value;
    struct strays strays = {a->session->config.state, once};
    const char *path;
    hn_library_strays(&a->session->library, add_stray, &strays);
    strays.paths = twice;
    if (json_object_size(once) && poll(NULL, 0, SETTLE_MS) == 0)
        hn_library_strays(&a->session->library, add_stray, &strays);
    json_object_foreach(twice, path, value)
        if (json_object_get(once, path))
            tell(a, "stray", path, "nothing refers to it",
                "the next start of the server moves it to lost+found/");
    json_decref(once);
    json_decref(twice);
}

static void look_at_all(struct audit *a, const char *folder) {
    struct hn_inspection inspection = {
        .state = a->session->config.state, .db = a->db, .tell = tell, .ud = a};
    json_t *names = NULL, *name;
    size_t i;
    struct hn_error err = {0};
    if (hn_db_names(a->db, folder, &names, &err))
        look_at_store(a, err.message);
    json_array_foreach(names, i, name)
        hn_inspect(&inspection, folder, json_string_value(name));
    a->looked += inspection.looked;
    json_decref(names);
}

int hn_command_check(int argc, char **argv) {
    struct hn_session s;
    struct hn_error err = {0};
    struct audit a = {.session = &s};
    if (hn_session_open(&s, argc, argv, true, &err))
        return hn_complain(&err);
    if (s.argc) {
        hn_session_close(&s);
        return hn_usage("honed check [--state D]");
    }
    a.db = hn_store_read(s.store, &err);
    if (!a.db || hn_db_check(a.db, look_at_store, &a, &err))
        look_at_store(&a, err.message);
    if (a.db) {
        look_at_all(&a, "datasets");
        look_at_all(&a, "models");
        look_at_all(&a, "runs");
        look_at_strays(&a);
    }
    hn_store_release(s.store, a.db);
    printf("%s  %lld data sets, models, jobs and their files looked at, %lld wrong\n",
        a.wrong ? "BAD " : "ok  ", a.looked, a.wrong);
    hn_session_close(&s);
    return a.wrong ? 1 : 0;
}
