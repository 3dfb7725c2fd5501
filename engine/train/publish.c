/*
 * Artifacts: built in artifacts/.tmp beside their final place, each export read back from its files
 * and its logits compared with the trainer's own on held-out rows, then the folder is published by
 * one rename.
 */
#include "engine/families/load.h"
#include "engine/train/publish.h"
#include "engine/base/build.h"
#include "engine/kernels/level.h"
#include "engine/base/buf.h"
#include "engine/export/export.h"
#include "engine/base/file.h"
#include "engine/base/json.h"
#include "engine/run/merge.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#define VERIFY_ROWS 8
/* Adapters hold the trained values, so the logits are the same to the bit; what is tolerated is far
 * below any effect. A merged model holds W + s·B·A rounded once more, which moves f32 logits of ±40
 * by some 1e-4. */
#define TOLERANCE 1e-4
#define TOLERANCE_MERGED 5e-3
/* Rounding every weight to half precision moves logits by up to 0.28 (f16) and 1.5 (bf16) on
 * SmolLM2-135M; five times that is let pass. So wide a bound only catches a model that rounding
 * ruins (an overflow, say); that the folder holds the finished values at all is checked value by
 * value (holds_values). */
#define TOLERANCE_F16 1.5
#define TOLERANCE_BF16 8.0
#define TOLERANCE_BLOCKS 1000.0

struct agreement {
    size_t rows, targets, same_argmax;
    double max_diff, kl;
};

/* A model and parameters whose logits are looked at. */
struct candidate {
    const struct hn_model *model;
    const struct hn_phase *phase;
    const float *values;
};

/* Logits of the last targets of a row, or of a task's head on it; the number of them. */
static size_t row_logits(struct hn_trainer *t, const struct hn_examples *ex, size_t row,
    const struct candidate *c, float *out) {
    struct hn_exec x = {.params = c->values};
    size_t n = hn_row_length(ex, row), targets = n < HN_VERIFY_TARGETS ? n : HN_VERIFY_TARGETS;
    hn_compute_clear(&t->compute, c->phase);
    if (ex->aligned
            ? !hn_batch_add(&t->compute.batch, ex, row, 0, 1)
            : !hn_batch_add_tokens(&t->compute.batch, ex->tokens + ex->starts[row], n, 0, targets))
        return 0;
    hn_compute_run(&t->compute, c->phase, &x);
    const struct hn_plan_buffer *logits = &c->phase->plan.buffers[c->phase->plan.logits];
    size_t rows =
        hn_rows(&x, logits->dim) < HN_VERIFY_TARGETS ? hn_rows(&x, logits->dim) : HN_VERIFY_TARGETS;
    memcpy(out, t->compute.arena + logits->offset, rows * c->model->head.outputs * sizeof *out);
    return rows;
}

static void compare_row(struct agreement *a, const float *ours, const float *theirs, size_t vocab) {
    double max[2] = {-INFINITY, -INFINITY}, sum[2] = {0, 0}, kl = 0;
    size_t best[2] = {0, 0};
    for (size_t v = 0; v < vocab; v++) {
        double x = (double)ours[v], y = (double)theirs[v];
        if (x > max[0])
            max[0] = x, best[0] = v;
        if (y > max[1])
            max[1] = y, best[1] = v;
        a->max_diff = fabs(x - y) > a->max_diff || isnan(x - y) ? fabs(x - y) : a->max_diff;
    }
    for (size_t v = 0; v < vocab; v++) {
        sum[0] += exp((double)ours[v] - max[0]);
        sum[1] += exp((double)theirs[v] - max[1]);
    }
    for (size_t v = 0; v < vocab; v++) {
        double p = (double)ours[v] - max[0] - log(sum[0]),
               q = (double)theirs[v] - max[1] - log(sum[1]);
        kl += exp(p) * (p - q);
    }
    a->kl += kl;
    a->same_argmax += best[0] == best[1];
    a->targets++;
}

static int compare_exports(struct hn_trainer *t, const struct candidate *other, size_t max_rows,
    struct agreement *a, struct hn_error *err) {
    const struct hn_examples *ex = t->run.validation.n_rows ? &t->run.validation : &t->run.train;
    const struct candidate own = {
        &t->run.loaded.model, &t->run.phases[HN_PHASE_VERIFY], t->params.values};
    size_t vocab = t->run.loaded.model.head.outputs;
    float *ours = hn_calloc(HN_VERIFY_TARGETS * vocab, sizeof *ours),
          *theirs = hn_calloc(HN_VERIFY_TARGETS * vocab, sizeof *theirs);
    *a = (struct agreement){0};
    if (!ours || !theirs) {
        free(ours);
        free(theirs);
        return hn_fail(err, HN_E_INTERNAL, "out of memory");
    }
    for (size_t row = 0; row < ex->n_rows && a->rows < max_rows; row++, a->rows++) {
        size_t n = row_logits(t, ex, row, &own, ours);
        row_logits(t, ex, row, other, theirs);
        for (size_t i = 0; i < n; i++)
            compare_row(a, ours + i * vocab, theirs + i * vocab, vocab);
    }
    free(ours);
    free(theirs);
    return 0;
}

static enum hn_dtype type_of(const struct hn_exporter *e, const struct hn_spec *spec) {
    return e->bit == HN_EXPORT_MERGED_GGUF ? spec->gguf_dtype : spec->export_dtype;
}

static double type_tolerance(const struct hn_exporter *e, const struct hn_spec *spec) {
    if (!e->is_model)
        return TOLERANCE;
    switch (type_of(e, spec)) {
    case HN_F32:
        return TOLERANCE_MERGED;
    case HN_F16:
        return TOLERANCE_F16;
    case HN_BF16:
        return TOLERANCE_BF16;
    default: /* the drift is asked for, and told */
        return TOLERANCE_BLOCKS;
    }
}

/* Of logits: a head of values gives them in the labels' unit, and rounds its bias to the type. */
static double tolerance_of(const struct hn_exporter *e, const struct hn_spec *spec) {
    const struct hn_labels *l = &spec->labels;
    if (l->objective != HN_OBJECTIVE_VALUE)
        return type_tolerance(e, spec);
    double step = !e->is_model || spec->export_dtype == HN_F32 ? 0x1p-22
        : spec->export_dtype == HN_F16                         ? 0x1p-11
                                                               : 0x1p-8;
    return type_tolerance(e, spec) * l->scale + step * fabs(l->mean);
}

/* The values as a type of blocks keeps them. */
static void round_row(enum hn_dtype type, size_t n, float *values) {
    const struct hn_dtype_info *info = hn_dtype_info((int)type);
    uint8_t block[64];
    for (size_t i = 0; i < n; i += info->block) {
        info->quantise(block, values + i, info->block);
        info->dequantise(values + i, block, info->block);
    }
}

/* Whether each value of a weight read back is the finished one rounded to the type: within half a
 * unit in the last place of its 11 (f16) or 8 (bf16) significant bits, below the smallest normal
 * number half a subnormal step. */
static bool holds_weight(const struct hn_trainer *t, const struct hn_exporter *e,
    const struct hn_weight *own, const struct hn_weight *other, float *ours, float *theirs) {
    bool gguf = e->bit == HN_EXPORT_MERGED_GGUF;
    enum hn_dtype type = gguf ? hn_merged_gguf_type(&t->run.loaded, own) : t->spec.export_dtype;
    float share = type == HN_F32 ? 0 : type == HN_F16 ? 0x1p-11f : 0x1p-8f;
    float step = type == HN_F16 ? 0x1p-25f : type == HN_BF16 ? 0x1p-134f : 0;
    float offset = gguf ? 0 : t->run.loaded.model.arch->names[own->role].offset,
          slack = offset > 0 ? 0x1p-23f : 0;
    if (own->rows != other->rows || own->cols != other->cols)
        return false;
    for (size_t r = 0; r < own->rows; r++) {
        hn_merged_row(&t->run.loaded, &t->params, own, r, ours);
        hn_weight_row(other,
            gguf ? hn_row_to_gguf(&t->run.loaded.model, own, r)
                 : hn_row_to_hf(&t->run.loaded.model.config, own, r),
            theirs);
        if (type != HN_F32 && type != HN_F16 &&
            type != HN_BF16) /* blocks: as the type's own rounding has it */
            round_row(type, own->cols, ours);
        for (size_t c = 0; c < own->cols; c++) {
            /* stored is the value less the offset */
            float bound = (fabsf(ours[c]) + offset) * (share + slack);
            if (!(fabsf(ours[c] - theirs[c]) <= (bound > step ? bound : step)))
                return false;
        }
    }
    return true;
}

static bool holds_values(
    const struct hn_trainer *t, const struct hn_exporter *e, const struct hn_model *other) {
    const struct hn_model *own = &t->run.loaded.model;
    size_t widest = 0;
    for (size_t i = 0; i < own->n_weights; i++)
        widest = own->weights[i].cols > widest ? own->weights[i].cols : widest;
    float *rows = hn_calloc(2 * widest, sizeof *rows);
    bool same = rows != NULL;
    for (size_t i = 0; same && i < own->n_weights; i++) {
        const struct hn_weight *w = &own->weights[i],
                               *v = hn_model_weight(other, w->layer, w->role);
        same = w->unused || (v && v->data && holds_weight(t, e, w, v, rows, rows + widest));
    }
    free(rows);
    return same;
}

/* What reading an export back has shown; `problem` is set when it cannot be read or holds other
 * values. */
struct finding {
    struct agreement agreement;
    struct hn_error problem;
    bool unreadable;
};

static int verify_parameters(struct hn_trainer *t, const struct hn_exporter *e, const char *dir,
    struct finding *f, struct hn_error *err) {
    float *values = hn_calloc(t->params.size, sizeof *values);
    struct candidate other = {&t->run.loaded.model, &t->run.phases[HN_PHASE_VERIFY], values};
    if (!values)
        return hn_fail(err, HN_E_INTERNAL, "out of memory");
    f->unreadable = e->read(&t->run.loaded, &t->params, dir, values, &f->problem) != 0;
    /* Values that are the trainer's to the bit give its logits to the bit: one row shows it, more
     * would take seconds. */
    size_t rows =
        memcmp(values, t->params.values, t->params.size * sizeof *values) ? VERIFY_ROWS : 1;
    int rc = f->unreadable ? 0 : compare_exports(t, &other, rows, &f->agreement, err);
    free(values);
    return rc;
}

static int verify_model(struct hn_trainer *t, const struct hn_exporter *e, const char *dir,
    struct finding *f, struct hn_error *err) {
    const struct hn_head *head = &t->run.loaded.model.head;
    struct hn_plan_options plan = {.caps = t->run.phases[HN_PHASE_VERIFY].plan.caps};
    struct hn_graph_options graph = {.logits = true};
    struct hn_model model = {0};
    struct hn_phase phase = {0};
    struct candidate other = {&model, &phase, NULL};
    char path[4300];
    snprintf(path, sizeof path, "%.4096s%s%s", dir, e->file ? "/" : "", e->file ? e->file : "");
    int rc = hn_model_open(&model, path, &f->problem), made = 0;
    if (!rc)
        rc = hn_model_set_head(&model, head->objective, head->outputs, &f->problem);
    if (!rc && (model.head.is_new || !holds_values(t, e, &model)))
        rc = hn_fail(&f->problem, HN_E_EXPORT_MISMATCH,
            "the values in %s are not the finished ones", e->dir);
    f->unreadable = rc != 0;
    if (!f->unreadable)
        made = hn_phase_make(&phase, &model, &graph, &plan, err);
    if (!f->unreadable && !made && phase.plan.arena_bytes > t->compute.arena_bytes)
        made = hn_fail(err, HN_E_INTERNAL, "the merged model needs more memory than was planned");
    if (!f->unreadable && !made)
        made = compare_exports(t, &other, VERIFY_ROWS, &f->agreement, err);
    hn_phase_finish(&phase);
    hn_model_close(&model);
    return made;
}

/* `base`: NULL for the run's own, against which there is a tolerance. */
static int tell_agreement(struct hn_trainer *t, const struct hn_exporter *e,
    const struct hn_source *base, const struct agreement *a, bool passed, struct hn_error *err) {
    double n = (double)(a->targets ? a->targets : 1);
    return hn_events_add(&t->events, "verified",
        HN_JSON_OBJECT({"artifact", json_string(e->dir)},
            {"base", hn_json_string_or_null(base ? base->name : NULL)},
            {"base_sha256", hn_json_string_or_null(base ? base->sha256 : t->spec.model_sha256)},
            {"rows", json_integer(a->rows)},
            {"max_abs_logit_diff", hn_json_float((float)a->max_diff)},
            {"mean_kl", hn_json_float((float)(a->kl / n))},
            {"argmax_agreement", hn_json_float((float)((double)a->same_argmax / n))},
            {"tolerance", base ? json_null() : json_real(tolerance_of(e, &t->spec))},
            {"passed", json_boolean(passed)}),
        err);
}

/* Reads an export back and compares; *ret_passed tells whether it may be published. */
static int verify(struct hn_trainer *t, const struct hn_exporter *e, const char *dir,
    bool *ret_passed, struct hn_error *err) {
    struct finding f = {0};
    const struct agreement *a = &f.agreement;
    int rc = (e->is_model ? verify_model : verify_parameters)(t, e, dir, &f, err);
    if (rc)
        return rc;
    *ret_passed = !f.unreadable && a->targets && a->max_diff <= tolerance_of(e, &t->spec);
    if (f.unreadable)
        return hn_events_add(&t->events, "warning",
            json_pack("{s:s, s:s, s:I}", "code", "export_mismatch", "message", f.problem.message,
                "step", (json_int_t)t->exported_step),
            err);
    return tell_agreement(t, e, NULL, a, *ret_passed, err);
}

/* The adapter as its files hold it, on another precision of the base: told, but no reason to
 * withhold anything. */
static int verify_on(struct hn_trainer *t, const struct hn_exporter *e, const char *dir, size_t i,
    struct hn_error *err) {
    const struct hn_source *base = &t->spec.verify_on[i];
    struct hn_plan_options plan = {.caps = t->run.phases[HN_PHASE_VERIFY].plan.caps};
    struct hn_error problem = {0};
    struct hn_params params = {0};
    struct hn_phase phase = {0};
    struct agreement a;
    struct hn_loaded other;
    int rc = hn_loaded_open_other(&t->run.loaded, i, t->dir, &other, &problem), made = 0;
    struct hn_graph_options graph = {
        .adapter = other.adapter.n ? &other.adapter : NULL, .logits = true};
    if (!rc)
        rc = hn_loaded_make_params(&other, &params, &problem);
    if (!rc)
        rc = e->read(&other, &params, dir, params.values, &problem);
    if (!rc)
        rc = hn_phase_make(&phase, &other.model, &graph, &plan, &problem);
    if (!rc && phase.plan.arena_bytes > t->compute.arena_bytes)
        rc = hn_fail(&problem, HN_E_INTERNAL, "it needs more memory than was planned");
    if (rc)
        made = hn_events_add(&t->events, "warning",
            json_pack("{s:s, s:s?, s:o, s:I}", "code", "verify_on", "base", base->name, "message",
                json_sprintf("not compared on %s: %s", base->name ? base->name : "another base",
                    problem.message),
                "step", (json_int_t)t->exported_step),
            err);
    else if (!(made = compare_exports(t, &(struct candidate){&other.model, &phase, params.values},
                   VERIFY_ROWS, &a, err)))
        made = tell_agreement(t, e, base, &a, isfinite(a.max_diff), err);
    hn_phase_finish(&phase);
    hn_params_finish(&params);
    hn_loaded_finish(&other);
    return made;
}

static int tell_folder(
    struct hn_trainer *t, const char *root, const char *dir, json_t *files, struct hn_error *err) {
    size_t i = json_array_size(files);
    int rc = hn_export_list(root, dir, files, err);
    for (; !rc && i < json_array_size(files); i++)
        rc = hn_events_add(&t->events, "artifact", json_incref(json_array_get(files, i)), err);
    return rc;
}

static int write_manifest(
    struct hn_trainer *t, const char *root, json_t *files, struct hn_error *err) {
    char path[4200], base[256], kernels[256];
    hn_base_name(&t->run.loaded.model, base, sizeof base);
    hn_compute_name(kernels, sizeof kernels);
    snprintf(path, sizeof path, "%s/manifest.json", root);
    const char *validation = t->spec.validation.sha256;
    json_t *manifest = HN_JSON_OBJECT({"format", json_integer(1)},
        {"run", json_string(t->spec.run_sha256)},
        {"base",
            HN_JSON_OBJECT({"name", json_string(base)},
                {"sha256", json_string(t->spec.model_sha256)},
                {"quantisation", json_string(t->run.loaded.model.quantisation)})},
        {"data",
            HN_JSON_OBJECT({"train", json_string(t->spec.train.sha256 ? t->spec.train.sha256 : "")},
                {"validation", hn_json_string_or_null(validation)})},
        {"exported_step", json_integer(t->exported_step)}, {"build", json_string(hn_build_name())},
        {"kernels", json_string(kernels)},
        {"kernels_changed", json_boolean(t->progress.kernels_changed)},
        {"files", hn_json_share(files)});
    char *text = manifest ? json_dumps(manifest, JSON_INDENT(2)) : NULL;
    json_decref(manifest);
    int rc = text ? hn_file_write_durable(path, text, strlen(text), err)
                  : hn_fail(err, HN_E_INTERNAL, "out of memory");
    free(text);
    json_t *file = NULL;
    if (!rc)
        rc = hn_export_file(root, "manifest.json", &file, err);
    return rc ? rc : hn_events_add(&t->events, "artifact", file, err);
}

static int make_export(struct hn_trainer *t, const struct hn_exporter *e, const char *root,
    json_t *files, size_t *passed, struct hn_error *err) {
    char dir[4200];
    bool ok = false;
    snprintf(dir, sizeof dir, "%s/%s", root, e->dir);
    int rc = hn_dir_create(dir, err);
    if (!rc)
        rc = e->write(&t->run.loaded, &t->params, dir, err);
    if (!rc)
        rc = verify(t, e, dir, &ok, err);
    if (rc)
        return rc;
    *passed += ok;
    for (size_t i = 0; !rc && ok && e->read && !t->verified_others && i < t->spec.n_verify_on; i++)
        rc = verify_on(t, e, dir, i, err);
    t->verified_others |= ok && e->read;
    if (rc)
        return rc;
    return ok ? tell_folder(t, root, e->dir, files, err) : hn_dir_remove(dir, err);
}

/* Exports have heads that give the labels' own values; the run goes on with the one it trained,
 * whose last layer is copied to (or from) `kept`. Returns the number of its values. */
static size_t copy_head(struct hn_trainer *t, float *kept, bool back) {
    static const enum hn_role roles[] = {HN_ROLE_SCORE, HN_ROLE_SCORE_BIAS};
    size_t n = 0;
    for (size_t i = 0; i < sizeof roles / sizeof roles[0]; i++) {
        const struct hn_weight *w = t->run.loaded.model.by_role[roles[i]];
        if (!w || w->param == SIZE_MAX)
            continue;
        float *values = t->params.values + w->param, *copy = kept ? kept + n : NULL;
        size_t size = w->rows * w->cols;
        if (copy)
            memcpy(back ? values : copy, back ? copy : values, size * sizeof *values);
        n += size;
    }
    return n;
}

/* In its place, not renamed to it: a confined trainer may not write the run directory itself, where
 * its inputs and its lock are named (server/process/rundir.h). */
int hn_publish_artifacts(struct hn_trainer *t, struct hn_error *err) {
    char root[4096];
    snprintf(root, sizeof root, "%s/artifacts", t->dir);
    size_t passed = 0;
    json_t *files = json_array();
    int rc = hn_dir_create(root, err);
    if (!rc)
        rc = hn_dir_empty(root, err); /* of an attempt that died here */
    float *head = hn_calloc(copy_head(t, NULL, false) + 1, sizeof *head);
    if (!rc && !head)
        rc = hn_fail(err, HN_E_INTERNAL, "out of memory");
    copy_head(t, head, false);
    hn_loaded_fold_head(&t->run.loaded, t->params.values);
    for (size_t i = 0; !rc && i < hn_n_exporters; i++)
        if (t->spec.exports & hn_exporters[i].bit)
            rc = make_export(t, &hn_exporters[i], root, files, &passed, err);
    copy_head(t, head, true);
    free(head);
    if (!rc && !passed)
        rc = hn_fail(
            err, HN_E_EXPORT_MISMATCH, "no export gave the trainer's own answers when read back");
    if (!rc)
        rc = hn_dir_sync(root, err); /* before the manifest, which says that all is there */
    if (!rc)
        rc = write_manifest(t, root, files, err);
    json_decref(files);
    if (rc)
        hn_dir_empty(root, NULL);
    return rc;
}
