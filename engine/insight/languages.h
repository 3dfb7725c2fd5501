/*
 * The language of a text, by its script, and for the Latin and Cyrillic ones by the small words
 * that every sentence has. Only of texts that say enough: others have none.
 */
#ifndef HN_ENGINE_INSIGHT_LANGUAGES_H
#define HN_ENGINE_INSIGHT_LANGUAGES_H

#include <stddef.h>

#include <stdint.h>

#define HN_LANGUAGES_MAX 32
#define HN_LANGUAGE_WORDS 4096

/* Which languages have a word among their small ones. */
struct hn_language_table {
    struct {
        uint64_t hash;      /* 0: free */
        uint32_t languages; /* a bit each */
    } places[HN_LANGUAGE_WORDS];
};
void hn_language_table_init(struct hn_language_table *table);

/* Number of the language of a plain text (row_set.h), from 1; 0: it cannot be told. */
size_t hn_language_of(const struct hn_language_table *table, const char *text, size_t size);
/* "en"; "" for 0. */
const char *hn_language_name(size_t language);

#endif
