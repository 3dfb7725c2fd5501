/* See params.h. Work is cut into blocks of fixed size, so that sums do not depend on threads. */
#include "engine/families/load.h"
#include "engine/run/params.h"
#include "engine/base/buf.h"
#include "engine/base/rng.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define BLOCK 16384

static int compare_offsets(const void *a, const void *b) {
    const struct hn_param *x = a, *y = b;
    return (x->offset > y->offset) - (x->offset < y->offset);
}

static void name_matrix(struct hn_param *p, const struct hn_weight *weight, const char *matrix) {
    int stem = (int)strlen(weight->hf_name) - (int)strlen(".weight");
    snprintf(p->name, sizeof p->name, "%.*s.%s.weight", stem, weight->hf_name, matrix);
}

static size_t count_assigned(const struct hn_model *model, size_t *ret_values) {
    size_t n = 0, values = 0;
    for (size_t i = 0; i < model->n_weights; i++)
        if (model->weights[i].param != SIZE_MAX) {
            values += model->weights[i].rows * model->weights[i].cols;
            n++;
        }
    *ret_values = values;
    return n;
}

/* Entries of the weights that are trained themselves. */
static void add_weights(struct hn_param *table, const struct hn_model *model) {
    for (size_t i = 0; i < model->n_weights; i++) {
        const struct hn_weight *w = &model->weights[i];
        if (w->param == SIZE_MAX)
            continue;
        *table = (struct hn_param){.weight = w,
            .offset = w->param,
            .rows = w->rows,
            .cols = w->cols,
            .decays = !w->vector};
        snprintf(table->name, sizeof table->name, "%s", w->hf_name);
        table++;
    }
}

static int allocate(struct hn_params *params, struct hn_error *err) {
    params->table = hn_calloc(params->n, sizeof *params->table);
    params->values = hn_calloc_huge(params->size, sizeof *params->values);
    return params->table && params->values ? 0 : hn_fail(err, HN_E_INTERNAL, "out of memory");
}

int hn_params_from_adapter(struct hn_params *params, const struct hn_adapter *adapter,
    const struct hn_model *model, struct hn_error *err) {
    size_t values, n = count_assigned(model, &values);
    *params = (struct hn_params){.n = 2 * adapter->n + n, .size = adapter->n_params + values};
    int rc = allocate(params, err);
    if (rc)
        return rc;
    for (size_t i = 0; i < adapter->n; i++) {
        const struct hn_lora *lora = &adapter->loras[i];
        struct hn_param *a = &params->table[2 * i], *b = a + 1;
        *a = (struct hn_param){.weight = lora->weight,
            .offset = lora->a,
            .rows = adapter->rank,
            .cols = lora->weight->cols,
            .decays = true};
        *b = (struct hn_param){.weight = lora->weight,
            .offset = lora->b,
            .rows = lora->weight->rows,
            .cols = adapter->rank,
            .decays = true};
        name_matrix(a, lora->weight, "lora_A");
        name_matrix(b, lora->weight, "lora_B");
    }
    add_weights(params->table + 2 * adapter->n, model);
    qsort(params->table, params->n, sizeof *params->table, compare_offsets);
    return 0;
}

size_t hn_params_assign(struct hn_model *model) {
    size_t size = 0;
    for (size_t i = 0; i < model->n_weights; i++) {
        if (model->weights[i].unused)
            continue;
        model->weights[i].param = size;
        /* all lie in the file, so the sum cannot overflow */
        size += model->weights[i].rows * model->weights[i].cols;
    }
    return size;
}

size_t hn_params_assign_head(struct hn_model *model, size_t first, bool pooler) {
    for (size_t i = 0; i < model->n_weights; i++) {
        struct hn_weight *w = &model->weights[i];
        bool head = w->role >= (pooler ? HN_ROLE_POOLER : HN_ROLE_DENSE) &&
            w->role <= HN_ROLE_SCORE_BIAS && !w->unused;
        if (!head && w->data) /* what is new is trained, too: a pooler that the file lacks */
            continue;
        w->param = first;
        first += w->rows * w->cols;
    }
    return first;
}

int hn_params_from_model(
    struct hn_params *params, const struct hn_model *model, struct hn_error *err) {
    size_t values, n = count_assigned(model, &values);
    *params = (struct hn_params){.n = n, .size = values};
    int rc = allocate(params, err);
    if (!rc)
        add_weights(params->table, model);
    return rc;
}

/* Box and Muller's normal deviates. */
static float normal(uint64_t seed, uint64_t role, uint64_t i) {
    double u = 1 - hn_random_unit(seed, HN_PURPOSE_HEAD, role, 2 * i),
           v = hn_random_unit(seed, HN_PURPOSE_HEAD, role, 2 * i + 1);
    return (float)(sqrt(-2 * log(u)) * cos(2 * M_PI * v));
}

void hn_params_start(const struct hn_model *model, uint64_t seed, float *values) {
    for (size_t i = 0; i < model->n_weights; i++) {
        const struct hn_weight *w = &model->weights[i];
        if (w->param == SIZE_MAX)
            continue;
        for (size_t r = 0; w->data && r < w->rows; r++)
            hn_weight_row(w, r, values + w->param + r * w->cols);
        for (size_t k = 0; !w->data && k < w->rows * w->cols; k++)
            values[w->param + k] = w->vector
                ? 0
                : (float)model->config.init_range * normal(seed, (uint64_t)w->role, k);
    }
    hn_model_release(model);
}

int hn_params_add_optimizer(struct hn_params *params, struct hn_error *err) {
    params->grads = hn_calloc_huge(params->size, sizeof *params->grads);
    params->first = hn_calloc_huge(params->size, sizeof *params->first);
    params->second = hn_calloc_huge(params->size, sizeof *params->second);
    return params->grads && params->first && params->second
        ? 0
        : hn_fail(err, HN_E_INTERNAL, "out of memory");
}

void hn_params_release_optimizer(struct hn_params *params) {
    free(params->grads);
    free(params->first);
    free(params->second);
    params->grads = params->first = params->second = NULL;
}

void hn_params_finish(struct hn_params *params) {
    hn_params_release_optimizer(params);
    free(params->values);
    free(params->table);
    *params = (struct hn_params){0};
}

static void zero_block(void *context, size_t block, unsigned thread) {
    const struct hn_params *params = context;
    size_t begin = block * BLOCK, n = params->size - begin < BLOCK ? params->size - begin : BLOCK;
    (void)thread;
    memset(params->grads + begin, 0, n * sizeof *params->grads);
}

void hn_params_zero_grads(struct hn_params *params, struct hn_pool *pool) {
    hn_pool_run(pool, (params->size + BLOCK - 1) / BLOCK, zero_block, params);
}

struct norm_task {
    const struct hn_params *params;
    double *sums;
};

static void norm_block(void *context, size_t block, unsigned thread) {
    const struct norm_task *t = context;
    size_t begin = block * BLOCK,
           n = t->params->size - begin < BLOCK ? t->params->size - begin : BLOCK;
    (void)thread;
    t->sums[block] = hn_kernels()->sum_squares(t->params->grads + begin, n);
}

double hn_params_grad_norm(const struct hn_params *params, struct hn_pool *pool) {
    size_t blocks = (params->size + BLOCK - 1) / BLOCK;
    struct norm_task task = {params, hn_calloc(blocks, sizeof(double))};
    double sum = 0;
    if (!task.sums)
        return (double)NAN;
    hn_pool_run(pool, blocks, norm_block, &task);
    for (size_t i = 0; i < blocks; i++)
        sum += task.sums[i];
    free(task.sums);
    return sqrt(sum);
}

struct update_task {
    struct hn_params *params;
    struct hn_adamw with, without; /* decay */
};

static void update_block(void *context, size_t index, unsigned thread) {
    const struct update_task *t = context;
    const struct hn_params *p = t->params;
    (void)thread;
    /* A block may cross tensors that differ in decay: walk the table's pieces of it. */
    size_t begin = index * BLOCK, end = p->size - begin < BLOCK ? p->size : begin + BLOCK, low = 0,
           high = p->n;
    while (high - low > 1) {
        size_t mid = (low + high) / 2;
        if (p->table[mid].offset <= begin)
            low = mid;
        else
            high = mid;
    }
    for (size_t i = low; i < p->n && begin < end; i++) {
        size_t stop = p->table[i].offset + p->table[i].rows * p->table[i].cols;
        stop = stop < end ? stop : end;
        hn_kernels()->adamw(p->values + begin, p->grads + begin, p->first + begin,
            p->second + begin, p->table[i].decays ? &t->with : &t->without, stop - begin);
        begin = stop;
    }
}

void hn_params_update(
    struct hn_params *params, const struct hn_adamw_options *o, struct hn_pool *pool) {
    struct hn_adamw s = {.lr = (float)o->learning_rate,
        .beta1 = (float)o->beta1,
        .beta2 = (float)o->beta2,
        .eps = (float)o->epsilon,
        .correction1 = (float)(1 - pow(o->beta1, (double)o->step)),
        .correction2 = (float)sqrt(1 - pow(o->beta2, (double)o->step)),
        .clip = (float)o->clip};
    struct update_task task = {params, s, s};
    task.with.decay = (float)(o->learning_rate * o->weight_decay);
    hn_pool_run(pool, (params->size + BLOCK - 1) / BLOCK, update_block, &task);
}

size_t hn_warmup_steps(const struct hn_hyperparams *hp, size_t total) {
    size_t steps = hp->warmup_steps != HN_NONE_INT
        ? (size_t)hp->warmup_steps
        : (size_t)ceil(hp->warmup_ratio * (double)total - 1e-9);
    return steps < total ? steps : total;
}

double hn_learning_rate(const struct hn_hyperparams *hp, size_t step, size_t total) {
    double s = (double)step, w = (double)hn_warmup_steps(hp, total), n = (double)total,
           lr = hp->learning_rate;
    if (hp->schedule == HN_SCHEDULE_RISING)
        return lr * pow(10, HN_RISING_DECADES * (s / n - 1));
    if (s <= w)
        return lr * s / w;
    /* steps since the peak, which is step w, or step 1 without a warm-up; and until zero */
    double since = w > 0 ? s - w : s - 1, until = w > 0 ? n - w + 1 : n;
    switch (hp->schedule) {
    case HN_SCHEDULE_LINEAR:
        return lr * (1 - since / until);
    case HN_SCHEDULE_COSINE:
        return lr / 2 * (1 + cos(M_PI * since / until));
    default:
        return lr;
    }
}
