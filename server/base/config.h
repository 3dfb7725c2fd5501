/*
 * Settings of the daemon: one table makes the defaults, the file reader, the long options and the
 * help.
 *
 * A file holds `key = value` lines and # comments; the command line goes before the file.
 * Everything is checked at start: a wrong setting stops the daemon with a sentence, it never
 * surfaces later.
 */
#ifndef HN_SERVER_BASE_CONFIG_H
#define HN_SERVER_BASE_CONFIG_H

#include "engine/engine.h"

#include <stdbool.h>
#include <stdint.h>

struct hn_config {
    char *listen; /* "address:port"; port 0 takes a free one */
    /* folder of everything the daemon keeps; NULL until hn_config_finish_defaults */
    char *state;
    char *model_dirs; /* folders, joined by ':', from which POST /models may import; "" = none */
    /* names, joined by ',', by which the server is known besides its addresses */
    char *allowed_hosts;
    char *tls_cert, *tls_key;
    char *socket, *socket_users; /* path of a Unix socket; "alice:submit,@ml:read" */
    char *notify_hosts, *notify_secret_file;
    char *require_keys; /* "auto" (only when listening beyond loopback), "yes", "no" */
    int64_t slots, threads, memory, max_upload, max_body, token_cache, disk_reserve, grace_seconds,
        hang_seconds, idle_seconds;
    int64_t retain_days, retain_bytes, lost_days, scrub_days, care_seconds;
    int64_t helpers, helper_seconds, serving, inference_share;
    int64_t request_memory; /* bytes, of all requests that are worked on */
    int64_t max_connections, max_per_client;
    int64_t log_level, log_format; /* enum hn_log_level, hn_log_format */
    bool audit;                    /* changes are written to STATE/audit.jsonl */
    bool confine;                  /* children see only their own files */
    bool insecure;                 /* listen beyond loopback without TLS */
};

void hn_config_init(struct hn_config *config);
void hn_config_finish(struct hn_config *config);
/* A whole number, or a size with K, M, G or T; false when it is none. */
bool hn_config_number(const char *text, bool size, int64_t *ret);
int hn_config_set(
    struct hn_config *config, const char *name, const char *value, struct hn_error *err);
int hn_config_load(struct hn_config *config, const char *path, struct hn_error *err);
/* The same, but goes on after a line that cannot be used: `each` is told of all of them. */
int hn_config_check(struct hn_config *config, const char *path,
    void (*each)(void *ud, const struct hn_error *problem), void *ud, struct hn_error *err);
/* Takes --name value and --name=value (dashes or underscores) from argv and moves what is left, in
 * order, to its front; `--config F` is read first whatever its place. Ends at "--". Returns the
 * number left in *ret_argc. */
int hn_config_arguments(
    struct hn_config *config, int argc, char **argv, int *ret_argc, struct hn_error *err);
/* The file that commands read where none is named: HONE_CONFIG, or /etc/honed.conf where this user
 * can read it; NULL when there is none. HONE_CONFIG= (empty) means none. */
const char *hn_config_standard_file(void);
/* Fills what depends on the machine and environment: state folder, memory, threads. */
int hn_config_resolve(struct hn_config *config, struct hn_error *err);
/* The options, one a line, for --help. Caller frees. */
char *hn_config_help(void);
/* [{"name","type","default","min","max","help"}], for the manual; "default" null: found out at
 * start. */
json_t *hn_config_schema(void);

#endif
