/*
 * Python's string operations on values with origins, shared by filters and methods. Internal to
 * template*.c.
 */
#ifndef HN_ENGINE_TEMPLATE_STRINGS_H
#define HN_ENGINE_TEMPLATE_STRINGS_H

#include "engine/template/internal.h"

enum hn_case {
    HN_CASE_UPPER,
    HN_CASE_LOWER,
    HN_CASE_CAPITAL,
    HN_CASE_TITLE,
    HN_CASE_TITLE_WORDS,
    HN_CASE_SWAP
};
enum hn_class {
    HN_CLASS_LOWER,
    HN_CLASS_UPPER,
    HN_CLASS_DIGIT,
    HN_CLASS_ALPHA,
    HN_CLASS_ALNUM,
    HN_CLASS_SPACE
};

/* `chars` ABSENT or NONE: white space. */
struct hn_tpl_value hn_string_strip(struct hn_tpl_render *r, struct hn_tpl_value s,
    struct hn_tpl_value chars, bool left, bool right);
struct hn_tpl_value hn_string_case(
    struct hn_tpl_render *r, struct hn_tpl_value s, enum hn_case how);
bool hn_string_is(struct hn_tpl_render *r, struct hn_tpl_value s, enum hn_class what);
/* `items` is a LIST of STRINGs. */
struct hn_tpl_value hn_string_join(
    struct hn_tpl_render *r, struct hn_tpl_value glue, struct hn_tpl_value items);
/* limit < 0: all. */
struct hn_tpl_value hn_string_replace(struct hn_tpl_render *r, struct hn_tpl_value s,
    struct hn_tpl_value old, struct hn_tpl_value fresh, int64_t limit);
/* Like str.splitlines(keepends). */
struct hn_tpl_value hn_string_lines(struct hn_tpl_render *r, struct hn_tpl_value s, bool keep);
/* `separator` ABSENT or NONE: runs of white space. limit < 0: all. */
struct hn_tpl_value hn_string_split(struct hn_tpl_render *r, struct hn_tpl_value s,
    struct hn_tpl_value separator, int64_t limit, bool from_right);
/* [(key, value), …] */
struct hn_tpl_value hn_dict_items(struct hn_tpl_render *r, const struct hn_tpl_dict *dict);

#endif
