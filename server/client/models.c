/*
 * models list, import, remove. An import goes through the server, so that what it takes in is its
 * own: a path that the server may read itself is named to it, any other is uploaded.
 */
#include "server/client/client.h"

#include <dirent.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/stat.h>

#define FILES 256 /* of a model's folder */

struct upload {
    struct hn_part_to_send parts[FILES];
    size_t n;
    struct hn_bar bar;
};

static bool of_a_model(const char *name) {
    static const char *const endings[] = {
        ".safetensors", ".json", ".txt", ".model", ".jinja", ".gguf"};
    const char *dot = name[0] == '.' ? NULL : strrchr(name, '.');
    for (size_t i = 0; dot && i < sizeof endings / sizeof endings[0]; i++)
        if (strcasecmp(dot, endings[i]) == 0)
            return true;
    return false;
}

static void add_file(struct hn_client *c, struct upload *up, const char *folder, const char *name) {
    char *path = NULL;
    struct stat st;
    if (asprintf(&path, "%s/%s", folder, name) < 0)
        return;
    path = hn_client_keep(c, path);
    if (stat(path, &st) == 0 && S_ISREG(st.st_mode) && up->n < FILES)
        up->parts[up->n++] = (struct hn_part_to_send){
            .name = "file", .path = path, .filename = hn_client_keep(c, strdup(name))};
}

/* The files of a path here: itself, or what a model's folder has. */
static int list_files(struct hn_client *c, struct upload *up, const char *path) {
    struct stat st;
    if (stat(path, &st))
        return hn_client_fail(c,
            "a path on the server has to begin with / and lie below its setting model_dirs",
            "there is no %.300s here", path);
    if (!S_ISDIR(st.st_mode)) {
        const char *slash = strrchr(path, '/');
        if (up->n < FILES)
            up->parts[up->n++] = (struct hn_part_to_send){
                .name = "file", .path = path, .filename = slash ? slash + 1 : path};
        return HN_CLIENT_WELL;
    }
    DIR *dir = opendir(path);
    for (struct dirent *entry; dir && (entry = readdir(dir));)
        if (of_a_model(entry->d_name))
            add_file(c, up, path, entry->d_name);
    if (dir)
        closedir(dir);
    return up->n ? HN_CLIENT_WELL
                 : hn_client_fail(c, "a Hugging Face folder has config.json and *.safetensors",
                       "the folder %.300s has no files of a model", path);
}

static int print_model(struct hn_client *c, const struct hn_answer *answer) {
    if (c->json)
        hn_client_print_json(answer->json);
    else
        printf("%s: %s, %s parameters, %s\n", hn_client_text(c, answer->json, "name"),
            hn_client_text(c, answer->json, "family"),
            hn_client_text(c, answer->json, "parameters"),
            hn_client_text(c, answer->json, "sha256"));
    return HN_CLIENT_WELL;
}

static int upload(struct hn_client *c, const char *name) {
    struct upload *up = hn_calloc(1, sizeof *up);
    struct hn_answer answer = {0};
    int status = up ? HN_CLIENT_WELL : hn_client_fail(c, NULL, "out of memory");
    for (int i = 2; !status && i < c->n_words; i++)
        status = list_files(c, up, c->words[i]);
    if (!status) {
        hn_bar_init(&up->bar);
        const struct hn_ask ask = {.method = "POST",
            .path = hn_client_path(c, "/models?name=%s", name),
            .parts = up->parts,
            .n_parts = up->n,
            .progress = hn_client_on_upload,
            .ud = &up->bar};
        enum hn_outcome outcome = hn_client_try(c, &ask, &answer);
        hn_bar_clear(&up->bar);
        status = outcome ? hn_client_complain(c, &answer) : print_model(c, &answer);
        hn_answer_finish(&answer);
    }
    free(up);
    return status;
}

/* Lets the server read the path itself. *ret_status says how that went, unless false is returned:
 * then the files have to be sent. */
static bool import_there(struct hn_client *c, const char *name, const char *path, int *ret_status) {
    char *real = realpath(path, NULL);
    if (real && !hn_client_is_here(c)) {
        free(real);
        return false;
    }
    json_t *body = json_pack("{s:s,s:s}", "name", name, "path", real ? real : path);
    const struct hn_ask ask = {.method = "POST", .path = "/models", .body = body};
    struct hn_answer answer;
    enum hn_outcome outcome = hn_client_try(c, &ask, &answer);
    bool done = !real || !outcome || answer.status != 403;
    if (done)
        *ret_status = outcome ? hn_client_complain(c, &answer) : print_model(c, &answer);
    hn_answer_finish(&answer);
    json_decref(body);
    free(real);
    return done;
}

static int import(struct hn_client *c) {
    const char *name = c->words[1];
    int status;
    if (c->n_words < 3)
        return hn_client_usage(c, "models import needs a name and a path");
    if (c->n_words == 3 && import_there(c, name, c->words[2], &status))
        return status;
    return upload(c, name);
}

static int remove_one(struct hn_client *c) {
    json_t *model = NULL;
    if (c->n_words != 2)
        return hn_client_usage(c, "models remove needs one name");
    int status = hn_client_find(c, HN_NAMED_MODEL, c->words[1], &model);
    if (!status)
        status =
            hn_client_call(c, "DELETE", hn_client_path(c, "/models/%s", c->words[1]), NULL, NULL);
    if (!status && c->json)
        hn_client_print_json(model);
    else if (!status)
        printf("%s: removed\n", hn_client_text(c, model, "name"));
    json_decref(model);
    return status;
}

int hn_client_models(struct hn_client *c) {
    const char *verb = c->n_words ? c->words[0] : "list";
    if (strcmp(verb, "list") == 0)
        return c->n_words > 1 ? hn_client_usage(c, "models list takes no name")
                              : hn_client_models_list(c);
    if (strcmp(verb, "import") == 0)
        return import(c);
    if (strcmp(verb, "remove") == 0)
        return remove_one(c);
    return hn_client_usage(c, "models has list, import and remove, and no \"%s\"", verb);
}
