/*
 * Runs in the store: which job is claimed, and what becomes of it when its trainer is gone.
 *
 * The end of a run is known from the lock alone; what it meant is the last event the trainer wrote
 * in this attempt. So a daemon that was away for the end settles it the same way as one that
 * watched.
 */
#include "server/store/store_db.h"
#include "server/store/store_jobs.h"
#include "server/store/store_notices.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define CANDIDATES 200
#define DEATHS_MAX 3

/* SQL: the keys that run as many jobs as they may. */
#define FULL                                                                               \
    "(SELECT k.id FROM keys k WHERE k.max_running IS NOT NULL AND k.max_running<=(SELECT " \
    "count(*) FROM jobs r WHERE "                                                          \
    "r.owner=k.id AND r.status='running'))"

struct candidate {
    int64_t n;
    char id[HN_ID_SIZE], reason[32];
    int64_t blocked_since;
};

static int read_candidates(struct hn_db *db, int64_t memory, struct candidate *list,
    struct hn_queue_candidate *weighed, size_t *ret_n, struct hn_error *err) {
    struct hn_rows rows;
    int rc = hn_rows_open(&rows, db, err,
        "SELECT "
        "j.n,j.id,coalesce(j.reason_code,''),j.blocked_since,j.peak_bytes,j.not_before,coalesce("
        "json_extract(j.plan,'$.disk_bytes'),0) FROM (SELECT q.n AS n, coalesce(s.last,0) AS last "
        "FROM jobs q LEFT JOIN shares s ON s.owner=q.owner WHERE q.status='queued' AND q.owner NOT "
        "IN " FULL
        " AND q.peak_bytes<=?2 ORDER BY q.priority DESC, coalesce(s.last,0), q.n LIMIT ?1) f "
        /* first whose, then what: plans are long */
        "JOIN jobs j ON j.n=f.n ORDER BY j.priority DESC, f.last, j.n",
        "ii", (int64_t)CANDIDATES, memory);
    size_t n = 0;
    while (!rc && (rc = hn_rows_next(&rows, err)) == 1) {
        struct candidate *c = &list[n];
        c->n = hn_rows_int(&rows, 0);
        snprintf(c->id, sizeof c->id, "%s", hn_rows_text(&rows, 1));
        snprintf(c->reason, sizeof c->reason, "%s", hn_rows_text(&rows, 2));
        c->blocked_since = hn_rows_int(&rows, 3);
        weighed[n++] = (struct hn_queue_candidate){.blocked_since = c->blocked_since,
            .peak_bytes = hn_rows_int(&rows, 4),
            .not_before = hn_rows_int(&rows, 5),
            .disk_bytes = hn_rows_int(&rows, 6),
            .reason = strcmp(c->reason, "waiting_for_disk") == 0 ? c->reason : NULL};
        rc = 0;
    }
    hn_rows_close(&rows);
    *ret_n = n;
    return rc < 0 ? rc : 0;
}

static const char *reason_text(const char *reason) {
    return strcmp(reason, "waiting_for_quota") == 0 ? "waiting until fewer jobs of its key run"
        : strcmp(reason, "waiting_for_memory") == 0 ? "waiting until the memory it needs is free"
        : strcmp(reason, "waiting_for_disk") == 0   ? "waiting for free space on the disk"
                                                    : "waiting for a free slot";
}

/* Jobs of keys that run as many as they may are told so, and told otherwise when that is over;
 * *ret: how many they are. */
static int note_quota(struct hn_db *db, int64_t *ret, struct hn_error *err) {
    int64_t limits;
    *ret = 0;
    int rc = hn_db_number(
        db, 0, &limits, err, "SELECT count(*) FROM keys WHERE max_running IS NOT NULL", "");
    if (rc || !limits)
        return rc;
    rc = hn_db_run(db, err,
        "UPDATE jobs SET reason_code='waiting_for_quota', reason_message=?1, blocked_since=0 WHERE "
        "status='queued' AND owner IN " FULL " AND reason_code IS NOT 'waiting_for_quota'",
        "s", reason_text("waiting_for_quota"));
    if (!rc)
        rc = hn_db_run(db, err,
            "UPDATE jobs SET reason_code='waiting_for_slot', reason_message=?1 WHERE "
            "status='queued' AND reason_code='waiting_for_quota' AND owner NOT IN " FULL,
            "s", reason_text("waiting_for_slot"));
    return rc ? rc
              : hn_db_number(db, 0, ret, err,
                    "SELECT count(*) FROM jobs WHERE status='queued' AND owner IN " FULL, "");
}

/* Jobs that were planned when the daemon had more memory wait until it has as much again, and no
 * other waits for them. */
static int note_misfits(struct hn_db *db, int64_t memory, struct hn_error *err) {
    int rc = hn_db_run(db, err,
        "UPDATE jobs SET reason_code='does_not_fit', reason_message=?2, blocked_since=0 WHERE "
        "status='queued' AND peak_bytes>?1 AND reason_code IS NOT 'does_not_fit'",
        "is", memory,
        "it was planned with more memory than the daemon may use now: raise memory, or cancel "
        "the job");
    return rc ? rc
              : hn_db_run(db, err,
                    "UPDATE jobs SET reason_code='waiting_for_slot', reason_message=?2 WHERE "
                    "status='queued' AND peak_bytes<=?1 AND reason_code='does_not_fit'",
                    "is", memory, reason_text("waiting_for_slot"));
}

/* Tells the waiting why they wait; writes only what changed. */
static int note_reasons(struct hn_db *db, const struct candidate *list,
    const struct hn_queue_candidate *weighed, size_t n, int picked, struct hn_error *err) {
    int rc = 0;
    for (size_t i = 0; i < n && !rc; i++) {
        const struct hn_queue_candidate *w = &weighed[i];
        if ((int)i == picked ||
            (w->blocked_since == list[i].blocked_since && strcmp(w->reason, list[i].reason) == 0))
            continue;
        rc = hn_db_run(db, err,
            "UPDATE jobs SET reason_code=?2, reason_message=?3, blocked_since=?4 WHERE n=?1",
            "issi", list[i].n, w->reason, reason_text(w->reason), w->blocked_since);
    }
    return rc;
}

static int start(struct hn_db *db, const struct candidate *c, struct hn_error *err) {
    char now[HN_TIME_SIZE];
    hn_time_now(now);
    int rc = hn_db_run(db, err,
        "UPDATE jobs SET status='running', reason_code=NULL, reason_message=NULL, "
        "attempts=attempts+1, blocked_since=0, not_before=0, verdict=NULL, verdict_data=NULL, "
        "started_at=coalesce(started_at,?2) WHERE n=?1",
        "is", c->n, now);
    if (!rc)
        rc = hn_db_run(db, err,
            "INSERT OR REPLACE INTO shares (owner,last) SELECT owner,(SELECT "
            "coalesce(max(last),0)+1 FROM shares) FROM jobs WHERE n=?1",
            "i", c->n);
    int64_t attempt = 0;
    if (!rc)
        rc = hn_db_number(db, 0, &attempt, err, "SELECT attempts FROM jobs WHERE n=?1", "i", c->n);
    if (!rc)
        rc = hn_db_event_add(
            db, c->n, c->id, "claimed", json_pack("{s:I}", "attempt", (json_int_t)attempt), err);
    return rc;
}

int hn_db_job_claim(struct hn_db *db, void *arg, struct hn_error *err) {
    struct hn_job_claim *claim = arg;
    claim->id[0] = 0;
    struct candidate *list = hn_calloc(CANDIDATES, sizeof *list);
    struct hn_queue_candidate *weighed = hn_calloc(CANDIDATES, sizeof *weighed);
    int64_t held = 0;
    size_t n = 0;
    int picked = -1, rc = list && weighed ? 0 : hn_fail(err, HN_E_INTERNAL, "out of memory");
    if (!rc)
        rc = hn_db_jobs_memory(db, &claim->limits.used, err);
    if (!rc)
        rc = note_quota(db, &held, err);
    if (!rc)
        rc = note_misfits(db, claim->limits.memory, err);
    if (!rc)
        rc = read_candidates(db, claim->limits.memory, list, weighed, &n, err);
    claim->waiting = n > 0 || held > 0;
    if (!rc) {
        picked = hn_queue_pick(weighed, n, &claim->limits);
        rc = note_reasons(db, list, weighed, n, picked, err);
    }
    if (!rc && picked >= 0)
        rc = hn_db_number(db, 0, &claim->waited_ms, err,
            "SELECT max(0,(julianday('now')-julianday(time))*86400000) FROM events WHERE job=?1 "
            "AND type IN ('queued','requeued') ORDER BY seq DESC LIMIT 1",
            "i", list[picked].n);
    if (!rc && picked >= 0)
        rc = start(db, &list[picked], err);
    if (!rc && picked >= 0)
        snprintf(claim->id, sizeof claim->id, "%s", list[picked].id);
    free(weighed);
    free(list);
    return rc;
}

static int end(struct hn_db *db, const struct hn_job *job, const char *status, const char *code,
    const char *message, struct hn_error *err) {
    char now[HN_TIME_SIZE];
    hn_time_now(now);
    hn_db_touch(db, job->id, HN_COMMIT_STATE | HN_COMMIT_ENDED);
    int rc = hn_db_run(db, err,
        "UPDATE jobs SET status=?2, requested=NULL, reason_code=?3, reason_message=?4, "
        "finished_at=?5 WHERE n=?1",
        "issss", job->n, status, code, message, now);
    return rc ? rc : hn_db_notice_add(db, job->n, status, err);
}

static int fail_job(struct hn_db *db, const struct hn_job *job, const char *code,
    const char *message, struct hn_error *err) {
    int rc = end(db, job, "failed", code, message, err);
    return rc ? rc
              : hn_db_event_add(db, job->n, job->id, "failed",
                    json_pack("{s:s,s:s,s:I}", "code", code, "message", message, "step",
                        (json_int_t)job->step),
                    err);
}

static int requeue(struct hn_db *db, const struct hn_job *job, const char *reason, int64_t delay_ms,
    int64_t deaths, struct hn_error *err) {
    const char *waits = strcmp(reason, "disk_full") == 0 ? "waiting_for_disk" : "waiting_for_slot";
    int rc = hn_db_run(db, err,
        "UPDATE jobs SET status='queued', requested=NULL, reason_code=?2, reason_message=?3, "
        "not_before=?4, deaths=?5 WHERE n=?1",
        "issii", job->n, waits, reason_text(waits), hn_time_ms() + delay_ms, deaths);
    return rc ? rc
              : hn_db_event_add(
                    db, job->n, job->id, "requeued", json_pack("{s:s}", "reason", reason), err);
}

static int stop_as_asked(struct hn_db *db, const struct hn_job *job, struct hn_error *err) {
    bool cancel = strcmp(job->requested, "cancel") == 0;
    int rc = cancel ? end(db, job, "cancelled", NULL, NULL, err)
                    : hn_db_run(db, err,
                          "UPDATE jobs SET status='paused', requested=NULL, reason_code=NULL, "
                          "reason_message=NULL WHERE n=?1",
                          "i", job->n);
    return rc
        ? rc
        : hn_db_event_add(db, job->n, job->id, cancel ? "cancelled" : "paused", json_object(), err);
}

/* Whether the trainer stopped at the step that the job was to stop at: neither taken back nor put
 * off since it was started. */
static bool stopped_at(const struct hn_job *job) {
    json_t *data = NULL;
    const char *reason = NULL;
    int64_t step = 0;
    if (job->stop_at >= 0 && job->verdict_data &&
        hn_json_parse(job->verdict_data, strlen(job->verdict_data), &data, NULL) == 0) {
        hn_json_string(data, "reason", &reason, NULL);
        hn_json_int(data, "step", 0, INT64_MAX, &step, NULL);
    }
    bool stopped = reason && strcmp(reason, "stop_at") == 0 && step >= job->stop_at;
    json_decref(data);
    return stopped;
}

static int wait_for_promotion(struct hn_db *db, const struct hn_job *job, struct hn_error *err) {
    int rc = hn_db_run(db, err,
        "UPDATE jobs SET status='paused', requested=NULL, reason_code='waiting_for_promotion', "
        "reason_message='stopped at step '||stop_at||' until it is told to go on', deaths=0 WHERE "
        "n=?1",
        "i", job->n);
    return rc ? rc
              : hn_db_event_add(db, job->n, job->id, "paused",
                    json_pack("{s:s}", "reason", "waiting_for_promotion"), err);
}

/* The trainer's own words about its failure, from its last event. */
static int end_failed(struct hn_db *db, const struct hn_job *job, struct hn_error *err) {
    json_t *data = NULL;
    const char *code = "internal", *message = "the trainer failed";
    if (job->verdict_data &&
        hn_json_parse(job->verdict_data, strlen(job->verdict_data), &data, NULL) == 0) {
        hn_json_string(data, "code", &code, NULL);
        hn_json_string(data, "message", &message, NULL);
    }
    int rc = end(db, job, "failed", code, message, err);
    json_decref(data);
    return rc;
}

/* With the reason, where the trainer gives one that people should know. */
static int end_finished(struct hn_db *db, const struct hn_job *job, struct hn_error *err) {
    json_t *data = NULL;
    const char *code = NULL, *message = NULL;
    if (job->verdict_data &&
        hn_json_parse(job->verdict_data, strlen(job->verdict_data), &data, NULL) == 0)
        hn_json_string(data, "message", &message, NULL);
    if (message)
        hn_json_string(data, "reason", &code, NULL);
    int rc = end(db, job, "succeeded", code, message, err);
    json_decref(data);
    return rc ? rc : hn_db_event_add(db, job->n, job->id, "succeeded", json_object(), err);
}

/* `why`: what kept it from starting at all, or NULL. */
static int died(struct hn_db *db, const struct hn_job *job, const char *why, struct hn_error *err) {
    if (job->deaths + 1 >= DEATHS_MAX && why)
        return fail_job(db, job, "trainer_died", why, err);
    if (job->deaths + 1 >= DEATHS_MAX)
        return fail_job(db, job, "trainer_died",
            "the trainer died three times in a row without reaching a new checkpoint; its log "
            "tells more",
            err);
    return requeue(db, job, "trainer_died", 1000 * job->deaths, job->deaths + 1, err);
}

int hn_db_job_settle(struct hn_db *db, void *arg, struct hn_error *err) {
    const struct hn_job_settle *settle = arg;
    struct hn_job job;
    hn_job_init(&job);
    int rc = hn_db_job_get(db, settle->id, &job, err);
    if (rc || strcmp(job.status, "running") != 0) {
        hn_job_finish(&job);
        return rc;
    }
    const char *verdict = job.verdict ? job.verdict : "";
    bool interrupted = strcmp(verdict, "interrupted") == 0;
    if (strcmp(verdict, "finished") == 0) {
        rc = end_finished(db, &job, err);
    } else if (strcmp(verdict, "failed") == 0) {
        rc = end_failed(db, &job, err);
    } else if (job.requested) {
        /* Dead or interrupted, it has stopped, and that is what was asked for. */
        rc = stop_as_asked(db, &job, err);
    } else if (interrupted && stopped_at(&job)) {
        rc = wait_for_promotion(db, &job, err);
    } else if (settle->code && strcmp(settle->code, "internal") != 0 &&
        strcmp(settle->code, "disk_full") != 0) {
        rc = fail_job(db, &job, settle->code, settle->message, err);
    } else if ((settle->code && strcmp(settle->code, "disk_full") == 0) ||
        (interrupted && job.verdict_data && strstr(job.verdict_data, "disk_full"))) {
        rc = requeue(db, &job, "disk_full", 30000, job.deaths, err);
    } else if (interrupted || settle->draining) {
        rc = requeue(db, &job, settle->draining ? "shutdown" : "interrupted", 0, job.deaths, err);
    } else if (!settle->had_trainer && !settle->code && !*verdict) {
        /* Claimed by a daemon that died before its trainer told anything: no death of the trainer's
         * own. */
        rc = requeue(db, &job, "interrupted", 0, job.deaths, err);
    } else {
        rc = died(db, &job, settle->code ? settle->message : NULL, err);
    }
    hn_job_finish(&job);
    return rc;
}
