/* See answers.h. */
#include "engine/eval/answers.h"
#include "engine/base/buf.h"
#include "engine/base/json.h"
#include "engine/eval/text_metrics.h"
#include "engine/base/utf8.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#define SPAN_MAX 30 /* tokens of an answer, as the SQuAD baselines have it */

size_t hn_logits_best(const float *logits, size_t k) {
    size_t best = 0;
    for (size_t i = 1; i < k; i++)
        best = logits[i] > logits[best] ? i : best;
    return best;
}

double hn_logits_probability(const float *logits, size_t k, size_t i) {
    double sum = 0, top = (double)logits[hn_logits_best(logits, k)];
    for (size_t c = 0; c < k; c++)
        sum += exp((double)logits[c] - top);
    return exp((double)logits[i] - top) / sum;
}

json_t *hn_answer_sequence(const struct hn_labels *labels, const float *logits) {
    size_t k = hn_labels_outputs(labels);
    json_t *chances = json_object(), *chosen = json_array(), *out;
    if (labels->objective == HN_OBJECTIVE_VALUE) {
        json_decref(chances);
        json_decref(chosen);
        return json_pack(
            "{s:o}", "value", hn_json_float((float)hn_label_predicted(labels, logits[0])));
    }
    bool multi = labels->objective == HN_OBJECTIVE_MULTI;
    for (size_t i = 0; i < k; i++) {
        double p = multi ? 1 / (1 + exp(-(double)logits[i])) : hn_logits_probability(logits, k, i);
        json_object_set_new(chances, hn_label_name(labels, i), hn_json_float((float)p));
        if (multi && logits[i] > 0)
            json_array_append_new(chosen, json_string(hn_label_name(labels, i)));
    }
    out = multi ? json_pack("{s:O, s:O}", "labels", chosen, "probabilities", chances)
                : json_pack("{s:s, s:O}", "label", hn_label_name(labels, hn_logits_best(logits, k)),
                      "probabilities", chances);
    json_decref(chances);
    json_decref(chosen);
    return out;
}

/* A tag as seqeval reads it: its first letter, and what stands behind the dash. */
struct tag {
    char mark;
    const char *kind;
};

static struct tag read_tag(const char *name) {
    const char *dash = strchr(name, '-');
    return (struct tag){name[0] ? name[0] : 'O', dash ? dash + 1 : "_"};
}

static bool ends(struct tag a, struct tag b) {
    bool change = b.mark == 'B' || b.mark == 'S' || b.mark == 'O';
    return a.mark == 'E' || a.mark == 'S' || ((a.mark == 'B' || a.mark == 'I') && change) ||
        (a.mark != 'O' && a.mark != '.' && strcmp(a.kind, b.kind) != 0);
}

static bool begins(struct tag a, struct tag b) {
    bool inner = b.mark == 'E' || b.mark == 'I';
    return b.mark == 'B' || b.mark == 'S' ||
        ((a.mark == 'E' || a.mark == 'S' || a.mark == 'O') && inner) ||
        (b.mark != 'O' && b.mark != '.' && strcmp(a.kind, b.kind) != 0);
}

struct entity {
    size_t first, last;
    const char *kind;
};

/* Entities of n tags, of which negative ones are O; returns how many went into out[n]. */
static size_t find_entities(
    const struct hn_labels *labels, const int32_t *tags, size_t n, struct entity *out) {
    struct tag before = {'O', "_"};
    size_t begin = 0, count = 0;
    for (size_t i = 0; i <= n; i++) {
        struct tag tag = i < n && tags[i] >= 0 ? read_tag(hn_label_name(labels, (size_t)tags[i]))
                                               : (struct tag){'O', "_"};
        if (i && ends(before, tag))
            out[count++] = (struct entity){begin, i - 1, before.kind};
        if (begins(before, tag))
            begin = i;
        before = tag;
    }
    return count;
}

static size_t count_common(const struct entity *a, size_t n, const struct entity *b, size_t m) {
    size_t common = 0;
    for (size_t i = 0, k = 0; i < n; i++) {
        while (k < m && b[k].first < a[i].first)
            k++;
        common += k < m && b[k].first == a[i].first && b[k].last == a[i].last &&
            strcmp(a[i].kind, b[k].kind) == 0;
    }
    return common;
}

static json_t *tag_names(const struct hn_labels *labels, const int32_t *tags, size_t n) {
    json_t *names = json_array();
    for (size_t i = 0; i < n; i++)
        json_array_append_new(
            names, json_string(tags[i] < 0 ? "O" : hn_label_name(labels, (size_t)tags[i])));
    return names;
}

/* The tags of one row's words, ours and theirs; what no label says is -1. */
struct tagged {
    int32_t *guess, *gold; /* [n] */
    size_t n, guess_capacity, gold_capacity;
};

static bool add_tag(struct tagged *t, int32_t guess, int32_t gold) {
    if (!hn_grow(&t->guess, &t->guess_capacity, t->n + 1, sizeof *t->guess) ||
        !hn_grow(&t->gold, &t->gold_capacity, t->n + 1, sizeof *t->gold))
        return false;
    t->guess[t->n] = guess;
    t->gold[t->n++] = gold;
    return true;
}

/* The label that says that a word is of no entity, or -1. */
static int32_t no_entity(const struct hn_labels *labels) {
    json_t *o = json_string("O");
    int32_t number = hn_label_number(labels, o);
    json_decref(o);
    return number;
}

/* Of a row encoded again: a word without tokens is answered with O. */
static bool tag_words(const struct hn_labels *labels, const struct hn_encoded *e,
    const json_t *tags, const float *logits, struct tagged *t) {
    size_t k = hn_labels_outputs(labels), word = 0, target = 0;
    int32_t o = no_entity(labels);
    for (size_t i = 0; i <= e->ids.n; i++) {
        size_t own = i < e->ids.n ? (size_t)e->words[i] : e->words_seen;
        if (i < e->ids.n && e->words[i] < 0)
            continue;
        for (; word < own; word++)
            if (!add_tag(t, o, hn_label_number(labels, json_array_get(tags, word))))
                return false;
        word++;
        if (i < e->ids.n && e->weights[i] > 0 &&
            !add_tag(t, (int32_t)hn_logits_best(logits + target++ * k, k), e->targets[i]))
            return false;
    }
    return true;
}

static bool tag_targets(const struct hn_labels *labels, const int32_t *targets, size_t n,
    const float *logits, struct tagged *t) {
    size_t k = hn_labels_outputs(labels);
    for (size_t i = 0; i < n; i++)
        if (!add_tag(t, (int32_t)hn_logits_best(logits + i * k, k), targets[i]))
            return false;
    return true;
}

/* Sums over rows. */
struct tag_sums {
    size_t words, right, common, predicted, actual;
};

static bool sum_row(const struct hn_labels *labels, const struct tagged *t, struct tag_sums *sums,
    json_t *answers, struct hn_score *score) {
    struct entity *ours = hn_calloc(t->n + 1, sizeof *ours),
                  *theirs = hn_calloc(t->n + 1, sizeof *theirs);
    size_t right = 0;
    for (size_t i = 0; i < t->n; i++)
        right += t->guess[i] == t->gold[i];
    if (ours && theirs) {
        size_t a = find_entities(labels, t->guess, t->n, ours),
               b = find_entities(labels, t->gold, t->n, theirs),
               common = count_common(ours, a, theirs, b);
        sums->common += common;
        sums->predicted += a;
        sums->actual += b;
        sums->words += t->n;
        sums->right += right;
        if (score)
            *score = (struct hn_score){.right = right == t->n,
                .label = (int32_t)b,
                .predicted = (int32_t)a,
                .value = (float)common};
    }
    if (answers)
        json_array_append_new(answers,
            json_pack(
                "{s:o, s:b}", "tags", tag_names(labels, t->guess, t->n), "correct", right == t->n));
    bool ok = ours && theirs;
    free(ours);
    free(theirs);
    return ok;
}

int hn_metrics_tags(const struct hn_loaded *loaded, const float *logits, const int32_t *targets,
    const struct hn_examples *ex, const struct hn_dataset *data, json_t *out, json_t *answers,
    struct hn_score *scores, struct hn_error *err) {
    const struct hn_labels *labels = &loaded->spec->labels;
    struct hn_encode_options o = hn_loaded_encode_options(loaded);
    struct hn_encoded e = {0};
    struct tagged t = {0};
    struct tag_sums sums = {0};
    bool lost = hn_notices_have(&ex->notices, HN_NOTICE_LOST_WORD), ok = true;
    size_t k = hn_labels_outputs(labels), at = 0;
    int rc = 0;
    for (size_t row = 0; !rc && ok && row < ex->n_rows; row++) {
        size_t n = 0;
        json_t *object = NULL;
        for (size_t i = ex->starts[row]; i < ex->starts[row + 1]; i++)
            n += ex->weights[i] > 0;
        t.n = 0;
        if (lost)
            rc = hn_dataset_row(data, ex->rows[row], &object, err);
        if (lost && !rc)
            rc = hn_row_encode(&loaded->codec, HN_ROWS_TOKENS_TAGS, object, &o, &e, err);
        if (!rc)
            ok = lost ? tag_words(labels, &e, json_object_get(object, "tags"), logits + at * k, &t)
                      : tag_targets(labels, targets + at, n, logits + at * k, &t);
        ok = ok && !rc && sum_row(labels, &t, &sums, answers, scores ? &scores[row] : NULL);
        at += n;
        json_decref(object);
    }
    if (!rc && ok && sums.words) {
        json_object_set_new(
            out, "accuracy", hn_json_float((float)((double)sums.right / (double)sums.words)));
        json_object_set_new(out, "entity_f1",
            hn_json_float(sums.predicted + sums.actual
                    ? (float)(2 * (double)sums.common / (double)(sums.predicted + sums.actual))
                    : 0));
    }
    free(t.guess);
    free(t.gold);
    hn_encoded_finish(&e);
    return rc || ok ? rc : hn_fail(err, HN_E_INTERNAL, "out of memory");
}

/* Where each word begins, in bytes of `text`, or of the words joined by spaces when it is NULL:
 * *ret_whole. */
static size_t *find_words(const json_t *words, const char *text, struct hn_buf *ret_whole) {
    size_t *begins = hn_calloc(json_array_size(words) + 1, sizeof *begins), at = 0, i;
    const json_t *word;
    json_array_foreach((json_t *)(uintptr_t)words, i, word) {
        if (!text && i)
            hn_buf_char(ret_whole, ' ');
        at = text ? at + strspn(text + at, HN_WORD_SPACES) : ret_whole->size;
        if (begins)
            begins[i] = at;
        at += json_string_length(word);
        if (!text)
            hn_buf_append(ret_whole, json_string_value(word), json_string_length(word));
    }
    if (text)
        hn_buf_text(ret_whole, text);
    return begins;
}

static json_t *entity_json(const struct entity *found, const struct hn_buf *text,
    const size_t *begins, const json_t *words, double score) {
    size_t begin = begins[found->first],
           end = begins[found->last] + json_string_length(json_array_get(words, found->last));
    return HN_JSON_OBJECT({"label", json_string(found->kind)},
        {"text", hn_json_text(text->data + begin, end - begin)},
        {"start", json_integer(hn_utf8_count(text->data, begin))},
        {"end", json_integer(hn_utf8_count(text->data, end))},
        {"first", json_integer(found->first)}, {"last", json_integer(found->last)},
        {"score", hn_json_float((float)score)});
}

json_t *hn_answer_tags(const struct hn_labels *labels, const struct hn_encoded *e,
    const json_t *row, const float *logits) {
    const json_t *words = json_object_get(row, "tokens");
    size_t k = hn_labels_outputs(labels), n = json_array_size(words);
    struct hn_buf text = {0};
    int32_t *tags = hn_calloc(n + 1, sizeof *tags);
    const float **own = hn_calloc(n + 1, sizeof *own); /* a word's logits, or NULL */
    struct entity *found = hn_calloc(n + 2, sizeof *found);
    size_t *begins = find_words(words, json_string_value(json_object_get(row, "text")), &text);
    bool ok = tags && own && found && begins && !text.failed;
    json_t *entities = json_array();
    for (size_t i = 0; ok && i < e->ids.n; i++)
        if (e->weights[i] > 0) {
            own[e->words[i]] = logits;
            logits += k;
        }
    for (size_t i = 0; ok && i < n; i++)
        tags[i] = own[i] ? (int32_t)hn_logits_best(own[i], k) : -1;
    json_t *names = tag_names(labels, tags, ok ? n : 0);
    size_t count = ok ? find_entities(labels, tags, n, found) : 0;
    for (size_t i = 0; i < count; i++) {
        double score = 1;
        for (size_t w = found[i].first; w <= found[i].last; w++)
            score = fmin(score, hn_logits_probability(own[w], k, (size_t)tags[w]));
        json_array_append_new(entities, entity_json(&found[i], &text, begins, words, score));
    }
    free(tags);
    free(own);
    free(found);
    free(begins);
    hn_buf_free(&text);
    return json_pack("{s:o, s:o}", "entities", entities, "tags", names);
}

void hn_span_consider(struct hn_best_span *best, const struct hn_encoded *w, const float *logits) {
    double null_score = (double)logits[0] + (double)logits[1];
    best->null_score = best->any && best->null_score < null_score ? best->null_score : null_score;
    best->any = true;
    for (size_t from = w->context_first; from < w->context_last; from++)
        for (size_t to = from; to < w->context_last && to < from + SPAN_MAX; to++) {
            double score = (double)logits[2 * from] + (double)logits[2 * to + 1];
            if (best->found && !(score > best->score))
                continue;
            best->found = true;
            best->score = score;
            best->begin = w->ids.offsets[from];
            best->end = w->ids.ends[to];
        }
}

bool hn_span_is_null(const struct hn_best_span *span, const struct hn_labels *labels) {
    return !span->found || (labels->unanswerable && span->null_score > span->score);
}

/* The end without the spaces that stand before the next token. */
static size_t trimmed(const struct hn_best_span *span, const char *context) {
    size_t end = span->end;
    while (end > span->begin && strchr(" \t\r\n\f\v", context[end - 1]))
        end--;
    return end;
}

/* A span may begin with the space that byte-level tokens carry. */
static size_t leading(const struct hn_best_span *span, const char *context, size_t end) {
    size_t begin = span->begin;
    while (begin < end && strchr(" \t\r\n\f\v", context[begin]))
        begin++;
    return begin;
}

json_t *hn_answer_span(
    const struct hn_best_span *span, const struct hn_labels *labels, const char *context) {
    if (hn_span_is_null(span, labels))
        return json_pack("{s:s, s:o, s:n, s:n}", "answer", "", "score",
            hn_json_float((float)span->null_score), "start", "end");
    size_t end = trimmed(span, context), begin = leading(span, context, end);
    return json_pack("{s:o, s:o, s:I, s:I}", "answer", hn_json_text(context + begin, end - begin),
        "score", hn_json_float((float)span->score), "start",
        (json_int_t)hn_utf8_count(context, begin), "end", (json_int_t)hn_utf8_count(context, end));
}

/* Encodes the windows of a row again, since examples keep no offsets, and looks for the best span
 * in their logits. */
static int read_row(const struct hn_loaded *loaded, const struct hn_examples *ex,
    const struct hn_encode_options *o, const json_t *row, size_t *at, size_t source,
    const float *logits, struct hn_encoded *e, struct hn_best_span *span, struct hn_error *err) {
    int rc = 0;
    e->window = 0;
    do {
        rc = hn_row_encode(&loaded->codec, HN_ROWS_QA, row, o, e, err);
        if (!rc && *at < ex->n_rows && ex->rows[*at] == source &&
            ex->starts[*at + 1] - ex->starts[*at] == e->ids.n) {
            hn_span_consider(span, e, logits + 2 * ex->starts[*at]);
            ++*at;
        }
    } while (!rc && e->again);
    return rc;
}

int hn_metrics_spans(const struct hn_loaded *loaded, const float *logits,
    const struct hn_examples *ex, const struct hn_dataset *data, json_t *out, json_t *answers,
    struct hn_score *scores, struct hn_error *err) {
    struct hn_encode_options o = hn_loaded_encode_options(loaded);
    struct hn_encoded e = {0};
    struct hn_text_metrics sums = {.wanted = HN_TEXT_SQUAD};
    int rc = 0;
    for (size_t at = 0; !rc && at < ex->n_rows;) {
        struct hn_best_span span = {0};
        json_t *row = NULL, *answer = NULL;
        size_t before = at;
        rc = hn_dataset_row(data, ex->rows[at], &row, err);
        if (!rc)
            rc = read_row(loaded, ex, &o, row, &at, ex->rows[at], logits, &e, &span, err);
        if (!rc && at == before)
            rc = hn_fail(err, HN_E_INTERNAL, "the windows of a row are not those of its examples");
        if (!rc) {
            answer = hn_answer_span(
                &span, &loaded->spec->labels, json_string_value(json_object_get(row, "context")));
            hn_text_metrics_add(
                &sums, json_object_get(answer, "answer"), json_object_get(row, "answers"), answer);
        }
        if (scores && answer)
            *scores++ = (struct hn_score){.right = json_is_true(json_object_get(answer, "correct")),
                .value = (float)json_number_value(json_object_get(answer, "f1"))};
        if (answers && answer)
            json_array_append(answers, answer);
        json_decref(answer);
        json_decref(row);
    }
    hn_encoded_finish(&e);
    if (!rc && sums.failed)
        rc = hn_fail(err, HN_E_INTERNAL, "out of memory");
    if (!rc)
        hn_text_metrics_write(&sums, out);
    hn_text_metrics_finish(&sums);
    return rc;
}
