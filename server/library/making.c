/* See making.h. */
#include "server/library/making.h"
#include "server/base/id.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define TICK_MS 250

void hn_makings_init(struct hn_makings *makings) {
    pthread_mutex_init(&makings->lock, NULL);
    pthread_cond_init(&makings->changed, NULL);
}

static void destroy(struct hn_making *m) {
    json_decref(m->params);
    json_decref(m->told);
    json_decref(m->details);
    free(m);
}

void hn_makings_finish(struct hn_makings *makings) {
    for (struct hn_making *m = makings->first, *next; m; m = next) {
        next = m->next;
        destroy(m);
    }
    pthread_cond_destroy(&makings->changed);
    pthread_mutex_destroy(&makings->lock);
}

void hn_makings_drop(struct hn_makings *makings, const struct hn_making *told) {
    for (struct hn_making **link = &makings->first, *m; (m = *link);) {
        bool old =
            !m->rc || m == told || m->unwanted || hn_time_tick() - m->asked > makings->patience_ms;
        if (m->done && !m->waiting && old) {
            *link = m->next;
            destroy(m);
        } else {
            link = &m->next;
        }
    }
}

struct hn_making *hn_making_find(struct hn_makings *makings, const char *name) {
    hn_makings_drop(makings, NULL);
    struct hn_making *m = makings->first;
    while (m && strcmp(m->name, name) != 0)
        m = m->next;
    return m;
}

struct hn_making *hn_making_add(struct hn_makings *makings, const char *name, json_t *params,
    const struct hn_asker *asker, struct hn_error *err) {
    size_t all = 0, own = 0;
    struct hn_making **link = &makings->first;
    for (; *link; link = &(*link)->next) {
        all++;
        own += strcmp((*link)->asker.client, asker->client) == 0;
    }
    bool full = all >= makings->most || own >= makings->own_most;
    struct hn_making *m = full ? NULL : hn_calloc(1, sizeof *m);
    if (!m) {
        json_decref(params);
        if (full)
            hn_fail(err, HN_E_BUSY, "%zu %s wait to be made: ask again later", all, makings->what);
        else
            hn_fail(err, HN_E_INTERNAL, "out of memory");
        return NULL;
    }
    snprintf(m->name, sizeof m->name, "%s", name);
    snprintf(m->asker.client, sizeof m->asker.client, "%s", asker->client);
    m->params = params;
    m->asked = hn_time_tick();
    *link = m;
    return m;
}

void hn_making_wait(struct hn_makings *makings, struct hn_making *m, const struct hn_asker *asker,
    int64_t wait_ms) {
    int64_t until = hn_time_tick() + wait_ms, now;
    m->waiting++;
    while (!m->done && (now = hn_time_tick()) < until && !atomic_load(&asker->gone)) {
        struct timespec tick = hn_time_later(until - now < TICK_MS ? until - now : TICK_MS);
        pthread_cond_clockwait(&makings->changed, &makings->lock, CLOCK_MONOTONIC, &tick);
    }
    m->waiting--;
    m->asked = hn_time_tick();
}

int hn_making_fault(const struct hn_making *m, json_t **ret_details, struct hn_error *err) {
    if (err)
        *err = m->err;
    *ret_details = m->details ? json_incref(m->details) : NULL;
    return m->rc;
}

void hn_making_end(struct hn_makings *makings, struct hn_making *m, int rc,
    const struct hn_error *err, json_t *details) {
    pthread_mutex_lock(&makings->lock);
    m->rc = rc;
    m->err = *err;
    m->details = details;
    m->done = true;
    hn_makings_drop(makings, NULL);
    pthread_cond_broadcast(&makings->changed);
    pthread_mutex_unlock(&makings->lock);
}
