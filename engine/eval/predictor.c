/* See predictor.h. */
#include "engine/families/load.h"
#include "engine/eval/predictor.h"
#include "engine/limits.h"
#include "engine/base/buf.h"
#include "engine/base/json.h"
#include "engine/eval/predict_head.h"
#include "engine/export/export.h"
#include "engine/run/checkpoint.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#define SLOTS 16 /* sequences that are answered at the same time */
#define SMALLEST_CONTEXT 256

void hn_predictor_destroy(struct hn_predictor *p) {
    if (!p)
        return;
    hn_decoder_destroy(p->decoder);
    hn_compute_finish(&p->compute);
    hn_phase_finish(&p->phase);
    hn_params_finish(&p->params);
    hn_loaded_finish(&p->loaded);
    hn_spec_finish(&p->spec);
    free(p->key);
    free(p);
}

/* Parameters of the exported result: from the first export that holds them alone. */
static int read_exported(struct hn_predictor *p, const char *run_dir, struct hn_error *err) {
    char dir[4096];
    for (size_t i = 0; i < hn_n_exporters; i++) {
        snprintf(dir, sizeof dir, "%s/artifacts/%s", run_dir, hn_exporters[i].dir);
        if (!hn_exporters[i].is_model && access(dir, R_OK) == 0) {
            p->spec.labels.folded = true;
            return hn_exporters[i].read(&p->loaded, &p->params, dir, p->params.values, err);
        }
    }
    return hn_fail(err, HN_E_CONFLICT,
        "the job has no exported result yet; ask for \"step\":\"last\" while it runs");
}

/* Whether the exported result is a model of its own only: then its folder is opened in the base's
 * place. */
static bool is_merged_only(const char *run_dir, char *ret, size_t size) {
    bool model = false;
    for (size_t i = 0; i < hn_n_exporters; i++) {
        char dir[4096];
        snprintf(dir, sizeof dir, "%s/artifacts/%s", run_dir, hn_exporters[i].dir);
        if (access(dir, R_OK))
            continue;
        if (!hn_exporters[i].is_model)
            return false;
        if (!model)
            snprintf(ret, size, "%.4096s%s%s", dir, hn_exporters[i].file ? "/" : "",
                hn_exporters[i].file ? hn_exporters[i].file : "");
        model = true;
    }
    return model;
}

static int no_checkpoint(struct hn_error *err, size_t step) {
    hn_fail(err, HN_E_NOT_FOUND, "the job has no checkpoint of step %zu", step);
    hn_error_field(err, "step");
    hn_error_hint(err, "GET /jobs/{id}/checkpoints lists those that are kept; 0 is the beginning");
    return HN_E_NOT_FOUND;
}

/* Parameters as of a step; before the first one they are what the run began with. */
static int read_step(
    struct hn_predictor *p, const char *run_dir, size_t step, struct hn_error *err) {
    return step ? hn_checkpoint_read(run_dir, step, &p->params, NULL, NULL, err)
                : hn_loaded_start_params(&p->loaded, run_dir, &p->params, err);
}

/* `which`: "last", "best" or a step's number. */
static int read_checkpoint(
    struct hn_predictor *p, const char *run_dir, const json_t *which, struct hn_error *err) {
    size_t *steps = NULL, n = 0, wanted = (size_t)json_integer_value(which), last = 0;
    struct hn_progress progress = {0};
    bool found = json_is_integer(which) && wanted == 0;
    int rc = hn_checkpoint_list(run_dir, &steps, &n, err);
    for (size_t i = 0; !rc && i < n; i++) {
        last = steps[i];
        found = found || last == wanted;
    }
    free(steps);
    if (rc)
        return rc;
    if (json_is_integer(which))
        return found ? read_step(p, run_dir, wanted, err) : no_checkpoint(err, wanted);
    if (!last)
        return hn_fail(err, HN_E_CONFLICT, "the job has no checkpoint yet");
    rc = hn_checkpoint_read(run_dir, last, &p->params, &progress, NULL, err);
    if (!rc && strcmp(json_string_value(which), "best") == 0 && progress.has_best &&
        progress.best_step != last)
        rc = read_step(p, run_dir, progress.best_step, err);
    return rc;
}

static int read_source_spec(
    struct hn_predictor *p, const json_t *source, const char **run_dir, struct hn_error *err) {
    char path[4096];
    json_t *json = NULL;
    int rc = hn_json_string(source, "run_dir", run_dir, err);
    if (!rc && !*run_dir)
        rc = hn_fail(err, HN_E_MISSING_FIELD, "source.run_dir is missing");
    snprintf(path, sizeof path, "%s/spec.json", *run_dir ? *run_dir : "");
    if (!rc)
        rc = hn_json_load(path, 16 << 20, &json, err);
    return rc ? rc : hn_spec_read(&p->spec, json, err);
}

static int no_head(const struct hn_model *model, struct hn_error *err) {
    hn_fail(err, HN_E_UNSUPPORTED,
        "%s models are encoders, and this one has no head that could answer", model->config.family);
    hn_error_hint(err,
        "ask a job that was trained on it, or import a folder with a head, such as a job's "
        "merged/");
    return HN_E_UNSUPPORTED;
}

/* The day that templates write: the run's, so that it is asked as it was trained, else today. */
static void set_date(struct hn_predictor *p) {
    char *date = p->loaded.codec.date;
    size_t size = sizeof p->loaded.codec.date;
    time_t now = time(NULL);
    struct tm tm;
    if (p->spec.template_date)
        snprintf(date, size, "%s", p->spec.template_date);
    else if (gmtime_r(&now, &tm))
        strftime(date, size, "%Y-%m-%d", &tm);
}

/* `own`: the model's own head, if it was trained for a task; else that of the job. */
static int open_model(struct hn_predictor *p, const char *path, bool own, struct hn_error *err) {
    int rc = hn_model_open(&p->loaded.model, path, err);
    if (!rc && own)
        rc = hn_labels_of_model(&p->spec.labels, &p->loaded.model, err);
    if (!rc && own && p->spec.labels.objective == HN_OBJECTIVE_TOKENS &&
        p->loaded.model.arch->encoder)
        rc = no_head(&p->loaded.model, err);
    if (!rc)
        rc = hn_model_set_head(
            &p->loaded.model, p->spec.labels.objective, hn_labels_outputs(&p->spec.labels), err);
    if (!rc)
        rc = hn_labels_fit_head(&p->spec.labels, &p->loaded.model, err);
    if (!rc)
        rc = hn_codec_open(&p->loaded.model, &p->loaded.codec, err);
    if (!rc)
        set_date(p);
    p->loaded.codec.applied = !rc && hn_spec_applied(&p->spec);
    return rc;
}

/* A base alone: rows as long as it was made for, within reason; a head must be in its file. */
static int open_base(struct hn_predictor *p, const char *path, struct hn_error *err) {
    hn_hyperparams_defaults(&p->spec.hp);
    int rc = open_model(p, path, true, err);
    if (!rc && p->loaded.model.head.is_new)
        rc = hn_fail(
            err, HN_E_MODEL_INVALID, "the model's file lacks the head that its config.json names");
    return rc;
}

static int open_any(
    struct hn_predictor *p, const char *path, const json_t *source, struct hn_error *err) {
    const char *run_dir = NULL;
    char merged[4300];
    const json_t *step = json_object_get(source, "step");
    bool exported =
        !step || (json_is_string(step) && strcmp(json_string_value(step), "exported") == 0);
    p->loaded.spec = &p->spec;
    if (!json_is_object(source))
        return open_base(p, path, err);
    int rc = read_source_spec(p, source, &run_dir, err);
    if (rc)
        return rc;
    if (exported && is_merged_only(run_dir, merged, sizeof merged)) {
        p->spec.labels.folded = true;
        return open_model(p, merged, false, err);
    }
    rc = open_model(p, path, false, err);
    if (!rc)
        rc = hn_loaded_choose_params(&p->loaded, err);
    if (!rc)
        rc = hn_loaded_make_params(&p->loaded, &p->params, err);
    if (rc)
        return rc;
    return exported ? read_exported(p, run_dir, err) : read_checkpoint(p, run_dir, step, err);
}

void hn_predictor_fold(struct hn_predictor *p) {
    if (!p->spec.labels.folded && p->params.values)
        hn_loaded_fold_head(&p->loaded, p->params.values);
    p->spec.labels.folded = true;
}

size_t hn_predictor_limit(const struct hn_predictor *p) {
    return p->loaded.model.config.context < HN_ANSWER_CONTEXT ? p->loaded.model.config.context
                                                              : HN_ANSWER_CONTEXT;
}

/*
 * What is asked later is read as far as the model reads: a length that fits the training rows, as
 * "auto" chooses it, says nothing about it. Contexts of questions are read to their end in windows,
 * which have the length of the training's.
 */
static void choose_length(struct hn_predictor *p) {
    int64_t most = (int64_t)hn_predictor_limit(p), *length = &p->spec.hp.max_length;
    if (p->loaded.model.head.objective != HN_OBJECTIVE_SPAN)
        *length = most;
    else if (*length == HN_AUTO_INT)
        *length = most < HN_AUTO_WINDOW ? most : HN_AUTO_WINDOW;
}

static int open_predictor(
    struct hn_predictor *p, const char *path, const json_t *source, struct hn_error *err) {
    int rc = open_any(p, path, source, err);
    if (!rc)
        choose_length(p);
    return rc;
}

static void end_phase(struct hn_predictor *p) {
    hn_decoder_destroy(p->decoder);
    p->decoder = NULL;
    hn_compute_finish(&p->compute);
    hn_phase_finish(&p->phase);
    p->context = 0;
}

static int make_phase(struct hn_predictor *p, size_t context, size_t rows, struct hn_error *err) {
    unsigned threads = (unsigned)sysconf(_SC_NPROCESSORS_ONLN);
    end_phase(p);
    int rc = hn_sample_phase(&p->phase, &p->loaded.model,
        p->loaded.adapter.n ? &p->loaded.adapter : NULL, SLOTS, rows, threads, err);
    if (!rc)
        rc = hn_compute_init(&p->compute, threads, p->phase.plan.arena_bytes, HN_SAMPLE_CHUNK, err);
    p->context = rc ? 0 : context;
    return rc;
}

/* Room for `tokens` a sequence in the key-value cache: grown in powers of two, since most calls are
 * short. */
static int make_room(struct hn_predictor *p, size_t tokens, struct hn_error *err) {
    size_t limit = hn_predictor_limit(p), context = SMALLEST_CONTEXT;
    while (context < tokens)
        context *= 2;
    context = context < limit ? context : limit;
    return context <= p->context ? 0 : make_phase(p, context, SLOTS * context, err);
}

static struct hn_generator generator_of(struct hn_predictor *p) {
    return (struct hn_generator){.compute = &p->compute,
        .phase = &p->phase,
        .model = &p->loaded.model,
        .codec = &p->loaded.codec,
        .params = p->params.values,
        .slots = SLOTS,
        .context = p->context,
        .rows = p->phase.plan.caps.cache_rows};
}

/* Rows of the cache for SLOTS sequences of `context` tokens, as far as an eighth of the memory has
 * room for them; those of one at least. */
static size_t cache_rows(const struct hn_predictor *p, size_t context) {
    const struct hn_model_config *c = &p->loaded.model.config;
    size_t row = 2 * c->layers * c->kv_heads * c->head_dim * sizeof(float),
           memory = (size_t)sysconf(_SC_PHYS_PAGES) * (size_t)sysconf(_SC_PAGESIZE) / 8,
           most = row ? memory / row : context;
    most = most < SLOTS * context ? most : SLOTS * context;
    return most > context ? most : context;
}

int hn_predictor_decode(struct hn_predictor *p, struct hn_error *err) {
    size_t context = hn_predictor_limit(p);
    if (p->decoder)
        return 0;
    int rc = make_phase(p, context, cache_rows(p, context), err);
    p->generator = generator_of(p);
    return rc ? rc : hn_decoder_create(&p->generator, &p->decoder, err);
}

/* A model that was deleted and imported again under its name has the same path, but is another file
 * or folder. */
static char *key_of(const char *path, const json_t *source) {
    struct stat st = {0};
    if (stat(path, &st))
        st.st_ino = 0; /* opening it will say why */
    json_t *key =
        HN_JSON_OBJECT({"model", json_string(path)}, {"inode", json_integer((json_int_t)st.st_ino)},
            {"bytes", json_integer(st.st_size)}, {"changed", json_integer(st.st_mtim.tv_sec)},
            {"changed_ns", json_integer(st.st_mtim.tv_nsec)},
            {"source", hn_json_share_or_null(source)});
    char *text = key ? hn_json_canonical(key) : NULL;
    json_decref(key);
    return text;
}

/* Whether the source names a checkpoint that may be another one by now. */
static bool is_moving(const json_t *source) {
    const json_t *step = json_object_get(source, "step");
    const char *name = json_string_value(step);
    return step && !json_is_integer(step) && (!name || strcmp(name, "exported") != 0);
}

bool hn_predictor_is(const struct hn_predictor *kept, const char *path, const json_t *source) {
    char *text = kept && !is_moving(source) ? key_of(path, source) : NULL;
    bool same = text && strcmp(kept->key, text) == 0;
    free(text);
    return same;
}

/* The predictor for these parameters: the one kept from the last call, or a new one in its
 * place. */
int hn_predictor_find(
    struct hn_predictor **kept, const char *path, const json_t *source, struct hn_error *err) {
    if (hn_predictor_is(*kept, path, source))
        return 0;
    char *text = key_of(path, source);
    if (!text)
        return hn_fail(err, HN_E_INTERNAL, "out of memory");
    hn_predictor_destroy(*kept);
    *kept = NULL;
    struct hn_predictor *p = hn_calloc(1, sizeof *p);
    if (!p) {
        free(text);
        return hn_fail(err, HN_E_INTERNAL, "out of memory");
    }
    p->key = text;
    int rc = open_predictor(p, path, source, err);
    if (rc)
        hn_predictor_destroy(p);
    else
        *kept = p;
    return rc;
}

/* Room for rows of `tokens` tokens in the phase of a task's head. */
static int make_head_room(struct hn_predictor *p, size_t tokens, struct hn_error *err) {
    tokens = tokens > HN_PREDICT_TOKENS ? tokens : HN_PREDICT_TOKENS;
    if (tokens <= p->context)
        return 0;
    end_phase(p);
    int rc = hn_predict_phase(&p->phase, &p->loaded, tokens, err);
    if (!rc)
        rc = hn_compute_init(
            &p->compute, p->phase.plan.caps.threads, p->phase.plan.arena_bytes, tokens, err);
    p->context = rc ? 0 : tokens;
    return rc;
}

/* A text, or a list of them. */
static int read_stops(const json_t *stop, struct hn_sampling *w, struct hn_error *err) {
    size_t n = json_is_array(stop) ? json_array_size(stop) : stop && !json_is_null(stop);
    for (size_t i = 0; i < n; i++) {
        const char *text = json_string_value(json_is_array(stop) ? json_array_get(stop, i) : stop);
        if (!text || !*text || i >= HN_STOPS) {
            hn_fail(err, HN_E_INVALID_FIELD,
                "stop must be a text or a list of at most %d texts, none of them empty", HN_STOPS);
            hn_error_field(err, "stop");
            return HN_E_INVALID_FIELD;
        }
        w->stops[w->options.n_stop++] = text;
    }
    return 0;
}

int hn_sampling_read(
    const json_t *params, int64_t max_tokens, struct hn_sampling *w, struct hn_error *err) {
    int64_t top_k = 0, seed = 0, logprobs = -1;
    const json_t *stop = json_object_get(params, "stop");
    struct hn_generate_options *o = &w->options;
    *o = (struct hn_generate_options){.top_p = 1, .stop = w->stops};
    int rc = hn_json_int(params, "max_tokens", 1, HN_ANSWER_CONTEXT, &max_tokens, err);
    if (!rc)
        rc = hn_json_int(params, "top_k", 0, HN_TOP_K_MAX, &top_k, err);
    if (!rc)
        rc = hn_json_int(params, "seed", 0, INT64_MAX, &seed, err);
    if (!rc)
        rc = hn_json_number(params, "temperature", 0, 100, &o->temperature, err);
    if (!rc)
        rc = hn_json_number(params, "top_p", 0, 1, &o->top_p, err);
    if (!rc)
        rc = hn_json_number(params, "presence_penalty", -2, 2, &o->presence_penalty, err);
    if (!rc)
        rc = hn_json_number(params, "frequency_penalty", -2, 2, &o->frequency_penalty, err);
    if (!rc)
        rc = hn_json_int(params, "logprobs", 0, HN_TOP_LOGPROBS, &logprobs, err);
    if (!rc)
        rc = read_stops(stop, w, err);
    o->tell = logprobs >= 0;
    o->n_top = logprobs > 0 ? (size_t)logprobs : 0;
    o->max_tokens = (size_t)max_tokens;
    o->top_k = (size_t)top_k;
    o->seed = (uint64_t)seed;
    return rc;
}

int hn_predictor_generate(struct hn_predictor *p, const struct hn_prompt *prompts, size_t n,
    const struct hn_generate_options *options, struct hn_generated *results, hn_piece_fn *piece,
    void *user, struct hn_error *err) {
    struct hn_ids *ids = hn_calloc(n, sizeof *ids);
    struct hn_view *again = hn_calloc(n, sizeof *again);
    size_t longest = 0;
    for (size_t i = 0; ids && again && i < n; i++) {
        ids[i] = prompts[i].ids;
        again[i] = hn_prompt_again(&prompts[i]);
        longest = ids[i].n > longest ? ids[i].n : longest;
    }
    int rc = ids && again ? make_room(p, longest + options->max_tokens, err)
                          : hn_fail(err, HN_E_INTERNAL, "out of memory");
    struct hn_generator g = generator_of(p);
    g.again = again;
    if (!rc)
        rc = hn_generate(&g, ids, n, options, results, piece, user, err);
    free(ids);
    free(again);
    return rc;
}

bool hn_predictor_on_texts(const struct hn_predictor *p) {
    return !p->spec.train.chats &&
        (json_object_get(p->spec.train.columns, "completion") ||
            json_object_get(p->spec.train.columns, "text"));
}

int hn_predictor_answer(
    struct hn_predictor *p, const json_t *inputs, json_t **ret, struct hn_error *err) {
    struct hn_head_inputs in;
    int rc = hn_head_inputs_read(&in, &p->loaded, inputs, err);
    if (!rc)
        rc = make_head_room(p, in.longest, err);
    if (!rc)
        rc = hn_predict_head(&p->compute, &p->phase, &p->loaded, p->params.values, &in, ret, err);
    hn_head_inputs_finish(&in);
    return rc;
}
