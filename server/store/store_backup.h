/* The store as a whole, for backups and their check. `folder` is one of "datasets", "models",
 * "runs" below STATE; each name in it is a record's: a data set's sha256, a model's name, a job's
 * id. */
#ifndef HN_SERVER_STORE_STORE_BACKUP_H
#define HN_SERVER_STORE_STORE_BACKUP_H

#include "engine/engine.h"

struct hn_db;

/* Into a new file, as of one commit, while others write. */
int hn_db_copy(struct hn_db *db, const char *path, struct hn_error *err);
int hn_db_names(struct hn_db *db, const char *folder, json_t **ret, struct hn_error *err);
struct hn_forget {
    const char *folder, *name;
};
int hn_db_forget(struct hn_db *db, void *forget, struct hn_error *err); /* whatever else names it */
/* Makes the file of a store from before incremental vacuum one that can shrink, where much of it is
 * free or it is small. On the writing connection, outside a transaction. */
int hn_db_make_shrinkable(struct hn_db *db, struct hn_error *err);
/* Gives some free pages back to the disk; whether there are more. On the writing connection,
 * outside a transaction. */
bool hn_db_shrink(struct hn_db *db);
/* Looks at every page, not at what indexes say of tables: seconds where hn_db_check takes
 * minutes. */
int hn_db_quick_check(struct hn_db *db, struct hn_error *err);
/* Calls `each` with all that is wrong with the file and its references. */
int hn_db_check(
    struct hn_db *db, void (*each)(void *ud, const char *text), void *ud, struct hn_error *err);

#endif
