/* See usual_names.h. */
#include "engine/data/usual_names.h"
#include "engine/data/rows.h"

#include <ctype.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

/* What two columns are called, in small letters between spaces. A corpus has scores, ratings and
 * sources beside its text as well, so that only the names in `labels` make a label of text's
 * neighbour. */
static const char prompts[] = " prompt question query input instruction ",
                  completions[] = " completion answer response output reply ",
                  texts[] =
                      " text sentence review message content body comment utterance description ",
                  labels[] = " label category class sentiment intent emotion topic ",
                  scores[] = " target rating stars score ";

static bool is_one_of(const char *names, const char *name) {
    char word[40];
    size_t n = strlen(name);
    while (n && name[n - 1] == ' ')
        n--;
    for (; n && *name == ' '; n--)
        name++;
    if (!n || n > sizeof word - 3 || memchr(name, ' ', n))
        return false;
    snprintf(word, sizeof word, " %.*s ", (int)n, name);
    for (char *c = word; *c; c++)
        *c = (char)tolower((unsigned char)*c);
    return strstr(names, word);
}

/* The one column of such a name, or NULL; *ret_n: how many there are. */
static const char *find(const json_t *row, const char *names, size_t *ret_n) {
    const char *key, *found = NULL;
    json_t *value;
    *ret_n = 0;
    json_object_foreach((json_t *)(uintptr_t)row, key, value) {
        if (!is_one_of(names, key))
            continue;
        found = key;
        ++*ret_n;
    }
    return *ret_n == 1 ? found : NULL;
}

/* Whether a column but for these two belongs to a kind of row that we know. */
static bool has_others(const json_t *row, const char *first, const char *second) {
    const char *key;
    json_t *value;
    json_object_foreach((json_t *)(uintptr_t)row, key, value)
        if (strcmp(key, first) != 0 && strcmp(key, second) != 0 && hn_layout_knows(key))
            return true;
    return false;
}

static json_t *pair(const json_t *row, const char *name, const char *given, const char *other_name,
    const char *other) {
    return given && other && !has_others(row, given, other)
        ? json_pack("{s:s,s:s}", name, given, other_name, other)
        : NULL;
}

json_t *hn_usual_mapping(const json_t *row, bool beside_text) {
    size_t n_prompts, n_completions, n_texts, n_labels, n_scores;
    const char *prompt = find(row, prompts, &n_prompts),
               *completion = find(row, completions, &n_completions),
               *text = find(row, texts, &n_texts), *label = find(row, labels, &n_labels),
               *score = find(row, scores, &n_scores);
    if (beside_text)
        return n_completions ? NULL : pair(row, "text", "text", "label", label);
    if (n_completions)
        return n_texts || n_labels ? NULL : pair(row, "prompt", prompt, "completion", completion);
    return pair(row, "text", text, "label", n_labels ? label : score);
}
