/* See loaded.h. */
#include "engine/run/loaded.h"
#include "engine/families/load.h"
#include "engine/run/checkpoint.h"

#include <stdio.h>
#include <string.h>

int hn_loaded_open(
    struct hn_loaded *loaded, const struct hn_spec *spec, const char *dir, struct hn_error *err) {
    char path[4096];
    *loaded = (struct hn_loaded){.spec = spec};
    hn_spec_path(path, sizeof path, dir, spec->model_file);
    int rc = hn_model_open(&loaded->model, path, err);
    if (!rc)
        rc = hn_model_set_head(
            &loaded->model, spec->labels.objective, hn_labels_outputs(&spec->labels), err);
    if (!rc)
        rc = hn_labels_fit_head(&spec->labels, &loaded->model, err);
    if (!rc)
        rc = hn_codec_open(&loaded->model, &loaded->codec, err);
    if (!rc && spec->template_date)
        snprintf(loaded->codec.date, sizeof loaded->codec.date, "%s", spec->template_date);
    loaded->codec.applied = !rc && hn_spec_applied(spec);
    return rc;
}

struct hn_encode_options hn_loaded_encode_options(const struct hn_loaded *loaded) {
    const struct hn_spec *spec = loaded->spec;
    return (struct hn_encode_options){.task = spec->task,
        .max_length = (size_t)spec->hp.max_length,
        .overflow = (enum hn_overflow)spec->hp.overflow,
        .loss_on = (enum hn_loss_on)spec->hp.loss_on,
        .vocab = loaded->model.config.vocab,
        .labels = &spec->labels,
        .encoder = loaded->model.arch->encoder,
        .token_types = loaded->model.config.token_types};
}

int hn_loaded_choose_params(struct hn_loaded *loaded, struct hn_error *err) {
    int rc;
    switch (loaded->spec->method) {
    case HN_METHOD_LORA:
        rc = hn_adapter_init(&loaded->adapter, &loaded->model, &loaded->spec->hp, err);
        loaded->n_params = hn_params_assign_head(&loaded->model, loaded->adapter.n_params, false);
        return rc;
    case HN_METHOD_FULL:
        loaded->n_params = hn_params_assign(&loaded->model);
        return 0;
    default:
        loaded->n_params =
            loaded->spec->labels.objective ? hn_params_assign_head(&loaded->model, 0, true) : 0;
        if (loaded->n_params)
            return 0;
        hn_fail(err, HN_E_UNSUPPORTED, "method head needs a task with a head of its own");
        hn_error_field(err, "method");
        return HN_E_UNSUPPORTED;
    }
}

int hn_loaded_make_params(
    const struct hn_loaded *loaded, struct hn_params *params, struct hn_error *err) {
    return loaded->spec->method == HN_METHOD_FULL
        ? hn_params_from_model(params, &loaded->model, err)
        : hn_params_from_adapter(params, &loaded->adapter, &loaded->model, err);
}

void hn_spec_path(char *out, size_t size, const char *dir, const char *file) {
    snprintf(out, size, "%s%s%s", file[0] == '/' ? "" : dir, file[0] == '/' ? "" : "/", file);
}

/* The head's last layer: y = W·x + b. Its logits are scaled by `factor`, and `shift` is added. */
static void scale_head(const struct hn_loaded *loaded, double factor, double shift, float *values) {
    const struct hn_weight *w = loaded->model.by_role[HN_ROLE_SCORE],
                           *b = loaded->model.by_role[HN_ROLE_SCORE_BIAS];
    for (size_t i = 0; w && w->param != SIZE_MAX && i < w->rows * w->cols; i++)
        values[w->param + i] = (float)((double)values[w->param + i] * factor);
    for (size_t i = 0; b && b->param != SIZE_MAX && i < b->rows * b->cols; i++)
        values[b->param + i] = (float)((double)values[b->param + i] * factor + shift);
}

/* The values of another job's checkpoint, which must be those that were planned with. */
static int read_init(const struct hn_loaded *loaded, const char *dir, struct hn_params *params,
    struct hn_error *err) {
    char path[4096], hash[HN_SHA256_HEX];
    hn_spec_path(path, sizeof path, dir, loaded->spec->init_file);
    int rc = loaded->spec->init_sha256 ? hn_sha256_file(path, hash, NULL, err) : 0;
    if (!rc && loaded->spec->init_sha256 && strcmp(hash, loaded->spec->init_sha256) != 0)
        rc = hn_fail(err, HN_E_CONFLICT,
            "%s is damaged: its content is not that of the checkpoint that init_from names", path);
    if (!rc)
        rc = hn_checkpoint_read_values(path, params, false, err);
    const struct hn_labels *l = &loaded->spec->labels;
    double mean = loaded->spec->init_mean, scale = loaded->spec->init_scale;
    if (!rc && l->objective == HN_OBJECTIVE_VALUE && scale > 0)
        scale_head(loaded, scale / l->scale, (mean - l->mean) / l->scale, params->values);
    return rc;
}

void hn_loaded_fold_head(const struct hn_loaded *loaded, float *values) {
    const struct hn_labels *l = &loaded->spec->labels;
    if (l->objective == HN_OBJECTIVE_VALUE)
        scale_head(loaded, l->scale, l->mean, values);
}

/* A head that the base brings gives values. */
static void unfold_head(const struct hn_loaded *loaded, float *values) {
    const struct hn_labels *l = &loaded->spec->labels;
    if (l->objective == HN_OBJECTIVE_VALUE)
        scale_head(loaded, 1 / l->scale, -l->mean / l->scale, values);
}

int hn_loaded_start_params(const struct hn_loaded *loaded, const char *dir,
    struct hn_params *params, struct hn_error *err) {
    if (loaded->spec->init_file)
        return read_init(loaded, dir, params, err);
    if (loaded->adapter.n)
        hn_adapter_start(&loaded->adapter, &loaded->spec->hp, params->values);
    hn_params_start(&loaded->model, (uint64_t)loaded->spec->hp.seed, params->values);
    if (!loaded->model.head.is_new)
        unfold_head(loaded, params->values);
    return 0;
}

/* The same model but for the types of its weights. */
static bool same_shape(const struct hn_model *a, const struct hn_model *b) {
    const struct hn_model_config *x = &a->config, *y = &b->config;
    return a->arch == b->arch && x->layers == y->layers && x->hidden == y->hidden &&
        x->heads == y->heads && x->kv_heads == y->kv_heads && x->head_dim == y->head_dim &&
        x->ffn == y->ffn && x->vocab == y->vocab;
}

int hn_loaded_open_other(const struct hn_loaded *loaded, size_t i, const char *dir,
    struct hn_loaded *ret, struct hn_error *err) {
    char path[4096];
    const struct hn_source *source = &loaded->spec->verify_on[i];
    *ret = (struct hn_loaded){.spec = loaded->spec};
    hn_spec_path(path, sizeof path, dir, source->file);
    int rc = hn_model_open(&ret->model, path, err);
    if (!rc && !same_shape(&loaded->model, &ret->model)) {
        rc = hn_fail(err, HN_E_INVALID_FIELD,
            "%s is not the base in another precision: its shape is another",
            source->name ? source->name : "a model of verify_on");
        hn_error_hint(err,
            "name the same model in another type: its original folder, or a GGUF of Q8_0 or F16");
    }
    if (rc)
        hn_error_field(err, "verify_on[%zu]", i);
    if (!rc)
        rc = hn_model_set_head(
            &ret->model, loaded->model.head.objective, loaded->model.head.outputs, err);
    if (!rc)
        rc = hn_labels_fit_head(&loaded->spec->labels, &ret->model, err);
    return rc ? rc : hn_loaded_choose_params(ret, err);
}

void hn_loaded_finish(struct hn_loaded *loaded) {
    hn_adapter_finish(&loaded->adapter);
    hn_codec_finish(&loaded->codec);
    hn_model_close(&loaded->model);
    *loaded = (struct hn_loaded){0};
}

int hn_sample_phase(struct hn_phase *phase, const struct hn_model *model,
    const struct hn_adapter *adapter, size_t slots, size_t rows, unsigned threads,
    struct hn_error *err) {
    struct hn_graph_options graph = {.adapter = adapter, .logits = true, .cached = true};
    struct hn_plan_options plan = {
        .caps = {.dims = {[HN_DIM_TOKENS] = HN_SAMPLE_CHUNK, [HN_DIM_TARGETS] = slots},
            .cache_rows = rows,
            .threads = threads}};
    return hn_phase_make(phase, model, &graph, &plan, err);
}
