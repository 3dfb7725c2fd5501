/* What each training row costs when it is trained on: taken from the pass that trains it, before
 * the update, with its dropout. See run/row_file.h. */
#include "engine/base/buf.h"
#include "engine/train/trainer.h"

#include <math.h>
#include <stdlib.h>

#define WORST_TARGETS ((size_t)8) /* in a row, whose mean loss is the worst of a text */

int hn_trainer_begin_rows(struct hn_trainer *t, struct hn_error *err) {
    const struct hn_run *run = &t->run;
    struct hn_trained_rows *rows = &t->rows;
    struct hn_row_layout layout;
    hn_row_layout_plan(&layout, run);
    if (!layout.epochs)
        return 0;
    int rc = hn_row_file_open(&rows->file, t->dir, &layout, &run->train, err);
    if (rc)
        return rc;
    size_t targets = t->compute.batch.max_tokens;
    bool classes = layout.objective == HN_OBJECTIVE_CLASSES;
    rows->losses = hn_calloc(targets, sizeof *rows->losses);
    rows->choices = classes ? hn_calloc(targets, sizeof *rows->choices) : NULL;
    rows->step = hn_calloc(layout.batch_size, sizeof *rows->step);
    if (!rows->losses || !rows->step || (classes && !rows->choices))
        return hn_fail(err, HN_E_INTERNAL, "out of memory");
    return 0;
}

void hn_trainer_finish_rows(struct hn_trainer *t) {
    hn_row_file_close(&t->rows.file);
    free(t->rows.losses);
    free(t->rows.choices);
    free(t->rows.step);
}

/* The largest mean of WORST_TARGETS losses that follow each other. */
static double worst_window(const double *losses, size_t n) {
    size_t width = n < WORST_TARGETS ? n : WORST_TARGETS;
    double worst = -HUGE_VAL;
    for (size_t i = 0; i + width <= n; i++) {
        double sum = 0;
        for (size_t k = 0; k < width; k++)
            sum += losses[i + k];
        worst = sum > worst ? sum : worst;
    }
    return width ? worst / (double)width : 0;
}

/* Of a sequence with the batch's targets [first, end). */
static struct hn_row_record record_of(const struct hn_trainer *t, size_t first, size_t end) {
    const struct hn_batch *b = &t->compute.batch.batch;
    enum hn_objective objective = t->rows.file.layout.objective;
    struct hn_row_record r = {.trained = true};
    double loss = 0, weight = 0;
    for (size_t i = first; i < end; i++) {
        loss += (double)b->target_weights[i] * t->rows.losses[i];
        weight += (double)b->target_weights[i];
    }
    r.loss = weight > 0 ? (float)(loss / weight) : 0;
    if (objective == HN_OBJECTIVE_TOKENS)
        r.worst = (float)worst_window(t->rows.losses + first, end - first);
    if (objective == HN_OBJECTIVE_CLASSES && first < end)
        r.choice = t->rows.choices[first];
    return r;
}

void hn_trainer_note_rows(struct hn_trainer *t, size_t begin) {
    const struct hn_batch *b = &t->compute.batch.batch;
    if (!t->rows.step)
        return;
    for (size_t s = 0, first = 0, end = 0; s < b->n_sequences; s++, first = end) {
        while (end < b->n_targets && b->target_rows[end] < b->starts[s + 1])
            end++;
        t->rows.step[begin + s] = record_of(t, first, end);
    }
}

int hn_trainer_keep_rows(
    const struct hn_trainer *t, size_t s, const uint32_t *rows, size_t n, struct hn_error *err) {
    size_t epoch = (s - 1) / t->run.steps_per_epoch;
    int rc = 0;
    for (size_t i = 0; t->rows.step && !rc && i < n; i++)
        rc = hn_row_file_put(&t->rows.file, epoch, rows[i], &t->rows.step[i], err);
    return rc;
}
