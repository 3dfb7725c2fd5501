#include "engine/tune/asha.h"

#include <assert.h>
#include <math.h>

/* Whether a's value at the rung ranks before b's. NaN ranks last. */
static bool ranks_before(
    const struct hn_asha_trial *a, const struct hn_asha_trial *b, size_t rung) {
    double x = a->values[rung], y = b->values[rung];
    if (isnan(x) || isnan(y))
        return isnan(x) && isnan(y) ? a->number < b->number : isnan(y);
    return x != y ? x < y : a->number < b->number;
}

static bool waits_at(const struct hn_asha_trial *trial, size_t rung) {
    return trial->waiting && trial->reached == rung + 1 && isfinite(trial->values[rung]);
}

/* The best of those that wait at the rung; n_trials where none does. */
static size_t best_waiting(const struct hn_asha_trial *trials, size_t n_trials, size_t rung) {
    size_t best = n_trials;
    for (size_t i = 0; i < n_trials; i++)
        if (waits_at(&trials[i], rung) &&
            (best == n_trials || ranks_before(&trials[i], &trials[best], rung)))
            best = i;
    return best;
}

struct hn_asha_decision hn_asha_next(const struct hn_asha_trial *trials, size_t n_trials,
    size_t n_rungs, unsigned eta, bool may_start) {
    assert(n_rungs >= 1 && n_rungs <= HN_ASHA_RUNGS && eta >= 2);
    for (size_t rung = n_rungs - 1; rung-- > 0;) {
        size_t best = best_waiting(trials, n_trials, rung), reached = 0, better = 0, worse = 0;
        if (best == n_trials)
            continue;
        for (size_t i = 0; i < n_trials; i++)
            if (trials[i].reached > rung) {
                reached++;
                better += i != best && ranks_before(&trials[i], &trials[best], rung);
                worse += !(trials[i].values[rung] <= trials[best].values[rung]);
            }
        if (better < reached / eta && (!may_start || 2 * worse >= reached))
            return (struct hn_asha_decision){HN_ASHA_PROMOTE, best, rung + 1};
    }
    return (struct hn_asha_decision){may_start ? HN_ASHA_START : HN_ASHA_NOTHING, 0, 0};
}

struct hn_asha_decision hn_asha_finalist(
    const struct hn_asha_trial *trials, size_t n_trials, size_t n_rungs) {
    assert(n_rungs >= 1 && n_rungs <= HN_ASHA_RUNGS);
    for (size_t i = 0; i < n_trials; i++)
        if (trials[i].reached >= n_rungs)
            return (struct hn_asha_decision){HN_ASHA_NOTHING, 0, 0};
    for (size_t rung = n_rungs - 1; rung-- > 0;) {
        size_t best = best_waiting(trials, n_trials, rung);
        if (best < n_trials)
            return (struct hn_asha_decision){HN_ASHA_PROMOTE, best, rung + 1};
    }
    return (struct hn_asha_decision){HN_ASHA_NOTHING, 0, 0};
}
