/*
 * Chat template source → tokens, by Jinja's rules with trim_blocks and lstrip_blocks on:
 *   - line ends of any kind are "\n"; one at the very end of the source is dropped;
 *   - spaces before a block or comment tag that stands first on its line are dropped, unless it
 *     begins with {%+;
 *   - one line end behind a block or comment tag is dropped, unless it ends with +%};
 *   - a minus inside a tag drops all white space on that side.
 */
#include "engine/template/lex.h"
#include "engine/base/utf8.h"

#include <stdlib.h>
#include <string.h>

struct lexer {
    struct hn_arena *arena;
    struct hn_tpl_tokens *out;
    struct hn_error *err;
    const char *text;
    size_t size, at;
    uint32_t line;
    bool line_begins; /* the tag before ended with a line end, or there was none */
};

static int fail(struct lexer *lx, uint32_t line, const char *what) {
    return hn_fail(
        lx->err, HN_E_MODEL_INVALID, "the chat template is wrong in line %u: %s", line, what);
}

static int emit(struct lexer *lx, enum hn_token_kind kind, const char *text, size_t size) {
    if (!hn_grow(&lx->out->tokens, &lx->out->capacity, lx->out->n + 1, sizeof *lx->out->tokens))
        return hn_fail(lx->err, HN_E_INTERNAL, "out of memory");
    lx->out->tokens[lx->out->n++] = (struct hn_tpl_token){kind, lx->line, {text, size}};
    return 0;
}

static void advance(struct lexer *lx, size_t to) {
    for (; lx->at < to; lx->at++)
        lx->line += lx->text[lx->at] == '\n';
}

static bool looking_at(const struct lexer *lx, size_t at, const char *what) {
    size_t n = strlen(what);
    return n <= lx->size - at && memcmp(lx->text + at, what, n) == 0;
}

static size_t skip_space(const struct lexer *lx, size_t at) {
    while (at < lx->size && hn_utf8_is_space(hn_utf8_get(lx->text + at)))
        at += hn_utf8_length((unsigned char)lx->text[at]);
    return at;
}

/* End of text[begin, end) without the white space at its end. */
static size_t strip_end(const struct lexer *lx, size_t begin, size_t end) {
    while (end > begin) {
        size_t at = end - 1;
        while (at > begin && (lx->text[at] & 0xC0) == 0x80)
            at--;
        if (!hn_utf8_is_space(hn_utf8_get(lx->text + at)))
            break;
        end = at;
    }
    return end;
}

/* Emits the data before a tag at `end`, stripped as the tag's sign and kind ask. */
static int emit_data(struct lexer *lx, size_t end, char sign, bool block) {
    size_t begin = lx->at, keep = end;
    if (sign == '-') {
        keep = strip_end(lx, begin, end);
    } else if (sign != '+' && block) {
        size_t line = end;
        while (line > begin && lx->text[line - 1] != '\n')
            line--;
        if ((line > begin || lx->line_begins) && strip_end(lx, line, end) == line)
            keep = line;
    }
    int rc = keep > begin ? emit(lx, HN_T_DATA, lx->text + begin, keep - begin) : 0;
    advance(lx, end);
    return rc;
}

/* Behind a tag that was closed at `at`: drops white space or one line end, and notes whether a line
 * begins. */
static void close_tag(struct lexer *lx, size_t at, char sign, bool trim) {
    if (sign == '-')
        at = skip_space(lx, at);
    else if (sign != '+' && trim && at < lx->size && lx->text[at] == '\n')
        at++;
    advance(lx, at);
    lx->line_begins = at > 0 && lx->text[at - 1] == '\n';
}

static int lex_comment(struct lexer *lx) {
    const char *end = memmem(lx->text + lx->at, lx->size - lx->at, "#}", 2);
    if (!end)
        return fail(lx, lx->line, "a comment is never closed by #}");
    size_t at = (size_t)(end - lx->text);
    close_tag(lx, at + 2, at > lx->at ? end[-1] : 0, true);
    return 0;
}

/* If a tag of this one word stands behind the "{%" that ends at `at`: the place behind it, and its
 * closing sign. */
static size_t word_tag(const struct lexer *lx, size_t at, const char *word, char *ret_sign) {
    at = skip_space(lx, at);
    if (!looking_at(lx, at, word))
        return 0;
    at = skip_space(lx, at + strlen(word));
    *ret_sign = at < lx->size && (lx->text[at] == '-' || lx->text[at] == '+') ? lx->text[at] : 0;
    at += *ret_sign != 0;
    return looking_at(lx, at, "%}") ? at + 2 : 0;
}

static int lex_raw(struct lexer *lx) {
    uint32_t line = lx->line;
    for (size_t at = lx->at; at + 1 < lx->size; at++) {
        if (!looking_at(lx, at, "{%"))
            continue;
        char sign = at + 2 < lx->size ? lx->text[at + 2] : 0, close;
        bool has = sign == '-' || sign == '+';
        size_t end = word_tag(lx, at + 2 + has, "endraw", &close);
        if (!end)
            continue;
        int rc = emit_data(lx, at, has ? sign : 0, true);
        close_tag(lx, end, close, true);
        return rc;
    }
    return fail(lx, line, "raw is never closed by {% endraw %}");
}

static size_t put_escape(const char *text, size_t size, size_t at, char *ret, size_t *n) {
    static const char names[] = "ntrabfv\\'\"", values[] = "\n\t\r\a\b\f\v\\'\"";
    char c = text[at + 1];
    const char *found = c ? strchr(names, c) : NULL;
    size_t digits = c == 'x' ? 2 : c == 'u' ? 4 : c == 'U' ? 8 : 0, i = 0;
    if (found) {
        ret[(*n)++] = values[found - names];
        return at + 2;
    }
    if (c == '\n')
        return at + 2;
    uint32_t code = 0;
    if (digits) {
        for (; i < digits && at + 2 + i < size; i++) {
            char d = text[at + 2 + i];
            int v = d >= '0' && d <= '9'             ? d - '0'
                : (d | 32) >= 'a' && (d | 32) <= 'f' ? (d | 32) - 'a' + 10
                                                     : -1;
            if (v < 0)
                break;
            code = code << 4 | (uint32_t)v;
        }
    } else {
        for (; i < 3 && at + 1 + i < size && text[at + 1 + i] >= '0' && text[at + 1 + i] <= '7';
             i++)
            code = code << 3 | (uint32_t)(text[at + 1 + i] - '0');
    }
    if ((digits && i < digits) || (!digits && i == 0) || code > 0x10FFFF ||
        (code >= 0xD800 && code < 0xE000)) {
        ret[(*n)++] = '\\'; /* no escape: the backslash stays, as in Python */
        return at + 1;
    }
    *n += hn_utf8_put(code, ret + *n);
    return at + 1 + (digits != 0) + i;
}

static int lex_string(struct lexer *lx) {
    char quote = lx->text[lx->at];
    size_t begin = lx->at + 1, end = begin, n = 0;
    while (end < lx->size && lx->text[end] != quote)
        end += lx->text[end] == '\\' ? 2 : 1;
    if (end >= lx->size)
        return fail(lx, lx->line, "a string is never closed");
    /* no escape is longer than what it stands for */
    char *copy = hn_arena_alloc(lx->arena, end - begin + 1, 1);
    if (!copy)
        return hn_fail(lx->err, HN_E_INTERNAL, "out of memory");
    for (size_t at = begin; at < end;) {
        if (lx->text[at] == '\\')
            at = put_escape(lx->text, end, at, copy, &n);
        else
            copy[n++] = lx->text[at++];
    }
    int rc = emit(lx, HN_T_STRING, copy, n);
    advance(lx, end + 1);
    return rc;
}

static bool is_digit(char c) {
    return c >= '0' && c <= '9';
}

static bool is_word(char c) {
    return is_digit(c) || ((c | 32) >= 'a' && (c | 32) <= 'z') || c == '_' || (c & 0x80);
}

static int lex_number(struct lexer *lx) {
    size_t end = lx->at;
    bool real = false,
         radix = lx->text[end] == '0' && end + 1 < lx->size && strchr("xXoObB", lx->text[end + 1]);
    if (radix)
        end += 2;
    while (end < lx->size &&
        (is_digit(lx->text[end]) || lx->text[end] == '_' || (radix && is_word(lx->text[end]))))
        end++;
    if (!radix && end + 1 < lx->size && lx->text[end] == '.' && is_digit(lx->text[end + 1])) {
        real = true;
        for (end++; end < lx->size && (is_digit(lx->text[end]) || lx->text[end] == '_');)
            end++;
    }
    if (!radix && end < lx->size && (lx->text[end] | 32) == 'e') {
        size_t e = end + 1;
        e += e < lx->size && (lx->text[e] == '+' || lx->text[e] == '-');
        if (e < lx->size && is_digit(lx->text[e])) {
            real = true;
            for (end = e; end < lx->size && is_digit(lx->text[end]);)
                end++;
        }
    }
    if (end - lx->at > 60)
        return fail(lx, lx->line, "a number is too long");
    int rc = emit(lx, real ? HN_T_FLOAT : HN_T_INT, lx->text + lx->at, end - lx->at);
    advance(lx, end);
    return rc;
}

/* One token inside a tag; the caller has skipped white space and looked for the tag's end. */
static int lex_token(struct lexer *lx, size_t *open) {
    static const char *const pairs[] = {"//", "**", "==", "!=", ">=", "<="};
    char c = lx->text[lx->at];
    if (c == '\'' || c == '"')
        return lex_string(lx);
    if (is_digit(c))
        return lex_number(lx);
    size_t end = lx->at;
    while (end < lx->size && is_word(lx->text[end]))
        end++;
    enum hn_token_kind kind = end > lx->at ? HN_T_NAME : HN_T_OP;
    for (size_t i = 0; kind == HN_T_OP && end == lx->at && i < sizeof pairs / sizeof pairs[0]; i++)
        if (looking_at(lx, lx->at, pairs[i]))
            end = lx->at + 2;
    if (end == lx->at) {
        if (!c || !strchr("+-*/%~[](){}<>=.:|,;", c))
            return fail(lx, lx->line, "a character that does not belong into an expression");
        end++;
        if (strchr("([{", c))
            ++*open;
        else if (strchr(")]}", c) && (*open)-- == 0)
            return fail(lx, lx->line, "a closing bracket that was never opened");
    }
    int rc = emit(lx, kind, lx->text + lx->at, end - lx->at);
    advance(lx, end);
    return rc;
}

static int lex_tag(struct lexer *lx, bool block) {
    const char *close = block ? "%}" : "}}";
    uint32_t line = lx->line;
    size_t open = 0;
    int rc = emit(lx, block ? HN_T_BLOCK_BEGIN : HN_T_PRINT_BEGIN, lx->text + lx->at, 0);
    while (!rc) {
        advance(lx, skip_space(lx, lx->at));
        if (lx->at >= lx->size)
            return fail(lx, line,
                block ? "a block tag is never closed by %}"
                      : "an expression is never closed by }}");
        char c = lx->text[lx->at], sign = c == '-' || (c == '+' && block) ? c : 0;
        if (!open && looking_at(lx, lx->at + (sign != 0), close)) {
            rc = emit(lx, block ? HN_T_BLOCK_END : HN_T_PRINT_END, lx->text + lx->at, 0);
            close_tag(lx, lx->at + (sign != 0) + 2, sign, block);
            return rc;
        }
        rc = lex_token(lx, &open);
    }
    return rc;
}

static int lex_all(struct lexer *lx) {
    int rc = 0;
    while (!rc) {
        size_t tag = lx->at;
        while (tag + 1 < lx->size &&
            !(lx->text[tag] == '{' && lx->text[tag + 1] && strchr("%#{", lx->text[tag + 1])))
            tag++;
        if (tag + 1 >= lx->size)
            break;
        char kind = lx->text[tag + 1], sign = tag + 2 < lx->size ? lx->text[tag + 2] : 0, close;
        if (sign != '-' && sign != '+')
            sign = 0;
        size_t inside = tag + 2 + (sign != 0),
               raw = kind == '%' ? word_tag(lx, inside, "raw", &close) : 0;
        if ((rc = emit_data(lx, tag, sign, kind != '{')))
            break;
        advance(lx, inside);
        if (raw) {
            close_tag(lx, raw, close, false);
            rc = lex_raw(lx);
        } else {
            rc = kind == '#' ? lex_comment(lx) : lex_tag(lx, kind == '%');
        }
    }
    if (!rc && lx->at < lx->size) {
        rc = emit(lx, HN_T_DATA, lx->text + lx->at, lx->size - lx->at);
        advance(lx, lx->size);
    }
    return rc ? rc : emit(lx, HN_T_END, "", 0);
}

int hn_template_lex(struct hn_arena *arena, const char *text, size_t size,
    struct hn_tpl_tokens *ret, struct hn_error *err) {
    char *copy = hn_arena_alloc(arena, size + 1, 1);
    size_t n = 0;
    if (!copy)
        return hn_fail(err, HN_E_INTERNAL, "out of memory");
    for (size_t i = 0; i < size; i++) {
        if (text[i] == '\r' && i + 1 < size && text[i + 1] == '\n')
            continue;
        copy[n++] = text[i] == '\r' ? '\n' : text[i];
    }
    if (n && copy[n - 1] == '\n')
        n--;
    copy[n] = 0;
    struct lexer lx = {.arena = arena,
        .out = ret,
        .err = err,
        .text = copy,
        .size = n,
        .line = 1,
        .line_begins = true};
    return lex_all(&lx);
}
