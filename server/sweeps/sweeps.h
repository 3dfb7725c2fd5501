/*
 * Room server/sweeps. Experiments: sweeps, whose trials are ordinary jobs.
 *
 * Nouns: sweep, kind (of a sweep), space, trial, rung (a step at which a trial pauses), report
 *   (what the trials say together).
 * Ownership: The store is the state; what is here can be thrown away at any moment.
 * May include: engine engine/tune server/base server/jobs server/library server/process
 *   server/server.h server/store.
 */

/*
 * Sweeps: one thread looks, whenever the store tells that a job's state changed, at every sweep
 * that has not ended and does what comes next: submits a trial, promotes one, or ends the sweep
 * with its report.
 *
 * What comes next is a function of the store alone (trials.h), and a trial goes into the store in
 * one transaction with its job, under its number: so the death of anything costs nothing and makes
 * nothing twice, and with one trial at a time the same seed gives the same trials.
 */
#ifndef HN_SERVER_SWEEPS_SWEEPS_H
#define HN_SERVER_SWEEPS_SWEEPS_H

#include "server/jobs/submit.h"
#include "server/store/store_sweeps.h"

struct hn_server;
struct hn_sweeps;

/* Subscribes to the store and starts the thread. */
int hn_sweeps_start(struct hn_server *server, struct hn_sweeps **ret, struct hn_error *err);
/* Helpers must be stopped before, or it waits for their answers. NULL is harmless. */
void hn_sweeps_stop(struct hn_sweeps *sweeps);

/* Plans the request of POST /sweeps (plan.h) and takes it in; `ret_id` is its id. */
int hn_sweep_submit(struct hn_server *server, const struct hn_submitter *who, const json_t *request,
    char ret_id[HN_ID_SIZE], json_t **ret_details, struct hn_error *err);

/* "cancel", "pause" or "resume": of the sweep and of its jobs. */
int hn_sweep_ask(struct hn_server *server, const char *id, const char *verb, struct hn_error *err);

/* The sweep as the API shows it (contract section 8), with its trials as they are now. New
 * reference. */
int hn_sweep_json(
    struct hn_db *db, const struct hn_sweep *sweep, json_t **ret, struct hn_error *err);
/* Its trials: [{"number","job","role","settings","status","rung","value","why", …}], new
 * reference. */
int hn_sweep_trials_json(
    struct hn_db *db, const struct hn_sweep *sweep, json_t **ret, struct hn_error *err);

#endif
