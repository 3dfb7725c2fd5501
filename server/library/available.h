/*
 * Models that lie in the folders of model_dirs and could be taken in.
 */
#ifndef HN_SERVER_LIBRARY_AVAILABLE_H
#define HN_SERVER_LIBRARY_AVAILABLE_H

#include "server/library/library.h"

/* *ret: [{"name","path","format","bytes"}] by path: GGUF files, and folders with config.json and
 * weights, also those of a Hugging Face cache. Only names and sizes are looked at; whether a model
 * can be used is found when it is taken in. Blocks. */
int hn_models_available(const char *dirs, json_t **ret, struct hn_error *err);

#endif
