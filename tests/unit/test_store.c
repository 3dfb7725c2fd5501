/* The store's promises: a job's life by its rules, each line of events once, a failed call undone
 * alone. */
#include "server/store/store_events.h"
#include "server/store/store_files.h"
#include "server/store/store_jobs.h"

#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

struct world {
    char folder[64];
    struct hn_store *store;
    struct hn_db *db;
    struct hn_subscription subscription;
    char last[HN_ID_SIZE]; /* what it was told of last */
    unsigned what;         /* all that it was told since look() */
};

static void on_commit(void *ud, const char *job, unsigned what) {
    struct world *w = ud;
    snprintf(w->last, sizeof w->last, "%s", job);
    w->what |= what;
}

/* What was told since the last time. */
static unsigned look(struct world *w) {
    unsigned what = w->what;
    w->what = 0;
    return what;
}

static int setup(void **state) {
    struct world *w = calloc(1, sizeof *w);
    strcpy(w->folder, "/tmp/hone-store-XXXXXX");
    if (!mkdtemp(w->folder) || hn_store_create(w->folder, &w->store, NULL))
        return -1;
    w->subscription = (struct hn_subscription){.fn = on_commit, .ud = w};
    hn_store_subscribe(w->store, &w->subscription);
    w->db = hn_store_read(w->store, NULL);
    *state = w;
    return 0;
}

static int teardown(void **state) {
    struct world *w = *state;
    hn_store_release(w->store, w->db);
    hn_store_destroy(w->store);
    hn_dir_remove(w->folder, NULL);
    free(w);
    return 0;
}

static void add_inputs(struct world *w) {
    json_t *model = json_pack("{s:s,s:s,s:s,s:[s],s:s,s:s,s:[]}", "name", "m", "family", "f",
        "format", "gguf", "tasks", "t", "sha256", "00", "entry", "model.gguf", "files");
    assert_int_equal(hn_store_call(w->store, hn_db_model_insert, model, NULL), 0);
    struct hn_error err = {0};
    assert_int_equal(hn_store_call(w->store, hn_db_model_insert, model, &err), HN_E_CONFLICT);
    assert_non_null(strstr(err.message, "already"));
    json_decref(model);
}

static char *make_dataset(struct world *w) {
    struct hn_dataset_insert insert = {
        .record = json_pack("{s:s,s:s,s:{},s:[],s:i,s:i,s:s,s:i,s:s,s:[]}", "name", "d", "format",
            "jsonl", "columns", "tasks", "rows", 1, "bytes", 2, "sha256", "ab", "dropped", 0,
            "on_error", "refuse", "warnings")};
    assert_int_equal(hn_store_call(w->store, hn_db_dataset_insert, &insert, NULL), 0);
    char *id = strdup(json_string_value(json_object_get(insert.record, "id")));
    json_decref(insert.record);
    return id;
}

static void make_job_until(struct world *w, const char *id, const char *dataset, int64_t priority,
    const char *owner, int64_t stop_at) {
    struct hn_job job;
    hn_job_init(&job);
    char *texts[] = {(char *)(uintptr_t) "{}"};
    job.id = (char *)(uintptr_t)id;
    job.owner = (char *)(uintptr_t)owner;
    job.task = job.method = (char *)(uintptr_t) "x";
    job.model = (char *)(uintptr_t) "m";
    job.dataset = (char *)(uintptr_t)dataset;
    job.request = job.hyperparameters = job.auto_why = job.counts = job.plan = job.run = job.host =
        job.metadata = texts[0];
    job.priority = priority;
    job.stop_at = stop_at;
    job.peak_bytes = 10;
    job.total_steps = 3;
    job.created_at = (char *)(uintptr_t) "2026-01-01T00:00:00.000Z";
    struct hn_job_insert insert = {.job = &job, .reach = {.all = true}};
    struct hn_error err = {0};
    if (hn_store_call(w->store, hn_db_job_insert, &insert, &err))
        fail_msg("%s", err.message);
}

static void make_job(
    struct world *w, const char *id, const char *dataset, int64_t priority, const char *owner) {
    make_job_until(w, id, dataset, priority, owner, -1);
}

static void check_status(struct world *w, const char *id, const char *status) {
    struct hn_job job;
    hn_job_init(&job);
    assert_int_equal(hn_db_job_get(w->db, id, &job, NULL), 0);
    assert_string_equal(job.status, status);
    hn_job_finish(&job);
}

static const char *claim(struct world *w) {
    static _Thread_local struct hn_job_claim c;
    c = (struct hn_job_claim){.limits = {.memory = 1000, .now = hn_time_ms()}};
    assert_int_equal(hn_store_call(w->store, hn_db_job_claim, &c, NULL), 0);
    return c.id;
}

static int ask(struct world *w, const char *id, const char *verb) {
    struct hn_job_ask a = {id, verb};
    return hn_store_call(w->store, hn_db_job_ask, &a, NULL);
}

static void settle(struct world *w, const char *id) {
    struct hn_job_settle s = {.id = id, .had_trainer = true};
    assert_int_equal(hn_store_call(w->store, hn_db_job_settle, &s, NULL), 0);
}

static int64_t feed(struct world *w, const char *id, int64_t from, const char *text) {
    struct hn_ingest in = {.id = id, .text = text, .size = strlen(text), .from = from};
    int rc = hn_store_call(w->store, hn_db_ingest, &in, NULL);
    return rc ? rc : in.lines;
}

static void test_life(void **state) {
    struct world *w = *state;
    add_inputs(w);
    char *data = make_dataset(w), *same = make_dataset(w);
    assert_string_equal(data, same);
    make_job(w, "job_a", data, 0, "");
    assert_string_equal(w->last, "job_a");
    assert_int_equal(ask(w, "job_a", "pause"), 0);
    check_status(w, "job_a", "paused");
    assert_string_equal(claim(w), "");
    assert_int_equal(ask(w, "job_a", "resume"), 0);
    assert_string_equal(claim(w), "job_a");
    assert_int_equal(ask(w, "job_a", "cancel"), 0);
    assert_int_equal(ask(w, "job_a", "pause"), HN_E_CONFLICT);
    check_status(w, "job_a", "running");
    settle(w, "job_a");
    check_status(w, "job_a", "cancelled");
    settle(w, "job_a");
    check_status(w, "job_a", "cancelled");
    assert_int_equal(ask(w, "job_a", "cancel"), 0);
    assert_int_equal(ask(w, "job_a", "resume"), HN_E_CONFLICT);
    assert_int_equal(ask(w, "job_none", "cancel"), HN_E_NOT_FOUND);
    free(data);
    free(same);
}

/* What each change is told as; a refused one is not told, and nobody is told after the end of a
 * subscription. */
static void test_subscribers(void **state) {
    enum { Q = HN_COMMIT_QUEUED, S = HN_COMMIT_STATE, E = HN_COMMIT_ENDED, V = HN_COMMIT_EVENTS };
    struct world *w = *state, other = {.store = w->store};
    other.subscription = (struct hn_subscription){.fn = on_commit, .ud = &other};
    hn_store_subscribe(w->store, &other.subscription);
    add_inputs(w);
    char *data = make_dataset(w);
    assert_int_equal(look(w), 0);
    make_job(w, "job_s", data, 0, "");
    assert_int_equal(look(w), Q | S | V);
    claim(w);
    assert_int_equal(look(w), S | V);
    claim(w);
    assert_int_equal(look(w), 0);
    const char *step = "{\"n\":1,\"type\":\"step\",\"data\":{\"step\":1,\"loss\":2.5}}\n",
               *kept = "{\"n\":2,\"type\":\"checkpoint\",\"data\":{\"step\":1,\"bytes\":9}}\n",
               *done = "{\"n\":3,\"type\":\"finished\",\"data\":{\"step\":1}}\n";
    assert_int_equal(feed(w, "job_s", 0, step), 1);
    assert_int_equal(look(w), HN_COMMIT_METRICS | V);
    assert_int_equal(feed(w, "job_s", (int64_t)strlen(step), kept), 1);
    assert_int_equal(look(w), HN_COMMIT_CHECKPOINT | V);
    assert_int_equal(feed(w, "job_s", 0, kept), HN_E_CONFLICT);
    assert_int_equal(look(w), 0);
    assert_int_equal(ask(w, "job_s", "pause"), 0);
    assert_int_equal(look(w), S);
    settle(w, "job_s");
    assert_int_equal(look(w), S | V);
    assert_int_equal(ask(w, "job_s", "resume"), 0);
    assert_int_equal(look(w), Q | S | V);
    claim(w);
    settle(w, "job_s"); /* a death */
    assert_int_equal(look(w), Q | S | V);
    hn_store_unsubscribe(w->store, &other.subscription);
    hn_store_unsubscribe(w->store, &other.subscription);
    assert_int_equal(look(&other), Q | S | V | HN_COMMIT_METRICS | HN_COMMIT_CHECKPOINT);
    assert_int_equal(ask(w, "job_s", "pause"), 0);
    assert_int_equal(ask(w, "job_s", "resume"), 0);
    claim(w);
    assert_int_equal(feed(w, "job_s", (int64_t)(strlen(step) + strlen(kept)), done), 1);
    look(w);
    settle(w, "job_s");
    assert_int_equal(look(w), S | E | V);
    assert_int_equal(look(&other), 0);
    free(data);
}

static void test_events_count_once(void **state) {
    struct world *w = *state;
    add_inputs(w);
    char *data = make_dataset(w);
    make_job(w, "job_b", data, 0, "");
    claim(w);
    const char *lines =
        "{\"n\":1,\"time\":\"t\",\"type\":\"step\",\"data\":{\"step\":1,\"loss\":2.5}}\n"
        "{\"n\":1,\"time\":\"t\",\"type\":\"step\",\"data\":{\"step\":1,\"loss\":2.5}}\n"
        "not json\n{\"n\":2,\"time\":\"t\",\"type\":\"succeeded\",\"data\":{}}\n"
        "{\"n\":2,\"time\":\"t\",\"type\":\"artifact\",\"data\":{\"path\":\"../"
        "x\",\"size\":1,\"sha256\":\"0\"}}\n";
    assert_int_equal(feed(w, "job_b", 0, lines), 2);
    assert_int_equal(feed(w, "job_b", 0, lines), HN_E_CONFLICT);
    json_t *list = NULL;
    struct hn_job job;
    hn_job_init(&job);
    assert_int_equal(hn_db_job_get(w->db, "job_b", &job, NULL), 0);
    assert_int_equal(job.ingested_bytes, strlen(lines));
    assert_int_equal(job.next_metric, 2);
    assert_int_equal(hn_db_artifacts(w->db, job.n, NULL, 10, &list, NULL), 0);
    assert_int_equal(json_array_size(list), 0);
    json_decref(list);
    hn_job_finish(&job);
    settle(w, "job_b");
    check_status(w, "job_b", "queued");
    free(data);
}

/* Its daemon dies again and again between claim and start: nothing the job could be blamed for. */
static void test_no_trainer_no_death(void **state) {
    struct world *w = *state;
    add_inputs(w);
    char *data = make_dataset(w);
    make_job(w, "job_d", data, 0, "");
    for (int death = 0; death < 5; death++) {
        struct hn_job_settle s = {.id = "job_d"};
        assert_string_equal(claim(w), "job_d");
        assert_int_equal(hn_store_call(w->store, hn_db_job_settle, &s, NULL), 0);
        check_status(w, "job_d", "queued");
    }
    free(data);
}

/* Stopped at its step a job waits; resumed by a person it runs to its end, and what a trainer of
 * the time before tells of a stop means nothing any more. */
static void test_stops_at_a_step(void **state) {
    struct world *w = *state;
    add_inputs(w);
    char *data = make_dataset(w);
    struct hn_job job;
    const char *early = "{\"n\":1,\"type\":\"interrupted\",\"data\":{\"step\":3,\"reason\":"
                        "\"stop_at\"}}\n",
               *stop = "{\"n\":2,\"type\":\"interrupted\",\"data\":{\"step\":4,\"reason\":"
                       "\"stop_at\"}}\n",
               *late = "{\"n\":3,\"type\":\"interrupted\",\"data\":{\"step\":9,\"reason\":"
                       "\"stop_at\"}}\n";
    int64_t at = (int64_t)strlen(early);
    make_job_until(w, "job_t", data, 0, "", 4);
    assert_string_equal(claim(w), "job_t");
    assert_int_equal(feed(w, "job_t", 0, early), 1);
    settle(w, "job_t");
    check_status(w, "job_t", "queued");
    assert_string_equal(claim(w), "job_t");
    assert_int_equal(feed(w, "job_t", at, stop), 1);
    settle(w, "job_t");
    hn_job_init(&job);
    assert_int_equal(hn_db_job_get(w->db, "job_t", &job, NULL), 0);
    assert_string_equal(job.status, "paused");
    assert_string_equal(job.reason_code, "waiting_for_promotion");
    assert_int_equal(job.stop_at, 4);
    hn_job_finish(&job);
    assert_string_equal(claim(w), "");
    assert_int_equal(ask(w, "job_t", "resume"), 0);
    hn_job_init(&job);
    assert_int_equal(hn_db_job_get(w->db, "job_t", &job, NULL), 0);
    assert_int_equal(job.stop_at, -1);
    assert_string_equal(job.reason_code, "waiting_for_slot");
    hn_job_finish(&job);
    assert_string_equal(claim(w), "job_t");
    assert_int_equal(feed(w, "job_t", at + (int64_t)strlen(stop), late), 1);
    settle(w, "job_t");
    check_status(w, "job_t", "queued");
    /* A pause that was asked for meanwhile is that, and a cancelled job does not wait. */
    make_job_until(w, "job_u", data, 1, "", 3);
    assert_string_equal(claim(w), "job_u");
    assert_int_equal(feed(w, "job_u", 0, early), 1);
    assert_int_equal(ask(w, "job_u", "cancel"), 0);
    settle(w, "job_u");
    check_status(w, "job_u", "cancelled");
    free(data);
}

static void test_three_deaths(void **state) {
    struct world *w = *state;
    add_inputs(w);
    char *data = make_dataset(w);
    make_job(w, "job_c", data, 0, "");
    int64_t at = 0;
    for (int death = 0; death < 5; death++) {
        struct hn_job_claim c = {.limits = {.memory = 1000, .now = hn_time_ms() + 3600000}};
        assert_int_equal(hn_store_call(w->store, hn_db_job_claim, &c, NULL), 0);
        assert_string_equal(c.id, "job_c");
        if (death == 1) { /* a checkpoint in between starts the count again */
            const char *line = "{\"n\":1,\"time\":\"t\",\"type\":\"checkpoint\",\"data\":{\"step\":"
                               "2,\"bytes\":5}}\n";
            assert_int_equal(feed(w, "job_c", at, line), 1);
            at += (int64_t)strlen(line);
        }
        settle(w, "job_c");
        check_status(w, "job_c", death < 3 ? "queued" : "failed");
        if (death == 3)
            break;
    }
    free(data);
}

static void test_keys_take_turns(void **state) {
    struct world *w = *state;
    add_inputs(w);
    char *data = make_dataset(w);
    const char *const jobs[][2] = {
        {"job_1", "a"}, {"job_2", "a"}, {"job_3", "b"}, {"job_4", "b"}, {"job_5", "a"}};
    for (size_t i = 0; i < 5; i++)
        make_job(w, jobs[i][0], data, i == 4 ? 1 : 0, jobs[i][1]);
    const char *const order[] = {"job_5", "job_3", "job_1", "job_4", "job_2"};
    for (size_t i = 0; i < 5; i++) {
        assert_string_equal(claim(w), order[i]);
    }
    free(data);
}

static int add_and_fail(struct hn_db *db, void *arg, struct hn_error *err) {
    struct hn_key_insert key = {.id = arg, .name = arg, .scope = "read", .hash = arg};
    int rc = hn_db_key_insert(db, &key, err);
    return rc ? rc : hn_fail(err, HN_E_INVALID_FIELD, "on purpose");
}

static void *add_many(void *arg) {
    struct world *w = arg;
    for (int i = 0; i < 50; i++) {
        char id[HN_ID_SIZE];
        hn_id_make("key", id);
        struct hn_key_insert key = {.id = id, .name = id, .scope = "read", .hash = id};
        assert_int_equal(hn_store_call(w->store, hn_db_key_insert, &key, NULL), 0);
        assert_int_equal(hn_store_call(w->store, add_and_fail, (char[]){"key_undone"}, NULL),
            HN_E_INVALID_FIELD);
    }
    return NULL;
}

static void test_groups(void **state) {
    struct world *w = *state;
    pthread_t threads[8];
    for (size_t i = 0; i < 8; i++)
        pthread_create(&threads[i], NULL, add_many, w);
    for (size_t i = 0; i < 8; i++)
        pthread_join(threads[i], NULL);
    json_t *list = NULL;
    assert_int_equal(hn_db_key_list(w->db, &list, NULL), 0);
    assert_int_equal(json_array_size(list), 400);
    json_decref(list);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_life, setup, teardown),
        cmocka_unit_test_setup_teardown(test_subscribers, setup, teardown),
        cmocka_unit_test_setup_teardown(test_events_count_once, setup, teardown),
        cmocka_unit_test_setup_teardown(test_three_deaths, setup, teardown),
        cmocka_unit_test_setup_teardown(test_no_trainer_no_death, setup, teardown),
        cmocka_unit_test_setup_teardown(test_stops_at_a_step, setup, teardown),
        cmocka_unit_test_setup_teardown(test_keys_take_turns, setup, teardown),
        cmocka_unit_test_setup_teardown(test_groups, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
