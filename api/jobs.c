/* /jobs: lists, one job, its changes. Submission is in job_create.c. */
#include "api/handlers.h"
#include "server/process/rundir.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

struct page {
    struct hn_db *db;
    struct hn_kept *kept;
    int64_t version;       /* of the store */
    struct hn_buf text;    /* the answer */
    char last[HN_ID_SIZE]; /* id; "" as long as there is none */
};

static void add_job(void *ud, const struct hn_job *job) {
    struct page *page = ud;
    char *text = hn_job_text(page->db, page->kept, job, page->version);
    hn_buf_text(&page->text, *page->last ? "," : "{\"data\":[");
    if (text)
        hn_buf_text(&page->text, text);
    page->text.failed |= !text;
    snprintf(page->last, sizeof page->last, "%s", job->id);
    free(text);
}

/* The end of the page, and what goes on behind it. */
static int reply_page(struct hn_request *req, struct page *page, bool more, struct hn_error *err) {
    if (!*page->last)
        hn_buf_text(&page->text, "{\"data\":[");
    hn_buf_text(&page->text, "],\"next\":");
    if (more)
        hn_buf_printf(&page->text, "\"%s\"}", page->last);
    else
        hn_buf_text(&page->text, "null}");
    if (page->text.failed) {
        hn_buf_free(&page->text);
        return hn_fail(err, HN_E_INTERNAL, "out of memory");
    }
    hn_reply_bytes(req, 200, "application/json", page->text.data, page->text.size);
    return 0;
}

void hn_job_filter_metadata(const struct hn_request *req, struct hn_job_filter *filter) {
    for (size_t i = 0; i < req->n_query && filter->n_metadata < 16; i++) {
        const char *name = req->query[i].name;
        size_t n = strlen(name);
        if (strncmp(name, "metadata[", 9) != 0 || n < 10)
            continue;
        char *key = hn_request_copy((struct hn_request *)(uintptr_t)req, name + 9);
        if (!key)
            continue;
        key[n - 10] = 0; /* the bracket */
        filter->metadata_keys[filter->n_metadata] = key;
        filter->metadata_values[filter->n_metadata++] = req->query[i].value;
    }
}

/* The words of `q` in small letters, as a JSON array; NULL without any. */
static int read_words(struct hn_request *req, char **ret, struct hn_error *err) {
    const char *text = hn_request_query(req, "q");
    if (!text || !text[strspn(text, " ")])
        return 0;
    if (strlen(text) > 200) {
        hn_fail(err, HN_E_INVALID_FIELD, "q has more than 200 bytes");
        hn_error_field(err, "q");
        hn_error_hint(err, "a few words of the name, the model, the data set's name or the id");
        return HN_E_INVALID_FIELD;
    }
    char *rest = hn_request_copy(req, text);
    for (char *c = rest; c && *c; c++)
        if (*c >= 'A' && *c <= 'Z')
            *c += 'a' - 'A';
    json_t *words = rest ? json_array() : NULL;
    for (char *word; words && (word = strsep(&rest, " "));)
        if (*word)
            json_array_append_new(words, json_string(word));
    *ret = words ? json_dumps(words, JSON_COMPACT) : NULL;
    json_decref(words);
    return *ret ? 0 : hn_fail(err, HN_E_INTERNAL, "out of memory");
}

static int read_order(struct hn_request *req, struct hn_job_filter *filter, struct hn_error *err) {
    static const char *const sorts[] = {"created", "finished", "metric", "duration", NULL};
    static const char *const orders[] = {"desc", "asc", NULL};
    const char *sort = sorts[0], *order = orders[0];
    int rc = hn_query_word(req, "sort", sorts, &sort, err);
    if (!rc)
        rc = hn_query_word(req, "order", orders, &order, err);
    filter->ascending = order[0] == 'a';
    for (size_t i = 0; sorts[i]; i++) /* in the order of enum hn_job_order */
        if (strcmp(sorts[i], sort) == 0)
            filter->order = (enum hn_job_order)i;
    return rc;
}

int hn_jobs_list(struct hn_request *req, struct hn_error *err) {
    static const char *const states[] = {
        "queued", "running", "paused", "succeeded", "failed", "cancelled", NULL};
    struct hn_job_filter filter = {.reach = hn_access_reach(req),
        .model = hn_request_query(req, "model"),
        .task = hn_request_query(req, "task"),
        .dataset = hn_request_query(req, "dataset"),
        .sweep = hn_request_query(req, "sweep")};
    hn_job_filter_metadata(req, &filter);
    int rc = hn_query_page(req, 20, 1000, &filter.limit, &filter.after, err);
    if (!rc)
        rc = hn_query_word(req, "status", states, &filter.status, err);
    if (!rc)
        rc = read_order(req, &filter, err);
    char *words = NULL;
    if (!rc)
        rc = read_words(req, &words, err);
    filter.words = words;
    struct page page = {.kept = req->server->kept,
        .version = hn_store_version(req->server->store),
        .db = rc ? NULL : hn_request_db(req, err)};
    bool more = false;
    if (!rc)
        rc = page.db ? hn_db_job_list(page.db, &filter, add_job, &page, &more, err) : HN_E_INTERNAL;
    free(words);
    if (!rc)
        return reply_page(req, &page, more, err);
    hn_buf_free(&page.text);
    return rc;
}

static int ask(struct hn_request *req, const char *verb, struct hn_error *err) {
    struct hn_job_ask question = {req->params[0], verb};
    int rc = hn_store_call(req->server->store, hn_db_job_ask, &question, err);
    if (rc)
        return rc;
    return hn_job_reply(req, 200, req->params[0], err);
}

int hn_jobs_cancel(struct hn_request *req, struct hn_error *err) {
    return ask(req, "cancel", err);
}

int hn_jobs_pause(struct hn_request *req, struct hn_error *err) {
    return ask(req, "pause", err);
}

int hn_jobs_resume(struct hn_request *req, struct hn_error *err) {
    return ask(req, "resume", err);
}

int hn_jobs_patch(struct hn_request *req, struct hn_error *err) {
    static const char *const known[] = {"name", "metadata", "priority", NULL};
    json_t *body = NULL;
    struct hn_job_patch patch = {.id = req->params[0]};
    struct hn_submitter who = hn_access_submitter(req);
    char *metadata = NULL;
    int rc = hn_body_object(req, &body, err);
    if (!rc)
        rc = hn_json_known(body, known, "", err);
    patch.set_name = json_object_get(body, "name") != NULL;
    patch.set_priority = json_is_integer(json_object_get(body, "priority"));
    if (!rc)
        rc = hn_json_string(body, "name", &patch.name, err);
    if (!rc && patch.name && strlen(patch.name) > 200)
        rc = hn_fail(err, HN_E_INVALID_FIELD, "name has more than 200 characters");
    if (!rc)
        rc = hn_json_int(body, "priority", -100, 100, &patch.priority, err);
    if (!rc)
        rc = hn_submitter_priority(&who, patch.priority, err);
    const json_t *pairs = json_object_get(body, "metadata");
    if (!rc && pairs && !json_is_null(pairs)) {
        rc = hn_job_metadata_check(pairs, err);
        patch.set_metadata = true;
        patch.metadata = metadata = json_dumps(pairs, JSON_COMPACT);
    }
    if (!rc)
        rc = hn_store_call(req->server->store, hn_db_job_patch, &patch, err);
    free(metadata);
    json_decref(body);
    return rc ? rc : hn_job_reply(req, 200, req->params[0], err);
}

int hn_jobs_delete(struct hn_request *req, struct hn_error *err) {
    int rc = hn_job_remove(&req->server->library, req->params[0], err);
    if (!rc)
        hn_reply_empty(req, 204);
    return rc;
}

int hn_jobs_log(struct hn_request *req, struct hn_error *err) {
    struct hn_job job;
    char run_dir[HN_PATH_SIZE];
    int fd, rc = hn_job_load(req, &job, err);
    if (!rc && !hn_state_path(run_dir, req->server->config->state, "runs", job.id, NULL))
        rc = hn_fail(err, HN_E_INTERNAL, "path too long");
    if (!rc) {
        struct stat st;
        rc = hn_rundir_open(run_dir, "trainer.log", O_RDONLY, &fd, err);
        if (!rc && fstat(fd, &st) == 0)
            hn_reply_file(req, 200, "text/plain; charset=utf-8", fd, 0, (uint64_t)st.st_size);
        else if (!rc)
            close(fd);
        if (rc == HN_E_NOT_FOUND) { /* not started yet */
            hn_reply_static(req, 200, "text/plain; charset=utf-8", "", 0);
            rc = 0;
        }
    }
    hn_job_finish(&job);
    return rc;
}

int hn_jobs_checkpoints(struct hn_request *req, struct hn_error *err) {
    struct hn_job job;
    json_t *kept = NULL;
    int rc = hn_job_load(req, &job, err);
    if (!rc)
        rc = hn_rundir_checkpoints(
            req->server->config->state, hn_request_db(req, err), &job, &kept, err);
    hn_job_finish(&job);
    return rc ? rc : hn_reply_json(req, 200, json_pack("{s:o}", "data", kept), err);
}
