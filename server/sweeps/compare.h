/* Results on the same validation rows side by side: the helper's "compare" (engine.h). */
#ifndef HN_SERVER_SWEEPS_COMPARE_H
#define HN_SERVER_SWEEPS_COMPARE_H

#include "server/process/helper.h"
#include "server/server.h"

struct hn_compared {
    const char *job;
    int64_t step;           /* of the evaluation in its run */
    const char *evaluation; /* or the id of one that was asked for (library/evaluations.h) of `job`,
                             * which may be the name of a base model then */
};

/* {"rows","metric","results","pairs"}, new reference; a result names its evaluation, where
 * there is one. HN_E_CONFLICT when they were measured on
 * other rows, HN_E_NOT_FOUND when a run keeps no scores of that step. Waits for the helper. */
int hn_compare_runs(struct hn_server *server, const struct hn_asker *asker,
    const struct hn_compared *runs, size_t n, const char *metric, json_t **ret,
    struct hn_error *err);
/* Of such an answer the pair of these two, as "a minus b"; false: there is none. */
struct hn_compared_pair {
    double difference, low, high; /* with its 95 % interval */
    double p, adjusted;           /* adjusted: for all pairs of the comparison (Holm) */
};
bool hn_compared_pair(
    const json_t *compared, const char *a, const char *b, struct hn_compared_pair *ret);
/* The rows of all folds together: {"rows","metric","value","interval","folds"}; with `rows_to`, a
 * new file, each row as a line of JSON, with these names of its labels (NULL: their numbers), in
 * the order of the folds or those first that the model is least of one mind with. */
int hn_compare_folds(struct hn_server *server, const struct hn_asker *asker,
    const struct hn_compared *runs, size_t n, const char *metric, const char *rows_to,
    bool suspects_first, const json_t *labels, json_t **ret, struct hn_error *err);

#endif
