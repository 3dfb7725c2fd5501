/*
 * Ingestion: lines of events.jsonl become rows. A table says what each type changes besides the
 * stream itself.
 *
 * The trainer numbers its lines; a number seen before is skipped, a line that is no event is
 * skipped and counted, and the offset moves over both: a damaged line can neither stop the stream
 * nor be counted twice.
 */
#include "server/store/store_db.h"
#include "server/store/store_events.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define LEVELS 7 /* 8^7 rows a bucket: enough for any series that fits a disk */

struct run {
    struct hn_db *db;
    int64_t job;
    const char *id;
    int64_t n, next_seq, next_metric, step, tokens;
    char metric_for_best[64];
    unsigned what; /* its lines bring (enum hn_commit) */
};

static double real(const json_t *data, const char *name) {
    const json_t *value = json_object_get(data, name);
    return json_is_number(value) ? json_number_value(value) : (double)NAN;
}

static int64_t whole(const json_t *data, const char *name) {
    const json_t *value = json_object_get(data, name);
    double number = json_number_value(value);
    if (json_is_integer(value))
        return (int64_t)json_integer_value(value);
    return json_is_real(value) && fabs(number) < 9e15 ? (int64_t)number : 0;
}

static const char *text(const json_t *data, const char *name) {
    return json_string_value(json_object_get(data, name));
}

static char *dump(const json_t *value) {
    return json_dumps(value, JSON_COMPACT | JSON_ENCODE_ANY | JSON_REAL_PRECISION(15));
}

static int on_started(struct run *run, const json_t *data, const char *time, struct hn_error *err) {
    (void)time;
    return hn_db_run(run->db, err, "UPDATE jobs SET kernels=coalesce(?2,kernels) WHERE n=?1", "is",
        run->job, text(data, "kernels"));
}

/* The trainer's plan overrides the helper's estimate. */
static int on_plan(struct run *run, const json_t *data, const char *time, struct hn_error *err) {
    (void)time;
    static const char *const plan[] = {"peak_bytes", "micro_batch_tokens", "recompute"};
    static const char *const counts[] = {"rows", "dropped", "truncated", "target_tokens"};
    json_t *p = json_object(), *c = json_object();
    for (size_t i = 0; i < 3; i++)
        if (json_object_get(data, plan[i]))
            json_object_set(p, plan[i], json_object_get(data, plan[i]));
    for (size_t i = 1; i < 4; i++)
        if (json_object_get(data, counts[i]))
            json_object_set(c, counts[i], json_object_get(data, counts[i]));
    char *ptext = dump(p), *ctext = dump(c);
    int rc = hn_db_run(run->db, err,
        "UPDATE jobs SET total_steps=max(?2,total_steps*(?2<=0)), plan=json_patch(plan,?3), "
        "counts=json_patch(counts,?4) WHERE n=?1",
        "iiss", run->job, whole(data, "steps"), ptext, ctext);
    free(ptext);
    free(ctext);
    json_decref(p);
    json_decref(c);
    return rc;
}

static int add_levels(struct run *run, int64_t seq, double loss, struct hn_error *err) {
    int64_t width = 1;
    int rc = 0;
    for (int64_t level = 1; level <= LEVELS && !rc; level++) {
        width *= 8;
        rc = hn_db_run(run->db, err,
            "INSERT INTO metric_levels (job,level,bucket,min_seq,min_loss,max_seq,max_loss) VALUES "
            "(?1,?2,?3,?4,?5,?4,?5) ON CONFLICT (job,level,bucket) DO UPDATE SET min_seq=CASE WHEN "
            "excluded.min_loss<min_loss THEN excluded.min_seq ELSE min_seq END, "
            "min_loss=min(min_loss,excluded.min_loss), max_seq=CASE WHEN "
            "excluded.max_loss>max_loss THEN excluded.max_seq ELSE max_seq END, "
            "max_loss=max(max_loss,excluded.max_loss)",
            "iiiid", run->job, level, (seq - 1) / width, seq, loss);
    }
    return rc;
}

static int on_step(struct run *run, const json_t *data, const char *time, struct hn_error *err) {
    double loss = real(data, "loss");
    int64_t seq = run->next_metric++;
    run->step = whole(data, "step");
    run->tokens = whole(data, "tokens");
    int rc = hn_db_run(run->db, err,
        "INSERT INTO metrics "
        "(job,seq,step,epoch,tokens,loss,learning_rate,grad_norm,tokens_per_second,val,time) "
        "VALUES (?1,?2,?3,?4,?5,?6,?7,?8,?9,NULL,?10)",
        "iiididddds", run->job, seq, run->step, real(data, "epoch"), run->tokens, loss,
        real(data, "learning_rate"), real(data, "grad_norm"), real(data, "tokens_per_second"),
        time);
    if (!rc && !isnan(loss))
        rc = add_levels(run, seq, loss, err);
    if (!rc) /* step_seconds: a slow mean, for the time that is left */
        rc = hn_db_run(run->db, err,
            "UPDATE jobs SET step=?2, epoch=?3, tokens=?4, loss=?5, tokens_per_second=?6, "
            "step_seconds=coalesce(0.9*step_seconds+0.1*?7,?7,step_seconds) WHERE n=?1",
            "iididdd", run->job, run->step, real(data, "epoch"), run->tokens, loss,
            real(data, "tokens_per_second"), real(data, "seconds"));
    return rc;
}

/* Beside the plan's, once each: a record that is restored has them already. */
int hn_db_warning_add(struct hn_db *db, int64_t job, const json_t *warning, struct hn_error *err) {
    char *line = dump(warning);
    int rc = hn_db_run(db, err,
        "UPDATE jobs SET warnings=json_insert(coalesce(warnings,'[]'),'$[#]',json(?2)) WHERE n=?1 "
        "AND json_array_length(coalesce(warnings,'[]'))<100 AND NOT EXISTS (SELECT 1 FROM "
        "json_each(coalesce(warnings,'[]')) WHERE json_extract(value,'$.code')="
        "json_extract(?2,'$.code') AND json_extract(value,'$.message')="
        "json_extract(?2,'$.message'))",
        "is", job, line ? line : "{}");
    free(line);
    return rc;
}

static int on_warning(struct run *run, const json_t *data, const char *time, struct hn_error *err) {
    json_t *lines = json_object_get(data, "lines");
    json_t *warning = json_pack("{s:s?, s:s?, s:o}", "code", text(data, "code"), "message",
        text(data, "message"), "lines", json_is_array(lines) ? json_incref(lines) : json_array());
    (void)time;
    int rc = hn_db_warning_add(run->db, run->job, warning, err);
    json_decref(warning);
    return rc;
}

/* What is measured of validation rows, and of training rows and the neutral text beside them. */
static json_t *val_part(const json_t *data) {
    json_t *val = json_object(), *value;
    const char *name;
    json_object_foreach((json_t *)(uintptr_t)data, name, value) {
        if (strncmp(name, "val_", 4) == 0 || strcmp(name, "train_eval_loss") == 0 ||
            strcmp(name, "neutral_loss") == 0)
            json_object_set(val, name, value);
    }
    return val;
}

static int note_best(
    struct run *run, int64_t step, const char *metric, double value, struct hn_error *err) {
    json_t *best = json_pack("{s:I,s:s,s:o}", "step", (json_int_t)step, "metric", metric, "value",
        isnan(value) ? json_null() : json_real(value));
    char *line = dump(best);
    int rc = hn_db_run(run->db, err, "UPDATE jobs SET best=?2 WHERE n=?1", "is", run->job, line);
    free(line);
    json_decref(best);
    return rc;
}

static int on_eval(struct run *run, const json_t *data, const char *time, struct hn_error *err) {
    json_t *val = val_part(data);
    char *line = dump(val);
    int64_t step = whole(data, "step"), seq = run->next_metric++;
    int rc = hn_db_run(run->db, err,
        "INSERT INTO metrics (job,seq,step,epoch,tokens,val,time) SELECT ?1,?2,?3,CASE WHEN ?3=0 "
        "THEN 0.0 ELSE epoch END,CASE WHEN ?3=0 THEN 0 ELSE tokens END,?4,?5 FROM jobs WHERE n=?1",
        "iiiss", run->job, seq, step, line, time);
    free(line);
    json_decref(val);
    if (!rc)
        rc = hn_db_run(run->db, err, "UPDATE jobs SET val_loss=coalesce(?2,val_loss) WHERE n=?1",
            "id", run->job, real(data, "val_loss"));
    if (!rc && json_is_true(json_object_get(data, "best"))) {
        const char *metric = run->metric_for_best;
        if (!json_object_get(data, metric))
            metric = "val_loss";
        rc = note_best(run, step, metric, real(data, metric), err);
    }
    return rc;
}

static int on_checkpoint(
    struct run *run, const json_t *data, const char *time, struct hn_error *err) {
    int64_t step = whole(data, "step"), bytes = whole(data, "bytes"),
            best = json_is_true(json_object_get(data, "best"));
    int rc = 0;
    if (best)
        rc = hn_db_run(run->db, err, "UPDATE checkpoints SET best=0 WHERE job=?1", "i", run->job);
    if (!rc)
        rc = hn_db_run(run->db, err,
            "INSERT OR REPLACE INTO checkpoints (job,step,epoch,bytes,best,metrics,created_at) "
            "SELECT ?1,?2,epoch,?3,?4,json_patch(coalesce((SELECT val FROM metrics WHERE job=?1 "
            "AND step=?2 AND val IS NOT NULL ORDER BY seq DESC LIMIT 1),'{}'),coalesce((SELECT "
            "json_object('loss',loss) FROM metrics WHERE job=?1 AND step=?2 AND val IS NULL ORDER "
            "BY seq DESC LIMIT 1),'{}')),?5 FROM jobs WHERE n=?1",
            "iiiis", run->job, step, bytes, best, time);
    if (!rc) /* a new checkpoint is progress: deaths are counted from here */
        rc = hn_db_run(run->db, err,
            "UPDATE jobs SET deaths=CASE WHEN ?2>coalesce(checkpoint_step,-1) THEN 0 ELSE deaths "
            "END, checkpoint_step=max(?2,coalesce(checkpoint_step,-1)), checkpoint_bytes=?3 WHERE "
            "n=?1",
            "iii", run->job, step, bytes);
    return rc;
}

/* Names become paths later: only plain relative ones are taken. */
static bool path_ok(const char *path) {
    size_t n = strlen(path);
    if (n == 0 || n > 255 || path[0] == '/' || path[n - 1] == '/' || strstr(path, "//"))
        return false;
    for (const char *part = path; part;) {
        size_t len = strcspn(part, "/");
        if ((len == 1 && part[0] == '.') || (len == 2 && part[0] == '.' && part[1] == '.'))
            return false;
        part = part[len] ? part + len + 1 : NULL;
    }
    for (const char *s = path; *s; s++)
        if ((unsigned char)*s < 0x20)
            return false;
    return true;
}

static int on_artifact(
    struct run *run, const json_t *data, const char *time, struct hn_error *err) {
    (void)time;
    const char *path = text(data, "path"), *sha = text(data, "sha256");
    if (!path || !sha || strlen(sha) != 64 || !path_ok(path))
        return 0;
    /* An export is verified before its files are told; its name is their folder. */
    return hn_db_run(run->db, err,
        "INSERT OR REPLACE INTO artifacts (job,path,size,sha256,verified) VALUES "
        "(?1,?2,?3,?4,(SELECT json_extract(v.value,'$.passed') FROM "
        "jobs,json_each(jobs.verification) v WHERE jobs.n=?1 AND ?2 LIKE "
        "json_extract(v.value,'$.artifact')||'/%'))",
        "isis", run->job, path, whole(data, "size"), sha);
}

/* Puts an event's data as JSON into the job: ?2 of the statement. */
static int put_data(struct run *run, const char *sql, const json_t *data, struct hn_error *err) {
    char *line = dump(data);
    int rc = hn_db_run(run->db, err, sql, "is", run->job, line);
    free(line);
    return rc;
}

static int on_verified(
    struct run *run, const json_t *data, const char *time, struct hn_error *err) {
    (void)time;
    return put_data(run,
        "UPDATE jobs SET verification=json_insert(verification,'$[#]',json(?2)) WHERE n=?1", data,
        err);
}

static int on_test(struct run *run, const json_t *data, const char *time, struct hn_error *err) {
    (void)time;
    return put_data(run, "UPDATE jobs SET test=?2 WHERE n=?1", data, err);
}

static int on_fit(struct run *run, const json_t *data, const char *time, struct hn_error *err) {
    (void)time;
    return put_data(run, "UPDATE jobs SET fit=?2 WHERE n=?1", data, err);
}

static int on_finished(
    struct run *run, const json_t *data, const char *time, struct hn_error *err) {
    (void)time;
    const json_t *exported = json_object_get(data, "exported_step");
    /* A verdict is told when it changes: the last one holds for the end as well. */
    int rc = hn_db_run(run->db, err,
        "UPDATE jobs SET fit=json_set(fit,'$.provisional',json('false')) WHERE n=?1", "i",
        run->job);
    return rc || !json_is_integer(exported)
        ? rc
        : hn_db_run(run->db, err, "UPDATE jobs SET exported_step=?2 WHERE n=?1", "ii", run->job,
              (int64_t)json_integer_value(exported));
}

static const struct {
    const char *type;
    int (*apply)(struct run *run, const json_t *data, const char *time, struct hn_error *err);
    unsigned what; /* subscribers are told besides HN_COMMIT_EVENTS */
} effects[] = {
    {"started", on_started, 0},
    {"plan", on_plan, 0},
    {"step", on_step, HN_COMMIT_METRICS},
    {"eval", on_eval, HN_COMMIT_METRICS},
    {"checkpoint", on_checkpoint, HN_COMMIT_CHECKPOINT},
    {"artifact", on_artifact, 0},
    {"verified", on_verified, 0},
    {"finished", on_finished, 0},
    {"test", on_test, 0},
    {"fit", on_fit, 0},
    {"resumed", NULL, 0},
    {"sample", NULL, 0},
    {"warning", on_warning, 0},
    {"interrupted", NULL, 0},
    {"failed", NULL, 0},
};

static int apply(
    struct run *run, const char *type, const json_t *data, const char *time, struct hn_error *err) {
    for (size_t i = 0; i < sizeof effects / sizeof effects[0]; i++)
        if (strcmp(effects[i].type, type) == 0) {
            run->what |= effects[i].what;
            return effects[i].apply ? effects[i].apply(run, data, time, err) : 0;
        }
    return 0; /* a newer trainer's event: kept in the stream, means nothing here */
}

/* A trainer may not forge what only the daemon says. */
static bool type_ok(const char *type) {
    static const char *const own[] = {
        "queued", "claimed", "paused", "cancelled", "requeued", "succeeded"};
    for (size_t i = 0; i < sizeof own / sizeof own[0]; i++)
        if (strcmp(own[i], type) == 0)
            return false;
    return *type && strlen(type) <= 32 &&
        strspn(type, "abcdefghijklmnopqrstuvwxyz_") == strlen(type);
}

/* One line; *counted tells whether it was an event not seen before. */
static int add_line(
    struct run *run, const char *line, size_t size, bool *counted, struct hn_error *err) {
    json_t *event = NULL;
    *counted = false;
    if (hn_json_parse(line, size, &event, NULL))
        return 0;
    const char *type = text(event, "type"), *time = text(event, "time");
    const json_t *data = json_object_get(event, "data");
    int64_t n = whole(event, "n");
    char now[HN_TIME_SIZE];
    if (!time || strlen(time) > 40) {
        hn_time_now(now);
        time = now;
    }
    if (!type || !type_ok(type) || !json_is_object(data) || n <= run->n) {
        json_decref(event);
        return 0;
    }
    *counted = true;
    char *body = dump(data);
    int rc = body ? hn_db_run(run->db, err,
                        "INSERT INTO events (job,seq,time,type,data) VALUES (?1,?2,?3,?4,?5)",
                        "iisss", run->job, run->next_seq, time, type, body)
                  : hn_fail(err, HN_E_INTERNAL, "out of memory");
    if (!rc)
        rc = hn_db_run(run->db, err,
            "UPDATE jobs SET verdict=?2, verdict_data=CASE WHEN ?2 IN "
            "('finished','failed','interrupted') THEN ?3 END WHERE n=?1",
            "iss", run->job, type, body);
    if (!rc)
        rc = apply(run, type, data, time, err);
    run->n = n;
    run->next_seq++;
    free(body);
    json_decref(event);
    return rc;
}

static int open_run(struct run *run, struct hn_ingest *ingest, struct hn_error *err) {
    struct hn_rows rows;
    int rc = hn_rows_open(&rows, run->db, err,
        "SELECT "
        "n,ingested_bytes,ingested_n,next_seq,next_metric,coalesce(requested,''),coalesce(json_"
        "extract(hyperparameters,'$.metric_for_best'),'val_loss'),checkpoint_bytes,step,tokens "
        "FROM jobs WHERE id=?1",
        "s", ingest->id);
    if (rc)
        return rc;
    rc = hn_rows_next(&rows, err);
    if (rc == 1) {
        run->job = hn_rows_int(&rows, 0);
        run->n = hn_rows_int(&rows, 2);
        run->next_seq = hn_rows_int(&rows, 3);
        run->next_metric = hn_rows_int(&rows, 4);
        snprintf(ingest->requested, sizeof ingest->requested, "%s", hn_rows_text(&rows, 5));
        snprintf(run->metric_for_best, sizeof run->metric_for_best, "%s", hn_rows_text(&rows, 6));
        ingest->checkpoint_bytes = hn_rows_int(&rows, 7);
        run->step = hn_rows_int(&rows, 8);
        run->tokens = hn_rows_int(&rows, 9);
        int64_t have = hn_rows_int(&rows, 1);
        rc = have == ingest->from ? 0 : hn_fail(err, HN_E_CONFLICT, "read from another offset");
        ingest->from = have;
    } else if (rc == 0) {
        rc = hn_fail(err, HN_E_NOT_FOUND, "there is no job \"%.40s\"", ingest->id);
    }
    hn_rows_close(&rows);
    return rc;
}

int hn_db_ingest(struct hn_db *db, void *arg, struct hn_error *err) {
    struct hn_ingest *ingest = arg;
    struct run run = {.db = db, .id = ingest->id};
    ingest->lines = ingest->skipped = 0;
    int rc = open_run(&run, ingest, err);
    int64_t step = run.step, tokens = run.tokens;
    for (size_t at = 0; !rc && at < ingest->size;) {
        const char *line = ingest->text + at, *newline = memchr(line, '\n', ingest->size - at);
        size_t size = newline ? (size_t)(newline - line) : ingest->size - at;
        bool counted;
        rc = add_line(&run, line, size, &counted, err);
        ingest->lines += counted;
        ingest->skipped += !counted;
        at += size + 1;
    }
    if (!rc && ingest->size)
        rc = hn_db_run(db, err,
            "UPDATE jobs SET ingested_bytes=?2, ingested_n=?3, next_seq=?4, next_metric=?5 WHERE "
            "n=?1",
            "iiiii", run.job, ingest->from + (int64_t)ingest->size, run.n, run.next_seq,
            run.next_metric);
    ingest->steps = run.step - step;
    ingest->tokens = run.tokens - tokens;
    if (!rc && ingest->lines)
        hn_db_touch(db, ingest->id, HN_COMMIT_EVENTS | run.what);
    return rc;
}

int hn_db_ingest_from(struct hn_db *db, struct hn_ingest *ingest, struct hn_error *err) {
    int64_t have = 0;
    int rc = hn_db_number(
        db, 0, &have, err, "SELECT ingested_bytes FROM jobs WHERE id=?1", "s", ingest->id);
    size_t skip = rc || have < 0 ? 0 : (size_t)have < ingest->size ? (size_t)have : ingest->size;
    ingest->text += skip;
    ingest->size -= skip;
    ingest->from = have;
    return rc;
}
