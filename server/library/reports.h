/*
 * Reports on data sets (engine/insight): made by a helper of their own, one at a time, since a
 * large one takes minutes; whoever asks is told how far it is. A finished one is kept in
 * STATE/reports/ by the contents that it is about, so that the same question is answered once, and
 * goes with the data set. One that nobody asks for any more is given up.
 */
#ifndef HN_SERVER_LIBRARY_REPORTS_H
#define HN_SERVER_LIBRARY_REPORTS_H

#include "server/base/loop.h"
#include "server/library/library.h"

#define HN_REPORTS_KEPT 200 /* files; the oldest go */
#define HN_REPORTS_BYTES ((int64_t)256 << 20)

struct hn_reports;

struct hn_report_question {
    const json_t *data, *other, *model; /* records; other and model may be NULL */
    const struct hn_asker *asker;
    int64_t wait_ms; /* for the report, before it is said how far it is */
};

int hn_reports_create(const char *state, struct hn_loop *loop, struct hn_helper *helper,
    struct hn_reports **ret, struct hn_error *err);
/* After the loop's work has ended. */
void hn_reports_destroy(struct hn_reports *reports);
/* *ret is the report, or NULL where it is not ready: then *ret_progress is {"status":"running",
 * "progress","plan"}. New references. Blocks for wait_ms at most. */
int hn_report_ask(struct hn_reports *reports, const struct hn_report_question *question,
    json_t **ret, json_t **ret_progress, json_t **ret_details, struct hn_error *err);

#endif
