/*
 * Rows of a data set: which columns make which kind of row, whether a row is sound, and the row
 * under our own names.
 *
 * A layout is a set of columns that is recognised: the contract's seven kinds of rows, and two
 * spellings of conversations that are in wide use (Alpaca's instruction/input/output, ShareGPT's
 * conversations), which are turned into messages. Internal to dataset*.c, but for the names of
 * tasks.
 */
#ifndef HN_ENGINE_DATA_ROWS_H
#define HN_ENGINE_DATA_ROWS_H

#include "engine/base/error.h"
#include "engine/data/issues.h"

#include <stdbool.h>

enum hn_columns { /* what a row consists of */
    HN_ROWS_MESSAGES,
    HN_ROWS_PROMPT_COMPLETION,
    HN_ROWS_TEXT,
    HN_ROWS_TEXT_LABEL,
    HN_ROWS_QA,
    HN_ROWS_TOKENS_TAGS,
    HN_ROWS_PREFERENCE,
};

struct hn_layout;

/* Where the row being checked stands, and where its problems go. */
struct hn_row_place {
    struct hn_issues *issues;
    size_t line;
};

/* Checks the mapping given by a person: known names on the left, strings on the right. */
int hn_layout_check_mapping(const json_t *columns, struct hn_error *err);
/* Whether some layout has a column of this name. */
bool hn_layout_knows(const char *name);
/* The layout of a row by its columns, or NULL. `mapping` may be NULL. */
const struct hn_layout *hn_layout_find(const json_t *row, const json_t *mapping);
const char *hn_layout_title(const struct hn_layout *layout); /* "prompt and completion" */
enum hn_columns hn_layout_columns(const struct hn_layout *layout);
const char *const *hn_layout_tasks(const struct hn_layout *layout);
/* Our name → the file's, for the columns that this row has. */
json_t *hn_layout_mapping(const struct hn_layout *layout, const json_t *row, const json_t *mapping);
/* True when the row can be used; otherwise its problems were added to place->issues. */
bool hn_layout_check(const struct hn_layout *layout, const json_t *row, const json_t *mapping,
    const struct hn_row_place *place);
/* The row under our names; new reference, NULL when out of memory. `row` was checked. */
json_t *hn_layout_convert(const struct hn_layout *layout, const json_t *row, const json_t *mapping);
/* A list of messages from a request, checked and with its contents as texts: new reference. */
int hn_messages_read(const json_t *messages, json_t **ret, struct hn_error *err);

#endif
