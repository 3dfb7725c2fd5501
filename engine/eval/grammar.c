/* See grammar.h. */
#include "engine/eval/grammar.h"
#include "engine/base/buf.h"

#include <stdlib.h>
#include <string.h>

enum {
    DEPTH = 400,       /* of a stack: places that are deeper are given up */
    STACKS = 2048,     /* of a state; the same */
    WORK = 200000,     /* steps to a state; the same */
    KEPT = 8,          /* states whose answers are kept */
    ELEMENTS = 1 << 20 /* of a grammar, at most */
};

enum kind { END, ALTERNATIVE, RULE, SET };

struct element {
    enum kind kind;
    uint32_t value; /* RULE: its number; SET: the set's */
};

struct set {
    uint64_t bits[4];
};

struct hn_grammar {
    struct element *elements;
    uint32_t *rules; /* [n_rules] first element of each */
    struct set *sets;
    size_t n_elements, elements_capacity, n_rules, rules_capacity, n_sets, sets_capacity;
    uint32_t writing; /* rule */
    bool failed;
};

struct hn_grammar *hn_grammar_create(void) {
    struct hn_grammar *g = hn_calloc(1, sizeof *g);
    if (g)
        g->writing = UINT32_MAX;
    return g;
}

void hn_grammar_destroy(struct hn_grammar *g) {
    if (!g)
        return;
    free(g->elements);
    free(g->rules);
    free(g->sets);
    free(g);
}

static void add(struct hn_grammar *g, enum kind kind, uint32_t value) {
    if (g->n_elements >= ELEMENTS ||
        !hn_grow(&g->elements, &g->elements_capacity, g->n_elements + 2, sizeof *g->elements)) {
        g->failed = true;
        return;
    }
    g->elements[g->n_elements++] = (struct element){kind, value};
    g->elements[g->n_elements] = (struct element){END, 0}; /* overwritten while it goes on */
}

uint32_t hn_grammar_rule(struct hn_grammar *g) {
    if (g->n_rules >= ELEMENTS ||
        !hn_grow(&g->rules, &g->rules_capacity, g->n_rules + 1, sizeof *g->rules)) {
        g->failed = true;
        return 0;
    }
    g->rules[g->n_rules] = UINT32_MAX;
    return (uint32_t)g->n_rules++;
}

void hn_grammar_alternative(struct hn_grammar *g, uint32_t rule) {
    if (g->failed)
        return;
    if (g->writing == rule) {
        add(g, ALTERNATIVE, 0);
        return;
    }
    if (g->writing != UINT32_MAX)
        add(g, END, 0);
    g->writing = rule;
    g->rules[rule] = (uint32_t)g->n_elements;
}

void hn_grammar_set(struct hn_grammar *g, const uint8_t (*ranges)[2], size_t n) {
    struct set set = {0};
    for (size_t i = 0; i < n; i++)
        for (unsigned c = ranges[i][0]; c <= ranges[i][1]; c++)
            set.bits[c / 64] |= 1ULL << c % 64;
    size_t at = 0;
    while (at < g->n_sets && memcmp(&g->sets[at], &set, sizeof set) != 0)
        at++;
    if (at == g->n_sets) {
        if (!hn_grow(&g->sets, &g->sets_capacity, at + 1, sizeof *g->sets)) {
            g->failed = true;
            return;
        }
        g->sets[g->n_sets++] = set;
    }
    add(g, SET, (uint32_t)at);
}

void hn_grammar_text(struct hn_grammar *g, const char *text, size_t size) {
    for (size_t i = 0; i < size; i++) {
        uint8_t byte[1][2] = {{(uint8_t)text[i], (uint8_t)text[i]}};
        hn_grammar_set(g, (const uint8_t(*)[2])byte, 1);
    }
}

void hn_grammar_ref(struct hn_grammar *g, uint32_t rule) {
    add(g, RULE, rule);
}

static bool ends(const struct hn_grammar *g, uint32_t at) {
    return g->elements[at].kind == END || g->elements[at].kind == ALTERNATIVE;
}

static uint32_t next_alternative(const struct hn_grammar *g, uint32_t at) {
    while (!ends(g, at))
        at++;
    return g->elements[at].kind == ALTERNATIVE ? at + 1 : UINT32_MAX;
}

/* What is known of a rule: whether it can be empty, and where the search for circles is. */
struct mark {
    bool empty, entered, left;
};

/* Whether an alternative's first elements up to `at` can all be empty. */
static bool passes(const struct hn_grammar *g, const struct mark *marks, uint32_t at) {
    return g->elements[at].kind == RULE && marks[g->elements[at].value].empty;
}

static bool find_empty(const struct hn_grammar *g, struct mark *marks) {
    bool changed = false;
    for (size_t r = 0; r < g->n_rules; r++)
        for (uint32_t a = g->rules[r]; !marks[r].empty && a != UINT32_MAX;
             a = next_alternative(g, a)) {
            uint32_t at = a;
            while (passes(g, marks, at))
                at++;
            marks[r].empty = ends(g, at);
            changed = changed || marks[r].empty;
        }
    return changed;
}

/* Whether the rule can begin with itself: a text would never come to its first byte. */
static bool circles(const struct hn_grammar *g, struct mark *marks, uint32_t rule, size_t depth) {
    struct mark *mark = &marks[rule];
    if (mark->entered || depth > 10000)
        return !mark->left;
    mark->entered = true;
    bool found = false;
    for (uint32_t a = g->rules[rule]; !found && a != UINT32_MAX; a = next_alternative(g, a))
        for (uint32_t at = a; !found && g->elements[at].kind == RULE; at++) {
            found = circles(g, marks, g->elements[at].value, depth + 1);
            if (!passes(g, marks, at))
                break;
        }
    mark->left = true;
    return found;
}

static int check_circles(const struct hn_grammar *g, struct hn_error *err) {
    struct mark *marks = hn_calloc(g->n_rules, sizeof *marks);
    bool found = false;
    if (!marks)
        return hn_fail(err, HN_E_INTERNAL, "out of memory");
    while (find_empty(g, marks))
        continue;
    for (uint32_t r = 0; !found && r < g->n_rules; r++)
        found = circles(g, marks, r, 0);
    free(marks);
    return found
        ? hn_fail(err, HN_E_INVALID_FIELD, "the schema: something in it is, or begins with, itself")
        : 0;
}

int hn_grammar_done(const struct hn_grammar *g, struct hn_error *err) {
    for (size_t i = 0; !g->failed && i < g->n_rules; i++)
        if (g->rules[i] == UINT32_MAX)
            return hn_fail(err, HN_E_INTERNAL, "a rule of the grammar was not written");
    if (!g->failed)
        return check_circles(g, err);
    return g->n_elements >= ELEMENTS ? hn_fail(err, HN_E_INVALID_FIELD, "the schema is too large")
                                     : hn_fail(err, HN_E_INTERNAL, "out of memory");
}

/* --- states --------------------------------------------------------------------------------- */

/* Stacks one behind the other, each its size and then its places, the top one last: an element of
 * kind SET. The empty stack is the end of the text. */
struct state {
    uint32_t *data;
    size_t n, capacity, stacks, work;
    bool over; /* beyond a bound: some of its stacks are missing */
};

static bool has_stack(const struct state *s, const uint32_t *stack, size_t n) {
    for (size_t at = 0; at < s->n; at += 1 + s->data[at])
        if (s->data[at] == n && (!n || memcmp(s->data + at + 1, stack, n * sizeof *stack) == 0))
            return true;
    return false;
}

static bool add_stack(struct state *s, const uint32_t *stack, size_t n) {
    if (s->stacks >= STACKS)
        s->over = true;
    if (s->over || has_stack(s, stack, n))
        return true;
    if (!hn_grow(&s->data, &s->capacity, s->n + n + 1, sizeof *s->data))
        return false;
    s->data[s->n] = (uint32_t)n;
    if (n)
        memcpy(s->data + s->n + 1, stack, n * sizeof *stack);
    s->n += n + 1;
    s->stacks++;
    return true;
}

static void note_over(struct state *s, bool over) {
    s->over = s->over || over;
}

/* Adds all stacks that stand before a byte, from the place `at` with stack[n] behind it. */
static bool expand(const struct hn_grammar *g, struct state *out, uint32_t *stack, size_t n,
    uint32_t at, unsigned depth) {
    while (ends(g, at)) {
        if (!n)
            return add_stack(out, stack, 0);
        at = stack[--n];
    }
    note_over(out, n + 1 >= DEPTH || depth >= DEPTH || ++out->work > WORK);
    if (out->over)
        return true;
    if (g->elements[at].kind == SET) {
        stack[n] = at;
        return add_stack(out, stack, n + 1);
    }
    uint32_t rule = g->rules[g->elements[at].value];
    bool good = true;
    size_t deeper = n;
    if (!ends(g, at + 1))
        stack[deeper++] = at + 1;
    uint32_t kept[DEPTH]; /* what an alternative may take off and write over */
    memcpy(kept, stack, deeper * sizeof *kept);
    for (uint32_t a = rule; good && a != UINT32_MAX; a = next_alternative(g, a)) {
        memcpy(stack, kept, deeper * sizeof *stack);
        good = expand(g, out, stack, deeper, a, depth + 1);
    }
    return good;
}

static bool holds(const struct hn_grammar *g, uint32_t at, uint8_t byte) {
    return g->sets[g->elements[at].value].bits[byte / 64] >> byte % 64 & 1;
}

static bool advance(
    const struct hn_grammar *g, const struct state *in, uint8_t byte, struct state *out) {
    uint32_t stack[DEPTH + 1];
    out->n = out->stacks = out->work = 0;
    out->over = false;
    for (size_t at = 0; at < in->n; at += 1 + in->data[at]) {
        size_t n = in->data[at];
        const uint32_t *from = in->data + at + 1;
        if (!n || !holds(g, from[n - 1], byte))
            continue;
        memcpy(stack, from, (n - 1) * sizeof *stack);
        if (!expand(g, out, stack, n - 1, from[n - 1] + 1, 0))
            return false;
    }
    return !out->over;
}

/* --- the vocabulary ------------------------------------------------------------------------- */

struct token {
    uint32_t at, size; /* in text */
    int32_t id;
    uint32_t common; /* bytes that it shares with the one before */
};

struct hn_vocabulary {
    const struct hn_tokenizer *tokenizer;
    struct token *tokens; /* [n] those with bytes, in their order */
    struct token *by_id;  /* [size] */
    struct hn_buf text;
    size_t n, size, longest;
};

static int by_bytes(const void *a, const void *b, void *text) {
    const struct token *x = a, *y = b;
    size_t n = x->size < y->size ? x->size : y->size;
    int c = memcmp((const char *)text + x->at, (const char *)text + y->at, n);
    return c ? c : (x->size > y->size) - (x->size < y->size);
}

void hn_vocabulary_destroy(struct hn_vocabulary *v) {
    if (!v)
        return;
    free(v->tokens);
    free(v->by_id);
    hn_buf_free(&v->text);
    free(v);
}

static void sort(struct hn_vocabulary *v) {
    if (!v->n)
        return;
    qsort_r(v->tokens, v->n, sizeof *v->tokens, by_bytes, v->text.data);
    for (size_t i = 1; i < v->n; i++) {
        const struct token *a = &v->tokens[i - 1];
        struct token *b = &v->tokens[i];
        size_t most = a->size < b->size ? a->size : b->size, k = 0;
        while (k < most && v->text.data[a->at + k] == v->text.data[b->at + k])
            k++;
        b->common = (uint32_t)k;
    }
}

int hn_vocabulary_create(
    const struct hn_tokenizer *tokenizer, struct hn_vocabulary **ret, struct hn_error *err) {
    struct hn_vocabulary *v = hn_calloc(1, sizeof *v);
    size_t size = hn_tokenizer_vocab(tokenizer);
    if (v) {
        v->tokenizer = tokenizer;
        v->size = size;
        v->tokens = hn_calloc(size, sizeof *v->tokens);
        v->by_id = hn_calloc(size, sizeof *v->by_id);
    }
    for (size_t id = 0; v && v->tokens && v->by_id && id < size; id++) {
        struct token token = {.at = (uint32_t)v->text.size, .id = (int32_t)id};
        if (!hn_tokenizer_is_end(tokenizer, (int32_t)id))
            hn_tokenizer_decode(tokenizer, (int32_t)id, false, &v->text);
        token.size = (uint32_t)(v->text.size - token.at);
        v->longest = token.size > v->longest ? token.size : v->longest;
        v->by_id[id] = token;
        if (token.size)
            v->tokens[v->n++] = token;
    }
    if (!v || !v->tokens || !v->by_id || v->text.failed) {
        hn_vocabulary_destroy(v);
        return hn_fail(err, HN_E_INTERNAL, "out of memory");
    }
    sort(v);
    *ret = v;
    return 0;
}

/* --- the matcher ---------------------------------------------------------------------------- */

struct kept {
    struct state state;
    bool *allowed; /* [vocab] */
    uint64_t used;
};

struct hn_matcher {
    const struct hn_grammar *grammar;
    const struct hn_vocabulary *vocabulary;
    struct state now, *walk; /* walk[longest + 1]: states along a token */
    struct kept kept[KEPT];
    uint64_t asked;
    const char *before;
    size_t before_size, taken; /* bytes of `before` that have come */
};

void hn_matcher_destroy(struct hn_matcher *m) {
    if (!m)
        return;
    for (size_t i = 0; m->walk && i <= m->vocabulary->longest; i++)
        free(m->walk[i].data);
    for (size_t i = 0; i < KEPT; i++) {
        free(m->kept[i].state.data);
        free(m->kept[i].allowed);
    }
    free(m->walk);
    free(m->now.data);
    free(m);
}

int hn_matcher_create(const struct hn_grammar *grammar, const struct hn_vocabulary *vocabulary,
    const char *before, size_t before_size, struct hn_matcher **ret, struct hn_error *err) {
    struct hn_matcher *m = hn_calloc(1, sizeof *m);
    uint32_t stack[DEPTH + 1] = {0};
    bool good = m && (m->walk = hn_calloc(vocabulary->longest + 1, sizeof *m->walk));
    if (m) {
        m->grammar = grammar;
        m->vocabulary = vocabulary;
        m->before = before;
        m->before_size = before_size;
    }
    for (uint32_t a = grammar->rules[0]; good && a != UINT32_MAX; a = next_alternative(grammar, a))
        good = expand(grammar, &m->now, stack, 0, a, 0);
    if (good && !m->now.over) {
        *ret = m;
        return 0;
    }
    bool over = good;
    if (m && !m->walk)
        free(m);
    else
        hn_matcher_destroy(m);
    return over ? hn_fail(err, HN_E_INVALID_FIELD, "the schema: it can begin in too many ways")
                : hn_fail(err, HN_E_INTERNAL, "out of memory");
}

bool hn_matcher_may_end(const struct hn_matcher *m) {
    return m->taken >= m->before_size && has_stack(&m->now, NULL, 0);
}

bool hn_matcher_must_end(const struct hn_matcher *m) {
    return hn_matcher_may_end(m) && m->now.stacks == 1;
}

static bool copy_state(struct state *to, const struct state *from) {
    if (!hn_grow(&to->data, &to->capacity, from->n + 1, sizeof *to->data))
        return false;
    memcpy(to->data, from->data, from->n * sizeof *to->data);
    to->n = from->n;
    to->stacks = from->stacks;
    to->over = false;
    return true;
}

/* Walks the tokens in their order: what one shares with the one before is walked already. */
static bool walk(struct hn_matcher *m, bool *allowed) {
    const struct hn_vocabulary *v = m->vocabulary;
    size_t walked = 0; /* bytes of the token before, to where it ended or went nowhere */
    if (!copy_state(&m->walk[0], &m->now))
        return false;
    for (size_t i = 0; i < v->n; i++) {
        const struct token *t = &v->tokens[i];
        size_t at = t->common < walked ? t->common : walked;
        for (; at < t->size && m->walk[at].stacks; at++)
            if (!advance(
                    m->grammar, &m->walk[at], (uint8_t)v->text.data[t->at + at], &m->walk[at + 1]))
                return false;
        walked = at;
        allowed[t->id] = at == t->size && m->walk[at].stacks;
    }
    return true;
}

/* While `before` has not come whole: tokens that go on with it, or with all of it and then the
 * grammar. */
static bool walk_before(const struct hn_matcher *m, bool *allowed) {
    const struct hn_vocabulary *v = m->vocabulary;
    size_t left = m->before_size - m->taken;
    struct state a = {0}, b = {0};
    bool good = true;
    for (size_t i = 0; good && i < v->n; i++) {
        const struct token *t = &v->tokens[i];
        size_t n = t->size < left ? t->size : left;
        if (memcmp(v->text.data + t->at, m->before + m->taken, n) != 0)
            continue;
        good = copy_state(&a, &m->now);
        for (size_t k = n; good && k < t->size && a.stacks; k++) {
            good = advance(m->grammar, &a, (uint8_t)v->text.data[t->at + k], &b);
            struct state spare = a;
            a = b;
            b = spare;
        }
        allowed[t->id] = good && a.stacks;
    }
    free(a.data);
    free(b.data);
    return good;
}

static void allow_ends(const struct hn_matcher *m, bool *allowed) {
    for (size_t id = 0; hn_matcher_may_end(m) && id < m->vocabulary->size; id++)
        if (hn_tokenizer_is_end(m->vocabulary->tokenizer, (int32_t)id))
            allowed[id] = true;
}

const bool *hn_matcher_allowed(struct hn_matcher *m) {
    struct kept *oldest = &m->kept[0];
    bool begun = m->taken >= m->before_size;
    m->asked++;
    for (size_t i = 0; i < KEPT; i++) {
        struct kept *k = &m->kept[i];
        if (begun && k->allowed && k->state.n == m->now.n &&
            memcmp(k->state.data, m->now.data, m->now.n * sizeof *m->now.data) == 0) {
            k->used = m->asked;
            return k->allowed;
        }
        oldest = k->used < oldest->used ? k : oldest;
    }
    if (!oldest->allowed &&
        !(oldest->allowed = hn_calloc(m->vocabulary->size, sizeof *oldest->allowed)))
        return NULL;
    memset(oldest->allowed, 0, m->vocabulary->size * sizeof *oldest->allowed);
    oldest->used = begun ? m->asked : 0;
    oldest->state.n = 0; /* so that it is never found where it is not kept */
    if (!(begun ? walk(m, oldest->allowed) : walk_before(m, oldest->allowed)))
        return NULL;
    if (begun && !copy_state(&oldest->state, &m->now))
        return NULL;
    allow_ends(m, oldest->allowed);
    return oldest->allowed;
}

bool hn_matcher_take(struct hn_matcher *m, int32_t id) {
    const struct token *t = &m->vocabulary->by_id[id];
    const char *text = m->vocabulary->text.data + t->at;
    for (size_t i = 0; i < t->size; i++) {
        if (m->taken < m->before_size) {
            m->taken++;
            continue;
        }
        if (!advance(m->grammar, &m->now, (uint8_t)text[i], &m->walk[0]))
            return false;
        struct state spare = m->now;
        m->now = m->walk[0];
        m->walk[0] = spare;
    }
    return true;
}
