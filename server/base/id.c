/* See id.h. */
#include "server/base/id.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <time.h>

static const char alphabet[] = "abcdefghijklmnopqrstuvwxyz234567";

void hn_id_make(const char *prefix, char ret[HN_ID_SIZE]) {
    uint8_t bits[16];
    /* 16 bytes come whole from the kernel or the machine is not fit to run a server. */
    if (getrandom(bits, sizeof bits, 0) != (ssize_t)sizeof bits)
        abort();
    int n = snprintf(ret, HN_ID_SIZE - 16, "%s_", prefix);
    for (size_t i = 0; i < sizeof bits; i++)
        ret[(size_t)n + i] = alphabet[bits[i] & 31];
    ret[(size_t)n + sizeof bits] = 0;
}

bool hn_id_valid(const char *prefix, const char *id) {
    size_t n = strlen(prefix);
    return strncmp(id, prefix, n) == 0 && id[n] == '_' && strlen(id + n + 1) == 16 &&
        strspn(id + n + 1, alphabet) == 16;
}

bool hn_name_valid(const char *name) {
    size_t n = strlen(name);
    return n >= 1 && n <= 64 && name[0] != '.' && strcmp(name, "available") != 0 &&
        strspn(name, "abcdefghijklmnopqrstuvwxyz0123456789._-") == n;
}

void hn_time_rfc3339(int64_t milliseconds, char ret[HN_TIME_SIZE]) {
    time_t seconds = (time_t)(milliseconds / 1000);
    struct tm tm;
    gmtime_r(&seconds, &tm);
    size_t n = strftime(ret, HN_TIME_SIZE, "%Y-%m-%dT%H:%M:%S", &tm);
    snprintf(ret + n, HN_TIME_SIZE - n, ".%03dZ", (int)(milliseconds % 1000));
}

static int64_t clock_micros(clockid_t id) {
    struct timespec ts;
    clock_gettime(id, &ts);
    return (int64_t)ts.tv_sec * 1000000 + ts.tv_nsec / 1000;
}

int64_t hn_time_ms(void) {
    return clock_micros(CLOCK_REALTIME) / 1000;
}

int64_t hn_time_tick(void) {
    return hn_time_micros() / 1000;
}

int64_t hn_time_micros(void) {
    return clock_micros(CLOCK_MONOTONIC);
}

void hn_time_now(char ret[HN_TIME_SIZE]) {
    hn_time_rfc3339(hn_time_ms(), ret);
}

struct timespec hn_time_later(int64_t milliseconds) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    t.tv_sec += milliseconds / 1000;
    t.tv_nsec += milliseconds % 1000 * 1000000;
    t.tv_sec += t.tv_nsec / 1000000000;
    t.tv_nsec %= 1000000000;
    return t;
}
