/*
 * Room server/server.h.
 * May include: server/base server/library server/process server/store.
 */

/* What a running daemon consists of; handlers reach everything through it. Owned by
 * server/serve.c. */
#ifndef HN_SERVER_SERVER_H
#define HN_SERVER_SERVER_H

#include "server/base/config.h"
#include "server/process/child.h"
#include "server/process/helper.h"
#include "server/process/serving.h"
#include "server/library/library.h"
#include "server/base/loop.h"
#include "server/store/store.h"

#include <stdatomic.h>

struct hn_care;
struct hn_evaluating;
struct hn_feed;
struct hn_hooks;
struct hn_http;
struct hn_kept;
struct hn_plans;
struct hn_reports;
struct hn_sweeps;
struct hn_workers;

struct hn_server {
    struct hn_config *config;
    struct hn_loop *loop;
    struct hn_store *store;
    struct hn_db *loop_db; /* the loop thread's reader: for short reads only */
    struct hn_feed *feed;
    struct hn_workers *workers;
    struct hn_helper *data_helper, *predict_helper, *report_helper;
    struct hn_serving *serving;
    struct hn_reports *reports;
    struct hn_evaluating *evaluating;
    struct hn_plans *plans;
    struct hn_sweeps *sweeps;
    struct hn_hooks *hooks;            /* NULL: none may be called */
    struct hn_confinement confinement; /* of children, where the setting confine is on */
    struct hn_library library;
    struct hn_seen *seen;
    struct hn_http *http;
    struct hn_kept *kept; /* what the API keeps of its replies */
    struct hn_care *care;
    bool keys_required;
    int64_t event_streams; /* open ones; loop thread */
    atomic_bool draining;
    int64_t started; /* tick */
};

#endif
