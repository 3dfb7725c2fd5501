/* See plan_cache.h. */
#include "server/jobs/plan_cache.h"
#include "server/base/id.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#define PLAN_SECONDS 900
#define PLANS 64
#define WAITING_MOST 32 /* requests that wait for a plan that another has asked for */
#define TICK_MS 100     /* how often they look whether their client is still there */

struct kept {
    char key[HN_SHA256_HEX];
    json_t *plan; /* NULL: free, or being made */
    bool pending;
    size_t waiting; /* for it, while it is being made */
    uint64_t asked; /* which time of making it this is */
    uint64_t used;  /* when, as a count of uses */
};
struct hn_plans {
    struct hn_helper *helper;
    pthread_mutex_t lock; /* guards what follows */
    pthread_cond_t changed;
    struct kept plans[PLANS];
    uint64_t uses;
    size_t waiting;
};

int hn_plans_create(struct hn_helper *helper, struct hn_plans **ret, struct hn_error *err) {
    struct hn_plans *plans = hn_calloc(1, sizeof *plans);
    if (!plans)
        return hn_fail(err, HN_E_INTERNAL, "out of memory");
    plans->helper = helper;
    pthread_mutex_init(&plans->lock, NULL);
    pthread_cond_init(&plans->changed, NULL);
    *ret = plans;
    return 0;
}

void hn_plans_destroy(struct hn_plans *plans) {
    if (!plans)
        return;
    for (size_t i = 0; i < PLANS; i++)
        json_decref(plans->plans[i].plan);
    pthread_cond_destroy(&plans->changed);
    pthread_mutex_destroy(&plans->lock);
    free(plans);
}

static struct kept *entry_of(struct hn_plans *plans, const char *key) {
    for (size_t i = 0; i < PLANS; i++)
        if ((plans->plans[i].plan || plans->plans[i].pending) &&
            strcmp(plans->plans[i].key, key) == 0)
            return &plans->plans[i];
    return NULL;
}

/* The entry whose use is longest ago, emptied and marked as being made; NULL when all of them
 * are. */
static struct kept *take_oldest(struct hn_plans *plans, const char *key) {
    struct kept *oldest = NULL;
    for (size_t i = 0; i < PLANS; i++)
        if (!plans->plans[i].pending && (!oldest || plans->plans[i].used < oldest->used))
            oldest = &plans->plans[i];
    if (!oldest)
        return NULL;
    json_decref(oldest->plan);
    *oldest = (struct kept){.pending = true, .asked = ++plans->uses};
    memcpy(oldest->key, key, HN_SHA256_HEX);
    return oldest;
}

/* Until the entry, which is being made, is made or given up. */
static int wait_for(struct hn_plans *plans, struct kept *entry, const struct hn_asker *asker,
    struct hn_error *err) {
    uint64_t asked = entry->asked;
    int rc = 0;
    if (plans->waiting >= WAITING_MOST) {
        hn_fail(err, HN_E_BUSY,
            "%d requests wait for plans that others have asked for, as many as may", WAITING_MOST);
        hn_error_hint(err, "try again in a few seconds");
        return HN_E_BUSY;
    }
    plans->waiting++;
    entry->waiting++;
    do {
        struct timespec until = hn_time_later(TICK_MS);
        pthread_cond_clockwait(&plans->changed, &plans->lock, CLOCK_MONOTONIC, &until);
        if (asker && atomic_load(&asker->gone))
            rc = hn_fail(err, HN_E_BUSY, "the client went away");
    } while (!rc && entry->pending && entry->asked == asked);
    plans->waiting--;
    entry->waiting -= entry->asked == asked; /* else it is for another plan by now */
    return rc;
}

/* The plan, a reference of the caller's; else *ret_entry (or NULL) is to be filled. Whoever asks
 * what another is asking waits. */
static int find(struct hn_plans *plans, const char *key, const struct hn_asker *asker, json_t **ret,
    struct kept **ret_entry, struct hn_error *err) {
    struct kept *found;
    int rc = 0;
    pthread_mutex_lock(&plans->lock);
    while (!rc && (found = entry_of(plans, key)) && found->pending)
        rc = wait_for(plans, found, asker, err);
    if (!rc && found) {
        found->used = ++plans->uses;
        *ret = json_incref(found->plan);
    }
    *ret_entry = rc || found ? NULL : take_oldest(plans, key);
    pthread_mutex_unlock(&plans->lock);
    return rc;
}

/* `plan` NULL: it could not be made, and the next one tries again. */
static void fill(struct hn_plans *plans, struct kept *entry, json_t *plan) {
    if (!entry)
        return;
    pthread_mutex_lock(&plans->lock);
    entry->plan = json_incref(plan);
    entry->pending = false;
    entry->used = ++plans->uses;
    pthread_cond_broadcast(&plans->changed);
    pthread_mutex_unlock(&plans->lock);
}

/* What a job's record keeps of its plan, written out once for all jobs that share it:
 * plan["texts"]. */
static void write_out(json_t *plan) {
    static const char *const parts[] = {
        "validation", "hyperparameters", "auto", "counts", "plan", "run", "host", "warnings"};
    json_t *texts = json_object();
    for (size_t i = 0; i < sizeof parts / sizeof parts[0]; i++) {
        const json_t *part = json_object_get(plan, parts[i]);
        char *text = json_dumps(
            part ? part : json_null(), JSON_COMPACT | JSON_ENCODE_ANY | JSON_REAL_PRECISION(17));
        json_object_set_new(texts, parts[i], json_string(text ? text : ""));
        free(text);
    }
    json_object_set_new(plan, "texts", texts);
}

/* On whose behalf a plan is made. */
struct asking {
    struct hn_plans *plans;
    const struct hn_asker *asker;
    const struct kept *entry; /* may be NULL */
};

/* While others wait for the plan, it is made also when the client that asked first has gone. */
static bool is_unwanted(void *ud) {
    const struct asking *a = ud;
    if (!a->asker || !atomic_load(&a->asker->gone))
        return false;
    pthread_mutex_lock(&a->plans->lock);
    bool wanted = a->entry && a->entry->waiting;
    pthread_mutex_unlock(&a->plans->lock);
    return !wanted;
}

int hn_plan_ask(struct hn_plans *plans, const struct hn_asker *asker, const json_t *params,
    json_t **ret, json_t **ret_details, struct hn_error *err) {
    char key[HN_SHA256_HEX], *canonical = hn_json_canonical(params);
    struct asking asking = {.plans = plans, .asker = asker};
    struct kept *entry;
    if (!canonical)
        return hn_fail(err, HN_E_INTERNAL, "out of memory");
    hn_sha256(canonical, strlen(canonical), key);
    free(canonical);
    *ret = NULL;
    int rc = find(plans, key, asker, ret, &entry, err);
    if (rc || *ret)
        return rc;
    asking.entry = entry;
    const struct hn_question question = {.op = "job.plan",
        .params = params,
        .asker = asker,
        .timeout_seconds = PLAN_SECONDS,
        .unwanted = is_unwanted,
        .ud = &asking};
    rc = hn_helper_call(plans->helper, &question, ret, ret_details, err);
    if (!rc)
        write_out(*ret);
    fill(plans, entry, rc ? NULL : *ret);
    return rc;
}
