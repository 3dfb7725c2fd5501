/*
 * Which store belongs to a state folder.
 *
 * The store has a random id, in its table `identity`, in STATE/store.json and in every file of
 * STATE/records/. A store that is missing, empty, damaged, older than the folders or of another
 * state folder must never be taken for the truth about them: whatever it does not know would look
 * like rubbish.
 */
#ifndef HN_SERVER_STORE_STORE_IDENTITY_H
#define HN_SERVER_STORE_STORE_IDENTITY_H

#include "server/store/store_db.h"

/* STATE/rebuilding is there while `honed rebuild` works: a store that it has not finished would
 * take the rest for rubbish. */
int hn_identity_rebuilding(const char *state, bool begins, struct hn_error *err);
/* Before hone.db is opened, which would create it: HN_E_CONFLICT when a rebuild was broken off, and
 * HN_E_CONFLICT when it is missing or has no bytes although data sets, models or runs are there. */
int hn_identity_expect(const char *state, struct hn_error *err);
/* After migrations, on the writing connection: compares the ids, gives both sides one where neither
 * has any, and refuses (HN_E_CONFLICT) a store that knows nothing of folders that are there, or
 * that another STATE/store.json belongs to. */
int hn_identity_check(struct hn_db *db, const char *state, struct hn_error *err);
/* Whether hone.db is there, sound, and the one of the folders beside it; *err says why not.
 * Migrates it, no more. Without other users of the folder. */
int hn_store_probe(const char *state, struct hn_error *err);
/* The id in the store; "" when it has none yet. */
int hn_db_identity(struct hn_db *db, char ret[HN_ID_SIZE], struct hn_error *err);
/* The id in STATE/store.json; "" when there is no such file. */
int hn_identity_file(const char *state, char ret[HN_ID_SIZE], struct hn_error *err);
/* Gives a store that has no id the folders' one. For a store that is made from the folders. */
int hn_identity_adopt(struct hn_db *db, const char *state, struct hn_error *err);
/* Whether a store could be the one of the folders: HN_E_CONFLICT says why not. Changes nothing. */
int hn_identity_matches(struct hn_db *db, const char *state, struct hn_error *err);
/* The greatest number that was ever given to a record of the kind ("datasets", "models", "runs");
 * 0: none. */
int hn_db_last_number(struct hn_db *db, const char *kind, int64_t *ret, struct hn_error *err);

#endif
