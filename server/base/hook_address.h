/*
 * Addresses that notices of ended jobs go to (webhooks): read strictly, and compared by name with
 * the setting notify_hosts.
 */
#ifndef HN_SERVER_BASE_HOOK_ADDRESS_H
#define HN_SERVER_BASE_HOOK_ADDRESS_H

#include "engine/engine.h"

struct hn_hook_address {
    char host[256]; /* lower case; an IPv6 address with its brackets */
    int port;
};

/* Reads http://host[:port][/path][?query], https likewise: ASCII without spaces, users and
 * fragments, so that whoever calls the address reads it the same way. HN_E_INVALID_FIELD. */
int hn_hook_address_read(const char *url, struct hn_hook_address *ret, struct hn_error *err);
/* Whether `hosts` ("a.example,b.example:8080") admits the address; an entry without a port stands
 * for 80 and 443. HN_E_INVALID_FIELD, with the setting's name in the hint. */
int hn_hook_address_allowed(const char *url, const char *hosts, struct hn_error *err);
/* Whether every entry of the setting can be read. */
int hn_hook_hosts_check(const char *hosts, struct hn_error *err);

#endif
