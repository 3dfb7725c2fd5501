/*
 * A submission's fields: readers and descriptions, all made from job_request.def.
 *
 * Safe on hostile JSON. The daemon uses it to refuse early; what fields mean together is decided by
 * the plan.
 */
#ifndef HN_ENGINE_JOB_REQUEST_H
#define HN_ENGINE_JOB_REQUEST_H

#include "engine/base/error.h"
#include "engine/limits.h"

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

enum hn_job_kind {
    HN_JOB_TEXT,
    HN_JOB_WORD,
    HN_JOB_DTYPE,
    HN_JOB_GGUF_DTYPE,
    HN_JOB_INT,
    HN_JOB_BOOL,
    HN_JOB_SAME,
    HN_JOB_NAME,
    HN_JOB_OBJECT,
    HN_JOB_DATASETS,
    HN_JOB_HYPERPARAMETERS,
    HN_JOB_METADATA,
    HN_JOB_ANY
};
enum hn_job_part {
    HN_JOB_INPUT = 1,
    HN_JOB_PLAN = 2,
    HN_JOB_RUN = 4,
    HN_JOB_GIVEN = 8,
    HN_JOB_UPLOAD = 16,
    HN_JOB_JOB = 32,
    HN_JOB_NOTE = 64
};
enum hn_job_form {
    HN_JOB_FORM_TEXT,
    HN_JOB_FORM_JSON,
    HN_JOB_FORM_JSON_FILE,
    HN_JOB_FORM_LIST_FILE
};

/* Values of SAME: which rows are the same. */
enum hn_same { HN_SAME_NONE, HN_SAME_EXACT, HN_SAME_NEAR };

struct hn_job_field {
    const char *name;
    enum hn_job_kind kind;
    enum hn_job_form form;
    enum hn_job_part part;
    const char *words; /* of WORD and SAME: "a|b|c" */
    int64_t min, max;
    const char *text; /* the standard of TEXT, WORD and precisions, or NULL */
    int64_t number;   /* the standard of INT and BOOL */
    const char *help;
};

/* One row a field, in the table's order. */
const struct hn_job_field *hn_job_fields(size_t *ret_n);
/* The value that a field has where it is absent; null where there is none or it is chosen. New
 * reference. */
json_t *hn_job_field_standard(const struct hn_job_field *field);

/* Refuses unknown names, with the nearest known one, and values of a wrong type or range. The error
 * is the first fault; *ret_faults (may be NULL): all of them, when there are several, each as
 * hn_json_fault has it. New reference. */
int hn_job_request_check(const json_t *request, json_t **ret_faults, struct hn_error *err);
/* The value of a field of kind SAME: 0 for false, null or nothing, else the number of its word. */
int hn_job_same_read(
    const json_t *request, const struct hn_job_field *field, int *ret, struct hn_error *err);
/* A part of a form as the field's value; unknown names are read as JSON, or text where they are
 * none. NULL: not UTF-8. New reference. */
json_t *hn_job_request_form(const char *name, const char *text);
/* Whether a part of a form that is a file may have this name. */
bool hn_job_request_takes_file(const char *name);
/* Adds to the plan's parameters what it gets as sent; null, or no hyperparameters, where it is
 * absent. */
void hn_job_request_pass(const json_t *request, json_t *params);
/* Adds to a job, as it is shown, what is kept in its request alone, null where it is absent. */
void hn_job_request_show(const json_t *request, json_t *job);
/* The JSON schema of a submission. New reference. */
json_t *hn_job_request_schema(void);
/* Adds to the JSON schema of a job what hn_job_request_show adds to a job. */
void hn_job_request_show_schema(json_t *schema);
/* metadata as a submission and a change of a job take it. */
int hn_job_metadata_check(const json_t *metadata, struct hn_error *err);

#endif
