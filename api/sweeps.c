/* /sweeps: experiments (server/sweeps/sweeps.h). */
#include "api/handlers.h"
#include "server/sweeps/compare.h"
#include "server/sweeps/plan.h"
#include "server/sweeps/sweeps.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* The sweep that the path names; the caller finishes it in every case. */
static int load(struct hn_request *req, struct hn_sweep *ret, struct hn_error *err) {
    *ret = (struct hn_sweep){0};
    struct hn_db *db = hn_request_db(req, err);
    return db ? hn_db_sweep_get(db, req->params[0], ret, err) : HN_E_INTERNAL;
}

static int reply(struct hn_request *req, int status, const char *id, struct hn_error *err) {
    struct hn_sweep sweep = {0};
    json_t *shown = NULL;
    struct hn_db *db = hn_request_db(req, err);
    int rc = db ? hn_db_sweep_get(db, id, &sweep, err) : HN_E_INTERNAL;
    if (!rc)
        rc = hn_sweep_json(db, &sweep, &shown, err);
    hn_sweep_finish(&sweep);
    return rc ? rc : hn_reply_json(req, status, shown, err);
}

/* What it would take: the plan, without the job that was sent. */
static int reply_plan(
    struct hn_request *req, const json_t *body, json_t **ret_details, struct hn_error *err) {
    struct hn_submitter who = hn_access_submitter(req);
    json_t *plan = NULL;
    int rc = hn_sweep_plan(req->server, &who, body, &plan, ret_details, err);
    if (rc)
        return rc;
    json_object_del(plan, "chosen");
    return hn_reply_json(req, 200, plan, err);
}

int hn_sweeps_create(struct hn_request *req, struct hn_error *err) {
    struct hn_submitter who = hn_access_submitter(req);
    char id[HN_ID_SIZE], *location;
    bool dry_run = false;
    json_t *body = NULL, *details = NULL;
    int rc = hn_query_flag(req, "dry_run", &dry_run, err);
    if (!rc)
        rc = hn_body_object(req, &body, err);
    if (!rc)
        rc = dry_run ? reply_plan(req, body, &details, err)
                     : hn_sweep_submit(req->server, &who, body, id, &details, err);
    json_decref(body);
    if (details) {
        json_decref(req->details);
        req->details = details;
    }
    if (rc || dry_run)
        return rc;
    hn_request_object(req, id);
    if ((location = hn_request_alloc(req, 64))) {
        snprintf(location, 64, "/sweeps/%s", id);
        hn_reply_header(req, "Location", location);
    }
    return reply(req, 201, id, err);
}

struct page {
    struct hn_db *db;
    json_t *data;
    struct hn_error *err;
    int rc;
};

static void add_sweep(void *ud, const struct hn_sweep *sweep) {
    struct page *page = ud;
    json_t *shown = NULL;
    if (!page->rc && !(page->rc = hn_sweep_json(page->db, sweep, &shown, page->err)))
        json_array_append_new(page->data, shown);
}

int hn_sweeps_list(struct hn_request *req, struct hn_error *err) {
    struct hn_reach reach = hn_access_reach(req);
    int64_t limit;
    const char *after;
    bool more = false;
    int rc = hn_query_page(req, 20, 200, &limit, &after, err);
    struct page page = {.db = rc ? NULL : hn_request_db(req, err), .err = err};
    if (!page.db)
        return rc ? rc : HN_E_INTERNAL;
    page.data = json_array();
    rc = hn_db_sweep_list(page.db, &reach, after, limit, add_sweep, &page, &more, err);
    if (!rc)
        rc = page.rc;
    if (rc) {
        json_decref(page.data);
        return rc;
    }
    size_t n = json_array_size(page.data);
    return hn_reply_list(req, page.data,
        more && n ? json_string_value(json_object_get(json_array_get(page.data, n - 1), "id"))
                  : NULL,
        err);
}

int hn_sweeps_get(struct hn_request *req, struct hn_error *err) {
    return reply(req, 200, req->params[0], err);
}

static int ask(struct hn_request *req, const char *verb, struct hn_error *err) {
    int rc = hn_sweep_ask(req->server, req->params[0], verb, err);
    return rc ? rc : reply(req, 200, req->params[0], err);
}

int hn_sweeps_cancel(struct hn_request *req, struct hn_error *err) {
    return ask(req, "cancel", err);
}

int hn_sweeps_pause(struct hn_request *req, struct hn_error *err) {
    return ask(req, "pause", err);
}

int hn_sweeps_resume(struct hn_request *req, struct hn_error *err) {
    return ask(req, "resume", err);
}

int hn_sweeps_delete(struct hn_request *req, struct hn_error *err) {
    int rc = hn_store_call(
        req->server->store, hn_db_sweep_delete, (void *)(uintptr_t)req->params[0], err);
    if (!rc)
        hn_reply_empty(req, 204);
    return rc;
}

/* A CSV cell in quotes where it needs them; not a formula to a spreadsheet. */
static void put_cell(struct hn_buf *out, const char *text) {
    bool plain = !strpbrk(text, ",\"\r\n") && !strchr("=+-@", text[0]);
    bool number = *text == '-' && text[strspn(text, "-+.0123456789e")] == 0;
    if (!*text || plain || number) {
        hn_buf_text(out, text);
        return;
    }
    hn_buf_char(out, '"');
    if (strchr("=+-@", text[0]))
        hn_buf_char(out, '\'');
    for (const char *s = text; *s; s++) {
        if (*s == '"')
            hn_buf_char(out, '"');
        hn_buf_char(out, *s);
    }
    hn_buf_char(out, '"');
}

static void put_value(struct hn_buf *out, const json_t *value) {
    char *text = !value || json_is_null(value)
        ? NULL
        : json_dumps(value, JSON_ENCODE_ANY | JSON_COMPACT | JSON_REAL_PRECISION(15));
    put_cell(out, json_is_string(value) ? json_string_value(value) : text ? text : "");
    free(text);
}

/* One line a trial; a column for each name in settings. */
static int reply_csv(struct hn_request *req, json_t *trials, struct hn_error *err) {
    static const char *const columns[] = {"number", "job", "role", "name", "status", "value",
        "best_step", "step", "total_steps", "rows", "rung", "seconds", "why"};
    json_t *trial, *names = json_object(), *value;
    struct hn_buf out = {0};
    const char *name;
    size_t i;
    json_array_foreach(trials, i, trial)
        json_object_update(names, json_object_get(trial, "settings"));
    for (size_t k = 0; k < sizeof columns / sizeof columns[0]; k++)
        hn_buf_printf(&out, "%s%s", k ? "," : "", columns[k]);
    json_object_foreach(names, name, value) {
        hn_buf_char(&out, ',');
        put_cell(&out, name);
    }
    hn_buf_text(&out, "\r\n");
    json_array_foreach(trials, i, trial) {
        for (size_t k = 0; k < sizeof columns / sizeof columns[0]; k++) {
            if (k)
                hn_buf_char(&out, ',');
            put_value(&out, json_object_get(trial, columns[k]));
        }
        json_object_foreach(names, name, value) {
            hn_buf_char(&out, ',');
            put_value(&out, json_object_get(json_object_get(trial, "settings"), name));
        }
        hn_buf_text(&out, "\r\n");
    }
    json_decref(names);
    json_decref(trials);
    if (out.failed) {
        hn_buf_free(&out);
        return hn_fail(err, HN_E_INTERNAL, "out of memory");
    }
    hn_reply_bytes(req, 200, "text/csv; charset=utf-8", out.data, out.size);
    return 0;
}

int hn_sweeps_trials(struct hn_request *req, struct hn_error *err) {
    static const char *const formats[] = {"json", "csv", NULL};
    const char *format = "json";
    struct hn_sweep sweep;
    json_t *trials = NULL;
    int rc = load(req, &sweep, err);
    if (!rc)
        rc = hn_query_word(req, "format", formats, &format, err);
    if (!rc)
        rc = hn_sweep_trials_json(hn_request_db(req, err), &sweep, &trials, err);
    hn_sweep_finish(&sweep);
    if (rc)
        return rc;
    return format[0] == 'c' ? reply_csv(req, trials, err) : hn_reply_list(req, trials, NULL, err);
}

/* What the folds' rows are read from: their jobs, and the names of the labels. */
struct folds {
    struct hn_sweep_trials trials;
    struct hn_sweep_plan plan;
    struct hn_compared runs[HN_SWEEP_FOLDS_MAX];
    size_t n;
    json_t *run; /* of a job: its labels */
};

static void folds_finish(struct folds *f) {
    hn_sweep_trials_finish(&f->trials);
    hn_sweep_plan_finish(&f->plan);
    json_decref(f->run);
}

/* The caller finishes it in every case. */
static int find_folds(
    struct hn_request *req, const struct hn_sweep *sweep, struct folds *f, struct hn_error *err) {
    struct hn_db *db = hn_request_db(req, err);
    struct hn_job job;
    int rc = hn_sweep_plan_open(sweep->plan, &f->plan, err);
    if (!rc && f->plan.kind != HN_SWEEP_FOLDS) {
        hn_fail(err, HN_E_CONFLICT, "sweep %s is of kind %s", sweep->id, sweep->kind);
        hn_error_hint(err, "only folds hold out every row once");
        rc = HN_E_CONFLICT;
    }
    if (!rc)
        rc = hn_db_trials(db, sweep->n, f->plan.metric, f->plan.smaller, &f->trials, err);
    for (size_t i = 0; !rc && i < f->trials.n && f->n < HN_SWEEP_FOLDS_MAX; i++) {
        const struct hn_sweep_trial *t = &f->trials.list[i];
        if (t->status && strcmp(t->status, "succeeded") == 0)
            f->runs[f->n++] = (struct hn_compared){.job = t->job, .step = t->best_step};
    }
    if (!rc && !f->n)
        rc = hn_fail(err, HN_E_CONFLICT, "no fold of sweep %s has ended yet", sweep->id);
    hn_job_init(&job);
    if (!rc)
        rc = hn_db_job_get(db, f->runs[0].job, &job, err);
    if (!rc)
        rc = hn_json_parse(job.run, strlen(job.run), &f->run, err);
    hn_job_finish(&job);
    return rc;
}

/* Made when it is asked for; gone from the disk as soon as it is open. */
static int reply_rows(
    struct hn_request *req, const struct folds *f, bool suspects_first, struct hn_error *err) {
    char id[HN_ID_SIZE], path[HN_PATH_SIZE];
    struct stat st;
    json_t *told = NULL;
    const json_t *labels = json_object_get(f->run, "labels");
    hn_id_make("oof", id);
    if (!hn_state_path(path, req->server->config->state, "tmp", id, NULL))
        return hn_fail(err, HN_E_INTERNAL, "path too long");
    int rc = hn_compare_folds(req->server, &req->asker, f->runs, f->n, f->plan.metric, path,
        suspects_first, json_is_array(labels) ? labels : NULL, &told, err);
    json_decref(told);
    int fd = rc ? -1 : open(path, O_RDONLY | O_CLOEXEC);
    int number = errno;
    unlink(path);
    if (rc)
        return rc;
    if (fd < 0 || fstat(fd, &st)) {
        if (fd >= 0)
            close(fd);
        return hn_fail_errno(err, number, "cannot read the rows");
    }
    hn_reply_file(req, 200, "application/x-ndjson", fd, 0, (uint64_t)st.st_size);
    return 0;
}

int hn_sweeps_rows(struct hn_request *req, struct hn_error *err) {
    static const char *const orders[] = {"fold", "mislabelled", NULL};
    const char *order = "fold";
    int rc = hn_query_word(req, "sort", orders, &order, err);
    if (rc)
        return rc;
    struct hn_sweep sweep;
    struct folds *f = hn_calloc(1, sizeof *f);
    rc = f ? load(req, &sweep, err) : hn_fail(err, HN_E_INTERNAL, "out of memory");
    if (!f)
        return rc;
    if (!rc)
        rc = find_folds(req, &sweep, f, err);
    if (!rc)
        rc = reply_rows(req, f, order[0] == 'm', err);
    hn_sweep_finish(&sweep);
    folds_finish(f);
    free(f);
    return rc;
}
