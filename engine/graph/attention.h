/* Blockwise attention; see attention.c. */
#ifndef HN_ENGINE_GRAPH_ATTENTION_H
#define HN_ENGINE_GRAPH_ATTENTION_H

#include "engine/graph/ops.h"

void hn_attention_forward(struct hn_exec *x, const struct hn_step *step);
void hn_attention_backward(struct hn_exec *x, const struct hn_step *step);

#endif
