/* See ballast.h. */
#include "server/store/ballast.h"
#include "server/base/log.h"
#include "server/base/machine.h"
#include "server/base/state.h"

#include <fcntl.h>
#include <unistd.h>

void hn_ballast_take(const char *state, int64_t reserve) {
    char path[HN_PATH_SIZE];
    if (!hn_state_path(path, state, "ballast", NULL, NULL) || access(path, F_OK) == 0 ||
        hn_machine_disk_free(state) < reserve + 2 * HN_BALLAST_BYTES)
        return;
    int fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    if (fd < 0)
        return;
    if (posix_fallocate(fd, 0, HN_BALLAST_BYTES)) /* half of one would be no help */
        unlink(path);
    close(fd);
}

static bool give_back(const char *state) {
    char path[HN_PATH_SIZE];
    if (!hn_state_path(path, state, "ballast", NULL, NULL) || unlink(path))
        return false;
    hn_log(HN_LOG_WARNING,
        "the disk is full; the ballast was given back so that something can be deleted", NULL);
    return true;
}

int hn_ballast_call(
    const char *state, struct hn_store *store, hn_store_fn fn, void *arg, struct hn_error *err) {
    int rc = hn_store_call(store, fn, arg, err);
    if (rc == HN_E_DISK_FULL) {
        hn_state_forget_tokens(state);
        rc = hn_store_call(store, fn, arg, err);
    }
    return rc == HN_E_DISK_FULL && give_back(state) ? hn_store_call(store, fn, arg, err) : rc;
}
