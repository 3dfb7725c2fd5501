/* What was found in the rows of a data set, by kind (findings.def). */
#ifndef HN_ENGINE_INSIGHT_FINDINGS_H
#define HN_ENGINE_INSIGHT_FINDINGS_H

#include "engine/base/error.h"
#include "engine/data/dataset.h"
#include "engine/insight/spots.h"

#include <jansson.h>

enum hn_finding {
#define HN_FINDING(NAME, code, severity, fix, option, sentence) HN_FINDING_##NAME,
#include "engine/insight/findings.def"
#undef HN_FINDING
    HN_FINDINGS
};

/* Listed of each kind; all are counted. */
#define HN_FINDING_ROWS 1000
#define HN_FINDING_PAIRS 200
#define HN_FINDING_SAMPLES 50

struct hn_findings {                       /* starts with zeros, but for `data` and `other` */
    const struct hn_dataset *data, *other; /* other: of leaks, or NULL */
    struct hn_found {
        size_t count, last; /* rows; number of the last one, from 1 */
        size_t *rows, n, capacity;
        json_t *pairs, *samples, *kinds, *more; /* of what there is; more: other members */
    } found[HN_FINDINGS];
    bool failed; /* out of memory */
};

/* A row counts once, however often it is added in a row. */
void hn_finding_add(struct hn_findings *findings, enum hn_finding kind, size_t row);
/* With the row that it goes with, of `other` where leaks are meant. */
void hn_finding_pair(struct hn_findings *findings, enum hn_finding kind, size_t row, size_t other,
    double similarity);
/* With a place in one of its texts, which is shown masked. */
void hn_finding_spot(struct hn_findings *findings, enum hn_finding kind, size_t row,
    const char *column, const struct hn_spot *spot);
/* A count without rows, and a text that says which. */
void hn_finding_count(
    struct hn_findings *findings, enum hn_finding kind, size_t count, const char *which);
/* A further member of the finding; takes the value over. */
void hn_finding_more(
    struct hn_findings *findings, enum hn_finding kind, const char *name, json_t *value);
/* [{"code","severity","message","count","rows","lines","pairs","samples","kinds","fix","option"}],
 * errors first. New reference; NULL when out of memory. */
json_t *hn_findings_json(const struct hn_findings *findings);
void hn_findings_finish(struct hn_findings *findings);

#endif
