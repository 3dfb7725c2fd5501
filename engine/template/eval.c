/*
 * The tree of a chat template, walked. Scoping follows Jinja: loops, macros, `with` and captured
 * blocks have scopes of their own, every pass of a loop a fresh one; `if` has none. Only namespaces
 * can be changed from within a loop.
 */
#include "engine/template/internal.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

enum flow { NORMAL, BREAK, CONTINUE };

static struct hn_tpl_value eval(struct hn_tpl_render *r, const struct hn_tpl_node *n);
static enum flow run_body(struct hn_tpl_render *r, const struct hn_tpl_node *list);

struct hn_tpl_value hn_tpl_render_fail(struct hn_tpl_render *r, int code, const char *format, ...) {
    if (!r->rc) {
        char text[400];
        va_list ap;
        va_start(ap, format);
        vsnprintf(text, sizeof text, format, ap);
        va_end(ap);
        r->rc = hn_fail(r->err, code, "the chat template fails in line %u: %s", r->line, text);
    }
    return hn_undefined();
}

int64_t hn_tpl_render_now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (int64_t)t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

bool hn_tpl_render_work(struct hn_tpl_render *r, size_t steps) {
    if (r->rc)
        return false;
    r->steps += steps < HN_TPL_STEPS_MAX ? steps : HN_TPL_STEPS_MAX;
    if (r->steps > HN_TPL_STEPS_MAX) {
        hn_tpl_render_fail(
            r, HN_E_MODEL_INVALID, "it does not come to an end within %zu steps", HN_TPL_STEPS_MAX);
    } else if (r->steps >= r->look_at) {
        r->look_at = r->steps + HN_TPL_STEPS_MAX / 1000;
        if (hn_tpl_render_now() > r->deadline_ms)
            hn_tpl_render_fail(r, HN_E_MODEL_INVALID,
                "one conversation takes it more than %g seconds", (double)r->limit_ms / 1000);
    }
    return !r->rc;
}

bool hn_tpl_render_bytes(struct hn_tpl_render *r, size_t bytes) {
    return hn_tpl_render_work(r, 1 + bytes / HN_TPL_STEP_BYTES);
}

bool hn_tpl_render_deeper(struct hn_tpl_render *r) {
    if (!hn_tpl_render_work(r, 1))
        return false;
    if (r->depth >= HN_TPL_DEPTH_MAX) {
        hn_tpl_render_fail(r, HN_E_MODEL_INVALID, "it is nested too deeply");
        return false;
    }
    r->depth++;
    return true;
}

void *hn_tpl_render_alloc(struct hn_tpl_render *r, size_t count, size_t size) {
    size_t bytes;
    if (!hn_mul(count, size, &bytes) ||
        !hn_tpl_render_bytes(r, bytes < HN_TPL_ARENA_MAX ? bytes : HN_TPL_ARENA_MAX))
        return NULL;
    void *p = hn_arena_alloc(&r->arena, count ? count : 1, size);
    if (!p && r->arena.out_of_memory)
        hn_tpl_render_fail(r, HN_E_INTERNAL, "out of memory");
    else if (!p)
        hn_tpl_render_fail(
            r, HN_E_TOO_LARGE, "it needs more than %zu MiB of memory", HN_TPL_ARENA_MAX >> 20);
    return p;
}

struct hn_tpl_value hn_missing(struct hn_view name) {
    return (struct hn_tpl_value){
        .kind = HN_V_UNDEFINED, .text = name.data, .size = (uint32_t)name.size};
}

struct hn_tpl_value hn_fail_undefined(struct hn_tpl_render *r, const struct hn_tpl_value *v) {
    return hn_tpl_render_fail(r, HN_E_DATASET_INVALID, "\"%.*s\" is undefined",
        (int)(v->size < 64 ? v->size : 64), v->text ? v->text : "");
}

void hn_scope_set(struct hn_tpl_render *r, int32_t symbol, struct hn_tpl_value value) {
    for (struct hn_tpl_binding *b = r->scope->bindings; b && hn_tpl_render_work(r, 1); b = b->next)
        if (b->symbol == symbol) {
            b->value = value;
            return;
        }
    struct hn_tpl_binding *b = hn_tpl_render_alloc(r, 1, sizeof *b);
    if (!b)
        return;
    *b = (struct hn_tpl_binding){symbol, value, r->scope->bindings};
    r->scope->bindings = b;
}

static struct hn_tpl_value lookup(struct hn_tpl_render *r, const struct hn_tpl_node *n) {
    for (const struct hn_tpl_scope *s = r->scope; s && hn_tpl_render_work(r, 1); s = s->parent)
        for (const struct hn_tpl_binding *b = s->bindings; b && hn_tpl_render_work(r, 1);
             b = b->next)
            if (b->symbol == n->symbol)
                return b->value;
    if (n->builtin)
        return (struct hn_tpl_value){.kind = HN_V_FUNCTION, .builtin = n->builtin};
    return hn_missing(n->name);
}

static struct hn_tpl_value bind_method(
    struct hn_tpl_render *r, struct hn_tpl_value object, struct hn_view name) {
    bool refused = false;
    const struct hn_tpl_builtin *method = hn_method_find(object.kind, name, &refused);
    if (refused)
        return hn_tpl_render_fail(r, HN_E_UNSUPPORTED,
            "the method \"%.*s\" would change a value, which templates may not do", (int)name.size,
            name.data);
    struct hn_tpl_value *self = method ? hn_tpl_render_alloc(r, 1, sizeof *self) : NULL;
    if (!self)
        return hn_missing(name);
    *self = object;
    return (struct hn_tpl_value){.kind = HN_V_METHOD, .builtin = method, .self = self};
}

static struct hn_tpl_value loop_attribute(const struct hn_tpl_loop *loop, struct hn_view name) {
    const struct {
        const char *name;
        int64_t value;
    } numbers[] = {
        {"index", (int64_t)loop->index + 1},
        {"index0", (int64_t)loop->index},
        {"length", (int64_t)loop->n},
        {"revindex", (int64_t)(loop->n - loop->index)},
        {"revindex0", (int64_t)(loop->n - loop->index) - 1},
        {"depth", (int64_t)loop->depth},
        {"depth0", (int64_t)loop->depth - 1},
    };
    for (size_t i = 0; i < sizeof numbers / sizeof numbers[0]; i++)
        if (hn_view_is(name, numbers[i].name))
            return hn_integer(numbers[i].value);
    if (hn_view_is(name, "first"))
        return hn_truth(loop->index == 0);
    if (hn_view_is(name, "last"))
        return hn_truth(loop->index + 1 == loop->n);
    if (hn_view_is(name, "previtem") && loop->index > 0)
        return loop->items[loop->index - 1];
    if (hn_view_is(name, "nextitem") && loop->index + 1 < loop->n)
        return loop->items[loop->index + 1];
    return hn_missing(name);
}

struct hn_tpl_value hn_tpl_render_attribute(
    struct hn_tpl_render *r, struct hn_tpl_value object, struct hn_view name) {
    if (object.kind == HN_V_UNDEFINED)
        return hn_fail_undefined(r, &object);
    if (name.size > 1 && name.data[0] == '_' && name.data[1] == '_')
        return hn_missing(name); /* the sandbox shows no internals */
    struct hn_tpl_value v = bind_method(r, object, name);
    if (v.kind == HN_V_METHOD || r->rc)
        return v;
    if (object.kind == HN_V_LOOP)
        return loop_attribute(object.loop, name);
    if (object.kind == HN_V_DICT || object.kind == HN_V_NAMESPACE) {
        const struct hn_tpl_value *found =
            hn_tpl_render_work(r, object.dict->n) ? hn_dict_get_text(object.dict, name) : NULL;
        if (found)
            return *found;
    }
    if (object.kind == HN_V_MACRO && hn_view_is(name, "name"))
        return hn_string(object.macro->node->name.data, object.macro->node->name.size);
    return hn_missing(name);
}

static struct hn_tpl_value eval_slice(struct hn_tpl_render *r, const struct hn_tpl_node *n) {
    struct hn_tpl_value object = eval(r, n->a), parts[3] = {hn_none(), hn_none(), hn_none()};
    const struct hn_tpl_node *nodes[3] = {n->b, n->c, n->d};
    for (size_t i = 0; i < 3; i++)
        if (nodes[i])
            parts[i] = eval(r, nodes[i]);
    return r->rc ? hn_undefined() : hn_op_slice(r, object, parts);
}

static struct hn_tpl_value eval_compare(struct hn_tpl_render *r, const struct hn_tpl_node *n) {
    struct hn_tpl_value left = eval(r, n->a);
    for (const struct hn_tpl_node *link = n->list; link && !r->rc; link = link->next) {
        struct hn_tpl_value right = eval(r, link->a);
        if (r->rc || !hn_op_compare(r, (enum hn_tpl_operator)link->op, &left, &right))
            return hn_truth(false);
        left = right;
    }
    return hn_truth(true);
}

static size_t count(const struct hn_tpl_node *list, bool keywords) {
    size_t n = 0;
    for (; list; list = list->next)
        n += (list->kind == HN_N_KEYWORD) == keywords;
    return n;
}

static struct hn_tpl_call eval_arguments(struct hn_tpl_render *r, const struct hn_tpl_node *list) {
    struct hn_tpl_call call = {.caller = hn_absent()};
    if (!list)
        return call;
    call.args = hn_tpl_render_alloc(r, count(list, false), sizeof *call.args);
    call.keywords = hn_tpl_render_alloc(r, count(list, true), sizeof *call.keywords);
    for (; list && call.args && call.keywords && !r->rc; list = list->next) {
        if (list->kind == HN_N_KEYWORD)
            call.keywords[call.n_keywords++] =
                (struct hn_tpl_pair){hn_string(list->name.data, list->name.size), eval(r, list->a)};
        else
            call.args[call.n++] = eval(r, list);
    }
    return call;
}

/* Binds arguments to a row's parameters by place, then by name. */
static bool bind(struct hn_tpl_render *r, const struct hn_tpl_builtin *b, struct hn_tpl_call *call,
    struct hn_tpl_value *bound, size_t n) {
    if (call->n > n) {
        hn_tpl_render_fail(r, HN_E_MODEL_INVALID, "%s takes at most %zu arguments", b->name, n);
        return false;
    }
    for (size_t i = 0; i < n; i++)
        bound[i] = i < call->n ? call->args[i] : hn_absent();
    for (size_t k = 0; k < call->n_keywords; k++) {
        const char *name = b->params;
        size_t i = 0;
        while (i < n &&
            !(strcspn(name, ",") == call->keywords[k].key.size &&
                memcmp(name, call->keywords[k].key.text, call->keywords[k].key.size) == 0)) {
            name += strcspn(name, ",");
            name += *name == ',';
            i++;
        }
        if (i == n) {
            hn_tpl_render_fail(r, HN_E_UNSUPPORTED, "%s has no argument \"%.*s\"", b->name,
                (int)call->keywords[k].key.size, call->keywords[k].key.text);
            return false;
        }
        bound[i] = call->keywords[k].value;
    }
    for (size_t i = 0; i < b->required; i++)
        if (bound[i].kind == HN_V_ABSENT) {
            hn_tpl_render_fail(
                r, HN_E_MODEL_INVALID, "%s needs %zu arguments", b->name, b->required);
            return false;
        }
    return true;
}

struct hn_tpl_value hn_tpl_render_builtin(struct hn_tpl_render *r, const struct hn_tpl_builtin *b,
    struct hn_tpl_value self, struct hn_tpl_call *call) {
    struct hn_tpl_value bound[8];
    if (!hn_tpl_render_work(r, 1 + call->n_keywords))
        return hn_undefined();
    if (b->params) {
        size_t n = *b->params != 0;
        for (const char *p = b->params; *p; p++)
            n += *p == ',';
        if (!bind(r, b, call, bound, n))
            return hn_undefined();
        struct hn_tpl_call named = {.args = bound, .n = n, .caller = call->caller};
        return b->run(r, self, &named);
    }
    return b->run(r, self, call);
}

static const struct hn_tpl_value *keyword(const struct hn_tpl_call *call, struct hn_view name) {
    for (size_t i = 0; i < call->n_keywords; i++)
        if (hn_view_of(call->keywords[i].key).size == name.size &&
            memcmp(call->keywords[i].key.text, name.data, name.size) == 0)
            return &call->keywords[i].value;
    return NULL;
}

static struct hn_tpl_value call_macro(
    struct hn_tpl_render *r, const struct hn_tpl_macro *macro, const struct hn_tpl_call *call) {
    const struct hn_tpl_node *n = macro->node, *param = n->kind == HN_S_MACRO ? n->a : n->b;
    struct hn_tpl_scope *scope = hn_tpl_render_alloc(r, 1, sizeof *scope), *outer = r->scope;
    struct hn_tpl_builder out = {0}, *outer_out = r->out;
    if (!scope)
        return hn_undefined();
    scope->parent = macro->scope;
    r->scope = scope;
    size_t i = 0;
    for (; param && !r->rc; param = param->next, i++) {
        const struct hn_tpl_value *named =
            hn_tpl_render_work(r, call->n_keywords) ? keyword(call, param->name) : NULL;
        struct hn_tpl_value v = i < call->n ? call->args[i]
            : named                         ? *named
            : param->a                      ? eval(r, param->a)
                                            : hn_missing(param->name);
        hn_scope_set(r, param->symbol, v);
    }
    if (i < call->n)
        hn_tpl_render_fail(r, HN_E_MODEL_INVALID, "macro \"%.*s\" takes only %zu arguments",
            (int)n->name.size, n->name.data, i);
    if (call->caller.kind != HN_V_ABSENT && hn_tpl_render_work(r, r->tpl->n_symbols))
        for (size_t k = 0; k < r->tpl->n_symbols; k++)
            if (hn_view_is(r->tpl->symbols[k], "caller"))
                hn_scope_set(r, (int32_t)k, call->caller);
    r->out = &out;
    run_body(r, n->list);
    r->out = outer_out;
    r->scope = outer;
    return r->rc ? hn_undefined() : hn_build_end(&out);
}

struct hn_tpl_value hn_tpl_render_call(
    struct hn_tpl_render *r, struct hn_tpl_value callee, struct hn_tpl_call *call) {
    switch (callee.kind) {
    case HN_V_FUNCTION:
        return hn_tpl_render_builtin(r, callee.builtin, hn_undefined(), call);
    case HN_V_METHOD:
        return hn_tpl_render_builtin(r, callee.builtin, *callee.self, call);
    case HN_V_MACRO:
        return call_macro(r, callee.macro, call);
    case HN_V_UNDEFINED:
        return hn_fail_undefined(r, &callee);
    default:
        return hn_tpl_render_fail(
            r, HN_E_DATASET_INVALID, "%s cannot be called", hn_value_type(&callee));
    }
}

static struct hn_tpl_value eval_filter(struct hn_tpl_render *r, const struct hn_tpl_node *n) {
    struct hn_tpl_value self = eval(r, n->a);
    struct hn_tpl_call call = eval_arguments(r, n->list);
    r->line = n->line;
    if (!n->builtin)
        return hn_tpl_render_fail(r, HN_E_UNSUPPORTED, "there is no %s \"%.*s\"",
            n->kind == HN_N_FILTER ? "filter" : "test",
            (int)(n->name.size < 64 ? n->name.size : 64), n->name.data);
    struct hn_tpl_value v = hn_tpl_render_builtin(r, n->builtin, self, &call);
    return n->kind == HN_N_TEST ? hn_truth(hn_value_true(&v) != n->flag) : v;
}

static struct hn_tpl_value eval_call(
    struct hn_tpl_render *r, const struct hn_tpl_node *n, struct hn_tpl_value caller) {
    struct hn_tpl_value callee = eval(r, n->a);
    struct hn_tpl_call call = eval_arguments(r, n->list);
    call.caller = caller;
    r->line = n->line;
    return r->rc ? hn_undefined() : hn_tpl_render_call(r, callee, &call);
}

static struct hn_tpl_value eval_list(struct hn_tpl_render *r, const struct hn_tpl_node *n) {
    size_t size = count(n->list, false), i = 0;
    struct hn_tpl_value *items = hn_tpl_render_alloc(r, size, sizeof *items);
    for (const struct hn_tpl_node *item = n->list; items && item && !r->rc; item = item->next)
        items[i++] = eval(r, item);
    struct hn_tpl_value v = hn_list(items, items ? i : 0);
    v.tuple = n->flag;
    return v;
}

static struct hn_tpl_value eval_dict(struct hn_tpl_render *r, const struct hn_tpl_node *n) {
    struct hn_tpl_dict *dict = hn_tpl_render_alloc(r, 1, sizeof *dict);
    for (const struct hn_tpl_node *key = n->list; dict && key && key->next && !r->rc;
         key = key->next->next) {
        struct hn_tpl_value k = eval(r, key);
        hn_dict_set(r, dict, k, eval(r, key->next));
    }
    return dict ? (struct hn_tpl_value){.kind = HN_V_DICT, .dict = dict} : hn_undefined();
}

static struct hn_tpl_value eval_concat(struct hn_tpl_render *r, const struct hn_tpl_node *n) {
    struct hn_tpl_builder b = {0};
    for (const struct hn_tpl_node *item = n->list; item && !r->rc; item = item->next) {
        struct hn_tpl_value text = hn_value_text(r, eval(r, item));
        hn_build_value(r, &b, &text);
    }
    return hn_build_end(&b);
}

static struct hn_tpl_value eval_sign(struct hn_tpl_render *r, const struct hn_tpl_node *n) {
    struct hn_tpl_value v = eval(r, n->a);
    if (v.kind == HN_V_UNDEFINED && !r->rc)
        return hn_fail_undefined(r, &v);
    if (!hn_is_number(&v))
        return hn_tpl_render_fail(r, HN_E_DATASET_INVALID, "%s has no sign", hn_value_type(&v));
    if (n->kind == HN_N_PLUS)
        return v.kind == HN_V_BOOL ? hn_integer(v.truth) : v;
    return v.kind == HN_V_FLOAT ? hn_real(-v.real)
                                : hn_op_binary(r, HN_TPL_OP_SUB, hn_integer(0), v);
}

static struct hn_tpl_value eval_kind(struct hn_tpl_render *r, const struct hn_tpl_node *n) {
    struct hn_tpl_value v;
    switch (n->kind) {
    case HN_N_CONST:
        return n->value;
    case HN_N_NAME:
        return lookup(r, n);
    case HN_N_LIST:
        return eval_list(r, n);
    case HN_N_DICT:
        return eval_dict(r, n);
    case HN_N_ATTRIBUTE:
        return hn_tpl_render_attribute(r, eval(r, n->a), n->name);
    case HN_N_ITEM:
        v = eval(r, n->a);
        return hn_tpl_render_item(r, v, eval(r, n->b));
    case HN_N_SLICE:
        return eval_slice(r, n);
    case HN_N_CALL:
        return eval_call(r, n, hn_absent());
    case HN_N_FILTER:
    case HN_N_TEST:
        return eval_filter(r, n);
    case HN_N_NEGATE:
    case HN_N_PLUS:
        return eval_sign(r, n);
    case HN_N_NOT:
        v = eval(r, n->a);
        return hn_truth(!hn_value_true(&v));
    case HN_N_AND:
        v = eval(r, n->a);
        return hn_value_true(&v) ? eval(r, n->b) : v;
    case HN_N_OR:
        v = eval(r, n->a);
        return hn_value_true(&v) ? v : eval(r, n->b);
    case HN_N_BINARY:
        v = eval(r, n->a);
        return hn_op_binary(r, (enum hn_tpl_operator)n->op, v, eval(r, n->b));
    case HN_N_CONCAT:
        return eval_concat(r, n);
    case HN_N_COMPARE:
        return eval_compare(r, n);
    case HN_N_CHOOSE:
        v = eval(r, n->b);
        return hn_value_true(&v) ? eval(r, n->a)
            : n->c               ? eval(r, n->c)
                                 : hn_missing((struct hn_view){"the value of an inline if", 25});
    default:
        return hn_undefined();
    }
}

static struct hn_tpl_value eval(struct hn_tpl_render *r, const struct hn_tpl_node *n) {
    if (n)
        r->line = n->line;
    if (!n || !hn_tpl_render_deeper(r))
        return hn_undefined();
    struct hn_tpl_value v = eval_kind(r, n);
    r->depth--;
    return v;
}

static void assign(
    struct hn_tpl_render *r, const struct hn_tpl_node *target, struct hn_tpl_value value) {
    if (r->rc)
        return;
    if (target->kind == HN_N_NAME) {
        hn_scope_set(r, target->symbol, value);
    } else if (target->kind == HN_N_ATTRIBUTE) {
        struct hn_tpl_value ns = eval(r, target->a);
        if (ns.kind != HN_V_NAMESPACE)
            hn_tpl_render_fail(r, HN_E_MODEL_INVALID, "only a namespace's attributes can be set");
        else
            hn_dict_set(r, ns.dict, hn_string(target->name.data, target->name.size), value);
    } else {
        struct hn_tpl_value items = hn_value_list(r, value);
        if (!r->rc && items.size != count(target->list, false))
            hn_tpl_render_fail(r, HN_E_DATASET_INVALID,
                "%u values cannot be unpacked into %zu names", items.size,
                count(target->list, false));
        size_t i = 0;
        for (const struct hn_tpl_node *name = target->list; name && !r->rc; name = name->next)
            assign(r, name, items.items[i++]);
    }
}

static struct hn_tpl_scope *push_scope(struct hn_tpl_render *r) {
    struct hn_tpl_scope *scope = hn_tpl_render_alloc(r, 1, sizeof *scope), *outer = r->scope;
    if (scope) {
        scope->parent = outer;
        r->scope = scope;
    }
    return outer;
}

/* The items whose condition holds; it sees the loop's names but no `loop`. */
static struct hn_tpl_value select_items(
    struct hn_tpl_render *r, const struct hn_tpl_node *n, struct hn_tpl_value list) {
    struct hn_tpl_value *items = hn_tpl_render_alloc(r, list.size, sizeof *items);
    size_t kept = 0;
    for (size_t i = 0; items && i < list.size && !r->rc; i++) {
        struct hn_tpl_scope *outer = push_scope(r);
        assign(r, n->a, list.items[i]);
        struct hn_tpl_value keep = eval(r, n->c);
        if (hn_value_true(&keep))
            items[kept++] = list.items[i];
        r->scope = outer;
    }
    return hn_list(items, items ? kept : 0);
}

static void run_for(struct hn_tpl_render *r, const struct hn_tpl_node *n) {
    struct hn_tpl_value list = hn_value_list(r, eval(r, n->b));
    if (n->c)
        list = select_items(r, n, list);
    struct hn_tpl_loop *loop = hn_tpl_render_alloc(r, 1, sizeof *loop);
    if (!loop)
        return;
    *loop = (struct hn_tpl_loop){
        .items = list.items, .n = list.size, .depth = ++r->loop_depth, .changed = hn_absent()};
    for (; loop->index < loop->n && hn_tpl_render_work(r, 1); loop->index++) {
        struct hn_tpl_scope *outer = push_scope(r);
        hn_scope_set(r, n->symbol, (struct hn_tpl_value){.kind = HN_V_LOOP, .loop = loop});
        assign(r, n->a, list.items[loop->index]);
        enum flow flow = run_body(r, n->list);
        r->scope = outer;
        if (flow == BREAK)
            break;
    }
    r->loop_depth--;
    if (!list.size)
        run_body(r, n->other);
}

/* Renders a body into a string, in a scope of its own. */
static struct hn_tpl_value capture(struct hn_tpl_render *r, const struct hn_tpl_node *body) {
    struct hn_tpl_builder out = {0}, *outer_out = r->out;
    struct hn_tpl_scope *outer = push_scope(r);
    r->out = &out;
    run_body(r, body);
    r->out = outer_out;
    r->scope = outer;
    return hn_build_end(&out);
}

/* The value of a filter chain over a captured text, which the chain finds under symbol -1. */
static struct hn_tpl_value filter_text(
    struct hn_tpl_render *r, const struct hn_tpl_node *chain, struct hn_tpl_value text) {
    struct hn_tpl_scope *outer = push_scope(r);
    hn_scope_set(r, -1, text);
    struct hn_tpl_value v = eval(r, chain);
    r->scope = outer;
    return v;
}

static void print(struct hn_tpl_render *r, struct hn_tpl_value v) {
    struct hn_tpl_value text = r->rc ? v : hn_value_text(r, v);
    if (!r->rc)
        hn_build_value(r, r->out, &text);
}

static struct hn_tpl_value make_macro(struct hn_tpl_render *r, const struct hn_tpl_node *n) {
    struct hn_tpl_macro *macro = hn_tpl_render_alloc(r, 1, sizeof *macro);
    if (!macro)
        return hn_undefined();
    *macro = (struct hn_tpl_macro){n, r->scope};
    return (struct hn_tpl_value){.kind = HN_V_MACRO, .macro = macro};
}

static enum flow run_scope(struct hn_tpl_render *r, const struct hn_tpl_node *n) {
    struct hn_tpl_scope *outer = push_scope(r), *inner = r->scope;
    if (n->kind == HN_S_WITH)
        for (const struct hn_tpl_node *set = n->a; set && !r->rc; set = set->next) {
            r->scope = outer; /* the values see the scope outside */
            struct hn_tpl_value v = eval(r, set->b);
            r->scope = inner;
            assign(r, set->a, v);
        }
    enum flow flow = run_body(r, n->list);
    r->scope = outer;
    return flow;
}

static enum flow run_if(struct hn_tpl_render *r, const struct hn_tpl_node *n) {
    for (; n; n = n->other) {
        struct hn_tpl_value test = eval(r, n->a);
        if (hn_value_true(&test))
            return run_body(r, n->list);
        if (!n->flag)
            return run_body(r, n->other);
    }
    return NORMAL;
}

static enum flow run(struct hn_tpl_render *r, const struct hn_tpl_node *n) {
    r->line = n->line;
    switch (n->kind) {
    case HN_S_TEXT:
        hn_build(r, r->out, n->value.text, n->value.size, HN_ORIGIN_TEMPLATE);
        break;
    case HN_S_PRINT:
        print(r, eval(r, n->a));
        break;
    case HN_S_IF:
        return run_if(r, n);
    case HN_S_FOR:
        run_for(r, n);
        break;
    case HN_S_SET:
        assign(r, n->a, eval(r, n->b));
        break;
    case HN_S_SET_BLOCK:
        assign(r, n->a, filter_text(r, n->b, capture(r, n->list)));
        break;
    case HN_S_MACRO:
        hn_scope_set(r, n->symbol, make_macro(r, n));
        break;
    case HN_S_CALL:
        print(r, eval_call(r, n->a, make_macro(r, n)));
        break;
    case HN_S_FILTER:
        print(r, filter_text(r, n->a, capture(r, n->list)));
        break;
    case HN_S_WITH:
    case HN_S_SCOPE:
        return run_scope(r, n);
    case HN_S_BREAK:
        return BREAK;
    case HN_S_CONTINUE:
        return CONTINUE;
    default:
        break;
    }
    return NORMAL;
}

static enum flow run_body(struct hn_tpl_render *r, const struct hn_tpl_node *list) {
    enum flow flow = NORMAL;
    if (!hn_tpl_render_deeper(r))
        return flow;
    for (; list && flow == NORMAL && hn_tpl_render_work(r, 1); list = list->next)
        flow = run(r, list);
    r->depth--;
    return flow;
}

void hn_tpl_render_body(struct hn_tpl_render *r, const struct hn_tpl_node *list) {
    run_body(r, list);
}
