/* See file.h. */
#include "engine/base/file.h"
#include "engine/base/buf.h"
#include "engine/base/pulse.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <gnutls/crypto.h>
#include <gnutls/gnutls.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

int hn_file_read(
    const char *path, size_t ceiling, char **ret, size_t *ret_size, struct hn_error *err) {
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return errno == ENOENT ? hn_fail(err, HN_E_NOT_FOUND, "there is no file %s", path)
                               : hn_fail_errno(err, errno, "cannot open %s", path);
    struct hn_buf buf = {.ceiling = ceiling};
    int rc = 0;
    for (;;) {
        char chunk[65536];
        ssize_t n = read(fd, chunk, sizeof chunk);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            rc = hn_fail_errno(err, errno, "cannot read %s", path);
        if (n <= 0)
            break;
        hn_buf_append(&buf, chunk, (size_t)n);
        if (buf.failed) {
            rc = hn_fail(err, HN_E_TOO_LARGE, "%s is larger than %zu bytes", path, ceiling);
            break;
        }
    }
    close(fd);
    if (!rc)
        hn_buf_append(&buf, "", 0);
    if (!rc && buf.failed)
        rc = hn_fail(err, HN_E_INTERNAL, "out of memory reading %s", path);
    if (rc) {
        hn_buf_free(&buf);
        return rc;
    }
    *ret = buf.data;
    *ret_size = buf.size;
    return 0;
}

int hn_write_all(int fd, const void *data, size_t size, struct hn_error *err) {
    const char *p = data;
    while (size) {
        hn_pulse();
        ssize_t n = write(fd, p, size);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return hn_fail_errno(err, errno, "cannot write");
        p += n;
        size -= (size_t)n;
    }
    return 0;
}

int hn_file_sync(const char *path, struct hn_error *err) {
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return hn_fail_errno(err, errno, "cannot open %s", path);
    int rc = fsync(fd) ? hn_fail_errno(err, errno, "cannot sync %s", path) : 0;
    close(fd);
    return rc;
}

static int sync_parent(const char *path, struct hn_error *err) {
    char parent[4096];
    const char *slash = strrchr(path, '/');
    if (!slash)
        return hn_file_sync(".", err);
    snprintf(parent, sizeof parent, "%.*s", slash == path ? 1 : (int)(slash - path), path);
    return hn_file_sync(parent, err);
}

int hn_file_begin(
    const char *path, char *ret_tmp, size_t tmp_size, int *ret_fd, struct hn_error *err) {
    const char *slash = strrchr(path, '/');
    int dir = slash ? (int)(slash - path) + 1 : 0;
    if ((size_t)snprintf(
            ret_tmp, tmp_size, "%.*s.tmp-%s-%d", dir, path, path + dir, (int)getpid()) >= tmp_size)
        return hn_fail(err, HN_E_INTERNAL, "path too long: %.200s…", path);
    *ret_fd = open(ret_tmp, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    return *ret_fd < 0 ? hn_fail_errno(err, errno, "cannot create %s", ret_tmp) : 0;
}

int hn_file_commit(int fd, const char *tmp, const char *path, int rc, struct hn_error *err) {
    if (!rc && fsync(fd))
        rc = hn_fail_errno(err, errno, "cannot sync %s", tmp);
    if (close(fd) && !rc)
        rc = hn_fail_errno(err, errno, "cannot close %s", tmp);
    if (!rc && rename(tmp, path))
        rc = hn_fail_errno(err, errno, "cannot rename %s", tmp);
    if (rc) {
        unlink(tmp);
        return rc;
    }
    return sync_parent(path, err);
}

int hn_file_write_durable(const char *path, const void *data, size_t size, struct hn_error *err) {
    char tmp[4096];
    int fd, rc = hn_file_begin(path, tmp, sizeof tmp, &fd, err);
    return rc ? rc : hn_file_commit(fd, tmp, path, hn_write_all(fd, data, size, err), err);
}

static int sync_entry(const char *path, const struct stat *st, int type, struct FTW *ftw) {
    (void)st;
    (void)ftw;
    if (type != FTW_F && type != FTW_DP)
        return 0;
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return -1;
    int rc = fsync(fd), saved = errno;
    close(fd);
    errno = saved;
    return rc;
}

int hn_dir_sync(const char *path, struct hn_error *err) {
    return nftw(path, sync_entry, 16, FTW_DEPTH | FTW_PHYS)
        ? hn_fail_errno(err, errno, "cannot sync %s", path)
        : 0;
}

int hn_dir_publish(const char *from, const char *to, struct hn_error *err) {
    int rc = hn_dir_sync(from, err);
    if (rc)
        return rc;
    if (rename(from, to))
        return hn_fail_errno(err, errno, "cannot rename %s to %s", from, to);
    return sync_parent(to, err);
}

int hn_dir_create(const char *path, struct hn_error *err) {
    char part[4096];
    size_t n = strlen(path);
    if (n == 0 || n >= sizeof part)
        return hn_fail(err, HN_E_INTERNAL, "path too long");
    memcpy(part, path, n + 1);
    for (size_t i = 1; i <= n; i++) {
        if (part[i] != '/' && part[i] != 0)
            continue;
        char keep = part[i];
        part[i] = 0;
        int rc = 0;
        if (!mkdir(part, 0700)) /* a synced file in a folder that is lost would be lost with it */
            rc = sync_parent(part, err);
        else if (errno != EEXIST)
            rc = hn_fail_errno(err, errno, "cannot create folder %s", part);
        if (rc)
            return rc;
        part[i] = keep;
    }
    return 0;
}

static int remove_entry(const char *path, const struct stat *st, int type, struct FTW *ftw) {
    (void)st;
    (void)type;
    (void)ftw;
    return remove(path) && errno != ENOENT ? -1 : 0;
}

static int remove_below(const char *path, const struct stat *st, int type, struct FTW *ftw) {
    return ftw->level ? remove_entry(path, st, type, ftw) : 0;
}

int hn_dir_empty(const char *path, struct hn_error *err) {
    if (nftw(path, remove_below, 16, FTW_DEPTH | FTW_PHYS) && errno != ENOENT)
        return hn_fail_errno(err, errno, "cannot empty %s", path);
    return 0;
}

int hn_dir_remove(const char *path, struct hn_error *err) {
    if (nftw(path, remove_entry, 16, FTW_DEPTH | FTW_PHYS) && errno != ENOENT)
        return hn_fail_errno(err, errno, "cannot remove %s", path);
    return 0;
}

int hn_map_open(struct hn_map *map, const char *path, struct hn_error *err) {
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return errno == ENOENT ? hn_fail(err, HN_E_NOT_FOUND, "there is no file %s", path)
                               : hn_fail_errno(err, errno, "cannot open %s", path);
    struct stat st;
    int rc = 0;
    void *data = MAP_FAILED;
    if (fstat(fd, &st))
        rc = hn_fail_errno(err, errno, "cannot stat %s", path);
    else if (!S_ISREG(st.st_mode))
        rc = hn_fail(err, HN_E_INVALID_FIELD, "%s is not a regular file", path);
    else if (st.st_size <= 0)
        rc = hn_fail(err, HN_E_INVALID_FIELD, "%s is empty", path);
    else if ((data = mmap(NULL, (size_t)st.st_size, PROT_READ, MAP_PRIVATE, fd, 0)) == MAP_FAILED)
        rc = hn_fail_errno(err, errno, "cannot map %s", path);
    close(fd);
    if (rc)
        return rc;
    *map = (struct hn_map){data, (size_t)st.st_size};
    return 0;
}

void hn_map_close(struct hn_map *map) {
    if (map->data)
        munmap((void *)(uintptr_t)map->data, map->size);
    *map = (struct hn_map){0};
}

void hn_map_release(const struct hn_map *map) {
    if (map->data)
        madvise((void *)(uintptr_t)map->data, map->size, MADV_DONTNEED);
}

void *hn_sha256_begin(void) {
    gnutls_hash_hd_t state;
    return gnutls_hash_init(&state, GNUTLS_DIG_SHA256) ? NULL : state;
}

void hn_sha256_add(void *state, const void *data, size_t size) {
    hn_pulse();
    gnutls_hash(state, data, size);
}

void hn_sha256_end(void *state, char ret_hex[HN_SHA256_HEX]) {
    uint8_t digest[HN_SHA256_SIZE];
    gnutls_hash_deinit(state, digest);
    if (!ret_hex)
        return;
    for (size_t i = 0; i < sizeof digest; i++) { /* rows are hashed by the million */
        ret_hex[2 * i] = "0123456789abcdef"[digest[i] >> 4];
        ret_hex[2 * i + 1] = "0123456789abcdef"[digest[i] & 15];
    }
    ret_hex[2 * HN_SHA256_SIZE] = 0;
}

void hn_sha256(const void *data, size_t size, char ret_hex[HN_SHA256_HEX]) {
    void *state = hn_sha256_begin();
    ret_hex[0] = 0;
    if (!state)
        return;
    hn_sha256_add(state, data, size);
    hn_sha256_end(state, ret_hex);
}

int hn_sha256_fd(int fd, const char *path, char ret_hex[HN_SHA256_HEX], uint64_t *ret_size,
    struct hn_error *err) {
    static const size_t chunk = 1 << 20;
    void *state = hn_sha256_begin();
    char *data = malloc(chunk);
    uint64_t total = 0;
    int rc = state && data ? 0 : hn_fail(err, HN_E_INTERNAL, "out of memory");
    if (!rc && lseek(fd, 0, SEEK_SET))
        rc = hn_fail_errno(err, errno, "cannot read %s", path);
    while (!rc) {
        ssize_t n = read(fd, data, chunk);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            rc = hn_fail_errno(err, errno, "cannot read %s", path);
        if (n <= 0)
            break;
        hn_sha256_add(state, data, (size_t)n);
        total += (uint64_t)n;
    }
    free(data);
    if (state)
        hn_sha256_end(state, rc ? NULL : ret_hex);
    if (!rc && ret_size)
        *ret_size = total;
    return rc;
}

int hn_sha256_file(
    const char *path, char ret_hex[HN_SHA256_HEX], uint64_t *ret_size, struct hn_error *err) {
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return hn_fail_errno(err, errno, "cannot open %s", path);
    int rc = hn_sha256_fd(fd, path, ret_hex, ret_size, err);
    close(fd);
    return rc;
}
