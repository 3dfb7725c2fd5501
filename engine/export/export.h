/*
 * Room engine/export. Trained parameters become files that other software loads, and are read back.
 *
 * Nouns: exporter (a format: a row of a table), merged weights.
 * Ownership: Files are written into a folder that the caller gives and publishes.
 * May include: engine/base engine/data engine/families engine/formats engine/model engine/run
 *   engine/tokenizer.
 */

/*
 * Exports: the finished run's parameters in the formats other software loads, and reading them
 * back.
 *
 * Each export is one row: how it is written into a folder, and how parameters are read from it
 * again, independently of the values in memory. Row orders: the engine trains in the base file's
 * order; Hugging Face formats of a GGUF base of architecture llama need the rows of query and key
 * matrices un-permuted (hn_row_to_hf). Layouts: PEFT's save_pretrained (LoRA), llama.cpp's
 * convert_lora_to_gguf.py, Transformers' save_pretrained (merged).
 */
#ifndef HN_ENGINE_EXPORT_EXPORT_H
#define HN_ENGINE_EXPORT_EXPORT_H

#include "engine/run/params.h"
#include "engine/run/loaded.h"

struct hn_exporter {
    enum hn_export bit;
    const char *dir;  /* below artifacts/ */
    const char *file; /* of a model: what is opened below dir; NULL: dir itself */
    /* a model of its own, read back by opening it; else `read` fills the trained parameters */
    bool is_model;
    int (*write)(const struct hn_loaded *loaded, const struct hn_params *params, const char *dir,
        struct hn_error *err);
    /* Fills values[params->size] from the folder. NULL for models. */
    int (*read)(const struct hn_loaded *loaded, const struct hn_params *params, const char *dir,
        float *values, struct hn_error *err);
};

extern const struct hn_exporter hn_exporters[];
extern const size_t hn_n_exporters;

/* Row of the Hugging Face matrix that the engine's row `row` of this weight becomes. */
size_t hn_row_to_hf(
    const struct hn_model_config *config, const struct hn_weight *weight, size_t row);
/* Row of the GGUF matrix that it becomes: differs where a Hugging Face folder goes into
 * architecture llama. */
size_t hn_row_to_gguf(const struct hn_model *model, const struct hn_weight *weight, size_t row);
/* {"hone.run","hone.base","hone.data"}: hashes that go into an artifact's metadata. New
 * reference. */
json_t *hn_export_provenance(const struct hn_loaded *loaded);
/* Adds {"path","size","sha256"} of each file in root/dir to `files`, sorted by name; paths are
 * relative to root. */
int hn_export_list(const char *root, const char *dir, json_t *files, struct hn_error *err);
/* The same of one file. New reference in *ret. */
int hn_export_file(const char *root, const char *path, json_t **ret, struct hn_error *err);
/* Writes `json`, which is given away (NULL: out of memory). */
int hn_export_json(const char *path, json_t *json, struct hn_error *err);
/* Writes `text` and frees it. */
int hn_export_text(const char *path, struct hn_buf *text, struct hn_error *err);
/* Sets what config.json says of a task's head: class, labels, kind of problem. Nothing without
 * one. */
void hn_export_head(const struct hn_loaded *loaded, json_t *config);
/* The Transformers class that loads the result: "AutoModelForCausalLM" … */
const char *hn_export_class(const struct hn_loaded *loaded);
/* The base model's own name for people: general.name, or its family. */
void hn_base_name(const struct hn_model *model, char *out, size_t size);

/* Where the base comes from, for base_model_name_or_path: the import's source if that says more
 * than a path on this machine, else what the model's files say; null when nobody does. */
json_t *hn_base_source(const struct hn_loaded *loaded);

int hn_peft_write(const struct hn_loaded *loaded, const struct hn_params *params, const char *dir,
    struct hn_error *err);
int hn_peft_read(const struct hn_loaded *loaded, const struct hn_params *params, const char *dir,
    float *values, struct hn_error *err);
int hn_gguf_adapter_write(const struct hn_loaded *loaded, const struct hn_params *params,
    const char *dir, struct hn_error *err);
int hn_gguf_adapter_read(const struct hn_loaded *loaded, const struct hn_params *params,
    const char *dir, float *values, struct hn_error *err);
/* HN_E_UNSUPPORTED, for the field exports, when a GGUF file cannot say what the model does. */
int hn_merged_gguf_check(const struct hn_model *model, struct hn_error *err);
/* Type in which the file holds a weight. */
enum hn_dtype hn_merged_gguf_type(const struct hn_loaded *loaded, const struct hn_weight *weight);
int hn_merged_gguf_write(const struct hn_loaded *loaded, const struct hn_params *params,
    const char *dir, struct hn_error *err);
/* HN_E_INVALID_FIELD, for max_shard_bytes, when the weights would lie in more files than a folder
 * may have; HN_E_UNSUPPORTED, for the field exports, when config.json cannot say what the model
 * does. */
int hn_merged_check(const struct hn_loaded *loaded, struct hn_error *err);
int hn_merged_write(const struct hn_loaded *loaded, const struct hn_params *params, const char *dir,
    struct hn_error *err);

#endif
