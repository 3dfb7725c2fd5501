/*
 * The daemon's life. Start: state lock, store, library sweep, helpers, workers (which attach to
 * what still trains), HTTP. SIGTERM or SIGINT: no more claims, trainers write their state and
 * leave, their jobs are queued again; requests are served meanwhile. A second signal leaves at
 * once; the trainers go on and the next daemon attaches to them. SIGHUP: the certificate and the
 * level of the log are read anew.
 */
#include "server/serve.h"
#include "api/cache.h"
#include "server/store/ballast.h"
#include "server/care/care.h"
#include "server/process/child.h"
#include "server/base/log.h"
#include "server/base/notify.h"
#include "server/base/state.h"
#include "server/store/store_backup.h"
#include "server/store/store_jobs.h"
#include "server/http/watchdog.h"
#include "server/hooks/hooks.h"
#include "server/jobs/feed.h"
#include "server/jobs/plan_cache.h"
#include "server/jobs/worker.h"
#include "server/library/evaluating.h"
#include "server/library/reports.h"
#include "server/sweeps/sweeps.h"

#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

struct daemon {
    struct hn_server server;
    int lock_fd;
    bool stopping_http;
    struct hn_watchdog *watchdog;
    struct hn_subscription feed; /* of the server's feed */
    int argc;
    char **argv;
};

static void stop_loop(void *arg) {
    struct daemon *d = arg;
    hn_loop_stop(d->server.loop);
}

static void stop_http(void *arg) {
    struct daemon *d = arg;
    if (d->stopping_http)
        return;
    d->stopping_http = true;
    hn_helper_stop(d->server.data_helper);
    hn_helper_stop(d->server.predict_helper);
    hn_helper_stop(d->server.report_helper);
    hn_serving_stop(d->server.serving);
    hn_http_stop(d->server.http, stop_loop, d);
}

/* From the last worker thread. */
static void on_drained(void *arg) {
    struct daemon *d = arg;
    hn_loop_post(d->server.loop, stop_http, d);
}

static void on_stop(void *arg) {
    struct daemon *d = arg;
    if (atomic_exchange(&d->server.draining, true)) {
        hn_log(HN_LOG_WARNING, "leaving at once; trainers go on", NULL);
        hn_workers_abandon(d->server.workers);
        stop_http(d);
        return;
    }
    hn_log(HN_LOG_INFO, "stopping: trainers write their state", "running",
        HN_N(hn_workers_busy(d->server.workers)), NULL);
    hn_notify("STOPPING=1");
    hn_workers_drain(d->server.workers, on_drained, d);
}

static int reload(struct daemon *d, struct hn_config *config, struct hn_error *err) {
    int left, rc = hn_config_arguments(config, d->argc, d->argv, &left, err);
    if (!rc)
        rc = hn_config_resolve(config, err);
    if (rc)
        return rc;
    hn_log_level((enum hn_log_level)config->log_level);
    return hn_http_renew(d->server.http, config->tls_cert, config->tls_key, err);
}

/* Whatever is wrong with the new settings, the old ones go on. */
static void on_reload(void *arg) {
    struct daemon *d = arg;
    struct hn_config config;
    struct hn_error err = {0};
    hn_config_init(&config);
    int rc = reload(d, &config, &err);
    if (rc && !*err.hint)
        hn_error_hint(
            &err, "the settings from before stay in force; mend this one and reload again");
    if (rc)
        hn_log(HN_LOG_ERROR, "cannot reload", "error", err.message, "hint", err.hint, NULL);
    else
        hn_log(HN_LOG_INFO, "reloaded: level of the log, certificate", "tls",
            *config.tls_cert ? "yes" : "no", NULL);
    hn_config_finish(&config);
}

static int open_store(struct daemon *d, struct hn_error *err) {
    struct hn_server *s = &d->server;
    int rc = hn_state_create(s->config->state, err);
    if (!rc)
        rc = hn_state_lock(s->config->state, &d->lock_fd, err);
    if (!rc)
        rc = hn_loop_create(&s->loop, err);
    if (!rc)
        rc = hn_loop_start_pool(s->loop, err);
    if (!rc)
        rc = hn_feed_create(s->loop, &s->feed, err);
    if (!rc)
        rc = hn_store_create(s->config->state, &s->store, err);
    d->feed = (struct hn_subscription){.fn = hn_feed_commit, .ud = s->feed};
    if (!rc)
        hn_store_subscribe(s->store, &d->feed);
    if (!rc && !(s->loop_db = hn_store_read(s->store, err)))
        rc = HN_E_INTERNAL;
    if (!rc)
        rc = hn_db_quick_check(s->loop_db, err);
    if (!rc)
        rc = hn_seen_create(&s->seen, err);
    return rc;
}

static int open_rest(struct daemon *d, const struct hn_api *api, struct hn_error *err) {
    struct hn_server *s = &d->server;
    const struct hn_config *c = s->config;
    s->confinement = (struct hn_confinement){c->state, c->model_dirs};
    const struct hn_confinement *to = c->confine ? &s->confinement : NULL;
    int rc = hn_helper_create("data", c->helpers, c->helper_seconds, to, &s->data_helper, err);
    if (!rc)
        rc =
            hn_helper_create("predict", c->helpers, c->helper_seconds, to, &s->predict_helper, err);
    if (!rc)
        rc = hn_serving_create(c->serving, c->helper_seconds, to, &s->serving, err);
    if (!rc) /* a report may take minutes, which nothing else should wait for */
        rc = hn_helper_create("report", 1, c->helper_seconds, to, &s->report_helper, err);
    if (!rc)
        rc = hn_reports_create(c->state, s->loop, s->report_helper, &s->reports, err);
    if (!rc)
        rc = hn_evaluating_create(c->state, s->loop, s->predict_helper, &s->evaluating, err);
    if (!rc)
        rc = hn_plans_create(s->data_helper, &s->plans, err);
    if (rc)
        return rc;
    s->library = (struct hn_library){.state = s->config->state,
        .store = s->store,
        .helper = s->data_helper,
        .seen = s->seen,
        .max_upload = s->config->max_upload};
    rc = hn_library_sweep(&s->library, err);
    if (rc)
        return rc;
    hn_state_sweep(s->config->state);
    hn_ballast_take(s->config->state, s->config->disk_reserve);
    /* HTTP first: a wrong address must not cost a running trainer anything. */
    rc = hn_kept_create(&s->kept, err);
    if (!rc)
        rc = hn_http_create(s, api, &s->http, err);
    if (!rc)
        rc = hn_workers_create(s->config, s->store, s->seen, &s->workers, err);
    if (!rc)
        rc = hn_sweeps_start(s, &s->sweeps, err);
    if (!rc)
        rc = hn_hooks_start(s, &s->hooks, err);
    return rc;
}

static int start(struct daemon *d, const struct hn_api *api, struct hn_error *err) {
    int rc = open_store(d, err);
    if (!rc)
        rc = open_rest(d, api, err);
    if (!rc)
        rc = hn_loop_signal(d->server.loop, SIGTERM, on_stop, d, err);
    if (!rc)
        rc = hn_loop_signal(d->server.loop, SIGINT, on_stop, d, err);
    if (!rc)
        rc = hn_loop_signal(d->server.loop, SIGHUP, on_reload, d, err);
    if (!rc)
        rc = hn_watchdog_create(d->server.http, *d->server.config->tls_cert, &d->watchdog, err);
    if (rc)
        return rc;
    return hn_care_create(&d->server, &d->server.care, err);
}

/* Half-built daemons, too. */
static void finish(struct daemon *d) {
    struct hn_server *s = &d->server;
    hn_watchdog_destroy(d->watchdog);
    if (s->workers) {
        hn_workers_abandon(s->workers);
        hn_workers_destroy(s->workers);
    }
    if (s->data_helper)
        hn_helper_stop(s->data_helper);
    if (s->report_helper)
        hn_helper_stop(s->report_helper);
    hn_sweeps_stop(s->sweeps);
    hn_hooks_stop(s->hooks);
    hn_http_destroy(s->http);
    if (s->loop)
        hn_loop_destroy(s->loop);
    hn_kept_destroy(s->kept);
    hn_care_destroy(s->care);
    hn_plans_destroy(s->plans);
    hn_helper_destroy(s->data_helper);
    hn_helper_destroy(s->predict_helper);
    hn_serving_destroy(s->serving);
    hn_reports_destroy(s->reports);
    hn_evaluating_destroy(s->evaluating);
    hn_helper_destroy(s->report_helper);
    if (s->store) {
        hn_store_release(s->store, s->loop_db);
        hn_store_destroy(s->store);
    }
    hn_feed_destroy(s->feed);
    hn_seen_destroy(s->seen);
    if (d->lock_fd >= 0)
        close(d->lock_fd);
}

/* Descriptor 3 is where children expect theirs: it must not be one that is closed on exec by
 * another's leave. */
static void reserve_descriptors(void) {
    int fd = open("/dev/null", O_RDONLY | O_CLOEXEC);
    if (fd > 3)
        close(fd);
}

/* Connections, files and children together need more than the usual 1024. */
static void raise_descriptor_limit(void) {
    struct rlimit limit;
    if (getrlimit(RLIMIT_NOFILE, &limit) == 0 && limit.rlim_cur < 16384) {
        limit.rlim_cur = limit.rlim_max < 16384 ? limit.rlim_max : 16384;
        setrlimit(RLIMIT_NOFILE, &limit);
    }
}

int hn_serve(struct hn_config *config, const struct hn_api *api, int argc, char **argv) {
    struct daemon *d = hn_calloc(1, sizeof *d);
    struct hn_error err = {0};
    if (!d)
        return 1;
    d->lock_fd = -1;
    d->argc = argc;
    d->argv = argv;
    d->server.config = config;
    d->server.started = hn_time_tick();
    hn_log_setup((enum hn_log_level)config->log_level, (enum hn_log_format)config->log_format);
    signal(SIGPIPE, SIG_IGN);
    reserve_descriptors();
    raise_descriptor_limit();
    /* The pool's threads wait for the store and the disk. What waits for helpers has threads of its
     * own (loop.h). */
    setenv("UV_THREADPOOL_SIZE", "32", 0);
    int rc = start(d, api, &err);
    if (rc) {
        hn_log(HN_LOG_ERROR, "cannot start", "error", err.message, "hint", err.hint, NULL);
    } else {
        hn_log(HN_LOG_INFO, "listening", "address", hn_http_address(d->server.http), "tls",
            *config->tls_cert ? "yes" : "no", "socket", *config->socket ? config->socket : "-",
            "keys", d->server.keys_required ? "yes" : "no", "state", config->state, "slots",
            HN_N(config->slots), "memory", HN_N(config->memory), "build", hn_build_name(), NULL);
        hn_notify("READY=1");
        hn_loop_run(d->server.loop);
    }
    finish(d);
    free(d);
    hn_log(HN_LOG_INFO, "stopped", NULL);
    return rc ? 1 : 0;
}
