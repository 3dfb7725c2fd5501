/*
 * Plans that were asked for lately. A plan depends on nothing but its parameters, which name models and data by their hashes: the same
 * job submitted again, or tried with dry_run before, is not planned twice.
 */
#include "api/handlers.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#define PLAN_SECONDS 900 /* of silence */
#define PLANS 64

struct kept {
    char key[HN_SHA256_HEX], *text; /* text NULL: free, or being made */
    bool pending;
    uint64_t used; /* when, as a count of uses */
};
static struct kept plans[PLANS];
static uint64_t uses;
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t changed = PTHREAD_COND_INITIALIZER;

static struct kept *entry_of(const char *key) {
    for (size_t i = 0; i < PLANS; i++)
        if ((plans[i].text || plans[i].pending) && strcmp(plans[i].key, key) == 0)
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
    free(oldest->text);
    *oldest = (struct kept){.pending = true};
    memcpy(oldest->key, key, HN_SHA256_HEX);
    return oldest;
}

/* A copy of the plan for the caller to free; else *ret_entry (or NULL) is to be filled. Whoever asks what another is asking waits. */
static char *find(const char *key, struct kept **ret_entry) {
    char *text = NULL;
    struct kept *found;
    pthread_mutex_lock(&lock);
    while ((found = entry_of(key)) && found->pending)
        pthread_cond_wait(&changed, &lock);
    if (found) {
        found->used = ++uses;
        text = strdup(found->text);
    }
    *ret_entry = found ? NULL : take_oldest(key);
    pthread_mutex_unlock(&lock);
    return text;
}

/* `text` (taken over) NULL: it could not be made, and the next one tries again. */
static void fill(struct kept *entry, char *text) {
    if (!entry) {
        free(text);
        return;
    }
    pthread_mutex_lock(&lock);
    entry->text = text;
    entry->pending = false;
    entry->used = ++uses;
    pthread_cond_broadcast(&changed);
    pthread_mutex_unlock(&lock);
}

int hn_plan_ask(struct hn_server *server, const json_t *params, json_t **ret, json_t **ret_details, struct hn_error *err) {
    char key[HN_SHA256_HEX], *canonical = hn_json_canonical(params), *text;
    struct kept *entry;
    if (!canonical)
        return hn_fail(err, HN_E_INTERNAL, "out of memory");
    hn_sha256(canonical, strlen(canonical), key);
    free(canonical);
    if ((text = find(key, &entry))) {
        int rc = hn_json_parse(text, strlen(text), ret, err);
        free(text);
        return rc;
    }
    int rc = hn_helper_call(server->data_helper, "job.plan", params, PLAN_SECONDS, NULL, NULL, ret, ret_details, err);
    fill(entry, rc ? NULL : json_dumps(*ret, JSON_COMPACT | JSON_REAL_PRECISION(17)));
    return rc;
}
