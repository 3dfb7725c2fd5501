/* See blob.h. */
#include "server/base/blob.h"
#include "server/base/state.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <unistd.h>

static int copy_bytes(int in, int out, const char *to, struct hn_error *err) {
    for (;;) {
        ssize_t n = copy_file_range(in, NULL, out, NULL, (size_t)1 << 30, 0);
        if (n == 0)
            return 0;
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0 && (errno == EXDEV || errno == ENOSYS || errno == EINVAL || errno == EOPNOTSUPP))
            break;
        if (n < 0)
            return hn_fail_errno(err, errno, "cannot copy to %s", to);
    }
    static const size_t chunk_size = 65536;
    for (;;) {
        char chunk[65536];
        ssize_t n = read(in, chunk, chunk_size);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return hn_fail_errno(err, errno, "cannot read for %s", to);
        if (n == 0)
            return 0;
        int rc = hn_write_all(out, chunk, (size_t)n, err);
        if (rc)
            return rc;
    }
}

/* A name beside `to` that is taken for rubbish. */
static bool temporary_name(char ret[HN_PATH_SIZE], const char *to) {
    const char *slash = strrchr(to, '/');
    int dir = slash ? (int)(slash - to) + 1 : 0,
        n = snprintf(ret, HN_PATH_SIZE, "%.*s.tmp-%s", dir, to, to + dir);
    return n > 0 && n < HN_PATH_SIZE;
}

/* A file of its own with the same bytes, whole or not there at all; `clone` allows only the way
 * that shares blocks. */
static int duplicate(
    const char *from, const char *to, bool clone, bool own, bool *cloned, struct hn_error *err) {
    char tmp[HN_PATH_SIZE];
    if (!temporary_name(tmp, to))
        return hn_fail(err, HN_E_INTERNAL, "path too long: %.200s", to);
    int in = open(from, O_RDONLY | O_CLOEXEC | O_NONBLOCK), out = -1, rc = 0;
    struct stat st;
    unlink(tmp); /* of one that died here */
    if (in < 0)
        return errno == ENOENT ? hn_fail(err, HN_E_NOT_FOUND, "there is no file %s", from)
                               : hn_fail_errno(err, errno, "cannot open %s", from);
    if (fstat(in, &st) || !S_ISREG(st.st_mode))
        rc = hn_fail(err, HN_E_INVALID_FIELD, "%s is not a regular file", from);
    if (!rc && access(to, F_OK) == 0)
        rc = hn_fail_errno(err, EEXIST, "cannot create %s", to);
    if (!rc && (out = open(tmp, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600)) < 0)
        rc = hn_fail_errno(err, errno, "cannot create %s", tmp);
    if (!rc) {
        *cloned = ioctl(out, FICLONE, in) == 0;
        if (!*cloned && !clone)
            rc = copy_bytes(in, out, to, err);
        if (!rc && (*cloned || !clone) &&
            (fchmod(out, own ? st.st_mode & 0700 : 0400) || fsync(out)))
            rc = hn_fail_errno(err, errno, "cannot sync %s", to);
    }
    if (out >= 0)
        close(out);
    close(in);
    bool wanted = out >= 0 && !rc && (*cloned || !clone);
    if (wanted && rename(tmp, to))
        rc = hn_fail_errno(err, errno, "cannot rename %s", tmp);
    if (out >= 0 && (rc || !wanted))
        unlink(tmp);
    return rc;
}

int hn_blob_place(const char *from, const char *to, enum hn_blob_way way, struct hn_error *err) {
    bool cloned = false;
    if (way == HN_BLOB_SHARED && linkat(AT_FDCWD, from, AT_FDCWD, to, AT_SYMLINK_FOLLOW) == 0)
        return 0;
    if (way == HN_BLOB_PRIVATE) {
        int rc = duplicate(from, to, true, false, &cloned, err);
        if (rc || cloned)
            return rc;
        /* linkat follows a symbolic link, as the snapshots of a model cache have them. */
        if (linkat(AT_FDCWD, from, AT_FDCWD, to, AT_SYMLINK_FOLLOW) == 0)
            return 0;
    }
    return duplicate(from, to, false, way == HN_BLOB_OWN, &cloned, err);
}
