/*
 * Files: whole reads with a ceiling, durable writes, read-only maps, SHA-256.
 *
 * Durable means: written to `.tmp-…` beside the target, fsynced, renamed over it, the folder
 * fsynced. A reader sees the old file or the new one, never a part.
 */
#ifndef HN_ENGINE_BASE_FILE_H
#define HN_ENGINE_BASE_FILE_H

#include "engine/base/error.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Whole file, NUL-terminated behind *ret_size bytes; more than `ceiling` bytes is HN_E_TOO_LARGE.
 * Caller frees. */
int hn_file_read(
    const char *path, size_t ceiling, char **ret, size_t *ret_size, struct hn_error *err);
/* The same in pieces: begin opens the `.tmp-…` file for writing, commit makes it appear under its
 * name, or removes it when `rc` is not 0 or something fails. */
int hn_file_begin(
    const char *path, char *ret_tmp, size_t tmp_size, int *ret_fd, struct hn_error *err);
int hn_file_commit(int fd, const char *tmp, const char *path, int rc, struct hn_error *err);
int hn_file_write_durable(const char *path, const void *data, size_t size, struct hn_error *err);
/* fsync of a folder (or file) by path. */
int hn_file_sync(const char *path, struct hn_error *err);
/* fsync every file under `from` and the folders, rename `from` to `to` (replacing nothing), fsync
 * the parent of `to`.
 */
int hn_dir_publish(const char *from, const char *to, struct hn_error *err);
int hn_dir_create(const char *path, struct hn_error *err); /* mkdir -p, mode 0700 */
/* rm -rf; a missing folder is fine; follows no link */
int hn_dir_remove(const char *path, struct hn_error *err);
/* the same, but the folder itself stays */
int hn_dir_empty(const char *path, struct hn_error *err);
/* fsync of every file and folder in it, and of itself */
int hn_dir_sync(const char *path, struct hn_error *err);
/* All bytes written, EINTR and short writes handled; 0 or HN_E_*. */
int hn_write_all(int fd, const void *data, size_t size, struct hn_error *err);

struct hn_map {
    const uint8_t *data;
    size_t size;
};
/* Read-only private map of a regular file; an empty file is HN_E_INVALID_FIELD. */
int hn_map_open(struct hn_map *map, const char *path, struct hn_error *err);
void hn_map_close(struct hn_map *map);
/* Lets the system have the map's memory back; what is touched again is read from the file again. */
void hn_map_release(const struct hn_map *map);

#define HN_SHA256_SIZE 32
#define HN_SHA256_HEX 65
void *hn_sha256_begin(void); /* NULL when out of memory */
void hn_sha256_add(void *state, const void *data, size_t size);
/* frees state; ret_hex may be NULL to only free */
void hn_sha256_end(void *state, char ret_hex[HN_SHA256_HEX]);
void hn_sha256(const void *data, size_t size, char ret_hex[HN_SHA256_HEX]);
/* From the beginning of an open file, whose position is moved; `path` is for messages. */
int hn_sha256_fd(int fd, const char *path, char ret_hex[HN_SHA256_HEX], uint64_t *ret_size,
    struct hn_error *err);
int hn_sha256_file(
    const char *path, char ret_hex[HN_SHA256_HEX], uint64_t *ret_size, struct hn_error *err);

#endif
