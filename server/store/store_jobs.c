/* Jobs: records, lists, requests from outside. The claim and the settling of runs are in
 * store_runs.c. */
#include "server/store/store_jobs.h"
#include "server/store/store_db.h"
#include "server/store/store_notices.h"
#include "server/store/store_trials.h"

#include <math.h>
#include <sqlite3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define DAY_MS ((int64_t)24 * 3600 * 1000)

static const char columns[] = ""
#define HN_JOB(TYPE, name) "j." #name ","
#include "server/store/job.def"
#undef HN_JOB
                              "0";

void hn_job_init(struct hn_job *job) {
#define EMPTY_TEXT NULL
#define EMPTY_INT -1
#define EMPTY_REAL (double)NAN
#define HN_JOB(TYPE, name) job->name = EMPTY_##TYPE;
#include "server/store/job.def"
#undef HN_JOB
}

void hn_job_finish(struct hn_job *job) {
#define FREE_TEXT(x) free(x)
#define FREE_INT(x) (void)0
#define FREE_REAL(x) (void)0
#define HN_JOB(TYPE, name) FREE_##TYPE(job->name);
#include "server/store/job.def"
#undef HN_JOB
    hn_job_init(job);
}

bool hn_job_ended(const char *status) {
    return strcmp(status, "succeeded") == 0 || strcmp(status, "failed") == 0 ||
        strcmp(status, "cancelled") == 0;
}

static char *copy_text(struct hn_rows *rows, int column) {
    const char *text = hn_rows_text(rows, column);
    return text ? strdup(text) : NULL;
}

static int64_t copy_int(struct hn_rows *rows, int column) {
    return hn_rows_null(rows, column) ? -1 : hn_rows_int(rows, column);
}

static void read_job(struct hn_rows *rows, struct hn_job *job) {
    int i = 0;
#define READ_TEXT copy_text
#define READ_INT copy_int
#define READ_REAL hn_rows_real
#define HN_JOB(TYPE, name) job->name = READ_##TYPE(rows, i++);
#include "server/store/job.def"
#undef HN_JOB
}

int hn_db_job_get(struct hn_db *db, const char *id, struct hn_job *ret, struct hn_error *err) {
    char sql[2048];
    snprintf(sql, sizeof sql, "SELECT %s FROM jobs j WHERE j.id=?1", columns);
    struct hn_rows rows;
    int rc = hn_rows_open(&rows, db, err, sql, "s", id);
    if (rc)
        return rc;
    rc = hn_rows_next(&rows, err);
    if (rc == 1)
        read_job(&rows, ret);
    hn_rows_close(&rows);
    return rc == 1 ? 0 : rc < 0 ? rc : hn_db_job_missing(err, id);
}

int hn_db_job_exists(struct hn_db *db, const char *id) {
    int64_t found;
    int rc = hn_db_number(db, 0, &found, NULL, "SELECT 1 FROM jobs WHERE id=?1", "s", id);
    return rc ? rc : found ? 0 : HN_E_NOT_FOUND;
}

/* What the list is ordered by, then by n. migrations/0012_lists.sql has an index of each. */
static const char *const order_keys[] = {
    [HN_BY_CREATED] = "j.n",
    [HN_BY_FINISHED] = "j.finished_at",
    [HN_BY_METRIC] = "json_extract(j.best,'$.value')",
    [HN_BY_DURATION] = "julianday(j.finished_at)-julianday(j.started_at)",
};

/* Where the list goes on: the number of the job with the id `after`. */
static int cursor(
    struct hn_db *db, const struct hn_job_filter *filter, int64_t *ret, struct hn_error *err) {
    *ret = 0;
    if (!filter->after)
        return 0;
    int rc = hn_db_number(db, -1, ret, err,
        "SELECT n FROM jobs WHERE id=?1 AND " HN_REACHES("owner", 2, 3, 4), "siss", filter->after,
        (int64_t)filter->reach.all, filter->reach.owner, filter->reach.team);
    if (!rc && *ret < 0) {
        hn_fail(err, HN_E_INVALID_FIELD, "after: there is no job \"%.40s\"", filter->after);
        hn_error_field(err, "after");
        hn_error_hint(err, "use the value of \"next\" of the page before");
        return HN_E_INVALID_FIELD;
    }
    return rc;
}

/* A word occurs in what a list shows of a job. */
#define WORD_OCCURS                                                                               \
    "(instr(lower(coalesce(j.name,'')),w.value) OR instr(j.id,w.value) OR "                       \
    "instr(lower(j.model),w.value) OR EXISTS (SELECT 1 FROM datasets d WHERE d.id=j.dataset AND " \
    "instr(lower(d.name),w.value) AND " HN_REACHES("d.owner", 9, 10, 11) "))"

static int build_list(struct hn_buf *sql, const struct hn_job_filter *filter) {
    const char *key = order_keys[filter->order], *beyond = filter->ascending ? ">" : "<";
    const char *way = filter->ascending ? "ASC" : "DESC";
    hn_buf_printf(sql,
        "SELECT %s FROM jobs j WHERE (?2 IS NULL OR j.status=?2) AND (?3 IS NULL OR "
        "j.model=?3) AND (?4 IS NULL OR j.task=?4) AND (?5 IS NULL OR " HN_JOB_USES(5) ")",
        columns);
    /* A metadata filter is bound as one JSON object of the wanted pairs, whatever their number. */
    hn_buf_text(sql,
        " AND NOT EXISTS (SELECT 1 FROM json_each(?6) w WHERE NOT EXISTS (SELECT 1 FROM "
        "json_each(j.metadata) m WHERE m.key=w.key AND m.value=w.value))");
    hn_buf_text(sql,
        " AND (?8 IS NULL OR j.verifies=?8) AND (?12 IS NULL OR j.sweep=?12) AND " HN_REACHES(
            "j.owner", 9, 10, 11));
    hn_buf_text(sql,
        " AND (?13 IS NULL OR NOT EXISTS (SELECT 1 FROM json_each(?13) w WHERE NOT " WORD_OCCURS
        "))");
    if (filter->after && filter->order == HN_BY_CREATED)
        hn_buf_printf(sql, " AND j.n%s?1", beyond);
    else if (filter->after) /* a value that is NULL comes last, in either direction */
        hn_buf_printf(sql,
            " AND CASE WHEN (SELECT %1$s IS NULL FROM jobs j WHERE j.n=?1) THEN %1$s IS NULL AND "
            "j.n%2$s?1 ELSE %1$s IS NULL OR (%1$s,j.n)%2$s((SELECT %1$s FROM jobs j WHERE "
            "j.n=?1),?1) END",
            key, beyond);
    if (filter->order != HN_BY_CREATED)
        hn_buf_printf(sql, " ORDER BY %s %s NULLS LAST,j.n %s LIMIT ?7", key, way, way);
    else
        hn_buf_printf(sql, " ORDER BY j.n %s LIMIT ?7", way);
    return sql->failed ? HN_E_INTERNAL : 0;
}

int hn_db_job_list(struct hn_db *db, const struct hn_job_filter *filter,
    void (*each)(void *ud, const struct hn_job *), void *ud, bool *ret_more, struct hn_error *err) {
    int64_t from;
    int rc = cursor(db, filter, &from, err);
    if (rc)
        return rc;
    json_t *wanted = json_object();
    for (size_t i = 0; i < filter->n_metadata; i++)
        json_object_set_new(
            wanted, filter->metadata_keys[i], json_string(filter->metadata_values[i]));
    char *pairs = json_dumps(wanted, JSON_COMPACT);
    json_decref(wanted);
    struct hn_buf sql = {0};
    struct hn_rows rows = {0};
    rc = build_list(&sql, filter);
    if (!rc)
        rc = hn_rows_open(&rows, db, err, sql.data, "isssssisissss", from, filter->status,
            filter->model, filter->task, filter->dataset, pairs, filter->limit + 1,
            filter->verifies, (int64_t)filter->reach.all, filter->reach.owner, filter->reach.team,
            filter->sweep, filter->words);
    bool more = false;
    for (int64_t n = 0; !rc; n++) {
        int got = hn_rows_next(&rows, err);
        if (got < 0)
            rc = got;
        if (got <= 0)
            break;
        if (n == filter->limit) {
            more = true;
            break;
        }
        struct hn_job job;
        read_job(&rows, &job);
        each(ud, &job);
        hn_job_finish(&job);
    }
    hn_rows_close(&rows);
    hn_buf_free(&sql);
    free(pairs);
    if (!rc)
        *ret_more = more;
    return rc;
}

static int fill_places(struct hn_db *db, struct hn_places *p, struct hn_error *err) {
    struct hn_rows rows;
    int rc = hn_rows_open(&rows, db, err,
        "SELECT priority,n FROM jobs INDEXED BY jobs_waiting WHERE status='queued' ORDER BY "
        "priority DESC,n",
        "");
    p->n_jobs = 0;
    while (!rc && (rc = hn_rows_next(&rows, err)) == 1) {
        rc = hn_grow(&p->jobs, &p->capacity, p->n_jobs + 1, sizeof *p->jobs)
            ? 0
            : hn_fail(err, HN_E_INTERNAL, "out of memory");
        if (rc)
            break;
        p->jobs[p->n_jobs].priority = hn_rows_int(&rows, 0);
        p->jobs[p->n_jobs++].n = hn_rows_int(&rows, 1);
    }
    hn_rows_close(&rows);
    p->filled = rc >= 0;
    return rc < 0 ? rc : 0;
}

static int64_t place_of(const struct hn_places *p, const struct hn_job *job) {
    size_t low = 0, high = p->n_jobs;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        bool before = p->jobs[middle].priority != job->priority
            ? p->jobs[middle].priority > job->priority
            : p->jobs[middle].n < job->n;
        if (before)
            low = middle + 1;
        else
            high = middle;
    }
    return (int64_t)low + 1;
}

/*
 * Counting takes as long as the queue is. Who asks once counts; who asks again while nothing
 * changed (a list, many readers) reads the queue once and looks places up. In a long queue places
 * may be a moment old, so that thousands of submissions a second do not each count it.
 */
#define LONG_QUEUE 256
#define PLACES_MS 250

static int count_before(
    struct hn_db *db, const struct hn_job *job, int64_t *ret, struct hn_error *err) {
    return hn_db_number(db, 0, ret, err,
        "SELECT count(*) + 1 FROM jobs INDEXED BY jobs_waiting WHERE status='queued' AND (priority "
        "> ?1 OR (priority = ?1 AND n < ?2))",
        "ii", job->priority, job->n);
}

/* With p->lock held. */
static int find_place(struct hn_db *db, struct hn_places *p, const struct hn_job *job, int64_t *ret,
    struct hn_error *err) {
    int64_t version = atomic_load(&p->commits), now = hn_time_tick();
    bool same = p->version == version, crowded = p->n_jobs > LONG_QUEUE;
    int rc = 0;
    if (!same)
        p->filled &= crowded && now - p->at < PLACES_MS;
    p->version = version;
    if (!same && !crowded) {
        rc = count_before(db, job, ret, err);
        p->n_jobs = (size_t)*ret;
        return rc;
    }
    if (!p->filled) {
        rc = fill_places(db, p, err);
        p->at = now;
    }
    if (!rc)
        *ret = place_of(p, job);
    return rc;
}

int hn_db_job_position(
    struct hn_db *db, const struct hn_job *job, int64_t *ret, struct hn_error *err) {
    struct hn_places *p = db->places;
    *ret = 0;
    if (strcmp(job->status, "queued") != 0)
        return 0;
    if (!p)
        return count_before(db, job, ret, err);
    pthread_mutex_lock(&p->lock);
    int rc = find_place(db, p, job, ret, err);
    pthread_mutex_unlock(&p->lock);
    return rc;
}

/* What subscribers are told of the daemon's own events. */
static unsigned commit_of(const char *type) {
    static const struct {
        const char *type;
        unsigned what;
    } known[] = {{"queued", HN_COMMIT_QUEUED | HN_COMMIT_STATE},
        {"requeued", HN_COMMIT_QUEUED | HN_COMMIT_STATE}, {"claimed", HN_COMMIT_STATE},
        {"paused", HN_COMMIT_STATE}, {"cancelled", HN_COMMIT_STATE | HN_COMMIT_ENDED},
        {"succeeded", HN_COMMIT_STATE | HN_COMMIT_ENDED},
        {"failed", HN_COMMIT_STATE | HN_COMMIT_ENDED}};
    for (size_t i = 0; i < sizeof known / sizeof known[0]; i++)
        if (strcmp(known[i].type, type) == 0)
            return HN_COMMIT_EVENTS | known[i].what;
    return HN_COMMIT_EVENTS;
}

int hn_db_event_add(struct hn_db *db, int64_t job, const char *id, const char *type, json_t *data,
    struct hn_error *err) {
    char now[HN_TIME_SIZE], *text = json_dumps(data, JSON_COMPACT | JSON_REAL_PRECISION(15));
    json_decref(data);
    hn_time_now(now);
    int rc = text ? hn_db_run(db, err,
                        "INSERT INTO events (job,seq,time,type,data) SELECT n,next_seq,?2,?3,?4 "
                        "FROM jobs WHERE n=?1",
                        "isss", job, now, type, text)
                  : hn_fail(err, HN_E_INTERNAL, "out of memory");
    free(text);
    if (!rc)
        rc = hn_db_run(db, err, "UPDATE jobs SET next_seq=next_seq+1 WHERE n=?1", "i", job);
    hn_db_touch(db, id, commit_of(type));
    return rc;
}

int hn_db_idempotent(struct hn_db *db, const char *owner, const char *key, const char *body,
    char ret[HN_ID_SIZE], struct hn_error *err) {
    struct hn_rows rows;
    ret[0] = 0;
    int rc = hn_rows_open(&rows, db, err,
        "SELECT body,job FROM idempotency WHERE owner=?1 AND key=?2 AND created_ms>?3", "ssi",
        owner, key, hn_time_ms() - DAY_MS);
    if (rc)
        return rc;
    rc = hn_rows_next(&rows, err);
    if (rc == 1 && strcmp(hn_rows_text(&rows, 0), body) != 0) {
        rc = hn_fail(err, HN_E_CONFLICT,
            "this Idempotency-Key was used for another request in the last 24 hours");
        hn_error_field(err, "Idempotency-Key");
        hn_error_hint(err, "send a new key with every new job");
    } else if (rc == 1) {
        snprintf(ret, HN_ID_SIZE, "%s", hn_rows_text(&rows, 1));
        rc = 0;
    }
    hn_rows_close(&rows);
    return rc;
}

static int insert_row(struct hn_db *db, const struct hn_job *job, struct hn_error *err) {
    return hn_db_run(db, err,
        "INSERT INTO jobs "
        "(id,name,owner,status,reason_code,reason_message,task,method,model,dataset,validation_"
        "dataset,validation,request,hyperparameters,auto_why,counts,plan,run,host,metadata,"
        "priority,peak_bytes,total_steps,created_at,test_dataset,datasets,verifies,problem,label_"
        "count,labels,warnings,sweep,stop_at) VALUES "
        "(?1,?2,?3,'queued','waiting_for_slot','waiting for a free "
        "slot',?4,?5,?6,?7,?8,?9,?10,?11,?12,?13,?14,?15,?16,?17,?18,?19,?20,?21,?22,?23,?24,?25,"
        "nullif(?26,-1),?27,?28,?29,nullif(?30,-1))",
        "sssssssssssssssssiiisssssisssi", job->id, job->name, job->owner, job->task, job->method,
        job->model, job->dataset, job->validation_dataset, job->validation, job->request,
        job->hyperparameters, job->auto_why, job->counts, job->plan, job->run, job->host,
        job->metadata, job->priority, job->peak_bytes, job->total_steps, job->created_at,
        job->test_dataset, job->datasets, job->verifies, job->problem, job->label_count,
        job->labels, job->warnings, job->sweep, job->stop_at);
}

/* What the plan was made from must still be there, and within the client's reach, when the job
 * becomes visible. */
static int inputs_exist(struct hn_db *db, const struct hn_job *job, const struct hn_reach *reach,
    struct hn_error *err) {
    int64_t model, missing = 0;
    int rc = hn_db_number(db, 0, &model, err,
        "SELECT 1 FROM models WHERE name=?1 AND "
        "sha256=coalesce(json_extract(?2,'$.model.sha256'),sha256)",
        "ss", job->model, job->run);
    if (!rc)
        rc = hn_db_number(db, 0, &missing, err,
            "SELECT count(*) FROM (SELECT ?1 AS id UNION SELECT ?2 UNION SELECT ?3 UNION SELECT "
            "json_extract(value,'$.dataset') FROM json_each(?4)) w WHERE w.id IS NOT NULL AND NOT "
            "EXISTS (SELECT 1 FROM datasets d WHERE d.id=w.id AND " HN_REACHES(
                "d.owner", 5, 6, 7) ")",
            "ssssiss", job->dataset, job->validation_dataset, job->test_dataset,
            job->datasets ? job->datasets : "[]", (int64_t)reach->all, reach->owner, reach->team);
    if (!rc && (!model || missing))
        rc = hn_fail(err, HN_E_CONFLICT,
            "the model or data set was deleted or replaced while the job was being planned");
    return rc;
}

/* Those that came with the submission are there to stay now. */
static int accept_datasets(struct hn_db *db, const struct hn_job *job, struct hn_error *err) {
    return hn_db_run(db, err,
        "UPDATE datasets SET provisional=0 WHERE provisional AND (id IN (?1,?2,?3) OR id IN "
        "(SELECT json_extract(value,'$.dataset') FROM json_each(?4)))",
        "ssss", job->dataset, job->validation_dataset, job->test_dataset,
        job->datasets ? job->datasets : "[]");
}

int hn_db_job_insert(struct hn_db *db, void *arg, struct hn_error *err) {
    struct hn_job_insert *insert = arg;
    struct hn_job *job = insert->job;
    int rc = 0;
    insert->existing[0] = 0;
    if (insert->key) {
        rc = hn_db_idempotent(db, job->owner, insert->key, insert->key_body, insert->existing, err);
        if (rc || insert->existing[0])
            return rc;
        rc = hn_db_run(
            db, err, "DELETE FROM idempotency WHERE created_ms<=?1", "i", hn_time_ms() - DAY_MS);
        if (!rc)
            rc = hn_db_run(db, err,
                "INSERT OR REPLACE INTO idempotency (owner,key,body,job,created_ms) VALUES "
                "(?1,?2,?3,?4,?5)",
                "ssssi", job->owner, insert->key, insert->key_body, job->id, hn_time_ms());
    }
    if (insert->trial && !rc) {
        rc = hn_db_trial_add(db, insert->trial, job->id, insert->existing, err);
        if (rc || insert->existing[0])
            return rc;
    }
    if (!rc)
        rc = inputs_exist(db, job, &insert->reach, err);
    if (!rc)
        rc = hn_db_quota_queued(db, job->owner, err);
    if (!rc)
        rc = insert_row(db, job, err);
    if (rc)
        return rc;
    job->n = hn_db_last_id(db);
    rc = accept_datasets(db, job, err);
    if (rc)
        return rc;
    rc = hn_db_event_add(db, job->n, job->id, "queued", json_object(), err);
    size_t i;
    json_t *warning;
    json_array_foreach(insert->warnings, i, warning) {
        if (!rc)
            rc = hn_db_event_add(db, job->n, job->id, "warning", json_incref(warning), err);
    }
    return rc;
}

static int refuse_verb(struct hn_error *err, const struct hn_job *job, const char *verb) {
    hn_fail(err, HN_E_CONFLICT, "job %s is %s; it cannot be %s", job->id, job->status,
        verb[0] == 'c'       ? "cancelled"
            : verb[0] == 'p' ? "paused"
                             : "resumed");
    hn_error_hint(err,
        hn_job_ended(job->status) ? "it has ended; POST /jobs with its \"request\" starts it anew"
                                  : "GET /jobs/%s tells its state",
        job->id);
    return HN_E_CONFLICT;
}

static int move(struct hn_db *db, const struct hn_job *job, const char *status, const char *event,
    struct hn_error *err) {
    char now[HN_TIME_SIZE];
    hn_time_now(now);
    int rc = hn_db_run(db, err,
        "UPDATE jobs SET status=?2, requested=NULL, blocked_since=0, not_before=0, "
        "reason_code=CASE WHEN ?2='queued' THEN 'waiting_for_slot' END, reason_message=CASE WHEN "
        "?2='queued' THEN 'waiting for a free slot' END, finished_at=CASE WHEN ?2='cancelled' THEN "
        "?3 ELSE finished_at END WHERE n=?1",
        "iss", job->n, status, now);
    if (!rc && hn_job_ended(status))
        rc = hn_db_notice_add(db, job->n, status, err);
    return rc ? rc : hn_db_event_add(db, job->n, job->id, event, json_object(), err);
}

static int want(
    struct hn_db *db, const struct hn_job *job, const char *requested, struct hn_error *err) {
    hn_db_touch(db, job->id, HN_COMMIT_STATE);
    return hn_db_run(db, err, "UPDATE jobs SET requested=?2 WHERE n=?1", "is", job->n, requested);
}

static int ask_cancel(struct hn_db *db, const struct hn_job *job, struct hn_error *err) {
    if (strcmp(job->status, "cancelled") == 0)
        return 0;
    if (strcmp(job->status, "running") == 0)
        return want(db, job, "cancel", err);
    return hn_job_ended(job->status) ? refuse_verb(err, job, "cancel")
                                     : move(db, job, "cancelled", "cancelled", err);
}

static int ask_pause(struct hn_db *db, const struct hn_job *job, struct hn_error *err) {
    if (strcmp(job->status, "paused") == 0)
        return 0;
    if (strcmp(job->status, "queued") == 0)
        return move(db, job, "paused", "paused", err);
    if (strcmp(job->status, "running") != 0 ||
        (job->requested && strcmp(job->requested, "cancel") == 0))
        return refuse_verb(err, job, "pause");
    return want(db, job, "pause", err);
}

/* A pause that is still under way is taken back: the trainer stops all the same, and the job is
 * queued again. Who resumes a job that waits at a step wants it to run to its end. */
static int ask_resume(struct hn_db *db, const struct hn_job *job, struct hn_error *err) {
    if (strcmp(job->status, "paused") == 0) {
        int rc = hn_db_quota_queued(db, job->owner, err);
        if (!rc)
            rc = hn_db_run(db, err,
                "UPDATE jobs SET stop_at=NULL WHERE n=?1 AND reason_code='waiting_for_promotion'",
                "i", job->n);
        return rc ? rc : move(db, job, "queued", "queued", err);
    }
    if (hn_job_ended(job->status) || (job->requested && strcmp(job->requested, "cancel") == 0))
        return refuse_verb(err, job, "resume");
    return want(db, job, NULL, err);
}

int hn_db_job_ask(struct hn_db *db, void *arg, struct hn_error *err) {
    const struct hn_job_ask *ask = arg;
    struct hn_job job;
    hn_job_init(&job);
    int rc = hn_db_job_get(db, ask->id, &job, err);
    if (!rc)
        rc = ask->verb[0] == 'c'  ? ask_cancel(db, &job, err)
            : ask->verb[0] == 'p' ? ask_pause(db, &job, err)
                                  : ask_resume(db, &job, err);
    hn_job_finish(&job);
    return rc;
}

int hn_db_job_patch(struct hn_db *db, void *arg, struct hn_error *err) {
    const struct hn_job_patch *patch = arg;
    int rc = hn_db_run(db, err,
        "UPDATE jobs SET name=CASE WHEN ?2 THEN ?3 ELSE name END, metadata=CASE WHEN ?4 THEN ?5 "
        "ELSE metadata END, priority=CASE WHEN ?6 THEN ?7 ELSE priority END WHERE id=?1",
        "sisisii", patch->id, (int64_t)patch->set_name, patch->name, (int64_t)patch->set_metadata,
        patch->metadata, (int64_t)patch->set_priority, patch->priority);
    return rc || hn_db_changes(db) ? rc : hn_db_job_missing(err, patch->id);
}

int hn_db_job_delete(struct hn_db *db, void *arg, struct hn_error *err) {
    const char *id = arg;
    struct hn_job job;
    hn_job_init(&job);
    int rc = hn_db_job_get(db, id, &job, err);
    if (!rc && !hn_job_ended(job.status)) {
        rc = hn_fail(
            err, HN_E_CONFLICT, "job %s is %s; only ended jobs can be deleted", id, job.status);
        hn_error_hint(err, "POST /jobs/%s/cancel ends it", id);
    }
    if (!rc)
        rc = hn_db_run(db, err, "DELETE FROM idempotency WHERE job=?1", "s", id);
    if (!rc)
        rc = hn_db_run(db, err, "DELETE FROM jobs WHERE id=?1", "s", id);
    hn_job_finish(&job);
    return rc;
}

static int collect(
    struct hn_rows *rows, char (**ret)[HN_ID_SIZE], size_t *ret_n, struct hn_error *err) {
    char(*ids)[HN_ID_SIZE] = NULL;
    size_t n = 0, capacity = 0;
    int rc;
    while ((rc = hn_rows_next(rows, err)) == 1) {
        if (!hn_grow(&ids, &capacity, n + 1, sizeof *ids)) {
            rc = hn_fail(err, HN_E_INTERNAL, "out of memory");
            break;
        }
        snprintf(ids[n++], HN_ID_SIZE, "%s", hn_rows_text(rows, 0));
    }
    hn_rows_close(rows);
    if (rc) {
        free(ids);
        return rc;
    }
    *ret = ids;
    *ret_n = n;
    return 0;
}

int hn_db_jobs_running(
    struct hn_db *db, char (**ret)[HN_ID_SIZE], size_t *ret_n, struct hn_error *err) {
    struct hn_rows rows;
    int rc =
        hn_rows_open(&rows, db, err, "SELECT id FROM jobs WHERE status='running' ORDER BY n", "");
    return rc ? rc : collect(&rows, ret, ret_n, err);
}

int hn_db_jobs_unended(struct hn_db *db, json_t **ret, struct hn_error *err) {
    return hn_db_texts(
        db, ret, err, "SELECT id FROM jobs WHERE status IN ('queued','running','paused')");
}

int hn_db_jobs_older(struct hn_db *db, const char *time, char (**ret)[HN_ID_SIZE], size_t *ret_n,
    struct hn_error *err) {
    struct hn_rows rows;
    int rc = hn_rows_open(&rows, db, err,
        "SELECT id FROM jobs WHERE status IN ('succeeded','failed','cancelled') AND finished_at<?1 "
        "ORDER BY n LIMIT 100",
        "s", time);
    return rc ? rc : collect(&rows, ret, ret_n, err);
}

int hn_db_jobs_memory(struct hn_db *db, int64_t *ret, struct hn_error *err) {
    return hn_db_number(
        db, 0, ret, err, "SELECT sum(peak_bytes) FROM jobs WHERE status='running'", "");
}

int hn_db_jobs_count(struct hn_db *db, json_t **ret, struct hn_error *err) {
    struct hn_rows rows;
    int rc = hn_rows_open(&rows, db, err, "SELECT status,count(*) FROM jobs GROUP BY status", "");
    if (rc)
        return rc;
    json_t *counts = json_object();
    while ((rc = hn_rows_next(&rows, err)) == 1)
        json_object_set_new(counts, hn_rows_text(&rows, 0), json_integer(hn_rows_int(&rows, 1)));
    hn_rows_close(&rows);
    if (rc)
        json_decref(counts);
    else
        *ret = counts;
    return rc;
}
