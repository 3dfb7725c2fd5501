/* Replies as the API gives them: JSON, lists, errors. Statuses of errors are decided in reply.c
 * alone. */
#ifndef HN_API_REPLY_H
#define HN_API_REPLY_H

#include "server/http/http.h"

/* How values are written in replies. Takes the value over; NULL out of memory, and for NULL. */
char *hn_reply_text(json_t *value);
/* Takes `value` over. Returns 0, or HN_E_INTERNAL when it is NULL (out of memory). */
int hn_reply_json(struct hn_request *req, int status, json_t *value, struct hn_error *err);
/* {"data":…,"next":…}; takes `data` over; next may be NULL. */
int hn_reply_list(struct hn_request *req, json_t *data, const char *next, struct hn_error *err);
/* An hn_api.fail. */
void hn_reply_error(struct hn_request *req, const struct hn_error *err, const json_t *details);
/* The error as the API's JSON. New reference. */
json_t *hn_error_json(const struct hn_error *err, const json_t *details);
int hn_error_status(int code);

/* Query parameters as numbers; absent leaves *ret. The error names the parameter. */
int hn_query_int(const struct hn_request *req, const char *name, int64_t min, int64_t max,
    int64_t *ret, struct hn_error *err);
/* 1, true, yes or 0, false, no. */
int hn_query_flag(const struct hn_request *req, const char *name, bool *ret, struct hn_error *err);
/* "limit" (default `standard`, at most `most`) and "after". */
int hn_query_page(const struct hn_request *req, int64_t standard, int64_t most, int64_t *ret_limit,
    const char **ret_after, struct hn_error *err);
/* One of a NULL-ended list of words; absent leaves *ret. */
int hn_query_word(const struct hn_request *req, const char *name, const char *const *words,
    const char **ret, struct hn_error *err);

/* The JSON object of the body; an empty body is an empty object. New reference. */
int hn_body_object(struct hn_request *req, json_t **ret, struct hn_error *err);

#endif
