/* See near.h. */
#include "engine/insight/near.h"
#include "engine/base/pulse.h"
#include "engine/insight/shingles.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#define HASHES 128
#define BAND 4 /* values of a band */
#define BYTES_MAX ((size_t)2 << 30)
#define LOOK 8        /* members of a group that each is compared with */
#define SAMPLE 1000   /* texts that common shingles are looked for in */
#define SAMPLE_MIN 50 /* among fewer none is common */
#define ESTIMATE 0.38 /* of signatures, below which no index is computed: 2.7 deviations from 0.5 */
#define READ_FACTOR 4 /* the texts may be read again so often for the index, and READ_MIN bytes */
#define READ_MIN ((size_t)64 << 20)
#define STEPS 4096 /* texts between two signs of progress */

/* Four functions of a vector register each, compiled for the widest registers there are. */
#if defined(__x86_64__) && defined(__GNUC__) && !defined(__clang__) && \
    !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)
#define WIDE __attribute__((target_clones("default", "avx2", "avx512f"), optimize("O3")))
#else
#define WIDE
#endif

struct search {
    const struct hn_near_texts *texts;
    struct hn_near_result *result;
    size_t hashes;
    uint32_t *signatures;              /* [texts][hashes] */
    uint64_t *places, *sorted;         /* [texts] hash of a band << 32 | text */
    uint32_t mul[HASHES], add[HASHES]; /* of the hash functions */
    struct hn_shingle_counts common;
    struct hn_shingles a, b;
    struct hn_jaccard room;
    struct hn_buf body, scope, other;
    uint32_t
        b_text; /* whose shingles are in `b`, and scope in `other`; the number of texts: none */
    uint64_t *tried; /* [tried_capacity] pairs whose index is known: a << 32 | b; 0: free */
    size_t n_tried, tried_capacity;
    uint64_t read, read_max; /* bytes */
    size_t steps, steps_total;
};

size_t hn_near_plan(size_t texts, size_t *ret_hashes) {
    static const size_t choices[] = {HASHES, HASHES / 2};
    const size_t fixed = 2 * sizeof(uint64_t) + sizeof(uint32_t);
    *ret_hashes = 0;
    for (size_t i = 0; i < 2 && !*ret_hashes; i++)
        if (texts <= BYTES_MAX / (choices[i] * sizeof(uint32_t) + fixed))
            *ret_hashes = choices[i];
    return texts * (*ret_hashes ? *ret_hashes * sizeof(uint32_t) + fixed : sizeof(uint32_t));
}

static uint64_t mix(uint64_t x) { /* splitmix64 */
    x += 0x9E3779B97F4A7C15u;
    x = (x ^ x >> 30) * 0xBF58476D1CE4E5B9u;
    x = (x ^ x >> 27) * 0x94D049BB133111EBu;
    return x ^ x >> 31;
}

/* signature[k] = the least of mul[k] · hash + add[k] */
WIDE static void sign(uint32_t *restrict signature, const uint32_t *restrict mul,
    const uint32_t *restrict add, const uint64_t *hashes, size_t n, size_t count) {
    for (size_t i = 0; i < n; i++) {
        uint32_t x = (uint32_t)(hashes[i] ^ hashes[i] >> 32);
        for (size_t k = 0; k < count; k++) {
            uint32_t value = mul[k] * x + add[k];
            signature[k] = value < signature[k] ? value : signature[k];
        }
    }
}

WIDE static uint32_t equal_values(
    const uint32_t *restrict a, const uint32_t *restrict b, size_t count) {
    uint32_t equal = 0;
    for (size_t k = 0; k < count; k++)
        equal += a[k] == b[k];
    return equal;
}

static int out_of_memory(struct hn_error *err) {
    return hn_fail(err, HN_E_INTERNAL, "out of memory for near duplicates");
}

static int step(struct search *s, struct hn_error *err) {
    hn_pulse();
    if (s->steps++ % STEPS || !s->texts->progress)
        return 0;
    return s->texts->progress(s->texts->context, (double)s->steps / (double)s->steps_total, err);
}

static int read_text(struct search *s, size_t text, struct hn_shingles *ret, struct hn_buf *scope,
    struct hn_error *err) {
    hn_buf_clear(&s->body);
    hn_buf_clear(scope);
    int rc = s->texts->read(s->texts->context, text, &s->body, scope, err);
    if (!rc && (s->body.failed || scope->failed))
        rc = out_of_memory(err);
    if (!rc && !hn_shingles_read(ret, s->texts->key, s->body.data, s->body.size))
        rc = out_of_memory(err);
    s->read += s->body.size;
    return rc;
}

static int find_common(struct search *s, struct hn_error *err) {
    size_t n = s->texts->first, every = n / SAMPLE + 1;
    int rc = 0;
    if (n < SAMPLE_MIN)
        return 0;
    for (size_t i = 0; !rc && i < n; i += every) {
        rc = s->texts->skip[i] ? 0 : read_text(s, i, &s->a, &s->scope, err);
        if (!rc && !s->texts->skip[i] && !hn_shingle_counts_add(&s->common, &s->a))
            rc = out_of_memory(err);
    }
    hn_shingle_counts_end(&s->common);
    return rc;
}

/* Without the common shingles, unless there are no others. */
static int sign_all(struct search *s, struct hn_error *err) {
    int rc = 0;
    for (size_t i = 0; !rc && i < s->texts->n; i++) {
        uint32_t *signature = s->signatures + i * s->hashes;
        size_t rare = 0;
        if (s->texts->skip[i] || (rc = step(s, err)) ||
            (rc = read_text(s, i, &s->a, &s->scope, err)))
            continue;
        for (size_t k = 0; s->common.n && k < s->a.n; k++)
            if (!hn_shingle_is_common(&s->common, s->a.hashes[k]))
                s->a.hashes[rare++] = s->a.hashes[k];
        memset(signature, 0xFF, s->hashes * sizeof *signature);
        sign(signature, s->mul, s->add, s->a.hashes, rare ? rare : s->a.n, s->hashes);
    }
    return rc;
}

static uint32_t root_of(uint32_t *cluster, uint32_t text) {
    while (cluster[text] != text)
        text = cluster[text] = cluster[cluster[text]];
    return text;
}

static void join(uint32_t *cluster, uint32_t a, uint32_t b) {
    uint32_t x = root_of(cluster, a), y = root_of(cluster, b);
    cluster[x > y ? x : y] = x > y ? y : x;
}

/* Whether the pair is new; it is known afterwards. */
static int first_try(struct search *s, uint64_t pair, bool *ret, struct hn_error *err) {
    if (2 * s->n_tried >= s->tried_capacity) {
        size_t capacity = s->tried_capacity ? 2 * s->tried_capacity : 1024;
        uint64_t *next = hn_calloc(capacity, sizeof *next);
        if (!next)
            return out_of_memory(err);
        for (size_t i = 0; i < s->tried_capacity; i++) {
            size_t at = (size_t)mix(s->tried[i] ^ s->texts->key[0]) & (capacity - 1);
            while (s->tried[i] && next[at])
                at = (at + 1) & (capacity - 1);
            if (s->tried[i])
                next[at] = s->tried[i];
        }
        free(s->tried);
        s->tried = next;
        s->tried_capacity = capacity;
    }
    size_t at = (size_t)mix(pair ^ s->texts->key[0]) & (s->tried_capacity - 1);
    while (s->tried[at] && s->tried[at] != pair)
        at = (at + 1) & (s->tried_capacity - 1);
    *ret = !s->tried[at];
    s->n_tried += *ret;
    s->tried[at] = pair;
    return 0;
}

/* The index of two texts, or of their scopes where that is less. The second one is often the same
 * as before. */
static int measure(struct search *s, uint32_t a, uint32_t b, double *ret, struct hn_error *err) {
    static const struct hn_shingle_counts none;
    int rc = read_text(s, a, &s->a, &s->scope, err);
    if (!rc && s->b_text != b)
        rc = read_text(s, b, &s->b, &s->other, err);
    if (rc)
        return rc;
    s->b_text = b;
    *ret = hn_jaccard(&s->room, &s->common, &s->a, &s->b);
    if (*ret < HN_NEAR_SIMILAR || !s->scope.size || !s->other.size ||
        (s->scope.size == s->other.size &&
            memcmp(s->scope.data, s->other.data, s->scope.size) == 0))
        return *ret < 0 ? out_of_memory(err) : 0;
    s->b_text = (uint32_t)s->texts->n;
    if (!hn_shingles_read(&s->a, s->texts->key, s->scope.data, s->scope.size) ||
        !hn_shingles_read(&s->b, s->texts->key, s->other.data, s->other.size))
        return out_of_memory(err);
    double scopes = hn_jaccard(&s->room, &none, &s->a, &s->b);
    *ret = scopes < *ret ? scopes : *ret;
    return *ret < 0 ? out_of_memory(err) : 0;
}

static int take_pair(struct search *s, const struct hn_near_pair *pair, struct hn_error *err) {
    struct hn_near_result *r = s->result;
    bool across = pair->b >= s->texts->first;
    if (across && !hn_grow(&r->across, &r->across_capacity, r->n_across + 1, sizeof *r->across))
        return out_of_memory(err);
    if (!across && !hn_grow(&r->pairs, &r->capacity, r->n + 1, sizeof *r->pairs))
        return out_of_memory(err);
    if (across)
        r->across[r->n_across++] = *pair;
    else
        r->pairs[r->n++] = *pair;
    if (!across && pair->similarity >= (float)HN_NEAR_SAME)
        join(r->cluster, pair->a, pair->b);
    return 0;
}

static int try_pair(struct search *s, uint32_t a, uint32_t b, struct hn_error *err) {
    bool fresh = false;
    struct hn_near_pair pair = {a, b, 0};
    double similarity = 0;
    if (a >= s->texts->first || /* both of the other set */
        (b < s->texts->first && root_of(s->result->cluster, a) == root_of(s->result->cluster, b)))
        return 0;
    uint32_t equal =
        equal_values(s->signatures + a * s->hashes, s->signatures + b * s->hashes, s->hashes);
    if ((double)equal < ESTIMATE * (double)s->hashes)
        return 0;
    int rc = first_try(s, (uint64_t)a << 32 | b, &fresh, err);
    if (rc || !fresh)
        return rc;
    if (s->read > s->read_max) {
        s->result->cut = true;
        return 0;
    }
    rc = measure(s, a, b, &similarity, err);
    pair.similarity = (float)similarity;
    return rc || similarity < HN_NEAR_SIMILAR ? rc : take_pair(s, &pair, err);
}

/* By the upper half, which keeps the order of texts within equal ones. */
static void sort_places(struct search *s, size_t n) {
    for (unsigned shift = 32; shift < 64; shift += 16) {
        static const size_t buckets = 65536;
        size_t *starts = calloc(buckets + 1, sizeof *starts);
        if (!starts)
            return; /* groups are incomplete, and the next band finds most of what this one lost */
        for (size_t i = 0; i < n; i++)
            starts[(s->places[i] >> shift & (buckets - 1)) + 1]++;
        for (size_t i = 0; i < buckets; i++)
            starts[i + 1] += starts[i];
        for (size_t i = 0; i < n; i++)
            s->sorted[starts[s->places[i] >> shift & (buckets - 1)]++] = s->places[i];
        uint64_t *swap = s->places;
        s->places = s->sorted;
        s->sorted = swap;
        free(starts);
    }
}

/* Each member of a group with the ones before it, and with the group's first: chains of near texts
 * become one cluster. A group's texts of the other set come last, and are compared with the last
 * of the set and with its first. */
static int search_group(struct search *s, const uint64_t *group, size_t n, struct hn_error *err) {
    size_t own = 0;
    int rc = 0;
    while (own < n && (uint32_t)group[own] < s->texts->first)
        own++;
    for (size_t i = 1; !rc && own && i < n; i++) {
        size_t end = i < own ? i : own, begin = end > LOOK ? end - LOOK : 0;
        if (begin)
            rc = try_pair(s, (uint32_t)group[0], (uint32_t)group[i], err);
        for (size_t k = begin; !rc && k < end; k++)
            rc = try_pair(s, (uint32_t)group[k], (uint32_t)group[i], err);
    }
    return rc;
}

static int search_band(struct search *s, size_t band, struct hn_error *err) {
    size_t n = 0;
    int rc = 0;
    for (size_t i = 0; i < s->texts->n; i++) {
        uint64_t hash = s->texts->key[1] + band;
        for (size_t k = 0; !s->texts->skip[i] && k < BAND; k++)
            hash = mix(hash ^ s->signatures[i * s->hashes + band * BAND + k]);
        if (!s->texts->skip[i])
            s->places[n++] = (hash & 0xFFFFFFFF00000000u) | (uint32_t)i;
    }
    sort_places(s, n);
    for (size_t begin = 0, end; !rc && begin < n; begin = end) {
        rc = step(s, err);
        for (end = begin + 1; end < n && s->places[end] >> 32 == s->places[begin] >> 32; end++)
            ;
        if (!rc && end - begin > 1)
            rc = search_group(s, s->places + begin, end - begin, err);
    }
    return rc;
}

static int search_all(struct search *s, struct hn_error *err) {
    size_t n = s->texts->n;
    s->signatures = hn_calloc_huge(n * s->hashes, sizeof *s->signatures);
    s->places = hn_calloc(n, sizeof *s->places);
    s->sorted = hn_calloc(n, sizeof *s->sorted);
    if (!s->signatures || !s->places || !s->sorted)
        return out_of_memory(err);
    for (size_t k = 0; k < HASHES; k++) {
        uint64_t x = mix(mix(s->texts->key[0] + k) ^ s->texts->key[1]);
        s->mul[k] = (uint32_t)x | 1;
        s->add[k] = (uint32_t)(x >> 32);
    }
    s->steps_total = n * (1 + s->hashes / BAND) + 1;
    int rc = find_common(s, err);
    if (!rc)
        rc = sign_all(s, err);
    s->read_max = s->read * READ_FACTOR + READ_MIN;
    for (size_t band = 0; !rc && band < s->hashes / BAND; band++)
        rc = search_band(s, band, err);
    for (size_t i = 0; !rc && i < n; i++)
        s->result->cluster[i] = root_of(s->result->cluster, (uint32_t)i);
    return rc;
}

int hn_near_find(
    struct hn_near_result *ret, const struct hn_near_texts *texts, struct hn_error *err) {
    struct search *s = hn_calloc(1, sizeof *s);
    *ret = (struct hn_near_result){.cluster = hn_calloc(texts->n, sizeof *ret->cluster)};
    int rc = s && ret->cluster && texts->n < UINT32_MAX ? 0 : out_of_memory(err);
    for (size_t i = 0; !rc && i < texts->n; i++)
        ret->cluster[i] = (uint32_t)i;
    if (!rc) {
        hn_near_plan(texts->n, &ret->hashes);
        s->texts = texts;
        s->b_text = (uint32_t)texts->n;
        s->result = ret;
        s->hashes = ret->hashes;
        rc = ret->hashes && texts->n ? search_all(s, err) : 0;
    }
    if (s) {
        free(s->signatures);
        free(s->places);
        free(s->sorted);
        free(s->tried);
        hn_shingle_counts_finish(&s->common);
        hn_shingles_finish(&s->a);
        hn_shingles_finish(&s->b);
        hn_jaccard_finish(&s->room);
        hn_buf_free(&s->body);
        hn_buf_free(&s->scope);
        hn_buf_free(&s->other);
    }
    free(s);
    if (rc)
        hn_near_finish(ret);
    return rc;
}

void hn_near_finish(struct hn_near_result *result) {
    free(result->pairs);
    free(result->across);
    free(result->cluster);
    *result = (struct hn_near_result){0};
}
