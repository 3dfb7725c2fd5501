/*
 * Identifiers and times as the API writes them.
 *
 * Ids are a prefix and 16 base-32 characters of kernel randomness (80 bits): unguessable enough not
 * to collide in any number of jobs a machine can hold, short enough to type. Times are RFC 3339 UTC
 * with milliseconds, so that text order is time order and the store can compare them as they are.
 */
#ifndef HN_SERVER_BASE_ID_H
#define HN_SERVER_BASE_ID_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <time.h>

#define HN_ID_SIZE 24   /* "job_" + 16 + NUL, with room */
#define HN_TIME_SIZE 32 /* "2026-01-31T12:00:00.000Z" + NUL, with room */

void hn_id_make(const char *prefix, char ret[HN_ID_SIZE]);
/* True for exactly what hn_id_make gives; everything that becomes part of a path is checked with
 * it. */
bool hn_id_valid(const char *prefix, const char *id);
/* Model names: 1..64 of a-z 0-9 . _ -, not starting with a dot, and not "available", which is a
 * path (GET /models/available). */
bool hn_name_valid(const char *name);

void hn_time_rfc3339(int64_t milliseconds, char ret[HN_TIME_SIZE]);
void hn_time_now(char ret[HN_TIME_SIZE]);
#define HN_DAY_MS ((int64_t)24 * 3600 * 1000)
int64_t hn_time_ms(void);   /* since 1970, for records */
int64_t hn_time_tick(void); /* monotonic milliseconds, for time-outs */
/* on the monotonic clock, for pthread_cond_clockwait */
struct timespec hn_time_later(int64_t milliseconds);
int64_t hn_time_micros(void); /* monotonic microseconds, for what is measured */

#endif
