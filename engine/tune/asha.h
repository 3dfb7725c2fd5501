/*
 * Asynchronous successive halving (Li 2020, arXiv 1810.05934, algorithm 2, s = 0): which trial goes
 * on when a slot is free.
 *
 * Rung k = 0 … n_rungs - 1 is a step r eta^k of the trial's run; the last is its whole length. A
 * trial pauses at each rung until it is promoted. Of the m trials that have a value at rung k, the
 * best floor(m / eta) are promotable; higher rungs first, then best value, then lower number. A
 * value that is not finite is never promotable. A new trial starts only where nothing is.
 *
 * One thing differs: as long as trials remain to start, who is promoted must be better than half of
 * the rung. Early in training many trials may have the same value (all answer with the larger
 * class); the lower number among equals is no reason to train one to its end, a new point tells
 * more. bench/SPEED.md, "Tuning", has what that is worth.
 */
#ifndef HN_ENGINE_TUNE_ASHA_H
#define HN_ENGINE_TUNE_ASHA_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define HN_ASHA_RUNGS 16 /* at most */

struct hn_asha_trial {
    int64_t number;
    bool waiting;         /* paused at rung reached - 1; false: running, or ended in any way */
    size_t reached;       /* rungs that it has a value at, 0 to n_rungs */
    const double *values; /* [reached]: value at each rung, lower is better */
};

enum hn_asha_action { HN_ASHA_NOTHING, HN_ASHA_START, HN_ASHA_PROMOTE };

struct hn_asha_decision {
    enum hn_asha_action action;
    size_t trial; /* promote: its index in the list */
    size_t rung;  /* promote: the rung that it goes to; start: 0 */
};

/* `eta` >= 2. `may_start`: trials remain that were not started. Trials that were never promoted
 * because their rung is too small stay waiting: see hn_asha_finalist. */
struct hn_asha_decision hn_asha_next(const struct hn_asha_trial *trials, size_t n_trials,
    size_t n_rungs, unsigned eta, bool may_start);

/*
 * For a search of few trials, whose upper rungs may hold fewer than eta: once hn_asha_next says
 * nothing, no trial runs and none is left to start, the best waiting trial of the highest rung goes
 * on, so that one trial runs its whole length. Nothing where a trial reached the last rung or none
 * waits with a finite value.
 */
struct hn_asha_decision hn_asha_finalist(
    const struct hn_asha_trial *trials, size_t n_trials, size_t n_rungs);

#endif
