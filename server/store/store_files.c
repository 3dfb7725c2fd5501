/* See store_files.h. Keys are in store_keys.c. */
#include "server/store/store_files.h"
#include "server/store/store_db.h"
#include "server/store/store_jobs.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static json_t *parsed(struct hn_rows *rows, int column) {
    const char *text = hn_rows_text(rows, column);
    json_t *value = NULL;
    if (!text || hn_json_parse(text, strlen(text), &value, NULL))
        return json_null();
    return value;
}

static json_t *text_or_null(struct hn_rows *rows, int column) {
    const char *text = hn_rows_text(rows, column);
    return text ? json_string(text) : json_null();
}

static const char *string(const json_t *record, const char *name) {
    return json_string_value(json_object_get(record, name));
}

static int64_t integer(const json_t *record, const char *name) {
    return (int64_t)json_integer_value(json_object_get(record, name));
}

static char *compact(const json_t *record, const char *name) {
    const json_t *value = json_object_get(record, name);
    return value ? json_dumps(value, JSON_COMPACT | JSON_SORT_KEYS | JSON_ENCODE_ANY)
                 : strdup("null");
}

#define DATASET                                                                                  \
    "id,name,format,columns,tasks,rows,bytes,sha256,dropped,warnings,created_at,on_error,owner," \
    "problem,label_count,labels,corrected_from"

static json_t *read_dataset(struct hn_rows *rows) {
    return HN_JSON_OBJECT({"id", json_string(hn_rows_text(rows, 0))},
        {"name", json_string(hn_rows_text(rows, 1))},
        {"format", json_string(hn_rows_text(rows, 2))}, {"columns", parsed(rows, 3)},
        {"tasks", parsed(rows, 4)}, {"rows", json_integer(hn_rows_int(rows, 5))},
        {"bytes", json_integer(hn_rows_int(rows, 6))},
        {"sha256", json_string(hn_rows_text(rows, 7))},
        {"dropped", json_integer(hn_rows_int(rows, 8))}, {"warnings", parsed(rows, 9)},
        {"created_at", json_string(hn_rows_text(rows, 10))},
        {"on_error", json_string(hn_rows_text(rows, 11))},
        {"owner", json_string(hn_rows_text(rows, 12))},
        {"problem", hn_json_string_or_null(hn_rows_text(rows, 13))},
        {"label_count", hn_rows_text(rows, 14) ? json_integer(hn_rows_int(rows, 14)) : json_null()},
        {"labels", parsed(rows, 15)}, {"corrected_from", parsed(rows, 16)});
}

static int one(
    struct hn_rows *rows, json_t *(*reader)(struct hn_rows *), json_t **ret, struct hn_error *err) {
    int rc = hn_rows_next(rows, err);
    if (rc == 1)
        *ret = reader(rows);
    hn_rows_close(rows);
    return rc;
}

static int page(struct hn_rows *rows, json_t *(*reader)(struct hn_rows *), int64_t limit,
    json_t **ret, bool *ret_more, struct hn_error *err) {
    json_t *list = json_array();
    int rc;
    *ret_more = false;
    while ((rc = hn_rows_next(rows, err)) == 1) {
        if ((int64_t)json_array_size(list) == limit) {
            *ret_more = true;
            rc = 0;
            break;
        }
        json_array_append_new(list, reader(rows));
    }
    hn_rows_close(rows);
    if (rc)
        json_decref(list);
    else
        *ret = list;
    return rc;
}

int hn_db_dataset_insert(struct hn_db *db, void *arg, struct hn_error *err) {
    struct hn_dataset_insert *insert = arg;
    json_t *record = insert->record, *existing = NULL;
    char *columns = compact(record, "columns"), *tasks = compact(record, "tasks"),
         *warnings = compact(record, "warnings"), *labels = compact(record, "labels"),
         *origin = compact(record, "corrected_from");
    const char *owner = insert->owner ? insert->owner : "";
    struct hn_rows rows;
    int rc = hn_rows_open(&rows, db, err,
        "SELECT " DATASET
        " FROM datasets WHERE sha256=?1 AND format=?2 AND columns=?3 AND on_error=?4 AND owner=?5",
        "sssss", string(record, "sha256"), string(record, "format"), columns,
        string(record, "on_error"), owner);
    if (!rc)
        rc = one(&rows, read_dataset, &existing, err);
    insert->existing = rc == 1;
    if (rc == 1) {
        json_object_clear(record);
        json_object_update(record, existing);
        json_decref(existing);
        rc = hn_db_run(db, err, "UPDATE datasets SET provisional=0 WHERE id=?1 AND provisional",
            "s", string(record, "id"));
    } else if (rc == 0 && !(rc = hn_db_quota_bytes(db, owner, integer(record, "bytes"), err))) {
        char id[HN_ID_SIZE], now[HN_TIME_SIZE];
        hn_id_make("ds", id);
        hn_time_now(now);
        json_object_set_new(record, "id", json_string(id));
        json_object_set_new(record, "created_at", json_string(now));
        json_object_set_new(record, "owner", json_string(owner));
        rc = hn_db_run(db, err,
            "INSERT INTO datasets "
            "(id,name,format,columns,tasks,rows,bytes,sha256,dropped,warnings,created_at,on_error,"
            "provisional,owner,problem,label_count,labels,corrected_from) VALUES "
            "(?1,?2,?3,?4,?5,?6,?7,?8,?9,?10,?11,?12,?13,?14,?15,CASE WHEN ?15 IS NULL THEN NULL "
            "ELSE ?16 END,?17,?18)",
            "sssssiisisssississ", id, string(record, "name"), string(record, "format"), columns,
            tasks, integer(record, "rows"), integer(record, "bytes"), string(record, "sha256"),
            integer(record, "dropped"), warnings, now, string(record, "on_error"),
            (int64_t)insert->provisional, owner, string(record, "problem"),
            integer(record, "label_count"), labels, origin);
    }
    free(origin);
    free(labels);
    free(columns);
    free(tasks);
    free(warnings);
    return rc;
}

int hn_db_dataset_get(struct hn_db *db, const char *id, json_t **ret, struct hn_error *err) {
    struct hn_rows rows;
    int rc = hn_rows_open(&rows, db, err, "SELECT " DATASET " FROM datasets WHERE id=?1", "s", id);
    if (!rc)
        rc = one(&rows, read_dataset, ret, err);
    return rc == 1 ? 0 : rc < 0 ? rc : hn_db_dataset_missing(err, id);
}

int hn_db_dataset_list(struct hn_db *db, const struct hn_reach *reach, const char *after,
    int64_t limit, json_t **ret, bool *ret_more, struct hn_error *err) {
    struct hn_rows rows;
    int rc = hn_rows_open(&rows, db, err,
        "SELECT " DATASET " FROM datasets WHERE NOT provisional AND (?1 IS NULL OR n<(SELECT n "
        "FROM datasets WHERE id=?1 AND " HN_REACHES("owner", 3, 4, 5) ")) AND " HN_REACHES(
            "owner", 3, 4, 5) " ORDER BY n DESC LIMIT ?2",
        "siiss", after, limit + 1, (int64_t)reach->all, reach->owner, reach->team);
    return rc ? rc : page(&rows, read_dataset, limit, ret, ret_more, err);
}

int hn_db_dataset_file_used(struct hn_db *db, const char *sha256, bool *ret, struct hn_error *err) {
    int64_t n;
    int rc =
        hn_db_number(db, 0, &n, err, "SELECT count(*) FROM datasets WHERE sha256=?1", "s", sha256);
    if (!rc)
        *ret = n > 0;
    return rc;
}

int hn_db_datasets_unused(struct hn_db *db, const char *time, json_t **ret, struct hn_error *err) {
    struct hn_rows rows;
    json_t *list = json_array();
    int rc = hn_rows_open(&rows, db, err,
        "SELECT d.id,d.bytes FROM datasets d WHERE d.created_at<?1 AND NOT d.provisional AND d.id "
        "NOT IN (SELECT dataset FROM jobs UNION SELECT validation_dataset FROM jobs WHERE "
        "validation_dataset IS NOT NULL UNION SELECT test_dataset FROM jobs WHERE test_dataset IS "
        "NOT NULL UNION SELECT json_extract(value,'$.dataset') FROM jobs,json_each(jobs.datasets) "
        "WHERE jobs.datasets IS NOT NULL) ORDER BY d.n LIMIT 100",
        "s", time);
    while (!rc && (rc = hn_rows_next(&rows, err)) == 1) {
        json_array_append_new(list,
            json_pack("{s:s,s:I}", "id", hn_rows_text(&rows, 0), "bytes",
                (json_int_t)hn_rows_int(&rows, 1)));
        rc = 0;
    }
    hn_rows_close(&rows);
    if (rc)
        json_decref(list);
    else
        *ret = list;
    return rc;
}

static int refuse_in_use(struct hn_error *err, const char *what, const char *name, int64_t jobs) {
    hn_fail(err, HN_E_CONFLICT, "%s %s is used by %lld job%s that %s not ended", what, name,
        (long long)jobs, jobs == 1 ? "" : "s", jobs == 1 ? "has" : "have");
    hn_error_hint(err, "wait for them or cancel them first");
    return HN_E_CONFLICT;
}

static int delete_dataset(
    struct hn_db *db, struct hn_dataset_delete *del, const json_t *record, struct hn_error *err) {
    bool used = true;
    int rc = hn_db_run(db, err, "DELETE FROM datasets WHERE id=?1", "s", del->id);
    if (!rc)
        rc = hn_db_dataset_file_used(db, string(record, "sha256"), &used, err);
    if (!rc)
        snprintf(del->sha256, sizeof del->sha256, "%s", used ? "" : string(record, "sha256"));
    del->deleted = !rc;
    return rc;
}

int hn_db_dataset_delete(struct hn_db *db, void *arg, struct hn_error *err) {
    struct hn_dataset_delete *del = arg;
    json_t *record = NULL;
    int64_t jobs = 0;
    int rc = hn_db_dataset_get(db, del->id, &record, err);
    if (!rc)
        rc = hn_db_number(db, 0, &jobs, err,
            "SELECT count(*) FROM jobs j WHERE " HN_JOB_USES(
                1) " AND status IN ('queued','running','paused')",
            "s", del->id);
    if (!rc && jobs)
        rc = refuse_in_use(err, "data set", del->id, jobs);
    if (!rc)
        rc = delete_dataset(db, del, record, err);
    json_decref(record);
    return rc;
}

int hn_db_dataset_take_back(struct hn_db *db, void *arg, struct hn_error *err) {
    struct hn_dataset_delete *del = arg;
    json_t *record = NULL;
    int64_t provisional = 0;
    int rc = hn_db_number(
        db, 0, &provisional, err, "SELECT provisional FROM datasets WHERE id=?1", "s", del->id);
    if (rc || !provisional)
        return rc;
    rc = hn_db_dataset_get(db, del->id, &record, err);
    if (!rc)
        rc = delete_dataset(db, del, record, err);
    json_decref(record);
    return rc;
}

int hn_db_datasets_provisional(struct hn_db *db, json_t **ret_ids, struct hn_error *err) {
    return hn_db_texts(db, ret_ids, err, "SELECT id FROM datasets WHERE provisional");
}

#define MODEL                                                                                  \
    "name,family,format,quantisation,parameters,context,vocab,tasks,source,sha256,bytes,chat_" \
    "template,created_at,entry,files"

static json_t *read_model(struct hn_rows *rows) {
    return HN_JSON_OBJECT({"name", json_string(hn_rows_text(rows, 0))},
        {"family", json_string(hn_rows_text(rows, 1))},
        {"format", json_string(hn_rows_text(rows, 2))}, {"quantisation", text_or_null(rows, 3)},
        {"parameters", json_integer(hn_rows_int(rows, 4))},
        {"context", json_integer(hn_rows_int(rows, 5))},
        {"vocab", json_integer(hn_rows_int(rows, 6))}, {"tasks", parsed(rows, 7)},
        {"source", text_or_null(rows, 8)}, {"sha256", json_string(hn_rows_text(rows, 9))},
        {"bytes", json_integer(hn_rows_int(rows, 10))},
        {"chat_template", json_boolean((int)hn_rows_int(rows, 11))},
        {"created_at", json_string(hn_rows_text(rows, 12))},
        {"entry", json_string(hn_rows_text(rows, 13))}, {"files", parsed(rows, 14)});
}

int hn_db_model_insert(struct hn_db *db, void *arg, struct hn_error *err) {
    json_t *record = arg;
    char now[HN_TIME_SIZE], *tasks = compact(record, "tasks"), *files = compact(record, "files");
    hn_time_now(now);
    json_object_set_new(record, "created_at", json_string(now));
    int rc = hn_db_run(db, err,
        "INSERT INTO models (" MODEL
        ") VALUES (?1,?2,?3,?4,?5,?6,?7,?8,?9,?10,?11,?12,?13,?14,?15)",
        "ssssiiisssiisss", string(record, "name"), string(record, "family"),
        string(record, "format"), string(record, "quantisation"), integer(record, "parameters"),
        integer(record, "context"), integer(record, "vocab"), tasks, string(record, "source"),
        string(record, "sha256"), integer(record, "bytes"),
        (int64_t)json_is_true(json_object_get(record, "chat_template")), now,
        string(record, "entry"), files);
    if (rc && hn_db_is_duplicate(db)) {
        rc = hn_fail(err, HN_E_CONFLICT, "there is already a model \"%s\"", string(record, "name"));
        hn_error_field(err, "name");
        hn_error_hint(
            err, "choose another name, or DELETE /models/%s first", string(record, "name"));
    }
    free(tasks);
    free(files);
    return rc;
}

/* Names in the order of the alphabet; more than these are not looked at. */
#define NEAR_NAMES 100

/* The nearest name is told: most unknown ones are typing errors, or half of a name. */
static int no_model(struct hn_db *db, struct hn_error *err, const char *name) {
    const char *names[NEAR_NAMES + 1] = {NULL};
    json_t *kept = NULL;
    hn_db_texts(db, &kept, NULL, "SELECT name FROM models ORDER BY name");
    for (size_t i = 0; i < json_array_size(kept) && i < NEAR_NAMES; i++)
        names[i] = json_string_value(json_array_get(kept, i));
    const char *nearest = hn_word_nearest(name, names);
    hn_fail(err, HN_E_NOT_FOUND, "there is no model \"%.64s\"", name);
    if (nearest)
        hn_error_hint(err, "did you mean \"%s\"? GET /models lists all", nearest);
    else
        hn_error_hint(
            err, "none is here yet: `honed model import NAME PATH` or POST /models adds one");
    json_decref(kept);
    return HN_E_NOT_FOUND;
}

int hn_db_model_get(struct hn_db *db, const char *name, json_t **ret, struct hn_error *err) {
    struct hn_rows rows;
    int rc = hn_rows_open(&rows, db, err, "SELECT " MODEL " FROM models WHERE name=?1", "s", name);
    if (!rc)
        rc = one(&rows, read_model, ret, err);
    return rc == 1 ? 0 : rc < 0 ? rc : no_model(db, err, name);
}

int hn_db_model_list(struct hn_db *db, const char *after, int64_t limit, json_t **ret,
    bool *ret_more, struct hn_error *err) {
    struct hn_rows rows;
    int rc = hn_rows_open(&rows, db, err,
        "SELECT " MODEL " FROM models WHERE ?1 IS NULL OR n<(SELECT n FROM models WHERE name=?1) "
        "ORDER BY n DESC LIMIT ?2",
        "si", after, limit + 1);
    return rc ? rc : page(&rows, read_model, limit, ret, ret_more, err);
}

int hn_db_model_delete(struct hn_db *db, void *arg, struct hn_error *err) {
    const char *name = arg;
    int64_t jobs = 0;
    int rc = hn_db_number(db, 0, &jobs, err,
        "SELECT count(*) FROM jobs WHERE status IN ('queued','running','paused') AND (model=?1 OR "
        "EXISTS (SELECT 1 FROM json_each(jobs.host,'$.verify_on') WHERE "
        "json_extract(value,'$.name')=?1))",
        "s", name);
    if (!rc && jobs)
        rc = refuse_in_use(err, "model", name, jobs);
    if (!rc)
        rc = hn_db_run(db, err, "DELETE FROM models WHERE name=?1", "s", name);
    return rc || hn_db_changes(db) ? rc : no_model(db, err, name);
}

int hn_db_library_bytes(
    struct hn_db *db, int64_t *ret_datasets, int64_t *ret_models, struct hn_error *err) {
    int rc = hn_db_number(db, 0, ret_datasets, err,
        "SELECT sum(bytes) FROM (SELECT DISTINCT sha256,bytes FROM datasets)", "");
    return rc ? rc : hn_db_number(db, 0, ret_models, err, "SELECT sum(bytes) FROM models", "");
}
