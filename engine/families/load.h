/* Opening a model file or folder: which family it is, its configuration, its weights. */
#ifndef HN_ENGINE_FAMILIES_LOAD_H
#define HN_ENGINE_FAMILIES_LOAD_H

#include "engine/model/model.h"

/* `path` is a GGUF file or a Hugging Face folder. Owner calls hn_model_close in every case. */
int hn_model_open(struct hn_model *model, const char *path, struct hn_error *err);
/* Puts a task's head on the open model: its weights from the file where they are there in this
 * shape, else new ones, and marks what the task does without. HN_E_UNSUPPORTED when the family has
 * no such head. */
int hn_model_set_head(
    struct hn_model *model, enum hn_objective objective, size_t outputs, struct hn_error *err);
/* Only what text needs: the file, its family and context; no weights. */
int hn_model_peek(struct hn_model *model, const char *path, struct hn_error *err);
void hn_model_close(struct hn_model *model);
/* Gives the mapped pages back to the system until they are read again. */
void hn_model_release(const struct hn_model *model);
/* Transformers' rope_parameters for the frequencies of a GGUF file's model. New reference; NULL
 * when it has no settings that give them, or out of memory. */
json_t *hn_rope_describe(const struct hn_model *model);
/* config.json for Transformers: the folder's own, or made from the GGUF file's fields. New
 * reference, NULL when out of memory. */
json_t *hn_model_describe(const struct hn_model *model);

#endif
