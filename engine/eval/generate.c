/* See generate.h. */
#include "engine/eval/generate.h"
#include "engine/base/buf.h"

#include <stdlib.h>

/* What hn_generate's caller wants to hear of. */
struct listener {
    hn_piece_fn *piece;
    void *user;
    size_t first; /* options->first */
};

static void pass_on(struct hn_writing *w, const char *text, size_t size) {
    const struct listener *listener = w->user;
    listener->piece(listener->user, w->input - listener->first, text, size);
}

static int check_prompts(const struct hn_generator *g, const struct hn_ids *prompts, size_t n,
    size_t first, struct hn_error *err) {
    for (size_t i = 0; i < n; i++) {
        if (prompts[i].n == 0)
            return hn_fail(err, HN_E_INVALID_FIELD, "input %zu is empty", first + i + 1);
        if (prompts[i].n + 1 > g->context)
            return hn_fail(err, HN_E_TOO_LARGE,
                "input %zu has %zu tokens; at most %zu fit the context", first + i + 1,
                prompts[i].n, g->context - 1);
    }
    return 0;
}

int hn_generate(const struct hn_generator *g, const struct hn_ids *prompts, size_t n,
    const struct hn_generate_options *options, struct hn_generated *results, hn_piece_fn *piece,
    void *user, struct hn_error *err) {
    struct listener listener = {piece, user, options->first};
    struct hn_decoder *decoder = NULL;
    struct hn_writing *writings = hn_calloc(n, sizeof *writings);
    int rc = writings ? check_prompts(g, prompts, n, options->first, err)
                      : hn_fail(err, HN_E_INTERNAL, "out of memory");
    if (!rc)
        rc = hn_decoder_create(g, &decoder, err);
    for (size_t i = 0; !rc && i < n; i++)
        writings[i] = (struct hn_writing){.prompt = &prompts[i],
            .again = g->again ? g->again[i] : (struct hn_view){0},
            .options = options,
            .input = options->first + i,
            .result = &results[i],
            .piece = piece ? pass_on : NULL,
            .user = &listener};
    for (size_t begun = 0; !rc && (begun < n || hn_decoder_count(decoder));) {
        while (begun < n && hn_decoder_add(decoder, &writings[begun]))
            begun++;
        rc = hn_decoder_step(decoder, err);
        if (options->pause && atomic_load(options->pause))
            n = begun;
    }
    hn_decoder_destroy(decoder);
    free(writings);
    return rc;
}
