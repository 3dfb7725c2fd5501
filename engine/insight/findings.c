/* See findings.h. */
#include "engine/insight/findings.h"
#include "engine/base/json.h"

#include <stdlib.h>
#include <string.h>

static const struct {
    const char *code, *severity, *fix, *option, *sentence;
} table[] = {
#define HN_FINDING(NAME, code, severity, fix, option, sentence) \
    {code, severity, fix, option, sentence},
#include "engine/insight/findings.def"
#undef HN_FINDING
};

static bool is_leak(enum hn_finding kind) {
    return strncmp(table[kind].code, "leak_", 5) == 0;
}

static json_t *append(struct hn_findings *findings, json_t **list, json_t *value) {
    if (!*list)
        *list = json_array();
    if (json_array_append_new(*list, value))
        findings->failed = true;
    return *list;
}

void hn_finding_add(struct hn_findings *findings, enum hn_finding kind, size_t row) {
    struct hn_found *f = &findings->found[kind];
    if (f->last == row + 1)
        return;
    f->last = row + 1;
    f->count++;
    if (f->n >= HN_FINDING_ROWS)
        return;
    if (hn_grow(&f->rows, &f->capacity, f->n + 1, sizeof *f->rows))
        f->rows[f->n++] = row;
    else
        findings->failed = true;
}

void hn_finding_pair(struct hn_findings *findings, enum hn_finding kind, size_t row, size_t other,
    double similarity) {
    struct hn_found *f = &findings->found[kind];
    const struct hn_dataset *there = is_leak(kind) ? findings->other : findings->data;
    hn_finding_add(findings, kind, row);
    if (json_array_size(f->pairs) < HN_FINDING_PAIRS)
        append(findings, &f->pairs,
            json_pack("{s:I,s:I,s:I,s:I,s:o}", "row", (json_int_t)row + 1, "line",
                (json_int_t)findings->data->lines[row], "other_row", (json_int_t)other + 1, "other",
                (json_int_t)there->lines[other], "similarity", hn_json_float((float)similarity)));
}

/* What may be shown of a spot, and dots for the rest, at most twelve. */
static json_t *masked(const struct hn_spot *spot) {
    struct hn_buf text = {0};
    hn_buf_append(&text, spot->at, spot->shown < spot->size ? spot->shown : spot->size);
    for (size_t i = spot->shown; i < spot->size && i < spot->shown + 12; i++)
        hn_buf_char(&text, '*');
    json_t *out = hn_json_text(text.data ? text.data : "", text.size);
    hn_buf_free(&text);
    return out;
}

void hn_finding_spot(struct hn_findings *findings, enum hn_finding kind, size_t row,
    const char *column, const struct hn_spot *spot) {
    struct hn_found *f = &findings->found[kind];
    hn_finding_add(findings, kind, row);
    if (!f->kinds)
        f->kinds = json_object();
    json_int_t n = json_integer_value(json_object_get(f->kinds, spot->kind));
    if (json_object_set_new(f->kinds, spot->kind, json_integer(n + 1)))
        findings->failed = true;
    if (json_array_size(f->samples) < HN_FINDING_SAMPLES)
        append(findings, &f->samples,
            json_pack("{s:I,s:I,s:s,s:s,s:o,s:b}", "row", (json_int_t)row + 1, "line",
                (json_int_t)findings->data->lines[row], "column", column, "kind", spot->kind,
                "masked", masked(spot), "sure", spot->sure));
}

void hn_finding_count(
    struct hn_findings *findings, enum hn_finding kind, size_t count, const char *which) {
    findings->found[kind].count += count;
    if (which)
        hn_finding_more(findings, kind, "which", hn_json_text(which, strlen(which)));
}

void hn_finding_more(
    struct hn_findings *findings, enum hn_finding kind, const char *name, json_t *value) {
    struct hn_found *f = &findings->found[kind];
    if (!f->more)
        f->more = json_object();
    if (json_object_set_new(f->more, name, value))
        findings->failed = true;
}

static json_t *row_list(const struct hn_findings *findings, const struct hn_found *f, bool lines) {
    json_t *list = json_array();
    for (size_t i = 0; i < f->n; i++)
        json_array_append_new(list,
            json_integer(lines ? (json_int_t)findings->data->lines[f->rows[i]]
                               : (json_int_t)f->rows[i] + 1));
    return list;
}

static json_t *finding_json(const struct hn_findings *findings, enum hn_finding kind) {
    const struct hn_found *f = &findings->found[kind];
    json_t *out = HN_JSON_OBJECT({"code", json_string(table[kind].code)},
        {"severity", json_string(table[kind].severity)},
        {"message",
            json_sprintf(
                "%zu of %zu rows %s", f->count, findings->data->n_rows, table[kind].sentence)},
        {"count", json_integer((json_int_t)f->count)}, {"rows", row_list(findings, f, false)},
        {"lines", row_list(findings, f, true)},
        {"pairs", f->pairs ? hn_json_share(f->pairs) : json_array()},
        {"samples", f->samples ? hn_json_share(f->samples) : json_array()},
        {"kinds", f->kinds ? hn_json_share(f->kinds) : json_object()},
        {"fix", hn_json_string_or_null(table[kind].fix)},
        {"option", hn_json_string_or_null(table[kind].option)});
    if (out && f->more)
        json_object_update(out, f->more);
    return out;
}

json_t *hn_findings_json(const struct hn_findings *findings) {
    static const char *const severities[] = {"error", "warning", "info"};
    json_t *list = json_array();
    bool failed = findings->failed || !list;
    for (size_t s = 0; s < sizeof severities / sizeof severities[0]; s++)
        for (int kind = 0; kind < HN_FINDINGS; kind++)
            if (findings->found[kind].count && strcmp(table[kind].severity, severities[s]) == 0)
                failed =
                    json_array_append_new(list, finding_json(findings, (enum hn_finding)kind)) ||
                    failed;
    if (!failed)
        return list;
    json_decref(list);
    return NULL;
}

void hn_findings_finish(struct hn_findings *findings) {
    for (int kind = 0; kind < HN_FINDINGS; kind++) {
        free(findings->found[kind].rows);
        json_decref(findings->found[kind].pairs);
        json_decref(findings->found[kind].samples);
        json_decref(findings->found[kind].kinds);
        json_decref(findings->found[kind].more);
    }
    *findings = (struct hn_findings){0};
}
