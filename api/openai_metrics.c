/*
 * The result file of a job: a line a step that was logged or evaluated, with OpenAI's five columns
 * first. Losses of a step are the mean over its target tokens; validation is always of all rows, so
 * that valid_loss is what OpenAI calls full_valid_loss.
 */
#include "api/handlers.h"
#include "api/openai.h"

#include <math.h>
#include <string.h>

struct table {
    struct hn_buf *out;
    bool open;
    int64_t step;
    double loss, learning_rate, grad_norm, epoch;
    json_t *val;
};

static void put(struct hn_buf *out, double value, char end) {
    if (!isnan(value))
        hn_buf_printf(out, "%.9g", value);
    hn_buf_char(out, end);
}

static double val_of(const struct table *t, const char *name) {
    const json_t *value = json_object_get(t->val, name);
    return json_is_number(value) ? json_number_value(value) : (double)NAN;
}

/* What is right of all that is predicted: tokens, or labels. */
static double accuracy(const struct table *t) {
    double tokens = val_of(t, "val_token_accuracy");
    return isnan(tokens) ? val_of(t, "val_accuracy") : tokens;
}

static void put_line(struct table *t) {
    if (!t->open)
        return;
    hn_buf_printf(t->out, "%lld,", (long long)t->step);
    put(t->out, t->loss, ',');
    hn_buf_char(t->out, ','); /* of training steps no accuracy is measured */
    put(t->out, val_of(t, "val_loss"), ',');
    put(t->out, accuracy(t), ',');
    put(t->out, t->epoch, ',');
    put(t->out, t->learning_rate, ',');
    put(t->out, t->grad_norm, '\n');
    json_decref(t->val);
    t->val = NULL;
    t->open = false;
}

static void take(void *ud, const struct hn_metric *m) {
    struct table *t = ud;
    if (t->open && m->step != t->step)
        put_line(t);
    if (!t->open) {
        t->open = true;
        t->step = m->step;
        t->loss = t->learning_rate = t->grad_norm = (double)NAN;
    }
    t->epoch = m->epoch;
    if (m->val) {
        t->val = json_loads(m->val, 0, NULL);
        return;
    }
    t->loss = m->loss;
    t->learning_rate = m->learning_rate;
    t->grad_norm = m->grad_norm;
}

int hn_openai_metrics(
    struct hn_request *req, const struct hn_job *job, struct hn_buf *ret, struct hn_error *err) {
    struct table t = {.out = ret};
    struct hn_db *db = hn_request_db(req, err);
    hn_buf_text(ret,
        "step,train_loss,train_accuracy,valid_loss,valid_mean_token_accuracy,epoch,learning_rate,"
        "grad_norm\n");
    const struct hn_metric_range range = {.job = job->n, .first = 0, .last = INT64_MAX};
    int rc = db ? hn_db_metrics(db, &range, INT64_MAX, take, &t, err) : HN_E_INTERNAL;
    put_line(&t);
    json_decref(t.val);
    return rc || !ret->failed ? rc : hn_fail(err, HN_E_INTERNAL, "out of memory");
}
