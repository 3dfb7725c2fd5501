/*
 * Tokens of a chat template; see template_lex.c. Internal to template*.c.
 */
#ifndef HN_ENGINE_TEMPLATE_LEX_H
#define HN_ENGINE_TEMPLATE_LEX_H

#include "engine/template/internal.h"

enum hn_token_kind {
    HN_T_DATA,
    HN_T_BLOCK_BEGIN,
    HN_T_BLOCK_END,
    HN_T_PRINT_BEGIN,
    HN_T_PRINT_END,
    HN_T_NAME,
    HN_T_STRING,
    HN_T_INT,
    HN_T_FLOAT,
    HN_T_OP,
    HN_T_END,
};

struct hn_tpl_token {
    enum hn_token_kind kind;
    uint32_t line;
    struct hn_view text; /* of a STRING without quotes and escapes; in the template's arena */
};

struct hn_tpl_tokens {
    struct hn_tpl_token *tokens; /* [n], the last is END; caller frees */
    size_t n, capacity;
};

int hn_template_lex(struct hn_arena *arena, const char *text, size_t size,
    struct hn_tpl_tokens *ret, struct hn_error *err);

#endif
