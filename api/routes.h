/* The route table: what the HTTP layer is handed by main. */
#ifndef HN_API_ROUTES_H
#define HN_API_ROUTES_H

#include "server/http/http.h"

const struct hn_api *hn_api_table(void);

#endif
