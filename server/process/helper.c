/* See helper.h. The thread that asks does the talking itself, with a child that it was given. */
#include "server/process/helper.h"
#include "server/process/helper_child.h"
#include "server/base/id.h"
#include "server/base/log.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define REST_MS 60000
#define TURNS \
    (2 * HN_HELPER_QUEUE) /* clients whose last turn is remembered: more than can wait at a time */

/* On the stack of a thread that waits for a child. */
struct waiter {
    struct waiter *next;
    const struct hn_question *question;
    const char *client;
    struct place *place; /* once it has one */
    pthread_cond_t given;
};

/* A child and who has it. */
struct place {
    struct hn_helper_child child;
    const struct waiter *user; /* NULL: free */
    bool floor;                /* for brief requests only */
};

struct turn {
    char client[HN_CLIENT_SIZE];
    uint64_t served; /* when, as a count of turns */
};

struct hn_helper {
    const char *name;
    pthread_mutex_t lock; /* guards what follows, but for the child that a thread was given */
    struct waiter *first; /* in the order in which they came */
    struct turn turns[TURNS];
    uint64_t served;
    size_t n_places;
    struct place *places;
    atomic_int deaths;
    atomic_bool stop;
};

int hn_helper_create(const char *name, int64_t children, int64_t seconds,
    const struct hn_confinement *to, struct hn_helper **ret, struct hn_error *err) {
    struct hn_helper *helper = hn_calloc(1, sizeof *helper);
    if (helper && !(helper->places = hn_calloc((size_t)children, sizeof *helper->places))) {
        free(helper);
        helper = NULL;
    }
    if (!helper)
        return hn_fail(err, HN_E_INTERNAL, "out of memory");
    helper->name = name;
    helper->n_places = (size_t)children;
    for (size_t i = 0; i < helper->n_places; i++) {
        struct hn_helper_child *child = &helper->places[i].child;
        *child = (struct hn_helper_child){.name = name,
            .to = to,
            .silence_ms = seconds * 1000,
            .stop = &helper->stop,
            .deaths = &helper->deaths};
        hn_helper_child_init(child);
        helper->places[i].floor = i == 0 && children > 1;
    }
    pthread_mutex_init(&helper->lock, NULL);
    *ret = helper;
    return 0;
}

int hn_helper_deaths(const struct hn_helper *helper) {
    return atomic_load(&helper->deaths);
}

void hn_helper_destroy(struct hn_helper *helper) {
    if (!helper)
        return;
    for (size_t i = 0; i < helper->n_places; i++)
        hn_helper_child_end(&helper->places[i].child);
    pthread_mutex_destroy(&helper->lock);
    free(helper->places);
    free(helper);
}

/* Whoever waits or talks looks at it a few times a second. */
void hn_helper_stop(struct hn_helper *helper) {
    atomic_store(&helper->stop, true);
}

void hn_helper_rest(struct hn_helper *helper) {
    pthread_mutex_lock(&helper->lock);
    for (size_t i = 0; i < helper->n_places; i++) {
        struct hn_helper_child *child = &helper->places[i].child;
        if (helper->places[i].user || child->fd < 0 || hn_time_tick() - child->last_used <= REST_MS)
            continue;
        hn_log(HN_LOG_DEBUG, "helper ended: idle", "helper", helper->name, NULL);
        hn_helper_child_end(child);
    }
    pthread_mutex_unlock(&helper->lock);
}

/* When the client was last served; 0: never, or longer ago than is remembered. */
static uint64_t last_turn(const struct hn_helper *helper, const char *client) {
    for (size_t i = 0; i < TURNS; i++)
        if (helper->turns[i].served && strcmp(helper->turns[i].client, client) == 0)
            return helper->turns[i].served;
    return 0;
}

static void note_turn(struct hn_helper *helper, const char *client) {
    struct turn *turn = &helper->turns[0];
    for (size_t i = 0; i < TURNS; i++) {
        if (helper->turns[i].served && strcmp(helper->turns[i].client, client) == 0) {
            turn = &helper->turns[i];
            break;
        }
        if (helper->turns[i].served < turn->served)
            turn = &helper->turns[i];
    }
    snprintf(turn->client, sizeof turn->client, "%s", client);
    turn->served = ++helper->served;
}

/* Where the pointer to the next one for this place is kept; NULL when nobody waits whom it may
 * serve. */
static struct waiter **next_for(struct hn_helper *helper, const struct place *place) {
    struct waiter **best = NULL;
    uint64_t least = UINT64_MAX;
    for (struct waiter **w = &helper->first; *w; w = &(*w)->next) {
        uint64_t turn = last_turn(helper, (*w)->client);
        if ((place->floor && !(*w)->question->brief) || turn >= least)
            continue;
        best = w;
        least = turn;
    }
    return best;
}

static void give(struct hn_helper *helper, struct place *place, struct waiter **link) {
    struct waiter *w = *link;
    *link = w->next;
    note_turn(helper, w->client);
    atomic_store(&place->child.pause, false);
    place->user = w;
    w->place = place;
    pthread_cond_signal(&w->given);
}

/* Who still waits for a place that another client has. */
static bool waits_for(const struct hn_helper *helper, const struct place *place) {
    for (const struct waiter *w = helper->first; w; w = w->next)
        if (!w->question->brief && strcmp(w->client, place->user->client) != 0)
            return true;
    return false;
}

/* Gives free places to those that wait, the floor first, and asks for some where none is left. */
static void share_out(struct hn_helper *helper) {
    struct waiter **link;
    for (size_t i = 0; i < helper->n_places; i++)
        if (!helper->places[i].user && (link = next_for(helper, &helper->places[i])))
            give(helper, &helper->places[i], link);
    for (size_t i = 0; i < helper->n_places; i++)
        if (helper->places[i].user && !helper->places[i].floor &&
            waits_for(helper, &helper->places[i]))
            atomic_store(&helper->places[i].child.pause, true);
}

/* One more at the end of the queue, where there is room. */
static int enqueue(struct hn_helper *helper, struct waiter *w, struct hn_error *err) {
    size_t all = 0, own = 0;
    struct waiter **last = &helper->first;
    for (; *last; last = &(*last)->next) {
        all++;
        own += strcmp((*last)->client, w->client) == 0;
    }
    if (all < HN_HELPER_QUEUE && own < HN_HELPER_CLIENT_QUEUE) {
        *last = w;
        share_out(helper);
        return 0;
    }
    if (own >= HN_HELPER_CLIENT_QUEUE)
        hn_fail(err, HN_E_BUSY,
            "this client has %d requests waiting for the helper process \"%s\", as many as it may",
            HN_HELPER_CLIENT_QUEUE, helper->name);
    else
        hn_fail(err, HN_E_BUSY, "%d requests wait for the helper process \"%s\": its queue is full",
            HN_HELPER_QUEUE, helper->name);
    hn_error_hint(err, "try again in a few seconds");
    return HN_E_BUSY;
}

static void dequeue(struct hn_helper *helper, const struct waiter *w) {
    struct waiter **link = &helper->first;
    while (*link != w)
        link = &(*link)->next;
    *link = w->next;
}

/* Waits for a place as long as the answer is wanted. */
static int take_place(struct hn_helper *helper, struct waiter *w, struct hn_error *err) {
    pthread_mutex_lock(&helper->lock);
    int rc = hn_helper_wanted(w->question, &helper->stop, err);
    if (!rc)
        rc = enqueue(helper, w, err);
    while (!rc && !w->place) {
        struct timespec until = hn_time_later(HN_HELPER_TICK_MS);
        pthread_cond_clockwait(&w->given, &helper->lock, CLOCK_MONOTONIC, &until);
        if (!w->place && (rc = hn_helper_wanted(w->question, &helper->stop, err)))
            dequeue(helper, w);
    }
    pthread_mutex_unlock(&helper->lock);
    return rc;
}

static void give_back(struct hn_helper *helper, struct waiter *w) {
    pthread_mutex_lock(&helper->lock);
    w->place->user = NULL;
    share_out(helper);
    pthread_mutex_unlock(&helper->lock);
}

int hn_helper_call(struct hn_helper *helper, const struct hn_question *question, json_t **ret,
    json_t **ret_details, struct hn_error *err) {
    struct hn_error local = {0};
    if (!err)
        err = &local;
    struct waiter w = {
        .question = question, .client = question->asker ? question->asker->client : ""};
    pthread_cond_init(&w.given, NULL);
    int rc = take_place(helper, &w, err);
    if (!rc) {
        rc = hn_helper_child_ask(&w.place->child, question, ret, ret_details, err);
        give_back(helper, &w);
    }
    pthread_cond_destroy(&w.given);
    return rc;
}
