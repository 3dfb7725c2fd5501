/*
 * Tokens of a chat template → tree: statements, one function each and one row each in a table;
 * expressions are template_expression.c. Statements that reach outside the template (include,
 * import, extends, block) are refused by name.
 */
#include "engine/template/parse.h"

#include <stdlib.h>
#include <string.h>

static struct hn_tpl_node *parse_body(struct hn_parser *p, const char *const *ends);

/* Names to assign to: one, or several with commas, perhaps in parentheses; `ns.name` where
 * allowed. */
static struct hn_tpl_node *parse_target(struct hn_parser *p, bool with_namespace) {
    bool parentheses = hn_parse_skip_op(p, "(");
    struct hn_tpl_node *first = hn_parse_name(p, hn_parse_expect_name(p)),
                       **tail = first ? &first->next : &first;
    if (with_namespace && first && hn_parse_skip_op(p, ".")) {
        struct hn_tpl_node *n = hn_parse_node(p, HN_N_ATTRIBUTE);
        if (n) {
            n->a = first;
            n->name = hn_parse_expect_name(p);
        }
        return n;
    }
    if (hn_parse_is_op(p, ",")) {
        struct hn_tpl_node *n = hn_parse_node(p, HN_N_LIST);
        while (hn_parse_skip_op(p, ",") && p->at->kind == HN_T_NAME && !hn_parse_is_name(p, "in"))
            tail = hn_parse_append(tail, hn_parse_name(p, hn_parse_expect_name(p)));
        if (n)
            n->list = first;
        first = n;
    }
    if (parentheses)
        hn_parse_expect_op(p, ")");
    return first;
}

static void end_tag(struct hn_parser *p) {
    if (p->rc)
        return;
    if (p->at->kind == HN_T_BLOCK_END)
        p->at++;
    else
        hn_parse_unexpected(p);
}

/* Body up to {% word %}, which is consumed. */
static struct hn_tpl_node *parse_block(struct hn_parser *p, const char *word) {
    const char *const ends[] = {word, NULL};
    end_tag(p);
    struct hn_tpl_node *body = parse_body(p, ends);
    hn_parse_skip_name(p, word);
    end_tag(p);
    return body;
}

static struct hn_tpl_node *parse_if(struct hn_parser *p) {
    static const char *const ends[] = {"elif", "else", "endif", NULL};
    struct hn_tpl_node *n = hn_parse_node(p, HN_S_IF);
    if (!n || !hn_parse_enter(p))
        return NULL;
    n->a = hn_parse_tuple(p, true);
    end_tag(p);
    n->list = parse_body(p, ends);
    if (hn_parse_skip_name(p, "elif")) {
        n->flag = true; /* `other` is one IF that goes on with this one */
        n->other = parse_if(p);
    } else if (hn_parse_skip_name(p, "else")) {
        n->other = parse_block(p, "endif");
    } else if (hn_parse_skip_name(p, "endif")) {
        end_tag(p);
    }
    p->nesting--;
    return n;
}

static struct hn_tpl_node *parse_for(struct hn_parser *p) {
    static const char *const ends[] = {"else", "endfor", NULL};
    struct hn_tpl_node *n = hn_parse_node(p, HN_S_FOR);
    if (!n)
        return NULL;
    n->a = parse_target(p, false);
    if (!hn_parse_skip_name(p, "in"))
        return hn_parse_unexpected(p);
    n->b = hn_parse_tuple(p, false);
    if (hn_parse_skip_name(p, "if"))
        n->c = hn_parse_expression(p);
    if (hn_parse_is_name(p, "recursive"))
        return hn_parse_fail(p, HN_E_UNSUPPORTED, "a loop marked ", p->at->text);
    end_tag(p);
    n->list = parse_body(p, ends);
    n->symbol = hn_parse_symbol(p, (struct hn_view){"loop", 4});
    if (hn_parse_skip_name(p, "else")) {
        n->other = parse_block(p, "endfor");
    } else if (hn_parse_skip_name(p, "endfor")) {
        end_tag(p);
    }
    return n;
}

/* The chain behind {% filter %} and {% set x | … %}; its innermost value is the block's text. */
static struct hn_tpl_node *parse_chain(struct hn_parser *p, bool need_pipe) {
    struct hn_tpl_node *n = hn_parse_node(p, HN_N_NAME);
    if (n)
        n->symbol = -1;
    if (!need_pipe)
        n = hn_parse_filter(p, n);
    while (hn_parse_skip_op(p, "|"))
        n = hn_parse_filter(p, n);
    return n;
}

static struct hn_tpl_node *parse_set(struct hn_parser *p) {
    struct hn_tpl_node *n = hn_parse_node(p, HN_S_SET);
    if (!n)
        return NULL;
    n->a = parse_target(p, true);
    if (hn_parse_skip_op(p, "=")) {
        n->b = hn_parse_tuple(p, true);
        end_tag(p);
        return n;
    }
    n->kind = HN_S_SET_BLOCK;
    n->b = parse_chain(p, true);
    n->list = parse_block(p, "endset");
    return n;
}

/* Parameters with their defaults: NAME nodes whose a is the default. */
static struct hn_tpl_node *parse_parameters(struct hn_parser *p) {
    struct hn_tpl_node *first = NULL, **tail = &first;
    hn_parse_expect_op(p, "(");
    while (!p->rc && !hn_parse_is_op(p, ")")) {
        if (first)
            hn_parse_expect_op(p, ",");
        struct hn_tpl_node *param = hn_parse_name(p, hn_parse_expect_name(p));
        if (param && hn_parse_skip_op(p, "="))
            param->a = hn_parse_expression(p);
        tail = hn_parse_append(tail, param);
    }
    hn_parse_expect_op(p, ")");
    return first;
}

static struct hn_tpl_node *parse_macro(struct hn_parser *p) {
    struct hn_tpl_node *n = hn_parse_node(p, HN_S_MACRO);
    if (!n)
        return NULL;
    n->name = hn_parse_expect_name(p);
    n->symbol = hn_parse_symbol(p, n->name);
    n->a = parse_parameters(p);
    n->list = parse_block(p, "endmacro");
    return n;
}

static struct hn_tpl_node *parse_call_block(struct hn_parser *p) {
    struct hn_tpl_node *n = hn_parse_node(p, HN_S_CALL);
    if (!n)
        return NULL;
    if (hn_parse_is_op(p, "("))
        n->b = parse_parameters(p);
    n->a = hn_parse_expression(p);
    if (n->a && n->a->kind != HN_N_CALL)
        return hn_parse_unexpected(p);
    n->list = parse_block(p, "endcall");
    return n;
}

static struct hn_tpl_node *parse_filter_block(struct hn_parser *p) {
    struct hn_tpl_node *n = hn_parse_node(p, HN_S_FILTER);
    if (n) {
        n->a = parse_chain(p, false);
        n->list = parse_block(p, "endfilter");
    }
    return n;
}

static struct hn_tpl_node *parse_with(struct hn_parser *p) {
    struct hn_tpl_node *n = hn_parse_node(p, HN_S_WITH), **tail = n ? &n->a : NULL;
    while (!p->rc && p->at->kind != HN_T_BLOCK_END) {
        if (n->a)
            hn_parse_expect_op(p, ",");
        struct hn_tpl_node *set = hn_parse_node(p, HN_S_SET);
        if (!set)
            return NULL;
        set->a = parse_target(p, false);
        hn_parse_expect_op(p, "=");
        set->b = hn_parse_expression(p);
        tail = hn_parse_append(tail, set);
    }
    if (n)
        n->list = parse_block(p, "endwith");
    return n;
}

static struct hn_tpl_node *parse_generation(struct hn_parser *p) {
    struct hn_tpl_node *n = hn_parse_node(p, HN_S_SCOPE);
    if (n)
        n->list = parse_block(p, "endgeneration");
    return n;
}

static struct hn_tpl_node *parse_print(struct hn_parser *p) {
    struct hn_tpl_node *n = hn_parse_node(p, HN_S_PRINT);
    if (n)
        n->a = hn_parse_tuple(p, true);
    end_tag(p);
    return n;
}

static struct hn_tpl_node *parse_break(struct hn_parser *p) {
    struct hn_tpl_node *n = hn_parse_node(p, HN_S_BREAK);
    end_tag(p);
    return n;
}

static struct hn_tpl_node *parse_continue(struct hn_parser *p) {
    struct hn_tpl_node *n = hn_parse_node(p, HN_S_CONTINUE);
    end_tag(p);
    return n;
}

static const struct {
    const char *word;
    struct hn_tpl_node *(*parse)(struct hn_parser *p);
} statements[] = {
    {"if", parse_if},
    {"for", parse_for},
    {"set", parse_set},
    {"macro", parse_macro},
    {"call", parse_call_block},
    {"filter", parse_filter_block},
    {"with", parse_with},
    {"generation", parse_generation},
    {"print", parse_print},
    {"break", parse_break},
    {"continue", parse_continue},
};

static struct hn_tpl_node *parse_statement(struct hn_parser *p) {
    for (size_t i = 0; i < sizeof statements / sizeof statements[0]; i++)
        if (hn_parse_skip_name(p, statements[i].word)) {
            struct hn_tpl_node *n = hn_parse_enter(p) ? statements[i].parse(p) : NULL;
            p->nesting--;
            return n;
        }
    if (p->at->kind != HN_T_NAME)
        return hn_parse_unexpected(p);
    if (p->at->text.size > 3 && memcmp(p->at->text.data, "end", 3) == 0)
        return hn_parse_unexpected(p);
    return hn_parse_fail(p, HN_E_UNSUPPORTED, "the statement ", p->at->text);
}

static bool at_end(const struct hn_parser *p, const char *const *ends) {
    for (; ends && *ends; ends++)
        if (hn_parse_is_name(p, *ends))
            return true;
    return false;
}

/* Nodes up to a block whose word is one of `ends`; the parser then stands on it. NULL: up to the
 * source's end. */
static struct hn_tpl_node *parse_body(struct hn_parser *p, const char *const *ends) {
    struct hn_tpl_node *first = NULL, **tail = &first;
    while (!p->rc) {
        const struct hn_tpl_token *t = p->at;
        if (t->kind == HN_T_END) {
            while (ends && ends[1])
                ends++; /* the last one closes the block, those before only divide it */
            if (ends)
                hn_parse_fail(p, HN_E_MODEL_INVALID, "a block is never closed by ",
                    (struct hn_view){ends[0], strlen(ends[0])});
            break;
        }
        p->at++;
        if (t->kind == HN_T_DATA) {
            struct hn_tpl_node *n = hn_parse_node(p, HN_S_TEXT);
            if (n)
                n->value = hn_string(t->text.data, t->text.size);
            tail = hn_parse_append(tail, n);
        } else if (t->kind == HN_T_PRINT_BEGIN) {
            struct hn_tpl_node *n = hn_parse_node(p, HN_S_PRINT);
            if (n)
                n->a = hn_parse_tuple(p, true);
            if (!p->rc && p->at->kind != HN_T_PRINT_END)
                hn_parse_unexpected(p);
            p->at += !p->rc;
            tail = hn_parse_append(tail, n);
        } else {
            if (at_end(p, ends))
                break;
            tail = hn_parse_append(tail, parse_statement(p));
        }
    }
    return first;
}

int hn_template_parse(
    struct hn_template *tpl, const char *text, size_t size, struct hn_error *err) {
    struct hn_tpl_tokens tokens = {0};
    struct hn_parser p = {.tpl = tpl, .err = err};
    p.rc = hn_template_lex(&tpl->arena, text, size, &tokens, err);
    if (!p.rc) {
        p.at = tokens.tokens;
        tpl->body = parse_body(&p, NULL);
    }
    free(tokens.tokens);
    return p.rc;
}
