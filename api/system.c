/* Probes and the daemon's own figures, which are a table: a figure is a number or writes its own
 * lines. */
#include "api/handlers.h"
#include "server/care/care.h"
#include "server/care/scrub.h"
#include "server/base/machine.h"
#include "server/store/store_files.h"
#include "server/jobs/worker.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int hn_system_health(struct hn_request *req, struct hn_error *err) {
    return hn_reply_json(req, 200,
        json_pack("{s:s,s:s,s:s}", "status", "ok", "version", HN_VERSION, "build", hn_build_name()),
        err);
}

int hn_system_ready(struct hn_request *req, struct hn_error *err) {
    json_t *counts = NULL;
    if (atomic_load(&req->server->draining))
        return hn_fail(err, HN_E_BUSY, "the server is shutting down");
    int rc = hn_db_jobs_count(req->server->loop_db, &counts, err);
    json_decref(counts);
    return rc ? rc : hn_reply_json(req, 200, json_pack("{s:s}", "status", "ready"), err);
}

struct page {
    struct hn_server *server;
    struct hn_buf *out;
    json_t *jobs;                      /* {"status": count} */
    int64_t planned, datasets, models; /* bytes */
};

static double slots(const struct page *p) {
    return (double)p->server->config->slots;
}
static double slots_busy(const struct page *p) {
    return hn_workers_busy(p->server->workers);
}
static double memory(const struct page *p) {
    return (double)p->server->config->memory;
}
static double memory_planned(const struct page *p) {
    return (double)p->planned;
}
static double steps(const struct page *p) {
    return (double)hn_workers_figures(p->server->workers)->steps;
}
static double tokens(const struct page *p) {
    return (double)hn_workers_figures(p->server->workers)->tokens;
}
static double request_memory(const struct page *p) {
    return (double)hn_http_memory(p->server->http);
}
static double connections(const struct page *p) {
    return (double)hn_http_connections(p->server->http);
}
static double streams(const struct page *p) {
    return (double)p->server->event_streams;
}
static double dataset_bytes(const struct page *p) {
    return (double)p->datasets;
}
static double model_bytes(const struct page *p) {
    return (double)p->models;
}
static double disk_free(const struct page *p) {
    return (double)hn_machine_disk_free(p->server->config->state);
}
static double resident(const struct page *p) {
    (void)p;
    return (double)hn_machine_resident();
}
static double uptime(const struct page *p) {
    return (double)(hn_time_tick() - p->server->started) / 1000;
}

static void write_jobs(const struct page *p, const char *name) {
    static const char *const states[] = {
        "queued", "running", "paused", "succeeded", "failed", "cancelled"};
    for (size_t i = 0; i < sizeof states / sizeof states[0]; i++)
        hn_buf_printf(p->out, "%s{status=\"%s\"} %lld\n", name, states[i],
            (long long)json_integer_value(json_object_get(p->jobs, states[i])));
}

/* The labels of a row; false for a route that nobody has asked yet, which has no lines. */
static bool labels_of(const struct hn_route_metrics *row, char ret[256]) {
    snprintf(ret, 256, "method=\"%s\",route=\"%s\",", row->route ? row->route->method : "other",
        row->route ? row->route->pattern : "none");
    return hn_histogram_count(&row->delays) > 0;
}

static void write_requests(const struct page *p, const char *name) {
    size_t n;
    char labels[256];
    const struct hn_route_metrics *rows = hn_http_metrics(p->server->http, &n);
    for (size_t i = 0; i < n; i++)
        for (int class = 1; class <= 5 && labels_of(&rows[i], labels); class ++)
            if (rows[i].counts[class])
                hn_buf_printf(p->out, "%s{%sclass=\"%dxx\"} %llu\n", name, labels, class,
                    (unsigned long long)rows[i].counts[class]);
}

static void write_delays(const struct page *p, const char *name) {
    size_t n;
    char labels[256];
    const struct hn_route_metrics *rows = hn_http_metrics(p->server->http, &n);
    for (size_t i = 0; i < n; i++)
        if (labels_of(&rows[i], labels))
            hn_histogram_write(&rows[i].delays, hn_bounds_quick, name, labels, p->out);
}

static void write_waits(const struct page *p, const char *name) {
    hn_histogram_write(
        &hn_workers_figures(p->server->workers)->waits, hn_bounds_slow, name, "", p->out);
}

static void write_commits(const struct page *p, const char *name) {
    hn_histogram_write(hn_store_commits(p->server->store), hn_bounds_quick, name, "", p->out);
}

static void write_restarts(const struct page *p, const char *name) {
    hn_buf_printf(p->out,
        "%s{helper=\"data\"} %d\n%s{helper=\"predict\"} %d\n%s{helper=\"report\"} %d\n"
        "%s{helper=\"serving\"} %d\n",
        name, hn_helper_deaths(p->server->data_helper), name,
        hn_helper_deaths(p->server->predict_helper), name,
        hn_helper_deaths(p->server->report_helper), name, hn_serving_deaths(p->server->serving));
}

static void write_build(const struct page *p, const char *name) {
    hn_buf_printf(p->out, "%s{version=\"%s\",build=\"%s\"} 1\n", name, HN_VERSION, hn_build_name());
}

static void write_disk(const struct page *p, const char *name) {
    struct hn_usage usage;
    hn_care_usage(p->server->care, &usage);
    for (int kind = 0; kind < HN_USAGE_KINDS; kind++)
        hn_buf_printf(p->out, "%s{kind=\"%s\"} %lld\n", name,
            hn_usage_name((enum hn_usage_kind)kind), (long long)usage.bytes[kind]);
}

static double damaged(const struct page *p) {
    return (double)hn_scrub_damaged(hn_care_scrub(p->server->care));
}
static double scrubs(const struct page *p) {
    return (double)hn_scrub_rounds(hn_care_scrub(p->server->care));
}

static const struct {
    const char *name, *type, *help;
    double (*value)(const struct page *page); /* or: */
    void (*write)(const struct page *page, const char *name);
} figures[] = {
    {"hone_jobs", "gauge", "Jobs by status.", NULL, write_jobs},
    {"hone_queue_wait_seconds", "histogram", "Time from queued, or queued again, to claimed.", NULL,
        write_waits},
    {"hone_slots", "gauge", "Jobs that may train at the same time.", slots, NULL},
    {"hone_slots_busy", "gauge", "Slots that work on a job.", slots_busy, NULL},
    {"hone_memory_bytes", "gauge", "Memory for all trainers together.", memory, NULL},
    {"hone_memory_planned_bytes", "gauge", "Planned peak memory of the jobs that run.",
        memory_planned, NULL},
    {"hone_trained_steps_total", "counter", "Optimizer steps that trainers told of.", steps, NULL},
    {"hone_trained_tokens_total", "counter", "Tokens of these steps.", tokens, NULL},
    {"hone_http_requests_total", "counter", "Requests answered.", NULL, write_requests},
    {"hone_http_request_seconds", "histogram", "Time from a request's headers to its answer's.",
        NULL, write_delays},
    {"hone_http_connections", "gauge", "Open connections.", connections, NULL},
    {"hone_http_request_bytes", "gauge", "Memory that requests hold: bodies, answers, buffers.",
        request_memory, NULL},
    {"hone_event_streams", "gauge", "Open streams of events.", streams, NULL},
    {"hone_store_commit_seconds", "histogram", "Transactions of the store until they are on disk.",
        NULL, write_commits},
    {"hone_helper_restarts_total", "counter", "Helpers that died or hung and were replaced.", NULL,
        write_restarts},
    {"hone_datasets_bytes", "gauge", "Files of all data sets.", dataset_bytes, NULL},
    {"hone_models_bytes", "gauge", "Files of all models.", model_bytes, NULL},
    {"hone_disk_bytes", "gauge",
        "Disk that the state folder takes, by kind, measured every few minutes.", NULL, write_disk},
    {"hone_damaged", "gauge",
        "Things on the disk that do not have the bytes of their hash, in the last comparison of "
        "all.",
        damaged, NULL},
    {"hone_scrubs_total", "counter", "Comparisons of all files with their hashes.", scrubs, NULL},
    {"hone_disk_free_bytes", "gauge", "Free space beside the state folder.", disk_free, NULL},
    {"process_resident_memory_bytes", "gauge", "Resident memory of the daemon.", resident, NULL},
    {"hone_uptime_seconds", "gauge", "Time since the daemon started.", uptime, NULL},
    {"hone_build_info", "gauge", "The build that runs.", NULL, write_build},
};

int hn_system_metrics(struct hn_request *req, struct hn_error *err) {
    struct hn_db *db = req->server->loop_db;
    struct hn_buf out = {0};
    struct page page = {.server = req->server, .out = &out};
    int rc = hn_db_jobs_count(db, &page.jobs, err);
    if (!rc)
        rc = hn_db_jobs_memory(db, &page.planned, err);
    if (!rc)
        rc = hn_db_library_bytes(db, &page.datasets, &page.models, err);
    for (size_t i = 0; !rc && i < sizeof figures / sizeof figures[0]; i++) {
        const char *name = figures[i].name;
        hn_buf_printf(
            &out, "# HELP %s %s\n# TYPE %s %s\n", name, figures[i].help, name, figures[i].type);
        if (figures[i].write)
            figures[i].write(&page, name);
        else
            hn_buf_printf(&out, "%s %.15g\n", name, figures[i].value(&page));
    }
    json_decref(page.jobs);
    if (rc)
        hn_buf_free(&out);
    else
        hn_reply_bytes(req, 200, "text/plain; version=0.0.4; charset=utf-8", out.data, out.size);
    return rc;
}
