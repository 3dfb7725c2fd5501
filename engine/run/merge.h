/* The finished model's weights, row by row: trained values, or the base's with the adapter
 * added. */
#ifndef HN_ENGINE_RUN_MERGE_H
#define HN_ENGINE_RUN_MERGE_H

#include "engine/run/params.h"
#include "engine/run/run.h"

/* out[cols] = row of the weight in the engine's order: its trained values, else W + s·B·A (see
 * adapter.h). */
void hn_merged_row(const struct hn_run *run, const struct hn_params *params,
    const struct hn_weight *weight, size_t row, float *out);

#endif
