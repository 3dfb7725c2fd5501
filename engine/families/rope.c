/*
 * Rotary frequencies and their scalings. Formulas: linear (Chen et al. 2023), llama3 (Meta's Llama
 * 3.1), YaRN (Peng et al. 2023), as Transformers' modeling_rope_utils.py computes them; a GGUF
 * file's rope_freqs.weight holds the factors by which frequencies are divided.
 */
#include "engine/families/arch.h"
#include "engine/families/load.h"
#include "engine/base/json.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

struct scaling {
    const json_t *json; /* of a folder, or NULL */
    const struct hn_model *model;
};

static double number(const struct scaling *s, const char *hf, const char *gguf, double fallback) {
    const json_t *value = json_object_get(s->json, hf);
    if (s->model->is_folder)
        return json_is_number(value) ? json_number_value(value) : fallback;
    return hn_arch_number(s->model, (struct hn_arch_key){gguf, NULL}, fallback);
}

static void set_plain(struct hn_rope *rope, double base, size_t d) {
    rope->base = base;
    rope->scale = 1;
    for (size_t i = 0; i < d / 2; i++)
        rope->inverse[i] = pow(base, -2 * (double)i / (double)d);
}

static void scale_linear(struct hn_rope *rope, size_t d, double factor) {
    for (size_t i = 0; i < d / 2; i++)
        rope->inverse[i] /= factor;
}

/* Long waves are stretched, short ones kept, those between mixed. */
static void scale_llama3(struct hn_rope *rope, size_t d, double factor, const struct scaling *s) {
    double low = number(s, "low_freq_factor", "", 1), high = number(s, "high_freq_factor", "", 4);
    double context = number(s, "original_max_position_embeddings", "", 8192);
    for (size_t i = 0; i < d / 2; i++) {
        double inverse = rope->inverse[i], length = 2 * M_PI / inverse;
        double smooth = (context / length - low) / (high - low);
        if (length > context / low)
            rope->inverse[i] = inverse / factor;
        else if (length >= context / high)
            rope->inverse[i] = (1 - smooth) * inverse / factor + smooth * inverse;
    }
}

static double yarn_mscale(double factor, double by) {
    return factor <= 1 ? 1 : 0.1 * by * log(factor) + 1;
}

/* The pair that turns `turns` times over the original context. */
static double yarn_pair(double turns, size_t d, double base, double context) {
    return (double)d * log(context / (turns * 2 * M_PI)) / (2 * log(base));
}

static void scale_yarn(struct hn_rope *rope, size_t d, double factor, const struct scaling *s) {
    double context = number(s, "original_max_position_embeddings",
        "rope.scaling.original_context_length", (double)s->model->config.context);
    double low = yarn_pair(
        number(s, "beta_fast", "rope.scaling.yarn_beta_fast", 32), d, rope->base, context);
    double high =
        yarn_pair(number(s, "beta_slow", "rope.scaling.yarn_beta_slow", 1), d, rope->base, context);
    if (!json_is_false(json_object_get(s->json, "truncate"))) {
        low = floor(low);
        high = ceil(high);
    }
    low = low < 0 ? 0 : low;
    high = high > (double)d - 1 ? (double)d - 1 : high;
    high = high <= low ? low + 0.001 : high;
    for (size_t i = 0; i < d / 2; i++) {
        double ramp = ((double)i - low) / (high - low), kept;
        ramp = ramp < 0 ? 0 : ramp > 1 ? 1 : ramp;
        kept = 1 - ramp;
        rope->inverse[i] = rope->inverse[i] / factor * (1 - kept) + rope->inverse[i] * kept;
    }
    double mscale = number(s, "mscale", "", 0), all = number(s, "mscale_all_dim", "", 0);
    rope->scale = json_number_value(json_object_get(s->json, "attention_factor"));
    if (!s->model->is_folder) /* llama.cpp's attn_factor comes on top */
        rope->scale = number(s, "", "rope.scaling.attn_factor", 1) * yarn_mscale(factor, 1);
    else if (!(rope->scale > 0))
        rope->scale = mscale > 0 && all > 0 ? yarn_mscale(factor, mscale) / yarn_mscale(factor, all)
                                            : yarn_mscale(factor, 1);
}

static int by_file_factors(
    struct hn_rope *rope, const struct hn_model *model, struct hn_error *err) {
    const struct hn_gguf_tensor *t = hn_gguf_tensor(&model->gguf, "rope_freqs.weight");
    if (!t)
        return 0;
    if (t->type != HN_F32 || t->ne[0] != model->config.head_dim / 2 ||
        t->bytes != t->ne[0] * sizeof(float))
        return hn_fail(err, HN_E_MODEL_INVALID, "rope_freqs.weight does not fit the model's heads");
    for (size_t i = 0; i < t->ne[0]; i++) {
        float factor;
        memcpy(&factor, t->data + i * sizeof factor, sizeof factor);
        if (!(factor > 0))
            return hn_fail(
                err, HN_E_MODEL_INVALID, "rope_freqs.weight holds a factor that is not positive");
        rope->inverse[i] /= (double)factor;
    }
    return 0;
}

static int apply(struct hn_rope *rope, const struct scaling *s, struct hn_error *err) {
    const struct hn_model *model = s->model;
    char type[32] = "none", key[64];
    const char *name = json_string_value(json_object_get(s->json, "rope_type"));
    name = name ? name : json_string_value(json_object_get(s->json, "type"));
    if (name) {
        snprintf(type, sizeof type, "%s", name);
    } else if (!model->is_folder) {
        snprintf(key, sizeof key, "%s.rope.scaling.type", model->arch->gguf_arch);
        struct hn_view view = hn_gguf_string(&model->gguf, key);
        if (view.size)
            snprintf(type, sizeof type, "%.*s", (int)(view.size < 31 ? view.size : 31), view.data);
    }
    size_t d = model->config.head_dim;
    double factor = number(s, "factor", "rope.scaling.factor", 1);
    if (!(factor > 0 && factor < 1e6))
        return hn_fail(err, HN_E_MODEL_INVALID, "the RoPE scaling's factor is out of range");
    if (strcmp(type, "linear") == 0)
        scale_linear(rope, d, factor);
    else if (strcmp(type, "llama3") == 0)
        scale_llama3(rope, d, factor, s);
    else if (strcmp(type, "yarn") == 0)
        scale_yarn(rope, d, factor, s);
    else if (strcmp(type, "none") != 0 && strcmp(type, "default") != 0 &&
        strcmp(type, "dynamic") != 0) /* which scales behind the context only */
        return hn_fail(err, HN_E_UNSUPPORTED,
            "RoPE scaling of type \"%s\" is not supported; linear, llama3 and yarn are", type);
    return by_file_factors(rope, model, err);
}

int hn_rope_configure(struct hn_model *model, struct hn_error *err) {
    struct hn_model_config *c = &model->config;
    /* Version 5 of Transformers keeps base and scaling in rope_parameters, where there are two
     * kinds of layers one for each; version 4 in rope_theta, rope_local_base_freq and rope_scaling,
     * which both versions put first. */
    const json_t *parameters = hn_arch_json(model, "rope_parameters");
    const json_t *global = json_object_get(parameters, "full_attention"),
                 *local = json_object_get(parameters, "sliding_attention");
    const json_t *older = hn_arch_json(model, "rope_scaling");
    struct scaling s = {json_is_object(older) ? older : global ? global : parameters, model};
    double absent = model->is_folder && model->arch->absent.rope_base > 0
        ? model->arch->absent.rope_base
        : 10000;
    double base =
        hn_arch_number(model, (struct hn_arch_key){"rope.freq_base", "rope_theta"}, absent);
    base = number(&s, "rope_theta", "rope.freq_base", base);
    double local_base = hn_arch_number(
        model, (struct hn_arch_key){"rope.freq_base_swa", "rope_local_base_freq"}, 10000);
    if (json_is_number(json_object_get(local, "rope_theta")))
        local_base = json_number_value(json_object_get(local, "rope_theta"));
    if (!(base >= 1 && base < 1e12) || !(local_base >= 1 && local_base < 1e12))
        return hn_fail(err, HN_E_MODEL_INVALID, "the RoPE base is out of range");
    set_plain(&c->rope, base, c->head_dim);
    set_plain(&c->local_rope, local_base, c->head_dim);
    return apply(&c->rope, &s, err);
}

static double ratio(const struct hn_rope *rope, size_t d, size_t i) {
    return pow(rope->base, -2 * (double)i / (double)d) / rope->inverse[i];
}

static bool same(const struct hn_rope *a, const struct hn_rope *b, size_t d) {
    for (size_t i = 0; i < d / 2; i++)
        if (fabs(a->inverse[i] / b->inverse[i] - 1) > 1e-4)
            return false;
    return fabs(a->scale - b->scale) < 1e-6;
}

/* The settings with which the formula gives the model's frequencies, of those in use. */
static json_t *find_settings(const struct hn_model *model) {
    const struct hn_model_config *c = &model->config;
    const struct hn_rope *rope = &c->rope;
    size_t d = c->head_dim;
    json_t *candidates = json_array(), *one, *found = NULL;
    double factor = ratio(rope, d, d / 2 - 1);
    const double contexts[] = {8192, 4096, 2048, 32768, (double)c->context / factor};
    for (size_t i = 0; i < sizeof contexts / sizeof contexts[0]; i++)
        json_array_append_new(candidates,
            json_pack("{s:s, s:f, s:f, s:f, s:I}", "rope_type", "llama3", "factor",
                round(factor * 1e4) / 1e4, "low_freq_factor", 1.0, "high_freq_factor", 4.0,
                "original_max_position_embeddings", (json_int_t)contexts[i]));
    const struct scaling gguf = {NULL, model};
    double original = number(&gguf, "", "rope.scaling.original_context_length", 0);
    json_array_append_new(candidates,
        json_pack("{s:s, s:f, s:f, s:f, s:f, s:I}", "rope_type", "yarn", "factor",
            number(&gguf, "", "rope.scaling.factor", 1), "beta_fast",
            number(&gguf, "", "rope.scaling.yarn_beta_fast", 32), "beta_slow",
            number(&gguf, "", "rope.scaling.yarn_beta_slow", 1), "attention_factor", rope->scale,
            "original_max_position_embeddings", (json_int_t)original));
    for (size_t i = 0; !found && (one = json_array_get(candidates, i)); i++) {
        struct hn_model plain = {.is_folder = true, .config = {.head_dim = d}};
        struct scaling s = {one, &plain};
        bool yarn = i + 1 == json_array_size(candidates);
        set_plain(&plain.config.rope, rope->base, d);
        double by = json_number_value(json_object_get(one, "factor"));
        if (yarn && original >= 1)
            scale_yarn(&plain.config.rope, d, by, &s);
        else if (!yarn)
            scale_llama3(&plain.config.rope, d, by, &s);
        if (same(rope, &plain.config.rope, d))
            found = json_incref(one);
    }
    json_decref(candidates);
    return found;
}

json_t *hn_rope_describe(const struct hn_model *model) {
    const struct hn_rope *rope = &model->config.rope;
    size_t d = model->config.head_dim;
    double first = ratio(rope, d, 0);
    bool uniform = fabs(rope->scale - 1) < 1e-6;
    for (size_t i = 1; uniform && i < d / 2; i++)
        uniform = fabs(ratio(rope, d, i) / first - 1) < 1e-5;
    json_t *out = !uniform ? find_settings(model)
        : fabs(first - 1) < 1e-5
        ? json_pack("{s:s}", "rope_type", "default")
        : json_pack("{s:s, s:f}", "rope_type", "linear", "factor", round(first * 1e6) / 1e6);
    if (out)
        json_object_set_new(out, "rope_theta", hn_json_float((float)rope->base));
    return out;
}
