/*
 * Inside the template interpreter: values, syntax tree, rendering state. Seen only by template*.c.
 *
 *   template_lex.c      source → tokens, with Jinja's whitespace rules
 *   template_parse.c, template_expression.c   tokens → tree
 *   template_value.c    strings with origins, comparison, text forms, JSON in and out
 *   template_eval.c     the tree walked; template_operators.c: what operators do
 *   template_filters.c, template_methods.c   the tables of filters and tests; of methods and
 *                                            functions
 *   template.c          the public doors
 *
 * Failure is sticky: the first error fills render->err and sets render->rc; from then on evaluation
 * yields undefined values and loops end. So expressions need no checks after every step. All memory
 * is the render's arena.
 */
#ifndef HN_ENGINE_TEMPLATE_INTERNAL_H
#define HN_ENGINE_TEMPLATE_INTERNAL_H

#include "engine/base/arena.h"
#include "engine/formats/gguf.h"
#include "engine/template/template.h"

#include <stdbool.h>

enum {
    HN_TPL_SOURCE_MAX = 1 << 20, /* bytes of a template */
    HN_TPL_NAMES_MAX = 2048,     /* distinct variable names */
    HN_TPL_NESTING_MAX = 100,    /* of expressions and blocks in the source */
    HN_TPL_DEPTH_MAX = 400,      /* of evaluation, macros included */
};
#define HN_TPL_STEPS_MAX ((size_t)20000000)
#define HN_TPL_STEP_BYTES 64 /* of memory filled, copied or compared: a step */
#define HN_TPL_ARENA_MAX ((size_t)256 << 20)

enum hn_tpl_value_kind {
    HN_V_UNDEFINED, /* text = the name that is missing */
    HN_V_NONE,
    HN_V_BOOL,
    HN_V_INT,
    HN_V_FLOAT,
    HN_V_STRING,
    HN_V_LIST,
    HN_V_DICT,
    HN_V_NAMESPACE,
    HN_V_MACRO,
    HN_V_FUNCTION, /* a global function */
    HN_V_METHOD,   /* a method bound to *self */
    HN_V_LOOP,
    HN_V_ABSENT, /* an argument that was not given */
};

struct hn_tpl_value {
    uint8_t kind;
    bool tuple;      /* of LIST: prints and compares as a tuple */
    uint16_t origin; /* of the whole value; for a STRING unless origins is set */
    uint32_t size;   /* bytes of a STRING, items of a LIST */
    union {
        bool truth;
        int64_t integer;
        double real;
        const char *text;           /* [size], valid UTF-8 */
        struct hn_tpl_value *items; /* [size] */
        struct hn_tpl_dict *dict;   /* DICT and NAMESPACE */
        struct hn_tpl_macro *macro;
        const struct hn_tpl_builtin *builtin; /* FUNCTION and METHOD */
        struct hn_tpl_loop *loop;
    };
    union {
        const uint16_t *origins;         /* [size] of a STRING, or NULL: all bytes have `origin` */
        const struct hn_tpl_value *self; /* of a METHOD */
    };
};

struct hn_tpl_pair {
    struct hn_tpl_value key, value;
};
struct hn_tpl_dict {
    struct hn_tpl_pair *pairs;
    size_t n, capacity;
};

struct hn_tpl_loop {
    const struct hn_tpl_value *items; /* [n] */
    size_t index, n, depth;
    struct hn_tpl_value changed; /* last argument of loop.changed() */
};

enum hn_tpl_node_kind {
    HN_N_CONST,
    HN_N_NAME,
    HN_N_LIST,
    HN_N_DICT,
    HN_N_ATTRIBUTE,
    HN_N_ITEM,
    HN_N_SLICE,
    HN_N_CALL,
    HN_N_FILTER,
    HN_N_TEST,
    HN_N_NEGATE,
    HN_N_PLUS,
    HN_N_NOT,
    HN_N_AND,
    HN_N_OR,
    HN_N_BINARY,
    HN_N_CONCAT,
    HN_N_COMPARE,
    HN_N_CHOOSE,
    HN_N_KEYWORD,
    HN_S_TEXT,
    HN_S_PRINT,
    HN_S_IF,
    HN_S_FOR,
    HN_S_SET,
    HN_S_SET_BLOCK,
    HN_S_MACRO,
    HN_S_CALL,
    HN_S_FILTER,
    HN_S_WITH,
    HN_S_SCOPE,
    HN_S_BREAK,
    HN_S_CONTINUE,
};

enum hn_tpl_operator {
    HN_TPL_OP_ADD,
    HN_TPL_OP_SUB,
    HN_TPL_OP_MUL,
    HN_TPL_OP_DIV,
    HN_TPL_OP_FLOORDIV,
    HN_TPL_OP_MOD,
    HN_TPL_OP_POW,
    HN_TPL_OP_EQ,
    HN_TPL_OP_NE,
    HN_TPL_OP_LT,
    HN_TPL_OP_LE,
    HN_TPL_OP_GT,
    HN_TPL_OP_GE,
    HN_TPL_OP_IN,
    HN_TPL_OP_NOT_IN,
};

/*
 * One node of the tree. Children by kind:
 *   LIST list; DICT list of key, value, key, value …; ATTRIBUTE a.name; ITEM a[b]; SLICE a[b:c:d]
 *   (each may be NULL); CALL a(list); FILTER a|name(list); TEST a is name(list), flag = negated;
 *   BINARY a op b; CONCAT list; COMPARE a, then list of nodes with op whose a is the operand;
 *   CHOOSE a if b else c (c may be NULL); KEYWORD name=a; IF a list else other; FOR a in b if c:
 *   list else other; SET a = b; SET_BLOCK a list, b = filters
 * or NULL; MACRO name(a = parameters, by next) list; CALL statement a = call node, b = parameters,
 * list; FILTER statement a = filter chain, list; WITH a = targets, list; SCOPE list A filter chain
 * that has no begin of its own (set block, filter block) begins with an HN_N_NAME of symbol -1.
 */
struct hn_tpl_node {
    uint8_t kind, op;
    bool flag;
    uint32_t line;
    int32_t symbol; /* of a NAME */
    struct hn_view name;
    struct hn_tpl_node *a, *b, *c, *d, *list, *other, *next;
    struct hn_tpl_value value;            /* CONST, and TEXT's bytes */
    const struct hn_tpl_builtin *builtin; /* FILTER and TEST; a NAME that is a global function */
};

struct hn_template {
    struct hn_arena arena; /* source, nodes, names */
    struct hn_view *symbols;
    size_t n_symbols;
    struct hn_tpl_node *body;
};

struct hn_tpl_binding {
    int32_t symbol;
    struct hn_tpl_value value;
    struct hn_tpl_binding *next;
};
struct hn_tpl_scope {
    struct hn_tpl_binding *bindings;
    struct hn_tpl_scope *parent;
};

struct hn_tpl_macro {
    const struct hn_tpl_node *node; /* a MACRO, or a CALL statement whose body the macro is */
    struct hn_tpl_scope *scope;     /* where it was defined */
};

/* Bytes with their origins, growing in the arena. */
struct hn_tpl_builder {
    char *text;
    uint16_t *origins;
    size_t size, capacity;
};

struct hn_tpl_render {
    const struct hn_template *tpl;
    const struct hn_template_input *in;
    struct hn_arena arena;
    struct hn_error *err;
    int rc; /* sticky */
    uint32_t line;
    size_t steps, depth, loop_depth;
    size_t look_at;                /* steps at which the clock is looked at next */
    int64_t deadline_ms, limit_ms; /* by the monotonic clock */
    struct hn_tpl_scope *scope;
    struct hn_tpl_builder *out;
};

struct hn_tpl_call {
    struct hn_tpl_value *
        /* [n] positional; for a builtin with `params` bound to them, HN_V_ABSENT where not given */
        args;
    size_t n;
    struct hn_tpl_pair *keywords; /* [n_keywords]; keys are strings; empty once bound */
    size_t n_keywords;
    struct hn_tpl_value caller; /* of a call block, or ABSENT */
};

/* A filter, test, method or function: one row of a table. */
struct hn_tpl_builtin {
    const char *name;
    /* names joined by commas, to which arguments are bound; NULL: the row binds for itself */
    const char *params;
    size_t required; /* of params */
    struct hn_tpl_value (*run)(
        struct hn_tpl_render *r, struct hn_tpl_value self, struct hn_tpl_call *call);
};

/* template_parse.c */
int hn_template_parse(struct hn_template *tpl, const char *text, size_t size, struct hn_error *err);

/* template_filters.c, template_methods.c: rows by name, NULL when there is none. */
const struct hn_tpl_builtin *hn_filter_find(struct hn_view name);
const struct hn_tpl_builtin *hn_test_find(struct hn_view name);
const struct hn_tpl_builtin *hn_function_find(struct hn_view name);
/* *ret_refused is set for methods that would change a value, which the sandbox forbids. */
const struct hn_tpl_builtin *hn_method_find(
    enum hn_tpl_value_kind kind, struct hn_view name, bool *ret_refused);

/* trace.c: values of a render that traces. */
uint16_t hn_trace_field(struct hn_tpl_render *r, const char *field, const json_t *value);
struct hn_tpl_value hn_trace_member(struct hn_tpl_render *r, const char *key, const json_t *json);
struct hn_tpl_value hn_trace_tools(struct hn_tpl_render *r, const json_t *tools);
/* The parts whose bytes are in a text. */
void hn_trace_mark(struct hn_trace *trace, const uint16_t *origins, size_t n);

/* Python's "%s …" % value. */
struct hn_tpl_value hn_format_percent(
    struct hn_tpl_render *r, struct hn_tpl_value format, struct hn_tpl_value value);

/* template_eval.c */
void hn_tpl_render_body(struct hn_tpl_render *r, const struct hn_tpl_node *list);
struct hn_tpl_value hn_tpl_render_call(
    struct hn_tpl_render *r, struct hn_tpl_value callee, struct hn_tpl_call *call);
struct hn_tpl_value hn_tpl_render_builtin(struct hn_tpl_render *r, const struct hn_tpl_builtin *b,
    struct hn_tpl_value self, struct hn_tpl_call *call);
/* Jinja's a.name: method, then item. */
struct hn_tpl_value hn_tpl_render_attribute(
    struct hn_tpl_render *r, struct hn_tpl_value object, struct hn_view name);
/* undefined, with the name for the error that its use would be */
struct hn_tpl_value hn_missing(struct hn_view name);
struct hn_tpl_value hn_fail_undefined(struct hn_tpl_render *r, const struct hn_tpl_value *v);
void hn_scope_set(struct hn_tpl_render *r, int32_t symbol, struct hn_tpl_value value);
/* Sets the sticky error with the present line; later ones are ignored. Returns undefined. */
struct hn_tpl_value hn_tpl_render_fail(struct hn_tpl_render *r, int code, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
/* Counts work, before it is done; false when the limit is reached (sticky). Memory counts itself
 * (hn_tpl_render_alloc, hn_build); what else takes longer for larger values counts with
 * hn_tpl_render_bytes or a step an item. */
bool hn_tpl_render_work(struct hn_tpl_render *r, size_t steps);
bool hn_tpl_render_bytes(struct hn_tpl_render *r, size_t bytes);
/* The same for what calls itself; where it is true, r->depth-- when done. */
bool hn_tpl_render_deeper(struct hn_tpl_render *r);
int64_t hn_tpl_render_now(void); /* milliseconds of the monotonic clock */
void *hn_tpl_render_alloc(
    struct hn_tpl_render *r, size_t count, size_t size); /* NULL: sticky error */

/* template_operators.c */
struct hn_tpl_value hn_tpl_render_item(
    struct hn_tpl_render *r, struct hn_tpl_value object, struct hn_tpl_value key);
struct hn_tpl_value hn_op_binary(
    struct hn_tpl_render *r, enum hn_tpl_operator op, struct hn_tpl_value a, struct hn_tpl_value b);
bool hn_op_compare(struct hn_tpl_render *r, enum hn_tpl_operator op, const struct hn_tpl_value *a,
    const struct hn_tpl_value *b);
/* object[parts[0]:parts[1]:parts[2]], NONE where a part was left out. */
struct hn_tpl_value hn_op_slice(
    struct hn_tpl_render *r, struct hn_tpl_value object, const struct hn_tpl_value parts[3]);

/* template_value.c */
static inline struct hn_tpl_value hn_undefined(void) {
    return (struct hn_tpl_value){.kind = HN_V_UNDEFINED};
}
static inline struct hn_tpl_value hn_none(void) {
    return (struct hn_tpl_value){.kind = HN_V_NONE};
}
static inline struct hn_tpl_value hn_absent(void) {
    return (struct hn_tpl_value){.kind = HN_V_ABSENT};
}
static inline struct hn_tpl_value hn_truth(bool truth) {
    return (struct hn_tpl_value){.kind = HN_V_BOOL, .truth = truth};
}
static inline struct hn_tpl_value hn_integer(int64_t integer) {
    return (struct hn_tpl_value){.kind = HN_V_INT, .integer = integer};
}
static inline struct hn_tpl_value hn_real(double real) {
    return (struct hn_tpl_value){.kind = HN_V_FLOAT, .real = real};
}
static inline struct hn_tpl_value hn_string(const char *text, size_t size) {
    return (struct hn_tpl_value){.kind = HN_V_STRING, .text = text, .size = (uint32_t)size};
}
static inline struct hn_tpl_value hn_list(struct hn_tpl_value *items, size_t n) {
    return (struct hn_tpl_value){.kind = HN_V_LIST, .items = items, .size = (uint32_t)n};
}
static inline struct hn_view hn_view_of(struct hn_tpl_value string) {
    return (struct hn_view){string.text, string.size};
}
static inline uint16_t hn_origin_at(const struct hn_tpl_value *string, size_t i) {
    return string->origins ? string->origins[i] : string->origin;
}
static inline bool hn_is_number(const struct hn_tpl_value *v) {
    return v->kind == HN_V_INT || v->kind == HN_V_FLOAT || v->kind == HN_V_BOOL;
}
static inline bool hn_is_missing(const struct hn_tpl_value *v) { /* argument not given, or None */
    return v->kind == HN_V_ABSENT || v->kind == HN_V_NONE;
}
/* nearest one of 64 bits; 0 for what is no number */
int64_t hn_value_int(const struct hn_tpl_value *number);
double hn_value_real(const struct hn_tpl_value *number);
const char *hn_value_type(const struct hn_tpl_value *v); /* Python's name of the type */
bool hn_value_true(const struct hn_tpl_value *v);
bool hn_value_equal(
    struct hn_tpl_render *r, const struct hn_tpl_value *a, const struct hn_tpl_value *b);
/* <0, 0, >0; a sticky error for what Python cannot order. `fold`: strings compare without case. */
int hn_value_compare(
    struct hn_tpl_render *r, const struct hn_tpl_value *a, const struct hn_tpl_value *b, bool fold);
bool hn_value_contains(
    struct hn_tpl_render *r, const struct hn_tpl_value *container, const struct hn_tpl_value *item);
struct hn_tpl_value hn_value_slice(
    const struct hn_tpl_value *string, size_t begin, size_t end); /* bytes */
size_t hn_value_characters(struct hn_tpl_render *r, const struct hn_tpl_value *string);
/* Python's str(v): a STRING, with origins. */
struct hn_tpl_value hn_value_text(struct hn_tpl_render *r, struct hn_tpl_value v);
/* What a for loop sees: a LIST; sticky error when v cannot be iterated. */
struct hn_tpl_value hn_value_list(struct hn_tpl_render *r, struct hn_tpl_value v);
struct hn_tpl_value hn_value_from_json(
    struct hn_tpl_render *r, const json_t *json, uint16_t origin);
struct hn_tpl_value hn_value_messages(struct hn_tpl_render *r, const json_t *messages);
struct hn_tpl_value hn_value_tools(struct hn_tpl_render *r, const json_t *tools);
struct hn_json_style {
    const char *item, *key;     /* separators */
    struct hn_tpl_value indent; /* STRING of one level, or NONE */
    bool ascii, sorted;
};
void hn_value_to_json(struct hn_tpl_render *r, struct hn_tpl_builder *b, struct hn_tpl_value v,
    const struct hn_json_style *style, size_t depth);

struct hn_tpl_value *hn_dict_get(struct hn_tpl_render *r, const struct hn_tpl_dict *dict,
    const struct hn_tpl_value *key); /* or NULL */
struct hn_tpl_value *hn_dict_get_text(const struct hn_tpl_dict *dict, struct hn_view key);
void hn_dict_set(struct hn_tpl_render *r, struct hn_tpl_dict *dict, struct hn_tpl_value key,
    struct hn_tpl_value value);

void hn_build(struct hn_tpl_render *r, struct hn_tpl_builder *b, const char *text, size_t size,
    uint16_t origin);
void hn_build_value(
    struct hn_tpl_render *r, struct hn_tpl_builder *b, const struct hn_tpl_value *string);
struct hn_tpl_value hn_build_end(const struct hn_tpl_builder *b);

#endif
