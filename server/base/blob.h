/*
 * Sharing files without copying them: reflink where the file system can, hard link where it may,
 * copy otherwise.
 */
#ifndef HN_SERVER_BASE_BLOB_H
#define HN_SERVER_BASE_BLOB_H

#include "engine/engine.h"

enum hn_blob_way {
    HN_BLOB_PRIVATE, /* of a file that others may change: reflink, else hard link, else copy */
    /* of a file in our own keeping, or one that is open (hn_fd_path): hard link, else reflink, else
     * copy */
    HN_BLOB_SHARED,
    /* of a file that goes on growing: reflink, else copy, which may be written as the file may */
    HN_BLOB_OWN,
};
/* Makes `to` from the regular file `from`; never replaces. What is neither a hard link nor OWN
 * becomes read-only. */
int hn_blob_place(const char *from, const char *to, enum hn_blob_way way, struct hn_error *err);

#endif
