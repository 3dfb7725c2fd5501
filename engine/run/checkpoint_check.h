#ifndef HN_ENGINE_RUN_CHECKPOINT_CHECK_H
#define HN_ENGINE_RUN_CHECKPOINT_CHECK_H

#include "engine/base/error.h"

/* Whether the files of a checkpoint (checkpoints/step-N/) have the bytes that its state.json
 * vouches for: HN_E_CONFLICT names the one that has not. Only hashes are compared; nothing of it
 * is interpreted. */
int hn_checkpoint_check_folder(const char *folder, struct hn_error *err);

#endif
