/* See scores.h. */
#include "engine/eval/scores.h"
#include "engine/base/buf.h"
#include "engine/base/bytes.h"
#include "engine/model/objective.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#define VERSION 1
#define CEILING ((size_t)8 << 30)

static const char magic[8] = {'H', 'N', 'S', 'C', 'O', 'R', 'E', '\n'};

/* The header's fields and their bytes from the begin. */
enum {
    AT_VERSION = 8,
    AT_COLUMNS = 12,
    AT_LABELS = 16,
    AT_RECORD = 20,
    AT_ROWS = 24,
    AT_OBJECTIVE = 32, /* its name, filled up with zeros */
    OBJECTIVE_SIZE = 16,
    AT_SHA256 = 48,
    SHA256_SIZE = 32,
    HEADER_SIZE = 80
};

enum kind { WHOLE, BYTE, REAL };

/* What a record consists of, in this order, as far as the objective has it. */
static const struct column {
    size_t offset; /* in struct hn_score */
    enum kind kind;
    unsigned objectives; /* bits */
} columns[] = {
#define OF(NAME) (1u << HN_OBJECTIVE_##NAME)
    {offsetof(struct hn_score, line), WHOLE, ~0u},
    {offsetof(struct hn_score, loss), REAL, ~0u},
    {offsetof(struct hn_score, weight), REAL, ~0u},
    {offsetof(struct hn_score, right), BYTE, OF(CLASSES) | OF(MULTI) | OF(TAGS) | OF(SPAN)},
    {offsetof(struct hn_score, label), WHOLE, OF(CLASSES) | OF(TAGS)},
    {offsetof(struct hn_score, predicted), WHOLE, OF(CLASSES) | OF(TAGS)},
    {offsetof(struct hn_score, value), REAL, OF(VALUE) | OF(TAGS) | OF(SPAN)},
    {offsetof(struct hn_score, truth), REAL, OF(VALUE)},
    {offsetof(struct hn_score, p), REAL, OF(CLASSES)},
#undef OF
};
enum { COLUMNS = sizeof columns / sizeof columns[0] };

/* The bit for probabilities behind the records. */
#define PROBABILITIES (1u << 31)

/* Bits of the columns of an objective. */
static uint32_t columns_of(enum hn_objective objective) {
    uint32_t bits = 0;
    for (size_t i = 0; i < COLUMNS; i++)
        if (columns[i].objectives & 1u << objective)
            bits |= 1u << i;
    return bits;
}

static size_t record_size(uint32_t bits) {
    size_t size = 0;
    for (size_t i = 0; i < COLUMNS; i++)
        if (bits & 1u << i)
            size += columns[i].kind == BYTE ? 1 : 4;
    return size;
}

bool hn_scores_have_probabilities(enum hn_objective objective, size_t labels) {
    return objective == HN_OBJECTIVE_CLASSES && labels <= HN_SCORES_CLASSES;
}

size_t hn_scores_bytes(enum hn_objective objective, size_t labels, size_t rows) {
    size_t row = record_size(columns_of(objective));
    return HEADER_SIZE +
        rows * (hn_scores_have_probabilities(objective, labels) ? row + 4 * labels : row);
}

static uint8_t *put_row(uint8_t *to, const struct hn_score *row, uint32_t bits) {
    for (size_t i = 0; i < COLUMNS; i++) {
        const char *from = (const char *)row + columns[i].offset;
        size_t size = columns[i].kind == BYTE ? 1 : 4;
        uint32_t word = 0;
        if (!(bits & 1u << i))
            continue;
        if (size == 1)
            word = *(const uint8_t *)from;
        else
            memcpy(&word, from, sizeof word);
        hn_put_le(to, word, size);
        to += size;
    }
    return to;
}

static const uint8_t *get_row(const uint8_t *from, struct hn_score *row, uint32_t bits) {
    for (size_t i = 0; i < COLUMNS; i++) {
        char *to = (char *)row + columns[i].offset;
        size_t size = columns[i].kind == BYTE ? 1 : 4;
        if (!(bits & 1u << i))
            continue;
        uint32_t word = (uint32_t)hn_get_le(from, size);
        if (size == 1)
            *(uint8_t *)to = (uint8_t)word;
        else
            memcpy(to, &word, sizeof word);
        from += size;
    }
    return from;
}

/* Of 64 hexadecimal digits. */
static void put_sha256(uint8_t *to, const char *hex) {
    for (size_t i = 0; i < SHA256_SIZE && hex[0]; i++) {
        char two[3] = {hex[2 * i], hex[2 * i + 1], 0};
        to[i] = (uint8_t)strtoul(two, NULL, 16);
    }
}

static void get_sha256(const uint8_t *from, char hex[HN_SHA256_HEX]) {
    static const char digits[] = "0123456789abcdef";
    for (size_t i = 0; i < SHA256_SIZE; i++) {
        hex[2 * i] = digits[from[i] >> 4];
        hex[2 * i + 1] = digits[from[i] & 15];
    }
    hex[2 * SHA256_SIZE] = 0;
}

int hn_scores_write(const struct hn_scores *scores, const char *path, struct hn_error *err) {
    uint32_t bits = columns_of(scores->objective);
    size_t record = record_size(bits), size, each = scores->probabilities ? scores->n_labels : 0;
    uint8_t *data = NULL;
    if (hn_mul(scores->n, record + 4 * each, &size) && hn_add(size, HEADER_SIZE, &size))
        data = hn_calloc(size, 1);
    if (!data)
        return hn_fail(err, HN_E_INTERNAL, "out of memory for the scores of %zu rows", scores->n);
    memcpy(data, magic, sizeof magic);
    hn_put_le(data + AT_VERSION, VERSION, 4);
    hn_put_le(data + AT_COLUMNS, each ? bits | PROBABILITIES : bits, 4);
    hn_put_le(data + AT_LABELS, scores->n_labels, 4);
    hn_put_le(data + AT_RECORD, record, 4);
    hn_put_le(data + AT_ROWS, scores->n, 8);
    const char *name = hn_objectives[scores->objective].name;
    memcpy(data + AT_OBJECTIVE, name, strnlen(name, OBJECTIVE_SIZE));
    put_sha256(data + AT_SHA256, scores->sha256);
    uint8_t *to = data + HEADER_SIZE;
    for (size_t i = 0; i < scores->n; i++)
        to = put_row(to, &scores->rows[i], bits);
    for (size_t i = 0; i < scores->n * each; i++)
        hn_put_float(to + 4 * i, scores->probabilities[i]);
    int rc = hn_file_write_durable(path, data, size, err);
    free(data);
    return rc;
}

static int no_scores(const char *path, const char *why, struct hn_error *err) {
    hn_fail(err, HN_E_INVALID_FIELD, "%.500s is no score file: %s", path, why);
    hn_error_hint(err, "score files lie in a run directory's scores/, one an evaluation");
    return HN_E_INVALID_FIELD;
}

/* Whether the row's numbers are such as an evaluation gives. */
static bool is_sound(const struct hn_score *row, const struct hn_scores *scores) {
    bool numbers = isfinite(row->loss) && isfinite(row->weight) && row->weight >= 0 &&
        isfinite(row->value) && isfinite(row->truth) && row->p >= 0 && row->p <= 1;
    size_t least = row->label < row->predicted ? (size_t)row->label : (size_t)row->predicted,
           most = row->label < row->predicted ? (size_t)row->predicted : (size_t)row->label;
    bool labels = row->label >= 0 && row->predicted >= 0 &&
        (scores->objective != HN_OBJECTIVE_CLASSES || most < scores->n_labels) &&
        (scores->objective != HN_OBJECTIVE_TAGS ||
            (row->value >= 0 && (double)row->value <= (double)least));
    return numbers && labels && row->right <= 1;
}

static int read_header(const uint8_t *data, size_t size, struct hn_scores *ret, uint32_t *ret_bits,
    const char *path, struct hn_error *err) {
    char name[OBJECTIVE_SIZE + 1] = "";
    int objective = -1;
    if (size < HEADER_SIZE || memcmp(data, magic, sizeof magic) != 0)
        return no_scores(path, "it does not begin as one", err);
    if (hn_get_le(data + AT_VERSION, 4) != VERSION)
        return no_scores(path, "another version of this program wrote it", err);
    memcpy(name, data + AT_OBJECTIVE, OBJECTIVE_SIZE);
    for (int i = 0; i < HN_OBJECTIVES; i++)
        if (strcmp(hn_objectives[i].name, name) == 0)
            objective = i;
    if (objective < 0)
        return no_scores(path, "its objective is not known", err);
    ret->objective = (enum hn_objective)objective;
    *ret_bits = columns_of(ret->objective);
    size_t record = record_size(*ret_bits), all = record, bytes;
    uint32_t found = (uint32_t)hn_get_le(data + AT_COLUMNS, 4);
    ret->n = (size_t)hn_get_le(data + AT_ROWS, 8);
    ret->n_labels = (size_t)hn_get_le(data + AT_LABELS, 4);
    get_sha256(data + AT_SHA256, ret->sha256);
    if (found & PROBABILITIES && hn_scores_have_probabilities(ret->objective, ret->n_labels))
        all += 4 * ret->n_labels;
    if ((found & ~(all > record ? PROBABILITIES : 0u)) != *ret_bits ||
        hn_get_le(data + AT_RECORD, 4) != record || !hn_mul(ret->n, all, &bytes) ||
        bytes != size - HEADER_SIZE)
        return no_scores(path, "its size is not that of its rows", err);
    if (all > record && !(ret->probabilities = hn_calloc(ret->n * ret->n_labels, 4)))
        return hn_fail(err, HN_E_INTERNAL, "out of memory for the scores of %zu rows", ret->n);
    return 0;
}

int hn_scores_read(struct hn_scores *ret, const char *path, struct hn_error *err) {
    struct hn_scores scores = {0};
    uint32_t bits = 0;
    char *text;
    size_t size;
    int rc = hn_file_read(path, CEILING, &text, &size, err);
    if (rc)
        return rc;
    const uint8_t *from = (const uint8_t *)text;
    rc = read_header(from, size, &scores, &bits, path, err);
    if (!rc && !(scores.rows = hn_calloc(scores.n, sizeof *scores.rows)))
        rc = hn_fail(err, HN_E_INTERNAL, "out of memory for the scores of %zu rows", scores.n);
    from += HEADER_SIZE;
    for (size_t i = 0; !rc && i < scores.n; i++) {
        from = get_row(from, &scores.rows[i], bits);
        if (!is_sound(&scores.rows[i], &scores))
            rc = no_scores(path, "a row has numbers that no evaluation gives", err);
    }
    for (size_t i = 0; !rc && scores.probabilities && i < scores.n * scores.n_labels; i++) {
        scores.probabilities[i] = hn_get_float(from + 4 * i);
        if (!(scores.probabilities[i] >= 0 && scores.probabilities[i] <= 1))
            rc = no_scores(path, "a probability is none", err);
    }
    free(text);
    if (rc)
        hn_scores_finish(&scores);
    else
        *ret = scores;
    return rc;
}

void hn_scores_finish(struct hn_scores *scores) {
    free(scores->rows);
    free(scores->probabilities);
    *scores = (struct hn_scores){0};
}
