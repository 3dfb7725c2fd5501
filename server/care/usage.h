/*
 * What the state folder takes on the disk, by kind. A file that is linked from two places counts
 * where it belongs: a run's inputs are the library's.
 */
#ifndef HN_SERVER_CARE_USAGE_H
#define HN_SERVER_CARE_USAGE_H

#include "server/base/state.h"

enum hn_usage_kind {
    HN_USAGE_DATASETS,
    HN_USAGE_MODELS,
    HN_USAGE_RUNS,
    HN_USAGE_EXPORTS,
    HN_USAGE_EVALUATIONS,
    HN_USAGE_TOKENS,
    HN_USAGE_LOST,
    HN_USAGE_STORE,
    HN_USAGE_OTHER,
    HN_USAGE_KINDS
};

struct hn_usage {
    int64_t bytes[HN_USAGE_KINDS];
};

const char *hn_usage_name(enum hn_usage_kind kind);
/* Walks the whole folder: seconds where there are very many jobs. Blocks. */
void hn_usage_read(const char *state, struct hn_usage *ret);
/* Bytes on the disk of a file or of all below a folder, without what is linked elsewhere. */
int64_t hn_usage_of(const char *path);

#endif
