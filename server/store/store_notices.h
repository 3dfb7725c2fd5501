/*
 * Notices of ended jobs to their notify_url: written in the transaction that ends the job, kept
 * until they are delivered or given up. server/hooks delivers them.
 */
#ifndef HN_SERVER_STORE_STORE_NOTICES_H
#define HN_SERVER_STORE_STORE_NOTICES_H

#include "server/store/store.h"

/* Inside the transaction that gave the job its last status: its notice, where it asks for one. */
int hn_db_notice_add(struct hn_db *db, int64_t job, const char *status, struct hn_error *err);

/* Texts are borrowed while `each` runs. */
struct hn_notice_due {
    int64_t n, attempts, created_ms;
    const char *id, *url, *host, *body;
};
/* Those due at `now`, the oldest of each host, but of none in the array of names `busy`; at most
 * `limit`. */
int hn_db_notices_due(struct hn_db *db, int64_t now, const json_t *busy, int64_t limit,
    void (*each)(void *ud, const struct hn_notice_due *notice), void *ud, struct hn_error *err);
/* When the next one that waits is due; INT64_MAX when none waits. */
int hn_db_notices_next(
    struct hn_db *db, const json_t *busy, int64_t *ret_due_ms, struct hn_error *err);

struct hn_notice_attempt {
    int64_t n;
    const char *state;   /* "waiting", "delivered" or "given_up" */
    int64_t status;      /* of the answer; 0: there was none */
    const char *message; /* what went wrong, or NULL */
    int64_t due_ms;      /* of the next attempt, while it waits */
};
/* Called inside hn_store_call. One that is given up leaves a warning in the job. */
int hn_db_notice_attempted(struct hn_db *db, void *attempt, struct hn_error *err);

#endif
