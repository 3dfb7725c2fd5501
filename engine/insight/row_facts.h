/* What is kept of every row while rows are compared: keys of its texts (row_texts.h, row_set.h). */
#ifndef HN_ENGINE_INSIGHT_ROW_FACTS_H
#define HN_ENGINE_INSIGHT_ROW_FACTS_H

#include "engine/data/dataset.h"
#include "engine/insight/row_texts.h"

struct hn_row_facts {
    uint64_t content[2];    /* the row, all its columns */
    uint64_t input[2];      /* what is asked */
    uint64_t body[2];       /* what near duplicates are compared by */
    uint64_t scope[2];      /* of a question: its context; else zeros */
    uint64_t answer, worse; /* 0: there is none */
    bool blank;             /* nothing stands in its body */
};

struct hn_row_set_facts {
    const struct hn_dataset *data;
    const size_t *rows;         /* [n] rows of it that are looked at; NULL: its first n */
    struct hn_row_facts *facts; /* [n] */
    size_t n;
};

/* Of a parsed row, whose labels become texts; `texts` is filled. */
int hn_row_facts_of(struct hn_row_facts *ret, struct hn_row_texts *texts, enum hn_columns columns,
    json_t *row, struct hn_error *err);
/* Reads rows[n] of the data set (its first n: NULL); `facts` is the caller's to free. */
int hn_row_set_facts_read(struct hn_row_set_facts *ret, const struct hn_dataset *data,
    const size_t *rows, size_t n, struct hn_error *err);
static inline size_t hn_row_set_facts_row(const struct hn_row_set_facts *set, size_t i) {
    return set->rows ? set->rows[i] : i;
}

#endif
