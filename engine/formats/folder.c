/* See folder.h. */
#include "engine/formats/folder.h"
#include "engine/base/buf.h"
#include "engine/base/json.h"

#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#define MAX_JSON ((size_t)64 << 20)

static bool file_path(char *out, size_t size, const char *dir, const char *name) {
    return (size_t)snprintf(out, size, "%s/%s", dir, name) < size;
}

static bool exists(const char *dir, const char *name) {
    char path[4400];
    struct stat st;
    return file_path(path, sizeof path, dir, name) && stat(path, &st) == 0 && S_ISREG(st.st_mode);
}

bool hn_is_folder(const char *path) {
    struct stat st;
    return stat(path, &st) == 0 && S_ISDIR(st.st_mode);
}

static int open_shard(struct hn_folder *f, const char *name, struct hn_error *err) {
    char path[4400], inner[512];
    if (!*name || strchr(name, '/') || name[0] == '.' ||
        !file_path(path, sizeof path, f->dir, name))
        return hn_fail(err, HN_E_MODEL_INVALID,
            "the index names a weight file \"%.80s\", which is not a plain file name", name);
    if (!exists(f->dir, name)) {
        hn_fail(err, HN_E_MODEL_INVALID, "the weight file %.200s is missing from the folder", name);
        hn_error_hint(err, HN_FOLDER_INDEX " lists it: copy all of its files");
        return HN_E_MODEL_INVALID;
    }
    int rc = hn_safetensors_open(&f->shards[f->n_shards], path, err);
    if (rc && err) {
        snprintf(inner, sizeof inner, "%.480s", err->message);
        snprintf(err->message, sizeof err->message, "%.200s: %s", name, inner);
    }
    f->n_shards += !rc;
    return rc;
}

static bool is_open(const char *const *names, size_t n, const char *name) {
    for (size_t i = 0; i < n; i++)
        if (strcmp(names[i], name) == 0)
            return true;
    return false;
}

/* Opens each file that the index's weight_map mentions, once, in the order of their first
 * mention. */
static int open_index(struct hn_folder *f, struct hn_error *err) {
    char path[4400];
    json_t *index = NULL;
    file_path(path, sizeof path, f->dir, HN_FOLDER_INDEX);
    int rc = hn_json_load(path, MAX_JSON, &index, err);
    if (rc)
        return rc == HN_E_TOO_LARGE
            ? rc
            : hn_fail(err, HN_E_MODEL_INVALID, HN_FOLDER_INDEX " is not valid JSON");
    const json_t *map = json_object_get(index, "weight_map");
    const char *tensor, **names = hn_calloc(HN_FOLDER_SHARDS, sizeof *names);
    json_t *value;
    size_t n = 0;
    if (!names)
        rc = hn_fail(err, HN_E_INTERNAL, "out of memory");
    else if (!json_object_size(map))
        rc = hn_fail(err, HN_E_MODEL_INVALID, HN_FOLDER_INDEX " has no weight_map");
    json_object_foreach((json_t *)(uintptr_t)map, tensor, value) {
        const char *name = json_string_value(value);
        if (rc || (name && is_open(names, n, name)))
            continue;
        if (!name || n == HN_FOLDER_SHARDS)
            rc = hn_fail(err, HN_E_MODEL_INVALID,
                HN_FOLDER_INDEX " names too many files or one that is no text");
        else
            names[n++] = name;
    }
    if (!rc && !(f->shards = hn_calloc(n, sizeof *f->shards)))
        rc = hn_fail(err, HN_E_INTERNAL, "out of memory");
    for (size_t i = 0; i < n && !rc; i++)
        rc = open_shard(f, names[i], err);
    free(names);
    json_decref(index);
    return rc;
}

static int open_weights(struct hn_folder *f, struct hn_error *err) {
    if (exists(f->dir, HN_FOLDER_INDEX))
        return open_index(f, err);
    if (!exists(f->dir, "model.safetensors")) {
        hn_fail(
            err, HN_E_MODEL_INVALID, "the folder has no model.safetensors and no " HN_FOLDER_INDEX);
        hn_error_hint(err,
            exists(f->dir, "pytorch_model.bin")
                ? "pytorch_model.bin can run code when it is read and is not supported: save the "
                  "model with save_pretrained(folder, safe_serialization=True)"
                : "save the model with save_pretrained(folder), or give a .gguf file");
        return HN_E_MODEL_INVALID;
    }
    if (!(f->shards = hn_calloc(1, sizeof *f->shards)))
        return hn_fail(err, HN_E_INTERNAL, "out of memory");
    return open_shard(f, "model.safetensors", err);
}

int hn_folder_open(struct hn_folder *f, const char *dir, struct hn_error *err) {
    char path[4400];
    *f = (struct hn_folder){0};
    if ((size_t)snprintf(f->dir, sizeof f->dir, "%s", dir) >= sizeof f->dir)
        return hn_fail(err, HN_E_MODEL_INVALID, "the folder's path is too long");
    if (!exists(dir, "config.json")) {
        hn_fail(err, HN_E_MODEL_INVALID, "the folder has no config.json");
        hn_error_hint(err,
            "a model folder holds config.json, safetensors files and a tokenizer, as "
            "save_pretrained writes them");
        return HN_E_MODEL_INVALID;
    }
    file_path(path, sizeof path, dir, "config.json");
    int rc = hn_json_load(path, MAX_JSON, &f->config, err);
    if (rc || !json_is_object(f->config))
        return hn_fail(err, HN_E_MODEL_INVALID, "config.json is not a JSON object");
    if (json_object_get(f->config, "quantization_config"))
        return hn_fail(err, HN_E_UNSUPPORTED,
            "the weights are quantised (quantization_config in config.json); give the unquantised "
            "model or a GGUF file");
    return open_weights(f, err);
}

void hn_folder_close(struct hn_folder *f) {
    for (size_t i = 0; i < f->n_shards; i++)
        hn_safetensors_close(&f->shards[i]);
    free(f->shards);
    json_decref(f->config);
    *f = (struct hn_folder){0};
}

const struct hn_safetensor *hn_folder_find(const struct hn_folder *f, const char *name) {
    const struct hn_safetensor *t = NULL;
    for (size_t i = 0; i < f->n_shards && !t; i++)
        t = hn_safetensors_find(&f->shards[i], name);
    return t;
}

static int by_name(const struct dirent **a, const struct dirent **b) {
    return strcmp((*a)->d_name, (*b)->d_name);
}

static int visible(const struct dirent *entry) {
    return entry->d_name[0] != '.';
}

int hn_folder_hash(
    const char *dir, char hex[HN_SHA256_HEX], uint64_t *ret_bytes, struct hn_error *err) {
    struct dirent **entries = NULL;
    int n = scandir(dir, &entries, visible, by_name), rc = 0;
    void *sha = n < 0 ? NULL : hn_sha256_begin();
    uint64_t total = 0;
    if (n < 0)
        rc = hn_fail_errno(err, errno, "cannot open the folder %s", dir);
    else if (!sha)
        rc = hn_fail(err, HN_E_INTERNAL, "out of memory");
    for (int i = 0; i < n; i++) {
        char path[4400], one[HN_SHA256_HEX];
        uint64_t size = 0;
        if (!rc && exists(dir, entries[i]->d_name) &&
            file_path(path, sizeof path, dir, entries[i]->d_name) &&
            !(rc = hn_sha256_file(path, one, &size, err))) {
            hn_sha256_add(sha, one, HN_SHA256_HEX - 1);
            hn_sha256_add(sha, "  ", 2);
            hn_sha256_add(sha, entries[i]->d_name, strlen(entries[i]->d_name));
            hn_sha256_add(sha, "\n", 1);
            total += size;
        }
        free(entries[i]);
    }
    free(entries);
    if (sha)
        hn_sha256_end(sha, rc ? NULL : hex);
    *ret_bytes = total;
    return rc;
}
