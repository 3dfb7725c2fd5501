/* See compare.h. */
#include "server/sweeps/compare.h"
#include "server/base/state.h"
#include "server/library/evaluations.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

static int find_evaluated(struct hn_server *server, const struct hn_compared *run,
    char ret[HN_PATH_SIZE], struct hn_error *err) {
    const char *state = server->config->state;
    if (!hn_state_path(ret, state, "evaluations", run->evaluation, HN_EVALUATION_SCORES))
        return hn_fail(err, HN_E_INTERNAL, "path too long");
    if (access(ret, R_OK) == 0)
        return 0;
    hn_fail(err, HN_E_NOT_FOUND, "evaluation %s of %s keeps no scores of its rows", run->evaluation,
        run->job);
    hn_error_hint(err, "it is of an earlier version, or was just removed: evaluate it again");
    return HN_E_NOT_FOUND;
}

static int find_scores(struct hn_server *server, const struct hn_compared *run,
    char ret[HN_PATH_SIZE], struct hn_error *err) {
    char name[64];
    if (run->evaluation)
        return find_evaluated(server, run, ret, err);
    snprintf(name, sizeof name, "scores/%lld.bin", (long long)run->step);
    if (!hn_state_path(ret, server->config->state, "runs", run->job, name))
        return hn_fail(err, HN_E_INTERNAL, "path too long");
    if (run->step >= 0 && access(ret, R_OK) == 0)
        return 0;
    hn_fail(err, HN_E_NOT_FOUND, "job %s keeps no scores of its validation rows", run->job);
    hn_error_hint(err,
        "runs without validation, of earlier versions, or that have not evaluated yet have none; "
        "POST /jobs/%s/evaluate measures it on a data set",
        run->job);
    return HN_E_NOT_FOUND;
}

static int ask(struct hn_server *server, const struct hn_asker *asker, json_t *params, json_t **ret,
    struct hn_error *err) {
    const struct hn_question question = {.op = "compare", .params = params, .asker = asker};
    int rc = hn_helper_call(server->data_helper, &question, ret, NULL, err);
    json_decref(params);
    return rc;
}

/* Adds the sentence: who is better than whom, and how many pairs cannot be told apart. */
static int summarise(json_t *compared, struct hn_error *err) {
    struct hn_buf text = {0};
    const json_t *pair, *pairs = json_object_get(compared, "pairs");
    size_t i, same = 0;
    json_array_foreach((json_t *)(uintptr_t)pairs, i, pair) {
        const char *verdict = json_string_value(json_object_get(pair, "verdict"));
        bool better = verdict && strcmp(verdict, "better") == 0;
        if (!better && (!verdict || strcmp(verdict, "worse") != 0)) {
            same++;
            continue;
        }
        hn_buf_printf(&text, "%s is better than %s (%s %+.4g, p %.2g). ",
            json_string_value(json_object_get(pair, better ? "a" : "b")),
            json_string_value(json_object_get(pair, better ? "b" : "a")),
            json_string_value(json_object_get(compared, "metric")),
            (better ? 1 : -1) * json_number_value(json_object_get(pair, "difference")),
            json_number_value(json_object_get(pair, "p_adjusted")));
    }
    if (same)
        hn_buf_printf(&text, "Of %zu pair%s no difference is shown on these %lld rows.", same,
            same == 1 ? "" : "s", (long long)json_integer_value(json_object_get(compared, "rows")));
    json_object_set_new(compared, "summary", hn_json_text(text.data ? text.data : "", text.size));
    bool failed = text.failed;
    hn_buf_free(&text);
    return failed ? hn_fail(err, HN_E_INTERNAL, "out of memory") : 0;
}

int hn_compare_runs(struct hn_server *server, const struct hn_asker *asker,
    const struct hn_compared *runs, size_t n, const char *metric, json_t **ret,
    struct hn_error *err) {
    json_t *sets = json_array();
    int rc = 0;
    for (size_t i = 0; i < n && !rc; i++) {
        char path[HN_PATH_SIZE];
        rc = find_scores(server, &runs[i], path, err);
        if (!rc)
            json_array_append_new(sets, json_pack("{s:s,s:s}", "name", runs[i].job, "path", path));
    }
    if (rc) {
        json_decref(sets);
        return rc;
    }
    rc = ask(server, asker, json_pack("{s:o,s:s?,s:i}", "sets", sets, "metric", metric, "seed", 0),
        ret, err);
    for (size_t i = 0; i < n && !rc; i++)
        if (runs[i].evaluation)
            json_object_set_new(json_array_get(json_object_get(*ret, "results"), i), "evaluation",
                json_string(runs[i].evaluation));
    return rc ? rc : summarise(*ret, err);
}

int hn_compare_folds(struct hn_server *server, const struct hn_asker *asker,
    const struct hn_compared *runs, size_t n, const char *metric, const char *rows_to,
    bool suspects_first, const json_t *labels, json_t **ret, struct hn_error *err) {
    json_t *paths = json_array();
    int rc = 0;
    for (size_t i = 0; i < n && !rc; i++) {
        char path[HN_PATH_SIZE];
        rc = find_scores(server, &runs[i], path, err);
        if (!rc)
            json_array_append_new(paths, json_string(path));
    }
    if (!rc)
        return ask(server, asker,
            json_pack("{s:o,s:s?,s:s?,s:b,s:O?,s:i}", "oof", paths, "metric", metric, "rows_to",
                rows_to, "suspects_first", suspects_first, "labels", labels, "seed", 0),
            ret, err);
    json_decref(paths);
    return rc;
}

bool hn_compared_pair(
    const json_t *compared, const char *a, const char *b, struct hn_compared_pair *ret) {
    const json_t *pair;
    size_t i;
    json_array_foreach(json_object_get(compared, "pairs"), i, pair) {
        const char *x = json_string_value(json_object_get(pair, "a")),
                   *y = json_string_value(json_object_get(pair, "b"));
        bool same = x && y && strcmp(x, a) == 0 && strcmp(y, b) == 0,
             turned = x && y && strcmp(x, b) == 0 && strcmp(y, a) == 0;
        if (!same && !turned)
            continue;
        const json_t *interval = json_object_get(pair, "interval");
        double difference = json_number_value(json_object_get(pair, "difference")),
               low = json_number_value(json_array_get(interval, 0)),
               high = json_number_value(json_array_get(interval, 1));
        *ret = (struct hn_compared_pair){turned ? -difference : difference, turned ? -high : low,
            turned ? -low : high, json_number_value(json_object_get(pair, "p")),
            json_number_value(json_object_get(pair, "p_adjusted"))};
        return true;
    }
    return false;
}
