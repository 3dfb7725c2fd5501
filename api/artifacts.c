/* /jobs/{id}/artifacts: the files of the result, one by one (in parts, by ETag) or as one
 * archive. */
#include "api/handlers.h"
#include "server/base/id.h"
#include "server/process/rundir.h"
#include "server/process/tar.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define EXPORT_SECONDS 1800

int hn_jobs_artifacts(struct hn_request *req, struct hn_error *err) {
    struct hn_job job;
    int64_t limit;
    const char *after, *next = NULL;
    json_t *list = NULL;
    int rc = hn_job_load(req, &job, err);
    if (!rc)
        rc = hn_query_page(req, 1000, 10000, &limit, &after, err);
    if (!rc)
        rc = hn_db_artifacts(hn_request_db(req, err), job.n, after, limit + 1, &list, err);
    hn_job_finish(&job);
    if (rc)
        return rc;
    if ((int64_t)json_array_size(list) > limit) {
        json_array_remove(list, (size_t)limit);
        next = json_string_value(json_object_get(json_array_get(list, (size_t)limit - 1), "path"));
    }
    return hn_reply_list(req, list, next, err);
}

static const char *type_of(const char *path) {
    static const struct {
        const char *ending, *type;
    } types[] = {{".json", "application/json"}, {".jsonl", "application/x-ndjson"},
        {".md", "text/markdown; charset=utf-8"}, {".txt", "text/plain; charset=utf-8"},
        {"Modelfile", "text/plain; charset=utf-8"}, {".jinja", "text/plain; charset=utf-8"}};
    size_t n = strlen(path);
    for (size_t i = 0; i < sizeof types / sizeof types[0]; i++) {
        size_t m = strlen(types[i].ending);
        if (n >= m && strcmp(path + n - m, types[i].ending) == 0)
            return types[i].type;
    }
    return "application/octet-stream";
}

/* A folder of artifacts in a run directory. */
struct folder {
    char run_dir[HN_PATH_SIZE], name[64];
};

static int find_folder(
    const struct hn_request *req, const char *job, struct folder *ret, struct hn_error *err) {
    snprintf(ret->name, sizeof ret->name, "artifacts");
    return hn_state_path(ret->run_dir, req->server->config->state, "runs", job, NULL)
        ? 0
        : hn_fail(err, HN_E_INTERNAL, "path too long");
}

static int open_artifact(struct hn_seen *seen, const struct folder *folder, const char *path,
    int64_t size, const char *sha256, int *ret_fd, struct hn_error *err) {
    char full[HN_PATH_SIZE], found[HN_SHA256_HEX];
    struct stat st;
    int fd;
    if (!hn_state_path(full, folder->name, path, NULL, NULL))
        return hn_fail(err, HN_E_INTERNAL, "path too long");
    int rc = hn_rundir_open(folder->run_dir, full, O_RDONLY, &fd, err);
    if (rc)
        return rc == HN_E_NOT_FOUND ? hn_fail(err, rc, "the file of artifact %.200s is gone", path)
                                    : rc;
    rc = fstat(fd, &st) ? HN_E_CONFLICT : hn_seen_hash(seen, fd, full, found, err);
    if (rc || st.st_size != size || strcmp(found, sha256) != 0) {
        close(fd);
        hn_fail(err, HN_E_INTERNAL,
            "the file of artifact %.200s is damaged: its bytes are not those of sha256 %s", path,
            sha256);
        hn_error_hint(err,
            "restore it from a backup, or submit the job again: the same request gives the same "
            "bytes; `honed check` lists all that is damaged");
        return HN_E_INTERNAL;
    }
    *ret_fd = fd;
    return 0;
}

static int reply_range(struct hn_request *req, const char *path, const char *tag, int fd,
    uint64_t size, struct hn_error *err) {
    uint64_t from = 0, count = size;
    char text[96];
    const char *if_range = hn_request_header(req, "If-Range");
    enum hn_range range = HN_RANGE_NONE;
    if (!if_range || hn_etag_listed(if_range, tag))
        range = hn_range_parse(hn_request_header(req, "Range"), size, &from, &count);
    if (range == HN_RANGE_BAD) {
        close(fd);
        snprintf(text, sizeof text, "bytes */%llu", (unsigned long long)size);
        hn_reply_header(req, "Content-Range", text);
        hn_fail(err, HN_E_BAD_RANGE, "the file has %llu bytes", (unsigned long long)size);
        return HN_E_BAD_RANGE;
    }
    if (range == HN_RANGE_OK) {
        snprintf(text, sizeof text, "bytes %llu-%llu/%llu", (unsigned long long)from,
            (unsigned long long)(from + count - 1), (unsigned long long)size);
        hn_reply_header(req, "Content-Range", text);
    }
    hn_reply_file(req, range == HN_RANGE_OK ? 206 : 200, type_of(path), fd, from, count);
    return 0;
}

/* Sends a file whose hash is `tag`, whole, in part, or not at all when it is known. */
static int reply_artifact(struct hn_request *req, const struct folder *folder, const char *path,
    int64_t size, const char *tag, struct hn_error *err) {
    char quoted[HN_SHA256_HEX + 2];
    int fd = -1, rc = open_artifact(req->server->seen, folder, path, size, tag, &fd, err);
    if (rc)
        return rc;
    snprintf(quoted, sizeof quoted, "\"%s\"", tag);
    hn_reply_header(req, "ETag", quoted);
    hn_reply_header(req, "Accept-Ranges", "bytes");
    hn_reply_header(req, "Cache-Control", "private, no-cache");
    const char *known = hn_request_header(req, "If-None-Match");
    if (known && hn_etag_listed(known, tag)) {
        close(fd);
        hn_reply_empty(req, 304);
        return 0;
    }
    return reply_range(req, path, tag, fd, (uint64_t)size, err);
}

int hn_jobs_artifact(struct hn_request *req, struct hn_error *err) {
    struct hn_job job;
    const char *path = req->params[1];
    int64_t size = 0;
    char tag[HN_SHA256_HEX];
    struct folder folder;
    int rc = hn_job_load(req, &job, err);
    if (!rc)
        rc = hn_db_artifact(hn_request_db(req, err), job.n, path, &size, tag, err);
    if (!rc)
        rc = find_folder(req, job.id, &folder, err);
    hn_job_finish(&job);
    return rc ? rc : reply_artifact(req, &folder, path, size, tag, err);
}

struct tar_stream {
    struct hn_stream stream;
    struct hn_tar *tar;
};

static ssize_t read_tar(void *ud, char *buf, size_t max) {
    struct tar_stream *s = ud;
    return hn_tar_read(s->tar, buf, max);
}

static void close_tar(void *ud) {
    struct tar_stream *s = ud;
    hn_tar_destroy(s->tar);
    free(s);
}

static int reply_tar(struct hn_request *req, const struct folder *folder, const char *name,
    const json_t *list, struct hn_error *err) {
    char disposition[160];
    const json_t *file;
    size_t i;
    json_array_foreach(list, i, file) {
        /* before the first byte: an archive that breaks off tells nobody why */
        int fd = -1,
            rc = open_artifact(req->server->seen, folder,
                json_string_value(json_object_get(file, "path")),
                (int64_t)json_integer_value(json_object_get(file, "size")),
                json_string_value(json_object_get(file, "sha256")), &fd, err);
        if (rc)
            return rc;
        close(fd);
    }
    struct tar_stream *s = hn_calloc(1, sizeof *s);
    int rc = s ? hn_tar_create(folder->run_dir, folder->name, list, &s->tar, err)
               : hn_fail(err, HN_E_INTERNAL, "out of memory");
    if (rc) {
        free(s);
        return rc;
    }
    s->stream = (struct hn_stream){.read = read_tar, .close = close_tar, .ud = s, .blocking = true};
    snprintf(disposition, sizeof disposition, "attachment; filename=\"%s.tar\"", name);
    hn_reply_header(req, "Content-Disposition", disposition);
    hn_reply_stream(req, 200, "application/x-tar", &s->stream);
    return 0;
}

int hn_jobs_artifacts_tar(struct hn_request *req, struct hn_error *err) {
    struct hn_job job;
    struct folder folder;
    json_t *list = NULL;
    int rc = hn_job_load(req, &job, err);
    if (!rc)
        rc = hn_db_artifacts(hn_request_db(req, err), job.n, NULL, 100000, &list, err);
    if (!rc && !json_array_size(list)) {
        rc = hn_fail(err, HN_E_NOT_FOUND, "job %s has no artifacts%s", job.id,
            hn_job_ended(job.status) ? "" : " yet");
        hn_error_hint(err, "they are there when \"artifacts_ready\" is true");
    }
    if (!rc)
        rc = find_folder(req, job.id, &folder, err);
    if (!rc)
        rc = reply_tar(req, &folder, job.id, list, err);
    json_decref(list);
    hn_job_finish(&job);
    return rc;
}

/*
 * Artifacts of a checkpoint: made when they are first asked for, in the run directory's exports/,
 * which goes with the job. The list is the manifest that was written with them. The helper makes
 * them in tmp/: it only reads run directories.
 */
struct checkpoint_export {
    struct folder folder;
    char name[96]; /* of an archive */
    json_t *files;
};

static int ask_export(struct hn_request *req, const struct hn_job *job, const char *run_dir,
    int64_t step, const char *to, struct hn_error *err) {
    char model[HN_PATH_SIZE];
    json_t *answer = NULL;
    int rc = hn_job_model(req, job, run_dir, model, err);
    if (rc)
        return rc;
    json_t *params = json_pack("{s:{s:s},s:{s:s,s:I},s:s}", "model", "path", model, "source",
        "run_dir", run_dir, "step", (json_int_t)step, "to", to);
    const struct hn_question question = {
        .op = "export", .params = params, .asker = &req->asker, .timeout_seconds = EXPORT_SECONDS};
    rc = hn_helper_call(req->server->predict_helper, &question, &answer, &req->details, err);
    json_decref(params);
    json_decref(answer);
    return rc;
}

/* Reading what is there takes a key that reads; making it costs memory, time and disk, which is for
 * keys that submit. */
static int may_export(struct hn_request *req, struct hn_error *err) {
    if (hn_request_may(req, HN_SCOPE_SUBMIT))
        return 0;
    hn_fail(err, HN_E_FORBIDDEN,
        "the files of this checkpoint have not been made yet, and a key of scope \"read\" cannot "
        "have them made");
    hn_error_hint(
        err, "ask once with a key made with --scope submit; after that any key can read them");
    return HN_E_FORBIDDEN;
}

static int make_export(struct hn_request *req, const struct hn_job *job, int64_t step,
    const struct checkpoint_export *e, const char *manifest, struct hn_error *err) {
    char unique[HN_ID_SIZE], made[HN_PATH_SIZE], exports[HN_PATH_SIZE], final[HN_PATH_SIZE];
    const char *run_dir = e->folder.run_dir;
    hn_id_make("exp", unique);
    if (!hn_state_path(made, req->server->config->state, "tmp", unique, NULL) ||
        !hn_state_path(exports, run_dir, "exports", NULL, NULL) ||
        !hn_state_path(final, run_dir, e->folder.name, NULL, NULL))
        return hn_fail(err, HN_E_INTERNAL, "path too long");
    int rc = ask_export(req, job, run_dir, step, made, err);
    if (!rc)
        rc = hn_dir_create(exports, err);
    if (!rc && (rc = hn_dir_publish(made, final, err)) && hn_rundir_has(run_dir, manifest, 0))
        rc = 0; /* another request was first */
    hn_dir_remove(made, NULL);
    return rc;
}

static int read_manifest(
    const struct checkpoint_export *e, const char *name, json_t **ret, struct hn_error *err) {
    char path[HN_FD_PATH_SIZE];
    int fd, rc = hn_rundir_open(e->folder.run_dir, name, O_RDONLY, &fd, err);
    if (rc)
        return rc;
    rc = hn_json_load(hn_fd_path(path, fd), 1 << 20, ret, err);
    close(fd);
    return rc;
}

static int find_export(
    struct hn_request *req, struct checkpoint_export *ret, struct hn_error *err) {
    char checkpoint[HN_CHECKPOINT_SIZE], manifest_name[96], *end;
    long long step = strtoll(req->params[1], &end, 10);
    json_t *manifest = NULL;
    struct hn_job job;
    int rc = hn_job_load(req, &job, err);
    if (!rc)
        rc = find_folder(req, job.id, &ret->folder, err);
    hn_rundir_checkpoint(checkpoint, step, NULL);
    if (!rc &&
        (*end || step <= 0 || !hn_rundir_has(ret->folder.run_dir, checkpoint, O_DIRECTORY))) {
        rc = hn_fail(
            err, HN_E_NOT_FOUND, "job %s has no checkpoint of step %.20s", job.id, req->params[1]);
        hn_error_hint(err, "GET /jobs/%s/checkpoints lists those that are kept", job.id);
    }
    snprintf(ret->folder.name, sizeof ret->folder.name, "exports/step-%06lld", step);
    snprintf(manifest_name, sizeof manifest_name, "%s/manifest.json", ret->folder.name);
    bool missing = !rc && !hn_rundir_has(ret->folder.run_dir, manifest_name, 0);
    if (missing)
        rc = may_export(req, err);
    if (missing && !rc)
        rc = make_export(req, &job, step, ret, manifest_name, err);
    if (!rc)
        rc = read_manifest(ret, manifest_name, &manifest, err);
    snprintf(ret->name, sizeof ret->name, "%s-step-%06lld", rc ? "" : job.id, step);
    ret->files = json_incref(json_object_get(manifest, "files"));
    json_decref(manifest);
    hn_job_finish(&job);
    return rc;
}

int hn_checkpoint_artifacts(struct hn_request *req, struct hn_error *err) {
    struct checkpoint_export e = {.files = NULL};
    int rc = find_export(req, &e, err);
    return rc ? rc : hn_reply_list(req, e.files, NULL, err);
}

int hn_checkpoint_artifact(struct hn_request *req, struct hn_error *err) {
    struct checkpoint_export e = {.files = NULL};
    const json_t *file, *found = NULL;
    size_t i;
    int rc = find_export(req, &e, err);
    json_array_foreach(e.files, i, file)
        if (strcmp(json_string_value(json_object_get(file, "path")), req->params[2]) == 0)
            found = file;
    if (!rc && !found)
        rc = hn_fail(err, HN_E_NOT_FOUND, "the checkpoint has no artifact %.200s", req->params[2]);
    if (!rc)
        rc = reply_artifact(req, &e.folder, req->params[2],
            (int64_t)json_integer_value(json_object_get(found, "size")),
            json_string_value(json_object_get(found, "sha256")), err);
    json_decref(e.files);
    return rc;
}

int hn_checkpoint_artifacts_tar(struct hn_request *req, struct hn_error *err) {
    struct checkpoint_export e = {.files = NULL};
    int rc = find_export(req, &e, err);
    if (!rc)
        rc = reply_tar(req, &e.folder, e.name, e.files, err);
    json_decref(e.files);
    return rc;
}
