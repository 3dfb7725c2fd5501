/*
 * From graph to steps and addresses; see plan.h.
 *
 * Forward steps come in the graph's order. Backward steps come in reverse; when one reads a value
 * that was not kept, the op that made it is run again just before, into fresh buffers ("clones"),
 * and so on for that op's own inputs. What is kept is one predicate, `is_kept`; everything else
 * follows. Aliases: an in-place op shares its input's buffer, and a residual's gradient is the
 * gradient of the sum itself, so no copy is made of either.
 */
#include "engine/graph/plan.h"
#include "engine/base/buf.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#define ALIGN 64

struct builder {
    struct hn_plan *plan;
    const struct hn_graph *graph;
    const struct hn_plan_options *options;
    int *producer;   /* [tensors] op that makes it */
    int *consumers;  /* [tensors] how many ops read it */
    bool *crosses;   /* [tensors] read by an op of another layer */
    bool *grad;      /* [tensors] a gradient flows through it */
    bool *read_back; /* [tensors] some backward step reads its value */
    int *value;      /* [tensors] buffer of the forward value */
    int *clone;      /* [tensors] buffer of the recomputed value, or -1 */
    int *gradient;   /* [tensors] buffer of its gradient, or -1 */
    bool failed;
};

static bool weight_trained(const struct hn_weight *weight) {
    return weight && weight->param != SIZE_MAX;
}

static bool op_trained(const struct hn_op *op) {
    switch (op->kind) {
    case HN_OP_EMBED:
        return weight_trained(op->attr.embed.weight);
    case HN_OP_RMSNORM:
    case HN_OP_LAYERNORM:
        return weight_trained(op->attr.norm.weight);
    case HN_OP_HEADNORM:
        return weight_trained(op->attr.head_norm.q);
    case HN_OP_LOSS:
        return weight_trained(op->attr.head.weight);
    case HN_OP_LINEAR:
        for (size_t p = 0; p < op->attr.linear.n_parts; p++)
            if (weight_trained(op->attr.linear.weights[p]))
                return true;
        return op->attr.linear.n_adapted > 0;
    default:
        return false;
    }
}

/* Inputs of a linear op are needed for the gradients of its weights only. */
static unsigned reads_in(const struct hn_op *op) {
    return op->kind == HN_OP_LINEAR && !op_trained(op) ? 0 : hn_op_infos[op->kind].reads_in;
}

static bool has_gradient(const struct builder *b, int tensor) {
    return tensor >= 0 && b->grad[tensor];
}

static bool needs_backward(const struct builder *b, const struct hn_op *op) {
    bool flows = op_trained(op);
    for (int i = 0; i < HN_OP_IN; i++)
        flows |= has_gradient(b, op->in[i]);
    return flows;
}

static void analyse(struct builder *b) {
    for (size_t i = 0; i < b->graph->n_ops; i++) {
        const struct hn_op *op = &b->graph->ops[i];
        bool flows = b->options->train && needs_backward(b, op);
        for (int k = 0; k < HN_OP_IN; k++) {
            if (op->in[k] < 0)
                continue;
            b->consumers[op->in[k]]++;
            b->crosses[op->in[k]] |= b->graph->ops[b->producer[op->in[k]]].layer != op->layer;
            b->read_back[op->in[k]] |= flows && (reads_in(op) >> k & 1);
        }
        for (int k = 0; k < HN_OP_OUT; k++) {
            if (op->out[k] < 0)
                continue;
            b->producer[op->out[k]] = (int)i;
            b->grad[op->out[k]] = flows && k == 0;
            b->read_back[op->out[k]] |= flows && (hn_op_infos[op->kind].reads_out >> k & 1);
        }
    }
}

static bool is_kept(const struct builder *b, int tensor) {
    const struct hn_op *op = &b->graph->ops[b->producer[tensor]];
    /* A residual stream, or all layers' outputs, recomputed would lead back to the beginning. */
    if (hn_op_infos[op->kind].cheap && op->in[1] < 0 &&
        !(b->options->recompute && b->crosses[tensor]))
        return false;
    return !b->options->recompute || op->layer < 0 || b->crosses[tensor];
}

static bool works_in_place(const struct builder *b, const struct hn_op *op) {
    const struct hn_op *maker = op->in[0] < 0 ? NULL : &b->graph->ops[b->producer[op->in[0]]];
    return maker && hn_op_infos[op->kind].in_place && b->consumers[op->in[0]] == 1 &&
        !(hn_op_infos[maker->kind].reads_out & 1) && !(reads_in(op) & 1);
}

static int add_buffer(struct builder *b, enum hn_dim dim, size_t cols, size_t rows) {
    struct hn_plan *plan = b->plan;
    size_t bytes;
    if (b->failed ||
        !hn_grow(
            &plan->buffers, &plan->buffers_capacity, plan->n_buffers + 1, sizeof *plan->buffers) ||
        !hn_mul(rows, cols, &bytes) || !hn_mul(bytes, plan->value_bytes, &bytes) ||
        bytes > SIZE_MAX / 4) {
        b->failed = true;
        return 0;
    }
    plan->buffers[plan->n_buffers] = (struct hn_plan_buffer){
        .bytes = (bytes + ALIGN - 1) / ALIGN * ALIGN, .first = SIZE_MAX, .cols = cols, .dim = dim};
    return (int)plan->n_buffers++;
}

static int buffer_for(struct builder *b, int tensor) {
    const struct hn_tensor *t = &b->graph->tensors[tensor];
    return add_buffer(b, t->dim, t->cols, b->plan->caps.dims[t->dim]);
}

static void touch(struct hn_plan *plan, int buffer, size_t step) {
    if (buffer < 0)
        return;
    struct hn_plan_buffer *p = &plan->buffers[buffer];
    p->first = p->first < step ? p->first : step;
    p->last = p->last > step ? p->last : step;
}

static void add_step(struct builder *b, struct hn_step step) {
    struct hn_plan *plan = b->plan;
    size_t work = hn_op_work(step.op, step.backward, &plan->caps);
    step.work = work ? add_buffer(b, HN_DIM_TOKENS, work, 1) : -1;
    if (b->failed ||
        !hn_grow(&plan->steps, &plan->steps_capacity, plan->n_steps + 1, sizeof *plan->steps)) {
        b->failed = true;
        return;
    }
    size_t n = plan->n_steps++;
    plan->steps[n] = step;
    for (int i = 0; i < HN_OP_IN; i++) {
        touch(plan, step.in[i], n);
        touch(plan, step.din[i], n);
    }
    for (int i = 0; i < HN_OP_OUT; i++) {
        touch(plan, step.out[i], n);
        touch(plan, step.dout[i], n);
    }
    touch(plan, step.work, n);
    size_t scratch = hn_op_scratch(step.op, step.backward) * plan->value_bytes;
    scratch = (scratch + ALIGN - 1) / ALIGN * ALIGN;
    if (scratch > plan->scratch_bytes)
        plan->scratch_bytes = scratch;
}

static struct hn_step empty_step(const struct hn_op *op, bool backward) {
    return (struct hn_step){.op = op,
        .backward = backward,
        .in = {-1, -1},
        .out = {-1, -1},
        .din = {-1, -1},
        .dout = {-1, -1},
        .work = -1};
}

static void add_forward(struct builder *b, const struct hn_op *op) {
    if (b->options->train && hn_op_infos[op->kind].at_once)
        return;
    struct hn_step step = empty_step(op, false);
    for (int i = 0; i < HN_OP_IN; i++)
        step.in[i] = op->in[i] < 0 ? -1 : b->value[op->in[i]];
    for (int i = 0; i < HN_OP_OUT; i++) {
        if (op->out[i] < 0)
            continue;
        b->value[op->out[i]] =
            i == 0 && works_in_place(b, op) ? step.in[0] : buffer_for(b, op->out[i]);
        step.out[i] = b->value[op->out[i]];
    }
    add_step(b, step);
}

/* Buffer in which a backward step finds the value of `tensor`; runs the op that makes it again when
 * it was not kept.
 */
static int value_again(struct builder *b, int tensor) {
    if (is_kept(b, tensor))
        return b->value[tensor];
    if (b->clone[tensor] >= 0 || b->failed)
        return b->clone[tensor];
    const struct hn_op *op = &b->graph->ops[b->producer[tensor]];
    struct hn_step step = empty_step(op, false);
    for (int i = 0; i < HN_OP_IN; i++)
        step.in[i] = op->in[i] < 0 ? -1 : value_again(b, op->in[i]);
    for (int i = 0; i < HN_OP_OUT; i++) {
        if (op->out[i] < 0)
            continue;
        step.out[i] = i == 0 && works_in_place(b, op) ? step.in[0] : buffer_for(b, op->out[i]);
        b->clone[op->out[i]] = step.out[i];
    }
    add_step(b, step);
    return b->clone[tensor];
}

static void add_backward(struct builder *b, const struct hn_op *op) {
    struct hn_step step = empty_step(op, true);
    const struct hn_op_info *info = &hn_op_infos[op->kind];
    for (int i = 0; i < HN_OP_IN; i++)
        if (op->in[i] >= 0 && (reads_in(op) >> i & 1))
            step.in[i] = value_again(b, op->in[i]);
    for (int i = 0; i < HN_OP_OUT; i++)
        if (op->out[i] >= 0 && (info->reads_out >> i & 1))
            step.out[i] = value_again(b, op->out[i]);
    if (op->out[0] >= 0)
        step.dout[0] = b->gradient[op->out[0]];
    int residual = info->residual ? op->in[1] : -1;
    if (has_gradient(b, residual) && b->gradient[residual] >= 0) {
        step.din[1] = b->gradient[residual];
        step.add[1] = true;
    }
    if (has_gradient(b, op->in[0])) {
        int *gradient = &b->gradient[op->in[0]];
        step.add[0] = *gradient >= 0;
        if (*gradient < 0)
            *gradient = works_in_place(b, op) ? step.dout[0] : buffer_for(b, op->in[0]);
        step.din[0] = *gradient;
    }
    add_step(b, step);
    if (has_gradient(b, residual) && b->gradient[residual] < 0)
        b->gradient[residual] = step.dout[0];
}

static int by_size(const void *a, const void *b) {
    const struct hn_plan_buffer *x = *(struct hn_plan_buffer *const *)a,
                                *y = *(struct hn_plan_buffer *const *)b;
    if (x->bytes != y->bytes)
        return x->bytes < y->bytes ? 1 : -1;
    return (x > y) - (x < y);
}

static bool overlap(const struct hn_plan_buffer *x, const struct hn_plan_buffer *y) {
    return x->fixed || y->fixed || (x->first <= y->last && y->first <= x->last);
}

/* Largest first, each at the lowest offset that no buffer alive at the same time covers. */
static int place(struct hn_plan *plan, struct hn_error *err) {
    struct hn_plan_buffer **order = hn_calloc(plan->n_buffers, sizeof *order);
    struct hn_plan_buffer **placed = hn_calloc(plan->n_buffers, sizeof *placed); /* by offset */
    if (!order || !placed) {
        free(order);
        free(placed);
        return hn_fail(err, HN_E_INTERNAL, "out of memory planning");
    }
    for (size_t i = 0; i < plan->n_buffers; i++)
        order[i] = &plan->buffers[i];
    qsort(order, plan->n_buffers, sizeof *order, by_size);
    size_t end = 0;
    for (size_t n = 0; n < plan->n_buffers; n++) {
        struct hn_plan_buffer *p = order[n];
        size_t offset = 0;
        for (size_t i = 0; i < n; i++) {
            if (!overlap(p, placed[i]))
                continue;
            if (offset + p->bytes <= placed[i]->offset)
                break;
            if (placed[i]->offset + placed[i]->bytes > offset)
                offset = placed[i]->offset + placed[i]->bytes;
        }
        p->offset = offset;
        size_t at = n;
        for (; at > 0 && placed[at - 1]->offset > offset; at--)
            placed[at] = placed[at - 1];
        placed[at] = p;
        end = end > offset + p->bytes ? end : offset + p->bytes;
    }
    plan->scratch_offset = end;
    plan->arena_bytes = end + plan->scratch_bytes * plan->caps.threads;
    free(order);
    free(placed);
    return 0;
}

static void add_cache(struct builder *b) {
    size_t cols = 0;
    for (size_t i = 0; i < b->graph->n_ops; i++) {
        const struct hn_op *op = &b->graph->ops[i];
        if (op->kind == HN_OP_ATTENTION && op->attr.attention.cached)
            cols += 2 * op->attr.attention.kv_heads * op->attr.attention.head_dim;
    }
    if (!cols || !b->plan->caps.cache_rows)
        return;
    b->plan->cache = add_buffer(b, HN_DIM_TOKENS, cols, b->plan->caps.cache_rows);
    if (!b->failed)
        b->plan->buffers[b->plan->cache].fixed = true;
}

int hn_plan_make(struct hn_plan *plan, const struct hn_graph *graph,
    const struct hn_plan_options *options, struct hn_error *err) {
    *plan = (struct hn_plan){.caps = options->caps,
        .value_bytes = options->value_bytes ? options->value_bytes : 4,
        .cache = -1,
        .logits = -1,
        .train = options->train};
    size_t n = graph->n_tensors;
    struct builder b = {.plan = plan, .graph = graph, .options = options};
    int *ints = hn_calloc(n * 5, sizeof *ints);
    bool *flags = hn_calloc(n * 3, sizeof *flags);
    b.failed = !ints || !flags;
    if (!b.failed) {
        b.producer = ints;
        b.consumers = ints + n;
        b.value = ints + 2 * n;
        b.clone = ints + 3 * n;
        b.gradient = ints + 4 * n;
        b.crosses = flags;
        b.grad = flags + n;
        b.read_back = flags + 2 * n;
        for (size_t i = 0; i < n; i++)
            b.value[i] = b.clone[i] = b.gradient[i] = -1;
        analyse(&b);
        add_cache(&b);
        for (size_t i = 0; i < graph->n_ops && !b.failed; i++)
            add_forward(&b, &graph->ops[i]);
        for (size_t i = graph->n_ops; options->train && i > 0 && !b.failed; i--)
            if (needs_backward(&b, &graph->ops[i - 1]))
                add_backward(&b, &graph->ops[i - 1]);
        if (graph->logits >= 0 && !options->train && !b.failed) {
            plan->logits = b.value[graph->logits];
            touch(plan, plan->logits, plan->n_steps);
        }
    }
    int rc = b.failed ? hn_fail(err, HN_E_DOES_NOT_FIT,
                            "the plan of this run exceeds the address space or memory")
                      : place(plan, err);
    free(ints);
    free(flags);
    if (rc)
        hn_plan_finish(plan);
    return rc;
}

void hn_plan_finish(struct hn_plan *plan) {
    free(plan->steps);
    free(plan->buffers);
    *plan = (struct hn_plan){0};
}
