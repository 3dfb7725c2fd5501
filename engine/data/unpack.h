/* Compressed files (gzip, zstd, xz, bzip2), unpacked in bounded memory. */
#ifndef HN_ENGINE_DATA_UNPACK_H
#define HN_ENGINE_DATA_UNPACK_H

#include "engine/base/error.h"
#include "engine/base/file.h"

#include <stdbool.h>
#include <stdint.h>

/* Writes what `path` holds in compressed form to the new file `to`, at most `limit` bytes (0: any),
 * with its size and hash. HN_E_DATASET_INVALID: damaged, or an archive of several files;
 * HN_E_TOO_LARGE. `to` is removed on failure. */
int hn_unpack(const char *path, const char *to, uint64_t limit, uint64_t *ret_bytes,
    char ret_sha256[HN_SHA256_HEX], struct hn_error *err);
/* Bytes that deflate needs for the data, which are at most a few MiB; 0 when out of memory. */
size_t hn_packed_size(const void *data, size_t size);

#endif
