/*
 * See unpack.h. gzip is read with zlib, the others with libarchive, of whose formats only `raw` is
 * on, so that one file comes out of one file. Not gzip with libarchive: it looks at no checksum,
 * and what follows a member and is not another it leaves out silently.
 *
 * A file may be several members (frames, streams) in a row, as `cat a.gz b.gz` makes it: all are
 * read. What else follows is an error that says where, but for the padding with zeros that a
 * format's own tool takes: gzip's any number, xz's fours.
 */
#include "engine/data/unpack.h"
#include "engine/base/buf.h"

#include <archive.h>
#include <archive_entry.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <zlib.h>

#define TAR_MAGIC_AT 257
#define BLOCK ((size_t)1 << 16)

struct sink {
    int fd;
    uint64_t limit, bytes;
    size_t used; /* of data, not written yet */
    char data[BLOCK];
};

/* `where`: "at", or "after" where libarchive tells only up to which byte all was well. */
static int damaged(const char *where, uint64_t at, const char *why, struct hn_error *err) {
    hn_fail(err, HN_E_DATASET_INVALID,
        "the compressed file is damaged or cut short %s byte %llu: %.120s", where,
        (unsigned long long)at, why ? why : "it ends too early");
    hn_error_hint(err, "compress it again, or upload it as it is");
    return HN_E_DATASET_INVALID;
}

static int followed(uint64_t at, struct hn_error *err) {
    hn_fail(err, HN_E_DATASET_INVALID,
        "the compressed data end at byte %llu, and something else follows", (unsigned long long)at);
    hn_error_hint(
        err, "a damaged part of the file, or bytes that do not belong to it: compress it again");
    return HN_E_DATASET_INVALID;
}

/* A tar inside: its header stands in the first 512 bytes. */
static bool is_tar(const char *data, size_t size) {
    return size >= TAR_MAGIC_AT + 5 && memcmp(data + TAR_MAGIC_AT, "ustar", 5) == 0;
}

static int flush(struct sink *s, struct hn_error *err) {
    if (s->bytes == 0 && is_tar(s->data, s->used)) {
        hn_fail(err, HN_E_DATASET_INVALID, "the file is an archive of files (tar)");
        hn_error_hint(err, "unpack it and upload the one file with the rows");
        return HN_E_DATASET_INVALID;
    }
    if (s->limit && s->used > s->limit - s->bytes) {
        hn_fail(err, HN_E_TOO_LARGE,
            "unpacked, the file has more than the %llu bytes that may be uploaded",
            (unsigned long long)s->limit);
        hn_error_hint(err, "split it, or raise the server's max_upload");
        return HN_E_TOO_LARGE;
    }
    int rc = hn_write_all(s->fd, s->data, s->used, err);
    s->bytes += s->used;
    s->used = 0;
    return rc;
}

struct gzip {
    int fd;
    uint64_t read; /* from the file so far */
    z_stream z;
    unsigned char in[BLOCK];
};

static uint64_t gzip_at(const struct gzip *g) {
    return g->read - g->z.avail_in;
}

/* Sees to it that a byte is there; false at the end of the file, or when it cannot be read
 * (*rc). */
static bool gzip_fill(struct gzip *g, int *rc, struct hn_error *err) {
    if (g->z.avail_in)
        return true;
    ssize_t n;
    do
        n = read(g->fd, g->in, sizeof g->in);
    while (n < 0 && errno == EINTR);
    if (n < 0)
        *rc = hn_fail_errno(err, errno, "cannot read the compressed file");
    if (n <= 0)
        return false;
    g->z.next_in = g->in;
    g->z.avail_in = (uInt)n;
    g->read += (uint64_t)n;
    return true;
}

static int gzip_member(struct gzip *g, struct sink *s, struct hn_error *err) {
    int rc = 0, state = Z_OK;
    while (!rc && state != Z_STREAM_END) {
        if (!gzip_fill(g, &rc, err))
            return rc ? rc : damaged("at", gzip_at(g), NULL, err);
        g->z.next_out = (unsigned char *)s->data + s->used;
        g->z.avail_out = (uInt)(BLOCK - s->used);
        state = inflate(&g->z, Z_NO_FLUSH);
        s->used = BLOCK - g->z.avail_out;
        if (state != Z_OK && state != Z_STREAM_END && state != Z_BUF_ERROR)
            rc = damaged("at", gzip_at(g), g->z.msg, err);
        else if (s->used == BLOCK)
            rc = flush(s, err);
    }
    return rc;
}

static int gzip_padding(struct gzip *g, struct hn_error *err) {
    int rc = 0;
    uint64_t begin = gzip_at(g);
    for (; gzip_fill(g, &rc, err); g->z.next_in++, g->z.avail_in--)
        if (*g->z.next_in)
            return followed(begin, err);
    return rc;
}

static int read_gzip(struct gzip *g, struct sink *s, struct hn_error *err) {
    enum { WINDOW = 15, GZIP_ONLY = 16 };
    int rc = 0;
    if (inflateInit2(&g->z, WINDOW + GZIP_ONLY) != Z_OK)
        return hn_fail(err, HN_E_INTERNAL, "out of memory");
    for (bool first = true; !rc && gzip_fill(g, &rc, err); first = false) {
        if (!first && *g->z.next_in != 0x1F) {
            rc = gzip_padding(g, err);
            break;
        }
        inflateReset(&g->z);
        rc = gzip_member(g, s, err);
    }
    inflateEnd(&g->z);
    return rc;
}

static int unpack_gzip(int in, struct sink *s, struct hn_error *err) {
    struct gzip *g = hn_calloc(1, sizeof *g);
    if (!g)
        return hn_fail(err, HN_E_INTERNAL, "out of memory");
    g->fd = in;
    int rc = read_gzip(g, s, err);
    free(g);
    return rc;
}

static uint64_t archive_at(struct archive *a) {
    int64_t at = archive_filter_bytes(a, -1);
    return at < 0 ? 0 : (uint64_t)at;
}

static int copy_out(struct archive *a, struct sink *s, struct hn_error *err) {
    int rc = 0;
    for (la_ssize_t n = 1; !rc && n > 0;) {
        n = archive_read_data(a, s->data + s->used, BLOCK - s->used);
        if (n < 0)
            return damaged("after", archive_at(a), archive_error_string(a), err);
        s->used += (size_t)n;
        if (s->used == BLOCK)
            rc = flush(s, err);
    }
    return rc;
}

static int read_archive(struct archive *a, int in, struct sink *s, struct hn_error *err) {
    struct archive_entry *entry;
    struct stat st;
    archive_read_support_format_raw(a);
    archive_read_support_filter_zstd(a);
    archive_read_support_filter_xz(a);
    archive_read_support_filter_bzip2(a);
    if (fstat(in, &st))
        return hn_fail_errno(err, errno, "cannot read the compressed file");
    if (archive_read_open_fd(a, in, BLOCK) != ARCHIVE_OK ||
        archive_read_next_header(a, &entry) != ARCHIVE_OK)
        return damaged("after", archive_at(a), archive_error_string(a), err);
    int rc = copy_out(a, s, err);
    return rc || archive_at(a) == (uint64_t)st.st_size ? rc : followed(archive_at(a), err);
}

static int unpack_other(int in, struct sink *s, struct hn_error *err) {
    struct archive *a = archive_read_new();
    int rc = a ? read_archive(a, in, s, err) : hn_fail(err, HN_E_INTERNAL, "out of memory");
    if (a)
        archive_read_free(a);
    return rc;
}

static int unpack(const char *path, struct sink *s, struct hn_error *err) {
    unsigned char magic[2] = {0};
    int in = open(path, O_RDONLY | O_CLOEXEC);
    if (in < 0)
        return hn_fail_errno(err, errno, "cannot open %s", path);
    bool gzip =
        pread(in, magic, sizeof magic, 0) == sizeof magic && magic[0] == 0x1F && magic[1] == 0x8B;
    int rc = gzip ? unpack_gzip(in, s, err) : unpack_other(in, s, err);
    close(in);
    if (!rc)
        rc = flush(s, err);
    if (rc || s->bytes)
        return rc;
    hn_fail(err, HN_E_DATASET_INVALID, "the compressed file holds nothing");
    hn_error_hint(err, "a data set needs at least one row");
    return HN_E_DATASET_INVALID;
}

int hn_unpack(const char *path, const char *to, uint64_t limit, uint64_t *ret_bytes,
    char ret_sha256[HN_SHA256_HEX], struct hn_error *err) {
    struct sink *s = hn_calloc(1, sizeof *s);
    if (!s)
        return hn_fail(err, HN_E_INTERNAL, "out of memory");
    s->limit = limit;
    s->fd = open(to, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    bool made = s->fd >= 0;
    int rc = made ? unpack(path, s, err) : hn_fail_errno(err, errno, "cannot create %s", to);
    if (made && close(s->fd) && !rc)
        rc = hn_fail_errno(err, errno, "cannot write %s", to);
    free(s);
    if (!rc)
        rc = hn_sha256_file(to, ret_sha256, ret_bytes, err);
    if (rc && made)
        unlink(to);
    return rc;
}

size_t hn_packed_size(const void *data, size_t size) {
    uLongf packed = compressBound(size);
    unsigned char *room = malloc(packed);
    if (!room || compress2(room, &packed, data, size, 6) != Z_OK)
        packed = 0;
    free(room);
    return packed;
}
