/* See store_notices.h. A table says in which words a notice is told: one row a face. */
#include "server/store/store_notices.h"
#include "server/base/hook_address.h"
#include "server/store/store_db.h"
#include "server/store/store_events.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* A face: how an event is told. `body` is SQL over the job's row, with ?2 the notice's id, ?3 its
 * type, ?4 the time. */
struct face {
    const char *prefix; /* of the type; the job's status follows */
    const char *body;
};
static const struct face openai = {"fine_tuning.job.",
    "json_object('id',?2,'type',?3,'created_at',CAST(strftime('%s',?4) AS INTEGER),'data',"
    "json_object('id','ftjob-'||substr(id,5)),'object','event')"};
static const struct face hone = {"job.",
    "json_object('id',?2,'type',?3,'created_at',?4,'data',json_object('id',id,'name',name,"
    "'status',status,'status_reason',json(CASE WHEN reason_code IS NOT NULL THEN "
    "json_object('code',reason_code,'message',reason_message) END),'task',task,'model',model,"
    "'metadata',json(metadata),'created_at',created_at,'started_at',started_at,'finished_at',"
    "finished_at),'object','event')"};

static int insert(struct hn_db *db, const struct face *face, int64_t job, const char *status,
    const char *url, struct hn_error *err) {
    struct hn_hook_address address;
    char id[HN_ID_SIZE], type[64], now[HN_TIME_SIZE], sql[1024];
    int64_t ms = hn_time_ms();
    if (hn_hook_address_read(url, &address, NULL))
        return 0; /* it was read when the job was submitted */
    hn_id_make("evt", id);
    hn_time_rfc3339(ms, now);
    snprintf(type, sizeof type, "%s%s", face->prefix, status);
    snprintf(sql, sizeof sql,
        "INSERT INTO notices (job,id,type,url,host,body,created_ms,due_ms) SELECT "
        "n,?2,?3,?5,?6,%s,?7,?7 FROM jobs WHERE n=?1",
        face->body);
    int rc = hn_db_run(db, err, sql, "isssssi", job, id, type, now, url, address.host, ms);
    return rc ? rc
              : hn_db_run(db, err,
                    "UPDATE jobs SET notice=json_object('id',?2,'type',?3,'state','waiting',"
                    "'attempts',0,'status',NULL,'message',NULL,'time',NULL) WHERE n=?1",
                    "iss", job, id, type);
}

int hn_db_notice_add(struct hn_db *db, int64_t job, const char *status, struct hn_error *err) {
    struct hn_rows rows;
    int rc = hn_rows_open(&rows, db, err,
        "SELECT "
        "json_extract(request,'$.notify_url'),json_extract(request,'$.notify_form')='openai' "
        "FROM jobs WHERE n=?1",
        "i", job);
    if (rc)
        return rc;
    rc = hn_rows_next(&rows, err);
    const char *url = rc == 1 ? hn_rows_text(&rows, 0) : NULL;
    char *copy = url ? strdup(url) : NULL;
    const struct face *face = url && hn_rows_int(&rows, 1) ? &openai : &hone;
    hn_rows_close(&rows);
    rc = rc < 0 ? rc
        : copy  ? insert(db, face, job, status, copy, err)
        : url   ? hn_fail(err, HN_E_INTERNAL, "out of memory")
                : 0;
    free(copy);
    return rc;
}

/* Names of hosts as the statement's text. NULL when out of memory. */
static char *text_of(const json_t *names) {
    return json_dumps(names, JSON_COMPACT);
}

#define FREE_HOSTS "host NOT IN (SELECT value FROM json_each(?1))"

int hn_db_notices_due(struct hn_db *db, int64_t now, const json_t *busy, int64_t limit,
    void (*each)(void *ud, const struct hn_notice_due *notice), void *ud, struct hn_error *err) {
    char *names = text_of(busy);
    struct hn_rows rows;
    int rc = names ? hn_rows_open(&rows, db, err,
                         "SELECT n,attempts,created_ms,id,url,host,body FROM notices WHERE n IN "
                         "(SELECT min(n) FROM notices WHERE state='waiting' AND due_ms<=?2 "
                         "AND " FREE_HOSTS " GROUP BY host) ORDER BY due_ms LIMIT ?3",
                         "sii", names, now, limit)
                   : hn_fail(err, HN_E_INTERNAL, "out of memory");
    free(names);
    if (rc)
        return rc;
    while ((rc = hn_rows_next(&rows, err)) == 1)
        each(ud,
            &(struct hn_notice_due){.n = hn_rows_int(&rows, 0),
                .attempts = hn_rows_int(&rows, 1),
                .created_ms = hn_rows_int(&rows, 2),
                .id = hn_rows_text(&rows, 3),
                .url = hn_rows_text(&rows, 4),
                .host = hn_rows_text(&rows, 5),
                .body = hn_rows_text(&rows, 6)});
    hn_rows_close(&rows);
    return rc;
}

int hn_db_notices_next(
    struct hn_db *db, const json_t *busy, int64_t *ret_due_ms, struct hn_error *err) {
    char *names = text_of(busy);
    int rc = names
        ? hn_db_number(db, INT64_MAX, ret_due_ms, err,
              "SELECT min(due_ms) FROM notices WHERE state='waiting' AND " FREE_HOSTS, "s", names)
        : hn_fail(err, HN_E_INTERNAL, "out of memory");
    free(names);
    return rc;
}

static int warn(struct hn_db *db, int64_t job, const struct hn_notice_attempt *a, int64_t attempts,
    struct hn_error *err) {
    json_t *warning = json_pack("{s:s,s:o,s:[]}", "code", "notice_given_up", "message",
        json_sprintf("notify_url was not told of the job's end, after %lld attempts: %s",
            (long long)attempts, a->message ? a->message : "refused"),
        "lines");
    int rc = hn_db_warning_add(db, job, warning, err);
    json_decref(warning);
    return rc;
}

int hn_db_notice_attempted(struct hn_db *db, void *arg, struct hn_error *err) {
    const struct hn_notice_attempt *a = arg;
    int64_t job = 0, attempts = 0;
    char now[HN_TIME_SIZE];
    hn_time_now(now);
    int rc = hn_db_run(db, err,
        "UPDATE notices SET state=?2, due_ms=?3, attempts=attempts+1 WHERE n=?1 AND "
        "state='waiting'",
        "isi", a->n, a->state, a->due_ms);
    if (rc || !hn_db_changes(db))
        return rc; /* its job was deleted meanwhile */
    rc = hn_db_number(db, 0, &job, err, "SELECT job FROM notices WHERE n=?1", "i", a->n);
    if (!rc)
        rc = hn_db_number(
            db, 0, &attempts, err, "SELECT attempts FROM notices WHERE n=?1", "i", a->n);
    if (!rc)
        rc = hn_db_run(db, err,
            "UPDATE jobs SET notice=json_set(notice,'$.state',?2,'$.attempts',?3,'$.status',"
            "nullif(?4,0),'$.message',?5,'$.time',?6) WHERE n=?1",
            "isiiss", job, a->state, attempts, a->status, a->message, now);
    return rc || strcmp(a->state, "given_up") != 0 ? rc : warn(db, job, a, attempts, err);
}
