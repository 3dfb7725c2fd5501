/*
 * A Hugging Face model folder: config.json and the safetensors files with the weights, one or
 * several (https://huggingface.co/docs/transformers/main_classes/model#sharded-checkpoints).
 */
#ifndef HN_ENGINE_FORMATS_FOLDER_H
#define HN_ENGINE_FORMATS_FOLDER_H

#include "engine/formats/gguf.h"
#include "engine/formats/safetensors.h"

#include <stdbool.h>

#define HN_FOLDER_INDEX "model.safetensors.index.json"
#define HN_FOLDER_TEMPLATES "additional_chat_templates"
#define HN_FOLDER_SHARDS 1000 /* files with weights, at most */

struct hn_folder {
    char dir[4096];
    json_t *config;
    struct hn_safetensors *shards; /* [n_shards] */
    size_t n_shards;
    char **names; /* [n_names] of tensors that the file spells otherwise */
    size_t n_names, names_capacity;
};

/* Owner calls hn_folder_close in every case. HN_E_MODEL_INVALID names the file that is missing or
 * damaged. */
int hn_folder_open(struct hn_folder *folder, const char *dir, struct hn_error *err);
/* Whether the folder has what makes it a model; else says what it is instead (hn_found_folder).
 * `others`: see there. */
int hn_folder_check(const char *dir, const json_t *others, struct hn_error *err);
/* Puts the method into the error, and is true, where config.json or the tensors' names tell that
 * the weights are quantised. Asked when they cannot be used as they are: a folder whose plain
 * weights carry a left-over of the kind in config.json is as good as any. */
bool hn_folder_refuse_quantised(const struct hn_folder *folder, struct hn_error *err);
/* A JSON file of a folder, with jansson's `flags`; *ret stays as it is where there is none. Of a
 * name that stands twice the last value counts, as in Python. Errors name line and column. */
int hn_folder_json(
    const char *dir, const char *name, size_t flags, json_t **ret, struct hn_error *err);
void hn_folder_close(struct hn_folder *folder);
const struct hn_safetensor *hn_folder_find(const struct hn_folder *folder, const char *name);
bool hn_is_folder(const char *path);
/*
 * The folder's tokenizer and chat template (tokenizer.json, tokenizer_config.json,
 * chat_template.jinja, generation_config.json) as the fields that a GGUF file would have for them,
 * so that everything behind knows one form only. HN_E_UNSUPPORTED names a part that has no such
 * form. Owner calls hn_gguf_close.
 */
int hn_folder_text(const struct hn_folder *folder, struct hn_gguf *ret, struct hn_error *err);

/* One hash for all files of the folder: of the lines "<sha256>  <name>\n", sorted by name; and the
 * sum of their sizes. */
int hn_folder_hash(
    const char *dir, char hex[HN_SHA256_HEX], uint64_t *ret_bytes, struct hn_error *err);

#endif
