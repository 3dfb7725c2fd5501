/*
 * The daemon's log: one line a happening, key=value or a JSON object, on standard error, where
 * journald and container runtimes take it.
 *
 * Values from outside are quoted and escaped, so that a request cannot forge a line. Safe from any
 * thread: each line is one write(2).
 */
#ifndef HN_SERVER_BASE_LOG_H
#define HN_SERVER_BASE_LOG_H

#include <stdint.h>

enum hn_log_level { HN_LOG_DEBUG, HN_LOG_INFO, HN_LOG_WARNING, HN_LOG_ERROR, HN_LOG_OFF };

enum hn_log_format { HN_LOG_TEXT, HN_LOG_JSON };
#define HN_LOG_LEVELS "debug, info, warning, error, off"
#define HN_LOG_FORMATS "text, json"

/* Lines below `level` are dropped. Called once, before any thread exists. */
void hn_log_setup(enum hn_log_level level, enum hn_log_format format);
void hn_log_level(enum hn_log_level level); /* any time, any thread */
/* hn_log(HN_LOG_INFO, "job claimed", "job", id, "slot", "1", NULL): pairs of texts, NULL-ended; a
 * NULL value ends too. */
void hn_log(enum hn_log_level level, const char *message, ...) __attribute__((sentinel));

struct hn_number {
    char text[24];
};
/* A number as a value of hn_log that lives as long as the full expression: hn_log(…, "bytes",
 * HN_N(size), NULL). */
struct hn_number hn_number_text(int64_t value);
#define HN_N(value) (hn_number_text((int64_t)(value)).text)

#endif
