/*
 * STATE/audit.jsonl: who changed what, or tried to. One line a request that is not GET or HEAD, and
 * a line for each key that the command line makes or revokes:
 *
 *   {"time","key","name","address","method","route","object","status","error"}
 *
 * `key` and `name` are null where nobody was recognised; `object` is what the request made or its
 * path names; `error` is the error's code, or null. A line is one write, in append mode, when the
 * answer is known. At HN_AUDIT_BYTES the daemon makes it audit.jsonl.1 (which replaces the one
 * before) and a new one is begun; whoever wants to keep more moves it away, which is noticed at the
 * next line.
 */
#ifndef HN_SERVER_HTTP_AUDIT_H
#define HN_SERVER_HTTP_AUDIT_H

#include "engine/engine.h"

#include <stdint.h>

#define HN_AUDIT_BYTES ((int64_t)64 << 20)

struct hn_audit;

struct hn_audit_line {
    const char *key, *name, *address, *method, *route, *object, *error; /* NULL or "": null */
    int status;
};

/* The folder must be there; the file is made with mode 0600. One thread. */
int hn_audit_create(const char *state, struct hn_audit **ret, struct hn_error *err);
/* NULL is fine: nothing is written */
void hn_audit_write(struct hn_audit *audit, const struct hn_audit_line *line);
void hn_audit_destroy(struct hn_audit *audit);
/* A line of its own for a command: "key create", the key's id. `rc` as the command's. */
void hn_audit_command(const char *state, const char *command, const char *object, int rc);

#endif
