/* The base's tokenizer as the files that Transformers loads; see export_tokenizer.c. */
#ifndef HN_EXPORT_TOKENIZER_H
#define HN_EXPORT_TOKENIZER_H

#include "engine/error.h"
#include "engine/gguf.h"

/* Writes tokenizer.json, tokenizer_config.json, special_tokens_map.json and, where the model has a chat template,
 * chat_template.jinja into `dir`. `context` is the longest sequence. A tokenizer whose way of cutting words has no known
 * spelling in tokenizer.json gets no files at all: wrong ids would be worse than none. */
int hn_tokenizer_export(const struct hn_gguf *gguf, size_t context, const char *dir, struct hn_error *err);

#endif
