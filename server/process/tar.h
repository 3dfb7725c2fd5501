/*
 * A tar archive made while it is sent: nothing is written to disk, and memory does not grow with
 * the files.
 *
 * POSIX ustar with GNU's binary sizes beyond 8 GiB. The same files give the same bytes: sorted
 * names, no times, no owners.
 */
#ifndef HN_SERVER_PROCESS_TAR_H
#define HN_SERVER_PROCESS_TAR_H

#include "engine/engine.h"

struct hn_tar;

/* `files`: [{"path","size"}], relative to the folder `root` of the run directory; the archive has
 * these names. Missing files end it with an error at their place. */
int hn_tar_create(const char *run_dir, const char *root, const json_t *files, struct hn_tar **ret,
    struct hn_error *err);
/* The next bytes, 0 at the end, -1 when a file is missing or shorter than it should be. Blocks on
 * the disk. */
ssize_t hn_tar_read(struct hn_tar *tar, char *buf, size_t max);
void hn_tar_destroy(struct hn_tar *tar);

#endif
