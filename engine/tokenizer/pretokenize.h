/*
 * Pre-tokenizers: how a text is cut into words before byte-pair merging, by the model's
 * `tokenizer.ggml.pre`.
 *
 * A pre-tokenizer is one to four regular expressions. The first cuts the text into its matches and
 * what lies between them; each further one cuts those pieces again. The last stage's pieces are the
 * words. A look-ahead sees nothing behind its own piece, as in the reference.
 */
#ifndef HN_ENGINE_TOKENIZER_PRETOKENIZE_H
#define HN_ENGINE_TOKENIZER_PRETOKENIZE_H

#include "engine/base/error.h"

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>

#define HN_PRE_STAGES 4

struct hn_pre_rule {
    const char *names; /* of tokenizer.ggml.pre, each between spaces */
    const char *stages[HN_PRE_STAGES];
    bool nfc;         /* the text is put into Unicode's form C first */
    bool whole_words; /* a word that is a token is that token, whatever the merges say */
    bool adds_bos;    /* where the file does not say */
};
/* NULL when the name is not known. */
const struct hn_pre_rule *hn_pre_rule_find(const char *name, size_t size);

/* The name of the rule that tokenizer.json's parts describe, NULL when there is none: `pre` its
 * pre_tokenizer, `nfc` whether its normalizer is NFC, `whole_words` its model's ignore_merges. */
const char *hn_pre_rule_describes(const json_t *pre, bool nfc, bool whole_words);
/* The rule as tokenizer.json's pre_tokenizer. New reference. */
json_t *hn_pre_rule_json(const struct hn_pre_rule *rule);

struct hn_pretokenizer;
int hn_pretokenizer_create(
    const struct hn_pre_rule *rule, struct hn_pretokenizer **ret, struct hn_error *err);
void hn_pretokenizer_destroy(struct hn_pretokenizer *pre);

/* Calls `word` for every word of text[size] (valid UTF-8), in order; a false return stops. Returns
 * 0 or HN_E_INTERNAL. */
int hn_pretokenizer_split(const struct hn_pretokenizer *pre, const char *text, size_t size,
    bool (*word)(void *ud, size_t begin, size_t end), void *ud, struct hn_error *err);

#endif
