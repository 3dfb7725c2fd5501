/* What submit.c and submit_inputs.c share. */
#ifndef HN_SERVER_JOBS_SUBMIT_INTERNAL_H
#define HN_SERVER_JOBS_SUBMIT_INTERNAL_H

#include "server/jobs/submit.h"

/* One submission on its way. */
struct hn_submitting {
    struct hn_server *server;
    const struct hn_submitter *who;
    struct hn_submission *in;
    struct hn_db *db;
    json_t *model, *train, *validation, *test; /* records */
    json_t *split;                             /* what the plan wants for the validation */
    /* of several training data sets: what the plan wants; [{"dataset","weight"}] */
    json_t *sources, *datasets;
    json_t *others; /* models of verify_on: [{"name","path","sha256"}], or NULL */
    /* {"path","job","step"} of the checkpoint that init_from names, or NULL */
    json_t *init;
    bool init_ended;                           /* the job it is of writes no more */
    json_t *plan;                              /* the helper's answer */
    char uploaded[HN_UPLOADS_MAX][HN_ID_SIZE]; /* data sets that this request brought in */
    size_t n_uploaded;
    char body_hash[HN_SHA256_HEX];
};

/* Finds all that the request names. */
int hn_submit_inputs(struct hn_submitting *s, struct hn_error *err);
/* The list becomes the error's details; takes it over. NULL: nothing. */
void hn_submit_details(struct hn_submitting *s, json_t *faults);
int hn_submit_refuse(
    struct hn_error *err, int code, const char *field, const char *message, const char *hint);

#endif
