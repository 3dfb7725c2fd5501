/*
 * Uploaded files on their way into the library, whatever they came by.
 */
#ifndef HN_SERVER_LIBRARY_UPLOAD_H
#define HN_SERVER_LIBRARY_UPLOAD_H

#include "server/library/library.h"

struct hn_upload {
    const char *field;    /* of the submission that it stands for; may be NULL */
    const char *path;     /* below STATE/tmp */
    const char *sha256;   /* of its bytes */
    const char *filename; /* as the client calls it; may be NULL */
    uint64_t bytes;
};

/* What hn_dataset_import takes of it; the caller fills in the rest. `on_error`: NULL, "refuse",
 * "drop"; HN_E_INVALID_FIELD for other words, HN_E_DATASET_INVALID for an empty file. */
int hn_upload_source(const struct hn_upload *upload, const char *on_error,
    struct hn_dataset_source *ret, struct hn_error *err);

#endif
