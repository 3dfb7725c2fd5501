/*
 * The feed: tells event streams that a job has something new. Commits come from the store thread;
 * watchers live on the loop. The feed carries no data: a woken stream reads the store, so nothing
 * is lost between a read and a wake-up.
 */
#ifndef HN_SERVER_JOBS_FEED_H
#define HN_SERVER_JOBS_FEED_H

#include "server/base/id.h"
#include "server/base/loop.h"

struct hn_feed;

struct hn_watch {
    char job[HN_ID_SIZE];
    hn_loop_fn fn; /* on the loop thread */
    void *arg;
    struct hn_watch *next, **link; /* link: NULL when not watching */
};

int hn_feed_create(struct hn_loop *loop, struct hn_feed **ret, struct hn_error *err);
void hn_feed_destroy(struct hn_feed *feed);
/* An hn_store_commit_fn; any thread. */
void hn_feed_commit(void *feed, const char *job, unsigned what);
void hn_feed_watch(struct hn_feed *feed, struct hn_watch *watch);
void hn_feed_unwatch(struct hn_watch *watch); /* also when it does not watch */
void hn_feed_wake_all(struct hn_feed *feed);

#endif
