/* Rows that are equal, nearly equal, or contradict each other, within a data set and across two. */
#ifndef HN_ENGINE_INSIGHT_DUPLICATES_H
#define HN_ENGINE_INSIGHT_DUPLICATES_H

#include "engine/insight/near.h"
#include "engine/insight/row_facts.h"

#define HN_ROW_NONE UINT32_MAX

enum hn_row_state {
    HN_ROW_FRESH,
    HN_ROW_EXACT,  /* `other` is the first row with the same content */
    HN_ROW_NEAR,   /* `other` is nearly the same, and the row is not the first of its cluster */
    HN_ROW_SIMILAR /* `other` is less alike: reported, never taken for a duplicate */
};

/* What was found of one row. */
struct hn_row_match {
    enum hn_row_state state;
    float similarity;
    uint32_t other; /* place in the set it was found in, or HN_ROW_NONE */
};

struct hn_duplicates {
    struct hn_row_match *own;   /* [n] against the rows before it in its own set */
    struct hn_row_match *leaks; /* [n] against the other set; NULL: there is none */
    uint32_t *contradicts;      /* [n] a row of the same input with another answer */
    uint32_t *cluster;          /* [n] first row of its cluster, or itself */
    size_t hashes;              /* as in near.h */
    bool cut;
};

struct hn_duplicates_request {
    const struct hn_row_set_facts *own, *other; /* other: NULL, or the rows that may have leaked */
    bool no_near;                               /* exact ones and contradictions are enough */
    int (*progress)(void *context, double done, struct hn_error *err); /* as in near.h */
    void *context;
};

/* All numbers in it are places in the sets, not rows. Call hn_duplicates_finish in every case. */
int hn_duplicates_find(
    struct hn_duplicates *ret, const struct hn_duplicates_request *request, struct hn_error *err);
void hn_duplicates_finish(struct hn_duplicates *duplicates);
/* Bytes of memory that rows of both sets need while they are compared. */
size_t hn_duplicates_plan(size_t rows, size_t *ret_hashes);

#endif
