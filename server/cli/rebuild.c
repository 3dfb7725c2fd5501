/*
 * honed rebuild: a store from the folders, when hone.db is gone, damaged, empty or older than they
 * are.
 *
 * A store that is sound and of this folder stays and gets what it lacks; any other is moved to
 * lost+found and a new one made. Data sets, models and jobs come back with their ids from
 * STATE/records/; where a record is missing (folders of earlier versions) data sets and models are
 * inspected and jobs are read from spec.json. What happened in a run is read from its events.jsonl,
 * as the daemon would. Not in the folders, so not to be had back: API keys, and jobs that had never
 * begun. What cannot be used goes to lost+found; nothing is deleted.
 */
#include "server/cli/commands.h"
#include "server/base/log.h"
#include "server/base/lost.h"
#include "server/store/records.h"
#include "server/process/rundir.h"
#include "server/store/store_events.h"
#include "server/store/store_files.h"
#include "server/store/store_identity.h"
#include "server/store/store_restore.h"

#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define EVENTS_MAX ((size_t)2 << 30)

struct rebuild {
    int64_t helper_seconds; /* as of the setting */
    const char *state;
    struct hn_store *store;
    struct hn_library library;
    bool anew; /* there was no store that could stay */
    long long restored[3], failed;
};

static void tell_failed(struct rebuild *r, const char *what, const char *name, const char *why) {
    r->failed++;
    printf("not restored  %s %s: %s\n", what, name, why);
}

static int set_aside(const char *state, const char *why, struct hn_error *err) {
    static const char *const files[] = {"hone.db", "hone.db-wal", "hone.db-shm"};
    int rc = 0;
    for (size_t i = 0; !rc && i < sizeof files / sizeof files[0]; i++) {
        char path[HN_PATH_SIZE];
        struct stat st;
        if (hn_state_path(path, state, files[i], NULL, NULL) && lstat(path, &st) == 0)
            rc = hn_lost_keep(state, NULL, files[i], why, err);
    }
    return rc;
}

static int open_store(struct rebuild *r, struct hn_error *err) {
    struct hn_error why = {0};
    if (hn_store_probe(r->state, &why) == 0) {
        printf("hone.db is sound; what it lacks is added\n");
    } else {
        printf("a new hone.db is made: %s\n", why.message);
        r->anew = true;
        int rc = set_aside(r->state, why.message, err);
        if (rc)
            return rc;
    }
    return hn_store_create_anew(r->state, &r->store, err);
}

/* The files that a record of a data set or model speaks of must be there, to the byte. */
static int check_files(
    const struct rebuild *r, const char *kind, const json_t *record, struct hn_error *err) {
    return kind[0] == 'd' ? hn_dataset_check(NULL, r->state, record, err)
                          : hn_model_check(NULL, r->state, record, err);
}

static bool store_has(struct rebuild *r, const char *kind, const char *name) {
    int64_t n;
    struct hn_db *db = hn_store_read(r->store, NULL);
    bool has = db && hn_db_number_of(db, kind, name, &n, NULL) == 0;
    hn_store_release(r->store, db);
    return has;
}

static int restore_one(
    struct rebuild *r, size_t kind, const char *kind_name, const char *name, struct hn_error *err) {
    struct hn_record record;
    int rc = hn_record_read(r->state, kind_name, name, &record, err);
    if (rc)
        return rc;
    struct hn_restore restore = {.kind = kind_name, .n = record.n, .record = record.record};
    rc = check_files(r, kind_name, record.record, err);
    if (!rc)
        rc = hn_store_call(r->store, hn_db_restore, &restore, err);
    json_decref(record.record);
    r->restored[kind] += !rc;
    return rc;
}

static void restore_recorded(
    struct rebuild *r, size_t kind, const char *kind_name, const char *what) {
    json_t *names = NULL, *name;
    size_t i;
    struct hn_error err = {0};
    if (hn_record_names(r->state, kind_name, &names, &err))
        tell_failed(r, what, "", err.message);
    json_array_foreach(names, i, name) {
        const char *text = json_string_value(name);
        if (!store_has(r, kind_name, text) && restore_one(r, kind, kind_name, text, &err))
            tell_failed(r, what, text, err.message);
    }
    json_decref(names);
}

/* Calls `each` for every folder of a kind that no record names. */
static void each_unknown(
    struct rebuild *r, const char *folder, void (*each)(struct rebuild *r, const char *name)) {
    char path[HN_PATH_SIZE];
    DIR *dir = hn_state_path(path, r->state, folder, NULL, NULL) ? opendir(path) : NULL;
    for (struct dirent *entry; dir && (entry = readdir(dir));) {
        struct hn_db *db = hn_store_read(r->store, NULL);
        bool known = !db || hn_library_knows(db, folder, entry->d_name);
        hn_store_release(r->store, db);
        if (entry->d_name[0] != '.' && !known)
            each(r, entry->d_name);
    }
    if (dir)
        closedir(dir);
}

static void inspect_dataset(struct rebuild *r, const char *sha256) {
    char path[HN_PATH_SIZE], name[24];
    struct stat st;
    struct hn_error err = {0};
    json_t *record = NULL, *details = NULL, *file = json_pack("{s:s}", "sha256", sha256);
    bool existing;
    int rc = strlen(sha256) == 64 && hn_state_path(path, r->state, "datasets", sha256, "data") &&
            stat(path, &st) == 0
        ? hn_dataset_check(NULL, r->state, file, &err)
        : hn_fail(&err, HN_E_NOT_FOUND, "there is no file \"data\" in it");
    snprintf(name, sizeof name, "%.12s", sha256);
    struct hn_dataset_source source = {.path = path,
        .sha256 = sha256,
        .bytes = rc ? 0 : (uint64_t)st.st_size,
        .name = name,
        .drop = true};
    if (!rc)
        rc = hn_dataset_import(&r->library, &source, &record, &existing, &details, &err);
    if (rc)
        tell_failed(r, "data set", sha256, err.message);
    r->restored[0] += !rc;
    json_decref(record);
    json_decref(details);
    json_decref(file);
}

static void inspect_model(struct rebuild *r, const char *name) {
    struct hn_error err = {0};
    int rc = hn_name_valid(name) ? hn_model_adopt(&r->library, name, &err)
                                 : hn_fail(&err, HN_E_INVALID_FIELD, "no model's name");
    if (rc)
        tell_failed(r, "model", name, err.message);
    r->restored[1] += !rc;
}

/* A job with all that its run has told, in one transaction: a rebuild that is killed has it whole
 * or not at all. */
struct whole_job {
    struct hn_restore restore;
    struct hn_job *recorded;
    const char *events; /* whole lines of events.jsonl; a torn last one was never an event */
    size_t size;
    bool known; /* the store has the job, but not yet its end: an older store */
};

static int restore_whole(struct hn_db *db, void *arg, struct hn_error *err) {
    struct whole_job *whole = arg;
    struct hn_job *job = whole->recorded;
    struct hn_ingest batch = {.id = job->id, .text = whole->events, .size = whole->size};
    int rc =
        whole->known ? hn_db_ingest_from(db, &batch, err) : hn_db_restore(db, &whole->restore, err);
    if (!rc)
        rc = hn_db_ingest(db, &batch, err);
    if (rc || hn_job_ended(job->status))
        return rc ? rc : hn_db_job_restore_end(db, job, err);
    struct hn_job_settle settle = {.id = job->id, .draining = true, .had_trainer = true};
    return hn_db_job_settle(db, &settle, err);
}

static int restore_job(
    struct rebuild *r, const struct hn_record *record, bool known, struct hn_error *err) {
    struct hn_job job;
    char root[HN_PATH_SIZE], path[HN_PATH_SIZE], *text = NULL;
    size_t size = 0;
    int rc = hn_job_from_record(record->record, &job, err);
    if (rc)
        return rc;
    if (!hn_state_path(root, r->state, "runs", job.id, NULL) ||
        !hn_state_path(path, root, "events.jsonl", NULL, NULL))
        rc = hn_fail(err, HN_E_INTERNAL, "path too long");
    else if (access(root, F_OK))
        rc = hn_fail(err, HN_E_NOT_FOUND, "its run directory is gone");
    else if ((rc = hn_file_read(path, EVENTS_MAX, &text, &size, err)) == HN_E_NOT_FOUND)
        rc = 0;
    const char *last = size ? memrchr(text, '\n', size) : NULL;
    struct whole_job whole = {.restore = {.kind = "runs", .n = record->n, .record = record->record},
        .recorded = &job,
        .events = text ? text : "",
        .size = last ? (size_t)(last - text) + 1 : 0,
        .known = known};
    if (!rc)
        rc = hn_store_call(r->store, restore_whole, &whole, err);
    r->restored[2] += !rc;
    free(text);
    hn_job_finish(&job);
    return rc;
}

/* Whether the store has the job as one that goes on, although its record tells its end: then the
 * store is the older of the two. */
static bool is_behind(struct rebuild *r, const char *id, const json_t *record) {
    const char *status = json_string_value(json_object_get(record, "status"));
    struct hn_job job;
    hn_job_init(&job);
    struct hn_db *db = hn_store_read(r->store, NULL);
    bool behind = db && status && hn_job_ended(status) && hn_db_job_get(db, id, &job, NULL) == 0 &&
        !hn_job_ended(job.status);
    hn_store_release(r->store, db);
    hn_job_finish(&job);
    return behind;
}

static void restore_jobs(struct rebuild *r) {
    json_t *names = NULL, *name;
    size_t i;
    struct hn_error err = {0};
    if (hn_record_names(r->state, "runs", &names, &err))
        tell_failed(r, "job", "", err.message);
    json_array_foreach(names, i, name) {
        const char *id = json_string_value(name);
        struct hn_record record = {.record = NULL};
        bool known = store_has(r, "runs", id);
        int rc = hn_record_read(r->state, "runs", id, &record, &err);
        if (!rc && (!known || is_behind(r, id, record.record)))
            rc = restore_job(r, &record, known, &err);
        if (rc)
            tell_failed(r, "job", id, err.message);
        json_decref(record.record);
    }
    json_decref(names);
}

/* The name under which the store has a file with that hash; new reference, JSON null when it has
 * none. */
static json_t *name_of(struct rebuild *r, const char *kind, const json_t *input) {
    const char *sha256 = json_string_value(json_object_get(input, "sha256"));
    json_t *name = NULL;
    struct hn_db *db = hn_store_read(r->store, NULL);
    if (db && sha256)
        hn_db_name_of_hash(db, kind, sha256, &name, NULL);
    hn_store_release(r->store, db);
    return name ? name : json_null();
}

static json_t *text(const json_t *value) {
    char *written = json_dumps(value, JSON_COMPACT | JSON_ENCODE_ANY | JSON_REAL_PRECISION(17));
    json_t *text = json_string(written ? written : "null");
    free(written);
    return text;
}

/* A record from spec.json alone: what the submission said of itself (names, metadata, what was
 * automatic) is not in it. */
static json_t *record_from_spec(
    struct rebuild *r, const char *id, const json_t *spec, int64_t made) {
    const json_t *run = json_object_get(spec, "run"), *host = json_object_get(spec, "host");
    const json_t *hyper = json_object_get(run, "hyperparameters"),
                 *validation = json_object_get(run, "validation");
    char time[HN_TIME_SIZE];
    hn_time_rfc3339(made, time);
    json_t *model = name_of(r, "models", json_object_get(run, "model")),
           *data = name_of(r, "datasets", json_object_get(run, "train"));
    json_t *request = json_pack("{s:O,s:O,s:O?,s:O?,s:O?}", "model", model, "dataset", data, "task",
        json_object_get(run, "task"), "method", json_object_get(run, "method"), "hyperparameters",
        hyper);
    json_t *record = HN_JSON_OBJECT({"id", json_string(id)}, {"owner", json_string("")},
        {"status", json_string("running")},
        {"task", hn_json_share_or_null(json_object_get(run, "task"))},
        {"method", hn_json_share_or_null(json_object_get(run, "method"))}, {"model", model},
        {"dataset", data}, {"validation_dataset", name_of(r, "datasets", validation)},
        {"test_dataset", name_of(r, "datasets", json_object_get(run, "test"))},
        {"request", text(request)}, {"hyperparameters", text(hyper)}, {"run", text(run)},
        {"host", text(host)});
    json_object_set_new(record, "validation", text(validation ? validation : json_null()));
    json_object_set_new(record, "created_at", json_string(time));
    json_object_set_new(record, "peak_bytes",
        json_integer(json_integer_value(json_object_get(host, "memory_bytes"))));
    static const char *const objects[] = {"auto_why", "counts", "plan", "metadata"};
    for (size_t i = 0; i < sizeof objects / sizeof objects[0]; i++)
        json_object_set_new(record, objects[i], json_string("{}"));
    static const char *const zero[] = {"priority", "attempts", "total_steps", "blocked_since"};
    for (size_t i = 0; i < sizeof zero / sizeof zero[0]; i++)
        json_object_set_new(record, zero[i], json_integer(0));
    json_decref(request);
    return record;
}

static void read_spec(struct rebuild *r, const char *id) {
    char root[HN_PATH_SIZE], path[HN_PATH_SIZE];
    struct stat st;
    struct hn_error err = {0};
    json_t *spec = NULL;
    int rc = hn_id_valid("job", id) && hn_state_path(root, r->state, "runs", id, NULL) &&
            hn_state_path(path, root, "spec.json", NULL, NULL) && stat(path, &st) == 0
        ? hn_json_load(path, (size_t)16 << 20, &spec, &err)
        : hn_fail(&err, HN_E_NOT_FOUND, "it has neither a record nor a spec.json");
    if (!rc) {
        struct hn_record record = {
            .record = record_from_spec(r, id, spec, (int64_t)st.st_mtim.tv_sec * 1000)};
        rc = restore_job(r, &record, false, &err);
        json_decref(record.record);
    }
    if (rc)
        tell_failed(r, "job", id, err.message);
    json_decref(spec);
}

static void keep_stray(void *ud, const char *folder, const char *name) {
    const struct rebuild *r = ud;
    hn_lost_keep(r->state, folder, name, "it could not be restored", NULL);
}

static int rebuild(struct rebuild *r, struct hn_error *err) {
    restore_recorded(r, 0, "datasets", "data set");
    restore_recorded(r, 1, "models", "model");
    each_unknown(r, "datasets", inspect_dataset);
    each_unknown(r, "models", inspect_model);
    restore_jobs(r);
    each_unknown(r, "runs", read_spec);
    struct hn_db *db = hn_store_read(r->store, err);
    int rc = db ? hn_records_complete(r->state, db, err) : HN_E_INTERNAL;
    hn_store_release(r->store, db);
    if (!rc)
        hn_library_strays(&r->library, keep_stray, r);
    return rc;
}

static int open_and_rebuild(struct rebuild *r, struct hn_error *err) {
    struct hn_helper *helper = NULL;
    int rc = hn_identity_rebuilding(r->state, true, err);
    if (!rc)
        rc = open_store(r, err);
    if (!rc)
        rc = hn_helper_create("command", 1, r->helper_seconds, NULL, &helper, err);
    r->library = (struct hn_library){.state = r->state, .store = r->store, .helper = helper};
    if (!rc)
        rc = rebuild(r, err);
    hn_helper_destroy(helper);
    hn_store_destroy(r->store);
    return rc ? rc : hn_identity_rebuilding(r->state, false, err);
}

int hn_command_rebuild(int argc, char **argv) {
    struct hn_config config;
    struct hn_error err = {0};
    struct stat st;
    int left = 0, lock = -1;
    hn_config_init(&config);
    int rc = hn_command_config(&config, argc, argv, &left, &err);
    struct rebuild r = {.helper_seconds = config.helper_seconds, .state = config.state};
    hn_log_setup(HN_LOG_WARNING, HN_LOG_TEXT);
    if (!rc && left) {
        hn_config_finish(&config);
        return hn_usage("honed rebuild [--state D]");
    }
    if (!rc && stat(config.state, &st)) {
        rc = hn_fail(&err, HN_E_NOT_FOUND, "there is no state folder %.300s", config.state);
        hn_error_hint(&err, "name the right one with --state");
    }
    if (!rc)
        rc = hn_state_create(config.state, &err);
    if (!rc)
        rc = hn_state_lock(config.state, &lock, &err);
    if (!rc)
        rc = open_and_rebuild(&r, &err);
    if (!rc)
        printf("restored: %lld data sets, %lld models, %lld jobs; %lld could not be\n%s",
            r.restored[0], r.restored[1], r.restored[2], r.failed,
            r.anew ? "API keys and jobs that had never begun are not in the folders: make new keys "
                     "with `honed key create`\n"
                   : "");
    if (lock >= 0)
        close(lock);
    hn_config_finish(&config);
    return rc ? hn_complain(&err) : r.failed ? 1 : 0;
}
