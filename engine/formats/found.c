/* See found.h. */
#include "engine/formats/found.h"
#include "engine/base/json.h"

#include <dirent.h>
#include <fnmatch.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const struct {
    const char *begin, *what, *hint;
} beginnings[] = {
    {"version https://git-lfs", "a pointer of git-lfs, which stands for the file",
        "fetch the file itself: `git lfs pull` in the folder, or `hf download`"},
    {"<!DOCTYPE", "a web page", "download the file itself; behind a login that takes a token"},
    {"<!doctype", "a web page", "download the file itself; behind a login that takes a token"},
    {"<html", "a web page", "download the file itself; behind a login that takes a token"},
    {"PK\3\4", "a zip archive, as PyTorch's save() writes",
        "save the model with save_pretrained(folder, safe_serialization=True)"},
    {"\x80\2", "a Python pickle, which can run code when it is read",
        "save the model with save_pretrained(folder, safe_serialization=True)"},
    {"\x1f\x8b", "compressed with gzip", "unpack it"},
    {"GGUF", "a GGUF file", "import the file by its own path, not the folder"},
    {"\x89HDF\r\n", "an HDF5 file, as TensorFlow writes",
        "load it with from_tf=True and save it with save_pretrained(folder)"},
};

static bool begins(const void *bytes, size_t size, const char *name, struct hn_error *err) {
    for (size_t i = 0; i < sizeof beginnings / sizeof beginnings[0]; i++) {
        size_t n = strlen(beginnings[i].begin);
        if (size < n || memcmp(bytes, beginnings[i].begin, n) != 0)
            continue;
        hn_fail(err, HN_E_MODEL_INVALID, "%.200s is %s", name, beginnings[i].what);
        hn_error_hint(err, "%s", beginnings[i].hint);
        return true;
    }
    return false;
}

bool hn_found_bytes(const void *bytes, size_t size, const char *name, struct hn_error *err) {
    if (begins(bytes, size, name, err))
        return true;
    if (size < 9 || ((const char *)bytes)[8] != '{' || memchr(bytes, 0, 8) == NULL)
        return false;
    hn_fail(err, HN_E_MODEL_INVALID, "%.200s is a safetensors file", name);
    hn_error_hint(err, "import the folder that holds it, with config.json and the tokenizer");
    return true;
}

bool hn_found_instead(const char *path, const char *name, struct hn_error *err) {
    char begin[32];
    FILE *f = fopen(path, "rbe");
    size_t n = f ? fread(begin, 1, sizeof begin, f) : 0;
    if (f)
        fclose(f);
    return begins(begin, n, name, err);
}

/* The most telling first. */
static const struct {
    const char *pattern, *what, *hint;
} contents[] = {
    {"adapter_config.json", "a PEFT adapter",
        "import the base that it was trained on; an adapter becomes a model by "
        "merge_and_unload().save_pretrained(folder)"},
    {"adapter_model.*", "the weights of an adapter", "import the base that it was trained on"},
    {"model_index.json", "a pipeline of Diffusers", "only language models and encoders are read"},
    {"*.gguf", "a GGUF file", "import that file by its own path"},
    {"consolidated*", "the layout of Meta and Mistral",
        "take the version for Transformers, or convert it: it has model.safetensors"},
    {"params.json", "the layout of Meta and Mistral",
        "take the version for Transformers, or convert it: it has model.safetensors"},
    {"pytorch_model*.bin", "weights as PyTorch pickles, which can run code when they are read",
        "save the model with save_pretrained(folder, safe_serialization=True)"},
    {"model-*-of-*.safetensors", "parts of the weights without their index",
        "copy model.safetensors.index.json, too"},
    {"*.safetensors", "another safetensors file",
        "Transformers and Hone read model.safetensors, or the files of "
        "model.safetensors.index.json"},
    {"*.bin", "a file of PyTorch", "save the model with save_pretrained(folder)"},
    {"*.pt", "a file of PyTorch", "save the model with save_pretrained(folder)"},
    {"*.pth", "a file of PyTorch", "save the model with save_pretrained(folder)"},
    {"*.ckpt", "a file of PyTorch or TensorFlow", "save the model with save_pretrained(folder)"},
    {"tf_model.h5", "weights of TensorFlow",
        "load them with from_tf=True and save them with save_pretrained(folder)"},
    {"flax_model.msgpack", "weights of Flax",
        "load them with from_flax=True and save them with save_pretrained(folder)"},
    {"*.onnx", "a graph of ONNX", "take the model that it was made from"},
    {"checkpoint-*/", "the checkpoints of a training", "import one of those folders"},
    {"snapshots/", "a cache of the hub", "import the folder in snapshots/"},
    {"0_Transformer/", "a model of Sentence Transformers", "import the folder 0_Transformer"},
};
#define CONTENTS (sizeof contents / sizeof contents[0])

/* Notes the name if its row stands before *row. */
static void note(const char *name, size_t *row, char found[256]) {
    for (size_t i = 0; i < *row; i++)
        if (fnmatch(contents[i].pattern, name, 0) == 0) {
            *row = i;
            snprintf(found, 256, "%s", name);
        }
}

/* The base that an adapter names, as " of \"NAME\"". */
static void base_of(const char *dir, char out[200]) {
    char path[4400];
    json_t *config = NULL;
    snprintf(path, sizeof path, "%.4096s/adapter_config.json", dir);
    if (!hn_json_load(path, 1 << 20, &config, NULL)) {
        const char *base = json_string_value(json_object_get(config, "base_model_name_or_path"));
        if (base)
            snprintf(out, 200, " of \"%.180s\"", base);
    }
    json_decref(config);
}

int hn_found_folder(
    const char *dir, const json_t *others, const char *missing, struct hn_error *err) {
    char found[256] = "", base[200] = "";
    size_t row = CONTENTS, i;
    const json_t *other;
    DIR *d = opendir(dir);
    for (struct dirent *entry; d && (entry = readdir(d));)
        note(entry->d_name, &row, found);
    if (d)
        closedir(d);
    json_array_foreach((json_t *)(uintptr_t)others, i, other)
        if (json_is_string(other))
            note(json_string_value(other), &row, found);
    if (row == CONTENTS) {
        hn_fail(err, HN_E_MODEL_INVALID, "the folder has no %s", missing);
        hn_error_hint(err,
            "a model folder holds config.json, safetensors files and a tokenizer, as "
            "save_pretrained writes them");
        return HN_E_MODEL_INVALID;
    }
    if (row == 0)
        base_of(dir, base);
    hn_fail(err, HN_E_MODEL_INVALID, "the folder has no %s; it holds %s%s (%.200s)", missing,
        contents[row].what, base, found);
    hn_error_hint(err, "%s", contents[row].hint);
    return HN_E_MODEL_INVALID;
}
