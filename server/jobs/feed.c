/* See feed.h. */
#include "server/jobs/feed.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define PENDING 64

struct hn_feed {
    struct hn_loop *loop;
    struct hn_watch *first;
    pthread_mutex_t lock; /* guards what follows */
    char pending[PENDING][HN_ID_SIZE];
    size_t n_pending;
    bool overflow; /* more jobs than fit: everyone is woken */
    bool posted;
};

int hn_feed_create(struct hn_loop *loop, struct hn_feed **ret, struct hn_error *err) {
    struct hn_feed *feed = hn_calloc(1, sizeof *feed);
    if (!feed)
        return hn_fail(err, HN_E_INTERNAL, "out of memory");
    feed->loop = loop;
    pthread_mutex_init(&feed->lock, NULL);
    *ret = feed;
    return 0;
}

void hn_feed_destroy(struct hn_feed *feed) {
    if (!feed)
        return;
    pthread_mutex_destroy(&feed->lock);
    free(feed);
}

void hn_feed_watch(struct hn_feed *feed, struct hn_watch *watch) {
    if (watch->link)
        return;
    watch->next = feed->first;
    watch->link = &feed->first;
    if (feed->first)
        feed->first->link = &watch->next;
    feed->first = watch;
}

void hn_feed_unwatch(struct hn_watch *watch) {
    if (!watch->link)
        return;
    *watch->link = watch->next;
    if (watch->next)
        watch->next->link = watch->link;
    watch->link = NULL;
}

/* A woken watcher leaves the list; it watches again when it has read all there is. */
static void wake(struct hn_feed *feed, const char *job) {
    for (struct hn_watch *watch = feed->first, *next; watch; watch = next) {
        next = watch->next;
        if (job && strcmp(watch->job, job) != 0)
            continue;
        hn_feed_unwatch(watch);
        watch->fn(watch->arg);
    }
}

static void deliver(void *arg) {
    struct hn_feed *feed = arg;
    char jobs[PENDING][HN_ID_SIZE];
    pthread_mutex_lock(&feed->lock);
    size_t n = feed->n_pending;
    bool all = feed->overflow;
    memcpy(jobs, feed->pending, sizeof jobs);
    feed->n_pending = 0;
    feed->overflow = feed->posted = false;
    pthread_mutex_unlock(&feed->lock);
    if (all)
        wake(feed, NULL);
    for (size_t i = 0; i < n && !all; i++)
        wake(feed, jobs[i]);
}

void hn_feed_commit(void *arg, const char *job, unsigned what) {
    (void)what;
    struct hn_feed *feed = arg;
    pthread_mutex_lock(&feed->lock);
    bool known = false, post = !feed->posted;
    for (size_t i = 0; i < feed->n_pending && !known; i++)
        known = strcmp(feed->pending[i], job) == 0;
    if (!known && feed->n_pending < PENDING)
        snprintf(feed->pending[feed->n_pending++], HN_ID_SIZE, "%s", job);
    else if (!known)
        feed->overflow = true;
    feed->posted = true;
    pthread_mutex_unlock(&feed->lock);
    if (post)
        hn_loop_post(feed->loop, deliver, feed);
}

void hn_feed_wake_all(struct hn_feed *feed) {
    wake(feed, NULL);
}
