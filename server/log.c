/* See log.h. The level is the one process-wide setting; it is written once before threads start. */
#include "server/log.h"
#include "engine/engine.h"
#include "server/id.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

static enum hn_log_level threshold = HN_LOG_INFO;
static const char *const names[] = {"debug", "info", "warning", "error", "off"};

void hn_log_level_set(enum hn_log_level level) {
    threshold = level;
}

int hn_log_level_from_name(const char *name) {
    for (int i = 0; i <= HN_LOG_OFF; i++)
        if (strcmp(names[i], name) == 0)
            return i;
    return -1;
}

struct hn_number hn_number_text(int64_t value) {
    struct hn_number number;
    snprintf(number.text, sizeof number.text, "%lld", (long long)value);
    return number;
}

static void append_value(struct hn_buf *line, const char *value) {
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

void hn_log(enum hn_log_level level, const char *message, ...) {
    if (level < threshold)
        return;
    char now[HN_TIME_SIZE];
    hn_time_now(now);
    struct hn_buf line = {.ceiling = 16384};
    hn_buf_printf(&line, "time=%s level=%s msg=", now, names[level]);
    append_value(&line, message);
    va_list ap;
    va_start(ap, message);
    for (const char *key; (key = va_arg(ap, const char *));) {
        const char *value = va_arg(ap, const char *);
        if (!value)
            break;
        hn_buf_printf(&line, " %s=", key);
        append_value(&line, value);
    }
    va_end(ap);
    hn_buf_char(&line, '\n');
    if (!line.failed && write(STDERR_FILENO, line.data, line.size) < 0) {
        /* There is nowhere left to say that the log itself is gone. */
    }
    hn_buf_free(&line);
}
