/*
 * rows.bin of a run directory: what each training row cost whenever it was trained on.
 *
 * A header, the row and line of every example, and for every kept epoch one record of fixed size an
 * example. A record has its place, so that steps that are computed again write the same bytes
 * there; what no step has reached yet reads as not trained. At most HN_ROWS_KEPT bytes: of more
 * epochs than fit, every second, third … is kept, from the first on. All little-endian; its bytes
 * depend on nothing but the run.
 */
#ifndef HN_ENGINE_RUN_ROW_FILE_H
#define HN_ENGINE_RUN_ROW_FILE_H

#include "engine/base/file.h"
#include "engine/graph/ops.h"
#include "engine/run/run.h"

#define HN_ROWS_FILE "rows.bin"
#define HN_ROWS_KEPT ((size_t)256 << 20)

struct hn_row_layout {
    enum hn_objective objective;
    size_t n_rows; /* examples: a row of the data may be several (windows, weights) */
    size_t batch_size, steps;
    uint64_t seed;
    size_t every, epochs; /* epochs 0, every, 2·every …: so many. 0: nothing is kept */
};

struct hn_row_record {
    float loss;              /* mean over its targets, as trained: dropout, smoothing */
    float worst;             /* tokens: the largest mean of 8 targets in a row */
    struct hn_choice choice; /* classes */
    bool trained;
};

/* For a planned run. */
void hn_row_layout_plan(struct hn_row_layout *ret, const struct hn_run *run);
size_t hn_row_layout_bytes(const struct hn_row_layout *layout);
/* How many steps an epoch has. */
size_t hn_row_layout_epoch(const struct hn_row_layout *layout);

/* For the trainer. */
struct hn_row_file {
    int fd;
    struct hn_row_layout layout;
};

/* Makes it, or goes on with one of the same layout. Owner calls hn_row_file_close. */
int hn_row_file_open(struct hn_row_file *ret, const char *run_dir,
    const struct hn_row_layout *layout, const struct hn_examples *ex, struct hn_error *err);
/* Nothing for epochs that are not kept. */
int hn_row_file_put(const struct hn_row_file *file, size_t epoch, size_t row,
    const struct hn_row_record *record, struct hn_error *err);
int hn_row_file_sync(const struct hn_row_file *file, struct hn_error *err);
void hn_row_file_close(struct hn_row_file *file);

/* For whoever reads it, also while it is written. */
struct hn_row_history {
    struct hn_map map;
    struct hn_row_layout layout;
};

/* Safe on any bytes: HN_E_INVALID_FIELD where it is no such file. Owner calls
 * hn_row_history_close. */
int hn_row_history_open(struct hn_row_history *ret, const char *path, struct hn_error *err);
void hn_row_history_close(struct hn_row_history *history);
/* Row among those of the training data sets together, and line in its file, of example `i`. */
size_t hn_row_history_row(const struct hn_row_history *history, size_t i);
size_t hn_row_history_line(const struct hn_row_history *history, size_t i);
/* Of example `i` in kept epoch number `k`. */
struct hn_row_record hn_row_history_get(const struct hn_row_history *history, size_t k, size_t i);

#endif
