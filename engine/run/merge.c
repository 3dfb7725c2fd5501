/* See merge.h. */
#include "engine/run/merge.h"
#include "engine/kernels/kernels.h"

#include <string.h>

void hn_merged_row(const struct hn_loaded *loaded, const struct hn_params *params,
    const struct hn_weight *w, size_t row, float *out) {
    const struct hn_adapter *adapter = &loaded->adapter;
    const struct hn_lora *lora = adapter->n ? hn_adapter_find(adapter, w) : NULL;
    if (w->param != SIZE_MAX) {
        memcpy(out, params->values + w->param + row * w->cols, w->cols * sizeof *out);
        return;
    }
    hn_weight_row(w, row, out);
    for (size_t i = 0; lora && i < adapter->rank; i++)
        hn_kernels()->axpy(out,
            (float)adapter->scale * params->values[lora->b + row * adapter->rank + i],
            params->values + lora->a + i * w->cols, w->cols);
}
