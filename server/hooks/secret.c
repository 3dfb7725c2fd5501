/* See secret.h. HMAC, base64 and random bytes are GnuTLS's. */
#include "server/hooks/secret.h"
#include "server/base/state.h"

#include <errno.h>
#include <fcntl.h>
#include <gnutls/crypto.h>
#include <gnutls/gnutls.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define PREFIX "whsec_"
#define NAME "notify_secret"
#define BYTES_MIN 24
#define BYTES_MADE 32

static const char *path_of(const struct hn_config *config, char ret[HN_PATH_SIZE]) {
    if (*config->notify_secret_file)
        return config->notify_secret_file;
    return hn_state_path(ret, config->state, NAME, NULL, NULL) ? ret : NULL;
}

/* 0600 from its first byte; linked to its name, so that another's is never replaced. */
static int make_file(const char *path, struct hn_error *err) {
    unsigned char bytes[BYTES_MADE];
    gnutls_datum_t raw = {bytes, sizeof bytes}, text = {0};
    char tmp[HN_PATH_SIZE], line[128];
    if (snprintf(tmp, sizeof tmp, "%s.tmp-%d", path, (int)getpid()) >= (int)sizeof tmp)
        return hn_fail(err, HN_E_INTERNAL, "path too long");
    if (gnutls_rnd(GNUTLS_RND_KEY, bytes, sizeof bytes) || gnutls_base64_encode2(&raw, &text))
        return hn_fail(err, HN_E_INTERNAL, "cannot make a secret");
    int n = snprintf(line, sizeof line, PREFIX "%.*s\n", (int)text.size, (char *)text.data);
    gnutls_memset(bytes, 0, sizeof bytes);
    gnutls_free(text.data);
    unlink(tmp);
    int fd = open(tmp, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
    int rc = fd < 0 ? hn_fail_errno(err, errno, "cannot make %.300s", tmp)
                    : hn_write_all(fd, line, (size_t)n, err);
    if (!rc && (fsync(fd) || (link(tmp, path) && errno != EEXIST)))
        rc = hn_fail_errno(err, errno, "cannot make %.300s", path);
    if (fd >= 0)
        close(fd);
    unlink(tmp);
    return rc;
}

static int refuse(struct hn_error *err, const char *path, const char *why) {
    hn_fail(err, HN_E_INVALID_FIELD, "the secret of notices, %.300s: %s", path, why);
    hn_error_field(err, "notify_secret_file");
    hn_error_hint(err,
        "a line of \"" PREFIX "\" and base64 of 24 to 64 random bytes, in a file that others "
        "cannot read: (umask 077; echo " PREFIX "$(openssl rand -base64 32) > FILE)");
    return HN_E_INVALID_FIELD;
}

static int decode(const char *path, struct hn_hook_secret *ret, struct hn_error *err) {
    gnutls_datum_t raw = {0};
    const char *base64 = ret->text + strlen(PREFIX);
    if (strncmp(ret->text, PREFIX, strlen(PREFIX)) != 0)
        return refuse(err, path, "it does not begin with " PREFIX);
    gnutls_datum_t text = {(unsigned char *)(uintptr_t)base64, (unsigned)strlen(base64)};
    if (gnutls_base64_decode2(&text, &raw))
        return refuse(err, path, "it is no base64");
    bool good = raw.size >= BYTES_MIN && raw.size <= sizeof ret->bytes;
    if (good)
        memcpy(ret->bytes, raw.data, raw.size);
    ret->size = good ? raw.size : 0;
    gnutls_memset(raw.data, 0, raw.size);
    gnutls_free(raw.data);
    return good ? 0 : refuse(err, path, "it has not 24 to 64 bytes");
}

static int read_file(const char *path, struct hn_hook_secret *ret, struct hn_error *err) {
    struct stat st;
    char *text;
    size_t size;
    *ret = (struct hn_hook_secret){0};
    int rc = hn_file_read(path, 4096, &text, &size, err);
    if (rc)
        return rc;
    size_t n = strcspn(text, "\r\n");
    if (stat(path, &st) || (st.st_mode & S_IRWXO))
        rc = refuse(err, path, "everybody on this machine may open it");
    else if (n >= sizeof ret->text || n + strspn(text + n, "\r\n") != size)
        rc = refuse(err, path, "it is not one line");
    else
        memcpy(ret->text, text, n);
    gnutls_memset(text, 0, size);
    free(text);
    return rc ? rc : decode(path, ret, err);
}

int hn_hook_secret_open(
    const struct hn_config *config, bool make, struct hn_hook_secret *ret, struct hn_error *err) {
    char own[HN_PATH_SIZE];
    const char *path = path_of(config, own);
    if (!path)
        return hn_fail(err, HN_E_INTERNAL, "path too long");
    if (access(path, F_OK) && errno == ENOENT) {
        int rc = 0;
        if (path == own && make) {
            rc = make_file(path, err);
        } else if (path == own) {
            rc = hn_fail(err, HN_E_NOT_FOUND, "there is no secret yet");
            hn_error_hint(err, "the server makes it when it starts with the setting notify_hosts");
        } else {
            rc = refuse(err, path, "there is no such file");
        }
        if (rc)
            return rc;
    }
    return read_file(path, ret, err);
}

int hn_hook_sign(const struct hn_hook_secret *secret, const char *id, int64_t timestamp,
    const char *body, char ret[HN_HOOK_SIGNATURE], struct hn_error *err) {
    unsigned char digest[32];
    gnutls_datum_t raw = {digest, sizeof digest}, text = {0};
    struct hn_buf message = {0};
    hn_buf_printf(&message, "%s.%lld.", id, (long long)timestamp);
    hn_buf_text(&message, body);
    bool good = !message.failed &&
        gnutls_hmac_fast(GNUTLS_MAC_SHA256, secret->bytes, secret->size, message.data, message.size,
            digest) == 0 &&
        gnutls_base64_encode2(&raw, &text) == 0;
    if (good)
        snprintf(ret, HN_HOOK_SIGNATURE, "v1,%.*s", (int)text.size, (char *)text.data);
    if (good)
        gnutls_free(text.data);
    hn_buf_free(&message);
    return good ? 0 : hn_fail(err, HN_E_INTERNAL, "cannot sign a notice");
}
