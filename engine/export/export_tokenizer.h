/*
 * The base's tokenizer as Hugging Face files beside an export: tokenizer.json,
 * tokenizer_config.json, special_tokens_map.json and chat_template.jinja, made from a GGUF file's
 * metadata.
 */
#ifndef HN_ENGINE_EXPORT_EXPORT_TOKENIZER_H
#define HN_ENGINE_EXPORT_EXPORT_TOKENIZER_H

#include "engine/run/run.h"

/* Writes the files into `dir`. A tokenizer that cannot be said in these files (its texts are not
 * UTF-8) is left out: adapters load without. Bytes depend on the model file only. */
int hn_tokenizer_files_write(const struct hn_run *run, const char *dir, struct hn_error *err);

#endif
