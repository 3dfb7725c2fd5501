/* See scrub.h. */
#include "server/care/scrub.h"
#include "server/base/id.h"
#include "server/care/inspect.h"
#include "server/base/log.h"
#include "server/store/store_backup.h"

#include <stdatomic.h>
#include <stdlib.h>

#define STEP_BYTES ((int64_t)256 << 20)

static const char *const kinds[] = {"datasets", "models", "runs"};
#define KINDS (sizeof kinds / sizeof kinds[0])

struct hn_scrub {
    const char *state;
    struct hn_store *store;
    int64_t days, began; /* tick of the present round, or the last */
    json_t *names;       /* of kinds[kind], still to be looked at; NULL: not read yet */
    size_t kind, at;     /* KINDS: between two rounds */
    int64_t found;       /* in this round */
    _Atomic int64_t last_found, now_found, rounds;
};

int hn_scrub_create(const char *state, struct hn_store *store, int64_t days, struct hn_scrub **ret,
    struct hn_error *err) {
    struct hn_scrub *scrub = hn_calloc(1, sizeof *scrub);
    if (!scrub)
        return hn_fail(err, HN_E_INTERNAL, "out of memory");
    scrub->state = state;
    scrub->store = store;
    scrub->days = days;
    scrub->began = hn_time_tick();
    *ret = scrub;
    return 0;
}

void hn_scrub_destroy(struct hn_scrub *scrub) {
    if (!scrub)
        return;
    json_decref(scrub->names);
    free(scrub);
}

static void tell(
    void *ud, const char *what, const char *name, const char *found, const char *advice) {
    struct hn_scrub *scrub = ud;
    scrub->found++;
    atomic_store(&scrub->now_found, scrub->found);
    hn_log(HN_LOG_ERROR, "damaged on the disk", "what", what, "name", name, "found", found, "do",
        advice, NULL);
}

static void tell_store(void *ud, const char *text) {
    tell(ud, "store", "hone.db", text,
        "stop the server and restore the latest backup that `honed check` finds whole");
}

static void end_round(struct hn_scrub *scrub, struct hn_db *db) {
    struct hn_error err = {0};
    if (hn_db_check(db, tell_store, scrub, &err))
        tell_store(scrub, err.message);
    hn_log(HN_LOG_INFO, "all files were compared with their hashes", "damaged", HN_N(scrub->found),
        NULL);
    atomic_store(&scrub->last_found, scrub->found);
    atomic_store(&scrub->now_found, 0);
    atomic_fetch_add(&scrub->rounds, 1);
    scrub->found = 0;
}

/* The next name; false when the round is over. */
static bool next(struct hn_scrub *scrub, struct hn_db *db, const char **ret) {
    while (scrub->kind < KINDS) {
        if (!scrub->names && hn_db_names(db, kinds[scrub->kind], &scrub->names, NULL))
            scrub->names = json_array();
        if (scrub->at < json_array_size(scrub->names)) {
            *ret = json_string_value(json_array_get(scrub->names, scrub->at++));
            return true;
        }
        json_decref(scrub->names);
        scrub->names = NULL;
        scrub->at = 0;
        scrub->kind++;
    }
    return false;
}

void hn_scrub_step(struct hn_scrub *scrub, bool (*busy)(void *ud), void *ud) {
    const char *name;
    if (!scrub->days ||
        (scrub->kind == KINDS && hn_time_tick() - scrub->began < scrub->days * HN_DAY_MS))
        return;
    struct hn_db *db = hn_store_read(scrub->store, NULL);
    if (db && scrub->kind == KINDS) {
        scrub->kind = 0;
        scrub->began = hn_time_tick();
    }
    struct hn_inspection inspection = {.state = scrub->state, .db = db, .tell = tell, .ud = scrub};
    while (db && inspection.bytes < STEP_BYTES && !busy(ud)) {
        if (next(scrub, db, &name)) {
            hn_inspect(&inspection, kinds[scrub->kind], name);
            continue;
        }
        end_round(scrub, db);
        break;
    }
    hn_store_release(scrub->store, db);
}

int64_t hn_scrub_damaged(const struct hn_scrub *scrub) {
    int64_t last = atomic_load(&scrub->last_found), now = atomic_load(&scrub->now_found);
    return last > now ? last : now;
}

int64_t hn_scrub_rounds(const struct hn_scrub *scrub) {
    return atomic_load(&scrub->rounds);
}
