/* A report while it is made: report.c compares rows, report_rows.c looks at each by itself. */
#ifndef HN_ENGINE_INSIGHT_REPORT_INTERNAL_H
#define HN_ENGINE_INSIGHT_REPORT_INTERNAL_H

#include "engine/data/row_set.h"
#include "engine/insight/findings.h"
#include "engine/insight/languages.h"
#include "engine/insight/passages.h"
#include "engine/insight/report.h"
#include "engine/insight/row_facts.h"

/* Of the arrays below, and of sorting lengths. */
#define HN_REPORT_ROW_BYTES (4 * sizeof(uint32_t) + sizeof(float) + 1)

struct hn_report {
    const struct hn_report_request *request;
    struct hn_row_set_facts own, other;
    struct hn_row_texts texts;
    struct hn_findings findings;
    struct hn_secret_filter secrets;
    struct hn_language_table languages;
    struct hn_passages passages;
    uint32_t *characters; /* [rows] */
    uint32_t *tokens;     /* [n_tokens] */
    uint8_t *language;    /* [rows] */
    uint32_t *contained;  /* [rows] text of the other set that the row contains, + 1; or NULL */
    float *shares;        /* [rows] and how much of it */
    bool *leaked;         /* [rows] told as a leak already; or NULL */
    size_t n_tokens;
    json_t *out, *notes;
};

int hn_report_memory(struct hn_error *err);
/* What a row tells by itself. */
int hn_report_row(struct hn_report *r, size_t number, json_t *row, struct hn_error *err);
/* What vectors say, where the request makes them; and how far that is. */
int hn_report_vectors(struct hn_report *r, struct hn_error *err);
int hn_report_tell_vectors(const struct hn_report *r, double done, struct hn_error *err);
/* Lengths, labels, languages and diversity of all rows. */
int hn_report_summarise(struct hn_report *r, struct hn_error *err);

#endif
