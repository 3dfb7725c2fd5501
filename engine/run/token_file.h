/*
 * Token files: the tokenised rows of a run on disk, so that rows are tokenised once, however often
 * they are planned with and trained on, and take no memory but that of the pages in use.
 *
 * A file holds the training, validation and test rows as the arrays of struct hn_examples, in this
 * machine's byte order, behind a header that names what they were made from. It is a cache: whoever
 * misses it makes it again.
 */
#ifndef HN_ENGINE_RUN_TOKEN_FILE_H
#define HN_ENGINE_RUN_TOKEN_FILE_H

#include "engine/data/examples.h"
#include "engine/base/file.h"
#include "engine/run/spec.h"

#include <stdio.h>

enum hn_token_set { HN_TOKENS_TRAIN, HN_TOKENS_VALIDATION, HN_TOKENS_TEST, HN_TOKEN_SETS };

/* Hash of all that decides how a run's rows become tokens, but for max_length: a shorter one may
 * give the same. */
void hn_token_key(const struct hn_spec *spec, char ret[HN_SHA256_HEX]);

/* Maps the file and points the sets' arrays into it; hn_map_close after the last use of them. False
 * when there is no such file, or it was made from something else. */
bool hn_token_file_open(const char *path, const struct hn_spec *spec, struct hn_map *map,
    struct hn_examples *sets[HN_TOKEN_SETS], size_t *ret_dataset_bytes);

/* Writing, set by set in their order. Rows are handed over in pieces, so that memory stays
 * bounded. */
struct hn_token_writer {
    const char *path; /* borrowed */
    char tmp[4096];
    int fd;
    FILE *parts[HN_EXAMPLES_ARRAYS]; /* of the present set, in files without a name */
    size_t rows, tokens;             /* of the present set so far */
    uint64_t at;                     /* bytes written to the file */
    struct hn_token_header *header;
};
int hn_token_writer_begin(struct hn_token_writer *w, const char *path, struct hn_error *err);
/* Takes the rows that `ex` holds; it is then empty. A function for hn_examples_stream with the
 * writer as `user`. */
int hn_token_writer_add(void *writer, struct hn_examples *ex, struct hn_error *err);
/* The set is whole; its counts are those of `ex`. */
int hn_token_writer_end(
    struct hn_token_writer *w, enum hn_token_set set, struct hn_examples *ex, struct hn_error *err);
/* Makes the file appear under its name, durably. `dataset_bytes`: kept for the reader. */
int hn_token_writer_publish(struct hn_token_writer *w, const struct hn_spec *spec,
    size_t dataset_bytes, struct hn_error *err);
/* In every case; removes what was not published. */
void hn_token_writer_finish(struct hn_token_writer *w);

/* Removes the files of a folder that were used longest ago until at most `limit` bytes are left. */
void hn_token_files_trim(const char *folder, uint64_t limit);

#endif
