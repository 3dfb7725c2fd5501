/* See evaluations.h. */
#include "server/library/evaluations.h"
#include "server/base/log.h"

#include <dirent.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define ANSWER_BYTES ((size_t)16 << 20)

struct kept {
    char id[HN_ID_SIZE];
    struct timespec made;
    int64_t bytes;
};

static int newest_first(const void *a, const void *b) {
    const struct kept *x = a, *y = b;
    if (x->made.tv_sec != y->made.tv_sec)
        return x->made.tv_sec < y->made.tv_sec ? 1 : -1;
    return (x->made.tv_nsec < y->made.tv_nsec) - (x->made.tv_nsec > y->made.tv_nsec);
}

/* What is there, the newest first; caller frees. */
static size_t collect(const char *state, struct kept **ret) {
    char path[HN_PATH_SIZE];
    struct kept *list = NULL;
    size_t n = 0, capacity = 0;
    DIR *dir = hn_state_path(path, state, "evaluations", NULL, NULL) ? opendir(path) : NULL;
    for (struct dirent *entry; dir && (entry = readdir(dir));) {
        static const char *const files[] = {"rows.jsonl", HN_EVALUATION_SCORES};
        struct stat folder, file;
        if (!hn_id_valid("eval", entry->d_name) ||
            !hn_state_path(path, state, "evaluations", entry->d_name, NULL) ||
            stat(path, &folder) || !hn_grow(&list, &capacity, n + 1, sizeof *list))
            continue;
        list[n] = (struct kept){.made = folder.st_mtim};
        memcpy(list[n].id, entry->d_name, strlen(entry->d_name) + 1);
        for (size_t i = 0; i < sizeof files / sizeof files[0]; i++)
            if (hn_state_path(path, state, "evaluations", entry->d_name, files[i]) &&
                !stat(path, &file))
                list[n].bytes += file.st_size;
        n++;
    }
    if (dir)
        closedir(dir);
    if (n)
        qsort(list, n, sizeof *list, newest_first);
    *ret = list;
    return n;
}

/* What tells no owner is anybody's: it must go some day. */
static bool belongs_to(const char *state, const char *id, const char *owner) {
    char path[HN_PATH_SIZE];
    json_t *answer = NULL;
    if (!hn_state_path(path, state, "evaluations", id, "evaluation.json") ||
        hn_json_load(path, ANSWER_BYTES, &answer, NULL))
        return true;
    const char *found = json_string_value(json_object_get(answer, "owner"));
    bool same = strcmp(found ? found : "", owner) == 0;
    json_decref(answer);
    return same;
}

/* Removes the oldest of that owner past what is kept of each. Two at once do no harm: what is gone
 * already is no error. */
static void prune(const char *state, const char *owner) {
    char path[HN_PATH_SIZE];
    struct kept *list;
    size_t n = collect(state, &list), seen = 0;
    int64_t bytes = 0;
    for (size_t i = 0; i < n; i++) {
        if (!belongs_to(state, list[i].id, owner))
            continue;
        bytes += list[i].bytes;
        if (seen++ && (seen > HN_EVALUATIONS_KEPT || bytes > HN_EVALUATIONS_BYTES) &&
            hn_state_path(path, state, "evaluations", list[i].id, NULL))
            hn_dir_remove(path, NULL);
    }
    free(list);
}

int64_t hn_evaluations_expire(const char *state, int64_t limit, int64_t bytes, const char *why) {
    char path[HN_PATH_SIZE];
    struct kept *list;
    int64_t freed = 0;
    for (size_t i = collect(state, &list); i-- > 0 && freed < bytes;)
        if (list[i].made.tv_sec < limit &&
            hn_state_path(path, state, "evaluations", list[i].id, NULL)) {
            freed += list[i].bytes;
            hn_dir_remove(path, NULL);
            hn_log(HN_LOG_INFO, "evaluation deleted", "evaluation", list[i].id, "why", why, NULL);
        }
    free(list);
    return freed;
}

json_t *hn_evaluation_list(const char *state) {
    char path[HN_PATH_SIZE];
    struct kept *list;
    size_t n = collect(state, &list);
    json_t *out = json_array();
    for (size_t i = 0; i < n; i++) {
        json_t *one = NULL;
        if (hn_state_path(path, state, "evaluations", list[i].id, "evaluation.json") &&
            !hn_json_load(path, ANSWER_BYTES, &one, NULL)) /* else it was just removed */
            json_array_append_new(out, one);
    }
    free(list);
    return out;
}

int hn_evaluation_keep(const char *state, const char *id, const char *dir, const json_t *answer,
    struct hn_error *err) {
    char path[HN_PATH_SIZE];
    char *text = json_dumps(answer, JSON_COMPACT | JSON_REAL_PRECISION(15));
    int rc = text && hn_state_path(path, dir, "evaluation.json", NULL, NULL)
        ? hn_file_write_durable(path, text, strlen(text), err)
        : hn_fail(err, HN_E_INTERNAL, "out of memory");
    free(text);
    if (!rc && hn_state_path(path, state, "evaluations", id, NULL))
        rc = hn_dir_publish(dir, path, err);
    if (!rc) {
        const char *owner = json_string_value(json_object_get(answer, "owner"));
        prune(state, owner ? owner : "");
    }
    return rc;
}

int hn_evaluation_path(const char *state, const char *id, const char *file, char ret[HN_PATH_SIZE],
    struct hn_error *err) {
    return hn_id_valid("eval", id) && hn_state_path(ret, state, "evaluations", id, file) &&
            !access(ret, F_OK)
        ? 0
        : hn_evaluation_missing(id, err);
}

int hn_evaluation_load(const char *state, const char *id, json_t **ret, struct hn_error *err) {
    char path[HN_PATH_SIZE];
    int rc = hn_evaluation_path(state, id, "evaluation.json", path, err);
    if (!rc && hn_json_load(path, ANSWER_BYTES, ret, err))
        rc = hn_evaluation_missing(id, err); /* it was just removed */
    return rc;
}

int hn_evaluation_missing(const char *id, struct hn_error *err) {
    hn_fail(err, HN_E_NOT_FOUND, "there is no evaluation %.64s", id);
    hn_error_hint(err, "the last %d are kept", HN_EVALUATIONS_KEPT);
    return HN_E_NOT_FOUND;
}
