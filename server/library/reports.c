/* See reports.h. */
#include "server/library/reports.h"
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
#define TICK_MS 250
#define NAME_SIZE 256

/* A report that is being made, or that failed and is told once. */
struct making {
    char name[NAME_SIZE]; /* of its file */
    json_t *params, *plan;
    struct hn_asker asker; /* who asked first */
    double progress;
    int64_t asked; /* tick of the last question */
    int waiting;   /* threads that look at it */
    bool done;
    int rc;
    struct hn_error err;
    json_t *details;
    struct making *next;
};

struct hn_reports {
    const char *state;
    struct hn_loop *loop;
    struct hn_helper *helper;
    pthread_mutex_t lock; /* guards what follows */
    pthread_cond_t changed;
    struct making *first; /* in the order in which they are made */
    bool working;
};

int hn_reports_create(const char *state, struct hn_loop *loop, struct hn_helper *helper,
    struct hn_reports **ret, struct hn_error *err) {
    struct hn_reports *r = hn_calloc(1, sizeof *r);
    if (!r)
        return hn_fail(err, HN_E_INTERNAL, "out of memory");
    r->state = state;
    r->loop = loop;
    r->helper = helper;
    pthread_mutex_init(&r->lock, NULL);
    pthread_cond_init(&r->changed, NULL);
    *ret = r;
    return 0;
}

static void destroy_making(struct making *m) {
    json_decref(m->params);
    json_decref(m->plan);
    json_decref(m->details);
    free(m);
}

void hn_reports_destroy(struct hn_reports *reports) {
    if (!reports)
        return;
    for (struct making *m = reports->first, *next; m; m = next) {
        next = m->next;
        destroy_making(m);
    }
    pthread_cond_destroy(&reports->changed);
    pthread_mutex_destroy(&reports->lock);
    free(reports);
}

/* Removes those that nobody waits for and that are done: told, or not asked for in a long time. */
static void drop_done(struct hn_reports *r, const struct making *told) {
    for (struct making **link = &r->first, *m; (m = *link);) {
        bool old = !m->rc || m == told || hn_time_tick() - m->asked > PATIENCE_MS;
        if (m->done && !m->waiting && old) {
            *link = m->next;
            destroy_making(m);
        } else {
            link = &m->next;
        }
    }
}

struct kept_report {
    char name[NAME_SIZE];
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

static int keep(const struct hn_reports *r, const struct making *m, const json_t *report,
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
    struct making *making;
};

static int take_chunk(void *ud, const json_t *chunk) {
    struct work *w = ud;
    json_t *plan = json_object_get(chunk, "plan");
    pthread_mutex_lock(&w->reports->lock);
    w->making->progress = json_number_value(json_object_get(chunk, "progress"));
    if (plan && !w->making->plan)
        w->making->plan = json_incref(plan);
    pthread_mutex_unlock(&w->reports->lock);
    return 0;
}

static bool is_unwanted(void *ud) {
    struct work *w = ud;
    pthread_mutex_lock(&w->reports->lock);
    bool unwanted = !w->making->waiting && hn_time_tick() - w->making->asked > PATIENCE_MS;
    pthread_mutex_unlock(&w->reports->lock);
    return unwanted;
}

static void make(struct hn_reports *r, struct making *m) {
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
    pthread_mutex_lock(&r->lock);
    m->rc = rc;
    m->err = err;
    m->details = details;
    m->done = true;
    drop_done(r, NULL);
    pthread_cond_broadcast(&r->changed);
    pthread_mutex_unlock(&r->lock);
}

static struct making *next_one(struct hn_reports *r) {
    pthread_mutex_lock(&r->lock);
    struct making *m = r->first;
    while (m && m->done)
        m = m->next;
    r->working = m != NULL;
    pthread_mutex_unlock(&r->lock);
    return m;
}

static void work(void *arg) {
    for (struct making *m; (m = next_one(arg));)
        make(arg, m);
}

static void begin_work(void *arg) { /* loop thread */
    struct hn_reports *r = arg;
    hn_loop_work_waiting(r->loop, work, NULL, r);
}

/* The file's name begins with the hashes of what the report is about; another build may find
 * something else in it. */
static int name_of(const struct hn_report_question *q, const json_t *params, char ret[NAME_SIZE],
    struct hn_error *err) {
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
    int n =
        snprintf(ret, NAME_SIZE, "%s-%s-%.32s.json", own ? own : "", their ? their : "none", hex);
    return n > 0 && n < NAME_SIZE ? 0 : hn_fail(err, HN_E_INTERNAL, "path too long");
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
static struct making *find_or_add(struct hn_reports *r, const char *name, json_t *params,
    const struct hn_asker *asker, struct hn_error *err) {
    size_t all = 0, own = 0;
    drop_done(r, NULL);
    struct making **link = &r->first;
    for (; *link && strcmp((*link)->name, name) != 0; link = &(*link)->next) {
        all++;
        own += strcmp((*link)->asker.client, asker->client) == 0;
    }
    if (*link || all >= QUEUE || own >= CLIENT_QUEUE) {
        json_decref(params);
        if (!*link)
            hn_fail(err, HN_E_BUSY, "%zu reports wait to be made: ask again later", all);
        return *link;
    }
    struct making *m = hn_calloc(1, sizeof *m);
    if (!m) {
        json_decref(params);
        hn_fail(err, HN_E_INTERNAL, "out of memory");
        return NULL;
    }
    snprintf(m->name, sizeof m->name, "%s", name);
    snprintf(m->asker.client, sizeof m->asker.client, "%s", asker->client);
    m->params = params;
    *link = m;
    if (!r->working) {
        r->working = true;
        hn_loop_post(r->loop, begin_work, r);
    }
    return m;
}

/* With the lock held: until it is done, the time is over, or the client has gone. */
static void wait_for(struct hn_reports *r, struct making *m, const struct hn_report_question *q) {
    int64_t until = hn_time_tick() + q->wait_ms, now;
    m->waiting++;
    while (!m->done && (now = hn_time_tick()) < until && !atomic_load(&q->asker->gone)) {
        struct timespec tick = hn_time_later(until - now < TICK_MS ? until - now : TICK_MS);
        pthread_cond_clockwait(&r->changed, &r->lock, CLOCK_MONOTONIC, &tick);
    }
    m->waiting--;
    m->asked = hn_time_tick();
}

static json_t *progress_json(const struct making *m) {
    return json_pack(
        "{s:s,s:f,s:O?}", "status", "running", "progress", m->progress, "plan", m->plan);
}

int hn_report_ask(struct hn_reports *reports, const struct hn_report_question *question,
    json_t **ret, json_t **ret_progress, json_t **ret_details, struct hn_error *err) {
    char name[NAME_SIZE];
    json_t *params = params_of(reports, question);
    int rc = params ? name_of(question, params, name, err)
                    : hn_fail(err, HN_E_INTERNAL, "out of memory");
    *ret = *ret_progress = NULL;
    if (rc || load(reports, name, ret)) {
        json_decref(params);
        return rc;
    }
    pthread_mutex_lock(&reports->lock);
    struct making *m = find_or_add(reports, name, params, question->asker, err);
    rc = m ? 0 : err ? err->code : HN_E_BUSY;
    if (m)
        wait_for(reports, m, question);
    bool done = m && m->done;
    if (done && m->rc) {
        rc = m->rc;
        if (err)
            *err = m->err;
        *ret_details = m->details ? json_incref(m->details) : NULL;
    }
    if (m && !done && !(*ret_progress = progress_json(m)))
        rc = hn_fail(err, HN_E_INTERNAL, "out of memory");
    drop_done(reports, done ? m : NULL);
    pthread_mutex_unlock(&reports->lock);
    if (done && !rc && !load(reports, name, ret))
        rc = hn_fail(err, HN_E_NOT_FOUND, "the report was just removed: ask again");
    return rc;
}
