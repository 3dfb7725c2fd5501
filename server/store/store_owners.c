/* See store_owners.h. */
#include "server/store/store_owners.h"
#include "server/store/store_db.h"

int hn_db_job_missing(struct hn_error *err, const char *id) {
    hn_fail(err, HN_E_NOT_FOUND, "there is no job \"%.40s\"", id);
    hn_error_hint(err, "GET /jobs lists the jobs");
    return HN_E_NOT_FOUND;
}

int hn_db_dataset_missing(struct hn_error *err, const char *id) {
    hn_fail(err, HN_E_NOT_FOUND, "there is no data set \"%.40s\"", id);
    hn_error_hint(err, "GET /datasets lists them; POST /datasets uploads one");
    return HN_E_NOT_FOUND;
}

int hn_db_job_reached(
    struct hn_db *db, const struct hn_reach *reach, const char *id, struct hn_error *err) {
    int64_t found;
    int rc = hn_db_number(db, 0, &found, err,
        "SELECT 1 FROM jobs WHERE id=?1 AND " HN_REACHES("owner", 2, 3, 4), "siss", id,
        (int64_t)reach->all, reach->owner, reach->team);
    return rc || found ? rc : hn_db_job_missing(err, id);
}

int hn_db_dataset_reached(
    struct hn_db *db, const struct hn_reach *reach, const char *id, struct hn_error *err) {
    int64_t found;
    int rc = hn_db_number(db, 0, &found, err,
        "SELECT 1 FROM datasets WHERE id=?1 AND " HN_REACHES("owner", 2, 3, 4), "siss", id,
        (int64_t)reach->all, reach->owner, reach->team);
    return rc || found ? rc : hn_db_dataset_missing(err, id);
}

int hn_db_owner_reached(struct hn_db *db, const struct hn_reach *reach, const char *owner,
    bool *ret, struct hn_error *err) {
    int64_t found;
    int rc = hn_db_number(db, 0, &found, err, "SELECT " HN_REACHES("?1", 2, 3, 4), "siss", owner,
        (int64_t)reach->all, reach->owner, reach->team);
    *ret = !rc && found;
    return rc;
}

int hn_db_quota_bytes(struct hn_db *db, const char *owner, int64_t more, struct hn_error *err) {
    int64_t limit, used;
    int rc =
        hn_db_number(db, -1, &limit, err, "SELECT max_bytes FROM keys WHERE id=?1", "s", owner);
    if (rc || limit < 0)
        return rc;
    rc = hn_db_number(
        db, 0, &used, err, "SELECT sum(bytes) FROM datasets WHERE owner=?1", "s", owner);
    if (rc || (used <= limit && more <= limit - used))
        return rc;
    hn_fail(err, HN_E_QUOTA_EXCEEDED,
        "this key may have %lld bytes of data sets; it has %lld and this one has %lld",
        (long long)limit, (long long)used, (long long)more);
    hn_error_hint(err,
        "delete data sets that are no longer needed, or ask for a key with a larger --max_bytes");
    return HN_E_QUOTA_EXCEEDED;
}

int hn_db_quota_queued(struct hn_db *db, const char *owner, struct hn_error *err) {
    int64_t limit, used;
    int rc =
        hn_db_number(db, -1, &limit, err, "SELECT max_queued FROM keys WHERE id=?1", "s", owner);
    if (rc || limit < 0)
        return rc;
    rc = hn_db_number(db, 0, &used, err,
        "SELECT count(*) FROM jobs WHERE owner=?1 AND status='queued'", "s", owner);
    if (rc || used < limit)
        return rc;
    hn_fail(err, HN_E_QUOTA_EXCEEDED, "the job's key may have %lld queued jobs and has %lld",
        (long long)limit, (long long)used);
    hn_error_hint(err,
        "wait until some have started, cancel some, or ask for a key with a larger --max_queued");
    return HN_E_QUOTA_EXCEEDED;
}
