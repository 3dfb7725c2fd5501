/* Files compiled into the binary by server/embed.py: the migrations, the dashboard, the manual,
 * the API's shapes. Lists end with a NULL name. */
#ifndef HN_SERVER_BASE_EMBEDDED_H
#define HN_SERVER_BASE_EMBEDDED_H

#include <stddef.h>

struct hn_embedded {
    const char *name; /* file name without folder */
    const char *data; /* NUL behind the last byte */
    size_t size;
};

extern const struct hn_embedded hn_embedded_migrations[];
extern const struct hn_embedded hn_embedded_web[];
extern const struct hn_embedded hn_embedded_manual[];
extern const struct hn_embedded hn_embedded_schemas[];

#endif
