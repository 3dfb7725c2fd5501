/* `honed serve`: puts the daemon together, runs it, takes it apart. */
#ifndef HN_SERVE_H
#define HN_SERVE_H

#include "server/http.h"

/* Returns a process exit status; errors go to the log. */
int hn_serve(struct hn_config *config, const struct hn_api *api);

#endif
