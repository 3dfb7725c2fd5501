/* What is wrong or odd about the rows of a file, for a person. */
#ifndef HN_ENGINE_DATA_ISSUES_H
#define HN_ENGINE_DATA_ISSUES_H

#include <jansson.h>
#include <stddef.h>

#define HN_ISSUES_LISTED 100 /* problems that are kept; all are counted */

/* One problem of the file, for a person. */
struct hn_issue {
    size_t line, column; /* column in bytes; 0 when it concerns the whole row */
    char field[64], message[256], hint[256];
};

struct hn_issues {
    size_t n; /* all of them */
    struct hn_issue list[HN_ISSUES_LISTED];
    json_t *warnings; /* [{"code","message","lines"}]; NULL: none are taken */
};

/* Adds a problem; `column` 0 when it concerns the whole row. */
void hn_issue_add(struct hn_issues *issues, size_t line, size_t column, const char *field,
    const char *hint, const char *format, ...) __attribute__((format(printf, 6, 7)));
/* Notes a line under a warning's code; the first 20 lines are kept. The text is the warning's
 * sentence: another text is another warning. */
void hn_issue_warn(struct hn_issues *issues, const char *code, size_t line, const char *format, ...)
    __attribute__((format(printf, 4, 5)));

#endif
