/*
 * Expressions of a chat template → tree: the levels of Jinja's own parser, one function each, so
 * that precedence is the same; and what statements share with them.
 */
#include "engine/template/parse.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

static struct hn_tpl_node *parse_condition(struct hn_parser *p, bool with_choice);
static struct hn_tpl_node *parse_unary(struct hn_parser *p, bool with_filter);

struct hn_tpl_node *hn_parse_fail(
    struct hn_parser *p, int code, const char *what, struct hn_view name) {
    if (!p->rc) {
        p->rc = hn_fail(p->err, code, "the chat template %s in line %u: %s%.*s",
            code == HN_E_UNSUPPORTED ? "uses something "
                                       "that is not supported"
                                     : "is wrong",
            p->at->line, what, (int)(name.size < 60 ? name.size : 60), name.data);
        if (code == HN_E_UNSUPPORTED)
            hn_error_hint(
                p->err, "train with prompt and completion columns, which need no template");
    }
    return NULL;
}

static const char *token_name(const struct hn_tpl_token *t) {
    static const char *const names[] = {"text", "{%", "%}", "{{", "}}", "a name", "a string",
        "a number", "a number", "", "its end"};
    return names[t->kind];
}

struct hn_tpl_node *hn_parse_unexpected(struct hn_parser *p) {
    if (p->at->kind == HN_T_OP || p->at->kind == HN_T_NAME)
        return hn_parse_fail(p, HN_E_MODEL_INVALID, "unexpected ", p->at->text);
    const char *name = token_name(p->at);
    return hn_parse_fail(
        p, HN_E_MODEL_INVALID, "unexpected ", (struct hn_view){name, strlen(name)});
}

struct hn_tpl_node *hn_parse_node(struct hn_parser *p, enum hn_tpl_node_kind kind) {
    struct hn_tpl_node *n = p->rc ? NULL : hn_arena_alloc(&p->tpl->arena, 1, sizeof *n);
    if (!n) {
        if (!p->rc)
            p->rc = hn_fail(p->err, HN_E_TOO_LARGE, "the chat template needs too much memory");
        return NULL;
    }
    n->kind = (uint8_t)kind;
    n->line = p->at->line;
    return n;
}

bool hn_parse_is_op(const struct hn_parser *p, const char *op) {
    return p->at->kind == HN_T_OP && hn_view_is(p->at->text, op);
}

bool hn_parse_is_name(const struct hn_parser *p, const char *name) {
    return p->at->kind == HN_T_NAME && hn_view_is(p->at->text, name);
}

bool hn_parse_skip_op(struct hn_parser *p, const char *op) {
    bool found = !p->rc && hn_parse_is_op(p, op);
    p->at += found;
    return found;
}

bool hn_parse_skip_name(struct hn_parser *p, const char *name) {
    bool found = !p->rc && hn_parse_is_name(p, name);
    p->at += found;
    return found;
}

void hn_parse_expect_op(struct hn_parser *p, const char *op) {
    if (!hn_parse_skip_op(p, op))
        hn_parse_unexpected(p);
}

struct hn_view hn_parse_expect_name(struct hn_parser *p) {
    struct hn_view name = p->at->text;
    if (p->rc || p->at->kind != HN_T_NAME)
        hn_parse_unexpected(p);
    else
        p->at++;
    return name;
}

bool hn_parse_enter(struct hn_parser *p) {
    if (++p->nesting > HN_TPL_NESTING_MAX)
        hn_parse_fail(p, HN_E_MODEL_INVALID, "too many levels of nesting", (struct hn_view){"", 0});
    return !p->rc;
}

int32_t hn_parse_symbol(struct hn_parser *p, struct hn_view name) {
    struct hn_template *tpl = p->tpl;
    for (size_t i = 0; i < tpl->n_symbols; i++)
        if (tpl->symbols[i].size == name.size &&
            memcmp(tpl->symbols[i].data, name.data, name.size) == 0)
            return (int32_t)i;
    if (tpl->n_symbols == HN_TPL_NAMES_MAX ||
        !hn_grow(&tpl->symbols, &p->symbols_capacity, tpl->n_symbols + 1, sizeof *tpl->symbols)) {
        hn_parse_fail(p, HN_E_MODEL_INVALID, "too many names", (struct hn_view){"", 0});
        return -1;
    }
    tpl->symbols[tpl->n_symbols] = name;
    return (int32_t)tpl->n_symbols++;
}

struct hn_tpl_node *hn_parse_name(struct hn_parser *p, struct hn_view name) {
    struct hn_tpl_node *n = hn_parse_node(p, HN_N_NAME);
    if (!n)
        return NULL;
    n->name = name;
    n->symbol = hn_parse_symbol(p, name);
    n->builtin = hn_function_find(name);
    return n;
}

static struct hn_tpl_node *constant(struct hn_parser *p, struct hn_tpl_value value) {
    struct hn_tpl_node *n = hn_parse_node(p, HN_N_CONST);
    if (n)
        n->value = value;
    return n;
}

static struct hn_tpl_node *binary(
    struct hn_parser *p, enum hn_tpl_operator op, struct hn_tpl_node *a, struct hn_tpl_node *b) {
    struct hn_tpl_node *n = hn_parse_node(p, HN_N_BINARY);
    if (n) {
        n->op = (uint8_t)op;
        n->a = a;
        n->b = b;
    }
    return n;
}

/* Appends to a list whose last link is *tail; returns the new last link. */
struct hn_tpl_node **hn_parse_append(struct hn_tpl_node **tail, struct hn_tpl_node *item) {
    *tail = item;
    return item ? &item->next : tail;
}

/* Expressions up to `close`, separated by commas. */
static struct hn_tpl_node *parse_list(struct hn_parser *p, const char *close) {
    struct hn_tpl_node *first = NULL, **tail = &first;
    while (!p->rc && !hn_parse_is_op(p, close)) {
        if (first)
            hn_parse_expect_op(p, ",");
        if (hn_parse_is_op(p, close))
            break;
        tail = hn_parse_append(tail, hn_parse_expression(p));
    }
    hn_parse_expect_op(p, close);
    return first;
}

static struct hn_tpl_node *parse_arguments(struct hn_parser *p) {
    struct hn_tpl_node *first = NULL, **tail = &first;
    while (!p->rc && !hn_parse_is_op(p, ")")) {
        if (first)
            hn_parse_expect_op(p, ",");
        if (hn_parse_is_op(p, ")"))
            break;
        if (hn_parse_is_op(p, "*") || hn_parse_is_op(p, "**"))
            return hn_parse_fail(p, HN_E_UNSUPPORTED, "arguments unpacked by ", p->at->text);
        struct hn_tpl_node *keyword = NULL;
        if (p->at->kind == HN_T_NAME && p->at[1].kind == HN_T_OP &&
            hn_view_is(p->at[1].text, "=")) {
            if ((keyword = hn_parse_node(p, HN_N_KEYWORD)))
                keyword->name = p->at->text;
            p->at += 2;
        }
        struct hn_tpl_node *value = hn_parse_expression(p);
        if (keyword)
            keyword->a = value;
        tail = hn_parse_append(tail, keyword ? keyword : value);
    }
    hn_parse_expect_op(p, ")");
    return first;
}

/* A tuple without parentheses, or the one expression. */
struct hn_tpl_node *hn_parse_tuple(struct hn_parser *p, bool with_choice) {
    struct hn_tpl_node *first = parse_condition(p, with_choice),
                       **tail = first ? &first->next : &first;
    if (p->rc || !hn_parse_is_op(p, ","))
        return first;
    struct hn_tpl_node *n = hn_parse_node(p, HN_N_LIST);
    while (hn_parse_skip_op(p, ",")) {
        if (p->at->kind == HN_T_BLOCK_END || p->at->kind == HN_T_PRINT_END ||
            hn_parse_is_op(p, ")") || hn_parse_is_op(p, "="))
            break;
        tail = hn_parse_append(tail, parse_condition(p, with_choice));
    }
    if (!n || p->rc)
        return NULL;
    n->flag = true;
    n->list = first;
    return n;
}

static struct hn_tpl_node *parse_dict(struct hn_parser *p) {
    struct hn_tpl_node *n = hn_parse_node(p, HN_N_DICT), *first = NULL, **tail = &first;
    while (!p->rc && !hn_parse_is_op(p, "}")) {
        if (first)
            hn_parse_expect_op(p, ",");
        if (hn_parse_is_op(p, "}"))
            break;
        tail = hn_parse_append(tail, hn_parse_expression(p));
        hn_parse_expect_op(p, ":");
        tail = hn_parse_append(tail, hn_parse_expression(p));
    }
    hn_parse_expect_op(p, "}");
    if (n)
        n->list = first;
    return n;
}

static struct hn_tpl_node *parse_number(struct hn_parser *p) {
    char text[64], *end;
    size_t n = 0;
    for (size_t i = 0; i < p->at->text.size && n + 1 < sizeof text; i++)
        if (p->at->text.data[i] != '_')
            text[n++] = p->at->text.data[i];
    text[n] = 0;
    struct hn_tpl_value value;
    errno = 0;
    if (p->at->kind == HN_T_FLOAT) {
        value = hn_real(strtod(text, &end));
    } else {
        int base = text[0] == '0' && text[1] ? ((text[1] | 32) == 'x'          ? 16
                                                       : (text[1] | 32) == 'o' ? 8
                                                       : (text[1] | 32) == 'b' ? 2
                                                                               : 10)
                                             : 10;
        value = hn_integer(strtoll(text + (base == 10 ? 0 : 2), &end, base));
    }
    if (*end || (errno && p->at->kind == HN_T_INT))
        return hn_parse_unexpected(p);
    p->at++;
    return constant(p, value);
}

static struct hn_tpl_node *parse_strings(struct hn_parser *p) {
    struct hn_tpl_node *n = constant(p, hn_string(p->at->text.data, p->at->text.size));
    p->at++;
    if (!n || p->at->kind != HN_T_STRING)
        return n;
    /* adjacent strings are one */
    struct hn_tpl_node *joined = hn_parse_node(p, HN_N_CONCAT), **tail = &n->next;
    for (; !p->rc && p->at->kind == HN_T_STRING; p->at++)
        tail = hn_parse_append(tail, constant(p, hn_string(p->at->text.data, p->at->text.size)));
    if (joined)
        joined->list = n;
    return joined;
}

static struct hn_tpl_node *parse_primary(struct hn_parser *p) {
    static const struct {
        const char *name;
        struct hn_tpl_value value;
    } constants[] = {
        {"true", {.kind = HN_V_BOOL, .truth = true}},
        {"True", {.kind = HN_V_BOOL, .truth = true}},
        {"false", {.kind = HN_V_BOOL}},
        {"False", {.kind = HN_V_BOOL}},
        {"none", {.kind = HN_V_NONE}},
        {"None", {.kind = HN_V_NONE}},
    };
    if (p->rc)
        return NULL;
    switch (p->at->kind) {
    case HN_T_NAME:
        for (size_t i = 0; i < sizeof constants / sizeof constants[0]; i++)
            if (hn_parse_skip_name(p, constants[i].name))
                return constant(p, constants[i].value);
        return hn_parse_name(p, hn_parse_expect_name(p));
    case HN_T_STRING:
        return parse_strings(p);
    case HN_T_INT:
    case HN_T_FLOAT:
        return parse_number(p);
    default:
        break;
    }
    if (hn_parse_skip_op(p, "(")) {
        struct hn_tpl_node *n =
            hn_parse_is_op(p, ")") ? hn_parse_node(p, HN_N_LIST) : hn_parse_tuple(p, true);
        if (n && hn_parse_is_op(p, ")") && n->kind == HN_N_LIST && !n->list)
            n->flag = true;
        hn_parse_expect_op(p, ")");
        return n;
    }
    if (hn_parse_skip_op(p, "[")) {
        struct hn_tpl_node *n = hn_parse_node(p, HN_N_LIST), *list = parse_list(p, "]");
        if (n)
            n->list = list;
        return n;
    }
    if (hn_parse_skip_op(p, "{"))
        return parse_dict(p);
    return hn_parse_unexpected(p);
}

/* What stands in a[…]. */
static struct hn_tpl_node *parse_subscript(struct hn_parser *p, struct hn_tpl_node *object) {
    struct hn_tpl_node *parts[3] = {NULL};
    size_t colons = 0;
    while (!p->rc && !hn_parse_is_op(p, "]")) {
        if (hn_parse_skip_op(p, ":")) {
            if (++colons > 2)
                return hn_parse_unexpected(p);
            continue;
        }
        if (parts[colons])
            return hn_parse_unexpected(p);
        parts[colons] = hn_parse_expression(p);
    }
    struct hn_tpl_node *n = hn_parse_node(p, colons ? HN_N_SLICE : HN_N_ITEM);
    hn_parse_expect_op(p, "]");
    if (!n || (!colons && !parts[0]))
        return hn_parse_unexpected(p);
    n->a = object;
    n->b = parts[0];
    n->c = parts[1];
    n->d = parts[2];
    return n;
}

static struct hn_tpl_node *parse_call(struct hn_parser *p, struct hn_tpl_node *callee) {
    struct hn_tpl_node *n = hn_parse_node(p, HN_N_CALL), *list = parse_arguments(p);
    if (n) {
        n->a = callee;
        n->list = list;
    }
    return n;
}

static struct hn_tpl_node *parse_postfix(struct hn_parser *p, struct hn_tpl_node *n) {
    for (size_t links = 0; !p->rc; links++) {
        if (links == HN_TPL_NESTING_MAX)
            return hn_parse_fail(
                p, HN_E_MODEL_INVALID, "too long a chain of accesses", (struct hn_view){"", 0});
        if (hn_parse_skip_op(p, ".")) {
            struct hn_tpl_node *inner = n;
            if (p->at->kind == HN_T_INT) {
                n = hn_parse_node(p, HN_N_ITEM);
                struct hn_tpl_node *index = parse_number(p);
                if (n)
                    n->b = index;
            } else if ((n = hn_parse_node(p, HN_N_ATTRIBUTE))) {
                n->name = hn_parse_expect_name(p);
            }
            if (n)
                n->a = inner;
        } else if (hn_parse_skip_op(p, "[")) {
            n = parse_subscript(p, n);
        } else if (hn_parse_skip_op(p, "(")) {
            n = parse_call(p, n);
        } else {
            break;
        }
    }
    return n;
}

/* The name behind "|" or "is", which may have dots. */
static struct hn_view parse_dotted(struct hn_parser *p) {
    struct hn_view name = hn_parse_expect_name(p);
    while (hn_parse_skip_op(p, ".")) {
        struct hn_view more = hn_parse_expect_name(p);
        if (!p->rc)
            name.size = (size_t)(more.data + more.size - name.data);
    }
    return name;
}

struct hn_tpl_node *hn_parse_filter(struct hn_parser *p, struct hn_tpl_node *inner) {
    struct hn_tpl_node *n = hn_parse_node(p, HN_N_FILTER);
    struct hn_view name = parse_dotted(p);
    if (!n)
        return NULL;
    n->a = inner;
    n->name = name;
    n->builtin = hn_filter_find(name);
    if (hn_parse_skip_op(p, "("))
        n->list = parse_arguments(p);
    return n;
}

static struct hn_tpl_node *parse_test(struct hn_parser *p, struct hn_tpl_node *inner) {
    struct hn_tpl_node *n = hn_parse_node(p, HN_N_TEST);
    if (!n)
        return NULL;
    n->flag = hn_parse_skip_name(p, "not");
    n->a = inner;
    n->name = parse_dotted(p);
    n->builtin = hn_test_find(n->name);
    if (hn_parse_skip_op(p, "(")) {
        n->list = parse_arguments(p);
    } else if (p->at->kind == HN_T_NAME || p->at->kind == HN_T_STRING || p->at->kind == HN_T_INT ||
        p->at->kind == HN_T_FLOAT || hn_parse_is_op(p, "(") || hn_parse_is_op(p, "[") ||
        hn_parse_is_op(p, "{")) {
        if (hn_parse_is_name(p, "else") || hn_parse_is_name(p, "or") ||
            hn_parse_is_name(p, "and") || hn_parse_is_name(p, "if"))
            return n;
        if (hn_parse_is_name(p, "is"))
            return hn_parse_fail(
                p, HN_E_MODEL_INVALID, "tests cannot be chained", (struct hn_view){"", 0});
        n->list = parse_postfix(p, parse_primary(p));
    }
    return n;
}

static struct hn_tpl_node *parse_filters(struct hn_parser *p, struct hn_tpl_node *n) {
    for (size_t links = 0; !p->rc; links++) {
        if (links == HN_TPL_NESTING_MAX)
            return hn_parse_fail(
                p, HN_E_MODEL_INVALID, "too long a chain of filters", (struct hn_view){"", 0});
        if (hn_parse_skip_op(p, "|"))
            n = hn_parse_filter(p, n);
        else if (hn_parse_skip_name(p, "is"))
            n = parse_test(p, n);
        else if (hn_parse_skip_op(p, "("))
            n = parse_call(p, n);
        else
            break;
    }
    return n;
}

static struct hn_tpl_node *parse_unary(struct hn_parser *p, bool with_filter) {
    struct hn_tpl_node *n = NULL;
    if (!hn_parse_enter(p))
        return NULL;
    if (hn_parse_is_op(p, "-") || hn_parse_is_op(p, "+")) {
        n = hn_parse_node(p, hn_parse_is_op(p, "-") ? HN_N_NEGATE : HN_N_PLUS);
        p->at++;
        struct hn_tpl_node *inner = parse_unary(p, false);
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

static struct hn_tpl_node *parse_pow(struct hn_parser *p) {
    struct hn_tpl_node *left = parse_unary(p, true);
    while (hn_parse_skip_op(p, "**"))
        left = binary(p, HN_TPL_OP_POW, left, parse_unary(p, true));
    return left;
}

struct level {
    const char *text;
    enum hn_tpl_operator op;
};

static struct hn_tpl_node *parse_level(struct hn_parser *p, const struct level *ops, size_t n,
    struct hn_tpl_node *(*inner)(struct hn_parser *)) {
    struct hn_tpl_node *left = inner(p);
    for (size_t links = 0; !p->rc; links++) {
        size_t i = 0;
        while (i < n && !hn_parse_skip_op(p, ops[i].text))
            i++;
        if (i == n)
            break;
        if (links == HN_TPL_NESTING_MAX)
            return hn_parse_fail(
                p, HN_E_MODEL_INVALID, "too long a chain of operators", (struct hn_view){"", 0});
        left = binary(p, ops[i].op, left, inner(p));
    }
    return left;
}

static struct hn_tpl_node *parse_product(struct hn_parser *p) {
    static const struct level ops[] = {{"*", HN_TPL_OP_MUL}, {"/", HN_TPL_OP_DIV},
        {"//", HN_TPL_OP_FLOORDIV}, {"%", HN_TPL_OP_MOD}};
    return parse_level(p, ops, 4, parse_pow);
}

static struct hn_tpl_node *parse_concat(struct hn_parser *p) {
    struct hn_tpl_node *first = parse_product(p), **tail = first ? &first->next : &first;
    if (p->rc || !hn_parse_is_op(p, "~"))
        return first;
    struct hn_tpl_node *n = hn_parse_node(p, HN_N_CONCAT);
    while (hn_parse_skip_op(p, "~"))
        tail = hn_parse_append(tail, parse_product(p));
    if (n)
        n->list = first;
    return n;
}

static struct hn_tpl_node *parse_sum(struct hn_parser *p) {
    static const struct level ops[] = {{"+", HN_TPL_OP_ADD}, {"-", HN_TPL_OP_SUB}};
    return parse_level(p, ops, 2, parse_concat);
}

static bool comparison(struct hn_parser *p, enum hn_tpl_operator *ret) {
    static const struct level ops[] = {{"==", HN_TPL_OP_EQ}, {"!=", HN_TPL_OP_NE},
        {"<", HN_TPL_OP_LT}, {"<=", HN_TPL_OP_LE}, {">", HN_TPL_OP_GT}, {">=", HN_TPL_OP_GE}};
    for (size_t i = 0; i < 6; i++)
        if (hn_parse_skip_op(p, ops[i].text)) {
            *ret = ops[i].op;
            return true;
        }
    if (hn_parse_skip_name(p, "in")) {
        *ret = HN_TPL_OP_IN;
        return true;
    }
    if (!p->rc && hn_parse_is_name(p, "not") && p->at[1].kind == HN_T_NAME &&
        hn_view_is(p->at[1].text, "in")) {
        p->at += 2;
        *ret = HN_TPL_OP_NOT_IN;
        return true;
    }
    return false;
}

static struct hn_tpl_node *parse_compare(struct hn_parser *p) {
    struct hn_tpl_node *first = parse_sum(p), *n = NULL, **tail = NULL;
    enum hn_tpl_operator op;
    while (comparison(p, &op)) {
        if (!n && (n = hn_parse_node(p, HN_N_COMPARE))) {
            n->a = first;
            tail = &n->list;
        }
        struct hn_tpl_node *operand = hn_parse_node(p, HN_N_BINARY), *right = parse_sum(p);
        if (!n || !operand)
            return NULL;
        operand->op = (uint8_t)op;
        operand->a = right;
        tail = hn_parse_append(tail, operand);
    }
    return n ? n : first;
}

static struct hn_tpl_node *parse_not(struct hn_parser *p) {
    if (!hn_parse_is_name(p, "not"))
        return parse_compare(p);
    struct hn_tpl_node *n = hn_parse_node(p, HN_N_NOT);
    p->at++;
    struct hn_tpl_node *inner = hn_parse_enter(p) ? parse_not(p) : NULL;
    p->nesting--;
    if (n)
        n->a = inner;
    return n;
}

static struct hn_tpl_node *parse_logic(struct hn_parser *p, const char *word,
    enum hn_tpl_node_kind kind, struct hn_tpl_node *(*inner)(struct hn_parser *)) {
    struct hn_tpl_node *left = inner(p);
    for (size_t links = 0; hn_parse_skip_name(p, word); links++) {
        if (links == HN_TPL_NESTING_MAX)
            return hn_parse_fail(
                p, HN_E_MODEL_INVALID, "too long a chain of operators", (struct hn_view){"", 0});
        struct hn_tpl_node *n = hn_parse_node(p, kind), *right = inner(p);
        if (!n)
            return NULL;
        n->a = left;
        n->b = right;
        left = n;
    }
    return left;
}

static struct hn_tpl_node *parse_and(struct hn_parser *p) {
    return parse_logic(p, "and", HN_N_AND, parse_not);
}

static struct hn_tpl_node *parse_condition(struct hn_parser *p, bool with_choice) {
    if (!hn_parse_enter(p))
        return NULL;
    struct hn_tpl_node *value = parse_logic(p, "or", HN_N_OR, parse_and);
    while (with_choice && hn_parse_skip_name(p, "if")) {
        struct hn_tpl_node *n = hn_parse_node(p, HN_N_CHOOSE),
                           *test = parse_logic(p, "or", HN_N_OR, parse_and), *other = NULL;
        if (hn_parse_skip_name(p, "else"))
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

struct hn_tpl_node *hn_parse_expression(struct hn_parser *p) {
    return parse_condition(p, true);
}
