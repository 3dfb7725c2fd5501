/* See access.h. */
#include "server/http/access.h"
#include "server/store/store_sweeps.h"
#include "server/library/evaluating.h"
#include "server/server.h"

#include <string.h>

static enum hn_scope scope_of(const char *name) {
    return strcmp(name, "admin") == 0 ? HN_SCOPE_ADMIN
        : strcmp(name, "submit") == 0 ? HN_SCOPE_SUBMIT
                                      : HN_SCOPE_READ;
}

bool hn_request_may(const struct hn_request *req, enum hn_scope needed) {
    return !req->server->keys_required || scope_of(req->key.scope) >= needed;
}

int hn_access_scope(const struct hn_request *req, enum hn_scope needed, struct hn_error *err) {
    static const char *const names[] = {"open", "read", "submit", "admin"};
    if (hn_request_may(req, needed))
        return 0;
    hn_fail(err, HN_E_FORBIDDEN, "this key has the scope \"%s\"; that needs \"%s\"", req->key.scope,
        names[needed]);
    hn_error_hint(err, "use a key made with --scope %s", names[needed]);
    return HN_E_FORBIDDEN;
}

struct hn_reach hn_access_reach(const struct hn_request *req) {
    return (struct hn_reach){.all = !req->server->keys_required || req->key.sees_all,
        .owner = req->key.id,
        .team = req->key.team};
}

static int check_job(
    struct hn_request *req, struct hn_db *db, const struct hn_reach *reach, struct hn_error *err) {
    return hn_db_job_reached(db, reach, req->params[0], err);
}

static int check_dataset(
    struct hn_request *req, struct hn_db *db, const struct hn_reach *reach, struct hn_error *err) {
    return hn_db_dataset_reached(db, reach, req->params[0], err);
}

static int check_sweep(
    struct hn_request *req, struct hn_db *db, const struct hn_reach *reach, struct hn_error *err) {
    return hn_db_sweep_reached(db, reach, req->params[0], err);
}

static int check_evaluation(
    struct hn_request *req, struct hn_db *db, const struct hn_reach *reach, struct hn_error *err) {
    json_t *kept = NULL;
    bool reached = false;
    json_t *made = hn_evaluation_owner(req->server->evaluating, req->params[0]);
    int rc = made ? 0 : hn_evaluation_load(req->server->config->state, req->params[0], &kept, err);
    const char *owner = json_string_value(made ? made : json_object_get(kept, "owner"));
    if (!rc)
        rc = hn_db_owner_reached(db, reach, owner ? owner : "", &reached, err);
    json_decref(kept);
    json_decref(made);
    return rc || reached ? rc : hn_evaluation_missing(req->params[0], err);
}

/* The figures are of the server as a whole, everybody's work in one. */
static int check_figures(
    struct hn_request *req, struct hn_db *db, const struct hn_reach *reach, struct hn_error *err) {
    (void)req, (void)db, (void)reach;
    hn_fail(err, HN_E_FORBIDDEN,
        "the figures are of all jobs together, and this key does not see all of them");
    hn_error_hint(err, "use a key made with --scope read --see all, or an admin's");
    return HN_E_FORBIDDEN;
}

/* What a path names, by its pattern's beginning. Asked only for those who do not see everything. */
static const struct {
    const char *pattern;
    int (*check)(struct hn_request *req, struct hn_db *db, const struct hn_reach *reach,
        struct hn_error *err);
} objects[] = {
    {"/jobs/{id}", check_job},
    {"/datasets/{id}", check_dataset},
    {"/sweeps/{id}", check_sweep},
    {"/evaluations/{id}", check_evaluation},
    {"/metrics", check_figures},
};

int hn_access_path(struct hn_request *req, struct hn_error *err) {
    struct hn_reach reach = hn_access_reach(req);
    for (size_t i = 0; !reach.all && i < sizeof objects / sizeof objects[0]; i++) {
        if (strncmp(req->route->pattern, objects[i].pattern, strlen(objects[i].pattern)) != 0)
            continue;
        struct hn_db *db = hn_request_db(req, err);
        return db ? objects[i].check(req, db, &reach, err) : HN_E_INTERNAL;
    }
    return 0;
}

int hn_access_dataset(struct hn_request *req, const char *id, json_t **ret, struct hn_error *err) {
    struct hn_reach reach = hn_access_reach(req);
    struct hn_db *db = hn_request_db(req, err);
    int rc = db ? hn_db_dataset_reached(db, &reach, id, err) : HN_E_INTERNAL;
    return rc ? rc : hn_db_dataset_get(db, id, ret, err);
}

bool hn_access_evaluation(struct hn_request *req, const json_t *evaluation) {
    struct hn_reach reach = hn_access_reach(req);
    const char *owner = json_string_value(json_object_get(evaluation, "owner"));
    struct hn_db *db = reach.all ? NULL : hn_request_db(req, NULL);
    bool reached = reach.all;
    return reached ||
        (db && hn_db_owner_reached(db, &reach, owner ? owner : "", &reached, NULL) == 0 && reached);
}

struct hn_submitter hn_access_submitter(const struct hn_request *req) {
    return (struct hn_submitter){.owner = req->key.id,
        .scope = req->key.scope,
        .admin = hn_request_may(req, HN_SCOPE_ADMIN),
        .reach = hn_access_reach(req),
        .asker = &req->asker};
}
