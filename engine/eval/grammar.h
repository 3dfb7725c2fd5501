/*
 * Grammar: which bytes a text may go on with (constrained decoding).
 *
 * A context-free grammar over bytes: rules of alternatives of sets of bytes and references to
 * rules. A matcher has all the places in the grammar at which the text may be, each a stack of
 * what comes behind; a byte moves those on whose set has it (as in LL parsing by all alternatives
 * at once). Which tokens may come next is found by walking the vocabulary as a trie; the answers
 * for the last few states are kept, since the inside of a string is the same state again and again.
 * Exact: a text that ends where the matcher says so is one of the grammar's, and every token that
 * begins a way to such a text is allowed.
 */
#ifndef HN_ENGINE_EVAL_GRAMMAR_H
#define HN_ENGINE_EVAL_GRAMMAR_H

#include "engine/base/error.h"
#include "engine/tokenizer/tokenizer.h"

#include <stdbool.h>
#include <stdint.h>

struct hn_grammar;
struct hn_vocabulary;
struct hn_matcher;

/* --- building; a failure of memory is told by hn_grammar_done -------------------------------- */

struct hn_grammar *hn_grammar_create(void); /* NULL: out of memory */
void hn_grammar_destroy(struct hn_grammar *grammar);
/* A new rule without alternatives; rule 0 is the whole text. */
uint32_t hn_grammar_rule(struct hn_grammar *grammar);
/* Begins another alternative of the rule that is being written, or the first one of `rule`.
 * Rules are written one after the other; none may begin with itself. */
void hn_grammar_alternative(struct hn_grammar *grammar, uint32_t rule);
void hn_grammar_text(struct hn_grammar *grammar, const char *text, size_t size);
void hn_grammar_ref(struct hn_grammar *grammar, uint32_t rule);
/* One byte of a set, "a-z0-9_" with \xNN-like bytes as they are: pairs of first and last. */
void hn_grammar_set(struct hn_grammar *grammar, const uint8_t (*ranges)[2], size_t n);
/* To be called once, at the end. HN_E_INTERNAL out of memory; HN_E_INVALID_FIELD where it is too
 * large or where a rule can begin with itself. */
int hn_grammar_done(const struct hn_grammar *grammar, struct hn_error *err);

/* --- matching ------------------------------------------------------------------------------- */

/* The vocabulary as a trie; borrows the tokenizer. Owner calls hn_vocabulary_destroy. */
int hn_vocabulary_create(
    const struct hn_tokenizer *tokenizer, struct hn_vocabulary **ret, struct hn_error *err);
void hn_vocabulary_destroy(struct hn_vocabulary *vocabulary);

/* A text's place in the grammar, before its first byte. Borrows both. `before`: bytes that come
 * in front of what the grammar describes (a view that must stay). */
int hn_matcher_create(const struct hn_grammar *grammar, const struct hn_vocabulary *vocabulary,
    const char *before, size_t before_size, struct hn_matcher **ret, struct hn_error *err);
void hn_matcher_destroy(struct hn_matcher *matcher);
/* [vocab] of tokens that may come next, valid until the next call; end tokens where the text may
 * end. NULL out of memory, or where the text is at too many places of the grammar at once. */
const bool *hn_matcher_allowed(struct hn_matcher *matcher);
/* Takes a token that was allowed. */
bool hn_matcher_take(struct hn_matcher *matcher, int32_t id);
/* Whether the text may end here, and whether it must. */
bool hn_matcher_may_end(const struct hn_matcher *matcher);
bool hn_matcher_must_end(const struct hn_matcher *matcher);

#endif
