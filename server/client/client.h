/*
 * Room server/client. The subcommands of honed that ask a running server over HTTP.
 *
 * Nouns: endpoint (where the server is), ask and answer, command, arguments, screen.
 * Ownership: A client keeps what was made for one command, texts too, until it is finished.
 * May include: engine server/base.
 */

/*
 * What all commands share: arguments by the table client.def, the server that is asked, errors as
 * it tells them, names instead of ids.
 *
 * Functions that return an exit status have said what went wrong when it is not 0.
 */
#ifndef HN_SERVER_CLIENT_CLIENT_H
#define HN_SERVER_CLIENT_CLIENT_H

#include "server/client/screen.h"
#include "server/client/transfer.h"

enum hn_client_status {
    HN_CLIENT_WELL = 0,
    HN_CLIENT_FAILED = 1, /* refused by the server, or it failed here */
    HN_CLIENT_USAGE = 2,
    HN_CLIENT_UNREACHABLE = 3,
    HN_CLIENT_JOB_FAILED = 4,    /* a job that was waited for failed or was cancelled */
    HN_CLIENT_INTERRUPTED = 130, /* by Ctrl-C, while waiting */
};

struct hn_given_option {
    const char *name, *value;
};

struct hn_client {
    /* the arguments, borrowed from argv */
    const char *command;
    char **words;
    int n_words;
    struct hn_given_option *options;
    size_t n_options;
    /* the server */
    struct hn_endpoint at;
    struct hn_transfer *transfer;
    bool json;
    /* of the last ask */
    enum hn_outcome outcome;
    struct hn_error err;
    char **kept;
    size_t n_kept, kept_capacity;
};

/* Runs the command of that name; false when there is none. */
bool hn_client_command(const char *name, int argc, char **argv, int *ret_status);
void hn_client_list(FILE *file); /* the commands, a line each */

/* The table, for completion: each command, and each option of a command (letter 0, value NULL:
 * there is none). */
void hn_client_each_command(void (*each)(void *ud, const char *name, const char *what), void *ud);
bool hn_client_takes_job(const char *command); /* its words name jobs */
void hn_client_each_option(const char *command,
    void (*each)(void *ud, const char *name, char letter, const char *value, const char *help),
    void *ud);

/* The last value of an option, "" of a flag; NULL when it was not given. */
const char *hn_client_option(const struct hn_client *client, const char *name);
/* Says what is wrong with the arguments; HN_CLIENT_USAGE. */
int hn_client_usage(const struct hn_client *client, const char *format, ...)
    __attribute__((format(printf, 2, 3)));
/* Says an error of our own; HN_CLIENT_FAILED. */
int hn_client_fail(struct hn_client *client, const char *hint, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
/* Finds the server by options, environment and configuration file. */
int hn_client_connect(struct hn_client *client);
bool hn_client_is_here(const struct hn_client *client); /* the server is on this machine */

/* Keeps an allocated text until the end; "" for NULL. */
char *hn_client_keep(struct hn_client *client, char *text);
/* Frees what was kept since `mark`, a former n_kept: for loops that go on for days. */
void hn_client_forget(struct hn_client *client, size_t mark);
/* `format` with %s only, each percent-encoded. */
const char *hn_client_path(struct hn_client *client, const char *format, ...);
/* As the server says; the error is in client->err and nothing is printed. */
enum hn_outcome hn_client_try(
    struct hn_client *client, const struct hn_ask *ask, struct hn_answer *ret);
/* Prints client->err and the details of an answer; the exit status of client->outcome. */
int hn_client_complain(struct hn_client *client, const struct hn_answer *answer);
/* The same two in one; *ret is the answer's JSON, a new reference (NULL when there is none). */
int hn_client_call(struct hn_client *client, const char *method, const char *path,
    const json_t *body, json_t **ret);
int hn_client_get(struct hn_client *client, const char *path, json_t **ret);
/* All pages of a list, at most `most` rows. */
int hn_client_rows(struct hn_client *client, const char *path, size_t most, json_t **ret);

/* The job, data set or model that a word names: its id, its name, or how its id begins. */
enum hn_named { HN_NAMED_JOB, HN_NAMED_DATASET, HN_NAMED_MODEL, HN_NAMED_SWEEP };
int hn_client_find(struct hn_client *client, enum hn_named kind, const char *word, json_t **ret);
/* What can be asked for answers: a job, or else a base model. */
int hn_client_find_asked(
    struct hn_client *client, const char *word, enum hn_named *ret_kind, json_t **ret);
json_t *hn_client_step(const char *text); /* --step: a number, or a word */
bool hn_client_ended(const json_t *job);
bool hn_client_to_stdout(void *ud, long status, const char *data, size_t size); /* a sink */
/* A member by its path, "progress.step"; NULL when it is not there. Borrowed. */
json_t *hn_member(const json_t *object, const char *path);
/* A member as a text that is fit for a terminal; "-" when it is missing or null. */
const char *hn_client_text(struct hn_client *client, const json_t *object, const char *path);
double hn_member_number(const json_t *object, const char *path); /* NaN when it is none */
/* Prints the API's own answer; takes nothing over. */
void hn_client_print_json(const json_t *value);

/* Asks on a terminal whether to do what cannot be undone; --yes answers. */
int hn_client_confirm(struct hn_client *client, const char *what);

/* Shows on a `struct hn_bar` how much of a request is sent; for struct hn_ask. */
bool hn_client_on_upload(void *bar, int64_t sent, int64_t to_send);
/* Shows a job's progress until it ends, then its result. HN_CLIENT_JOB_FAILED when it did not
 * succeed, HN_CLIENT_INTERRUPTED after Ctrl-C. */
int hn_client_follow(struct hn_client *client, const char *id);

int hn_client_submit(struct hn_client *client);
int hn_client_watch(struct hn_client *client);
int hn_client_logs(struct hn_client *client);
int hn_client_metrics(struct hn_client *client);
int hn_client_predict(struct hn_client *client);
int hn_client_chat(struct hn_client *client);
int hn_client_evaluate(struct hn_client *client);
int hn_client_download(struct hn_client *client);
int hn_client_compare(struct hn_client *client);
int hn_client_sweep(struct hn_client *client);
int hn_client_report(struct hn_client *client);
int hn_client_jobs(struct hn_client *client);
int hn_client_show(struct hn_client *client);
int hn_client_cancel(struct hn_client *client);
int hn_client_pause(struct hn_client *client);
int hn_client_resume(struct hn_client *client);
int hn_client_delete(struct hn_client *client);
int hn_client_models(struct hn_client *client);
int hn_client_models_list(struct hn_client *client);
int hn_client_datasets(struct hn_client *client);

#endif
