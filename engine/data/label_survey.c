/* See label_survey.h. */
#include "engine/data/label_survey.h"
#include "engine/base/buf.h"
#include "engine/base/json.h"

#include <ctype.h>
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <utf8proc.h>

#define COUNTED ((size_t)100000) /* different labels that are told apart */
#define FORM_MAX 64              /* bytes of a number as text, with its end */
#define FEW 20                   /* different numbers that may be classes without further signs */
#define ROWS_A_CLASS 5           /* of numbers without a gap, where they are more than a few */

const char *hn_label_text(const json_t *label, char room[HN_LABEL_TEXT]) {
    if (json_is_string(label))
        return json_string_value(label);
    if (json_is_boolean(label))
        return json_is_true(label) ? "true" : "false";
    if (!json_is_number(label))
        return NULL;
    if (json_is_integer(label)) {
        snprintf(room, HN_LABEL_TEXT, "%" JSON_INTEGER_FORMAT, json_integer_value(label));
        return room;
    }
    double value = json_real_value(label);
    for (int digits = 15; digits <= 17; digits++) { /* the shortest that reads back the same */
        snprintf(room, HN_LABEL_TEXT - 2, "%.*g", digits, value);
        if (strtod(room, NULL) == value)
            break;
    }
    if (!strpbrk(room, ".en")) /* as JSON had it: 1.0 is no whole number there */
        snprintf(room + strlen(room), 3, ".0");
    return room;
}

/* How a text that is a number is written. */
enum form { NO_NUMBER, WHOLE, LEADING_ZERO, POINT, COMMA, THOUSANDS, EXPONENT, SCIENTIFIC };

static size_t digits_at(const char *text) {
    return strspn(text, "0123456789");
}

/* Behind [+-]digits: one comma or several, which of the two is decided by the groups. */
static enum form comma_form(const char *text, size_t whole) {
    size_t groups = 0, last = 0;
    for (const char *at = text; *at == ','; at += 1 + last, groups++) {
        last = digits_at(at + 1);
        if (!last || (at[1 + last] && at[1 + last] != ','))
            return NO_NUMBER;
        if (last != 3)
            return groups || at[1 + last] ? NO_NUMBER : COMMA;
    }
    return whole <= 3 ? THOUSANDS : groups == 1 ? COMMA : NO_NUMBER;
}

/* *ret_fraction: digits behind the point. Signs, and nothing but ASCII digits: no blanks, no
 * "nan". */
static enum form form_of_trimmed(const char *text, size_t *ret_fraction) {
    *ret_fraction = 0;
    text += *text == '-' || *text == '+';
    size_t whole = digits_at(text);
    const char *rest = text + whole;
    bool leading = whole > 1 && text[0] == '0';
    if (whole && !*rest)
        return leading ? LEADING_ZERO : WHOLE;
    if (whole && *rest == ',')
        return comma_form(rest, whole);
    if (*rest == '.') {
        *ret_fraction = digits_at(rest + 1);
        rest += 1 + *ret_fraction;
        if (!whole && !*ret_fraction)
            return NO_NUMBER;
        if (!*rest)
            return leading ? LEADING_ZERO : POINT;
    }
    if (*rest != 'e' && *rest != 'E')
        return NO_NUMBER;
    bool sign = rest[1] == '-' || rest[1] == '+';
    size_t power = digits_at(rest + 1 + sign);
    if (!(whole || *ret_fraction) || !power || rest[1 + sign + power])
        return NO_NUMBER;
    return sign || *ret_fraction ? SCIENTIFIC : EXPONENT;
}

/* Without the blanks that tables stand cells apart with. False: no number is as long. */
static bool trim(const char *cell, char text[FORM_MAX]) {
    cell += strspn(cell, " \t");
    size_t n = strlen(cell);
    while (n && (cell[n - 1] == ' ' || cell[n - 1] == '\t'))
        n--;
    snprintf(text, FORM_MAX, "%.*s", n < FORM_MAX ? (int)n : 0, cell);
    return n && n < FORM_MAX;
}

static enum form form_of(const char *cell, size_t *ret_fraction) {
    char text[FORM_MAX];
    *ret_fraction = 0;
    return trim(cell, text) ? form_of_trimmed(text, ret_fraction) : NO_NUMBER;
}

bool hn_label_value(const json_t *label, double *ret) {
    size_t fraction;
    if (!json_is_string(label)) {
        *ret = json_number_value(label);
        return json_is_number(label) && isfinite(*ret);
    }
    char point[FORM_MAX];
    if (!trim(json_string_value(label), point))
        return false;
    enum form form = form_of_trimmed(point, &fraction);
    if (form == NO_NUMBER || form == THOUSANDS)
        return false;
    if (form == COMMA)
        *strchr(point, ',') = '.';
    *ret = strtod(point, NULL);
    return isfinite(*ret);
}

static void count_value(struct hn_label_survey *s, const json_t *label) {
    double value;
    if (!hn_label_value(label, &value))
        return;
    s->bare += json_is_number(label);
    s->quoted += json_is_string(label);
    s->numbers++;
    double off = value - s->mean;
    s->mean += off / (double)s->numbers;
    s->squares += off * (value - s->mean);
}

static int count_label(
    struct hn_label_survey *s, const json_t *label, uint32_t line, struct hn_error *err) {
    char room[HN_LABEL_TEXT];
    const char *text = hn_label_text(label, room);
    if (!text)
        return hn_fail(
            err, HN_E_DATASET_INVALID, "line %u: a label must be a text or a number", line);
    count_value(s, label);
    json_t *before = json_object_get(s->counts, text);
    if (before) {
        json_integer_set(before, json_integer_value(before) + 1);
        return 0;
    }
    if (json_object_size(s->counts) >= COUNTED) {
        s->many = true;
        return 0;
    }
    return json_object_set_new(s->counts, text, json_integer(1))
        ? hn_fail(err, HN_E_INTERNAL, "out of memory")
        : 0;
}

bool hn_label_bit(const json_t *label, bool *ret) {
    double value;
    if (json_is_boolean(label)) {
        *ret = json_is_true(label);
        return true;
    }
    if (!hn_label_value(label, &value) || !(value <= 0 || value >= 1) || value < 0 || value > 1)
        return false;
    *ret = value > 0;
    return true;
}

/* The length of a list of zeros and ones alone; 0 for others. */
static size_t width_of(const json_t *list) {
    const json_t *one;
    size_t i;
    bool bit;
    json_array_foreach((json_t *)(uintptr_t)list, i, one)
        if (!hn_label_bit(one, &bit))
            return 0;
    return json_array_size(list);
}

/* How often each place of the lists of zeros and ones is 1, which all have the first one's length;
 * where another list stands first. */
static bool count_places(struct hn_label_survey *s, const json_t *label, uint32_t line) {
    size_t width = width_of(label);
    if (!s->width && width >= 2) {
        s->width = width;
        s->places = hn_calloc(width <= HN_LABELS_MAX ? width : 1, sizeof *s->places);
        if (!s->places)
            return false;
    }
    if (width < 2 || width != s->width) {
        s->odd_line = s->odd_line ? s->odd_line : line;
        return true;
    }
    s->binary++;
    for (size_t i = 0; i < width && width <= HN_LABELS_MAX; i++) {
        bool bit = false;
        hn_label_bit(json_array_get(label, i), &bit);
        s->places[i] += bit;
    }
    return true;
}

static int count_row(
    struct hn_label_survey *s, const json_t *label, uint32_t line, struct hn_error *err) {
    int rc = 0;
    s->rows++;
    if (!json_is_array(label))
        return count_label(s, label, line, err);
    if (!count_places(s, label, line))
        return hn_fail(err, HN_E_INTERNAL, "out of memory");
    s->lists++;
    for (size_t i = 0; !rc && i < json_array_size(label); i++)
        rc = count_label(s, json_array_get(label, i), line, err);
    return rc;
}

int hn_label_survey(
    struct hn_label_survey *ret, const struct hn_dataset *data, struct hn_error *err) {
    const char *column = data->columns == HN_ROWS_TOKENS_TAGS ? "tags" : "label";
    *ret = (struct hn_label_survey){.counts = json_object()};
    int rc = ret->counts ? 0 : hn_fail(err, HN_E_INTERNAL, "out of memory");
    for (size_t row = 0; !rc && row < data->n_rows; row++) {
        json_t *object = NULL;
        rc = hn_dataset_row(data, row, &object, err);
        if (!rc)
            rc = count_row(ret, json_object_get(object, column), data->lines[row], err);
        json_decref(object);
    }
    return rc;
}

void hn_label_survey_finish(struct hn_label_survey *s) {
    json_decref(s->counts);
    free(s->places);
    *s = (struct hn_label_survey){0};
}

static const struct {
    enum hn_objective objective;
    const char *name;
} problems[] = {{HN_OBJECTIVE_CLASSES, "single_label"}, {HN_OBJECTIVE_MULTI, "multi_label"},
    {HN_OBJECTIVE_VALUE, "regression"}};
#define PROBLEMS (sizeof problems / sizeof problems[0])

const char *hn_problem_name(enum hn_objective objective) {
    for (size_t i = 0; i < PROBLEMS; i++)
        if (problems[i].objective == objective)
            return problems[i].name;
    return NULL;
}

/* How the column's different labels are written. */
struct spelling {
    size_t forms[SCIENTIFIC + 1];
    size_t shortest, longest; /* digits of fractions */
    bool zero_end;            /* a fraction of several digits ends in zero */
    bool fractions;           /* one is not zero */
    bool doubles;             /* one number in two spellings */
    double least, most;
    const char *example[SCIENTIFIC + 1];
};

static int by_value(const void *a, const void *b) {
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static bool has_doubles(const json_t *counts) {
    size_t n = 0, total = json_object_size(counts);
    double *values = hn_calloc(total + 1, sizeof *values);
    const char *name;
    json_t *count;
    bool found = false;
    json_object_foreach((json_t *)(uintptr_t)counts, name, count) {
        json_t *text = json_string(name);
        n += values && hn_label_value(text, &values[n]);
        json_decref(text);
    }
    if (values)
        qsort(values, n, sizeof *values, by_value);
    for (size_t i = 1; i < n && !found; i++)
        found = values[i] == values[i - 1];
    free(values);
    return found;
}

static void look_at_spelling(const struct hn_label_survey *s, struct spelling *ret) {
    const char *name;
    json_t *count;
    *ret = (struct spelling){.shortest = SIZE_MAX, .least = INFINITY, .most = -INFINITY};
    json_object_foreach(s->counts, name, count) {
        size_t fraction, size = strlen(name);
        enum form form = form_of(name, &fraction);
        ret->forms[form]++;
        ret->example[form] = name;
        ret->least = fmin(ret->least, strtod(name, NULL));
        ret->most = fmax(ret->most, strtod(name, NULL));
        if (form != POINT)
            continue;
        ret->shortest = fraction < ret->shortest ? fraction : ret->shortest;
        ret->longest = fraction > ret->longest ? fraction : ret->longest;
        ret->zero_end |= fraction > 1 && name[size - 1] == '0';
        ret->fractions |= strspn(name + size - fraction, "0") < fraction;
    }
    ret->doubles = has_doubles(s->counts);
}

static char *say(const char *format, ...) __attribute__((format(printf, 1, 2)));
static char *say(const char *format, ...) {
    char text[400];
    va_list args;
    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    return strdup(text);
}

/* Why numbers are names, by their spelling; NULL if nothing says so. */
static char *names_by_spelling(const struct spelling *p, size_t n) {
    static const char end[] = "are taken as names of classes, each as it is written; send "
                              "\"problem\": \"regression\" if they are values";
    if (p->forms[LEADING_ZERO])
        return say("%zu different labels that are numbers, some with leading zeros (%.40s), %s", n,
            p->example[LEADING_ZERO], end);
    if (p->forms[EXPONENT])
        return say("%zu different labels that could be numbers, such as %.40s, %s", n,
            p->example[EXPONENT], end);
    if (p->doubles)
        return say(
            "%zu different labels, some of which are one number in two spellings, %s", n, end);
    if (p->zero_end && p->shortest != p->longest)
        return say("%zu different labels such as %.40s, with fractions of different lengths that "
                   "end in zero, %s",
            n, p->example[POINT], end);
    return NULL;
}

/* A column of numbers only. */
static enum hn_objective decide_numbers(
    const struct hn_label_survey *s, const struct spelling *p, char **ret_why) {
    size_t n = json_object_size(s->counts);
    bool few = n <= FEW && 2 * n <= s->rows && !s->many,
         dense = p->forms[WHOLE] + p->forms[POINT] == n && !p->fractions &&
        (p->least == 0 || p->least == 1) && p->most - p->least + 1 == (double)n && !s->many;
    static const char regress[] = "send \"problem\": \"single_label\" if they are names of classes",
                      classes[] = "send \"problem\": \"regression\" if they are values to predict";
    if ((*ret_why = s->many ? NULL : names_by_spelling(p, n)))
        return HN_OBJECTIVE_CLASSES;
    if (p->forms[WHOLE] == n) {
        if ((dense && (n <= FEW || ROWS_A_CLASS * n <= s->rows)) || few) {
            if (!dense || n > FEW)
                *ret_why = say("%zu different whole numbers in %zu rows are taken as classes; %s",
                    n, s->rows, classes);
            return HN_OBJECTIVE_CLASSES;
        }
        *ret_why = say("%zu%s different whole numbers in %zu rows are taken as values to predict "
                       "(regression); %s",
            n, s->many ? " or more" : "", s->rows, regress);
        return HN_OBJECTIVE_VALUE;
    }
    if (p->forms[COMMA]) {
        *ret_why =
            say("labels such as %.40s are taken as numbers with a decimal comma, so as values "
                "to predict (regression); %s",
                p->example[COMMA], regress);
        return HN_OBJECTIVE_VALUE;
    }
    if (few && dense) {
        *ret_why = say(
            "%zu different numbers such as %.40s, which count from %.0f, are taken as classes; %s",
            n, p->example[POINT], p->least, classes);
        return HN_OBJECTIVE_CLASSES;
    }
    if (few)
        *ret_why = say(
            "%zu different numbers such as %.40s in %zu rows are taken as values to predict "
            "(regression); %s",
            n, p->example[POINT] ? p->example[POINT] : p->example[SCIENTIFIC], s->rows, regress);
    return HN_OBJECTIVE_VALUE;
}

static int refuse(struct hn_error *err, enum hn_error_code code, const char *hint) {
    hn_error_field(err, "problem");
    hn_error_hint(err, "%s", hint);
    return code;
}

/* The first label that no number is read from, for messages. */
static const char *first_text(const struct hn_label_survey *s) {
    const char *name;
    json_t *count;
    json_object_foreach(s->counts, name, count) {
        double value;
        json_t *text = json_string(name);
        bool number = hn_label_value(text, &value);
        json_decref(text);
        if (!number)
            return name;
    }
    return NULL;
}

static int check_asked(
    const struct hn_label_survey *s, enum hn_objective asked, struct hn_error *err) {
    const char *text = asked == HN_OBJECTIVE_VALUE ? first_text(s) : NULL;
    if (s->lists && asked != HN_OBJECTIVE_MULTI) {
        hn_fail(err, HN_E_INVALID_FIELD, "problem \"%s\": %zu of %zu rows have a list as label",
            hn_problem_name(asked), s->lists, s->rows);
        return refuse(err, HN_E_INVALID_FIELD, "lists are several labels a row: multi_label");
    }
    if (text) {
        hn_fail(err, HN_E_INVALID_FIELD,
            "problem \"regression\": the label \"%.60s\" (%lld rows) is no number", text,
            (long long)json_integer_value(json_object_get(s->counts, text)));
        return refuse(err, HN_E_INVALID_FIELD,
            "write numbers as 1234.5, without separators of thousands or units; or leave problem "
            "out, and labels are names");
    }
    return 0;
}

static int decide_asked(const struct hn_label_survey *s, const char *asked, enum hn_objective *ret,
    struct hn_error *err) {
    for (size_t i = 0; i < PROBLEMS; i++)
        if (strcmp(problems[i].name, asked) == 0)
            return check_asked(s, *ret = problems[i].objective, err);
    hn_fail(err, HN_E_INVALID_FIELD, "there is no problem \"%.40s\"", asked);
    return refuse(err, HN_E_INVALID_FIELD, "single_label, multi_label or regression");
}

/* Lists, some of them of zeros and ones. */
static int decide_lists(const struct hn_label_survey *s, char **ret_why, struct hn_error *err) {
    if (s->binary == s->rows && s->width <= HN_LABELS_MAX)
        return 0;
    if (s->binary == s->rows) {
        hn_fail(err, HN_E_DATASET_INVALID,
            "labels are lists of %zu zeros and ones; at most %d labels can be told apart", s->width,
            HN_LABELS_MAX);
        return HN_E_DATASET_INVALID;
    }
    if (s->binary * 10 >= s->rows * 9) {
        hn_fail(err, HN_E_DATASET_INVALID,
            "line %u: the label is no list of %zu zeros and ones, as those of %zu of %zu rows are",
            s->odd_line, s->width, s->binary, s->rows);
        hn_error_field(err, "label");
        hn_error_hint(err, "write a 0 or 1 for each label in every row, or the labels' names");
        return HN_E_DATASET_INVALID;
    }
    if (s->binary * 2 < s->rows)
        return 0;
    *ret_why =
        say("%zu of %zu rows have lists of zeros and ones, others not (line %u): 0 and 1 are "
            "taken as the names of two labels",
            s->binary, s->rows, s->odd_line);
    return 0;
}

/* Texts in which a number, a list or every row's own label hides. */
static char *doubt_names(const struct hn_label_survey *s, const struct spelling *p) {
    size_t texts = p->forms[NO_NUMBER], n = json_object_size(s->counts);
    const char *example = p->example[NO_NUMBER];
    if (texts < n && s->numbers)
        return say("labels are taken as names of classes, since %zu of %zu different ones, such as "
                   "\"%.60s\", are no numbers; for values to predict leave such rows out",
            texts, n, example);
    if (*example == '[' || *example == '{')
        return say(
            "labels such as \"%.60s\" look like lists but are texts, each of them one class; "
            "for several labels a row send JSON lines with \"label\": [\"a\", \"b\"]",
            example);
    if (n > FEW && 2 * n > s->rows)
        return say("%zu different labels in %zu rows, such as \"%.60s\", are taken as names of "
                   "classes; if they are numbers, write them as 1234.5 without units, and if this "
                   "is not the column of labels, name it with columns",
            n, s->rows, example);
    return NULL;
}

int hn_label_survey_decide(const struct hn_label_survey *s, const char *asked, bool named,
    enum hn_objective *ret, char **ret_why, struct hn_error *err) {
    struct spelling spelling;
    *ret_why = NULL;
    *ret = s->lists ? HN_OBJECTIVE_MULTI : HN_OBJECTIVE_CLASSES;
    if (asked)
        return decide_asked(s, asked, ret, err);
    if (s->lists && !named && (s->binary || s->odd_line) && s->width)
        return decide_lists(s, ret_why, err);
    if (s->lists && s->lists < s->rows) {
        *ret_why =
            say("%zu of %zu rows have a list of labels; the others are taken as lists of one",
                s->lists, s->rows);
        return 0;
    }
    if (s->lists || named)
        return 0;
    look_at_spelling(s, &spelling);
    size_t texts = spelling.forms[NO_NUMBER];
    if (texts) {
        *ret_why = doubt_names(s, &spelling);
        return 0;
    }
    if (spelling.forms[THOUSANDS] || (spelling.forms[COMMA] && spelling.forms[POINT])) {
        enum form form = spelling.forms[THOUSANDS] ? THOUSANDS : POINT;
        hn_fail(err, HN_E_DATASET_INVALID,
            "labels such as \"%.40s\"%s%s may be thousands or decimals", spelling.example[form],
            spelling.forms[COMMA] ? " beside " : "",
            spelling.forms[COMMA] ? spelling.example[COMMA] : "");
        return refuse(err, HN_E_DATASET_INVALID,
            "write numbers as 1234.5, or send \"problem\": \"single_label\" if they are names");
    }
    *ret = decide_numbers(s, &spelling, ret_why);
    if (*ret == HN_OBJECTIVE_CLASSES && s->bare && s->quoted && !*ret_why)
        *ret_why =
            say("%zu labels are numbers and %zu are the same kind of numbers in quotes: both "
                "are taken as names, so that 1 and \"1\" are one class",
                s->bare, s->quoted);
    return 0;
}

/* Lower case, compatibility form C, without blanks at the ends and with single ones inside. The
 * caller frees. */
static char *plain_form(const char *name) {
    char *folded = (char *)utf8proc_NFKC_Casefold((const utf8proc_uint8_t *)name), *to = folded;
    bool blank = true;
    for (const char *from = folded; from && *from; from++) {
        if (isspace((unsigned char)*from)) {
            if (!blank)
                *to++ = ' ';
            blank = true;
        } else {
            *to++ = *from;
            blank = false;
        }
    }
    if (folded) {
        to -= to > folded && to[-1] == ' ';
        *to = 0;
    }
    return folded;
}

char *hn_label_survey_alike(const struct hn_label_survey *s) {
    json_t *first = json_object(), *count;
    const char *name;
    char *found = NULL;
    size_t pairs = 0;
    json_object_foreach(s->counts, name, count) {
        char *plain = plain_form(name);
        const char *other = plain ? json_string_value(json_object_get(first, plain)) : NULL;
        if (other && !pairs++)
            found = say("the labels \"%.60s\" (%lld rows) and \"%.60s\" (%lld rows) differ only by "
                        "case, spaces or form of their characters, and are two classes",
                other, (long long)json_integer_value(json_object_get(s->counts, other)), name,
                (long long)json_integer_value(count));
        else if (plain && !other)
            json_object_set_new(first, plain, json_string(name));
        free(plain);
    }
    json_decref(first);
    if (pairs > 1) {
        char *all = say("%s; there are %zu such labels", found, pairs);
        free(found);
        found = all;
    }
    return found;
}

static bool is_whole(const char *text) {
    text += *text == '-';
    return *text && strlen(text) < 18 && digits_at(text) == strlen(text);
}

static int compare_names(const void *a, const void *b) {
    const char *x = *(const char *const *)a, *y = *(const char *const *)b;
    if (is_whole(x) && is_whole(y)) {
        long long m = atoll(x), n = atoll(y);
        if (m != n)
            return (m > n) - (m < n);
    }
    if (is_whole(x) != is_whole(y))
        return is_whole(x) ? -1 : 1;
    return strcmp(x, y);
}

json_t *hn_label_survey_names(const struct hn_label_survey *s) {
    size_t n = 0;
    const char **names = hn_calloc(json_object_size(s->counts) + 1, sizeof *names), *name;
    json_t *list = names ? json_array() : NULL, *value;
    json_object_foreach(s->counts, name, value)
        if (names)
            names[n++] = name;
    if (n)
        qsort(names, n, sizeof *names, compare_names);
    for (size_t i = 0; list && i < n; i++)
        json_array_append_new(list, json_string(names[i]));
    free(names);
    return list;
}

json_t *hn_label_survey_json(const struct hn_label_survey *s, enum hn_objective objective,
    const json_t *names, bool multi_hot) {
    json_t *list = json_array(), *all = names ? hn_json_share(names) : hn_label_survey_names(s),
           *name;
    size_t i;
    json_array_foreach(all, i, name)
        if (i < HN_LABELS_SHOWN && objective != HN_OBJECTIVE_VALUE)
            json_array_append_new(list,
                HN_JSON_OBJECT({"label", hn_json_share(name)},
                    {"rows",
                        json_integer(multi_hot ? (json_int_t)s->places[i]
                                               : json_integer_value(json_object_get(
                                                     s->counts, json_string_value(name))))}));
    size_t n = json_array_size(all);
    json_decref(all);
    return HN_JSON_OBJECT({"problem", hn_json_string_or_null(hn_problem_name(objective))},
        {"label_count", json_integer((json_int_t)n)}, {"labels", list});
}
