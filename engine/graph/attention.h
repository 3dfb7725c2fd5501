/* Blockwise attention; see attention.c. */
#ifndef HN_ATTENTION_H
#define HN_ATTENTION_H

#include "engine/graph/ops.h"

/* Values of a thread's own room, and of the backward pass's work buffer for so many tokens. */
size_t hn_attention_scratch(size_t head_dim, bool backward);
size_t hn_attention_work(size_t heads, size_t head_dim, size_t tokens);

void hn_attention_forward(struct hn_exec *x, const struct hn_step *step);
void hn_attention_backward(struct hn_exec *x, const struct hn_step *step);

#endif
