/*
 * Local users on the Unix socket: who they are is told by the kernel (SO_PEERCRED, SO_PEERGROUPS),
 * what they may by the setting socket_users, "alice:submit,@ml:read". A user's own entry goes
 * before those of groups, of which the highest scope counts. root and the daemon's own user are
 * admins. What a local user makes belongs to "uid:NAME"; read and admin see everything, submit its
 * own.
 */
#ifndef HN_SERVER_HTTP_PEERS_H
#define HN_SERVER_HTTP_PEERS_H

#include "server/store/store_files.h"

#include <sys/types.h>

struct hn_peers;

/* Finds the names' numbers; HN_E_INVALID_FIELD with the entry that is wrong. */
int hn_peers_create(const char *socket_users, struct hn_peers **ret, struct hn_error *err);
void hn_peers_destroy(struct hn_peers *peers);
/* Who is at the other end; ret->id "" when that user has no scope here. False when it cannot be
 * told. Loop thread. */
bool hn_peers_identify(struct hn_peers *peers, int fd, uid_t *ret_uid, struct hn_key *ret);

#endif
