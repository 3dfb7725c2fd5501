/*
 * The daemon's log: one line a happening, key=value, on standard error, where journald and container runtimes take it.
 *
 * Values from outside are quoted and escaped, so that a request cannot forge a line. Safe from any thread: each line is
 * one write(2).
 */
#ifndef HN_LOG_H
#define HN_LOG_H

#include <stdint.h>

enum hn_log_level { HN_LOG_DEBUG, HN_LOG_INFO, HN_LOG_WARNING, HN_LOG_ERROR, HN_LOG_OFF };

/* Lines below `level` are dropped. Called once, before any thread exists. */
void hn_log_level_set(enum hn_log_level level);
/* hn_log(HN_LOG_INFO, "job claimed", "job", id, "slot", "1", NULL): pairs of texts, NULL-ended; a NULL value ends too. */
void hn_log(enum hn_log_level level, const char *message, ...) __attribute__((sentinel));
int hn_log_level_from_name(const char *name); /* -1 when unknown */

struct hn_number { char text[24]; };
/* A number as a text that lives as long as the full expression: hn_log(…, "bytes", HN_N(size), NULL). */
struct hn_number hn_number_text(int64_t value);
#define HN_N(value) (hn_number_text((int64_t)(value)).text)

#endif
