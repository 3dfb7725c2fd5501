/* See care.h. */
#include "server/care/care.h"
#include "server/store/ballast.h"
#include "server/library/evaluations.h"
#include "server/base/log.h"
#include "server/base/lost.h"
#include "server/care/scrub.h"
#include "server/store/store_files.h"
#include "server/store/store_jobs.h"
#include "server/server.h"
#include "server/jobs/worker.h"

#include <dirent.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#define FIRST_MS 1000
#define MEASURE_MS (10 * 60 * 1000)

struct hn_care {
    struct hn_server *server;
    struct hn_timer *timer;
    struct hn_scrub *scrub;
    bool running;         /* loop thread */
    int64_t measured;     /* tick; 0: never */
    pthread_mutex_t lock; /* guards usage */
    struct hn_usage usage;
};

static void measure(struct hn_care *care) {
    struct hn_usage usage;
    hn_usage_read(care->server->config->state, &usage);
    pthread_mutex_lock(&care->lock);
    care->usage = usage;
    pthread_mutex_unlock(&care->lock);
    care->measured = hn_time_tick();
}

void hn_care_usage(struct hn_care *care, struct hn_usage *ret) {
    pthread_mutex_lock(&care->lock);
    *ret = care->usage;
    pthread_mutex_unlock(&care->lock);
}

const struct hn_scrub *hn_care_scrub(const struct hn_care *care) {
    return care->scrub;
}

/* Ended jobs from before `time`, at most `bytes` of them (INT64_MAX: all); what they took. */
static int64_t remove_jobs(
    struct hn_server *server, const char *time, int64_t bytes, const char *why) {
    char(*ids)[HN_ID_SIZE] = NULL;
    size_t n = 0;
    int64_t freed = 0;
    struct hn_db *db = hn_store_read(server->store, NULL);
    if (db && hn_db_jobs_older(db, time, &ids, &n, NULL) == 0) {
        for (size_t i = 0; i < n && freed < bytes && !atomic_load(&server->draining); i++) {
            char path[HN_PATH_SIZE];
            int64_t size = hn_state_path(path, server->config->state, "runs", ids[i], NULL)
                ? hn_usage_of(path)
                : 0;
            if (hn_job_remove(&server->library, ids[i], NULL))
                continue;
            freed += size;
            hn_log(
                HN_LOG_INFO, "job deleted", "job", ids[i], "why", why, "bytes", HN_N(size), NULL);
        }
    }
    free(ids);
    hn_store_release(server->store, db);
    return freed;
}

/* Data sets from before `time` that no job names, at most `bytes` of them. */
static int64_t remove_datasets(
    struct hn_server *server, const char *time, int64_t bytes, const char *why) {
    json_t *list = NULL, *one;
    size_t i;
    int64_t freed = 0;
    struct hn_db *db = hn_store_read(server->store, NULL);
    if (db && hn_db_datasets_unused(db, time, &list, NULL) == 0)
        json_array_foreach(list, i, one) {
            const char *id = json_string_value(json_object_get(one, "id"));
            if (freed >= bytes || hn_dataset_remove(&server->library, id, NULL))
                continue;
            freed += (int64_t)json_integer_value(json_object_get(one, "bytes"));
            hn_log(HN_LOG_INFO, "data set deleted", "dataset", id, "why", why, NULL);
        }
    json_decref(list);
    hn_store_release(server->store, db);
    return freed;
}

/* Of jobs whose exports are older than `limit` (seconds since 1970) the exports, until `bytes` are
 * freed; what they took. They are made again when they are asked for. */
static int64_t remove_exports(
    struct hn_server *server, int64_t limit, int64_t bytes, const char *why) {
    char runs[HN_PATH_SIZE], path[HN_PATH_SIZE];
    int64_t freed = 0;
    DIR *dir =
        hn_state_path(runs, server->config->state, "runs", NULL, NULL) ? opendir(runs) : NULL;
    for (struct dirent *entry; dir && freed < bytes && (entry = readdir(dir));) {
        struct stat st;
        if (!hn_id_valid("job", entry->d_name) ||
            !hn_state_path(path, runs, entry->d_name, "exports", NULL) || lstat(path, &st) ||
            !S_ISDIR(st.st_mode) || st.st_mtim.tv_sec >= limit)
            continue;
        freed += hn_usage_of(path);
        hn_dir_remove(path, NULL);
        hn_log(
            HN_LOG_INFO, "exports of checkpoints deleted", "job", entry->d_name, "why", why, NULL);
    }
    if (dir)
        closedir(dir);
    return freed;
}

static void retain_by_age(struct hn_server *server) {
    char limit[HN_TIME_SIZE];
    int64_t days = server->config->retain_days, now = hn_time_ms();
    if (!days)
        return;
    hn_time_rfc3339(now - days * HN_DAY_MS, limit);
    remove_jobs(server, limit, INT64_MAX, "older than retain_days");
    remove_datasets(server, limit, INT64_MAX, "older than retain_days, and no job names it");
    remove_exports(server, (now - days * HN_DAY_MS) / 1000, INT64_MAX, "older than retain_days");
    hn_evaluations_expire(server->config->state, (now - days * HN_DAY_MS) / 1000, INT64_MAX,
        "older than retain_days");
}

/* What can be made again goes first, then what is oldest. Models and what is waiting or running are
 * never touched. */
static void retain_by_bytes(struct hn_care *care) {
    struct hn_server *server = care->server;
    char now[HN_TIME_SIZE];
    int64_t limit = server->config->retain_bytes, over = 0;
    if (!limit)
        return;
    static const enum hn_usage_kind counted[] = {
        HN_USAGE_DATASETS, HN_USAGE_RUNS, HN_USAGE_EXPORTS, HN_USAGE_EVALUATIONS};
    for (size_t i = 0; i < sizeof counted / sizeof counted[0]; i++)
        over += care->usage.bytes[counted[i]];
    if ((over -= limit) <= 0)
        return;
    hn_time_now(now);
    over -= remove_exports(server, INT64_MAX, over, "more than retain_bytes are kept");
    if (over > 0)
        over -= hn_evaluations_expire(
            server->config->state, INT64_MAX, over, "more than retain_bytes are kept");
    for (int64_t freed = 1; over > 0 && freed > 0; over -= freed)
        freed = remove_jobs(server, now, over, "more than retain_bytes are kept");
    if (over > 0)
        over -= remove_datasets(
            server, now, over, "more than retain_bytes are kept, and no job names it");
    if (over > 0)
        hn_log(HN_LOG_WARNING, "more is kept than retain_bytes, and all of it is in use", "bytes",
            HN_N(over), NULL);
    measure(care);
}

/* Reading the disk takes it from trainers and from people. */
static bool is_busy(void *ud) {
    const struct hn_server *server = ud;
    return atomic_load(&server->draining) || hn_workers_busy(server->workers) > 0;
}

static void take_care(void *arg) {
    struct hn_care *care = arg;
    struct hn_server *server = care->server;
    hn_helper_rest(server->data_helper);
    hn_helper_rest(server->predict_helper);
    hn_helper_rest(server->report_helper);
    hn_serving_rest(server->serving);
    if (!care->measured || hn_time_tick() - care->measured > MEASURE_MS ||
        server->config->retain_bytes)
        measure(care);
    retain_by_age(server);
    retain_by_bytes(care);
    hn_lost_expire(server->config->state, server->config->lost_days);
    hn_ballast_take(server->config->state, server->config->disk_reserve);
    hn_scrub_step(care->scrub, is_busy, server);
}

static void end_care(void *arg) {
    struct hn_care *care = arg;
    care->running = false;
}

static void on_time(void *arg) {
    struct hn_care *care = arg;
    if (care->running) /* a large folder may take longer than a minute */
        return;
    care->running = true;
    hn_loop_work(care->server->loop, take_care, end_care, care);
}

int hn_care_create(struct hn_server *server, struct hn_care **ret, struct hn_error *err) {
    struct hn_care *care = hn_calloc(1, sizeof *care);
    int rc = care ? hn_scrub_create(server->config->state, server->store,
                        server->config->scrub_days, &care->scrub, err)
                  : hn_fail(err, HN_E_INTERNAL, "out of memory");
    if (rc) {
        free(care);
        return rc;
    }
    care->server = server;
    pthread_mutex_init(&care->lock, NULL);
    care->timer = hn_timer_create(server->loop, on_time, care);
    hn_timer_start(care->timer, FIRST_MS, (uint64_t)server->config->care_seconds * 1000);
    *ret = care;
    return 0;
}

void hn_care_destroy(struct hn_care *care) {
    if (!care)
        return;
    hn_scrub_destroy(care->scrub);
    pthread_mutex_destroy(&care->lock);
    free(care);
}
