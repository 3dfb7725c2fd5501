/* See available.h. */
#include "server/library/available.h"

#include <ctype.h>
#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#define DEPTH_MAX 4 /* folders below one of model_dirs: a cache has models--X--Y/snapshots/REV */
#define LISTED_MAX 200
#define VISITED_MAX 20000 /* names that are looked at: a large folder costs no more */

struct look {
    const char *dirs; /* model_dirs: a link that leads out of them is no model of theirs */
    json_t *list;
    size_t visited;
    bool failed; /* out of memory */
};

static bool ends_in(const char *name, const char *ending) {
    size_t n = strlen(name), m = strlen(ending);
    return n > m && strcmp(name + n - m, ending) == 0;
}

/* The name to propose: the last part of the path as a model may be called; in a cache that of the
 * folder models--OWNER--NAME. */
static void propose(const char *path, char ret[65]) {
    const char *cache = strstr(path, "/models--"), *from = strrchr(path, '/') + 1;
    size_t n = strlen(from), at = 0;
    if (cache) {
        const char *end = strchr(cache + 1, '/'), *dashes;
        from = cache + strlen("/models--");
        while ((dashes = strstr(from, "--")) && (!end || dashes < end))
            from = dashes + 2;
        n = end && end > from ? (size_t)(end - from) : strlen(from);
    } else if (ends_in(from, ".gguf")) {
        n -= strlen(".gguf");
    }
    for (size_t i = 0; i < n && at < 64; i++) {
        char c = (char)tolower((unsigned char)from[i]);
        bool good = (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '_' || c == '-' ||
            (c == '.' && at);
        ret[at++] = good ? c : '-';
    }
    ret[at] = 0;
}

static void add(struct look *look, const char *path, const char *format, int64_t bytes) {
    char name[65];
    propose(path, name);
    json_t *one = json_pack("{s:s,s:s,s:s,s:I}", "name", name, "path", path, "format", format,
        "bytes", (json_int_t)bytes); /* NULL where the path is no UTF-8: it cannot be asked for */
    if (one && json_array_append_new(look->list, one))
        look->failed = true;
}

static bool done(const struct look *look) {
    return look->failed || json_array_size(look->list) >= LISTED_MAX ||
        look->visited >= VISITED_MAX;
}

/* What a path means at last, where that lies in the allowed folders. */
static bool find(const struct look *look, const char *path, struct stat *ret) {
    char *real = realpath(path, NULL);
    bool good = real && hn_model_allowed(look->dirs, real) && stat(real, ret) == 0;
    free(real);
    return good;
}

/* Lists the models of a folder, and of those in it. */
static void walk(struct look *look, const char *folder, int depth) {
    DIR *d = opendir(folder);
    bool config = false;
    int64_t weights = 0;
    for (struct dirent *entry; d && !done(look) && (entry = readdir(d));) {
        char path[HN_PATH_SIZE];
        struct stat st;
        look->visited++;
        if (entry->d_name[0] == '.' || !hn_state_path(path, folder, entry->d_name, NULL, NULL) ||
            !find(look, path, &st))
            continue;
        /* A link to a folder: what it may lead to is found where it lies. */
        if (S_ISDIR(st.st_mode) && entry->d_type != DT_LNK && depth < DEPTH_MAX)
            walk(look, path, depth + 1);
        if (!S_ISREG(st.st_mode))
            continue;
        config = config || strcmp(entry->d_name, "config.json") == 0;
        if (ends_in(entry->d_name, ".safetensors"))
            weights += st.st_size;
        if (ends_in(entry->d_name, ".gguf"))
            add(look, path, "gguf", st.st_size);
    }
    if (config && weights)
        add(look, folder, "safetensors", weights);
    if (d)
        closedir(d);
}

static int by_path(const void *a, const void *b) {
    return strcmp(json_string_value(json_object_get(*(json_t *const *)a, "path")),
        json_string_value(json_object_get(*(json_t *const *)b, "path")));
}

/* A new list in order, each model once also where folders of model_dirs lie in each other. */
static json_t *sorted(const json_t *list) {
    size_t n = json_array_size(list);
    json_t **all = hn_calloc(n + 1, sizeof *all), *out = all ? json_array() : NULL;
    for (size_t i = 0; all && i < n; i++)
        all[i] = json_array_get(list, i);
    if (all)
        qsort(all, n, sizeof *all, by_path);
    for (size_t i = 0; out && i < n; i++)
        if (i == 0 || by_path(&all[i - 1], &all[i]) != 0)
            json_array_append(out, all[i]);
    free(all);
    return out;
}

int hn_models_available(const char *dirs, json_t **ret, struct hn_error *err) {
    struct look look = {.dirs = dirs, .list = json_array()};
    char *list = strdup(dirs), *rest = list;
    for (char *dir; list && look.list && (dir = strsep(&rest, ":"));) {
        char *real = *dir ? realpath(dir, NULL) : NULL;
        if (real)
            walk(&look, real, 0);
        free(real);
    }
    json_t *out = list && look.list && !look.failed ? sorted(look.list) : NULL;
    free(list);
    json_decref(look.list);
    if (!out)
        return hn_fail(err, HN_E_INTERNAL, "out of memory for the list of models");
    *ret = out;
    return 0;
}
