/*
 * How much of what rows say is new: of a fixed sample, since all such figures depend on how much
 * text they are of. Beside each stands what it is for the same words in random order, the most
 * diverse text that can be made of them.
 */
#ifndef HN_ENGINE_INSIGHT_DIVERSITY_H
#define HN_ENGINE_INSIGHT_DIVERSITY_H

#include "engine/base/buf.h"
#include "engine/base/error.h"

#include <jansson.h>

#define HN_DIVERSITY_BYTES ((size_t)1 << 20) /* of the sample */

struct hn_diversity {   /* starts with zeros */
    struct hn_buf text; /* texts of rows, plain, a line feed behind each */
    size_t rows;
};

/* Adds a text whose line feeds do not count; false once the sample is full. */
bool hn_diversity_add(struct hn_diversity *sample, const char *text, size_t size);
/* What the most frequent beginning of rows is, and how many have it. */
struct hn_opening {
    size_t rows;
    char text[160];
};
/* {name: {"value","reference","meaning"}}. New reference. */
int hn_diversity_json(const struct hn_diversity *sample, json_t **ret,
    struct hn_opening *ret_opening, struct hn_error *err);
void hn_diversity_finish(struct hn_diversity *sample);

#endif
