/*
 * JSON Schema as a grammar (grammar.h): texts that are one JSON value of that schema.
 *
 * Taken: type (one, or a list), properties, required, additionalProperties (false, true or a
 * schema; absent: false, as OpenAI's strict schemas have it), items, prefixItems, minItems,
 * maxItems, minLength, maxLength, enum, const, anyOf, oneOf (as anyOf), $ref to "#" or "#/$defs/…",
 * and descriptions, which mean nothing here. Members come in the order of `properties`. Everything
 * else is refused by its name, since a text could break it unnoticed.
 *
 * Behind brackets, commas and colons, and before closing brackets, there is at most a space, or a
 * line's end with at most 20 spaces.
 */
#ifndef HN_ENGINE_EVAL_JSON_GRAMMAR_H
#define HN_ENGINE_EVAL_JSON_GRAMMAR_H

#include "engine/eval/grammar.h"

#include <jansson.h>

/* `schema` NULL: any JSON object. HN_E_UNSUPPORTED, HN_E_INVALID_FIELD with the place in the schema
 * as the field, behind "response_format". Owner calls hn_grammar_destroy. */
int hn_json_grammar(const json_t *schema, struct hn_grammar **ret, struct hn_error *err);
/*
 * A call of one of `tools` (OpenAI's list), or of the one of that name (NULL: any), as models write
 * it: `open`, {"name": …, "arguments": …} of the function's parameters, `close`. Errors as above,
 * behind "tools".
 */
int hn_call_grammar(const json_t *tools, const char *name, const char *open, const char *close,
    struct hn_grammar **ret, struct hn_error *err);

#endif
