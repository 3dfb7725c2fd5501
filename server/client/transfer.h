/*
 * One request to a Hone server at a time, by libcurl, which is opened at run time: only commands
 * that talk to a server load it, and the child that delivers notices, never the daemon itself, its
 * trainers or its helpers.
 *
 * A server is not trusted: answers are bounded, redirects are not followed, and what is not an
 * answer of Hone (a proxy's page) is told as such.
 */
#ifndef HN_SERVER_CLIENT_TRANSFER_H
#define HN_SERVER_CLIENT_TRANSFER_H

#include "engine/engine.h"

/* Where the server is. All texts are NULL or owned. */
struct hn_endpoint {
    char *url;    /* "http://127.0.0.1:4663", no slash at the end */
    char *socket; /* path of a Unix socket; `url` is then only what requests name as host */
    char *key, *ca;
    bool direct; /* whatever proxy the environment names */
    char
        *from; /* what named it, for people: "--server", "HONE_SERVER", a file; NULL: the default */
};
bool hn_endpoint_is_here(const struct hn_endpoint *at); /* a loopback address */

/* A part of a form: a text, or a file that is read as it is sent. */
struct hn_part_to_send {
    const char *name, *text, *path, *filename;
};

struct hn_ask {
    const char *method, *path;  /* path with query, encoded */
    const json_t *body;         /* sent as JSON */
    const char *text;           /* JSON that is sent as it stands */
    const char *const *headers; /* more of them, "name: value", NULL-ended; or NULL */
    const struct hn_part_to_send *parts;
    size_t n_parts;
    const char *accept;
    int64_t from;    /* > 0: only the bytes from here on (Range) */
    const char *tag; /* of which entity (If-Range) */
    long seconds;    /* > 0: the answer has to be whole by then */
    size_t ceiling;  /* of the answer's body; 0: 64 MiB */
    /* Gets a good answer's bytes instead of `body`; false ends the transfer. */
    bool (*sink)(void *ud, long status, const char *data, size_t size);
    /* Called now and then; false ends the transfer. */
    bool (*progress)(void *ud, int64_t sent, int64_t to_send);
    void *ud;
};

struct hn_answer {
    long status;
    char type[128];
    struct hn_buf body;
    json_t *json;  /* of a JSON answer; errors too */
    char why[256]; /* what kept the answer from coming, or "" */
};

enum hn_outcome {
    HN_OUTCOME_WELL,
    HN_OUTCOME_REFUSED,     /* by the server, or its answer is of no use */
    HN_OUTCOME_UNREACHABLE, /* no connection, or it broke */
    HN_OUTCOME_STOPPED,     /* by `sink` or `progress` */
    HN_OUTCOME_LOCAL,       /* something here failed */
};

struct hn_transfer;
int hn_transfer_create(
    const struct hn_endpoint *at, struct hn_transfer **ret, struct hn_error *err);
void hn_transfer_destroy(struct hn_transfer *transfer);
/* Fills *ret, which the caller finishes whatever came of it; *err unless all went well. */
enum hn_outcome hn_transfer_ask(struct hn_transfer *transfer, const struct hn_ask *ask,
    struct hn_answer *ret, struct hn_error *err);
void hn_answer_finish(struct hn_answer *answer);
/* `text` with all but unreserved characters as %XX; caller frees; NULL when out of memory. */
char *hn_percent(const char *text);

#endif
