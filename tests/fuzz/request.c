/* See request.h. */
#include "tests/fuzz/request.h"

#include "api/routes.h"
#include "server/base/config.h"
#include "server/serve.h"

#include <arpa/inet.h>
#include <assert.h>
#include <errno.h>
#include <pthread.h>
#include <sqlite3.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/time.h>
#include <unistd.h>

#define PATIENCE_SECONDS 20
#define ANSWER (1 << 20)

static struct sockaddr_in address = {.sin_family = AF_INET};
static char state[64];

static void set(struct hn_config *config, const char *name, const char *value) {
    struct hn_error err = {0};
    assert(hn_config_set(config, name, value, &err) == 0);
}

static void *serve(void *arg) {
    hn_serve(arg, hn_api_table(), 0, NULL);
    return NULL;
}

/* A store with jobs, data sets and models in it; their files are not there. */
static void fill_store(void) {
    char path[96], *script = NULL;
    size_t size;
    sqlite3 *db;
    snprintf(path, sizeof path, "%s/hone.db", state);
    assert(hn_file_read(HN_FUZZ_STORE, 16 << 20, &script, &size, NULL) == 0);
    assert(sqlite3_open(path, &db) == SQLITE_OK &&
        sqlite3_exec(db, script, NULL, NULL, NULL) == SQLITE_OK);
    sqlite3_close(db);
    free(script);
}

static void take_port(void) {
    socklen_t size = sizeof address;
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), one = 1;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
    assert(bind(fd, (struct sockaddr *)&address, sizeof address) == 0);
    assert(getsockname(fd, (struct sockaddr *)&address, &size) == 0);
    close(fd);
}

static void clean_up(void) {
    hn_dir_remove(state, NULL);
}

static void start(void) {
    static struct hn_config config;
    struct hn_error err = {0};
    char listen[32];
    pthread_t thread;
    snprintf(state, sizeof state, "/dev/shm/hone-fuzz-state-XXXXXX");
    assert(mkdtemp(state) && atexit(clean_up) == 0);
    fill_store();
    take_port();
    snprintf(listen, sizeof listen, "127.0.0.1:%d", ntohs(address.sin_port));
    hn_json_setup();
    hn_config_init(&config);
    set(&config, "listen", listen);
    set(&config, "state", state);
    set(&config, "confine", "no");
    set(&config, "log_level", "error");
    set(&config, "max_upload", "1000000");
    set(&config, "idle_seconds", "1");
    setenv("HONED_TEST_EXE", "/bin/false", 1); /* helpers and trainers that die at once */
    assert(hn_config_resolve(&config, &err) == 0 &&
        pthread_create(&thread, NULL, serve, &config) == 0);
}

/* From an address of its own each time: the ports of one would all be waiting soon. */
static int call(void) {
    static uint32_t caller;
    struct sockaddr_in from = {
        .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK + 1 + caller++ % 0xfffff0)};
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert(fd >= 0 && bind(fd, (struct sockaddr *)&from, sizeof from) == 0);
    for (int tries = 0; connect(fd, (struct sockaddr *)&address, sizeof address); tries++) {
        assert(tries < PATIENCE_SECONDS * 100); /* the daemon starts */
        usleep(10000);
    }
    return fd;
}

/* Of what is wrong on the server's side only the dead helper is expected. */
static void check_answer(const char *text) {
    assert(!*text || strncmp(text, "HTTP/1.", 7) == 0);
    assert(strncmp(text, "HTTP/1.1 500", 12) != 0 || strstr(text, "helper"));
}

/* Reads until there was nothing for the time, or the server hangs up; whether it did. */
static bool hear(int fd, struct timeval patience, char *answer, size_t *n) {
    ssize_t got;
    setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience);
    while ((got = recv(fd, answer + *n, ANSWER - 1 - *n, 0)) > 0)
        *n = *n + (size_t)got < ANSWER / 2 ? *n + (size_t)got : *n;
    answer[*n] = 0;
    return got == 0 || errno != EAGAIN;
}

/* The end of what is sent comes when it has been read: microhttpd misses one that arrives with the
 * bytes before it, and keeps the connection until it has been idle for too long. */
void hn_fuzz_request(const uint8_t *data, size_t size) {
    static char answer[ANSWER];
    size_t n = 0;
    if (!address.sin_port)
        start();
    int fd = call();
    send(fd, data, size, MSG_NOSIGNAL);
    bool closed = hear(fd, (struct timeval){.tv_usec = 10000}, answer, &n);
    shutdown(fd, SHUT_WR);
    if (!closed && !strstr(answer, "text/event-stream"))
        closed = hear(fd, (struct timeval){.tv_sec = PATIENCE_SECONDS}, answer, &n);
    assert(closed || strstr(answer, "text/event-stream"));
    check_answer(answer);
    close(fd);
}
