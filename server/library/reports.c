/* See reports.h. */
#include "server/library/reports.h"
#include "server/library/making.h"
#include "server/base/id.h"
#include "server/process/rundir.h"

#include <dirent.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define REPORT_BYTES ((size_t)64 << 20)
#define QUEUE 32 /* reports that wait or are made; of one client CLIENT_QUEUE */
#define CLIENT_QUEUE 8
#define PATIENCE_MS 60000 /* after the last question the report is given up */

struct hn_reports {
    const char *state;
    struct hn_loop *loop;
    struct hn_helper *helper;
    struct hn_makings makings; /* by the names of their files; made one after the other */
    bool working;              /* guarded by their lock */
};

int hn_reports_create(const char *state, struct hn_loop *loop, struct hn_helper *helper,
    struct hn_reports **ret, struct hn_error *err) {
    struct hn_reports *r = hn_calloc(1, sizeof *r);
    if (!r)
        return hn_fail(err, HN_E_INTERNAL, "out of memory");
    r->state = state;
    r->loop = loop;
    r->helper = helper;
    r->makings = (struct hn_makings){
        .patience_ms = PATIENCE_MS, .most = QUEUE, .own_most = CLIENT_QUEUE, .what = "reports"};
    hn_makings_init(&r->makings);
    *ret = r;
    return 0;
}

void hn_reports_destroy(struct hn_reports *reports) {
    if (!reports)
        return;
    hn_makings_finish(&reports->makings);
    free(reports);
}

struct kept_report {
    char name[HN_MAKING_NAME];
    struct timespec made;
    int64_t bytes;
};

static int newest_first(const void *a, const void *b) {
    const struct kept_report *x = a, *y = b;
    if (x->made.tv_sec != y->made.tv_sec)
        return x->made.tv_sec < y->made.tv_sec ? 1 : -1;
    return (x->made.tv_nsec < y->made.tv_nsec) - (x->made.tv_nsec > y->made.tv_nsec);
}

/* Removes the oldest past what is kept. */
static void prune(const char *state) {
    char path[HN_PATH_SIZE];
    struct kept_report *list = NULL;
    size_t n = 0, capacity = 0;
    int64_t bytes = 0;
    DIR *dir = hn_state_path(path, state, "reports", NULL, NULL) ? opendir(path) : NULL;
    for (struct dirent *entry; dir && (entry = readdir(dir));) {
        struct stat st;
        if (!hn_state_is_report(entry->d_name) ||
            !hn_state_path(path, state, "reports", entry->d_name, NULL) || stat(path, &st))
            continue;
        if (!hn_grow(&list, &capacity, n + 1, sizeof *list))
            break;
        list[n] = (struct kept_report){.made = st.st_mtim, .bytes = st.st_size};
        memcpy(list[n++].name, entry->d_name, strlen(entry->d_name) + 1);
    }
    if (dir)
        closedir(dir);
    if (n)
        qsort(list, n, sizeof *list, newest_first);
    for (size_t i = 0; i < n; i++) {
        bytes += list[i].bytes;
        if ((i >= HN_REPORTS_KEPT || bytes > HN_REPORTS_BYTES) &&
            hn_state_path(path, state, "reports", list[i].name, NULL))
            unlink(path);
    }
    free(list);
}

/* The data sets may have been deleted while their report was made: then it must not stay. */
static bool still_there(const json_t *data) {
    const char *path = json_string_value(json_object_get(data, "path"));
    return !path || access(path, F_OK) == 0;
}

static int keep(const struct hn_reports *r, const struct hn_making *m, const json_t *report,
    struct hn_error *err) {
    char path[HN_PATH_SIZE];
    char *text = json_dumps(report, JSON_COMPACT | JSON_REAL_PRECISION(15));
    int rc = text && hn_state_path(path, r->state, "reports", m->name, NULL)
        ? hn_file_write_durable(path, text, strlen(text), err)
        : hn_fail(err, HN_E_INTERNAL, "out of memory");
    free(text);
    if (!rc &&
        (!still_there(json_object_get(m->params, "data")) ||
            !still_there(json_object_get(m->params, "other")))) {
        unlink(path);
        rc = hn_fail(err, HN_E_NOT_FOUND, "the data set was deleted");
    }
    if (!rc)
        prune(r->state);
    return rc;
}

struct work {
    struct hn_reports *reports;
    struct hn_making *making;
};

static int take_chunk(void *ud, const json_t *chunk) {
    struct work *w = ud;
    pthread_mutex_lock(&w->reports->makings.lock);
    if (!w->making->told)
        w->making->told = json_pack("{s:s}", "status", "running");
    json_object_update(w->making->told, (json_t *)(uintptr_t)chunk);
    pthread_mutex_unlock(&w->reports->makings.lock);
    return 0;
}

static bool is_unwanted(void *ud) {
    struct work *w = ud;
    pthread_mutex_lock(&w->reports->makings.lock);
    bool unwanted = !w->making->waiting && hn_time_tick() - w->making->asked > PATIENCE_MS;
    pthread_mutex_unlock(&w->reports->makings.lock);
    return unwanted;
}

static void make(struct hn_reports *r, struct hn_making *m) {
    struct work w = {r, m};
    json_t *report = NULL, *details = NULL;
    struct hn_error err = {0};
    const struct hn_question question = {.op = "dataset.report",
        .params = m->params,
        .asker = &m->asker,
        .chunk = take_chunk,
        .unwanted = is_unwanted,
        .ud = &w};
    int rc = hn_helper_call(r->helper, &question, &report, &details, &err);
    if (!rc)
        rc = keep(r, m, report, &err);
    json_decref(report);
    hn_making_end(&r->makings, m, rc, &err, details);
}

static struct hn_making *next_one(struct hn_reports *r) {
    pthread_mutex_lock(&r->makings.lock);
    struct hn_making *m = r->makings.first;
    while (m && m->done)
        m = m->next;
    r->working = m != NULL;
    pthread_mutex_unlock(&r->makings.lock);
    return m;
}

static void work(void *arg) {
    for (struct hn_making *m; (m = next_one(arg));)
        make(arg, m);
}

static void begin_work(void *arg) { /* loop thread */
    struct hn_reports *r = arg;
    hn_loop_work_waiting(r->loop, work, NULL, r);
}

/* The file's name begins with the hashes of what the report is about; another build may find
 * something else in it. */
static int name_of(const struct hn_report_question *q, const json_t *params,
    char ret[HN_MAKING_NAME], struct hn_error *err) {
    char hex[HN_SHA256_HEX];
    const json_t *data = json_object_get(params, "data"), *other = json_object_get(params, "other");
    json_t *about = json_pack("{s:s,s:O,s:O?,s:O?}", "version", hn_build_name(), "data", data,
        "other", json_is_null(other) ? NULL : other, "model",
        q->model ? json_object_get(q->model, "sha256") : NULL);
    char *text = about ? hn_json_canonical(about) : NULL;
    json_decref(about);
    if (!text)
        return hn_fail(err, HN_E_INTERNAL, "out of memory");
    hn_sha256(text, strlen(text), hex);
    free(text);
    const char *own = json_string_value(json_object_get(data, "sha256")),
               *their = json_string_value(json_object_get(other, "sha256"));
    int n = snprintf(
        ret, HN_MAKING_NAME, "%s-%s-%.32s.json", own ? own : "", their ? their : "none", hex);
    return n > 0 && n < HN_MAKING_NAME ? 0 : hn_fail(err, HN_E_INTERNAL, "path too long");
}

static json_t *params_of(const struct hn_reports *r, const struct hn_report_question *q) {
    char path[HN_PATH_SIZE];
    bool model = q->model && hn_model_path(path, r->state, q->model);
    return json_pack("{s:o,s:o,s:o}", "data", hn_dataset_params(r->state, q->data), "other",
        q->other ? hn_dataset_params(r->state, q->other) : json_null(), "model",
        model ? json_pack("{s:s}", "path", path) : json_null());
}

static bool load(const struct hn_reports *r, const char *name, json_t **ret) {
    char path[HN_PATH_SIZE];
    return hn_state_path(path, r->state, "reports", name, NULL) && access(path, R_OK) == 0 &&
        hn_json_load(path, REPORT_BYTES, ret, NULL) == 0;
}

/* With the lock held. The one of that name, or a new one at the end; takes `params` over. */
static struct hn_making *find_or_add(struct hn_reports *r, const char *name, json_t *params,
    const struct hn_asker *asker, struct hn_error *err) {
    struct hn_making *m = hn_making_find(&r->makings, name);
    if (m) {
        json_decref(params);
        return m;
    }
    m = hn_making_add(&r->makings, name, params, asker, err);
    if (m && !r->working) {
        r->working = true;
        hn_loop_post(r->loop, begin_work, r);
    }
    return m;
}

static json_t *progress_json(const struct hn_making *m) {
    json_t *plan = json_object_get(m->told, "plan");
    return json_pack("{s:s,s:f,s:O?}", "status", "running", "progress",
        json_number_value(json_object_get(m->told, "progress")), "plan", plan);
}

int hn_report_ask(struct hn_reports *reports, const struct hn_report_question *question,
    json_t **ret, json_t **ret_progress, json_t **ret_details, struct hn_error *err) {
    char name[HN_MAKING_NAME];
    json_t *params = params_of(reports, question);
    int rc = params ? name_of(question, params, name, err)
                    : hn_fail(err, HN_E_INTERNAL, "out of memory");
    *ret = *ret_progress = NULL;
    if (rc || load(reports, name, ret)) {
        json_decref(params);
        return rc;
    }
    pthread_mutex_lock(&reports->makings.lock);
    struct hn_making *m = find_or_add(reports, name, params, question->asker, err);
    rc = m ? 0 : err ? err->code : HN_E_BUSY;
    if (m)
        hn_making_wait(&reports->makings, m, question->asker, question->wait_ms);
    bool done = m && m->done;
    if (done && m->rc)
        rc = hn_making_fault(m, ret_details, err);
    if (m && !done && !(*ret_progress = progress_json(m)))
        rc = hn_fail(err, HN_E_INTERNAL, "out of memory");
    hn_makings_drop(&reports->makings, done ? m : NULL);
    pthread_mutex_unlock(&reports->makings.lock);
    if (done && !rc && !load(reports, name, ret))
        rc = hn_fail(err, HN_E_NOT_FOUND, "the report was just removed: ask again");
    return rc;
}
