/*
 * A request as its handler sees it, and the replies it can set.
 *
 * A handler is a plain blocking function: it runs on the pool while its request is suspended, may
 * wait for the store or the helper, and sets a reply or returns an error. Handlers marked
 * HN_ON_LOOP run at once on the loop thread and must not block; those that may wait for a helper
 * are HN_ON_WAITING.
 *
 * Everything a handler allocates with hn_request_* lives until the request is completed.
 */
#ifndef HN_SERVER_HTTP_REQUEST_H
#define HN_SERVER_HTTP_REQUEST_H

#include "server/http/http_parse.h"
#include "server/process/question.h"
#include "server/store/store_files.h"

#include <sys/types.h>

struct hn_server;

enum hn_scope { HN_SCOPE_OPEN, HN_SCOPE_READ, HN_SCOPE_SUBMIT, HN_SCOPE_ADMIN };

/* Where a handler runs: the loop thread, the pool, or threads for what may wait long for others
 * (loop.h). */
enum hn_where { HN_ON_POOL, HN_ON_LOOP, HN_ON_WAITING };

/* Bodies a route takes, or-ed. FORM parts with a file name go to disk, others to memory. */
enum hn_body { HN_BODY_NONE = 0, HN_BODY_JSON = 1, HN_BODY_FORM = 2, HN_BODY_FILE = 4 };

struct hn_request;
typedef int (*hn_handler_fn)(struct hn_request *req, struct hn_error *err);

struct hn_route {
    const char *method, *pattern;
    hn_handler_fn handle;
    enum hn_scope scope;
    unsigned body;
    enum hn_where where;
    const char *query;   /* known query parameters, "a,b,metadata[]"; others are refused */
    const char *summary; /* for the OpenAPI document */
};

/* A part of a form, or a raw body (named "file"). */
struct hn_part {
    const char *name, *filename, *content_type; /* filename NULL: a plain field */
    struct hn_buf data;                         /* of a field */
    /* of a file, below STATE/tmp; removed with the request */
    char *path;
    char sha256[HN_SHA256_HEX];
    uint64_t bytes;
    void *sha;
    int fd;
    struct hn_part *next;
};

/* A body that is made while it is sent. `read` gives up to `max` bytes, or one of these. A blocking
 * stream is read on the pool; others on the loop, where WAIT sleeps until hn_stream_wake. */
enum { HN_STREAM_END = 0, HN_STREAM_ERROR = -1, HN_STREAM_WAIT = -2 };
struct hn_stream {
    ssize_t (*read)(void *ud, char *buf, size_t max);
    void (*close)(void *ud); /* exactly once, whatever happens to the client */
    void *ud;
    bool blocking;
    /* somebody works for it: that the client has hung up is noticed also while it sleeps */
    bool costly;
    struct hn_request *request; /* set when sending begins; NULL before */
    bool asleep;
};

struct hn_header {
    const char *name, *value;
};

struct hn_request {
    struct hn_server *server;
    const struct hn_route *route;
    const char *method, *path; /* path is decoded */
    const char *params[HN_PATH_PARAMS];
    char id[HN_ID_SIZE];
    struct hn_key key; /* id "" when keys are not required, or none is known yet */
    char object[72];   /* what the request made, for the audit log; hn_request_object */
    struct hn_header *headers, *query;
    size_t n_headers, n_query;
    struct hn_db *db;      /* hn_request_db */
    struct hn_buf body;    /* of a JSON body */
    struct hn_part *parts; /* of a form or file body */
    bool is_form;
    json_t *details;       /* {"details","total"} to go with an error; owned */
    struct hn_asker asker; /* set when the handler begins; `gone` once the client has hung up */
};

void *hn_request_alloc(struct hn_request *req, size_t size); /* zeroed; NULL when out of memory */
char *hn_request_copy(struct hn_request *req, const char *text);
const char *hn_request_header(const struct hn_request *req, const char *name); /* NULL if absent */
/* Whether the client's key reaches so far; where keys are not required, everybody's does. */
bool hn_request_may(const struct hn_request *req, enum hn_scope needed);
const char *hn_request_query(const struct hn_request *req, const char *name);
/* Notes the id or name of what was made. */
void hn_request_object(struct hn_request *req, const char *object);
/* A reader of the store that is given back with the request. Pool handlers only. */
struct hn_db *hn_request_db(struct hn_request *req, struct hn_error *err);

void hn_request_db_release(struct hn_request *req);

/* Exactly one of these sets the reply. `data` is taken over and freed. */
void hn_reply_bytes(struct hn_request *req, int status, const char *type, char *data, size_t size);
void hn_reply_static(
    struct hn_request *req, int status, const char *type, const char *data, size_t size);
/* `count` bytes of an open file from `from`; the descriptor is taken over. */
void hn_reply_file(
    struct hn_request *req, int status, const char *type, int fd, uint64_t from, uint64_t count);
/* The stream and what it points to must live until its close is called. */
void hn_reply_stream(
    struct hn_request *req, int status, const char *type, struct hn_stream *stream);
void hn_reply_empty(struct hn_request *req, int status);
void hn_reply_header(struct hn_request *req, const char *name, const char *value);
bool hn_reply_is_set(const struct hn_request *req);

void hn_stream_wake(struct hn_stream *stream); /* loop thread; harmless when it does not sleep */

#endif
