/* See shingles.h. */
#include "engine/insight/shingles.h"
#include "engine/base/buf.h"
#include "engine/base/utf8.h"

#include <stdlib.h>
#include <string.h>

#define COUNTS_MAX ((size_t)1 << 21) /* different shingles of a sample; more are not counted */
#define SAMPLED ((size_t)1 << 20)    /* bytes of a text from which its shingles are sampled */

struct hn_shingle_count {
    uint64_t hash; /* 0: free */
    uint32_t count, text;
};

/* Five characters of 21 bits, mixed by a product of 64 x 64 bits under the key. */
static uint64_t hash_of(const uint64_t key[2], uint64_t low, uint64_t high) {
    unsigned __int128 product = (unsigned __int128)(low ^ key[0]) * (high ^ key[1] ^ low >> 32);
    uint64_t x = (uint64_t)product ^ (uint64_t)(product >> 64) ^ low;
    product = (unsigned __int128)(x ^ key[1]) * 0x9E3779B97F4A7C15u;
    x = (uint64_t)product ^ (uint64_t)(product >> 64);
    return x ? x : 1;
}

static bool keep(struct hn_shingles *s, uint64_t hash) {
    if ((s->shift && hash >> (64 - s->shift)) || s->n >= 4 * SAMPLED)
        return true; /* so many are the same few again and again */
    if (!hn_grow(&s->hashes, &s->capacity, s->n + 1, sizeof *s->hashes))
        return false;
    s->hashes[s->n++] = hash;
    return true;
}

bool hn_shingles_read(
    struct hn_shingles *ret, const uint64_t key[2], const char *text, size_t size) {
    unsigned __int128 window = 0;
    const unsigned __int128 mask = ((unsigned __int128)1 << 21 * HN_SHINGLE_CHARACTERS) - 1;
    size_t at = 0, seen = 0;
    bool good = true;
    ret->n = 0;
    ret->shift = 0;
    while (size >> ret->shift > SAMPLED)
        ret->shift++;
    while (good && at < size) {
        size_t length = hn_utf8_length((unsigned char)text[at]);
        if (length > size - at)
            break;
        uint32_t c = length == 1 ? (unsigned char)text[at] : hn_utf8_get(text + at);
        at += length;
        window = (window << 21 | c) & mask;
        if (++seen >= HN_SHINGLE_CHARACTERS)
            good = keep(ret, hash_of(key, (uint64_t)window, (uint64_t)(window >> 64)));
    }
    if (seen && seen < HN_SHINGLE_CHARACTERS)
        good =
            keep(ret, hash_of(key, (uint64_t)window, (uint64_t)(window >> 64) | (uint64_t)1 << 63));
    return good;
}

void hn_shingles_finish(struct hn_shingles *shingles) {
    free(shingles->hashes);
    *shingles = (struct hn_shingles){0};
}

static size_t count_place(const struct hn_shingle_counts *counts, uint64_t hash) {
    size_t at = (size_t)hash & (counts->capacity - 1);
    while (counts->places[at].hash && counts->places[at].hash != hash)
        at = (at + 1) & (counts->capacity - 1);
    return at;
}

/* `kept`: those in more texts than this move to the new places. */
static bool move_counts(struct hn_shingle_counts *counts, size_t capacity, uint32_t kept) {
    struct hn_shingle_counts next = {.capacity = capacity, .texts = counts->texts};
    if (!(next.places = hn_calloc(capacity, sizeof *next.places)))
        return false;
    for (size_t i = 0; i < counts->capacity; i++)
        if (counts->places[i].hash && counts->places[i].count > kept) {
            next.places[count_place(&next, counts->places[i].hash)] = counts->places[i];
            next.n++;
        }
    free(counts->places);
    *counts = next;
    return true;
}

bool hn_shingle_counts_add(struct hn_shingle_counts *counts, const struct hn_shingles *text) {
    uint32_t number = ++counts->texts;
    for (size_t i = 0; i < text->n; i++) {
        if (2 * counts->n >= counts->capacity &&
            !move_counts(counts, counts->capacity ? 2 * counts->capacity : 1024, 0))
            return false;
        size_t at = count_place(counts, text->hashes[i]);
        struct hn_shingle_count *place = &counts->places[at];
        if (!place->hash && counts->n >= COUNTS_MAX)
            continue;
        if (!place->hash)
            counts->n++;
        else if (place->text == number)
            continue;
        *place = (struct hn_shingle_count){text->hashes[i], place->count + 1, number};
    }
    return true;
}

void hn_shingle_counts_end(struct hn_shingle_counts *counts) {
    size_t kept = 0, capacity = 16;
    for (size_t i = 0; i < counts->capacity; i++)
        kept += counts->places[i].hash && counts->places[i].count > counts->texts / 2;
    while (capacity < 4 * kept)
        capacity *= 2;
    if (!counts->capacity || !move_counts(counts, capacity, counts->texts / 2))
        hn_shingle_counts_finish(counts); /* none is common */
}

bool hn_shingle_is_common(const struct hn_shingle_counts *counts, uint64_t hash) {
    return counts->n && counts->places[count_place(counts, hash)].hash;
}

void hn_shingle_counts_finish(struct hn_shingle_counts *counts) {
    free(counts->places);
    *counts = (struct hn_shingle_counts){0};
}

/* Sizes of two sets, and of what they share. */
struct overlap {
    size_t a, b, both;
};

static double index_of(const struct overlap *o) {
    size_t all = o->a + o->b - o->both;
    return all ? (double)o->both / (double)all : 0;
}

/* Puts the hashes of one side (1 or 2) into the table and counts what is new, and what the other
 * side has. */
static void add_side(struct hn_jaccard *room, const struct hn_shingle_counts *common,
    const struct hn_shingles *s, uint8_t side, unsigned shift, struct overlap *all,
    struct overlap *rare) {
    for (size_t i = 0; i < s->n; i++) {
        uint64_t hash = s->hashes[i];
        if (shift && hash >> (64 - shift))
            continue;
        size_t at = (size_t)hash & (room->capacity - 1);
        while (room->places[at] && room->places[at] != hash)
            at = (at + 1) & (room->capacity - 1);
        if (room->places[at] && room->sides[at] & side)
            continue;
        bool both = room->places[at] != 0, is_common = hn_shingle_is_common(common, hash);
        room->sides[at] = room->places[at] ? 3 : side;
        room->places[at] = hash;
        struct overlap *sets[] = {all, is_common ? NULL : rare};
        for (int k = 0; k < 2; k++) {
            if (!sets[k])
                continue;
            sets[k]->a += side == 1;
            sets[k]->b += side == 2;
            sets[k]->both += both;
        }
    }
}

double hn_jaccard(struct hn_jaccard *room, const struct hn_shingle_counts *common,
    const struct hn_shingles *a, const struct hn_shingles *b) {
    size_t capacity = 64;
    unsigned shift = a->shift > b->shift ? a->shift : b->shift;
    while (capacity < 2 * (a->n + b->n))
        capacity *= 2;
    if (capacity > room->capacity) {
        hn_jaccard_finish(room);
        room->places = hn_calloc(capacity, sizeof *room->places);
        room->sides = hn_calloc(capacity, sizeof *room->sides);
        if (!room->places || !room->sides) {
            hn_jaccard_finish(room);
            return -1;
        }
        room->capacity = capacity;
    }
    struct hn_jaccard used = {room->places, room->sides, capacity};
    struct overlap all = {0}, rare = {0};
    memset(used.places, 0, capacity * sizeof *used.places);
    add_side(&used, common, a, 1, shift, &all, &rare);
    add_side(&used, common, b, 2, shift, &all, &rare);
    double whole = index_of(&all), special = index_of(&rare);
    return !rare.a && !rare.b ? whole : special < whole ? special : whole;
}

void hn_jaccard_finish(struct hn_jaccard *room) {
    free(room->places);
    free(room->sides);
    *room = (struct hn_jaccard){0};
}
