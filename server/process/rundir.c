/* See rundir.h. Inputs are linked at the claim, so a waiting job costs no space and an ended one
 * keeps what it used. */
#include "server/process/rundir.h"
#include "server/store/store_events.h"
#include "server/store/store_files.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/openat2.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

/* A folder at a time, where the kernel is older than openat2 (5.6) or a container's filter does not
 * know it. */
static int open_stepwise(int root, const char *path, int flags) {
    char name[NAME_MAX + 1];
    int at = dup(root);
    while (at >= 0) {
        size_t n = strcspn(path, "/");
        bool last = !path[n];
        if (!n || n > NAME_MAX || (n == 2 && memcmp(path, "..", 2) == 0)) {
            close(at);
            errno = ELOOP;
            return -1;
        }
        memcpy(name, path, n);
        name[n] = 0;
        int next = openat(
                at, name, (last ? flags : O_PATH | O_DIRECTORY) | O_NOFOLLOW | O_CLOEXEC, 0600),
            saved = errno;
        close(at);
        errno = saved;
        if (last)
            return next;
        at = next;
        path += n + 1;
    }
    return -1;
}

static int open_beneath(int root, const char *path, int flags) {
    struct open_how how = {.flags = (uint64_t)(flags | O_CLOEXEC),
        .mode = flags & O_CREAT ? 0600 : 0,
        .resolve = RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS};
    int fd = (int)syscall(SYS_openat2, root, path, &how, sizeof how);
    return fd >= 0 || (errno != ENOSYS && errno != EPERM) ? fd : open_stepwise(root, path, flags);
}

int hn_rundir_open(
    const char *run_dir, const char *path, int flags, int *ret_fd, struct hn_error *err) {
    struct stat st;
    int root = open(run_dir, O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    /* O_NONBLOCK: a named pipe would be waited for; regular files know nothing of it. */
    int fd = root < 0 ? -1 : open_beneath(root, path, flags | O_NONBLOCK | O_NOCTTY),
        number = errno;
    if (root >= 0)
        close(root);
    if (fd < 0 && number == ENOENT)
        return hn_fail(err, HN_E_NOT_FOUND, "there is no %.200s in %.200s", path, run_dir);
    if (fd < 0 && number != ELOOP && number != ENOTDIR && number != EXDEV && number != ENXIO)
        return hn_fail_errno(err, number, "cannot open %.200s/%.200s", run_dir, path);
    if (fd >= 0 && fstat(fd, &st) == 0 &&
        (flags & O_DIRECTORY ? S_ISDIR(st.st_mode) : S_ISREG(st.st_mode))) {
        *ret_fd = fd;
        return 0;
    }
    if (fd >= 0)
        close(fd);
    hn_fail(err, HN_E_CONFLICT, "%.200s in %.200s is not a plain %s", path, run_dir,
        flags & O_DIRECTORY ? "folder" : "file");
    hn_error_hint(err, "links and other kinds of files in a run directory are not followed");
    return HN_E_CONFLICT;
}

bool hn_rundir_has(const char *run_dir, const char *path, int flags) {
    int fd;
    if (hn_rundir_open(run_dir, path, O_RDONLY | flags, &fd, NULL))
        return false;
    close(fd);
    return true;
}

const char *hn_fd_path(char ret[HN_FD_PATH_SIZE], int fd) {
    snprintf(ret, HN_FD_PATH_SIZE, "/proc/self/fd/%d", fd);
    return ret;
}

int hn_rundir_places(const char *run_dir, char paths[HN_RUNDIR_PLACES][HN_PATH_SIZE],
    struct hn_place ret[HN_RUNDIR_PLACES], struct hn_error *err) {
    static const struct {
        const char *name; /* NULL: the run directory itself */
        int flags;
        bool write;
    } places[HN_RUNDIR_PLACES] = {{NULL, O_DIRECTORY, false}, {"artifacts", O_DIRECTORY, true},
        {"checkpoints", O_DIRECTORY, true}, {"scores", O_DIRECTORY, true},
        {"work", O_DIRECTORY, true}, {"events.jsonl", O_CREAT, true}, {"rows.bin", O_CREAT, true}};
    for (size_t i = 0; i < HN_RUNDIR_PLACES; i++) {
        int fd,
            rc = hn_state_path(paths[i], run_dir, places[i].name, NULL, NULL)
            ? 0
            : hn_fail(err, HN_E_INTERNAL, "path too long");
        ret[i] = (struct hn_place){paths[i], places[i].write};
        if (!rc && !places[i].name)
            continue;
        if (!rc && places[i].flags & O_DIRECTORY)
            rc = hn_dir_create(paths[i], err);
        /* That it is no link: a rule is for what a link points to. */
        if (!rc)
            rc = hn_rundir_open(run_dir, places[i].name, O_RDONLY | places[i].flags, &fd, err);
        if (rc)
            return rc;
        close(fd);
    }
    return 0;
}

bool hn_model_path(char ret[HN_PATH_SIZE], const char *state, const json_t *model) {
    const char *entry = json_string_value(json_object_get(model, "entry"));
    return hn_state_path(ret, state, "models", json_string_value(json_object_get(model, "name")),
        entry && *entry ? entry : NULL);
}

int hn_model_check(
    struct hn_seen *seen, const char *state, const json_t *model, struct hn_error *err) {
    char path[HN_PATH_SIZE];
    const char *name = json_string_value(json_object_get(model, "name"));
    const json_t *files = json_object_get(model, "files"), *file;
    struct hn_error found = {0};
    bool each = json_object_get(json_array_get(files, 0), "sha256") != NULL;
    size_t i;
    int rc = 0;
    if (!each) /* records of earlier versions have one hash for all files */
        rc = hn_model_path(path, state, model)
            ? hn_seen_compare(
                  seen, path, json_string_value(json_object_get(model, "sha256")), &found)
            : hn_fail(&found, HN_E_INTERNAL, "path too long");
    json_array_foreach(files, i, file)
        if (!rc && each)
            rc = hn_state_path(
                     path, state, "models", name, json_string_value(json_object_get(file, "name")))
                ? hn_seen_compare(
                      seen, path, json_string_value(json_object_get(file, "sha256")), &found)
                : hn_fail(&found, HN_E_INTERNAL, "path too long");
    if (!rc)
        return 0;
    hn_fail(
        err, HN_E_MODEL_INVALID, "model %s is not what was imported: %.600s", name, found.message);
    hn_error_hint(
        err, "restore its file from a backup, or DELETE /models/%s and import it again", name);
    return HN_E_MODEL_INVALID;
}

int hn_dataset_check(
    struct hn_seen *seen, const char *state, const json_t *dataset, struct hn_error *err) {
    char path[HN_PATH_SIZE];
    const char *id = json_string_value(json_object_get(dataset, "id"));
    const char *sha256 = json_string_value(json_object_get(dataset, "sha256"));
    struct hn_error found = {0};
    if (!hn_state_path(path, state, "datasets", sha256, "data"))
        return hn_fail(err, HN_E_INTERNAL, "path too long");
    if (!hn_seen_compare(seen, path, sha256, &found))
        return 0;
    hn_fail(err, HN_E_DATASET_INVALID, "data set %s is not what was uploaded: %.600s",
        id ? id : sha256, found.message);
    hn_error_hint(err, "upload the same file again, which mends it, or restore it from a backup");
    return HN_E_DATASET_INVALID;
}

static int place(struct hn_seen *seen, const char *from, const char *to, struct hn_error *err) {
    int rc = access(to, F_OK) == 0 ? 0 : hn_blob_place(from, to, HN_BLOB_SHARED, err);
    if (!rc)
        hn_seen_linked(seen, from);
    return rc;
}

static int place_model(struct hn_seen *seen, const char *state, const char *run_dir,
    const json_t *model, const char *target, struct hn_error *err) {
    char from[HN_PATH_SIZE], to[HN_PATH_SIZE];
    const char *name = json_string_value(json_object_get(model, "name"));
    const char *entry = json_string_value(json_object_get(model, "entry"));
    if (entry && *entry)
        return hn_model_path(from, state, model) && hn_state_path(to, run_dir, target, NULL, NULL)
            ? place(seen, from, to, err)
            : hn_fail(err, HN_E_INTERNAL, "path too long");
    if (!hn_state_path(to, run_dir, target, NULL, NULL))
        return hn_fail(err, HN_E_INTERNAL, "path too long");
    int rc = hn_dir_create(to, err);
    const json_t *file;
    size_t i;
    json_array_foreach(json_object_get(model, "files"), i, file) {
        const char *part = json_string_value(json_object_get(file, "name"));
        if (rc)
            break;
        rc = hn_state_path(from, state, "models", name, part) &&
                hn_state_path(to, run_dir, target, part, NULL)
            ? place(seen, from, to, err)
            : hn_fail(err, HN_E_INTERNAL, "path too long");
    }
    return rc;
}

static int place_dataset(struct hn_seen *seen, const char *state, const char *run_dir,
    struct hn_db *db, const char *id, const char *target, struct hn_error *err) {
    char from[HN_PATH_SIZE], to[HN_PATH_SIZE];
    json_t *record = NULL;
    int rc = hn_db_dataset_get(db, id, &record, err);
    if (!rc)
        rc = hn_dataset_check(seen, state, record, err);
    if (!rc)
        rc = hn_state_path(from, state, "datasets",
                 json_string_value(json_object_get(record, "sha256")), "data") &&
                hn_state_path(to, run_dir, target, NULL, NULL)
            ? place(seen, from, to, err)
            : hn_fail(err, HN_E_INTERNAL, "path too long");
    json_decref(record);
    return rc;
}

/* An input as the run part names it; it was written by the helper, so its name is looked at like
 * any other. */
static const char *input_file(const json_t *input, const char *fallback) {
    const char *file = NULL;
    hn_json_string(input, "file", &file, NULL);
    if (file && strncmp(file, "inputs/", 7) == 0 && file[7] && file[7] != '.' &&
        !strchr(file + 7, '/'))
        return file;
    return fallback;
}

static const char *input_name(const json_t *part, const char *key, const char *fallback) {
    return input_file(json_object_get(part, key), fallback);
}

/* Training data sets behind the first: run.more[i] is datasets[i + 1]. */
static int place_more(struct hn_seen *seen, const char *state, const char *run_dir,
    struct hn_db *db, const struct hn_job *job, const json_t *run, struct hn_error *err) {
    json_t *list = NULL;
    int rc = job->datasets ? hn_json_parse(job->datasets, strlen(job->datasets), &list, err) : 0;
    for (size_t i = 1; !rc && i < json_array_size(list); i++) {
        char fallback[48];
        const char *id = json_string_value(json_object_get(json_array_get(list, i), "dataset"));
        snprintf(fallback, sizeof fallback, "inputs/train-%zu", i + 1);
        rc = place_dataset(seen, state, run_dir, db, id ? id : "",
            input_file(json_array_get(json_object_get(run, "more"), i - 1), fallback), err);
    }
    json_decref(list);
    return rc;
}

/* Other precisions of the base that the result is tried on: host.verify_on. */
static int place_others(struct hn_seen *seen, const char *state, const char *run_dir,
    struct hn_db *db, const struct hn_job *job, struct hn_error *err) {
    json_t *host = NULL, *other;
    size_t i;
    int rc = hn_json_parse(job->host, strlen(job->host), &host, err);
    json_array_foreach(json_object_get(host, "verify_on"), i, other) {
        json_t *model = NULL;
        const char *name = json_string_value(json_object_get(other, "name"));
        char fallback[48];
        snprintf(fallback, sizeof fallback, "inputs/verify-%zu", i + 1);
        if (!rc)
            rc = hn_db_model_get(db, name ? name : "", &model, err);
        if (!rc)
            rc = hn_model_check(seen, state, model, err);
        if (!rc)
            rc = place_model(seen, state, run_dir, model, input_file(other, fallback), err);
        json_decref(model);
    }
    json_decref(host);
    return rc;
}

/* The rows as the plan tokenised them, where they are still there; the trainer makes them again
 * otherwise. */
static void place_tokens(const char *state, const char *run_dir, const struct hn_job *job) {
    char from[HN_PATH_SIZE], to[HN_PATH_SIZE];
    json_t *host = NULL;
    hn_json_parse(job->host, strlen(job->host), &host, NULL);
    const char *name = json_string_value(json_object_get(host, "tokens"));
    if (name && name[strspn(name, "0123456789abcdef-")] == 0 && *name &&
        hn_state_path(from, state, "tokens", name, NULL) &&
        hn_state_path(to, run_dir, "inputs", "tokens", NULL))
        place(NULL, from, to, NULL);
    json_decref(host);
}

static int write_spec(const char *run_dir, const struct hn_job *job, const json_t *run,
    int64_t threads, struct hn_error *err) {
    char path[HN_PATH_SIZE];
    json_t *host = NULL;
    int rc = hn_state_path(path, run_dir, "spec.json", NULL, NULL)
        ? 0
        : hn_fail(err, HN_E_INTERNAL, "path too long");
    if (!rc)
        rc = hn_json_parse(job->host, strlen(job->host), &host, err);
    if (rc)
        return rc;
    if (!json_is_integer(json_object_get(host, "threads")))
        json_object_set_new(host, "threads", json_integer(threads));
    if (job->stop_at > 0)
        json_object_set_new(host, "stop_at", json_integer(job->stop_at));
    json_t *spec =
        json_pack("{s:i,s:s,s:O,s:o}", "format", 1, "job", job->id, "run", run, "host", host);
    char *text = json_dumps(spec, JSON_INDENT(1) | JSON_REAL_PRECISION(17));
    rc = text ? hn_file_write_durable(path, text, strlen(text), err)
              : hn_fail(err, HN_E_INTERNAL, "out of memory");
    free(text);
    json_decref(spec);
    return rc;
}

static void remove_temporary(const char *run_dir, const char *folder) {
    int fd;
    DIR *dir =
        hn_rundir_open(run_dir, folder, O_RDONLY | O_DIRECTORY, &fd, NULL) ? NULL : fdopendir(fd);
    for (struct dirent *entry; dir && (entry = readdir(dir));) {
        char path[HN_PATH_SIZE];
        if (strncmp(entry->d_name, ".tmp-", 5) == 0 &&
            hn_state_path(path, run_dir, folder, entry->d_name, NULL))
            hn_dir_remove(path, NULL);
    }
    if (dir)
        closedir(dir);
}

void hn_rundir_tidy(const char *run_dir) {
    static const char *const folders[] = {
        "artifacts", "checkpoints", "inputs", "scores", "work", "."};
    for (size_t i = 0; i < sizeof folders / sizeof folders[0]; i++)
        remove_temporary(run_dir, folders[i]);
}

void hn_rundir_forget_tokens(const char *run_dir) {
    static const char *const folders[] = {"inputs", "work"};
    int fd;
    for (size_t i = 0; i < sizeof folders / sizeof folders[0]; i++) {
        if (hn_rundir_open(run_dir, folders[i], O_RDONLY | O_DIRECTORY, &fd, NULL))
            continue;
        unlinkat(fd, "tokens", 0);
        close(fd);
    }
}

int hn_rundir_keep(const char *run_dir, const char *from, const char *to, enum hn_blob_way way,
    struct hn_error *err) {
    char dir[HN_PATH_SIZE], open_file[HN_FD_PATH_SIZE];
    int fd, rc = hn_rundir_open(run_dir, from, O_RDONLY, &fd, err);
    if (rc)
        return rc;
    snprintf(dir, sizeof dir, "%.*s", (int)(strrchr(to, '/') - to), to);
    rc = hn_dir_create(dir, err);
    if (!rc)
        rc = hn_blob_place(hn_fd_path(open_file, fd), to, way, err);
    close(fd);
    return rc ? rc : hn_file_sync(dir, err);
}

void hn_rundir_checkpoint(char ret[HN_CHECKPOINT_SIZE], int64_t step, const char *file) {
    snprintf(ret, HN_CHECKPOINT_SIZE, "checkpoints/step-%06lld%s%.40s", (long long)step,
        file ? "/" : "", file ? file : "");
}

int hn_rundir_prepare(struct hn_seen *seen, const char *state, const struct hn_job *job,
    struct hn_db *db, int64_t threads, struct hn_error *err) {
    char run_dir[HN_PATH_SIZE], inputs[HN_PATH_SIZE];
    json_t *run = NULL, *model = NULL;
    if (!hn_state_path(run_dir, state, "runs", job->id, NULL) ||
        !hn_state_path(inputs, run_dir, "inputs", NULL, NULL))
        return hn_fail(err, HN_E_INTERNAL, "path too long");
    int rc = hn_dir_create(inputs, err);
    if (!rc)
        rc = hn_json_parse(job->run, strlen(job->run), &run, err);
    if (!rc)
        rc = hn_db_model_get(db, job->model, &model, err);
    if (!rc)
        rc = hn_model_check(seen, state, model, err);
    if (!rc)
        rc =
            place_model(seen, state, run_dir, model, input_name(run, "model", "inputs/model"), err);
    if (!rc)
        rc = place_dataset(
            seen, state, run_dir, db, job->dataset, input_name(run, "train", "inputs/train"), err);
    if (!rc)
        rc = place_others(seen, state, run_dir, db, job, err);
    if (!rc)
        rc = place_more(seen, state, run_dir, db, job, run, err);
    if (!rc && job->validation_dataset)
        rc = place_dataset(seen, state, run_dir, db, job->validation_dataset,
            input_name(run, "validation", "inputs/validation"), err);
    if (!rc && job->test_dataset)
        rc = place_dataset(seen, state, run_dir, db, job->test_dataset,
            input_name(run, "test", "inputs/test"), err);
    if (!rc)
        place_tokens(state, run_dir, job);
    if (!rc)
        rc = write_spec(run_dir, job, run, threads, err);
    json_decref(model);
    json_decref(run);
    return rc;
}

/* Older ones are removed by the trainer; these are on the disk. */
int hn_rundir_checkpoints(const char *state, struct hn_db *db, const struct hn_job *job,
    json_t **ret, struct hn_error *err) {
    json_t *all = NULL, *checkpoint;
    char run_dir[HN_PATH_SIZE], name[HN_CHECKPOINT_SIZE];
    size_t i;
    if (!hn_state_path(run_dir, state, "runs", job->id, NULL))
        return hn_fail(err, HN_E_INTERNAL, "path too long");
    int rc = hn_db_checkpoints(db, job->n, &all, err);
    if (rc)
        return rc;
    *ret = json_array();
    json_array_foreach(all, i, checkpoint) {
        hn_rundir_checkpoint(name, json_integer_value(json_object_get(checkpoint, "step")), NULL);
        if (hn_rundir_has(run_dir, name, O_DIRECTORY))
            json_array_append(*ret, checkpoint);
    }
    json_decref(all);
    return 0;
}
