/*
 * POST /jobs: the request as JSON or as a form, and the answer. What becomes of it is
 * server/jobs/submit.c.
 */
#include "api/handlers.h"

#include <stdio.h>
#include <string.h>

static int refuse(struct hn_error *err, const char *field, const char *message, const char *hint) {
    hn_fail(err, HN_E_INVALID_FIELD, "%s", message);
    hn_error_field(err, "%s", field);
    hn_error_hint(err, "%s", hint);
    return HN_E_INVALID_FIELD;
}

static int read_form(struct hn_request *req, json_t **ret, struct hn_error *err) {
    json_t *request = *ret = json_object();
    for (struct hn_part *part = req->parts; part; part = part->next) {
        bool file = part->filename != NULL;
        if (file && !hn_job_request_takes_file(part->name))
            return refuse(err, part->name, "only dataset and validation may be files",
                "curl -F dataset=@train.jsonl -F model=NAME");
        if (json_object_get(request, part->name))
            return refuse(err, part->name, "the form names a field twice", "send each part once");
        const char *text = part->data.data ? part->data.data : "";
        json_t *value =
            file ? json_sprintf("sha256:%s", part->sha256) : hn_job_request_form(part->name, text);
        if (!value || json_object_set_new(request, part->name, value))
            return refuse(err, part->name, "a form field is not valid UTF-8", "send UTF-8");
    }
    return 0;
}

/* The form's files; a form names each field once, so there are no more than fields that take
 * one. */
static size_t list_uploads(const struct hn_request *req, struct hn_upload ret[HN_UPLOADS_MAX]) {
    size_t n = 0;
    for (const struct hn_part *part = req->parts; part && n < HN_UPLOADS_MAX; part = part->next)
        if (part->filename)
            ret[n++] = (struct hn_upload){.field = part->name,
                .path = part->path,
                .sha256 = part->sha256,
                .filename = part->filename,
                .bytes = part->bytes};
    return n;
}

int hn_job_reply_created(struct hn_request *req, const char *id, struct hn_error *err) {
    hn_request_object(req, id);
    char *location = hn_request_alloc(req, 64);
    if (location) {
        snprintf(location, 64, "/jobs/%s", id);
        hn_reply_header(req, "Location", location);
    }
    return hn_job_reply(req, 201, id, err);
}

static int reply(struct hn_request *req, struct hn_submission *s, struct hn_error *err) {
    if (s->dry_run) {
        json_t *estimate = s->estimate;
        s->estimate = NULL;
        return hn_reply_json(req, 200, estimate, err);
    }
    if (s->existing) {
        hn_reply_header(req, "Idempotency-Replayed", "true");
        return hn_job_reply(req, 200, s->id, err);
    }
    return hn_job_reply_created(req, s->id, err);
}

int hn_jobs_create(struct hn_request *req, struct hn_error *err) {
    struct hn_submitter who = hn_access_submitter(req);
    struct hn_upload uploads[HN_UPLOADS_MAX];
    struct hn_submission s = {.uploads = uploads, .key = hn_request_header(req, "Idempotency-Key")};
    int rc = hn_query_flag(req, "dry_run", &s.dry_run, err);
    if (!rc)
        rc = req->is_form ? read_form(req, &s.request, err) : hn_body_object(req, &s.request, err);
    s.n_uploads = rc ? 0 : list_uploads(req, uploads);
    if (!rc)
        rc = hn_submit(req->server, &who, &s, err);
    if (!rc)
        rc = reply(req, &s, err);
    json_decref(s.request);
    json_decref(s.estimate);
    if (s.details) {
        json_decref(req->details);
        req->details = s.details;
    }
    return rc;
}
