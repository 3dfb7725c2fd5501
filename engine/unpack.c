/* See unpack.h. libarchive does the work; of its formats only `raw` is on, so that one file comes out of one file. */
#include "engine/unpack.h"

#include <archive.h>
#include <archive_entry.h>
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#define TAR_MAGIC_AT 257

static int damaged(struct archive *a, struct hn_error *err) {
    const char *why = archive_error_string(a);
    hn_fail(err, HN_E_DATASET_INVALID, "the compressed file is damaged or cut short: %.120s",
        why ? why : "it ends too early");
    hn_error_hint(err, "compress it again, or upload it as it is");
    return HN_E_DATASET_INVALID;
}

/* A tar inside: its header stands in the first 512 bytes. */
static bool is_tar(const char *data, size_t size) {
    return size >= TAR_MAGIC_AT + 5 && memcmp(data + TAR_MAGIC_AT, "ustar", 5) == 0;
}

static int copy_out(struct archive *a, int fd, uint64_t limit, uint64_t *bytes, struct hn_error *err) {
    static const size_t block = 1 << 16;
    char data[1 << 16];
    size_t used = 0;
    for (la_ssize_t n = 1; n != 0;) {
        n = archive_read_data(a, data + used, block - used);
        if (n < 0)
            return damaged(a, err);
        used += (size_t)n;
        if (n && used < block)
            continue;
        if (*bytes == 0 && is_tar(data, used)) {
            hn_fail(err, HN_E_DATASET_INVALID, "the file is an archive of files (tar)");
            hn_error_hint(err, "unpack it and upload the one file with the rows");
            return HN_E_DATASET_INVALID;
        }
        if (limit && used > limit - *bytes) {
            hn_fail(err, HN_E_TOO_LARGE, "unpacked, the file has more than the %llu bytes that may be uploaded",
                (unsigned long long)limit);
            hn_error_hint(err, "split it, or raise the server's max_upload");
            return HN_E_TOO_LARGE;
        }
        int rc = hn_write_all(fd, data, used, err);
        if (rc)
            return rc;
        *bytes += used;
        used = 0;
    }
    return 0;
}

static int read_archive(
    struct archive *a, const char *path, int fd, uint64_t limit, uint64_t *bytes, struct hn_error *err) {
    struct archive_entry *entry;
    archive_read_support_format_raw(a);
    archive_read_support_filter_gzip(a);
    archive_read_support_filter_zstd(a);
    archive_read_support_filter_xz(a);
    archive_read_support_filter_bzip2(a);
    if (archive_read_open_filename(a, path, 1 << 16) != ARCHIVE_OK ||
        archive_read_next_header(a, &entry) != ARCHIVE_OK)
        return damaged(a, err);
    return copy_out(a, fd, limit, bytes, err);
}

int hn_unpack(const char *path, const char *to, uint64_t limit, uint64_t *ret_bytes, char ret_sha256[HN_SHA256_HEX],
    struct hn_error *err) {
    uint64_t bytes = 0;
    int fd = open(to, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    struct archive *a = fd < 0 ? NULL : archive_read_new();
    int rc = fd < 0 ? hn_fail_errno(err, errno, "cannot create %s", to)
             : a    ? 0
                    : hn_fail(err, HN_E_INTERNAL, "out of memory");
    if (!rc)
        rc = read_archive(a, path, fd, limit, &bytes, err);
    if (a)
        archive_read_free(a);
    if (fd >= 0 && close(fd) && !rc)
        rc = hn_fail_errno(err, errno, "cannot write %s", to);
    if (!rc && !bytes) {
        hn_fail(err, HN_E_DATASET_INVALID, "the compressed file holds nothing");
        hn_error_hint(err, "a data set needs at least one row");
        rc = HN_E_DATASET_INVALID;
    }
    if (!rc)
        rc = hn_sha256_file(to, ret_sha256, ret_bytes, err);
    if (rc && fd >= 0)
        unlink(to);
    return rc;
}
