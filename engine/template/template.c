/* The public doors of the chat template interpreter; see template.h and template_impl.h. */
#include "engine/template/internal.h"
#include "engine/base/utf8.h"

#include <stdlib.h>
#include <string.h>

void hn_rendered_free(struct hn_rendered *out) {
    hn_buf_free(&out->text);
    free(out->origin);
    *out = (struct hn_rendered){0};
}

int hn_template_compile(
    const char *source, size_t size, struct hn_template **ret, struct hn_error *err) {
    if (size > HN_TPL_SOURCE_MAX)
        return hn_fail(err, HN_E_TOO_LARGE, "a chat template of %zu bytes is too long", size);
    if (hn_utf8_valid(source, size) != size)
        return hn_fail(err, HN_E_MODEL_INVALID, "the chat template is not UTF-8");
    struct hn_template *tpl = hn_calloc(1, sizeof *tpl);
    if (!tpl)
        return hn_fail(err, HN_E_INTERNAL, "out of memory");
    tpl->arena.ceiling = (size_t)64 << 20;
    int rc = hn_template_parse(tpl, source, size, err);
    if (rc)
        hn_template_destroy(tpl);
    else
        *ret = tpl;
    return rc;
}

void hn_template_destroy(struct hn_template *tpl) {
    if (!tpl)
        return;
    hn_arena_finish(&tpl->arena);
    free(tpl->symbols);
    free(tpl);
}

/* Names the template uses and the caller gives; a name it does not use needs no binding. */
static void give(struct hn_tpl_render *r, const char *name, struct hn_tpl_value value) {
    for (size_t i = 0; i < r->tpl->n_symbols; i++)
        if (hn_view_is(r->tpl->symbols[i], name))
            hn_scope_set(r, (int32_t)i, value);
}

static struct hn_tpl_value special(const char *text) {
    return text ? hn_string(text, strlen(text)) : hn_undefined();
}

static int finish(
    struct hn_tpl_render *r, const struct hn_tpl_builder *built, struct hn_rendered *out) {
    size_t before = out->text.size;
    hn_buf_append(&out->text, built->text, built->size);
    if (out->text.failed ||
        !hn_grow(&out->origin, &out->origin_capacity, out->text.size + 1, sizeof *out->origin))
        return hn_fail(r->err, HN_E_INTERNAL, "out of memory for the rendered text");
    if (built->size)
        memcpy(out->origin + before, built->origins, built->size * sizeof *built->origins);
    return 0;
}

int hn_template_render(const struct hn_template *tpl, const struct hn_template_input *in,
    struct hn_rendered *out, struct hn_error *err) {
    struct hn_tpl_render r = {.tpl = tpl, .in = in, .err = err, .arena.ceiling = HN_TPL_ARENA_MAX};
    struct hn_tpl_scope root = {0};
    r.limit_ms = in->milliseconds ? in->milliseconds : HN_TEMPLATE_SECONDS * 1000;
    r.deadline_ms = hn_tpl_render_now() + r.limit_ms;
    struct hn_tpl_builder built = {0};
    r.scope = &root;
    r.out = &built;
    give(&r, "messages", hn_value_messages(&r, in->messages));
    give(&r, "tools", in->tools ? hn_value_tools(&r, in->tools) : hn_none());
    give(&r, "documents", hn_none());
    give(&r, "add_generation_prompt", hn_truth(in->add_generation_prompt));
    give(&r, "bos_token", special(in->bos_token));
    give(&r, "eos_token", special(in->eos_token));
    hn_tpl_render_body(&r, tpl->body);
    if (!r.rc && in->trace)
        hn_trace_mark(in->trace, built.origins, built.size);
    int rc = r.rc ? r.rc : finish(&r, &built, out);
    hn_arena_finish(&r.arena);
    return rc;
}
