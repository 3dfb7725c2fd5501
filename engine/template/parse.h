/*
 * The parser of chat templates, between template_expression.c and template_parse.c. Internal to
 * template*.c.
 *
 * Errors are sticky: once p->rc is set every function returns NULL or false and consumes nothing.
 */
#ifndef HN_ENGINE_TEMPLATE_PARSE_H
#define HN_ENGINE_TEMPLATE_PARSE_H

#include "engine/template/lex.h"

struct hn_parser {
    struct hn_template *tpl;
    struct hn_error *err;
    const struct hn_tpl_token *at;
    size_t symbols_capacity, nesting;
    int rc;
};

struct hn_tpl_node *hn_parse_fail(
    struct hn_parser *p, int code, const char *what, struct hn_view name);
struct hn_tpl_node *hn_parse_unexpected(struct hn_parser *p);
struct hn_tpl_node *hn_parse_node(struct hn_parser *p, enum hn_tpl_node_kind kind);
struct hn_tpl_node *hn_parse_name(struct hn_parser *p, struct hn_view name);
int32_t hn_parse_symbol(struct hn_parser *p, struct hn_view name);
/* one level of nesting; the caller counts p->nesting down */
bool hn_parse_enter(struct hn_parser *p);
bool hn_parse_is_op(const struct hn_parser *p, const char *op);
bool hn_parse_is_name(const struct hn_parser *p, const char *name);
bool hn_parse_skip_op(struct hn_parser *p, const char *op);
bool hn_parse_skip_name(struct hn_parser *p, const char *name);
void hn_parse_expect_op(struct hn_parser *p, const char *op);
struct hn_view hn_parse_expect_name(struct hn_parser *p);
/* Appends to a list whose last link is *tail; returns the new last link. */
struct hn_tpl_node **hn_parse_append(struct hn_tpl_node **tail, struct hn_tpl_node *item);

struct hn_tpl_node *hn_parse_expression(struct hn_parser *p);
/* A tuple without parentheses, or the one expression; `with_choice`: an inline if may stand in
 * it. */
struct hn_tpl_node *hn_parse_tuple(struct hn_parser *p, bool with_choice);
/* What stands behind "|", applied to `inner`. */
struct hn_tpl_node *hn_parse_filter(struct hn_parser *p, struct hn_tpl_node *inner);

#endif
