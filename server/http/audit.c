/* See audit.h. */
#include "server/http/audit.h"
#include "server/base/id.h"
#include "server/base/log.h"
#include "server/base/state.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

struct hn_audit {
    char path[HN_PATH_SIZE];
    int fd;
    /* a command beside the daemon: one of the two makes room when the file is long */
    bool guest;
    bool complained; /* about a line that could not be written; once until one can */
};

static int open_file(struct hn_audit *audit, struct hn_error *err) {
    audit->fd = open(audit->path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC | O_NOFOLLOW, 0600);
    return audit->fd >= 0 ? 0 : hn_fail_errno(err, errno, "cannot open %s", audit->path);
}

int hn_audit_create(const char *state, struct hn_audit **ret, struct hn_error *err) {
    struct hn_audit *audit = hn_calloc(1, sizeof *audit);
    if (!audit)
        return hn_fail(err, HN_E_INTERNAL, "out of memory");
    audit->fd = -1;
    int rc = hn_state_path(audit->path, state, "audit.jsonl", NULL, NULL)
        ? open_file(audit, err)
        : hn_fail(err, HN_E_INTERNAL, "path too long");
    if (rc)
        hn_audit_destroy(audit);
    else
        *ret = audit;
    return rc;
}

void hn_audit_destroy(struct hn_audit *audit) {
    if (audit && audit->fd >= 0)
        close(audit->fd);
    free(audit);
}

/* A file that has grown long makes room; one that was moved away is begun anew. */
static void look_at_file(struct hn_audit *audit) {
    char old[HN_PATH_SIZE + 2];
    struct stat own, named;
    bool there = stat(audit->path, &named) == 0,
         known = audit->fd >= 0 && fstat(audit->fd, &own) == 0;
    bool same = there && known && own.st_ino == named.st_ino && own.st_dev == named.st_dev;
    if (same && (audit->guest || own.st_size < HN_AUDIT_BYTES))
        return;
    snprintf(old, sizeof old, "%s.1", audit->path);
    if (same && rename(audit->path, old))
        return; /* rather too long than lost */
    if (audit->fd >= 0)
        close(audit->fd);
    open_file(audit, NULL);
}

static json_t *text_or_null(const char *text) {
    json_t *value = text && *text ? json_string(text) : NULL; /* NULL, too, when it is not UTF-8 */
    return value ? value : json_null();
}

static char *line_text(const struct hn_audit_line *line) {
    char now[HN_TIME_SIZE];
    hn_time_now(now);
    json_t *json = HN_JSON_OBJECT({"time", json_string(now)}, {"key", text_or_null(line->key)},
        {"name", text_or_null(line->name)}, {"address", text_or_null(line->address)},
        {"method", text_or_null(line->method)}, {"route", text_or_null(line->route)},
        {"object", text_or_null(line->object)}, {"status", json_integer(line->status)},
        {"error", text_or_null(line->error)});
    char *text = json ? json_dumps(json, JSON_COMPACT) : NULL;
    json_decref(json);
    return text;
}

void hn_audit_write(struct hn_audit *audit, const struct hn_audit_line *line) {
    struct hn_buf out = {0};
    char *text = audit ? line_text(line) : NULL;
    if (!text)
        return;
    look_at_file(audit);
    hn_buf_printf(&out, "%s\n", text);
    bool written =
        audit->fd >= 0 && !out.failed && write(audit->fd, out.data, out.size) == (ssize_t)out.size;
    if (!written && !audit->complained)
        hn_log(HN_LOG_ERROR, "the audit log cannot be written", "path", audit->path, "error",
            strerror(errno), NULL);
    audit->complained = !written;
    hn_buf_free(&out);
    free(text);
}

void hn_audit_command(const char *state, const char *command, const char *object, int rc) {
    char user[32];
    struct hn_audit *audit = NULL;
    snprintf(user, sizeof user, "uid:%u", (unsigned)getuid());
    struct hn_audit_line line = {.key = user,
        .address = "command line",
        .method = "COMMAND",
        .route = command,
        .object = object,
        .status = rc ? 1 : 0,
        .error = rc ? hn_error_name(rc) : NULL};
    if (hn_audit_create(state, &audit, NULL))
        hn_log(HN_LOG_WARNING, "the audit log cannot be written", "state", state, NULL);
    if (audit)
        audit->guest = true;
    hn_audit_write(audit, &line);
    hn_audit_destroy(audit);
}
