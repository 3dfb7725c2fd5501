/*
 * A text as the set of its shingles: all runs of five characters of its plain form, as 64-bit
 * hashes under a secret key.
 *
 * Runs of five characters, since rows are short: of a sentence of ten words with one word changed,
 * runs of three words have two thirds in common with neither, runs of characters most. The key
 * keeps a hostile file from bringing texts whose hashes collide.
 *
 * What stands in more than half of all rows (the template of a prompt) tells no row from another:
 * such shingles are common ones, and two texts are alike only as far as their others are, too.
 */
#ifndef HN_ENGINE_INSIGHT_SHINGLES_H
#define HN_ENGINE_INSIGHT_SHINGLES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define HN_SHINGLE_CHARACTERS 5

struct hn_shingles {  /* starts with zeros; the memory is used again */
    uint64_t *hashes; /* [n] in the text's order, with repetitions; never 0 */
    size_t n, capacity;
    unsigned shift; /* only hashes below 2^(64 - shift) are there */
};

/* The shingles of valid UTF-8; a shorter text is one shingle, an empty one none. Of a text longer
 * than a million bytes a sample by hash stands for all. false: out of memory. */
bool hn_shingles_read(
    struct hn_shingles *ret, const uint64_t key[2], const char *text, size_t size);
void hn_shingles_finish(struct hn_shingles *shingles);

/* Common shingles, found in a sample of texts. */
struct hn_shingle_counts {           /* starts with zeros */
    struct hn_shingle_count *places; /* [capacity] open addressing */
    size_t n, capacity;
    uint32_t texts;
};
/* Adds a text of the sample. */
bool hn_shingle_counts_add(struct hn_shingle_counts *counts, const struct hn_shingles *text);
/* Forgets those that are in no more than half of the texts. */
void hn_shingle_counts_end(struct hn_shingle_counts *counts);
bool hn_shingle_is_common(const struct hn_shingle_counts *counts, uint64_t hash);
void hn_shingle_counts_finish(struct hn_shingle_counts *counts);

/* Jaccard's index of two texts: of all their shingles, or of those that are not common, whichever
 * is less. */
struct hn_jaccard {   /* starts with zeros; the memory is used again */
    uint64_t *places; /* [capacity] */
    uint8_t *sides;   /* [capacity] */
    size_t capacity;
};
/* -1: out of memory. */
double hn_jaccard(struct hn_jaccard *room, const struct hn_shingle_counts *common,
    const struct hn_shingles *a, const struct hn_shingles *b);
void hn_jaccard_finish(struct hn_jaccard *room);

#endif
