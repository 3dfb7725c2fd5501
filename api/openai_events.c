/*
 * /v1/fine_tuning/jobs/{id}/events: a job's events in OpenAI's sequence and words, newest first.
 * `ftevent-X-SEQ-K`: the K-th message of event SEQ of the job `job_X`.
 */
#include "api/handlers.h"
#include "api/openai.h"
#include "server/base/id.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { MESSAGES = 3 }; /* of one event, at most */

struct page {
    const struct hn_job *job;
    struct hn_db *db;
    json_t *list;
    int64_t limit, seq;    /* seq: of the last one that was shown; */
    int64_t shown_of_last; /* and how many of its messages were: they are left out */
    int64_t total;         /* steps */
    bool more;
};

struct event {
    struct page *page;
    int64_t seq;
    const char *time;
    json_t *data;
    json_t *messages[MESSAGES]; /* in the order in which they happened */
    size_t n;
};

static void say(struct event *e, const char *level, json_t *data, const char *format, ...)
    __attribute__((format(printf, 4, 5)));

/* One message; takes `data` over, which makes it one of metrics. */
static void say(struct event *e, const char *level, json_t *data, const char *format, ...) {
    char text[1200], id[80];
    va_list args;
    if (e->n == MESSAGES) {
        json_decref(data);
        return;
    }
    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    snprintf(
        id, sizeof id, "ftevent-%.16s-%lld-%zu", e->page->job->id + 4, (long long)e->seq, e->n);
    e->messages[e->n++] = HN_JSON_OBJECT({"id", json_string(id)},
        {"object", json_string("fine_tuning.job.event")},
        {"created_at", json_integer((json_int_t)hn_openai_time(e->time))},
        {"level", json_string(level)}, {"message", hn_json_text(text, strlen(text))},
        {"type", json_string(data ? "metrics" : "message")}, {"data", data ? data : json_null()});
}

static double real_of(const json_t *data, const char *name) {
    return json_number_value(json_object_get(data, name));
}

static json_int_t whole_of(const json_t *data, const char *name) {
    return json_integer_value(json_object_get(data, name));
}

static void say_queued(struct event *e) {
    const struct hn_job *job = e->page->job;
    char file[HN_OPENAI_ID], other[HN_OPENAI_ID];
    hn_openai_file_name(job->dataset, file);
    if (e->seq > 8) { /* queued again */
        say(e, "info", NULL, "Fine-tuning job moved to queued state");
        return;
    }
    say(e, "info", NULL, "Created fine-tuning job: ftjob-%s", job->id + 4);
    if (job->validation_dataset) {
        hn_openai_file_name(job->validation_dataset, other);
        say(e, "info", NULL, "Validating training file: %s and validation file: %s", file, other);
    } else {
        say(e, "info", NULL, "Validating training file: %s", file);
    }
    say(e, "info", NULL, "Files validated, moving job to queued state");
}

static void say_started(struct event *e) {
    json_int_t attempt = whole_of(e->data, "attempt");
    if (attempt > 1)
        say(e, "info", NULL, "Fine-tuning job resumed (attempt %lld)", (long long)attempt);
    else
        say(e, "info", NULL, "Fine-tuning job started");
}

static void say_step(struct event *e) {
    json_int_t step = whole_of(e->data, "step");
    double loss = real_of(e->data, "loss");
    say(e, "info",
        json_pack("{s:I, s:I, s:f}", "step", step, "total_steps", (json_int_t)e->page->total,
            "train_loss", loss),
        "Step %lld/%lld: training loss=%.2f", (long long)step, (long long)e->page->total, loss);
}

/* With the training loss of its step, which stands in an event of its own. */
static void say_eval(struct event *e) {
    json_int_t step = whole_of(e->data, "step");
    double loss = real_of(e->data, "val_loss"), train = 0;
    json_t *accuracy = json_object_get(e->data, "val_token_accuracy"),
           *data = json_pack("{s:I, s:I, s:f, s:f}", "step", step, "total_steps",
               (json_int_t)e->page->total, "valid_loss", loss, "full_valid_loss", loss);
    bool trained = hn_db_step_loss(e->page->db, e->page->job->n, step, &train, NULL) == 0;
    if (accuracy) {
        json_object_set(data, "valid_mean_token_accuracy", accuracy);
        json_object_set(data, "full_valid_mean_token_accuracy", accuracy);
    }
    if (trained) {
        json_object_set_new(data, "train_loss", json_real(train));
        say(e, "info", data,
            "Step %lld/%lld: training loss=%.2f, validation loss=%.2f, full validation loss=%.2f",
            (long long)step, (long long)e->page->total, train, loss, loss);
    } else {
        say(e, "info", data, "Step %lld/%lld: validation loss=%.2f, full validation loss=%.2f",
            (long long)step, (long long)e->page->total, loss, loss);
    }
}

static void say_checkpoint(struct event *e) {
    say(e, "info", NULL, "Checkpoint created at step %lld", (long long)whole_of(e->data, "step"));
}

static const char *text_of(const json_t *data, const char *name) {
    const char *text = json_string_value(json_object_get(data, name));
    return text ? text : "";
}

static void say_warning(struct event *e) {
    say(e, "warn", NULL, "%s", text_of(e->data, "message"));
}

static void say_failed(struct event *e) {
    say(e, "error", NULL, "%s", text_of(e->data, "message"));
}

static void say_succeeded(struct event *e) {
    char name[HN_OPENAI_NAME];
    hn_openai_model_name(e->page->job, -1, name);
    say(e, "info", NULL, "New fine-tuned model created: %s", name);
    say(e, "info", NULL, "The job has successfully completed");
}

static void say_cancelled(struct event *e) {
    say(e, "info", NULL, "The job was cancelled");
}

static void say_paused(struct event *e) {
    say(e, "info", NULL, "The job was paused");
}

static const struct {
    const char *type;
    void (*say)(struct event *e);
} kinds[] = {
    {"queued", say_queued},
    {"started", say_started},
    {"step", say_step},
    {"eval", say_eval},
    {"checkpoint", say_checkpoint},
    {"warning", say_warning},
    {"failed", say_failed},
    {"succeeded", say_succeeded},
    {"cancelled", say_cancelled},
    {"paused", say_paused},
};

static void take(void *ud, int64_t seq, const char *time, const char *type, const char *data) {
    struct page *page = ud;
    struct event e = {.page = page, .seq = seq, .time = time, .data = json_loads(data, 0, NULL)};
    for (size_t i = 0; i < sizeof kinds / sizeof kinds[0]; i++)
        if (strcmp(kinds[i].type, type) == 0)
            kinds[i].say(&e);
    size_t n = e.n;
    if (seq == page->seq) /* the page before ended in it, at this message */
        n = (size_t)page->shown_of_last < n ? (size_t)page->shown_of_last : n;
    while (n-- > 0) {
        bool full = json_array_size(page->list) >= (size_t)page->limit;
        page->more = page->more || full;
        if (!full)
            json_array_append(page->list, e.messages[n]);
    }
    for (size_t i = 0; i < e.n; i++)
        json_decref(e.messages[i]);
    json_decref(e.data);
}

int hn_openai_jobs_events(struct hn_request *req, struct hn_error *err) {
    struct hn_job job;
    const char *after = NULL;
    long long seq = INT64_MAX, k = MESSAGES;
    struct page page = {.job = &job, .list = json_array()};
    int rc = hn_openai_job_load(req, &job, err);
    if (!rc)
        rc = hn_query_page(req, 20, 1000, &page.limit, &after, err);
    if (!rc && after && sscanf(after, "ftevent-%*16[a-z0-9]-%lld-%lld", &seq, &k) != 2) {
        rc = hn_fail(err, HN_E_INVALID_FIELD, "after is not the id of an event");
        hn_error_field(err, "after");
    }
    page.seq = seq;
    page.shown_of_last = k;
    page.total = job.total_steps;
    page.db = rc ? NULL : hn_request_db(req, err);
    if (!rc) /* some events have no message: enough of them are read */
        rc = page.db
            ? hn_db_events_before(page.db, job.n, seq, 2 * page.limit + 20, take, &page, err)
            : HN_E_INTERNAL;
    if (!rc)
        rc = hn_openai_reply_list(req, json_incref(page.list), page.more, err);
    json_decref(page.list);
    hn_job_finish(&job);
    return rc;
}
