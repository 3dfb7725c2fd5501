/* Names as well as ids: what a word on the command line stands for. */
#include "server/client/client.h"
#include "server/base/id.h"

#include <stdlib.h>
#include <string.h>

#define MOST 20000 /* rows that are looked through for a name */

static const struct {
    const char *path, *what, *id, *prefix, *list; /* prefix NULL: its name is its id */
} kinds[] = {
    [HN_NAMED_JOB] = {"/jobs", "job", "job", "job_", "honed jobs"},
    [HN_NAMED_DATASET] = {"/datasets", "data set", "ds", "ds_", "honed datasets"},
    [HN_NAMED_MODEL] = {"/models", "model", NULL, NULL, "honed models"},
    [HN_NAMED_SWEEP] = {"/sweeps", "sweep", "swp", "swp_", "honed sweep"},
};

/* Says which are meant by a word that several have as their name. */
static int ambiguous(
    struct hn_client *c, enum hn_named kind, const char *word, const json_t *found) {
    struct hn_buf ids = {0};
    const json_t *one;
    size_t i;
    json_array_foreach((json_t *)(uintptr_t)found, i, one)
        if (i < 8)
            hn_buf_printf(&ids, "%s%s", i ? ", " : "", hn_client_text(c, one, "id"));
    int status = hn_client_fail(c, "take the id of the one that is meant",
        "%zu %ss are called \"%.100s\": %s%s", json_array_size(found), kinds[kind].what, word,
        ids.data ? ids.data : "", json_array_size(found) > 8 ? " …" : "");
    hn_buf_free(&ids);
    return status;
}

static int unknown(struct hn_client *c, enum hn_named kind, const char *word, const json_t *rows) {
    size_t n = 0, i;
    const json_t *row;
    char hint[300];
    const char **names = hn_calloc(json_array_size(rows) + 1, sizeof *names);
    json_array_foreach((json_t *)(uintptr_t)rows, i, row) {
        const char *name = json_string_value(json_object_get(row, "name"));
        if (names && name && *name)
            names[n++] = name;
    }
    const char *near = names ? hn_word_nearest(word, names) : NULL;
    if (near)
        snprintf(hint, sizeof hint, "is \"%.150s\" meant? `%s` lists them", near, kinds[kind].list);
    else
        snprintf(hint, sizeof hint, "`%s` lists them", kinds[kind].list);
    int status = hn_client_fail(c, hint, "there is no %s \"%.200s\"", kinds[kind].what, word);
    free(names);
    return status;
}

static int get_one(struct hn_client *c, enum hn_named kind, const char *id, json_t **ret) {
    char *path = NULL, *encoded = hn_percent(id);
    if (encoded && asprintf(&path, "%s/%s", kinds[kind].path, encoded) < 0)
        path = NULL;
    free(encoded);
    return path ? hn_client_get(c, hn_client_keep(c, path), ret)
                : hn_client_fail(c, NULL, "out of memory");
}

/* The rows that the word may mean, in *found, and all that there are. */
static int search(
    struct hn_client *c, enum hn_named kind, const char *word, json_t *found, json_t **ret_rows) {
    const char *prefix = kinds[kind].prefix;
    size_t length = strlen(word), i;
    json_t *row = NULL;
    bool id = prefix && strncmp(word, prefix, strlen(prefix)) == 0;
    if (id && hn_id_valid(kinds[kind].id, word)) {
        int status = get_one(c, kind, word, &row);
        if (!status)
            json_array_append_new(found, row);
        return status;
    }
    int status = hn_client_rows(c, kinds[kind].path, MOST, ret_rows);
    json_array_foreach(*ret_rows, i, row) {
        const char *name = json_string_value(json_object_get(row, "name")),
                   *of = json_string_value(json_object_get(row, "id"));
        bool begins = id && of && length > strlen(prefix) && strncmp(of, word, length) == 0;
        if ((name && strcmp(name, word) == 0) || begins)
            json_array_append(found, row);
    }
    return status;
}

/* In the first of the kinds that has one of that name. */
static int find_in(struct hn_client *c, const enum hn_named *list, size_t n, const char *word,
    enum hn_named *ret_kind, json_t **ret) {
    json_t *found = json_array(), *rows = NULL;
    int status = HN_CLIENT_WELL;
    size_t i = 0;
    for (; i < n && !status && !json_array_size(found); i++) {
        json_t *these = NULL;
        status = search(c, list[i], word, found, &these);
        if (i)
            json_array_extend(rows, these);
        else
            rows = json_incref(these);
        json_decref(these);
    }
    if (!status && json_array_size(found) == 1) {
        *ret_kind = list[i - 1];
        *ret = json_incref(json_array_get(found, 0));
    } else if (!status && json_array_size(found)) {
        status = ambiguous(c, list[i - 1], word, found);
    } else if (!status) {
        status = unknown(c, list[0], word, rows);
    }
    json_decref(found);
    json_decref(rows);
    return status;
}

int hn_client_find(struct hn_client *c, enum hn_named kind, const char *word, json_t **ret) {
    return find_in(c, &kind, 1, word, &kind, ret);
}

int hn_client_find_asked(
    struct hn_client *c, const char *word, enum hn_named *ret_kind, json_t **ret) {
    static const enum hn_named list[] = {HN_NAMED_JOB, HN_NAMED_MODEL};
    return find_in(c, list, 2, word, ret_kind, ret);
}
