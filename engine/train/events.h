/*
 * events.jsonl: the append-only truth of a run, written by the trainer alone.
 *
 * History is written once: a resumed trainer that computes a step which the file already tells of
 * writes no second line but compares; a difference becomes one warning `not_reproduced`. Opening
 * cuts off a torn last line.
 */
#ifndef HN_ENGINE_TRAIN_EVENTS_H
#define HN_ENGINE_TRAIN_EVENTS_H

#include "engine/base/error.h"

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>

/* Reason of `interrupted` where a run stopped at the step that its host part names. */
#define HN_STOP_AT "stop_at"

struct hn_events {
    int fd;
    size_t n;         /* number of the last line */
    json_t *written;  /* what the file already told: "step:57" → data, and so on */
    size_t last_step; /* largest step among them */
    size_t attempts;  /* `started` lines */
    json_t *stops;    /* steps at which a run was stopped as its stop_at said */
    bool finished, warned;
};

int hn_events_open(struct hn_events *events, const char *run_dir, struct hn_error *err);
void hn_events_close(struct hn_events *events);
/* Takes over `data`. Events that may come again after a resume (step, eval, checkpoint, sample,
 * plan, artifact, verified) are written once. Lines are handed to the kernel at once;
 * hn_events_sync makes them durable. */
int hn_events_add(struct hn_events *events, const char *type, json_t *data, struct hn_error *err);
int hn_events_sync(struct hn_events *events, struct hn_error *err);
/* Now as RFC 3339 UTC with milliseconds. */
void hn_time_text(char out[32]);

#endif
