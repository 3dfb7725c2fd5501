/* See seen.h. A table without chains: two files on one place forget each other, which costs a
 * reading. */
#include "server/base/seen.h"
#include "server/base/id.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define PLACES 2048
#define FRESH_NS \
    100000000 /* file systems' clocks step; a change in the same step as the look would go unseen */

struct entry {
    dev_t dev;
    ino_t ino;
    off_t size;
    struct timespec mtime, ctime;
    char sha256[HN_SHA256_HEX]; /* "": free */
};

struct hn_seen {
    pthread_mutex_t lock;
    struct entry entries[PLACES];
};

int hn_seen_create(struct hn_seen **ret, struct hn_error *err) {
    struct hn_seen *seen = hn_calloc(1, sizeof *seen);
    if (!seen)
        return hn_fail(err, HN_E_INTERNAL, "out of memory");
    pthread_mutex_init(&seen->lock, NULL);
    *ret = seen;
    return 0;
}

void hn_seen_destroy(struct hn_seen *seen) {
    if (!seen)
        return;
    pthread_mutex_destroy(&seen->lock);
    free(seen);
}

static bool same_time(const struct timespec *a, const struct timespec *b) {
    return a->tv_sec == b->tv_sec && a->tv_nsec == b->tv_nsec;
}

static bool same_but_ctime(const struct entry *e, const struct stat *st) {
    return e->sha256[0] && e->dev == st->st_dev && e->ino == st->st_ino && e->size == st->st_size &&
        same_time(&e->mtime, &st->st_mtim);
}

static struct entry *place_of(struct hn_seen *seen, const struct stat *st) {
    return &seen->entries[(st->st_ino * 2654435761u ^ st->st_dev) % PLACES];
}

static bool recall(struct hn_seen *seen, const struct stat *st, char ret[HN_SHA256_HEX]) {
    pthread_mutex_lock(&seen->lock);
    const struct entry *e = place_of(seen, st);
    bool known = same_but_ctime(e, st) && same_time(&e->ctime, &st->st_ctim);
    if (known)
        memcpy(ret, e->sha256, HN_SHA256_HEX);
    pthread_mutex_unlock(&seen->lock);
    return known;
}

static bool is_fresh(const struct stat *st) {
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    int64_t age =
        (now.tv_sec - st->st_ctim.tv_sec) * 1000000000LL + now.tv_nsec - st->st_ctim.tv_nsec;
    return age < FRESH_NS;
}

static void remember(struct hn_seen *seen, const struct stat *st, const char *sha256) {
    pthread_mutex_lock(&seen->lock);
    struct entry *e = place_of(seen, st);
    *e = (struct entry){st->st_dev, st->st_ino, st->st_size, st->st_mtim, st->st_ctim, ""};
    memcpy(e->sha256, sha256, HN_SHA256_HEX);
    pthread_mutex_unlock(&seen->lock);
}

int hn_seen_hash(
    struct hn_seen *seen, int fd, const char *path, char ret[HN_SHA256_HEX], struct hn_error *err) {
    struct stat before, after;
    if (fstat(fd, &before))
        return hn_fail_errno(err, errno, "cannot stat %s", path);
    if (!S_ISREG(before.st_mode))
        return hn_fail(err, HN_E_CONFLICT, "%s is no regular file", path);
    if (seen && recall(seen, &before, ret))
        return 0;
    int rc = hn_sha256_fd(fd, path, ret, NULL, err);
    if (rc || !seen || fstat(fd, &after))
        return rc;
    if (before.st_size == after.st_size && same_time(&before.st_ctim, &after.st_ctim) &&
        !is_fresh(&before))
        remember(seen, &after, ret);
    return 0;
}

static int visible(const struct dirent *entry) {
    return entry->d_name[0] != '.';
}

static int by_name(const struct dirent **a, const struct dirent **b) {
    return strcmp((*a)->d_name, (*b)->d_name);
}

/* One file's line; what is no regular file has none. */
static int add_line(
    struct hn_seen *seen, void *sha, int dir, const char *name, struct hn_error *err) {
    char one[HN_SHA256_HEX];
    struct stat st;
    int fd = openat(dir, name, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
    if (fd < 0)
        return hn_fail_errno(err, errno, "cannot open %s", name);
    bool regular = fstat(fd, &st) == 0 && S_ISREG(st.st_mode);
    int rc = regular ? hn_seen_hash(seen, fd, name, one, err) : 0;
    close(fd);
    if (rc || !regular)
        return rc;
    hn_sha256_add(sha, one, HN_SHA256_HEX - 1);
    hn_sha256_add(sha, "  ", 2);
    hn_sha256_add(sha, name, strlen(name));
    hn_sha256_add(sha, "\n", 1);
    return 0;
}

static int hash_folder(struct hn_seen *seen, int dir, const char *path, char ret[HN_SHA256_HEX],
    struct hn_error *err) {
    struct dirent **entries = NULL;
    int n = scandirat(dir, ".", &entries, visible, by_name);
    int rc = n < 0 ? hn_fail_errno(err, errno, "cannot read the folder %s", path) : 0;
    void *sha = rc ? NULL : hn_sha256_begin();
    if (!rc && !sha)
        rc = hn_fail(err, HN_E_INTERNAL, "out of memory");
    for (int i = 0; i < n; i++) {
        if (!rc)
            rc = add_line(seen, sha, dir, entries[i]->d_name, err);
        free(entries[i]);
    }
    free(entries);
    if (sha)
        hn_sha256_end(sha, rc ? NULL : ret);
    return rc;
}

int hn_seen_compare(
    struct hn_seen *seen, const char *path, const char *sha256, struct hn_error *err) {
    char found[HN_SHA256_HEX];
    struct stat st;
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
    if (fd < 0)
        return errno == ENOENT ? hn_fail(err, HN_E_NOT_FOUND, "the file %.300s is gone", path)
                               : hn_fail_errno(err, errno, "cannot open %s", path);
    bool folder = fstat(fd, &st) == 0 && S_ISDIR(st.st_mode);
    int rc =
        folder ? hash_folder(seen, fd, path, found, err) : hn_seen_hash(seen, fd, path, found, err);
    close(fd);
    if (rc || strcmp(found, sha256) == 0)
        return rc;
    return hn_fail(err, HN_E_CONFLICT,
        folder ? "a file in %.300s has other bytes" : "the file %.300s has other bytes", path);
}

void hn_seen_linked(struct hn_seen *seen, const char *path) {
    struct stat st;
    if (!seen || lstat(path, &st))
        return;
    pthread_mutex_lock(&seen->lock);
    struct entry *e = place_of(seen, &st);
    if (same_but_ctime(e, &st))
        e->ctime = st.st_ctim;
    pthread_mutex_unlock(&seen->lock);
}
