/*
 * honed backup: the state folder as of one moment, in a new folder that is a state folder itself.
 * So restoring is the same command with the folders exchanged, and a daemon can also run on the
 * copy.
 *
 * The store is copied first; files are never changed once they have their place, so those that it
 * names can be linked or copied afterwards while the daemon works. What was deleted meanwhile is
 * forgotten in the copy. Of a run its checkpoints come before its events: events may be ahead of a
 * checkpoint, as after any death, never behind it. All is made in FOLDER.part and renamed at the
 * end: a backup is whole or not there.
 */
#include "server/cli/commands.h"
#include "server/store/records.h"
#include "server/process/rundir.h"
#include "server/store/store_backup.h"
#include "server/store/store_files.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* A file that others share: linked to the first copy again, so that a model counts once and not
 * once a job. */
struct shared {
    dev_t dev;
    ino_t ino;
    char *to;
};

struct backup {
    struct hn_db *from; /* the living store */
    const char *state;
    char to[HN_PATH_SIZE];
    struct hn_store *store; /* the copy */
    bool models;
    struct shared *shared;
    size_t n_shared, room;
    long long files;
};

static const char *first_copy(const struct backup *b, const struct stat *st) {
    for (size_t i = 0; i < b->n_shared; i++)
        if (b->shared[i].ino == st->st_ino && b->shared[i].dev == st->st_dev)
            return b->shared[i].to;
    return NULL;
}

static int place_file(
    struct backup *b, int fd, const char *to, enum hn_blob_way way, struct hn_error *err) {
    char from[HN_FD_PATH_SIZE];
    struct stat st;
    if (fstat(fd, &st))
        return hn_fail_errno(err, errno, "cannot read for %s", to);
    bool shared = way == HN_BLOB_SHARED && st.st_nlink > 1;
    const char *copy = shared ? first_copy(b, &st) : NULL;
    int rc = hn_blob_place(copy ? copy : hn_fd_path(from, fd), to, way, err);
    if (rc)
        return rc;
    b->files++;
    if (shared && !copy) {
        char *text = strdup(to);
        if (!text || !hn_grow(&b->shared, &b->room, b->n_shared + 1, sizeof *b->shared)) {
            free(text);
            return hn_fail(err, HN_E_INTERNAL, "out of memory");
        }
        b->shared[b->n_shared++] = (struct shared){st.st_dev, st.st_ino, text};
    }
    return 0;
}

static int place(struct backup *b, const char *root, const char *from, const char *to,
    enum hn_blob_way way, struct hn_error *err);

/* Of a folder that goes away meanwhile nothing is left; of one in which a folder goes away, the
 * rest. */
static int place_folder(
    struct backup *b, const char *root, const char *from, const char *to, struct hn_error *err) {
    int fd, rc = hn_rundir_open(root, from, O_RDONLY | O_DIRECTORY, &fd, err);
    if (rc)
        return rc;
    DIR *dir = fdopendir(fd);
    if (!dir) {
        close(fd);
        return hn_fail_errno(err, errno, "cannot read %s", from);
    }
    bool inputs = strcmp(from, "inputs") == 0;
    rc = hn_dir_create(to, err);
    for (struct dirent *entry; !rc && (entry = readdir(dir));) {
        char child[HN_PATH_SIZE], copy[HN_PATH_SIZE];
        bool model = inputs && strncmp(entry->d_name, "model", 5) == 0;
        bool tokens = inputs && strcmp(entry->d_name, "tokens") == 0; /* made again when needed */
        if (entry->d_name[0] == '.' || tokens || (model && !b->models))
            continue;
        if (!hn_state_path(child, from, entry->d_name, NULL, NULL) ||
            !hn_state_path(copy, to, entry->d_name, NULL, NULL))
            rc = hn_fail(err, HN_E_INTERNAL, "path too long");
        else if ((rc = place(b, root, child, copy, HN_BLOB_SHARED, err)) == HN_E_NOT_FOUND &&
            entry->d_type == DT_DIR)
            rc = 0;
    }
    closedir(dir);
    if (rc)
        hn_dir_remove(to, NULL);
    return rc;
}

/* `from` relative to `root`. Links and what is neither file nor folder are left out. */
static int place(struct backup *b, const char *root, const char *from, const char *to,
    enum hn_blob_way way, struct hn_error *err) {
    int fd, rc = hn_rundir_open(root, from, O_RDONLY, &fd, err);
    if (rc == HN_E_CONFLICT) {
        rc = place_folder(b, root, from, to, err);
        return rc == HN_E_CONFLICT ? 0 : rc;
    }
    if (rc)
        return rc;
    rc = place_file(b, fd, to, way, err);
    close(fd);
    return rc;
}

static int place_run(struct backup *b, const char *from, const char *to, struct hn_error *err) {
    static const struct {
        const char *name;
        enum hn_blob_way way;
    } parts[] = {{"checkpoints", HN_BLOB_SHARED}, {"scores", HN_BLOB_SHARED},
        {"inputs", HN_BLOB_SHARED}, {"spec.json", HN_BLOB_SHARED}, {"trainer.log", HN_BLOB_OWN},
        {"events.jsonl", HN_BLOB_OWN}, {"rows.bin", HN_BLOB_OWN}, {"artifacts", HN_BLOB_SHARED}};
    /* a job that waits has no folder yet */
    int rc = access(from, F_OK) == 0 ? hn_dir_create(to, err) : 0;
    for (size_t i = 0; !rc && i < sizeof parts / sizeof parts[0]; i++) {
        char copy[HN_PATH_SIZE];
        if (hn_state_path(copy, to, parts[i].name, NULL, NULL))
            rc = place(b, from, parts[i].name, copy, parts[i].way, err);
        if (rc == HN_E_NOT_FOUND)
            rc = 0;
    }
    return rc;
}

static int place_one(struct backup *b, const char *folder, const char *name, struct hn_error *err) {
    char from[HN_PATH_SIZE], to[HN_PATH_SIZE];
    if (!hn_state_path(from, b->state, folder, name, NULL) ||
        !hn_state_path(to, b->to, folder, name, NULL))
        return hn_fail(err, HN_E_INTERNAL, "path too long");
    int rc = folder[0] == 'r' ? place_run(b, from, to, err) : place_folder(b, from, ".", to, err);
    if ((!rc || rc == HN_E_NOT_FOUND) && !hn_library_knows(b->from, folder, name)) {
        struct hn_forget forget = {folder, name};
        hn_dir_remove(to, NULL);
        return hn_store_call(b->store, hn_db_forget, &forget, err);
    }
    if (rc == HN_E_NOT_FOUND) {
        hn_fail(err, rc, "files of %s are gone", from);
        hn_error_hint(err, "`honed check` tells what is missing and what to do");
    }
    return rc;
}

static int place_all(struct backup *b, const char *folder, struct hn_error *err) {
    json_t *names = NULL, *name;
    size_t i;
    struct hn_db *db = hn_store_read(b->store, err);
    int rc = db ? hn_db_names(db, folder, &names, err) : HN_E_INTERNAL;
    hn_store_release(b->store, db);
    json_array_foreach(names, i, name)
        rc = rc ? rc : place_one(b, folder, json_string_value(name), err);
    json_decref(names);
    return rc;
}

static int note_records(struct backup *b, struct hn_error *err) {
    struct hn_db *db = hn_store_read(b->store, err);
    int rc = db ? hn_records_complete(b->to, db, err) : HN_E_INTERNAL;
    hn_store_release(b->store, db);
    return rc;
}

static int copy_all(struct backup *b, struct hn_error *err) {
    char path[HN_PATH_SIZE];
    int rc = hn_state_create(b->to, err);
    if (!rc)
        rc = hn_state_path(path, b->to, "hone.db", NULL, NULL)
            ? hn_db_copy(b->from, path, err)
            : hn_fail(err, HN_E_INTERNAL, "path too long");
    if (!rc)
        rc = hn_store_create(b->to, &b->store, err);
    if (!rc)
        rc = place_all(b, "datasets", err);
    if (!rc && b->models)
        rc = place_all(b, "models", err);
    if (!rc)
        rc = place_all(b, "runs", err);
    if (!rc)
        rc = note_records(b, err);
    hn_store_destroy(b->store); /* closes it: no log is left beside it */
    return rc;
}

static int back_up(struct hn_session *s, const char *folder, bool models, struct hn_error *err) {
    struct backup b = {.state = s->config.state, .models = models};
    char *cwd = folder[0] == '/' ? NULL : getcwd(NULL, 0);
    char to[HN_PATH_SIZE];
    bool fits = hn_state_path(to, cwd ? cwd : folder, cwd ? folder : NULL, NULL, NULL);
    free(cwd);
    int n = snprintf(b.to, sizeof b.to, "%s.part", to);
    if (!fits || n >= (int)sizeof b.to)
        return hn_fail(err, HN_E_INVALID_FIELD, "the path is too long");
    if (access(to, F_OK) == 0 || access(b.to, F_OK) == 0) {
        hn_fail(err, HN_E_CONFLICT, "there is something at %.300s already",
            access(to, F_OK) == 0 ? to : b.to);
        hn_error_hint(err, "name a new folder, or move that one away");
        return HN_E_CONFLICT;
    }
    b.from = hn_store_read(s->store, err);
    int rc = b.from ? copy_all(&b, err) : HN_E_INTERNAL;
    hn_store_release(s->store, b.from);
    if (!rc)
        rc = hn_dir_publish(b.to, to, err);
    if (rc)
        hn_dir_remove(b.to, NULL);
    else
        printf("%s: the store and %lld files%s\n", to, b.files, models ? "" : ", no models");
    for (size_t i = 0; i < b.n_shared; i++)
        free(b.shared[i].to);
    free(b.shared);
    return rc;
}

int hn_command_backup(int argc, char **argv) {
    const char *models = hn_argument_take(&argc, argv, "--models");
    struct hn_session s;
    struct hn_error err = {0};
    if (argc < 1 || (models && strcmp(models, "yes") != 0 && strcmp(models, "no") != 0))
        return hn_usage("honed backup FOLDER [--models yes|no] [--state D]");
    if (hn_session_open(&s, argc, argv, true, &err))
        return hn_complain(&err);
    int rc = 0, status = 0;
    if (s.argc == 1)
        rc = back_up(&s, s.argv[0], !models || *models == 'y', &err);
    else
        status = hn_usage("honed backup FOLDER [--models yes|no] [--state D]");
    hn_session_close(&s);
    return rc ? hn_complain(&err) : status;
}
