/*
 * What many readers ask for again and again, kept as it was made: texts of records parsed (jobs of
 * one plan have most of theirs in common), and whole replies about a job as long as nothing was
 * committed since. Any thread.
 */
#ifndef HN_API_CACHE_H
#define HN_API_CACHE_H

#include "server/http/http.h"

/* The value of a JSON text; null for NULL and for what is none. New reference to a tree that others
 * read too: not to be changed. */
json_t *hn_kept_value(const char *text);

/* The reply about job `id` at that version of the store (hn_store_version); the caller frees it.
 * NULL: not kept. */
char *hn_kept_reply(const char *id, int64_t version);
void hn_keep_reply(const char *id, int64_t version, const char *text);

#endif
