/*
 * download: files of a result. What arrives goes to a hidden `.part` file beside its target, which
 * takes its name when all bytes are there and their SHA-256 is the one that the server told; a
 * broken transfer goes on where it stopped, in this call or in the next.
 */
#include "server/client/client.h"

#include <errno.h>
#include <fcntl.h>
#include <libgen.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#define TRIES 5 /* that bring nothing new */

struct download {
    struct hn_client *client;
    const char *name; /* of the file, for people */
    int64_t size, have;
    int fd;
    bool failed;  /* to be written */
    int64_t from; /* where the request that is under way began */
    struct hn_bar bar;
};

/* A path that stays below the folder it is put into, whatever the server says. */
static bool is_harmless(const char *path) {
    size_t n = strlen(path);
    struct hn_buf clean = {0};
    hn_screen_clean(&clean, path, n, false);
    bool same = clean.size == n && memcmp(clean.data ? clean.data : "", path, n) == 0;
    hn_buf_free(&clean);
    if (!n || n > 400 || !same || strchr(path, '\\'))
        return false;
    for (;; path += n + 1) {
        n = strcspn(path, "/");
        if (!n || path[0] == '.')
            return false;
        if (!path[n])
            return true;
    }
}

static bool on_data(void *ud, long status, const char *data, size_t size) {
    struct download *d = ud;
    char done[HN_FIGURE], all[HN_FIGURE], text[80];
    if (status == 200 && d->from) { /* the whole file, though a part was asked for */
        d->failed = ftruncate(d->fd, 0) || lseek(d->fd, 0, SEEK_SET);
        d->from = d->have = 0;
    }
    if (d->failed || (int64_t)size > d->size - d->have ||
        hn_write_all(d->fd, data, size, &d->client->err)) {
        d->failed = true;
        return false;
    }
    d->have += (int64_t)size;
    if (d->bar.terminal && d->size > 0) {
        snprintf(text, sizeof text, "%s of %s", hn_figure_bytes(done, (double)d->have),
            hn_figure_bytes(all, (double)d->size));
        hn_bar_show(&d->bar, d->name, (double)d->have / (double)d->size, text, false);
    }
    return true;
}

/* Asks for what is missing until it is there. */
static int receive(struct download *d, const char *path, const char *sha256) {
    struct hn_client *c = d->client;
    int status = HN_CLIENT_WELL;
    for (int tries = 0; !status && d->have < d->size;) {
        int64_t before = d->have;
        d->from = d->have;
        if (lseek(d->fd, (off_t)d->have, SEEK_SET) < 0)
            return hn_client_fail(c, NULL, "cannot write %.200s: %s", d->name, strerror(errno));
        const struct hn_ask ask = {.method = "GET",
            .path = path,
            .accept = "*/*",
            .from = d->have,
            .tag = sha256,
            .sink = on_data,
            .ud = d};
        struct hn_answer answer;
        enum hn_outcome outcome = hn_client_try(c, &ask, &answer);
        tries = d->have > before ? 0 : tries + 1;
        bool later = outcome == HN_OUTCOME_UNREACHABLE && tries < TRIES;
        if (d->failed)
            status = hn_client_fail(c, "is there room on the disk?",
                "cannot keep %.200s, or more than its %lld bytes came", d->name,
                (long long)d->size);
        else if (later)
            sleep(1);
        else if (outcome)
            status = hn_client_complain(c, &answer);
        else if (d->have == before)
            status = hn_client_fail(c, NULL, "the server sent nothing of %.200s", d->name);
        hn_answer_finish(&answer);
    }
    return status;
}

static int check(struct download *d, const char *part, const char *sha256) {
    char found[HN_SHA256_HEX];
    uint64_t size;
    struct hn_error err = {0};
    if (hn_sha256_fd(d->fd, part, found, &size, &err) || fsync(d->fd))
        return hn_client_fail(d->client, NULL, "cannot read back %.200s", d->name);
    if (strcmp(found, sha256) == 0 && (int64_t)size == d->size)
        return HN_CLIENT_WELL;
    unlink(part);
    return hn_client_fail(d->client, "download it again",
        "%.200s arrived damaged: its sha256 is not the one that the server told", d->name);
}

static int make_folders(struct hn_client *c, const char *target) {
    char *path = hn_client_keep(c, strdup(target));
    for (char *slash = strchr(path + (*path == '/'), '/'); slash; slash = strchr(slash + 1, '/')) {
        *slash = 0;
        if (mkdir(path, 0777) && errno != EEXIST)
            return hn_client_fail(
                c, NULL, "cannot make the folder %.300s: %s", path, strerror(errno));
        *slash = '/';
    }
    return HN_CLIENT_WELL;
}

static int fetch(struct hn_client *c, const char *job, const json_t *file, const char *target) {
    const char *path = json_string_value(json_object_get(file, "path")),
               *sha256 = json_string_value(json_object_get(file, "sha256"));
    struct download d = {.client = c, .name = path, .fd = -1};
    struct hn_buf part = {0}, url = {0};
    struct stat st, there;
    d.size = (int64_t)json_integer_value(json_object_get(file, "size"));
    hn_bar_init(&d.bar);
    const char *slash = strrchr(target, '/');
    hn_buf_printf(&part, "%.*s.%s.%.8s.part", slash ? (int)(slash + 1 - target) : 0, target,
        slash ? slash + 1 : target, sha256);
    hn_buf_printf(&url, "/jobs/%s/artifacts", job);
    char *rest = hn_client_keep(c, strdup(path));
    for (char *name; (name = strsep(&rest, "/"));)
        hn_buf_printf(&url, "/%s", hn_client_path(c, "%s", name));
    int status = part.failed || url.failed ? hn_client_fail(c, NULL, "out of memory")
                                           : make_folders(c, target);
    if (!status) {
        d.fd = open(part.data, O_RDWR | O_CREAT | O_NOFOLLOW | O_CLOEXEC, 0666);
        if (d.fd < 0 || fstat(d.fd, &st))
            status = hn_client_fail(c, NULL, "cannot write %.300s: %s", part.data, strerror(errno));
        else if (flock(d.fd, LOCK_EX | LOCK_NB) || stat(part.data, &there) ||
            there.st_ino != st.st_ino)
            status = hn_client_fail(
                c, "wait until it has ended", "another download writes %.300s", target);
        else if (st.st_size <= d.size)
            d.have = (int64_t)st.st_size;
        else if (ftruncate(d.fd, 0))
            status = hn_client_fail(c, NULL, "cannot write %.300s", part.data);
    }
    if (!status)
        status = receive(&d, url.data, sha256);
    hn_bar_clear(&d.bar);
    if (!status)
        status = check(&d, part.data, sha256);
    if (!status && rename(part.data, target))
        status = hn_client_fail(c, NULL, "cannot write %.300s: %s", target, strerror(errno));
    if (d.fd >= 0)
        close(d.fd);
    hn_buf_free(&part);
    hn_buf_free(&url);
    return status;
}

/* Where a file goes: *whole says that it was asked for by its own name. */
static const char *target_of(struct hn_client *c, const json_t *job, const char *path, bool whole) {
    const char *to = hn_client_option(c, "output"),
               *name = json_string_value(json_object_get(job, "name"));
    const char *base = strrchr(path, '/') ? strrchr(path, '/') + 1 : path;
    struct stat st;
    char *text = NULL;
    bool folder = to && stat(to, &st) == 0 && S_ISDIR(st.st_mode);
    if (whole && (!to || !folder))
        return to ? to : base;
    if (!to)
        to = name && is_harmless(name) && !strchr(name, '/') ? name : hn_client_text(c, job, "id");
    if (asprintf(&text, "%s/%s", to, whole ? base : path) < 0)
        text = NULL;
    return hn_client_keep(c, text);
}

static bool is_asked_for(const char *path, const char *wanted) {
    size_t n = wanted ? strlen(wanted) : 0;
    while (n && wanted[n - 1] == '/')
        n--;
    return !n || (strncmp(path, wanted, n) == 0 && (!path[n] || path[n] == '/'));
}

static int fetch_one(struct hn_client *c, const json_t *job, json_t *file, const char *wanted) {
    const char *path = json_string_value(json_object_get(file, "path")),
               *sha256 = json_string_value(json_object_get(file, "sha256"));
    char bytes[HN_FIGURE];
    if (!path || !sha256 || strlen(sha256) != HN_SHA256_HEX - 1 ||
        strspn(sha256, "0123456789abcdef") != HN_SHA256_HEX - 1 || !is_harmless(path) ||
        json_integer_value(json_object_get(file, "size")) < 0)
        return hn_client_fail(c, "nothing is written outside the folder it belongs to",
            "the server names an artifact that cannot be a file here: %.200s",
            hn_client_text(c, file, "path"));
    const char *target = target_of(c, job, path, wanted && strcmp(path, wanted) == 0);
    int status = fetch(c, hn_client_text(c, job, "id"), file, target);
    if (!status && c->json)
        json_object_set_new(file, "file", json_string(target));
    else if (!status)
        printf("%s  %s\n", target, hn_figure_bytes(bytes, hn_member_number(file, "size")));
    return status;
}

int hn_client_download(struct hn_client *c) {
    const char *wanted = c->n_words > 1 ? c->words[1] : NULL;
    json_t *job = NULL, *files = NULL, *file, *got = json_array();
    size_t i;
    int status = hn_client_find(c, HN_NAMED_JOB, c->words[0], &job);
    const char *id = hn_client_text(c, job, "id");
    if (!status)
        status = hn_client_rows(c, hn_client_path(c, "/jobs/%s/artifacts", id), 100000, &files);
    json_array_foreach(files, i, file) {
        const char *path = json_string_value(json_object_get(file, "path"));
        if (status || !path || !is_asked_for(path, wanted))
            continue;
        status = fetch_one(c, job, file, wanted);
        json_array_append(got, file);
    }
    if (!status && !json_array_size(got))
        status = hn_client_fail(c,
            "`honed show` tells whether it has ended; without a name all are downloaded",
            "job %s has no artifact%s%.200s", id, wanted ? " " : "s", wanted ? wanted : "");
    if (!status && c->json)
        hn_client_print_json(got);
    json_decref(got);
    json_decref(files);
    json_decref(job);
    return status;
}
