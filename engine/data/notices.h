/*
 * What was noticed while rows became tokens: what, in how many rows, and in which lines. Plain
 * data, so that it is kept with the tokens in their file.
 */
#ifndef HN_ENGINE_DATA_NOTICES_H
#define HN_ENGINE_DATA_NOTICES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { HN_NOTICES = 16, HN_NOTICE_LINES = 10, HN_NOTICE_ABOUT = 160 };

enum hn_notice_kind {
    HN_NOTICE_UNRENDERED,     /* `about`: a field that the chat template does not write */
    HN_NOTICE_EMPTY_THINKING, /* the template's empty <think></think> is trained */
    HN_NOTICE_CONTROL_TEXT,   /* bare text that spells control tokens */
    HN_NOTICE_CONTROL_ANSWER, /* an assistant's message that does */
    HN_NOTICE_BORDER,         /* a token crosses the end of the prompt */
    HN_NOTICE_LOST_WORD,      /* a word to tag that leaves no token */
    HN_NOTICE_NO_SAMPLE,      /* a row whose prompt cannot be made; `about`: why */
    HN_NOTICE_NO_ANSWER,      /* the same, of a row whose answer is to be measured */
    HN_NOTICE_DOUBLE,         /* a training row that dedupe leaves out */
    HN_NOTICE_LEAK,           /* one that drop_leaks leaves out */
    HN_NOTICE_CONTRADICTION,  /* one that drop_contradictions leaves out */
    HN_NOTICE_KINDS,
};

struct hn_notice {
    uint32_t kind, n_lines;
    uint64_t rows;
    uint32_t last, lines[HN_NOTICE_LINES]; /* [n_lines] the first ones; last: of the last row */
    char about[HN_NOTICE_ABOUT];           /* ends with 0 */
};

struct hn_notices {
    uint64_t n;
    struct hn_notice list[HN_NOTICES]; /* [n]; what does not fit is left out */
};

bool hn_notices_have(const struct hn_notices *notices, enum hn_notice_kind kind);
/* Counts a row under the kind and what it is about; a row that comes again right behind itself, as
 * the weights of data sets make them, counts once. */
void hn_notices_add(
    struct hn_notices *notices, enum hn_notice_kind kind, const char *about, uint32_t line);
/* Adds all of `from`, which are of other rows. */
void hn_notices_join(struct hn_notices *notices, const struct hn_notices *from);
/* For programs, and for a person, without rows. */
const char *hn_notice_code(const struct hn_notice *notice);
void hn_notice_text(const struct hn_notice *notice, char *ret, size_t size);
/* "3 of 12 training rows (lines 1, 4, 9): …", where `rows` is what they are called. */
void hn_notice_sentence(
    const struct hn_notice *notice, size_t total, const char *rows, char *ret, size_t size);

#endif
