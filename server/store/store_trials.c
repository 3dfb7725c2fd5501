/* See store_trials.h. */
#include "server/store/store_trials.h"
#include "server/store/store_db.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int hn_db_sweep_missing(struct hn_error *err, const char *id) {
    hn_fail(err, HN_E_NOT_FOUND, "there is no sweep \"%.40s\"", id);
    hn_error_hint(err, "GET /sweeps lists them");
    return HN_E_NOT_FOUND;
}

int hn_db_sweep_event(
    struct hn_db *db, const char *id, const char *type, json_t *data, struct hn_error *err) {
    char now[HN_TIME_SIZE], *text = json_dumps(data, JSON_COMPACT | JSON_REAL_PRECISION(15));
    json_decref(data);
    hn_time_now(now);
    int rc = text ? hn_db_run(db, err,
                        "INSERT INTO sweep_events (sweep,seq,time,type,data) SELECT "
                        "n,next_seq,?2,?3,?4 FROM sweeps WHERE id=?1",
                        "ssss", id, now, type, text)
                  : hn_fail(err, HN_E_INTERNAL, "out of memory");
    free(text);
    if (!rc)
        rc = hn_db_run(db, err, "UPDATE sweeps SET next_seq=next_seq+1 WHERE id=?1", "s", id);
    hn_db_touch(db, id, HN_COMMIT_EVENTS);
    return rc;
}

int hn_db_sweep_status(struct hn_db *db, const char *id, char ret[16], struct hn_error *err) {
    struct hn_rows rows;
    int rc = hn_rows_open(&rows, db, err, "SELECT status FROM sweeps WHERE id=?1", "s", id);
    if (rc)
        return rc;
    rc = hn_rows_next(&rows, err);
    if (rc == 1)
        snprintf(ret, 16, "%s", hn_rows_text(&rows, 0));
    hn_rows_close(&rows);
    return rc == 1 ? 0 : rc < 0 ? rc : hn_db_sweep_missing(err, id);
}

/* The job that the sweep's trial has already; "" if none. */
static int job_of(struct hn_db *db, const struct hn_trial_insert *t, char ret[HN_ID_SIZE],
    bool *ret_there, struct hn_error *err) {
    struct hn_rows rows;
    ret[0] = 0;
    int rc = hn_rows_open(&rows, db, err,
        "SELECT t.job FROM trials t JOIN sweeps s ON s.n=t.sweep WHERE s.id=?1 AND t.number=?2",
        "si", t->sweep, t->number);
    if (rc)
        return rc;
    rc = hn_rows_next(&rows, err);
    *ret_there = rc == 1;
    if (rc == 1 && !hn_rows_null(&rows, 0))
        snprintf(ret, HN_ID_SIZE, "%s", hn_rows_text(&rows, 0));
    hn_rows_close(&rows);
    return rc < 0 ? rc : 0;
}

int hn_db_trial_add(struct hn_db *db, const struct hn_trial_insert *trial, const char *job,
    char ret_job[HN_ID_SIZE], struct hn_error *err) {
    char status[16];
    bool there = false;
    int rc = job_of(db, trial, ret_job, &there, err);
    if (rc || ret_job[0])
        return rc;
    if (there)
        return hn_fail(err, HN_E_CONFLICT, "trial %lld of sweep %s was refused before",
            (long long)trial->number, trial->sweep);
    rc = hn_db_sweep_status(db, trial->sweep, status, err);
    if (!rc && strcmp(status, "running") != 0)
        return hn_fail(err, HN_E_CONFLICT, "sweep %s is %s", trial->sweep, status);
    json_t *rungs = json_array();
    for (size_t i = 0; i < trial->n_rungs; i++)
        json_array_append_new(rungs, json_integer(trial->rungs[i]));
    char *text = json_dumps(rungs, JSON_COMPACT);
    json_decref(rungs);
    if (!rc)
        rc = text ? hn_db_run(db, err,
                        "INSERT INTO trials (sweep,number,role,settings,point,rungs,job,why) "
                        "SELECT n,?2,?3,?4,?5,?6,?7,?8 FROM sweeps WHERE id=?1",
                        "sissssss", trial->sweep, trial->number, trial->role, trial->settings,
                        trial->point, text, job, trial->why)
                  : hn_fail(err, HN_E_INTERNAL, "out of memory");
    free(text);
    return rc ? rc
              : hn_db_sweep_event(db, trial->sweep, job ? "trial" : "trial_refused",
                    json_pack("{s:I,s:s?,s:s,s:s?}", "number", (json_int_t)trial->number, "job",
                        job, "role", trial->role, "why", trial->why),
                    err);
}

int hn_db_trial_insert(struct hn_db *db, void *arg, struct hn_error *err) {
    char job[HN_ID_SIZE];
    return hn_db_trial_add(db, arg, NULL, job, err);
}
