/* What a plan tells of the rows: those that are held out, cut, left out, or alike; see plan.h. */
#include "engine/helper/plan.h"

static void warn_truncated(struct hn_planning *p, const struct hn_run *run) {
    const struct hn_examples *sets[] = {&run->train, &run->validation, &run->test};
    static const char *const names[] = {"", "validation ", "test "};
    for (int i = 0; i < 3; i++)
        if (sets[i]->truncated)
            hn_planning_warn(p, "truncated",
                "%zu of %zu %srows are longer than max_length %lld and are cut on the right",
                sets[i]->truncated, sets[i]->rows_total, names[i],
                (long long)p->spec.hp.max_length);
}

/* Rows that stand on both sides, and those that do not although they are alike. */
static void warn_split(struct hn_planning *p) {
    if (hn_spec_held_out(&p->spec) > 0 && p->twins)
        hn_planning_warn(p, "equal_inputs",
            "%zu of %zu rows have the input of another row (but for case, spaces and punctuation); "
            "rows of one input are all held out for validation or all trained on",
            p->twins, p->rows);
    for (int i = 0; i < 2; i++)
        if (p->shared[i])
            hn_planning_warn(p, "shared_rows",
                "%zu of %zu %s rows have the input of a training row (but for case, spaces and "
                "punctuation), so that their metrics are too good; %s",
                p->shared[i], p->n_others[i], i ? "test" : "validation",
                p->spec.drop_leaks == HN_SAME_NEAR ? "all these training rows are left out"
                    : p->spec.drop_leaks
                    ? "of these, training rows that are the same in all columns are left out"
                    : "\"drop_leaks\": \"near\" leaves them out of training");
}

static void warn_notices(
    struct hn_planning *p, const struct hn_notices *notices, size_t total, const char *rows) {
    char text[508];
    for (size_t i = 0; i < notices->n; i++) {
        hn_notice_sentence(&notices->list[i], total, rows, text, sizeof text);
        hn_planning_warn(p, hn_notice_code(&notices->list[i]), "%s", text);
    }
}

/* What was noticed of the rows, as tokens and as prompts. */
static void warn_noticed(struct hn_planning *p, const struct hn_run *run) {
    warn_notices(p, &run->train.notices, run->train.rows_total, "training rows");
    warn_notices(p, &run->validation.notices, run->validation.rows_total, "validation rows");
    warn_notices(p, &run->test.notices, run->test.rows_total, "test rows");
    for (size_t i = 0; i < run->unwritten.n; i++) {
        bool sample = run->unwritten.list[i].kind == HN_NOTICE_NO_SAMPLE;
        struct hn_notices one = {1, {run->unwritten.list[i]}};
        warn_notices(p, &one, sample ? run->n_samples_tried : run->n_answers_tried,
            sample ? "rows tried for samples" : "rows to answer");
    }
}

/* What the field `rows` leaves out, and what of it has no effect. */
static void warn_left_out(struct hn_planning *p, const struct hn_run *run) {
    const struct hn_left_out *out = &run->train.left_out;
    size_t n = hn_left_out_count(out);
    if (n)
        hn_planning_warn(p, "left_out",
            "%zu training rows are left out as rows says: %llu by their lines, %llu at random, "
            "%llu beyond the share or count",
            n, (unsigned long long)out->excluded, (unsigned long long)out->random,
            (unsigned long long)out->unchosen);
    if (out->idle)
        hn_planning_warn(p, "exclude_without_effect",
            "%llu of the lines or ranges in rows.exclude have no training row: there is none, or "
            "it is held out for validation",
            (unsigned long long)out->idle);
}

void hn_planning_warn_of_rows(struct hn_planning *p, const struct hn_run *run) {
    const struct hn_examples *ex = &run->train;
    if (hn_spec_validates(&p->spec) && !run->validation.n_rows)
        hn_planning_warn(p, "no_validation",
            run->validation.rows_total
                ? "no validation row is left to evaluate on (%zu of %zu dropped): raise max_length "
                  "or look at the rows"
                : "no row can be held out for validation without taking a label's last training "
                  "row or parting rows of one input (%zu of %zu): send a validation data set",
            run->validation.dropped, run->validation.rows_total);
    warn_noticed(p, run);
    warn_left_out(p, run);
    warn_truncated(p, run);
    warn_split(p);
    if (ex->dropped)
        hn_planning_warn(p, "dropped", "%zu of %zu rows are left out: %s", ex->dropped,
            ex->rows_total,
            p->spec.dedupe || p->spec.drop_leaks || p->spec.drop_contradictions
                ? "they are doubles, leaks or contradictions, or no target is left in them"
                : "no target is left in them");
}
