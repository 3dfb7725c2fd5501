/* See fold_scores.h. */
#include "engine/eval/fold_scores.h"
#include "engine/base/buf.h"
#include "engine/run/row_file.h"

#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct steps {
    size_t *list; /* [n] ascending */
    size_t n, room;
};

static int ascending(const void *a, const void *b) {
    size_t x = *(const size_t *)a, y = *(const size_t *)b;
    return (x > y) - (x < y);
}

static int list_steps(struct steps *steps, const char *folder, struct hn_error *err) {
    DIR *dir = opendir(folder);
    int rc = 0;
    for (struct dirent *e; dir && !rc && (e = readdir(dir));) {
        size_t digits = strspn(e->d_name, "0123456789");
        if (!digits || digits > 15 || strcmp(e->d_name + digits, ".bin") != 0)
            continue;
        if (hn_grow(&steps->list, &steps->room, steps->n + 1, sizeof *steps->list))
            steps->list[steps->n++] = (size_t)strtoull(e->d_name, NULL, 10);
        else
            rc = hn_fail(err, HN_E_INTERNAL, "out of memory");
    }
    if (dir)
        closedir(dir);
    if (steps->n)
        qsort(steps->list, steps->n, sizeof *steps->list, ascending);
    return rc;
}

/* The step that ends the run's first epoch; SIZE_MAX where its rows are not kept. */
static size_t first_epoch_end(const char *folder) {
    struct hn_row_history rows = {0};
    char path[4160];
    snprintf(path, sizeof path, "%s/../" HN_ROWS_FILE, folder);
    if (hn_row_history_open(&rows, path, NULL))
        return SIZE_MAX;
    size_t step = hn_row_layout_epoch(&rows.layout);
    hn_row_history_close(&rows);
    return step;
}

/* Adds the probabilities of another evaluation to sum[n * n_labels]. */
static bool add(double *sum, const struct hn_scores *scores, const char *path) {
    struct hn_scores other = {0};
    if (hn_scores_read(&other, path, NULL))
        return false;
    bool same = other.n == scores->n && other.n_labels == scores->n_labels &&
        strcmp(other.sha256, scores->sha256) == 0 && other.probabilities;
    for (size_t i = 0; same && i < other.n * other.n_labels; i++)
        sum[i] += (double)other.probabilities[i];
    hn_scores_finish(&other);
    return same;
}

static int average(struct hn_scores *scores, const char *folder, struct hn_error *err) {
    struct steps steps = {0};
    size_t cells = scores->n * scores->n_labels, used = 0;
    int rc = list_steps(&steps, folder, err);
    double *sum = hn_calloc(cells, sizeof *sum);
    if (!rc && !sum)
        rc = hn_fail(err, HN_E_INTERNAL, "out of memory for the scores of %zu rows", scores->n);
    size_t first = first_epoch_end(folder), last = steps.n ? steps.list[steps.n - 1] : 0;
    if (first < last / 2)
        first = last / 2;
    for (size_t i = 0; !rc && i < steps.n; i++) {
        char path[4160];
        snprintf(path, sizeof path, "%s/%zu.bin", folder, steps.list[i]);
        used += steps.list[i] >= first && add(sum, scores, path);
    }
    for (size_t i = 0; used && i < cells; i++)
        scores->probabilities[i] = (float)(sum[i] / (double)used);
    for (size_t i = 0; used && i < scores->n; i++)
        scores->rows[i].p =
            scores->probabilities[i * scores->n_labels + (size_t)scores->rows[i].label];
    free(sum);
    free(steps.list);
    return rc;
}

int hn_fold_scores_read(struct hn_scores *ret, const char *path, struct hn_error *err) {
    char folder[4096];
    const char *slash = strrchr(path, '/');
    int rc = hn_scores_read(ret, path, err);
    if (rc || !ret->probabilities || !slash || (size_t)(slash - path) >= sizeof folder)
        return rc;
    snprintf(folder, sizeof folder, "%.*s", (int)(slash - path), path);
    rc = average(ret, folder, err);
    if (rc)
        hn_scores_finish(ret);
    return rc;
}
