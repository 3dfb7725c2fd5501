/* See request.h. */
#include "server/http/request.h"
#include "server/server.h"

#include <stdio.h>
#include <string.h>
#include <strings.h>

static const char *lookup(const struct hn_header *list, size_t n, const char *name,
    int (*compare)(const char *, const char *)) {
    for (size_t i = 0; i < n; i++)
        if (compare(list[i].name, name) == 0)
            return list[i].value;
    return NULL;
}

const char *hn_request_header(const struct hn_request *req, const char *name) {
    return lookup(req->headers, req->n_headers, name, strcasecmp);
}

const char *hn_request_query(const struct hn_request *req, const char *name) {
    return lookup(req->query, req->n_query, name, strcmp);
}

void hn_request_object(struct hn_request *req, const char *object) {
    snprintf(req->object, sizeof req->object, "%s", object);
}

struct hn_db *hn_request_db(struct hn_request *req, struct hn_error *err) {
    if (!req->db)
        req->db = hn_store_read(req->server->store, err);
    return req->db;
}

void hn_request_db_release(struct hn_request *req) {
    hn_store_release(req->server->store, req->db);
    req->db = NULL;
}
