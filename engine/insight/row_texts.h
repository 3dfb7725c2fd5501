/* The texts of a row that are compared with other rows'. */
#ifndef HN_ENGINE_INSIGHT_ROW_TEXTS_H
#define HN_ENGINE_INSIGHT_ROW_TEXTS_H

#include "engine/base/buf.h"
#include "engine/base/error.h"
#include "engine/data/rows.h"

#include <jansson.h>

/*
 * All of them plain (row_set.h): without case, spaces and punctuation, but for labels, which are as
 * they are spelled. Starts with zeros; the memory is used again for the next row.
 */
struct hn_row_texts {
    struct hn_buf body;   /* what is asked and answered, without a conversation's system messages */
    struct hn_buf scope;  /* what a question is about: its context; else empty */
    struct hn_buf input;  /* what is asked (hn_row_input) */
    struct hn_buf answer; /* the answer, label, tags, or the answer that is preferred */
    struct hn_buf worse;  /* of a pair of answers the other one; else empty */
};

/* HN_E_INTERNAL when out of memory. */
int hn_row_texts_read(
    struct hn_row_texts *texts, enum hn_columns columns, const json_t *row, struct hn_error *err);
void hn_row_texts_finish(struct hn_row_texts *texts);
/* Whether rows of these columns have an answer or a label. */
bool hn_row_texts_answered(enum hn_columns columns);

#endif
