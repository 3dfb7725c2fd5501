/*
 * The secret that notices are signed with, in the form and by the rules of Standard Webhooks
 * (standardwebhooks.com): "whsec_" and base64 of 24 to 64 bytes, in a file of one line.
 */
#ifndef HN_SERVER_HOOKS_SECRET_H
#define HN_SERVER_HOOKS_SECRET_H

#include "server/base/config.h"

struct hn_hook_secret {
    unsigned char bytes[64];
    unsigned size;
    char text[128]; /* as the file has it */
};

/* Of the file that the settings name. Where they name none and `make` is set, the state folder's is
 * made if it is not there. */
int hn_hook_secret_open(
    const struct hn_config *config, bool make, struct hn_hook_secret *ret, struct hn_error *err);

#define HN_HOOK_SIGNATURE 64
/* "v1," and base64 of HMAC-SHA256(secret, "id.timestamp.body"); `timestamp` in seconds. */
int hn_hook_sign(const struct hn_hook_secret *secret, const char *id, int64_t timestamp,
    const char *body, char ret[HN_HOOK_SIGNATURE], struct hn_error *err);

#endif
