/* See watchdog.h. */
#include "server/http/watchdog.h"
#include "server/base/log.h"
#include "server/base/notify.h"

#include <errno.h>
#include <fcntl.h>
#include <gnutls/gnutls.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define ANSWER_MS 10000 /* at most; not more than the time between two signs */
#define AGAIN_MS 1000   /* after a question without an answer */

struct hn_watchdog {
    pthread_t thread;
    struct sockaddr_storage address;
    socklen_t address_size;
    int64_t every_ms;
    bool tls;
    int spare; /* a descriptor, so that the question can be asked when there is no other left */
    pthread_mutex_t lock;
    pthread_cond_t wake;
    bool stop; /* under the lock */
};

static const char question[] =
    "GET /healthz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";

/* Any status will do: an overloaded server is alive. */
static bool is_answer(const char *text, ssize_t size) {
    return size >= 9 && strncmp(text, "HTTP/1.1 ", 9) == 0;
}

static bool ask_plain(int fd) {
    char text[64];
    return send(fd, question, sizeof question - 1, MSG_NOSIGNAL) == sizeof question - 1 &&
        is_answer(text, recv(fd, text, sizeof text, MSG_WAITALL));
}

/* It is our own socket: who answers there need not be proved. */
static bool ask_tls(int fd, unsigned limit_ms) {
    gnutls_session_t session = NULL;
    gnutls_certificate_credentials_t credentials = NULL;
    char text[64];
    bool good = gnutls_certificate_allocate_credentials(&credentials) >= 0 &&
        gnutls_init(&session, GNUTLS_CLIENT | GNUTLS_NO_SIGNAL) >= 0 &&
        gnutls_set_default_priority(session) >= 0 &&
        gnutls_credentials_set(session, GNUTLS_CRD_CERTIFICATE, credentials) >= 0;
    if (good) {
        gnutls_transport_set_int(session, fd);
        gnutls_handshake_set_timeout(session, limit_ms);
        int rc;
        while ((rc = gnutls_handshake(session)) < 0 && rc != GNUTLS_E_AGAIN &&
            !gnutls_error_is_fatal(rc)) {
        }
        good = rc >= 0 &&
            gnutls_record_send(session, question, sizeof question - 1) == sizeof question - 1;
        ssize_t n = GNUTLS_E_INTERRUPTED;
        while (good &&
            (n == GNUTLS_E_INTERRUPTED ||
                (n < 0 && n != GNUTLS_E_AGAIN && !gnutls_error_is_fatal((int)n))))
            n = gnutls_record_recv(session, text, sizeof text);
        good = good && is_answer(text, n);
    }
    if (session)
        gnutls_deinit(session);
    if (credentials)
        gnutls_certificate_free_credentials(credentials);
    return good;
}

static bool ask(struct hn_watchdog *w) {
    int64_t limit = w->every_ms < ANSWER_MS ? w->every_ms : ANSWER_MS;
    struct timeval time = {limit / 1000, limit % 1000 * 1000};
    if (w->spare >= 0)
        close(w->spare);
    int fd = socket(w->address.ss_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
    bool good = fd >= 0 && setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &time, sizeof time) == 0 &&
        setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &time, sizeof time) == 0 &&
        connect(fd, (const struct sockaddr *)&w->address, w->address_size) == 0 &&
        (w->tls ? ask_tls(fd, (unsigned)limit) : ask_plain(fd));
    if (fd >= 0)
        close(fd);
    if (good)
        hn_notify("WATCHDOG=1"); /* with the descriptor that has just come back */
    w->spare = open("/dev/null", O_RDONLY | O_CLOEXEC);
    return good;
}

/* True when it is time to leave. */
static bool rest(struct hn_watchdog *w, int64_t ms) {
    struct timespec until;
    clock_gettime(CLOCK_MONOTONIC, &until);
    int64_t nanos = until.tv_nsec + ms % 1000 * 1000000;
    until.tv_sec += ms / 1000 + nanos / 1000000000;
    until.tv_nsec = nanos % 1000000000;
    pthread_mutex_lock(&w->lock);
    while (!w->stop && pthread_cond_timedwait(&w->wake, &w->lock, &until) != ETIMEDOUT) {
    }
    bool stop = w->stop;
    pthread_mutex_unlock(&w->lock);
    return stop;
}

static void *run(void *arg) {
    struct hn_watchdog *w = arg;
    bool good = true, was_good = true;
    do {
        good = ask(w);
        if (was_good && !good)
            hn_log(HN_LOG_WARNING, "the server does not answer itself", "hint",
                "it is started again by the watchdog when that goes on", NULL);
        was_good = good;
    } while (!rest(w, good || w->every_ms < AGAIN_MS ? w->every_ms : AGAIN_MS));
    return NULL;
}

int hn_watchdog_create(
    const struct hn_http *http, bool tls, struct hn_watchdog **ret, struct hn_error *err) {
    int64_t every = hn_notify_watchdog_ms();
    *ret = NULL;
    if (!every)
        return 0;
    struct hn_watchdog *w = hn_calloc(1, sizeof *w);
    if (!w)
        return hn_fail(err, HN_E_INTERNAL, "out of memory");
    w->every_ms = every;
    w->tls = tls;
    w->spare = open("/dev/null", O_RDONLY | O_CLOEXEC);
    w->address_size = hn_http_socket(http, &w->address);
    pthread_condattr_t attr;
    pthread_condattr_init(&attr);
    pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
    pthread_cond_init(&w->wake, &attr);
    pthread_condattr_destroy(&attr);
    pthread_mutex_init(&w->lock, NULL);
    sigset_t all, old;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &old); /* signals belong to the loop */
    int failed = pthread_create(&w->thread, NULL, run, w);
    pthread_sigmask(SIG_SETMASK, &old, NULL);
    if (failed) {
        if (w->spare >= 0)
            close(w->spare);
        pthread_cond_destroy(&w->wake);
        pthread_mutex_destroy(&w->lock);
        free(w);
        return hn_fail_errno(err, failed, "cannot start the watchdog's thread");
    }
    *ret = w;
    return 0;
}

void hn_watchdog_destroy(struct hn_watchdog *w) {
    if (!w)
        return;
    pthread_mutex_lock(&w->lock);
    w->stop = true;
    pthread_cond_signal(&w->wake);
    pthread_mutex_unlock(&w->lock);
    pthread_join(w->thread, NULL);
    if (w->spare >= 0)
        close(w->spare);
    pthread_cond_destroy(&w->wake);
    pthread_mutex_destroy(&w->lock);
    free(w);
}
