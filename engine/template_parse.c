/*
 * Tokens of a chat template → tree: the grammar of Jinja's own parser, level for level, so that precedence is the same.
 * Statements that reach outside the template (include, import, extends, block) are refused by name.
 */
#include "engine/template_lex.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct parser {
    struct hn_template *tpl;
    struct hn_error *err;
    const struct hn_tpl_token *at;
    size_t symbols_capacity, nesting;
    int rc; /* sticky; every function returns NULL once it is set */
};

static struct hn_node *parse_expression(struct parser *p);
static struct hn_node *parse_condition(struct parser *p, bool with_choice);
static struct hn_node *parse_unary(struct parser *p, bool with_filter);
static struct hn_node *parse_body(struct parser *p, const char *const *ends);

static struct hn_node *fail(struct parser *p, int code, const char *what, struct hn_view name) {
    if (!p->rc) {
        p->rc = hn_fail(p->err, code, "the chat template %s in line %u: %s%.*s", code == HN_E_UNSUPPORTED ? "uses something "
            "that is not supported" : "is wrong", p->at->line, what, (int)(name.size < 60 ? name.size : 60), name.data);
        if (code == HN_E_UNSUPPORTED)
            hn_error_hint(p->err, "train with prompt and completion columns, which need no template");
    }
    return NULL;
}

static const char *token_name(const struct hn_tpl_token *t) {
    static const char *const names[] = {"text", "{%", "%}", "{{", "}}", "a name", "a string", "a number", "a number", "", "its end"};
    return names[t->kind];
}

static struct hn_node *unexpected(struct parser *p) {
    if (p->at->kind == HN_T_OP || p->at->kind == HN_T_NAME)
        return fail(p, HN_E_MODEL_INVALID, "unexpected ", p->at->text);
    const char *name = token_name(p->at);
    return fail(p, HN_E_MODEL_INVALID, "unexpected ", (struct hn_view){name, strlen(name)});
}

static struct hn_node *node(struct parser *p, enum hn_node_kind kind) {
    struct hn_node *n = p->rc ? NULL : hn_arena_alloc(&p->tpl->arena, 1, sizeof *n);
    if (!n) {
        if (!p->rc)
            p->rc = hn_fail(p->err, HN_E_TOO_LARGE, "the chat template needs too much memory");
        return NULL;
    }
    n->kind = (uint8_t)kind;
    n->line = p->at->line;
    return n;
}

static bool is_op(const struct parser *p, const char *op) {
    return p->at->kind == HN_T_OP && hn_view_is(p->at->text, op);
}

static bool is_name(const struct parser *p, const char *name) {
    return p->at->kind == HN_T_NAME && hn_view_is(p->at->text, name);
}

static bool skip_op(struct parser *p, const char *op) {
    bool found = !p->rc && is_op(p, op);
    p->at += found;
    return found;
}

static bool skip_name(struct parser *p, const char *name) {
    bool found = !p->rc && is_name(p, name);
    p->at += found;
    return found;
}

static void expect_op(struct parser *p, const char *op) {
    if (!skip_op(p, op))
        unexpected(p);
}

static struct hn_view expect_name(struct parser *p) {
    struct hn_view name = p->at->text;
    if (p->rc || p->at->kind != HN_T_NAME)
        unexpected(p);
    else
        p->at++;
    return name;
}

static bool enter(struct parser *p) {
    if (++p->nesting > HN_TPL_NESTING_MAX)
        fail(p, HN_E_MODEL_INVALID, "too many levels of nesting", (struct hn_view){"", 0});
    return !p->rc;
}

static int32_t symbol(struct parser *p, struct hn_view name) {
    struct hn_template *tpl = p->tpl;
    for (size_t i = 0; i < tpl->n_symbols; i++)
        if (tpl->symbols[i].size == name.size && memcmp(tpl->symbols[i].data, name.data, name.size) == 0)
            return (int32_t)i;
    if (tpl->n_symbols == HN_TPL_NAMES_MAX ||
        !hn_grow(&tpl->symbols, &p->symbols_capacity, tpl->n_symbols + 1, sizeof *tpl->symbols)) {
        fail(p, HN_E_MODEL_INVALID, "too many names", (struct hn_view){"", 0});
        return -1;
    }
    tpl->symbols[tpl->n_symbols] = name;
    return (int32_t)tpl->n_symbols++;
}

static struct hn_node *name_node(struct parser *p, struct hn_view name) {
    struct hn_node *n = node(p, HN_N_NAME);
    if (!n)
        return NULL;
    n->name = name;
    n->symbol = symbol(p, name);
    n->builtin = hn_function_find(name);
    return n;
}

static struct hn_node *constant(struct parser *p, struct hn_value value) {
    struct hn_node *n = node(p, HN_N_CONST);
    if (n)
        n->value = value;
    return n;
}

static struct hn_node *binary(struct parser *p, enum hn_op op, struct hn_node *a, struct hn_node *b) {
    struct hn_node *n = node(p, HN_N_BINARY);
    if (n) {
        n->op = (uint8_t)op;
        n->a = a;
        n->b = b;
    }
    return n;
}

/* Appends to a list whose last link is *tail; returns the new last link. */
static struct hn_node **append(struct hn_node **tail, struct hn_node *item) {
    *tail = item;
    return item ? &item->next : tail;
}

/* Expressions up to `close`, separated by commas. */
static struct hn_node *parse_list(struct parser *p, const char *close) {
    struct hn_node *first = NULL, **tail = &first;
    while (!p->rc && !is_op(p, close)) {
        if (first)
            expect_op(p, ",");
        if (is_op(p, close))
            break;
        tail = append(tail, parse_expression(p));
    }
    expect_op(p, close);
    return first;
}

static struct hn_node *parse_arguments(struct parser *p) {
    struct hn_node *first = NULL, **tail = &first;
    while (!p->rc && !is_op(p, ")")) {
        if (first)
            expect_op(p, ",");
        if (is_op(p, ")"))
            break;
        if (is_op(p, "*") || is_op(p, "**"))
            return fail(p, HN_E_UNSUPPORTED, "arguments unpacked by ", p->at->text);
        struct hn_node *keyword = NULL;
        if (p->at->kind == HN_T_NAME && p->at[1].kind == HN_T_OP && hn_view_is(p->at[1].text, "=")) {
            if ((keyword = node(p, HN_N_KEYWORD)))
                keyword->name = p->at->text;
            p->at += 2;
        }
        struct hn_node *value = parse_expression(p);
        if (keyword)
            keyword->a = value;
        tail = append(tail, keyword ? keyword : value);
    }
    expect_op(p, ")");
    return first;
}

/* A tuple without parentheses, or the one expression. */
static struct hn_node *parse_tuple(struct parser *p, bool with_choice) {
    struct hn_node *first = parse_condition(p, with_choice), **tail = first ? &first->next : &first;
    if (p->rc || !is_op(p, ","))
        return first;
    struct hn_node *n = node(p, HN_N_LIST);
    while (skip_op(p, ",")) {
        if (p->at->kind == HN_T_BLOCK_END || p->at->kind == HN_T_PRINT_END || is_op(p, ")") || is_op(p, "="))
            break;
        tail = append(tail, parse_condition(p, with_choice));
    }
    if (!n || p->rc)
        return NULL;
    n->flag = true;
    n->list = first;
    return n;
}

static struct hn_node *parse_dict(struct parser *p) {
    struct hn_node *n = node(p, HN_N_DICT), *first = NULL, **tail = &first;
    while (!p->rc && !is_op(p, "}")) {
        if (first)
            expect_op(p, ",");
        if (is_op(p, "}"))
            break;
        tail = append(tail, parse_expression(p));
        expect_op(p, ":");
        tail = append(tail, parse_expression(p));
    }
    expect_op(p, "}");
    if (n)
        n->list = first;
    return n;
}

static struct hn_node *parse_number(struct parser *p) {
    char text[64], *end;
    size_t n = 0;
    for (size_t i = 0; i < p->at->text.size && n + 1 < sizeof text; i++)
        if (p->at->text.data[i] != '_')
            text[n++] = p->at->text.data[i];
    text[n] = 0;
    struct hn_value value;
    errno = 0;
    if (p->at->kind == HN_T_FLOAT) {
        value = hn_real(strtod(text, &end));
    } else {
        int base = text[0] == '0' && text[1] ? ((text[1] | 32) == 'x' ? 16 : (text[1] | 32) == 'o' ? 8 : (text[1] | 32) == 'b' ? 2 : 10) : 10;
        value = hn_integer(strtoll(text + (base == 10 ? 0 : 2), &end, base));
    }
    if (*end || (errno && p->at->kind == HN_T_INT))
        return unexpected(p);
    p->at++;
    return constant(p, value);
}

static struct hn_node *parse_strings(struct parser *p) {
    struct hn_node *n = constant(p, hn_string(p->at->text.data, p->at->text.size));
    p->at++;
    if (!n || p->at->kind != HN_T_STRING)
        return n;
    struct hn_node *joined = node(p, HN_N_CONCAT), **tail = &n->next; /* adjacent strings are one */
    for (; !p->rc && p->at->kind == HN_T_STRING; p->at++)
        tail = append(tail, constant(p, hn_string(p->at->text.data, p->at->text.size)));
    if (joined)
        joined->list = n;
    return joined;
}

static struct hn_node *parse_primary(struct parser *p) {
    static const struct {
        const char *name;
        struct hn_value value;
    } constants[] = {
        {"true", {.kind = HN_V_BOOL, .truth = true}}, {"True", {.kind = HN_V_BOOL, .truth = true}},
        {"false", {.kind = HN_V_BOOL}}, {"False", {.kind = HN_V_BOOL}},
        {"none", {.kind = HN_V_NONE}}, {"None", {.kind = HN_V_NONE}},
    };
    if (p->rc)
        return NULL;
    switch (p->at->kind) {
    case HN_T_NAME:
        for (size_t i = 0; i < sizeof constants / sizeof constants[0]; i++)
            if (skip_name(p, constants[i].name))
                return constant(p, constants[i].value);
        return name_node(p, expect_name(p));
    case HN_T_STRING:
        return parse_strings(p);
    case HN_T_INT:
    case HN_T_FLOAT:
        return parse_number(p);
    default:
        break;
    }
    if (skip_op(p, "(")) {
        struct hn_node *n = is_op(p, ")") ? node(p, HN_N_LIST) : parse_tuple(p, true);
        if (n && is_op(p, ")") && n->kind == HN_N_LIST && !n->list)
            n->flag = true;
        expect_op(p, ")");
        return n;
    }
    if (skip_op(p, "[")) {
        struct hn_node *n = node(p, HN_N_LIST), *list = parse_list(p, "]");
        if (n)
            n->list = list;
        return n;
    }
    if (skip_op(p, "{"))
        return parse_dict(p);
    return unexpected(p);
}

/* What stands in a[…]. */
static struct hn_node *parse_subscript(struct parser *p, struct hn_node *object) {
    struct hn_node *parts[3] = {NULL};
    size_t colons = 0;
    while (!p->rc && !is_op(p, "]")) {
        if (skip_op(p, ":")) {
            if (++colons > 2)
                return unexpected(p);
            continue;
        }
        if (parts[colons])
            return unexpected(p);
        parts[colons] = parse_expression(p);
    }
    struct hn_node *n = node(p, colons ? HN_N_SLICE : HN_N_ITEM);
    expect_op(p, "]");
    if (!n || (!colons && !parts[0]))
        return unexpected(p);
    n->a = object;
    n->b = parts[0];
    n->c = parts[1];
    n->d = parts[2];
    return n;
}

static struct hn_node *parse_call(struct parser *p, struct hn_node *callee) {
    struct hn_node *n = node(p, HN_N_CALL), *list = parse_arguments(p);
    if (n) {
        n->a = callee;
        n->list = list;
    }
    return n;
}

static struct hn_node *parse_postfix(struct parser *p, struct hn_node *n) {
    for (size_t links = 0; !p->rc; links++) {
        if (links == HN_TPL_NESTING_MAX)
            return fail(p, HN_E_MODEL_INVALID, "too long a chain of accesses", (struct hn_view){"", 0});
        if (skip_op(p, ".")) {
            struct hn_node *inner = n;
            if (p->at->kind == HN_T_INT) {
                n = node(p, HN_N_ITEM);
                struct hn_node *index = parse_number(p);
                if (n)
                    n->b = index;
            } else if ((n = node(p, HN_N_ATTRIBUTE))) {
                n->name = expect_name(p);
            }
            if (n)
                n->a = inner;
        } else if (skip_op(p, "[")) {
            n = parse_subscript(p, n);
        } else if (skip_op(p, "(")) {
            n = parse_call(p, n);
        } else {
            break;
        }
    }
    return n;
}

/* The name behind "|" or "is", which may have dots. */
static struct hn_view parse_dotted(struct parser *p) {
    struct hn_view name = expect_name(p);
    while (skip_op(p, ".")) {
        struct hn_view more = expect_name(p);
        if (!p->rc)
            name.size = (size_t)(more.data + more.size - name.data);
    }
    return name;
}

static struct hn_node *parse_filter(struct parser *p, struct hn_node *inner) {
    struct hn_node *n = node(p, HN_N_FILTER);
    struct hn_view name = parse_dotted(p);
    if (!n)
        return NULL;
    n->a = inner;
    n->name = name;
    n->builtin = hn_filter_find(name);
    if (skip_op(p, "("))
        n->list = parse_arguments(p);
    return n;
}

static struct hn_node *parse_test(struct parser *p, struct hn_node *inner) {
    struct hn_node *n = node(p, HN_N_TEST);
    if (!n)
        return NULL;
    n->flag = skip_name(p, "not");
    n->a = inner;
    n->name = parse_dotted(p);
    n->builtin = hn_test_find(n->name);
    if (skip_op(p, "(")) {
        n->list = parse_arguments(p);
    } else if (p->at->kind == HN_T_NAME || p->at->kind == HN_T_STRING || p->at->kind == HN_T_INT ||
        p->at->kind == HN_T_FLOAT || is_op(p, "(") || is_op(p, "[") || is_op(p, "{")) {
        if (is_name(p, "else") || is_name(p, "or") || is_name(p, "and") || is_name(p, "if"))
            return n;
        if (is_name(p, "is"))
            return fail(p, HN_E_MODEL_INVALID, "tests cannot be chained", (struct hn_view){"", 0});
        n->list = parse_postfix(p, parse_primary(p));
    }
    return n;
}

static struct hn_node *parse_filters(struct parser *p, struct hn_node *n) {
    for (size_t links = 0; !p->rc; links++) {
        if (links == HN_TPL_NESTING_MAX)
            return fail(p, HN_E_MODEL_INVALID, "too long a chain of filters", (struct hn_view){"", 0});
        if (skip_op(p, "|"))
            n = parse_filter(p, n);
        else if (skip_name(p, "is"))
            n = parse_test(p, n);
        else if (skip_op(p, "("))
            n = parse_call(p, n);
        else
            break;
    }
    return n;
}

static struct hn_node *parse_unary(struct parser *p, bool with_filter) {
    struct hn_node *n = NULL;
    if (!enter(p))
        return NULL;
    if (is_op(p, "-") || is_op(p, "+")) {
        n = node(p, is_op(p, "-") ? HN_N_NEGATE : HN_N_PLUS);
        p->at++;
        struct hn_node *inner = parse_unary(p, false);
        if (n)
            n->a = inner;
    } else {
        n = parse_postfix(p, parse_primary(p));
    }
    if (with_filter)
        n = parse_filters(p, n);
    p->nesting--;
    return n;
}

static struct hn_node *parse_pow(struct parser *p) {
    struct hn_node *left = parse_unary(p, true);
    while (skip_op(p, "**"))
        left = binary(p, HN_OP_POW, left, parse_unary(p, true));
    return left;
}

struct level {
    const char *text;
    enum hn_op op;
};

static struct hn_node *parse_level(struct parser *p, const struct level *ops, size_t n, struct hn_node *(*inner)(struct parser *)) {
    struct hn_node *left = inner(p);
    for (size_t links = 0; !p->rc; links++) {
        size_t i = 0;
        while (i < n && !skip_op(p, ops[i].text))
            i++;
        if (i == n)
            break;
        if (links == HN_TPL_NESTING_MAX)
            return fail(p, HN_E_MODEL_INVALID, "too long a chain of operators", (struct hn_view){"", 0});
        left = binary(p, ops[i].op, left, inner(p));
    }
    return left;
}

static struct hn_node *parse_product(struct parser *p) {
    static const struct level ops[] = {{"*", HN_OP_MUL}, {"/", HN_OP_DIV}, {"//", HN_OP_FLOORDIV}, {"%", HN_OP_MOD}};
    return parse_level(p, ops, 4, parse_pow);
}

static struct hn_node *parse_concat(struct parser *p) {
    struct hn_node *first = parse_product(p), **tail = first ? &first->next : &first;
    if (p->rc || !is_op(p, "~"))
        return first;
    struct hn_node *n = node(p, HN_N_CONCAT);
    while (skip_op(p, "~"))
        tail = append(tail, parse_product(p));
    if (n)
        n->list = first;
    return n;
}

static struct hn_node *parse_sum(struct parser *p) {
    static const struct level ops[] = {{"+", HN_OP_ADD}, {"-", HN_OP_SUB}};
    return parse_level(p, ops, 2, parse_concat);
}

static bool comparison(struct parser *p, enum hn_op *ret) {
    static const struct level ops[] = {{"==", HN_OP_EQ}, {"!=", HN_OP_NE}, {"<", HN_OP_LT}, {"<=", HN_OP_LE}, {">", HN_OP_GT},
        {">=", HN_OP_GE}};
    for (size_t i = 0; i < 6; i++)
        if (skip_op(p, ops[i].text)) {
            *ret = ops[i].op;
            return true;
        }
    if (skip_name(p, "in")) {
        *ret = HN_OP_IN;
        return true;
    }
    if (!p->rc && is_name(p, "not") && p->at[1].kind == HN_T_NAME && hn_view_is(p->at[1].text, "in")) {
        p->at += 2;
        *ret = HN_OP_NOT_IN;
        return true;
    }
    return false;
}

static struct hn_node *parse_compare(struct parser *p) {
    struct hn_node *first = parse_sum(p), *n = NULL, **tail = NULL;
    enum hn_op op;
    while (comparison(p, &op)) {
        if (!n && (n = node(p, HN_N_COMPARE))) {
            n->a = first;
            tail = &n->list;
        }
        struct hn_node *operand = node(p, HN_N_BINARY), *right = parse_sum(p);
        if (!n || !operand)
            return NULL;
        operand->op = (uint8_t)op;
        operand->a = right;
        tail = append(tail, operand);
    }
    return n ? n : first;
}

static struct hn_node *parse_not(struct parser *p) {
    if (!is_name(p, "not"))
        return parse_compare(p);
    struct hn_node *n = node(p, HN_N_NOT);
    p->at++;
    struct hn_node *inner = enter(p) ? parse_not(p) : NULL;
    p->nesting--;
    if (n)
        n->a = inner;
    return n;
}

static struct hn_node *parse_logic(struct parser *p, const char *word, enum hn_node_kind kind, struct hn_node *(*inner)(struct parser *)) {
    struct hn_node *left = inner(p);
    for (size_t links = 0; skip_name(p, word); links++) {
        if (links == HN_TPL_NESTING_MAX)
            return fail(p, HN_E_MODEL_INVALID, "too long a chain of operators", (struct hn_view){"", 0});
        struct hn_node *n = node(p, kind), *right = inner(p);
        if (!n)
            return NULL;
        n->a = left;
        n->b = right;
        left = n;
    }
    return left;
}

static struct hn_node *parse_and(struct parser *p) {
    return parse_logic(p, "and", HN_N_AND, parse_not);
}

static struct hn_node *parse_condition(struct parser *p, bool with_choice) {
    if (!enter(p))
        return NULL;
    struct hn_node *value = parse_logic(p, "or", HN_N_OR, parse_and);
    while (with_choice && skip_name(p, "if")) {
        struct hn_node *n = node(p, HN_N_CHOOSE), *test = parse_logic(p, "or", HN_N_OR, parse_and), *other = NULL;
        if (skip_name(p, "else"))
            other = parse_condition(p, true);
        if (!n)
            return NULL;
        n->a = value;
        n->b = test;
        n->c = other;
        value = n;
    }
    p->nesting--;
    return p->rc ? NULL : value;
}

static struct hn_node *parse_expression(struct parser *p) {
    return parse_condition(p, true);
}

/* Names to assign to: one, or several with commas, perhaps in parentheses; `ns.name` where allowed. */
static struct hn_node *parse_target(struct parser *p, bool with_namespace) {
    bool parentheses = skip_op(p, "(");
    struct hn_node *first = name_node(p, expect_name(p)), **tail = first ? &first->next : &first;
    if (with_namespace && first && skip_op(p, ".")) {
        struct hn_node *n = node(p, HN_N_ATTRIBUTE);
        if (n) {
            n->a = first;
            n->name = expect_name(p);
        }
        return n;
    }
    if (is_op(p, ",")) {
        struct hn_node *n = node(p, HN_N_LIST);
        while (skip_op(p, ",") && p->at->kind == HN_T_NAME && !is_name(p, "in"))
            tail = append(tail, name_node(p, expect_name(p)));
        if (n)
            n->list = first;
        first = n;
    }
    if (parentheses)
        expect_op(p, ")");
    return first;
}

static void end_tag(struct parser *p) {
    if (p->rc)
        return;
    if (p->at->kind == HN_T_BLOCK_END)
        p->at++;
    else
        unexpected(p);
}

/* Body up to {% word %}, which is consumed. */
static struct hn_node *parse_block(struct parser *p, const char *word) {
    const char *const ends[] = {word, NULL};
    end_tag(p);
    struct hn_node *body = parse_body(p, ends);
    skip_name(p, word);
    end_tag(p);
    return body;
}

static struct hn_node *parse_if(struct parser *p) {
    static const char *const ends[] = {"elif", "else", "endif", NULL};
    struct hn_node *n = node(p, HN_S_IF);
    if (!n || !enter(p))
        return NULL;
    n->a = parse_tuple(p, true);
    end_tag(p);
    n->list = parse_body(p, ends);
    if (skip_name(p, "elif")) {
        n->flag = true; /* `other` is one IF that goes on with this one */
        n->other = parse_if(p);
    } else if (skip_name(p, "else")) {
        n->other = parse_block(p, "endif");
    } else if (skip_name(p, "endif")) {
        end_tag(p);
    }
    p->nesting--;
    return n;
}

static struct hn_node *parse_for(struct parser *p) {
    static const char *const ends[] = {"else", "endfor", NULL};
    struct hn_node *n = node(p, HN_S_FOR);
    if (!n)
        return NULL;
    n->a = parse_target(p, false);
    if (!skip_name(p, "in"))
        return unexpected(p);
    n->b = parse_tuple(p, false);
    if (skip_name(p, "if"))
        n->c = parse_expression(p);
    if (is_name(p, "recursive"))
        return fail(p, HN_E_UNSUPPORTED, "a loop marked ", p->at->text);
    end_tag(p);
    n->list = parse_body(p, ends);
    n->symbol = symbol(p, (struct hn_view){"loop", 4});
    if (skip_name(p, "else")) {
        n->other = parse_block(p, "endfor");
    } else if (skip_name(p, "endfor")) {
        end_tag(p);
    }
    return n;
}

/* The chain behind {% filter %} and {% set x | … %}; its innermost value is the block's text. */
static struct hn_node *parse_chain(struct parser *p, bool need_pipe) {
    struct hn_node *n = node(p, HN_N_NAME);
    if (n)
        n->symbol = -1;
    if (!need_pipe)
        n = parse_filter(p, n);
    while (skip_op(p, "|"))
        n = parse_filter(p, n);
    return n;
}

static struct hn_node *parse_set(struct parser *p) {
    struct hn_node *n = node(p, HN_S_SET);
    if (!n)
        return NULL;
    n->a = parse_target(p, true);
    if (skip_op(p, "=")) {
        n->b = parse_tuple(p, true);
        end_tag(p);
        return n;
    }
    n->kind = HN_S_SET_BLOCK;
    n->b = parse_chain(p, true);
    n->list = parse_block(p, "endset");
    return n;
}

/* Parameters with their defaults: NAME nodes whose a is the default. */
static struct hn_node *parse_parameters(struct parser *p) {
    struct hn_node *first = NULL, **tail = &first;
    expect_op(p, "(");
    while (!p->rc && !is_op(p, ")")) {
        if (first)
            expect_op(p, ",");
        struct hn_node *param = name_node(p, expect_name(p));
        if (param && skip_op(p, "="))
            param->a = parse_expression(p);
        tail = append(tail, param);
    }
    expect_op(p, ")");
    return first;
}

static struct hn_node *parse_macro(struct parser *p) {
    struct hn_node *n = node(p, HN_S_MACRO);
    if (!n)
        return NULL;
    n->name = expect_name(p);
    n->symbol = symbol(p, n->name);
    n->a = parse_parameters(p);
    n->list = parse_block(p, "endmacro");
    return n;
}

static struct hn_node *parse_call_block(struct parser *p) {
    struct hn_node *n = node(p, HN_S_CALL);
    if (!n)
        return NULL;
    if (is_op(p, "("))
        n->b = parse_parameters(p);
    n->a = parse_expression(p);
    if (n->a && n->a->kind != HN_N_CALL)
        return unexpected(p);
    n->list = parse_block(p, "endcall");
    return n;
}

static struct hn_node *parse_filter_block(struct parser *p) {
    struct hn_node *n = node(p, HN_S_FILTER);
    if (n) {
        n->a = parse_chain(p, false);
        n->list = parse_block(p, "endfilter");
    }
    return n;
}

static struct hn_node *parse_with(struct parser *p) {
    struct hn_node *n = node(p, HN_S_WITH), **tail = n ? &n->a : NULL;
    while (!p->rc && p->at->kind != HN_T_BLOCK_END) {
        if (n->a)
            expect_op(p, ",");
        struct hn_node *set = node(p, HN_S_SET);
        if (!set)
            return NULL;
        set->a = parse_target(p, false);
        expect_op(p, "=");
        set->b = parse_expression(p);
        tail = append(tail, set);
    }
    if (n)
        n->list = parse_block(p, "endwith");
    return n;
}

static struct hn_node *parse_generation(struct parser *p) {
    struct hn_node *n = node(p, HN_S_SCOPE);
    if (n)
        n->list = parse_block(p, "endgeneration");
    return n;
}

static struct hn_node *parse_print(struct parser *p) {
    struct hn_node *n = node(p, HN_S_PRINT);
    if (n)
        n->a = parse_tuple(p, true);
    end_tag(p);
    return n;
}

static struct hn_node *parse_break(struct parser *p) {
    struct hn_node *n = node(p, HN_S_BREAK);
    end_tag(p);
    return n;
}

static struct hn_node *parse_continue(struct parser *p) {
    struct hn_node *n = node(p, HN_S_CONTINUE);
    end_tag(p);
    return n;
}

static const struct {
    const char *word;
    struct hn_node *(*parse)(struct parser *p);
} statements[] = {
    {"if", parse_if}, {"for", parse_for}, {"set", parse_set}, {"macro", parse_macro}, {"call", parse_call_block},
    {"filter", parse_filter_block}, {"with", parse_with}, {"generation", parse_generation}, {"print", parse_print},
    {"break", parse_break}, {"continue", parse_continue},
};

static struct hn_node *parse_statement(struct parser *p) {
    for (size_t i = 0; i < sizeof statements / sizeof statements[0]; i++)
        if (skip_name(p, statements[i].word)) {
            struct hn_node *n = enter(p) ? statements[i].parse(p) : NULL;
            p->nesting--;
            return n;
        }
    if (p->at->kind != HN_T_NAME)
        return unexpected(p);
    if (p->at->text.size > 3 && memcmp(p->at->text.data, "end", 3) == 0)
        return unexpected(p);
    return fail(p, HN_E_UNSUPPORTED, "the statement ", p->at->text);
}

static bool at_end(const struct parser *p, const char *const *ends) {
    for (; ends && *ends; ends++)
        if (is_name(p, *ends))
            return true;
    return false;
}

/* Nodes up to a block whose word is one of `ends`; the parser then stands on that word. NULL: up to the source's end. */
static struct hn_node *parse_body(struct parser *p, const char *const *ends) {
    struct hn_node *first = NULL, **tail = &first;
    while (!p->rc) {
        const struct hn_tpl_token *t = p->at;
        if (t->kind == HN_T_END) {
            while (ends && ends[1])
                ends++; /* the last one closes the block, those before only divide it */
            if (ends)
                fail(p, HN_E_MODEL_INVALID, "a block is never closed by ", (struct hn_view){ends[0], strlen(ends[0])});
            break;
        }
        p->at++;
        if (t->kind == HN_T_DATA) {
            struct hn_node *n = node(p, HN_S_TEXT);
            if (n)
                n->value = hn_string(t->text.data, t->text.size);
            tail = append(tail, n);
        } else if (t->kind == HN_T_PRINT_BEGIN) {
            struct hn_node *n = node(p, HN_S_PRINT);
            if (n)
                n->a = parse_tuple(p, true);
            if (!p->rc && p->at->kind != HN_T_PRINT_END)
                unexpected(p);
            p->at += !p->rc;
            tail = append(tail, n);
        } else {
            if (at_end(p, ends))
                break;
            tail = append(tail, parse_statement(p));
        }
    }
    return first;
}

int hn_template_parse(struct hn_template *tpl, const char *text, size_t size, struct hn_error *err) {
    struct hn_tpl_tokens tokens = {0};
    struct parser p = {.tpl = tpl, .err = err};
    p.rc = hn_template_lex(&tpl->arena, text, size, &tokens, err);
    if (!p.rc) {
        p.at = tokens.tokens;
        tpl->body = parse_body(&p, NULL);
    }
    free(tokens.tokens);
    return p.rc;
}
