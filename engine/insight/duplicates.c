/* See duplicates.h. */
#include "engine/insight/duplicates.h"
#include "engine/base/file.h"

#include <stdlib.h>
#include <string.h>

#define ANSWERS_MAX 10 /* rows with one question, beyond which other answers are no contradiction */

struct keyed {
    uint64_t key[2];
    uint32_t place; /* in both sets, the own first */
};

struct both {
    const struct hn_duplicates_request *request;
    size_t own, n;
    struct hn_row_texts texts;
    struct keyed *sorted; /* [n] */
    uint32_t *same_body;  /* [n] first place of its set with the same body */
    bool *skip;           /* [n] */
};

static const struct hn_row_facts *facts_at(const struct both *b, size_t place) {
    return place < b->own ? &b->request->own->facts[place]
                          : &b->request->other->facts[place - b->own];
}

static int by_key(const void *a, const void *b) {
    const struct keyed *x = a, *y = b;
    for (int i = 0; i < 2; i++)
        if (x->key[i] != y->key[i])
            return x->key[i] < y->key[i] ? -1 : 1;
    return (x->place > y->place) - (x->place < y->place);
}

/* All places by one of their keys, which lies at `offset` in a row's facts. */
static void sort_by(struct both *b, size_t offset) {
    for (size_t i = 0; i < b->n; i++) {
        memcpy(b->sorted[i].key, (const char *)facts_at(b, i) + offset, sizeof b->sorted[i].key);
        b->sorted[i].place = (uint32_t)i;
    }
    qsort(b->sorted, b->n, sizeof *b->sorted, by_key);
}

static size_t group_end(const struct both *b, size_t begin) {
    size_t end = begin + 1;
    while (
        end < b->n && memcmp(b->sorted[end].key, b->sorted[begin].key, sizeof b->sorted->key) == 0)
        end++;
    return end;
}

static size_t own_end(const struct both *b, size_t begin, size_t end) {
    while (begin < end && b->sorted[begin].place < b->own)
        begin++;
    return begin;
}

static void set_match(
    struct hn_row_match *match, enum hn_row_state state, double similarity, size_t other) {
    *match = (struct hn_row_match){state, (float)similarity, (uint32_t)other};
}

/* Places of one content. */
static void find_exact(struct both *b, struct hn_duplicates *ret) {
    sort_by(b, offsetof(struct hn_row_facts, content));
    for (size_t begin = 0, end; begin < b->n; begin = end) {
        end = group_end(b, begin);
        size_t own = own_end(b, begin, end);
        for (size_t i = begin; i < own; i++) {
            size_t place = b->sorted[i].place;
            if (i > begin)
                set_match(&ret->own[place], HN_ROW_EXACT, 1, b->sorted[begin].place);
            if (own < end)
                set_match(&ret->leaks[place], HN_ROW_EXACT, 1, b->sorted[own].place - b->own);
        }
    }
}

/* Of two preferences a contradiction is one that prefers what the other one rejects. */
static bool contradict(const struct hn_row_facts *x, const struct hn_row_facts *y) {
    return x->worse || y->worse ? x->worse == y->answer || y->worse == x->answer
                                : x->answer != y->answer;
}

/* A question that so many rows ask is meant to have many answers; a text has one label. */
static bool is_open(const struct both *b, size_t rows) {
    enum hn_columns columns = b->request->own->data->columns;
    return rows > ANSWERS_MAX && columns != HN_ROWS_TEXT_LABEL && columns != HN_ROWS_TOKENS_TAGS;
}

static void find_contradictions(struct both *b, struct hn_duplicates *ret) {
    sort_by(b, offsetof(struct hn_row_facts, input));
    for (size_t begin = 0, end; begin < b->n; begin = end) {
        end = group_end(b, begin);
        size_t own = own_end(b, begin, end);
        uint32_t first = b->sorted[begin].place, other = HN_ROW_NONE;
        for (size_t i = begin + 1; i < own && other == HN_ROW_NONE && !is_open(b, own - begin); i++)
            if (contradict(facts_at(b, first), facts_at(b, b->sorted[i].place)))
                other = b->sorted[i].place;
        for (size_t i = begin; i < own && other != HN_ROW_NONE; i++) {
            uint32_t place = b->sorted[i].place;
            if (contradict(facts_at(b, first), facts_at(b, place)))
                ret->contradicts[place] = first;
            else if (contradict(facts_at(b, other), facts_at(b, place)))
                ret->contradicts[place] = other;
        }
    }
}

/* The same input with another answer has leaked as well: an equal one is found by its content. */
static void find_same_inputs(struct both *b, struct hn_duplicates *ret) {
    for (size_t begin = 0, end; begin < b->n; begin = end) {
        end = group_end(b, begin);
        size_t own = own_end(b, begin, end);
        for (size_t i = begin; i < own && own < end; i++)
            if (ret->leaks[b->sorted[i].place].state != HN_ROW_EXACT)
                set_match(
                    &ret->leaks[b->sorted[i].place], HN_ROW_NEAR, 1, b->sorted[own].place - b->own);
    }
}

static void find_same_bodies(struct both *b, struct hn_duplicates *ret) {
    sort_by(b, offsetof(struct hn_row_facts, body));
    for (size_t begin = 0, end; begin < b->n; begin = end) {
        end = group_end(b, begin);
        size_t own = own_end(b, begin, end);
        for (size_t i = begin; i < end; i++) {
            uint32_t place = b->sorted[i].place, first = b->sorted[i < own ? begin : own].place;
            b->same_body[place] = first;
            b->skip[place] = place != first || facts_at(b, place)->blank;
            if (i < own && place != first && !ret->own[place].state)
                set_match(&ret->own[place], HN_ROW_NEAR, 1, first);
            if (i < own && own < end && !ret->leaks[place].state)
                set_match(&ret->leaks[place], HN_ROW_NEAR, 1, b->sorted[own].place - b->own);
        }
    }
}

static int read_body(
    void *context, size_t place, struct hn_buf *body, struct hn_buf *scope, struct hn_error *err) {
    struct both *b = context;
    const struct hn_row_set_facts *set = place < b->own ? b->request->own : b->request->other;
    json_t *row = NULL;
    size_t row_number = hn_row_set_facts_row(set, place < b->own ? place : place - b->own);
    int rc = hn_dataset_row(set->data, row_number, &row, err);
    if (!rc)
        rc = hn_row_texts_read(&b->texts, set->data->columns, row, err);
    json_decref(row);
    if (!rc) {
        hn_buf_append(body, b->texts.body.data, b->texts.body.size);
        hn_buf_append(scope, b->texts.scope.data, b->texts.scope.size);
    }
    return rc;
}

static int tell_progress(void *context, double done, struct hn_error *err) {
    const struct both *b = context;
    return b->request->progress ? b->request->progress(b->request->context, done, err) : 0;
}

/* A match that is nearer than the one that is known. */
static void match_nearer(struct hn_row_match *match, double similarity, size_t other) {
    if (match->state != HN_ROW_EXACT && similarity > (double)match->similarity)
        set_match(
            match, similarity >= HN_NEAR_SAME ? HN_ROW_NEAR : HN_ROW_SIMILAR, similarity, other);
}

static void take_pairs(
    const struct both *b, const struct hn_near_result *near, struct hn_duplicates *ret) {
    for (size_t i = 0; i < near->n; i++) {
        const struct hn_near_pair *p = &near->pairs[i];
        bool same = p->similarity >= (float)HN_NEAR_SAME;
        match_nearer(&ret->own[p->b], (double)p->similarity, p->a);
        if (same && near->cluster[p->a] != p->a) /* it may be the only pair that has it */
            match_nearer(&ret->own[p->a], (double)p->similarity, p->b);
    }
    for (size_t i = 0; i < near->n_across; i++)
        match_nearer(&ret->leaks[near->across[i].a], (double)near->across[i].similarity,
            near->across[i].b - b->own);
    for (size_t i = 0; i < b->own; i++) {
        size_t first = b->same_body[i];
        ret->cluster[i] = near->cluster[first];
        if (ret->leaks && first != i && ret->leaks[i].state == HN_ROW_FRESH)
            ret->leaks[i] = ret->leaks[first];
    }
}

static void make_key(const struct both *b, uint64_t key[2]) {
    void *sha = hn_sha256_begin();
    char hex[HN_SHA256_HEX] = "", half[17] = "";
    for (size_t i = 0; sha && i < b->n; i++)
        hn_sha256_add(sha, facts_at(b, i)->content, sizeof facts_at(b, i)->content);
    if (sha)
        hn_sha256_end(sha, hex);
    for (size_t i = 0; i < 2; i++) {
        memcpy(half, hex + 16 * i, 16);
        key[i] = strtoull(half, NULL, 16);
    }
}

static int find_near(struct both *b, struct hn_duplicates *ret, struct hn_error *err) {
    struct hn_near_texts texts = {.n = b->n,
        .first = b->own,
        .skip = b->skip,
        .context = b,
        .read = read_body,
        .progress = tell_progress};
    struct hn_near_result near;
    make_key(b, texts.key);
    int rc = hn_near_find(&near, &texts, err);
    if (rc)
        return rc;
    take_pairs(b, &near, ret);
    ret->hashes = near.hashes;
    ret->cut = near.cut;
    hn_near_finish(&near);
    return 0;
}

static bool allocate(struct both *b, struct hn_duplicates *ret) {
    b->sorted = hn_calloc(b->n, sizeof *b->sorted);
    b->same_body = hn_calloc(b->n, sizeof *b->same_body);
    b->skip = hn_calloc(b->n, sizeof *b->skip);
    ret->own = hn_calloc(b->own, sizeof *ret->own);
    ret->leaks = b->request->other ? hn_calloc(b->own, sizeof *ret->leaks) : NULL;
    ret->contradicts = hn_calloc(b->own, sizeof *ret->contradicts);
    ret->cluster = hn_calloc(b->own, sizeof *ret->cluster);
    return b->sorted && b->same_body && b->skip && ret->own && ret->contradicts && ret->cluster &&
        (ret->leaks || !b->request->other);
}

int hn_duplicates_find(
    struct hn_duplicates *ret, const struct hn_duplicates_request *request, struct hn_error *err) {
    struct both b = {.request = request, .own = request->own->n};
    *ret = (struct hn_duplicates){0};
    b.n = b.own + (request->other ? request->other->n : 0);
    int rc = b.n < UINT32_MAX && allocate(&b, ret)
        ? 0
        : hn_fail(err, HN_E_INTERNAL, "out of memory for the comparison of rows");
    for (size_t i = 0; !rc && i < b.own; i++) {
        ret->own[i].other = ret->contradicts[i] = HN_ROW_NONE;
        ret->cluster[i] = (uint32_t)i;
        if (ret->leaks)
            ret->leaks[i].other = HN_ROW_NONE;
    }
    if (!rc) {
        find_exact(&b, ret);
        find_contradictions(&b, ret);
    }
    if (!rc && !request->no_near) {
        if (ret->leaks)
            find_same_inputs(&b, ret);
        find_same_bodies(&b, ret);
        rc = find_near(&b, ret, err);
    }
    hn_row_texts_finish(&b.texts);
    free(b.sorted);
    free(b.same_body);
    free(b.skip);
    return rc;
}

void hn_duplicates_finish(struct hn_duplicates *duplicates) {
    free(duplicates->own);
    free(duplicates->leaks);
    free(duplicates->contradicts);
    free(duplicates->cluster);
    *duplicates = (struct hn_duplicates){0};
}

size_t hn_duplicates_plan(size_t rows, size_t *ret_hashes) {
    return hn_near_plan(rows, ret_hashes) +
        rows *
        (sizeof(struct hn_row_facts) + sizeof(struct keyed) + 2 * sizeof(struct hn_row_match) +
            3 * sizeof(uint32_t));
}
