/* See state.h. */
#include "server/base/state.h"
#include "server/base/id.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <unistd.h>

#define LOCK_TRIES 20 /* until another daemon is believed */
#define LOCK_MS 50

bool hn_state_path(
    char ret[HN_PATH_SIZE], const char *state, const char *a, const char *b, const char *c) {
    int n = snprintf(ret, HN_PATH_SIZE, "%s%s%s%s%s%s%s", state, a ? "/" : "", a ? a : "",
        b ? "/" : "", b ? b : "", c ? "/" : "", c ? c : "");
    return n > 0 && n < HN_PATH_SIZE;
}

int hn_state_check(const char *state, struct hn_error *err) {
    if (state[0] != '/') {
        hn_fail(
            err, HN_E_INVALID_FIELD, "the state folder \"%.200s\" is not an absolute path", state);
        hn_error_hint(err, "give a path that starts with /");
        return HN_E_INVALID_FIELD;
    }
    /* Room is kept for the longest path that is built below the folder. */
    return strlen(state) > 1024
        ? hn_fail(err, HN_E_INVALID_FIELD, "the path of the state folder is too long")
        : 0;
}

int hn_state_create(const char *state, struct hn_error *err) {
    static const char *const folders[] = {
        "datasets", "evaluations", "models", "records", "reports", "runs", "tmp", "tokens"};
    char path[HN_PATH_SIZE];
    int rc = hn_state_check(state, err);
    for (size_t i = 0; !rc && i < sizeof folders / sizeof folders[0]; i++) {
        hn_state_path(path, state, folders[i], NULL, NULL);
        rc = hn_dir_create(path, err);
        if (!rc && access(path, W_OK | X_OK))
            rc = hn_fail_errno(err, errno, "cannot write in %s", path);
        if (rc)
            hn_error_hint(err, "choose a folder that this user may write with --state");
    }
    return rc;
}

int hn_state_lock(const char *state, int *ret_fd, struct hn_error *err) {
    char path[HN_PATH_SIZE];
    hn_state_path(path, state, "lock", NULL, NULL);
    int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    if (fd < 0)
        return hn_fail_errno(err, errno, "cannot open %s", path);
    /* A daemon that was killed while it started a child holds its lock through that child, until
     * the child has become another program. */
    int held = flock(fd, LOCK_EX | LOCK_NB);
    for (int i = 0; held && errno == EWOULDBLOCK && i < LOCK_TRIES; i++) {
        poll(NULL, 0, LOCK_MS);
        held = flock(fd, LOCK_EX | LOCK_NB);
    }
    if (held) {
        int rc = errno == EWOULDBLOCK
            ? hn_fail(err, HN_E_CONFLICT, "another daemon uses the state folder %.300s", state)
            : hn_fail_errno(err, errno, "cannot lock %s", path);
        hn_error_hint(err, "stop the other one, or choose another folder with --state");
        close(fd);
        return rc;
    }
    *ret_fd = fd;
    return 0;
}

/* Names that this program gives to what it has not finished. In tmp/: an id, of a kind that is made
 * there. */
static bool is_temporary(const char *name) {
    static const char *const kinds[] = {"up", "raw", "mdl", "dir", "eval", "exp", "oof"};
    for (size_t i = 0; i < sizeof kinds / sizeof kinds[0]; i++)
        if (hn_id_valid(kinds[i], name))
            return true;
    return false;
}

static bool is_number(const char *text) {
    return *text && text[strspn(text, "0123456789")] == 0;
}

/* ".tmp-" NAME "-" process, as hn_file_begin makes it, or ".tmp-" and six characters of
 * mkostemp. */
static bool is_half_made_file(const char *name) {
    const char *dash = strrchr(name, '-');
    return strncmp(name, ".tmp-", 5) == 0 &&
        (strlen(name) == 11 || (dash > name + 5 && is_number(dash + 1)));
}

static bool is_half_made_record(const char *name) {
    return is_half_made_file(name) && strstr(name, ".json-");
}

/* A model that is being taken in. */
static bool is_half_made_model(const char *name) {
    return strncmp(name, ".tmp-", 5) == 0 && hn_id_valid("mdl", name + 5);
}

/* The key, 64 digits, and a length (engine/run/token_file.h). */
static bool is_token_file(const char *name) {
    size_t n = strspn(name, "0123456789abcdef");
    return (n == 64 && name[n] == '-' && is_number(name + n + 1)) || is_half_made_file(name);
}

/* Only what is ours by its name: the state folder may have been a folder of somebody's own. */
static void empty(const char *state, const char *folder, bool (*ours)(const char *name)) {
    char path[HN_PATH_SIZE];
    hn_state_path(path, state, folder, NULL, NULL);
    DIR *dir = opendir(path);
    if (!dir)
        return;
    for (struct dirent *entry; (entry = readdir(dir));)
        if (strcmp(entry->d_name, ".") != 0 && strcmp(entry->d_name, "..") != 0 &&
            ours(entry->d_name) && hn_state_path(path, state, folder, entry->d_name, NULL))
            hn_dir_remove(path, NULL);
    closedir(dir);
}

void hn_state_sweep(const char *state) {
    static const struct {
        const char *folder;
        bool (*ours)(const char *name);
    } swept[] = {{"tmp", is_temporary}, {"tokens", is_token_file}, {"models", is_half_made_model},
        {".", is_half_made_record}, {"reports", is_half_made_record},
        {"records/datasets", is_half_made_record}, {"records/models", is_half_made_record},
        {"records/runs", is_half_made_record}};
    for (size_t i = 0; i < sizeof swept / sizeof swept[0]; i++)
        empty(state, swept[i].folder, swept[i].ours);
}

bool hn_state_is_report(const char *name) {
    size_t n = strlen(name);
    return n > 64 + 5 && strspn(name, "0123456789abcdef") == 64 && name[64] == '-' &&
        strcmp(name + n - 5, ".json") == 0;
}

void hn_state_forget_reports(const char *state, const char *sha256) {
    char path[HN_PATH_SIZE];
    DIR *dir = hn_state_path(path, state, "reports", NULL, NULL) ? opendir(path) : NULL;
    for (struct dirent *entry; dir && (entry = readdir(dir));)
        if (hn_state_is_report(entry->d_name) && strstr(entry->d_name, sha256) &&
            hn_state_path(path, state, "reports", entry->d_name, NULL))
            unlink(path);
    if (dir)
        closedir(dir);
}

void hn_state_forget_tokens(const char *state) {
    empty(state, "tokens", is_token_file);
}
