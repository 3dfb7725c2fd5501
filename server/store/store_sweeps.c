/* See store_sweeps.h. */
#include "server/store/store_sweeps.h"
#include "server/store/store_db.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char columns[] = ""
#define HN_SWEEP(TYPE, name) "s." #name ","
#include "server/store/sweep.def"
#undef HN_SWEEP
                              "0";

static char *copy_text(struct hn_rows *rows, int column) {
    const char *text = hn_rows_text(rows, column);
    return text ? strdup(text) : NULL;
}

static void read_sweep(struct hn_rows *rows, struct hn_sweep *sweep) {
    int i = 0;
#define READ_TEXT copy_text
#define READ_INT hn_rows_int
#define HN_SWEEP(TYPE, name) sweep->name = READ_##TYPE(rows, i++);
#include "server/store/sweep.def"
#undef HN_SWEEP
}

void hn_sweep_finish(struct hn_sweep *sweep) {
#define FREE_TEXT(x) free(x)
#define FREE_INT(x) (void)0
#define HN_SWEEP(TYPE, name) FREE_##TYPE(sweep->name);
#include "server/store/sweep.def"
#undef HN_SWEEP
    *sweep = (struct hn_sweep){0};
}

int hn_db_sweep_get(struct hn_db *db, const char *id, struct hn_sweep *ret, struct hn_error *err) {
    char sql[1024];
    struct hn_rows rows;
    *ret = (struct hn_sweep){0};
    snprintf(sql, sizeof sql, "SELECT %s FROM sweeps s WHERE s.id=?1", columns);
    int rc = hn_rows_open(&rows, db, err, sql, "s", id);
    if (rc)
        return rc;
    rc = hn_rows_next(&rows, err);
    if (rc == 1)
        read_sweep(&rows, ret);
    hn_rows_close(&rows);
    return rc == 1 ? 0 : rc < 0 ? rc : hn_db_sweep_missing(err, id);
}

int hn_db_sweep_reached(
    struct hn_db *db, const struct hn_reach *reach, const char *id, struct hn_error *err) {
    int64_t found;
    int rc = hn_db_number(db, 0, &found, err,
        "SELECT 1 FROM sweeps WHERE id=?1 AND " HN_REACHES("owner", 2, 3, 4), "siss", id,
        (int64_t)reach->all, reach->owner, reach->team);
    return rc ? rc : found ? 0 : hn_db_sweep_missing(err, id);
}

int hn_db_sweep_list(struct hn_db *db, const struct hn_reach *reach, const char *after,
    int64_t limit, void (*each)(void *ud, const struct hn_sweep *), void *ud, bool *ret_more,
    struct hn_error *err) {
    char sql[1024];
    struct hn_rows rows;
    int64_t from = INT64_MAX;
    int rc = after ? hn_db_number(db, -1, &from, err,
                         "SELECT n FROM sweeps WHERE id=?1 AND " HN_REACHES("owner", 2, 3, 4),
                         "siss", after, (int64_t)reach->all, reach->owner, reach->team)
                   : 0;
    if (!rc && from < 0)
        return hn_db_sweep_missing(err, after);
    snprintf(sql, sizeof sql,
        "SELECT %s FROM sweeps s WHERE s.n<?1 AND " HN_REACHES(
            "s.owner", 3, 4, 5) " ORDER BY s.n DESC LIMIT ?2",
        columns);
    if (!rc)
        rc = hn_rows_open(&rows, db, err, sql, "iiiss", from, limit + 1, (int64_t)reach->all,
            reach->owner, reach->team);
    if (rc)
        return rc;
    *ret_more = false;
    for (int64_t n = 0; (rc = hn_rows_next(&rows, err)) == 1; n++) {
        if ((*ret_more = n == limit))
            break;
        struct hn_sweep sweep;
        read_sweep(&rows, &sweep);
        each(ud, &sweep);
        hn_sweep_finish(&sweep);
    }
    hn_rows_close(&rows);
    return rc < 0 ? rc : 0;
}

int hn_db_sweeps_unended(struct hn_db *db, json_t **ret, struct hn_error *err) {
    return hn_db_texts(db, ret, err,
        "SELECT id FROM sweeps WHERE status IN ('queued','running','paused') ORDER BY n");
}

int hn_db_sweep_events(struct hn_db *db, int64_t sweep, int64_t after, int64_t limit,
    const char *type, hn_event_fn each, void *ud, struct hn_error *err) {
    return hn_db_events_by(db,
        "SELECT seq,time,type,data FROM sweep_events WHERE sweep=?1 AND seq>?2 AND (?4 IS NULL OR "
        "type=?4) ORDER BY seq LIMIT ?3",
        sweep, after, limit, type, each, ud, err);
}

int hn_db_sweep_insert(struct hn_db *db, void *arg, struct hn_error *err) {
    struct hn_sweep *s = arg;
    int64_t others;
    int rc = hn_db_number(db, 0, &others, err,
        "SELECT count(*) FROM sweeps WHERE owner=?1 AND status IN ('queued','running','paused')",
        "s", s->owner);
    if (!rc && others >= HN_SWEEPS_MAX) {
        hn_fail(err, HN_E_QUOTA_EXCEEDED, "%d sweeps have not ended; no more can be sent",
            HN_SWEEPS_MAX);
        hn_error_hint(err, "wait for one to end, or cancel one: GET /sweeps lists them");
        return HN_E_QUOTA_EXCEEDED;
    }
    if (rc)
        return rc;
    rc = hn_db_run(db, err,
        "INSERT INTO sweeps (id,name,owner,scope,sees_all,team,kind,status,request,plan,created_at)"
        " VALUES (?1,?2,?3,?4,?5,?6,?7,'queued',?8,?9,?10)",
        "ssssisssss", s->id, s->name, s->owner, s->scope, s->sees_all, s->team, s->kind, s->request,
        s->plan, s->created_at);
    hn_db_touch(db, s->id, HN_COMMIT_SWEEP);
    return rc ? rc : hn_db_sweep_event(db, s->id, "queued", json_object(), err);
}

int hn_db_sweep_move(struct hn_db *db, void *arg, struct hn_error *err) {
    const struct hn_sweep_move *move = arg;
    char now[HN_TIME_SIZE], status[16];
    bool ends = hn_job_ended(move->status);
    hn_time_now(now);
    int rc = hn_db_sweep_status(db, move->id, status, err);
    if (rc || hn_job_ended(status) || strcmp(status, move->status) == 0)
        return rc;
    rc = hn_db_run(db, err,
        "UPDATE sweeps SET status=?2, reason_code=?3, reason_message=?4, "
        "result=coalesce(?5,result), started_at=CASE WHEN ?2='running' THEN "
        "coalesce(started_at,?6) ELSE started_at END, finished_at=CASE WHEN ?7 THEN ?6 END WHERE "
        "id=?1",
        "ssssssi", move->id, move->status, move->code, move->message, move->result, now,
        (int64_t)ends);
    json_t *data = move->code
        ? json_pack("{s:s,s:s?}", "code", move->code, "message", move->message)
        : json_object();
    if (!rc)
        rc = hn_db_sweep_event(db, move->id, move->status, json_incref(data), err);
    json_decref(data);
    hn_db_touch(db, move->id, HN_COMMIT_SWEEP);
    return rc;
}

int hn_db_sweep_explain(struct hn_db *db, void *arg, struct hn_error *err) {
    const struct hn_sweep_move *move = arg;
    hn_db_touch(db, move->id, HN_COMMIT_EVENTS);
    return hn_db_run(db, err,
        "UPDATE sweeps SET reason_code=?2, reason_message=?3 WHERE id=?1 AND finished_at IS NULL",
        "sss", move->id, move->code, move->message);
}

int hn_db_sweep_delete(struct hn_db *db, void *arg, struct hn_error *err) {
    const char *id = arg;
    char status[16];
    int rc = hn_db_sweep_status(db, id, status, err);
    if (!rc && !hn_job_ended(status)) {
        rc = hn_fail(
            err, HN_E_CONFLICT, "sweep %s is %s; only ended ones can be deleted", id, status);
        hn_error_hint(err, "POST /sweeps/%s/cancel ends it", id);
    }
    if (!rc)
        rc = hn_db_run(db, err, "UPDATE jobs SET sweep=NULL WHERE sweep=?1", "s", id);
    return rc ? rc : hn_db_run(db, err, "DELETE FROM sweeps WHERE id=?1", "s", id);
}

static void read_rungs(const char *text, struct hn_sweep_trial *t) {
    json_t *list = NULL;
    if (hn_json_parse(text, strlen(text), &list, NULL))
        return;
    for (size_t i = 0; i < json_array_size(list) && i < HN_RUNGS_MAX; i++)
        t->rungs[t->n_rungs++] = json_integer_value(json_array_get(list, i));
    json_decref(list);
}

static void read_trial(struct hn_rows *rows, struct hn_sweep_trial *t) {
    *t = (struct hn_sweep_trial){.number = hn_rows_int(rows, 0),
        .role = copy_text(rows, 1),
        .settings = copy_text(rows, 2),
        .point = copy_text(rows, 3),
        .why = copy_text(rows, 6),
        .status = copy_text(rows, 7),
        .reason_code = copy_text(rows, 8),
        .reason_message = copy_text(rows, 9),
        .step = hn_rows_int(rows, 10),
        .total_steps = hn_rows_int(rows, 11),
        .best_step = hn_rows_null(rows, 12) ? -1 : hn_rows_int(rows, 12),
        .stop_at = hn_rows_null(rows, 13) ? -1 : hn_rows_int(rows, 13),
        .seconds = hn_rows_null(rows, 14) ? 0 : hn_rows_real(rows, 14),
        .started_at = copy_text(rows, 15),
        .finished_at = copy_text(rows, 16),
        .rows = hn_rows_null(rows, 17) ? -1 : hn_rows_int(rows, 17)};
    read_rungs(hn_rows_text(rows, 4), t);
    if (!hn_rows_null(rows, 5))
        snprintf(t->job, sizeof t->job, "%s", hn_rows_text(rows, 5));
    for (size_t i = 0; i <= HN_RUNGS_MAX; i++)
        t->rung_values[i] = (double)NAN;
}

/* The better of the two; NaN is none. */
static double better(double a, double b, bool smaller) {
    return isnan(a) ? b : isnan(b) ? a : (smaller ? b < a : b > a) ? b : a;
}

/* Adds an evaluation to all rungs that it belongs to, and to the whole. */
static void note_value(struct hn_sweep_trial *t, int64_t step, double value, bool smaller) {
    for (size_t i = 0; i < t->n_rungs; i++)
        if (step <= t->rungs[i])
            t->rung_values[i] = better(t->rung_values[i], value, smaller);
    t->rung_values[t->n_rungs] = better(t->rung_values[t->n_rungs], value, smaller);
}

static int read_values(struct hn_db *db, int64_t sweep, const char *metric, bool smaller,
    struct hn_sweep_trials *trials, struct hn_error *err) {
    struct hn_rows rows;
    char path[80];
    snprintf(path, sizeof path, "$.%.60s", metric);
    int rc = hn_rows_open(&rows, db, err,
        "SELECT t.number,m.step,json_extract(m.val,?2) FROM trials t JOIN jobs j ON j.id=t.job "
        "CROSS JOIN metrics m INDEXED BY metrics_evaluated ON m.job=j.n WHERE t.sweep=?1 AND m.val "
        "IS NOT NULL ORDER BY t.number,m.seq",
        "is", sweep, path);
    size_t at = 0;
    while (!rc && (rc = hn_rows_next(&rows, err)) == 1) {
        rc = 0;
        while (at < trials->n && trials->list[at].number != hn_rows_int(&rows, 0))
            at++;
        if (at < trials->n && !hn_rows_null(&rows, 2))
            note_value(&trials->list[at], hn_rows_int(&rows, 1), hn_rows_real(&rows, 2), smaller);
    }
    hn_rows_close(&rows);
    return rc < 0 ? rc : 0;
}

int hn_db_trials(struct hn_db *db, int64_t sweep, const char *metric, bool smaller,
    struct hn_sweep_trials *ret, struct hn_error *err) {
    struct hn_rows rows;
    size_t capacity = 0;
    *ret = (struct hn_sweep_trials){0};
    int rc = hn_rows_open(&rows, db, err,
        "SELECT t.number,t.role,t.settings,t.point,t.rungs,t.job,t.why,j.status,j.reason_code,"
        "j.reason_message,coalesce(j.step,0),coalesce(j.total_steps,0),"
        "json_extract(j.best,'$.step'),j.stop_at,j.step*j.step_seconds,j.started_at,j.finished_at,"
        "json_extract(j.counts,'$.used') FROM trials t LEFT JOIN jobs j ON j.id=t.job WHERE "
        "t.sweep=?1 ORDER BY t.number",
        "i", sweep);
    while (!rc && (rc = hn_rows_next(&rows, err)) == 1) {
        rc = hn_grow(&ret->list, &capacity, ret->n + 1, sizeof *ret->list)
            ? 0
            : hn_fail(err, HN_E_INTERNAL, "out of memory");
        if (!rc)
            read_trial(&rows, &ret->list[ret->n++]);
    }
    hn_rows_close(&rows);
    return rc < 0 ? rc : read_values(db, sweep, metric, smaller, ret, err);
}

void hn_sweep_trials_finish(struct hn_sweep_trials *trials) {
    for (size_t i = 0; i < trials->n; i++) {
        struct hn_sweep_trial *t = &trials->list[i];
        char *texts[] = {t->role, t->settings, t->point, t->why, t->status, t->reason_code,
            t->reason_message, t->started_at, t->finished_at};
        for (size_t k = 0; k < sizeof texts / sizeof texts[0]; k++)
            free(texts[k]);
    }
    free(trials->list);
    *trials = (struct hn_sweep_trials){0};
}

int hn_db_sweep_saved(struct hn_db *db, const char *id, int64_t *ret, struct hn_error *err) {
    return hn_db_number(db, 0, ret, err,
        "SELECT sum(rows*(n-1)) FROM (SELECT count(*) AS n,max(json_extract(counts,'$.rows')) AS "
        "rows FROM jobs WHERE sweep=?1 AND json_extract(host,'$.tokens') IS NOT NULL GROUP BY "
        "json_extract(host,'$.tokens'))",
        "s", id);
}

int hn_db_sweep_earlier(struct hn_db *db, const struct hn_sweep *sweep, const char *metric,
    const char *ids, hn_earlier_fn each, void *ud, struct hn_error *err) {
    struct hn_rows rows;
    int rc = hn_rows_open(&rows, db, err,
        "SELECT j.hyperparameters,j.request,json_extract(j.best,'$.value') FROM jobs j,(SELECT "
        "json_extract(plan,'$.job.dataset') AS dataset,json_extract(plan,'$.job.model') AS model,"
        "json_extract(plan,'$.job.validation') AS validation FROM sweeps WHERE n=?1) s WHERE "
        "j.status='succeeded' AND j.finished_at<?2 AND j.dataset=s.dataset AND j.model=s.model AND "
        "json_extract(j.request,'$.validation') IS s.validation AND json_extract(j.request,"
        "'$.rows') IS NULL AND j.verifies IS NULL AND json_extract(j.best,'$.metric')=?3 AND (?4 "
        "IS "
        "NULL OR j.id IN (SELECT value FROM json_each(?4))) AND " HN_REACHES(
            "j.owner", 5, 6, 7) " ORDER BY j.n DESC LIMIT 200",
        "isssiss", sweep->n, sweep->created_at, metric, ids, sweep->sees_all, sweep->owner,
        sweep->team);
    while (!rc && (rc = hn_rows_next(&rows, err)) == 1) {
        each(ud, hn_rows_text(&rows, 0), hn_rows_text(&rows, 1), hn_rows_real(&rows, 2));
        rc = 0;
    }
    hn_rows_close(&rows);
    return rc < 0 ? rc : 0;
}

int hn_db_trial_promote(struct hn_db *db, void *arg, struct hn_error *err) {
    const struct hn_trial_promote *p = arg;
    struct hn_job job;
    hn_job_init(&job);
    int rc = hn_db_job_get(db, p->job, &job, err);
    bool waits = !rc && strcmp(job.status, "paused") == 0 && job.stop_at >= 0 &&
        (p->stop_at == 0 || job.stop_at < p->stop_at);
    hn_job_finish(&job);
    if (rc || !waits)
        return rc;
    struct hn_job_ask ask = {p->job, "resume"};
    rc = hn_db_job_ask(db, &ask, err);
    if (!rc)
        rc = hn_db_run(
            db, err, "UPDATE jobs SET stop_at=nullif(?2,0) WHERE id=?1", "si", p->job, p->stop_at);
    return rc ? rc
              : hn_db_sweep_event(db, p->sweep, "promoted",
                    json_pack("{s:I,s:s,s:I}", "number", (json_int_t)p->number, "job", p->job,
                        "rung", (json_int_t)p->rung),
                    err);
}
