/*
 * Tools and the calls of them in the forms that data has them in: lists of descriptions, JSON text,
 * functions without a type around them, and OpenAI's function_call, which became tool_calls.
 */
#ifndef HN_ENGINE_DATA_TOOL_CALLS_H
#define HN_ENGINE_DATA_TOOL_CALLS_H

#include <jansson.h>
#include <stdbool.h>

/* The tools as the list that templates take. A list stays as it is; JSON text is what it says. With
 * `functions`, and from text, a function alone gets {"type": "function"} around it. New reference;
 * NULL: there are none, or (*ret_bad) it is no such thing. */
json_t *hn_tools_read(const json_t *tools, bool functions, bool *ret_bad);

/* A ShareGPT turn "function_call" as a message: {"name", "arguments"} or a list of them, as JSON
 * text, before which the model may have thought. New reference; NULL: it is no such thing. */
json_t *hn_call_message(const json_t *text);

/* Whether a message has a function_call that is one: an object, or its JSON text, with a name. */
bool hn_call_is_legacy(const json_t *message);
/* Turns every function_call into tool_calls, and in conversations that have one the role function
 * into tool. */
void hn_calls_modernise(json_t *messages);

/* Whether arguments of a call in the message are a text that says no JSON object. */
bool hn_calls_opaque(const json_t *message);
/* The conversation with arguments that are JSON text as the object they say; NULL: it has none. New
 * references, both. */
json_t *hn_calls_read(const json_t *messages);
/* The conversation with an empty content for messages of calls that have none; NULL likewise. */
json_t *hn_calls_filled(const json_t *messages);

/*
 * The calls in what a model has written: <tool_call>{…}</tool_call> (Hermes, Qwen, SmolLM2), or a
 * whole text that is {"name", "parameters"} (Llama 3) or a list of {"name", "arguments"} (Mistral,
 * whose [TOOL_CALLS] is a control token). Only of functions that `tools` offers. As tool_calls of
 * OpenAI's API without ids, `arguments` as JSON text; NULL: the text has none. *ret_kept: bytes of
 * the text before the first one.
 */
json_t *hn_calls_parse(const char *text, size_t size, const json_t *tools, size_t *ret_kept);

#endif
