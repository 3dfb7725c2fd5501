/*
 * Room server. Puts the daemon together, runs it and takes it apart; main() is here.
 *
 * Nouns: daemon.
 * Ownership: It owns all parts and ends them in the reverse order.
 * May include: api server/base server/care server/cli server/client server/hooks server/http
 *   server/jobs server/library server/process server/server.h server/store server/sweeps.
 */

/* `honed serve`: puts the daemon together, runs it, takes it apart. */
#ifndef HN_SERVER_SERVE_H
#define HN_SERVER_SERVE_H

#include "server/http/http.h"
#include "server/server.h"

/* Returns a process exit status; errors go to the log. `argv` has the options again that `config`
 * was read from: SIGHUP reads them and their file anew, for the level of the log and the
 * certificate. */
int hn_serve(struct hn_config *config, const struct hn_api *api, int argc, char **argv);

#endif
