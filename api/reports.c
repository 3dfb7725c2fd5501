/* GET /datasets/{id}/report: what a data set is worth. The library makes and keeps it
 * (server/library/reports.h). */
#include "api/handlers.h"
#include "server/library/reports.h"
#include "server/process/rundir.h"

#define WAIT_SECONDS 2 /* where the request does not say: what takes longer tells how far it is */
#define WAIT_MOST 60

static int find_model(
    struct hn_request *req, const char *name, json_t **ret, struct hn_error *err) {
    struct hn_db *db = hn_request_db(req, err);
    int rc = db ? hn_db_model_get(db, name, ret, err) : HN_E_INTERNAL;
    return rc ? rc : hn_model_check(req->server->seen, req->server->config->state, *ret, err);
}

static int find_other(struct hn_request *req, const char *id, json_t **ret, struct hn_error *err) {
    int rc = hn_access_dataset(req, id, ret, err);
    if (rc == HN_E_NOT_FOUND)
        hn_error_field(err, "against");
    return rc;
}

/* Whose report it is: what is kept knows contents, not names. */
static json_t *named(json_t *report, const struct hn_request *req) {
    const char *other = hn_request_query(req, "against"), *model = hn_request_query(req, "model");
    json_object_set_new(report, "dataset", json_string(req->params[0]));
    json_object_set_new(report, "against", hn_json_string_or_null(other));
    json_object_set_new(report, "model", hn_json_string_or_null(model));
    return report;
}

int hn_datasets_report(struct hn_request *req, struct hn_error *err) {
    const char *other = hn_request_query(req, "against"), *model = hn_request_query(req, "model");
    int64_t wait = WAIT_SECONDS;
    json_t *records[3] = {NULL}, *report = NULL, *progress = NULL;
    int rc = hn_query_int(req, "wait", 0, WAIT_MOST, &wait, err);
    struct hn_db *db = rc ? NULL : hn_request_db(req, err);
    if (!rc)
        rc = db ? hn_db_dataset_get(db, req->params[0], &records[0], err) : HN_E_INTERNAL;
    if (!rc && other)
        rc = find_other(req, other, &records[1], err);
    if (!rc && model)
        rc = find_model(req, model, &records[2], err);
    if (!rc)
        hn_request_db_release(req); /* it may wait for long */
    const struct hn_report_question question = {
        records[0], records[1], records[2], &req->asker, wait * 1000};
    if (!rc)
        rc = hn_report_ask(req->server->reports, &question, &report, &progress, &req->details, err);
    for (int i = 0; i < 3; i++)
        json_decref(records[i]);
    if (rc)
        return rc;
    if (report)
        return hn_reply_json(req, 200, named(report, req), err);
    hn_reply_header(req, "Retry-After", "2");
    return hn_reply_json(req, 202, progress, err);
}
