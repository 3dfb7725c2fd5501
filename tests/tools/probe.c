/*
 * Runs the engine's ops on token rows given as JSON and writes raw floats, for comparison with
 * other programs.
 *
 *   probe REQUEST.json
 *   {"model":PATH, "rows":[[id…]…], "weights":[[w…]…] (per token, as examples have them),
 *    "what":"logits"|"loss", "table":"fast"|"ref", "threads":N, "recompute":bool,
 *    "lora":{"hyperparameters":{…}, "values":PATH of raw
 * f32}|null, "full":bool (the base's own weights are trained), "steps":N, "learning_rate":R (N
 * steps of AdamW on these rows), "head":{"problem":N, "outputs":N, "targets":[[label…]…],
 * "types":[[…]…], "values":[[…]…]} (a task's head; targets, types and weights per token, values per
 * row), "dropout":R, "dump":PATH (the parameter vector at the start), "out":PATH (logits, or the
 * gradients of the parameter vector)} Prints
 * {"loss","losses","correct","params","arena_bytes","names":[{"name","a","b","rank","in","out"}],
 * "table":[{"name","offset","rows","cols"}]}.
 */
#include "engine/families/load.h"
#include "engine/run/batch.h"
#include "engine/kernels/blas.h"
#include "engine/export/export_tokenizer.h"
#include "engine/base/json.h"
#include "engine/kernels/kernels.h"
#include "engine/eval/metrics.h"
#include "engine/run/params.h"
#include "engine/graph/phase.h"
#include "engine/eval/text_metrics.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void check(int rc, const struct hn_error *err) {
    if (!rc)
        return;
    fprintf(stderr, "%s\n", err->message);
    exit(1);
}

/* {"what":"dequantise","type":ggml id,"table":"fast"|…,"blocks":PATH,"out":PATH} */
static int dequantise(const json_t *request) {
    struct hn_error err = {0};
    const char *blocks = "", *out = "", *table = "";
    int64_t type = 0;
    char *data = NULL;
    size_t size;
    hn_json_string(request, "blocks", &blocks, &err);
    hn_json_string(request, "out", &out, &err);
    hn_json_string(request, "table", &table, &err);
    hn_json_int(request, "type", 0, HN_DTYPES, &type, &err);
    const struct hn_dtype_info *info = hn_dtype_info((int)type);
    check(hn_file_read(blocks, 1 << 28, &data, &size, &err), &err);
    size_t n = size / info->bytes * info->block;
    float *values = hn_calloc(n, sizeof *values);
    void (*fast)(float *, const void *, size_t) = hn_kernels()->dequantise[type];
    (strcmp(table, "fast") == 0 && fast ? fast : info->dequantise)(values, data, n);
    FILE *f = fopen(out, "wb");
    if (!f || fwrite(values, sizeof *values, n, f) != n || fclose(f))
        return 3;
    puts("{}");
    free(values);
    free(data);
    return 0;
}

/* {"what":"metrics","problem":N,"outputs":K,"logits":PATH of raw f32,"truth":PATH of raw f32
 * (labels, or [n, K])} */
static int metrics(const json_t *request) {
    struct hn_error err = {0};
    const char *logits = "", *truth = "";
    int64_t problem = 0, k = 0;
    char *a = NULL, *b = NULL;
    size_t size, other;
    hn_json_string(request, "logits", &logits, &err);
    hn_json_string(request, "truth", &truth, &err);
    hn_json_int(request, "problem", 0, HN_OBJECTIVES - 1, &problem, &err);
    hn_json_int(request, "outputs", 1, 10000, &k, &err);
    check(hn_file_read(logits, 1 << 28, &a, &size, &err), &err);
    check(hn_file_read(truth, 1 << 28, &b, &other, &err), &err);
    size_t n = size / sizeof(float) / (size_t)k;
    const float *z = (const float *)(const void *)a, *y = (const float *)(const void *)b;
    json_t *out = json_object();
    int32_t *targets = hn_calloc(n, sizeof *targets);
    for (size_t i = 0; i < n; i++)
        targets[i] = (int32_t)y[i];
    if (problem == HN_OBJECTIVE_CLASSES)
        hn_metrics_classes(z, targets, n, (size_t)k, NULL, out);
    else if (problem == HN_OBJECTIVE_MULTI)
        hn_metrics_multi(z, y, n, (size_t)k, out);
    else
        hn_metrics_values(z, y, n, 1, out);
    json_dumpf(out, stdout, JSON_COMPACT);
    json_decref(out);
    free(targets);
    free(a);
    free(b);
    return 0;
}

/* {"what":"text_metrics","rows":[[answer,references]…]} → the metrics, and "scores" of each row. */
static int text_metrics(const json_t *request) {
    struct hn_text_metrics m = {.wanted = HN_TEXT_ALL};
    json_t *row, *out = json_object(), *scores = json_array();
    size_t i;
    json_array_foreach(json_object_get(request, "rows"), i, row) {
        json_t *score = json_object();
        hn_text_metrics_add(&m, json_array_get(row, 0), json_array_get(row, 1), score);
        json_array_append_new(scores, score);
    }
    hn_text_metrics_write(&m, out);
    json_object_set_new(out, "scores", scores);
    json_dumpf(out, stdout, JSON_COMPACT);
    json_decref(out);
    int status = m.failed;
    hn_text_metrics_finish(&m);
    return status;
}

/* {"what":"tokenizer","model":PATH,"out":FOLDER}: the exported tokenizer files of a GGUF file,
 * which needs no tensors. */
static int tokenizer(const char *model, const char *folder) {
    struct hn_error err = {0};
    struct hn_loaded loaded = {.model.config.context = 2048};
    check(hn_gguf_open(&loaded.model.gguf, model, &err), &err);
    check(hn_codec_from_gguf(&loaded.model.gguf, &loaded.codec, &err), &err);
    check(hn_tokenizer_files_write(&loaded, folder, &err), &err);
    hn_loaded_finish(&loaded);
    puts("{}");
    return 0;
}

int main(int argc, char **argv) {
    struct hn_error err = {0};
    json_t *request = NULL;
    if (argc != 2)
        return 2;
    check(hn_json_load(argv[1], 1 << 28, &request, &err), &err);
    const char *path = "", *what = "loss", *table_name = "fast", *out_path = NULL;
    int64_t threads = 1;
    bool recompute = false;
    hn_json_string(request, "model", &path, &err);
    hn_json_string(request, "what", &what, &err);
    hn_json_string(request, "table", &table_name, &err);
    hn_json_string(request, "out", &out_path, &err);
    if (strcmp(what, "dequantise") == 0) {
        int status = dequantise(request);
        json_decref(request);
        return status;
    }
    if (strcmp(what, "metrics") == 0) {
        int status = metrics(request);
        json_decref(request);
        return status;
    }
    if (strcmp(what, "text_metrics") == 0) {
        int status = text_metrics(request);
        json_decref(request);
        return status;
    }
    if (strcmp(what, "tokenizer") == 0) {
        int status = tokenizer(path, out_path);
        json_decref(request);
        return status;
    }
    hn_json_int(request, "threads", 1, 64, &threads, &err);
    hn_json_bool(request, "recompute", &recompute, &err);
    const struct hn_op_table *table =
        strcmp(table_name, "fast") == 0 ? &hn_ops_fast : &hn_ops_ref32;
    struct hn_model model;
    check(hn_blas_open(&err), &err);
    check(hn_model_open(&model, path, &err), &err);

    const json_t *head = json_object_get(request, "head");
    int64_t problem = 0, outputs = 0;
    hn_json_int(head, "problem", 0, HN_OBJECTIVES - 1, &problem, &err);
    hn_json_int(head, "outputs", 0, 1000, &outputs, &err);
    if (head)
        check(hn_model_set_head(&model, (enum hn_objective)problem, (size_t)outputs, &err), &err);

    struct hn_adapter adapter = {0};
    json_t *lora = json_object_get(request, "lora");
    struct hn_hyperparams hp;
    hn_hyperparams_defaults(&hp);
    if (json_is_object(lora)) {
        check(hn_hyperparams_read(&hp, json_object_get(lora, "hyperparameters"), "", &err), &err);
        check(hn_adapter_init(&adapter, &model, &hp, &err), &err);
    }
    bool full = json_is_true(json_object_get(request, "full"));
    struct hn_params vector;
    if (full)
        hn_params_assign(&model);
    else if (head)
        hn_params_assign_head(&model, adapter.n_params, !adapter.n);
    check(full ? hn_params_from_model(&vector, &model, &err)
               : hn_params_from_adapter(&vector, &adapter, &model, &err),
        &err);
    check(hn_params_add_optimizer(&vector, &err), &err);
    float *params = vector.values, *grads = vector.grads;
    if (adapter.n)
        hn_adapter_start(&adapter, &hp, params);
    hn_params_start(&model, (uint64_t)hp.seed, params);
    const char *values = NULL;
    hn_json_string(lora, "values", &values, &err);
    if (values) {
        FILE *f = fopen(values, "rb");
        if (!f || fread(params, sizeof *params, vector.size, f) != vector.size)
            return 3;
        fclose(f);
    }

    const char *dump = NULL;
    hn_json_string(request, "dump", &dump, &err);
    if (dump) {
        FILE *f = fopen(dump, "wb");
        if (!f || fwrite(params, sizeof *params, vector.size, f) != vector.size || fclose(f))
            return 3;
    }

    struct hn_examples ex = {0};
    json_t *rows = json_object_get(request, "rows"), *weights = json_object_get(request, "weights");
    size_t n = json_array_size(rows), total = 0;
    for (size_t i = 0; i < n; i++)
        total += json_array_size(json_array_get(rows, i));
    ex.tokens = hn_calloc(total, sizeof *ex.tokens);
    ex.weights = hn_calloc(total, sizeof *ex.weights);
    ex.starts = hn_calloc(n + 1, sizeof *ex.starts);
    double sum = 0;
    ex.aligned = head != NULL;
    ex.spans = problem == HN_OBJECTIVE_SPAN;
    ex.outputs = ex.spans ? 2 : (size_t)outputs;
    ex.targets = hn_calloc(total, sizeof *ex.targets);
    ex.types = hn_calloc(total, sizeof *ex.types);
    ex.values = hn_calloc(n * (ex.outputs + 1), sizeof *ex.values);
    const json_t *targets = json_object_get(head, "targets"),
                 *types = json_object_get(head, "types"),
                 *numbers = json_object_get(head, "values");
    for (size_t i = 0; i < n; i++)
        for (size_t k = 0; k < ex.outputs; k++)
            ex.values[i * ex.outputs + k] =
                (float)json_number_value(json_array_get(json_array_get(numbers, i), k));
    for (size_t i = 0, at = 0; i < n; i++) {
        json_t *row = json_array_get(rows, i), *w = json_array_get(weights, i);
        for (size_t k = 0; k < json_array_size(row); k++, at++) {
            ex.tokens[at] = (int32_t)json_integer_value(json_array_get(row, k));
            ex.weights[at] = weights ? (float)json_number_value(json_array_get(w, k)) : 1;
            sum += k || head ? (double)ex.weights[at] : 0;
            ex.targets[at] =
                (int32_t)json_integer_value(json_array_get(json_array_get(targets, i), k));
            ex.types[at] = (uint8_t)json_integer_value(json_array_get(json_array_get(types, i), k));
        }
        ex.starts[i + 1] = at;
    }
    ex.n_rows = n;

    bool logits = strcmp(what, "logits") == 0;
    double dropout = 0;
    hn_json_number(request, "dropout", 0, 1, &dropout, &err);
    struct hn_phase phase;
    struct hn_graph_options go = {.adapter = adapter.n ? &adapter : NULL,
        .logits = logits,
        .label_smoothing = hp.label_smoothing,
        .dropout = dropout,
        .attention_dropout = dropout,
        .head_dropout = dropout};
    struct hn_plan_options po = {.caps = {.dims = {total, total}, .threads = (unsigned)threads},
        .train = !logits,
        .recompute = recompute};
    check(hn_phase_make(&phase, &model, &go, &po, &err), &err);
    struct hn_batch_store store;
    check(hn_batch_init(&store, total, &err), &err);
    for (size_t i = 0; i < n; i++) {
        if (logits && !head)
            hn_batch_add_tokens(&store, ex.tokens + ex.starts[i], ex.starts[i + 1] - ex.starts[i],
                0, ex.starts[i + 1] - ex.starts[i]);
        else
            hn_batch_add(&store, &ex, i, (uint32_t)i, sum);
    }
    struct hn_loss_sums sums = {0};
    struct hn_exec x = {.plan = &phase.plan,
        .batch = &store.batch,
        .params = params,
        .grads = grads,
        .sums = &sums,
        .arena = hn_arena_create(phase.plan.arena_bytes),
        .dropout_on = !logits,
        .seed = (uint64_t)hp.seed,
        .dropout_step = 1};
    check(hn_pool_create((unsigned)threads, &x.pool, &err), &err);
    hn_exec_run(&x, table);
    int64_t steps = 0;
    double rate = 1e-3, first = sums.loss;
    json_t *losses = json_array();
    hn_json_int(request, "steps", 0, 10000, &steps, &err);
    hn_json_number(request, "learning_rate", 0, 1, &rate, &err);
    for (int64_t s = 1; s <= steps; s++) {
        json_array_append_new(losses, json_real(sums.loss));
        hn_params_update(
            &vector, &(struct hn_adamw_options){rate, 0.9, 0.999, 1e-8, 0, 1, (size_t)s}, x.pool);
        hn_params_zero_grads(&vector, x.pool);
        sums = (struct hn_loss_sums){0};
        hn_exec_run(&x, table);
    }
    if (out_path) {
        FILE *f = fopen(out_path, "wb");
        if (!f)
            return 3;
        if (logits)
            fwrite(hn_buffer(&x, phase.plan.logits), sizeof(float),
                hn_rows(&x, phase.plan.buffers[phase.plan.logits].dim) * model.head.outputs, f);
        else
            fwrite(grads, sizeof *grads, vector.size, f);
        fclose(f);
    }
    json_t *names = json_array();
    for (size_t i = 0; i < adapter.n; i++)
        json_array_append_new(names,
            json_pack("{s:s,s:I,s:I,s:I,s:I,s:I}", "name", adapter.loras[i].weight->hf_name, "a",
                (json_int_t)adapter.loras[i].a, "b", (json_int_t)adapter.loras[i].b, "rank",
                (json_int_t)adapter.rank, "in", (json_int_t)adapter.loras[i].weight->cols, "out",
                (json_int_t)adapter.loras[i].weight->rows));
    json_t *entries = json_array();
    for (size_t i = 0; i < vector.n; i++)
        json_array_append_new(entries,
            json_pack("{s:s,s:I,s:I,s:I}", "name", vector.table[i].name, "offset",
                (json_int_t)vector.table[i].offset, "rows", (json_int_t)vector.table[i].rows,
                "cols", (json_int_t)vector.table[i].cols));
    json_t *reply = json_pack("{s:f,s:o,s:o,s:I,s:I,s:I,s:o}", "loss", first, "losses", losses,
        "table", entries, "correct", (json_int_t)sums.correct, "params", (json_int_t)vector.size,
        "arena_bytes", (json_int_t)phase.plan.arena_bytes, "names", names);
    json_dumpf(reply, stdout, JSON_COMPACT);
    puts("");
    json_decref(reply);
    json_decref(request);
    hn_pool_destroy(x.pool);
    hn_arena_destroy(x.arena, phase.plan.arena_bytes);
    hn_batch_finish(&store);
    hn_phase_finish(&phase);
    hn_adapter_finish(&adapter);
    hn_model_close(&model);
    hn_examples_finish(&ex);
    hn_params_finish(&vector);
    return 0;
}
