/* See ops.h. */
#include "engine/graph/ops.h"
#include "engine/base/pulse.h"

void hn_exec_run(struct hn_exec *x, const struct hn_op_table *table) {
    for (size_t i = 0; i < x->plan->n_steps; i++) {
        const struct hn_step *step = &x->plan->steps[i];
        hn_pulse();
        (step->backward ? table->backward : table->forward)[step->op->kind](x, step);
    }
}
