/* See adapter.h. */
#include "engine/model/adapter.h"
#include "engine/base/buf.h"
#include "engine/base/rng.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Roles whose matrices share one input, in the order of the parameter vector; a lone role shares
 * with nobody. */
static const enum hn_role groups[][HN_ROLES + 1] = {
    {HN_ROLE_QKV, HN_ROLES},
    {HN_ROLE_Q, HN_ROLE_K, HN_ROLE_V, HN_ROLES},
    {HN_ROLE_O, HN_ROLES},
    {HN_ROLE_GATE, HN_ROLE_UP, HN_ROLES},
    {HN_ROLE_DOWN, HN_ROLES},
    {HN_ROLE_POOLER, HN_ROLES},
};
#define GROUPS (sizeof groups / sizeof groups[0])

static bool listed(const char *list, const char *module) {
    size_t n = strlen(module);
    for (const char *s = list; *s;) {
        size_t size = strcspn(s, ",");
        if (size == n && memcmp(s, module, n) == 0)
            return true;
        s += size + (s[size] == ',');
    }
    return false;
}

static bool is_target(
    const struct hn_model *model, const struct hn_hyperparams *hp, enum hn_role role) {
    const char *module = model->arch->names[role].module, *list = hp->lora_targets.names;
    return module && (strcmp(list, "all-linear") == 0 || listed(list, module));
}

/* Every name in the list must be a module of this family. */
static int check_targets(
    const struct hn_model *model, const struct hn_hyperparams *hp, struct hn_error *err) {
    const char *list = hp->lora_targets.names;
    if (strcmp(list, "all-linear") == 0)
        return 0;
    char known[256] = "";
    for (int role = 0; role < HN_ROLES; role++)
        if (model->arch->names[role].module && !strstr(known, model->arch->names[role].module))
            snprintf(known + strlen(known), sizeof known - strlen(known), "%s%s",
                known[0] ? ", " : "", model->arch->names[role].module);
    for (const char *s = list; *s;) {
        size_t size = strcspn(s, ",");
        bool found = false;
        for (int role = 0; role < HN_ROLES && !found; role++) {
            const char *module = model->arch->names[role].module;
            found = module && strlen(module) == size && memcmp(module, s, size) == 0;
        }
        if (!found) {
            hn_fail(
                err, HN_E_INVALID_FIELD, "the model has no linear module \"%.*s\"", (int)size, s);
            hn_error_field(err, "hyperparameters.lora_targets");
            hn_error_hint(
                err, "modules of this model: %s; or \"all-linear\" for all of them", known);
            return HN_E_INVALID_FIELD;
        }
        s += size + (s[size] == ',');
    }
    return 0;
}

static void add_group(struct hn_adapter *adapter, const struct hn_model *model,
    const struct hn_hyperparams *hp, int layer, const enum hn_role *roles) {
    size_t first = adapter->n;
    for (; *roles != HN_ROLES; roles++) {
        const struct hn_weight *w = hn_model_weight(model, layer, *roles);
        if (!w || w->unused || !w->data || !is_target(model, hp, *roles))
            continue;
        adapter->loras[adapter->n++] = (struct hn_lora){.weight = w, .a = adapter->n_params};
        adapter->n_params += adapter->rank * w->cols;
    }
    for (size_t i = first; i < adapter->n; i++) {
        adapter->loras[i].b = adapter->n_params;
        adapter->n_params += adapter->rank * adapter->loras[i].weight->rows;
    }
}

int hn_adapter_init(struct hn_adapter *adapter, const struct hn_model *model,
    const struct hn_hyperparams *hp, struct hn_error *err) {
    *adapter = (struct hn_adapter){
        .rank = (size_t)hp->lora_rank, .alpha = hp->lora_alpha, .dropout = hp->lora_dropout};
    adapter->scale =
        hp->lora_alpha / (hp->rslora ? sqrt((double)hp->lora_rank) : (double)hp->lora_rank);
    int rc = check_targets(model, hp, err);
    if (rc)
        return rc;
    if (adapter->rank > model->config.hidden) {
        hn_fail(err, HN_E_INVALID_FIELD, "lora_rank %zu is larger than the model is wide (%zu)",
            adapter->rank, model->config.hidden);
        hn_error_field(err, "hyperparameters.lora_rank");
        return HN_E_INVALID_FIELD;
    }
    if (!(adapter->loras =
                hn_calloc((model->config.layers + 1) * HN_ROLES, sizeof *adapter->loras)))
        return hn_fail(err, HN_E_INTERNAL, "out of memory");
    for (int l = -1; l < (int)model->config.layers; l++)
        for (size_t i = 0; i < GROUPS; i++)
            add_group(adapter, model, hp, l, groups[i]);
    return 0;
}

void hn_adapter_finish(struct hn_adapter *adapter) {
    free(adapter->loras);
    *adapter = (struct hn_adapter){0};
}

const struct hn_lora *hn_adapter_find(
    const struct hn_adapter *adapter, const struct hn_weight *weight) {
    for (size_t i = 0; i < adapter->n; i++)
        if (adapter->loras[i].weight == weight)
            return &adapter->loras[i];
    return NULL;
}

void hn_adapter_start(
    const struct hn_adapter *adapter, const struct hn_hyperparams *hp, float *values) {
    memset(values, 0, adapter->n_params * sizeof *values);
    for (size_t i = 0; i < adapter->n; i++) {
        const struct hn_lora *lora = &adapter->loras[i];
        size_t n = adapter->rank * lora->weight->cols;
        double bound = hp->init_scale / sqrt((double)lora->weight->cols);
        for (size_t k = 0; k < n; k++)
            values[lora->a + k] = (float)(bound *
                (2 * hn_random_unit((uint64_t)hp->seed, HN_PURPOSE_INIT, i, k) - 1));
    }
}
