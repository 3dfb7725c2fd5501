/* See store_restore.h. */
#include "server/store/store_restore.h"
#include "server/store/store_db.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const struct {
    const char *kind, *names, *number, *taken;
} kinds[] = {
    {"datasets", "SELECT id FROM datasets", "SELECT n FROM datasets WHERE id=?1",
        "SELECT 1 FROM datasets WHERE n=?1"},
    {"models", "SELECT name FROM models", "SELECT n FROM models WHERE name=?1",
        "SELECT 1 FROM models WHERE n=?1"},
    {"runs", "SELECT id FROM jobs", "SELECT n FROM jobs WHERE id=?1",
        "SELECT 1 FROM jobs WHERE n=?1"},
};

static size_t kind_of(const char *kind) {
    size_t i = 0;
    while (strcmp(kinds[i].kind, kind) != 0)
        i++;
    return i;
}

int hn_db_record_names(struct hn_db *db, const char *kind, json_t **ret, struct hn_error *err) {
    return hn_db_texts(db, ret, err, kinds[kind_of(kind)].names);
}

int hn_db_number_of(
    struct hn_db *db, const char *kind, const char *name, int64_t *ret, struct hn_error *err) {
    int rc = hn_db_number(db, 0, ret, err, kinds[kind_of(kind)].number, "s", name);
    return rc || *ret ? rc : hn_fail(err, HN_E_NOT_FOUND, "the store has no record of %.80s", name);
}

int hn_db_name_of_hash(
    struct hn_db *db, const char *kind, const char *sha256, json_t **ret, struct hn_error *err) {
    struct hn_rows rows;
    int rc = hn_rows_open(&rows, db, err,
        kind[0] == 'm' ? "SELECT name FROM models WHERE sha256=?1 ORDER BY n"
                       : "SELECT id FROM datasets WHERE sha256=?1 ORDER BY n",
        "s", sha256);
    if (!rc && (rc = hn_rows_next(&rows, err)) == 1) {
        *ret = json_string(hn_rows_text(&rows, 0));
        rc = 0;
    }
    hn_rows_close(&rows);
    return rc;
}

#define FROM(name) "json_extract(?1,'$." name "')"
/* ?1 is the record. Lists and objects come out of json_extract as the compact text that the
 * insertions of store_files.c write. */
/* clang-format off */
static const char *const inserts[] = {
    "INSERT INTO datasets (n,id,name,format,columns,tasks,rows,bytes,sha256,dropped,warnings,"
    "created_at,on_error,owner,problem,label_count,labels,corrected_from) SELECT "
    FROM("n") "," FROM("id") "," FROM("name") "," FROM("format") ","
    "coalesce(" FROM("columns") ",'null')," FROM("tasks") "," FROM("rows") "," FROM("bytes") ","
    FROM("sha256") "," FROM("dropped") "," FROM("warnings") "," FROM("created_at") ","
    FROM("on_error") ",coalesce(" FROM("owner") ",'')," FROM("problem") "," FROM("label_count")
    ",coalesce(" FROM("labels") ",'null'),coalesce(" FROM("corrected_from") ",'null')",
    "INSERT INTO models (n,name,family,format,quantisation,parameters,context,vocab,tasks,source,"
    "sha256,bytes,chat_template,created_at,entry,files) SELECT "
    FROM("n") "," FROM("name") "," FROM("family") "," FROM("format") "," FROM("quantisation") ","
    FROM("parameters") "," FROM("context") "," FROM("vocab") "," FROM("tasks") ","
    FROM("source") "," FROM("sha256") "," FROM("bytes") "," FROM("chat_template") ","
    FROM("created_at") "," FROM("entry") "," FROM("files"),
    "INSERT INTO jobs (blocked_since"
#define HN_JOB(TYPE, name) "," #name
#include "server/store/job.def"
#undef HN_JOB
    ") SELECT 0"
#define HN_JOB(TYPE, name) "," FROM(#name)
#include "server/store/job.def"
#undef HN_JOB
};
/* clang-format on */

/* What a job's record takes from its events is read from them again. */
static void begin_anew(json_t *job) {
    static const char *const empty[] = {"requested", "reason_code", "reason_message", "verdict",
        "verdict_data", "epoch", "tokens_per_second", "step_seconds", "loss", "val_loss", "best",
        "exported_step", "checkpoint_step", "finished_at", "test", "fit"};
    static const char *const zero[] = {"ingested_bytes", "ingested_n", "step", "tokens",
        "checkpoint_bytes", "deaths", "not_before"};
    for (size_t i = 0; i < sizeof empty / sizeof empty[0]; i++)
        json_object_set_new(job, empty[i], json_null());
    for (size_t i = 0; i < sizeof zero / sizeof zero[0]; i++)
        json_object_set_new(job, zero[i], json_integer(0));
    json_object_set_new(job, "next_seq", json_integer(1));
    json_object_set_new(job, "next_metric", json_integer(1));
    json_object_set_new(job, "verification", json_string("[]"));
    json_object_set_new(job, "status", json_string("running"));
}

int hn_db_restore(struct hn_db *db, void *arg, struct hn_error *err) {
    const struct hn_restore *restore = arg;
    size_t kind = kind_of(restore->kind);
    int64_t taken = 0;
    int rc =
        restore->n > 0 ? hn_db_number(db, 0, &taken, err, kinds[kind].taken, "i", restore->n) : 0;
    if (rc)
        return rc;
    json_t *record = json_copy((json_t *)(uintptr_t)restore->record);
    json_object_set_new(
        record, "n", restore->n > 0 && !taken ? json_integer(restore->n) : json_null());
    if (restore->kind[0] == 'r')
        begin_anew(record);
    char *text = json_dumps(record, JSON_COMPACT | JSON_SORT_KEYS | JSON_REAL_PRECISION(17));
    rc = text ? hn_db_run(db, err, inserts[kind], "s", text)
              : hn_fail(err, HN_E_INTERNAL, "out of memory");
    if (!rc && restore->kind[0] == 'r')
        rc = hn_db_event_add(db, hn_db_last_id(db),
            json_string_value(json_object_get(record, "id")), "queued", json_object(), err);
    free(text);
    json_decref(record);
    return rc;
}

/* The trainer's last event tells how most runs ended; a cancelled or hung one has only its record
 * for that. */
int hn_db_job_restore_end(struct hn_db *db, void *arg, struct hn_error *err) {
    const struct hn_job *recorded = arg;
    struct hn_job job;
    hn_job_init(&job);
    int rc = hn_db_job_get(db, recorded->id, &job, err);
    if (!rc)
        rc = hn_db_run(db, err,
            "UPDATE jobs SET status=?2, reason_code=?3, reason_message=?4, finished_at=?5 WHERE "
            "n=?1",
            "issss", job.n, recorded->status, recorded->reason_code, recorded->reason_message,
            recorded->finished_at);
    bool told = job.verdict && strcmp(job.verdict, "failed") == 0 &&
        strcmp(recorded->status, "failed") == 0;
    if (!rc && !told && strcmp(recorded->status, "failed") == 0)
        rc = hn_db_event_add(db, job.n, job.id, "failed",
            json_pack("{s:s?,s:s?,s:I}", "code", recorded->reason_code, "message",
                recorded->reason_message, "step", (json_int_t)job.step),
            err);
    else if (!rc && !told)
        rc = hn_db_event_add(db, job.n, job.id, recorded->status, json_object(), err);
    hn_job_finish(&job);
    return rc;
}
