/* See evaluating.h. */
#include "server/library/evaluating.h"
#include "server/library/making.h"

#include <stdlib.h>
#include <string.h>

#define MOST 64 /* with those that failed and were not told yet; of one client CLIENT_MOST */
#define CLIENT_MOST 16
#define PATIENCE_MS 600000 /* one that failed is remembered for so long */
#define NEVER_MS ((int64_t)365 * 86400 * 1000)

struct hn_evaluating {
    const char *state;
    struct hn_loop *loop;
    struct hn_helper *helper;
    struct hn_makings makings; /* by their ids; told: how far, what about, whose */
};

/* One on its way to a thread. */
struct work {
    struct hn_evaluating *all;
    struct hn_making *making;
    char id[HN_ID_SIZE];
};

int hn_evaluating_create(const char *state, struct hn_loop *loop, struct hn_helper *helper,
    struct hn_evaluating **ret, struct hn_error *err) {
    struct hn_evaluating *all = hn_calloc(1, sizeof *all);
    if (!all)
        return hn_fail(err, HN_E_INTERNAL, "out of memory");
    all->state = state;
    all->loop = loop;
    all->helper = helper;
    all->makings = (struct hn_makings){
        .patience_ms = PATIENCE_MS, .most = MOST, .own_most = CLIENT_MOST, .what = "evaluations"};
    hn_makings_init(&all->makings);
    *ret = all;
    return 0;
}

void hn_evaluating_destroy(struct hn_evaluating *all) {
    if (!all)
        return;
    hn_makings_finish(&all->makings);
    free(all);
}

/* The share that is done: of answers where it writes some, which take longer than all else. */
static json_t *share_of(const json_t *told) {
    double total = json_number_value(json_object_get(told, "total"));
    const json_t *answered = json_object_get(told, "answered");
    double done =
        json_number_value(json_is_integer(answered) ? answered : json_object_get(told, "rows"));
    return json_real(total > 0 && done < total ? done / total : total > 0 ? 1.0 : 0.0);
}

static int take_chunk(void *ud, const json_t *chunk) {
    struct work *w = ud;
    pthread_mutex_lock(&w->all->makings.lock);
    json_object_update_existing(w->making->told, (json_t *)(uintptr_t)chunk);
    json_object_set_new(w->making->told, "progress", share_of(w->making->told));
    pthread_mutex_unlock(&w->all->makings.lock);
    return 0;
}

static bool is_unwanted(void *ud) {
    struct work *w = ud;
    pthread_mutex_lock(&w->all->makings.lock);
    bool unwanted = w->making->unwanted;
    pthread_mutex_unlock(&w->all->makings.lock);
    return unwanted;
}

/* The answer as it is kept: what it is of, and what the helper found. New reference. */
static json_t *compose(struct work *w, const json_t *result) {
    char now[HN_TIME_SIZE];
    hn_time_now(now);
    pthread_mutex_lock(&w->all->makings.lock);
    json_t *told = w->making->told, *owner = json_object_get(told, "owner");
    json_t *out = json_pack("{s:s,s:s,s:O?,s:{s:o}}", "id", w->id, "created_at", now, "owner",
        json_is_string(owner) ? owner : NULL, "links", "rows",
        json_sprintf("/evaluations/%s/rows", w->id));
    json_object_update(out, json_object_get(w->making->params, "about"));
    pthread_mutex_unlock(&w->all->makings.lock);
    json_object_update(out, (json_t *)(uintptr_t)result);
    return out;
}

static int make_it(struct work *w, json_t **ret_details, struct hn_error *err) {
    char dir[HN_PATH_SIZE], rows[HN_PATH_SIZE], scores[HN_PATH_SIZE];
    json_t *params = json_object_get(w->making->params, "params"), *result = NULL, *out = NULL;
    if (!hn_state_path(dir, w->all->state, "tmp", w->id, NULL) ||
        !hn_state_path(rows, dir, "rows.jsonl", NULL, NULL) ||
        !hn_state_path(scores, dir, HN_EVALUATION_SCORES, NULL, NULL))
        return hn_fail(err, HN_E_INTERNAL, "path too long");
    json_object_set_new(params, "rows_to", json_string(rows));
    json_object_set_new(params, "scores_to", json_string(scores));
    const struct hn_question question = {.op = "evaluate",
        .params = params,
        .asker = &w->making->asker,
        .chunk = take_chunk,
        .unwanted = is_unwanted,
        .ud = w};
    int rc = hn_dir_create(dir, err);
    if (!rc)
        rc = hn_helper_call(w->all->helper, &question, &result, ret_details, err);
    if (!rc && !(out = compose(w, result)))
        rc = hn_fail(err, HN_E_INTERNAL, "out of memory");
    if (!rc)
        rc = hn_evaluation_keep(w->all->state, w->id, dir, out, err);
    if (rc)
        hn_dir_remove(dir, NULL);
    json_decref(result);
    json_decref(out);
    return rc;
}

static void work(void *arg) {
    struct work *w = arg;
    struct hn_error err = {0};
    json_t *details = NULL;
    int rc = make_it(w, &details, &err);
    hn_making_end(&w->all->makings, w->making, rc, &err, details);
    free(w);
}

static void begin_work(void *arg) { /* loop thread */
    struct work *w = arg;
    hn_loop_work_waiting(w->all->loop, work, NULL, w);
}

/* With the lock held. */
static struct hn_making *begin(struct hn_evaluating *all, const struct hn_evaluation_question *q,
    const char *id, struct hn_error *err) {
    struct work *w = hn_calloc(1, sizeof *w);
    json_t *params = json_pack("{s:O,s:O}", "params", q->params, "about", q->about);
    json_t *told = HN_JSON_OBJECT({"id", json_string(id)}, {"status", json_string("running")},
        {"owner", hn_json_string_or_null(*q->owner ? q->owner : NULL)}, {"progress", json_real(0)},
        {"rows", json_integer(0)}, {"total", json_null()}, {"answered", json_null()});
    struct hn_making *m = NULL;
    if (w && params && told && !json_object_update(told, q->about)) {
        m = hn_making_add(&all->makings, id, params, q->asker, err);
        params = NULL;
    } else {
        hn_fail(err, HN_E_INTERNAL, "out of memory");
    }
    if (!m) {
        json_decref(params);
        json_decref(told);
        free(w);
        return NULL;
    }
    m->told = told;
    *w = (struct work){.all = all, .making = m};
    memcpy(w->id, id, strlen(id) + 1);
    hn_loop_post(all->loop, begin_work, w);
    return m;
}

/* With the lock held: what came of it until now. */
static int take(struct hn_evaluating *all, struct hn_making *m, json_t **ret_told,
    json_t **ret_details, struct hn_error *err) {
    bool done = m->done;
    int rc = done && m->rc ? hn_making_fault(m, ret_details, err) : 0;
    if (!done && !(*ret_told = json_deep_copy(m->told)))
        rc = hn_fail(err, HN_E_INTERNAL, "out of memory");
    hn_makings_drop(&all->makings, done ? m : NULL);
    return rc;
}

int hn_evaluation_ask(struct hn_evaluating *all, const struct hn_evaluation_question *q,
    json_t **ret, json_t **ret_told, json_t **ret_details, struct hn_error *err) {
    char id[HN_ID_SIZE];
    bool to_the_end = q->wait_ms == HN_WAIT_TO_THE_END;
    *ret = *ret_told = NULL;
    hn_id_make("eval", id);
    pthread_mutex_lock(&all->makings.lock);
    struct hn_making *m = begin(all, q, id, err);
    int rc = m ? 0 : err ? err->code : HN_E_BUSY;
    if (m) {
        hn_making_wait(&all->makings, m, q->asker, to_the_end ? NEVER_MS : q->wait_ms);
        m->unwanted |= to_the_end && !m->done; /* its client has gone */
        rc = take(all, m, ret_told, ret_details, err);
    }
    pthread_mutex_unlock(&all->makings.lock);
    json_decref(q->params);
    json_decref(q->about);
    return rc || *ret_told ? rc : hn_evaluation_load(all->state, id, ret, err);
}

int hn_evaluation_look(struct hn_evaluating *all, const char *id, json_t **ret_told,
    json_t **ret_details, struct hn_error *err) {
    *ret_told = NULL;
    pthread_mutex_lock(&all->makings.lock);
    struct hn_making *m = hn_making_find(&all->makings, id);
    if (m)
        m->asked = hn_time_tick();
    int rc = m ? take(all, m, ret_told, ret_details, err) : 0;
    pthread_mutex_unlock(&all->makings.lock);
    return rc;
}

json_t *hn_evaluation_owner(struct hn_evaluating *all, const char *id) {
    pthread_mutex_lock(&all->makings.lock);
    struct hn_making *m = hn_making_find(&all->makings, id);
    const char *owner = m ? json_string_value(json_object_get(m->told, "owner")) : NULL;
    json_t *text = m ? json_string(owner ? owner : "") : NULL;
    pthread_mutex_unlock(&all->makings.lock);
    return text;
}

bool hn_evaluation_cancel(struct hn_evaluating *all, const char *id) {
    pthread_mutex_lock(&all->makings.lock);
    struct hn_making *m = hn_making_find(&all->makings, id);
    bool found = m != NULL;
    if (m) {
        m->unwanted = true;
        hn_makings_drop(&all->makings, m); /* one that failed is forgotten */
    }
    pthread_mutex_unlock(&all->makings.lock);
    return found;
}
