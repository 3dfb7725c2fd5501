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
/* Of predictions: inputs of a request, tokens of an answer where the request does not say, and the
 * bound of top_k. */
#define HN_INPUTS_MAX 1024
#define HN_MAX_TOKENS 256
#define HN_TOP_K_MAX (1 << 20)
/* Tokens of a row at most, where max_length is auto. */
#define HN_AUTO_MAX_LENGTH 2048
/* Tokens of a question with a piece of its context at least, where max_length is auto: what is
 * asked later may be longer than the training rows, and 384 is what SQuAD's models are trained
 * with. */
#define HN_AUTO_WINDOW 384
#define HN_VERIFY_ON_MAX 4 /* other precisions of the base that a result is tried on */

#endif
