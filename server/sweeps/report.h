/* What the trials of a sweep say together, once it has ended. */
#ifndef HN_SERVER_SWEEPS_REPORT_H
#define HN_SERVER_SWEEPS_REPORT_H

#include "server/sweeps/next.h"
#include "server/server.h"

/*
 * {"best","indistinguishable","importance","importance_quantile","forecast","forecast_refused",
 *  "folds","ablation","seeds","saved","summary"}: new reference; members that the kind does not
 * have are null. *ret_best: the number of the best trial, -1 when none ended well. Waits for the
 * helper.
 */
int hn_sweep_report(struct hn_server *server, const struct hn_sweep *sweep,
    const struct hn_sweep_plan *plan, const struct hn_sweep_trials *trials, json_t **ret,
    int64_t *ret_best, struct hn_error *err);

/* Jobs that ended before the sweep, on its data and base, as its plan's "warm_start" asks. The
 * caller finishes it in every case. */
int hn_earlier_read(struct hn_db *db, const struct hn_sweep *sweep,
    const struct hn_sweep_plan *plan, struct hn_earlier *ret, struct hn_error *err);
void hn_earlier_finish(struct hn_earlier *earlier);

#endif
