/* See checkpoint.h. */
#include "engine/run/checkpoint.h"
#include "engine/base/buf.h"
#include "engine/base/file.h"
#include "engine/base/json.h"
#include "engine/formats/safetensors.h"

#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#define PATH 4096

static void step_path(char *out, const char *run_dir, size_t step) {
    snprintf(out, PATH, "%s/checkpoints/step-%06zu", run_dir, step);
}

/* jansson's shortest exact form of a double. */
static json_t *progress_json(const struct hn_progress *p, const char *run_sha256) {
    return HN_JSON_OBJECT({"format", json_integer(1)}, {"run", json_string(run_sha256)},
        {"step", json_integer(p->step)}, {"tokens", json_integer(p->tokens)},
        {"target_tokens", json_integer(p->target_tokens)},
        {"window_loss", json_real(p->window_loss)}, {"window_weight", json_real(p->window_weight)},
        {"window_tokens", json_integer(p->window_tokens)},
        {"best_step", json_integer(p->best_step)}, {"best_value", json_real(p->best_value)},
        {"best_loss", json_real(p->best_loss)}, {"has_best", json_boolean(p->has_best)},
        {"evaluations_since_best", json_integer(p->evaluations_since_best)},
        {"val_kl", json_real(p->val_kl)}, {"computed_by", json_string(p->computed_by)},
        {"kernels_changed", json_boolean(p->kernels_changed)});
}

static const char *const array_names[] = {"values", "first", "second"};

static int write_arrays(const char *path, const struct hn_params *params, struct hn_error *err) {
    const float *arrays[] = {params->values, params->first, params->second};
    struct hn_safetensor_out *out = hn_calloc(3 * params->n, sizeof *out);
    char(*names)[HN_NAME + 32] = hn_calloc(3 * params->n, sizeof *names);
    int rc = out && names ? 0 : hn_fail(err, HN_E_INTERNAL, "out of memory");
    for (size_t k = 0, i = 0; !rc && k < 3; k++)
        for (size_t p = 0; p < params->n; p++, i++) {
            const struct hn_param *param = &params->table[p];
            snprintf(names[i], sizeof names[i], "%s/%s", array_names[k], param->name);
            out[i] = (struct hn_safetensor_out){.name = names[i],
                .n_dims = 2,
                .dims = {param->rows, param->cols},
                .type = HN_F32,
                .values = arrays[k] + param->offset};
        }
    if (!rc)
        rc = hn_safetensors_write(path, out, 3 * params->n, NULL, NULL, NULL, err);
    free(out);
    free(names);
    return rc;
}

/*
 * state.json vouches for both files: "tensors" is the sha256 of state.safetensors, "sha256" that of
 * its own canonical text without that member. Checkpoints of earlier versions have neither and are
 * taken as they are.
 */
static int write_state(const char *dir, const struct hn_progress *progress, const char *run_sha256,
    struct hn_error *err) {
    char path[PATH + 32], hash[HN_SHA256_HEX];
    snprintf(path, sizeof path, "%s/state.safetensors", dir);
    int rc = hn_sha256_file(path, hash, NULL, err);
    if (rc)
        return rc;
    json_t *json = progress_json(progress, run_sha256);
    json_object_set_new(json, "tensors", json_string(hash));
    char *text = json ? hn_json_canonical(json) : NULL;
    if (text) {
        hn_sha256(text, strlen(text), hash);
        free(text);
        json_object_set_new(json, "sha256", json_string(hash));
        text = hn_json_canonical(json);
    }
    json_decref(json);
    snprintf(path, sizeof path, "%s/state.json", dir);
    rc = text ? hn_file_write_durable(path, text, strlen(text), err)
              : hn_fail(err, HN_E_INTERNAL, "out of memory");
    free(text);
    return rc;
}

/* Reads state.json and compares both files with what it says of them. */
static int open_state(const char *dir, json_t **ret, struct hn_error *err) {
    char path[PATH + 32], hash[HN_SHA256_HEX], own[HN_SHA256_HEX];
    snprintf(path, sizeof path, "%s/state.json", dir);
    json_t *json = NULL;
    int rc = hn_json_load(path, 1 << 20, &json, err);
    json_t *said = json_incref(json_object_get(json, "sha256"));
    const char *tensors = json_string_value(json_object_get(json, "tensors"));
    if (!rc && said) {
        json_object_del(json, "sha256");
        char *text = hn_json_canonical(json);
        hn_sha256(text ? text : "", text ? strlen(text) : 0, own);
        free(text);
        if (!json_is_string(said) || strcmp(json_string_value(said), own) != 0)
            rc = hn_fail(err, HN_E_CONFLICT,
                "%s is damaged: its content does not have the sha256 that it names", path);
    }
    snprintf(path, sizeof path, "%s/state.safetensors", dir);
    if (!rc && tensors)
        rc = hn_sha256_file(path, hash, NULL, err);
    if (!rc && tensors && strcmp(hash, tensors) != 0)
        rc = hn_fail(err, HN_E_CONFLICT,
            "%s is damaged: its content does not have the sha256 that state.json names", path);
    json_decref(said);
    if (rc)
        json_decref(json);
    else
        *ret = json;
    return rc;
}

int hn_checkpoint_check_folder(const char *folder, struct hn_error *err) {
    json_t *json = NULL;
    int rc = open_state(folder, &json, err);
    json_decref(json);
    return rc;
}

int hn_checkpoint_check(const char *run_dir, size_t step, struct hn_error *err) {
    char dir[PATH];
    step_path(dir, run_dir, step);
    return hn_checkpoint_check_folder(dir, err);
}

int hn_checkpoint_remove(const char *run_dir, size_t step, struct hn_error *err) {
    char path[PATH], trash[PATH];
    /* Renamed first: a half-removed checkpoint must not look whole. */
    step_path(path, run_dir, step);
    snprintf(trash, sizeof trash, "%s/checkpoints/.tmp-old-%06zu", run_dir, step);
    return rename(path, trash) ? hn_fail_errno(err, errno, "cannot remove %s", path)
                               : hn_dir_remove(trash, err);
}

int hn_checkpoint_write(const char *run_dir, const struct hn_params *params,
    const struct hn_progress *progress, const char *run_sha256, struct hn_error *err) {
    char final[PATH], tmp[PATH], path[PATH + 32];
    struct stat st;
    step_path(final, run_dir, progress->step);
    if (stat(final, &st) == 0) /* a resumed run comes by again: the bytes would be the same */
        return 0;
    snprintf(tmp, sizeof tmp, "%s/checkpoints/.tmp-step-%06zu", run_dir, progress->step);
    int rc = hn_dir_remove(tmp, err);
    if (!rc)
        rc = hn_dir_create(tmp, err);
    snprintf(path, sizeof path, "%s/state.safetensors", tmp);
    if (!rc)
        rc = write_arrays(path, params, err);
    if (!rc)
        rc = write_state(tmp, progress, run_sha256, err);
    if (!rc)
        rc = hn_dir_publish(tmp, final, err);
    if (rc)
        hn_dir_remove(tmp, NULL);
    return rc;
}

uint64_t hn_checkpoint_bytes(const char *run_dir, size_t step) {
    char dir[PATH], path[PATH + 32];
    struct stat st;
    step_path(dir, run_dir, step);
    snprintf(path, sizeof path, "%s/state.safetensors", dir);
    return stat(path, &st) == 0 ? (uint64_t)st.st_size : 0;
}

static int read_progress(
    const json_t *json, struct hn_progress *p, const char *run_sha256, struct hn_error *err) {
    const struct {
        const char *name;
        size_t *value;
    } sizes[] = {{"step", &p->step}, {"best_step", &p->best_step},
        {"evaluations_since_best", &p->evaluations_since_best}};
    const struct {
        const char *name;
        uint64_t *value;
    } counts[] = {{"tokens", &p->tokens}, {"target_tokens", &p->target_tokens},
        {"window_tokens", &p->window_tokens}};
    const char *run = "";
    *p = (struct hn_progress){0};
    int rc = hn_json_string(json, "run", &run, err);
    if (!rc && run_sha256 && strcmp(run, run_sha256) != 0)
        rc = hn_fail(err, HN_E_CONFLICT,
            "the checkpoint belongs to another run (its specification differs)");
    for (size_t i = 0; !rc && i < 3; i++) {
        int64_t v = 0;
        rc = hn_json_int(json, sizes[i].name, 0, INT64_MAX, &v, err);
        *sizes[i].value = (size_t)v;
        v = 0;
        if (!rc)
            rc = hn_json_int(json, counts[i].name, 0, INT64_MAX, &v, err);
        *counts[i].value = (uint64_t)v;
    }
    p->window_loss = json_number_value(json_object_get(json, "window_loss"));
    p->window_weight = json_number_value(json_object_get(json, "window_weight"));
    p->best_value = json_number_value(json_object_get(json, "best_value"));
    p->best_loss = json_number_value(json_object_get(json, "best_loss"));
    p->val_kl = json_number_value(json_object_get(json, "val_kl"));
    const char *computed_by = ""; /* a checkpoint of an earlier version does not tell */
    if (!rc)
        rc = hn_json_string(json, "computed_by", &computed_by, err);
    snprintf(p->computed_by, sizeof p->computed_by, "%s", computed_by);
    if (!rc)
        rc = hn_json_bool(json, "kernels_changed", &p->kernels_changed, err);
    return rc ? rc : hn_json_bool(json, "has_best", &p->has_best, err);
}

/* The first `n_arrays` of values and moments, those that params has. */
static int read_arrays(const char *path, struct hn_params *params, size_t n_arrays, bool check_only,
    struct hn_error *err) {
    struct hn_safetensors st;
    float *arrays[] = {params->values, params->first, params->second};
    int rc = hn_safetensors_open(&st, path, err);
    if (rc)
        return rc;
    for (size_t k = 0; !rc && k < n_arrays; k++)
        for (size_t i = 0; !rc && arrays[k] && i < params->n; i++) {
            const struct hn_param *param = &params->table[i];
            char name[HN_NAME + 32];
            snprintf(name, sizeof name, "%s/%s", array_names[k], param->name);
            const struct hn_safetensor *t = hn_safetensors_find(&st, name);
            if (!t || t->type != HN_F32 || t->bytes != param->rows * param->cols * sizeof(float))
                rc = hn_fail(err, HN_E_CONFLICT,
                    "the checkpoint's tensor %s is missing or has another shape", name);
            else if (!check_only)
                memcpy(arrays[k] + param->offset, t->data, t->bytes);
        }
    hn_safetensors_close(&st);
    return rc;
}

int hn_checkpoint_read_progress(const char *run_dir, size_t step, struct hn_progress *ret,
    const char *run_sha256, struct hn_error *err) {
    char path[PATH + 32];
    json_t *json = NULL;
    struct hn_progress progress;
    step_path(path, run_dir, step);
    size_t n = strlen(path);
    snprintf(path + n, sizeof path - n, "/state.json");
    int rc = hn_json_load(path, 1 << 20, &json, err);
    if (!rc)
        rc = read_progress(json, &progress, run_sha256, err);
    json_decref(json);
    if (!rc)
        *ret = progress;
    return rc;
}

int hn_checkpoint_read(const char *run_dir, size_t step, struct hn_params *params,
    struct hn_progress *ret, const char *run_sha256, struct hn_error *err) {
    char dir[PATH], path[PATH + 32];
    json_t *json = NULL;
    struct hn_progress progress;
    step_path(dir, run_dir, step);
    int rc = open_state(dir, &json, err);
    if (!rc)
        rc = read_progress(json, &progress, run_sha256, err);
    json_decref(json);
    snprintf(path, sizeof path, "%s/state.safetensors", dir);
    if (!rc) /* nothing is taken of one that lacks something */
        rc = read_arrays(path, params, 3, true, err);
    if (!rc)
        rc = read_arrays(path, params, 3, false, err);
    if (!rc && ret)
        *ret = progress;
    return rc;
}

int hn_checkpoint_read_values(
    const char *file, struct hn_params *params, bool check_only, struct hn_error *err) {
    return read_arrays(file, params, 1, check_only, err);
}

static int compare_steps(const void *a, const void *b) {
    size_t x = *(const size_t *)a, y = *(const size_t *)b;
    return (x > y) - (x < y);
}

int hn_checkpoint_list(const char *run_dir, size_t **ret, size_t *ret_n, struct hn_error *err) {
    char path[PATH], leftover[PATH + 300];
    snprintf(path, sizeof path, "%s/checkpoints", run_dir);
    DIR *dir = opendir(path);
    size_t n = 0, capacity = 0, *steps = NULL;
    if (!dir && errno != ENOENT)
        return hn_fail_errno(err, errno, "cannot read %s", path);
    for (struct dirent *entry; dir && (entry = readdir(dir));) {
        size_t step;
        if (strncmp(entry->d_name, ".tmp-", 5) == 0) {
            snprintf(leftover, sizeof leftover, "%s/%s", path, entry->d_name);
            hn_dir_remove(leftover, NULL);
        }
        if (sscanf(entry->d_name, "step-%zu", &step) != 1)
            continue;
        if (!hn_grow(&steps, &capacity, n + 1, sizeof *steps)) {
            closedir(dir);
            free(steps);
            return hn_fail(err, HN_E_INTERNAL, "out of memory");
        }
        steps[n++] = step;
    }
    if (dir)
        closedir(dir);
    if (n)
        qsort(steps, n, sizeof *steps, compare_steps);
    *ret = steps;
    *ret_n = n;
    return 0;
}

int hn_checkpoint_prune(const char *run_dir, size_t keep, size_t best_step, struct hn_error *err) {
    size_t *steps = NULL, n = 0;
    int rc = hn_checkpoint_list(run_dir, &steps, &n, err);
    for (size_t i = 0; !rc && i + (keep ? keep : 1) < n; i++) {
        if (steps[i] != best_step)
            rc = hn_checkpoint_remove(run_dir, steps[i], err);
    }
    free(steps);
    return rc;
}
