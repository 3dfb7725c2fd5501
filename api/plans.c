/*
 * Plans that were asked for lately. A plan depends on nothing but its parameters, which name models and data by their hashes: the same
 * job submitted again, or tried with dry_run before, is not planned twice. All who ask share one tree, which nobody may change.
 */
#include "api/handlers.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#define PLAN_SECONDS 900 /* of silence */
#define PLANS 64

struct kept {
    char key[HN_SHA256_HEX];
    json_t *plan; /* NULL: free, or being made */
    bool pending;
    uint64_t used; /* when, as a count of uses */
};
static struct kept plans[PLANS];
static uint64_t uses;
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t changed = PTHREAD_COND_INITIALIZER;

static struct kept *entry_of(const char *key) {
    for (size_t i = 0; i < PLANS; i++)
        if ((plans[i].plan || plans[i].pending) && strcmp(plans[i].key, key) == 0)
            return &plans[i];
    return NULL;
}

/* The entry whose use is longest ago, emptied and marked as being made; NULL when all of them are. */
static struct kept *take_oldest(const char *key) {
    struct kept *oldest = NULL;
    for (size_t i = 0; i < PLANS; i++)
        if (!plans[i].pending && (!oldest || plans[i].used < oldest->used))
            oldest = &plans[i];
    if (!oldest)
        return NULL;
    json_decref(oldest->plan);
    *oldest = (struct kept){.pending = true};
    memcpy(oldest->key, key, HN_SHA256_HEX);
    return oldest;
}

/* The plan, a reference of the caller's; else *ret_entry (or NULL) is to be filled. Whoever asks what another is asking waits. */
static json_t *find(const char *key, struct kept **ret_entry) {
    struct kept *found;
    json_t *plan = NULL;
    pthread_mutex_lock(&lock);
    while ((found = entry_of(key)) && found->pending)
        pthread_cond_wait(&changed, &lock);
    if (found) {
        found->used = ++uses;
        plan = json_incref(found->plan);
    }
    *ret_entry = found ? NULL : take_oldest(key);
    pthread_mutex_unlock(&lock);
    return plan;
}

/* `plan` NULL: it could not be made, and the next one tries again. */
static void fill(struct kept *entry, json_t *plan) {
    if (!entry)
        return;
    pthread_mutex_lock(&lock);
    entry->plan = json_incref(plan);
    entry->pending = false;
    entry->used = ++uses;
    pthread_cond_broadcast(&changed);
    pthread_mutex_unlock(&lock);
}

/* What a job's record keeps of its plan, written out once for all jobs that share it: plan["texts"]. */
static void write_out(json_t *plan) {
    static const char *const parts[] = {"validation", "hyperparameters", "auto", "counts", "plan", "run", "host"};
    json_t *texts = json_object();
    for (size_t i = 0; i < sizeof parts / sizeof parts[0]; i++) {
        const json_t *part = json_object_get(plan, parts[i]);
        char *text = json_dumps(part ? part : json_null(), JSON_COMPACT | JSON_ENCODE_ANY | JSON_REAL_PRECISION(17));
        json_object_set_new(texts, parts[i], json_string(text ? text : ""));
        free(text);
    }
    json_object_set_new(plan, "texts", texts);
}

int hn_plan_ask(struct hn_server *server, const json_t *params, json_t **ret, json_t **ret_details, struct hn_error *err) {
    char key[HN_SHA256_HEX], *canonical = hn_json_canonical(params);
    struct kept *entry;
    if (!canonical)
        return hn_fail(err, HN_E_INTERNAL, "out of memory");
    hn_sha256(canonical, strlen(canonical), key);
    free(canonical);
    if ((*ret = find(key, &entry)))
        return 0;
    int rc = hn_helper_call(server->data_helper, "job.plan", params, PLAN_SECONDS, NULL, NULL, ret, ret_details, err);
    if (!rc)
        write_out(*ret);
    fill(entry, rc ? NULL : *ret);
    return rc;
}
