/*
 * The state folder: where everything is, and the lock that admits one daemon.
 *
 *   STATE/lock  hone.db  store.json  datasets/<sha256>/data  models/<name>/…  runs/<job id>/
 *   records/<kind>/<name>.json  evaluations/<id>/  reports/  tmp/  tokens/  lost+found/  ballast
 *   notify_secret
 *
 * tmp/ holds uploads that are still arriving and what the helper makes; it is emptied at start, so
 * a refused or broken upload leaves nothing. models/.tmp-… are models that are just being imported.
 * reports/ holds what was found in data sets (server/library/reports.h); a name begins with their
 * sha256. tokens/ holds tokenised rows of recent plans (engine/run/token_file.h) and is emptied
 * whenever a data set is deleted: one can read the texts in them.
 */
#ifndef HN_SERVER_BASE_STATE_H
#define HN_SERVER_BASE_STATE_H

#include "engine/engine.h"

#define HN_PATH_SIZE 4096

/* Whether the path can be a state folder's, there or not. */
int hn_state_check(const char *state, struct hn_error *err);
/* Creates the folders (0700). */
int hn_state_create(const char *state, struct hn_error *err);
/* Takes STATE/lock for the life of the returned descriptor; HN_E_CONFLICT when another daemon has
 * it. */
int hn_state_lock(const char *state, int *ret_fd, struct hn_error *err);
/* Removes what earlier uploads, imports and plans left. Only for the holder of the lock. */
void hn_state_sweep(const char *state);
void hn_state_forget_tokens(const char *state); /* empties tokens/ */
/* Removes reports about a file of the library; whether a name in reports/ is one's. */
void hn_state_forget_reports(const char *state, const char *sha256);
bool hn_state_is_report(const char *name);
/* Joins up to three parts below STATE ("runs", id, "lock"); NULL parts end. False when the path is
 * too long. */
bool hn_state_path(
    char ret[HN_PATH_SIZE], const char *state, const char *a, const char *b, const char *c);

#endif
