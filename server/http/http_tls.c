/*
 * TLS: the certificate of new connections, which can be changed while others go on with the one
 * they began with.
 *
 * microhttpd reads a certificate once, at its start. A session is given ours right after it was
 * made, before its handshake; the first one is also microhttpd's own.
 */
#include "server/http/http_internal.h"
#include "server/base/log.h"

#include <gnutls/gnutls.h>
#include <microhttpd.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

struct hn_tls {
    int users; /* connections, and the server while it is the newest; loop thread */
    char *cert, *key;
    gnutls_certificate_credentials_t credentials;
};

void hn_tls_free(struct hn_tls *tls) {
    if (!tls || --tls->users > 0)
        return;
    if (tls->credentials)
        gnutls_certificate_free_credentials(tls->credentials);
    free(tls->cert);
    free(tls->key);
    free(tls);
}

static int read_pair(struct hn_tls *tls, const char *cert, const char *key, struct hn_error *err) {
    size_t cert_size, key_size;
    int rc = hn_file_read(cert, 1 << 20, &tls->cert, &cert_size, err);
    if (!rc)
        rc = hn_file_read(key, 1 << 20, &tls->key, &key_size, err);
    if (rc)
        return rc;
    gnutls_datum_t c = {(unsigned char *)tls->cert, (unsigned)cert_size},
                   k = {(unsigned char *)tls->key, (unsigned)key_size};
    int bad = gnutls_certificate_allocate_credentials(&tls->credentials);
    if (bad >= 0)
        bad = gnutls_certificate_set_x509_key_mem(tls->credentials, &c, &k, GNUTLS_X509_FMT_PEM);
    if (bad >= 0)
        return 0;
    hn_fail(err, HN_E_INVALID_FIELD, "%.300s and %.300s cannot be used for TLS: %s", cert, key,
        gnutls_strerror(bad));
    hn_error_hint(err, "check that tls_cert and tls_key are PEM files that belong together");
    return HN_E_INVALID_FIELD;
}

int hn_tls_load(const char *cert, const char *key, struct hn_tls **ret, struct hn_error *err) {
    struct hn_tls *tls = hn_calloc(1, sizeof *tls);
    if (!tls)
        return hn_fail(err, HN_E_INTERNAL, "out of memory");
    tls->users = 1;
    int rc = read_pair(tls, cert, key, err);
    if (rc)
        hn_tls_free(tls);
    else
        *ret = tls;
    return rc;
}

const char *hn_tls_cert(const struct hn_tls *tls) {
    return tls->cert;
}

const char *hn_tls_key(const struct hn_tls *tls) {
    return tls->key;
}

static gnutls_session_t session_of(struct MHD_Connection *connection) {
    const union MHD_ConnectionInfo *info =
        MHD_get_connection_info(connection, MHD_CONNECTION_INFO_GNUTLS_SESSION);
    return info ? info->tls_session : NULL;
}

void hn_tls_use(struct hn_http *http, struct hn_link *link, struct MHD_Connection *connection) {
    gnutls_session_t session = http->tls ? session_of(connection) : NULL;
    if (!session ||
        gnutls_credentials_set(session, GNUTLS_CRD_CERTIFICATE, http->tls->credentials) < 0)
        return;
    link->tls = http->tls;
    link->tls->users++;
}

bool hn_tls_send(struct MHD_Connection *connection, int fd, const char *data, size_t size) {
    gnutls_session_t session = session_of(connection);
    ssize_t n = session ? gnutls_record_send(session, data, size)
                        : send(fd, data, size, MSG_DONTWAIT | MSG_NOSIGNAL);
    return n == (ssize_t)size;
}

int hn_http_renew(struct hn_http *http, const char *cert, const char *key, struct hn_error *err) {
    struct hn_tls *tls = NULL;
    if (!http->tls != !*cert)
        return hn_fail(err, HN_E_INVALID_FIELD, "TLS can only be turned on or off by a restart");
    int rc = http->tls ? hn_tls_load(cert, key, &tls, err) : 0;
    if (!rc && tls) {
        hn_tls_free(http->tls);
        http->tls = tls;
    }
    return rc;
}
