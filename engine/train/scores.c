/* The score files of a run, scores/<step>.bin: written at each evaluation, and which are kept. */
#include "engine/base/file.h"
#include "engine/eval/scores.h"
#include "engine/train/trainer.h"

#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* By the number of evaluations that the run has in all, so that what is kept does not depend on
 * where it was killed. */
static bool all_are_kept(const struct hn_trainer *t) {
    enum hn_objective objective = t->spec.labels.objective;
    size_t labels = hn_labels_outputs(&t->spec.labels);
    size_t bytes = hn_scores_bytes(objective, labels, t->run.validation.n_rows) +
        hn_scores_bytes(objective, labels, t->run.train_sample.n_rows);
    size_t evaluations = t->run.steps / (size_t)t->spec.hp.eval_every + 2;
    return bytes <= HN_SCORES_KEPT / evaluations;
}

static bool is_kept(const struct hn_trainer *t, size_t step) {
    const struct hn_progress *p = &t->progress;
    const json_t *stop;
    size_t i;
    if (step == p->step || (p->has_best && step == p->best_step) ||
        (t->spec.stop_at > 0 && step == (size_t)t->spec.stop_at))
        return true;
    json_array_foreach(t->events.stops, i, stop)
        if (json_integer_value(stop) == (json_int_t)step)
            return true;
    return false;
}

static int prune(const struct hn_trainer *t, const char *folder, struct hn_error *err) {
    DIR *dir = opendir(folder);
    if (!dir)
        return hn_fail_errno(err, errno, "cannot read %s", folder);
    for (struct dirent *e; (e = readdir(dir));) {
        bool train = strncmp(e->d_name, HN_SCORES_TRAIN, strlen(HN_SCORES_TRAIN)) == 0;
        const char *step = e->d_name + (train ? strlen(HN_SCORES_TRAIN) : 0);
        size_t digits = strspn(step, "0123456789");
        if (digits && strcmp(step + digits, ".bin") == 0 &&
            !is_kept(t, (size_t)strtoull(step, NULL, 10)))
            unlinkat(dirfd(dir), e->d_name, 0);
    }
    closedir(dir);
    return 0;
}

int hn_trainer_keep_scores(const struct hn_trainer *t, const char *prefix,
    const struct hn_scores *scores, struct hn_error *err) {
    char folder[4096], path[4160];
    snprintf(folder, sizeof folder, "%s/scores", t->dir);
    snprintf(path, sizeof path, "%s/%s%zu.bin", folder, prefix, t->progress.step);
    int rc = hn_dir_create(folder, err);
    if (!rc)
        rc = hn_scores_write(scores, path, err);
    return rc || all_are_kept(t) ? rc : prune(t, folder, err);
}
