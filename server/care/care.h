/*
 * Room server/care. What the daemon does once a minute: retention, comparison of content with
 * hashes, disk use.
 *
 * Nouns: care, scrub, usage.
 * Ownership: It owns nothing but its timer.
 * May include: server/base server/jobs server/library server/process server/server.h server/store.
 */

/*
 * What the daemon does once a minute, in a thread of the pool: idle helpers end, what is kept for a
 * time goes (retain_days, retain_bytes, lost_days), the ballast is taken, the disk is measured, and
 * some of what is kept is compared with its hashes.
 */
#ifndef HN_SERVER_CARE_CARE_H
#define HN_SERVER_CARE_CARE_H

#include "server/care/usage.h"

struct hn_care;
struct hn_scrub;
struct hn_server;

/* The first round begins with the loop. */
int hn_care_create(struct hn_server *server, struct hn_care **ret, struct hn_error *err);
void hn_care_destroy(struct hn_care *care); /* when the loop is destroyed */
/* As last measured, a few minutes ago at most. Any thread. */
void hn_care_usage(struct hn_care *care, struct hn_usage *ret);
const struct hn_scrub *hn_care_scrub(const struct hn_care *care);

#endif
