/*
 * Evaluations while they are made: by the helper, for clients that wait or come again
 * (making.h). What was made is kept (evaluations.h).
 */
#ifndef HN_SERVER_LIBRARY_EVALUATING_H
#define HN_SERVER_LIBRARY_EVALUATING_H

#include "server/base/loop.h"
#include "server/library/evaluations.h"
#include "server/process/helper.h"

#define HN_WAIT_TO_THE_END INT64_MAX

struct hn_evaluating;

int hn_evaluating_create(const char *state, struct hn_loop *loop, struct hn_helper *helper,
    struct hn_evaluating **ret, struct hn_error *err);
/* After the loop's work has ended. */
void hn_evaluating_destroy(struct hn_evaluating *all);

struct hn_evaluation_question {
    json_t *params; /* of the helper's op `evaluate` */
    json_t *about;  /* what of, as it stands in the answer */
    const char *owner;
    const struct hn_asker *asker;
    /* before it is said how far it is. HN_WAIT_TO_THE_END: and it ends with the client; else it
     * goes on without */
    int64_t wait_ms;
};
/* Begins one and waits. *ret is the answer, or NULL where it is not ready: then *ret_told is
 * {"id","status":"running","progress","rows","total","answered"} with what it is about. New
 * references. Takes params and about over. Blocks: threads for what may wait long. */
int hn_evaluation_ask(struct hn_evaluating *all, const struct hn_evaluation_question *question,
    json_t **ret, json_t **ret_told, json_t **ret_details, struct hn_error *err);
/* How far that one is: as *ret_told above, with "owner"; NULL: it is not being made. One that
 * failed is told its fault, once. New reference. */
int hn_evaluation_look(struct hn_evaluating *all, const char *id, json_t **ret_told,
    json_t **ret_details, struct hn_error *err);
/* Whose one that is made, or failed untold, is: new reference, a text; NULL: there is none. */
json_t *hn_evaluation_owner(struct hn_evaluating *all, const char *id);
/* Ends it; false when it is not being made. */
bool hn_evaluation_cancel(struct hn_evaluating *all, const char *id);

#endif
