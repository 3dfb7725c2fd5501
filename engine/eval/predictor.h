/*
 * The model that a helper has open for predictions and evaluations: a base, or a job's result over
 * it. It stays open between calls; another one takes its place.
 */
#ifndef HN_ENGINE_EVAL_PREDICTOR_H
#define HN_ENGINE_EVAL_PREDICTOR_H

#include "engine/data/prompt.h"
#include "engine/run/compute.h"
#include "engine/eval/generate.h"
#include "engine/run/loaded.h"

struct hn_predictor {
    char *key; /* canonical text of model and source */
    struct hn_spec spec;
    struct hn_loaded loaded;
    struct hn_params params;
    struct hn_phase phase; /* of predictions, with `context` tokens of room */
    struct hn_compute compute;
    size_t context;
    struct hn_generator generator; /* of the decoder, which is kept between calls; or NULL */
    struct hn_decoder *decoder;
};

/* Makes *kept the predictor for these parameters: the one that it is already, or a new one in its
 * place. source: {"run_dir","step"}, or NULL for the base alone. */
int hn_predictor_find(
    struct hn_predictor **kept, const char *path, const json_t *source, struct hn_error *err);
/* Whether it is the predictor for these parameters. */
bool hn_predictor_is(const struct hn_predictor *kept, const char *path, const json_t *source);
void hn_predictor_destroy(struct hn_predictor *predictor);

enum {
    HN_STOPS = 16,
    HN_ANSWER_CONTEXT = 4096
}; /* texts that end an answer; tokens of a sequence */

/* How answers are written, as a request says it. `stops` are borrowed from it. */
struct hn_sampling {
    struct hn_generate_options options; /* points into the same object */
    const char *stops[HN_STOPS];
};
/* "max_tokens" (or as given), "temperature", "top_p", "top_k", "seed", "stop", "presence_penalty",
 * "frequency_penalty", "logprobs" (how many of the likeliest tokens to tell of). */
int hn_sampling_read(
    const json_t *params, int64_t max_tokens, struct hn_sampling *ret, struct hn_error *err);
/* Gives a head of values the labels' own unit, as exports have it. */
void hn_predictor_fold(struct hn_predictor *predictor);
/* Tokens that a prompt and its answer may have together. */
size_t hn_predictor_limit(const struct hn_predictor *predictor);
/* hn_generate with the predictor's model, and room made for these prompts. */
int hn_predictor_generate(struct hn_predictor *predictor, const struct hn_prompt *prompts, size_t n,
    const struct hn_generate_options *options, struct hn_generated *results, hn_piece_fn *piece,
    void *user, struct hn_error *err);
/* Makes predictor->decoder, with room for sequences of hn_predictor_limit tokens, unless it is
 * there. The cache is as large as SLOTS of them need, or an eighth of the memory allows. */
int hn_predictor_decode(struct hn_predictor *predictor, struct hn_error *err);
/* Whether the run was trained on bare texts: then a text is asked as it stands, not as a user's
 * message of a chat. */
bool hn_predictor_on_texts(const struct hn_predictor *predictor);
/* The answers of a task's head to the inputs of a request. New reference. */
int hn_predictor_answer(
    struct hn_predictor *predictor, const json_t *inputs, json_t **ret, struct hn_error *err);

#endif
