/* See usage.h. */
#include "server/care/usage.h"

#include <dirent.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define DEPTH_MAX 32

static const struct {
    const char *name, *entry; /* an entry of the state folder, or what its name begins with */
} kinds[HN_USAGE_KINDS] = {
    [HN_USAGE_DATASETS] = {"datasets", "datasets"},
    [HN_USAGE_MODELS] = {"models", "models"},
    [HN_USAGE_RUNS] = {"runs", "runs"},
    [HN_USAGE_EXPORTS] = {"exports", NULL},
    [HN_USAGE_EVALUATIONS] = {"evaluations", "evaluations"},
    [HN_USAGE_TOKENS] = {"tokens", "tokens"},
    [HN_USAGE_LOST] = {"lost", "lost+found"},
    [HN_USAGE_STORE] = {"store", "hone.db"},
    [HN_USAGE_OTHER] = {"other", NULL},
};

const char *hn_usage_name(enum hn_usage_kind kind) {
    return kinds[kind].name;
}

static enum hn_usage_kind kind_of(const char *name) {
    for (size_t i = 0; i < HN_USAGE_KINDS; i++)
        if (kinds[i].entry && strncmp(name, kinds[i].entry, strlen(kinds[i].entry)) == 0)
            return (enum hn_usage_kind)i;
    return HN_USAGE_OTHER;
}

/* `linked`: whether files with other names count here. *ret_exports gets what lies in folders named
 * exports, if not NULL. */
static int64_t walk(int at, const char *name, bool linked, int depth, int64_t *ret_exports) {
    struct stat st;
    if (fstatat(at, name, &st,
            depth ? AT_SYMLINK_NOFOLLOW : 0)) /* a part of the state may lie on another disk */
        return 0;
    int64_t bytes =
        (linked || S_ISDIR(st.st_mode) || st.st_nlink == 1) ? (int64_t)st.st_blocks * 512 : 0;
    if (!S_ISDIR(st.st_mode) || depth >= DEPTH_MAX)
        return bytes;
    int fd = openat(at, name, O_RDONLY | O_DIRECTORY | (depth ? O_NOFOLLOW : 0) | O_CLOEXEC);
    DIR *dir = fd < 0 ? NULL : fdopendir(fd);
    for (struct dirent *entry; dir && (entry = readdir(dir));) {
        if (strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0)
            continue;
        int64_t below = walk(fd, entry->d_name, linked, depth + 1, ret_exports);
        if (ret_exports && depth == 1 && strcmp(entry->d_name, "exports") == 0)
            *ret_exports += below;
        else
            bytes += below;
    }
    if (dir)
        closedir(dir);
    else if (fd >= 0)
        close(fd);
    return bytes;
}

int64_t hn_usage_of(const char *path) {
    return walk(AT_FDCWD, path, false, 0, NULL);
}

void hn_usage_read(const char *state, struct hn_usage *ret) {
    *ret = (struct hn_usage){{0}};
    DIR *dir = opendir(state);
    for (struct dirent *entry; dir && (entry = readdir(dir));) {
        if (strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0)
            continue;
        enum hn_usage_kind kind = kind_of(entry->d_name);
        bool library = kind == HN_USAGE_DATASETS || kind == HN_USAGE_MODELS;
        ret->bytes[kind] += walk(dirfd(dir), entry->d_name, library, 0,
            kind == HN_USAGE_RUNS ? &ret->bytes[HN_USAGE_EXPORTS] : NULL);
    }
    if (dir)
        closedir(dir);
}
