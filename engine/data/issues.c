/* See issues.h. */
#include "engine/data/issues.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#define WARNING_LINES 20
#define WARNINGS 50

/* Cuts at a whole character, so that what is shown stays UTF-8. */
static void copy_text(char *to, size_t capacity, const char *from) {
    size_t size = strlen(from);
    if (size >= capacity) {
        size = capacity - 1;
        while (size > 0 && (from[size] & 0xC0) == 0x80)
            size--;
    }
    memcpy(to, from, size);
    to[size] = 0;
}

void hn_issue_add(struct hn_issues *issues, size_t line, size_t column, const char *field,
    const char *hint, const char *format, ...) {
    if (issues->n < HN_ISSUES_LISTED) {
        struct hn_issue *issue = &issues->list[issues->n];
        char text[512];
        va_list ap;
        va_start(ap, format);
        vsnprintf(text, sizeof text, format, ap);
        va_end(ap);
        *issue = (struct hn_issue){.line = line, .column = column};
        copy_text(issue->message, sizeof issue->message, text);
        copy_text(issue->field, sizeof issue->field, field);
        copy_text(issue->hint, sizeof issue->hint, hint);
    }
    issues->n++;
}

void hn_issue_warn(
    struct hn_issues *issues, const char *code, size_t line, const char *format, ...) {
    char text[512], message[512];
    json_t *warning, *found = NULL;
    size_t i;
    va_list ap;
    va_start(ap, format);
    vsnprintf(text, sizeof text, format, ap);
    va_end(ap);
    copy_text(message, sizeof message, text);
    json_array_foreach(issues->warnings, i, warning)
        if (strcmp(json_string_value(json_object_get(warning, "code")), code) == 0 &&
            strcmp(json_string_value(json_object_get(warning, "message")), message) == 0)
            found = warning;
    if (!found && json_array_size(issues->warnings) < WARNINGS) {
        found = json_pack("{s:s, s:s, s:[]}", "code", code, "message", message, "lines");
        if (found && json_array_append_new(issues->warnings, found))
            found = NULL;
    }
    json_t *lines = json_object_get(found, "lines");
    if (line && lines && json_array_size(lines) < WARNING_LINES)
        json_array_append_new(lines, json_integer((json_int_t)line));
}
