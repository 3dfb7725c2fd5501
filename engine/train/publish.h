/* Artifacts of a finished run: written, read back, compared, published; see publish.c. */
#ifndef HN_ENGINE_TRAIN_PUBLISH_H
#define HN_ENGINE_TRAIN_PUBLISH_H

#include "engine/train/trainer.h"

/* Writes every export that the spec asks for into artifacts/ (by one rename), with manifest.json.
 * An export whose read-back does not give the trainer's logits is withheld with a warning;
 * HN_E_EXPORT_MISMATCH when none passes. */
int hn_publish_artifacts(struct hn_trainer *t, struct hn_error *err);

#endif
