/* See notices.h. */
#include "engine/data/notices.h"
#include "engine/base/utf8.h"

#include <stdio.h>
#include <string.h>

/* Cut at a whole character. */
static void copy_about(char ret[HN_NOTICE_ABOUT], const char *about) {
    size_t n = strlen(about);
    n = n < HN_NOTICE_ABOUT ? n : HN_NOTICE_ABOUT - 1;
    n = hn_utf8_valid(about, n);
    memset(ret, 0, HN_NOTICE_ABOUT);
    memcpy(ret, about, n);
}

bool hn_notices_have(const struct hn_notices *notices, enum hn_notice_kind kind) {
    for (size_t i = 0; i < notices->n; i++)
        if (notices->list[i].kind == kind)
            return true;
    return false;
}

void hn_notices_add(
    struct hn_notices *notices, enum hn_notice_kind kind, const char *about, uint32_t line) {
    char cut[HN_NOTICE_ABOUT];
    struct hn_notice *found = NULL;
    copy_about(cut, about);
    for (size_t i = 0; i < notices->n && !found; i++)
        if (notices->list[i].kind == kind && strcmp(notices->list[i].about, cut) == 0)
            found = &notices->list[i];
    if (!found && notices->n < HN_NOTICES) {
        found = &notices->list[notices->n++];
        *found = (struct hn_notice){.kind = kind};
        memcpy(found->about, cut, sizeof cut);
    }
    if (!found || (found->rows && found->last == line))
        return;
    if (found->n_lines < HN_NOTICE_LINES)
        found->lines[found->n_lines++] = line;
    found->last = line;
    found->rows++;
}

void hn_notices_join(struct hn_notices *notices, const struct hn_notices *from) {
    for (size_t i = 0; i < from->n && notices->n < HN_NOTICES; i++)
        notices->list[notices->n++] = from->list[i];
}

/* By kind; %s is what it is about. */
static const struct {
    const char *code, *text;
} kinds[HN_NOTICE_KINDS] = {
    [HN_NOTICE_UNRENDERED] = {"unrendered_field",
        "the model's chat template does not write %s, which leaves no byte in the text and is not "
        "learned"},
    [HN_NOTICE_EMPTY_THINKING] = {"empty_thinking",
        "an answer has no reasoning in the text, and the template's empty <think></think> before "
        "it is trained: the model learns to answer without thinking"},
    [HN_NOTICE_NO_SAMPLE] = {"no_sample", "no sample of it can be written: %s"},
    [HN_NOTICE_NO_ANSWER] = {"no_answer", "no answer to it can be written and measured: %s"},
    [HN_NOTICE_CONTROL_TEXT] = {"control_text",
        "the text spells control tokens of the model, as a rendered template does, and they are "
        "trained as plain text; send conversations as messages, or \"template\": \"applied\" with "
        "the job, which makes them the tokens that they spell"},
    [HN_NOTICE_CONTROL_ANSWER] = {"control_text",
        "an answer spells control tokens of the model, which are trained as plain text; leave them "
        "out, since the chat template writes its own"},
    [HN_NOTICE_BORDER] = {"moved_border",
        "the end of the prompt and the begin of the completion are one token, which is learned as "
        "a whole; a prompt had better end before the space, and not inside a word"},
    [HN_NOTICE_LOST_WORD] = {"lost_word",
        "the tokenizer leaves nothing of a word, such as one of zero width: its tag is not "
        "learned, "
        "and it is answered with O"},
    [HN_NOTICE_DOUBLE] = {"left_out_duplicate",
        "left out, as dedupe says: another training row is the same, or nearly so"},
    [HN_NOTICE_CONTRADICTION] = {"left_out_contradiction",
        "left out, as drop_contradictions says: another training row asks the same and has another "
        "answer"},
    [HN_NOTICE_LEAK] = {"left_out_leak",
        "left out, as drop_leaks says: a row that measures is the same, or nearly so"},
};

const char *hn_notice_code(const struct hn_notice *notice) {
    return kinds[notice->kind].code;
}

void hn_notice_text(const struct hn_notice *notice, char *ret, size_t size) {
    const char *text = kinds[notice->kind].text, *place = strstr(text, "%s");
    if (place)
        snprintf(ret, size, "%.*s%s%s", (int)(place - text), text, notice->about, place + 2);
    else
        snprintf(ret, size, "%s", text);
}

void hn_notice_sentence(
    const struct hn_notice *n, size_t total, const char *rows, char *ret, size_t size) {
    char lines[HN_NOTICE_LINES * 12] = "", text[320];
    size_t used = 0;
    for (size_t i = 0; i < n->n_lines; i++)
        used +=
            (size_t)snprintf(lines + used, sizeof lines - used, "%s%u", i ? ", " : "", n->lines[i]);
    hn_notice_text(n, text, sizeof text);
    snprintf(ret, size, "%llu of %zu %s (line%s %s%s): %s", (unsigned long long)n->rows, total,
        rows, n->rows > 1 ? "s" : "", lines, n->rows > n->n_lines ? ", …" : "", text);
}
