/* See blob.h. */
#include "server/blob.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/fs.h>
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

/* A file of its own with the same bytes; `clone` allows only the way that shares blocks. */
static int duplicate(const char *from, const char *to, bool clone, bool own, bool *cloned, struct hn_error *err) {
    int in = open(from, O_RDONLY | O_CLOEXEC | O_NONBLOCK), out = -1, rc = 0;
    struct stat st;
    if (in < 0)
        return errno == ENOENT ? hn_fail(err, HN_E_NOT_FOUND, "there is no file %s", from)
                               : hn_fail_errno(err, errno, "cannot open %s", from);
    if (fstat(in, &st) || !S_ISREG(st.st_mode))
        rc = hn_fail(err, HN_E_INVALID_FIELD, "%s is not a regular file", from);
    if (!rc && (out = open(to, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600)) < 0)
        rc = hn_fail_errno(err, errno, "cannot create %s", to);
    if (!rc) {
        *cloned = ioctl(out, FICLONE, in) == 0;
        if (!*cloned && !clone)
            rc = copy_bytes(in, out, to, err);
        if (!rc && (*cloned || !clone) && (fchmod(out, own ? st.st_mode & 0700 : 0400) || fsync(out)))
            rc = hn_fail_errno(err, errno, "cannot sync %s", to);
    }
    if (out >= 0)
        close(out);
    close(in);
    if (out >= 0 && (rc || (clone && !*cloned)))
        unlink(to);
    return rc;
}

int hn_blob_place(const char *from, const char *to, enum hn_blob_way way, struct hn_error *err) {
    bool cloned = false;
    if (way == HN_BLOB_SHARED && link(from, to) == 0)
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
