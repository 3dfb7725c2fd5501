/*
 * What somebody has where a model was expected: messages name what was found, not only what is
 * missing.
 */
#ifndef HN_ENGINE_FORMATS_FOUND_H
#define HN_ENGINE_FORMATS_FOUND_H

#include "engine/base/error.h"

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>

/* Whether a file that should be of safetensors begins as something that is no file of a model (a
 * git-lfs pointer, a web page, a zip archive …) or as GGUF; then the error says what it is. `name`:
 * for the message. */
bool hn_found_instead(const char *path, const char *name, struct hn_error *err);
/* The same of the bytes of a file that should be GGUF or JSON. */
bool hn_found_bytes(const void *bytes, size_t size, const char *name, struct hn_error *err);
/*
 * HN_E_MODEL_INVALID for a folder that lacks `missing` ("config.json"): names what lies there
 * instead, of which the most telling is known to a table. `others`: names of what lay in the folder
 * from which this one was made, or NULL; folders end in '/'.
 */
int hn_found_folder(
    const char *dir, const json_t *others, const char *missing, struct hn_error *err);

#endif
