/* export: the artifacts that a checkpoint's parameters would make, written into a folder of their
 * own with a list of them. Without comparing logits: the trainer does that for what it exports
 * itself. */
#include "engine/base/buf.h"
#include "engine/export/export.h"
#include "engine/base/json.h"
#include "engine/eval/predictor.h"
#include "engine/helper/call.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* Adds the files of an export of this kind, which nobody has read back. */
static int list_export(const char *root, const char *kind, json_t *files, struct hn_error *err) {
    size_t i = json_array_size(files);
    int rc = hn_export_list(root, kind, files, err);
    for (; i < json_array_size(files); i++) {
        json_t *file = json_array_get(files, i);
        json_object_set_new(file, "kind", json_string(kind));
        json_object_set_new(file, "verified", json_null());
    }
    return rc;
}

static int write_exports(
    struct hn_predictor *p, const char *root, json_t *files, struct hn_error *err) {
    int rc = hn_dir_create(root, err);
    hn_predictor_fold(p);
    for (size_t i = 0; !rc && i < hn_n_exporters; i++) {
        char dir[4200];
        const struct hn_exporter *e = &hn_exporters[i];
        if (!(p->spec.exports & (unsigned)e->bit))
            continue;
        snprintf(dir, sizeof dir, "%.4096s/%s", root, e->dir);
        rc = hn_dir_create(dir, err);
        if (!rc)
            rc = e->write(&p->loaded, &p->params, dir, err);
        if (!rc)
            rc = list_export(root, e->dir, files, err);
    }
    return rc;
}

int hn_helper_export(
    struct hn_helper_call *call, const json_t *params, json_t **ret, struct hn_error *err) {
    const json_t *source = json_object_get(params, "source");
    const char *path, *to = NULL;
    char tmp[4096], list[4300];
    int rc = hn_helper_path(json_object_get(params, "model"), &path, err);
    if (!rc)
        rc = hn_json_string(params, "to", &to, err);
    if (!rc && (!to || !json_is_integer(json_object_get(source, "step"))))
        rc = hn_fail(err, HN_E_MISSING_FIELD, "to and source.step are needed");
    if (!rc)
        rc = hn_predictor_find(call->predictor, path, source, err);
    if (rc)
        return rc;
    snprintf(list, sizeof list, "%.4096s/manifest.json", to);
    if (access(list, R_OK) == 0) { /* another request was first */
        *ret = json_object();
        return 0;
    }
    snprintf(tmp, sizeof tmp, "%.4080s.tmp", to);
    json_t *files = json_array();
    rc = hn_dir_remove(tmp, err);
    if (!rc)
        rc = write_exports(*call->predictor, tmp, files, err);
    snprintf(list, sizeof list, "%s/manifest.json", tmp);
    if (!rc)
        rc = hn_export_json(list,
            json_pack("{s:i, s:O, s:O}", "format", 1, "step", json_object_get(source, "step"),
                "files", files),
            err);
    if (!rc)
        rc = hn_dir_publish(tmp, to, err);
    if (rc)
        hn_dir_remove(tmp, NULL);
    else
        *ret = json_pack("{s:O}", "files", files);
    json_decref(files);
    return rc;
}
