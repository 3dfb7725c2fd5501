/* See text_metrics.h. Every metric reads the texts as numbers in its own way, words by their place
 * in a table or characters by their code; what follows counts common grams or looks for a common
 * subsequence. */
#include "engine/eval/text_metrics.h"
#include "engine/base/json.h"
#include "engine/base/utf8.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <utf8proc.h>

#define CHRF_BETA 2

static const char *const names[HN_TEXT_METRICS] = {"exact_match", "f1", "rouge_l", "chrf", "bleu"};

/* Of one row, 0..1. */
struct score {
    double exact_match, f1, rouge_l;
};

/* A text as numbers. */
struct symbols {
    uint32_t *ids; /* [n] */
    size_t n, capacity;
};

static void push(struct hn_text_metrics *m, struct symbols *s, uint32_t id) {
    if (hn_grow(&s->ids, &s->capacity, s->n + 1, sizeof *s->ids))
        s->ids[s->n++] = id;
    else
        m->failed = true;
}

/* Where the word is in the table, or would be. */
static size_t find_slot(const struct hn_text_metrics *m, const char *word, size_t size) {
    uint64_t hash = 0xCBF29CE484222325u; /* FNV-1a */
    for (size_t i = 0; i < size; i++)
        hash = (hash ^ (unsigned char)word[i]) * 0x100000001B3u;
    size_t slot = (size_t)(hash ^ hash >> 32) & (m->n_slots - 1);
    for (; m->slots[slot]; slot = (slot + 1) & (m->n_slots - 1)) {
        size_t number = m->slots[slot] - 1, begin = number ? m->ends[number - 1] : 0;
        if (m->ends[number] - begin == size && memcmp(m->words.data + begin, word, size) == 0)
            break;
    }
    return slot;
}

static bool grow_table(struct hn_text_metrics *m) {
    size_t n = m->n_slots ? 2 * m->n_slots : 1024, *slots = hn_calloc(n, sizeof *slots);
    if (!slots)
        return false;
    free(m->slots);
    m->slots = slots;
    m->n_slots = n;
    for (size_t i = 0, begin = 0; i < m->n_words; begin = m->ends[i++])
        slots[find_slot(m, m->words.data + begin, m->ends[i] - begin)] = i + 1;
    return true;
}

static void push_word(struct hn_text_metrics *m, struct symbols *s, const char *word, size_t size) {
    m->failed = m->failed || (2 * (m->n_words + 1) > m->n_slots && !grow_table(m)) ||
        !hn_grow(&m->ends, &m->ends_capacity, m->n_words + 1, sizeof *m->ends);
    if (m->failed)
        return;
    size_t slot = find_slot(m, word, size);
    if (!m->slots[slot]) {
        hn_buf_append(&m->words, word, size);
        m->ends[m->n_words++] = m->words.size;
        m->slots[slot] = m->n_words;
        m->failed = m->words.failed;
    }
    push(m, s, (uint32_t)m->slots[slot]);
}

static bool is_ink(uint32_t c) {
    return !hn_utf8_is_space(c);
}

static bool is_plain(uint32_t c) {
    return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9');
}

/* Words are runs of characters of one kind. */
static void push_words(struct hn_text_metrics *m, struct symbols *s, const struct hn_buf *text,
    bool (*inside)(uint32_t)) {
    size_t begin = 0;
    for (size_t at = 0; at < text->size;) {
        size_t n = hn_utf8_length((unsigned char)text->data[at]);
        if (!inside(hn_utf8_get(text->data + at))) {
            if (at > begin)
                push_word(m, s, text->data + begin, at - begin);
            begin = at + n;
        }
        at += n;
    }
    if (text->size > begin)
        push_word(m, s, text->data + begin, text->size - begin);
    m->failed = m->failed || text->failed;
}

/* Python's str.lower(): simple mappings but for U+0130, and for a sigma at the end of a word. */

static bool is_cased(uint32_t c) {
    utf8proc_category_t k = utf8proc_category((utf8proc_int32_t)c);
    return k == UTF8PROC_CATEGORY_LU || k == UTF8PROC_CATEGORY_LL || k == UTF8PROC_CATEGORY_LT;
}

/* Unicode's Case_Ignorable: marks, formats, modifiers, and the punctuation that stands inside
 * words. */
static bool is_passed_over(uint32_t c) {
    static const uint16_t inner[] = {0x27, 0x2E, 0x3A, 0xB7, 0x387, 0x55F, 0x5F4, 0x2018, 0x2019,
        0x2024, 0x2027, 0xFE13, 0xFE52, 0xFE55, 0xFF07, 0xFF0E, 0xFF1A};
    utf8proc_category_t k = utf8proc_category((utf8proc_int32_t)c);
    for (size_t i = 0; i < sizeof inner / sizeof inner[0]; i++)
        if (c == inner[i])
            return true;
    return k == UTF8PROC_CATEGORY_MN || k == UTF8PROC_CATEGORY_ME || k == UTF8PROC_CATEGORY_CF ||
        k == UTF8PROC_CATEGORY_LM || k == UTF8PROC_CATEGORY_SK;
}

static bool cased_follows(const char *text, size_t at, size_t size) {
    while (at < size && is_passed_over(hn_utf8_get(text + at)))
        at += hn_utf8_length((unsigned char)text[at]);
    return at < size && is_cased(hn_utf8_get(text + at));
}

static void lower(const char *text, size_t size, struct hn_buf *out) {
    bool inside = false; /* a cased letter stands before */
    for (size_t at = 0; at < size;) {
        char room[4];
        uint32_t c = hn_utf8_get(text + at), low = (uint32_t)utf8proc_tolower((utf8proc_int32_t)c);
        at += hn_utf8_length((unsigned char)text[at]);
        if (c == 0x3A3 && inside && !cased_follows(text, at, size))
            low = 0x3C2;
        hn_buf_append(out, room, hn_utf8_put(c == 0x130 ? 'i' : low, room));
        if (c == 0x130)
            hn_buf_text(out, "\xCC\x87");
        inside = is_passed_over(c) ? inside : is_cased(c);
    }
}

/* Characters that are not white space. */
static void read_characters(
    struct hn_text_metrics *m, const char *text, size_t size, struct symbols *out) {
    for (size_t at = 0; at < size; at += hn_utf8_length((unsigned char)text[at]))
        if (is_ink(hn_utf8_get(text + at)))
            push(m, out, hn_utf8_get(text + at));
}

/* rouge-score's default tokenizer: runs of a-z and 0-9 of the text in lower case. */
static void read_plain(
    struct hn_text_metrics *m, const char *text, size_t size, struct symbols *out) {
    struct hn_buf low = {0};
    lower(text, size, &low);
    push_words(m, out, &low, is_plain);
    hn_buf_free(&low);
}

/* \w of Python's expressions, but for the underscore, which is gone by then. */
static bool is_word(uint32_t c) {
    utf8proc_category_t k = utf8proc_category((utf8proc_int32_t)c);
    return (k >= UTF8PROC_CATEGORY_LU && k <= UTF8PROC_CATEGORY_LO) ||
        (k >= UTF8PROC_CATEGORY_ND && k <= UTF8PROC_CATEGORY_NO);
}

static bool is_article(const char *word, size_t n) {
    return (n == 1 && *word == 'a') || (n == 2 && memcmp(word, "an", 2) == 0) ||
        (n == 3 && memcmp(word, "the", 3) == 0);
}

/* SQuAD's normal form: lower case, no ASCII punctuation, no articles. */
static void read_normal(
    struct hn_text_metrics *m, const char *text, size_t size, struct symbols *out) {
    struct hn_buf low = {0}, bare = {0}, kept = {0};
    lower(text, size, &low);
    for (size_t i = 0; i < low.size; i++)
        if (!low.data[i] || !strchr("!\"#$%&'()*+,-./:;<=>?@[\\]^_`{|}~", low.data[i]))
            hn_buf_char(&bare, low.data[i]);
    for (size_t at = 0; at < bare.size;) {
        size_t n = 0;
        while (at + n < bare.size && is_word(hn_utf8_get(bare.data + at + n)))
            n += hn_utf8_length((unsigned char)bare.data[at + n]);
        bool article = is_article(bare.data + at, n);
        n += n ? 0 : hn_utf8_length((unsigned char)bare.data[at]);
        hn_buf_append(&kept, article ? " " : bare.data + at, article ? 1 : n);
        at += n;
    }
    push_words(m, out, &kept, is_ink);
    m->failed = m->failed || low.failed || bare.failed;
    hn_buf_free(&low);
    hn_buf_free(&bare);
    hn_buf_free(&kept);
}

/* The tokens of mteval-v13a, expression by expression as sacrebleu has them. Only ASCII is named in
 * them, so they work on bytes. */

static void replace(struct hn_buf *text, const char *old, const char *fresh) {
    struct hn_buf out = {0};
    char *found;
    size_t at = 0;
    while (text->size && (found = memmem(text->data + at, text->size - at, old, strlen(old)))) {
        hn_buf_append(&out, text->data + at, (size_t)(found - text->data) - at);
        hn_buf_text(&out, fresh);
        at = (size_t)(found - text->data) + strlen(old);
    }
    if (at) {
        hn_buf_append(&out, text->data + at, text->size - at);
        hn_buf_free(text);
        *text = out;
    }
}

static bool is_digit(char c) {
    return c >= '0' && c <= '9';
}

static bool is_no_digit(char c) {
    return !is_digit(c);
}

static bool is_stop(char c) {
    return c == '.' || c == ',';
}

static bool is_dash(char c) {
    return c == '-';
}

static bool is_mark(char c) { /* [{-~[-` -&(-+:-@/] */
    return (c >= '{' && c <= '~') || (c >= '[' && c <= '`') || (c >= ' ' && c <= '&') ||
        (c >= '(' && c <= '+') || (c >= ':' && c <= '@') || c == '/';
}

/* s/(first)(second)/\1 \2 /g, or with `before` / \1 \2/. */
static void part(struct hn_buf *text, bool (*first)(char), bool (*second)(char), bool before) {
    struct hn_buf out = {0};
    for (size_t i = 0; i < text->size; i++) {
        bool fits = i + 1 < text->size && first(text->data[i]) && second(text->data[i + 1]);
        if (fits && before)
            hn_buf_char(&out, ' ');
        hn_buf_char(&out, text->data[i]);
        if (!fits)
            continue;
        hn_buf_char(&out, ' ');
        hn_buf_char(&out, text->data[++i]);
        if (!before)
            hn_buf_char(&out, ' ');
    }
    hn_buf_free(text);
    *text = out;
}

static void read_13a(
    struct hn_text_metrics *m, const char *text, size_t size, struct symbols *out) {
    static const char *const literal[][2] = {{"<skipped>", ""}, {"-\n", ""}, {"\n", " "},
        {"&quot;", "\""}, {"&amp;", "&"}, {"&lt;", "<"}, {"&gt;", ">"}};
    struct hn_buf line = {0}, marked = {0};
    size_t end = 0; /* without white space at the end, where "-\n" would be something else */
    for (size_t at = 0; at < size;) {
        bool ink = is_ink(hn_utf8_get(text + at));
        at += hn_utf8_length((unsigned char)text[at]);
        end = ink ? at : end;
    }
    hn_buf_append(&line, text, end);
    for (size_t i = 0; i < sizeof literal / sizeof literal[0]; i++)
        replace(&line, literal[i][0], literal[i][1]);
    hn_buf_char(&marked, ' ');
    for (size_t i = 0; i < line.size; i++) {
        bool mark = is_mark(line.data[i]);
        if (mark)
            hn_buf_char(&marked, ' ');
        hn_buf_char(&marked, line.data[i]);
        if (mark)
            hn_buf_char(&marked, ' ');
    }
    hn_buf_char(&marked, ' ');
    part(&marked, is_no_digit, is_stop, false);
    part(&marked, is_stop, is_no_digit, true);
    part(&marked, is_digit, is_dash, false);
    push_words(m, out, &marked, is_ink);
    m->failed = m->failed || line.failed;
    hn_buf_free(&line);
    hn_buf_free(&marked);
}

static size_t count_grams(const struct symbols *s, size_t order) {
    return s->n < order ? 0 : s->n - order + 1;
}

static int compare_grams(const void *a, const void *b, void *order) {
    return memcmp(*(const uint32_t *const *)a, *(const uint32_t *const *)b,
        *(size_t *)order * sizeof(uint32_t));
}

/* Pointers to all grams of a text, equal ones side by side; caller frees. */
static const uint32_t **sort_grams(
    struct hn_text_metrics *m, const struct symbols *s, size_t order) {
    size_t n = count_grams(s, order);
    const uint32_t **grams = hn_calloc(n, sizeof *grams);
    for (size_t i = 0; grams && i < n; i++)
        grams[i] = s->ids + i;
    if (grams)
        qsort_r(grams, n, sizeof *grams, compare_grams, &order);
    m->failed = m->failed || !grams;
    return grams;
}

/* Grams of `a` that are in the references: each as often as in `a`, but not more often than in the
 * reference that has it most. */
static size_t count_common(struct hn_text_metrics *m, const struct symbols *a,
    const struct symbols *references, size_t n, size_t order) {
    size_t ours = count_grams(a, order), common = 0, *most = hn_calloc(ours, sizeof *most);
    const uint32_t **grams = sort_grams(m, a, order);
    m->failed = m->failed || !most;
    for (size_t r = 0; r < n && !m->failed; r++) {
        size_t theirs = count_grams(&references[r], order);
        const uint32_t **other = sort_grams(m, &references[r], order);
        for (size_t i = 0, k = 0, end; other && i < ours; i = end) {
            size_t found = 0;
            for (end = i + 1; end < ours && !compare_grams(&grams[end], &grams[i], &order);)
                end++;
            while (k < theirs && compare_grams(&other[k], &grams[i], &order) < 0)
                k++;
            for (; k < theirs && !compare_grams(&other[k], &grams[i], &order); k++)
                found++;
            found = found < end - i ? found : end - i;
            common += found > most[i] ? found - most[i] : 0;
            most[i] = found > most[i] ? found : most[i];
        }
        free(other);
    }
    free(grams);
    free(most);
    return common;
}

/* Length of the longest common subsequence. */
static size_t count_subsequence(
    struct hn_text_metrics *m, const struct symbols *a, const struct symbols *b) {
    size_t *row = hn_calloc(b->n + 1, sizeof *row);
    m->failed = m->failed || !row;
    for (size_t i = 0; row && i < a->n; i++)
        for (size_t k = 0, corner = 0; k < b->n; k++) {
            size_t above = row[k + 1];
            if (a->ids[i] == b->ids[k])
                row[k + 1] = corner + 1;
            else if (row[k] > above)
                row[k + 1] = row[k];
            corner = above;
        }
    size_t length = row ? row[b->n] : 0;
    free(row);
    return length;
}

static double larger(double a, double b) {
    return a > b ? a : b;
}

/* texts[0] is the answer, texts[1 .. n] are references: so for all that follow. A reference of
 * which nothing is left counts only where all are so. */
static void add_normal(
    struct hn_text_metrics *m, const struct symbols *texts, size_t n, struct score *score) {
    const struct symbols *ours = &texts[0];
    bool any = false;
    for (size_t i = 1; i <= n; i++)
        any = any || texts[i].n;
    for (size_t i = 1; i <= n; i++) {
        const struct symbols *theirs = &texts[i];
        if (any && !theirs->n)
            continue;
        bool same = ours->n == theirs->n &&
            (!ours->n || !memcmp(ours->ids, theirs->ids, ours->n * sizeof *ours->ids));
        size_t common = count_common(m, ours, theirs, 1, 1);
        score->exact_match = larger(score->exact_match, same);
        score->f1 = larger(score->f1,
            same         ? 1
                : common ? 2 * (double)common / (double)(ours->n + theirs->n)
                         : 0);
    }
    m->exact_match += score->exact_match;
    m->f1 += score->f1;
}

static void add_rouge(
    struct hn_text_metrics *m, const struct symbols *texts, size_t n, struct score *score) {
    for (size_t i = 1; i <= n; i++) {
        size_t common = count_subsequence(m, &texts[0], &texts[i]);
        score->rouge_l = larger(
            score->rouge_l, common ? 2 * (double)common / (double)(texts[0].n + texts[i].n) : 0);
    }
    m->rouge_l += score->rouge_l;
}

/* Means of precision and recall over the orders of which both sides have grams. */
static double chrf_of(const size_t counts[HN_CHRF_ORDERS][3]) {
    double precision = 0, recall = 0, orders = 0, factor = CHRF_BETA * CHRF_BETA;
    for (size_t i = 0; i < HN_CHRF_ORDERS; i++) {
        if (!counts[i][0] || !counts[i][1])
            continue;
        precision += (double)counts[i][2] / (double)counts[i][0];
        recall += (double)counts[i][2] / (double)counts[i][1];
        orders++;
    }
    precision /= orders > 0 ? orders : 1;
    recall /= orders > 0 ? orders : 1;
    return precision + recall > 0
        ? 100 * ((1 + factor) * precision * recall / (factor * precision + recall))
        : 0;
}

static void add_chrf(
    struct hn_text_metrics *m, const struct symbols *texts, size_t n, struct score *score) {
    size_t counts[HN_CHRF_ORDERS][3], kept[HN_CHRF_ORDERS][3] = {{0}};
    double best = -1;
    (void)score;
    for (size_t i = 1; i <= n; i++) {
        for (size_t k = 0; k < HN_CHRF_ORDERS; k++) {
            counts[k][1] = count_grams(&texts[i], k + 1);
            counts[k][0] = counts[k][1] ? count_grams(&texts[0], k + 1) : 0;
            counts[k][2] = count_common(m, &texts[0], &texts[i], 1, k + 1);
        }
        if (chrf_of(counts) > best) {
            best = chrf_of(counts);
            memcpy(kept, counts, sizeof kept);
        }
    }
    for (size_t k = 0; k < HN_CHRF_ORDERS; k++)
        for (size_t i = 0; i < 3; i++)
            m->chrf[k][i] += kept[k][i];
}

static void add_bleu(
    struct hn_text_metrics *m, const struct symbols *texts, size_t n, struct score *score) {
    size_t ours = texts[0].n, closest = texts[1].n;
    (void)score;
    for (size_t i = 2; i <= n; i++) { /* of two as close the shorter */
        size_t theirs = texts[i].n, gap = theirs > ours ? theirs - ours : ours - theirs,
               best = closest > ours ? closest - ours : ours - closest;
        if (gap < best || (gap == best && theirs < closest))
            closest = theirs;
    }
    m->length += ours;
    m->reference_length += closest;
    for (size_t k = 0; k < HN_BLEU_ORDERS; k++) {
        m->bleu[k][0] += count_grams(&texts[0], k + 1);
        m->bleu[k][1] += count_common(m, &texts[0], &texts[1], n, k + 1);
    }
}

static double bleu_of(const struct hn_text_metrics *m) {
    double sum = 0, smooth = 1,
           ratio = m->length ? (double)m->reference_length / (double)m->length : 0;
    if (!m->bleu[0][1])
        return 0;
    for (size_t k = 0; k < HN_BLEU_ORDERS; k++) {
        if (!m->bleu[k][0])
            return 0; /* no answer has so many words */
        double hits = (double)m->bleu[k][1];
        if (!m->bleu[k][1])
            hits = 1 / (smooth *= 2);
        sum += log(100 * hits / (double)m->bleu[k][0]);
    }
    return exp(sum / HN_BLEU_ORDERS) * (ratio > 1 ? exp(1 - ratio) : 1);
}

static const struct reading {
    unsigned metrics;
    void (*read)(struct hn_text_metrics *, const char *, size_t, struct symbols *);
    void (*add)(struct hn_text_metrics *, const struct symbols *, size_t, struct score *);
} readings[] = {
    {HN_TEXT_SQUAD, read_normal, add_normal},
    {1u << HN_TEXT_ROUGE_L, read_plain, add_rouge},
    {1u << HN_TEXT_CHRF, read_characters, add_chrf},
    {1u << HN_TEXT_BLEU, read_13a, add_bleu},
};

static void tell_score(const struct hn_text_metrics *m, const struct score *score, json_t *out) {
    const double values[] = {score->exact_match, score->f1, score->rouge_l};
    for (size_t i = 0; i < sizeof values / sizeof values[0]; i++)
        if (m->wanted & 1u << i)
            json_object_set_new(out, names[i], hn_json_float((float)values[i]));
    if (m->wanted & 1u << HN_TEXT_EXACT_MATCH)
        json_object_set_new(out, "correct", json_boolean(score->exact_match > 0));
}

void hn_text_metrics_add(
    struct hn_text_metrics *m, const json_t *answer, const json_t *references, json_t *ret_scores) {
    struct score score = {0};
    const json_t *list =
        json_is_object(references) ? json_object_get(references, "text") : references;
    size_t given = json_array_size(list), n = given ? given : 1;
    struct symbols *texts = hn_calloc(n + 1, sizeof *texts);
    m->failed = m->failed || !texts;
    m->rows++;
    for (size_t r = 0; texts && r < sizeof readings / sizeof readings[0]; r++) {
        if (!(m->wanted & readings[r].metrics))
            continue;
        for (size_t i = 0; i <= n; i++) {
            const json_t *text = i == 0 ? answer : given ? json_array_get(list, i - 1) : list;
            texts[i].n = 0;
            if (json_is_string(text))
                readings[r].read(m, json_string_value(text), json_string_length(text), &texts[i]);
        }
        if (!m->failed)
            readings[r].add(m, texts, n, &score);
    }
    for (size_t i = 0; texts && i <= n; i++)
        free(texts[i].ids);
    free(texts);
    if (ret_scores)
        tell_score(m, &score, ret_scores);
}

void hn_text_metrics_write(const struct hn_text_metrics *m, json_t *out) {
    double n = (double)m->rows;
    const double values[] = {
        100 * m->exact_match / n, 100 * m->f1 / n, m->rouge_l / n, chrf_of(m->chrf), bleu_of(m)};
    for (size_t i = 0; m->rows && i < HN_TEXT_METRICS; i++)
        if (m->wanted & 1u << i)
            json_object_set_new(out, names[i], hn_json_float((float)values[i]));
}

void hn_text_metrics_finish(struct hn_text_metrics *m) {
    hn_buf_free(&m->words);
    free(m->slots);
    free(m->ends);
    *m = (struct hn_text_metrics){0};
}
