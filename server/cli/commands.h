/*
 * Room server/cli. The subcommands of honed that work without a running daemon, or beside one.
 *
 * Nouns: command, session (settings and an open store), backup, rebuild, doctor.
 * Ownership: A session closes what it opened.
 * May include: engine/tables server/base server/care server/client server/hooks server/http
 *   server/library server/process server/store.
 */

/* The subcommands that work without a running daemon, or beside one: models, keys, backups, the
 * look at the machine and its speed. */
#ifndef HN_SERVER_CLI_COMMANDS_H
#define HN_SERVER_CLI_COMMANDS_H

#include "server/base/config.h"
#include "server/library/library.h"

/* argv[0] is the word after the subcommand's name. Each returns a process exit status. */
int hn_command_model(int argc, char **argv);
int hn_command_key(int argc, char **argv);
int hn_command_doctor(int argc, char **argv);
int hn_command_backup(int argc, char **argv);
int hn_command_check(int argc, char **argv);
int hn_command_rebuild(int argc, char **argv);
int hn_command_bench(int argc, char **argv);
int hn_command_notify_secret(int argc, char **argv);
int hn_command_check_config(int argc, char **argv);
int hn_command_completion(int argc, char **argv);

/* What they share: the settings, the store and a helper of their own. */
struct hn_session {
    struct hn_config config;
    struct hn_store *store;
    struct hn_helper *helper;
    struct hn_library library;
    int argc; /* what is left in argv when the settings are taken */
    char **argv;
};
/* Opens the store of the state folder that the settings name; `must_exist` makes none. */
int hn_session_open(
    struct hn_session *session, int argc, char **argv, bool must_exist, struct hn_error *err);
void hn_session_close(struct hn_session *session);
/* The settings of a command: those of --config, else, unless --state names a folder, those of the
 * file that hn_config_standard_file() names; then the command line's own. Says on standard error
 * which state a file gave. *ret_argc: as hn_config_arguments. */
int hn_command_config(
    struct hn_config *config, int argc, char **argv, int *ret_argc, struct hn_error *err);
/* Takes "--word value" or "--word=value" out of argv; NULL when it is not there. */
const char *hn_argument_take(int *argc, char **argv, const char *word);
int hn_complain(const struct hn_error *err); /* on standard error; 1 */
int hn_usage(const char *text);              /* likewise; 2 */

#endif
