/*
 * honed check: what the store says against what the disk has: its own soundness, every data set, model and artifact with
 * its sha256, events of runs, and what nothing refers to. A line for each thing that is wrong, with what to do; changes
 * nothing. Beside a running daemon, too: what goes away while it is looked at is no finding.
 */
#include "server/commands.h"
#include "server/rundir.h"
#include "server/store_backup.h"
#include "server/store_events.h"
#include "server/store_files.h"

#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define SETTLE_MS 1000

struct audit {
    struct hn_session *session;
    struct hn_db *db;
    long long looked, wrong;
};

static void tell(struct audit *a, const char *what, const char *name, const char *found, const char *advice) {
    a->wrong++;
    printf("BAD   %-9s %s: %s\n      %-9s \xE2\x86\x92 %s\n", what, name, found, "", advice);
}

/* Whether the file `path` in the folder has these bytes; says in `ret_found` what it is otherwise. */
static bool is_whole(const char *folder, const char *path, const char *sha256, struct hn_error *ret_found) {
    char hash[HN_SHA256_HEX];
    int fd, rc = hn_rundir_open(folder, path, O_RDONLY, &fd, ret_found);
    if (rc == HN_E_NOT_FOUND)
        hn_fail(ret_found, rc, "the file %.300s/%.300s is gone", folder, path);
    if (rc)
        return false;
    rc = hn_seen_hash(NULL, fd, path, hash, ret_found);
    close(fd);
    return !rc && (strcmp(hash, sha256) == 0 ||
        hn_fail(ret_found, HN_E_INTERNAL, "the file %.300s/%.300s has other bytes", folder, path) == 0);
}

static void look_at_store(void *ud, const char *text) {
    tell(ud, "store", "hone.db", text, "stop the server and restore the latest backup that verifies");
}

static void look_at_dataset(struct audit *a, const char *sha256) {
    char path[HN_PATH_SIZE];
    struct hn_error found = {0};
    if (hn_state_path(path, a->session->config.state, "datasets", sha256, NULL) && !is_whole(path, "data", sha256, &found) &&
        hn_library_knows(a->db, "datasets", sha256))
        tell(a, "data set", sha256, found.message, "restore it from a backup, or delete the data set and upload it again");
}

static void look_at_model(struct audit *a, const char *name) {
    struct hn_error found = {0};
    json_t *model = NULL;
    if (hn_db_model_get(a->db, name, &model, NULL))
        return;
    if (hn_model_check(NULL, a->session->config.state, model, &found) && hn_library_knows(a->db, "models", name))
        tell(a, "model", name, found.message, "restore it from a backup, or delete the model and import it again");
    json_decref(model);
}

static void look_at_artifacts(struct audit *a, const struct hn_job *job) {
    json_t *list = NULL, *file;
    size_t i;
    if (hn_db_artifacts(a->db, job->n, NULL, 100000, &list, NULL))
        return;
    json_array_foreach(list, i, file) {
        char run_dir[HN_PATH_SIZE], path[HN_PATH_SIZE];
        struct hn_error found = {0};
        if (hn_state_path(run_dir, a->session->config.state, "runs", job->id, NULL) &&
            hn_state_path(path, "artifacts", json_string_value(json_object_get(file, "path")), NULL, NULL) &&
            !is_whole(run_dir, path, json_string_value(json_object_get(file, "sha256")), &found) &&
            hn_library_knows(a->db, "runs", job->id))
            tell(a, "job", job->id, found.message, "restore it from a backup, or submit the job again");
        a->looked++;
    }
    json_decref(list);
}

static int64_t size_of(const char *run_dir, const char *path) {
    struct stat st = {0};
    int fd;
    if (hn_rundir_open(run_dir, path, O_RDONLY, &fd, NULL))
        return 0;
    int rc = fstat(fd, &st);
    close(fd);
    return rc ? 0 : (int64_t)st.st_size;
}

static void look_at_job(struct audit *a, const char *id) {
    char run_dir[HN_PATH_SIZE];
    struct hn_job job;
    hn_job_init(&job);
    if (hn_db_job_get(a->db, id, &job, NULL) == 0) {
        look_at_artifacts(a, &job);
        bool behind = !hn_job_ended(job.status) && job.ingested_bytes > 0 &&
            hn_state_path(run_dir, a->session->config.state, "runs", id, NULL) && size_of(run_dir, "events.jsonl") < job.ingested_bytes;
        if (behind && hn_library_knows(a->db, "runs", id))
            tell(a, "job", id, "its events.jsonl is shorter than what was read from it",
                "restore it from a backup, or cancel the job and submit it again");
    }
    hn_job_finish(&job);
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
            tell(a, "stray", path, "nothing refers to it", "the next start of the server moves it to lost+found/");
    json_decref(once);
    json_decref(twice);
}

static void look_at_all(struct audit *a, const char *folder, void (*look)(struct audit *a, const char *name)) {
    json_t *names = NULL, *name;
    size_t i;
    struct hn_error err = {0};
    if (hn_db_names(a->db, folder, &names, &err))
        look_at_store(a, err.message);
    json_array_foreach(names, i, name) {
        look(a, json_string_value(name));
        a->looked++;
    }
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
        look_at_all(&a, "datasets", look_at_dataset);
        look_at_all(&a, "models", look_at_model);
        look_at_all(&a, "runs", look_at_job);
        look_at_strays(&a);
    }
    hn_store_release(s.store, a.db);
    printf("%s  %lld data sets, models, jobs and artifacts looked at, %lld wrong\n", a.wrong ? "BAD " : "ok  ", a.looked, a.wrong);
    hn_session_close(&s);
    return a.wrong ? 1 : 0;
}
