/* embed: texts as vectors (eval/embed.h). */
#include "engine/eval/embed.h"
#include "engine/base/buf.h"
#include "engine/base/json.h"
#include "engine/families/load.h"
#include "engine/helper/call.h"
#include "engine/limits.h"

#include <stdlib.h>
#include <string.h>

static json_t *vector_json(const float *values, size_t n) {
    json_t *list = json_array();
    for (size_t i = 0; i < n; i++)
        json_array_append_new(list, hn_json_float(values[i]));
    return list;
}

/* Tokens that are read, those around the texts included. */
static int count_tokens(const struct hn_embedder *e, const char *const *texts, size_t n,
    size_t *ret, struct hn_error *err) {
    int rc = 0;
    for (size_t i = 0; !rc && i < n; i++) {
        struct hn_ids ids = {0};
        rc = hn_codec_encode_bare(e->codec, texts[i], strlen(texts[i]), &ids, err);
        size_t all = ids.n + hn_tokenizer_wrap_size(e->codec->tokenizer, false);
        *ret += all < e->longest ? all : e->longest;
        hn_ids_free(&ids);
    }
    return rc;
}

static int run(
    struct hn_embedder *e, const char *const *texts, size_t n, json_t **ret, struct hn_error *err) {
    size_t values, tokens = 0;
    float *vectors = hn_mul(n, e->width, &values) ? hn_calloc(values, sizeof *vectors) : NULL;
    int rc = vectors ? hn_embedder_run(e, texts, n, vectors, err)
                     : hn_fail(err, HN_E_INTERNAL, "out of memory");
    if (!rc)
        rc = count_tokens(e, texts, n, &tokens, err);
    json_t *data = json_array();
    for (size_t i = 0; !rc && i < n; i++)
        json_array_append_new(data, vector_json(vectors + i * e->width, e->width));
    free(vectors);
    if (rc)
        json_decref(data);
    else
        *ret = json_pack("{s:o, s:I}", "data", data, "tokens", (json_int_t)tokens);
    return rc;
}

static int read_texts(
    const json_t *params, const char ***ret, size_t *ret_n, struct hn_error *err) {
    const json_t *inputs = json_object_get(params, "inputs");
    size_t n = json_array_size(inputs);
    *ret_n = n;
    if (!n || n > HN_INPUTS_MAX)
        return hn_fail(err, HN_E_INVALID_FIELD, "there are 1 to %d texts", HN_INPUTS_MAX);
    if (!(*ret = hn_calloc(n, sizeof **ret)))
        return hn_fail(err, HN_E_INTERNAL, "out of memory");
    for (size_t i = 0; i < n; i++)
        if (!((*ret)[i] = json_string_value(json_array_get(inputs, i))))
            return hn_fail(err, HN_E_INVALID_FIELD, "input %zu is not a text", i + 1);
    return 0;
}

int hn_helper_embed(
    struct hn_helper_call *call, const json_t *params, json_t **ret, struct hn_error *err) {
    struct hn_model model = {0};
    struct hn_codec codec = {0};
    struct hn_embedder embedder = {0};
    const char *path, **texts = NULL;
    size_t n = 0;
    (void)call;
    int rc = hn_helper_path(json_object_get(params, "model"), &path, err);
    if (!rc)
        rc = read_texts(params, &texts, &n, err);
    if (!rc)
        rc = hn_model_open(&model, path, err);
    if (!rc)
        rc = hn_codec_open(&model, &codec, err);
    if (!rc)
        rc = hn_embedder_open(&embedder, &model, &codec, err);
    if (!rc)
        rc = run(&embedder, texts, n, ret, err);
    hn_embedder_close(&embedder);
    hn_codec_finish(&codec);
    hn_model_close(&model);
    free(texts);
    return rc;
}
