/* See passages.h. */
#include "engine/insight/passages.h"
#include "engine/base/buf.h"

#include <stdlib.h>
#include <string.h>

#define RUN 8                        /* words */
#define IN_A_ROW 6                   /* runs: 13 words */
#define PLACES_MAX ((size_t)1 << 24) /* runs that are kept */
#define LOOK 8                       /* texts that are counted at a time while one is read */

struct hn_passage {
    uint64_t hash;        /* 0: free */
    uint32_t text, again; /* again: texts behind that one that have it, too */
};

struct reader {
    const char *text;
    size_t size, at, words;
    uint64_t key, last[RUN]; /* hashes of the last words */
};

/* The hash of the next run of eight words, 0 at the end. */
static uint64_t next_run(struct reader *r) {
    do {
        while (r->at < r->size && strchr(" \n", r->text[r->at]) && r->text[r->at])
            r->at++;
        if (r->at == r->size)
            return 0;
        uint64_t word = r->key;
        for (; r->at < r->size && r->text[r->at] != ' ' && r->text[r->at] != '\n'; r->at++)
            word = (word ^ (unsigned char)r->text[r->at]) * 1099511628211u;
        r->last[r->words++ % RUN] = word;
    } while (r->words < RUN);
    uint64_t hash = r->key;
    for (size_t i = 0; i < RUN; i++) {
        hash = (hash ^ r->last[(r->words + i) % RUN]) * 0x9E3779B97F4A7C15u;
        hash ^= hash >> 32;
    }
    return hash ? hash : 1;
}

static size_t place_of(const struct hn_passages *p, uint64_t hash) {
    size_t at = (size_t)hash & (p->capacity - 1);
    while (p->places[at].hash && p->places[at].hash != hash)
        at = (at + 1) & (p->capacity - 1);
    return at;
}

static bool grow(struct hn_passages *p) {
    struct hn_passages next = *p;
    next.capacity = p->capacity ? 2 * p->capacity : 1024;
    if (!(next.places = hn_calloc(next.capacity, sizeof *next.places)))
        return false;
    for (size_t i = 0; i < p->capacity; i++)
        if (p->places[i].hash)
            next.places[place_of(&next, p->places[i].hash)] = p->places[i];
    free(p->places);
    *p = next;
    return true;
}

bool hn_passages_add(struct hn_passages *p, const char *text, size_t size) {
    struct reader r = {.text = text, .size = size, .key = p->key};
    uint32_t number = (uint32_t)p->texts;
    uint64_t hash;
    if (!hn_grow(&p->runs, &p->runs_capacity, p->texts + 1, sizeof *p->runs))
        return false;
    p->runs[p->texts++] = 0;
    while ((hash = next_run(&r))) {
        if (2 * p->n >= p->capacity && !grow(p))
            return false;
        struct hn_passage *place = &p->places[place_of(p, hash)];
        p->runs[number]++;
        if (place->hash) {
            place->again += place->text != number;
        } else if (p->n < PLACES_MAX) {
            *place = (struct hn_passage){.hash = hash, .text = number};
            p->n++;
        } else {
            p->full = true;
        }
    }
    return true;
}

bool hn_passages_find(const struct hn_passages *p, const char *text, size_t size,
    uint32_t *ret_text, double *ret_share) {
    struct reader r = {.text = text, .size = size, .key = p->key};
    struct {
        uint32_t text, runs, in_a_row;
        size_t last;
    } seen[LOOK] = {{0}};
    uint64_t hash;
    for (size_t i = 1; p->n && (hash = next_run(&r)); i++) {
        const struct hn_passage *place = &p->places[place_of(p, hash)];
        if (!place->hash || place->again > 1)
            continue;
        size_t k = place->text % LOOK;
        if (seen[k].text != place->text || !seen[k].last)
            memset(&seen[k], 0, sizeof seen[k]);
        seen[k].text = place->text;
        seen[k].in_a_row = seen[k].last + 1 == i ? seen[k].in_a_row + 1 : 1;
        seen[k].last = i;
        seen[k].runs++;
        if (seen[k].in_a_row < IN_A_ROW && 2 * seen[k].runs < p->runs[place->text])
            continue;
        *ret_text = place->text;
        *ret_share = (double)seen[k].runs / (double)p->runs[place->text];
        return true;
    }
    return false;
}

void hn_passages_finish(struct hn_passages *passages) {
    free(passages->places);
    free(passages->runs);
    *passages = (struct hn_passages){0};
}
