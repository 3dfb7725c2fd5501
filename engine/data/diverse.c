/* See diverse.h. Gains only fall, so that a row whose gain is still the largest after it was
 * computed anew is the next one (lazy greedy, Minoux 1978). */
#include "engine/data/diverse.h"
#include "engine/base/buf.h"
#include "engine/base/pulse.h"
#include "engine/data/row_set.h"

#include <stdlib.h>
#include <string.h>

#define PAIRS 256 /* of a row */

struct candidate {
    uint64_t class, *pairs; /* pairs: hashes, in `all` */
    size_t n, index;        /* index: into rows */
    double gain;            /* as large or larger than it is now */
};

struct search {
    struct candidate *list, *heap; /* heap: of the class at hand */
    uint64_t *all;                 /* [n_all] */
    size_t n_all, capacity, n_heap;
    double mean;
    struct hn_row_set seen;
};

/* FNV-1a of a word that follows another. */
static uint64_t hash(uint64_t before, const char *word, size_t size) {
    uint64_t h = 14695981039346656037u ^ before * 0x9e3779b97f4a7c15u;
    for (size_t i = 0; i < size; i++)
        h = (h ^ (unsigned char)word[i]) * 1099511628211u;
    return h | 1; /* a key of two zeros is free */
}

static int ascending(const void *a, const void *b) {
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
    return (x > y) - (x < y);
}

/* Adds the different pairs of the text to `all`; *ret_n: how many. */
static int add_pairs(struct search *s, const char *text, size_t *ret_n, struct hn_error *err) {
    uint64_t found[PAIRS], before = 0;
    size_t n = 0, kept = 0;
    for (const char *at = text; *at && n < PAIRS;) {
        size_t gap = strspn(at, " \n\t"), size = strcspn(at + gap, " \n\t");
        at += gap + size;
        if (!size)
            break;
        uint64_t word = hash(0, at - size, size);
        found[n++] = hash(before, at - size, size);
        before = word;
    }
    qsort(found, n, sizeof *found, ascending);
    for (size_t i = 0; i < n; i++)
        if (!i || found[i] != found[i - 1])
            found[kept++] = found[i];
    if (!hn_grow(&s->all, &s->capacity, s->n_all + kept, sizeof *s->all))
        return hn_fail(err, HN_E_INTERNAL, "out of memory");
    memcpy(s->all + s->n_all, found, kept * sizeof *found);
    s->n_all += kept;
    *ret_n = kept;
    return 0;
}

static int read_rows(struct search *s, const struct hn_dataset *data, const size_t *rows,
    const uint64_t *classes, size_t n, struct hn_error *err) {
    struct hn_buf text = {0};
    int rc = 0;
    for (size_t i = 0; !rc && i < n; i++) {
        json_t *row = NULL;
        hn_pulse();
        hn_buf_clear(&text);
        rc = hn_dataset_row(data, rows[i], &row, err);
        if (!rc)
            hn_text_plain(&text, row);
        json_decref(row);
        s->list[i] = (struct candidate){.class = classes[i], .index = i};
        if (!rc && text.failed)
            rc = hn_fail(err, HN_E_INTERNAL, "out of memory");
        if (!rc)
            rc = add_pairs(s, text.data ? text.data : "", &s->list[i].n, err);
    }
    for (size_t i = 0, at = 0; !rc && i < n; at += s->list[i++].n)
        s->list[i].pairs = s->all + at;
    s->mean = n ? (double)s->n_all / (double)n + 1 : 1;
    hn_buf_free(&text);
    return rc;
}

static bool goes_before(const struct candidate *a, const struct candidate *b) {
    return a->gain != b->gain ? a->gain > b->gain : a->index < b->index;
}

/* Lets the candidate at `at` down to its place. */
static void settle(struct search *s, size_t at) {
    for (size_t next; (next = 2 * at + 1) < s->n_heap; at = next) {
        if (next + 1 < s->n_heap && goes_before(&s->heap[next + 1], &s->heap[next]))
            next++;
        if (!goes_before(&s->heap[next], &s->heap[at]))
            return;
        struct candidate c = s->heap[at];
        s->heap[at] = s->heap[next];
        s->heap[next] = c;
    }
}

static double gain_of(const struct search *s, const struct candidate *c) {
    size_t unseen = 0;
    for (size_t i = 0; i < c->n; i++)
        unseen += !hn_row_set_has(&s->seen, (const uint64_t[2]){c->pairs[i], c->class});
    return (double)unseen / ((double)c->n + s->mean);
}

/* All rows of the class on the heap, each to its place. */
static int order_class(struct search *s, uint64_t *ret_places, struct hn_error *err) {
    int rc = 0;
    for (size_t i = s->n_heap / 2; i-- > 0;)
        settle(s, i);
    for (uint64_t place = 0; !rc && s->n_heap; place++) {
        struct candidate *top = &s->heap[0];
        for (;;) {
            double now = gain_of(s, top);
            if (now == top->gain)
                break;
            top->gain = now;
            settle(s, 0);
        }
        hn_pulse();
        ret_places[top->index] = place;
        for (size_t i = 0; !rc && i < top->n; i++)
            rc = hn_row_set_put(&s->seen, (const uint64_t[2]){top->pairs[i], top->class}, err);
        *top = s->heap[--s->n_heap];
        settle(s, 0);
    }
    return rc;
}

static int by_class(const void *a, const void *b) {
    const struct candidate *x = a, *y = b;
    if (x->class != y->class)
        return x->class < y->class ? -1 : 1;
    return (x->index > y->index) - (x->index < y->index);
}

int hn_diverse_order(const struct hn_dataset *data, const size_t *rows, const uint64_t *classes,
    size_t n, uint64_t *ret_places, struct hn_error *err) {
    if (n > HN_DIVERSE_ROWS)
        return hn_fail(err, HN_E_INVALID_FIELD,
            "a diverse part is chosen from at most %zu rows, and there are %zu", HN_DIVERSE_ROWS,
            n);
    struct search s = {.list = hn_calloc(n, sizeof *s.list)};
    int rc = s.list ? read_rows(&s, data, rows, classes, n, err)
                    : hn_fail(err, HN_E_INTERNAL, "out of memory");
    for (size_t i = 0; !rc && i < n; i++)
        s.list[i].gain = (double)s.list[i].n / ((double)s.list[i].n + s.mean);
    if (!rc)
        qsort(s.list, n, sizeof *s.list, by_class);
    for (size_t begin = 0; !rc && begin < n; begin += s.n_heap) {
        size_t size = 0;
        while (begin + size < n && s.list[begin + size].class == s.list[begin].class)
            size++;
        s.heap = s.list + begin;
        s.n_heap = size;
        rc = order_class(&s, ret_places, err);
        s.n_heap = size;
    }
    hn_row_set_finish(&s.seen);
    free(s.list);
    free(s.all);
    return rc;
}
