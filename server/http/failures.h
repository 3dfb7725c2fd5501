/*
 * Addresses that send wrong keys. After a few, further wrong keys of the address are answered with
 * 429 for a time that doubles with each, up to a minute. A good key is served at any time, and ends
 * the waiting of its address, which may be that of a proxy. The table is of a fixed size: the
 * address whose last failure is longest ago makes room. One thread.
 */
#ifndef HN_SERVER_HTTP_FAILURES_H
#define HN_SERVER_HTTP_FAILURES_H

#include <stdint.h>

#define HN_FAILURES_FREE 5           /* wrong keys without a consequence */
#define HN_FAILURES_MOST_MS 60000    /* that an address waits at most */
#define HN_FAILURES_FORGET_MS 600000 /* without another one */
#define HN_FAILURES_GOOD_MS 60000 /* after a good key the address is not made to wait for so long */

struct hn_address {
    unsigned char bytes[8]; /* IPv4, the first 64 bits of IPv6, or a local user's number */
    unsigned char kind;     /* 4, 6, or 1 */
};

struct hn_failures;
struct hn_failures *hn_failures_create(void); /* NULL: out of memory */
void hn_failures_destroy(struct hn_failures *failures);
/* A wrong key at the tick `now`: 0, or for how many milliseconds the address is still made to
 * wait. */
int64_t hn_failures_add(
    struct hn_failures *failures, const struct hn_address *address, int64_t now);
void hn_failures_good(struct hn_failures *failures, const struct hn_address *address, int64_t now);

#endif
