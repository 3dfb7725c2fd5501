/* Answers that are written during training: samples to read, and those that are measured. See
 * trainer.h. */
#include "engine/data/prompt.h"
#include "engine/eval/generate.h"
#include "engine/base/json.h"
#include "engine/eval/text_metrics.h"
#include "engine/train/trainer.h"

#define GROUP ((size_t)16) /* rows whose answers are held at a time */

static size_t least(size_t a, size_t b) {
    return a < b ? a : b;
}

/* What is done with a written answer to a row. */
typedef int written_fn(struct hn_trainer *t, const struct hn_dataset *data, size_t row,
    const struct hn_prompt *prompt, const struct hn_generated *result, void *user,
    struct hn_error *err);

/* Greedy answers to rows of the data, at most GROUP at a time; rows without a prompt, or with one
 * that is too long, are passed over: the plan has told of them. */
static int write_group(struct hn_trainer *t, const struct hn_dataset *data, const size_t *rows,
    size_t n, written_fn *each, void *user, struct hn_error *err) {
    struct hn_prompt prompts[GROUP] = {0};
    struct hn_generated results[GROUP] = {0};
    struct hn_ids ids[GROUP];
    struct hn_view again[GROUP];
    size_t of[GROUP], count = 0;
    struct hn_generator g = {.compute = &t->compute,
        .phase = &t->run.phases[HN_PHASE_SAMPLE],
        .model = &t->run.loaded.model,
        .codec = &t->run.loaded.codec,
        .params = t->params.values,
        .slots = HN_SAMPLE_SLOTS,
        .context = (size_t)(t->spec.hp.max_length + t->spec.sample_tokens),
        .rows = t->run.phases[HN_PHASE_SAMPLE].plan.caps.cache_rows,
        .again = again};
    struct hn_generate_options o = {.max_tokens = (size_t)t->spec.sample_tokens, .top_p = 1};
    int rc = 0;
    for (size_t i = 0; !rc && i < n; i++) {
        rc = hn_prompt_from_row(&t->run.loaded.codec, data, rows[i], &prompts[count], err);
        if (!rc && prompts[count].ids.n && prompts[count].ids.n < g.context) {
            ids[count] = prompts[count].ids;
            again[count] = hn_prompt_again(&prompts[count]);
            of[count++] = rows[i];
        } else {
            hn_prompt_finish(&prompts[count]);
            prompts[count] = (struct hn_prompt){0};
            rc = rc == HN_E_INTERNAL ? rc : 0;
        }
    }
    if (!rc)
        rc = hn_generate(&g, ids, count, &o, results, NULL, NULL, err);
    for (size_t i = 0; i < count; i++) {
        if (!rc)
            rc = each(t, data, of[i], &prompts[i], &results[i], user, err);
        hn_generated_finish(&results[i]);
        hn_prompt_finish(&prompts[i]);
    }
    return rc;
}

static int add_sample(struct hn_trainer *t, const struct hn_dataset *data, size_t row,
    const struct hn_prompt *prompt, const struct hn_generated *result, void *user,
    struct hn_error *err) {
    const size_t *step = user;
    json_t *event = json_pack("{s:I, s:I, s:o, s:o, s:o}", "step", (json_int_t)*step, "line",
        (json_int_t)data->lines[row], "prompt", hn_json_text(prompt->text.data, prompt->text.size),
        "text", hn_json_text(result->text.data, result->text.size), "reference",
        hn_json_text(prompt->reference.data, prompt->reference.size));
    return hn_events_add(&t->events, "sample", event, err);
}

int hn_trainer_sample(struct hn_trainer *t, size_t step, struct hn_error *err) {
    int rc = 0;
    for (size_t i = 0; !rc && i < t->run.n_sample_rows; i += GROUP)
        rc = write_group(t, t->run.sample_data, t->run.sample_rows + i,
            least(GROUP, t->run.n_sample_rows - i), add_sample, &step, err);
    return rc;
}

static int compare_answer(struct hn_trainer *t, const struct hn_dataset *data, size_t row,
    const struct hn_prompt *prompt, const struct hn_generated *result, void *user,
    struct hn_error *err) {
    json_t *object = NULL;
    int rc = hn_dataset_row(data, row, &object, err);
    (void)t;
    if (!rc) {
        json_t *text = hn_json_text(result->text.data, result->text.size),
               *references = hn_prompt_references(prompt, object);
        hn_text_metrics_add(user, text, references, NULL);
        json_decref(text);
        json_decref(references);
    }
    json_decref(object);
    return rc;
}

int hn_trainer_compare(struct hn_trainer *t, const struct hn_examples *ex,
    const struct hn_dataset *data, json_t *metrics, struct hn_error *err) {
    struct hn_text_metrics texts = {.wanted = HN_TEXT_ALL};
    size_t n = least((size_t)t->spec.hp.eval_generate, ex->n_rows), rows[GROUP], count = 0;
    int rc = 0;
    for (size_t i = 0; !rc && i < n; i++) {
        rows[count++] = ex->rows[i * ex->n_rows / n];
        if (count < GROUP && i + 1 < n)
            continue;
        rc = write_group(t, data, rows, count, compare_answer, &texts, err);
        count = 0;
    }
    if (!rc && texts.failed)
        rc = hn_fail(err, HN_E_INTERNAL, "out of memory");
    if (!rc)
        hn_text_metrics_write(&texts, metrics);
    hn_text_metrics_finish(&texts);
    return rc;
}
