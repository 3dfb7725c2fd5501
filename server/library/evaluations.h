/*
 * Evaluations that were made: STATE/evaluations/<id>/ with evaluation.json, the answer as it was
 * given, rows.jsonl, every row with what was predicted, and scores.bin, what each row scored
 * (engine/eval/scores.h). Of each owner the newest are kept, by number and by bytes.
 */
#ifndef HN_SERVER_LIBRARY_EVALUATIONS_H
#define HN_SERVER_LIBRARY_EVALUATIONS_H

#include "server/base/id.h"
#include "server/base/state.h"

#define HN_EVALUATION_SCORES "scores.bin"
#define HN_EVALUATIONS_KEPT 100
#define HN_EVALUATIONS_BYTES ((int64_t)1 << 30)

/* Moves the folder to its place with `answer` beside what it holds; the oldest make room. */
int hn_evaluation_keep(
    const char *state, const char *id, const char *dir, const json_t *answer, struct hn_error *err);
/* Removes those from before `limit` (seconds since 1970), the oldest first, until `bytes` are
 * freed; what they took. */
int64_t hn_evaluations_expire(const char *state, int64_t limit, int64_t bytes, const char *why);
/* All answers that are kept, the newest first. New reference. */
json_t *hn_evaluation_list(const char *state);
/* One answer as it is kept. New reference; HN_E_NOT_FOUND. */
int hn_evaluation_load(const char *state, const char *id, json_t **ret, struct hn_error *err);
int hn_evaluation_missing(const char *id, struct hn_error *err); /* HN_E_NOT_FOUND */
/* The path of a file of it, or of its folder (file NULL). HN_E_NOT_FOUND. */
int hn_evaluation_path(const char *state, const char *id, const char *file, char ret[HN_PATH_SIZE],
    struct hn_error *err);

#endif
