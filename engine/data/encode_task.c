/*
 * Rows for a task's head → tokens and their targets; see encode.h.
 *
 * Encoders: the text stands between the tokenizer's special tokens ([CLS] text [SEP]), which stay
 * when the text is cut on the right; the label hangs on the first token. Decoders: the text as it
 * is, the label on the last token.
 *
 * Tags. The words are joined by spaces and tokenised at once; the first token of each word carries
 * its tag. A word that leaves no token (a zero-width space, say) has none, nor its neighbour's.
 *
 * Answers in a context. [CLS] question [SEP] context [SEP]; a context that is too long is read in
 * windows that overlap by SPAN_STRIDE tokens. The target of a window without the whole answer is
 * its first token, twice.
 */
#include "engine/data/encode.h"
#include "engine/data/label_survey.h"
#include "engine/base/utf8.h"

#include <stdlib.h>
#include <string.h>

#define SPAN_STRIDE 128

static int no_memory(struct hn_error *err) {
    return hn_fail(err, HN_E_INTERNAL, "out of memory");
}

/* Room for the tokens' weights, targets and types, zeroed. */
static bool reserve(struct hn_encoded *e, size_t outputs) {
    size_t n = e->ids.n;
    if (!hn_grow(&e->weights, &e->weights_capacity, n, sizeof *e->weights) ||
        !hn_grow(&e->targets, &e->targets_capacity, n, sizeof *e->targets) ||
        !hn_grow(&e->types, &e->types_capacity, n, sizeof *e->types) ||
        !hn_grow(&e->values, &e->values_capacity, outputs, sizeof *e->values))
        return false;
    memset(e->weights, 0, n * sizeof *e->weights);
    memset(e->targets, 0, n * sizeof *e->targets);
    memset(e->types, 0, n * sizeof *e->types);
    memset(e->values, 0, outputs * sizeof *e->values);
    return true;
}

/* Appends a sequence's ids, where texts a and b keep their places and special tokens get those of
 * `edge`, and their token types. */
static bool adopt(struct hn_encoded *e, const struct hn_sequence *seq, const struct hn_ids *a,
    const struct hn_ids *b, size_t outputs) {
    const struct hn_ids *texts[] = {a, b};
    for (size_t i = 0; i < seq->n; i++) {
        size_t begin = i < seq->n / 2 ? 0 : e->text.size, end = begin;
        for (int k = 0; k < 2; k++)
            if (texts[k] && i >= seq->begin[k] && i < seq->begin[k] + texts[k]->n) {
                begin = texts[k]->offsets[i - seq->begin[k]];
                end = texts[k]->ends[i - seq->begin[k]];
            }
        if (!hn_ids_push(&e->ids, seq->ids[i], begin, end))
            return false;
    }
    if (!reserve(e, outputs))
        return false;
    for (size_t i = 0; i < seq->n; i++)
        e->types[i] = (uint8_t)seq->types[i];
    return true;
}

/* e->text between its special tokens, in at most max_length tokens. */
static int encode_wrapped(const struct hn_codec *codec, const struct hn_encode_options *o,
    struct hn_encoded *e, size_t outputs, struct hn_error *err) {
    struct hn_ids ids = {0};
    struct hn_sequence seq = {0};
    size_t specials = hn_tokenizer_wrap_size(codec->tokenizer, false);
    int rc = hn_tokenizer_encode(
        codec->tokenizer, e->text.data ? e->text.data : "", e->text.size, NULL, &ids, err);
    e->length = ids.n + specials;
    if (e->length > o->max_length)
        ids.n = o->max_length > specials ? o->max_length - specials : 0;
    if (!rc)
        rc = hn_tokenizer_wrap(codec->tokenizer, &ids, NULL, &seq, err);
    if (!rc && !adopt(e, &seq, &ids, NULL, outputs))
        rc = no_memory(err);
    hn_sequence_free(&seq);
    hn_ids_free(&ids);
    return rc;
}

/* e->text as one sequence; e->length tells how long it would have been. */
static int encode_single(const struct hn_codec *codec, const struct hn_encode_options *o,
    struct hn_encoded *e, size_t outputs, struct hn_error *err) {
    if (o->encoder)
        return encode_wrapped(codec, o, e, outputs, err);
    int rc = hn_codec_encode(codec, e->text.data, e->text.size, NULL, &e->ids, err);
    e->length = e->ids.n;
    e->ids.n = e->ids.n < o->max_length ? e->ids.n : o->max_length;
    return rc || reserve(e, outputs) ? rc : no_memory(err);
}

/* The label of the training data that is the same number in another spelling, or NULL. */
static const char *same_value(const struct hn_labels *labels, const json_t *label) {
    const json_t *name;
    double value, other;
    size_t i;
    if (hn_label_value(label, &value))
        json_array_foreach(labels->names, i, name)
            if (hn_label_value(name, &other) && other >= value && other <= value)
                return json_string_value(name);
    return NULL;
}

static int unknown_label(
    const struct hn_labels *labels, const json_t *label, struct hn_error *err) {
    char *text = json_dumps(label, JSON_ENCODE_ANY | JSON_COMPACT);
    const char *same = same_value(labels, label);
    hn_fail(err, HN_E_DATASET_INVALID,
        "the label %.100s is not one of the training data's%s%.60s%s", text ? text : "?",
        same ? ", which spells it \"" : "", same ? same : "", same ? "\"" : "");
    hn_error_hint(err, "%s",
        same ? "spell labels alike in all data sets"
             : "correct the row, or send labels with the job, which name all that there are");
    free(text);
    return HN_E_DATASET_INVALID;
}

static int no_value(const json_t *label, struct hn_error *err) {
    char *text = json_dumps(label, JSON_ENCODE_ANY | JSON_COMPACT);
    hn_fail(err, HN_E_DATASET_INVALID, "the label %.100s is no number, but the task is regression",
        text ? text : "?");
    hn_error_hint(err, "write it as 1234.5, without separators of thousands");
    free(text);
    return HN_E_DATASET_INVALID;
}

/* A list of zeros and ones, one for each label. */
static int set_places(const struct hn_labels *labels, const json_t *label, struct hn_encoded *e,
    struct hn_error *err) {
    size_t n = json_array_size(labels->names);
    if (json_array_size(label) != n)
        return hn_fail(err, HN_E_DATASET_INVALID,
            "the label must be a list of %zu zeros and ones, as in the training data", n);
    for (size_t i = 0; i < n; i++) {
        bool bit;
        if (!hn_label_bit(json_array_get(label, i), &bit))
            return unknown_label(labels, json_array_get(label, i), err);
        e->values[i] = bit;
    }
    return 0;
}

static int set_target(const struct hn_labels *labels, const json_t *label, size_t place,
    struct hn_encoded *e, struct hn_error *err) {
    double value;
    e->weights[place] = 1;
    if (labels->objective == HN_OBJECTIVE_CLASSES) {
        int32_t number = hn_label_number(labels, label);
        if (number < 0)
            return unknown_label(labels, label, err);
        e->targets[place] = number;
        e->weights[place] = labels->weights ? labels->weights[number] : 1;
        return 0;
    }
    if (labels->objective == HN_OBJECTIVE_VALUE) {
        if (!hn_label_value(label, &value))
            return no_value(label, err);
        e->values[0] = (float)hn_label_target(labels, value);
        return 0;
    }
    if (labels->multi_hot)
        return set_places(labels, label, e, err);
    for (size_t i = 0; i < (json_is_array(label) ? json_array_size(label) : 1); i++) {
        const json_t *one = json_is_array(label) ? json_array_get(label, i) : label;
        int32_t number = hn_label_number(labels, one);
        if (number < 0)
            return unknown_label(labels, one, err);
        e->values[number] = 1;
    }
    return 0;
}

int hn_encode_labelled(const struct hn_codec *codec, const json_t *row,
    const struct hn_encode_options *o, struct hn_encoded *e, struct hn_error *err) {
    const json_t *text = json_object_get(row, "text");
    hn_buf_append(&e->text, json_string_value(text), json_string_length(text));
    int rc = e->text.failed ? no_memory(err)
                            : encode_single(codec, o, e, hn_labels_outputs(o->labels), err);
    if (rc || !e->ids.n)
        return rc;
    const json_t *label = json_object_get(row, "label"); /* absent: an input to predict */
    e->weights[o->encoder ? 0 : e->ids.n - 1] = 1;
    return label ? set_target(o->labels, label, o->encoder ? 0 : e->ids.n - 1, e, err) : 0;
}

/* Words joined by spaces; where each begins goes into *ret_begins [n + 1], which the caller
 * frees. */
static int join_words(
    const json_t *words, struct hn_buf *text, size_t **ret_begins, struct hn_error *err) {
    size_t n = json_array_size(words), *begins = hn_calloc(n + 1, sizeof *begins);
    for (size_t i = 0; begins && i < n; i++) {
        const json_t *word = json_array_get(words, i);
        if (i)
            hn_buf_char(text, ' ');
        begins[i] = text->size;
        hn_buf_append(text, json_string_value(word), json_string_length(word));
    }
    if (!begins || text->failed) {
        free(begins);
        return no_memory(err);
    }
    begins[n] = text->size + 1;
    *ret_begins = begins;
    return 0;
}

/* The first byte of a token that is no space: tokens may carry the space before them. */
static size_t first_byte(const struct hn_encoded *e, size_t token) {
    size_t at = e->ids.offsets[token];
    while (at < e->ids.ends[token] && e->text.data[at] == ' ')
        at++;
    return at;
}

/* A word's first token is the first one that has a byte of it before any other word's. A word that
 * the tokenizer leaves nothing of has none. */
static bool find_words(const struct hn_encode_options *o, size_t n, const size_t *begins,
    struct hn_encoded *e, bool *ret_lost) {
    size_t word = 0, next = 0, first = o->encoder && e->ids.n ? 1 : 0,
           last = o->encoder && e->ids.n ? e->ids.n - 1 : e->ids.n;
    if (!hn_grow(&e->words, &e->words_capacity, e->ids.n, sizeof *e->words))
        return false;
    for (size_t i = 0; i < e->ids.n; i++)
        e->words[i] = -1;
    for (size_t i = first; i < last && next < n; i++) {
        size_t at = first_byte(e, i);
        for (word = next; word + 1 < n && at >= begins[word + 1];)
            word++;
        if (at == e->ids.ends[i] || at < begins[word] || at + 1 >= begins[word + 1])
            continue;
        *ret_lost |= word > next;
        e->words[i] = (int32_t)word;
        next = word + 1;
    }
    bool cut = e->length > e->ids.n;
    *ret_lost |= !cut && next < n;
    e->words_seen = cut ? next : n;
    return true;
}

static int mark_words(const struct hn_encode_options *o, const json_t *tags, struct hn_encoded *e,
    struct hn_error *err) {
    for (size_t i = 0; i < e->ids.n; i++) {
        if (e->words[i] < 0)
            continue;
        const json_t *tag = json_array_get(tags, (size_t)e->words[i]);
        int32_t number = tag ? hn_label_number(o->labels, tag) : 0;
        if (number < 0)
            return unknown_label(o->labels, tag, err);
        e->targets[i] = number;
        e->weights[i] = o->labels->weights && tag ? o->labels->weights[number] : 1;
    }
    return 0;
}

int hn_encode_tagged(const struct hn_codec *codec, const json_t *row,
    const struct hn_encode_options *o, struct hn_encoded *e, struct hn_error *err) {
    const json_t *words = json_object_get(row, "tokens");
    size_t *begins = NULL;
    bool lost = false;
    int rc = join_words(words, &e->text, &begins, err);
    if (!rc)
        rc = encode_single(codec, o, e, 1, err);
    if (!rc && !find_words(o, json_array_size(words), begins, e, &lost))
        rc = no_memory(err);
    if (!rc)
        rc = mark_words(o, json_object_get(row, "tags"), e, err);
    if (lost)
        hn_notices_add(&e->notices, HN_NOTICE_LOST_WORD, "", 0);
    free(begins);
    return rc;
}

/* Byte of the character `count` of a text. */
static size_t byte_of(const char *text, size_t size, size_t count) {
    size_t at = 0;
    for (; count && at < size; count--)
        at += hn_utf8_length((unsigned char)text[at]);
    return at < size ? at : size;
}

enum place { NO_ANSWER, FOUND, MISSING };

/* The first answer's bytes in the context. MISSING: it does not stand there. */
static enum place find_answer(const json_t *row, size_t *ret_begin, size_t *ret_end) {
    const json_t *context = json_object_get(row, "context"),
                 *answers = json_object_get(row, "answers");
    const json_t *texts = json_is_array(answers) ? answers : json_object_get(answers, "text");
    const json_t *answer = json_is_string(answers) ? answers : json_array_get(texts, 0);
    const json_t *start = json_array_get(json_object_get(answers, "answer_start"), 0);
    const char *text = json_string_value(context);
    size_t size = json_string_length(context), n = json_string_length(answer);
    if (!n || !text)
        return NO_ANSWER;
    if (json_is_integer(start)) {
        *ret_begin = byte_of(text, size, (size_t)json_integer_value(start));
    } else { /* only its text: the first place where it stands */
        const char *at = memmem(text, size, json_string_value(answer), n);
        if (!at)
            return MISSING;
        *ret_begin = (size_t)(at - text);
    }
    *ret_end = *ret_begin + n;
    return *ret_end <= size ? FOUND : MISSING;
}

/* First and last token of [begin, end) among the context's tokens of this window, or 0 and 0. */
static void mark_answer(struct hn_encoded *e, size_t begin, size_t end, size_t first, size_t last) {
    size_t from = 0, to = 0;
    for (size_t i = first; i < last; i++) {
        if (e->ids.offsets[i] <= begin && e->ids.ends[i] > begin)
            from = i;
        if (e->ids.offsets[i] < end && e->ids.ends[i] >= end)
            to = i;
    }
    bool whole = from && to && from <= to;
    e->values[0] = whole ? (float)from : 0;
    e->values[1] = whole ? (float)to : 0;
}

/* Tokens of the context from e->window on that fit behind the question. */
static int add_window(const struct hn_codec *codec, const struct hn_ids *question,
    const struct hn_ids *context, const struct hn_encode_options *o, struct hn_encoded *e,
    struct hn_error *err) {
    size_t specials = hn_tokenizer_wrap_size(codec->tokenizer, true), room, n, stride;
    struct hn_ids asked = *question, read = *context; /* parts of the two, not owned */
    struct hn_sequence seq = {0};
    if (asked.n + specials + 2 > o->max_length)
        asked.n = o->max_length > specials + 8 ? (o->max_length - specials) / 2 : 0;
    e->question_cut = question->n - asked.n;
    room = o->max_length > asked.n + specials ? o->max_length - asked.n - specials : 0;
    if (!room)
        return hn_fail(err, HN_E_DATASET_INVALID, "max_length %zu leaves no room for a context",
            o->max_length);
    size_t begin = e->window < context->n ? e->window : context->n;
    n = room < context->n - begin ? room : context->n - begin;
    read.ids += begin;
    read.offsets += begin;
    read.ends += begin;
    read.n = n;
    int rc = hn_tokenizer_wrap(codec->tokenizer, &asked, &read, &seq, err);
    if (!rc && !adopt(e, &seq, &asked, &read, 2))
        rc = no_memory(err);
    e->context_first = seq.begin[1];
    e->context_last = seq.begin[1] + n;
    stride = SPAN_STRIDE < room / 2 ? SPAN_STRIDE : room / 2;
    e->again = !rc && begin + n < context->n;
    e->window = begin + n - (e->again ? stride : 0);
    e->length = e->ids.n;
    if (e->question_cut && !begin) /* told once a row, as other rows that are cut */
        e->length = o->max_length + e->question_cut;
    hn_sequence_free(&seq);
    return rc;
}

int hn_encode_asked(const struct hn_codec *codec, const json_t *row,
    const struct hn_encode_options *o, struct hn_encoded *e, struct hn_error *err) {
    const json_t *question = json_object_get(row, "question"),
                 *context = json_object_get(row, "context");
    struct hn_ids asked = {0}, read = {0};
    size_t begin = 0, end = 0;
    int rc = hn_tokenizer_encode(codec->tokenizer, json_string_value(question),
        json_string_length(question), NULL, &asked, err);
    if (!rc)
        rc = hn_tokenizer_encode(codec->tokenizer, json_string_value(context),
            json_string_length(context), NULL, &read, err);
    hn_buf_append(&e->text, json_string_value(context), json_string_length(context));
    if (!rc)
        rc = add_window(codec, &asked, &read, o, e, err);
    if (!rc) {
        enum place answer = find_answer(row, &begin, &end);
        /* it must not be taught that there is none, in no window */
        e->weights[0] = answer != MISSING;
        e->again = e->again && answer != MISSING;
        if (answer == FOUND)
            mark_answer(e, begin, end, e->context_first, e->context_last);
    }
    hn_ids_free(&asked);
    hn_ids_free(&read);
    return rc;
}
