/* See seen.h. A table without chains: two files on one place forget each other, which costs a reading. */
#include "server/seen.h"
#include "server/id.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define PLACES 2048
#define FRESH_NS 100000000 /* file systems' clocks step; a change in the same step as the look would go unseen */

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
    int64_t age = (now.tv_sec - st->st_ctim.tv_sec) * 1000000000LL + now.tv_nsec - st->st_ctim.tv_nsec;
    return age < FRESH_NS;
}

static void remember(struct hn_seen *seen, const struct stat *st, const char *sha256) {
    pthread_mutex_lock(&seen->lock);
    struct entry *e = place_of(seen, st);
    *e = (struct entry){st->st_dev, st->st_ino, st->st_size, st->st_mtim, st->st_ctim, ""};
    memcpy(e->sha256, sha256, HN_SHA256_HEX);
    pthread_mutex_unlock(&seen->lock);
}

int hn_seen_hash(struct hn_seen *seen, int fd, const char *path, char ret[HN_SHA256_HEX], struct hn_error *err) {
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
    if (before.st_size == after.st_size && same_time(&before.st_ctim, &after.st_ctim) && !is_fresh(&before))
        remember(seen, &after, ret);
    return 0;
}

int hn_seen_compare(struct hn_seen *seen, const char *path, const char *sha256, struct hn_error *err) {
    char found[HN_SHA256_HEX];
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
    if (fd < 0)
        return errno == ENOENT ? hn_fail(err, HN_E_NOT_FOUND, "the file %.300s is gone", path)
                               : hn_fail_errno(err, errno, "cannot open %s", path);
    int rc = hn_seen_hash(seen, fd, path, found, err);
    close(fd);
    return rc || strcmp(found, sha256) == 0 ? rc : hn_fail(err, HN_E_CONFLICT, "the file %.300s has other bytes", path);
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
