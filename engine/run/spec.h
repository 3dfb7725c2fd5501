/*
 * A run's specification: spec.json of the run directory, all that a run depends on, with no "auto"
 * left.
 *
 * `run` is the run's identity: the sha256 of its canonical text names the run in every artifact,
 * and artifact bytes depend on nothing else but the inputs it names, the build and the CPU level.
 * `host` changes no result.
 */
#ifndef HN_ENGINE_RUN_SPEC_H
#define HN_ENGINE_RUN_SPEC_H

#include "engine/formats/dtype.h"
#include "engine/base/error.h"
#include "engine/data/choice.h"
#include "engine/data/examples.h"
#include "engine/base/file.h"
#include "engine/hyperparams.h"
#include "engine/job_request.h"
#include "engine/limits.h"
#include "engine/data/folds.h"
#include "engine/data/labels.h"

#include <jansson.h>

#define HN_SPEC_MORE (HN_DATASETS_MAX - 1) /* training data sets behind the first */

enum hn_method { HN_METHOD_LORA, HN_METHOD_FULL, HN_METHOD_HEAD };
enum hn_export {
    HN_EXPORT_PEFT = 1,
    HN_EXPORT_GGUF = 2,
    HN_EXPORT_MERGED = 4,
    HN_EXPORT_MERGED_GGUF = 8
};

/* a data set of the run, or a model beside its base; strings borrowed from the spec's JSON */
struct hn_source {
    const char *file, *sha256, *format;
    const char *name; /* of a model; else NULL */
    const json_t *columns;
    bool drop;
    bool chats;    /* prompt and completion are lists of messages, not texts */
    bool weighed;  /* the weight was given */
    double weight; /* training rows: how often each is seen in an epoch */
};

/* Members for the fields of a submission that stand in the run's identity as sent (parts RUN and
 * GIVEN of job_request.def): `name`, as read. */
#define HN_SPEC_DTYPE(name) enum hn_dtype name;
#define HN_SPEC_GGUF_DTYPE(name) enum hn_dtype name;
#define HN_SPEC_INT(name) int64_t name;
#define HN_SPEC_BOOL(name) bool name;
#define HN_SPEC_SAME(name) int name; /* enum hn_same */
#define HN_SPEC_TEXT(name) const char *name;
#define HN_SPEC_WORD(name) const char *name;
#define HN_SPEC_IN_RUN(KIND, name) HN_SPEC_##KIND(name)
#define HN_SPEC_IN_GIVEN(KIND, name) HN_SPEC_##KIND(name)
#define HN_SPEC_IN_INPUT(KIND, name)
#define HN_SPEC_IN_PLAN(KIND, name)
#define HN_SPEC_IN_UPLOAD(KIND, name)
#define HN_SPEC_IN_JOB(KIND, name)
#define HN_SPEC_IN_NOTE(KIND, name)

struct hn_spec {
#define HN_JOB_FIELD(name, KIND, min, max, FORM, PART, standard, help) HN_SPEC_IN_##PART(KIND, name)
#include "engine/job_request.def"
#undef HN_JOB_FIELD
    json_t *json;             /* the whole file; NULL: not written yet */
    const json_t *run, *host; /* into json */
    /* the fields of parts RUN and GIVEN, and "exports", as they were sent: an object that the
     * specification does not own */
    const json_t *given;
    char run_sha256[HN_SHA256_HEX];
    const char *init_file; /* values to begin from, as a checkpoint has them; or NULL */
    const char *init_sha256;
    const char *init_job; /* that they are of, with its step; NULL where that is not told */
    int64_t init_step;
    double init_mean, init_scale; /* of values its head was trained on; scale 0: as these are */
    const char *tokens;           /* name of the file with the tokenised rows, or NULL */
    const char *job, *model_file, *model_sha256, *template_date;
    const char *model_source; /* where it was imported from, or NULL */
    enum hn_task task;
    struct hn_labels labels;
    enum hn_method method;
    struct hn_source more[HN_SPEC_MORE]; /* further training data */
    size_t n_more;
    /* validation.file NULL when there is none or it is a fraction */
    struct hn_source train, validation;
    /* measured once, at the end; file NULL when there is none */
    struct hn_source test;
    double validation_fraction;  /* 0: not split off */
    struct hn_folds folds;       /* or one of these is */
    struct hn_row_choice choice; /* of the rows that are left to train on */
    struct hn_hyperparams hp;
    unsigned exports;                             /* bits of hn_export */
    struct hn_source verify_on[HN_VERIFY_ON_MAX]; /* other precisions of the base */
    size_t n_verify_on;
    bool export_best, recompute;
    int64_t sample_rows, sample_tokens, threads, memory_bytes;
    int64_t stop_at; /* step at which the trainer stops for now; 0: at none */
};

const char *hn_method_name(enum hn_method method);
const char *hn_export_name(enum hn_export bit); /* "peft" … */
int hn_export_from_name(const char *name);      /* 0 when unknown */
/* Bits of the exports there are of a method's result, with a task's head or without. */
unsigned hn_method_exports(enum hn_method method, bool head);

/* Whether there are rows to evaluate on, and what part of the training data is held out for it. */
bool hn_spec_validates(const struct hn_spec *spec);
double hn_spec_held_out(const struct hn_spec *spec);
/* Whether rows of bare text are rendered already. */
bool hn_spec_applied(const struct hn_spec *spec);

/* Takes over `json` (also on failure). */
int hn_spec_read(struct hn_spec *spec, json_t *json, struct hn_error *err);
void hn_spec_finish(struct hn_spec *spec);
/* The specification as JSON, from all members but `json`, `run`, `host` and `job`. New reference;
 * NULL: out of memory. */
json_t *hn_spec_write(const struct hn_spec *spec);
/* The submission's fields of parts RUN and GIVEN, of an object that has them by their names. */
int hn_spec_read_fields(struct hn_spec *spec, const json_t *from, struct hn_error *err);
/* Writes those of one part into the run's identity as they stand in `from`. */
void hn_spec_write_fields(json_t *run, const json_t *from, enum hn_job_part part);

#endif
