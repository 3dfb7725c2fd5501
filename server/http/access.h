/*
 * Who may what. auth.c finds out who asks (req->key); here it is decided, for all routes, what that
 * one may do:
 *
 *   scope   what is done: read looks, submit also uploads, trains, asks and changes, admin also
 *           takes in models, sets priorities above 0 and deletes models. Each route says which it
 *           needs.
 *   reach   whose objects: one's own, those of one's team, or all. It is the same for looking and
 *           for changing.
 *
 * What is out of reach is answered like what is not there (404), so that ids cannot be tried. Where
 * no keys are required everybody may everything. The manual's table "Who may what" is tested cell
 * by cell.
 */
#ifndef HN_SERVER_HTTP_ACCESS_H
#define HN_SERVER_HTTP_ACCESS_H

#include "server/http/request.h"
#include "server/jobs/submit.h"

/* Points into the request. */
struct hn_reach hn_access_reach(const struct hn_request *req);
/* The scope that the route needs; HN_E_FORBIDDEN. */
int hn_access_scope(const struct hn_request *req, enum hn_scope needed, struct hn_error *err);
/* Before any handler: the object that the path names must be within reach; HN_E_NOT_FOUND. */
int hn_access_path(struct hn_request *req, struct hn_error *err);
/* A data set that a body names. New reference. */
int hn_access_dataset(struct hn_request *req, const char *id, json_t **ret, struct hn_error *err);
/* Whether an evaluation, as it is kept, is within reach. */
bool hn_access_evaluation(struct hn_request *req, const json_t *evaluation);
/* Who submits by this request. Points into it. */
struct hn_submitter hn_access_submitter(const struct hn_request *req);

#endif
