/*
 * See report.h. Three passes: over the other set's rows, over the rows (all that is known of a row
 * by itself), and over pairs of rows. What is measured on a sample reads its rows again.
 */
#include "engine/insight/report.h"
#include "engine/base/json.h"
#include "engine/insight/duplicates.h"
#include "engine/insight/findings.h"
#include "engine/insight/report_internal.h"

#include <stdlib.h>
#include <string.h>

#define ROWS_SHARE 0.4    /* of the work, before rows are compared */
#define STEPS 1024        /* rows between two signs of progress */
#define VECTORS_SHARE 0.5 /* of all work, at its end, where vectors are made */

int hn_report_memory(struct hn_error *err) {
    return hn_fail(err, HN_E_INTERNAL, "out of memory for the report on a data set");
}

static int tell(const struct hn_report *r, double done, struct hn_error *err) {
    done *= r->request->embed ? 1 - VECTORS_SHARE : 1;
    return r->request->progress ? r->request->progress(r->request->context, done, err) : 0;
}

int hn_report_tell_vectors(const struct hn_report *r, double done, struct hn_error *err) {
    done = 1 - VECTORS_SHARE + VECTORS_SHARE * done;
    return r->request->progress ? r->request->progress(r->request->context, done, err) : 0;
}

/* What leaks are found by. */
static int read_other(struct hn_report *r, struct hn_error *err) {
    const struct hn_dataset *other = r->request->other;
    int rc = 0;
    r->other.data = other;
    r->other.n = other ? other->n_rows : 0;
    r->other.facts = hn_calloc(r->other.n, sizeof *r->other.facts);
    if (!r->other.facts)
        return hn_report_memory(err);
    for (size_t i = 0; !rc && i < r->other.n; i++) {
        json_t *row = NULL;
        if (i % STEPS == 0 && (rc = tell(r, 0, err)))
            break;
        rc = hn_dataset_row(other, i, &row, err);
        if (!rc)
            rc = hn_row_facts_of(&r->other.facts[i], &r->texts, other->columns, row, err);
        json_decref(row);
        if (!rc && !hn_passages_add(&r->passages, r->texts.body.data, r->texts.body.size))
            rc = hn_report_memory(err);
    }
    return rc;
}

static int read_rows(struct hn_report *r, struct hn_error *err) {
    const struct hn_dataset *data = r->request->data;
    int rc = 0;
    for (size_t i = 0; !rc && i < data->n_rows; i++) {
        json_t *row = NULL;
        if (i % STEPS == 0 && (rc = tell(r, ROWS_SHARE * (double)i / (double)data->n_rows, err)))
            break;
        rc = hn_dataset_row(data, i, &row, err);
        if (!rc)
            rc = hn_report_row(r, i, row, err);
        json_decref(row);
    }
    return rc;
}

static int near_progress(void *context, double done, struct hn_error *err) {
    return tell(context, ROWS_SHARE + (1 - ROWS_SHARE) * done, err);
}

static void tell_leak(struct hn_report *r, size_t row, const struct hn_row_match *match) {
    enum hn_finding kind =
        match->state == HN_ROW_EXACT ? HN_FINDING_LEAK_EXACT : HN_FINDING_LEAK_NEAR;
    uint32_t text = r->contained ? r->contained[row] : 0;
    r->leaked[row] = text || match->state == HN_ROW_EXACT || match->state == HN_ROW_NEAR;
    if (match->state == HN_ROW_EXACT || match->state == HN_ROW_NEAR)
        hn_finding_pair(&r->findings, kind, row, match->other, (double)match->similarity);
    else if (text)
        hn_finding_pair(
            &r->findings, HN_FINDING_LEAK_CONTAINED, row, text - 1, (double)r->shares[row]);
}

/* Rows of the other set's contexts. */
static int find_contexts(struct hn_report *r, struct hn_error *err) {
    struct hn_row_set set = {0};
    int rc = 0;
    for (size_t i = 0; !rc && i < r->other.n; i++)
        if (r->other.facts[i].scope[1])
            rc = hn_row_set_put(&set, r->other.facts[i].scope, err);
    for (size_t i = 0; !rc && set.n && i < r->own.n; i++)
        if (r->own.facts[i].scope[1] && hn_row_set_has(&set, r->own.facts[i].scope))
            hn_finding_add(&r->findings, HN_FINDING_LEAK_CONTEXT, i);
    hn_row_set_finish(&set);
    return rc;
}

static bool has_labels(const struct hn_dataset *data) {
    return data->columns == HN_ROWS_TEXT_LABEL || data->columns == HN_ROWS_TOKENS_TAGS;
}

/* The ten largest clusters. */
static json_t *clusters_json(
    const struct hn_report *r, const struct hn_duplicates *found, json_int_t *ret_count) {
    size_t n = r->own.n;
    uint32_t *sizes = hn_calloc(n, sizeof *sizes);
    json_t *list = json_array();
    *ret_count = 0;
    for (size_t i = 0; sizes && i < n; i++)
        sizes[found->cluster[i]]++;
    for (size_t i = 0; sizes && i < n; i++)
        *ret_count += sizes[i] > 1;
    for (int k = 0; sizes && k < 10; k++) {
        size_t best = 0;
        for (size_t i = 1; i < n; i++)
            best = sizes[i] > sizes[best] ? i : best;
        if (!n || sizes[best] < 2)
            break;
        json_array_append_new(list,
            json_pack("{s:I,s:I,s:I}", "rows", (json_int_t)sizes[best], "row", (json_int_t)best + 1,
                "line", (json_int_t)r->own.data->lines[best]));
        sizes[best] = 0;
    }
    free(sizes);
    return list;
}

static int compare_rows(struct hn_report *r, struct hn_error *err) {
    const struct hn_duplicates_request request = {.own = &r->own,
        .other = r->request->other ? &r->other : NULL,
        .progress = near_progress,
        .context = r};
    struct hn_duplicates found;
    enum hn_finding contradiction =
        has_labels(r->request->data) ? HN_FINDING_LABEL : HN_FINDING_CONTRADICTION;
    static const enum hn_finding kinds[] = {[HN_ROW_EXACT] = HN_FINDING_EXACT,
        [HN_ROW_NEAR] = HN_FINDING_NEAR,
        [HN_ROW_SIMILAR] = HN_FINDING_SIMILAR};
    int rc = hn_duplicates_find(&found, &request, err);
    for (size_t i = 0; !rc && i < r->own.n; i++) {
        const struct hn_row_match *match = &found.own[i];
        if (match->state)
            hn_finding_pair(
                &r->findings, kinds[match->state], i, match->other, (double)match->similarity);
        if (found.contradicts[i] != HN_ROW_NONE)
            hn_finding_pair(&r->findings, contradiction, i, found.contradicts[i], 1);
        if (found.leaks)
            tell_leak(r, i, &found.leaks[i]);
    }
    if (!rc) {
        json_int_t count;
        json_t *clusters = clusters_json(r, &found, &count);
        json_object_set_new(
            r->out, "clusters", json_pack("{s:I,s:o}", "count", count, "largest", clusters));
        if (!found.hashes)
            json_array_append_new(r->notes,
                json_string("there are too many rows for near duplicates to be looked for; equal "
                            "ones were"));
        if (found.cut)
            json_array_append_new(r->notes,
                json_string("so many rows are similar that not all pairs were compared: there may "
                            "be more near duplicates"));
        rc = r->request->other ? find_contexts(r, err) : 0;
    }
    hn_duplicates_finish(&found);
    return rc;
}

json_t *hn_report_plan(const struct hn_dataset *data, const struct hn_dataset *other) {
    size_t rows = data->n_rows + (other ? other->n_rows : 0), hashes,
           bytes = hn_duplicates_plan(rows, &hashes) + data->n_rows * HN_REPORT_ROW_BYTES;
    return json_pack("{s:I,s:I,s:s}", "rows", (json_int_t)rows, "bytes", (json_int_t)bytes, "near",
        hashes >= 128 ? "full"
            : hashes  ? "coarse"
                      : "none");
}

static int allocate(struct hn_report *r, struct hn_error *err) {
    size_t n = r->request->data->n_rows;
    r->own.data = r->request->data;
    r->own.n = n;
    r->own.facts = hn_calloc(n, sizeof *r->own.facts);
    r->characters = hn_calloc(n, sizeof *r->characters);
    r->tokens = hn_calloc(HN_REPORT_TOKENS + 1, sizeof *r->tokens);
    r->language = hn_calloc(n, sizeof *r->language);
    if (r->request->other) {
        r->contained = hn_calloc(n, sizeof *r->contained);
        r->shares = hn_calloc(n, sizeof *r->shares);
        r->leaked = hn_calloc(n, sizeof *r->leaked);
    }
    r->out = json_object();
    r->notes = json_array();
    hn_secret_filter_init(&r->secrets);
    hn_language_table_init(&r->languages);
    return r->own.facts && r->characters && r->tokens && r->language && r->out && r->notes &&
            ((r->shares && r->leaked) || !r->request->other)
        ? 0
        : hn_report_memory(err);
}

static void finish(struct hn_report *r) {
    free(r->own.facts);
    free(r->other.facts);
    free(r->characters);
    free(r->tokens);
    free(r->language);
    free(r->contained);
    free(r->shares);
    free(r->leaked);
    json_decref(r->out);
    json_decref(r->notes);
    hn_row_texts_finish(&r->texts);
    hn_passages_finish(&r->passages);
    hn_findings_finish(&r->findings);
    free(r);
}

int hn_report_make(const struct hn_report_request *request, json_t **ret, struct hn_error *err) {
    struct hn_report *r = hn_calloc(1, sizeof *r);
    if (!r)
        return hn_report_memory(err);
    r->request = request;
    r->findings.data = request->data;
    r->findings.other = request->other;
    int rc = allocate(r, err);
    if (!rc && request->other)
        rc = read_other(r, err);
    if (!rc)
        rc = read_rows(r, err);
    if (!rc)
        rc = compare_rows(r, err);
    if (!rc)
        rc = hn_report_summarise(r, err);
    if (!rc && !request->embed)
        json_object_set_new(r->out, "embeddings", json_null());
    else if (!rc)
        rc = hn_report_vectors(r, err);
    json_t *findings = rc ? NULL : hn_findings_json(&r->findings);
    if (!rc && (!findings || json_object_set_new(r->out, "findings", findings)))
        rc = hn_report_memory(err);
    if (!rc)
        *ret = json_incref(r->out);
    finish(r);
    return rc;
}
