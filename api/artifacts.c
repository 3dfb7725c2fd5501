/* /jobs/{id}/artifacts: the files of the result, one by one (in parts, by ETag) or as one archive. */
#include "api/handlers.h"
#include "server/state.h"
#include "server/tar.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

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
    } types[] = {{".json", "application/json"}, {".jsonl", "application/x-ndjson"}, {".md", "text/markdown; charset=utf-8"},
        {".txt", "text/plain; charset=utf-8"}, {"Modelfile", "text/plain; charset=utf-8"},
        {".jinja", "text/plain; charset=utf-8"}};
    size_t n = strlen(path);
    for (size_t i = 0; i < sizeof types / sizeof types[0]; i++) {
        size_t m = strlen(types[i].ending);
        if (n >= m && strcmp(path + n - m, types[i].ending) == 0)
            return types[i].type;
    }
    return "application/octet-stream";
}

/* The artifact's name was in the store, so it is plain and relative; a link in the run directory is not followed. */
static int open_artifact(const struct hn_request *req, const char *job, const char *path, int64_t size, int *ret_fd,
    struct hn_error *err) {
    char root[HN_PATH_SIZE], full[HN_PATH_SIZE];
    struct stat st;
    if (!hn_state_path(root, req->server->config->state, "runs", job, "artifacts") ||
        !hn_state_path(full, root, path, NULL, NULL))
        return hn_fail(err, HN_E_INTERNAL, "path too long");
    int fd = open(full, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
    if (fd < 0)
        return errno == ENOENT ? hn_fail(err, HN_E_NOT_FOUND, "the file of artifact %.200s is gone", path)
                               : hn_fail_errno(err, errno, "cannot open %s", path);
    if (fstat(fd, &st) || !S_ISREG(st.st_mode) || st.st_size != size) {
        close(fd);
        return hn_fail(err, HN_E_INTERNAL, "the file of artifact %.200s is not what was recorded", path);
    }
    *ret_fd = fd;
    return 0;
}

static int reply_range(struct hn_request *req, const char *path, const char *tag, int fd, uint64_t size,
    struct hn_error *err) {
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
        snprintf(text, sizeof text, "bytes %llu-%llu/%llu", (unsigned long long)from, (unsigned long long)(from + count - 1),
            (unsigned long long)size);
        hn_reply_header(req, "Content-Range", text);
    }
    hn_reply_file(req, range == HN_RANGE_OK ? 206 : 200, type_of(path), fd, from, count);
    return 0;
}

int hn_jobs_artifact(struct hn_request *req, struct hn_error *err) {
    struct hn_job job;
    const char *path = req->params[1];
    int64_t size = 0;
    char tag[HN_SHA256_HEX], quoted[HN_SHA256_HEX + 2];
    int fd = -1, rc = hn_job_load(req, &job, err);
    if (!rc)
        rc = hn_db_artifact(hn_request_db(req, err), job.n, path, &size, tag, err);
    if (!rc)
        rc = open_artifact(req, job.id, path, size, &fd, err);
    hn_job_finish(&job);
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

int hn_jobs_artifacts_tar(struct hn_request *req, struct hn_error *err) {
    struct hn_job job;
    char root[HN_PATH_SIZE], name[96];
    json_t *list = NULL;
    struct tar_stream *s = NULL;
    int rc = hn_job_load(req, &job, err);
    if (!rc)
        rc = hn_db_artifacts(hn_request_db(req, err), job.n, NULL, 100000, &list, err);
    if (!rc && !json_array_size(list)) {
        rc = hn_fail(err, HN_E_NOT_FOUND, "job %s has no artifacts%s", job.id, hn_job_ended(job.status) ? "" : " yet");
        hn_error_hint(err, "they are there when \"artifacts_ready\" is true");
    }
    if (!rc && !hn_state_path(root, req->server->config->state, "runs", job.id, "artifacts"))
        rc = hn_fail(err, HN_E_INTERNAL, "path too long");
    if (!rc && !(s = hn_calloc(1, sizeof *s)))
        rc = hn_fail(err, HN_E_INTERNAL, "out of memory");
    if (!rc)
        rc = hn_tar_create(root, job.id, list, &s->tar, err);
    if (!rc) {
        s->stream = (struct hn_stream){.read = read_tar, .close = close_tar, .ud = s, .blocking = true};
        snprintf(name, sizeof name, "attachment; filename=\"%s.tar\"", job.id);
        hn_reply_header(req, "Content-Disposition", name);
        hn_reply_stream(req, 200, "application/x-tar", &s->stream);
    } else {
        free(s);
    }
    json_decref(list);
    hn_job_finish(&job);
    return rc;
}
