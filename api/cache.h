/*
 * What many readers ask for again and again, kept as it was made: texts of records parsed (jobs of
 * one plan have most of theirs in common), and the texts of whole jobs, for one and for a page of
 * them, as long as nothing was committed since. Any thread.
 */
#ifndef HN_API_CACHE_H
#define HN_API_CACHE_H

#include "server/http/http.h"

/* A server's own (server.h). */
struct hn_kept;
int hn_kept_create(struct hn_kept **ret, struct hn_error *err);
void hn_kept_destroy(struct hn_kept *kept); /* NULL is harmless */

/* The value of a JSON text; null for NULL and for what is none. New reference to a tree that others
 * read too: not to be changed. */
json_t *hn_kept_value(struct hn_kept *kept, const char *text);

/* The text of job `id` at that version of the store (hn_store_version); the caller frees it.
 * NULL: not kept. */
char *hn_kept_reply(struct hn_kept *kept, const char *id, int64_t version);
void hn_keep_reply(struct hn_kept *kept, const char *id, int64_t version, const char *text);

#endif
