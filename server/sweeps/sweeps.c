/* See sweeps.h. One thread; whatever it decides, it can decide again. */
#include "server/sweeps/sweeps.h"
#include "server/base/log.h"
#include "server/process/rundir.h"
#include "server/server.h"
#include "server/sweeps/next.h"
#include "server/sweeps/report.h"

#include <math.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define AGAIN_MS 5000 /* until what could not be submitted is tried again */

struct hn_sweeps {
    struct hn_server *server;
    struct hn_subscription subscription;
    pthread_t thread;
    bool started;
    pthread_mutex_t lock; /* guards what follows */
    pthread_cond_t changed;
    bool dirty, stop;
};

/* One sweep as it is looked at. */
struct looked {
    struct hn_server *server;
    struct hn_sweep sweep;
    struct hn_sweep_plan plan;
    struct hn_sweep_trials trials;
    struct hn_earlier earlier;
};

/* An hn_store_commit_fn: trials may have ended or paused. */
static void on_commit(void *arg, const char *job, unsigned what) {
    struct hn_sweeps *all = arg;
    (void)job;
    if (!(what & (HN_COMMIT_STATE | HN_COMMIT_ENDED | HN_COMMIT_SWEEP)))
        return;
    pthread_mutex_lock(&all->lock);
    all->dirty = true;
    pthread_cond_signal(&all->changed);
    pthread_mutex_unlock(&all->lock);
}

static void looked_finish(struct looked *l) {
    hn_sweep_trials_finish(&l->trials);
    hn_sweep_plan_finish(&l->plan);
    hn_sweep_finish(&l->sweep);
    hn_earlier_finish(&l->earlier);
}

/* The caller finishes it in every case. */
static int look(
    struct hn_server *server, const char *id, struct looked *ret, struct hn_error *err) {
    *ret = (struct looked){.server = server};
    struct hn_db *db = hn_store_read(server->store, err);
    int rc = db ? hn_db_sweep_get(db, id, &ret->sweep, err) : HN_E_INTERNAL;
    if (!rc)
        rc = hn_sweep_plan_open(ret->sweep.plan, &ret->plan, err);
    if (!rc)
        rc = hn_db_trials(db, ret->sweep.n, ret->plan.metric, ret->plan.smaller, &ret->trials, err);
    if (!rc)
        rc = hn_earlier_read(db, &ret->sweep, &ret->plan, &ret->earlier, err);
    hn_store_release(server->store, db);
    return rc;
}

static char *text_of(json_t *value) {
    char *text = json_dumps(value, JSON_COMPACT | JSON_REAL_PRECISION(17) | JSON_ENCODE_ANY);
    json_decref(value);
    return text;
}

#define NAME_BYTES 150 /* of the sweep's name, at most, in those of its trials */

/* The job of a trial: the request with its settings, named after the sweep and its number. */
static json_t *trial_request(
    const struct looked *l, const struct hn_sweep_step *step, struct hn_error *err) {
    json_t *request = json_deep_copy((json_t *)(uintptr_t)l->plan.job);
    const char *name = l->sweep.name ? l->sweep.name : l->sweep.id;
    if (hn_settings_apply(step->settings, request, err)) {
        json_decref(request);
        return NULL;
    }
    size_t size = hn_utf8_valid(name, strnlen(name, NAME_BYTES));
    json_object_set_new(request, "name",
        json_sprintf("%.*s, trial %lld", (int)size, name, (long long)step->number));
    return request;
}

/* What may be different a moment later: the trial is tried again. */
static bool is_passing(int code) {
    static const int passing[] = {
        HN_E_BUSY, HN_E_QUOTA_EXCEEDED, HN_E_DISK_FULL, HN_E_INTERNAL, HN_E_RATE_LIMITED};
    for (size_t i = 0; i < sizeof passing / sizeof passing[0]; i++)
        if (code == passing[i])
            return true;
    return false;
}

static int explain(
    const struct looked *l, const char *code, const char *message, struct hn_error *err) {
    struct hn_sweep_move move = {.id = l->sweep.id, .code = code, .message = message};
    bool same = l->sweep.reason_code && code && strcmp(l->sweep.reason_code, code) == 0 &&
        l->sweep.reason_message && strcmp(l->sweep.reason_message, message) == 0;
    if (same || (!code && !l->sweep.reason_code))
        return 0;
    return hn_store_call(l->server->store, hn_db_sweep_explain, &move, err);
}

/* A trial that cannot be planned is a result: it has no job, and says why. */
static int refuse_trial(const struct looked *l, struct hn_trial_insert *trial,
    const struct hn_error *why, struct hn_error *err) {
    char text[1600];
    snprintf(text, sizeof text, "%s: %s%s%s", hn_error_name(why->code), why->message,
        *why->hint ? "; " : "", why->hint);
    trial->why = text;
    int rc = hn_store_call(l->server->store, hn_db_trial_insert, trial, err);
    trial->why = NULL;
    return rc;
}

static int submit(const struct looked *l, const struct hn_sweep_step *step, json_t *request,
    struct hn_trial_insert *trial, struct hn_error *err) {
    const struct hn_submitter who = {.owner = l->sweep.owner,
        .scope = l->sweep.scope,
        /* "": no keys were required when it was sent */
        .admin = !*l->sweep.scope || strcmp(l->sweep.scope, "admin") == 0,
        .reach = {l->sweep.sees_all, l->sweep.owner, l->sweep.team}};
    struct hn_submission s = {.request = request,
        .trial = trial,
        .rungs = step->pauses ? l->plan.rungs : NULL,
        .n_rungs = step->pauses ? l->plan.n_rungs : 0};
    struct hn_error why = {0};
    int rc = hn_submit(l->server, &who, &s, &why);
    json_decref(s.details);
    if (rc && !is_passing(rc))
        return refuse_trial(l, trial, &why, err);
    if (rc) {
        explain(l, "waiting_to_submit", why.message, NULL);
        *err = why;
    }
    return rc ? rc : explain(l, NULL, NULL, err);
}

static int start_trial(const struct looked *l, struct hn_sweep_step *step, struct hn_error *err) {
    json_t *point = json_array(), *request = trial_request(l, step, err);
    for (size_t i = 0; i < l->plan.space.n; i++)
        json_array_append_new(
            point, isnan(step->point[i]) ? json_null() : json_real(step->point[i]));
    char *points = text_of(point), *settings = text_of(json_incref(step->settings));
    struct hn_trial_insert trial = {.sweep = l->sweep.id,
        .number = step->number,
        .role = step->role,
        .settings = settings,
        .point = points};
    int rc = !request        ? err->code
        : points && settings ? submit(l, step, request, &trial, err)
                             : hn_fail(err, HN_E_INTERNAL, "out of memory");
    json_decref(request);
    free(points);
    free(settings);
    return rc;
}

/* Of equal values the lower number went first (asha.h). Their losses do not decide: early in a run
 * the trials that have hardly moved have the smallest (bench/SPEED.md, tuning: 0 of 40 searches
 * found what numbers found in 33). */
static int promote(const struct looked *l, const struct hn_sweep_step *step, struct hn_error *err) {
    const struct hn_sweep_trial *t = &l->trials.list[step->index];
    struct hn_trial_promote p = {
        .sweep = l->sweep.id, .job = t->job, .number = t->number, .rung = (int64_t)step->rung};
    /* the next of its own stops: where rungs of a short run fall together it has fewer */
    for (size_t i = t->n_rungs; i-- > 0 && !step->to_end;)
        if (t->rungs[i] > t->step)
            p.stop_at = t->rungs[i];
    return hn_store_call(l->server->store, hn_db_trial_promote, &p, err);
}

/* All its jobs that have not ended get the verb, except for those that `held` says stay. */
static int ask_jobs(struct looked *l, const char *verb, bool held, struct hn_error *err) {
    int rc = 0;
    for (size_t i = 0; i < l->trials.n && !rc; i++) {
        const struct hn_sweep_trial *t = &l->trials.list[i];
        enum hn_trial_phase phase = hn_trial_phase(t);
        struct hn_job_ask ask = {t->job, verb};
        if (phase == HN_TRIAL_GOOD || phase == HN_TRIAL_BAD || (phase == HN_TRIAL_HELD && !held))
            continue;
        rc = hn_store_call(l->server->store, hn_db_job_ask, &ask, err);
        rc = rc == HN_E_CONFLICT ? 0 : rc; /* it has ended meanwhile */
    }
    return rc;
}

/* Checkpoints of trials that are not kept: results and curves stay. */
static void remove_checkpoints(const struct looked *l, int64_t best) {
    for (size_t i = 0; i < l->trials.n; i++) {
        const struct hn_sweep_trial *t = &l->trials.list[i];
        char path[HN_PATH_SIZE];
        if (strcmp(l->plan.keep, "all") == 0 || !t->job[0] ||
            (strcmp(l->plan.keep, "best") == 0 && t->number == best))
            continue;
        if (hn_state_path(path, l->server->config->state, "runs", t->job, "checkpoints"))
            hn_dir_remove(path, NULL);
    }
}

static int finish(struct looked *l, struct hn_error *err) {
    json_t *report = NULL;
    int64_t best = -1;
    int rc = ask_jobs(l, "cancel", true, err); /* those that wait at rungs were not good enough */
    if (!rc)
        rc = hn_sweep_report(l->server, &l->sweep, &l->plan, &l->trials, &report, &best, err);
    if (rc)
        return rc;
    char *text = text_of(report);
    struct hn_sweep_move move = {.id = l->sweep.id,
        .status = best >= 0 ? "succeeded" : "failed",
        .code = best >= 0 ? NULL : "no_trial_succeeded",
        .message = best >= 0 ? NULL : "no trial ended with a result: see why in its trials",
        .result = text};
    rc = text ? hn_store_call(l->server->store, hn_db_sweep_move, &move, err)
              : hn_fail(err, HN_E_INTERNAL, "out of memory");
    free(text);
    if (!rc)
        remove_checkpoints(l, best);
    if (!rc)
        hn_log(HN_LOG_INFO, "sweep ended", "sweep", l->sweep.id, "status", move.status, NULL);
    return rc;
}

/* Does one thing; *ret_more: there may be another. */
static int advance(struct hn_server *server, const char *id, bool *ret_more, struct hn_error *err) {
    struct looked l;
    struct hn_sweep_step step = {0};
    *ret_more = false;
    int rc = look(server, id, &l, err);
    if (!rc && strcmp(l.sweep.status, "queued") == 0) {
        struct hn_sweep_move move = {.id = id, .status = "running"};
        rc = hn_store_call(server->store, hn_db_sweep_move, &move, err);
        *ret_more = !rc;
    } else if (!rc && strcmp(l.sweep.status, "running") == 0) {
        rc = hn_sweep_next(&l.plan, &l.trials, &l.earlier, &step, err);
        if (!rc && step.act == HN_SWEEP_START)
            rc = start_trial(&l, &step, err);
        else if (!rc && step.act == HN_SWEEP_PROMOTE)
            rc = promote(&l, &step, err);
        else if (!rc && step.act == HN_SWEEP_DONE)
            rc = finish(&l, err);
        *ret_more = !rc && (step.act == HN_SWEEP_START || step.act == HN_SWEEP_PROMOTE);
        json_decref(step.settings);
    }
    looked_finish(&l);
    return rc;
}

static bool is_stopping(struct hn_sweeps *all) {
    pthread_mutex_lock(&all->lock);
    bool stop = all->stop;
    pthread_mutex_unlock(&all->lock);
    return stop || atomic_load(&all->server->draining);
}

/* True when something could not be done and is to be tried again. */
static bool advance_all(struct hn_sweeps *all) {
    struct hn_error err = {0};
    json_t *ids = NULL, *id;
    size_t i;
    bool again = false;
    struct hn_db *db = hn_store_read(all->server->store, &err);
    if (!db || hn_db_sweeps_unended(db, &ids, &err))
        again = true;
    hn_store_release(all->server->store, db);
    json_array_foreach(ids, i, id) {
        bool more = true;
        while (more && !is_stopping(all)) {
            struct hn_error problem = {0};
            if (!advance(all->server, json_string_value(id), &more, &problem))
                continue;
            again = true;
            if (!is_passing(problem.code) || problem.code == HN_E_INTERNAL)
                hn_log(HN_LOG_ERROR, "a sweep cannot go on", "sweep", json_string_value(id),
                    "error", problem.message, NULL);
        }
    }
    json_decref(ids);
    return again;
}

static void *run(void *arg) {
    struct hn_sweeps *all = arg;
    bool again = false;
    pthread_mutex_lock(&all->lock);
    while (!all->stop) {
        struct timespec until = hn_time_later(AGAIN_MS);
        if (!all->dirty && again)
            again = pthread_cond_clockwait(&all->changed, &all->lock, CLOCK_MONOTONIC, &until) == 0;
        else if (!all->dirty)
            pthread_cond_wait(&all->changed, &all->lock);
        if (all->stop)
            break;
        all->dirty = false;
        pthread_mutex_unlock(&all->lock);
        again = advance_all(all);
        pthread_mutex_lock(&all->lock);
    }
    pthread_mutex_unlock(&all->lock);
    return NULL;
}

int hn_sweeps_start(struct hn_server *server, struct hn_sweeps **ret, struct hn_error *err) {
    struct hn_sweeps *all = hn_calloc(1, sizeof *all);
    sigset_t set, old;
    if (!all)
        return hn_fail(err, HN_E_INTERNAL, "out of memory");
    all->server = server;
    all->dirty = true; /* sweeps that were on their way */
    pthread_mutex_init(&all->lock, NULL);
    pthread_cond_init(&all->changed, NULL);
    all->subscription = (struct hn_subscription){.fn = on_commit, .ud = all};
    hn_store_subscribe(server->store, &all->subscription);
    sigfillset(&set);
    pthread_sigmask(SIG_SETMASK, &set, &old); /* signals belong to the loop */
    all->started = pthread_create(&all->thread, NULL, run, all) == 0;
    pthread_sigmask(SIG_SETMASK, &old, NULL);
    *ret = all;
    return all->started ? 0 : hn_fail(err, HN_E_INTERNAL, "cannot start the sweeps' thread");
}

void hn_sweeps_stop(struct hn_sweeps *all) {
    if (!all)
        return;
    hn_store_unsubscribe(all->server->store, &all->subscription);
    pthread_mutex_lock(&all->lock);
    all->stop = true;
    pthread_cond_signal(&all->changed);
    pthread_mutex_unlock(&all->lock);
    if (all->started)
        pthread_join(all->thread, NULL);
    pthread_cond_destroy(&all->changed);
    pthread_mutex_destroy(&all->lock);
    free(all);
}

static void fill_sweep(struct hn_sweep *s, const struct hn_submitter *who, const json_t *request,
    const json_t *plan, char *id, char *now) {
    const char *name = json_string_value(json_object_get(request, "name"));
    *s = (struct hn_sweep){.id = id,
        .name = (char *)(uintptr_t)name,
        .owner = (char *)(uintptr_t)who->owner,
        .scope = (char *)(uintptr_t)who->scope,
        .sees_all = who->reach.all,
        .team = (char *)(uintptr_t)who->reach.team,
        .kind = (char *)(uintptr_t)json_string_value(json_object_get(plan, "kind")),
        .created_at = now};
}

int hn_sweep_submit(struct hn_server *server, const struct hn_submitter *who, const json_t *request,
    char ret_id[HN_ID_SIZE], json_t **ret_details, struct hn_error *err) {
    json_t *plan = NULL;
    struct hn_sweep s;
    char now[HN_TIME_SIZE];
    if (atomic_load(&server->draining))
        return hn_fail(err, HN_E_BUSY, "the server is shutting down");
    int rc = hn_sweep_plan(server, who, request, &plan, ret_details, err);
    if (rc)
        return rc;
    hn_id_make("swp", ret_id);
    hn_time_now(now);
    fill_sweep(&s, who, request, plan, ret_id, now);
    s.request = text_of(json_incref((json_t *)(uintptr_t)request));
    s.plan = text_of(json_incref(plan));
    rc = s.request && s.plan ? hn_store_call(server->store, hn_db_sweep_insert, &s, err)
                             : hn_fail(err, HN_E_INTERNAL, "out of memory");
    free(s.request);
    free(s.plan);
    json_decref(plan);
    return rc;
}

static int refuse_verb(struct hn_error *err, const struct hn_sweep *s, const char *done) {
    hn_fail(err, HN_E_CONFLICT, "sweep %s is %s and cannot be %s", s->id, s->status, done);
    hn_error_hint(err, "GET /sweeps/%s tells its state", s->id);
    return HN_E_CONFLICT;
}

/* First the sweep, so that nothing new is submitted, then its jobs. */
int hn_sweep_ask(struct hn_server *server, const char *id, const char *verb, struct hn_error *err) {
    static const struct {
        const char *verb, *status, *done;
    } verbs[] = {{"cancel", "cancelled", "cancelled"}, {"pause", "paused", "paused"},
        {"resume", "running", "resumed"}};
    struct looked l;
    size_t v = verb[0] == 'c' ? 0 : verb[0] == 'p' ? 1 : 2;
    int rc = look(server, id, &l, err);
    bool ended = !rc && hn_job_ended(l.sweep.status);
    if (!rc && ended && strcmp(l.sweep.status, verbs[v].status) != 0)
        rc = refuse_verb(err, &l.sweep, verbs[v].done);
    struct hn_sweep_move move = {.id = id, .status = verbs[v].status};
    if (!rc && !ended)
        rc = hn_store_call(server->store, hn_db_sweep_move, &move, err);
    looked_finish(&l);
    if (rc || ended)
        return rc;
    rc = look(server, id, &l, err); /* a trial may have come in before the move */
    if (!rc)
        rc = ask_jobs(&l, verb, v == 0, err);
    looked_finish(&l);
    return rc;
}
