/* Probes and the daemon's own figures. */
#include "api/handlers.h"
#include "server/machine.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int hn_system_health(struct hn_request *req, struct hn_error *err) {
    return hn_reply_json(req, 200, json_pack("{s:s,s:s,s:s}", "status", "ok", "version", HN_VERSION, "build",
        hn_build_name()), err);
}

int hn_system_ready(struct hn_request *req, struct hn_error *err) {
    json_t *counts = NULL;
    if (atomic_load(&req->server->draining))
        return hn_fail(err, HN_E_BUSY, "the server is shutting down");
    int rc = hn_db_jobs_count(req->server->loop_db, &counts, err);
    json_decref(counts);
    return rc ? rc : hn_reply_json(req, 200, json_pack("{s:s}", "status", "ready"), err);
}

static void figure(struct hn_buf *out, const char *name, const char *type, const char *help, double value) {
    hn_buf_printf(out, "# HELP %s %s\n# TYPE %s %s\n%s %.15g\n", name, help, name, type, name, value);
}

int hn_system_metrics(struct hn_request *req, struct hn_error *err) {
    static const char *const states[] = {"queued", "running", "paused", "succeeded", "failed", "cancelled"};
    struct hn_server *server = req->server;
    json_t *counts = NULL;
    struct hn_buf out = {0};
    int rc = hn_db_jobs_count(server->loop_db, &counts, err);
    if (rc)
        return rc;
    hn_buf_text(&out, "# HELP hone_jobs Jobs by status.\n# TYPE hone_jobs gauge\n");
    for (size_t i = 0; i < sizeof states / sizeof states[0]; i++)
        hn_buf_printf(&out, "hone_jobs{status=\"%s\"} %lld\n", states[i],
            (long long)json_integer_value(json_object_get(counts, states[i])));
    hn_buf_text(&out, "# HELP hone_http_requests_total Requests answered.\n# TYPE hone_http_requests_total counter\n");
    const uint64_t *requests = hn_http_counts(server->http);
    for (int i = 2; i <= 5; i++)
        hn_buf_printf(&out, "hone_http_requests_total{class=\"%dxx\"} %llu\n", i, (unsigned long long)requests[i]);
    figure(&out, "hone_slots", "gauge", "Jobs that may train at the same time.", (double)server->config->slots);
    figure(&out, "hone_slots_busy", "gauge", "Slots that work on a job.", hn_workers_busy(server->workers));
    figure(&out, "hone_memory_bytes", "gauge", "Memory for all trainers together.", (double)server->config->memory);
    figure(&out, "hone_disk_free_bytes", "gauge", "Free space beside the state folder.",
        (double)hn_machine_disk_free(server->config->state));
    figure(&out, "process_resident_memory_bytes", "gauge", "Resident memory of the daemon.", (double)hn_machine_resident());
    figure(&out, "hone_uptime_seconds", "gauge", "Time since the daemon started.",
        (double)(hn_time_tick() - server->started) / 1000);
    hn_buf_printf(&out, "# HELP hone_build_info The build that runs.\n# TYPE hone_build_info gauge\n"
                        "hone_build_info{version=\"%s\",build=\"%s\"} 1\n", HN_VERSION, hn_build_name());
    json_decref(counts);
    hn_reply_bytes(req, 200, "text/plain; version=0.0.4; charset=utf-8", out.data, out.size);
    return 0;
}
