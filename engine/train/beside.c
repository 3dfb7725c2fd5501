/* What an evaluation measures beside the validation rows. */
#include "engine/base/json.h"
#include "engine/eval/divergence.h"
#include "engine/eval/evaluate.h"
#include "engine/train/trainer.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

void hn_beside_tell(const struct hn_beside *b, json_t *data, char *text, size_t size) {
    const struct {
        const char *name, *what;
        double value;
    } all[] = {{"train_eval_loss", "training rows' loss", b->train_loss},
        {"neutral_loss", "neutral text's loss", b->neutral_loss},
        {"val_kl", "KL from the base", b->kl}};
    for (size_t i = 0; i < sizeof all / sizeof all[0]; i++) {
        size_t used = strlen(text);
        if (!isfinite(all[i].value))
            continue;
        json_object_set_new(data, all[i].name, hn_json_float((float)all[i].value));
        snprintf(text + used, size - used, ", %s %.4f", all[i].what, all[i].value);
    }
}

int hn_trainer_measure_training(struct hn_trainer *t, double *ret_loss, struct hn_error *err) {
    const struct hn_run *run = &t->run;
    struct hn_evaluation e;
    int rc = hn_evaluate(&t->compute, &run->phases[HN_PHASE_EVAL], &run->loaded, t->params.values,
        &run->train_sample, NULL, HN_EVALUATION_LOSSES, &e, err);
    if (rc)
        return rc;
    *ret_loss = e.loss;
    rc = isfinite(e.loss) ? hn_trainer_keep_scores(t, HN_SCORES_TRAIN, &e.scores, err) : 0;
    hn_evaluation_finish(&e);
    return rc;
}

int hn_trainer_measure_forgetting(
    struct hn_trainer *t, double *ret_loss, double *ret_kl, struct hn_error *err) {
    const struct hn_run *run = &t->run;
    struct hn_evaluation e;
    const struct hn_divergence kl = {
        &run->phases[HN_PHASE_BASE], &run->phases[HN_PHASE_TUNED], t->params.values};
    int rc = 0;
    if (run->neutral.n_rows) {
        rc = hn_evaluate(&t->compute, &run->phases[HN_PHASE_EVAL], &run->loaded, t->params.values,
            &run->neutral, NULL, HN_EVALUATION_LOSSES, &e, err);
        if (!rc)
            *ret_loss = e.loss;
        if (!rc)
            hn_evaluation_finish(&e);
    }
    return rc || !run->kl_rows.n_rows ? rc
                                      : hn_diverge(&t->compute, &kl, &run->kl_rows, ret_kl, err);
}
