/*
 * Room engine/template. Chats become text, by the model's own Jinja template.
 *
 * Nouns: template, render, origin (whose text a byte is).
 * Ownership: A compiled template is immutable; what a render makes lies in its arena until it ends.
 * May include: engine/base engine/formats.
 */

/*
 * Chat templates: the model's own Jinja template, rendered as Transformers renders it (trim_blocks,
 * lstrip_blocks).
 *
 * Every output byte carries its origin: the template itself, or message i. So the whole text can be
 * tokenised at once while special tokens match only in the template's bytes, and the bytes of
 * assistant messages are known exactly. A construct outside the supported subset is
 * HN_E_UNSUPPORTED naming it, with its line. Rendering is bounded in steps, depth, memory and time,
 * so a hostile template ends in an error.
 */
#ifndef HN_ENGINE_TEMPLATE_TEMPLATE_H
#define HN_ENGINE_TEMPLATE_TEMPLATE_H

#include "engine/base/buf.h"
#include "engine/base/error.h"

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

#define HN_ORIGIN_TEMPLATE \
    0 /* the template's own text; also a message's role where it is a plain word */
#define HN_ORIGIN_DATA \
    0xFFFF /* data that is no message's content: tools, names; otherwise 1 + index of the message */

#define HN_TEMPLATE_SECONDS \
    5 /* that one conversation may take, whatever a step is worth on this machine */

struct hn_template;

struct hn_rendered {
    struct hn_buf text;
    uint16_t *origin; /* [text.size] */
    size_t origin_capacity;
};
void hn_rendered_free(struct hn_rendered *out);

int hn_template_compile(
    const char *source, size_t size, struct hn_template **ret, struct hn_error *err);
void hn_template_destroy(struct hn_template *tpl);

/*
 * Which fields of a conversation leave bytes in the text: each tool, and of each message its
 * content, the reasoning inside of it, each tool call, the arguments of one that is written, and
 * whatever else it has. What is empty, the role, and ids, which hold nothing to learn, are no
 * parts.
 */
struct hn_trace_part {
    char field[40]; /* its name, cut to this length */
    bool left;      /* some byte of it */
    bool inside;    /* it is a part of the one before, which has to be left itself */
};
struct hn_trace {
    struct hn_trace_part *parts; /* [n] */
    size_t n, capacity;
};
void hn_trace_free(struct hn_trace *trace);

struct hn_template_input {
    const json_t *messages; /* [{"role","content",…}] */
    const json_t *tools;    /* or NULL */
    bool add_generation_prompt;
    const char *bos_token, *eos_token; /* texts, "" if none */
    /* "2026-01-31" for strftime_now, or NULL (then strftime_now is refused) */
    const char *date;
    int64_t milliseconds; /* that it may take; 0: HN_TEMPLATE_SECONDS */
    /* To be filled, or NULL. The rendered text is then of no other use: its origins are parts. */
    struct hn_trace *trace;
};
int hn_template_render(const struct hn_template *tpl, const struct hn_template_input *in,
    struct hn_rendered *out, struct hn_error *err);

#endif
