/*
 * Contents of files that were compared with their hash, so that what is hashed can be compared
 * whenever it is used: a file whose inode, size, mtime and ctime are what they were when it was
 * last read whole is not read again. Whatever else happens to a file moves its ctime; what happens
 * below the file system is found by the scrub (scrub.h).
 */
#ifndef HN_SERVER_BASE_SEEN_H
#define HN_SERVER_BASE_SEEN_H

#include "engine/engine.h"

struct hn_seen;

int hn_seen_create(struct hn_seen **ret, struct hn_error *err);
void hn_seen_destroy(struct hn_seen *seen);
/* The sha256 of an open regular file. `seen` NULL: always read whole. Any thread; `path` is only
 * for messages. */
int hn_seen_hash(
    struct hn_seen *seen, int fd, const char *path, char ret[HN_SHA256_HEX], struct hn_error *err);
/* Whether the regular file at `path` (no link) has these bytes: 0, HN_E_NOT_FOUND, or HN_E_CONFLICT
 * when they are others. Of a
 * folder the hash is the one that a model's record has (engine/formats/folder.h): of the lines
 * "<sha256>  <name>\n" of its files. */
int hn_seen_compare(
    struct hn_seen *seen, const char *path, const char *sha256, struct hn_error *err);
/* After a hard link to a file that was just compared was made or removed by us, which moved nothing
 * but its ctime. */
void hn_seen_linked(struct hn_seen *seen, const char *path);

#endif
