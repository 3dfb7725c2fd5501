/* Bounds of a job's fields that the engine and the server both check. */
#ifndef HN_ENGINE_LIMITS_H
#define HN_ENGINE_LIMITS_H

/* Training data sets of one job, and the weight of each: how often an epoch sees each row. */
#define HN_DATASETS_MAX 16
#define HN_WEIGHT_MIN 0.001
#define HN_WEIGHT_MAX 100
/* Bytes of weights in one file of a merged folder, by default and at most. */
#define HN_SHARD_BYTES 5000000000LL
#define HN_SHARD_BYTES_MAX 9007199254740991LL
#define HN_VERIFY_ON_MAX 4 /* other precisions of the base that a result is tried on */

#endif
