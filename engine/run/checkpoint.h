/*
 * Checkpoints: checkpoints/step-NNNNNN/{state.safetensors,state.json}, everything a run needs to go
 * on exactly: the trainable parameters, AdamW's moments, and the counters of struct hn_progress.
 * Random numbers and the data's order are functions of the step (rng.h), so nothing else is state.
 * Published by rename after fsync: a checkpoint is whole or absent.
 */
#ifndef HN_ENGINE_RUN_CHECKPOINT_H
#define HN_ENGINE_RUN_CHECKPOINT_H

#include "engine/run/checkpoint_check.h"
#include "engine/run/params.h"

#include <jansson.h>

enum { HN_COMPUTED_BY = 320 };

/* State between two steps. */
struct hn_progress {
    size_t step;                       /* steps done */
    uint64_t tokens, target_tokens;    /* cumulative */
    double window_loss, window_weight; /* since the last row of the metrics */
    uint64_t window_tokens;
    /* of the best evaluation, with its value and its loss; has_best false before the first */
    size_t best_step;
    double best_value, best_loss;
    bool has_best;
    size_t evaluations_since_best;
    double val_kl; /* of the last evaluation; 0: not measured */
    /* build and kernels of the last step: other ones give other bits */
    char computed_by[HN_COMPUTED_BY];
    bool kernels_changed; /* some earlier step was computed by others */
};

int hn_checkpoint_write(const char *run_dir, const struct hn_params *params,
    const struct hn_progress *progress, const char *run_sha256, struct hn_error *err);
/* Bytes of a published checkpoint's parameters and moments; 0 when it is gone. */
uint64_t hn_checkpoint_bytes(const char *run_dir, size_t step);
/* Whether both files of a checkpoint have the bytes that state.json vouches for: HN_E_CONFLICT
 * names the one that has not. */
int hn_checkpoint_check(const char *run_dir, size_t step, struct hn_error *err);
int hn_checkpoint_remove(const char *run_dir, size_t step, struct hn_error *err);
/* What state.json says alone, without a look at the tensors. */
int hn_checkpoint_read_progress(const char *run_dir, size_t step, struct hn_progress *ret,
    const char *run_sha256, struct hn_error *err);
/* Reads one that hn_checkpoint_check finds whole; moments only when params has them. One of another
 * run is refused. */
int hn_checkpoint_read(const char *run_dir, size_t step, struct hn_params *params,
    struct hn_progress *ret, const char *run_sha256, struct hn_error *err);
/* The trained values alone, from a state.safetensors of any run that trains the same matrices
 * (init_from): into params->values, or only checked when `check_only`. HN_E_CONFLICT names what
 * differs. */
int hn_checkpoint_read_values(
    const char *file, struct hn_params *params, bool check_only, struct hn_error *err);
/* Steps of the published checkpoints, ascending; caller frees *ret. Leftovers of unfinished writes
 * are removed. */
int hn_checkpoint_list(const char *run_dir, size_t **ret, size_t *ret_n, struct hn_error *err);
/* Removes all but the newest `keep`, the best and the newest at all. */
int hn_checkpoint_prune(const char *run_dir, size_t keep, size_t best_step, struct hn_error *err);

#endif
