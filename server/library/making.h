/*
 * Answers that a helper takes long to make: known by name while they are made, so that whoever asks
 * can wait a while, be told how far they are, and come again. One that failed is remembered until
 * it was told, or for a time.
 */
#ifndef HN_SERVER_LIBRARY_MAKING_H
#define HN_SERVER_LIBRARY_MAKING_H

#include "server/process/question.h"

#include <pthread.h>

#define HN_MAKING_NAME 256

struct hn_making {
    char name[HN_MAKING_NAME];
    json_t *params;        /* of the helper's question */
    struct hn_asker asker; /* who asked first */
    json_t *told;          /* how far it is, as it is told; or NULL */
    int64_t asked;         /* tick of the last question */
    int waiting;           /* threads that look at it */
    bool unwanted;         /* it is to be ended */
    bool done;
    int rc; /* what came of it */
    struct hn_error err;
    json_t *details;
    struct hn_making *next;
};

/* In the order in which they came. The lock guards all that is in them but name, params and
 * asker. */
struct hn_makings {
    pthread_mutex_t lock;
    pthread_cond_t changed;
    struct hn_making *first;
    int64_t patience_ms;   /* after the last question one that failed is forgotten */
    size_t most, own_most; /* at a time; of one client */
    const char *what;      /* they are, in messages: "reports" */
};

void hn_makings_init(struct hn_makings *makings);
void hn_makings_finish(struct hn_makings *makings);

/* With the lock held, all of these. */
struct hn_making *hn_making_find(struct hn_makings *makings, const char *name);
/* A new one at the end, which takes `params` over; NULL: there are too many (HN_E_BUSY). */
struct hn_making *hn_making_add(struct hn_makings *makings, const char *name, json_t *params,
    const struct hn_asker *asker, struct hn_error *err);
/* Until it is done, the time is over, or the client has gone. */
void hn_making_wait(
    struct hn_makings *makings, struct hn_making *m, const struct hn_asker *asker, int64_t wait_ms);
/* What a failed one is told: its code, with *err and *ret_details (new reference) filled. */
int hn_making_fault(const struct hn_making *m, json_t **ret_details, struct hn_error *err);
/* Removes those that are done, with nobody looking: they are good, unwanted, `told`, or long not
 * asked for. */
void hn_makings_drop(struct hn_makings *makings, const struct hn_making *told);

/* Takes the lock: it is done, and everybody hears it. `details` is taken over. */
void hn_making_end(struct hn_makings *makings, struct hn_making *m, int rc,
    const struct hn_error *err, json_t *details);

#endif
