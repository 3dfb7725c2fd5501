/*
 * A talk: a request that the serving (server/process/serving.h) answers, as a stream of events or
 * as one object. What is asked and in which form it is answered: openai_chat.c.
 */
#ifndef HN_API_OPENAI_TALK_H
#define HN_API_OPENAI_TALK_H

#include "api/reply.h"

struct hn_talk;

/* The forms of an answer; all give new references, and get the talk's `form_data`. */
struct hn_talk_form {
    /* how a stream begins: a list of chunks; may be NULL */
    json_t *(*beginning)(const void *form_data);
    /* of a piece {"index","text","said"} */
    json_t *(*chunk)(const void *form_data, const json_t *chunk);
    /* how a stream ends: a list of chunks to be sent behind the pieces */
    json_t *(*ending)(const void *form_data, const json_t *result);
    json_t *(*whole)(const void *form_data, const json_t *result);
};

/* Asks for `params` (taken over) and answers the request. `form_data` is freed by json_decref. */
int hn_talk(struct hn_request *req, const char *key, json_t *params, bool stream,
    const struct hn_talk_form *form, json_t *form_data, struct hn_error *err);

#endif
