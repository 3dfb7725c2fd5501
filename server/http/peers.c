/* See peers.h. */
#include "server/http/peers.h"

#include <grp.h>
#include <pwd.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define ENTRIES 64
#define GROUPS 1024 /* of a peer that are looked at */
#define NAMES 16
#define NAME_BYTES ((size_t)16 << 10) /* of an account's or group's record */

static const char *const scopes[] = {"read", "submit", "admin"};
#define SCOPES (int)(sizeof scopes / sizeof scopes[0])

struct hn_peers {
    struct {
        bool group;
        unsigned id;
        int scope;
    } entries[ENTRIES];
    size_t n_entries;
    struct {
        uid_t uid;
        char name[HN_OWNER_SIZE];
    } names[NAMES]; /* of users who were here */
    size_t n_names, next_name;
};

static int refuse(struct hn_error *err, const char *entry, const char *what) {
    hn_fail(err, HN_E_INVALID_FIELD, "socket_users: \"%.100s\" %s", entry, what);
    hn_error_field(err, "socket_users");
    hn_error_hint(err,
        "for example alice:submit,@ml:read: names of this machine's users and @groups, with read, "
        "submit or admin");
    return HN_E_INVALID_FIELD;
}

static bool find_user(const char *name, unsigned *ret) {
    char buf[NAME_BYTES];
    struct passwd entry, *found = NULL;
    if (getpwnam_r(name, &entry, buf, sizeof buf, &found) || !found)
        return false;
    *ret = found->pw_uid;
    return true;
}

static bool find_group(const char *name, unsigned *ret) {
    char buf[NAME_BYTES];
    struct group entry, *found = NULL;
    if (getgrnam_r(name, &entry, buf, sizeof buf, &found) || !found)
        return false;
    *ret = found->gr_gid;
    return true;
}

static int add_entry(struct hn_peers *peers, char *text, struct hn_error *err) {
    char whole[128];
    snprintf(whole, sizeof whole, "%s", text);
    char *colon = strrchr(text, ':');
    int scope = 0;
    if (!colon)
        return refuse(err, whole, "has no scope");
    *colon = 0;
    while (scope < SCOPES && strcmp(scopes[scope], colon + 1) != 0)
        scope++;
    if (scope == SCOPES)
        return refuse(err, whole, "has none of the scopes read, submit and admin");
    if (peers->n_entries == ENTRIES)
        return refuse(err, whole, "is one entry too many; put users into groups");
    bool group = text[0] == '@';
    unsigned id;
    if (group ? !find_group(text + 1, &id) : !find_user(text, &id))
        return refuse(
            err, whole, group ? "names no group of this machine" : "names no user of this machine");
    peers->entries[peers->n_entries].group = group;
    peers->entries[peers->n_entries].id = id;
    peers->entries[peers->n_entries++].scope = scope;
    return 0;
}

int hn_peers_create(const char *socket_users, struct hn_peers **ret, struct hn_error *err) {
    struct hn_peers *peers = hn_calloc(1, sizeof *peers);
    char *list = strdup(socket_users), *rest = list;
    int rc = peers && list ? 0 : hn_fail(err, HN_E_INTERNAL, "out of memory");
    for (char *entry; !rc && (entry = strsep(&rest, ","));) {
        entry += strspn(entry, " ");
        entry[strcspn(entry, " ")] = 0;
        if (*entry)
            rc = add_entry(peers, entry, err);
    }
    free(list);
    if (rc)
        hn_peers_destroy(peers);
    else
        *ret = peers;
    return rc;
}

void hn_peers_destroy(struct hn_peers *peers) {
    free(peers);
}

/* "uid:NAME"; by number where the name is not known or too long. Asked once a user, as the answer
 * may come from far away. */
static const char *owner_of(struct hn_peers *peers, uid_t uid) {
    char buf[NAME_BYTES];
    struct passwd entry, *found = NULL;
    for (size_t i = 0; i < peers->n_names; i++)
        if (peers->names[i].uid == uid)
            return peers->names[i].name;
    size_t at = peers->next_name++ % NAMES;
    if (peers->n_names < NAMES)
        peers->n_names++;
    peers->names[at].uid = uid;
    char *name = peers->names[at].name;
    if (getpwuid_r(uid, &entry, buf, sizeof buf, &found) == 0 && found &&
        strlen(found->pw_name) + 5 <= sizeof peers->names[at].name)
        snprintf(name, sizeof peers->names[at].name, "uid:%s", found->pw_name);
    else
        snprintf(name, sizeof peers->names[at].name, "uid:%u", (unsigned)uid);
    return name;
}

static bool is_member(unsigned group, const struct ucred *cred, const gid_t *groups, size_t n) {
    bool member = cred->gid == group;
    for (size_t i = 0; i < n && !member; i++)
        member = groups[i] == group;
    return member;
}

/* -1: none. */
static int scope_of(
    const struct hn_peers *peers, const struct ucred *cred, const gid_t *groups, size_t n) {
    int by_group = -1;
    if (cred->uid == 0 || cred->uid == geteuid())
        return SCOPES - 1;
    for (size_t i = 0; i < peers->n_entries; i++) {
        int scope = peers->entries[i].scope;
        if (!peers->entries[i].group && peers->entries[i].id == cred->uid)
            return scope;
        if (peers->entries[i].group && scope > by_group &&
            is_member(peers->entries[i].id, cred, groups, n))
            by_group = scope;
    }
    return by_group;
}

bool hn_peers_identify(struct hn_peers *peers, int fd, uid_t *ret_uid, struct hn_key *ret) {
    struct ucred cred;
    gid_t groups[GROUPS];
    socklen_t size = sizeof cred, bytes = sizeof groups;
    *ret = (struct hn_key){.id = ""};
    if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &cred, &size))
        return false;
    if (getsockopt(fd, SOL_SOCKET, SO_PEERGROUPS, groups, &bytes))
        /* more than are looked at, or an old kernel: the first group is known all the same */
        bytes = 0;
    int scope = scope_of(peers, &cred, groups, bytes / sizeof *groups);
    *ret_uid = cred.uid;
    if (scope < 0)
        return true;
    snprintf(ret->id, sizeof ret->id, "%s", owner_of(peers, cred.uid));
    snprintf(ret->name, sizeof ret->name, "%s", ret->id + 4);
    snprintf(ret->scope, sizeof ret->scope, "%s", scopes[scope]);
    ret->sees_all = strcmp(scopes[scope], "submit") != 0;
    return true;
}
