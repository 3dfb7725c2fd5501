/* See log.h. Level and format are the process-wide settings; only the level may change while
 * threads run. */
#include "server/base/log.h"
#include "engine/engine.h"
#include "server/base/id.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define NUMBER '\1' /* what HN_N puts before its digits: numbers among texts */

static _Atomic int threshold = HN_LOG_INFO;
static enum hn_log_format format = HN_LOG_TEXT;
static const char *const names[] = {"debug", "info", "warning", "error", "off"};

void hn_log_setup(enum hn_log_level level, enum hn_log_format form) {
    threshold = (int)level;
    format = form;
}

void hn_log_level(enum hn_log_level level) {
    threshold = (int)level;
}

struct hn_number hn_number_text(int64_t value) {
    struct hn_number number;
    snprintf(number.text, sizeof number.text, "%c%lld", NUMBER, (long long)value);
    return number;
}

/* The digits of a value that HN_N made; NULL for any other. */
static const char *digits_of(const char *value) {
    const char *digits = *value == NUMBER ? value + 1 : NULL;
    return digits && *digits && strspn(digits, "-0123456789") == strlen(digits) ? digits : NULL;
}

static void append_value(struct hn_buf *line, const char *value) {
    const char *digits = digits_of(value);
    value = digits ? digits : value;
    bool plain = *value && strcspn(value, " \"=\\") == strlen(value);
    for (const char *s = value; *s && plain; s++)
        plain = (unsigned char)*s > 0x20 && (unsigned char)*s != 0x7f;
    if (plain) {
        hn_buf_text(line, value);
        return;
    }
    hn_buf_char(line, '"');
    for (const char *s = value; *s; s++) {
        unsigned char c = (unsigned char)*s;
        if (c == '"' || c == '\\')
            hn_buf_printf(line, "\\%c", c);
        else if (c < 0x20 || c == 0x7f)
            hn_buf_printf(line, "\\x%02x", c);
        else
            hn_buf_char(line, (char)c);
    }
    hn_buf_char(line, '"');
}

static void write_text(struct hn_buf *line, const char *now, enum hn_log_level level,
    const char *message, va_list ap) {
    hn_buf_printf(line, "time=%s level=%s msg=", now, names[level]);
    append_value(line, message);
    for (const char *key, *value;
         (key = va_arg(ap, const char *)) && (value = va_arg(ap, const char *));) {
        hn_buf_printf(line, " %s=", key);
        append_value(line, value);
    }
}

static void write_json(struct hn_buf *line, const char *now, enum hn_log_level level,
    const char *message, va_list ap) {
    json_t *object = json_pack("{s:s,s:s,s:o}", "time", now, "level", names[level], "message",
        hn_json_text(message, strlen(message)));
    for (const char *key, *value;
         (key = va_arg(ap, const char *)) && (value = va_arg(ap, const char *));) {
        const char *digits = digits_of(value);
        json_object_set_new(object, key,
            digits ? json_integer(strtoll(digits, NULL, 10)) : hn_json_text(value, strlen(value)));
    }
    char *text = object ? json_dumps(object, JSON_COMPACT) : NULL;
    hn_buf_text(line, text ? text : "{}");
    free(text);
    json_decref(object);
}

void hn_log(enum hn_log_level level, const char *message, ...) {
    if ((int)level < threshold)
        return;
    char now[HN_TIME_SIZE];
    hn_time_now(now);
    struct hn_buf line = {.ceiling = 65536};
    va_list ap;
    va_start(ap, message);
    (format == HN_LOG_JSON ? write_json : write_text)(&line, now, level, message, ap);
    va_end(ap);
    hn_buf_char(&line, '\n');
    if (!line.failed && write(STDERR_FILENO, line.data, line.size) < 0) {
        /* There is nowhere left to say that the log itself is gone. */
    }
    hn_buf_free(&line);
}
