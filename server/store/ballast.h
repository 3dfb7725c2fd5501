/*
 * STATE/ballast: space that is taken while there is enough, and given back when a full disk would
 * not even let anything be deleted: a deletion first writes to the store's log.
 */
#ifndef HN_SERVER_STORE_BALLAST_H
#define HN_SERVER_STORE_BALLAST_H

#include "server/store/store.h"

#define HN_BALLAST_BYTES ((int64_t)16 << 20)

/* Makes it where it is missing and more than `reserve` bytes would stay free. */
void hn_ballast_take(const char *state, int64_t reserve);
/* hn_store_call for what deletes: when the disk is full, tokens of recent plans go first, then the
 * ballast, and it is tried again. */
int hn_ballast_call(
    const char *state, struct hn_store *store, hn_store_fn fn, void *arg, struct hn_error *err);

#endif
