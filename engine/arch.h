/*
 * The list of model families, and what their descriptions share.
 */
#ifndef HN_ARCH_H
#define HN_ARCH_H

#include "engine/model.h"

extern const struct hn_arch hn_arch_llama;

/* Reads the sizes that all decoder families keep under the same GGUF keys ("<arch>.block_count" …), with ceilings. */
int hn_arch_read_sizes(struct hn_model *model, struct hn_error *err);
const struct hn_arch *hn_arch_find(struct hn_view gguf_arch); /* NULL when unknown */
/* "llama, …" for messages. */
const char *hn_arch_list(void);

#endif
