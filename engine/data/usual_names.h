/* Columns that have other names than ours, but such as people usually give them. */
#ifndef HN_ENGINE_DATA_USUAL_NAMES_H
#define HN_ENGINE_DATA_USUAL_NAMES_H

#include <jansson.h>
#include <stdbool.h>

/*
 * What the columns of `row` (its values do not matter) are by their names, whatever their case:
 * {"prompt":"Question","completion":"Answer"} or {"text":"message","label":"category"}, our name
 * and the file's. NULL where they do not say so, or say it twice: two columns that may be the text,
 * or one of another kind of row beside them. With `beside_text` only what adds a label to a column
 * called text. New reference.
 */
json_t *hn_usual_mapping(const json_t *row, bool beside_text);

#endif
