/* See forgetting.h. */
#include "engine/run/forgetting.h"
#include "engine/base/buf.h"

#include <stdlib.h>
#include <string.h>

/* engine/run/neutral.txt, made into an array by the build. */
extern const char hn_neutral_text[];
extern const size_t hn_neutral_size;

/* Number i of n things spread evenly over `all`. */
static size_t spread(size_t i, size_t n, size_t all) {
    return (2 * i + 1) * all / (2 * n);
}

static bool ids_fit(const int32_t *ids, size_t n, size_t vocab) {
    for (size_t i = 0; i < n; i++)
        if (ids[i] < 0 || (size_t)ids[i] >= vocab)
            return false;
    return true;
}

/* A BOS, where there is one, and the text's tokens behind it; every token but the first is a
 * target. */
static int add_window(struct hn_examples *ex, const struct hn_ids *start, const int32_t *ids,
    size_t n, size_t vocab, struct hn_error *err) {
    int32_t window[HN_NEUTRAL_WINDOW];
    float weights[HN_NEUTRAL_WINDOW];
    struct hn_encoded e = {.ids = {.ids = window}, .weights = weights};
    if (start->n) /* models without a BOS have none */
        memcpy(window, start->ids, start->n * sizeof *window);
    memcpy(window + start->n, ids, n * sizeof *window);
    for (size_t i = 0; i < start->n + n; i++)
        weights[i] = i ? 1 : 0;
    return ids_fit(window, start->n + n, vocab)
        ? hn_examples_add(ex, &e, start->n + n, ex->n_rows, (uint32_t)ex->n_rows + 1, err)
        : 0;
}

static int cut(const struct hn_loaded *loaded, const struct hn_ids *text,
    const struct hn_ids *start, size_t window, struct hn_examples *ex, struct hn_error *err) {
    window = window < HN_NEUTRAL_WINDOW ? window : HN_NEUTRAL_WINDOW;
    if (window < start->n + 2 || text->n < start->n + window)
        return 0;
    size_t room = window - start->n, all = (text->n - start->n) / room,
           most = HN_NEUTRAL_WINDOWS * HN_NEUTRAL_WINDOW / window, n = all < most ? all : most;
    int rc = 0;
    for (size_t i = 0; !rc && i < n; i++)
        rc = add_window(ex, start, text->ids + start->n + spread(i, n, all) * room, room,
            loaded->model.config.vocab, err);
    return rc;
}

int hn_neutral_make(
    const struct hn_loaded *loaded, size_t window, struct hn_examples *ret, struct hn_error *err) {
    struct hn_ids text = {0}, start = {0};
    struct hn_error why = {0};
    hn_examples_begin(ret, NULL);
    int rc = hn_codec_encode_bare(&loaded->codec, "", 0, &start, &why);
    if (!rc)
        rc = hn_codec_encode_bare(&loaded->codec, hn_neutral_text, hn_neutral_size, &text, &why);
    if (!rc)
        rc = cut(loaded, &text, &start, window, ret, &why);
    hn_ids_free(&text);
    hn_ids_free(&start);
    if (!rc)
        return 0;
    hn_examples_finish(ret);
    return rc == HN_E_INTERNAL ? hn_fail(err, rc, "%s", why.message) : 0;
}

/* Keeps HN_KL_TARGETS of the row's targets at most. */
static void thin_targets(struct hn_examples *ex, size_t row) {
    size_t begin = ex->starts[row] + 1, end = ex->starts[row + 1], all = 0, seen = 0, kept = 0;
    for (size_t k = begin; k < end; k++)
        all += ex->weights[k] > 0;
    size_t n = all < HN_KL_TARGETS ? all : HN_KL_TARGETS;
    for (size_t k = begin; k < end; k++) {
        if (ex->weights[k] <= 0)
            continue;
        bool keep = kept < n && seen++ == spread(kept, n, all);
        kept += keep;
        ex->weights[k] = keep ? 1 : 0;
    }
}

/* How many rows are compared. */
static size_t count_rows(const struct hn_examples *ex) {
    size_t n = ex->n_tokens ? HN_KL_TOKENS * ex->n_rows / ex->n_tokens : 0;
    n = n < HN_KL_ROWS_LEAST ? HN_KL_ROWS_LEAST : n > HN_KL_ROWS ? HN_KL_ROWS : n;
    return n < ex->n_rows ? n : ex->n_rows;
}

int hn_kl_rows_make(
    const struct hn_examples *validation, struct hn_examples *ret, struct hn_error *err) {
    size_t all = validation->n_rows, n = count_rows(validation), rows[HN_KL_ROWS] = {0};
    for (size_t i = 0; i < n; i++)
        rows[i] = spread(i, n, all);
    int rc = hn_examples_pick(validation, rows, n, ret, err);
    for (size_t i = 0; !rc && i < n; i++)
        thin_targets(ret, i);
    return rc;
}

size_t hn_kl_place(const struct hn_plan *base, const struct hn_plan *tuned) {
    size_t used = base->arena_bytes > tuned->arena_bytes ? base->arena_bytes : tuned->arena_bytes;
    return (used + 63) / 64 * 64;
}

size_t hn_kl_arena(const struct hn_plan *base, const struct hn_plan *tuned) {
    return hn_kl_place(base, tuned) +
        base->caps.dims[HN_DIM_TARGETS] * base->buffers[base->logits].cols * sizeof(float);
}
