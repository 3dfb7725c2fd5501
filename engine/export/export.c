/* The list of exports and what they share; see export.h. */
#include "engine/model/objective.h"
#include "engine/export/export.h"
#include "engine/base/buf.h"
#include "engine/base/file.h"

#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

const struct hn_exporter hn_exporters[] = {
    {HN_EXPORT_PEFT, "peft", NULL, false, hn_peft_write, hn_peft_read},
    {HN_EXPORT_GGUF, "gguf", NULL, false, hn_gguf_adapter_write, hn_gguf_adapter_read},
    {HN_EXPORT_MERGED, "merged", NULL, true, hn_merged_write, NULL},
    {HN_EXPORT_MERGED_GGUF, "merged_gguf", "model.gguf", true, hn_merged_gguf_write, NULL},
};
const size_t hn_n_exporters = sizeof hn_exporters / sizeof hn_exporters[0];

/* GGUF stores a head's rows as pairs (2i, 2i+1), Hugging Face as halves (i, i + d/2). */
size_t hn_row_to_hf(
    const struct hn_model_config *config, const struct hn_weight *weight, size_t row) {
    if (!config->rope_interleaved || (weight->role != HN_ROLE_Q && weight->role != HN_ROLE_K))
        return row;
    size_t d = config->head_dim, head = row / d, i = row % d;
    return head * d + i % 2 * (d / 2) + i / 2;
}

size_t hn_row_to_gguf(const struct hn_model *model, const struct hn_weight *weight, size_t row) {
    const struct hn_model_config *config = &model->config;
    if (config->rope_interleaved || strcmp(model->arch->gguf_arch, "llama") != 0 ||
        (weight->role != HN_ROLE_Q && weight->role != HN_ROLE_K))
        return row;
    size_t d = config->head_dim, head = row / d, i = row % d;
    return head * d + i % (d / 2) * 2 + i / (d / 2);
}

static int compare_names(const void *a, const void *b) {
    return strcmp(*(char *const *)a, *(char *const *)b);
}

static void free_names(char **names, size_t n) {
    for (size_t i = 0; i < n; i++)
        free(names[i]);
    free(names);
}

/* Names of the files in a folder, sorted, so that no list depends on the disk's order. free_names()
 * frees them. */
static int list_names(const char *dir, char ***ret, size_t *ret_n, struct hn_error *err) {
    DIR *d = opendir(dir);
    char **names = NULL;
    size_t n = 0, capacity = 0;
    bool ok = true;
    if (!d)
        return hn_fail_errno(err, errno, "cannot read %s", dir);
    for (struct dirent *entry; ok && (entry = readdir(d));)
        if (entry->d_name[0] != '.') {
            ok = hn_grow(&names, &capacity, n + 1, sizeof *names) &&
                (names[n] = strdup(entry->d_name));
            n += ok;
        }
    closedir(d);
    if (!ok) {
        free_names(names, n);
        return hn_fail(err, HN_E_INTERNAL, "out of memory");
    }
    if (n)
        qsort(names, n, sizeof *names, compare_names);
    *ret = names;
    *ret_n = n;
    return 0;
}

int hn_export_file(const char *root, const char *path, json_t **ret, struct hn_error *err) {
    char full[5200], hash[HN_SHA256_HEX];
    uint64_t size = 0;
    snprintf(full, sizeof full, "%.4096s/%.1000s", root, path);
    int rc = hn_sha256_file(full, hash, &size, err);
    if (!rc &&
        !(*ret = json_pack(
              "{s:s, s:I, s:s}", "path", path, "size", (json_int_t)size, "sha256", hash)))
        rc = hn_fail(err, HN_E_INTERNAL, "out of memory");
    return rc;
}

int hn_export_list(const char *root, const char *dir, json_t *files, struct hn_error *err) {
    char path[4200];
    char **names = NULL;
    size_t n = 0;
    snprintf(path, sizeof path, "%.4096s/%.100s", root, dir);
    int rc = list_names(path, &names, &n, err);
    for (size_t i = 0; !rc && i < n; i++) {
        json_t *file = NULL;
        char full[5200];
        snprintf(path, sizeof path, "%.200s/%.300s", dir, names[i]);
        snprintf(full, sizeof full, "%.4096s/%.1000s", root, path);
        if (hn_is_folder(full)) { /* one deep: further chat templates */
            rc = hn_export_list(root, path, files, err);
            continue;
        }
        rc = hn_export_file(root, path, &file, err);
        if (!rc)
            json_array_append_new(files, file);
    }
    free_names(names, n);
    return rc;
}

json_t *hn_export_provenance(const struct hn_loaded *loaded) {
    return json_pack("{s:s, s:s, s:s}", "hone.run", loaded->spec->run_sha256, "hone.base",
        loaded->spec->model_sha256, "hone.data",
        loaded->spec->train.sha256 ? loaded->spec->train.sha256 : "");
}

const char *hn_export_class(const struct hn_loaded *loaded) {
    return hn_objectives[loaded->model.head.objective].auto_class;
}

void hn_export_head(const struct hn_loaded *loaded, json_t *config) {
    const struct hn_head *head = &loaded->model.head;
    if (!head->names)
        return;
    json_t *names = json_object(), *numbers = json_object();
    for (size_t i = 0; i < head->outputs; i++) {
        char number[24], label[32];
        const char *name = hn_label_name(&loaded->spec->labels, i);
        snprintf(number, sizeof number, "%zu", i);
        snprintf(label, sizeof label, "LABEL_%zu", i);
        name = *name ? name : label;
        json_object_set_new(names, number, json_string(name));
        json_object_set_new(numbers, name, json_integer((json_int_t)i));
    }
    json_object_set_new(config, "architectures", json_pack("[s]", head->names->hf_class));
    json_object_set_new(config, "id2label", names);
    json_object_set_new(config, "label2id", numbers);
    if (hn_objectives[head->objective].problem_type)
        json_object_set_new(
            config, "problem_type", json_string(hn_objectives[head->objective].problem_type));
    else
        json_object_del(config, "problem_type");
}

int hn_export_json(const char *path, json_t *json, struct hn_error *err) {
    char *text = json ? json_dumps(json, JSON_INDENT(2)) : NULL;
    json_decref(json);
    int rc = text ? hn_file_write_durable(path, text, strlen(text), err)
                  : hn_fail(err, HN_E_INTERNAL, "out of memory");
    free(text);
    return rc;
}

int hn_export_text(const char *path, struct hn_buf *text, struct hn_error *err) {
    int rc = text->failed ? hn_fail(err, HN_E_INTERNAL, "out of memory")
                          : hn_file_write_durable(path, text->data, text->size, err);
    hn_buf_free(text);
    return rc;
}

void hn_base_name(const struct hn_model *model, char *out, size_t size) {
    struct hn_view name = hn_gguf_string(&model->gguf, "general.name");
    const char *origin = json_string_value(json_object_get(model->folder.config, "_name_or_path"));
    size_t n = 0;
    if (origin && origin[0] != '/' && origin[0] != '.') /* a name, not somebody's path */
        name = (struct hn_view){origin, strlen(origin)};
    for (size_t i = 0; i < name.size && n + 1 < size;
         i++) /* one line of plain text: it goes into JSON, YAML and Modelfiles */
        if ((unsigned char)name.data[i] >= ' ' && (unsigned char)name.data[i] < 127 &&
            name.data[i] != '"')
            out[n++] = name.data[i];
    out[n] = 0;
    if (!n)
        snprintf(out, size, "%s", model->config.family);
}

/* "OWNER/NAME" of a hub, out of an address or the path of a cache ("models--OWNER--NAME"); else the
 * text, unless it is somebody's path. False: it names nothing to others. */
static bool name_of_source(const char *source, char *out, size_t size) {
    static const char *const fronts[] = {"https://huggingface.co/", "hf.co/", "hf://"};
    const char *cached = strstr(source, "models--");
    const char *owner = cached ? cached + 8 : NULL, *name = owner ? strstr(owner, "--") : NULL;
    if (name && !memchr(owner, '/', (size_t)(name - owner))) {
        snprintf(out, size, "%.*s/%.*s", (int)(name - owner), owner, (int)strcspn(name + 2, "/"),
            name + 2);
        return true;
    }
    for (size_t i = 0; i < sizeof fronts / sizeof fronts[0]; i++)
        if (strncmp(source, fronts[i], strlen(fronts[i])) == 0)
            source += strlen(fronts[i]);
    if (!*source || strchr("/.~", *source))
        return false;
    snprintf(out, size, "%s", source);
    return true;
}

json_t *hn_base_source(const struct hn_loaded *loaded) {
    static const char *const fields[] = {
        "general.base_model.0.repo_url", "general.repo_url", "general.source.repo_url"};
    const struct hn_model *model = &loaded->model;
    const char *origin = json_string_value(json_object_get(model->folder.config, "_name_or_path"));
    char name[512], text[512];
    if (loaded->spec->model_source && name_of_source(loaded->spec->model_source, name, sizeof name))
        return json_string(name);
    if (origin && name_of_source(origin, name, sizeof name))
        return json_string(name);
    for (size_t i = 0; !model->is_folder && i < sizeof fields / sizeof fields[0]; i++) {
        struct hn_view view = hn_gguf_string(&model->gguf, fields[i]);
        snprintf(text, sizeof text, "%.*s", view.size < 500 ? (int)view.size : 0,
            view.size ? view.data : "");
        if (name_of_source(text, name, sizeof name))
            return json_string(name);
    }
    hn_base_name(model, name, sizeof name);
    return strcmp(name, model->config.family) == 0 ? json_null() : json_string(name);
}
