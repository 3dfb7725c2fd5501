/* See lost.h. The name of an entry begins with the time at which it came in, as
 * "20260131T120000Z-". */
#include "server/base/lost.h"
#include "server/base/id.h"
#include "server/base/log.h"

#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#define STAMP "%Y%m%dT%H%M%SZ"
#define STAMP_SIZE 17 /* with its NUL */

/* A state folder that is a file system's root has a lost+found of the kernel's, which only root may
 * write. */
static const char *folder_name(const char *state) {
    char path[HN_PATH_SIZE];
    bool foreign = hn_state_path(path, state, "lost+found", NULL, NULL) &&
        access(path, F_OK) == 0 && access(path, W_OK | X_OK);
    return foreign ? "lost+found.hone" : "lost+found";
}

static void stamp(int64_t milliseconds, char ret[STAMP_SIZE]) {
    time_t seconds = (time_t)(milliseconds / 1000);
    struct tm tm;
    strftime(ret, STAMP_SIZE, STAMP, gmtime_r(&seconds, &tm));
}

/* A name in lost+found that is not taken; several strays of one second and name get a number. */
static int free_name(const char *state, const char *folder, const char *name,
    char ret[HN_PATH_SIZE], struct hn_error *err) {
    char now[STAMP_SIZE], entry[400];
    struct stat st;
    stamp(hn_time_ms(), now);
    for (int i = 0; i < 1000; i++) {
        int n = snprintf(entry, sizeof entry, i ? "%s-%s%s%s.%d" : "%s-%s%s%s", now,
            folder ? folder : "", folder ? "-" : "", name, i);
        for (char *slash = entry; (slash = strchr(slash, '/'));)
            *slash = '-';
        if (n < 0 || n >= (int)sizeof entry ||
            !hn_state_path(ret, state, folder_name(state), entry, NULL))
            return hn_fail(err, HN_E_INTERNAL, "path too long");
        if (lstat(ret, &st))
            return errno == ENOENT ? 0 : hn_fail_errno(err, errno, "cannot look into lost+found");
    }
    return hn_fail(err, HN_E_CONFLICT, "lost+found holds too many entries of that name");
}

int hn_lost_keep(const char *state, const char *folder, const char *name, const char *why,
    struct hn_error *err) {
    char from[HN_PATH_SIZE], to[HN_PATH_SIZE], dir[HN_PATH_SIZE];
    struct hn_error local = {0};
    if (!err)
        err = &local;
    bool fits = folder ? hn_state_path(from, state, folder, name, NULL)
                       : hn_state_path(from, state, name, NULL, NULL);
    int rc = fits && hn_state_path(dir, state, folder_name(state), NULL, NULL)
        ? hn_dir_create(dir, err)
        : hn_fail(err, HN_E_INTERNAL, "path too long");
    if (!rc)
        rc = free_name(state, folder, name, to, err);
    if (!rc && rename(from, to))
        rc = hn_fail_errno(err, errno, "cannot move %s to lost+found", from);
    if (rc)
        hn_log(HN_LOG_WARNING, "left where it is", "path", from, "why", why, "error", err->message,
            NULL);
    else
        hn_log(HN_LOG_WARNING, "moved to lost+found", "path", from, "to", to, "why", why, NULL);
    return rc;
}

static bool has_stamp(const char *name) {
    for (size_t i = 0; i < STAMP_SIZE - 1; i++)
        if (i == 8 ? name[i] != 'T' : i == 15 ? name[i] != 'Z' : !isdigit((unsigned char)name[i]))
            return false;
    return name[STAMP_SIZE - 1] == '-';
}

void hn_lost_expire(const char *state, int64_t days) {
    char path[HN_PATH_SIZE], limit[STAMP_SIZE];
    DIR *dir =
        days && hn_state_path(path, state, folder_name(state), NULL, NULL) ? opendir(path) : NULL;
    stamp(hn_time_ms() - days * 24 * 3600 * 1000, limit);
    for (struct dirent *entry; dir && (entry = readdir(dir));) {
        if (!has_stamp(entry->d_name) || strncmp(entry->d_name, limit, STAMP_SIZE - 1) >= 0 ||
            !hn_state_path(path, state, folder_name(state), entry->d_name, NULL))
            continue;
        hn_log(HN_LOG_INFO, "deleted from lost+found: older than lost_days", "path", path, NULL);
        hn_dir_remove(path, NULL);
    }
    if (dir)
        closedir(dir);
}
