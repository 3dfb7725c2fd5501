/* See diversity.h. */
#include "engine/insight/diversity.h"
#include "engine/base/json.h"
#include "engine/base/rng.h"
#include "engine/data/unpack.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#define GRAMS 4
#define OPENING 5 /* words */

/* The sample as words. */
struct words {
    struct word {
        const char *text;
        size_t size;
        uint64_t hash;
    } * list; /* [n] */
    size_t n, capacity;
    size_t *ends; /* [rows] number of words up to the end of each row */
    size_t rows, rows_capacity;
};

struct figures {
    double distinct[GRAMS], compression, openings;
    struct hn_opening opening;
};

bool hn_diversity_add(struct hn_diversity *sample, const char *text, size_t size) {
    size_t room = HN_DIVERSITY_BYTES - sample->text.size;
    size_t begin = sample->text.size;
    if (room < 2)
        return false;
    hn_buf_append(&sample->text, text, size < room - 1 ? size : room - 1);
    for (size_t i = begin; i < sample->text.size; i++)
        if (sample->text.data[i] == '\n')
            sample->text.data[i] = ' ';
    hn_buf_char(&sample->text, '\n');
    sample->rows++;
    return !sample->text.failed;
}

static uint64_t hash_word(const char *text, size_t size) {
    uint64_t hash = 14695981039346656037u; /* FNV-1a */
    for (size_t i = 0; i < size; i++)
        hash = (hash ^ (unsigned char)text[i]) * 1099511628211u;
    return hash;
}

static bool split_words(const struct hn_buf *text, struct words *w) {
    size_t begin = 0;
    for (size_t i = 0; i < text->size; i++) {
        char c = text->data[i];
        if (c != ' ' && c != '\n')
            continue;
        if (i > begin) {
            if (!hn_grow(&w->list, &w->capacity, w->n + 1, sizeof *w->list))
                return false;
            w->list[w->n++] = (struct word){
                text->data + begin, i - begin, hash_word(text->data + begin, i - begin)};
        }
        begin = i + 1;
        if (c == '\n') {
            if (!hn_grow(&w->ends, &w->rows_capacity, w->rows + 1, sizeof *w->ends))
                return false;
            w->ends[w->rows++] = w->n;
        }
    }
    return true;
}

static int by_hash(const void *a, const void *b) {
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
    return (x > y) - (x < y);
}

static uint64_t hash_run(const struct word *words, size_t n) {
    uint64_t hash = n;
    for (size_t i = 0; i < n; i++)
        hash = (hash ^ words[i].hash) * 0x9E3779B97F4A7C15u ^ hash >> 29;
    return hash;
}

/* Different runs of `n` words within rows, of all of them. */
static double distinct_share(const struct words *w, size_t n, uint64_t *room) {
    size_t count = 0, different = 0, begin = 0;
    for (size_t row = 0; row < w->rows; begin = w->ends[row++])
        for (size_t i = begin; i + n <= w->ends[row]; i++)
            room[count++] = hash_run(w->list + i, n);
    qsort(room, count, sizeof *room, by_hash);
    for (size_t i = 0; i < count; i++)
        different += !i || room[i] != room[i - 1];
    return count ? (double)different / (double)count : 0;
}

/* The beginning that most rows have; `room` has a place for each row. */
static void find_opening(const struct words *w, uint64_t *room, struct hn_opening *ret) {
    size_t count = 0, begin = 0;
    uint64_t best = 0;
    *ret = (struct hn_opening){0};
    for (size_t row = 0; row < w->rows; begin = w->ends[row++])
        if (w->ends[row] - begin >= OPENING)
            room[count++] = hash_run(w->list + begin, OPENING);
    qsort(room, count, sizeof *room, by_hash);
    for (size_t i = 0, end; i < count; i = end) {
        for (end = i + 1; end < count && room[end] == room[i]; end++)
            ;
        if (end - i > ret->rows) {
            ret->rows = end - i;
            best = room[i];
        }
    }
    begin = 0;
    for (size_t row = 0; row < w->rows && !ret->text[0]; begin = w->ends[row++]) {
        const struct word *first = w->list + begin;
        if (w->ends[row] - begin < OPENING || hash_run(first, OPENING) != best)
            continue;
        size_t size = (size_t)(first[OPENING - 1].text - first->text) + first[OPENING - 1].size;
        size = size < sizeof ret->text ? size : sizeof ret->text - 1;
        while (size && ((unsigned char)first->text[size] & 0xC0) == 0x80)
            size--;
        memcpy(ret->text, first->text, size);
    }
}

static int measure(const struct hn_buf *text, struct figures *ret, struct hn_error *err) {
    struct words w = {0};
    bool good = split_words(text, &w);
    uint64_t *room = good ? hn_calloc(w.n + w.rows + 1, sizeof *room) : NULL;
    if (room) {
        for (size_t n = 1; n <= GRAMS; n++)
            ret->distinct[n - 1] = distinct_share(&w, n, room);
        find_opening(&w, room, &ret->opening);
        ret->openings = w.rows ? (double)ret->opening.rows / (double)w.rows : 0;
        size_t packed = hn_packed_size(text->data, text->size);
        ret->compression = text->size ? (double)packed / (double)text->size : 0;
    }
    free(room);
    free(w.list);
    free(w.ends);
    return room ? 0 : hn_fail(err, HN_E_INTERNAL, "out of memory");
}

/* The same words in random order, in rows of the same numbers of words. */
static int shuffle(const struct hn_buf *text, struct hn_buf *ret, struct hn_error *err) {
    struct words w = {0};
    bool good = split_words(text, &w);
    for (size_t i = w.n; good && i > 1; i--) {
        size_t k = (size_t)(hn_random_u64(0, HN_PURPOSE_SHUFFLE, 0, i) % i);
        struct word swap = w.list[i - 1];
        w.list[i - 1] = w.list[k];
        w.list[k] = swap;
    }
    for (size_t row = 0, at = 0; good && row < w.rows; row++) {
        for (; at < w.ends[row]; at++) {
            hn_buf_append(ret, w.list[at].text, w.list[at].size);
            hn_buf_char(ret, at + 1 < w.ends[row] ? ' ' : '\n');
        }
        if (row ? w.ends[row] == w.ends[row - 1] : !w.ends[row])
            hn_buf_char(ret, '\n');
    }
    free(w.list);
    free(w.ends);
    return good && !ret->failed ? 0 : hn_fail(err, HN_E_INTERNAL, "out of memory");
}

static json_t *figure_json(double value, double reference, const char *meaning) {
    return json_pack("{s:o,s:o,s:s}", "value", hn_json_float((float)value), "reference",
        hn_json_float((float)reference), "meaning", meaning);
}

int hn_diversity_json(const struct hn_diversity *sample, json_t **ret,
    struct hn_opening *ret_opening, struct hn_error *err) {
    static const struct {
        const char *name, *meaning;
    } grams[GRAMS] = {{"distinct_1", "different words among all words"},
        {"distinct_2", "different pairs of words among all pairs; below 0.5 texts repeat much"},
        {"distinct_3", "the same of three words; below 0.6 texts repeat much"},
        {"distinct_4", "the same of four words; below 0.7 texts are made from templates"}};
    struct figures own = {0}, shuffled = {0};
    struct hn_buf mixed = {0};
    int rc = shuffle(&sample->text, &mixed, err);
    if (!rc)
        rc = measure(&sample->text, &own, err);
    if (!rc)
        rc = measure(&mixed, &shuffled, err);
    hn_buf_free(&mixed);
    if (rc)
        return rc;
    json_t *out = json_object();
    for (int i = 0; i < GRAMS; i++)
        json_object_set_new(out, grams[i].name,
            figure_json(own.distinct[i], shuffled.distinct[i], grams[i].meaning));
    json_object_set_new(out, "compression",
        figure_json(own.compression, shuffled.compression,
            "bytes of the texts compressed by deflate, of all bytes; natural texts have 0.3 to "
            "0.45"));
    json_object_set_new(out, "openings",
        figure_json(own.openings, shuffled.openings,
            "rows that begin with the five words that most rows begin with; above 0.1 a template "
            "repeats"));
    *ret_opening = own.opening;
    *ret = out;
    return out ? 0 : hn_fail(err, HN_E_INTERNAL, "out of memory");
}

void hn_diversity_finish(struct hn_diversity *sample) {
    hn_buf_free(&sample->text);
    *sample = (struct hn_diversity){0};
}
