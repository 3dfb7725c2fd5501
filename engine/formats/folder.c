/* See folder.h. */
#include "engine/formats/folder.h"
#include "engine/base/buf.h"
#include "engine/base/json.h"
#include "engine/formats/found.h"

#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define MAX_JSON ((size_t)256 << 20)

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

int hn_folder_json(
    const char *dir, const char *name, size_t flags, json_t **ret, struct hn_error *err) {
    char path[4400], *text = NULL;
    size_t size;
    json_error_t where;
    if (!file_path(path, sizeof path, dir, name) || access(path, R_OK))
        return 0;
    int rc = hn_file_read(path, MAX_JSON, &text, &size, err);
    if (!rc && !(*ret = json_loadb(text, size, flags, &where)) &&
        !hn_found_bytes(text, size, name, err))
        hn_fail(err, HN_E_MODEL_INVALID, "%s is not valid JSON: line %d, column %d: %s", name,
            where.line, where.column, where.text);
    free(text);
    return rc ? rc : *ret ? 0 : HN_E_MODEL_INVALID;
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
    if (rc && !hn_found_instead(path, name, err) && err) {
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
    json_t *index = NULL;
    int rc = hn_folder_json(f->dir, HN_FOLDER_INDEX, 0, &index, err);
    if (rc)
        return rc;
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

/* The single file first, as Transformers has it: an index beside it is left over from an earlier
 * save. */
static int open_weights(struct hn_folder *f, struct hn_error *err) {
    if (!exists(f->dir, "model.safetensors"))
        return open_index(f, err);
    if (!(f->shards = hn_calloc(1, sizeof *f->shards)))
        return hn_fail(err, HN_E_INTERNAL, "out of memory");
    return open_shard(f, "model.safetensors", err);
}

static const struct {
    const char *ending, *what;
} quantised_names[] = {
    {".qweight", "GPTQ or AWQ"},
    {".SCB", "bitsandbytes, 8 bits"},
    {".absmax", "bitsandbytes, 4 bits"},
    {".weight_scale_inv", "FP8"},
    {".weight_packed", "compressed-tensors"},
    {".weight_scale", "compressed-tensors or FP8"},
    {".biases", "MLX"},
    {"_blocks", "MXFP4"},
};

static const char *by_names(const struct hn_folder *f) {
    const char *tensor;
    json_t *value;
    for (size_t s = 0; s < f->n_shards; s++) /* the header has those of whole numbers, too */
        json_object_foreach(f->shards[s].header, tensor, value)
            for (size_t i = 0; i < sizeof quantised_names / sizeof quantised_names[0]; i++) {
                size_t n = strlen(quantised_names[i].ending), m = strlen(tensor);
                if (m > n && strcmp(tensor + m - n, quantised_names[i].ending) == 0)
                    return quantised_names[i].what;
            }
    return NULL;
}

bool hn_folder_refuse_quantised(const struct hn_folder *f, struct hn_error *err) {
    static const char *const keys[] = {"quantization_config", "quantization", "compression_config"};
    const char *key = NULL, *method = NULL;
    for (size_t i = 0; !key && i < sizeof keys / sizeof keys[0]; i++)
        key = json_is_object(json_object_get(f->config, keys[i])) ? keys[i] : NULL;
    const json_t *config = key ? json_object_get(f->config, key) : NULL;
    const json_t *bits = json_object_get(config, "bits");
    char number[32] = "";
    method = json_string_value(json_object_get(config, "quant_method"));
    if (!method && config)
        method = json_object_get(f->config, "quantization") ? "mlx" : "a method that is not named";
    if (!method && !(method = by_names(f)))
        return false;
    if (json_is_true(json_object_get(config, "load_in_8bit")) || json_is_integer(bits))
        snprintf(number, sizeof number, ", %d bits",
            json_is_integer(bits) ? (int)json_integer_value(bits) : 8);
    else if (json_is_true(json_object_get(config, "load_in_4bit")))
        snprintf(number, sizeof number, ", 4 bits");
    hn_fail(err, HN_E_UNSUPPORTED, "the weights are quantised: %.60s%s (%s)", method, number,
        key ? key : "names of tensors");
    hn_error_hint(err,
        "take the model that it was made from, in F32, F16 or BF16, or a GGUF file of any type");
    return true;
}

static bool all_begin(const struct hn_folder *f, const char *prefix) {
    size_t n = 0, length = strlen(prefix);
    for (size_t s = 0; s < f->n_shards; s++)
        for (size_t i = 0; i < f->shards[s].n; i++, n++)
            if (strncmp(f->shards[s].tensors[i].name, prefix, length) != 0)
                return false;
    return n > 0;
}

/* Takes `part` out of the name wherever it stands behind a dot or in front. */
static int take_out(
    struct hn_folder *f, struct hn_safetensor *t, const char *part, struct hn_error *err) {
    size_t length = strlen(part);
    for (const char *at = t->name; (at = strstr(at, part));) {
        if (at > t->name && at[-1] != '.') {
            at++;
            continue;
        }
        char *name = NULL;
        if (!hn_grow(&f->names, &f->names_capacity, f->n_names + 1, sizeof *f->names) ||
            asprintf(&name, "%.*s%s", (int)(at - t->name), t->name, at + length) < 0)
            return hn_fail(err, HN_E_INTERNAL, "out of memory");
        at = name + (at - t->name);
        t->name = f->names[f->n_names++] = name;
    }
    return 0;
}

/* Names as the model itself has them, without what wrappers added: torch.compile, DDP, FSDP,
 * activation checkpointing, PEFT, a model with a value head, one with a vision part. In front only
 * what all names have. */
static int unwrap_names(struct hn_folder *f, struct hn_error *err) {
    static const char *const anywhere[] = {
        "_orig_mod.", "_fsdp_wrapped_module.", "_checkpoint_wrapped_module."};
    static const char *const front[] = {
        "module.", "base_model.model.", "pretrained_model.", "language_model."};
    int rc = 0;
    for (size_t s = 0; s < f->n_shards; s++) {
        for (size_t i = 0; i < f->shards[s].n; i++)
            for (size_t k = 0; !rc && k < sizeof anywhere / sizeof anywhere[0]; k++)
                rc = take_out(f, &f->shards[s].tensors[i], anywhere[k], err);
    }
    for (size_t k = 0; !rc && k < sizeof front / sizeof front[0]; k++) {
        if (!all_begin(f, front[k]))
            continue;
        for (size_t s = 0; s < f->n_shards; s++)
            for (size_t i = 0; i < f->shards[s].n; i++)
                f->shards[s].tensors[i].name += strlen(front[k]);
        k = SIZE_MAX; /* wrappers lie in each other: from the beginning */
    }
    for (size_t s = 0; !rc && s < f->n_shards; s++)
        rc = hn_safetensors_sort(&f->shards[s], err);
    return rc;
}

int hn_folder_check(const char *dir, const json_t *others, struct hn_error *err) {
    if (!exists(dir, "config.json"))
        return hn_found_folder(dir, others, "config.json", err);
    return exists(dir, "model.safetensors") || exists(dir, HN_FOLDER_INDEX)
        ? 0
        : hn_found_folder(dir, others, "model.safetensors", err);
}

int hn_folder_open(struct hn_folder *f, const char *dir, struct hn_error *err) {
    *f = (struct hn_folder){0};
    if ((size_t)snprintf(f->dir, sizeof f->dir, "%s", dir) >= sizeof f->dir)
        return hn_fail(err, HN_E_MODEL_INVALID, "the folder's path is too long");
    int rc = hn_folder_check(dir, NULL, err);
    if (!rc)
        rc = hn_folder_json(dir, "config.json", 0, &f->config, err);
    if (!rc && !json_is_object(f->config))
        rc = hn_fail(err, HN_E_MODEL_INVALID, "config.json is not a JSON object");
    if (!rc && (rc = open_weights(f, err)) == HN_E_UNSUPPORTED)
        hn_folder_refuse_quantised(f, err);
    return rc ? rc : unwrap_names(f, err);
}

void hn_folder_close(struct hn_folder *f) {
    for (size_t i = 0; i < f->n_shards; i++)
        hn_safetensors_close(&f->shards[i]);
    for (size_t i = 0; i < f->n_names; i++)
        free(f->names[i]);
    free(f->names);
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
