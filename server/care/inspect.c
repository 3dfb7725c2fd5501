/* See inspect.h. Files are read from the disk, not from what the system still holds of them. */
#include "server/care/inspect.h"
#include "server/library/library.h"
#include "server/process/rundir.h"
#include "server/store/store_events.h"
#include "server/store/store_files.h"

#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* Whether the file `path` in the folder has these bytes; says in `ret_found` what it is
 * otherwise. */
static bool is_whole(struct hn_inspection *a, const char *folder, const char *path,
    const char *sha256, struct hn_error *ret_found) {
    char hash[HN_SHA256_HEX];
    int fd, rc = hn_rundir_open(folder, path, O_RDONLY, &fd, ret_found);
    if (rc == HN_E_NOT_FOUND)
        hn_fail(ret_found, rc, "the file %.300s/%.300s is gone", folder, path);
    if (rc)
        return false;
    struct stat st;
    posix_fadvise(fd, 0, 0, POSIX_FADV_DONTNEED);
    a->bytes += fstat(fd, &st) ? 0 : (int64_t)st.st_size;
    rc = hn_seen_hash(NULL, fd, path, hash, ret_found);
    close(fd);
    return !rc &&
        (strcmp(hash, sha256) == 0 ||
            hn_fail(ret_found, HN_E_INTERNAL, "the file %.300s/%.300s has other bytes", folder,
                path) == 0);
}

static void inspect_dataset(struct hn_inspection *a, const char *sha256) {
    char path[HN_PATH_SIZE];
    struct hn_error found = {0};
    if (hn_state_path(path, a->state, "datasets", sha256, NULL) &&
        !is_whole(a, path, "data", sha256, &found) && hn_library_knows(a->db, "datasets", sha256))
        a->tell(a->ud, "data set", sha256, found.message,
            "restore it from a backup, or delete the data set and upload it again");
}

static void inspect_model(struct hn_inspection *a, const char *name) {
    struct hn_error found = {0};
    json_t *model = NULL;
    if (hn_db_model_get(a->db, name, &model, NULL))
        return;
    a->bytes += json_integer_value(json_object_get(model, "bytes"));
    if (hn_model_check(NULL, a->state, model, &found) && hn_library_knows(a->db, "models", name))
        a->tell(a->ud, "model", name, found.message,
            "restore it from a backup, or delete the model and import it again");
    json_decref(model);
}

static void inspect_artifacts(struct hn_inspection *a, const struct hn_job *job) {
    json_t *list = NULL, *file;
    size_t i;
    if (hn_db_artifacts(a->db, job->n, NULL, 100000, &list, NULL))
        return;
    json_array_foreach(list, i, file) {
        char run_dir[HN_PATH_SIZE], path[HN_PATH_SIZE];
        struct hn_error found = {0};
        if (hn_state_path(run_dir, a->state, "runs", job->id, NULL) &&
            hn_state_path(
                path, "artifacts", json_string_value(json_object_get(file, "path")), NULL, NULL) &&
            !is_whole(
                a, run_dir, path, json_string_value(json_object_get(file, "sha256")), &found) &&
            hn_library_knows(a->db, "runs", job->id))
            a->tell(a->ud, "job", job->id, found.message,
                "restore it from a backup, or submit the job again");
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

/* One that a trainer removes meanwhile is no finding. */
static void inspect_checkpoint(
    struct hn_inspection *a, const struct hn_job *job, const char *run_dir, int64_t step) {
    char name[HN_CHECKPOINT_SIZE], path[HN_FD_PATH_SIZE];
    struct hn_error found = {0};
    int fd;
    hn_rundir_checkpoint(name, step, NULL);
    if (hn_rundir_open(run_dir, name, O_RDONLY | O_DIRECTORY, &fd, NULL))
        return;
    int rc = hn_checkpoint_check_folder(hn_fd_path(path, fd), &found);
    close(fd);
    a->looked++;
    hn_rundir_checkpoint(name, step, "state.safetensors");
    a->bytes += size_of(run_dir, name);
    hn_rundir_checkpoint(name, step, NULL);
    if (rc && hn_rundir_has(run_dir, name, O_DIRECTORY) &&
        hn_library_knows(a->db, "runs", job->id)) {
        char text[700];
        snprintf(text, sizeof text, "its checkpoint of step %lld: %.600s", (long long)step,
            found.message);
        a->tell(a->ud, "job", job->id, text,
            hn_job_ended(job->status)
                ? "restore it from a backup; the result itself is not concerned"
                : "nothing: the job goes on from an older one, with a warning");
    }
}

static void inspect_checkpoints(
    struct hn_inspection *a, const struct hn_job *job, const char *run_dir) {
    json_t *list = NULL, *checkpoint;
    size_t i;
    if (hn_db_checkpoints(a->db, job->n, &list, NULL))
        return;
    json_array_foreach(list, i, checkpoint)
        inspect_checkpoint(
            a, job, run_dir, (int64_t)json_integer_value(json_object_get(checkpoint, "step")));
    json_decref(list);
}

static void inspect_job(struct hn_inspection *a, const char *id) {
    char run_dir[HN_PATH_SIZE];
    struct hn_job job;
    hn_job_init(&job);
    if (hn_db_job_get(a->db, id, &job, NULL) == 0) {
        bool there = hn_state_path(run_dir, a->state, "runs", id, NULL);
        inspect_artifacts(a, &job);
        if (there)
            inspect_checkpoints(a, &job, run_dir);
        bool behind = there && !hn_job_ended(job.status) && job.ingested_bytes > 0 &&
            size_of(run_dir, "events.jsonl") < job.ingested_bytes;
        if (behind && hn_library_knows(a->db, "runs", id))
            a->tell(a->ud, "job", id, "its events.jsonl is shorter than what was read from it",
                "restore it from a backup, or cancel the job and submit it again");
    }
    hn_job_finish(&job);
}

static const struct {
    const char *kind;
    void (*inspect)(struct hn_inspection *a, const char *name);
} kinds[] = {{"datasets", inspect_dataset}, {"models", inspect_model}, {"runs", inspect_job}};

void hn_inspect(struct hn_inspection *inspection, const char *kind, const char *name) {
    for (size_t i = 0; i < sizeof kinds / sizeof kinds[0]; i++)
        if (strcmp(kinds[i].kind, kind) == 0)
            kinds[i].inspect(inspection, name);
    inspection->looked++;
}
