/* See report_internal.h. */
#include "engine/insight/report_internal.h"
#include "engine/base/json.h"
#include "engine/base/utf8.h"
#include "engine/data/label_survey.h"
#include "engine/insight/diversity.h"
#include "engine/insight/lengths.h"

#include <stdlib.h>
#include <string.h>

#define OPENING_SHARE 0.1 /* of rows with one beginning, from which it is told */
#define ANSWER_SHARE 0.2  /* of rows with one answer */
#define MAJORITY 0.8      /* of rows whose language is known, from which others stand out */
#define FEW_ROWS 20       /* among which no share says anything */
#define RARE 5            /* rows of a label */
#define IMBALANCED 10

/* A row's texts on their way through the finders. */
struct visit {
    struct hn_report *r;
    size_t row, characters;
    const char *column;
    enum hn_finding kind;
};

static void take_spot(void *context, const struct hn_spot *spot) {
    struct visit *v = context;
    hn_finding_spot(&v->r->findings, v->kind, v->row, v->column, spot);
}

static void visit_text(struct visit *v, const char *text, size_t size) {
    v->characters += hn_utf8_count(text, size);
    v->kind = HN_FINDING_SECRET;
    hn_secrets_find(&v->r->secrets, text, size, take_spot, v);
    v->kind = HN_FINDING_PERSONAL;
    hn_personal_find(text, size, take_spot, v);
    v->kind = HN_FINDING_ENCODING;
    hn_encoding_find(text, size, take_spot, v);
}

static void visit_value(struct visit *v, const json_t *value) {
    const char *key;
    const json_t *item;
    size_t i;
    if (json_is_string(value))
        visit_text(v, json_string_value(value), json_string_length(value));
    json_array_foreach((json_t *)(uintptr_t)value, i, item)
        visit_value(v, item);
    json_object_foreach((json_t *)(uintptr_t)value, key, item)
        visit_value(v, item);
}

/* Every column by its name, since a finding tells it. */
static void visit_row(struct visit *v, const json_t *row) {
    const json_t *value;
    json_object_foreach((json_t *)(uintptr_t)row, v->column, value)
        visit_value(v, value);
}

static bool is_blank(const struct hn_buf *text) {
    for (size_t i = 0; i < text->size; i++)
        if (text->data[i] != ' ' && text->data[i] != '\n' && text->data[i] != '\t')
            return false;
    return true;
}

static int count_tokens(
    struct hn_report *r, size_t number, const json_t *row, struct hn_error *err) {
    const struct hn_report_request *request = r->request;
    size_t n = 0, every = request->data->n_rows / HN_REPORT_TOKENS + 1;
    if (!request->count_tokens || number % every)
        return 0;
    int rc = request->count_tokens(request->context, row, &n, err);
    if (rc)
        return rc;
    r->tokens[r->n_tokens++] = n < UINT32_MAX ? (uint32_t)n : UINT32_MAX;
    if (request->model_context && n > request->model_context)
        hn_finding_add(&r->findings, HN_FINDING_TOO_LONG, number);
    return 0;
}

int hn_report_row(struct hn_report *r, size_t number, json_t *row, struct hn_error *err) {
    struct visit v = {.r = r, .row = number};
    enum hn_columns columns = r->request->data->columns;
    double share;
    visit_row(&v, row);
    r->characters[number] = v.characters < UINT32_MAX ? (uint32_t)v.characters : UINT32_MAX;
    int rc = count_tokens(r, number, row, err);
    if (!rc)
        rc = hn_row_facts_of(&r->own.facts[number], &r->texts, columns, row, err);
    if (rc)
        return rc;
    bool needs_answer = hn_row_texts_answered(columns) && columns != HN_ROWS_QA;
    if (is_blank(&r->texts.body) || (needs_answer && is_blank(&r->texts.answer)))
        hn_finding_add(&r->findings, HN_FINDING_EMPTY, number);
    r->language[number] =
        (uint8_t)hn_language_of(&r->languages, r->texts.body.data, r->texts.body.size);
    if (r->contained &&
        hn_passages_find(
            &r->passages, r->texts.body.data, r->texts.body.size, &r->contained[number], &share)) {
        r->contained[number]++;
        r->shares[number] = (float)share;
    }
    return 0;
}

static int sum_lengths(struct hn_report *r, struct hn_error *err) {
    static const uint32_t cuts[] = {128, 256, 512, 1024, 2048, 4096, 8192, 16384, 32768};
    struct hn_lengths characters = {0}, tokens = {0};
    bool good = hn_lengths_init(&characters, r->characters, r->own.n) &&
        hn_lengths_init(&tokens, r->tokens, r->n_tokens);
    json_t *of_tokens = good && r->n_tokens ? hn_lengths_json(&tokens) : json_null();
    json_t *cut_by = json_object();
    for (size_t i = 0; good && i < sizeof cuts / sizeof cuts[0]; i++) {
        char name[16];
        snprintf(name, sizeof name, "%u", cuts[i]);
        json_object_set_new(
            cut_by, name, json_integer((json_int_t)hn_lengths_above(&tokens, cuts[i])));
    }
    if (good && r->n_tokens) {
        json_object_set(of_tokens, "cut_by", cut_by);
        json_object_set_new(of_tokens, "rows", json_integer((json_int_t)r->n_tokens));
    }
    json_decref(cut_by);
    uint32_t outlier = hn_lengths_outlier(&characters), cut = hn_lengths_cut(&characters);
    for (size_t i = 0; good && i < r->own.n; i++) {
        if (r->characters[i] > outlier)
            hn_finding_add(&r->findings, HN_FINDING_OUTLIER, i);
        if (cut && r->characters[i] == cut)
            hn_finding_add(&r->findings, HN_FINDING_TRUNCATED, i);
    }
    json_object_set_new(r->out, "lengths",
        json_pack("{s:o?,s:o}", "characters", good ? hn_lengths_json(&characters) : NULL, "tokens",
            of_tokens));
    hn_lengths_finish(&characters);
    hn_lengths_finish(&tokens);
    return good ? 0 : hn_report_memory(err);
}

static void sum_languages(struct hn_report *r) {
    size_t counts[HN_LANGUAGES_MAX] = {0}, known = 0, most = 1;
    for (size_t i = 0; i < r->own.n; i++)
        counts[r->language[i]]++;
    json_t *shares = json_object();
    for (size_t k = 1; k < HN_LANGUAGES_MAX; k++) {
        known += counts[k];
        most = counts[k] > counts[most] ? k : most;
    }
    for (size_t k = 1; k < HN_LANGUAGES_MAX; k++)
        if (counts[k])
            json_object_set_new(
                shares, hn_language_name(k), hn_json_float((float)counts[k] / (float)known));
    json_object_set_new(
        r->out, "languages", json_pack("{s:I,s:o}", "rows", (json_int_t)known, "shares", shares));
    if (known < FEW_ROWS || (double)counts[most] < MAJORITY * (double)known)
        return;
    for (size_t i = 0; i < r->own.n; i++)
        if (r->language[i] && r->language[i] != most)
            hn_finding_add(&r->findings, HN_FINDING_LANGUAGE, i);
}

/* Adds the findings that the counts of labels make, and says which labels. */
static void judge_labels(struct hn_report *r, const json_t *counts) {
    const char *name, *rarest = NULL, *commonest = NULL;
    const json_t *value;
    struct hn_buf rare = {0};
    json_int_t least = INT64_MAX, most = 0, n_rare = 0;
    json_object_foreach((json_t *)(uintptr_t)counts, name, value) {
        json_int_t n = json_integer_value(value);
        rarest = n < least ? name : rarest;
        commonest = n > most ? name : commonest;
        least = n < least ? n : least;
        most = n > most ? n : most;
        if (n < RARE && rare.size < 200)
            hn_buf_printf(&rare, "%s%s", rare.size ? ", " : "", name);
        n_rare += n < RARE ? n : 0;
    }
    if (n_rare && r->own.n >= FEW_ROWS)
        hn_finding_count(&r->findings, HN_FINDING_RARE_LABEL, (size_t)n_rare, rare.data);
    if (rarest && most >= IMBALANCED * least)
        hn_finding_count(&r->findings, HN_FINDING_IMBALANCE, (size_t)most, commonest);
    hn_buf_free(&rare);
}

static int sum_labels(struct hn_report *r, struct hn_error *err) {
    const struct hn_dataset *data = r->request->data;
    struct hn_label_survey survey = {0};
    enum hn_objective objective;
    char *why = NULL;
    json_object_set_new(r->out, "labels", json_null());
    if (data->columns != HN_ROWS_TEXT_LABEL && data->columns != HN_ROWS_TOKENS_TAGS)
        return 0;
    int rc = hn_label_survey(&survey, data, err);
    struct hn_error undecided = {0}; /* a job would have to say more; the counts are true anyway */
    if (!rc && !hn_label_survey_decide(&survey, NULL, false, &objective, &why, &undecided)) {
        char *alike = hn_label_survey_alike(&survey);
        json_object_set_new(
            r->out, "labels", hn_label_survey_json(&survey, objective, NULL, false));
        if (objective != HN_OBJECTIVE_VALUE && !survey.binary)
            judge_labels(r, survey.counts);
        if (alike)
            hn_finding_count(&r->findings, HN_FINDING_ALIKE_LABEL, r->own.n, alike);
        free(alike);
    }
    free(why);
    hn_label_survey_finish(&survey);
    return rc;
}

struct answered {
    uint64_t answer;
    size_t row;
};

static int by_answer(const void *a, const void *b) {
    const struct answered *x = a, *y = b;
    if (x->answer != y->answer)
        return x->answer < y->answer ? -1 : 1;
    return (x->row > y->row) - (x->row < y->row);
}

/* The answer that most rows have. */
static int sum_answers(struct hn_report *r, struct hn_error *err) {
    size_t n = r->own.n, best = 0, best_at = 0;
    enum hn_columns columns = r->request->data->columns;
    if (n < FEW_ROWS || (columns != HN_ROWS_MESSAGES && columns != HN_ROWS_PROMPT_COMPLETION))
        return 0;
    struct answered *sorted = hn_calloc(n, sizeof *sorted);
    if (!sorted)
        return hn_report_memory(err);
    for (size_t i = 0; i < n; i++)
        sorted[i] = (struct answered){r->own.facts[i].answer, i};
    qsort(sorted, n, sizeof *sorted, by_answer);
    for (size_t i = 0, end; i < n; i = end) {
        for (end = i + 1; end < n && sorted[end].answer == sorted[i].answer; end++)
            ;
        if (end - i > best) {
            best = end - i;
            best_at = i;
        }
    }
    for (size_t i = 0; (double)best >= ANSWER_SHARE * (double)n && i < best; i++)
        hn_finding_add(&r->findings, HN_FINDING_SAME_ANSWER, sorted[best_at + i].row);
    free(sorted);
    return 0;
}

/* What a model that writes learns to write, or what one that judges reads. */
static const struct hn_buf *own_words(const struct hn_report *r) {
    enum hn_columns columns = r->request->data->columns;
    return columns == HN_ROWS_MESSAGES || columns == HN_ROWS_PROMPT_COMPLETION ||
            columns == HN_ROWS_PREFERENCE
        ? &r->texts.answer
        : &r->texts.body;
}

static size_t common_divisor(size_t a, size_t b) {
    while (b) {
        size_t rest = a % b;
        a = b;
        b = rest;
    }
    return a;
}

/* Rows from all over the data set, in an order that depends on their number alone, until the sample
 * is full. */
static int sum_diversity(struct hn_report *r, struct hn_error *err) {
    const struct hn_dataset *data = r->request->data;
    struct hn_diversity sample = {0};
    struct hn_opening opening;
    size_t n = data->n_rows, step = (size_t)((double)n * 0.6180339887) | 1;
    json_t *figures = NULL;
    bool room = true;
    int rc = 0;
    while (n && common_divisor(step, n) != 1)
        step++;
    for (size_t i = 0, at = 0; !rc && room && i < n; i++, at = (at + step) % n) {
        json_t *row = NULL;
        rc = hn_dataset_row(data, at, &row, err);
        if (!rc)
            rc = hn_row_texts_read(&r->texts, data->columns, row, err);
        json_decref(row);
        if (!rc)
            room = hn_diversity_add(&sample, own_words(r)->data, own_words(r)->size);
    }
    if (!rc)
        rc = hn_diversity_json(&sample, &figures, &opening, err);
    if (!rc) {
        json_object_set_new(r->out, "diversity", figures);
        json_object_set_new(r->out, "diversity_rows", json_integer((json_int_t)sample.rows));
        if (sample.rows >= FEW_ROWS && (double)opening.rows > OPENING_SHARE * (double)sample.rows)
            hn_finding_count(&r->findings, HN_FINDING_TEMPLATE, opening.rows, opening.text);
    }
    hn_diversity_finish(&sample);
    return rc;
}

int hn_report_summarise(struct hn_report *r, struct hn_error *err) {
    json_t *plan = hn_report_plan(r->request->data, r->request->other);
    if (!plan)
        return hn_report_memory(err);
    json_object_set_new(r->out, "rows", json_integer((json_int_t)r->own.n));
    json_object_set_new(r->out, "plan", plan);
    json_object_set(r->out, "notes", r->notes);
    int rc = sum_lengths(r, err);
    if (!rc)
        rc = sum_labels(r, err);
    if (!rc)
        rc = sum_answers(r, err);
    if (!rc)
        rc = sum_diversity(r, err);
    sum_languages(r);
    return rc;
}
