/*
 * Long passages that two sets of texts share: runs of eight words, of which six in a row (13 words)
 * or half of a text's own are a passage. What more than two texts of the one set have in common is
 * a template and does not count.
 */
#ifndef HN_ENGINE_INSIGHT_PASSAGES_H
#define HN_ENGINE_INSIGHT_PASSAGES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct hn_passages {           /* starts with zeros */
    struct hn_passage *places; /* [capacity] open addressing */
    size_t n, capacity;
    uint32_t *runs; /* [texts] runs of eight words of each */
    size_t texts, runs_capacity;
    bool full; /* there were too many: some are missing */
    uint64_t key;
};

/* Adds a plain text, the next one. false: out of memory. */
bool hn_passages_add(struct hn_passages *passages, const char *text, size_t size);
/* Whether the plain text has a passage of one of them: which, and how much of that one it has. */
bool hn_passages_find(const struct hn_passages *passages, const char *text, size_t size,
    uint32_t *ret_text, double *ret_share);
void hn_passages_finish(struct hn_passages *passages);

#endif
