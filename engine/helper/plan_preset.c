/* Presets: hyperparameters that a job has by the word `preset`, where it does not give them
 * itself. */
#include "engine/base/json.h"
#include "engine/helper/plan.h"

#include <stdlib.h>
#include <string.h>

static const struct {
    const char *name, *json, *why;
} presets[] = {
    {"standard", "{}", ""},
    {"quick", "{\"epochs\":1}", "one pass over the data, for a first look"},
    {"careful",
        "{\"schedule\":\"cosine\",\"warmup_ratio\":0.1,\"weight_decay\":0.01,"
        "\"early_stopping_patience\":3}",
        "a slow start, weight decay, and an end when evaluations get no better"},
};
#define PRESETS (sizeof presets / sizeof presets[0])

static int refuse(const char *name, struct hn_error *err) {
    hn_fail(err, HN_E_INVALID_FIELD, "there is no preset \"%.100s\"", name);
    hn_error_field(err, "preset");
    hn_error_hint(err, "quick, standard and careful are there; standard is to leave it out");
    return HN_E_INVALID_FIELD;
}

int hn_planning_preset(struct hn_planning *p, const json_t *given, struct hn_error *err) {
    const char *name = NULL, *key;
    json_t *set = NULL, *value;
    size_t i = 0;
    int rc = hn_json_string(p->params, "preset", &name, err);
    if (rc || !name)
        return rc;
    while (i < PRESETS && strcmp(presets[i].name, name) != 0)
        i++;
    if (i == PRESETS)
        return refuse(name, err);
    rc = hn_json_parse(presets[i].json, strlen(presets[i].json), &set, err);
    if (!rc)
        rc = hn_hyperparams_read(&p->spec.hp, set, "preset ", err);
    json_object_foreach(set, key, value) {
        char *text = json_dumps(value, JSON_ENCODE_ANY | JSON_REAL_PRECISION(6));
        if (!json_object_get(given, key))
            hn_planning_because(
                p, key, "%s: preset %s, %s", text ? text : "", name, presets[i].why);
        free(text);
    }
    json_decref(set);
    return rc;
}
