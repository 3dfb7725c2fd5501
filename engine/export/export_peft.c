/* PEFT's adapter folder: adapter_model.safetensors, adapter_config.json, README.md, tokenizer
 * files; see export.h. */
#include "engine/base/json.h"
#include "engine/model/objective.h"
#include "engine/base/buf.h"
#include "engine/export/export.h"
#include "engine/export/export_tokenizer.h"
#include "engine/base/file.h"
#include "engine/formats/safetensors.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define PREFIX "base_model.model."

static bool is_b(const struct hn_param *param) {
    return strstr(param->name, ".lora_B.");
}

/* Copies a parameter between the engine's row order and Hugging Face's. */
static void reorder(const struct hn_model_config *config, const struct hn_param *param,
    const float *from, float *to, bool to_hf) {
    for (size_t r = 0; r < param->rows; r++) {
        size_t hf = is_b(param) ? hn_row_to_hf(config, param->weight, r) : r;
        memcpy(to + (to_hf ? hf : r) * param->cols, from + (to_hf ? r : hf) * param->cols,
            param->cols * sizeof *to);
    }
}

static int write_tensors(const struct hn_loaded *loaded, const struct hn_params *params,
    const char *path, struct hn_error *err) {
    struct hn_safetensor_out *out = hn_calloc(params->n, sizeof *out);
    char(*names)[HN_NAME + 48] = hn_calloc(params->n, sizeof *names);
    float *values = hn_calloc(params->size, sizeof *values);
    int rc = out && names && values ? 0 : hn_fail(err, HN_E_INTERNAL, "out of memory");
    for (size_t i = 0; !rc && i < params->n; i++) {
        const struct hn_param *p = &params->table[i];
        reorder(&loaded->model.config, p, params->values + p->offset, values + p->offset, true);
        snprintf(names[i], sizeof names[i], PREFIX "%s", p->name);
        out[i] = (struct hn_safetensor_out){.name = names[i],
            .n_dims = p->weight->vector ? 1 : 2,
            .dims = {p->weight->vector ? p->cols : p->rows, p->weight->vector ? 0 : p->cols},
            .type = HN_F32,
            .values = values + p->offset};
    }
    json_t *metadata = hn_export_provenance(loaded);
    if (!rc)
        rc = hn_safetensors_write(path, out, params->n, metadata, NULL, NULL, err);
    json_decref(metadata);
    free(out);
    free(names);
    free(values);
    return rc;
}

static bool holds(const json_t *list, const char *name) {
    for (size_t i = 0; i < json_array_size(list); i++)
        if (strcmp(json_string_value(json_array_get(list, i)), name) == 0)
            return true;
    return false;
}

/* Short names of the adapted modules, each once, in the order of the family's table. */
static json_t *target_modules(const struct hn_loaded *loaded) {
    json_t *list = json_array();
    for (int role = 0; role < HN_ROLES; role++)
        for (size_t i = 0; i < loaded->adapter.n; i++)
            if (loaded->adapter.loras[i].weight->role == (enum hn_role)role) {
                const char *module = loaded->model.arch->names[role].module;
                if (!holds(list, module))
                    json_array_append_new(list, json_string(module));
                break;
            }
    return list;
}

/* PEFT's fan_in_fan_out: the base's matrices are stored [in, out] (GPT-2's Conv1D). */
static bool is_transposed(const struct hn_loaded *loaded) {
    for (size_t i = 0; i < loaded->adapter.n; i++)
        if (loaded->model.arch->names[loaded->adapter.loras[i].weight->role].transposed)
            return true;
    return false;
}

/* PEFT wants numbers as it writes them itself: a whole alpha as an integer (Ollama refuses
 * "32.0"). */
static json_t *number(double value) {
    return value >= 0 && value < 1e9 && value - (double)(json_int_t)value <= 0
        ? json_integer((json_int_t)value)
        : json_real(value);
}

/* Modules that are trained as a whole, the head; null without one. */
static json_t *saved_modules(const struct hn_loaded *loaded) {
    const struct hn_head_names *names = loaded->model.head.names;
    const struct hn_weight *pooler = loaded->model.by_role[HN_ROLE_POOLER];
    json_t *list = names ? json_array() : json_null();
    for (const char *s = names ? names->saved : ""; *s;) {
        size_t n = strcspn(s, ",");
        json_array_append_new(list, json_stringn(s, n));
        s += n + (s[n] == ',');
    }
    if (names && pooler && pooler->param != SIZE_MAX)
        json_array_append_new(list, json_string("pooler"));
    return list;
}

static const char *task_type(const struct hn_loaded *loaded) {
    return hn_objectives[loaded->model.head.objective].peft_type;
}

static json_t *make_config(const struct hn_loaded *loaded) {
    const struct hn_hyperparams *hp = &loaded->spec->hp;
    return HN_JSON_OBJECT({"peft_type", json_string("LORA")},
        {"task_type", json_string(task_type(loaded))},
        {"base_model_name_or_path", hn_base_source(loaded)}, {"revision", json_null()},
        {"inference_mode", json_boolean(1)}, {"r", json_integer(hp->lora_rank)},
        {"lora_alpha", number(hp->lora_alpha)}, {"lora_dropout", json_real(hp->lora_dropout)},
        {"target_modules", target_modules(loaded)}, {"bias", json_string("none")},
        {"fan_in_fan_out", json_boolean(is_transposed(loaded))},
        {"use_rslora", json_boolean(hp->rslora)}, {"use_dora", json_boolean(0)},
        {"init_lora_weights", json_boolean(1)}, {"modules_to_save", saved_modules(loaded)},
        {"rank_pattern", json_object()}, {"alpha_pattern", json_object()},
        {"layers_to_transform", json_null()}, {"layers_pattern", json_null()});
}

/* What the base's configuration has to say instead of its own labels. */
static void tell_labels(const struct hn_loaded *loaded, struct hn_buf *text) {
    const json_t *names = loaded->spec->labels.names;
    for (size_t i = 0; i < json_array_size(names); i++) {
        char *name = json_dumps(json_array_get(names, i), JSON_ENCODE_ANY | JSON_ENSURE_ASCII);
        hn_buf_printf(text, "%s%zu: %s", i ? ", " : ", id2label={", i, name ? name : "\"\"");
        free(name);
    }
    if (json_array_size(names))
        hn_buf_text(text, "}");
}

/* How to load the base that the adapter goes on. */
static void tell_loading(const struct hn_loaded *loaded, struct hn_buf *text) {
    const struct hn_head *head = &loaded->model.head;
    if (!head->names) {
        hn_buf_text(text,
            "- With llama.cpp: `llama-server -m BASE.gguf --lora adapter.gguf` (the `gguf` folder "
            "of the same job).\n"
            "- With PEFT: load the base with Transformers, for the same GGUF file by\n"
            "  `AutoModelForCausalLM.from_pretrained(FOLDER, gguf_file=\"BASE.gguf\")`, then "
            "`PeftModel.from_pretrained(model, THIS_FOLDER)`.\n\n");
        return;
    }
    bool types = head->objective == HN_OBJECTIVE_SPAN && loaded->model.config.token_types > 1;
    hn_buf_printf(text, "- With PEFT: `model = %s.from_pretrained(BASE, num_labels=%zu",
        hn_export_class(loaded), head->outputs);
    tell_labels(loaded, text);
    if (head->reshaped)
        hn_buf_text(text, ", ignore_mismatched_sizes=True");
    hn_buf_printf(text,
        ")`, then\n  `PeftModel.from_pretrained(model, THIS_FOLDER)`. The head is in the "
        "adapter%s.\n\n",
        head->reshaped ? ", in place of the base's own, which has another number of labels" : "");
    if (types)
        hn_buf_text(text,
            "- Ask it by `model.base_model(**inputs)`: PEFT's own call leaves `token_type_ids` "
            "out.\n\n");
}

static int write_readme(const struct hn_loaded *loaded, const char *path, struct hn_error *err) {
    char base[256];
    struct hn_buf text = {0};
    hn_base_name(&loaded->model, base, sizeof base);
    hn_buf_printf(&text,
        "---\nlibrary_name: peft\n---\n# LoRA adapter of %s\n\n"
        "Trained on the base model as it is stored: %s, sha256 `%s`. Answers are the trainer's own "
        "over exactly that base;\n"
        "over another precision of the same model they are near.\n\n",
        base, loaded->model.quantisation, loaded->spec->model_sha256);
    tell_loading(loaded, &text);
    hn_buf_printf(&text, "Rank %lld, alpha %.10g%s. Run `%s`, training data sha256 `%s`.\n",
        (long long)loaded->spec->hp.lora_rank, loaded->spec->hp.lora_alpha,
        loaded->spec->hp.rslora ? " (rank-stabilised)" : "", loaded->spec->run_sha256,
        loaded->spec->train.sha256 ? loaded->spec->train.sha256 : "");
    return hn_export_text(path, &text, err);
}

int hn_peft_write(const struct hn_loaded *loaded, const struct hn_params *params, const char *dir,
    struct hn_error *err) {
    char path[4096];
    snprintf(path, sizeof path, "%s/adapter_model.safetensors", dir);
    int rc = write_tensors(loaded, params, path, err);
    snprintf(path, sizeof path, "%s/adapter_config.json", dir);
    if (!rc)
        rc = hn_export_json(path, make_config(loaded), err);
    snprintf(path, sizeof path, "%s/README.md", dir);
    if (!rc)
        rc = write_readme(loaded, path, err);
    return rc ? rc : hn_tokenizer_files_write(loaded, dir, err);
}

int hn_peft_read(const struct hn_loaded *loaded, const struct hn_params *params, const char *dir,
    float *values, struct hn_error *err) {
    char path[4096], name[HN_NAME + 48];
    struct hn_safetensors st;
    snprintf(path, sizeof path, "%s/adapter_model.safetensors", dir);
    int rc = hn_safetensors_open(&st, path, err);
    for (size_t i = 0; !rc && i < params->n; i++) {
        const struct hn_param *p = &params->table[i];
        snprintf(name, sizeof name, PREFIX "%s", p->name);
        const struct hn_safetensor *t = hn_safetensors_find(&st, name);
        bool vector = p->weight->vector;
        if (!t || t->type != HN_F32 || t->n_dims != (vector ? 1 : 2) ||
            t->dims[0] != (vector ? p->cols : p->rows) || (!vector && t->dims[1] != p->cols))
            rc = hn_fail(err, HN_E_EXPORT_MISMATCH, "%s: tensor %s is missing or has another shape",
                path, name);
        else
            reorder(&loaded->model.config, p, (const float *)(const void *)t->data,
                values + p->offset, false);
    }
    hn_safetensors_close(&st);
    return rc;
}
